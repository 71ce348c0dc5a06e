"""Layers of sites: rows as images and back, squeezed, or as means and differences; log|det| = 0 for all."""

from collections.abc import Sequence

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
