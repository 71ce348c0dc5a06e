"""Networks over frames, (n, frames, width): blocks of a convolution a channel and an MLP a frame, told of a context.

Papers: Liu et al. 2022, A ConvNet for the 2020s; Peebles, Xie 2023, Scalable Diffusion Models with Transformers
(scale, shift and gate from the context); Siuzdak 2024, Vocos (such blocks over frames of sounds).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .mixed import Mixed

KERNEL = 7
WIDER = 3  # times, inside a block


class Block(nn.Module):
    """x + g W2 gelu(W1 (s LN(conv(x)) + b)); s, b and the gate g are of a context, (n, told), where there is one."""

    def __init__(self, width: int, told: int = 0) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(KERNEL, width) / KERNEL)
        self.norm = nn.LayerNorm(width, elementwise_affine=not told)
        self.first, self.second = nn.Linear(width, WIDER * width), nn.Linear(WIDER * width, width)
        self.told = nn.Linear(told, 3 * width) if told else None
        for zero in (self.told.weight, self.told.bias) if self.told else (self.second.weight, self.second.bias):
            nn.init.zeros_(zero)

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        h = self.norm(along(x, self.kernel))
        if self.told is None or c is None:
            return x + self.second(F.gelu(self.first(h)))
        scale, shift, gate = self.told(c).unsqueeze(1).chunk(3, 2)
        return x + gate * self.second(F.gelu(self.first(h * (1 + scale) + shift)))


def along(x: Tensor, kernel: Tensor) -> Tensor:
    """Each channel of x, (n, frames, width), convolved over frames with its own column of (taps, width)."""
    taps, width = kernel.shape  # channels last as an image of one line: ten times as fast as conv1d
    image, own = x.transpose(1, 2).unsqueeze(2), kernel.T.reshape(width, 1, 1, taps)
    return F.conv2d(image, own, padding=(0, taps // 2), groups=width).squeeze(2).transpose(1, 2)


class Encoder(Mixed):
    """Frames (n, stride T, bins) to (n, T, out): a block at full rate, then `depth` of `width` at the lower one."""

    def __init__(self, bins: int, out: int, stride: int, width: int, depth: int) -> None:
        super().__init__()
        self.stride, narrow = stride, width // 2
        self.fine = nn.Sequential(nn.Linear(bins, narrow), Block(narrow))
        self.coarse = nn.Sequential(nn.Linear(stride * narrow, width), *(Block(width) for _ in range(depth)))
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, out))

    def exact(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        h = self.fine(x)
        return self.out(self.coarse(h.reshape(len(h), h.shape[1] // self.stride, -1)))


class Decoder(Mixed):
    """The way back: (n, T, code) to (n, stride T, bins)."""

    def __init__(self, code: int, bins: int, stride: int, width: int, depth: int) -> None:
        super().__init__()
        self.stride, narrow = stride, width // 2
        self.coarse = nn.Sequential(nn.Linear(code, width), *(Block(width) for _ in range(depth)))
        self.widen = nn.Linear(width, stride * narrow)
        self.fine = nn.Sequential(Block(narrow), nn.LayerNorm(narrow), nn.Linear(narrow, bins))

    def exact(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        h = self.widen(self.coarse(x))
        return self.fine(h.reshape(len(h), h.shape[1] * self.stride, -1))


class Velocity(Mixed):
    """v(t, x, c) of codes x, (n, T, code), at times t, (n,), with a context c, (n, told), or None; zero at first."""

    def __init__(self, code: int, frames: int, told: int, width: int, depth: int) -> None:
        super().__init__()
        self.into = nn.Linear(code, width)
        self.place = nn.Parameter(0.02 * torch.randn(frames, width))
        self.told = nn.Linear(told, width) if told else None
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(Block(width, width) for _ in range(depth))
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, code)
        nn.init.zeros_(self.out.weight), nn.init.zeros_(self.out.bias)

    def velocity(self, t: Tensor, x: Tensor, c: Tensor | None) -> Tensor:
        seen = self.time(waves(t, self.into.out_features))
        return self(x, F.silu(seen if self.told is None or c is None else seen + self.told(c)))

    def exact(self, x: Tensor, c: Tensor | None) -> Tensor:
        h = self.into(x) + self.place
        for block in self.blocks:
            h = block(h, c)
        return self.out(self.norm(h))


def waves(t: Tensor, width: int) -> Tensor:
    """Cosines and sines of times in [0, 1], (n,) to (n, width)."""
    rising = torch.exp(torch.linspace(0, math.log(1000), width // 2, device=t.device, dtype=t.dtype))
    angle = t.unsqueeze(1) * rising
    return torch.cat([angle.cos(), angle.sin()], 1)
