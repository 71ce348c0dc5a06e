"""A velocity of images: a U-Net over three sizes, told the time and a condition."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .layer import spread
from .mixed import Mixed
from .restoring import silent

MULTIPLE = 4  # that both sides are padded to
WAVES = 8
FAST = 1000.0  # radians that the fastest wave turns while t goes from 0 to 1


class Told(nn.Module):
    """h + B silu((1 + s) A silu(h) + b), (s, b) = W e: a residual block that an embedding e, (B, E), turns. B is zero.

    Paper: Perez et al. 2018, FiLM: Visual Reasoning with a General Conditioning Layer.
    """

    def __init__(self, width: int, told: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(width, width, 3, padding=1)
        self.b = silent(width, width)
        self.film = nn.Linear(told, 2 * width)
        nn.init.zeros_(self.film.weight), nn.init.zeros_(self.film.bias)

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        scale, shift = self.film(e)[:, :, None, None].chunk(2, 1)
        return h + self.b(F.silu(self.a(F.silu(h)) * (1 + scale) + shift))


class Velocity(Mixed):
    """v(t, x, c): t (B,), x and v (B, C, H, W) of any sides, c (K, context) or None, which rows go through in turn.

    Of `width`, 2 width and 4 width channels at the three sizes, `depth` blocks of `Told` at each on the way down and on
    the way up; what a size had is added on the way up. e is a perceptron of cos and sin of t at several speeds and of
    c. Sides are padded by zeros to multiples of 4, and what lies there is cut off. Zero at the start.

    Paper: Ronneberger, Fischer, Brox 2015, U-Net.
    """

    def __init__(self, channels: int, context: int, width: int, depth: int) -> None:
        super().__init__()
        wide, widest, told = 2 * width, 4 * width, 4 * width

        def blocks(channels: int, count: int = depth) -> nn.ModuleList:
            return nn.ModuleList(Told(channels, told) for _ in range(count))

        self.register_buffer("waves", torch.logspace(0, math.log10(FAST), WAVES), persistent=False)
        self.time = nn.Linear(2 * WAVES, told)
        self.aside = nn.Linear(context, told, bias=False) if context else None
        self.mix = nn.Linear(told, told)
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.down = nn.ModuleList([blocks(width), blocks(wide)])
        self.shrink = nn.ModuleList([nn.Conv2d(width, wide, 2, 2), nn.Conv2d(wide, widest, 2, 2)])
        self.middle = blocks(widest, 2 * depth)
        self.enlarge = nn.ModuleList([nn.Conv2d(widest, 4 * wide, 1), nn.Conv2d(wide, 4 * width, 1)])
        self.up = nn.ModuleList([blocks(wide), blocks(width)])
        self.last = silent(width, channels)

    def velocity(self, t: Tensor, x: Tensor, c: Tensor | None) -> Tensor:
        """v(t, x, c)."""
        angle = t[:, None] * self.waves
        e = self.time(torch.cat([angle.cos(), angle.sin()], 1))
        if self.aside is not None and c is not None:
            e = e + spread(self.aside(c), len(x))
        return self(x, F.silu(self.mix(F.silu(e))))

    def exact(self, x: Tensor, c: Tensor | None) -> Tensor:
        """v of images and their embedding, (B, 4 width)."""
        height, width = x.shape[2:]
        padded = F.pad(x, (0, -width % MULTIPLE, 0, -height % MULTIPLE))
        h, kept = self.first(padded.contiguous(memory_format=torch.channels_last)), []
        for blocks, shrink in zip(self.down, self.shrink, strict=True):
            for block in blocks:
                h = block(h, c)
            kept.append(h)
            h = shrink(h)
        for block in self.middle:
            h = block(h, c)
        for enlarge, blocks in zip(self.enlarge, self.up, strict=True):
            h = F.pixel_shuffle(enlarge(h), 2) + kept.pop()
            for block in blocks:
                h = block(h, c)
        return self.last(F.silu(h))[:, :, :height, :width]
