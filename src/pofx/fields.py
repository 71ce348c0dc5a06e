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
        return {"kind": self.kind, "name": self.name, "rows": self.rows, "has_missing": self.has_missing}

    # -- what follows for all ----------------------------------------------------------------------------------------

    @property
    def epsilon(self) -> float:
        """1/(n+4), the mass kept for each state that was never seen; a field has at most four of them."""
        return 1.0 / (self.rows + 4)

    @property
    def log_seen(self) -> float:
        """log n/(n+4), the mass that unseen states leave to what was seen."""
        return math.log(max(self.rows, 1) / (max(self.rows, 1) + 4))

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
            out[strange] = np.where(self.absent(some), math.log(self.epsilon), outside)
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


@dataclass(frozen=True, kw_only=True)
class Number(Field):
    """A number on a decimal grid: value = (base + t) * 10^-decimals.

    Its tails fall off as s / (s + d)^2 with the distance d, s a tenth of the range seen, and end where the support
    [`lowest`, `highest`] (in cells) ends.
    """

    base: int
    decimals: int = 0
    lowest: float = -math.inf
    highest: float = math.inf

    @classmethod
    def learn(cls, name: str, v: np.ndarray, decimals: int = 0, **support: Any) -> Self:
        """The field of a column of stored values; infinite values are a SpecError."""
        blank = cls(name=name, base=0, decimals=decimals, **support, **pieces_of(np.zeros(0), 0))
        gone = blank.absent(v)
        if np.isinf(v[~gone].astype(np.float64)).any():
            raise SpecError(f"column {name!r} holds infinite values: replace them by missing or by a number")
        some = v[~gone]
        base = int(blank.cell(some).min()) if v.dtype.kind == "f" and len(some) else int(some.min()) if len(some) else 0
        based = replace(blank, base=base)
        return replace(based, **pieces_of(based.cell(some), int(gone.sum())))

    def absent(self, v: np.ndarray) -> np.ndarray:
        return np.isnan(v) if v.dtype.kind == "f" else v == MISSING

    def cell(self, v: np.ndarray) -> np.ndarray:
        if v.dtype.kind == "f":
            return np.round(v * 10.0**self.decimals) - self.base
        return (v - np.int64(self.base)).astype(np.float64)

    def value(self, t: np.ndarray) -> np.ndarray:
        near = np.floor(t + 0.5)
        if self.dtype.kind == "f":
            return (near + self.base) / 10.0**self.decimals
        return near.astype(np.int64) + np.int64(self.base)

    def none(self, n: int) -> np.ndarray:
        return np.full(n, np.nan if self.dtype.kind == "f" else MISSING, self.dtype)

    @property
    def log_step(self) -> float:
        return -self.decimals * math.log(10.0)

    def spans(self, allowed: Allowed) -> list[tuple[float, float]]:
        scale = 10.0**self.decimals
        ends = ((a * scale - self.base, b * scale - self.base) for a, b in allowed.intervals)
        return [(math.ceil(a - 1e-6) - 0.5 if a > -math.inf else a,
                 math.floor(b + 1e-6) + 0.5 if b < math.inf else b) for a, b in ends]  # fmt: skip

    def outside(self, t: np.ndarray) -> np.ndarray:
        first = int(self.has_missing)
        if len(self.left) == first:
            return np.full(len(t), math.log(self.epsilon) - math.log(2.0**53))
        low, high = self.left[first], self.right[-1]
        gaps = max((high - low) - (self.right - self.left)[first:].sum(), 1.0)
        scale = max((high - low) / 10, 1.0)
        down, up = low - t - 0.5, t - 0.5 - high
        room_down, room_up = low - (self.lowest - 0.5), self.highest + 0.5 - high
        out = np.full(len(t), -math.log(gaps))
        for far, room in ((down, room_down), (up, room_up)):
            tail = np.log(scale) - np.log(scale + np.abs(far)) - np.log(scale + np.abs(far) + 1)
            tail -= math.log(room / (scale + room)) if 0 < room < math.inf else 0.0
            out = np.where(far >= 0, tail, out)
        return out + math.log(self.epsilon)

    def present(self) -> Allowed:
        return Allowed(intervals=((-math.inf, math.inf),))

    def range_in_words(self) -> str:
        first = int(self.has_missing)
        if len(self.left) == first:
            return "every cell was missing"
        ends = self.value(np.array([self.left[first] + 0.5, self.right[-1] - 0.5]))
        return f"values lay in [{ends[0]}, {ends[1]}]" + (", some were missing" if first else "")

    def meta(self) -> dict[str, Any]:
        more = {"base": self.base, "decimals": self.decimals}
        ends = {"lowest": self.lowest, "highest": self.highest}
        return super().meta() | more | {k: v for k, v in ends.items() if math.isfinite(v)}


@dataclass(frozen=True, kw_only=True)
class Real(Number):
    """A real number with decimals as seen."""

    kind = "real"


@dataclass(frozen=True, kw_only=True)
class Positive(Number):
    """A real number above zero."""

    kind = "positive"

    @classmethod
    def learn(cls, name: str, v: np.ndarray, decimals: int = 0, **support: Any) -> Self:
        field = super().learn(name, v, decimals, **support)
        return replace(field, lowest=1.0 - field.base)


