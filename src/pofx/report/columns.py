"""Columns of a table on axes: one alone, several in pairs, and the cells of a column's own law."""

from typing import Any

import numpy as np

from ..field import Field
from ..metrics import is_level, numbers
from ..metrics.two_sample import level_name, number_word
from ..spec import Columns
from .densities import Picture
from .pictures import FAKE, REAL, short

LEVELS = 10  # levels of a category that are shown by name
FINE, CELLS = 20_000, 60  # draws of a column's own law; cells of a density, each way


def even(field: Field) -> tuple[np.ndarray, Columns]:
    """Even levels u and the values of a column at them, F^-1(u)."""
    u = (np.arange(FINE) + 0.5) / FINE
    return u, {field.name: field.lower(u)}


def cells(field: Field) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges, masses and a seen value inside of the cells of a column; where a cell is empty the value is near it."""
    u, x = even(field)
    v = numbers(field, x)
    u = u[np.isfinite(v)]
    v = v[np.isfinite(v)]
    low, high = np.quantile(v, [0.002, 0.998])
    edges = np.linspace(low, high if high > low else low + 1, CELLS + 1)
    ends = np.searchsorted(v, edges, side="right")
    middle = (u[np.clip(ends[:-1], 0, len(u) - 1)] + u[np.clip(ends[1:] - 1, 0, len(u) - 1)]) / 2
    return edges, np.diff(ends) / FINE, field.lower(middle)


class Column:
    """A column as places on an axis: of samples, of data if there are any, and of its own law."""

    def __init__(self, field: Field, fake: Columns, seen: Columns | None) -> None:
        self.name, self.field = field.name, field
        law = even(field)[1]
        real = {field.name: seen[field.name]} if seen is not None else law
        self.order = self._order(real) if is_level(field) else None
        self.fake, self.real = self.places(fake), self.places(real)
        self.seen = self.real if seen is not None else None
        fine = self.real[np.isfinite(self.real)]
        low, high = np.quantile(fine, [0.005, 0.995]) if len(fine) and self.order is None else (0.0, 0.0)
        self.span = (float(low), float(high)) if high > low else (float(low) - 0.5, float(low) + 0.5)
        if self.order is not None:
            self.span = (-0.5, len(self.order) - 0.5)

    def _order(self, real: Columns) -> list[int]:
        codes, counts = np.unique(real[self.name], return_counts=True)
        return [int(c) for c in codes[np.argsort(-counts, kind="stable")][:LEVELS]]

    def places(self, x: Columns) -> np.ndarray:
        """Numbers, or the rank of a level (NaN beyond the most frequent ones)."""
        if self.order is None:
            return numbers(self.field, x)
        out = np.full(len(x[self.name]), np.nan)
        for rank, code in enumerate(self.order):
            out[x[self.name] == code] = rank
        return out

    def ticks(self, axis: Any) -> None:
        """Names of levels and of moments beside an axis."""
        if self.order is not None and is_level(self.field):
            words = [short(level_name(self.field, code), 12) for code in self.order]
            axis.set_ticks(range(len(words)), words, parse_math=False)
        elif self.field.kind == "datetime":
            at = np.linspace(*self.span, 3)
            axis.set_ticks(at, [short(number_word(self.field, v), 10) for v in at])
        else:
            axis.set_major_locator(_locator())

    @property
    def turn(self) -> int:
        """By how many degrees words below an axis are turned."""
        return 90 if self.order is not None or self.field.kind == "datetime" else 0

    def alone(self, ax: Any) -> None:
        """Real filled, samples as a line; or bars side by side."""
        if self.order is None:
            edges = np.linspace(*self.span, 31)
            ax.hist(self.real, edges, density=True, color=REAL, alpha=0.55)
            ax.hist(self.fake, edges, density=True, color=FAKE, histtype="step", linewidth=1.3)
            return
        ranks = np.arange(len(self.order))
        for values, shift, colour in ((self.real, -0.2, REAL), (self.fake, 0.2, FAKE)):
            ax.bar(ranks + shift, [(values == k).mean() for k in ranks], 0.4, color=colour, alpha=0.8)

    def jittered(self, values: np.ndarray, seed: int) -> np.ndarray:
        """Places with levels spread, so that equal ones do not hide each other."""
        return values if self.order is None else values + np.random.default_rng(seed).uniform(-0.32, 0.32, len(values))


def _locator() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(4)


def pairs(columns: list[Column]) -> Picture:
    """Samples below the diagonal, data (if given) above it, single columns on it."""
    size = len(columns)

    def paint(axes: Any) -> None:
        for i, down in enumerate(columns):
            for j, across in enumerate(columns):
                ax = np.atleast_1d(axes)[i * size + j]
                x, y = (across.fake, down.fake) if j < i else (across.seen, down.seen)
                if i == j:
                    down.alone(ax)
                    ax.set_yticks([])
                elif x is None or y is None:
                    ax.set_visible(False)
                    continue
                else:
                    x, y, colour = across.jittered(x, 0), down.jittered(y, 1), FAKE if j < i else REAL
                    ax.scatter(x, y, s=2, color=colour, alpha=0.5, linewidths=0, rasterized=True)
                    ax.set_ylim(down.span)
                    down.ticks(ax.yaxis)
                ax.set_xlim(across.span)
                across.ticks(ax.xaxis)
                ax.tick_params("x", rotation=across.turn)
                ax.tick_params(labelsize=7, labelleft=j == 0 and i > 0, labelbottom=i == size - 1)
                if j == 0:
                    ax.set_ylabel(short(down.name, 14), parse_math=False)
                if i == size - 1:
                    ax.set_xlabel(short(across.name, 14), parse_math=False)

    side = max(1.35 * size + 0.6, 3.0)
    return Picture("Pairs of columns", side + 0.3, side, paint, (size, size))
