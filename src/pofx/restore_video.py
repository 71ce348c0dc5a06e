"""The frames of a video restored one after the other, each with what the one before it showed of the same things."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from . import corrupt
from .nn.motion import confident, grey, motion, warp

SHARE = 0.7  # of the frame before, where it is trusted
ALIKE = 6 / 255  # difference of what is seen of both frames at which it counts for 1 / e


def steadied(
    frames: Iterable[np.ndarray], restored: Callable[[np.ndarray], np.ndarray], scale: int = 1, share: float = SHARE
) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) of bytes, in the order of time, as `restored` gives them, (scale H, scale W, 3), less unquiet:

        x_t = r_t + a (W x_{t-1} - r_t),  a = share exp(-|W y_{t-1} - y_t|^2 / ALIKE^2) where motion is trusted,

    r_t the frame restored alone, W what brings the frame before to this one, by the motion between the two as they
    were seen, y: so what moved smoothly keeps its look, and noise is averaged over time. With a scale x_t is then moved
    so that scaling it down gives the frame that came. A picture cut begins anew, since nothing is alike.

    Paper: Sajjadi, Vemulapalli, Brown 2018, Frame-Recurrent Video Super-Resolution (the last output brought along).
    """
    before: tuple[Tensor, Tensor] | None = None
    for frame in frames:
        came = _tensor(frame)
        x = _tensor(restored(frame))
        seen = came if scale > 1 else x  # of noisy frames motion is seen in clean ones
        if before is not None:
            x = torch.lerp(x, *_brought(seen, before, scale, share))
            if scale > 1:
                x = x + corrupt.upsample(came - corrupt.downsample(x, scale), scale)
        before = seen, x
        yield (x[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def _brought(seen: Tensor, before: tuple[Tensor, Tensor], scale: int, share: float) -> tuple[Tensor, Tensor]:
    """(the last output brought to this frame, how much of it is taken, (1, 1, scale H, scale W))."""
    last, x = before
    one, two = grey(seen), grey(last)
    flow = motion(one, two)
    off = (warp(last, flow) - seen).square().mean(1, keepdim=True)
    off = F.avg_pool2d(off, 5, 1, 2, count_include_pad=False)
    taken = share * torch.exp(-off / ALIKE**2) * confident(flow, motion(two, one))
    if scale > 1:
        flow = scale * F.interpolate(flow, scale_factor=scale, mode="bilinear", align_corners=False)
        taken = F.interpolate(taken, scale_factor=scale, mode="bilinear", align_corners=False)
    return warp(x, flow), taken


def _tensor(frame: np.ndarray) -> Tensor:
    return torch.from_numpy(frame.copy()).permute(2, 0, 1).unsqueeze(0).float() / 255
