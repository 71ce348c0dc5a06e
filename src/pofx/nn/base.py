"""Base distributions of flows: z of (B, D), with learned parameters and contexts where they have them."""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from ..errors import SpecError
from ..objectives import normal_log_prob
from ..transforms.affine import soft_limit
from ..transforms.sizes import sizes
from .layer import spread

STEEP = 6.0  # bound of the logarithms of a component's precisions
EM_ROWS, EM_STEPS = 20_000, 30  # rows and passes that a mixture is started with; the first third are k-means


class Base(nn.Module):
    """log p(z | c), (B,), and draws of it, (B, D). `draw` is differentiable in the parameters and in c.

    c is of `context` numbers where the base looks at it, (K, C) as layers have it; all of its mass is in
    [-bound, bound]^D.
    """

    context = 0
    bound = math.inf

    def __init__(self, features: int) -> None:
        super().__init__()
        sizes(features=features)
        self.features = features

    def log_prob(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        raise NotImplementedError

    def draw(self, n: int, c: Tensor | None, like: Tensor, generator: Generator | None = None) -> Tensor:
        """n draws, in the dtype and on the device of `like`, by a generator of that device, or torch's own."""
        raise NotImplementedError

    def start(self, z: Tensor) -> None:
        """Sets what a base can learn from rows at once; most have nothing to."""


class Normal(Base):
    """N(0, I)."""

    def log_prob(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return normal_log_prob(z)

    def draw(self, n: int, c: Tensor | None, like: Tensor, generator: Generator | None = None) -> Tensor:
        return _randn(n, self.features, like, generator)


class StudentT(Base):
    """A product of Student-t laws with learned degrees of freedom nu = 2 + softplus(a): tails that fall as a power."""

    def __init__(self, features: int, freedom: float = 10.0) -> None:
        super().__init__(features)
        if not 2 < freedom < math.inf:
            raise SpecError(f"expected degrees of freedom above 2, where a variance is finite, got {freedom}")
        self.raw = nn.Parameter(torch.full((features,), math.log(math.expm1(freedom - 2.0))))

    def _law(self) -> torch.distributions.StudentT:
        return torch.distributions.StudentT(2.0 + F.softplus(self.raw), validate_args=False)

    def log_prob(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return self._law().log_prob(z).sum(1)

    def draw(self, n: int, c: Tensor | None, like: Tensor, generator: Generator | None = None) -> Tensor:
        half = (1.0 + F.softplus(self.raw) / 2).to(like).expand(n, -1)  # of the degrees of freedom
        gamma = torch._standard_gamma(half, generator)  # half of a chi-squared number
        return _randn(n, self.features, like, generator) * (half / gamma).sqrt()


class Uniform(Base):
    """Uniform on [-bound, bound]^D; outside log p = -inf."""

    def __init__(self, features: int, bound: float = 1.0) -> None:
        super().__init__(features)
        if not 0 < bound < math.inf:
            raise SpecError(f"expected a bound above 0, of a law on [-bound, bound], got {bound}")
        self.bound = bound

    def log_prob(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        inside = (z.abs() <= self.bound).all(1)
        value = z.new_full((len(z),), -self.features * math.log(2 * self.bound))
        return torch.where(z.isnan().any(1), torch.nan, torch.where(inside, value, -math.inf))

    def draw(self, n: int, c: Tensor | None, like: Tensor, generator: Generator | None = None) -> Tensor:
        how = {"dtype": like.dtype, "device": like.device, "generator": generator}
        return self.bound * (2 * torch.rand(n, self.features, **how) - 1)


class Mixture(Base):
    """sum_k pi_k N(z; mu_k, (P_k P_k')^-1), P_k upper triangular, all learned: log p = logsumexp_k(log pi_k +
    log|P_k| - |(z - mu_k) P_k|^2 / 2) - D log(2 pi) / 2.

    `start` sets it from rows. The logarithms of the diagonals of P_k stay within +-STEEP, so that no component can
    close on a row. Its draws carry no gradient to the shares pi.
    """

    def __init__(self, features: int, components: int = 32) -> None:
        super().__init__(features)
        sizes(components=components)
        self.logits = nn.Parameter(torch.zeros(components))
        self.mean = nn.Parameter(torch.randn(components, features))
        self.log_diagonal = nn.Parameter(torch.zeros(components, features))
        self.upper = nn.Parameter(torch.zeros(components, features, features))

    def factors(self) -> tuple[Tensor, Tensor]:
        """(P, log|P|), (K, D, D) and (K,)."""
        log = soft_limit(self.log_diagonal, STEEP)
        one = torch.eye(self.features, dtype=log.dtype, device=log.device)
        return self.upper.triu(1) + one * log.exp()[:, None], log.sum(1)

    def _terms(self, z: Tensor) -> Tensor:
        """log pi_k N_k(z), (B, K)."""
        factors, log = self.factors()
        k, d = self.mean.shape
        shift = torch.einsum("kd,kde->ke", self.mean, factors)
        each = (z @ factors.transpose(0, 1).reshape(d, k * d)).view(len(z), k, d) - shift
        return self.logits.log_softmax(0) + log - 0.5 * each.square().sum(2) - 0.5 * d * math.log(2 * math.pi)

    def log_prob(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return torch.logsumexp(self._terms(z), 1)

    def draw(self, n: int, c: Tensor | None, like: Tensor, generator: Generator | None = None) -> Tensor:
        u = torch.rand(n, 1, dtype=like.dtype, device=like.device, generator=generator)
        which = (u > self.logits.detach().to(like).softmax(0).cumsum(0)[:-1]).sum(1)
        k, d = self.mean.shape
        back = torch.linalg.inv(self.factors()[0].to(like))
        noise = _randn(n, d, like, generator)
        each = (noise @ back.transpose(0, 1).reshape(d, k * d)).view(n, k, d)
        return self.mean.to(like)[which] + each[torch.arange(n, device=like.device), which]

    @torch.no_grad()
    def start(self, z: Tensor) -> None:
        """Expectation-maximisation on rows, from the clusters of k-means++.

        Each covariance is shrunk by one row's worth towards the rows' variances times K^(-2/D), as Fraley, Raftery 2007
        do. Raises SpecError where there are fewer rows than components.
        """
        z = z[torch.isfinite(z).all(1)][:EM_ROWS].double()
        (k, d), n = self.mean.shape, len(z)
        if n < k:
            raise SpecError(
                f"expected at least {k} rows, one a component, got {n}: give more, fewer components or another base"
            )
        prior = torch.diag(z.var(0).clamp(min=1e-6)) * k ** (-2 / d)
        centre = z[torch.randint(n, (1,), device=z.device)]
        while len(centre) < k:
            far = torch.cdist(z, centre).amin(1).square() + 1e-12
            centre = torch.cat([centre, z[torch.multinomial(far, 1)]])
        share = F.one_hot(torch.cdist(z, centre).argmin(1), k).double()
        for step in range(EM_STEPS):
            count = share.sum(0)
            mean = (share.T @ z + centre * 1e-6) / (count[:, None] + 1e-6)
            if step < EM_STEPS // 3:
                centre = mean
                share = F.one_hot(torch.cdist(z, centre).argmin(1), k).double()
                continue
            spread = torch.stack([(z - m).T @ ((z - m) * share[:, i : i + 1]) for i, m in enumerate(mean)])
            root = torch.linalg.cholesky((spread + prior) / (count[:, None, None] + 1))
            factors = torch.linalg.inv(root).mT
            log = factors.diagonal(dim1=1, dim2=2).log() / STEEP
            self.log_diagonal.copy_(STEEP * torch.atanh(log.clamp(-0.99, 0.99)))
            self.upper.copy_(factors)
            self.mean.copy_(mean)
            self.logits.copy_(((count + 1) / (n + k)).log())
            share = torch.cat([self._terms(part) for part in z.to(self.mean).split(4096)]).softmax(1).double()


class Conditional(Base):
    """N(mu(c), diag sigma(c)^2), linear in the context."""

    def __init__(self, features: int, context: int) -> None:
        super().__init__(features)
        if not context:
            raise SpecError("expected a context for a conditional base, got context=0: give one, or leave base out")
        self.context, self.net = context, nn.Linear(context, 2 * features)
        nn.init.zeros_(self.net.weight)
        nn.init.zeros_(self.net.bias)

    def _law(self, c: Tensor | None, n: int) -> tuple[Tensor, Tensor]:
        if c is None:
            raise SpecError("expected a context, got none: call the flow with one")
        mean, raw = spread(self.net(c), n).chunk(2, 1)
        return mean, soft_limit(raw, 3.0)

    def log_prob(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        mean, log_scale = self._law(c, len(z))
        each = (z - mean) * (-log_scale).exp()
        return -0.5 * each.square().sum(1) - log_scale.sum(1) - 0.5 * self.features * math.log(2 * math.pi)

    def draw(self, n: int, c: Tensor | None, like: Tensor, generator: Generator | None = None) -> Tensor:
        mean, log_scale = self._law(c, n)
        return mean + log_scale.exp() * _randn(n, self.features, like, generator)


WORDS: dict[str, Callable[[int], Base]] = {"normal": Normal, "student": StudentT, "mixture": Mixture}


def base_of(base: Base | str | None, features: int) -> Base:
    """A base, or that of a word: "normal" (None is that too), "student" or "mixture".

    Raises SpecError for another word; "uniform" is one of `NSF`, whose splines keep a box.
    """
    if isinstance(base, Base):
        return base
    if (base or "normal") not in WORDS:
        raise SpecError(
            f"expected base among {', '.join(WORDS)}, and uniform of splines (nsf), which keep a box, got {base!r}"
        )
    return WORDS[base or "normal"](features)


def _randn(n: int, features: int, like: Tensor, generator: Generator | None) -> Tensor:
    return torch.randn(n, features, dtype=like.dtype, device=like.device, generator=generator)