@dataclass(frozen=True, kw_only=True)
class Bounded(Number):
    """A real number in an interval [low, high], ends included."""

    kind = "bounded"

    @classmethod
    def learn(
        cls, name: str, v: np.ndarray, decimals: int = 0, low: float = 0.0, high: float = 1.0, **support: Any
    ) -> Self:
        field = super().learn(name, v, decimals, **support)
        ends = field.cell(np.array([low, high], np.float64))
        return replace(field, lowest=float(ends[0]), highest=float(ends[1]))


@dataclass(frozen=True, kw_only=True)
class Angle(Number):
    """An angle in degrees, [0, 360): every value is inside its support."""

    kind = "angle"

    @classmethod
    def learn(cls, name: str, v: np.ndarray, decimals: int = 0, **support: Any) -> Self:
        field = super().learn(name, np.mod(v, 360.0), decimals, **support)
        ends = field.cell(np.array([0.0, 360.0]))
        return replace(field, lowest=float(ends[0]), highest=float(ends[1] - 1))


@dataclass(frozen=True, kw_only=True)
class Integer(Number):
    """A whole number, stored as int64."""

    kind = "integer"
    dtype = np.dtype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Count(Integer):
    """A whole number, zero or more."""

    kind = "count"

    @classmethod
    def learn(cls, name: str, v: np.ndarray, decimals: int = 0, **support: Any) -> Self:
        field = super().learn(name, v, decimals, **support)
        return replace(field, lowest=float(-field.base))


@dataclass(frozen=True, kw_only=True)
class Datetime(Integer):
    """A moment, stored as int64 steps of `unit` (D, h, m, s, ms, us or ns) since 1970 in its own time zone or UTC."""

    kind = "datetime"
    unit: str = "s"

    def meta(self) -> dict[str, Any]:
        return super().meta() | {"unit": self.unit}

    def range_in_words(self) -> str:
        first = int(self.has_missing)
        if len(self.left) == first:
            return "every cell was missing"
        ends = self.value(np.array([self.left[first] + 0.5, self.right[-1] - 0.5])).astype(f"datetime64[{self.unit}]")
        return f"moments lay between {ends[0]} and {ends[1]}"


@dataclass(frozen=True, kw_only=True)
class Category(Field):
    """One of `levels`, stored as its int32 code; levels stand in falling frequency."""

    kind = "category"
    dtype = np.dtype(np.int32)
    levels: tuple[str, ...]

    @classmethod
    def learn(cls, name: str, v: np.ndarray, levels: tuple[str, ...], **more: Any) -> Self:
        """The field of a column of codes into levels; each level must occur."""
        counts = np.bincount(v[v >= 0], minlength=len(levels))
        if len(counts) > len(levels) or (counts == 0).any():
            raise SpecError(f"column {name!r}: expected codes 0 to {len(levels) - 1}, each at least once")
        code, gone = np.arange(len(levels), dtype=np.float64), int((v < 0).sum())
        left, right, mass = code - 0.5, code + 0.5, counts
        if gone:
            left, right, mass = np.r_[-2.5, left], np.r_[-1.5, right], np.r_[gone, mass]
        return cls(name=name, rows=len(v), has_missing=gone > 0, left=left, right=right,
                   mass=mass / max(len(v), 1), levels=levels, **more)  # fmt: skip

    def absent(self, v: np.ndarray) -> np.ndarray:
        return v < 0

    def cell(self, v: np.ndarray) -> np.ndarray:
        return v.astype(np.float64)

    def value(self, t: np.ndarray) -> np.ndarray:
        return np.floor(t + 0.5).astype(np.int32)

    def none(self, n: int) -> np.ndarray:
        return np.full(n, -1, np.int32)

    def spans(self, allowed: Allowed) -> list[tuple[float, float]]:
        return [(code - 0.5, code + 0.5) for code in sorted(allowed.codes)]

    def outside(self, t: np.ndarray) -> np.ndarray:
        return np.full(len(t), math.log(self.epsilon))

    def present(self) -> Allowed:
        return Allowed(codes=frozenset(range(len(self.levels))))

    def range_in_words(self) -> str:
        shown = ", ".join(map(repr, self.levels[:8])) + (", ..." if len(self.levels) > 8 else "")
        return f"levels were {shown}" + (", some were missing" if self.has_missing else "")

    def meta(self) -> dict[str, Any]:
        return super().meta() | {"levels": list(self.levels)}


@dataclass(frozen=True, kw_only=True)
class Ordinal(Category):
    """One of `levels` that stand in an order of their own."""

    kind = "ordinal"


KINDS: dict[str, type[Field]] = {
    cls.kind: cls for cls in (Real, Integer, Count, Bounded, Positive, Category, Ordinal, Angle, Datetime)
}


def from_meta(meta: dict[str, Any], pieces: np.ndarray) -> Field:
    """The field of `meta()` and its pieces, (3, P): left, right, mass.

    Raises SpecError for a kind that does not exist.
    """
    meta = dict(meta)
    kind = meta.pop("kind", None)
    if kind not in KINDS:
        raise SpecError(f"expected a field of a kind in {', '.join(KINDS)}, got {kind!r}")
    if "levels" in meta:
        meta["levels"] = tuple(meta["levels"])
    left, right, mass = np.ascontiguousarray(pieces, np.float64)
    return KINDS[kind](**meta, left=left, right=right, mass=mass)
