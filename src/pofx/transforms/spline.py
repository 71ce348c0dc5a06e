"""Monotone rational-quadratic splines with bounded slopes."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import SpecError
from .affine import at_limit, soft_limit
from .sizes import sizes
from .spline_gradient import SOFT, Moved


@dataclass(frozen=True)
class Spline:
    """y = f(x), a monotone rational-quadratic spline through K + 1 knots on [-bound, bound], one for each feature.

    In bin k, with s = h_k / w_k, xi = (x - x_k) / w_k and slopes d at the knots,

        y = y_k + h_k (s xi^2 + d_k xi (1 - xi)) / (s + (d_k + d_{k+1} - 2 s) xi (1 - xi)).

    Parameters theta, (B, size, D), the bins ahead of the features: K widths, K heights, and slopes at the knots:

    - ends="linear": K - 1 slopes; outside the box y = x with slope 1. x on the line.
    - ends="circular": K slopes; the first knot's is the last one's too: f is smooth on the circle. x in the box.
    - ends="bounded": K + 1 slopes. x in the box.

    Slopes are bounded by construction: w = floor + (1 - K floor) softmax(3 tanh(a / 3)), d = exp(2 c tanh(e / 2c)),
    h = w exp(c tanh(b / c)) / sum, so that chords and knots have slopes within exp(+-2c). In float32 the inverse is
    then exact to about 1e-5 of the box; theta = 0 is the identity.

    Papers: Durkan, Bekasov, Murray, Papamakarios 2019, Neural Spline Flows; Rezende et al. 2020, Normalizing Flows on
    Tori and Spheres (circular).

        >>> f = Spline(bins=4)
        >>> f.call_and_ladj(torch.tensor([[0.5, 9.0]]), torch.zeros(1, f.size, 2))
        (tensor([[0.5000, 9.0000]]), tensor([[0., 0.]]))
    """

    bins: int = 8
    bound: float = 5.0
    steep: float = 1.15
    ends: str = "linear"
    floor: float = 1e-2

    def __post_init__(self) -> None:
        sizes(bins=self.bins)
        if self.bins * self.floor >= 1:
            raise SpecError(f"expected fewer than {1 / self.floor:.0f} bins, got {self.bins}")
        if not 0 < self.bound < math.inf:
            raise SpecError(f"expected a bound above 0, of a box [-bound, bound], got {self.bound}")

    @property
    def size(self) -> int:
        """Parameters of a feature."""
        return 2 * self.bins + {"linear": self.bins - 1, "circular": self.bins, "bounded": self.bins + 1}[self.ends]

    def knots(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Knots in x and y, and raw slopes there, each (B, K + 1, D)."""
        a, b = theta[:, : 2 * self.bins].chunk(2, 1)
        width = soft_limit(a, SOFT).exp()  # logits are bounded: no maximum need be taken off
        width = self.floor + width * ((1 - self.bins * self.floor) / width.sum(1, keepdim=True))
        height = width * soft_limit(b, self.steep).exp()
        height = height / height.sum(1, keepdim=True)
        return (
            self._places(width),
            self._places(height),
            self.raw_slopes(theta[:, 2 * self.bins :].transpose(0, 1)).transpose(0, 1),
        )

    def raw_slopes(self, e: Tensor) -> Tensor:
        """The slopes' parameters, at all knots, (K + 1, B, D)."""
        if self.ends == "linear":
            return F.pad(e, (0, 0, 0, 0, 1, 1))
        return torch.cat([e, e[:1]]) if self.ends == "circular" else e

    def _places(self, part: Tensor) -> Tensor:
        """Shares of the box, (B, K, D), to knots, the first and the last exactly at its ends."""
        places = [torch.full_like(part[:, 0], -self.bound)]
        for share in part.unbind(1)[:-1]:  # a few sums are faster than cumsum, and are compiled into one loop
            places.append(torch.add(places[-1], share, alpha=2 * self.bound))
        return torch.stack([*places, torch.full_like(places[0], self.bound)], 1)

    def _bin(self, at: Tensor, theta: Tensor, side: int) -> tuple[Tensor, ...]:
        """The bin that holds a place on the x (`side` 0) or y axis: x_k, w_k, y_k, h_k, d_k, d_{k+1}, each (B, D)."""
        knots = self.knots(theta)
        k = (at[:, None] >= knots[side][:, 1:-1]).sum(1, keepdim=True)
        ends = torch.cat([k, k + 1], 1)
        (x0, x1), (y0, y1), raw = (torch.gather(part, 1, ends).unbind(1) for part in knots)
        d0, d1 = (torch.exp(soft_limit(e, 2 * self.steep)) for e in raw)
        return x0, x1 - x0, y0, y1 - y0, d0, d1

    def call_and_ladj(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """(y, log dy/dx), each (B, D)."""
        if torch.compiler.is_compiling():  # fuses the plain map, and has its gradient fused too
            return self.plain_call_and_ladj(x, theta)
        return Moved.apply(x, theta, self)[:2]

    def plain_call_and_ladj(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """`call_and_ladj` by operations that autograd knows."""
        inside, u = self._boxed(x)
        x0, width, y0, height, d0, d1 = self._bin(u, theta, 0)
        s, xi = height / width, ((u - x0) / width).clamp(0.0, 1.0)
        y = y0 + height * (s * xi * xi + d0 * xi * (1 - xi)) / self._below(xi, s, d0, d1)
        return torch.where(inside, self._held(y), x), torch.where(inside, self._ladj(xi, s, d0, d1), 0.0)

    def inverse_and_ladj(self, y: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """(x, log dx/dy), each (B, D)."""
        inside, v = self._boxed(y)
        x0, width, y0, height, d0, d1 = self._bin(v, theta, 1)
        s, rise = height / width, (v - y0).clamp(min=0.0)
        bend = rise * (d1 + d0 - 2 * s)
        a, b, c = height * (s - d0) + bend, height * d0 - bend, -s * rise
        root = (b * b - 4 * a * c).clamp(min=0.0).sqrt()
        xi = (2 * c / (-b - root)).clamp(0.0, 1.0)
        x = self._held(x0 + xi * width)
        return torch.where(inside, x, y), torch.where(inside, -self._ladj(xi, s, d0, d1), 0.0)

    def _boxed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Whether a place is in the box, and the place, 0 for those that are not."""
        inside = x.abs() < self.bound if self.ends == "linear" else x.abs() <= self.bound
        return inside, torch.where(inside, x, 0.0)

    def _held(self, y: Tensor) -> Tensor:
        """A place in the box, which no rounding carries out of it where its ends are not those of the identity."""
        return y if self.ends == "linear" else y.clamp(-self.bound, self.bound)

    @staticmethod
    def _below(xi: Tensor, s: Tensor, d0: Tensor, d1: Tensor) -> Tensor:
        return s + (d1 + d0 - 2 * s) * xi * (1 - xi)

    def _ladj(self, xi: Tensor, s: Tensor, d0: Tensor, d1: Tensor) -> Tensor:
        above = d1 * xi * xi + 2 * s * xi * (1 - xi) + d0 * (1 - xi) * (1 - xi)
        return 2 * s.log() + above.log() - 2 * self._below(xi, s, d0, d1).log()

    def keeps(self, bound: float) -> bool:
        """Whether its box is [-bound, bound], which it maps onto itself."""
        return self.bound == bound

    def outside(self, x: Tensor) -> Tensor:
        """Whether a place is outside the box, (B, D)."""
        return ~self._boxed(x)[0]

    def saturated(self, theta: Tensor) -> Tensor:
        """Whether a height or a slope at a knot is beyond 95 % of its limit, (B, size - bins, D)."""
        height, slope = theta[:, self.bins : 2 * self.bins], theta[:, 2 * self.bins :]
        return torch.cat([at_limit(height, self.steep), at_limit(slope, 2 * self.steep)], 1)

    @property
    def slopes(self) -> tuple[float, float]:
        """Bounds of dy/dx, whatever theta."""
        c = 2 * self.steep + math.log1p(self.bins * self.floor)
        return math.exp(-3 * c), math.exp(3 * c)
