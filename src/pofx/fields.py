"""The kinds of field: numbers, dates, levels; each says how its stored values lie on a grid of cells (field.py)."""

import math
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from .errors import SpecError
from .field import MISSING, Allowed, Field, pieces_of


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
class Pixel(Integer):
    """A shade from 0 to `top`, stored as uint8 over the sites of an image; never missing, and every shade is known."""

    kind = "pixel"
    dtype = np.dtype(np.uint8)
    top: int = 255

    @classmethod
    def learn(cls, name: str, v: np.ndarray, decimals: int = 0, top: int = 255, **support: Any) -> Self:
        """The field of a channel, (n, H, W); its marginal law is that of all sites alike."""
        counts = np.bincount(v.ravel(), minlength=top + 1)
        if len(counts) > top + 1:
            raise SpecError(f"channel {name!r}: expected shades from 0 to {top}, got {len(counts) - 1}")
        shade, mass = np.arange(top + 1, dtype=np.float64), (counts + 1 / (top + 1)) / (v.size + 1)
        return cls(name=name, rows=len(v), has_missing=False, left=shade - 0.5, right=shade + 0.5, mass=mass,
                   base=0, lowest=0.0, highest=float(top), top=top, **support)  # fmt: skip

    def absent(self, v: np.ndarray) -> np.ndarray:
        return np.zeros(len(v), bool)

    def value(self, t: np.ndarray) -> np.ndarray:
        return super().value(t).astype(np.uint8)

    def meta(self) -> dict[str, Any]:
        return super().meta() | {"top": self.top}


@dataclass(frozen=True, kw_only=True)
class Level(Pixel):
    """How loud a sound is at a frame and a frequency, in 255 steps of `decibels`; 0 is silence (codecs/audio.py)."""

    kind = "level"
    decibels = 80.0


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


@dataclass(frozen=True, kw_only=True)
class Token(Category):
    """A symbol of a sequence over at most T sites, stored as its int32 code.

    Where sequences end (`ends`) code 0 is the END, which also fills what follows it; that filling is never learned.
    """

    kind = "token"
    ends: bool = True

    @classmethod
    def learn(cls, name: str, v: np.ndarray, levels: tuple[str, ...], **more: Any) -> Self:
        """The field of codes (n, T) into levels; its marginal law is that of all sites alike, each level possible."""
        told = v.ravel()
        if more.get("ends", cls.ends):
            told = v[np.cumsum(v == 0, 1) - (v == 0) == 0]  # up to and with the first END
        counts = np.bincount(told, minlength=len(levels))
        if len(counts) > len(levels):
            raise SpecError(f"sequence {name!r}: expected codes 0 to {len(levels) - 1}, got {len(counts) - 1}")
        code, mass = np.arange(len(levels), dtype=np.float64), (counts + 1 / len(levels)) / (told.size + 1)
        return cls(name=name, rows=len(v), has_missing=False, left=code - 0.5, right=code + 0.5, mass=mass,
                   levels=levels, **more)  # fmt: skip

    def meta(self) -> dict[str, Any]:
        return super().meta() | {"ends": self.ends}


@dataclass(frozen=True, kw_only=True)
class Note(Token):
    """A symbol of music: code 0 the END, 1 the STEP, which closes a time step, then the pitches from high to low.

    Where notes are `held`, the pitches stand there twice: struck, then held on from the step before. Legal is a pitch
    below the one before it in its step, held only if it sounded in the step before; a STEP; and an END after a STEP or
    at the beginning.
    """

    kind = "note"
    held: bool = False

    @property
    def pitches(self) -> int:
        """How many pitches there are."""
        return (len(self.levels) - 2) // (1 + self.held)

    def meta(self) -> dict[str, Any]:
        return super().meta() | {"held": self.held}


@dataclass(frozen=True, kw_only=True)
class Voice(Token):
    """A site of music in voices, step by step and in each from the first voice to the last: code 0 is the END, 1 a
    rest, then the pitches from low to high. Sequences end after a whole step.
    """

    kind = "voice"
    voices: int = 4

    def meta(self) -> dict[str, Any]:
        return super().meta() | {"voices": self.voices}


SCALARS = (Real, Integer, Count, Bounded, Positive, Pixel, Level, Category, Ordinal, Angle, Datetime)
KINDS: dict[str, type[Field]] = {cls.kind: cls for cls in (*SCALARS, Token, Note, Voice)}


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
