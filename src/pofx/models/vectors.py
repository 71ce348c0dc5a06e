"""Examples as vectors of real numbers, for models that measure squared distances: v, and the nearest example of a v.

Rows: Phi^-1 of the level of each number, the middle of its cell, and for each category its levels as ones and zeros,
less their means and over the root of their variance together, so that every field weighs one. Images: pixels over their
top.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import SpecError
from ..fields import Pixel
from ..spec import Columns, Spec
from .lifted import Sight, to_normal


class Vectors(nn.Module):
    """shape: of one v. `prepare` makes a tensor of stored columns, in its smallest dtype; `of` gives v of that tensor,
    (n, *shape); `lower` gives the stored columns nearest to v. widths: how many numbers of v belong to each field.
    """

    shape: tuple[int, ...]
    widths: list[int]

    def prepare(self, x: Columns) -> Tensor:
        raise NotImplementedError

    def of(self, held: Tensor) -> Tensor:
        return held

    def lower(self, v: Tensor) -> Columns:
        raise NotImplementedError


class RowVectors(Vectors):
    """Of rows of a table: (numbers + levels of all categories,)."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.sight = Sight(spec.fields)
        self.means = [torch.from_numpy(spec.fields[j].mass).float() for j in self.sight.groups]
        self.scales = [float((1 - mean.square().sum()).clamp(min=1e-6).sqrt()) for mean in self.means]
        self.widths = [1] * len(self.sight.numbers) + self.sight.sizes
        self.shape = (sum(self.widths),)

    def prepare(self, x: Columns) -> Tensor:
        lo, width, codes = self.sight.see(x)
        parts = [to_normal(lo + width / 2).float()]
        for j, (mean, scale) in enumerate(zip(self.means, self.scales, strict=True)):
            ones = torch.eye(len(mean) + 1)[codes[:, j]][:, :-1]
            parts.append(torch.where(codes[:, j : j + 1] < 0, 0.0, (ones - mean) / scale))
        return torch.cat(parts, 1)

    def lower(self, v: Tensor) -> Columns:
        z, *levels = v.cpu().split([len(self.sight.numbers), *self.sight.sizes], 1)
        parts = zip(levels, self.means, self.scales, strict=True)
        codes = [(part * scale + mean).argmax(1) for part, mean, scale in parts]
        blank = torch.zeros(len(v), 0, dtype=torch.int64)
        return self.sight.lower(torch.special.ndtr(z.double()), torch.stack(codes, 1) if codes else blank)


class PixelVectors(Vectors):
    """Of images: (C, H, W) in [0, 1]. Every model of images reads its pixels here: of one size, and from 0 to `top`."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        if len(spec.blocks) != 1 or len(spec.blocks[0].sites) != 2 or None in spec.blocks[0].sites:
            raise SpecError("expected one block of images of one size: resize them")
        tops = {f.top for f in spec.fields if isinstance(f, Pixel)}
        if len(tops) != 1 or not all(isinstance(f, Pixel) for f in spec.fields):
            raise SpecError("expected channels of pixels with one range")
        self.fields, self.top = spec.fields, tops.pop()
        self.shape = (len(spec.fields), *(side or 0 for side in spec.blocks[0].sites))
        self.widths = [1] * math.prod(self.shape)

    def prepare(self, x: Columns) -> Tensor:
        pixels = np.stack([x[f.name] for f in self.fields], 1)
        if pixels.shape[1:] != self.shape:
            raise SpecError(f"expected images of {self.shape[1:]}, got {pixels.shape[2:]}: resize them")
        if pixels.size and not (pixels.min() >= 0 and pixels.max() <= self.top):
            wrong = pixels.max() if pixels.max() > self.top else pixels.min()
            advice = "draw grey ones black (0) or white (1)" if self.top == 1 else "scale them"
            raise SpecError(f"expected pixels from 0 to {self.top}, got {wrong}: {advice}, or fit a model to these")
        return torch.from_numpy(np.ascontiguousarray(pixels))

    def of(self, held: Tensor) -> Tensor:
        return held.float() / self.top

    def lower(self, v: Tensor) -> Columns:
        pixels = (v * self.top).clamp(0, self.top).round().to(torch.uint8).cpu().numpy()
        return {f.name: pixels[:, i] for i, f in enumerate(self.fields)}


def vectors_of(spec: Spec) -> Vectors:
    """The vectors of a Spec."""
    return PixelVectors(spec) if any(block.sites for block in spec.blocks) else RowVectors(spec)
