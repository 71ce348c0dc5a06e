"""Likelihood heads: the law of one feature, given the numbers a decoder says of it.

Two sorts. The laws of *cells* (`LogisticMixture`, `Normal`, `StudentT`) give the mass of an interval [low, high) of the
line, so that atoms, integers, pixels and the finest grid are alike; the laws of *codes* (`Bernoulli`, `Categorical`,
`Ordinal`, `NegativeBinomial`) give the mass of a whole number. All masses of a feature sum to one.

theta: (B, size, *F), x and its cells: (B, *F), one law for each feature of F. `draw` takes uniform numbers u,
(B, draws, *F), so that all randomness is in them; with `above`, (*F,), a law of cells is cut to what lies above.
`centre` is the mean of a law of cells and the mode of one of codes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ..objectives import logistic_mass
from ..transforms.affine import soft_limit

WIDE = 6.0  # bound of the logarithm of a scale
TINY = 1e-3  # a cell narrower than this, in scales, has the mass density x width


class CellHead(Protocol):
    """The law of cells."""

    @property
    def size(self) -> int: ...

    @property
    def draws(self) -> int: ...

    def log_mass(self, low: Tensor, high: Tensor, gap: Tensor, theta: Tensor) -> Tensor:
        """log P([low, high)), (B, *F); gap: high - low, given apart because a difference would lose tiny cells."""
        ...

    def draw(self, theta: Tensor, u: Tensor, above: Tensor | None = None) -> Tensor: ...

    def centre(self, theta: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class LogisticMixture:
    """P(cell) = sum_m w_m [s((high - mu_m) / e^l_m) - s((low - mu_m) / e^l_m)], s the logistic function.

    theta: weights (softmax), locations, log-scales of each component. For pixels the first cell begins at -infinity and
    the last one ends at infinity; with a field's own levels as ends, one component is a cumulative logit.

    Paper: Salimans, Karpathy, Chen, Kingma 2017, PixelCNN++.
    """

    components: int = 6
    draws: int = 2

    @property
    def size(self) -> int:
        return 3 * self.components

    def _parts(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weight, location, scale = theta.unflatten(1, (3, self.components)).unbind(1)
        return weight.log_softmax(1), location, soft_limit(scale, WIDE)

    def log_mass(self, low: Tensor, high: Tensor, gap: Tensor, theta: Tensor) -> Tensor:
        weight, location, scale = self._parts(theta)
        each = logistic_mass(low.unsqueeze(1), high.unsqueeze(1), gap.unsqueeze(1), location, scale)
        return torch.logsumexp(weight + each, 1)

    def draw(self, theta: Tensor, u: Tensor, above: Tensor | None = None) -> Tensor:
        weight, location, scale = self._parts(theta)
        level = u[:, 1]
        if above is not None:
            start = (above - location) * torch.exp(-scale)
            weight = weight + F.logsigmoid(-start)
        m = which(weight, u[:, 0]).unsqueeze(1)
        if above is not None:
            level = _cut(level, torch.sigmoid(start.gather(1, m).squeeze(1)))
        place = torch.logit(level, 1e-12)
        return location.gather(1, m).squeeze(1) + scale.gather(1, m).squeeze(1).exp() * place

    def centre(self, theta: Tensor) -> Tensor:
        weight, location, _ = self._parts(theta)
        return (weight.exp() * location).sum(1)


@dataclass(frozen=True)
class Normal:
    """P(cell) = Phi((high - mu) / e^l) - Phi((low - mu) / e^l). theta: mu, l."""

    size: int = 2
    draws: int = 1

    def log_mass(self, low: Tensor, high: Tensor, gap: Tensor, theta: Tensor) -> Tensor:
        return _symmetric(log_normal_cdf, _log_normal, low, high, gap, theta)

    def draw(self, theta: Tensor, u: Tensor, above: Tensor | None = None) -> Tensor:
        scale = soft_limit(theta[:, 1], WIDE).exp()
        level = u[:, 0] if above is None else _cut(u[:, 0], torch.special.ndtr((above - theta[:, 0]) / scale))
        return theta[:, 0] + scale * torch.special.ndtri(level)

    def centre(self, theta: Tensor) -> Tensor:
        return theta[:, 0]


@dataclass(frozen=True)
class StudentT:
    """P(cell) = T((high - mu) / e^l) - T((low - mu) / e^l), T Student's law with four degrees of freedom.

    With s = t / sqrt(4 + t^2), T(t) = (1 + s)^2 (2 - s) / 4: its tails fall as t^-4. theta: mu, l.
    """

    size: int = 2
    draws: int = 1

    def log_mass(self, low: Tensor, high: Tensor, gap: Tensor, theta: Tensor) -> Tensor:
        return _symmetric(_log_student_cdf, _log_student, low, high, gap, theta)

    def draw(self, theta: Tensor, u: Tensor, above: Tensor | None = None) -> Tensor:
        scale = soft_limit(theta[:, 1], WIDE).exp()
        level = u[:, 0] if above is None else _cut(u[:, 0], _log_student_cdf((above - theta[:, 0]) / scale).exp())
        # Shaw 2006: the quantile of four degrees of freedom in closed form
        a = (4 * level * (1 - level)).sqrt().clamp(1e-12, 1.0)
        t = 2 * (torch.cos(torch.acos(a) / 3) / a - 1).clamp(min=0.0).sqrt()
        return theta[:, 0] + scale * t * torch.sign(level - 0.5)

    def centre(self, theta: Tensor) -> Tensor:
        return theta[:, 0]


CELLS: dict[str, CellHead] = {"mixture": LogisticMixture(), "normal": Normal(), "student": StudentT()}


def _cut(level: Tensor, start: Tensor) -> Tensor:
    """Levels of a law as levels of its part above `start`, the level where that begins."""
    return (start + level * (1 - start)).clamp(max=1 - 1e-12)


def _log_normal(t: Tensor) -> Tensor:
    return -0.5 * (t.square() + math.log(2 * math.pi))


def log_normal_cdf(t: Tensor) -> Tensor:
    """log Phi(t); far below zero by its asymptotic series, since the gradient of torch's is wrong there in float32."""
    far = t < -30.0
    s = torch.where(far, t, -30.0)
    tail = _log_normal(s) - torch.log(-s) + torch.log1p(3 / s.pow(4) - 1 / s.square())
    return torch.where(far, tail, torch.special.log_ndtr(torch.where(far, 0.0, t)))


