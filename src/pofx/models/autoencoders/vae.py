"""vae: a variational autoencoder with a law for every kind of field."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from ...nn.mlp import MLP
from ...objectives import elbo, logistic_mass, normal_kl, normal_log_prob
from ...spec import Columns, Given, Spec
from ...transforms.affine import soft_limit
from ..lifted import Context, Lifted, Reader, pick, to_normal
from ..model import Batch, Clock, Recipe, Rows

FAR = 1e4


def logit(u: Tensor) -> Tensor:
    """log u - log(1 - u), kept within +-FAR."""
    return (u.log() - torch.log1p(-u)).nan_to_num(0.0, FAR, -FAR).clamp(-FAR, FAR)


class StandardNormal(nn.Module):
    """The prior p(z) = N(0, I). Another one may take its place: it needs these three methods."""

    def kl(self, mean: Tensor, log_scale: Tensor, z: Tensor) -> Tensor:
        """KL(q(z|x) || p(z)) of diagonal Gaussians, or its estimate at the draw z, (B,)."""
        return normal_kl(mean, log_scale)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z), (B,)."""
        return normal_log_prob(z)

    def push(self, noise: Tensor) -> Tensor:
        """Standard normal noise to draws of the prior, (B, latent)."""
        return noise


class VAE(Lifted):
    """log p(x|c) >= E_q log p(x|z,c) - KL(q(z|x,c) || p(z)), q diagonal Gaussian, p(z) = N(0, I).

    p(x|z,c) = prod_j P(cell_j | z, c). A category is a softmax. A number has v = logit(u), u its level in the marginal
    law, and v follows a mixture of logistics: P(cell) = sum_m w_m [s((v_hi - mu_m)/e^l_m) - s((v_lo - mu_m)/e^l_m)],
    exact for atoms, missing cells and the finest grid alike. A standard logistic is the marginal law itself, so that a
    decoder that knows nothing is the independent model.

    x: rows of `spec.fields`; z: (B, latent). The loss is the negative bound in nats of the house measure; KL counts
    from 0 to 1 over the first `warmup` of the fit. `log_prob` is the importance-weighted bound of `samples` draws.
    Noise: `latent` normal numbers, then uniform ones: two for each number (component, place) and one for each category.
    `encode` gives the posterior mean.

    Paper: Kingma & Welling 2014, Auto-Encoding Variational Bayes; Burda, Grosse, Salakhutdinov 2016, Importance
    Weighted Autoencoders; Salimans et al. 2017, PixelCNN++ (discretised logistic mixtures).

        >>> pofx.fit("adult.csv", model="vae")  # doctest: +SKIP
    """

    family = "autoencoders"
    abilities = frozenset({"sample", "log_prob", "bound", "encode", "condition"})

    def __init__(
        self,
        spec: Spec,
        latent: int = 16,
        width: int = 128,
        depth: int = 2,
        components: int = 6,
        warmup: float = 0.1,
        samples: int = 64,
    ) -> None:
        super().__init__(spec)
        self.latent, self.components, self.warmup, self.samples = latent, components, warmup, samples
        self.prior = StandardNormal()
        self.context = Context(self.sight_of_condition)
        self.reader = Reader(self.sight, width)
        self.encoder = MLP(width + self.context.width, 2 * latent, width, depth, gain=0.1)
        self.heads = [3 * components * len(self.sight.numbers), sum(self.sight.sizes)]
        self.decoder = MLP(latent + self.context.width, sum(self.heads), width, depth, gain=0.1)

    def recipe(self, rows: int) -> Recipe:
        return Recipe(steps=min(5000, 500 + rows // 5), batch=min(256, max(rows, 1)), rate=2e-3)

    def start(self, batch: Batch) -> None:
        marginal = [torch.from_numpy(self.sight.fields[j].mass).log() for j in self.sight.groups]
        with torch.no_grad():
            self.decoder.bias.zero_()
            if marginal:
                self.decoder.bias[self.heads[0] :] = torch.cat(marginal).to(self.decoder.bias)

    # -- the two networks --------------------------------------------------------------------------------------------

    def posterior(self, batch: Batch, c: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-scale of q(z|x,c), each (B, latent)."""
        z = to_normal(batch[0] + batch[1] / 2).to(self.dtype)
        mean, raw = self.encoder(torch.cat([self.reader(z, batch[2]), c], -1)).chunk(2, -1)
        return mean, soft_limit(raw, 7.0)

    def heads_of(self, z: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Log-weights, locations and log-scales of the mixtures, each (B, numbers, components); logits by category."""
        numbers, levels = self.decoder(torch.cat([z, c], -1)).split(self.heads, -1)
        weights, location, scale = numbers.reshape(len(z), -1, 3, self.components).unbind(-2)
        logits = list(levels.split(self.sight.sizes, -1)) if self.sight.sizes else []
        return log_softmax(weights, -1), location, soft_limit(scale, 6.0), logits

    def log_likelihood(self, cells: tuple[Tensor, Tensor, Tensor], codes: Tensor, z: Tensor, c: Tensor) -> Tensor:
        """log p(x|z,c) as log masses, (B,)."""
        weights, location, scale, logits = self.heads_of(z, c)
        low, high, gap = (end.unsqueeze(-1) for end in cells)
        total = torch.logsumexp(weights + logistic_mass(low, high, gap, location, scale), -1).sum(-1)
        for j, logit_j in enumerate(logits):
            mass = log_softmax(logit_j, -1).gather(-1, codes[:, j : j + 1].clamp(min=0)).squeeze(-1)
            total = total + torch.where(codes[:, j] < 0, 0.0, mass)
        return total

    def cells_of(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The ends of each number's cell in v = logit(u) and their distance, each (B, numbers)."""
        low, top = batch[0], (batch[0] + batch[1]).clamp(max=1.0)
        low = logit(torch.where(low < 1e-12, 0.0, low))
        high = logit(torch.where(top > 1 - 1e-12, 1.0, top))
        return low.to(self.dtype), high.to(self.dtype), (high - low).clamp(min=1e-12).to(self.dtype)

    # -- what the contract asks --------------------------------------------------------------------------------------

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        c = self.context(*batch[4:])
        mean, log_scale = self.posterior(batch, c)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        z = mean + log_scale.exp() * noise
        likelihood = self.log_likelihood(self.cells_of(batch), batch[2], z, c) + batch[3].to(z.dtype)
        beta = min(1.0, clock.progress / self.warmup) if self.warmup else 1.0
        return -elbo(likelihood, self.prior.kl(mean, log_scale, z), beta)

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        how = {"generator": generator, "device": generator.device, "dtype": torch.float64}
        uniform = torch.rand(n, 2 * len(self.sight.numbers) + len(self.sight.groups), **how)
        return torch.cat([torch.randn(n, self.latent, **how), uniform], 1)

    @torch.no_grad()
    def decode(
        self, z: Tensor, c: Columns | None = None, given: Given | None = None, known: Rows | None = None
    ) -> Columns:
        self.refuse(given, known)
        z = z.to(self.device)
        f, g = len(self.sight.numbers), len(self.sight.groups)
        latent, which, where, level = z.split([self.latent, f, f, g], 1)
        context = self.context(*self.see_condition(c, len(z)))
        weights, location, scale, logits = self.heads_of(self.prior.push(latent.to(self.dtype)), context)
        m = pick(weights, which).unsqueeze(-1)
        place = location.gather(-1, m).squeeze(-1) + scale.gather(-1, m).squeeze(-1).exp() * logit(where)
        codes = [pick(logit_j, level[:, j]) for j, logit_j in enumerate(logits)]
        blank = torch.zeros(len(z), 0, dtype=torch.int64)
        return self.sight.lower(torch.sigmoid(place.double()), torch.stack(codes, 1) if codes else blank)

    @torch.no_grad()
    def encode(self, x: Columns, c: Columns | None = None) -> Tensor:
        """The mean of q(z|x,c), (n, latent)."""
        batch = tuple(part.to(self.device) for part in self.prepare(x, c))
        return self.posterior(batch, self.context(*batch[4:]))[0]

    def log_prob(self, x: Columns, c: Columns | None = None) -> np.ndarray:
        return self.importance(x, c, self.samples, self.latent, self._weigh)

    def _weigh(self, batch: Batch) -> Callable[[Tensor], Tensor]:
        c = self.context(*batch[4:])
        mean, log_scale = self.posterior(batch, c)
        cells, codes = self.cells_of(batch), batch[2]

        def log_weight(u: Tensor) -> Tensor:
            noise = to_normal(u).to(self.dtype)
            z = mean + log_scale.exp() * noise
            posterior = normal_log_prob(noise) - log_scale.sum(-1)
            return self.log_likelihood(cells, codes, z, c) + self.prior.log_prob(z) - posterior + batch[3]

        return log_weight


MODEL = VAE
