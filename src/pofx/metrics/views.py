"""Views of two tables for the eye: shares of each column, and of each pair of columns, synthetic beside real."""

from typing import Any

import numpy as np

from ..field import Field
from ..fields import Category
from ..spec import Columns
from . import is_level, numbers
from .two_sample import level_name, number_word

BARS = 30
LEVELS = 12
CELLS = 8


def marginal(field: Field, fake: Columns, real: Columns) -> dict[str, Any]:
    """The shares of a column: bins from the 0.5 to the 99.5 % quantile with the tails in the outer ones, or levels.

    `edges` is None for levels and for numbers of few values; `labels` names each share; the last one may be missing.
    """
    edges: np.ndarray | None = None
    if is_level(field):
        labels, cells = _levels(field, fake, real, LEVELS)
    else:
        edges = _edges(field, real)
        labels, cells = _bins(field, edges, fake, real)
    shares = [np.bincount(c, minlength=len(labels)) / max(len(c), 1) for c in cells]
    few = len(labels) - 1 <= LEVELS
    return {
        "name": field.name,
        "kind": field.kind,
        "labels": labels,
        "edges": None if edges is None or few else edges.tolist(),
        "fake": shares[0].tolist(),
        "real": shares[1].tolist(),
    }


def joint(a: Field, b: Field, fake: Columns, real: Columns) -> dict[str, Any]:
    """The shares of a pair of columns, (cells of a, cells of b), synthetic and real."""
    sides = [_coarse(f, fake, real) for f in (a, b)]
    sizes = tuple(len(labels) for labels, _ in sides)
    out: dict[str, Any] = {"a": a.name, "b": b.name, "a_labels": sides[0][0], "b_labels": sides[1][0]}
    for k, name in enumerate(("fake", "real")):
        both = sides[0][1][k] * sizes[1] + sides[1][1][k]
        out[name] = (np.bincount(both, minlength=sizes[0] * sizes[1]) / max(len(both), 1)).reshape(sizes).tolist()
    return out


def _coarse(field: Field, fake: Columns, real: Columns) -> tuple[list[str], list[np.ndarray]]:
    if is_level(field):
        return _levels(field, fake, real, CELLS)
    v = numbers(field, real)
    v = v[np.isfinite(v)]
    edges = np.unique(np.quantile(v, np.linspace(0, 1, CELLS + 1))) if len(v) else np.zeros(1)
    labels, cells = _bins(field, edges if len(edges) > 1 else np.array([edges[0], edges[0] + 1]), fake, real)
    return [label if label == "missing" else f"{label} +" for label in labels], cells


def _edges(field: Field, real: Columns) -> np.ndarray:
    v = numbers(field, real)
    v = v[np.isfinite(v)]
    if not len(v):
        return np.array([0.0, 1.0])
    values = np.unique(v)
    if len(values) <= LEVELS:
        return np.r_[values, values[-1] + 1]
    low, high = np.quantile(v, [0.005, 0.995])
    low, high = (low, high) if low < high else (v.min(), v.max())
    if field.dtype.kind == "i":
        step = max(int(np.ceil((high - low + 1) / BARS)), 1)
        return np.arange(np.floor(low), high + step + 1, step)
    return np.linspace(low, high, BARS + 1)


def _bins(field: Field, edges: np.ndarray, fake: Columns, real: Columns) -> tuple[list[str], list[np.ndarray]]:
    labels = [number_word(field, edge) for edge in edges[:-1]] + ["missing"]
    cells = []
    for x in (fake, real):
        v = numbers(field, x)
        place = np.clip(np.searchsorted(edges, v, side="right") - 1, 0, len(edges) - 2)
        cells.append(np.where(np.isfinite(v), place, len(labels) - 1))
    return _without_empty(labels, cells)


def _levels(field: Category, fake: Columns, real: Columns, most: int) -> tuple[list[str], list[np.ndarray]]:
    size = len(field.levels)
    counts = np.bincount(real[field.name] + 1, minlength=size + 2)[1:-1]
    top = np.sort(np.argsort(-counts, kind="stable")[:most])
    labels = [level_name(field, int(k)) for k in top] + ["all others", "missing"]
    lookup = np.full(size + 2, len(top), np.int64)
    lookup[top + 1], lookup[0] = np.arange(len(top)), len(top) + 1
    return _without_empty(labels, [lookup[x[field.name].astype(np.int64) + 1] for x in (fake, real)])


def _without_empty(labels: list[str], cells: list[np.ndarray]) -> tuple[list[str], list[np.ndarray]]:
    seen = np.bincount(np.concatenate(cells), minlength=len(labels)) > 0
    extra = np.array([label in ("missing", "all others") for label in labels])
    keep = seen | ~extra
    new = np.cumsum(keep) - 1
    return [label for label, k in zip(labels, keep, strict=True) if k], [new[c] for c in cells]
