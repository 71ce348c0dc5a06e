"""Continuous layers: the flow of an ordinary differential equation."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..transforms.sizes import sizes
from .layer import Layer, spread

EXACT = 64  # features up to which the trace of the Jacobian is exact


class Velocity(nn.Module):
    """v(t, x, c): a perceptron of (x, cos and sin of multiples of t, c), zero at the start. t: (), x, v: (B, D)."""

    def __init__(self, features: int, context: int, hidden: Sequence[int], waves: int = 4) -> None:
        super().__init__()
        self.register_buffer("waves", math.pi * torch.arange(1, waves + 1), persistent=False)
        self.first = nn.Linear(features, hidden[0])
        self.time = nn.Linear(2 * waves, hidden[0], bias=False)
        self.aside = nn.Linear(context, hidden[0], bias=False) if context else None
        self.middle = nn.ModuleList(nn.Linear(a, b) for a, b in zip(hidden, hidden[1:], strict=False))
        self.last = nn.Linear(hidden[-1], features)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, t: Tensor, x: Tensor, c: Tensor | None = None) -> Tensor:
        return self.along(t, x, self.aim(c, len(x)), x.new_zeros(1, 0, x.shape[1]))[0]

    def aim(self, c: Tensor | None, n: int) -> Tensor | None:
        """What the context of n rows adds to the first layer, at every t: (n, W) or (1, W)."""
        return None if self.aside is None or c is None else spread(self.aside(c), n)

    def along(self, t: Tensor, x: Tensor, aim: Tensor | None, directions: Tensor) -> tuple[Tensor, Tensor]:
        """(v, J d for each direction d): directions (B or 1, K, D), the second (B, K, D), carried forward with v."""
        angle = t[..., None] * self.waves
        h = self.first(x) + self.time(torch.cat([angle.cos(), angle.sin()], -1))
        h = h if aim is None else h + aim
        h, d = torch.tanh(h), directions @ self.first.weight.T
        d = (1 - h.square())[:, None] * d
        for layer in self.middle:
            raw, d = layer(h), d @ layer.weight.T
            gate = torch.sigmoid(raw)
            h, d = raw * gate, (gate * (1 + raw * (1 - gate)))[:, None] * d
        return self.last(h), d @ self.last.weight.T


def rk4(f: Callable[[Tensor, Tensor], Tensor], x: Tensor, start: float, end: float, steps: int) -> Tensor:
    """x(end) of dx/dt = f(t, x) by the classical Runge-Kutta method on an even grid: rows do not see each other."""
    h = (end - start) / steps
    for i in range(steps):
        t = x.new_tensor(start + i * h)
        a = f(t, x)
        b = f(t + h / 2, x + h / 2 * a)
        c = f(t + h / 2, x + h / 2 * b)
        d = f(t + h, x + h * c)
        x = x + h / 6 * (a + 2 * b + 2 * c + d)
    return x


class Continuous(Layer):
    """y = x(1) with dx/dt = v(t, x, c), x(0) = x; log|det dy/dx| = integral of tr dv/dx. x, y: (B, D).

    The trace is exact up to 64 features, by one forward derivative for each of them; beyond, v' J v with one Rademacher
    vector for each row (Hutchinson), fixed along the path: `Flow.estimate` gives a standard error. With `exact` it is
    exact for so many features while the layer does not train. `steps` of the Runge-Kutta method on an even grid; the
    inverse runs the same grid backwards, so that it differs from an inverse by the error of the method, O(steps^-4).

    Papers: Chen et al. 2018, Neural Ordinary Differential Equations; Grathwohl et al. 2019, FFJORD.
    """

    tolerance = (1e-3, 1e-3)

    def __init__(
        self,
        features: int,
        context: int = 0,
        hidden: Sequence[int] = (64, 64),
        steps: int = 16,
        exact: int = EXACT,
    ) -> None:
        super().__init__()
        sizes(features=features, hidden=hidden, steps=steps)
        self.features, self.steps, self.exact = features, steps, exact
        self.net = Velocity(features, context, hidden)

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._run(x, c, 0.0, 1.0)

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._run(y, c, 1.0, 0.0)

    def inverse(self, y: Tensor, c: Tensor | None = None, start: float = 1.0, end: float = 0.0) -> Tensor:
        aim, none = self.net.aim(c, len(y)), y.new_zeros(1, 0, self.features)
        return rk4(lambda t, x: self.net.along(t, x, aim, none)[0], y, start, end, self.steps)

    def path(self, y: Tensor, c: Tensor | None = None, stops: int = 8) -> list[Tensor]:
        """x(t) on the way from x(1) = y to x(0), at `stops` even times."""
        out, times = [y], torch.linspace(1, 0, stops + 1).tolist()
        for start, end in zip(times, times[1:], strict=False):
            out.append(self.inverse(out[-1], c, start, end))
        return out[1:]

    def _run(self, x: Tensor, c: Tensor | None, start: float, end: float) -> tuple[Tensor, Tensor]:
        exact = self.features <= (EXACT if self.training else max(self.exact, EXACT))
        probe, aim = None if exact else torch.randint_like(x, 2) * 2 - 1, self.net.aim(c, len(x))

        def both(t: Tensor, state: Tensor) -> Tensor:
            v, trace = self._velocity_and_trace(t, state[:, :-1], aim, probe)
            return torch.cat([v, trace[:, None]], 1)

        state = rk4(both, torch.cat([x, x.new_zeros(len(x), 1)], 1), start, end, self.steps)
        return state[:, :-1], state[:, -1]

    def _velocity_and_trace(
        self, t: Tensor, x: Tensor, aim: Tensor | None, probe: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        if probe is not None:
            v, moved = self.net.along(t, x, aim, probe[:, None])
            return v, (moved[:, 0] * probe).sum(1)
        v, moved = self.net.along(t, x, aim, torch.eye(self.features, dtype=x.dtype, device=x.device)[None])
        return v, moved.diagonal(dim1=1, dim2=2).sum(1)
