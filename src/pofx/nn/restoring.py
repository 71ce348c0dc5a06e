"""Networks of pictures of any size that keep their size: a stack of residual blocks, and one over three sizes."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .mixed import Mixed


class Block(nn.Module):
    """h + B relu(A h), A and B convolutions of 3 x 3; B starts at a tenth of its scale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(width, width, 3, padding=1)
        self.b = nn.Conv2d(width, width, 3, padding=1)
        with torch.no_grad():
            self.b.weight.mul_(0.1), self.b.bias.zero_()

    def forward(self, h: Tensor) -> Tensor:
        return h + self.b(F.relu(self.a(h)))


def silent(inputs: int, outputs: int) -> nn.Conv2d:
    """A convolution of 3 x 3 that starts at zero."""
    made = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.zeros_(made.weight), nn.init.zeros_(made.bias)
    return made


class Stack(Mixed):
    """(B, I, H, W) to (B, O, H, W): h_0 = W x, `depth` blocks, V (h_0 + h_depth). V starts at zero.

    `reach`: how many pixels away one is seen.

    Paper: Lim, Son, Kim, Nah, Lee 2017, Enhanced Deep Residual Networks for Single Image Super-Resolution.
    """

    def __init__(self, inputs: int, outputs: int, width: int, depth: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, width, 3, padding=1)
        self.body = nn.Sequential(*[Block(width) for _ in range(depth)])
        self.last = silent(width, outputs)
        self.reach = 2 * depth + 2

    def exact(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        h = self.first(x.contiguous(memory_format=torch.channels_last))
        return self.last(h + self.body(h))


class Pyramid(Mixed):
    """(B, I, H, W) to (B, O, H, W), both sides multiples of 4: residual blocks on three sizes, each half of the one
    before, and back, with what each size had added on the way up. Its last convolution starts at zero.

    `reach`: how many pixels away one is seen at the most.

    Paper: Ronneberger, Fischer, Brox 2015, U-Net.
    """

    def __init__(self, inputs: int, outputs: int, width: int, depth: int) -> None:
        super().__init__()
        wide = 2 * width

        def blocks(channels: int) -> nn.Module:
            return nn.Sequential(*[Block(channels) for _ in range(depth)])

        self.first = nn.Conv2d(inputs, width, 3, padding=1)
        self.down = nn.ModuleList([blocks(width), blocks(wide)])
        self.shrink = nn.ModuleList([nn.Conv2d(width, wide, 2, 2), nn.Conv2d(wide, wide, 2, 2)])
        self.middle = blocks(wide)
        self.enlarge = nn.ModuleList([nn.Conv2d(wide, 4 * wide, 1), nn.Conv2d(wide, 4 * width, 1)])
        self.up = nn.ModuleList([blocks(wide), blocks(width)])
        self.last = silent(width, outputs)
        self.reach = 2 + 2 * depth * (2 + 2 * 2 + 4) + 4

    def exact(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        h = self.first(x.contiguous(memory_format=torch.channels_last))
        kept = []
        for blocks, shrink in zip(self.down, self.shrink, strict=True):
            h = blocks(h)
            kept.append(h)
            h = shrink(h)
        h = self.middle(h)
        for enlarge, blocks in zip(self.enlarge, self.up, strict=True):
            h = blocks(F.pixel_shuffle(enlarge(h), 2) + kept.pop())
        return self.last(h)
