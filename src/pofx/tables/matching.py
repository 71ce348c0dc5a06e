"""Which row a further foreign key leads to: the one that agrees best with what was drawn of it."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..field import Field
from ..fields import Category
from ..spec import Columns

WISHES, ROWS = 4096, 2048  # that are matched together
SHARP, EVEN = 0.01, 0.2  # epsilon and lambda, in units of a level that differs
ROUNDS = 60  # of scaling
DIMENSIONS = 256  # of the points that rows become: levels beyond are told by their number


def matched(
    fields: Sequence[Field], n: int, wanted: Columns, rows: Columns, often: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The row that each of n wanted ones leads to, int64: one that agrees, and each as often as it is to be led to.

    d(w, r) = sum over levels of [w_j != r_j] + sum over numbers of |F_j(w_j) - G_j(r_j)|,

    F_j the distribution function of column j among the rows that were learned from, which `fields` hold, and G_j that
    among the new rows: the third dearest of old rows is the third dearest of new ones. Missing is a level of its own.
    With b the shares of `often`, drawn of each row as the number of its children, rows are drawn from the plan P of
    least  sum P d + epsilon KL(P | 1) + lambda KL(P's sums over w | b)  whose sums over r are even: unbalanced optimal
    transport. A level counts for more than b does, b for more than small differences of numbers.

    Chizat et al. 2018, Scaling Algorithms for Unbalanced Optimal Transport Problems.
    """
    size, out = len(often), np.zeros(n, np.int64)
    here, there = _points(fields, n, wanted, rows, False), _points(fields, size, rows, rows, True)
    parts = np.array_split(rng.permutation(size), -(-size // ROWS))
    mass = np.array([often[part].sum() for part in parts], np.float64) + 1e-9
    which = rng.choice(len(parts), n, p=mass / mass.sum())
    for k, part in enumerate(parts):
        mine = rng.permutation(np.flatnonzero(which == k))
        for some in np.array_split(mine, max(1, -(-len(mine) // WISHES))):
            if len(some):
                law = _plan(here[some], there[part], often[part].astype(np.float64))
                level = torch.from_numpy(rng.random(len(some)))[:, None] * law[:, -1:]
                out[some] = part[torch.searchsorted(law, level).squeeze(1).clamp(max=len(part) - 1).numpy()]
    return out


def _plan(wishes: np.ndarray, points: np.ndarray, often: np.ndarray) -> Tensor:
    """The plan's sums from the first row on, for each wish, (wishes, rows)."""
    d = torch.cdist(torch.from_numpy(wishes), torch.from_numpy(points), p=1).double()
    kernel = torch.exp((d.min(1, keepdim=True).values - d) / SHARP)
    b = torch.from_numpy(often + 1e-6) / (often + 1e-6).sum() * len(wishes)
    v, power = torch.ones_like(b), EVEN / (EVEN + SHARP)
    for _ in range(ROUNDS):
        u = 1.0 / (kernel @ v).clamp(min=1e-300)
        v = (b / (kernel.T @ u).clamp(min=1e-300)) ** power
    return torch.cumsum(kernel * v, 1)


def _points(fields: Sequence[Field], n: int, x: Columns, rows: Columns, new: bool) -> np.ndarray:
    """n points whose distance, the sum of absolute differences, is d; `new`: of the new rows themselves."""
    parts = [np.zeros((n, 1))]
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
            parts.append(np.where(gone, 0.0, rank if new else _rank(field, v))[:, None])
        parts.append(gone[:, None] / 2.0)
    return np.concatenate(parts, 1).astype(np.float32)


def _rank(field: Field, v: np.ndarray) -> np.ndarray:
    """The middle of the interval of F that each value takes, among those that are not missing."""
    below, mass = field.lift(v)
    gone = float(field.mass[0]) if field.has_missing else 0.0
    return (below + mass / 2 - gone) / max(1.0 - gone, 1e-9)


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
