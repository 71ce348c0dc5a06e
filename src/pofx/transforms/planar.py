"""Planar, radial and Sylvester maps: the identity plus a bump across a plane, around a point, along several planes."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .monotone import root

LEAST = 0.98  # w u stays above -LEAST, and slopes above a fiftieth, which float32 can go back from


@dataclass(frozen=True)
class Planar:
    """y = x + u tanh(w x + b), u = v + (m(w v) - w v) w / |w|^2, m(a) = softplus(a + log(e^l - 1)) - l, l = 0.98.

    x: (B, D); w and v: (D,) or (B, D); b: () or (B,). log|det dy/dx| = log(1 + (1 - tanh^2) w u), finite since
    w u >= -l. The inverse has one unknown, a = w x: it solves a + w u tanh(a + b) = w y, to 1e-6 in float32.

    Paper: Rezende, Mohamed 2015, Variational Inference with Normalizing Flows.

        >>> Planar(torch.tensor([1.0, 0.0]), torch.zeros(2), torch.tensor(0.0)).call_and_ladj(torch.zeros(1, 2))
        (tensor([[0., 0.]]), tensor([0.]))
    """

    w: Tensor
    v: Tensor
    b: Tensor

    def _u(self) -> tuple[Tensor, Tensor]:
        """u, and w u = m(w v) > -1."""
        along = (self.w * self.v).sum(-1, keepdim=True)
        wanted = F.softplus(along + math.log(math.expm1(LEAST))) - LEAST
        square = self.w.square().sum(-1, keepdim=True).clamp(min=1e-12)
        u = self.v + (wanted - along) * self.w / square
        return u, (self.w * u).sum(-1)

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(y, log|det dy/dx|), (B, D) and (B,)."""
        u, wu = self._u()
        t = torch.tanh((self.w * x).sum(-1) + self.b)
        return x + u * t.unsqueeze(-1), torch.log1p((1 - t.square()) * wu)

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """(x, log|det dx/dy|)."""
        u, wu = self._u()
        target = (self.w * y).sum(-1)
        wu = wu.expand_as(target)

        def excess(a: Tensor) -> tuple[Tensor, Tensor]:
            t = torch.tanh(a + self.b)
            return a + wu * t - target, 1 + wu * (1 - t.square())

        with torch.no_grad():
            reach = wu.abs() + 1e-3 * (1 + target.abs())
            a = root(excess, target - reach, target + reach)
        value, slope = excess(a)
        a = a - value / slope.detach()
        t = torch.tanh(a + self.b)
        return y - u * t.unsqueeze(-1), -torch.log1p((1 - t.square()) * wu)
