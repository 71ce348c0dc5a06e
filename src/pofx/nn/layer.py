"""The contract of a layer of a flow, and what is made of layers alone: a chain, an inverse."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Layer(nn.Module):
    """A bijection of (B, D), from data towards noise, given the context c: (B, C), (1, C) for all rows, or None.

    `call_and_ladj(x, c)` is (y, log|det dy/dx|), `inverse_and_ladj(y, c)` is (x, log|det dx/dy|); the second of each is
    (B,). `tolerance`: the largest |x - inverse(call(x))| / max(1, |x|) that it promises in float32 and in float64.
    """

    tolerance: tuple[float, float] = (1e-4, 1e-9)

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def inverse(self, y: Tensor, c: Tensor | None = None) -> Tensor:
        """x alone, where that costs less."""
        return self.inverse_and_ladj(y, c)[0]


class Chain(Layer):
    """f = f_n o ... o f_1; log-determinants add up."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        single, double = (max(layer.tolerance[i] for layer in layers) for i in (0, 1))
        self.tolerance = (single, double)

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total = x.new_zeros(len(x))
        for layer in self.layers:
            x, ladj = layer.call_and_ladj(x, c)
            total = total + ladj
        return x, total

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total = y.new_zeros(len(y))
        for layer in reversed(self.layers):
            y, ladj = layer.inverse_and_ladj(y, c)
            total = total + ladj
        return y, total

    def inverse(self, y: Tensor, c: Tensor | None = None) -> Tensor:
        for layer in reversed(self.layers):
            y = layer.inverse(y, c)
        return y


class Inverse(Layer):
    """A layer the other way round: f^-1 from data to noise."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.layer, self.tolerance = layer, layer.tolerance

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.layer.inverse_and_ladj(x, c)

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.layer.call_and_ladj(y, c)


class Permutation(Layer):
    """y_i = x_order(i); log|det| = 0."""

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self.register_buffer("order", order)
        self.register_buffer("back", order.argsort())

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x.index_select(1, self.order), x.new_zeros(len(x))

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return y.index_select(1, self.back), y.new_zeros(len(y))

    @classmethod
    def random(cls, features: int) -> "Permutation":
        """A permutation drawn under torch's random state, as weights are."""
        return cls(torch.randperm(features))

    @classmethod
    def reverse(cls, features: int) -> "Permutation":
        """The features from the last to the first."""
        return cls(torch.arange(features).flip(0))
