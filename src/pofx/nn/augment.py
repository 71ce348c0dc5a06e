"""Changes of images that a critic sees on both sides of a game, so that few images last: differentiable and by chance.

x: (B, C, H, W) in [-1, 1], any sides and channels; a result of the same shape; all randomness is in the generator, and
each example has its own.
"""

import torch
from torch import Tensor

SHIFT = 8  # an image moves by up to this part of a side
HOLE = 2  # the sides of a hole are this part of the image's: a quarter of its area


def augment(x: Tensor, chance: Tensor | float, generator: torch.Generator) -> Tensor:
    """T(x): of each example every change is made with probability `chance`, independently; x itself where it is zero.

    Generated images have the law of the data where T(generated) has the law of T(data), as long as chance < 1.

    Papers: Zhao, Liu, Lin, Zhu, Han 2020, Differentiable Augmentation for Data-Efficient GAN Training; Karras et al.
    2020, Training Generative Adversarial Networks with Limited Data (by chance, so that nothing leaks).
    """
    if not chance:
        return x
    for change in (brightness, contrast, *[saturation] * (x.shape[1] == 3), translation, cutout):
        hit = _uniform(x, generator) < chance
        x = torch.where(hit, change(x, generator), x)
    return x


def _uniform(x: Tensor, generator: torch.Generator) -> Tensor:
    """A number of each example, in [0, 1): (B, 1, 1, 1)."""
    return torch.rand(len(x), 1, 1, 1, generator=generator, device=x.device, dtype=x.dtype)


def brightness(x: Tensor, generator: torch.Generator) -> Tensor:
    """x + b, b from -1/2 to 1/2."""
    return x + _uniform(x, generator) - 0.5


def contrast(x: Tensor, generator: torch.Generator) -> Tensor:
    """m + s (x - m), m the mean of the image, s from 1/2 to 3/2."""
    return x.mean((1, 2, 3), keepdim=True).lerp(x, _uniform(x, generator) + 0.5)


def saturation(x: Tensor, generator: torch.Generator) -> Tensor:
    """m + s (x - m), m the mean of a pixel's channels, s from 0 to 2."""
    return x.mean(1, keepdim=True).lerp(x, 2 * _uniform(x, generator))


def translation(x: Tensor, generator: torch.Generator) -> Tensor:
    """Moved by whole pixels, up to an eighth of each side, edges repeated."""
    for axis in (2, 3):
        side = x.shape[axis]
        reach = side // SHIFT
        by = (_uniform(x, generator) * (2 * reach + 1)).long().clamp(max=2 * reach) - reach
        at = torch.arange(side, device=x.device).view([1, 1, -1, 1] if axis == 2 else [1, 1, 1, -1])
        x = x.gather(axis, (at - by).clamp(0, side - 1).expand(x.shape))
    return x


def cutout(x: Tensor, generator: torch.Generator) -> Tensor:
    """Zero, the middle shade, in a rectangle of half of each side, its centre anywhere in the image."""
    inside = torch.ones_like(x[:, :1], dtype=torch.bool)
    for axis in (2, 3):
        side = x.shape[axis]
        at = torch.arange(side, device=x.device).view([1, 1, -1, 1] if axis == 2 else [1, 1, 1, -1])
        centre = _uniform(x, generator) * side
        inside = inside & ((at + 0.5 - centre).abs() * 2 * HOLE < side)
    return x.masked_fill(inside, 0.0)
