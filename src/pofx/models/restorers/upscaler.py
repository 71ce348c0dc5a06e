"""upscaler: a picture two, three or four times as large."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ... import corrupt
from ...errors import SpecError
from ...nn.restoring import Stack
from ...spec import Spec
from ..model import Batch, Recipe
from ..restorer import Restorer, Spoiled, maps

SCALES = (2, 3, 4)
BICUBIC = 4  # pixels that the bicubic enlargement sees
ENOUGH = 7  # steps for each piece, of which more only overfit
FEW, SMALLER = 2**21, (0.8, 0.6)  # pixels below which pictures are learned from in other sizes too, and these


class Upscaler(Restorer):
    """r(y) = B y + g(y), B the bicubic enlargement, g a stack of convolutions whose channels become pixels.

    y is x scaled down by `scale`, bicubic, rounded to shades; with 0 by 2, 3 or 4, by chance in each step: one network,
    of which each scale has channels of its own at its ends. Pictures are their luma, (B, 1, H, W): eyes see little else
    at this size, and colours are enlarged by B. Few pictures, below 2 megapixels together, are learned from scaled down
    by .8 and .6 as well, which shows the network more edges.

    Papers: Shi et al. 2016, Real-Time Single Image and Video Super-Resolution (sub-pixel convolution); Lim et al. 2017,
    Enhanced Deep Residual Networks.
    """

    channels, grid, batch = 1, 1, 16

    def __init__(self, spec: Spec, scale: int = 0, width: int = 32, depth: int = 7) -> None:
        super().__init__(spec)
        if scale not in (0, *SCALES):
            raise SpecError(f"expected a scale among {', '.join(map(str, SCALES))}, or 0 for all of them, got {scale}")
        self.scales = (scale,) if scale else SCALES
        self.patch = 32 * scale if scale else 24 * max(SCALES)
        ends = sum(s * s for s in self.scales)
        self.means["g"], self.fields["v"] = Stack(1, ends, width, depth), Stack(2 * ends + 1, ends, width, depth)
        self.reach = self.means["g"].reach + BICUBIC

    def pieces(self, *pictures: Sequence[np.ndarray]) -> Batch:
        if sum(p.shape[0] * p.shape[1] for p in pictures[0]) < FEW:
            pictures = tuple([*held, *(_scaled(p, s) for p, s in self._sizes(held))] for held in pictures)
        return super().pieces(*pictures)

    def _sizes(self, pictures: Sequence[np.ndarray]) -> list[tuple[np.ndarray, float]]:
        """The pictures and the sizes that are large enough for a step."""
        return [(p, s) for p in pictures for s in SMALLER if int(s * min(p.shape[:2])) >= self.patch]

    def recipe(self, rows: int) -> Recipe:
        """As many steps as do not overfit so many pieces."""
        usual, most = super().recipe(rows), max(500, ENOUGH * rows)
        return replace(usual, steps=min(usual.steps, most), most=most)

    def spoiled(self, batch: Batch, scale: int, generator: torch.Generator) -> Spoiled:
        y = (corrupt.downsample(batch[0], scale) * 255).round().clamp(0, 255) / 255
        return batch[0], y, y.new_zeros(len(y), 0), None

    def mean(self, y: Tensor, level: Tensor, scale: int = 1) -> Tensor:
        return corrupt.upsample(y, scale) + F.pixel_shuffle(self._own(self.means["g"](y), scale), scale)

    def field(self, xt: Tensor, t: Tensor, r: Tensor, level: Tensor, scale: int = 1) -> Tensor:
        before, after = self._beside(scale)
        both = [F.pad(F.pixel_unshuffle(v, scale), (0, 0, 0, 0, before, after)) for v in (xt, r)]
        known = torch.cat([*both, maps(t.unsqueeze(1), both[0])], 1)
        return F.pixel_shuffle(self._own(self.fields["v"](known), scale), scale)

    def _beside(self, scale: int) -> tuple[int, int]:
        """The channels of smaller and of larger scales."""
        return sum(s * s for s in self.scales if s < scale), sum(s * s for s in self.scales if s > scale)

    def _own(self, h: Tensor, scale: int) -> Tensor:
        """The channels of a scale."""
        before = self._beside(scale)[0]
        return h[:, before : before + scale * scale]


def _scaled(picture: np.ndarray, share: float) -> np.ndarray:
    """A picture (H, W, C) of a share of its sides."""
    v = torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)[None]
    small = F.interpolate(v, [int(share * side) for side in v.shape[2:]], mode="bicubic", antialias=True)
    return small[0].permute(1, 2, 0).round().clamp(0, 255).numpy().astype(picture.dtype)


MODEL = Upscaler
