"""Quantisers: a vector becomes one of finitely many, and gradients pass as if it had not (straight through).

z: (B, G, d), G groups of d numbers. A quantiser gives the quantised z, the codes, (B, G * levels) int64 below `count`,
and what it adds to the loss, (B,).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import SpecError


class Quantiser(nn.Module):
    """count: codes of one place; levels: places of one group."""

    count: int
    levels: int = 1

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        raise NotImplementedError

    def look_up(self, codes: Tensor) -> Tensor:
        """The vectors of codes, (B, G * levels) to (B, G, d)."""
        raise NotImplementedError


class VQ(Quantiser):
    """The nearest of `count` vectors e_k, each the moving average of those z that chose it.

    e_k = m_k / n_k, n_k <- g n_k + (1 - g) #{z: k}, m_k <- g m_k + (1 - g) sum of those z. Loss: commitment
    |z - sg(e)|^2. A vector that fewer than `least` of the expected share choose takes the place of a z at random: no
    code stays dead. The averages move in training alone.

    Papers: van den Oord, Vinyals, Kavukcuoglu 2017, Neural Discrete Representation Learning; Razavi et al. 2019.
    """

    def __init__(
        self, count: int, width: int, keep: float = 0.99, commitment: float = 0.25, least: float = 0.03
    ) -> None:
        super().__init__()
        self.count, self.keep, self.commitment, self.least = count, keep, commitment, least
        self.register_buffer("vectors", torch.randn(count, width))
        self.register_buffer("chosen", torch.ones(count))
        self.register_buffer("sums", self.vectors.clone())
        self.register_buffer("begun", torch.zeros((), dtype=torch.bool))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        flat = z.reshape(-1, z.shape[-1]).to(self.vectors.dtype)
        if self.training:
            self._begin(flat.detach())
        far = self.vectors.square().sum(1) - 2 * flat @ self.vectors.T
        codes = far.argmin(1)
        near = self.vectors[codes].view_as(z)
        if self.training:
            self._learn(flat.detach(), codes)
        commitment = self.commitment * (z - near).square().flatten(1).sum(1)
        return z + (near - z).detach(), codes.view(z.shape[:2]), commitment

    @torch.no_grad()
    def _begin(self, flat: Tensor) -> None:
        """The first batch gives the first vectors."""
        if not self.begun:
            self.begun.fill_(True)
            self._put(torch.arange(self.count, device=flat.device), flat)

    def _put(self, which: Tensor, flat: Tensor) -> None:
        """Vectors `which` become rows of `flat` at random, with a little noise, as if chosen as often as expected."""
        rows = flat[torch.randint(len(flat), (len(which),), device=flat.device)]
        self.vectors[which] = rows + 1e-3 * rows.std().nan_to_num(0.0) * torch.randn_like(rows)
        self.chosen[which] = len(flat) / self.count
        self.sums[which] = self.vectors[which] * self.chosen[which].unsqueeze(1)

    @torch.no_grad()
    def _learn(self, flat: Tensor, codes: Tensor) -> None:
        hits = torch.zeros_like(self.chosen).index_add_(0, codes, torch.ones_like(flat[:, 0]))
        self.chosen.lerp_(hits, 1 - self.keep)
        self.sums.lerp_(torch.zeros_like(self.sums).index_add_(0, codes, flat), 1 - self.keep)
        self.vectors.copy_(self.sums / self.chosen.clamp(min=1e-5).unsqueeze(1))
        dead = (self.chosen < self.least * len(flat) / self.count).nonzero()[:, 0]
        if len(dead):
            self._put(dead, flat)

    def look_up(self, codes: Tensor) -> Tensor:
        return self.vectors[codes]


class ResidualVQ(Quantiser):
    """VQ of z, of what is left, and so on, `levels` times: z^ = e^1 + ... + e^levels.

    Paper: Zeghidour et al. 2021, SoundStream.
    """

    def __init__(self, count: int, width: int, levels: int = 2) -> None:
        super().__init__()
        if levels < 1:
            raise SpecError(f"expected at least one level, got {levels}")
        self.count, self.levels = count, levels
        self.parts = nn.ModuleList(VQ(count, width) for _ in range(levels))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        left, found, codes, total = z, torch.zeros_like(z), [], z.new_zeros(len(z))
        for part in self.parts:
            near, code, loss = part(left)
            found, left = found + near.detach(), left - near.detach()
            codes.append(code)
            total = total + loss
        return z + (found - z).detach(), torch.stack(codes, 2).flatten(1), total

    def look_up(self, codes: Tensor) -> Tensor:
        each = codes.view(len(codes), -1, self.levels)
        return torch.stack([part.look_up(each[:, :, i]) for i, part in enumerate(self.parts)]).sum(0)


class FSQ(Quantiser):
    """Each number of z rounded to one of a few values: no vectors to learn, no loss of its own.

    z_i -> round(h_i tanh(z_i + s_i) - o_i), `sizes` values of number i; a code counts them like digits. Rounding is in
    float32, whatever the network's precision: bfloat16 would miss half of the codes.

    Paper: Mentzer, Minnen, Agustsson, Tschannen 2024, Finite Scalar Quantization: VQ-VAE Made Simple.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        if not sizes or min(sizes) < 2:
            raise SpecError(f"expected two values or more of each number, got sizes={tuple(sizes)}")
        self.count = math.prod(sizes)
        size = torch.tensor(list(sizes))
        self.register_buffer("sizes", size, persistent=False)
        self.register_buffer("digit", torch.cumprod(torch.cat([torch.ones(1, dtype=torch.long), size[:-1]]), 0),
                             persistent=False)  # fmt: skip

    def _bounded(self, z: Tensor) -> Tensor:
        half = (self.sizes - 1) / 2 + 1e-3
        offset = torch.where(self.sizes % 2 == 0, 0.5, 0.0)
        return torch.tanh(z.float() + torch.atanh(offset / half)) * half - offset

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        bounded = self._bounded(z)
        whole = bounded.round()
        codes = ((whole + self.sizes // 2).long() * self.digit).sum(-1)
        near = bounded + (whole - bounded).detach()
        return (near / (self.sizes // 2)).to(z.dtype), codes, z.new_zeros(len(z))

    def look_up(self, codes: Tensor) -> Tensor:
        whole = (codes.unsqueeze(-1) // self.digit) % self.sizes - self.sizes // 2
        return whole.float() / (self.sizes // 2)


def usage(codes: Tensor, count: int) -> tuple[float, float]:
    """(share of codes that occur, perplexity exp H of their frequencies) of codes of any shape."""
    share = torch.bincount(codes.flatten(), minlength=count).double() / max(codes.numel(), 1)
    return float((share > 0).double().mean()), float(torch.exp(-(share * share.clamp(min=1e-300).log()).sum()))
