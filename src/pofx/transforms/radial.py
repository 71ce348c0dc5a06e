"""The radial map: away from a point, or towards it."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Radial:
    """y = x + beta (x - x0) / (alpha + r), r = |x - x0|, alpha = softplus(a), beta = softplus(e) - alpha > -alpha.

    x: (B, D); x0: (D,) or (B, D); a and e: () or (B,). log|det dy/dx| = (D - 1) log(1 + beta h) + log(1 + beta h -
    beta h^2 r), h = 1 / (alpha + r). The inverse is a root of a quadratic in r.

    Paper: Rezende, Mohamed 2015, Variational Inference with Normalizing Flows.

        >>> same = torch.tensor(1.0)
        >>> Radial(torch.zeros(2), same, same).call_and_ladj(torch.ones(1, 2))
        (tensor([[1., 1.]]), tensor([0.]))
    """

    x0: Tensor
    a: Tensor
    e: Tensor

    def _ladj(self, r: Tensor, alpha: Tensor, beta: Tensor, size: int) -> Tensor:
        h = 1 / (alpha + r)
        return (size - 1) * torch.log1p(beta * h) + torch.log1p(beta * h - beta * h * h * r)

    def _shape(self) -> tuple[Tensor, Tensor]:
        alpha = F.softplus(self.a) + 1e-6
        return alpha, F.softplus(self.e) + 1e-6 - alpha

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(y, log|det dy/dx|), (B, D) and (B,)."""
        alpha, beta = self._shape()
        away = x - self.x0
        r = _length(away)
        return x + (beta / (alpha + r)).unsqueeze(-1) * away, self._ladj(r, alpha, beta, x.shape[-1])

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """(x, log|det dx/dy|)."""
        alpha, beta = self._shape()
        away = y - self.x0
        far = _length(away)
        half = (alpha + beta - far) / 2
        root = (half.square() + alpha * far).sqrt()
        r = torch.where(half > 0, alpha * far / (half + root), root - half)
        x = self.x0 + away / (1 + beta / (alpha + r)).unsqueeze(-1)
        return x, -self._ladj(r, alpha, beta, y.shape[-1])


def _length(x: Tensor) -> Tensor:
    return x.square().sum(-1).add(torch.finfo(x.dtype).tiny).sqrt()
