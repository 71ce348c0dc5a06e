"""Objectives as functions of tensors; likelihoods in nats, one number per example unless said otherwise.

The adversarial losses take the critic's scores of a real and of a fake example, (B,), and are what the critic
minimises; GAMES pairs each with what the generator does.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, relu, softplus

Critic = Callable[[Tensor], Tensor]


def normal_log_prob(z: Tensor) -> Tensor:
    """log N(z; 0, I), (..., D) to (...)."""
    return -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)


def normal_kl(mean: Tensor, log_scale: Tensor) -> Tensor:
    """KL(N(mean, diag e^{2 log_scale}) || N(0, I)) in nats, (..., D) to (...)."""
    return 0.5 * (mean.square() + torch.expm1(2 * log_scale) - 2 * log_scale).sum(-1)


def elbo(log_likelihood: Tensor, kl: Tensor, beta: float | Tensor = 1.0) -> Tensor:
    """E_q log p(x|z) - beta KL(q(z|x) || p(z)), at most log p(x) where beta is one or more (Kingma & Welling 2014)."""
    return log_likelihood - beta * kl


def iwae(log_weights: Tensor, dim: int = 0) -> Tensor:
    """log (1/k) sum_j w_j over `dim`, w = p(x, z)/q(z|x): a bound of log p(x) that rises with k (Burda et al. 2016)."""
    return torch.logsumexp(log_weights, dim) - math.log(log_weights.shape[dim])


ESTIMATORS = ("elbo", "iwae", "ciwae", "miwae", "piwae")


class Shares(NamedTuple):
    """What `importance` says of log-weights (M, K, B): the bound, (B,), and shares of each draw, (M, K, B).

    The decoder's gradient is sum decoder * grad log w; the encoder's is `encoder` times that part of it which reaches
    the encoder.
    """

    bound: Tensor
    decoder: Tensor
    encoder: Tensor


def importance(log_weights: Tensor, estimator: str = "iwae", beta: float = 0.05, doubly: bool = False) -> Shares:
    """Bounds of log p(x) by M estimates of K draws each, (M, K, B), w = p(x, z)/q(z|x), and their gradients.

    elbo: mean log w. iwae: L = log mean w over all M K. ciwae: beta mean log w + (1 - beta) L. miwae: the mean over M
    of log mean w over K. piwae: the decoder learns as in iwae and the encoder as in miwae; the bound is iwae's. With
    `doubly` the encoder's share is that of the doubly reparameterised gradient, which holds where log q(z|x) passes no
    gradient but through z: squares of the normalised weights in place of the weights.

    Papers: Burda, Grosse, Salakhutdinov 2016; Rainforth et al. 2018, Tighter Variational Bounds are Not Necessarily
    Better; Roeder, Wu, Duvenaud 2017, Sticking the Landing; Tucker et al. 2019, Doubly Reparameterized Gradient
    Estimators for Monte Carlo Objectives.

    Raises ValueError for another estimator.
    """
    m, k = log_weights.shape[:2]
    fixed = log_weights.detach()
    even = torch.full_like(fixed, 1 / (m * k))
    every = fixed.flatten(0, 1).softmax(0).view_as(fixed)
    own = fixed.softmax(1) / m
    whole, mean = iwae(log_weights.flatten(0, 1)), log_weights.mean((0, 1))
    every_2, own_2 = (every.square(), m * own.square()) if doubly else (every, own)
    if estimator == "elbo":
        return Shares(mean, even, torch.ones_like(even))
    if estimator == "iwae":
        return Shares(whole, every, every_2 / every.clamp(min=1e-30))
    if estimator == "ciwae":
        both = beta * even + (1 - beta) * every
        return Shares(beta * mean + (1 - beta) * whole, both, (beta * even + (1 - beta) * every_2) / both)
    if estimator == "miwae":
        return Shares(iwae(log_weights, 1).mean(0), own, own_2 / own.clamp(min=1e-30))
    if estimator == "piwae":
        return Shares(whole, every, own_2 / every.clamp(min=1e-30))
    raise ValueError(f"expected an estimator among {', '.join(ESTIMATORS)}, got {estimator!r}")


def mmd(x: Tensor, y: Tensor) -> Tensor:
    """The unbiased estimate of the squared maximum mean discrepancy of two sets, each (B, D): one number.

    Kernel sum_s C s / (C s + |x - y|^2), C = 2 D, s from .1 to 10: D normal coordinates have |x - y|^2 of mean C.
    Papers: Gretton et al. 2012, A Kernel Two-Sample Test; Tolstikhin et al. 2018, Wasserstein Auto-Encoders.
    """
    n, scale = len(x), 2.0 * x.shape[1]

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        far = torch.cdist(a, b).square()
        return torch.stack([scale * s / (scale * s + far) for s in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)]).sum(0)

    within = kernel(x, x).sum() + kernel(y, y).sum() - 14 * n
    return within / (n * (n - 1)) - 2 * kernel(x, y).mean()


def sparse_kl(activity: Tensor, share: float) -> Tensor:
    """sum_j KL(Bernoulli(share) || Bernoulli(mean activity of unit j)), activity (B, units) in [0, 1]: one number.

    Paper: Ng 2011, Sparse Autoencoder.
    """
    mean = activity.mean(0).clamp(1e-6, 1 - 1e-6)
    return (share * (math.log(share) - mean.log()) + (1 - share) * (math.log1p(-share) - torch.log1p(-mean))).sum()


def contraction(encode: Callable[[Tensor], Tensor], x: Tensor, probe: Tensor) -> Tensor:
    """|J' v|^2 of each example, J the Jacobian of `encode` at x and v a standard normal probe: its mean is |J|_F^2.

    x: (B, ...), probe: (B, latent), result: (B,). Rifai et al. 2011, Contractive Auto-Encoders; Hutchinson 1990.
    """
    x = x.detach().requires_grad_(True)
    (pulled,) = torch.autograd.grad(encode(x), x, probe, create_graph=True)
    return pulled.flatten(1).square().sum(1)


def logistic_mass(low: Tensor, high: Tensor, gap: Tensor, location: Tensor, log_scale: Tensor) -> Tensor:
    """log(s((high - m)/e^l) - s((low - m)/e^l)), s the logistic function, m the location, l the log of the scale.

    Written as log s(b) + log s(-a) + log(1 - e^{-(b - a)}), which loses nothing in the tails; `gap` is high - low,
    given apart because the difference of two float32 numbers would lose tiny cells.
    """
    inverse = torch.exp(-log_scale)
    inside = torch.log(-torch.expm1(-gap * inverse))
    return logsigmoid((high - location) * inverse) + logsigmoid((location - low) * inverse) + inside


def minimax(real: Tensor, fake: Tensor) -> Tensor:
    """-log s(real) - log s(-fake), s the logistic function; log 4 at a tie of zeros (Goodfellow et al. 2014)."""
    return softplus(-real) + softplus(fake)


def least_squares(real: Tensor, fake: Tensor) -> Tensor:
    """(real - 1)^2 + fake^2 (Mao et al. 2017, Least Squares GAN)."""
    return (real - 1).square() + fake.square()


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """max(0, 1 - real) + max(0, 1 + fake) (Lim & Ye 2017; Tran, Ranganath, Blei 2017)."""
    return relu(1 - real) + relu(1 + fake)


def relativistic(real: Tensor, fake: Tensor) -> Tensor:
    """-log s(real - fake): each real example paired with a fake one (Jolicoeur-Martineau 2019); log 2 at a tie."""
    return softplus(fake - real)


def wasserstein(real: Tensor, fake: Tensor) -> Tensor:
    """fake - real: minus its mean over 1-Lipschitz critics is at most the distance W1 (Arjovsky et al. 2017)."""
    return fake - real


class Game(NamedTuple):
    """What the critic and what the generator minimise, each of the scores of real and of fake examples, (B,) to (B,);
    whether the generator's needs the real ones.
    """

    critic: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    paired: bool = False


GAMES = {
    "relativistic": Game(relativistic, lambda real, fake: relativistic(fake, real), paired=True),
    "minimax": Game(minimax, lambda real, fake: -softplus(fake)),
    "non-saturating": Game(minimax, lambda real, fake: softplus(-fake)),
    "least-squares": Game(least_squares, lambda real, fake: (fake - 1).square()),
    "hinge": Game(hinge, lambda real, fake: -fake),
    "wasserstein": Game(wasserstein, lambda real, fake: -fake),
}


SURE = 2.0  # standard errors by which a critic has to tell data from generated examples before its gap says something


def critic_gap(own: Tensor, made: Tensor, held: Tensor | None) -> dict[str, float]:
    """What a critic says of training examples, of generated and of held-out ones, (n,) each: the means, and

        r = (E D(training) - E D(held out)) / (E D(training) - E D(generated))

    with its standard error: near 0 where it judges by what all data have in common, near 1 where it knows the training
    examples by heart; no number where it does not tell data from generated ones by two standard errors, or none are
    held out. Paper: Karras et al. 2020, Training Generative Adversarial Networks with Limited Data.
    """
    sets = [own, made] + ([held] if held is not None else [])
    real, fake, *rest = (float(score.mean()) for score in sets)
    other = rest[0] if rest else math.nan
    spread = [float(score.var(correction=0)) / len(score) for score in sets]
    far = real - fake
    r = (real - other) / far if far > SURE * math.sqrt(spread[0] + spread[1]) else math.nan
    error = math.sqrt((1 - r) ** 2 * spread[0] + r**2 * spread[1] + sum(spread[2:])) / (far or 1.0)
    return {
        "critic on training": real, "critic on held-out": other, "critic on generated": fake,
        "gap": r, "gap error": error,
    }  # fmt: skip


def slope(critic: Critic, x: Tensor) -> Tensor:
    """|grad_x critic(x)|^2 of each example, (B, ...) to (B,), itself differentiable."""
    x = x.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return gradient.square().sum(tuple(range(1, gradient.dim())))


def finite_slope(critic: Critic, x: Tensor, probe: Tensor, step: float = 0.01) -> Tensor:
    """(critic(x + h e) - critic(x - h e))^2 / 4 h^2 of each example, (B,), e a standard normal `probe`, (B, ...).

    Its mean over e is |grad critic(x)|^2 up to O(h^2), without a second derivative (Lin et al. 2025, Seaweed-APT).
    """
    up, down = critic(torch.cat([x + step * probe, x - step * probe]).detach()).chunk(2)
    return ((up - down) / (2 * step)).square()


def r1(critic: Critic, real: Tensor) -> Tensor:
    """|grad D|^2 at real examples, to be weighted by gamma / 2 (Mescheder et al. 2018)."""
    return slope(critic, real)


def r2(critic: Critic, fake: Tensor) -> Tensor:
    """|grad D|^2 at fake examples, to be weighted by gamma / 2 (Mescheder et al. 2018)."""
    return slope(critic, fake)


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor, mix: Tensor, sides: int = 2) -> Tensor:
    """(|grad D(m x + (1 - m) y)| - 1)^2 with one mixing number m per example, mix (B,) (Gulrajani et al. 2017).

    sides=1: slopes below one cost nothing (Petzka et al. 2018, On the Regularization of Wasserstein GANs).
    """
    m = mix.reshape(-1, *[1] * (real.dim() - 1))
    excess = slope(critic, m * real + (1 - m) * fake).add(1e-12).sqrt() - 1
    return (excess if sides == 2 else relu(excess)).square()


def sliced_distance(x: Tensor, y: Tensor, directions: Tensor) -> Tensor:
    """The mean W1 distance of two sets, each (B, D), along directions (D, K): one number (Bonneel et al. 2015)."""
    return ((x @ directions).sort(0).values - (y @ directions).sort(0).values).abs().mean()
