"""Layers that learn a scale and a shift from batches: actnorm, batch normalisation."""

from typing import Any

import torch
from torch import Tensor, nn

from .layer import Layer


class ActNorm(Layer):
    """y = exp(s) (x + b), log|det| = sum s. x, y: (B, D).

    The first batch seen in training sets b and s so that y has mean 0 and deviation 1; rows that are not finite do not
    count, and a constant feature keeps scale 1. Whether that happened is saved with the weights.

    Paper: Kingma, Dhariwal 2018, Glow.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(features))
        self.shift = nn.Parameter(torch.zeros(features))
        self.register_buffer("started", torch.tensor(False))
        self.known = False  # the same, where no look at the device is needed

    @torch.no_grad()
    def start(self, x: Tensor) -> None:
        """Sets shift and scale from a batch, once."""
        if not self.known and not bool(self.started):
            x = x[torch.isfinite(x).all(1)]
            if len(x) > 1:
                deviation = x.std(0)
                safe = torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation))
                self.shift.copy_(-x.mean(0))
                self.log_scale.copy_(-safe.log())
                self.started.fill_(True)
        self.known = bool(self.started)

    def _load_from_state_dict(self, *given: Any) -> None:
        super()._load_from_state_dict(*given)
        self.known = False  # the saved flag says whether it was started, not the one of weights that are gone

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if self.training and not self.known:
            self.start(x)
        return (x + self.shift) * self.log_scale.exp(), self.log_scale.sum().expand(len(x))

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return y * (-self.log_scale).exp() - self.shift, -self.log_scale.sum().expand(len(y))


class BatchNorm(Layer):
    """y = (x - m) / sqrt(v + eps) exp(s) + b, with m and v of the batch in training and of a running mean otherwise.

    log|det| = sum (s - log(v + eps) / 2). Rows that are not finite do not count. The inverse uses the running
    statistics. x, y: (B, D).

    Paper: Dinh, Sohl-Dickstein, Bengio 2017, Density Estimation Using Real NVP.
    """

    def __init__(self, features: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.log_scale = nn.Parameter(torch.zeros(features))
        self.shift = nn.Parameter(torch.zeros(features))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("var", torch.ones(features))

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mean, var = self.mean, self.var
        if self.training:
            mean, var = self._statistics(x)
            with torch.no_grad():
                self.mean.lerp_(mean, self.momentum)
                self.var.lerp_(var, self.momentum)
        log = self.log_scale - 0.5 * (var + self.eps).log()
        return (x - mean) * log.exp() + self.shift, log.sum().expand(len(x))

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the finite rows; the running ones where there are not two."""
        fine = x.isfinite().all(1, keepdim=True)
        count, kept = fine.sum(), torch.where(fine, x, 0.0)
        mean = kept.sum(0) / count.clamp(min=1)
        var = torch.where(fine, kept - mean, 0.0).square().sum(0) / count.clamp(min=1)
        return torch.where(count > 1, mean, self.mean), torch.where(count > 1, var, self.var)

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log = self.log_scale - 0.5 * (self.var + self.eps).log()
        return (y - self.shift) * (-log).exp() + self.mean, -log.sum().expand(len(y))
