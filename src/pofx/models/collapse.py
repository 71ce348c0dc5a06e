"""Whether latent numbers can live, before a fit, and whether they do, after it; in plain words.

For a linear decoder a latent number lives at the optimum if and only if an eigenvalue of the data's covariance exceeds
beta times the decoder's variance; with a learned variance, of so many numbers, that is the mean of the eigenvalues that
are left. For deep ones it predicts.

Paper: Lucas, Tucker, Grosse, Norouzi 2019, Don't Blame the ELBO! A Linear VAE Perspective on Posterior Collapse.
"""

import math

import torch
from torch import Tensor

LIVE = 0.01  # variance of a code's mean over rows above which a number is used
LITTLE = 0.1  # nats


def can_live(v: Tensor, latent: int, beta: float = 1.0, variance: float | None = None) -> int:
    """How many of `latent` numbers can live on rows v, (n, D), of one scale, beside a decoder of this variance.

    With a learned variance, None, an eigenvalue counts where it exceeds beta times the mean of those from it on, by
    more than as many rows of pure noise would show (Marchenko, Pastur 1967).
    """
    centred = v.flatten(1).double()
    centred = centred - centred.mean(0)
    n, d = centred.shape
    values = torch.linalg.svdvals(centred).square() / max(n, 1)
    if variance is not None:
        return int((values[:latent] > beta * variance).sum())
    means = values.flip(0).cumsum(0).flip(0) / torch.arange(len(values), 0, -1)
    edge = (1 + math.sqrt(d / max(n, 1))) ** 2
    stands_out = values > beta * edge * means + 1e-9
    return min(latent, int(stands_out.long().cumprod(0).sum()))


def diagnosis(said: dict[str, float]) -> str:
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
    if nats > 0.9 * told + 3 * of:
        return f"loose: the code costs {nats:.1f} nats and tells {told:.1f}: train longer, or take fewer numbers"
    return f"healthy: {used:.0f} of {of:.0f} numbers are used, the code tells {nats:.1f} nats of a row"
