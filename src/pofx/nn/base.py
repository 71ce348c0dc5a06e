"""Base distributions of flows: z of (B, D), with learned parameters and contexts where they have them."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import SpecError
from ..objectives import normal_log_prob


class Base(nn.Module):
    """log p(z | c), (B,), and draws of it, (B, D). `draw` is differentiable in the parameters and in c."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features

    def log_prob(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        raise NotImplementedError

    def draw(self, n: int, c: Tensor | None, like: Tensor) -> Tensor:
        """n draws, in the dtype and on the device of `like`."""
        raise NotImplementedError


class Normal(Base):
    """N(0, I)."""

    def log_prob(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return normal_log_prob(z)

    def draw(self, n: int, c: Tensor | None, like: Tensor) -> Tensor:
        return torch.randn(n, self.features, dtype=like.dtype, device=like.device)


class StudentT(Base):
    """A product of Student-t laws with learned degrees of freedom nu = 2 + softplus(a): tails that fall as a power."""

    def __init__(self, features: int, freedom: float = 10.0) -> None:
        super().__init__(features)
        self.raw = nn.Parameter(torch.full((features,), math.log(math.expm1(freedom - 2.0))))

    def _law(self) -> torch.distributions.StudentT:
        return torch.distributions.StudentT(2.0 + F.softplus(self.raw), validate_args=False)

    def log_prob(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return self._law().log_prob(z).sum(1)

    def draw(self, n: int, c: Tensor | None, like: Tensor) -> Tensor:
        return self._law().rsample((n,)).to(like)


class Uniform(Base):
    """Uniform on [-bound, bound]^D; outside log p = -inf."""

    def __init__(self, features: int, bound: float = 1.0) -> None:
        super().__init__(features)
        self.bound = bound

    def log_prob(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        inside = (z.abs() <= self.bound).all(1)
        value = z.new_full((len(z),), -self.features * math.log(2 * self.bound))
        return torch.where(z.isnan().any(1), torch.nan, torch.where(inside, value, -math.inf))

    def draw(self, n: int, c: Tensor | None, like: Tensor) -> Tensor:
        return self.bound * (2 * torch.rand(n, self.features, dtype=like.dtype, device=like.device) - 1)


class Mixture(Base):
    """sum_k pi_k N(mu_k, diag sigma_k^2), all learned. Its draws carry no gradient to the shares."""

    def __init__(self, features: int, components: int = 8) -> None:
        super().__init__(features)
        self.logits = nn.Parameter(torch.zeros(components))
        self.mean = nn.Parameter(torch.randn(components, features))
        self.log_scale = nn.Parameter(torch.zeros(components, features))

    def log_prob(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        each = (z[:, None] - self.mean) * (-self.log_scale).exp()
        log = -0.5 * each.square().sum(2) - self.log_scale.sum(1) - 0.5 * self.features * math.log(2 * math.pi)
        return torch.logsumexp(log + self.logits.log_softmax(0), 1)

    def draw(self, n: int, c: Tensor | None, like: Tensor) -> Tensor:
        u = torch.rand(n, 1, dtype=like.dtype, device=like.device)
        k = (u > self.logits.detach().softmax(0).cumsum(0)[:-1]).sum(1)
        return self.mean[k] + self.log_scale[k].exp() * torch.randn_like(self.mean[k])


class Conditional(Base):
    """N(mu(c), diag sigma(c)^2), linear in the context."""

    def __init__(self, features: int, context: int) -> None:
        super().__init__(features)
        if not context:
            raise SpecError("expected a context for a conditional base, got context=0: give one, or take base='normal'")
        self.net = nn.Linear(context, 2 * features)
        nn.init.zeros_(self.net.weight)
        nn.init.zeros_(self.net.bias)

    def _law(self, c: Tensor | None) -> tuple[Tensor, Tensor]:
        if c is None:
            raise SpecError("expected a context, got none: call the flow with one")
        mean, raw = self.net(c).chunk(2, 1)
        return mean, 3.0 * torch.tanh(raw / 3.0)

    def log_prob(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        mean, log_scale = self._law(c)
        each = (z - mean) * (-log_scale).exp()
        return -0.5 * each.square().sum(1) - log_scale.sum(1) - 0.5 * self.features * math.log(2 * math.pi)

    def draw(self, n: int, c: Tensor | None, like: Tensor) -> Tensor:
        mean, log_scale = self._law(c)
        return mean + log_scale.exp() * torch.randn_like(mean)
