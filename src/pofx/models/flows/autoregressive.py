"""autoregressive: fields one after the other in one stored order; the fast one."""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import SpecError
from ...spec import Columns, Given, Spec
from ..model import Batch, Clock, Model, Recipe, Rows
from ..tokens import Codes, Read, Write, invert

CHUNK = 4096
SIZES = {"small": (256, 1), "base": (512, 2), "large": (1024, 3)}


class Triangular(nn.Module):
    """Linear map between hidden units sorted by degree: unit d reads units of degree at most d. (B, H) -> (B, H)."""

    def __init__(self, degree: Tensor) -> None:
        super().__init__()
        width = len(degree)
        self.register_buffer("mask", (degree[:, None] >= degree[None, :]).float(), persistent=False)
        reads = self.mask.sum(1, keepdim=True)
        self.weight = nn.Parameter(torch.randn(width, width) / reads.sqrt())
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, h: Tensor) -> Tensor:
        return F.linear(h, self.weight * self.mask, self.bias)

    def rows(self, h: Tensor, at: slice) -> Tensor:
        """Only the units `at`, from the units before their end."""
        return F.linear(h[:, : at.stop], self.weight[at, : at.stop] * self.mask[at, : at.stop], self.bias[at])


class Autoregressive(Model):
    """Masked autoregressive network over tokens, fields of few tokens first.

    log p(x) = sum_i log p(x_{o(i)} | x_{o(1)}, ..., x_{o(i-1)})

    All terms come from one pass: hidden unit k has a degree d_k, sees the fields at positions up to d_k, and is seen by
    the heads of later positions. Units are sorted by degree, so that a row is drawn in one pass in all: the step of
    position i computes the units of degree i alone. x = decode(z): the inverse distribution function of each
    conditional at z_j, uniform. Shapes: tokens (B, F) -> hidden (B, width) -> terms (B, F), nats.

    Germain et al. 2015, MADE: Masked Autoencoder for Distribution Estimation; Nash and Durkan 2019, Autoregressive
    Energy Machines (the residual form).

        model = create("autoregressive", spec, size="base", seed=0)
    """

    family = "flows"
    abilities = frozenset({"sample", "log_prob", "cells", "condition"})

    def __init__(
        self, spec: Spec, *, size: str = "base", bins: int = 128, fine: int = 16, dropout: float = 0.1
    ) -> None:
        super().__init__(spec)
        if size not in SIZES:
            raise SpecError(f"expected a size among {', '.join(SIZES)}, got {size!r}")
        width, blocks = SIZES[size]
        before = spec.condition.fields if spec.condition else ()
        order = sorted(range(len(spec.fields)), key=lambda j: len(spec.fields[j].mass))
        self.before, self.back = len(before), np.argsort(order)
        self.codes = Codes((*before, *(spec.fields[j] for j in order)), bins, fine)
        count = len(self.codes.sizes)
        width = max(width, 2 * count)
        degree = (torch.arange(width) * max(count - 1, 1)) // width + 1
        self.register_buffer("degree", degree, persistent=False)
        self.read = Read(self.codes, width, (degree[None, :] > torch.arange(count)[:, None]).float())
        self.blocks = nn.ModuleList(nn.ModuleList([Triangular(degree), Triangular(degree)]) for _ in range(blocks))
        for _, down in self.blocks:
            nn.init.zeros_(down.weight)
        sees = (degree[None, :] <= torch.arange(count)[:, None]).float()
        self.write = Write(self.codes, width, sees)
        self.dropout = dropout

    # -- training ----------------------------------------------------------------------------------------------------

    def prepare(self, x: Columns, c: Columns | None = None) -> Batch:
        token, _, seen = self.codes.encode(x | (c or {}))
        return torch.from_numpy(token.astype(np.int64)), torch.from_numpy(seen)

    def recipe(self, rows: int) -> Recipe:
        batch = int(min(512, max(32, 2 ** math.ceil(math.log2(max(rows, 2) / 16)))))
        return Recipe(steps=int(min(20_000, max(300, 25 * rows / batch))), batch=batch, rate=2e-3, decay=1e-2)

    def hidden(self, token: Tensor, known: Tensor) -> Tensor:
        """All hidden units, (B, width)."""
        h = self.read(token, known)
        for up, down in self.blocks:
            inner = F.dropout(F.silu(up(F.silu(h))), self.dropout, self.training)
            h = h + down(inner)
        return F.silu(h)

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        token, seen = batch
        nll = self.write.nll(self.hidden(token, seen), token)
        return (nll * seen)[:, self.before :].sum(1)

    # -- drawing and scoring -----------------------------------------------------------------------------------------

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.rand(n, len(self.spec.fields), generator=generator, dtype=torch.float64)

    @torch.inference_mode()
    def decode(
        self, z: Tensor, c: Columns | None = None, given: Given | None = None, known: Rows | None = None
    ) -> Columns:
        n, count = len(z), len(self.codes.sizes)
        u = np.concatenate([np.zeros((n, self.before)), z.numpy()[:, self.back.argsort()]], 1)
        token = np.zeros((n, count), np.int64)
        seen = np.ones((n, count), bool)
        for j, field in enumerate(self.codes.fields[: self.before]):
            token[:, j], _, seen[:, j] = field.encode((c or {})[field.name], self.codes.tokens[j])
        pass_ = Pass(self, n)
        for j in range(count):
            if j >= self.before:
                token[:, j], u[:, j] = self._draw(j, pass_.head, u[:, j])
            pass_.learn(j, torch.from_numpy(token[:, j]), torch.from_numpy(seen[:, j]))
        pairs = list(enumerate(self.codes.fields))[self.before :]
        return {f.name: f.decode(token[:, j], u[:, j], self.codes.tokens[j]) for j, f in pairs}

    def _draw(self, j: int, h: Tensor, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        coarse, level = invert(self.write.coarse_logits(j, h).cpu().double().softmax(1), u, None)
        m = self.codes.sizes[j][1]
        if m == 1:
            return coarse, level
        logits = self.write.fine_logits(j, h, torch.from_numpy(coarse).to(h.device))
        fine, level = invert(logits.cpu().double().softmax(1), level, None)
        return coarse * m + fine, level

    @torch.inference_mode()
    def cells(self, x: Columns, c: Columns | None = None) -> np.ndarray:
        token, inside, seen = self.codes.encode(x | (c or {}))
        nll = np.zeros(inside.shape)
        for start in range(0, len(token), CHUNK):
            at = slice(start, start + CHUNK)
            some = torch.from_numpy(token[at].astype(np.int64)).to(self.device)
            known = torch.from_numpy(seen[at]).to(self.device)
            nll[at] = self.write.nll(self.hidden(some, known), some).cpu().double().numpy()
        return (inside - np.where(seen, nll, 0.0))[:, self.before :][:, self.back]


class Pass:
    """One pass through the network, unit by unit in order of degree, for n rows."""

    def __init__(self, model: Autoregressive, n: int) -> None:
        self.model = model
        width, device = len(model.degree), model.device
        self.sums = model.read(
            torch.zeros(1, len(model.codes.sizes), dtype=torch.long, device=device),
            torch.zeros(1, len(model.codes.sizes), dtype=torch.bool, device=device),
        ).repeat(n, 1)
        self.layers = [torch.zeros(n, width, device=device) for _ in range(2 * len(model.blocks) + 1)]
        self.head = torch.zeros(n, width, device=device)

    def learn(self, j: int, token: Tensor, seen: Tensor) -> None:
        """The field at position j is known: the units of degree j + 1 can be computed."""
        model = self.model
        change = model.read.change(j, token.to(self.sums.device))
        self.sums += change * seen[:, None].to(self.sums.device)
        at = torch.nonzero(model.degree == j + 1)[:, 0]
        if not len(at):
            return
        units = slice(int(at[0]), int(at[-1]) + 1)
        h = self.sums[:, units]
        for b, (up, down) in enumerate(model.blocks):
            read, inner = self.layers[2 * b], self.layers[2 * b + 1]
            read[:, units] = F.silu(h)
            inner[:, units] = F.silu(up.rows(read, units))
            h = h + down.rows(inner, units)
        self.head[:, units] = F.silu(h)


MODEL = Autoregressive
