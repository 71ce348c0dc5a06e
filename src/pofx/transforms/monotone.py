"""The root of an increasing function of one number, by Newton steps kept inside a shrinking bracket."""

from collections.abc import Callable

import torch
from torch import Tensor


def root(f: Callable[[Tensor], tuple[Tensor, Tensor]], low: Tensor, high: Tensor, steps: int = 60) -> Tensor:
    """x with f(x) = 0, elementwise; f gives (value, slope) and increases from f(low) <= 0 to f(high) >= 0.

    Newton's step where it stays inside the bracket, else the middle; every step shrinks the bracket.

        >>> root(lambda x: (x**3 - 8, 3 * x**2), torch.zeros(1), torch.full((1,), 10.0))
        tensor([2.])
    """
    x = (low + high) / 2
    for _ in range(steps):
        value, slope = f(x)
        low, high = torch.where(value <= 0, x, low), torch.where(value >= 0, x, high)
        step = x - value / slope.clamp(min=torch.finfo(x.dtype).tiny)
        x = torch.where((step > low) & (step < high), step, (low + high) / 2)
        if not bool((high > low).any()):
            break
    return x
