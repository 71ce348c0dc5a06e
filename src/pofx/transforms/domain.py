"""Maps of bounded and half-bounded numbers to the whole line."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn import functional as F


@dataclass(frozen=True)
class Interval:
    """y = log(x - low) - log(high - x); log dy/dx = log(high - low) - log(x - low) - log(high - x).

    At and beyond the ends y = 0 and log dy/dx = -inf: no density there, and nothing that is no number. The inverse does
    not reach them: it ends at the last numbers of x's precision inside.

        >>> Interval(0.0, 1.0).call_and_ladj(torch.tensor([0.5, 2.0]))
        (tensor([0., 0.]), tensor([1.3863,   -inf]))
    """

    low: float
    high: float

    @property
    def constraint(self) -> constraints.Constraint:
        """The open interval, as torch's distributions name it."""
        return constraints.interval(self.low, self.high)

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(y, log dy/dx), each of the shape of x."""
        below, above = x - self.low, self.high - x
        inside = (below > 0) & (above > 0)
        left, right = (torch.where(inside, part, 1.0).log() for part in (below, above))
        return _outside(x, inside, left - right, math.log(self.high - self.low) - left - right)

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """(x, log dx/dy)."""
        size = self.high - self.low
        x = torch.where(y < 0, self.low + size * torch.sigmoid(y), self.high - size * torch.sigmoid(-y))
        low, high = y.new_tensor([self.low, self.high])
        x = x.clamp(torch.nextafter(low, high), torch.nextafter(high, low))
        return x, math.log(size) + F.logsigmoid(y) + F.logsigmoid(-y)


@dataclass(frozen=True)
class Above:
    """y = log(e^(x - low) - 1), the inverse of softplus; log dy/dx = -log(1 - e^-(x - low)).

    At and below `low` y = 0 and log dy/dx = -inf; the inverse does not reach it.

        >>> Above(0.0).inverse_and_ladj(torch.tensor([0.0]))[0]
        tensor([0.6931])
    """

    low: float = 0.0

    @property
    def constraint(self) -> constraints.Constraint:
        """The half-line, as torch's distributions name it."""
        return constraints.greater_than(self.low)

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(y, log dy/dx), each of the shape of x."""
        over = x - self.low
        inside = over > 0
        safe = torch.where(inside, over, 1.0)
        log = torch.log(-torch.expm1(-safe))
        return _outside(x, inside, safe + log, -log)

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """(x, log dx/dy)."""
        x = self.low + torch.logaddexp(y, torch.zeros_like(y))
        low, far = y.new_tensor([self.low, math.inf])
        return x.clamp(min=torch.nextafter(low, far)), F.logsigmoid(y)


@dataclass(frozen=True)
class Below:
    """y = -Above(-high)(-x): x below `high`, as Above has x above `low`.

    >>> Below(0.0).inverse_and_ladj(torch.tensor([0.0]))[0]
    tensor([-0.6931])
    """

    high: float = 0.0

    @property
    def constraint(self) -> constraints.Constraint:
        """The half-line, as torch's distributions name it."""
        return constraints.less_than(self.high)

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(y, log dy/dx), each of the shape of x."""
        y, ladj = Above(-self.high).call_and_ladj(-x)
        return -y, ladj

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """(x, log dx/dy)."""
        x, ladj = Above(-self.high).inverse_and_ladj(-y)
        return -x, ladj


def _outside(x: Tensor, inside: Tensor, y: Tensor, ladj: Tensor) -> tuple[Tensor, Tensor]:
    """Zero and -inf outside; what is no number stays so."""
    lost = x.isnan()
    y = torch.where(inside, y, 0.0)
    ladj = torch.where(inside, ladj, -math.inf)
    return torch.where(lost, x, y), torch.where(lost, x, ladj)
