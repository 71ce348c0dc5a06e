"""Functional dependencies X -> Y: columns that are a function of another one, found in the rows, kept in what is made.

A dependency is believed if it holds in every row and is no accident: were Y independent of X, the rows that share
their value of X with another row would agree in Y with probability exp(-I),

    I = - sum_x (n_x - 1) log p(y_x),

and I must exceed 50 nats beside the logarithm of the number of pairs looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

EVIDENCE = 50.0
LEVELS = 1000
COLUMNS = 200
SAMPLE = 1024


@dataclass(frozen=True)
class Coded:
    """A column as codes 0, ..., levels - 1 in the order of its sorted stored values.

    `rank` orders the columns in which a root is sought: the smaller stays. `free` says that it may be dropped.
    """

    name: str
    values: np.ndarray
    codes: np.ndarray
    counts: np.ndarray
    rank: tuple[int, ...]
    free: bool = True

    @classmethod
    def of(cls, name: str, stored: np.ndarray, rank: tuple[int, ...], free: bool) -> "Coded | None":
        """The codes of a stored column; None where it has too many values, or one, to take part."""
        values, codes, counts = np.unique(stored, return_inverse=True, return_counts=True)
        fits = 2 <= len(values) <= LEVELS and len(stored) >= 10 * len(values)
        return cls(name, values, codes.astype(np.int32), counts, rank, free) if fits else None


@dataclass(frozen=True)
class Dependency:
    """target = map(source), on stored values: `values` of the source, sorted, and the target's `images` of them."""

    source: str
    target: str
    values: np.ndarray
    images: np.ndarray

    def apply(self, x: np.ndarray) -> np.ndarray:
        """The target's stored values; a value never seen takes the image of the nearest one."""
        after = np.clip(np.searchsorted(self.values, x), 0, len(self.values) - 1)
        before = np.maximum(after - 1, 0)
        far = np.abs(self.values[after].astype(np.float64) - x.astype(np.float64))
        near = np.abs(x.astype(np.float64) - self.values[before].astype(np.float64)) < far
        return self.images[np.where(near, before, after)]

    def known(self, x: np.ndarray) -> np.ndarray:
        """Which of the source's stored values were seen."""
        return np.isin(x, self.values)


def find(columns: Sequence[Coded]) -> list[Dependency]:
    """The dependencies to keep: each target once, from a source that is no target itself."""
    columns = sorted(columns, key=lambda column: (len(column.values), column.rank))[:COLUMNS]
    columns = sorted(columns, key=lambda column: column.rank)
    arrows = _arrows(columns)
    source: dict[int, int] = {}
    for y in range(len(columns) - 1, -1, -1):
        able = [x for x in arrows[y] if (x < y or y not in arrows[x]) and _root(x, source) != y]
        if able and columns[y].free:
            source[y] = min(able, key=lambda x: (len(columns[x].values), columns[x].rank))
    out = [_dependency(columns[_root(x, source)], columns[y]) for y, x in source.items()]
    return sorted(out, key=lambda dependency: (dependency.source, dependency.target))


def _root(x: int, source: dict[int, int]) -> int:
    while x in source:
        x = source[x]
    return x


def _arrows(columns: list[Coded]) -> list[set[int]]:
    """For each column, the columns that it is a function of."""
    out: list[set[int]] = [set() for _ in columns]
    if len(columns) < 2:
        return out
    some = np.stack([column.codes[:: max(len(column.codes) // SAMPLE, 1)][:SAMPLE] for column in columns], 1)
    need = EVIDENCE + 2 * np.log(len(columns))
    for x, column in enumerate(columns):
        order = np.argsort(some[:, x], kind="stable")
        same = some[order[1:], x] == some[order[:-1], x]
        apart = ((some[order[1:]] != some[order[:-1]]) & same[:, None]).any(0)
        for y in np.flatnonzero(~apart):
            if y != x and len(columns[y].values) <= len(column.values) and _holds(column, columns[y], need):
                out[y].add(x)
    return out


def _holds(x: Coded, y: Coded, need: float) -> bool:
    image = np.zeros(len(x.values), np.int32)
    image[x.codes] = y.codes
    if not np.array_equal(image[x.codes], y.codes) or (x.counts >= 2).mean() < 0.8:
        return False
    return float(-((x.counts - 1) * np.log(y.counts[image] / len(y.codes))).sum()) >= need


def _dependency(x: Coded, y: Coded) -> Dependency:
    image = np.zeros(len(x.values), np.int32)
    image[x.codes] = y.codes
    return Dependency(x.name, y.name, x.values, y.values[image])
