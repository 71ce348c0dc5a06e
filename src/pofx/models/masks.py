"""Orders between fields kept while a row is drawn: the field drawn earlier bounds the one drawn later.

With F_j the distribution function of field j given what was drawn before it, missing at its lower end, and [l, h] the
places that the orders leave it (orders.py), level u becomes

    u' = F_j(l-) + u (F_j(h) - F_j(l-)),    the law  p(x_j | ...) / P(missing, or l <= x_j <= h | ...) inside [l, h].

Missing stays allowed. Where the bounds leave no mass, the cell inside them that is nearest to what was seen is taken.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import SpecError
from ..field import Field, Tokens
from ..orders import HIGHEST, UNKNOWN, Line, Places

Law = Callable[[Tensor], Tensor]
"""P(fine | coarse) of rows of codes (n,), (n, M)."""


class Slots:
    """The tokens of a field, perhaps cut to a condition, and what of them lies in intervals [low, high] of its cells.

    low, high: (n,), float64, infinite where there is no bound.
    """

    def __init__(self, field: Field, tokens: Tokens, whole: Tokens) -> None:
        self.field, self.tokens, self.whole, self.sizes = field, tokens, whole, whole.sizes
        mass = np.bincount(tokens.token, tokens.mass, whole.sizes[0] * whole.sizes[1])
        self.end = np.cumsum(mass)
        self.start = self.end - mass
        self.size = np.maximum(whole.marginal.reshape(-1), 1e-300)
        rising = np.cumsum(tokens.mass)
        self.edges = np.stack([tokens.left, tokens.right], 1).reshape(-1)
        self.levels = np.stack([rising - tokens.mass, rising], 1).reshape(-1)
        self.gone = float(tokens.mass[0]) if field.has_missing and tokens.left[0] < field.right[0] else 0.0

    @property
    def ends(self) -> tuple[float, float]:
        """The first and the last cell that is not missing; none are (inf, -inf)."""
        first = int(self.gone > 0)
        if len(self.tokens.left) == first:
            return np.inf, -np.inf
        return float(self.tokens.left[first:].min() + 0.5), float(self.tokens.right[first:].max() - 0.5)

    def between(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(F(low-), F(high)) of the tokens' own law."""
        a = np.maximum(np.interp(low - 0.5, self.edges, self.levels), self.gone)
        return a, np.maximum(np.interp(high + 0.5, self.edges, self.levels), a)

    def inside(self, token: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The levels between which each token, (n, T), lies inside (a, b): two arrays (n, T)."""
        start, end = self.start[token], self.end[token]
        low, high = np.clip(a[:, None], start, end), np.clip(b[:, None], start, end)
        if self.gone:
            missing = token == 0
            low, high = np.where(missing, 0.0, low), np.where(missing, self.gone, high)
        return low, high

    def share(self, token: np.ndarray, a: np.ndarray, b: np.ndarray) -> Tensor:
        """How much of each token, (n, T), is allowed."""
        low, high = self.inside(token, a, b)
        return torch.from_numpy((high - low) / self.size[token])

    def coarse_law(self, coarse: Tensor, cut: Tensor, fine: Law, a: np.ndarray, b: np.ndarray) -> Tensor:
        """P(coarse, allowed), (n, K), of P(coarse), and of that `cut` to a condition, as between bounds there is none.

        Only the codes at the two ends are allowed in part.
        """
        k, m = self.sizes
        index = np.arange(k)[None]
        if m == 1:
            return coarse * self.share(np.repeat(index, len(a), 0), a, b)
        first = np.minimum(np.searchsorted(self.end, a, side="right"), k * m - 1) // m
        last = np.maximum(np.searchsorted(self.start, b, side="left") - 1, 0) // m
        keep = ((index > first[:, None]) & (index < last[:, None])) | ((index == 0) & (self.gone > 0))
        law, rows = torch.where(torch.from_numpy(keep), cut, 0.0), torch.arange(len(a))
        for code in (first, last):
            at = torch.from_numpy(code)
            share = self.share(code[:, None] * m + np.arange(m), a, b)
            law[rows, at] = coarse[rows, at] * (fine(at) * share).sum(1)
        return law

    def place(
        self, token: np.ndarray, level: np.ndarray, low: np.ndarray, high: np.ndarray, none: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(token, stored value) at levels inside tokens, (n,) each, between bounds; `none`: rows without mass there."""
        token = np.where(none, self.tokens.token[0], token)  # what was drawn of no mass may be no token at all
        a, b = self.between(low, high)
        under, over = (part[:, 0] for part in self.inside(token[:, None], a, b))
        span = np.maximum(self.end[token] - self.start[token], 1e-300)
        t = self.tokens.place(token, np.clip((under - self.start[token] + level * (over - under)) / span, 0, 1 - 1e-12))
        lost = (token == 0) & (self.gone > 0)
        below = np.isfinite(high) & ((a <= self.gone) | ~np.isfinite(low))
        t = np.where(none, np.where(below, high, low), np.floor(t + 0.5))
        lost &= ~none
        v = np.where(lost, self.field.none(len(t)), self.field.value(np.where(lost, 0.0, np.clip(t, low, high))))
        return np.where(none, self.field.encode(v, self.whole)[0], token), v


class Keeper:
    """What is known of the ordered fields of n rows while they are drawn.

    slots: of each field of the orders, by its number; names: the number of each.
    """

    def __init__(self, line: Line, slots: dict[int, Slots], n: int) -> None:
        self.line, self.slots = line, slots
        self.names = {j: one.field.name for j, one in slots.items()}
        self.places: Places = {name: np.full(n, UNKNOWN, np.int64) for name in self.names.values()}
        self.values = {j: one.field.none(n) for j, one in slots.items()}
        self.least: dict[str, int] = {}
        self.most: dict[str, int] = {}

    def learn(self, j: int, rows: np.ndarray, v: np.ndarray) -> None:
        """Field j of some rows is known."""
        self.values[j][rows] = v
        self.places[self.names[j]][rows] = self.line.place(self.names[j], v)

    def bounds(self, j: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The first and the last cell that is left to field j in some rows, float64, infinite where all are.

        What is known of a row counts before what conditions say of fields to come.
        """
        name = self.names[j]
        known = {key: at[rows] for key, at in self.places.items()} | {name: np.full(len(rows), UNKNOWN)}
        low, high = self.line.lower(known)[name], self.line.upper(known)[name]
        if self.least:
            later = self.line.lower(known, self.least)[name], self.line.upper(known, self.most)[name]
            low, high = np.minimum(later[0], high), np.maximum(later[1], low)
        return self._cells(j, low), self._cells(j, high)

    def _cells(self, j: int, place: np.ndarray) -> np.ndarray:
        name, field = self.names[j], self.slots[j].field
        cell = (place // self.line.steps[name] - getattr(field, "base", 0)).astype(np.float64)
        return np.where(np.abs(place) >= HIGHEST, np.copysign(np.inf, place), cell)

    def narrow(self, asked: Sequence[int]) -> None:
        """Bounds that conditions on the fields `asked` set to all others; cells of those that they cannot keep go.

        Raises SpecError where conditions and orders leave nothing.
        """
        blank = {name: np.full(1, UNKNOWN) for name in self.names.values()}
        for _ in asked:
            for j in asked:
                if not self.slots[j].gone:
                    low, high = self.slots[j].ends
                    step, base = self.line.steps[self.names[j]], getattr(self.slots[j].field, "base", 0)
                    self.least[self.names[j]], self.most[self.names[j]] = ((int(t) + base) * step for t in (low, high))
            low_of, high_of = self.line.lower(blank, self.least), self.line.upper(blank, self.most)
            for j in asked:
                low, high = (float(self._cells(j, part[self.names[j]])[0]) for part in (low_of, high_of))
                old = self.slots[j]
                spans = [(float(old.tokens.left[0]), float(old.tokens.right[0]))] if old.gone else []
                cut = old.tokens.within([*spans, (low - 0.5, high + 0.5)])
                if not len(cut.token):
                    told = " and ".join(map(str, self.line.orders))
                    raise SpecError(f"the conditions leave {self.names[j]!r} no value, as {told}: change them")
                self.slots[j] = Slots(old.field, cut, old.whole)
