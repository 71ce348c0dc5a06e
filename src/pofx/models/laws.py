"""The laws of a row's fields, as an autoencoder's decoder speaks of them: which head suits which field.

    cells      numbers: an interval of v = t(u) under a mixture of logistics, a normal or a Student law (nn/heads.py)
    counts     whole numbers from 0 on: negative binomial, with more zeros if asked
    ordered    few ordered levels: cumulative logits
    levels     categories: softmax

Fields of one head are computed together. Every law gives log M, the share of a cell in what was seen, missing cells
among it, so that all M of a field sum to one; `house` (lifted.py) makes that log p in the house measure. A cell that
is integrated out has log M = 0. Draws are levels u of the field's distribution function, so that they lie in what was
seen.

theta: (K, B, size), own: (lo, width, codes) of B rows (`Sight`), u: (n, draws).
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import SpecError
from ..field import Field
from ..fields import Category, Integer, Ordinal
from ..nn import heads
from ..nn.heads import CELLS, CellHead, LogisticMixture, which
from .lifted import Sight
from .model import Batch

FAR = 1e4
PAD = 1e6  # a threshold that no level lies beyond
STATES = 1024  # most cells that a count may have
HIGHEST = 10_000  # the largest count
FEW = 64  # most levels of cumulative logits
WORDS = (*CELLS, "count", "zero_inflated", "ordinal")


class Law(nn.Module):
    """The laws of the fields `of`, indices into the Spec's.

    size: numbers that a decoder says; draws: uniform numbers of a draw; room: numbers that `log_mass` works on a row.
    """

    of: list[int]
    size: int
    draws: int

    @property
    def room(self) -> int:
        return self.size

    def log_mass(self, theta: Tensor, own: Batch) -> Tensor:
        """log M, (K, B), summed over the fields."""
        raise NotImplementedError

    def draw(self, theta: Tensor, u: Tensor, there: bool = False) -> Tensor:
        """Levels of a draw, (n, fields), of theta (n, size); `there`: none is missing where a field has other cells."""
        raise NotImplementedError

    def centre(self, theta: Tensor) -> Tensor:
        """Levels of the middle of the law, (n, fields), of theta (n, size)."""
        raise NotImplementedError

    def marginal(self) -> Tensor:
        """A theta, (size,), that says what each field's own law says, or nearly."""
        return torch.zeros(self.size, dtype=torch.float64)


# -- cells -------------------------------------------------------------------------------------------------------------


def logit(u: Tensor) -> Tensor:
    """log u - log(1 - u), kept within +-FAR."""
    return (u.log() - torch.log1p(-u)).nan_to_num(0.0, FAR, -FAR).clamp(-FAR, FAR)


