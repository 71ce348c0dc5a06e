"""Priors p(z|c) of variational autoencoders: a log-density, and standard noise pushed to draws.

z: (..., B, latent), c: (B, context) the condition as a vector, where there is one. All randomness of a draw is in
its noise: `latent` normal numbers and one uniform, which picks a component where there are components.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..objectives import normal_log_prob
from ..transforms.affine import soft_limit
from .flow import Flow
from .flows import MAF, RealNVP
from .heads import which
from .linear import LULinear


class Prior(nn.Module):
    """p(z|c)."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent = latent

    def log_prob(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """log p(z|c), (..., B)."""
        raise NotImplementedError

    def push(self, noise: Tensor, u: Tensor, c: Tensor | None = None) -> Tensor:
        """(B, latent) normal and (B,) uniform numbers to draws, (B, latent)."""
        raise NotImplementedError

    def pull(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """The normal numbers that `push` makes z of, (B, latent), where it makes each z of one row of them alone."""
        raise NotImplementedError

    def start(self, z: Tensor) -> None:
        """Sets what a prior can learn from codes, (n, latent), before the first step."""


class StandardNormal(Prior):
    """N(0, I), whatever c is."""

    def log_prob(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return normal_log_prob(z)

    def push(self, noise: Tensor, u: Tensor, c: Tensor | None = None) -> Tensor:
        return noise

    def pull(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return z


class _Components(Prior):
    """sum_k pi_k(c) N(mu_k, diag e^2l_k)."""

    def shares(self, c: Tensor | None) -> Tensor:
        """log pi, (K,) or, given c, (B, K)."""
        raise NotImplementedError

    def parts(self) -> tuple[Tensor, Tensor]:
        """(mu, l): (K, latent) each."""
        raise NotImplementedError

    def log_prob(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        mean, log_scale = self.parts()
        precision = torch.exp(-2 * log_scale)
        flat = z.reshape(-1, self.latent)  # |z - mu|^2 / e^2l by products of matrices
        far = flat.square() @ precision.T - 2 * flat @ (mean * precision).T + (mean.square() * precision).sum(1)
        each = -log_scale.sum(1) - 0.5 * far - 0.5 * self.latent * math.log(2 * math.pi)
        return torch.logsumexp(self.shares(c) + each.view(*z.shape[:-1], -1), -1)

    def push(self, noise: Tensor, u: Tensor, c: Tensor | None = None) -> Tensor:
        mean, log_scale = self.parts()
        k = which(self.shares(c).expand(len(u), -1), u)
        return mean[k] + log_scale[k].exp() * noise


class Mixture(_Components):
    """A mixture of diagonal Gaussians, all of it learned: pi(c) = softmax(a + A c)."""

    def __init__(self, latent: int, components: int = 64, context: int = 0) -> None:
        super().__init__(latent)
        self.logits = nn.Parameter(torch.zeros(components))
        self.aside = nn.Linear(context, components, bias=False) if context else None
        self.mean = nn.Parameter(torch.randn(components, latent))
        self.log_scale = nn.Parameter(torch.zeros(components, latent))

    def shares(self, c: Tensor | None) -> Tensor:
        return (self.logits if self.aside is None else self.logits + self.aside(c)).log_softmax(-1)

    def parts(self) -> tuple[Tensor, Tensor]:
        return self.mean, soft_limit(self.log_scale, 5.0)


class Vamp(_Components):
    """The mixture of the posteriors of learned pseudo-inputs: (1/K) sum_k q(z|u_k).

    `encode` gives mean and log-scale of q at inputs; `inputs`, (K, ...), are where the pseudo-inputs start.

    Paper: Tomczak, Welling 2018, VAE with a VampPrior.
    """

    def __init__(self, latent: int, encode: Callable[[Tensor], tuple[Tensor, Tensor]], inputs: Tensor) -> None:
        super().__init__(latent)
        self.encode = encode
        self.inputs = nn.Parameter(inputs)

    def shares(self, c: Tensor | None) -> Tensor:
        return self.inputs.new_full((len(self.inputs),), -math.log(len(self.inputs)))

    def parts(self) -> tuple[Tensor, Tensor]:
        return self.encode(self.inputs)


class FlowPrior(Prior):
    """The law of a RealNVP: log p(z|c) = log N(f(z; c); 0, I) + log|det df/dz|, trained with the autoencoder.

    A single number has no halves to couple: its f is affine, learned, by numbers that c tells.

    Paper: Xu, Xu, Xu, Li, Zhou 2020, On the Necessity and Effectiveness of Learning the Prior of Variational
    Auto-Encoder.
    """

    def __init__(
        self, latent: int, transforms: int = 6, hidden: tuple[int, ...] = (128, 128), context: int = 0
    ) -> None:
        super().__init__(latent)
        self.flow: Flow
        if latent > 1:
            self.flow = RealNVP(latent, context, transforms, hidden)
        else:
            self.flow = MAF(1, context, 1, hidden) if context else Flow(LULinear(1), 1)

    def log_prob(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        flat, own = z.reshape(-1, self.latent), c if self.flow.context else None
        turns = 1 if own is None or not len(own) else len(flat) // len(own)
        return self.flow.log_prob(flat, own, turns).view(z.shape[:-1])

    def push(self, noise: Tensor, u: Tensor, c: Tensor | None = None) -> Tensor:
        return self.flow.layers.inverse_and_ladj(noise, c if self.flow.context else None)[0]

    def pull(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return self.flow.layers.call_and_ladj(z, c if self.flow.context else None)[0]


PRIORS = ("normal", "mixture", "vamp", "realnvp")
