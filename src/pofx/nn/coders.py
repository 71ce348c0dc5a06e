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
SHRINK = 4  # a convolutional network halves each side twice


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
    """Two convolutions of stride 2, of `width` channels and twice as many, and residual blocks; a linear map."""

    def __init__(self, shape: tuple[int, ...], outputs: int, context: int, width: int, depth: int) -> None:
        super().__init__()
        self.pad = padding(shape)
        small = [-(-side // SHRINK) for side in shape[1:]]
        self.body = nn.Sequential(
            nn.Conv2d(shape[0], width, 4, 2, 1), *[Block(width)] * (depth > 0), nn.SiLU(),
            nn.Conv2d(width, 2 * width, 4, 2, 1), *[Block(2 * width) for _ in range(depth)], nn.SiLU(),
        )  # fmt: skip
        self.last = nn.Linear(2 * width * math.prod(small) + context, outputs)
        with torch.no_grad():
            self.last.weight.mul_(0.3), self.last.bias.zero_()

    def exact(self, x: Tensor, c: Tensor) -> Tensor:
        x = F.pad(x, self.pad).contiguous(memory_format=torch.channels_last)
        return self.last(torch.cat([self.body(x).flatten(1), c], 1))

    def standardise_(self, mean: Tensor, scale: Tensor) -> None:
        """Outputs that had this mean and scale, (outputs,), get mean zero and scale one."""
        standardise_(self.last, mean, scale)


class ConvDecoder(Mixed):
    """The way back: a linear map, residual blocks, and twice a convolution whose channels become four times the sites.

    Paper: Shi et al. 2016, Real-Time Single Image and Video Super-Resolution (sub-pixel convolution).
    """

    def __init__(self, inputs: int, shape: tuple[int, ...], context: int, width: int, depth: int) -> None:
        super().__init__()
        self.sides = shape[1:]
        self.small = [-(-side // SHRINK) for side in shape[1:]]
        self.first = nn.Linear(inputs + context, 2 * width * math.prod(self.small))
        self.body = nn.Sequential(
            *[Block(2 * width) for _ in range(depth)], nn.SiLU(),
            nn.Conv2d(2 * width, 4 * width, 3, padding=1), nn.PixelShuffle(2), *[Block(width)] * (depth > 0), nn.SiLU(),
            nn.Conv2d(width, 4 * shape[0], 3, padding=1), nn.PixelShuffle(2),
        )  # fmt: skip
        self.bias = nn.Parameter(torch.zeros(shape))

    def exact(self, z: Tensor, c: Tensor) -> Tensor:
        h = self.first(torch.cat([z, c], 1)).view(len(z), -1, *self.small)
        made = self.body(h.contiguous(memory_format=torch.channels_last))
        return made[:, :, : self.sides[0], : self.sides[1]] + self.bias

    def bias_(self, values: Tensor) -> None:
        self.bias.copy_(values)


def padding(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """What F.pad needs so that both sides divide by SHRINK."""
    height, width = ((-side) % SHRINK for side in shape[1:])
    return 0, width, 0, height