class Cells(Law):
    """v = t(u), u the level in the marginal law, and v a law of cells; t is the logit for a mixture of logistics and
    Phi^-1 for the others. At theta = 0 the law is (nearly, for Student) the marginal law itself.
    """

    def __init__(self, head: CellHead, sight: Sight, at: list[int]) -> None:
        super().__init__()
        self.head, self.at, self.of = head, at, [sight.numbers[i] for i in at]
        self.size, self.draws = head.size * len(at), head.draws * len(at)
        self.logistic = isinstance(head, LogisticMixture)
        fields = [sight.fields[j] for j in self.of]
        gone = [float(f.mass[0]) if f.has_missing and len(f.mass) > 1 else 0.0 for f in fields]
        self.register_buffer("gone", torch.tensor(gone, dtype=torch.float64), persistent=False)

    def _theta(self, theta: Tensor) -> Tensor:
        return theta.reshape(-1, self.head.size, len(self.at))

    def _ends(self, own: Batch) -> tuple[Tensor, Tensor, Tensor]:
        lo, width = (part[:, self.at] for part in own[:2])
        low, top = lo, (lo + width).clamp(max=1.0)
        low, top = torch.where(low < 1e-12, 0.0, low), torch.where(top > 1 - 1e-12, 1.0, top)
        low, high = self._place(low), self._place(top)
        return low, high, (high - low).clamp(min=1e-12)

    def _place(self, level: Tensor) -> Tensor:
        return logit(level) if self.logistic else torch.special.ndtri(level).clamp(-FAR, FAR)

    def log_mass(self, theta: Tensor, own: Batch) -> Tensor:
        k, b = theta.shape[:2]
        low, high, gap = (end.to(theta.dtype).expand(k, -1, -1).flatten(0, 1) for end in self._ends(own))
        return self.head.log_mass(low, high, gap, self._theta(theta)).sum(-1).view(k, b)

    def _level(self, place: Tensor) -> Tensor:
        return torch.sigmoid(place) if self.logistic else torch.special.ndtr(place)

    def draw(self, theta: Tensor, u: Tensor, there: bool = False) -> Tensor:
        uniform = u.view(len(u), self.head.draws, len(self.at))
        above = self._place(self.gone) if there else None
        level = self._level(self.head.draw(self._theta(theta).double(), uniform, above))
        return level.maximum(self.gone + 1e-12) if there else level

    def centre(self, theta: Tensor) -> Tensor:
        return self._level(self.head.centre(self._theta(theta)).double())


# -- states ------------------------------------------------------------------------------------------------------------


class States(Law):
    """Fields of few cells: a table of the log masses of state 0, missing, and of states 1, 2, ..., the cells in order.

    M(missing) = s(g), M(cell) = (1 - s(g)) P(cell), g a number of theta, P what `table` says; a field without missing
    cells has no g. Fields are padded to the most cells that one of them has.
    """

    parts: int  # numbers of theta a field, g the first of them

    def __init__(self, sight: Sight, at: list[int], groups: list[int]) -> None:
        super().__init__()
        self.at, self.groups = at, groups
        self.of = [sight.numbers[i] for i in at] + [sight.groups[i] for i in groups]
        self.fields = [sight.fields[j] for j in self.of]
        self.size, self.draws = self.parts * len(self.of), len(self.of)
        cells = [cells_of(field) for field in self.fields]
        self.count = max(2, *(len(t) for t in cells))
        shape = (len(cells), 1 + self.count)
        below, middle, mass, values = torch.full(shape, 2.0), torch.zeros(shape), torch.zeros(shape), torch.zeros(shape)
        below, middle, mass, values = (part.double() for part in (below, middle, mass, values))
        for i, (field, t) in enumerate(zip(self.fields, cells, strict=True)):
            states = slice(1 - field.has_missing, 1 + len(t))
            stored = np.concatenate([field.none(int(field.has_missing)), field.value(t)])
            lo, width = (torch.from_numpy(part) for part in field.lift(stored))
            below[i, 0] = -1.0
            below[i, states], middle[i, states], mass[i, states] = lo, lo + width / 2, width
            values[i, 1 : 1 + len(t)] = torch.from_numpy(field.value(t).astype(np.float64))
        self.mass = mass
        for name, held in (("below", below), ("middle", middle), ("values", values[:, 1:].T)):
            self.register_buffer(name, held.contiguous(), persistent=False)
        self.register_buffer("gone", torch.tensor([field.has_missing for field in self.fields]), persistent=False)
        self.register_buffer("absent", (mass[:, 1:] == 0).T.contiguous(), persistent=False)
        first = torch.tensor([1 - int(field.has_missing) for field in self.fields])[len(at) :]
        self.register_buffer("first", first, persistent=False)

    @property
    def room(self) -> int:
        return self.size + (1 + self.count) * len(self.of)

    def table(self, theta: Tensor) -> Tensor:
        """log P of each cell, (n, cells, fields), of theta (n, parts, fields)."""
        raise NotImplementedError

    def _masses(self, theta: Tensor) -> Tensor:
        """log M of each state, (n, 1 + cells, fields)."""
        theta = theta.reshape(-1, self.parts, len(self.of))
        gate = theta[:, :1]
        missing = torch.where(self.gone, F.logsigmoid(gate), -torch.inf)
        there = torch.where(self.gone, F.logsigmoid(-gate), 0.0)
        cells = (there + self.table(theta)).masked_fill(self.absent, -torch.inf)
        return torch.cat([missing, cells], 1)

    def states(self, own: Batch) -> Tensor:
        """The state of each cell, int64 (B, fields), -1 where it is integrated out."""
        lo, width = (part[:, self.at] for part in own[:2])
        middle = (lo + width / 2).T.contiguous()
        found = torch.searchsorted(self.below[: len(self.at)], middle, right=True).T - 1
        codes = own[2][:, self.groups]
        return torch.cat([torch.where(width >= 1, -1, found), torch.where(codes < 0, -1, codes + self.first)], 1)

    def log_mass(self, theta: Tensor, own: Batch) -> Tensor:
        k, b = theta.shape[:2]
        state = self.states(own).expand(k, -1, -1).reshape(k * b, 1, -1)
        found = self._masses(theta).gather(1, state.clamp(min=0))
        return torch.where(state < 0, 0.0, found).sum((1, 2)).view(k, b)

    def _levels(self, state: Tensor) -> Tensor:
        return self.middle.gather(1, state.T).T

    def draw(self, theta: Tensor, u: Tensor, there: bool = False) -> Tensor:
        log_mass = self._masses(theta.double())
        return self._levels(which(log_mass[:, 1:], u) + 1 if there else which(log_mass, u))

    def centre(self, theta: Tensor) -> Tensor:
        return self._levels(self._masses(theta).argmax(1))

    def _gate(self) -> Tensor:
        return torch.where(self.gone.cpu(), torch.logit(self.mass[:, 0], 1e-6), 0.0)

    def _present(self) -> Tensor:
        """The masses of the cells alone, (fields, cells)."""
        return self.mass[:, 1:] / self.mass[:, 1:].sum(1, keepdim=True)


