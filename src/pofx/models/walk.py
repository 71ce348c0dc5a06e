"""Rows that walk through an order of fields together, drawing tokens or scoring them (any_order)."""

import contextlib
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..fields import Tokens
from .tokens import invert

if TYPE_CHECKING:
    from .flows.any_order import AnyOrder

JOINT = 4096  # joint cells of a condition that are enumerated


class Cut:
    """A condition on one field: its tokens cut to the allowed set, and how much of each token remains."""

    def __init__(self, tokens: Tokens, whole: Tokens) -> None:
        self.tokens = tokens
        self.share = torch.from_numpy(tokens.marginal / np.maximum(whole.marginal, 1e-300)).clamp(0, 1)
        self.coarse = torch.from_numpy(np.flatnonzero(tokens.marginal.sum(1) > 0))


Steps = Generator[Tensor, Tensor, None]
"""Yields sums of what is known, and is sent what the network makes of them."""


def together(walks: list[Steps], trunk: Callable[[Tensor], Tensor]) -> None:
    """Runs walks side by side, so that the network sees the rows of all of them at once."""
    asked: dict[int, Tensor] = {}
    for i, walk in enumerate(walks):
        with contextlib.suppress(StopIteration):
            asked[i] = next(walk)
    while asked:
        answers = trunk(torch.cat(list(asked.values()))).split([len(a) for a in asked.values()])
        again = {}
        for i, h in zip(asked, answers, strict=True):
            with contextlib.suppress(StopIteration):
                again[i] = walks[i].send(h)
        asked = again