def _log_student(t: Tensor) -> Tensor:
    return math.log(0.375) - 2.5 * torch.log1p(t.square() / 4)


def _log_student_cdf(t: Tensor) -> Tensor:
    root = (4 + t.square()).sqrt()
    rest = torch.where(t < 0, 4 / (root * (root - t.clamp(max=0.0))), 1 + t / root)  # 1 + s, in the lower tail too
    return 2 * rest.log() + torch.log(3 - rest) - math.log(4.0)


def _symmetric(
    log_cdf: Callable[[Tensor], Tensor],
    log_density: Callable[[Tensor], Tensor],
    low: Tensor,
    high: Tensor,
    gap: Tensor,
    theta: Tensor,
) -> Tensor:
    """log(T(b) - T(a)) of a symmetric law: in its lower half, where T is small, and by the density in tiny cells."""
    location, scale = theta[:, 0], soft_limit(theta[:, 1], WIDE)
    a, b = (low - location) * torch.exp(-scale), (high - location) * torch.exp(-scale)
    width = gap * torch.exp(-scale)
    upper = a + b > 0
    a, b = torch.where(upper, -b, a), torch.where(upper, -a, b)
    tiny = width < TINY
    thin = log_density((a + b) / 2) + width.log()
    b, a = torch.where(tiny, 1.0, b), torch.where(tiny, -1.0, a)
    below = (log_cdf(a) - log_cdf(b)).clamp(max=-1e-7)
    return torch.where(tiny, thin, log_cdf(b) + torch.log(-torch.expm1(below)))


# -- codes -------------------------------------------------------------------------------------------------------------


def which(log_weight: Tensor, u: Tensor) -> Tensor:
    """The code at level u of the law softmax(log_weight) over axis 1: (B, K, *F) and (B, *F) to (B, *F), int64."""
    rising = log_weight.double().softmax(1).cumsum(1)
    return (rising[:, :-1] < u.double().unsqueeze(1) * rising[:, -1:]).sum(1)


