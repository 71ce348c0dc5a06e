"""any_order: a flow over mixed fields, any of them given any others."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import SpecError
from ...spec import Columns, Given, Spec
from ..model import Batch, Clock, Model, Recipe, Rows
from ..tokens import Codes, Read, Write
from ..walk import Cut, Walk, together

SIZES = {"small": (128, 128, 2), "base": (256, 256, 3), "large": (512, 512, 4)}
CHUNK = 4096  # rows that walk together: one block of noise, so that a sample does not depend on how many are asked for
JITTER = 2.0  # how far the stored orders stray from that of the fields' sizes


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
        inner = F.silu(self.up(self.norm(h)))
        return h + self.down(self._dropped(inner) if self.training and self.dropout else inner)

    def _dropped(self, inner: Tensor) -> Tensor:
        """Dropout with one mask for every eight rows: drawing masks would cost a fifth of a step."""
        groups = -(-len(inner) // 8)
        keep = (torch.rand(groups, inner.shape[1], device=inner.device) >= self.dropout).to(inner.dtype)
        return inner * (keep / (1 - self.dropout)).repeat_interleave(8, 0)[: len(inner)]


class AnyOrder(Model):
    """Any-order autoregressive flow over tokens; a discrete flow with a mask source.

    A row x has fields 1..F, each one or two codes (tokens.py). For a set S of known fields one network gives every
    p(x_j | x_S), and a row follows an order o,

        log p(x) = log 1/K sum_k prod_i p(x_{o_k(i)} | x_{o_k(1)}, ..., x_{o_k(i-1)}),

    the explicit mixture of the K stored orders, each equally likely. The same law draws, scores and integrates.
    x = decode(z): z is uniform on (0, 1)^{F+1}, z_0 picks the order, and each field is the inverse distribution
    function of its conditional at z_j: levels and atoms exactly, numbers by bin, sub-bin, and uniformly inside.

    p(x_j) with nothing known is the field's marginal law by construction: the hidden vector is f(sums) - f(nothing),
    and the heads' offsets are the log-marginals. Training draws for each row how many fields are known, k uniform on
    1..F-1, then which; F/(F-k) times the sum of the unknown fields' terms is, but for the first field's, an unbiased
    estimate of the negative log-likelihood averaged over all orders.
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
        self.norm = nn.LayerNorm(width, bias=False)
        self.write = Write(self.codes, width)
        self.orders = self._orders(orders)

    def _orders(self, count: int) -> list[list[int]]:
        """The stored orders, drawn under a fixed seed; the condition is apart.

        Fields of few tokens tend to come first: rows then share their beginnings, and a sample costs less.
        """
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

    def trunk(self, sums: Tensor) -> Tensor:
        """The hidden vector that all conditionals read, (B, width): zero where nothing is known."""
        h = torch.cat([sums, self.read.blank()])
        for block in self.blocks:
            h = block(h)
        h = self.norm(h)
        return h[:-1] - h[-1:]

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        token, seen = batch
        n, total, start = len(token), token.shape[1], len(self.before)
        width = total - start
        device = token.device
        least = int(start == 0 and width > 1)
        k = torch.randint(least, width, (n, 1), generator=generator, device=device)
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
        walks = [(Walk(self, token, have, u, np.flatnonzero(pick == k)), self.orders[k]) for k in np.unique(pick)]
        together([walk.draw(order, free, cuts) for walk, order in walks], self.trunk)
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

    def _cut(self, j: int, given: Given) -> Cut:
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
        token, start = token.astype(np.int64), len(self.before)
        scored = np.concatenate([np.zeros((len(token), start), bool), mask], 1)
        terms = np.zeros((len(self.orders), *token.shape))
        have = np.zeros(token.shape, bool)
        have[:, :start] = seen[:, :start]
        for at in range(0, len(token), CHUNK):
            rows = np.arange(at, min(at + CHUNK, len(token)))
            walks = [Walk(self, token, have, np.zeros((0, 0)), rows) for _ in self.orders]
            steps = [w.score(o, scored & seen, t) for w, o, t in zip(walks, self.orders, terms, strict=True)]
            together(steps, self.trunk)
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


MODEL = AnyOrder
