"""The contract of a layer of a flow, and what is made of layers alone: a chain, an inverse."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def spread(v: Tensor, n: int) -> Tensor:
    """What was made of K contexts, (K, ...), for n rows that go through them in turn, (n, ...); one alone stays one."""
    return v if len(v) in (1, n) else v.repeat(n // len(v), *[1] * (v.ndim - 1))


def beside(h: Tensor, aside: nn.Module | None, c: Tensor | None) -> Tensor:
    """h + aside(c) of rows h, (B, W), where there is a context: it is projected once, however many rows share it."""
    return h if aside is None or c is None else h + spread(aside(c), len(h))


class Layer(nn.Module):
    """A bijection of (B, D), from data towards noise, given the context c: (K, C), or None.

    B is K times a whole number: rows go through the contexts in turn (`spread`), and (1, C) is that of all rows.

    `call_and_ladj(x, c)` is (y, log|det dy/dx|), `inverse_and_ladj(y, c)` is (x, log|det dx/dy|); the second of each is
    (B,). `tolerance`: the largest |x - inverse(call(x))| / max(1, |x|) that it promises in float32 and in float64;
    numbers that differ by `period` are the same place.
    """

    tolerance: tuple[float, float] = (1e-4, 1e-9)
    period = math.inf

    def keeps(self, bound: float) -> bool:
        """Whether it maps the box [-bound, bound]^D onto itself."""
        keeps = getattr(getattr(self, "elementwise", None), "keeps", None)
        return keeps is not None and keeps(bound)

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
        self.period = min(layer.period for layer in layers)

    def keeps(self, bound: float) -> bool:
        return all(layer.keeps(bound) for layer in self.layers)

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
        self.layer, self.tolerance, self.period = layer, layer.tolerance, layer.period

    def keeps(self, bound: float) -> bool:
        return self.layer.keeps(bound)

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

    def keeps(self, bound: float) -> bool:
        return True

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
