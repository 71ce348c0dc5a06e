"""Numbers as texts, and back: how many decimals a column has, and how it spells them.

A number on a grid of d decimals is a whole number t = v 10^d; its text is made of t, never of a rounded v.
"""

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from .glue import glue

if TYPE_CHECKING:
    import pyarrow as pa

NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$"
WHOLE = r"^-?(0|[1-9]\d{0,17})$"
LEADING_ZERO = r"^[+-]?0\d"
COMMA = r"^[+-]?\d+(,\d+)?$"
THOUSANDS = r"^[+-]?\d{1,3}(,\d{3})*$"
_RARE = (("scientific", ""), ("shortest", ""), ("shortest", ".0"))
EXACT = 2.0**53
NEARLY_ALL = 0.999


@dataclass(frozen=True)
class Spelling:
    """How a column spells numbers.

    style: "fixed" (always `digits` decimals), "trimmed" (no zeros at the end, `tail` after whole numbers), "scientific"
    (200000 is 2e+05, as some programs spell whole numbers where that is shorter) or "shortest" (what tells the float64
    from its neighbours); `comma`: the decimal sign is a comma.
    """

    style: str = "fixed"
    digits: int = 0
    tail: str = ""
    comma: bool = False

    def meta(self) -> dict[str, Any]:
        """Plain values that rebuild the spelling."""
        return asdict(self)

    @classmethod
    def learn(cls, texts: "pa.Array", v: np.ndarray, decimals: int, comma: bool = False) -> Self:
        """The spelling that gives back most of the texts."""
        import pyarrow.compute as pc

        some = slice(0, 1 << 16)
        texts, v = texts[some], v[some]
        mark = "," if comma else "."
        digits = pc.max(pc.utf8_length(pc.replace_substring_regex(texts, rf"^[^{mark}]*[{mark}]?", ""))).as_py() or 0
        tries = [cls("fixed", digits, "", comma), cls("trimmed", 0, "", comma), cls("trimmed", 0, mark + "0", comma)]
        tries += [cls(style, 0, tail, comma) for style, tail in _RARE]
        best, most = tries[0], -1
        for one in tries:
            hits = pc.sum(pc.equal(one.render(v, decimals), texts)).as_py() or 0
            best, most = (one, hits) if hits > most else (best, most)
            if most == len(texts):
                break
        return best

    def render(self, v: np.ndarray, decimals: int) -> "pa.Array":
        """The texts, large_string, of numbers, none missing."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if v.dtype.kind == "i":
            texts = self._of_grid(v.astype(np.int64), 0)
            texts = _scientific(texts) if self.style == "scientific" else texts
        elif self.style == "shortest" or decimals < 0:
            texts = _shortest(v, self.tail)
        else:
            on = on_grid(v, decimals)
            texts = self._of_grid(np.rint(np.where(on, v, 0.0) * 10.0**decimals).astype(np.int64), decimals)
            if not on.all():
                texts = pc.if_else(pa.array(on), texts, _shortest(v, self.tail))
        return pc.replace_substring(texts, ".", ",") if self.comma else texts

    def _of_grid(self, t: np.ndarray, decimals: int) -> "pa.Array":
        import pyarrow as pa
        import pyarrow.compute as pc

        size = np.abs(t)
        whole = pa.array(size // 10**decimals).cast(pa.large_string())
        whole = pc.if_else(pa.array(t < 0), glue("-", whole), whole) if (t < 0).any() else whole
        places = max(decimals, self.digits if self.style == "fixed" else 0)
        if not places:
            return glue(whole, self.tail.replace(",", ".")) if self.tail else whole
        part = pa.array(size % 10**decimals).cast(pa.large_string())
        part = pc.utf8_lpad(part, decimals, "0") if decimals else pc.utf8_slice_codeunits(part, 0, 0)
        if self.style == "fixed":
            return glue(whole, pc.utf8_rpad(part, places, "0"), gap=".")
        part = pc.utf8_rtrim(part, "0")
        after = pc.if_else(pc.equal(part, ""), self.tail.replace(",", "."), glue(".", part))
        return glue(whole, after)


def _scientific(texts: "pa.Array") -> "pa.Array":
    import pyarrow.compute as pc

    sign = pc.replace_substring_regex(texts, "[0-9]", "")
    digits = pc.utf8_ltrim(texts, "-")
    front = pc.utf8_rtrim(digits, "0")
    long, short = pc.utf8_length(digits), pc.utf8_length(front)
    after = pc.if_else(pc.greater(short, 1), glue(".", pc.utf8_slice_codeunits(front, 1)), "")
    power = pc.utf8_lpad(pc.subtract(long, 1).cast("large_string"), 2, "0")
    spelled = glue(sign, pc.utf8_slice_codeunits(front, 0, 1), after, "e+", power)
    width = pc.add(pc.utf8_length(after), 5)
    return pc.if_else(pc.greater(long, width), spelled, texts)


def _shortest(v: np.ndarray, tail: str) -> "pa.Array":
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = pa.array(v).cast(pa.large_string())
    if tail:
        texts = pc.if_else(pc.match_substring(texts, "."), texts, glue(texts, tail))
    size = np.abs(v)
    far = ((size < 1e-4) | (size >= 1e16)) & (size > 0)
    if far.any():
        spelled = pa.array([repr(x) for x in v[far].tolist()], pa.large_string())
        texts = pc.replace_with_mask(texts, pa.array(far), spelled)
    return texts


def on_grid(v: np.ndarray, decimals: int) -> np.ndarray:
    """Which numbers have no more than `decimals` decimals (and are exact in float64)."""
    with np.errstate(over="ignore", invalid="ignore"):
        t = np.rint(v * 10.0**decimals)
        return (np.abs(t) < EXACT) & (t / 10.0**decimals == v)


def decimals_of(v: np.ndarray) -> int:
    """The number of decimals, at most 12, that gives nearly all numbers exactly.

    Where there is none, the one that cuts their range into at most 1e12 steps; negative for numbers beyond 1e12.
    """
    if not len(v):
        return 0
    size, span = float(np.abs(v).max()), float(v.max() / 2 - v.min() / 2) * 2
    top = 15 - math.ceil(math.log10(size)) if size > 0 else 12
    for decimals in range(min(12, top) + 1):
        if on_grid(v[:1000], decimals).mean() >= 0.99 and on_grid(v, decimals).mean() >= NEARLY_ALL:
            return decimals
    steps = 12 - math.ceil(math.log10(min(span, 1e307))) if span > 0 else 12
    return max(min(steps, top, 300), -300)


def parse_numbers(texts: "pa.Array", comma: bool = False) -> "tuple[np.ndarray, np.ndarray]":
    """(numbers, ok): int64 if every text is a whole number, else float64; `ok` says which texts are numbers."""
    import pyarrow as pa
    import pyarrow.compute as pc

    ok = pc.match_substring_regex(texts, COMMA if comma else NUMBER)
    good = texts.filter(ok)
    good = pc.replace_substring(good, ",", ".") if comma else good
    good = pc.utf8_ltrim(good, "+")
    kind = pa.int64() if len(good) and pc.all(pc.match_substring_regex(good, WHOLE)).as_py() else pa.float64()
    return good.cast(kind).to_numpy(zero_copy_only=False), ok.to_numpy(zero_copy_only=False)


def read_numbers(texts: "pa.Array") -> tuple[np.ndarray, bool] | None:
    """(numbers, comma) if every text is a number and none begins with a needless zero; None otherwise."""
    import pyarrow.compute as pc

    if pc.any(pc.match_substring_regex(texts, LEADING_ZERO)).as_py():
        return None
    comma = pc.any(pc.match_substring(texts, ",")).as_py() or False
    if comma and pc.all(pc.match_substring_regex(texts, THOUSANDS)).as_py():
        return None
    v, ok = parse_numbers(texts, comma)
    return (v, comma) if ok.all() and np.isfinite(v).all() else None
