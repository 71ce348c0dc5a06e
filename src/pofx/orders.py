"""Orders between fields, a <= b and a < b, on one line of whole numbers.

The fields of an order share a unit: numbers, or moments. With h the finest of their grids (10^-decimals, or the unit of
the moments) the value v of a field stands at the place v / h, and the field's own grid is every s-th place. From what
is known of a row follow, along the directed graph of the orders and hence for its transitive closure,

    L(b) = max over a <= b of up_b(a),     U(a) = min over a <= b of down_a(b),

where up_b(a) is the first place of b's grid at or, if the order is strict, beyond a, and an a that is not known stands
at its own L(a). A strict order is thus one step of the grid wide, and so it is in what is written.

Places are int64, (n,); UNKNOWN is one that is missing or not known, LOWEST and HIGHEST are bounds that say nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .errors import SpecError
from .field import MISSING, Field
from .fields import Datetime, Number

UNKNOWN = MISSING
LOWEST, HIGHEST = -(2**62), 2**62
NANOSECONDS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "D": 86400 * 10**9}
Places = dict[str, np.ndarray]


@dataclass(frozen=True)
class Order:
    """low <= high in every row where both are there, or low < high."""

    low: str
    high: str
    strict: bool = False

    def __str__(self) -> str:
        return f"{self.low} {'<' if self.strict else '<='} {self.high}"


class Line:
    """The fields of some orders, each on its grid of places.

    Raises SpecError for a circle of orders, and for fields that share no unit.
    """

    def __init__(self, orders: Sequence[Order], fields: Mapping[str, Field]) -> None:
        self.orders = tuple(orders)
        self.names = sorted_names(orders)
        self.fields = {name: fields[name] for name in self.names}
        self.steps: dict[str, int] = {}
        for part in connected(orders):
            self.steps |= _steps([self.fields[name] for name in part])
        self._into = {name: [o for o in self.orders if o.high == name] for name in self.names}
        self._out_of = {name: [o for o in self.orders if o.low == name] for name in self.names}

    def place(self, name: str, v: np.ndarray) -> np.ndarray:
        """Places of stored values."""
        field = self.fields[name]
        gone = field.absent(v)
        cells = np.where(gone, 0, v)
        if v.dtype.kind == "f":
            cells = np.round(cells * 10.0 ** _decimals(field)).astype(np.int64)
        return np.where(gone, UNKNOWN, cells * self.steps[name])

    def stored(self, name: str, place: np.ndarray) -> np.ndarray:
        """Stored values of places on the field's own grid."""
        field = self.fields[name]
        gone = place == UNKNOWN
        cells = np.where(gone, 0, place) // self.steps[name]
        v = cells / 10.0 ** _decimals(field) if field.dtype.kind == "f" else cells
        return np.where(gone, field.none(len(place)), v)

    def places(self, x: Mapping[str, np.ndarray]) -> Places:
        """Places of stored columns; of those fields alone that are among them."""
        return {name: self.place(name, x[name]) for name in self.names if name in x}

    def lower(self, known: Places, least: Mapping[str, int] | None = None) -> Places:
        """L of every field; `least`: places that a field which is not known does not fall below."""
        out: Places = {}
        n = len(next(iter(known.values())))
        for name in self.names:
            bound = np.full(n, (least or {}).get(name, LOWEST), np.int64)
            for order in self._into[name]:
                at = known.get(order.low)
                reach = out[order.low] if at is None else np.where(at == UNKNOWN, out[order.low], at)
                step = self.steps[name]
                up = (reach // step + 1) * step if order.strict else -(-reach // step) * step
                bound = np.maximum(bound, np.where(reach == LOWEST, LOWEST, up))
            out[name] = bound
        return out

    def upper(self, known: Places, most: Mapping[str, int] | None = None) -> Places:
        """U of every field; `most`: places that a field which is not known does not exceed."""
        out: Places = {}
        n = len(next(iter(known.values())))
        for name in reversed(self.names):
            bound = np.full(n, (most or {}).get(name, HIGHEST), np.int64)
            for order in self._out_of[name]:
                at = known.get(order.high)
                reach = out[order.high] if at is None else np.where(at == UNKNOWN, out[order.high], at)
                step = self.steps[name]
                down = -((-reach) // step + 1) * step if order.strict else reach // step * step
                bound = np.minimum(bound, np.where(reach == HIGHEST, HIGHEST, down))
            out[name] = bound
        return out

    def broken(self, x: Mapping[str, np.ndarray]) -> np.ndarray:
        """The rows, bool (n,), in which a cell stands below what those before it say."""
        known = self.places(x)
        lower = self.lower(known)
        return np.any([(at != UNKNOWN) & (at < lower[name]) for name, at in known.items()], 0)


def sorted_names(orders: Iterable[Order]) -> list[str]:
    """The fields of orders, each behind those that it is above.

    Raises SpecError for orders that go in a circle.
    """
    orders = list(orders)
    left = list(dict.fromkeys(name for o in orders for name in (o.low, o.high)))
    out: list[str] = []
    while left:
        free = [name for name in left if not any(o.high == name and o.low in left for o in orders)]
        if not free:
            circle = [str(o) for o in orders if o.low in left and o.high in left]
            raise SpecError(f"expected orders that can hold together, got {' and '.join(circle)}: leave one out")
        out += free
        left = [name for name in left if name not in free]
    return out


def connected(orders: Iterable[Order]) -> list[set[str]]:
    """The sets of fields that orders connect."""
    out: list[set[str]] = []
    for order in orders:
        one = {order.low, order.high}
        joined = [part for part in out if part & one]
        out = [part for part in out if not part & one] + [one.union(*joined)]
    return out


def _decimals(field: Field) -> int:
    return field.decimals if isinstance(field, Number) else 0


def _steps(fields: Sequence[Field]) -> dict[str, int]:
    """s of each field: its grid in the finest one."""
    names = " and ".join(repr(field.name) for field in fields)
    moments = [isinstance(field, Datetime) for field in fields]
    if any(moments) != all(moments) or not all(isinstance(field, Number) for field in fields):
        raise SpecError(f"expected {names} to be numbers, or moments, all of them: an order compares like with like")
    if all(moments):
        size = {f.name: NANOSECONDS[f.unit] for f in fields if isinstance(f, Datetime)}
        finest = min(size.values())
        steps = {name: each // finest for name, each in size.items()}
    else:
        most = max(_decimals(field) for field in fields)
        steps = {field.name: 10 ** (most - _decimals(field)) for field in fields}
    for field in fields:
        ends = [abs(float(v)) for v in _ends(field)]
        if max(ends, default=0.0) * steps[field.name] >= HIGHEST / 4:
            raise SpecError(f"expected {names} on grids that can be compared: {field.name!r} is too coarse and too far")
    return steps


def _ends(field: Field) -> np.ndarray:
    """The first and the last cell seen, counted from zero."""
    first = int(field.has_missing)
    return np.r_[field.left[first:][:1], field.right[first:][-1:]] + getattr(field, "base", 0)
