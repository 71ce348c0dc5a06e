"""Motion between two pictures, for the restoration of videos: dense, sub-pixel, without weights.

Flow is (B, 2, H, W) in pixels, (x, y): what is at p in `here` is at p + flow(p) in `there`.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import SpecError

SMALLEST, CELL, STEPS = 8, 3, 3  # least side of the coarsest picture, a third of a window, steps a level
FLAT = 1e-5  # squared slope, of greys in [0, 1], below which a window tells nothing
UNSURE = 0.3  # of the squared noise, that is added to it
GREY = (0.299, 0.587, 0.114)
ALIKE = 6 / 255  # difference of what is seen of both pictures at which it counts for 1 / e


def grey(frames: Tensor) -> Tensor:
    """(B, C, H, W), C 1 or 3, to (B, 1, H, W). Raises SpecError for another shape."""
    if frames.dim() != 4 or frames.shape[1] not in (1, 3):
        raise SpecError(f"expected frames (B, 1 or 3, H, W), got {tuple(frames.shape)}: bring them to that shape")
    weights = frames.new_tensor(GREY).view(1, 3, 1, 1)
    return frames if frames.shape[1] == 1 else (frames * weights).sum(1, keepdim=True)


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """image(p + flow(p)), (B, C, H, W): bilinear between pixels, the border repeated beyond the edge."""
    height, width = image.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(height, dtype=flow.dtype, device=flow.device),
        torch.arange(width, dtype=flow.dtype, device=flow.device),
        indexing="ij",
    )
    at = torch.stack([(2 * (x + flow[:, 0]) + 1) / width - 1, (2 * (y + flow[:, 1]) + 1) / height - 1], -1)
    return F.grid_sample(image, at, mode="bilinear", padding_mode="border", align_corners=False)


def motion(here: Tensor, there: Tensor, cell: int = CELL, steps: int = STEPS, noise: float = 0.0) -> Tensor:
    """Flow from greys (B, 1, H, W) in [0, 1] to others: warp(there, flow) is near `here`.

    Least squares over windows of 3 x 3 cells of `cell` pixels, from coarse pictures to fine ones, `steps` at each:

        flow <- mean(flow) - (sum g g^T + e I)^-1 sum g (there(p + flow) - here),  g the slope of `here`,

    sums and mean over the window, sums where p + flow lies in the picture. A flat window keeps what the coarser picture
    said, and the more so the louder the noise of both, of this deviation; the mean keeps waves that a window cannot see
    from growing. Lucas and Kanade 1981; Bouguet 2000. A pair
    of 360 x 640 takes 0.23 s on one thread of an Intel Xeon. Raises SpecError for several shapes.
    """
    if here.shape != there.shape or here.dim() != 4 or here.shape[1] != 1:
        raise SpecError(
            f"expected two greys (B, 1, H, W) of one shape, got {tuple(here.shape)} and {tuple(there.shape)}: "
            "bring them to one (grey)"
        )
    pyramid = [(here, there)]
    while min(pyramid[-1][0].shape[-2:]) >= 2 * SMALLEST:
        pyramid.append((_halved(pyramid[-1][0]), _halved(pyramid[-1][1])))
    flow = here.new_zeros(len(here), 2, *pyramid[-1][0].shape[-2:])
    for one, two in reversed(pyramid):
        flow = _refined(one, two, _grown(flow, one.shape[-2:]), cell, steps, FLAT + UNSURE * noise**2)
    return flow


def _halved(image: Tensor) -> Tensor:
    size = [(side + 1) // 2 for side in image.shape[-2:]]
    return F.interpolate(image, size=size, mode="bilinear", antialias=True, align_corners=False)


def _grown(flow: Tensor, size: torch.Size) -> Tensor:
    """Of a finer picture: more pixels, and so many times longer."""
    if flow.shape[-2:] == size:
        return flow
    longer = flow.new_tensor([size[1] / flow.shape[-1], size[0] / flow.shape[-2]]).view(1, 2, 1, 1)
    return F.interpolate(flow, size=size, mode="bilinear", align_corners=False) * longer


def _windowed(values: Tensor, cell: int) -> Tensor:
    """Means over windows of 3 x 3 cells, one a cell: (B, C, H / cell, W / cell), rounded up."""
    cells = F.avg_pool2d(values, cell, cell, ceil_mode=True, count_include_pad=False)
    return F.avg_pool2d(cells, 3, 1, 1, count_include_pad=False)


def _slope(image: Tensor) -> Tensor:
    """(B, 2, H, W): half the differences of neighbours along x and along y."""
    wide = F.pad(image, (1, 1, 1, 1), mode="replicate")
    return torch.cat([wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2], wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]], 1) / 2


def _refined(here: Tensor, there: Tensor, flow: Tensor, cell: int, steps: int, flat: float) -> Tensor:
    slope = _slope(here)
    x, y = slope.split(1, 1)
    for _ in range(steps):
        seen = inside(flow)
        wrong = (warp(there, flow) - here) * seen
        sums = _windowed(torch.cat([x * x * seen, x * y * seen, y * y * seen, x * wrong, y * wrong], 1), cell)
        xx, xy, yy, along, across = sums.split(1, 1)
        xx, yy = xx + flat, yy + flat
        step = torch.cat([yy * along - xy * across, xx * across - xy * along], 1) / (xx * yy - xy * xy)
        cells = _windowed(flow, cell) - step.clamp(-1, 1)
        flow = F.interpolate(cells, size=flow.shape[-2:], mode="bilinear", align_corners=False)
    return flow


def inside(flow: Tensor) -> Tensor:
    """Which pixels, (B, 1, H, W) of bool, a flow leads to a place within the picture."""
    height, width = flow.shape[-2:]
    x = torch.arange(width, device=flow.device) + flow[:, :1]
    y = torch.arange(height, device=flow.device).view(-1, 1) + flow[:, 1:]
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def confident(onward: Tensor, back: Tensor) -> Tensor:
    """Where a flow can be trusted, (B, 1, H, W) of bool: it ends inside the picture, and the flow back leads home,

        |w + w'(p + w)|^2 < 0.01 (|w|^2 + |w'|^2) + 0.5.

    What is hidden in one of two frames fails it. Sundaram, Brox and Keutzer 2010, equation 5.
    """
    returned = warp(back, onward)
    home = (onward + returned).square().sum(1, keepdim=True)
    length = onward.square().sum(1, keepdim=True) + returned.square().sum(1, keepdim=True)
    return inside(onward) & (home < 0.01 * length + 0.5)


def alike(here: Tensor, there: Tensor, noise: float = 0.0) -> tuple[Tensor, Tensor]:
    """(the flow from pictures (B, C, H, W) in [0, 1] to others, how much of each pixel is the same there: (B, 1, H, W),

    exp(-|there(p + flow) - here|^2 / (ALIKE^2 + 2 noise^2)),  of means over 5 x 5 pixels; 0 where no motion is
    trusted).  noise: the deviation of what is left of it in both.
    """
    one, two = grey(here), grey(there)
    flow = motion(one, two, noise=noise)
    off = F.avg_pool2d((warp(there, flow) - here).square().mean(1, keepdim=True), 5, 1, 2, count_include_pad=False)
    trusted = confident(flow, motion(two, one, noise=noise))
    return flow, torch.exp(-off / (ALIKE**2 + 2 * noise**2)) * trusted


def enlarged(flow: Tensor, scale: int) -> Tensor:
    """The flow of pictures `scale` times as large."""
    if scale == 1:
        return flow
    return scale * F.interpolate(flow, scale_factor=scale, mode="bilinear", align_corners=False)


def warping_error(frames: Tensor) -> float:
    """Mean squared difference of a frame and its predecessor brought to it, where motion is trusted.

    Frames (T, C, H, W) in [0, 1] are in the order of time. Less flickers less. Lai et al. 2018. Raises SpecError for
    fewer than two frames, and where no motion can be trusted.
    """
    if len(frames) < 2:
        raise SpecError(f"expected at least 2 frames, got {len(frames)}: give more")
    total, count = 0.0, 0
    for before, now in zip(frames[:-1].split(1), frames[1:].split(1), strict=True):
        one, two = grey(now), grey(before)
        flow = motion(one, two)
        trusted = confident(flow, motion(two, one)).expand_as(now)
        total += float((warp(before, flow) - now).square()[trusted].double().sum())
        count += int(trusted.sum())
    if not count:
        raise SpecError("expected frames whose motion can be followed, got none that can: give neighbours in time")
    return total / count
