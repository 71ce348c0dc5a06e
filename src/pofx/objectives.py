"""Objectives as functions of tensors; likelihoods in nats, one number per example unless said otherwise.

The adversarial losses take the critic's scores of a real and of a fake example, (B,), and are what the critic
minimises; the generator minimises the same function with the two exchanged.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

Critic = Callable[[Tensor], Tensor]


def normal_log_prob(z: Tensor) -> Tensor:
    """log N(z; 0, I), (..., D) to (...)."""
    return -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)


def normal_kl(mean: Tensor, log_scale: Tensor) -> Tensor:
    """KL(N(mean, diag e^{2 log_scale}) || N(0, I)) in nats, (..., D) to (...)."""
    return 0.5 * (mean.square() + torch.expm1(2 * log_scale) - 2 * log_scale).sum(-1)


def elbo(log_likelihood: Tensor, kl: Tensor, beta: float = 1.0) -> Tensor:
    """E_q log p(x|z) - beta KL(q(z|x) || p(z)), at most log p(x) where beta is one or more (Kingma & Welling 2014)."""
    return log_likelihood - beta * kl


def iwae(log_weights: Tensor, dim: int = 0) -> Tensor:
    """log (1/k) sum_j w_j over `dim`, w = p(x, z)/q(z|x): a bound of log p(x) that rises with k (Burda et al. 2016)."""
    return torch.logsumexp(log_weights, dim) - math.log(log_weights.shape[dim])


def logistic_mass(low: Tensor, high: Tensor, gap: Tensor, location: Tensor, log_scale: Tensor) -> Tensor:
    """log(s((high - m)/e^l) - s((low - m)/e^l)), s the logistic function, m the location, l the log of the scale.

    Written as log s(b) + log s(-a) + log(1 - e^{-(b - a)}), which loses nothing in the tails; `gap` is high - low,
    given apart because the difference of two float32 numbers would lose tiny cells.
    """
    inverse = torch.exp(-log_scale)
    inside = torch.log(-torch.expm1(-gap * inverse))
    return logsigmoid((high - location) * inverse) + logsigmoid((location - low) * inverse) + inside


def minimax(real: Tensor, fake: Tensor) -> Tensor:
    """-log s(real) - log s(-fake); exchanged, the generator's non-saturating loss (Goodfellow et al. 2014)."""
    return softplus(-real) + softplus(fake)


def relativistic(real: Tensor, fake: Tensor) -> Tensor:
    """-log s(real - fake): each real example paired with a fake one (Jolicoeur-Martineau 2019); log 2 at a tie."""
    return softplus(fake - real)


def wasserstein(real: Tensor, fake: Tensor) -> Tensor:
    """fake - real: minus its mean over 1-Lipschitz critics is at most the distance W1 (Arjovsky et al. 2017)."""
    return fake - real


def slope(critic: Critic, x: Tensor) -> Tensor:
    """|grad_x critic(x)|^2 of each example, (B, D) to (B,), itself differentiable."""
    x = x.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return gradient.square().sum(tuple(range(1, gradient.dim())))


def r1(critic: Critic, real: Tensor) -> Tensor:
    """|grad D|^2 at real examples, to be weighted by gamma / 2 (Mescheder et al. 2018)."""
    return slope(critic, real)


def r2(critic: Critic, fake: Tensor) -> Tensor:
    """|grad D|^2 at fake examples, to be weighted by gamma / 2 (Mescheder et al. 2018)."""
    return slope(critic, fake)


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """(|grad D(m x + (1 - m) y)| - 1)^2 with one mixing number m per example, mix (B,) (Gulrajani et al. 2017)."""
    m = mix.reshape(-1, *[1] * (real.dim() - 1))
    return (slope(critic, m * real + (1 - m) * fake).add(1e-12).sqrt() - 1).square()


def sliced_distance(x: Tensor, y: Tensor, directions: Tensor) -> Tensor:
    """The mean W1 distance of two sets, each (B, D), along directions (D, K): one number (Bonneel et al. 2015)."""
    return ((x @ directions).sort(0).values - (y @ directions).sort(0).values).abs().mean()
