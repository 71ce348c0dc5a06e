"""Flows of images over several scales: couplings by convolutions, and the chains of RealNVP and Glow."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import SpecError
from ..transforms.affine import Affine
from ..transforms.sizes import sizes
from ..transforms.squeeze import squeeze, unsqueeze
from .coders import Block
from .coupling import Elementwise
from .layer import Layer, Permutation, spread
from .linear import Conv1x1
from .mixed import Mixed
from .normalise import ActNorm
from .sites import Everywhere, Front

SMALLEST = 4  # the shorter side below which an image is not halved, but for once
Step = Callable[[int, tuple[int, int], int], list[Layer]]
"""The layers of a step: channels after the squeeze, sides, number of the step."""


def halvings(sides: Sequence[int]) -> int:
    """How often the sides of an image are halved: while the shorter one stays 4 or more, at least once."""
    return max(1, int(math.log2(max(min(sides), 1) / SMALLEST)) if min(sides) >= SMALLEST else 1)


class Convolutions(Mixed):
    """theta(x, c): (B, I, H, W) and c to (B, size, O H W), by residual blocks (coders.py) of `width` channels.

    h = A x + place + aside(c); `depth` blocks, each after the context once more; theta = V silu(h), V zero at first.
    `place`, (W, H, W'), is learned: what lies where. c: vectors (K, C), which the images go through in turn, or
    images (B, C, H, W) with `spatial`.
    """

    def __init__(
        self, inputs: int, context: int, size: int, outputs: int, sides: tuple[int, int], width: int, depth: int,
        spatial: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.first = nn.Conv2d(inputs, width, 3, padding=1)
        self.place = nn.Parameter(torch.zeros(width, *sides))
        aside: nn.Module | None = None
        if context:
            aside = nn.Conv2d(context, width, 3, padding=1) if spatial else nn.Linear(context, width, bias=False)
        self.aside, self.spatial, self.shape = aside, spatial, (size, outputs * math.prod(sides))
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.last = nn.Conv2d(width, size * outputs, 3, padding=1)
        nn.init.zeros_(self.last.weight), nn.init.zeros_(self.last.bias)

    def exact(self, x: Tensor, c: Tensor | None) -> Tensor:
        h = self.first(x.contiguous(memory_format=torch.channels_last)) + self.place
        told: Tensor | float = 0.0
        if self.aside is not None and c is not None:
            told = self.aside(c) if self.spatial else spread(self.aside(c), len(x))[:, :, None, None]
        for block in self.blocks:
            h = block(h + told)
        h = h if self.blocks else h + told
        return self.last(F.silu(h)).reshape(len(x), *self.shape)


class ImageCoupling(Layer):
    """y_keep = x_keep, y_move = x_move exp(s) + t, (s, t) = theta(x_keep, c) by convolutions; s is soft-limited.

    `keep`: (C,) of bool, channels. x, y: (B, C, H, W). After a squeeze a mask of channels is a mask of sites too: of
    the four places of a block, the two on a diagonal are a checkerboard.

    Papers: Dinh, Sohl-Dickstein, Bengio 2017, Density Estimation Using Real NVP; Kingma, Dhariwal 2018, Glow.
    Raises SpecError where there is not one channel to keep and one to move.
    """

    def __init__(
        self, keep: Tensor, sides: tuple[int, int], context: int, width: int, depth: int,
        elementwise: Elementwise | None = None, spatial: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        kept, moved = (int(n) for n in (keep.sum(), (~keep).sum()))
        if not kept or not moved:
            raise SpecError(f"expected two channels or more for a coupling, got {len(keep)}: squeeze first")
        self.elementwise, self.kept = elementwise or Affine(limit=2.0), kept
        order = torch.cat([keep.nonzero()[:, 0], (~keep).nonzero()[:, 0]])
        self.register_buffer("order", order)
        self.register_buffer("back", order.argsort())
        self.net = Convolutions(kept, context, self.elementwise.size, moved, sides, width, depth, spatial)

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        keep, move = self._parts(x)
        moved, ladj = self.elementwise.call_and_ladj(move.flatten(1), self.net(keep, c))
        return self._whole(keep, moved), ladj.sum(1)

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        keep, move = self._parts(y)
        moved, ladj = self.elementwise.inverse_and_ladj(move.flatten(1), self.net.exact(keep, c))
        return self._whole(keep, moved), ladj.sum(1)

    def moves(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The numbers that are moved and the parameters that move them, (B, M) and (B, size, M)."""
        keep, move = self._parts(x)
        return move.flatten(1), self.net(keep, c)

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        sorted_ = x.index_select(1, self.order)
        return sorted_[:, : self.kept], sorted_[:, self.kept :]

    def _whole(self, keep: Tensor, move: Tensor) -> Tensor:
        moved = move.view(len(move), -1, *keep.shape[2:])
        return torch.cat([keep, moved], 1).index_select(1, self.back)


def multiscale(shape: tuple[int, int, int], step: Step, split: Step, steps: int) -> list[Layer]:
    """The layers of a flow of rows (B, C H W), noise in the same order, of `halvings` levels.

    A level: squeeze, `steps` steps, and of all but the last level a `split`: half of the channels stay behind, given
    the other half, which goes on. At the end every number has a scale and a shift, so that the flow starts as the
    law of independent normal numbers. Raises SpecError for sides that cannot be halved so often.
    """
    channels, sides = shape[0], (shape[1], shape[2])
    features, levels = math.prod(shape), halvings(sides)
    sizes(steps=steps)
    layers: list[Layer] = []
    for level in range(levels):
        layers.append(squeezed((channels, *sides), features))
        channels, sides = 4 * channels, (sides[0] // 2, sides[1] // 2)
        at = (channels, *sides)
        layers += [Front(at, layer) for i in range(steps) for layer in step(channels, sides, i)]
        if level < levels - 1:
            layers += [Front(at, layer) for layer in split(channels, sides, level)]
            channels //= 2
    return [*layers, ActNorm(features)]


def squeezed(shape: tuple[int, int, int], features: int, back: bool = False) -> Permutation:
    """The squeeze of the first numbers of a row, or its inverse, which gives that shape."""
    order = torch.arange(features)
    first = order[: math.prod(shape)]
    if back:
        moved = unsqueeze(first.view(1, 4 * shape[0], shape[1] // 2, shape[2] // 2))
    else:
        moved = squeeze(first.view(1, *shape))
    return Permutation(torch.cat([moved.flatten(), order[len(first) :]]))


def half(channels: int) -> Tensor:
    """The mask that keeps the first half of the channels."""
    return torch.arange(channels) < channels // 2


def checkerboard(channels: int) -> Tensor:
    """The mask that keeps the dark sites of a checkerboard that was squeezed: places 0 and 3 of each block."""
    place = torch.arange(channels) % 4
    return (place == 0) | (place == 3)


def realnvp(context: int, width: int, depth: int, spatial: bool = False) -> tuple[Step, Step]:
    """(step, split) of RealNVP: actnorm and a coupling, masks in turn a checkerboard, its complement, channels, theirs.

    Paper: Dinh, Sohl-Dickstein, Bengio 2017, Density Estimation Using Real NVP.
    """

    def step(channels: int, sides: tuple[int, int], i: int) -> list[Layer]:
        mask = (checkerboard if i % 4 < 2 else half)(channels)
        keep = mask if i % 2 == 0 else ~mask
        return [Everywhere(ActNorm(channels)), ImageCoupling(keep, sides, context, width, depth, spatial=spatial)]

    return step, _split(context, width, depth)


def glow(context: int, width: int, depth: int) -> tuple[Step, Step]:
    """(step, split) of Glow: actnorm, an LU map of the channels, a coupling that keeps half of them.

    Paper: Kingma, Dhariwal 2018, Glow: Generative Flow with Invertible 1x1 Convolutions.
    """

    def step(channels: int, sides: tuple[int, int], i: int) -> list[Layer]:
        mixed = [Everywhere(ActNorm(channels)), Conv1x1(channels)]
        return [*mixed, ImageCoupling(half(channels), sides, context, width, depth)]

    return step, _split(context, width, depth)


def _split(context: int, width: int, depth: int) -> Step:
    """N(m, e^2s) of what stays behind given what goes on, as a coupling: (x - m) e^-s is standard normal."""
    return lambda channels, sides, _: [ImageCoupling(half(channels), sides, context, width, depth)]


class Smear(nn.Module):
    """q(u | k) on the unit cube, of images k: u = Phi(v), v = g(e; k), e normal, g couplings given k; uniform at first.

    Paper: Ho et al. 2019, Flow++ (variational dequantisation).
    """

    def __init__(self, shape: tuple[int, int, int], width: int, depth: int, steps: int = 4) -> None:
        super().__init__()
        features, (channels, height, width_) = math.prod(shape), shape
        at = (4 * channels, height // 2, width_ // 2)
        step, _ = realnvp(at[0], width, depth, spatial=True)
        layers = [Front(at, step(at[0], at[1:], i)[1]) for i in range(steps)]
        self.shape = shape
        self.layers = nn.ModuleList([squeezed(shape, features), *layers, squeezed(shape, features, back=True)])

    def forward(self, e: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """(v, log q(v | k) - log N(v)), of normal e, (B, D), and images k, (B, *shape)."""
        c, v, total = squeeze(k), e, e.new_zeros(len(e))
        for layer in self.layers:
            v, ladj = layer.call_and_ladj(v, c)
            total = total + ladj
        return v, 0.5 * (v.square() - e.square()).sum(1) - total
