"""The root of an increasing function of one number, by Newton steps kept inside a shrinking bracket."""

from collections.abc import Callable

import torch
from torch import Tensor


def root(f: Callable[[Tensor], tuple[Tensor, Tensor]], low: Tensor, high: Tensor, steps: int = 100) -> Tensor:
    """x with f(x) = 0, elementwise; f gives (value, slope) and increases from f(low) <= 0 to f(high) >= 0.

    Newton's step where it stays inside the bracket and is at most half of the step before, else the middle of the
    bracket: Newton's steps alone can go round in circles.

        >>> root(lambda x: (x**3 - 8, 3 * x**2), torch.zeros(1), torch.full((1,), 10.0))
        tensor([2.])
    """
    x, last, near = (low + high) / 2, high - low, torch.finfo(low.dtype).eps / 4
    for _ in range(steps):
        value, slope = f(x)
        low, high = torch.where(value <= 0, x, low), torch.where(value >= 0, x, high)
        step = -value / slope.clamp(min=torch.finfo(x.dtype).tiny)
        good = (x + step >= low) & (x + step <= high) & (2 * step.abs() <= last)
        step = torch.where(good, step, (low + high) / 2 - x)
        x, last = x + step, step.abs()
        if not bool((last > near * x.abs()).any()):
            break
    return x