def cells_of(field: Field) -> np.ndarray:
    """The coordinates of all cells that a field's pieces cover, missing aside, in order."""
    first = int(field.has_missing)
    ends = zip(field.left[first:], field.right[first:], strict=True)
    return np.concatenate([np.zeros(0), *(np.arange(a + 0.5, b) for a, b in ends)])


class Counts(States):
    """P(k) = NB(k; m, r) / sum over the cells seen (nn/heads.NegativeBinomial), k the number itself.

    With `zeros`, P(0) = s(a) + (1 - s(a)) NB(0), and the rest is multiplied by 1 - s(a). theta: g, log m, log r, a.
    """

    def __init__(self, sight: Sight, at: list[int], zeros: bool) -> None:
        self.parts, self.zeros = 3 + zeros, zeros
        for i in at:
            _countable(sight.fields[sight.numbers[i]], zeros)
        super().__init__(sight, at, [])

    def table(self, theta: Tensor) -> Tensor:
        k = self.values.to(theta.dtype)
        raw = heads.NegativeBinomial().log_mass(k, theta[:, 1:3].unsqueeze(2))
        log_p = raw.masked_fill(self.absent, -torch.inf).log_softmax(1)
        if not self.zeros:
            return log_p
        more, less = F.logsigmoid(theta[:, 3:]), F.logsigmoid(-theta[:, 3:])
        return torch.cat([torch.logaddexp(more, less + log_p[:, :1]), less + log_p[:, 1:]], 1)

    def marginal(self) -> Tensor:
        p, k = self._present(), self.values.T.cpu()
        mean = (p * k).sum(1).clamp(min=1e-2)
        over = ((p * (k - mean.unsqueeze(1)).square()).sum(1) - mean).clamp(min=1e-2 * mean.square() + 1e-4)
        raw = torch.stack([mean.log(), (mean.square() / over).log()])
        start = [self._gate()[None], 12 * torch.atanh((raw / 12).clamp(-0.99, 0.99))]
        return torch.cat([*start, torch.logit(p[:, :1].T / 2, 1e-3)][: 2 + self.zeros]).flatten()


