"""Maps of bounded and half-bounded numbers to the whole line."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Interval:
    """y = logit p, p = (x - low) / (high - low); log dy/dx = -log p - log(1 - p) - log(high - low).

    At and beyond the ends y = 0 and log dy/dx = -inf: no density there, and nothing that is no number.

        >>> Interval(0.0, 1.0).call_and_ladj(torch.tensor([0.5, 2.0]))
        (tensor([0., 0.]), tensor([1.3863,   -inf]))
    """

    low: float
    high: float

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(y, log dy/dx), each of the shape of x."""
        p = (x - self.low) / (self.high - self.low)
        inside = (p > 0) & (p < 1)
        safe = torch.where(inside, p, 0.5)
        log, other = safe.log(), torch.log1p(-safe)
        return _outside(x, inside, log - other, -log - other - math.log(self.high - self.low))

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """(x, log dx/dy)."""
        size = self.high - self.low
        x = self.low + size * torch.sigmoid(y)
        return x, math.log(size) + F.logsigmoid(y) + F.logsigmoid(-y)


@dataclass(frozen=True)
class Above:
    """y = log(e^(x - low) - 1), the inverse of softplus; log dy/dx = -log(1 - e^-(x - low)).

    At and below `low` y = 0 and log dy/dx = -inf.

        >>> Above(0.0).inverse_and_ladj(torch.tensor([0.0]))[0]
        tensor([0.6931])
    """

    low: float = 0.0

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(y, log dy/dx), each of the shape of x."""
        over = x - self.low
        inside = over > 0
        safe = torch.where(inside, over, 1.0)
        log = torch.log(-torch.expm1(-safe))
        return _outside(x, inside, safe + log, -log)

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """(x, log dx/dy)."""
        return self.low + torch.logaddexp(y, torch.zeros_like(y)), F.logsigmoid(y)


def _outside(x: Tensor, inside: Tensor, y: Tensor, ladj: Tensor) -> tuple[Tensor, Tensor]:
    """Zero and -inf outside; what is no number stays so."""
    lost = x.isnan()
    y = torch.where(inside, y, 0.0)
    ladj = torch.where(inside, ladj, -math.inf)
    return torch.where(lost, x, y), torch.where(lost, x, ladj)
