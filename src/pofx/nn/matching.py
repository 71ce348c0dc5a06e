"""Flow matching: the velocity of a differential equation learned by regression, without solving it."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import SpecError
from .continuous import Continuous
from .flow import Flow

PATHS = ("rectified", "transport")


def flow_matching(
    flow: Flow, x: Tensor, c: Tensor | None = None, path: str = "rectified", generator: torch.Generator | None = None
) -> Tensor:
    """|v(t, x_t, c) - (x_1 - x)|^2 with x_t = (1 - t) x + t x_1, x_1 normal and t uniform, (B,): no equation is solved.

    The velocity of least mean carries data to the normal law. path="rectified" draws x_1 for itself; "transport" pairs
    the batch's draws with its rows at the least total squared distance, which makes ways straighter, so that fewer
    steps do. Not with a context: pairs that know it leave it to the noise.

    Papers: Lipman et al. 2023, Flow Matching for Generative Modeling; Liu, Gong, Liu 2023, Flow Straight and Fast; Tong
    et al. 2024, Improving and Generalizing Flow-Based Generative Models with Minibatch Optimal Transport.
    Raises SpecError for another path, transport with a context, and a flow of several layers.
    """
    if path not in PATHS:
        raise SpecError(f"expected path among {', '.join(PATHS)}, got {path!r}")
    if path == "transport" and c is not None:
        raise SpecError("expected no context with path='transport', got one: use path='rectified'")
    layer, *more = flow.layers.layers
    if more or not isinstance(layer, Continuous):
        raise SpecError("expected a flow of one differential equation, got another: FFJORD with transforms=1")
    return regression(lambda t, x: layer.net(t, x, c), x, path, generator)


def regression(
    velocity: Callable[[Tensor, Tensor], Tensor], x: Tensor, path: str, generator: torch.Generator | None = None
) -> Tensor:
    """|v(t, x_t) - (x_1 - x)|^2 of rows or images x, (B, ...), summed over an example's numbers: (B,). t: (B,)."""
    like = {"generator": generator, "device": x.device, "dtype": x.dtype}
    noise, t = torch.randn(x.shape, **like), torch.rand(len(x), **like)
    noise = noise[nearest(x.flatten(1), noise.flatten(1))] if path == "transport" else noise
    way = noise - x
    return (velocity(t, x + t.view(-1, *[1] * (x.ndim - 1)) * way) - way).square().flatten(1).sum(1)


def nearest(x: Tensor, y: Tensor) -> Tensor:
    """The order of y that makes sum_i |x_i - y_order(i)|^2 least, (B,). Rows that are not finite count as zeros."""
    from scipy.optimize import linear_sum_assignment

    cost = torch.cdist(x.detach().nan_to_num(0.0, 0.0, 0.0), y).square().cpu().numpy()
    return torch.from_numpy(linear_sum_assignment(cost)[1]).to(x.device)
