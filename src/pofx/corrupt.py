"""Corruptions of vectors and images: what a denoiser learns to undo. v: (B, ...), the result of the same shape.

`strength` is one number, or one for each example, (B,); all randomness is in the generator.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def _each(strength: Tensor | float, v: Tensor) -> Tensor:
    given = torch.as_tensor(strength, dtype=v.dtype, device=v.device)
    return given.expand(len(v)).view(-1, *[1] * (v.dim() - 1))


def _hit(v: Tensor, share: Tensor | float, widths: Sequence[int] | None, generator: torch.Generator) -> Tensor:
    """Which numbers are hit, those of one field together: (B, ...) of bool."""
    how = {"generator": generator, "device": v.device}
    if widths is None:
        return torch.rand(v.shape, **how) < _each(share, v)
    fields = torch.rand(len(v), len(widths), **how) < _each(share, v[:, :1].flatten(1))
    repeats = torch.tensor(list(widths), device=v.device)
    return fields.repeat_interleave(repeats, 1).view(v.shape)


def gaussian(v: Tensor, strength: Tensor | float, generator: torch.Generator) -> Tensor:
    """v + strength n, n standard normal."""
    return v + _each(strength, v) * torch.randn(v.shape, generator=generator, device=v.device, dtype=v.dtype)


def mask(v: Tensor, share: Tensor | float, generator: torch.Generator, widths: Sequence[int] | None = None) -> Tensor:
    """Zero in place of a share of the numbers; `widths` numbers at a time, which make a field."""
    return torch.where(_hit(v, share, widths, generator), 0.0, v)


def swap(v: Tensor, share: Tensor | float, generator: torch.Generator, widths: Sequence[int] | None = None) -> Tensor:
    """In place of a share of the numbers those of another example of the batch; `widths` at a time."""
    hit = _hit(v, share, widths, generator)
    other = torch.randperm(len(v), generator=generator, device=v.device)
    return torch.where(hit, v[other], v)


def salt_pepper(v: Tensor, share: Tensor | float, generator: torch.Generator) -> Tensor:
    """0 or 1 in place of a share of the numbers, either as often."""
    hit = _hit(v, share, None, generator)
    return torch.where(hit, (torch.rand(v.shape, generator=generator, device=v.device) < 0.5).to(v.dtype), v)


def blur(v: Tensor, width: float) -> Tensor:
    """Images (B, C, H, W) under a Gaussian of standard deviation `width` pixels, edges repeated."""
    reach = max(1, round(3 * width))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=v.dtype, device=v.device) / width).square())
    kernel = (kernel / kernel.sum()).expand(v.shape[1], 1, -1)
    flat = F.conv2d(F.pad(v, (reach, reach, 0, 0), mode="replicate"), kernel.unsqueeze(2), groups=v.shape[1])
    return F.conv2d(F.pad(flat, (0, 0, reach, reach), mode="replicate"), kernel.unsqueeze(3), groups=v.shape[1])


def downsample(v: Tensor, scale: int) -> Tensor:
    """Images (B, C, H, W), both sides multiples of `scale`, to (B, C, H / scale, W / scale): bicubic with the kernel
    as many times as wide, which is what Pillow's BICUBIC does.
    """
    sides = [side // scale for side in v.shape[-2:]]
    return F.interpolate(v, sides, mode="bicubic", antialias=True)


def upsample(v: Tensor, scale: int) -> Tensor:
    """Images (B, C, H, W) to (B, C, scale H, scale W), bicubic."""
    sides = [side * scale for side in v.shape[-2:]]
    return F.interpolate(v, sides, mode="bicubic", antialias=True)


def jpeg(v: Tensor, quality: int) -> Tensor:
    """Images (B, C, H, W) in [0, 1], C one or three, as a JPEG file of that quality, 1 to 95, gives them back."""
    from io import BytesIO

    import numpy as np
    from PIL import Image

    out = []
    for one in (v * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy():
        held = BytesIO()
        Image.fromarray(one[..., 0] if one.shape[2] == 1 else one).save(held, "JPEG", quality=quality)
        shades = np.asarray(Image.open(held))
        out.append(torch.from_numpy(shades.copy()).reshape(one.shape).permute(2, 0, 1))
    return torch.stack(out).to(v.device, v.dtype) / 255
