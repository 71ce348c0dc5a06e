"""Objectives that fit a flow to an unnormalised density, from the flow's own draws."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import SpecError
from .flow import Flow


def reverse_kl(flow: Flow, target: Callable[[Tensor], Tensor], n: int, c: Tensor | None = None) -> Tensor:
    """log q(x) - log p~(x) of n draws x of the flow q, (n,): their mean is KL(q | p) up to the log-constant of p~.

    Rezende, Mohamed 2015. Raises SpecError for a target that gives no number for each row, (n,).
    """
    x, log = flow.draw(n, c)
    return log - _target(target, x)


def alpha_divergence(
    flow: Flow, target: Callable[[Tensor], Tensor], n: int, alpha: float = 0.5, c: Tensor | None = None
) -> Tensor:
    """-log mean_i (p~(x_i) / q(x_i))^(1 - alpha) / (1 - alpha) of n draws of the flow q: one number, the Renyi bound.

    alpha -> 1 is the reverse KL, alpha = 0 the importance-weighted bound. Li, Turner 2016, Renyi Divergence Variational
    Inference. Raises SpecError for alpha = 1 or infinite, and as `reverse_kl` does.
    """
    if alpha == 1 or not math.isfinite(alpha):
        raise SpecError(f"expected a finite alpha other than 1, got {alpha}: reverse_kl is the limit at 1")
    x, log = flow.draw(n, c)
    ratio = (1 - alpha) * (_target(target, x) - log)
    return -(torch.logsumexp(ratio, 0) - torch.log(torch.tensor(float(n)))) / (1 - alpha)


def _target(target: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """log p~ of rows, (n,)."""
    value = target(x)
    if value.shape != x.shape[:1]:
        raise SpecError(
            f"expected a target of shape ({len(x)},), a number a row, got {tuple(value.shape)}: squeeze or sum"
        )
    return value
