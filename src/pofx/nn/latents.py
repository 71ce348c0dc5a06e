"""The latent numbers of a variational autoencoder: one vector with a prior and a posterior, or a ladder of them.

Shapes: noise and z (K, B, count), told (B, size) what the encoder says, c (B, context) the condition as a vector, where
there is one, code (K, B, width) what the decoder reads.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..objectives import normal_kl, normal_log_prob
from ..transforms.affine import soft_limit
from .mlp import MLP
from .posteriors import Diagonal
from .priors import FlowPrior, Prior, StandardNormal


class Latents(nn.Module):
    """count: numbers of z; size: of what the encoder says; width: of what the decoder reads; normal: whether `push`
    makes each z of one row of normal noise, whatever u is.
    """

    count: int
    size: int
    width: int
    normal: bool = True

    def infer(
        self, told: Tensor, noise: Tensor, cut: bool = False, c: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(z, code, log q(z|x) - log p(z|c)); with `cut`, log q passes gradients through z alone."""
        raise NotImplementedError

    def divergence(self, told: Tensor) -> Tensor | None:
        """KL(q || p) in closed form, (B,), where there is one."""
        return None

    def middle(self, told: Tensor, c: Tensor | None = None) -> Tensor:
        """One z for each example, without noise, (B, count)."""
        return self.infer(told, told.new_zeros(1, len(told), self.count), c=c)[0][0]

    def push(self, noise: Tensor, u: Tensor, c: Tensor | None = None) -> Tensor:
        """Normal noise (B, count) and uniform numbers (B,) to draws of p(z|c), (B, count)."""
        raise NotImplementedError

    def pull(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """The normal noise that `push` makes z of, (B, count), where `normal`."""
        raise NotImplementedError

    def unfold(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """The code of z, (..., B, count) to (..., B, width)."""
        return z

    def back(self, told: Tensor, z: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(the noise that `infer` makes z of, log q(z|x)) of any z, (K, B, count) to (K, B, count) and (K, B)."""
        raise NotImplementedError

    def log_prob(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """log p(z|c), (K, B)."""
        raise NotImplementedError

    def each(self, told: Tensor, z: Tensor, c: Tensor | None = None) -> Tensor | None:
        """What each number of z costs, nats, (count,), on average over the rows of z, (1, B, count), from q.

        KL(q(z_j|x) || p(z_j)) where the prior is N(0, I) or that of a rung; KL(q(z_j|x) || q(z_j)) where it is learned,
        q(z_j) the mean over rows, which such a prior follows; None where q has no such parts.
        """
        return None


class Single(Latents):
    """z with p(z|c) of nn/priors.py and q(z|x) of nn/posteriors.py."""

    def __init__(self, prior: Prior, posterior: Diagonal) -> None:
        super().__init__()
        self.prior, self.posterior = prior, posterior
        self.count = self.width = posterior.latent
        self.size = posterior.size
        self.normal = isinstance(prior, StandardNormal | FlowPrior)

    def infer(
        self, told: Tensor, noise: Tensor, cut: bool = False, c: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        z, log_q = self.posterior(told, noise, cut)
        return z, z, log_q - self.prior.log_prob(z, c)

    def divergence(self, told: Tensor) -> Tensor | None:
        if isinstance(self.prior, StandardNormal) and type(self.posterior) is Diagonal:
            return normal_kl(*self.posterior.split(told))
        return None

    def middle(self, told: Tensor, c: Tensor | None = None) -> Tensor:
        return self.posterior.mean(told)

    def back(self, told: Tensor, z: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.posterior.back(told, z)

    def log_prob(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return self.prior.log_prob(z, c)

    def each(self, told: Tensor, z: Tensor, c: Tensor | None = None) -> Tensor | None:
        if type(self.posterior) is not Diagonal:
            return None
        mean, log_scale = self.posterior.split(told)
        if isinstance(self.prior, StandardNormal):
            return normal_kl(mean.unsqueeze(-1), log_scale.unsqueeze(-1)).mean(0)
        return torch.stack([_told(*part) for part in zip(mean.T, log_scale.T, z[0].T, strict=True)])

    def push(self, noise: Tensor, u: Tensor, c: Tensor | None = None) -> Tensor:
        return self.prior.push(noise, u, c)

    def pull(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return self.prior.pull(z, c)


def _told(mean: Tensor, log_scale: Tensor, z: Tensor) -> Tensor:
    """The mean over r of log q(z_r|x_r) - log (1/n) sum_i q(z_r|x_i), one number: q(.|x_i) = N(mean_i, e^2l_i)."""
    log_q = -0.5 * ((z[:, None] - mean) * torch.exp(-log_scale)).square() - log_scale
    return (log_q.diagonal() - torch.logsumexp(log_q, 1) + math.log(len(z))).mean()


class Rung(nn.Module):
    """One level: p(z|s) = N(m, e^2l), q(z|s, x) = N(m + a e^l, e^2(l + b)), s' = s + f(z, s).

    m, l, a, b, f are perceptrons; a and b start at zero, so that q starts as p.
    """

    def __init__(self, latent: int, state: int, told: int, depth: int) -> None:
        super().__init__()
        self.prior = MLP(state, 2 * latent, state, depth, gain=0.1)
        self.posterior = MLP(state + told, 2 * latent, state, depth, gain=0.0)
        self.move = MLP(latent + state, state, state, depth, gain=0.3)

    def own(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """(m, l)."""
        mean, raw = self.prior(s).chunk(2, -1)
        return mean, soft_limit(raw, 5.0)

    def change(self, s: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """(a, b)."""
        shift, raw = self.posterior(torch.cat([s, told], -1)).chunk(2, -1)
        return shift, soft_limit(raw, 5.0)

    def step(self, s: Tensor, z: Tensor) -> Tensor:
        """s'."""
        return s + self.move(torch.cat([z, s], -1))


class Ladder(Latents):
    """z = (z_1, ..., z_levels), from the top: p(z|c) = prod p(z_l | z_<l, c), q(z|x) = prod q(z_l | z_<l, x, c), each
    rung of which says how it differs from the prior's. The first state is s + S c, the code that below the last rung.

    Papers: Sonderby et al. 2016, Ladder Variational Autoencoders; Vahdat, Kautz 2020, NVAE (residual posteriors).
    """

    def __init__(self, latent: int, levels: int, state: int, depth: int, context: int = 0) -> None:
        super().__init__()
        self.latent, self.levels = latent, levels
        self.count, self.size, self.width = latent * levels, state, state
        self.first = nn.Parameter(torch.zeros(state))
        self.aside = nn.Linear(context, state, bias=False) if context else None
        self.rungs = nn.ModuleList(Rung(latent, state, state, depth) for _ in range(levels))

    def top(self, c: Tensor | None) -> Tensor:
        """The state above the first rung, (state,) or, given c, (B, state)."""
        return self.first if self.aside is None else self.first + self.aside(c)

    def infer(
        self, told: Tensor, noise: Tensor, cut: bool = False, c: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        s = self.top(c).expand(*noise.shape[:2], -1)
        told, parts = told.expand(*noise.shape[:2], -1), []
        excess = noise.new_zeros(noise.shape[:2])
        for rung, e in zip(self.rungs, noise.split(self.latent, -1), strict=True):
            (mean, scale), (shift, wider) = rung.own(s), rung.change(s, told)
            off = shift + wider.exp() * e  # (z - m) / e^l
            z = mean + scale.exp() * off
            if cut:  # log q at z with its own numbers fixed: ((off - a) / e^b) is the noise
                e, wider = (off - shift.detach()) * torch.exp(-wider.detach()), wider.detach()
            excess = excess + (0.5 * (off.square() - e.square()) - wider).sum(-1)
            s = rung.step(s, z)
            parts.append(z)
        return torch.cat(parts, -1), s, excess

    def push(self, noise: Tensor, u: Tensor, c: Tensor | None = None) -> Tensor:
        s, parts = self.top(c).expand(len(noise), -1), []
        for rung, e in zip(self.rungs, noise.split(self.latent, -1), strict=True):
            mean, scale = rung.own(s)
            parts.append(mean + scale.exp() * e)
            s = rung.step(s, parts[-1])
        return torch.cat(parts, -1)

    def _rungs(self, z: Tensor, c: Tensor | None) -> Iterator[tuple[Rung, Tensor, Tensor, Tensor]]:
        """(rung, its state, (z - m)/e^l, l) from the top of z, (..., B, count)."""
        s = self.top(c).expand(*z.shape[:-1], -1)
        for rung, part in zip(self.rungs, z.split(self.latent, -1), strict=True):
            mean, scale = rung.own(s)
            yield rung, s, (part - mean) * torch.exp(-scale), scale
            s = rung.step(s, part)

    def back(self, told: Tensor, z: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        told, parts, log_q = told.expand(*z.shape[:-1], -1), [], z.new_zeros(z.shape[:-1])
        for rung, s, off, scale in self._rungs(z, c):
            shift, wider = rung.change(s, told)
            parts.append((off - shift) * torch.exp(-wider))
            log_q = log_q + normal_log_prob(parts[-1]) - (scale + wider).sum(-1)
        return torch.cat(parts, -1), log_q

    def pull(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return torch.cat([off for _, _, off, _ in self._rungs(z, c)], -1)

    def log_prob(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return torch.stack([normal_log_prob(off) - scale.sum(-1) for _, _, off, scale in self._rungs(z, c)]).sum(0)

    def each(self, told: Tensor, z: Tensor, c: Tensor | None = None) -> Tensor | None:
        changes = (rung.change(s, told.expand(*s.shape[:-1], -1)) for rung, s, _, _ in self._rungs(z, c))
        return torch.cat([normal_kl(a.unsqueeze(-1), b.unsqueeze(-1)).mean((0, 1)) for a, b in changes])

    def unfold(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        s = self.top(c).expand(*z.shape[:-1], -1)
        for rung, part in zip(self.rungs, z.split(self.latent, -1), strict=True):
            s = rung.step(s, part)
        return s
