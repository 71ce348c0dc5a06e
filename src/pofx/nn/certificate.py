"""A certificate of a flow: whether every layer keeps the promise of its inverse, and slopes leave numbers room."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import SpecError
from .layer import Chain, Inverse, Layer
from .sites import Everywhere, Front

if TYPE_CHECKING:
    from .flow import Flow

WARN, FAIL = 0.01, 0.25  # shares of values outside the box, and of scales at their limit
SMALL, SAMPLE = 64, 32  # features up to which, and rows at which, singular values of a Jacobian are taken
WORDS = {
    "lost": "{value:.1%} of the rows are no longer finite",
    "round trip": "x - inverse(call(x)) is {value:.1e}, promised {limit:.0e}",
    "slope": "a log slope of {value:.1f} in size, beyond {limit:.1f} too few digits are left",
    "outside": "{value:.1%} of the values lie outside the box of its splines",
    "saturated": "{value:.1%} of the scales are at their limit",
}


@dataclass(frozen=True)
class Measure:
    """One figure of a layer: its value, the limit beyond which the layer fails, and the row where it is worst."""

    name: str
    value: float
    limit: float
    row: int

    @property
    def score(self) -> float:
        """value / limit, of slopes and not of their logs: above 1 the layer fails."""
        if self.name == "slope":
            return math.exp(min(self.value - self.limit, 500.0))
        return self.value / self.limit if self.limit else math.inf if self.value else 0.0

    @property
    def words(self) -> str:
        """The figure in words."""
        return WORDS[self.name].format(value=self.value, limit=self.limit)


@dataclass(frozen=True)
class LayerCheck:
    """What was found of a layer: its measures by name, and the smallest and largest log slope (nan: none finite)."""

    name: str
    measures: dict[str, Measure]
    slope: tuple[float, float]

    @property
    def worst(self) -> Measure:
        """The measure nearest to its limit, or furthest beyond it."""
        return max(self.measures.values(), key=lambda m: m.score)

    def __str__(self) -> str:
        m = self.measures
        shares = "".join(f"{m[k].value:>11.1%}" if k in m else f"{'':>11}" for k in ("outside", "saturated", "lost"))
        trip = m["round trip"]
        return (
            f"{self.name:<32}{trip.value:>11.1e}{trip.limit:>10.0e}{self.slope[0]:>9.2f}{self.slope[1]:>8.2f}{shares}"
        )


@dataclass(frozen=True)
class Certificate:
    """Every layer's figures; `ok` where none fails. str() is a table to read.

    `rows` rows were looked at and `tails` more, far out, which count for round trips and finiteness alone; `ignored`
    rows were not finite to begin with. `whole` is the round trip of all layers together. A row from `rows` on is a row
    of the tails.
    """

    layers: list[LayerCheck]
    rows: int
    tails: int
    ignored: int
    whole: float

    @property
    def worst_layer(self) -> int:
        """The place of the worst layer, from 0 at the data."""
        return max(range(len(self.layers)), key=lambda i: self.layers[i].worst.score)

    @property
    def worst_row(self) -> int:
        """The row at which the worst layer is worst."""
        return self.layers[self.worst_layer].worst.row

    @property
    def ok(self) -> bool:
        """Whether no layer is beyond a limit."""
        return self.layers[self.worst_layer].worst.score <= 1

    @property
    def warnings(self) -> list[str]:
        """What does not fail and is worth knowing."""
        shares = [(i, layer.measures.get(k)) for i, layer in enumerate(self.layers) for k in ("outside", "saturated")]
        return [f"layer {i + 1}: {m.words}" for i, m in shares if m is not None and WARN < m.value <= FAIL]

    def __str__(self) -> str:
        worst, i = self.layers[self.worst_layer], self.worst_layer + 1
        row = f"row {self.worst_row}" if self.worst_row < self.rows else f"tail row {self.worst_row - self.rows}"
        of = f"{len(self.layers)} layer{'s' * (len(self.layers) > 1)}, {self.rows:,} rows" + (
            f" and {self.tails:,} in the tails" * bool(self.tails)
        )
        head = f"{'layer':<36}{'round trip':>11}{'promised':>10}{'log slope':>12}{'':5}"
        lines = [
            f"{'ok' if self.ok else 'not ok'}: {of}; all layers and back: {self.whole:.1e}",
            head + f"{'outside':>11}{'saturated':>11}{'not finite':>11}",
            *(f"{k:>3} {layer}" for k, layer in enumerate(self.layers, 1)),
            f"{'nearest to a limit' if self.ok else 'fails'}: layer {i} ({worst.name}), {row}: {worst.worst.words}",
            *(f"warning: {words}" for words in self.warnings),
        ]
        return "\n".join(lines + [f"warning: {self.ignored} rows were not finite and left out"] * bool(self.ignored))


@torch.no_grad()
def certify(flow: "Flow", x: Tensor, c: Tensor | None = None, tails: Tensor | None = None) -> Certificate:
    """Looks at every layer on rows as they reach it. x: (B, D); c: (B, C); tails: (T, D), T <= B, with the first c.

    A layer fails where max |x - inverse(call(x))| / max(1, |x|) is beyond its tolerance, a finite row becomes one that
    is not, a log slope is beyond 2/3 |log eps| in size, or a quarter of the values are outside the box of its splines
    or of its scales within 5 % of their limit. Slopes are those of single features where the layer's map is
    elementwise, else singular values of the Jacobian at some rows (up to 64 features), else log|det| / D.

        >>> from pofx.nn.flows import NSF
        >>> certify(NSF(2), torch.zeros(5, 2)).ok
        True

    Raises SpecError where no row is finite, or x or c is of another shape.
    """
    x, c = x.to(flow.like), None if c is None else c.to(flow.like)
    c = flow.seen(x, c)
    rows, c = x if tails is None else torch.cat([x, tails.to(x)]), None if c is None else c.expand(len(x), -1)
    c = None if c is None else torch.cat([c, c[: len(rows) - len(x)]])
    index = rows.flatten(1).isfinite().all(1).nonzero()[:, 0]
    if not len(index):
        raise SpecError(f"expected at least one finite row, got {len(rows)} rows without one")
    was = flow.training
    flow.eval()
    try:
        ignored, whole = len(rows) - len(index), _trip(flow.layers, rows[index], None if c is None else c[index])[1]
        checks = []
        for layer in leaves(flow.layers):
            held = None if c is None else c[index]
            check, y, fine = _check(layer, rows[index], held, index, len(x))
            checks.append(check)
            index, rows = index[fine], rows.new_zeros(len(rows), *y.shape[1:]).index_copy(0, index, y)
            if not len(index):
                break
    finally:
        flow.train(was)
    return Certificate(checks, len(x), len(rows) - len(x), ignored, float(whole.max()))


def leaves(layer: Layer) -> list[Layer]:
    """The layers of chains, and of inverses of chains, one by one."""
    if isinstance(layer, Chain):
        return [leaf for part in layer.layers for leaf in leaves(part)]
    if isinstance(layer, Inverse) and isinstance(layer.layer, Chain):
        return [Inverse(leaf) for leaf in reversed(leaves(layer.layer))]
    return [layer]


def _trip(layer: Layer, x: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """(y, |x - inverse(call(x))| / max(1, |x|) of each row, inf where it is no number, log|det|)."""
    y, ladj = layer.call_and_ladj(x, c)
    try:
        again = layer.inverse_and_ladj(y, c)[0]
    except SpecError:  # an inverse that did not converge says so
        again = torch.full_like(x, math.nan)
    gap = torch.remainder((again - x).abs(), layer.period)
    error = (gap.minimum(layer.period - gap) / x.abs().clamp(min=1)).flatten(1).amax(1)
    return y, error.nan_to_num(math.inf, math.inf), ladj


def _check(layer: Layer, x: Tensor, c: Tensor | None, index: Tensor, own: int) -> tuple[LayerCheck, Tensor, Tensor]:
    """A layer's figures, its y, and the rows that stay finite. `index`: numbers of the rows, own ones below `own`."""
    y, error, ladj = _trip(layer, x, c)
    fine = y.flatten(1).isfinite().all(1) & ladj.isfinite()
    eps = torch.finfo(x.dtype).eps

    def measure(name: str, each: Tensor, value: float | Tensor, limit: float) -> None:
        found[name] = Measure(name, float(value), limit, int(index[each.argmax()]))

    found: dict[str, Measure] = {}
    measure("lost", (~fine).float(), (~fine).float().mean(), 0.0)
    kept = torch.where(fine, error, 0.0)
    measure("round trip", kept, kept.max(), layer.tolerance[eps < 1e-10])
    map_, moved, theta, sign = _moves(layer, x, y, c)
    slopes = sign * map_.call_and_ladj(moved, theta)[1] if map_ else _slopes(layer, x, c, ladj)
    sizes = slopes.nan_to_num(0.0, 0.0, 0.0).abs().amax(1)
    measure("slope", sizes, sizes.max(), -math.log(eps) * 2 / 3)
    mine = index < own  # own rows come first
    for name, at in (("outside", moved), ("saturated", theta)):
        if hasattr(map_, name) and mine.any():
            share = getattr(map_, name)(at)[mine].flatten(1).float().mean(1)
            measure(name, share, share.mean(), FAIL)
    finite = slopes[slopes.isfinite()]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (math.nan, math.nan)
    return LayerCheck(name_of(layer), found, (low, high)), y, fine


