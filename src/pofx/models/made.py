"""One network that gives every term of a row in one pass, the fields in any order (any_order, autoregressive).

The hidden units have degrees, 1 to F - 1 and sorted: a unit of degree d sees the fields at positions before d of the
order, and units of degree at most d; the field at position i is read from units of degree at most i. So each term
depends on the fields before it alone, and the order decides which weights are used, not what they are.

Germain et al. 2015, MADE: Masked Autoencoder for Distribution Estimation.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..nn.stairs import stairs
from .tokens import Codes, Read, Write

BAND = 128  # units of a triangular map that are computed together
ALIKE = 8  # rows that share a dropout mask: drawing one for each would cost a fifth of a step


class Triangular(nn.Module):
    """Linear map between hidden units sorted by degree: unit d reads units of degree at most d. (B, H) -> (B, H)."""

    def __init__(self, degree: Tensor) -> None:
        super().__init__()
        width = len(degree)
        self.register_buffer("mask", (degree[:, None] >= degree[None, :]).float(), persistent=False)
        self.weight = nn.Parameter(torch.randn(width, width) / self.mask.sum(1, keepdim=True).sqrt())
        self.bias = nn.Parameter(torch.zeros(width))
        bands = [slice(i, min(i + BAND, width)) for i in range(0, width, BAND)]
        self.bands = [(band, int((degree <= degree[band.stop - 1]).sum())) for band in bands]

    def forward(self, h: Tensor) -> Tensor:
        return stairs(h, self.weight * self.mask, [(len(h), self.bands)]) + self.bias

    def rows(self, h: Tensor, at: slice) -> Tensor:
        """Only the units `at`, the last of their degree among them, from all units up to these."""
        return F.linear(h[:, : at.stop], self.weight[at, : at.stop], self.bias[at])


class Made(nn.Module):
    """Tokens (B, F) in an order -> -log P of each given those before it, (B, F), nats.

    `first`: so many fields are always at the first positions and never drawn (the condition of p(x | c)).
    """

    def __init__(self, codes: Codes, first: int, width: int, blocks: int, dropout: float) -> None:
        super().__init__()
        self.codes = codes
        count = len(codes.sizes)
        low = max(first, 1)
        degree = low + torch.arange(width) * max(count - low, 1) // width
        self.register_buffer("degree", degree, persistent=False)
        # ends[p]: units of degree at most p, what the field at position p is read from
        self.ends = torch.searchsorted(degree, torch.arange(count + 1), right=True).tolist()
        self.read, self.write = Read(codes, width), Write(codes, width)
        self.blocks = nn.ModuleList(nn.ModuleList([Triangular(degree), Triangular(degree)]) for _ in range(blocks))
        for _, down in self.blocks:
            nn.init.zeros_(down.weight)
        self.dropout = dropout

    def forward(self, token: Tensor, known: Tensor, orders: Sequence[tuple[int, Sequence[int]]]) -> Tensor:
        """`orders`: the next so many rows, and their order."""
        parts = [(n, self._ends(order)) for n, order in orders]
        h = self.read(token, known, parts)
        for up, down in self.blocks:
            h = h + down(self._dropped(F.silu(up(F.silu(h)))))
        return self.write(self._dropped(F.silu(h)), token, parts)

    def _ends(self, order: Sequence[int]) -> list[int]:
        """The units that each field is read from in an order: so many, from the first on; the others see it."""
        ends = [0] * len(order)
        for position, j in enumerate(order):
            ends[j] = self.ends[position]
        return ends

    def _dropped(self, h: Tensor) -> Tensor:
        if not self.training or not self.dropout:
            return h
        groups = -(-len(h) // ALIKE)
        keep = (torch.rand(groups, h.shape[1], device=h.device) >= self.dropout).to(h.dtype)
        return h * (keep / (1 - self.dropout)).repeat_interleave(ALIKE, 0)[: len(h)]


class Pass:
    """One pass through the network, unit by unit in order of degree, for n rows, each in an order of its own."""

    def __init__(self, net: Made, n: int) -> None:
        self.net, self.position = net, 0
        width, device = len(net.degree), net.degree.device
        self.sums = net.read.blank().repeat(n, 1)
        self.layers = [
            torch.empty(n, width, device=device, dtype=self.sums.dtype) for _ in range(2 * len(net.blocks) + 1)
        ]

    @property
    def hidden(self) -> Tensor:
        """What the field at the present position is read from, (n, units)."""
        return self.layers[-1][:, : self.net.ends[self.position]]

    def take(self, rows: np.ndarray) -> "Pass":
        """A pass of these rows, which may repeat."""
        index = torch.from_numpy(rows).to(self.sums.device)
        other = Pass(self.net, 0)
        other.position = self.position
        other.sums, other.layers = self.sums[index], [layer[index] for layer in self.layers]
        return other

    def learn(self, field: np.ndarray, token: np.ndarray, seen: np.ndarray) -> None:
        """The value at the present position is known, (n,) each: the units of the next degree can be computed."""
        since = self.net.ends[self.position]
        for j in np.unique(field):
            mine = np.flatnonzero((field == j) & seen)
            rows = slice(None) if len(mine) == len(field) else torch.from_numpy(mine).to(self.sums.device)
            said = torch.from_numpy(token[mine]).to(self.sums.device)
            self.sums[rows, since:] += self.net.read.change(int(j), said, since)
        self.position += 1
        units = slice(since, self.net.ends[self.position])
        if units.start == units.stop:
            return
        h = self.sums[:, units]
        for b, (up, down) in enumerate(self.net.blocks):
            reads, inner = self.layers[2 * b], self.layers[2 * b + 1]
            reads[:, units] = F.silu(h)
            inner[:, units] = F.silu(up.rows(reads, units))
            h = h + down.rows(inner, units)
        self.layers[-1][:, units] = F.silu(h)
