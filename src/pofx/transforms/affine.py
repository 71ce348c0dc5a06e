"""Affine maps: elementwise with given parameters, and the coupling that makes them a flow."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


def soft_limit(x: Tensor, limit: float) -> Tensor:
    """limit tanh(x / limit): near zero the identity, never beyond +-limit."""
    return limit * torch.tanh(x / limit)


@dataclass(frozen=True)
class Additive:
    """y = x + t, volume kept. theta: (B, 1, D), t.

    Paper: Dinh, Krueger, Bengio 2015, NICE: Non-linear Independent Components Estimation.
    """

    size: int = 1

    def call_and_ladj(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """(y, log dy/dx), each (B, D)."""
        return x + theta[:, 0], torch.zeros_like(x)

    def inverse_and_ladj(self, y: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """(x, log dx/dy), each (B, D)."""
        return y - theta[:, 0], torch.zeros_like(y)


@dataclass(frozen=True)
class Affine:
    """y = x exp(s) + t, with s = limit tanh(a / limit). theta: (B, 2, D), a then t.

    Papers: Dinh, Sohl-Dickstein, Bengio 2017, Density Estimation Using Real NVP; Papamakarios, Pavlakou, Murray 2017,
    Masked Autoregressive Flow.

        >>> Affine().call_and_ladj(torch.ones(1, 1), torch.tensor([[[0.0], [2.0]]]))
        (tensor([[3.]]), tensor([[0.]]))
    """

    limit: float = 3.0
    size: int = 2

    def call_and_ladj(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """(y, log dy/dx), each (B, D)."""
        scale = soft_limit(theta[:, 0], self.limit)
        return x * torch.exp(scale) + theta[:, 1], scale

    def inverse_and_ladj(self, y: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """(x, log dx/dy), each (B, D)."""
        scale = soft_limit(theta[:, 0], self.limit)
        return (y - theta[:, 1]) * torch.exp(-scale), -scale


@dataclass(frozen=True)
class AffineCoupling:
    """y = x where `keep`, else x exp(s) + t, with (s, t) = conditioner(x keep) and s in [-limit, limit].

    x, y: (..., D); keep: (D,) of bool; conditioner: (..., D) to (..., 2 D), s then t. log|det dy/dx| is the sum of s
    over the others, (...,). The inverse reads the same (s, t) from what was kept.

    Paper: Dinh, Sohl-Dickstein, Bengio 2017, Density Estimation Using Real NVP.

        >>> half = torch.tensor([True, False])
        >>> AffineCoupling(half, lambda x: torch.ones(4)).call_and_ladj(torch.zeros(2))[0]
        tensor([0., 1.])
    """

    keep: Tensor
    conditioner: Callable[[Tensor], Tensor]
    limit: float = 3.0

    def _scale_and_shift(self, x: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = self.conditioner(x * self.keep).chunk(2, -1)
        move = ~self.keep
        return soft_limit(raw, self.limit) * move, shift * move

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(y, log|det dy/dx|)."""
        scale, shift = self._scale_and_shift(x)
        return x * torch.exp(scale) + shift, scale.sum(-1)

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """(x, log|det dx/dy|)."""
        scale, shift = self._scale_and_shift(y)
        return (y - shift) * torch.exp(-scale), -scale.sum(-1)