class Walk:
    """Rows that go through an order of fields together, drawing tokens or scoring them.

    Rows that share what is known so far share their conditionals: the network runs once for each distinct beginning
    (`state`, one row of sums each; `group`, which one a row has), as long as there are fewer of them than rows.
    """

    def __init__(self, model: "AnyOrder", token: np.ndarray, have: np.ndarray, u: np.ndarray, rows: np.ndarray) -> None:
        self.model, self.token, self.u, self.rows = model, token, u, rows
        start = np.where(have[rows], token[rows], -1)
        unique, group = np.unique(start, axis=0, return_inverse=True)
        apart = len(unique) == len(rows)
        self.group = np.arange(len(rows)) if apart else group.reshape(-1)
        held = torch.from_numpy(start if apart else unique).to(model.device)
        self.state = model.read(held.clamp(min=0), held >= 0)

    @property
    def apart(self) -> bool:
        """Whether each row has a state of its own, state i that of row i, as it then stays."""
        return len(self.state) == len(self.rows)

    def learn(self, j: int, active: np.ndarray) -> None:
        """Field j becomes known in the active rows (positions in `rows`)."""
        token = self.token[self.rows[active], j]
        if not self.apart:
            size = int(np.prod(self.model.codes.sizes[j]))
            code = np.full(len(self.rows), size, np.int64)
            code[active] = token
            key, self.group = np.unique(self.group * (size + 1) + code, return_inverse=True)
            parent, new = np.divmod(key, size + 1)
            self.state = self.state[torch.from_numpy(parent)]
            if self.apart:  # from now on state i is that of row i
                self.state, self.group = self.state[torch.from_numpy(self.group)], np.arange(len(self.rows))
            else:
                active, token = np.flatnonzero(new < size), new[new < size]
        change = self.model.read.change(j, torch.from_numpy(token).to(self.state.device))
        if len(active) == len(self.state):
            self.state = self.state + change
        else:
            self.state = self.state.index_add(0, torch.from_numpy(active).to(self.state.device), change)

    def _hidden(self, active: np.ndarray) -> Generator[Tensor, Tensor, tuple[Tensor, np.ndarray | None]]:
        """(hidden of the active rows' states, which of them each active row has; its own where None)."""
        groups, inverse = (active, None) if self.apart else np.unique(self.group[active], return_inverse=True)
        whole = len(groups) == len(self.state)
        h = yield self.state if whole else self.state[torch.from_numpy(groups)]
        return h, inverse

    # -- scoring -----------------------------------------------------------------------------------------------------

    def score(self, order: list[int], scored: np.ndarray, out: np.ndarray) -> Steps:
        """Enters log P of the tokens under `scored` into out (n, F); each becomes known once it is scored."""
        for j in order:
            active = np.flatnonzero(scored[self.rows, j])
            if len(active):
                h, inverse = yield from self._hidden(active)
                token = torch.from_numpy(self.token[self.rows[active], j]).to(h.device)
                rows = None if inverse is None else torch.from_numpy(inverse).to(h.device)
                nll = self.model.write.nll_of(j, h, token, rows)
                out[self.rows[active], j] = -nll.cpu().double().numpy()
                self.learn(j, active)

    # -- drawing -----------------------------------------------------------------------------------------------------

    def draw(self, order: list[int], free: np.ndarray, cuts: dict[int, Cut]) -> Steps:
        """Draws the free cells in order, constrained fields first, from u; u becomes the level inside each token."""
        first = [j for j in order if j in cuts and free[self.rows, j].all()]
        if len(first) > 1:
            self._joint(first, cuts)
        left = [*first[-1:], *(j for j in order if j not in first)]
        for j in left:
            active = np.flatnonzero(free[self.rows, j])
            if len(active):
                h, inverse = yield from self._hidden(active)
                self._draw(j, active, h, inverse, cuts.get(j))
                if j != left[-1]:
                    self.learn(j, active)

    def _joint(self, first: list[int], cuts: dict[int, Cut]) -> None:
        """Draws all but the last of several constrained fields from their joint law given that all hold."""
        for group in range(len(self.state)):
            rows = self.rows[self.group == group]
            tokens, weight = self._beginnings(self.state[group], first, cuts, float(self.u[rows[0], first[0]]))
            self.model.effective = min(self.model.effective, float(weight.sum() ** 2 / (weight**2).sum()))
            chosen, self.u[rows, first[0]] = invert(torch.from_numpy(weight)[None], self.u[rows, first[0]], rows * 0)
            self.token[np.ix_(rows, first[:-1])] = tokens[chosen]
        for j in first[:-1]:
            self.learn(j, np.arange(len(self.rows)))

    def _beginnings(
        self, state: Tensor, first: list[int], cuts: dict[int, Cut], offset: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Joint tokens (P, fields - 1) of the constrained fields but the last, and their weights (P,).

        All of them where they are at most 4,096; else as many, kept at each field by systematic resampling.
        """
        states, tokens, weight = state[None], np.zeros((1, 0), np.int64), np.ones(1)
        for j in first[:-1]:
            law, codes = self._allowed(j, self.model.trunk(states), cuts[j])
            joint = (weight[:, None] * law).reshape(-1)
            keep = np.flatnonzero(joint > 0)
            weight = joint[keep]
            if len(keep) > JOINT:
                at = (np.arange(JOINT) + offset) / JOINT * weight.sum()
                keep = keep[np.minimum(np.searchsorted(np.cumsum(weight), at), len(keep) - 1)]
                weight = np.full(JOINT, weight.sum() / JOINT)
            parent, code = np.divmod(keep, len(codes))
            tokens = np.concatenate([tokens[parent], codes[code][:, None]], 1)
            states = states[torch.from_numpy(parent)] + self.model.read.change(
                j, torch.from_numpy(codes[code]).to(state.device)
            )
        left = self.coarse_law(first[-1], self.model.trunk(states), cuts[first[-1]]).sum(1)
        return tokens, weight * left.numpy()

    def _allowed(self, j: int, h: Tensor, cut: Cut) -> tuple[np.ndarray, np.ndarray]:
        """(P(token, allowed), token) of field j's allowed tokens: (groups, A) and (A,)."""
        coarse = self.model.write.coarse_logits(j, h).cpu().double().softmax(1)
        k, m = self.model.codes.sizes[j]
        if m == 1:
            law = coarse * cut.share[:, 0]
        else:
            fine = torch.stack([self.fine_law(j, h, torch.full((len(h),), int(c)), cut) for c in cut.coarse], 1)
            law = torch.zeros(len(h), k, m, dtype=torch.float64)
            law[:, cut.coarse] = coarse[:, cut.coarse, None] * fine
            law = law.reshape(len(h), k * m)
        codes = np.flatnonzero(cut.share.reshape(-1).numpy() > 0)
        return law[:, torch.from_numpy(codes)].numpy(), codes

    def _draw(self, j: int, active: np.ndarray, h: Tensor, inverse: np.ndarray | None, cut: Cut | None) -> None:
        at = self.rows[active]
        coarse_law = self.coarse_law(j, h, cut)
        coarse, level = invert(coarse_law, self.u[at, j], inverse)
        m = self.model.codes.sizes[j][1]
        token = coarse
        if m > 1:
            mine = h if inverse is None else h[torch.from_numpy(inverse)]
            law = self.fine_law(j, mine, torch.from_numpy(coarse), cut)
            fine, level = invert(law, level, None)
            token = coarse * m + fine
        self.token[at, j], self.u[at, j] = token, level

    def coarse_law(self, j: int, h: Tensor, cut: Cut | None) -> Tensor:
        """Unnormalised P(coarse, allowed) of field j, float64 (groups, K); its sum is P(allowed)."""
        law = self.model.write.coarse_logits(j, h).cpu().double().softmax(1)
        if cut is None:
            return law
        share = cut.share.max(1).values.repeat(len(h), 1)
        for c in cut.coarse[((cut.share[cut.coarse] < 1).any(1))].tolist():
            fine = self.fine_law(j, h, torch.full((len(h),), c), None) if cut.share.shape[1] > 1 else torch.ones(1, 1)
            share[:, c] = (fine * cut.share[c]).sum(1)
        return law * share

    def fine_law(self, j: int, h: Tensor, coarse: Tensor, cut: Cut | None) -> Tensor:
        """Unnormalised P(fine, allowed | coarse), float64 (B, M)."""
        law = self.model.write.fine_logits(j, h, coarse.to(h.device)).cpu().double().softmax(1)
        return law if cut is None else law * cut.share[coarse]
