"""upscaler: a picture two, three or four times as large."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ... import corrupt
from ...errors import SpecError
from ...nn.motion import alike, enlarged, warp
from ...nn.restoring import Stack
from ...spec import Spec
from ..model import Batch, Recipe
from ..panned import panned
from ..restorer import GAIN, Restorer, Spoiled, maps

SCALES = (2, 3, 4)
BICUBIC = 4  # pixels that the bicubic enlargement sees
SHARE, LEAST = 0.7, 0.01  # of the frame before, where it shows the same; that it is taken for at least, if learned
LEAD, CLIP = 3, 4  # frames of a clip that are made before, and that are learned from
ENOUGH = 7  # steps for each piece, of which more only overfit
FEW, SMALLER = 2**21, (0.8, 0.6)  # pixels below which pictures are learned from in other sizes too, and these


class Upscaler(Restorer):
    """r(y) = B y + g(y), B the bicubic enlargement, g a stack of convolutions whose channels become pixels.

    y is x scaled down by `scale`, bicubic, rounded to shades; with 0 by 2, 3 or 4, by chance in each step: one network,
    of which each scale has channels of its own at its ends. Pictures are their luma, (B, 1, H, W): eyes see little else
    at this size, and colours are enlarged by B. Few pictures, below 2 megapixels together, are learned from scaled down
    by .8 and .6 as well, which shows the network more edges.

    video: a frame y_t has the one before beside it. W brings that to it, by the motion between the two, and a says how
    alike they are (nn/motion.py):

        s_t = r + g (W s_{t-1} - r),  r = r(y_t),  logit g = logit(SHARE a) + G,  x_t = s_t + h,

    h and G said by a network of y_t, W y_{t-1}, r, W s_{t-1} and a, min E |x_t - x|^2 over clips of photos that move
    (models/panned.py), of CLIP frames after up to LEAD others. s is a mean of what frames were restored to alone, so
    that what h errs is not carried on: carried along with x it grew from frame to frame where nothing moved.

    Papers: Shi et al. 2016, Real-Time Single Image and Video Super-Resolution (sub-pixel convolution); Lim et al. 2017,
    Enhanced Deep Residual Networks; Sajjadi, Vemulapalli, Brown 2018, Frame-Recurrent Video Super-Resolution.
    """

    channels, grid, batch = 1, 1, 16

    def __init__(self, spec: Spec, scale: int = 0, width: int = 32, depth: int = 7, video: bool = False) -> None:
        super().__init__(spec)
        if scale not in (0, *SCALES):
            raise SpecError(f"expected a scale among {', '.join(map(str, SCALES))}, or 0 for all of them, got {scale}")
        self.scales = (scale,) if scale else SCALES
        self.patch = 32 * scale if scale else 24 * max(SCALES)
        ends = sum(s * s for s in self.scales)
        self.means["g"], self.fields["v"] = Stack(1, ends, width, depth), Stack(2 * ends + 1, ends, width, depth)
        if video:
            self.frames["h"] = Stack(2 * ends + 3, 2 * ends, width, (depth + 1) // 2)
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
        both = self._small((xt, r), scale)
        known = torch.cat([*both, maps(t.unsqueeze(1), both[0])], 1)
        return F.pixel_shuffle(self._own(self.fields["v"](known), scale), scale)

    def loss_of_clips(self, pieces: Tensor, scale: int, generator: torch.Generator) -> Tensor:
        n, lead = len(pieces), int(torch.randint(LEAD + 1, (), generator=generator, device=generator.device))
        count = 1 + lead + CLIP
        with torch.no_grad():
            x = panned(pieces, count, min(self.patch, pieces.shape[2]) // scale * scale, True, generator)
            y = self.spoiled((x.flatten(0, 1),), scale, generator)[1]
            r = self.mean(y, y.new_zeros(len(y), 0), scale).unflatten(0, (n, count))
            y = y.unflatten(0, (n, count))
            flow, same = alike(y[:, 1:].flatten(0, 1), y[:, :-1].flatten(0, 1))
            before = warp(y[:, :-1].flatten(0, 1), flow)
            flow, same, before = (v.unflatten(0, (n, count - 1)) for v in (flow, same, before))
        made, missed = r[:, 0], []
        for k in range(1, count):
            with torch.set_grad_enabled(k > lead and torch.is_grad_enabled()):
                last = warp(made, enlarged(flow[:, k - 1], scale))
                h, more = self.carried(y[:, k], before[:, k - 1], r[:, k], last, same[:, k - 1], scale)
                made = projected(mixed(r[:, k], last, same[:, k - 1], scale, more), y[:, k], scale)
            if k > lead:
                missed.append((projected(made + h, y[:, k], scale) - x[:, k]).square().flatten(1).mean(1))
        return GAIN * torch.stack(missed).mean(0)

    def carried(
        self, y: Tensor, before: Tensor, r: Tensor, last: Tensor, same: Tensor, scale: int
    ) -> tuple[Tensor, Tensor]:
        """h and G of y_t, W y_{t-1}, r(y_t), W s_{t-1} and a: (B, 1, scale H, scale W) each."""
        known = torch.cat([y, before, same, *self._small((r, last), scale)], 1)
        h, more = (F.pixel_shuffle(self._own(v, scale), scale) for v in self.frames["h"](known).chunk(2, 1))
        return h, more

    def _small(self, large: Sequence[Tensor], scale: int) -> list[Tensor]:
        """Pictures as the channels of smaller ones, beside those of the other scales, which are zero."""
        before, after = self._beside(scale)
        return [F.pad(F.pixel_unshuffle(v, scale), (0, 0, 0, 0, before, after)) for v in large]

    def _beside(self, scale: int) -> tuple[int, int]:
        """The channels of smaller and of larger scales."""
        return sum(s * s for s in self.scales if s < scale), sum(s * s for s in self.scales if s > scale)

    def _own(self, h: Tensor, scale: int) -> Tensor:
        """The channels of a scale."""
        before = self._beside(scale)[0]
        return h[:, before : before + scale * scale]


def mixed(r: Tensor, last: Tensor, same: Tensor, scale: int, more: Tensor | None = None) -> Tensor:
    """r + g (last - r), g = SHARE a of pictures `scale` times smaller, or logit g by `more` above that of it."""
    if scale > 1:
        same = F.interpolate(same, scale_factor=scale, mode="bilinear", align_corners=False)
    share = SHARE * same
    return torch.lerp(r, last, share if more is None else (torch.logit(share, LEAST) + more).sigmoid())


def projected(x: Tensor, y: Tensor, scale: int) -> Tensor:
    """x + B (y - D x): scaled down it is near y. x itself where there is no scale."""
    return x if scale == 1 else x + corrupt.upsample(y - corrupt.downsample(x, scale), scale)


def _scaled(picture: np.ndarray, share: float) -> np.ndarray:
    """A picture (H, W, C) of a share of its sides."""
    v = torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)[None]
    small = F.interpolate(v, [int(share * side) for side in v.shape[2:]], mode="bicubic", antialias=True)
    return small[0].permute(1, 2, 0).round().clamp(0, 255).numpy().astype(picture.dtype)


MODEL = Upscaler
