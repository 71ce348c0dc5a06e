"""Residual layers: the identity plus a contraction."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap
from torch.nn import functional as F

from ..errors import SpecError
from ..transforms.sizes import sizes
from .layer import Layer, spread

EXACT = 64  # features up to which the log-determinant is that of the whole Jacobian


class Contraction(nn.Module):
    """g with |g(a) - g(b)| <= bound |a - b|: each weight W is W min(1, l / |W|_2), l^layers = bound.

    The activation is x sigmoid(b x) / 1.1, of slope at most 1 (Chen et al. 2019).
    """

    def __init__(self, features: int, context: int, hidden: Sequence[int], bound: float) -> None:
        super().__init__()
        widths = [features, *hidden, features]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:], strict=False))
        self.aside = nn.Linear(context, hidden[0], bias=False) if context else None
        self.sharp = nn.Parameter(torch.zeros(len(hidden)))
        self.limit = bound ** (1 / len(self.layers))

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return self.moved(x, *self.made(c, len(x)))

    def made(self, c: Tensor | None, n: int) -> tuple[list[Tensor], Tensor | None]:
        """What does not depend on x: the weights, and what the context of n rows adds to the first layer."""
        norms = [torch.linalg.matrix_norm(layer.weight, 2) for layer in self.layers]
        weights = [a.weight / (b / self.limit).clamp(min=1.0) for a, b in zip(self.layers, norms, strict=True)]
        return weights, None if self.aside is None or c is None else spread(self.aside(c), n)

    def moved(self, x: Tensor, weights: list[Tensor], aim: Tensor | None) -> Tensor:
        """g(x) by what `made` gave, (B, D)."""
        h = x
        for i, (weight, layer) in enumerate(zip(weights, self.layers, strict=True)):
            h = F.linear(h, weight, layer.bias)
            if i == 0 and aim is not None:
                h = h + aim
            if i < len(self.sharp):
                h = h * torch.sigmoid(F.softplus(self.sharp[i] + 0.5413) * h) / 1.1
        return h


class Residual(Layer):
    """y = x + g(x; c), Lip(g) <= bound < 1. x, y: (B, D).

    log|det dy/dx| = log det(I + J_g). Up to 64 features it is exact. Beyond, it is the power series

        sum_k (-1)^(k+1) / k E[v' J^k v] / P(N >= k), v normal, N = `sure` terms and more: P(N >= sure + j) = bound^j,

    unbiased and random, and of finite variance, since |J^k| <= bound^k. `estimate` gives its standard error from
    several draws. The inverse is the fixed point of x = y - g(x), up to the rounding of g, and it is checked:
    SpecError where it has not converged, which a contraction cannot do.

    Papers: Behrmann et al. 2019, Invertible Residual Networks; Chen et al. 2019, Residual Flows for Invertible
    Generative Modeling.
    """

    tolerance = (1e-4, 1e-9)

    def __init__(
        self, features: int, context: int = 0, hidden: Sequence[int] = (64, 64), bound: float = 0.9, sure: int = 10
    ) -> None:
        super().__init__()
        sizes(features=features, hidden=hidden)
        if not 0 < bound < 1:
            raise SpecError(f"expected a Lipschitz bound between 0 and 1, got {bound}")
        self.features, self.bound, self.sure = features, bound, sure
        self.net = Contraction(features, context, hidden, bound)

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y = x + self.net(x, c)
        return y, self.log_det(x, c) if self.features <= EXACT else self.estimate(x, c)[0]

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            made = self.net.made(c, len(y))
            x, move = fixed_point(lambda x: y - self.net.moved(x, *made), y)
            if bool((move > self.tolerance[y.dtype == torch.float64] * (1 + x.norm(dim=1))).any()):
                raise SpecError("expected the fixed point of a contraction, got none: damaged weights")
        x = self._attached(x, y, c)
        return x, -self.call_and_ladj(x, c)[1]

    def _attached(self, x: Tensor, y: Tensor, c: Tensor | None) -> Tensor:
        """The fixed point with its gradient: dx = (I + J)^-1 (dy - dg), the inverse by the series v <- dx - J' v."""
        if not torch.is_grad_enabled():
            return x
        at = x.detach().requires_grad_(True)
        g = self.net(at, c.detach() if c is not None else None)
        out = y - self.net(x, c)

        def solve(gradient: Tensor) -> Tensor:
            step = lambda v: gradient - torch.autograd.grad(g, at, v, retain_graph=True)[0]  # noqa: E731
            return fixed_point(step, gradient)[0]

        if out.requires_grad:
            out.register_hook(solve)
        return out

    def log_det(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """log det(I + J_g), (B,), from the Jacobian of each row."""

        weights, aim = self.net.made(c, len(x))

        def one(row: Tensor, given: Tensor | None = None) -> Tensor:
            return self.net.moved(row[None], weights, None if given is None else given[None])[0]

        if not len(x):
            return x.new_zeros(0)
        jacobian = vmap(jacrev(one))(x) if aim is None else vmap(jacrev(one))(x, aim.expand(len(x), -1))
        return torch.linalg.slogdet(jacobian + torch.eye(self.features, dtype=x.dtype, device=x.device))[1]

    def estimate(self, x: Tensor, c: Tensor | None = None, draws: int = 1) -> tuple[Tensor, Tensor]:
        """(mean, standard error) of `draws` estimates of log det(I + J_g), each (B,); the error is nan for one draw."""
        values = torch.stack([self._series(x, c) for _ in range(draws)])
        error = values.std(0) / draws**0.5 if draws > 1 else torch.full_like(values[0], math.nan)
        return values.mean(0), error

    def _series(self, x: Tensor, c: Tensor | None) -> Tensor:
        extra = int(torch.distributions.Geometric(1 - self.bound).sample())
        with torch.enable_grad():
            at = x if x.requires_grad else x.detach().requires_grad_(True)
            g = self.net(at, c)
            v = torch.randn_like(x)
            w, total = v, torch.zeros_like(x[:, 0])
            for k in range(1, self.sure + extra + 1):
                (w,) = torch.autograd.grad(g, at, w, create_graph=torch.is_grad_enabled(), retain_graph=True)
                weight = self.bound ** min(self.sure - k, 0)
                total = total + (-1.0) ** (k + 1) / k * weight * (w * v).sum(1)
        return total


def fixed_point(step: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """x = step(x) for each row, and the length of its last move, (B, D) and (B,).

    A contraction's moves shrink down to the rounding of `step`: it ends where no row's move does.
    """
    before, shrinks = x.new_full((len(x),), math.inf), torch.ones(len(x), dtype=torch.bool, device=x.device)
    while bool(shrinks.any()):
        last, x = x, step(x)
        move = (x - last).norm(dim=1)
        shrinks, before = shrinks & (move < before), move
    return x, before
