"""Layers of sites: rows as images and back, squeezed, or as means and differences, of log|det| 0; other layers at every
site, or on the first numbers of a row.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..errors import SpecError
from ..transforms.haar import haar, unhaar
from ..transforms.sizes import sizes
from ..transforms.squeeze import squeeze, unsqueeze
from .layer import Layer


class Sites(Layer):
    """(B, D) -> (B, *shape), shape = (C, H, W) or any other of D numbers; `Inverse` of it makes rows again.

    >>> import torch
    >>> Sites((3, 2, 2)).call_and_ladj(torch.zeros(5, 12))[0].shape
    torch.Size([5, 3, 2, 2])
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        sizes(shape=shape)
        self.shape = tuple(shape)

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        try:
            return x.reshape(len(x), *self.shape), x.new_zeros(len(x))
        except RuntimeError:
            raise SpecError(f"expected rows of {self.shape} numbers, got {tuple(x.shape)}: another shape") from None

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return y.flatten(1), y.new_zeros(len(y))


class Squeeze(Layer):
    """(B, C, H, W) -> (B, 4 C, H / 2, W / 2), transforms/squeeze.py. SpecError where H or W is odd."""

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return squeeze(x), x.new_zeros(len(x))

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return unsqueeze(y), y.new_zeros(len(y))


class Haar(Layer):
    """(B, C, H, W) -> (B, 4 C, H / 2, W / 2), transforms/haar.py. SpecError where H or W is odd."""

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return haar(x), x.new_zeros(len(x))

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return unhaar(y), y.new_zeros(len(y))


class Everywhere(Layer):
    """A layer of channels, (B, C), at every site of (B, C, *sites); log-determinants of the sites add up."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.layer, self.tolerance = layer, layer.tolerance

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._everywhere(x, self.layer.call_and_ladj)

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._everywhere(y, self.layer.inverse_and_ladj)

    @staticmethod
    def _everywhere(x: Tensor, move: Callable[[Tensor], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        moved, ladj = move(x.movedim(1, -1).flatten(0, -2))
        sites = math.prod(x.shape[2:])
        out = moved.unflatten(0, (len(x), *x.shape[2:])).movedim(-1, 1)
        return out, ladj.view(len(x), sites).sum(1)


class Front(Layer):
    """A layer of images on the first numbers of rows, (B, D): x[:, :C H W] as (C, H, W); the others pass.

    So a flow of several scales is a chain: a level's first channels go on to the next level, the others stay behind.
    """

    def __init__(self, shape: Sequence[int], layer: Layer) -> None:
        super().__init__()
        sizes(shape=shape)
        self.shape, self.count, self.layer = tuple(shape), math.prod(shape), layer
        self.tolerance = layer.tolerance

    def front(self, x: Tensor) -> Tensor:
        """The numbers that the layer sees, (B, C, H, W)."""
        return x[:, : self.count].view(len(x), *self.shape)

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._with(x, *self.layer.call_and_ladj(self.front(x), c))

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._with(y, *self.layer.inverse_and_ladj(self.front(y), c))

    def _with(self, x: Tensor, image: Tensor, ladj: Tensor) -> tuple[Tensor, Tensor]:
        return torch.cat([image.flatten(1), x[:, self.count :]], 1), ladj
