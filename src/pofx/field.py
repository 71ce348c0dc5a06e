"""One field of an example: what its stored values mean, and the law of its cells.

Stored values of a field are one numpy array: float64 (missing: NaN) or int64 (missing: the smallest int64) for
numbers, int32 codes (missing: -1, a level never seen: the number of levels) for levels.

Every field lives on a grid of cells, cell t = 0, 1, 2, ... from its smallest value on, and carries the marginal law of
its cells as *pieces* in order: piece i is the interval [left_i, right_i) of the grid coordinate and has mass m_i;
inside a piece the law is uniform. An atom is a piece one cell wide; so is a level; missing is a piece of its own, put
two cells below the first. From the pieces follow

    the distribution function F,            lift(v) = (F(v-), P(v)),      lower(u) = F^-1(u),
    the marginal law,                       log_prob(v) = log P(v) - log h,
    the codes of any coarser resolution,    tokens(bins, fine).

h is the resolution in the user's units: 10^-decimals as seen for a number, 1 for integers, levels and missing.
P(v)/h is a density to those who think in densities and a mass to those who count.

Mass 1/(n+4) is kept for each of: a value between those seen that no piece covers, the lower tail, the upper tail, and
a missing cell where none was seen (or a level never seen). `surprise(v)` is the log-probability of such a cell.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from .errors import SpecError

MISSING = int(np.iinfo(np.int64).min)
KNOTS = 1024
ATOMS = 1024


@dataclass(frozen=True)
class Allowed:
    """A set of stored values: closed intervals of numbers, codes of levels, with or without missing."""

    intervals: tuple[tuple[float, float], ...] = ()
    codes: frozenset[int] = frozenset()
    missing: bool = False


@dataclass(frozen=True)
class Tokens:
    """Cells as codes: token = coarse * sizes[1] + fine, and the pieces of each token in order.

    Several pieces may belong to one token; `token` is sorted.
    """

    sizes: tuple[int, int]
    left: np.ndarray
    right: np.ndarray
    mass: np.ndarray
    token: np.ndarray

    @property
    def marginal(self) -> np.ndarray:
        """The mass of each token, (coarse, fine)."""
        return np.bincount(self.token, self.mass, self.sizes[0] * self.sizes[1]).reshape(self.sizes)

    def within(self, spans: list[tuple[float, float]]) -> Self:
        """The same tokens, their pieces cut to disjoint intervals of the coordinate; masses are what remains."""
        left = np.concatenate([np.maximum(self.left, a) for a, _ in spans] or [np.zeros(0)])
        right = np.concatenate([np.minimum(self.right, b) for _, b in spans] or [np.zeros(0)])
        token, mass, width = (np.tile(a, len(spans)) for a in (self.token, self.mass, self.right - self.left))
        keep = right > left
        left, right, token = left[keep], right[keep], token[keep]
        mass = mass[keep] * (right - left) / width[keep]
        order = np.lexsort((left, token))
        return replace(self, left=left[order], right=right[order], mass=mass[order], token=token[order])

    def place(self, token: np.ndarray, u: np.ndarray) -> np.ndarray:
        """The coordinate at level u in [0, 1) of the law inside each token."""
        total = np.cumsum(self.mass)
        first = np.searchsorted(self.token, token, side="left")
        last = np.searchsorted(self.token, token, side="right") - 1
        below = total[first] - self.mass[first]
        level = below + u * (total[last] - below)
        piece = np.clip(np.searchsorted(total, level, side="right"), first, last)
        inside = np.clip((level - total[piece] + self.mass[piece]) / self.mass[piece], 0.0, 1.0 - 1e-12)
        return self.left[piece] + inside * (self.right[piece] - self.left[piece])


@dataclass(frozen=True, kw_only=True)
class Field:
    """A named field learned from `rows` rows; the masses of its pieces, missing first if any was seen, sum to one."""

    kind: ClassVar[str] = ""
    dtype: ClassVar[np.dtype] = np.dtype(np.float64)
    name: str
    rows: int
    has_missing: bool
    left: np.ndarray
    right: np.ndarray
    mass: np.ndarray
    unknown: bool = False  # whether a missing cell is one that nobody saw, which is integrated out, and no state

    # -- what a kind of field fills in -------------------------------------------------------------------------------

    def absent(self, v: np.ndarray) -> np.ndarray:
        """Which stored values are missing."""
        raise NotImplementedError

    def cell(self, v: np.ndarray) -> np.ndarray:
        """The coordinate, float64, of each stored value's cell; any number where missing."""
        raise NotImplementedError

    def value(self, t: np.ndarray) -> np.ndarray:
        """The stored value of the cell that holds each coordinate."""
        raise NotImplementedError

    def none(self, n: int) -> np.ndarray:
        """n missing stored values."""
        raise NotImplementedError

    def spans(self, allowed: Allowed) -> list[tuple[float, float]]:
        """The allowed set as disjoint intervals of the coordinate."""
        raise NotImplementedError

    def outside(self, t: np.ndarray) -> np.ndarray:
        """log P of cells, not missing, that no piece covers."""
        raise NotImplementedError

    @property
    def log_step(self) -> float:
        """log h."""
        return 0.0

    def meta(self) -> dict[str, Any]:
        """The plain values that rebuild the field, together with its pieces."""
        plain = {"kind": self.kind, "name": self.name, "rows": self.rows, "has_missing": self.has_missing}
        return plain | ({"unknown": True} if self.unknown else {})

    # -- what follows for all ----------------------------------------------------------------------------------------

    @property
    def epsilon(self) -> float:
        """1/(n+4), the mass kept for each state that was never seen; a field has at most four of them."""
        return 1.0 / (self.rows + 4)

    @property
    def log_seen(self) -> float:
        """log n/(n+4), the mass that unseen states leave to what was seen."""
        return math.log(max(self.rows, 1) / (max(self.rows, 1) + 4))

    def seen_alone(self) -> Self:
        """The field of the cells that were seen, the missing ones being unknown; log p of such a cell is zero.

        Raises SpecError where every cell was missing.
        """
        first = int(self.has_missing)
        if len(self.mass) == first:
            raise SpecError(f"column {self.name!r} has no value at all: drop it")
        rows = self.rows - round(self.rows * float(self.mass[:first].sum()))
        left, right, mass = self.left[first:], self.right[first:], self.mass[first:]
        return replace(self, rows=rows, has_missing=False, left=left, right=right, mass=mass / mass.sum(), unknown=True)

    def piece(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(index, seen): the piece that holds each stored value, the nearest where none does, and whether one does."""
        first = int(self.has_missing)
        gone = self.absent(v)
        if len(self.left) == first:  # nothing but missing cells was seen
            return np.zeros(len(v), np.int64), gone.copy()
        t = np.where(gone, self.left[first], self.cell(v))
        index = np.clip(np.searchsorted(self.left, t, side="right") - 1, first, len(self.left) - 1)
        seen = (t >= self.left[index]) & (t < self.right[index])
        after = np.minimum(index + 1, len(self.left) - 1)
        index = np.where(~seen & (self.left[after] - t < t - self.right[index]) & (t > self.left[index]), after, index)
        return np.where(gone & self.has_missing, 0, index), np.where(gone, self.has_missing, seen)

    def contains(self, v: np.ndarray) -> np.ndarray:
        """Which stored values lie in what was seen."""
        return self.piece(v)[1]

    def surprise(self, v: np.ndarray) -> np.ndarray:
        """log-probability in the house measure of the cells that were never seen; NaN for the others."""
        out = np.full(len(v), np.nan)
        strange = ~self.contains(v)
        if strange.any():
            some = v[strange]
            with np.errstate(invalid="ignore"):
                outside = self.outside(self.cell(some)) - self.log_step
            gone = 0.0 if self.unknown else math.log(self.epsilon)
            out[strange] = np.where(self.absent(some), gone, outside)
        return out

    def _share(self, piece: np.ndarray) -> np.ndarray:
        """The share of each piece that one of its cells takes."""
        return 1.0 / (self.right - self.left)[piece]

    def lift(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(F(v-), P(v)): the interval of the distribution function that each stored value's cell takes.

        u = F(v-) + U P(v) with U uniform is uniform on [0, 1] over the data, and lower(u) = v (Rueschendorf's
        distributional transform). Values outside what was seen take the nearest end of the nearest piece.
        """
        piece, _ = self.piece(v)
        share = self._share(piece)
        t = np.where(self.absent(v), self.left[piece] + 0.5, self.cell(v))
        start = np.clip((t - 0.5 - self.left[piece]) * share, 0.0, 1.0 - share)
        below = (np.cumsum(self.mass) - self.mass)[piece]
        return below + self.mass[piece] * start, self.mass[piece] * share

    def lower(self, u: np.ndarray) -> np.ndarray:
        """F^-1(u): the stored value at level u in [0, 1]."""
        return self._at(self.tokens(1, 1, whole=True).place(np.zeros(len(u), np.int64), np.clip(u, 0.0, 1.0)))

    def _at(self, t: np.ndarray) -> np.ndarray:
        if not self.has_missing:
            return self.value(t)
        return np.where(t < self.right[0], self.none(len(t)), self.value(np.maximum(t, self.right[0])))

    def log_prob(self, v: np.ndarray) -> np.ndarray:
        """The marginal law in the house measure, log P(v) - log h; never -inf."""
        piece, seen = self.piece(v)
        inside = self.log_seen + np.log(self.mass[piece] * self._share(piece)) - self.steps(v)
        return np.where(seen, inside, self.surprise(v))

    def steps(self, v: np.ndarray) -> np.ndarray:
        """log h of each cell; zero where it is missing."""
        return np.where(self.absent(v), 0.0, self.log_step)

    def tokens(self, bins: int, fine: int = 1, *, whole: bool = False) -> Tokens:
        """The pieces grouped into about `bins` coarse tokens of equal mass, each of at most `fine` parts.

        A piece as heavy as a bin stays alone, and so does missing; where there are no more pieces than bins, each is
        a token. `whole` puts every piece into one token.
        """
        count = len(self.mass)
        if whole:
            coarse, inner, fine = np.zeros(count, np.int64), np.zeros(count, np.int64), 1
        elif count <= bins:
            coarse, inner, fine = np.arange(count), np.zeros(count, np.int64), 1
        else:
            coarse, inner = grouped(self.mass, bins, int(self.has_missing)), np.zeros(count, np.int64)
            for start, stop in runs(coarse) if fine > 1 else ():
                inner[start:stop] = np.minimum(grouped(self.mass[start:stop], (fine + 1) // 2, 0), fine - 1)
            fine = int(inner.max()) + 1
        return Tokens((int(coarse[-1]) + 1, fine), self.left, self.right, self.mass, coarse * fine + inner)

    def encode(self, v: np.ndarray, tokens: Tokens) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(token, inside, seen): log P(v) - log h = log P(token) + inside, where the cell was seen.

        For a cell never seen, token is the nearest one and `inside` the whole log-probability.
        """
        piece, seen = self.piece(v)
        token = tokens.token[piece]
        share = self.mass[piece] / tokens.marginal.reshape(-1)[token] * self._share(piece)
        return token, np.where(seen, np.log(share) - self.steps(v) + self.log_seen, self.surprise(v)), seen

    def decode(self, token: np.ndarray, u: np.ndarray, tokens: Tokens) -> np.ndarray:
        """Stored values of tokens at level u in [0, 1) of the law inside each."""
        return self._at(tokens.place(token, u))

    def allow(self, tokens: Tokens, allowed: Allowed) -> Tokens:
        """`tokens` cut to an allowed set.

        Raises SpecError where the set holds nothing that was seen.
        """
        first = int(self.has_missing)
        floor = self.right[0] if first else -math.inf
        spans = [(max(a, floor), b) for a, b in self.spans(allowed) if b > floor]
        if first and allowed.missing:
            spans.append((float(self.left[0]), float(self.right[0])))
        cut = tokens.within(spans)
        if not len(cut.token):
            raise SpecError(f"the condition on {self.name!r} holds no value that was seen: {self.range_in_words()}")
        return cut

    def present(self) -> Allowed:
        """Everything that was seen except missing."""
        raise NotImplementedError

    def range_in_words(self) -> str:
        """What was seen, for messages."""
        raise NotImplementedError


def runs(code: np.ndarray) -> Iterator[tuple[int, int]]:
    """The (start, stop) of each run of equal values in a sorted array."""
    edges = np.flatnonzero(np.diff(code)) + 1
    return zip([0, *edges.tolist()], [*edges.tolist(), len(code)], strict=True)


def grouped(mass: np.ndarray, bins: int, alone: int) -> np.ndarray:
    """Group numbers 0, 1, ... of consecutive masses, about 1/bins of the whole each.

    A mass at least that heavy, and each of the first `alone`, is a group of its own.
    """
    target = mass.sum() / bins
    out = np.zeros(len(mass), np.int64)
    group, filled, shut = -1, 0.0, True
    for i, m in enumerate(mass):
        heavy = m >= target or i < alone
        if heavy or shut or filled + m / 2 > target:
            group, filled = group + 1, 0.0
        out[i], filled, shut = group, filled + m, heavy
    return out


def pieces_of(t: np.ndarray, missing: int) -> dict[str, Any]:
    """The pieces of a column: its cells `t` (integers as float64, none missing) beside `missing` missing ones.

    A value seen at least max(3, n/4000) times is an atom (the 1,024 most frequent of them); the others fall into
    intervals between their quantiles, ten rows or more in each, at most 1,024 of them.
    """
    n = len(t)
    levels, counts = np.unique(t, return_counts=True)
    common = np.flatnonzero(counts >= max(3, n / 4000))
    if len(common) > ATOMS:
        common = np.sort(common[np.argsort(-counts[common], kind="stable")[:ATOMS]])
    atoms = levels[common]
    rest = t[~np.isin(t, atoms)] if len(atoms) else t
    edges: list[Any] = [atoms - 0.5, atoms + 0.5]
    if len(rest):
        knots = np.quantile(rest, np.linspace(0, 1, max(2, min(KNOTS, len(rest) // 10)) + 1), method="nearest")
        edges += [np.floor(knots[:-1]) - 0.5, [rest.max() + 0.5]]
    cut = np.unique(np.concatenate(edges)) if n else np.zeros(0)
    mass = np.histogram(t, cut)[0] if n else np.zeros(0)
    keep = np.flatnonzero(mass)
    left, right, mass = cut[keep], cut[keep + 1], mass[keep]
    if missing:
        below = (left[0] if n else 0.0) - 2.0
        left, right, mass = np.r_[below, left], np.r_[below + 1.0, right], np.r_[missing, mass]
    return {
        "rows": n + missing,
        "has_missing": missing > 0,
        "left": left,
        "right": right,
        "mass": mass / max(n + missing, 1),
    }
