"""Autoencoders against closed forms: pPCA by maximum likelihood, brute force, entropies, bits a dimension."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from test_autoencoders import SMALL, images, learn, two_factors
from torch import nn

import pofx
from pofx.models import create
from pofx.models.annealed import sandwich
from pofx.nn.latents import Single
from pofx.nn.posteriors import Diagonal
from pofx.nn.priors import StandardNormal, Vamp
from pofx.objectives import elbo


def marginal(w: torch.Tensor, variance: float, cover: torch.Tensor) -> float:
    """The mean log N(x; 0, W W' + s^2 I) of rows of mean zero with this covariance."""
    d = len(cover)
    model = w @ w.T + variance * torch.eye(d).double()
    return float(
        -0.5 * (d * math.log(2 * math.pi) + torch.logdet(model) + torch.trace(torch.linalg.solve(model, cover)))
    )


def test_a_linear_vae_learns_the_maximum_likelihood_of_probabilistic_pca() -> None:
    torch.manual_seed(0)
    d, q, n = 6, 2, 500
    x = torch.randn(n, q).double() @ torch.randn(q, d).double() + 0.5 * torch.randn(n, d).double()
    x = x - x.mean(0)
    cover = x.T @ x / n
    values, axes = torch.linalg.eigh(cover)
    left = float(values[: d - q].mean())
    best = marginal(axes[:, d - q :] * (values[d - q :] - left).sqrt(), left, cover)
    law = Single(StandardNormal(q), Diagonal(q))
    encode, decode, log_s = (
        nn.Linear(d, law.size).double(),
        nn.Linear(q, d).double(),
        nn.Parameter(torch.zeros(1).double()),
    )
    with torch.no_grad():  # as the models start: from principal components; a rotation is learned slowly
        decode.weight.copy_(axes[:, d - q :]), encode.weight[:q].copy_(axes[:, d - q :].T)
    moved = [*encode.parameters(), *decode.parameters(), log_s]
    optimiser = torch.optim.Adam(moved, lr=0.03, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 500)
    for _ in range(500):
        told, noise = encode(x), torch.randn(1, n, q).double()
        z = torch.cat([law.infer(told, sign * noise)[0] for sign in (1, -1)])
        like = (-0.5 * ((x - decode(z)) / log_s.exp()).square() - log_s - 0.5 * math.log(2 * math.pi)).sum(-1).mean(0)
        loss = -elbo(like, law.divergence(told), torch.tensor(1.0)).mean()
        optimiser.zero_grad(), loss.backward(), optimiser.step(), schedule.step()
    found = marginal(decode.weight.detach(), float((2 * log_s.detach()).exp()), cover)
    assert best - 0.005 < found <= best + 1e-9
    assert float(-loss.detach()) == pytest.approx(best, abs=0.03)  # its posterior is exact


def test_a_vamp_prior_is_the_mean_of_its_posteriors() -> None:
    torch.manual_seed(0)
    prior = Vamp(3, lambda u: (u[:, :3], 0.4 * u[:, 3:] - 0.5), torch.randn(7, 6)).double()
    z = torch.randn(2, 9, 3).double()
    each = [
        torch.distributions.Normal(u[:3], (0.4 * u[3:] - 0.5).exp()).log_prob(z).sum(-1).exp() for u in prior.inputs
    ]
    torch.testing.assert_close(prior.log_prob(z), (sum(each) / 7).log())


def test_bits_a_dimension_do_not_know_whether_shades_are_bytes_or_shares() -> None:
    shades = images(80)[0]["grey"]
    model = pofx.fit(shades, model="vae", steps=3, quiet=True, guard=False, samples=4, **SMALL)
    bytes_, shares = (
        model.log_prob(part, detail=True) for part in (shades[:9], shades[:9].astype(np.float32) / np.float32(255))
    )
    assert np.array_equal(bytes_["bits_per_dim"], shares["bits_per_dim"])
    assert np.allclose(bytes_["bits_per_dim"], -bytes_["log_prob"] / (64 * math.log(2)))


def test_the_likelihood_of_a_models_own_rows_is_minus_its_entropy() -> None:
    rng = np.random.default_rng(0)
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.9, 0.1])
    frame = pd.DataFrame({"a": rng.choice(list("uvw"), 4000, p=p), "b": rng.choice(list("xy"), 4000, p=q)})
    model = pofx.fit(frame, model="independent", quiet=True, guard=False)
    train = model.learned_from(frame)[0].to_pandas()
    shares = [train[name].value_counts(normalize=True).to_numpy() for name in "ab"]
    entropy = -sum(float((s * np.log(s)).sum()) for s in shares)
    found = model.log_prob(model.sample(4000, seed=1, quiet=True))
    assert -found.mean() == pytest.approx(entropy, abs=4 * found.std() / math.sqrt(len(found)) + 0.005)


def test_a_small_vae_is_known_within_a_tenth_of_a_nat() -> None:
    x, spec = two_factors(300)
    model = learn(create("vae", spec, prior="normal", masked=0.0, **SMALL | {"latent": 2, "components": 1}), x, 120)
    found = sandwich(model, 12, steps=80, chains=2, seed=0)
    assert abs(found.gap) < 0.1
    value = found.figures()["importance short by"]
    assert value["mean"] < 0.3
