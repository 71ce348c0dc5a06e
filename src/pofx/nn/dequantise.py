"""Laws of integers from flows: by dequantisation, a bound, or by differences of a distribution function, exact."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import logsigmoid

from ..errors import SpecError
from ..objectives import iwae
from ..transforms.affine import Affine
from ..transforms.spline import Spline
from .autoregressive import Autoregressive, MaskedConditioner
from .base import Base
from .coupling import Elementwise
from .flow import Flow
from .heads import log_normal_cdf
from .layer import Inverse, Permutation

SPAN = 5.0  # the levels of CdfDifference cover [-SPAN, SPAN], the box of a Spline, beyond which N(0, 1) has 6e-7
FAR = 1e6  # where a distribution function has long reached its end, and its logarithm still has a slope in float64


class Logistic(Base):
    """prod_j s(z_j) s(-z_j), s the logistic function: s(z) is uniform on the unit cube."""

    def log_prob(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return (logsigmoid(z) + logsigmoid(-z)).sum(1)

    def draw(self, n: int, c: Tensor | None, like: Tensor, generator: Generator | None = None) -> Tensor:
        u = torch.rand(n, self.features, dtype=like.dtype, device=like.device, generator=generator)
        return torch.logit(u.clamp(min=torch.finfo(u.dtype).eps / 4))


class Integers(nn.Module):
    """P(k | c) of rows of integers, k (B, D) with k_j in 0..levels_j - 1, c (B, C) or None: what such laws share.

    `levels` is one number for all features, or one for each; SpecError where it is neither. k has any real dtype.
    """

    def __init__(self, features: int, levels: int | Sequence[int], context: int) -> None:
        super().__init__()
        each = [levels] * features if isinstance(levels, int) else [int(level) for level in levels]
        if len(each) != features or min(each, default=0) < 1:
            raise SpecError(f"expected levels of at least 1, one number for all or {features} of them, got {levels}")
        self.features, self.context = features, context
        self.register_buffer("levels", torch.tensor(each), persistent=False)

    def draw(self, n: int, c: Tensor | None = None) -> Tensor:
        """n draws, (n, D) of int64, one for each row of c, (n, C). Raises SpecError for another c."""
        raise NotImplementedError

    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        """n draws, (n, D) of int64, or n for each of the contexts (..., C): (n, ..., D)."""
        if c is None:
            return self.draw(n)
        rows = c.expand(n, *c.shape)
        return self.draw(rows.shape[:-1].numel(), rows.flatten(0, -2)).view(*rows.shape[:-1], self.features)

    def bits(self, k: Tensor, c: Tensor | None = None, **more: Any) -> Tensor:
        """-log P(k | c) / (D ln 2), (B,), bits a dimension. `more` and errors are those of `log_prob`."""
        return -self.log_prob(k, c, **more) / (self.features * math.log(2))

    def cells(self, k: Tensor, c: Tensor | None, like: Tensor) -> tuple[Tensor, Tensor]:
        """k in the dtype of `like`, (B, D), 0 where it is outside the levels, and the rows that are inside, (B,)."""
        if k.dim() != 2 or k.shape[1] != self.features:
            raise SpecError(f"expected k of shape (rows, {self.features}), got {tuple(k.shape)}: one row an example")
        if k.is_floating_point() and (broken := k[k != k.floor()]).numel():
            raise SpecError(f"expected whole numbers, got {float(broken[0])}: round them, or divide them by their step")
        self.check(c, len(k))
        k = k.double() if k.is_floating_point() else k.long()
        inside = (k >= 0) & (k < self.levels)
        return torch.where(inside, k, 0).to(like.dtype), inside.all(1)

    def check(self, c: Tensor | None, rows: int) -> None:
        """Raises SpecError where c is not (rows, C), or None for a law without a context."""
        wanted, got = (rows, self.context) if self.context else None, None if c is None else tuple(c.shape)
        if got != wanted:
            raise SpecError(f"expected a context of shape {wanted or 'none'}, got {got or 'none'}: give a row for each")

    def scaled(self, k: Tensor) -> Tensor:
        """The middle of each cell, on [-1, 1]."""
        return (2 * k + 1) / self.levels - 1


class Dequantised(Integers):
    """log P(k | c) >= E_{u ~ q(. | k, c)} [log p(k + u | c) - log q(u | k, c)], u in the unit cube; (B, D) -> (B,).

    p is the flow, of y = logit((k + u) / levels); q is uniform, or with noise="variational" u = s(v), v logistic noise
    through inverse autoregressive splines with context (k, c), uniform at first and at the ends of the cube. u is held
    as v: nothing is lost there in float32 (up to 2^16 levels). `hidden` is of q; `flow` is not put on a support.

    Papers: Theis, van den Oord, Bethge 2016, A Note on the Evaluation of Generative Models; Ho et al. 2019, Flow++;
    Burda, Grosse, Salakhutdinov 2016, Importance Weighted Autoencoders (`samples`).
    Raises SpecError for levels that do not fit the flow and for a noise that there is not.
    """

    def __init__(
        self, flow: Flow, levels: int | Sequence[int], noise: str = "uniform", hidden: Sequence[int] = (64, 64)
    ) -> None:
        super().__init__(flow.features, levels, flow.context)
        if noise not in ("uniform", "variational"):
            raise SpecError(f"expected noise='uniform' or 'variational', got {noise!r}")
        self.flow, self.uniform = flow, Logistic(flow.features)
        self.noise = self._noise(hidden) if noise == "variational" else None

    def _noise(self, hidden: Sequence[int]) -> Flow:
        d, context = self.features, self.features + self.context
        one, two = (Inverse(Autoregressive(d, context, Spline(8, SPAN), hidden)) for _ in (0, 1))
        return Flow([one, Permutation.reverse(d), two], d, context, self.uniform)

    def log_prob(self, k: Tensor, c: Tensor | None = None, samples: int = 1) -> Tensor:
        """log (1/S) sum_s p(k + u_s | c) / q(u_s | k, c), (B,), nats: a bound in the mean, that rises with `samples` S.

        Outside the levels -inf. Memory goes as S B. Raises SpecError for no whole number, other shapes and S < 1.
        """
        if samples < 1:
            raise SpecError(f"expected samples of at least 1, got {samples}")
        cells, inside = self.cells(k, c, self.flow.like)
        log = self.log_weight(cells.repeat(samples, 1), None if c is None else c.repeat(samples, 1))
        return torch.where(inside, iwae(log.view(samples, len(k))), -math.inf)

    def log_weight(self, k: Tensor, c: Tensor | None) -> Tensor:
        """log p(y | c) + log dy/dv - log q(v | k, c) at one draw of v for each row, (B,), nats."""
        if self.noise is None:
            v = self.uniform.draw(len(k), None, k)
            log_q = self.uniform.log_prob(v)
        else:
            v, log_q = self.noise.draw(len(k), torch.cat([self.scaled(k), *([] if c is None else [c])], 1))
        below = torch.logaddexp(k.log(), logsigmoid(v))
        above = torch.logaddexp((self.levels - 1 - k).log(), logsigmoid(-v))
        slope = self.levels.to(v).log() - below - above + logsigmoid(v) + logsigmoid(-v)
        return self.flow.density(below - above, c) + slope.sum(1) - log_q

    @torch.no_grad()
    def draw(self, n: int, c: Tensor | None = None) -> Tensor:
        self.check(c, n)
        return torch.minimum((self.levels * torch.sigmoid(self.flow.draw(n, c)[0])).long(), self.levels - 1)


class CdfDifference(Integers):
    """P(k | c) = prod_i F(h^-1(k_i + 1/2; theta_i)) - F(h^-1(k_i - 1/2; theta_i)), theta_i(k_1..k_{i-1}, c): exact.

    So k_i is the level next to h(z_i), z_i ~ F, N(0, 1) or logistic (`base`), and the first and the last level take the
    tails: masses sum to one. h is Affine, with one mode, or a Spline, with many, of levels that cover [-5, 5]; theta is
    a masked network. h and F are computed in float64. k: (B, D), c: (B, C). A draw costs one pass.

    Papers: Salimans et al. 2017, PixelCNN++; Papamakarios, Pavlakou, Murray 2017, Masked Autoregressive Flow.
    Raises SpecError for levels that do not fit, and for a base that there is not.

        >>> CdfDifference(1, levels=2).log_prob(torch.tensor([[0], [1], [2]])).exp().detach()
        tensor([0.5000, 0.5000, 0.0000])
    """

    def __init__(
        self,
        features: int,
        levels: int | Sequence[int],
        context: int = 0,
        hidden: Sequence[int] = (128, 128, 128),
        elementwise: Elementwise | None = None,
        base: str = "normal",
    ) -> None:
        super().__init__(features, levels, context)
        if base not in ("normal", "logistic"):
            raise SpecError(f"expected base='normal' or 'logistic', got {base!r}")
        self.elementwise = elementwise or Affine(limit=3.0 + math.log(int(self.levels.max())))
        self.log_cdf = log_normal_cdf if base == "normal" else logsigmoid
        self.quantile = torch.special.ndtri if base == "normal" else torch.logit
        self.net = MaskedConditioner(features, context, self.elementwise.size, hidden)

    def log_prob(self, k: Tensor, c: Tensor | None = None) -> Tensor:
        """log P(k | c), (B,), nats; outside -inf. Raises SpecError for no whole number and for other shapes."""
        cells, inside = self.cells(k, c, self.net.layers[0].weight)
        theta = self.net(self.scaled(cells), c).double()
        edges = (SPAN * (2 * (cells.double() + side) / self.levels - 1) for side in (0, 1))
        low, high = (self.elementwise.inverse_and_ladj(edge, theta)[0].clamp(-FAR, FAR) for edge in edges)
        low, high = torch.where(cells == 0, -FAR, low), torch.where(cells == self.levels - 1, FAR, high)
        return torch.where(inside, self.log_mass(low, high).sum(1).to(cells.dtype), -math.inf)

    def log_mass(self, low: Tensor, high: Tensor) -> Tensor:
        """log(F(high) - F(low)), elementwise: log F(b) + log(1 - F(a)/F(b)), mirrored so that a + b <= 0."""
        right = low + high > 0
        a, b = torch.where(right, -high, low), torch.where(right, -low, high)
        log = self.log_cdf(b)
        drop = (log - self.log_cdf(a)).clamp(min=torch.finfo(log.dtype).eps)
        return log + torch.log(-torch.expm1(-drop))

    @torch.no_grad()
    def draw(self, n: int, c: Tensor | None = None) -> Tensor:
        self.check(c, n)
        like, drawn = self.net.layers[0].weight.new_empty(n, 0), []

        def value(i: int, theta: Tensor) -> Tensor:
            z, levels = self.quantile(torch.rand(1, n, dtype=torch.float64, device=like.device)), self.levels[i]
            x = self.elementwise.call_and_ladj(z, theta.double()[None])[0][0]
            drawn.append((levels * (x / SPAN + 1) / 2).floor().clamp(min=0).minimum(levels - 1).long())
            return ((2 * drawn[-1] + 1) / levels - 1).to(like.dtype)

        self.net.walk(like, c, value)
        return torch.stack(drawn, 1)
