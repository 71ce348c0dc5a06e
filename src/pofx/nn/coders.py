"""The networks of autoencoders: an example to numbers, and codes to the numbers of its law.

`encoder(shape, ...)` and `decoder(..., shape)` give a multilayer perceptron for vectors, (I,), and for images,
(C, H, W), a perceptron or a convolutional network of a quarter as many channels as `width` says. All take the
condition's vector c, (B, C'), of width 0 without one.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import SpecError
from .mixed import Mixed
from .mlp import MLP

NETWORKS = ("auto", "mlp", "conv")
THIN = 4  # the numbers of a perceptron's layer for each channel of a convolution, which is used at many sites
HALVINGS = 2  # of the sides of small images in a convolutional network; larger ones have more, until
SMALL = 8  # the longest side is this or less
WIDEST = 4  # channels double with each halving, up to so many times those of the first


def encoder(
    shape: tuple[int, ...], outputs: int, context: int = 0, network: str = "auto", width: int = 128, depth: int = 2
) -> nn.Module:
    """(B, *shape) and (B, context) to (B, outputs)."""
    if choose(shape, network) == "conv":
        return ConvEncoder(shape, outputs, context, channels(width), depth)
    return Flat((math.prod(shape),), (outputs,), context, width, depth)


def decoder(
    inputs: int, shape: tuple[int, ...], context: int = 0, network: str = "auto", width: int = 128, depth: int = 2
) -> nn.Module:
    """(B, inputs) and (B, context) to (B, *shape). `bias_` sets the bias of its outputs from (*shape,) numbers."""
    if choose(shape, network) == "conv":
        return ConvDecoder(inputs, shape, context, channels(width), depth)
    return Flat((inputs,), shape, context, width, depth)


def choose(shape: tuple[int, ...], network: str) -> str:
    """ "mlp" or "conv"; SpecError for another name, or for a convolution over no sites."""
    if network not in NETWORKS:
        raise SpecError(f"expected network among {', '.join(NETWORKS)}, got {network!r}")
    if network == "conv" and len(shape) != 3:
        raise SpecError("expected images for network='conv', got rows: use network='mlp'")
    return ("conv" if len(shape) == 3 else "mlp") if network == "auto" else network


def channels(width: int) -> int:
    """The channels of a convolutional network in the place of a perceptron of this width."""
    return max(1, width // THIN)


class Flat(nn.Module):
    """A perceptron (mlp.py) of flattened inputs and the condition."""

    def __init__(self, inputs: tuple[int, ...], outputs: tuple[int, ...], context: int, width: int, depth: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.net = MLP(math.prod(inputs) + context, math.prod(outputs), width, depth, gain=0.1, thin=True)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        flat = x.flatten(1)
        return self.net(torch.cat([flat, c], 1) if c.shape[1] else flat).view(-1, *self.outputs)

    def bias_(self, values: Tensor) -> None:
        self.net.bias.copy_(values.flatten())

    def standardise_(self, mean: Tensor, scale: Tensor) -> None:
        """Outputs that had this mean and scale, (outputs,), get mean zero and scale one."""
        standardise_(self.net.last[-1], mean, scale)


def standardise_(last: nn.Linear, mean: Tensor, scale: Tensor) -> None:
    """W <- W / scale, b <- (b - mean) / scale."""
    last.weight.div_(scale.unsqueeze(1))
    last.bias.sub_(mean).div_(scale)


class Block(nn.Module):
    """h + B silu(A silu(h)), A and B convolutions of 3 x 3; B starts at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(width, width, 3, padding=1)
        self.b = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.b.weight), nn.init.zeros_(self.b.bias)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.b(F.silu(self.a(F.silu(h))))


class ConvEncoder(Mixed):
    """Convolutions of stride 2, one residual block after the last but one, `depth` after the last; a linear map.

    `plan` says how many: two for sides up to 32, of `width` channels and twice as many; more, of four times as many,
    for larger images. Blocks over more sites than the two smallest maps have would cost more than all the rest.
    """

    def __init__(self, shape: tuple[int, ...], outputs: int, context: int, width: int, depth: int) -> None:
        super().__init__()
        self.pad = padding(shape)
        small, wide = plan(shape, width)
        layers: list[nn.Module] = []
        for before, after, blocks in zip((shape[0], *wide), wide, residual(depth, len(wide)), strict=False):
            layers += [nn.Conv2d(before, after, 4, 2, 1), *[Block(after) for _ in range(blocks)], nn.SiLU()]
        self.body = nn.Sequential(*layers)
        self.last = nn.Linear(wide[-1] * math.prod(small) + context, outputs)
        with torch.no_grad():
            self.last.weight.mul_(0.3), self.last.bias.zero_()

    def exact(self, x: Tensor, c: Tensor) -> Tensor:
        x = F.pad(x, self.pad).contiguous(memory_format=torch.channels_last)
        return self.last(torch.cat([self.body(x).flatten(1), c], 1))

    def standardise_(self, mean: Tensor, scale: Tensor) -> None:
        """Outputs that had this mean and scale, (outputs,), get mean zero and scale one."""
        standardise_(self.last, mean, scale)


class ConvDecoder(Mixed):
    """The way back: a linear map, residual blocks, and convolutions whose channels become four times the sites.

    Paper: Shi et al. 2016, Real-Time Single Image and Video Super-Resolution (sub-pixel convolution).
    """

    def __init__(self, inputs: int, shape: tuple[int, ...], context: int, width: int, depth: int) -> None:
        super().__init__()
        self.sides = shape[1:]
        self.small, wide = plan(shape, width)
        self.first = nn.Linear(inputs + context, wide[-1] * math.prod(self.small))
        layers: list[nn.Module] = []
        back, blocks = wide[::-1], residual(depth, len(wide))[::-1]
        for here, after, count in zip(back, (*back[1:], shape[0]), blocks, strict=True):
            layers += [*[Block(here) for _ in range(count)], nn.SiLU()]
            layers += [nn.Conv2d(here, 4 * after, 3, padding=1), nn.PixelShuffle(2)]
        self.body = nn.Sequential(*layers)
        self.bias = nn.Parameter(torch.zeros(shape))

    def exact(self, z: Tensor, c: Tensor) -> Tensor:
        h = self.first(torch.cat([z, c], 1)).view(len(z), -1, *self.small)
        made = self.body(h.contiguous(memory_format=torch.channels_last))
        return made[:, :, : self.sides[0], : self.sides[1]] + self.bias

    def bias_(self, values: Tensor) -> None:
        self.bias.copy_(values)


def halvings(shape: tuple[int, ...]) -> int:
    """How often both sides of an image (C, H, W) are halved: until the longest is at most 8, at least twice.

    An image much longer than it is high is halved no more often than its short side can be.
    """
    most = max(HALVINGS, min(shape[1:]).bit_length() - 1)
    return min(most, max(HALVINGS, math.ceil(math.log2(max(shape[1:]) / SMALL))))


def plan(shape: tuple[int, ...], width: int) -> tuple[list[int], list[int]]:
    """(the sides of the smallest map, the channels after each halving: width, 2 width, 4 width and no more)."""
    count = halvings(shape)
    return [-(-side // 2**count) for side in shape[1:]], [min(2**i, WIDEST) * width for i in range(count)]


def residual(depth: int, count: int) -> list[int]:
    """The residual blocks at each map, largest first."""
    return [0] * (count - 2) + [min(depth, 1), depth]


def padding(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """What F.pad needs so that both sides can be halved so often."""
    height, width = ((-side) % 2 ** halvings(shape) for side in shape[1:])
    return 0, width, 0, height
