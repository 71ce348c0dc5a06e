"""Linear layers of flows: LU, 1x1 convolution, rotation, Householder; and the turn of angles."""

import math

import torch
from torch import Tensor, nn

from ..transforms.affine import soft_limit
from ..transforms.sizes import sizes
from .layer import Layer
from .sites import Everywhere


class LULinear(Layer):
    """y = W x + b, W = P L (U + diag(s)), log|det| = sum log s. x, y: (B, D).

    L is unit lower triangular, U strictly upper, s = exp(3 tanh(a / 3)) > 0, P a fixed permutation. L, U and a start at
    zero: the layer starts as the permutation.

    Papers: Kingma, Dhariwal 2018, Glow; Oliva et al. 2018, Transformation Autoregressive Networks.
    """

    def __init__(self, features: int, permute: bool = True) -> None:
        super().__init__()
        self.lower = nn.Parameter(torch.zeros(features, features))
        self.upper = nn.Parameter(torch.zeros(features, features))
        self.scale = nn.Parameter(torch.zeros(features))
        self.bias = nn.Parameter(torch.zeros(features))
        order = torch.randperm(features) if permute else torch.arange(features)
        self.register_buffer("order", order)
        self.register_buffer("back", order.argsort())

    def _factors(self) -> tuple[Tensor, Tensor, Tensor]:
        log_scale = soft_limit(self.scale, 3.0)
        one = torch.eye(len(log_scale), dtype=log_scale.dtype, device=log_scale.device)
        return self.lower.tril(-1) + one, self.upper.triu(1) + one * log_scale.exp(), log_scale.sum()

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        lower, upper, ladj = self._factors()
        y = x @ (lower @ upper).T
        return y.index_select(1, self.order) + self.bias, ladj.expand(len(x))

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        lower, upper, ladj = self._factors()
        z = (y - self.bias).index_select(1, self.back).T
        z = torch.linalg.solve_triangular(lower, z, upper=False, unitriangular=True)
        return torch.linalg.solve_triangular(upper, z, upper=True).T, -ladj.expand(len(y))


class Conv1x1(Everywhere):
    """An LU linear map of the channels at every site, log|det| = sites sum log s. x, y: (B, C, *sites).

    Paper: Kingma, Dhariwal 2018, Glow: Generative Flow with Invertible 1x1 Convolutions.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(LULinear(channels))


class Rotation(Layer):
    """y = R x, R = exp(A - A'), log|det| = 0. x, y: (B, D). A starts at zero."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.angles = nn.Parameter(torch.zeros(features, features))

    def matrix(self) -> Tensor:
        """R, (D, D)."""
        return torch.matrix_exp(self.angles - self.angles.T)

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x @ self.matrix().T, x.new_zeros(len(x))

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return y @ self.matrix(), y.new_zeros(len(y))


class Householder(Layer):
    """y = H_1 ... H_K x, H_k = I - 2 v v' / |v|^2, log|det| = 0. x, y: (B, D).

    Paper: Tomczak, Welling 2016, Improving Variational Auto-Encoders using Householder Flow.
    """

    def __init__(self, features: int, count: int | None = None) -> None:
        super().__init__()
        count = features if count is None else count
        sizes(features=features, count=count)
        self.vectors = nn.Parameter(torch.randn(count, features))

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._reflect(x, self.vectors.flip(0)), x.new_zeros(len(x))

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._reflect(y, self.vectors), y.new_zeros(len(y))

    @staticmethod
    def _reflect(x: Tensor, vectors: Tensor) -> Tensor:
        for v in vectors:
            x = x - 2 * (x @ v)[:, None] * v / v.square().sum().clamp(min=1e-12)
        return x


class Turn(Layer):
    """y = x + b on the circle [-pi, pi), log|det| = 0. x, y: (B, D) of angles."""

    period = 2 * math.pi

    def keeps(self, bound: float) -> bool:
        return bound == math.pi

    def __init__(self, features: int) -> None:
        super().__init__()
        self.angle = nn.Parameter(2 * math.pi * torch.rand(features))

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._wrapped(x + self.angle), x.new_zeros(len(x))

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._wrapped(y - self.angle), y.new_zeros(len(y))

    @staticmethod
    def _wrapped(x: Tensor) -> Tensor:
        return torch.remainder(x + math.pi, 2 * math.pi) - math.pi
