"""mixture: Gaussians with full covariances, over the fields' normal scores."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ...errors import SpecError
from ...nn.base import Mixture as Gaussians
from ...objectives import normal_log_prob
from ...spec import Columns, Given, Spec
from ..lifted import Lifted, pick, to_normal
from ..model import Batch, Rows


class Mixture(Lifted):
    """p(x) = P(z in cell(x)), z ~ sum_k pi_k N(mu_k, S_k), the cells Phi^-1[F_j(x_j-), F_j(x_j)).

    Fitted by expectation-maximisation to z = Phi^-1(u), u uniform in its cell, drawn once (nn/base.py); no more
    components than a tenth of the rows. log p(x) = log E_U [p(z) / N(z)] + sum_j log P_j(x_j), the mean over `samples`
    draws of U: a bound, in nats. The condition is ignored. Noise: one uniform number, which picks, and a normal one for
    each field.

    Paper: Dempster, Laird, Rubin 1977; Fraley, Raftery 2007 (the prior on covariances).

        >>> pofx.fit("adult.csv", model="mixture", components=32)  # doctest: +SKIP
    """

    family = "baselines"
    abilities = frozenset({"sample", "log_prob", "bound"})
    trained = False

    def __init__(self, spec: Spec, components: int = 16, samples: int = 64) -> None:
        super().__init__(spec, codes=False)
        if components < 1:
            raise SpecError(f"expected at least one component, got {components}")
        self.samples = samples
        self.law = Gaussians(len(spec.fields), components).double().requires_grad_(False)
        self.law.mean.zero_()

    def see_condition(self, c: Columns | None, n: int) -> Batch:
        return torch.zeros(n, 0), torch.zeros(n, 0), torch.zeros(n, 0, dtype=torch.int64)

    def fit_closed(self, x: Columns, c: Columns | None = None) -> None:
        lo, width = self.prepare(x)[:2]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            z = to_normal(lo + width * torch.rand(lo.shape, dtype=lo.dtype))
            few = min(len(self.law.logits), max(len(z) // 10, 1))
            some = Gaussians(z.shape[1], few).double().requires_grad_(False)
            some.start(z)
        for name, value in some.state_dict().items():
            self.law.state_dict()[name][:few] = value
        self.law.logits[few:] = -1e9

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        how = {"generator": generator, "dtype": torch.float64, "device": generator.device}
        return torch.cat([torch.rand(n, 1, **how), torch.randn(n, len(self.spec.fields), **how)], 1)

    def decode(
        self, z: Tensor, c: Columns | None = None, given: Given | None = None, known: Rows | None = None
    ) -> Columns:
        self.refuse(given, known)
        z = z.to(self.device)
        k = pick(self.law.logits.expand(len(z), -1), z[:, 0])
        roots = torch.linalg.inv(self.law.factors()[0])
        drawn = self.law.mean[k] + (z[:, None, 1:] @ roots[k]).squeeze(1)
        return self.sight.lower(torch.special.ndtr(drawn), torch.zeros(len(z), 0))

    def log_prob(self, x: Columns, c: Columns | None = None) -> np.ndarray:
        def weigh(batch: Batch) -> Callable[[Tensor], Tensor]:
            lo, width, _, extra = batch[:4]
            base = width.log().sum(1) + extra

            def log_weight(u: Tensor) -> Tensor:
                z = to_normal(lo + width * u)
                return base + self.law.log_prob(z) - normal_log_prob(z)

            return log_weight

        return self.importance(x, c, self.samples, len(self.spec.fields), weigh)


MODEL = Mixture
