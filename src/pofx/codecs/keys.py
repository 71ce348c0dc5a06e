"""Keys: columns in which every row has a value of its own. They are not learned but made anew, in the same shape.

The key of row r needs no randomness: r goes through a bijection of the combinations that the shape leaves open, so
that two rows never share a key, whatever the chunks in which they are made.
"""

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

_GOLDEN = 0x9E3779B97F4A7C15
_BLOCK = 1 << 31
_ALPHABETS = (
    "0123456789",
    "0123456789abcdef",
    "0123456789ABCDEF",
    "abcdefghijklmnopqrstuvwxyz",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "0123456789abcdefghijklmnopqrstuvwxyz",
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
)


def shape_of_numbers(v: np.ndarray) -> dict[str, Any]:
    """The shape of whole-number keys: counted on from the smallest, or spread over the range."""
    low, high = int(v.min()), int(v.max())
    return {"count": high - low + 1 == len(v), "low": low, "high": high}


def numbers(shape: dict[str, Any], first: int, n: int) -> np.ndarray:
    """The keys of rows first to first + n, int64."""
    row = np.arange(first, first + n, dtype=np.int64)
    if shape["count"]:
        return shape["low"] + row
    total = shape["high"] - shape["low"] + 1
    block = min(total, _BLOCK)
    step = total // block
    inside = shuffled(row, block) * step + (scrambled(row, 0) % np.uint64(step)).astype(np.int64)
    return shape["low"] + inside + row // block * total


def shuffled(row: np.ndarray, size: int) -> np.ndarray:
    """A bijection of 0, ..., size - 1, size at most 2^31, applied to row mod size."""
    factor = int(size * 0.6180339887) | 1
    while np.gcd(factor, size) != 1:
        factor += 2
    return (row % size * factor + size // 3) % size


def scrambled(row: np.ndarray, salt: int) -> np.ndarray:
    """splitmix64 of each row number: 64 even bits, the same for the same (row, salt)."""
    with np.errstate(over="ignore"):
        z = row.astype(np.uint64) * np.uint64(_GOLDEN) + np.uint64((salt + 1) * _GOLDEN & (1 << 64) - 1)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def skeleton(text: str) -> str:
    """The text with every letter and digit replaced by x."""
    return "".join("x" if char.isalnum() else char for char in text)


def shape_of_texts(texts: list[str], limit: int = 64) -> dict[str, Any]:
    """The shape of text keys: the commonest skeletons with their shares, and the characters at each place of each."""
    groups: dict[str, list[str]] = defaultdict(list)
    for text in texts[:20000]:
        groups[skeleton(text)].append(text)
    common = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))[:limit]
    total = sum(len(members) for _, members in common)
    places = [[_alphabet({text[i] for text in members}) for i in range(len(form))] for form, members in common]
    return {
        "forms": [
            {"share": len(members) / total, "places": place} for (_, members), place in zip(common, places, strict=True)
        ]
    }


def _alphabet(chars: set[str]) -> str:
    if len(chars) == 1:
        return next(iter(chars))
    return next((alphabet for alphabet in _ALPHABETS if chars <= set(alphabet)), "".join(sorted(chars)))


def texts(shape: dict[str, Any], first: int, n: int) -> "pa.Array":
    """The keys of rows first to first + n, large_string."""
    import pyarrow as pa

    row = np.arange(first, first + n, dtype=np.int64)
    forms = shape["forms"]
    level = (row * 0.6180339887498949) % 1.0
    which = np.searchsorted(np.cumsum([form["share"] for form in forms])[:-1], level, side="right")
    out = np.full(n, "", object)
    for i, form in enumerate(forms):
        mine = which == i
        if mine.any():
            out[mine] = _filled(form["places"], row[mine])
    return pa.array(out, pa.large_string())


def _filled(places: list[str], row: np.ndarray) -> np.ndarray:
    size, counted = 1, []
    for i in reversed(range(len(places))):
        if len(places[i]) > 1 and size * len(places[i]) <= _BLOCK:
            counted.append(i)
            size *= len(places[i])
    left = shuffled(row, size)
    chars = np.empty((len(row), len(places)), dtype="U1")
    for i, alphabet in enumerate(places):
        if i not in counted:
            pick = scrambled(row, i) % np.uint64(len(alphabet))
            chars[:, i] = np.array(list(alphabet))[pick.astype(np.int64)]
    for i in counted:
        left, digit = np.divmod(left, len(places[i]))
        chars[:, i] = np.array(list(places[i]))[digit]
    whole = np.ascontiguousarray(chars).view(f"U{max(len(places), 1)}").reshape(-1).astype(object)
    again = row // size
    return np.where(again > 0, whole + np.char.add("-", again.astype(str)).astype(object), whole)
