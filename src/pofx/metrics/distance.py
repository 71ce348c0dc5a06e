"""Distances between rows: numbers scaled by the range of the reference rows, plus 2 for each level that differs.

With power 1 the distance is the L1 distance of range-scaled numbers and one-hot levels; with power 2 it is their
squared Euclidean distance, since both count 2 for a level that differs. A missing number stands at one half and is a
level of its own. Pairs are met in blocks, so that memory is bounded, and no one-hot matrix is ever made.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np

from ..field import Field
from ..spec import Columns
from . import count, is_level, numbers

BLOCK = 1 << 17
BUDGET = 2.5e9


@dataclass(frozen=True)
class Points:
    """Rows as scaled numbers (n, k) and levels (n, m)."""

    numbers: np.ndarray
    levels: np.ndarray

    def __len__(self) -> int:
        return len(self.levels)

    def __getitem__(self, rows: slice | np.ndarray) -> Self:
        return type(self)(self.numbers[rows], self.levels[rows])


class Space:
    """The scale of a reference table: `place` puts any rows in it."""

    def __init__(self, fields: tuple[Field, ...], reference: Columns) -> None:
        self.levels = [f for f in fields if is_level(f)]
        self.numbers = [f for f in fields if not is_level(f)]
        self.low, self.span = np.zeros(len(self.numbers)), np.ones(len(self.numbers))
        for i, f in enumerate(self.numbers):
            v = numbers(f, reference)
            v = v[np.isfinite(v)]
            if len(v):
                self.low[i], self.span[i] = v.min(), max(float(np.ptp(v)), 1e-12) if np.ptp(v) else 1.0

    def place(self, x: Columns) -> Points:
        """The rows of x as points."""
        n = count(x)
        raw = np.stack([numbers(f, x) for f in self.numbers], 1) if self.numbers else np.zeros((n, 0))
        gone = np.isnan(raw)
        scaled = np.where(gone, 0.5, (raw - self.low) / self.span)
        levels = [x[f.name] for f in self.levels] + [gone[:, i] for i in range(raw.shape[1]) if gone[:, i].any()]
        top = max((int(v.max(initial=0)) for v in levels), default=0)
        small = np.int16 if top < np.iinfo(np.int16).max else np.int32
        return Points(scaled, np.stack(levels, 1).astype(small) if levels else np.zeros((n, 0), small))

    def __call__(self, *tables: Columns) -> list[Points]:
        """The rows of several tables as points of one space."""
        joined = {f.name: np.concatenate([x[f.name] for x in tables]) for f in (*self.numbers, *self.levels)}
        whole = self.place(joined)
        ends = np.cumsum([0, *(count(x) for x in tables)])
        return [whole[a:b] for a, b in zip(ends[:-1], ends[1:], strict=True)]


def affordable(queries: int, reference: int, columns: int, budget: float = BUDGET) -> int:
    """How many of the queries fit into the budget of comparisons of cells."""
    return max(1, min(queries, int(budget / max(reference * columns, 1))))


def between(a: Points, b: Points, power: int) -> np.ndarray:
    """All distances, (len(a), len(b)) float32."""
    from scipy.spatial.distance import cdist

    if a.numbers.shape[1]:
        out = cdist(a.numbers, b.numbers, "cityblock" if power == 1 else "sqeuclidean").astype(np.float32)
    else:
        out = np.zeros((len(a), len(b)), np.float32)
    differ = np.zeros(out.shape, np.uint8 if a.levels.shape[1] < 128 else np.uint16)
    for left, right in zip(a.levels.T, b.levels.T, strict=True):
        differ += left[:, None] != right[None, :]
    out += differ * differ.dtype.type(2)
    return out


def nearest(
    a: Points, b: Points, power: int = 1, neighbour: int = 1, without: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(distance, position) in b of the k-th nearest neighbour of each row of a; `without[i]` is left out for row i."""
    return in_blocks(lambda rows: between(a[rows], b, power), (len(a), len(b)), BLOCK, neighbour, without)


def in_blocks(
    apart: Callable[[slice], np.ndarray],
    sizes: tuple[int, int],
    block: int,
    neighbour: int = 1,
    without: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """`nearest` by any distance: apart(rows) is that of so many of the n to all m of sizes (n, m), about `block` of
    them at a time.
    """
    n, m = sizes
    step = max(1, block // max(m, 1))
    found = [(np.zeros(0, np.float32), np.zeros(0, np.int64))]
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        d = apart(rows)
        at = np.arange(len(d))
        if without is not None:
            d[at, without[rows]] = np.inf
        place = d.argmin(1) if neighbour == 1 else np.argpartition(d, neighbour - 1, axis=1)[:, neighbour - 1]
        found.append((d[at, place], place))
    distance, position = (np.concatenate(part) for part in zip(*found, strict=True))
    return distance, position
