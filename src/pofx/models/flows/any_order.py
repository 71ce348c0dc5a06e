"""any_order: a flow over mixed fields, any of them given any others."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import SpecError
from ...fields import Tokens
from ...spec import Columns, Given, Spec
from ..model import Batch, Clock, Model, Recipe, Rows
from ..tokens import Codes, Read, Write, invert

SIZES = {"small": (128, 128, 2), "base": (256, 256, 3), "large": (512, 512, 4)}
CHUNK = 4096  # rows that walk together: one block of noise, so that a sample does not depend on how much is asked for
JITTER = 2.0  # how far the stored orders stray from that of the fields' sizes
JOINT = 4096  # joint cells of a condition that are enumerated


class Residual(nn.Module):
    """h + W2 silu(W1 norm(h)), (B, width); starts as the identity."""

    def __init__(self, width: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)
        self.dropout = dropout

    def forward(self, h: Tensor) -> Tensor:
        inner = F.dropout(F.silu(self.up(self.norm(h))), self.dropout, self.training)
        return h + self.down(inner)


class AnyOrder(Model):
    """Any-order autoregressive flow over tokens; a discrete flow with a mask source.

    A row x has fields 1..F, each one or two codes (tokens.py). For a set S of known fields one network gives every
    p(x_j | x_S), and a row follows an order o,

        log p(x) = log 1/K sum_k prod_i p(x_{o_k(i)} | x_{o_k(1)}, ..., x_{o_k(i-1)}),

    the explicit mixture of the K stored orders, each equally likely. The same law draws, scores and integrates.
    x = decode(z): z is uniform on (0, 1)^{F+1}, z_0 picks the order, and each field is the inverse distribution
    function of its conditional at z_j: levels and atoms exactly, numbers by bin, sub-bin, and uniformly inside.

    Training draws for each row how many fields are known, k uniform on 0..F-1, then which; the loss F/(F-k) times the
    sum of the unknown fields' terms is an unbiased estimate of the negative log-likelihood averaged over all orders.
    Shapes: tokens (B, F) -> hidden (B, width) -> terms (B, F), nats.

    Conditions (`given`) on sets hold in every row: constrained fields come first, their joint cells are enumerated up
    to 4,096, and beyond that as many are kept by weight. Known cells come first too. Such draws, completions and
    marginal likelihoods are exact for the orders that begin so; how far orders disagree is among the `remarks`.

    Hoogeboom et al. 2022, Autoregressive Diffusion Models; Uria et al. 2014, A Deep and Tractable Density Estimator.

        model = create("any_order", spec, size="base", seed=0)
    """

    family = "flows"
    abilities = frozenset({"sample", "log_prob", "cells", "given", "known", "condition"})

    def __init__(
        self, spec: Spec, *, size: str = "base", bins: int = 128, fine: int = 16, orders: int = 8, dropout: float = 0.1
    ) -> None:
        super().__init__(spec)
        if size not in SIZES:
            raise SpecError(f"expected a size among {', '.join(SIZES)}, got {size!r}")
        width, inner, blocks = SIZES[size]
        self.before = spec.condition.fields if spec.condition else ()
        self.codes = Codes((*self.before, *spec.fields), bins, fine)
        self.read = Read(self.codes, width)
        self.blocks = nn.ModuleList(Residual(width, inner, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.write = Write(self.codes, width)
        self.orders = self._orders(orders)
        self.effective = math.inf

    def _orders(self, count: int) -> list[list[int]]:
        """The stored orders, drawn under a fixed seed: fields of few tokens tend to come first, since rows then share
        their beginnings and a sample costs less; the condition is apart."""
        rng = np.random.default_rng(0)
        own = np.arange(len(self.before), len(self.codes.sizes))
        weight = np.log([self.codes.sizes[j][0] * self.codes.sizes[j][1] for j in own])
        return [own[np.argsort(weight + JITTER * rng.gumbel(size=len(own)))].tolist() for _ in range(count)]

    # -- training ----------------------------------------------------------------------------------------------------

    def prepare(self, x: Columns, c: Columns | None = None) -> Batch:
        token, _, seen = self.codes.encode(x | (c or {}))
        return torch.from_numpy(token.astype(np.int64)), torch.from_numpy(seen)

    def recipe(self, rows: int) -> Recipe:
        batch = int(min(512, max(32, 2 ** math.ceil(math.log2(max(rows, 2) / 16)))))
        return Recipe(steps=int(min(20_000, max(300, 40 * rows / batch))), batch=batch, rate=2e-3, decay=1e-2)

    def trunk(self, h: Tensor) -> Tensor:
        """The hidden vector that all conditionals read, (B, width)."""
        for block in self.blocks:
            h = block(h)
        return self.norm(h)

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        token, seen = batch
        n, total, start = len(token), token.shape[1], len(self.before)
        width = total - start
        device = token.device
        k = torch.randint(width, (n, 1), generator=generator, device=device)
        rank = torch.rand(n, width, generator=generator, device=device).argsort(1).argsort(1)
        known = torch.cat([torch.ones(n, start, dtype=torch.bool, device=device), rank < k], 1) & seen
        nll = self.write.nll(self.trunk(self.read(token, known)), token)[:, start:]
        return (nll * (rank >= k) * seen[:, start:]).sum(1) * (width / (width - k[:, 0]))

    # -- sampling, completion ----------------------------------------------------------------------------------------

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.rand(n, len(self.spec.fields) + 1, generator=generator, dtype=torch.float64)

    @torch.inference_mode()
    def decode(
        self, z: Tensor, c: Columns | None = None, given: Given | None = None, known: Rows | None = None
    ) -> Columns:
        parts = []
        for start in range(0, len(z), CHUNK):
            at = slice(start, start + CHUNK)
            some = {k: v[at] for k, v in c.items()} if c else None
            held = ({k: v[at] for k, v in known[0].items()}, known[1][at]) if known else None
            parts.append(self._decode(z[at].numpy(), some, given, held))
        return {f.name: np.concatenate([p[f.name] for p in parts]) for f in self.spec.fields} if parts else {}

    def _decode(self, z: np.ndarray, c: Columns | None, given: Given | None, known: Rows | None) -> Columns:
        n, start = len(z), len(self.before)
        token = np.zeros((n, len(self.codes.sizes)), np.int64)
        have = np.zeros(token.shape, bool)
        if c:
            self._hold(token, have, c, range(start), np.ones((n, start), bool))
        if known:
            self._hold(token, have, known[0], range(start, token.shape[1]), known[1])
        cuts = {j: self._cut(j, given) for j, f in enumerate(self.codes.fields) if given and f.name in given}
        free = np.ones(token.shape, bool)
        free[:, :start] = False
        if known:
            free[:, start:] = ~known[1]
        u = np.concatenate([np.zeros((n, start)), z[:, 1:]], 1)
        pick = np.minimum((z[:, 0] * len(self.orders)).astype(int), len(self.orders) - 1)
        for k, order in enumerate(self.orders):
            rows = np.flatnonzero(pick == k)
            if len(rows):
                Walk(self, token, have, u, rows).draw(order, free, cuts)
        out = {}
        for j, field in enumerate(self.codes.fields[start:], start):
            inside = self.codes.tokens[j] if j not in cuts else cuts[j].tokens
            v = field.decode(token[:, j], u[:, j], inside) if free[:, j].any() else field.none(n)
            out[field.name] = np.where(free[:, j], v, known[0][field.name]) if known else v
        return out

    def _hold(self, token: np.ndarray, have: np.ndarray, x: Columns, fields: Sequence[int], mask: np.ndarray) -> None:
        """Enters known cells; one never seen stays unknown to the network."""
        for i, j in enumerate(fields):
            field = self.codes.fields[j]
            code, _, seen = field.encode(x[field.name], self.codes.tokens[j])
            token[:, j] = code
            have[:, j] = seen & mask[:, i]

    def _cut(self, j: int, given: Given) -> "Cut":
        field, tokens = self.codes.fields[j], self.codes.tokens[j]
        return Cut(field.allow(tokens, given[field.name]), tokens)

    # -- scoring -----------------------------------------------------------------------------------------------------

    def cells(self, x: Columns, c: Columns | None = None) -> np.ndarray:
        rows = len(next(iter(x.values())))
        return self._score(x, c, np.ones((rows, len(self.spec.fields)), bool))

    def marginal(self, rows: Rows, c: Columns | None = None) -> np.ndarray:
        return self._score(rows[0], c, rows[1]).sum(1)

    @torch.inference_mode()
    def _score(self, x: Columns, c: Columns | None, mask: np.ndarray) -> np.ndarray:
        """log p of each cell under `mask` given the known ones before it, (n, fields); others contribute zero.

        Under several orders the cells are those of each order weighted by its posterior, shifted so that they sum to
        the log of the mixture.
        """
        return mixed(self._terms(x, c, mask))

    @torch.inference_mode()
    def remarks(self, x: Columns, c: Columns | None = None) -> dict[str, float]:
        mask = np.ones((len(next(iter(x.values()))), len(self.spec.fields)), bool)
        rows = self._terms(x, c, mask).sum(2)
        return {"orders disagree by, nats": float(rows.std(0).mean())} if len(self.orders) > 1 else {}

    def _terms(self, x: Columns, c: Columns | None, mask: np.ndarray) -> np.ndarray:
        """log p of each cell under `mask` in each order, (orders, n, fields)."""
        token, inside, seen = self.codes.encode(x | (c or {}))
        start = len(self.before)
        scored = np.concatenate([np.zeros((len(token), start), bool), mask], 1)
        terms = np.zeros((len(self.orders), *token.shape))
        for at in range(0, len(token), CHUNK):
            rows = np.arange(at, min(at + CHUNK, len(token)))
            for k, order in enumerate(self.orders):
                have = np.zeros(token.shape, bool)
                have[:, :start] = seen[:, :start]
                walk = Walk(self, token.astype(np.int64), have, None, rows)
                terms[k, rows] = walk.score(order, scored & seen)
        return (terms + np.where(scored, inside, 0.0))[:, :, start:]


def mixed(terms: np.ndarray) -> np.ndarray:
    """Cells (K, n, F) of K equally likely orders as cells (n, F) that sum to log 1/K sum_k exp(row sum)."""
    rows = terms.sum(2)
    top = rows.max(0)
    weight = np.exp(rows - top)
    total = top + np.log(weight.mean(0))
    weight /= weight.sum(0)
    out = (weight[:, :, None] * terms).sum(0)
    return out + ((total - out.sum(1)) / terms.shape[2])[:, None]


class Cut:
    """A condition on one field: its tokens cut to the allowed set, and how much of each token remains."""

    def __init__(self, tokens: Tokens, whole: Tokens) -> None:
        self.tokens = tokens
        self.share = torch.from_numpy(tokens.marginal / np.maximum(whole.marginal, 1e-300)).clamp(0, 1)
        self.coarse = torch.from_numpy(np.flatnonzero(tokens.marginal.sum(1) > 0))


class Walk:
    """Rows that go through an order of fields together, drawing tokens or scoring them.

    Rows that share what is known so far share their conditionals: the network runs once for each distinct beginning
    (`state`, one row of sums each; `group`, which one a row has), as long as there are fewer of them than rows.
    """

    def __init__(
        self, model: AnyOrder, token: np.ndarray, have: np.ndarray, u: np.ndarray | None, rows: np.ndarray
    ) -> None:
        self.model, self.token, self.u, self.rows = model, token, u, rows
        start = np.where(have[rows], token[rows], -1)
        unique, self.group = np.unique(start, axis=0, return_inverse=True)
        self.group = self.group.reshape(-1)
        device = model.device
        held = torch.from_numpy(unique).to(device)
        self.state = model.read(held.clamp(min=0), held >= 0)

    def hidden(self, groups: np.ndarray) -> Tensor:
        """What the network makes of some groups' states."""
        whole = len(groups) == len(self.state)
        return self.model.trunk(self.state if whole else self.state[torch.from_numpy(groups)])

    def learn(self, j: int, active: np.ndarray) -> None:
        """Field j becomes known in the active rows (positions in `rows`)."""
        size = int(np.prod(self.model.codes.sizes[j]))
        code = np.full(len(self.rows), size, np.int64)
        code[active] = self.token[self.rows[active], j]
        key, self.group = np.unique(self.group * (size + 1) + code, return_inverse=True)
        parent, new = np.divmod(key, size + 1)
        state = self.state[torch.from_numpy(parent)]
        told = torch.from_numpy(np.flatnonzero(new < size))
        state[told] += self.model.read.change(j, torch.from_numpy(new[new < size]).to(state.device))
        self.state = state

    def _law(self, j: int, active: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """(hidden of the active rows' groups, which of them each active row has)."""
        groups, inverse = np.unique(self.group[active], return_inverse=True)
        return self.hidden(groups), inverse

    # -- scoring -----------------------------------------------------------------------------------------------------

    def score(self, order: list[int], scored: np.ndarray) -> np.ndarray:
        """log P of the tokens under `scored`, (rows, F); each becomes known once it is scored."""
        out = np.zeros((len(self.rows), scored.shape[1]))
        for j in order:
            active = np.flatnonzero(scored[self.rows, j])
            if len(active):
                h, inverse = self._law(j, active)
                token = torch.from_numpy(self.token[self.rows[active], j]).to(h.device)
                nll = self.model.write.nll_of(j, h, token, torch.from_numpy(inverse).to(h.device))
                out[active, j] = -nll.cpu().double().numpy()
                self.learn(j, active)
        return out

    # -- drawing -----------------------------------------------------------------------------------------------------

    def draw(self, order: list[int], free: np.ndarray, cuts: dict[int, Cut]) -> None:
        """Draws the free cells in order, constrained fields first, from u; u becomes the level inside each token."""
        first = [j for j in order if j in cuts and free[self.rows, j].all()]
        if len(first) > 1:
            self._joint(first, cuts)
        for j in [*first[-1:], *(j for j in order if j not in first)]:
            active = np.flatnonzero(free[self.rows, j])
            if len(active):
                self._draw(j, active, cuts.get(j))
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

    def _draw(self, j: int, active: np.ndarray, cut: Cut | None) -> None:
        h, inverse = self._law(j, active)
        at = self.rows[active]
        coarse_law = self.coarse_law(j, h, cut)
        coarse, level = invert(coarse_law, self.u[at, j], inverse)
        m = self.model.codes.sizes[j][1]
        token = coarse
        if m > 1:
            rows = torch.from_numpy(inverse) if len(h) != len(at) or not (inverse == np.arange(len(at))).all() else None
            law = self.fine_law(j, h if rows is None else h[rows], torch.from_numpy(coarse), cut)
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


MODEL = AnyOrder