def _moves(layer: Layer, x: Tensor, y: Tensor, c: Tensor | None) -> tuple:
    """(map, the numbers that it moves, its parameters, 1 or -1 for an inverse) of an elementwise layer; else Nones."""
    if isinstance(layer, Inverse):
        map_, moved, theta, sign = _moves(layer.layer, y, x, c)
        return map_, moved, theta, -sign
    if isinstance(layer, Front):
        return _moves(layer.layer, layer.front(x), layer.front(y), c)
    return (layer.elementwise, *layer.moves(x, c), 1) if hasattr(layer, "moves") else (None, None, None, 1)


def _slopes(layer: Layer, x: Tensor, c: Tensor | None, ladj: Tensor) -> Tensor:
    """Logs of the singular values of dy/dx at the first rows, (b, D); where D is large log|det| / D of all, (B, 1)."""
    size = math.prod(x.shape[1:])
    if size > SMALL:
        return ladj[:, None] / size
    x, c = x[:SAMPLE].clone(), None if c is None else c[:SAMPLE]
    with torch.enable_grad():
        y = layer.call_and_ladj(x.requires_grad_(), c)[0].flatten(1)
        rows = [torch.autograd.grad(y[:, j].sum(), x, retain_graph=True)[0].flatten(1) for j in range(size)]
    jacobian = torch.stack(rows, 1)
    fine = jacobian.isfinite().flatten(1).all(1)[:, None, None]
    return torch.linalg.svdvals(torch.where(fine, jacobian, 0.0)).log()


def name_of(layer: Layer) -> str:
    """What a layer is, in words."""
    if isinstance(layer, Inverse):
        return f"inverse {name_of(layer.layer)}"
    if isinstance(layer, Front | Everywhere):
        return name_of(layer.layer)
    map_ = getattr(layer, "elementwise", None)
    return type(layer).__name__ + (f", {type(map_).__name__}" if map_ is not None else "")
