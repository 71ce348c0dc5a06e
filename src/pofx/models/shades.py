"""Shades of images as normal numbers: how flows see them, and the shades that numbers stand for."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..spec import Columns, Spec
from .lifted import to_normal
from .vectors import PixelVectors

TRACED = 16  # numbers that an image's hash is made of


class Shades(nn.Module):
    """A shade k of a channel is the cell [F(k - 1), F(k)) of its law F over all sites, and z = Phi^-1(u), u in it.

    So a table's numbers are seen too (models/lifted.py): log P(k) = log(F(k) - F(k - 1)) + log E [p(z) / N(z)], and z
    is near to a normal number, where (k + u) / 256 would have most of its mass at one end.

    Sides are padded on the right and below to multiples of `multiple`: a pixel there has one shade, whose cell is all
    of [0, 1], so that it is noise that no image depends on and the bound holds. shape: padded, (C, H, W).
    """

    def __init__(self, spec: Spec, multiple: int) -> None:
        super().__init__()
        self.vectors = PixelVectors(spec)
        self.fields, self.top, (channels, *self.sides) = spec.fields, self.vectors.top, self.vectors.shape
        height, width = (side + -side % multiple for side in self.sides)
        self.shape, self.features = (channels, height, width), channels * height * width
        self.pad = (0, width - self.sides[1], 0, height - self.sides[0])
        mass = torch.from_numpy(np.stack([f.mass for f in self.fields]))
        high = mass.cumsum(1) / mass.sum(1, keepdim=True)
        low = F.pad(high[:, :-1], (1, 0))
        for name, part in (("low", low), ("gap", high - low), ("edges", high[:, :-1].contiguous())):
            self.register_buffer(name, part, persistent=False)

    def cells(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(F(k - 1), P(k), log of their product) of stored pixels: float64 (B, D), (B, D) and (B,)."""
        channel = torch.arange(len(self.fields), device=pixels.device)[:, None, None]
        at = pixels.long()
        low, gap = self.low[channel, at], self.gap[channel, at]
        whole = gap.flatten(1).log().sum(1)
        return F.pad(low, self.pad).flatten(1), F.pad(gap, self.pad, value=1.0).flatten(1), whole

    def image(self, pixels: Tensor, like: Tensor) -> Tensor:
        """Shades on [-1, 1], padded, (B, *shape): what a network reads."""
        return F.pad(pixels.to(like) * (2 / self.top) - 1, self.pad)

    def lower(self, z: Tensor) -> Columns:
        """The stored columns of numbers, (B, D)."""
        u = torch.special.ndtr(z.double()).view(len(z), *self.shape)[:, :, : self.sides[0], : self.sides[1]]
        parts = [torch.searchsorted(self.edges[i], u[:, i].contiguous(), right=True) for i in range(len(self.fields))]
        return {f.name: part.to(torch.uint8).cpu().numpy() for f, part in zip(self.fields, parts, strict=True)}

    def trace(self, pixels: Tensor) -> Tensor:
        """A few numbers that tell images apart, float64 (B, TRACED)."""
        flat = pixels.flatten(1).cpu().double() / 256
        turn = torch.rand(flat.shape[1], TRACED, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        return (flat @ turn * 1e2).remainder(1.0)


def normal_at(low: Tensor, gap: Tensor, u: Tensor) -> Tensor:
    """z at the levels u of cells, float64 (B, D)."""
    return to_normal(low + gap * u)
