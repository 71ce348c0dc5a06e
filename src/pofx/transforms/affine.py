"""Affine maps, elementwise, with given parameters."""

from dataclasses import dataclass

import torch
from torch import Tensor


def soft_limit(x: Tensor, limit: float) -> Tensor:
    """limit tanh(x / limit): near zero the identity, never beyond +-limit."""
    return limit * torch.tanh(x / limit)


def at_limit(x: Tensor, limit: float) -> Tensor:
    """Whether soft_limit(x, limit) is beyond 95 % of its limit."""
    return torch.tanh(x / limit).abs() > 0.95


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

    def saturated(self, theta: Tensor) -> Tensor:
        """Whether a scale is beyond 95 % of its limit, (B, D)."""
        return at_limit(theta[:, 0], self.limit)