@dataclass(frozen=True)
class Bernoulli:
    """P(1) = s(theta)."""

    size: int = 1
    draws: int = 1

    def log_mass(self, code: Tensor, theta: Tensor) -> Tensor:
        return code * theta[:, 0] - F.softplus(theta[:, 0])

    def draw(self, theta: Tensor, u: Tensor) -> Tensor:
        return (u[:, 0] < torch.sigmoid(theta[:, 0])).long()

    def centre(self, theta: Tensor) -> Tensor:
        return (theta[:, 0] > 0).long()


@dataclass(frozen=True)
class Categorical:
    """P(k) = softmax(theta)_k."""

    size: int
    draws: int = 1

    def log_mass(self, code: Tensor, theta: Tensor) -> Tensor:
        return theta.log_softmax(1).gather(1, code.unsqueeze(1)).squeeze(1)

    def draw(self, theta: Tensor, u: Tensor) -> Tensor:
        return which(theta, u[:, 0])

    def centre(self, theta: Tensor) -> Tensor:
        return theta.argmax(1)


@dataclass(frozen=True)
class Ordinal:
    """P(at most k) = s((t_k - m) / e^l), t_0 < ... < t_{levels-2}: a location m, a scale and rising thresholds.

    theta: m, l, t_0, and the softplus-inverses of the steps t_k - t_{k-1}. Paper: McCullagh 1980, Regression Models for
    Ordinal Data (cumulative logits).
    """

    levels: int
    draws: int = 1

    @property
    def size(self) -> int:
        return self.levels + 1

    def log_masses(self, theta: Tensor) -> Tensor:
        """log P of each level, (B, levels, *F)."""
        scale = torch.exp(-soft_limit(theta[:, 1:2], WIDE))
        steps = F.softplus(theta[:, 3:])
        ends = torch.cat([theta[:, 2:3], theta[:, 2:3] + steps.cumsum(1)], 1) - theta[:, :1]
        ends, steps = ends * scale, (steps * scale).clamp(min=1e-20)
        first, last = F.logsigmoid(ends[:, :1]), F.logsigmoid(-ends[:, -1:])
        inner = F.logsigmoid(ends[:, 1:]) + F.logsigmoid(-ends[:, :-1]) + torch.log(-torch.expm1(-steps))
        return torch.cat([first, inner, last], 1)

    def log_mass(self, code: Tensor, theta: Tensor) -> Tensor:
        return self.log_masses(theta).gather(1, code.unsqueeze(1)).squeeze(1)

    def draw(self, theta: Tensor, u: Tensor) -> Tensor:
        return which(self.log_masses(theta), u[:, 0])

    def centre(self, theta: Tensor) -> Tensor:
        return self.log_masses(theta).argmax(1)


@dataclass(frozen=True)
class NegativeBinomial:
    """P(k) = Gamma(k + r) / (Gamma(r) k!) (r / (r + m))^r (m / (r + m))^k, of mean m and dispersion r.

    theta: log m, log r. As r grows the law becomes Poisson's. Draws look codes up to `most` through.
    """

    most: int = 4096
    size: int = 2
    draws: int = 1

    def log_mass(self, code: Tensor, theta: Tensor) -> Tensor:
        mean, shape = (soft_limit(theta[:, i], 12.0) for i in (0, 1))
        both = torch.logaddexp(mean, shape)
        r = shape.exp()
        start = torch.lgamma(code + r) - torch.lgamma(r) - torch.lgamma(code + 1.0)
        return start + r * (shape - both) + code * (mean - both)

    def draw(self, theta: Tensor, u: Tensor) -> Tensor:
        codes = torch.arange(self.most, device=theta.device).view(1, -1, *[1] * (theta.dim() - 2))
        every = self.log_mass(codes.double(), theta.double().unsqueeze(2))
        return which(every, u[:, 0])

    def centre(self, theta: Tensor) -> Tensor:
        mean, shape = (soft_limit(theta[:, i], 12.0).exp() for i in (0, 1))
        return ((shape - 1).clamp(min=0.0) / shape * mean).floor().long()