class Ordered(States):
    """P(at most k) = s((t_k - m) / e^l): thresholds t of the field, learned, that start at its own law, and a location
    m and a log-scale l of the row (nn/heads.Ordinal). theta: g, m, l.
    """

    parts = 3

    def __init__(self, sight: Sight, at: list[int], groups: list[int]) -> None:
        for field in [sight.fields[sight.numbers[i]] for i in at]:
            _few(field)
        super().__init__(sight, at, groups)
        rising = self._present().cumsum(1)[:, :-1]
        ends = torch.where(self.absent.T[:, 1:].cpu(), PAD, logit(rising).clamp(-20, 20))
        gaps = ends.diff(dim=1).clamp(1e-3, PAD)
        self.lowest = nn.Parameter(ends[:, 0].float())
        self.gaps = nn.Parameter((gaps + torch.log(-torch.expm1(-gaps))).T.float().contiguous())
        self.gaps.decays = False

    def table(self, theta: Tensor) -> Tensor:
        rows = len(theta)
        shared = torch.cat([self.lowest[None], self.gaps]).to(theta.dtype).expand(rows, -1, -1)
        return heads.Ordinal(self.count).log_masses(torch.cat([theta[:, 1:], shared], 1))

    def marginal(self) -> Tensor:
        gate = self._gate()
        return torch.cat([gate, torch.zeros(2 * len(gate), dtype=torch.float64)])


# -- levels ------------------------------------------------------------------------------------------------------------


class Levels(Law):
    """Categories: a softmax over the levels of each, missing among them."""

    def __init__(self, sight: Sight, groups: list[int]) -> None:
        super().__init__()
        self.groups, self.of = groups, [sight.groups[i] for i in groups]
        self.masses = [sight.fields[j].mass for j in self.of]
        self.gone = [int(sight.fields[j].has_missing and len(sight.fields[j].mass) > 1) for j in self.of]
        self.sizes = [len(mass) for mass in self.masses]
        self.size, self.draws = sum(self.sizes), len(groups)

    def log_mass(self, theta: Tensor, own: Batch) -> Tensor:
        k, b = theta.shape[:2]
        total = theta.new_zeros(k, b)
        for i, logits in zip(self.groups, theta.split(self.sizes, -1), strict=True):
            code = own[2][:, i].expand(k, b)
            mass = logits.log_softmax(-1).gather(-1, code.clamp(min=0).unsqueeze(-1)).squeeze(-1)
            total = total + torch.where(code < 0, 0.0, mass)
        return total

    def _levels(self, codes: list[Tensor]) -> Tensor:
        middles = (torch.from_numpy(np.cumsum(mass) - mass / 2) for mass in self.masses)
        return torch.stack([middle[code.cpu()] for middle, code in zip(middles, codes, strict=True)], 1)

    def draw(self, theta: Tensor, u: Tensor, there: bool = False) -> Tensor:
        parts = zip(theta.split(self.sizes, -1), self.gone if there else [0] * len(self.of), strict=True)
        return self._levels([which(part[:, first:], u[:, j]) + first for j, (part, first) in enumerate(parts)])

    def centre(self, theta: Tensor) -> Tensor:
        return self._levels([part.argmax(-1) for part in theta.split(self.sizes, -1)])

    def marginal(self) -> Tensor:
        return torch.cat([torch.from_numpy(mass).log() for mass in self.masses])


# -- which head for which field ----------------------------------------------------------------------------------------


