"""Whether latent numbers can live, before a fit, and whether they do, after it; in plain words.

For a linear decoder a latent number lives at the optimum if and only if an eigenvalue of the data's covariance exceeds
beta times the decoder's variance; with a learned variance, of so many numbers, that is the mean of the eigenvalues that
are left. For deep ones it predicts.

Paper: Lucas, Tucker, Grosse, Norouzi 2019, Don't Blame the ELBO! A Linear VAE Perspective on Posterior Collapse.
"""

import math
from typing import Any

import torch
from torch import Tensor

from ..nn.latents import Latents

LIVE = 0.01  # share of a number's variance that its mean has over rows, above which it is used
LITTLE = 0.1  # nats
SHOWN = 4  # eigenvalues
NOTHING = 1e-10  # a variance below it is none
TAIL = 2.02  # of the Tracy-Widom law for real data, the value that one draw in a hundred exceeds


def spectrum(v: Tensor) -> Tensor:
    """The eigenvalues above zero of the covariance of rows v, (n, D), falling, float64.

    Constant columns, and what others say exactly, have none: there is nothing to learn along them.
    """
    centred = v.flatten(1).double()
    values = torch.linalg.svdvals(centred - centred.mean(0)).square() / max(len(centred), 1)
    return values[values > NOTHING * (1 + values[:1])]


def bars(values: Tensor, v: Tensor, beta: float = 1.0) -> Tensor:
    """What each of the eigenvalues of v, (n, D), has to exceed: beta times the mean of those from it on, which is what
    a learned variance would be, by more than pure noise in d columns that vary would show in 99 of 100 such tables:

        lambda_1 / mean = ((a + b)^2 + TAIL (a + b) (1/a + 1/b)^(1/3)) / max(n - 1, d),  a^2 = n - 1, b^2 = d.

    Paper: Johnstone 2001, On the Distribution of the Largest Eigenvalue in Principal Components Analysis.
    """
    means = values.flip(0).cumsum(0).flip(0) / torch.arange(len(values), 0, -1)
    centred = v.flatten(1).double() - v.flatten(1).double().mean(0)
    n, d = max(len(v) - 1, 1), max(int((centred.square().mean(0) > NOTHING).sum()), 1)
    a, b = math.sqrt(n), math.sqrt(d)
    return beta * ((a + b) ** 2 + TAIL * (a + b) * (1 / a + 1 / b) ** (1 / 3)) / max(n, d) * means


def can_live(v: Tensor, latent: int, beta: float = 1.0, variance: float | None = None) -> int:
    """How many of `latent` numbers can live on rows v, (n, D), of one scale, beside a decoder of this variance.

    With a learned variance, None, an eigenvalue counts where it stands above its bar (`bars`), and all before it do.
    """
    values = spectrum(v)
    if variance is not None:
        return int((values[:latent] > beta * variance).sum())
    above = values > bars(values, v, beta)
    return min(latent, int(above.long().cumprod(0).sum()))


def forecast(v: Tensor, latent: int, beta: float = 1.0) -> str:
    """Before a fit, of rows v, (n, D): how many of its latent numbers can live, and why, in a sentence or two."""
    values, count = spectrum(v), can_live(v, latent, beta)
    if not len(values):
        return ""
    told = ", ".join(f"{value:.3g}" for value in values[:SHOWN]) + (", ..." if len(values) > SHOWN else "")
    last = min(count, len(values) - 1)
    bar = bars(values, v, beta)[last]
    words = (
        f"{count} of {latent} latent numbers can live: so many eigenvalues of the data's covariance ({told}) stand "
        f"above beta ({beta:g}) x the variance that a decoder would leave, {bar:.3g} with the noise of {len(v):,} rows"
    )
    if count == 0:
        lower = ", or with a lower beta" if beta > 1 else ""
        return f"{words}; a code would stay unused but for relations that are not linear{lower}"
    return words if count < latent else f"{words}; every number does, more may help"


def information(latents: Latents, told: Tensor, z: Tensor, c: Tensor | None = None) -> float:
    """I(x; z) under q, nats: the mean over rows r of log q(z_r|x_r) - log (1/n) sum_i q(z_r|x_i), z_r from q(z|x_r).

    That is E KL(q(z|x) || p) - KL(q(z) || p) with the mean of the looked-at rows' posteriors for q(z): at most log n.
    told: (n, size), z: (n, count), c: (n, context) where there is one. Paper: Hoffman, Johnson 2016, ELBO Surgery.
    """
    n = len(z)
    log_q = torch.cat([latents.back(told, part[:, None].expand(-1, n, -1), c)[1] for part in z.split(64)]).double()
    return float((log_q.diagonal() - torch.logsumexp(log_q, 1)).mean() + math.log(n))


def diagnosis(said: dict[str, Any]) -> str:
    """Pattern, cause and remedy of what a fit's remarks say; empty where they are missing."""
    if "divergence" not in said:
        return ""
    nats, used, of, possible = (said[k] for k in ("divergence", "numbers in use", "numbers", "numbers that can live"))
    told = said["bound"] - said["bound with codes of other rows"]
    if nats < LITTLE and possible == 0:
        return "nothing to learn: the columns say nothing of one another, and the code is rightly unused"
    if nats < LITTLE or told < LITTLE:
        return (
            f"collapse: the code tells {nats:.2f} nats of a row although {possible:.0f} numbers could live; the "
            "decoder learned without it: take a longer warmup (0.5), free_bits=0.1, or a beta below 1"
        )
    if used < min(of, possible) / 2:
        return (
            f"half asleep: {used:.0f} of {of:.0f} numbers are used and {min(of, possible):.0f} could be: train longer, "
            "or take a learned prior (realnvp) or free_bits=0.1"
        )
    shared, most = nats - said.get("information", nats), said.get("information at most", 0.0)
    if shared > 1.0 and nats - shared < most - 1.0:
        return (
            f"off its prior: the code costs {nats:.1f} nats, of which {shared:.1f} tell nothing of a row, since p(z) "
            "is not the law of the codes: take a learned prior (realnvp), or train longer"
        )
    if nats > 0.9 * told + 3 * of:
        return f"loose: the code costs {nats:.1f} nats and tells {told:.1f}: train longer, or take fewer numbers"
    return f"healthy: {used:.0f} of {of:.0f} numbers are used, the code tells {nats:.1f} nats of a row"
