"""Which row a further foreign key leads to: the one that agrees best with what was drawn of it."""

from collections.abc import Sequence

import numpy as np
import torch

from ..field import Field
from ..fields import Category
from ..spec import Columns

PAIRS = 2**24  # distances that are held at a time
DIMENSIONS = 256  # of the points that rows become: levels beyond are told by their number


def matched(fields: Sequence[Field], wanted: Columns, rows: Columns, rng: np.random.Generator) -> np.ndarray:
    """The row that is nearest to each wanted one, int64; by chance among equal ones.

    d(w, r) = sum over levels of [w_j != r_j] + sum over numbers of |F_j(w_j) - F_j(r_j)|,

    F_j the distribution function of column j among the rows; missing is a level of its own.
    """
    n = len(next(iter(rows.values())))
    if not fields:
        return rng.integers(0, n, len(next(iter(wanted.values()))))
    here, there = (_points(fields, x, rows) for x in (wanted, rows))
    points, which = np.unique(there, axis=0, return_inverse=True)
    which = which.reshape(-1)
    order = np.argsort(which, kind="stable")
    start = np.searchsorted(which[order], np.arange(len(points)))
    size = np.bincount(which, minlength=len(points))
    asked, back = np.unique(here, axis=0, return_inverse=True)
    near = _nearest(asked, points)[back.reshape(-1)]
    return order[start[near] + (rng.random(len(near)) * size[near]).astype(np.int64)]


def _points(fields: Sequence[Field], x: Columns, rows: Columns) -> np.ndarray:
    """Points whose distance, the sum of absolute differences, is d."""
    parts = []
    room = DIMENSIONS
    for field in fields:
        v, among = x[field.name], rows[field.name]
        gone, lost = field.absent(v), field.absent(among)
        if isinstance(field, Category) and len(np.unique(among)) <= room:
            levels = np.unique(among[~lost])
            parts.append((v[:, None] == levels[None, :]) / 2.0)
            room -= len(levels)
        else:
            seen = np.sort(among[~lost])
            rank = (np.searchsorted(seen, v, "left") + np.searchsorted(seen, v, "right")) / (2.0 * max(len(seen), 1))
            parts.append(np.where(gone, 0.0, rank)[:, None])
        parts.append(gone[:, None] / 2.0)
    return np.concatenate(parts, 1).astype(np.float32)


def _nearest(asked: np.ndarray, points: np.ndarray) -> np.ndarray:
    size = max(1, PAIRS // len(points))
    there = torch.from_numpy(points)
    some = [torch.cdist(part, there, p=1).argmin(1) for part in torch.from_numpy(asked).split(size)]
    return torch.cat(some).numpy() if some else np.zeros(0, np.int64)


def unlike(at: np.ndarray, to: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """The referred rows `to` of rows of parents `at`, changed so that no parent has one twice; -1 where none is left.

    What is changed is drawn evenly among those that the parent has not.
    """
    out = to.copy()
    pair = at * np.int64(size) + to
    _, first = np.unique(pair, return_index=True)
    again = np.ones(len(at), bool)
    again[first] = False
    taken: dict[int, set[int]] = {}
    for i in np.flatnonzero(~again & np.isin(at, at[again])):
        taken.setdefault(int(at[i]), set()).add(int(to[i]))
    for i in np.flatnonzero(again):
        own = taken[int(at[i])]
        free = np.setdiff1d(np.arange(size), np.fromiter(own, np.int64)) if len(own) < size else np.zeros(0, np.int64)
        out[i] = rng.choice(free) if len(free) else -1
        own.add(int(out[i]))
    return out
