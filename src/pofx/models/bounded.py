"""Laws of single fields of a model of tokens, inside conditions and inside what orders leave (masks.py)."""

import numpy as np
import torch
from torch import Tensor

from ..field import Tokens
from ..orders import Line
from ..spec import Columns, Given
from .made import Made, Pass
from .masks import Keeper, Slots
from .model import Model
from .tokens import Codes, invert

CHUNK = 4096  # rows that are drawn or scored together


class Cut:
    """A condition on one field: its tokens cut to the allowed set, and how much of each token remains."""

    def __init__(self, tokens: Tokens, whole: Tokens) -> None:
        self.tokens = tokens
        self.share = torch.from_numpy(tokens.marginal / np.maximum(whole.marginal, 1e-300)).clamp(0, 1)
        self.coarse = torch.from_numpy(np.flatnonzero(tokens.marginal.sum(1) > 0))


Cuts = dict[int, Cut]


class Bounded(Model):
    """Base of a model that draws one field after the other. before: how many fields belong to the condition."""

    codes: Codes
    net: Made
    line: Line | None
    before: int

    def _keeper(self, n: int, cuts: Cuts, values: Columns, fixed: np.ndarray) -> Keeper | None:
        """What keeps the orders of n rows, of whose cells those under `fixed` (n, F) are known."""
        if self.line is None:
            return None
        held = {j: f for j, f in enumerate(self.codes.fields) if f.name in self.line.names}
        whole = self.codes.tokens
        slots = {j: Slots(f, cuts[j].tokens if j in cuts else whole[j], whole[j]) for j, f in held.items()}
        keeper = Keeper(self.line, slots, n)
        for j, field in held.items():
            rows = np.flatnonzero(fixed[:, j])
            if len(rows):
                keeper.learn(j, rows, values[field.name][rows])
        if asked := [j for j in held if j in cuts]:
            keeper.narrow(asked)
            for j in asked:
                cuts[j] = Cut(keeper.slots[j].tokens, whole[j])
        return keeper

    def _draw_inside(
        self, keeper: Keeper, j: int, h: Tensor, rows: np.ndarray, u: np.ndarray, cut: Cut | None
    ) -> np.ndarray:
        """Tokens of field j inside what the orders leave it, whose values the keeper learns."""
        slots, m = keeper.slots[j], self.codes.sizes[j][1]
        low, high = keeper.bounds(j, rows)
        law = self._law_inside(slots, j, h, low, high, cut)
        token, level = invert(law, u)
        if m > 1:
            at = token[:, None] * m + np.arange(m)
            fine = self._fine_law(j, h, torch.from_numpy(token), None).double()
            inner, level = invert(fine * slots.share(at, *slots.between(low, high)), level)
            token = token * m + inner
        none = (law.sum(1) <= 0).numpy()
        token, v = slots.place(token, level, low, high, none)
        keeper.learn(j, rows, v)
        return token

    def _law_inside(
        self, slots: Slots, j: int, h: Tensor, low: np.ndarray, high: np.ndarray, cut: Cut | None
    ) -> Tensor:
        """P(coarse, allowed, inside [low, high]) of field j, (B, K)."""
        coarse = self.net.write.coarse_logits(j, h).cpu().double().softmax(1)
        whole = coarse if cut is None else self._coarse_law(j, h, cut).double()
        return slots.coarse_law(
            coarse, whole, lambda at: self._fine_law(j, h, at, None).double(), *slots.between(low, high)
        )

    def _coarse_law(self, j: int, h: Tensor, cut: Cut | None) -> Tensor:
        """Unnormalised P(coarse, allowed) of field j, (B, K); its sum is P(allowed)."""
        logits = self.net.write.coarse_logits(j, h)
        if cut is None:
            return logits.softmax(1).cpu()
        law = logits.cpu().double().softmax(1)  # a condition may leave only what float32 rounds to zero
        share = cut.share.max(1).values.repeat(len(h), 1)
        for c in cut.coarse[(cut.share[cut.coarse] < 1).any(1)].tolist():
            fine = self._fine_law(j, h, torch.full((len(h),), c), None) if cut.share.shape[1] > 1 else torch.ones(1, 1)
            share[:, c] = (fine * cut.share[c]).sum(1)
        return law * share

    def _fine_law(self, j: int, h: Tensor, coarse: Tensor, cut: Cut | None) -> Tensor:
        """Unnormalised P(fine, allowed | coarse), (B, M)."""
        logits = self.net.write.fine_logits(j, h, coarse.to(h.device))
        return logits.softmax(1).cpu() if cut is None else logits.cpu().double().softmax(1) * cut.share[coarse]

    def _cut(self, j: int, given: Given) -> Cut:
        field, tokens = self.codes.fields[j], self.codes.tokens[j]
        return Cut(field.allow(tokens, given[field.name]), tokens)

    def _room(
        self, x: Columns, orders: np.ndarray, mask: np.ndarray, token: np.ndarray, seen: np.ndarray
    ) -> np.ndarray:
        """log P(inside what the orders leave | what comes before), (n, F), of the cells under `mask`, which come first
        in each row's order; zero for cells outside, and those that were never seen, whose mass is apart.
        """
        out = np.zeros(mask.shape)
        for start in range(0, len(token), CHUNK):
            at = slice(start, start + CHUNK)
            some = {name: x[name][at] for name in x}
            out[at] = self._room_of(some, orders[at], mask[at], token[at], seen[at])
        return out

    def _room_of(
        self, x: Columns, orders: np.ndarray, mask: np.ndarray, token: np.ndarray, seen: np.ndarray
    ) -> np.ndarray:
        rows, walk, out = np.arange(len(token)), Pass(self.net, len(token)), np.zeros(mask.shape)
        keeper = self._keeper(len(rows), {}, x, np.zeros_like(mask))
        for i in range(int(mask.sum(1).max()) if keeper else 0):
            field = orders[:, i]
            for j in np.unique(field[mask[rows, field]]).tolist():
                if keeper and j in keeper.slots:
                    mine, v = np.flatnonzero((field == j) & mask[:, j]), x[self.codes.fields[j].name]
                    if j >= self.before:
                        out[mine, j] = self._log_inside(keeper, j, walk, mine, v[mine]) * seen[mine, j]
                    keeper.learn(j, mine, v[mine])
            if i + 1 < orders.shape[1]:
                walk.learn(field, token[rows, field], seen[rows, field] & mask[rows, field])
        return out

    def _log_inside(self, keeper: Keeper, j: int, walk: Pass, rows: np.ndarray, v: np.ndarray) -> np.ndarray:
        """log P(inside the bounds) of field j in some rows of values v; zero where none is, or v is beyond."""
        slots, out = keeper.slots[j], np.zeros(len(rows))
        low, high = keeper.bounds(j, rows)
        cell = slots.field.cell(v)
        fits = slots.field.absent(v) | ((cell >= low) & (cell <= high))
        at = np.flatnonzero(fits & (np.isfinite(low) | np.isfinite(high)))
        if len(at):
            law = self._law_inside(slots, j, walk.hidden[torch.from_numpy(rows[at])], low[at], high[at], None)
            mass = law.sum(1).numpy()
            out[at] = np.log(np.where(mass > 0, mass, 1.0))
        return out