def laws_of(sight: Sight, likelihood: str | Mapping[str, str], components: int) -> list[Law]:
    """The laws of a row's fields: `likelihood` is a word for all numbers, or words by column, `mixture` for the rest.

    Raises SpecError, naming the column, for a head that does not suit its field.
    """
    words = _words(sight, likelihood)
    at = {word: [i for i, j in enumerate(sight.numbers) if words[j] == word] for word in WORDS}
    groups = {word: [i for i, j in enumerate(sight.groups) if words[j] == word] for word in ("softmax", "ordinal")}
    laws: list[Law] = []
    for word, head in CELLS.items():
        if at[word]:
            laws.append(Cells(LogisticMixture(components) if word == "mixture" else head, sight, at[word]))
    for word in ("count", "zero_inflated"):
        if at[word]:
            laws.append(Counts(sight, at[word], word == "zero_inflated"))
    if at["ordinal"] or groups["ordinal"]:
        laws.append(Ordered(sight, at["ordinal"], groups["ordinal"]))
    return [*laws, Levels(sight, groups["softmax"])] if groups["softmax"] else laws


def _words(sight: Sight, likelihood: str | Mapping[str, str]) -> dict[int, str]:
    """The head of each field, by its index."""
    asked = {} if isinstance(likelihood, str) else dict(likelihood)
    for word in [likelihood] if isinstance(likelihood, str) else asked.values():
        if word not in WORDS and (word != "softmax" or not asked):
            raise SpecError(f"expected likelihood among {', '.join(WORDS)}, got {word!r}")
    names = [field.name for field in sight.fields]
    if strange := [name for name in asked if name not in names]:
        raise SpecError(f"expected likelihood by columns among {', '.join(map(repr, names))}, got {strange[0]!r}")
    other = likelihood if isinstance(likelihood, str) else "mixture"
    out = {j: asked.get(names[j], other) for j in sight.numbers}
    for j in sight.groups:
        free = isinstance(sight.fields[j], Ordinal)
        out[j] = asked.get(names[j], "ordinal" if free and other == "ordinal" else "softmax")
        if out[j] not in ("softmax", *["ordinal"] * free):
            raise SpecError(f"column {names[j]!r} is {_kind(sight.fields[j])}, expected softmax, got {out[j]!r}: "
                            "leave it out of likelihood")  # fmt: skip
    if wrong := [names[j] for j in sight.numbers if out[j] == "softmax"]:
        raise SpecError(f"column {wrong[0]!r} is no category of few levels, expected likelihood among "
                        f"{', '.join(WORDS)}, got 'softmax': use mixture")  # fmt: skip
    return out


def _kind(field: Field) -> str:
    return f"a field of kind {field.kind}" if not isinstance(field, Category) else "a category"


def _countable(field: Field, zeros: bool) -> None:
    seen = _cells_of_numbers(field, STATES)
    values = field.value(seen) if len(seen) else np.zeros(0)
    if not len(values) or values.min() < 0 or values.max() > HIGHEST:
        raise SpecError(
            f"column {field.name!r}: expected whole numbers from 0 to {HIGHEST:,}, at most {STATES:,} of them, for "
            f"the head of counts, got {_kind(field)}, {field.range_in_words()}: use likelihood 'mixture' for it"
        )
    if zeros and values.min() > 0:
        raise SpecError(f"column {field.name!r}: expected zeros for 'zero_inflated', {field.range_in_words()}: "
                        "use 'count'")  # fmt: skip


def _few(field: Field) -> None:
    if not len(_cells_of_numbers(field, FEW)):
        raise SpecError(
            f"column {field.name!r}: expected a whole number of at most {FEW} values, or a field of kind ordinal, for "
            f"'ordinal', got {_kind(field)}, {field.range_in_words()}: use likelihood 'mixture' for it"
        )


def _cells_of_numbers(field: Field, most: int) -> np.ndarray:
    """The cells of a field of whole numbers; none where it is no such field or has more than `most`."""
    first = int(field.has_missing)
    whole = isinstance(field, Integer) and field.kind in ("integer", "count")
    wide = (field.right - field.left)[first:].sum() > most
    return np.zeros(0) if not whole or wide else cells_of(field)
