"""upscaler: a picture two, three or four times as large."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ... import corrupt
from ...errors import SpecError
from ...nn.restoring import Stack
from ...spec import Spec
from ..model import Batch
from ..restorer import Restorer, Spoiled, maps

SCALES = (2, 3, 4)


class Upscaler(Restorer):
    """r(y) = B y + g(y), B the bicubic enlargement, g a stack of convolutions whose channels become pixels.

    y is x scaled down by `scale`, bicubic, rounded to shades; one network for each scale asked for (0: all of 2, 3 and
    4). Pictures are their luma, (B, 1, H, W): eyes see little else at this size, and colours are enlarged by B.

    Papers: Shi et al. 2016, Real-Time Single Image and Video Super-Resolution (sub-pixel convolution); Lim et al. 2017,
    Enhanced Deep Residual Networks.
    """

    channels, grid, batch = 1, 1, 16

    def __init__(self, spec: Spec, scale: int = 0, width: int = 32, depth: int = 7) -> None:
        super().__init__(spec)
        if scale not in (0, *SCALES):
            raise SpecError(f"expected a scale among {', '.join(map(str, SCALES))}, or 0 for all of them, got {scale}")
        self.scales = (scale,) if scale else SCALES
        self.patch = 32 * max(self.scales)
        for s in self.scales:
            self.means[str(s)] = Stack(1, s * s, width, depth)
            self.fields[str(s)] = Stack(2 * s * s + 1, s * s, width, depth)
        self.reach = self.means[str(self.scales[0])].reach + 4

    def spoiled(self, batch: Batch, scale: int, generator: torch.Generator) -> Spoiled:
        y = (corrupt.downsample(batch[0], scale) * 255).round().clamp(0, 255) / 255
        return batch[0], y, y.new_zeros(len(y), 0), None

    def mean(self, y: Tensor, level: Tensor, scale: int = 1) -> Tensor:
        return corrupt.upsample(y, scale) + F.pixel_shuffle(self.means[str(scale)](y), scale)

    def field(self, xt: Tensor, t: Tensor, r: Tensor, level: Tensor, scale: int = 1) -> Tensor:
        both = F.pixel_unshuffle(torch.cat([xt, r], 1), scale)
        return F.pixel_shuffle(self.fields[str(scale)](torch.cat([both, maps(t.unsqueeze(1), both)], 1)), scale)


MODEL = Upscaler
