"""The frames of a video restored one after the other, each with what the ones before it showed of the same things."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .models.restorers.upscaler import mixed, projected
from .nn.motion import alike, enlarged, warp
from .restore import Carry, luma

LEFT = 0.25  # of the noise of a frame, in what it is restored to
MOVED = 0.25  # pixels, as they came, from which on what moved tells something new
MOST = 16.0  # frames that a mean is of
WIDE = 65535

Restored = Callable[[np.ndarray], np.ndarray]


class _Frame(NamedTuple):
    """A frame as it came, in what motion is seen, and what is carried on of it, s."""

    came: Tensor
    seen: Tensor
    state: Tensor


@torch.inference_mode()
def steadied(
    frames: Iterable[np.ndarray], restored: Restored, scale: int = 1, carry: Carry | None = None
) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) of bytes, in the order of time, as `restored` gives them, (scale H, scale W, 3), less unquiet:

        s_t = r_t + g (W s_{t-1} - r_t),  x_t = P(s_t + m h),

    r_t the frame restored alone, W what brings the frame before to this one, by the motion between the two as they
    were seen. g is SHARE a, a how alike they are (nn/motion.py), and m zero; or a model has learned h, and by how much
    the logit of g is above that, times m (`carry`, models/restorers/upscaler.py), m = 1 - exp(-|w|^2 / MOVED^2), w the
    motion: what stands still is shown by the same pixels again, which tell nothing new of it. So what moved smoothly
    keeps its look, and gains detail. P, of s_t too, moves a picture so that scaling it down gives the frame that came.
    A picture cut begins anew: nothing is alike.

    Paper: Sajjadi, Vemulapalli, Brown 2018, Frame-Recurrent Video Super-Resolution (the last output brought along).
    """
    last: _Frame | None = None
    for frame in frames:
        came, r = _tensor(frame), _tensor(restored(frame))
        seen = luma(came) if scale > 1 else r
        state, x = (r, r) if last is None else _next(came, r, seen, last, scale, carry)
        yield _bytes(x)
        last = _Frame(came, seen, state)


def _next(
    came: Tensor, r: Tensor, seen: Tensor, last: _Frame, scale: int, carry: Carry | None
) -> tuple[Tensor, Tensor]:
    """(s, x)"""
    flow, same = alike(seen, last.seen)
    wide = enlarged(flow, scale)
    brought = warp(last.state, wide)
    if carry is None:
        state = projected(mixed(r, brought, same, scale), came, scale)
        return state, state
    h, more = carry(came, warp(last.came, flow), r, brought, same)
    moved = 1 - torch.exp(-wide.square().sum(1, keepdim=True) / (scale * MOVED) ** 2)
    state = projected(mixed(r, brought, same, scale, moved * more), came, scale)
    return state, projected(state + moved * h, came, scale)


@torch.inference_mode()
def averaged(
    frames: Iterable[np.ndarray], restored: Callable[[np.ndarray, np.ndarray], np.ndarray], sigma: float
) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) of bytes, in the order of time, without their noise of deviation `sigma`, in shades of 255: that
    of the mean of what the frames before showed of the same things, each as much as it tells,

        m_t = (y_t + p W m_{t-1}) / n_t,  p = min(a W n_{t-1}, MOST),  n_t = 1 + p,  x_t = r(m_t, sigma / sqrt(n_t)),

    n_t the number of frames whose noise has been averaged, pixel by pixel. W brings the frame before to this one, by
    the motion from r(y_t, sigma) to x_{t-1}, and a says how alike those are (nn/motion.py). restored: r of pixels
    (H, W, 3) and of the share of sigma that is left in each, (H, W), of 16 bits both. A picture cut begins anew.

    Paper: Kalman 1960, A New Approach to Linear Filtering and Prediction Problems.
    """
    last: tuple[Tensor, Tensor, Tensor] | None = None
    for frame in frames:
        y = _tensor(frame)
        mean, count = y, torch.ones_like(y[:, :1])
        x = alone = _again(restored, mean, count)
        if last is not None:
            flow, same = alike(alone, last[2], LEFT * sigma / 255)
            told = (same * warp(last[1], flow)).clamp(max=MOST)
            count = 1 + told
            mean = (y + told * warp(last[0], flow)) / count
            x = _again(restored, mean, count)
        last = mean, count, x
        yield _bytes(x)


def _again(restored: Callable[[np.ndarray, np.ndarray], np.ndarray], mean: Tensor, count: Tensor) -> Tensor:
    """r of a mean of so many frames."""
    pixels, share = (
        (v[0] * WIDE).round().clamp(0, WIDE).permute(1, 2, 0).numpy().astype(np.uint16) for v in (mean, count.rsqrt())
    )
    return _tensor(restored(pixels, share[..., 0]), WIDE)


def _tensor(frame: np.ndarray, top: int = 255) -> Tensor:
    return torch.from_numpy(frame.astype(np.float32)).permute(2, 0, 1).unsqueeze(0) / top


def _bytes(x: Tensor) -> np.ndarray:
    return (x[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
