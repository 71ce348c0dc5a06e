"""Importance-weighted bounds and their gradients, against probabilistic PCA, whose marginal and posterior are known."""

import math
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pofx.fields import Pixel
from pofx.models import create
from pofx.models.coded import turned, weighed
from pofx.nn.latents import Ladder, Single
from pofx.nn.posteriors import IAF, Diagonal
from pofx.nn.priors import FlowPrior, Mixture, StandardNormal, Vamp
from pofx.objectives import ESTIMATORS, importance, iwae, mmd, normal_kl, normal_log_prob, sparse_kl
from pofx.spec import Block, Spec
from pofx.training.loop import Trainer

D, Q, SIGMA = 20, 5, 0.4
LOG_2PI = math.log(2 * math.pi)


class PPCA:
    """x = W z + sigma e, W of orthogonal columns, so that the posterior is diagonal."""

    def __init__(self, rows: int = 64, sigma: float = SIGMA) -> None:
        g = torch.Generator().manual_seed(0)
        basis = torch.linalg.qr(torch.randn(D, Q, generator=g, dtype=torch.float64))[0]
        self.w = basis * torch.linspace(2.0, 0.5, Q, dtype=torch.float64)
        z = torch.randn(rows, Q, generator=g, dtype=torch.float64)
        self.x = z @ self.w.T + sigma * torch.randn(rows, D, generator=g, dtype=torch.float64)
        precision = 1 + (self.w**2).sum(0) / sigma**2
        self.mean, self.scale = self.x @ self.w / sigma**2 / precision, precision.rsqrt()
        cover = self.w @ self.w.T + sigma**2 * torch.eye(D, dtype=torch.float64)
        law = torch.distributions.MultivariateNormal(torch.zeros(D, dtype=torch.float64), cover)
        self.exact = law.log_prob(self.x)

    def like(self, z: Tensor) -> Tensor:
        """log p(x|z), (K, B)."""
        off = (self.x - z @ self.w.T) / SIGMA
        return -0.5 * off.square().sum(-1) - D * (math.log(SIGMA) + 0.5 * LOG_2PI)

    def told(self, wider: float = 1.0, shift: float = 0.0) -> Tensor:
        """What an encoder says: the posterior, or one whose scales or means are wrong. soft_limit is undone."""
        raw = (self.scale * wider).log().expand_as(self.mean)
        return torch.cat([self.mean + shift, 7 * torch.atanh(raw / 7)], 1)

    def log_w(self, told: Tensor, noise: Tensor, cut: bool = False) -> Tensor:
        _, code, excess = Single(StandardNormal(Q), Diagonal(Q)).infer(told, noise, cut)
        return self.like(code) - excess


P = PPCA()


def noise(k: int, seed: int = 1, rows: int = 64) -> Tensor:
    return torch.randn(k, rows, Q, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def bound(k: int, **wrong: float) -> Tensor:
    own = turned(P.x, Q)
    return weighed(lambda e: P.log_w(P.told(**wrong), e.double()), own, k, D)[0]


def test_one_draw_of_the_exact_posterior_is_log_p_of_every_row() -> None:
    torch.testing.assert_close(P.log_w(P.told(), noise(1))[0], P.exact, atol=1e-10, rtol=0)
    value, error, size = weighed(lambda e: P.log_w(P.told(), e.double()), turned(P.x, Q), 7, D)
    torch.testing.assert_close(value, P.exact, atol=1e-10, rtol=0)
    assert error.max() < 1e-6 and (size - 7).abs().max() < 1e-9


@pytest.mark.parametrize("wider", [1.5, 0.8])
def test_bounds_of_a_wrong_posterior_rise_with_the_draws_towards_log_p(wider: float) -> None:
    exact = P.exact.mean()
    short = [float(exact - bound(k, wider=wider).mean()) for k in (1, 10, 100, 1000)]
    assert short[0] > 0.05 and short[0] > abs(short[1]) > abs(short[3])
    assert abs(short[2]) < 0.03 and abs(short[3]) < 0.01


def test_the_error_and_the_size_say_how_far_a_bound_may_be_trusted() -> None:
    own = turned(P.x, Q)
    value, error, size = weighed(lambda e: P.log_w(P.told(wider=1.5), e.double()), own, 400, D)
    assert ((value - P.exact).abs() < 4 * error + 0.02).double().mean() > 0.9
    worse = weighed(lambda e: P.log_w(P.told(shift=1.0), e.double()), own, 400, D)[2]
    assert 1 <= worse.min() and worse.mean() < size.mean() / 2


def test_a_bound_does_not_depend_on_how_many_draws_are_taken_at_a_time() -> None:
    told = P.told(wider=1.5)
    once = weighed(lambda e: P.log_w(told, e.double()), turned(P.x, Q), 64, 1)
    parts = weighed(lambda e: P.log_w(told, e.double()), turned(P.x, Q), 64, 10**9)
    for a, b in zip(once, parts, strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9)


# -- the family of bounds ----------------------------------------------------------------------------------------------


def weights(m: int = 3, k: int = 4) -> Tensor:
    return P.log_w(P.told(wider=1.5), noise(m * k)).view(m, k, -1)


def test_the_axes_of_the_bounds() -> None:
    w = weights()
    flat = w.flatten(0, 1)
    torch.testing.assert_close(importance(w, "iwae").bound, torch.logsumexp(flat, 0) - math.log(12))
    torch.testing.assert_close(importance(flat[None], "miwae").bound, importance(w, "iwae").bound)
    torch.testing.assert_close(importance(flat[:, None], "miwae").bound, flat.mean(0))
    torch.testing.assert_close(importance(flat[:1, None], "iwae").bound, flat[0])
    torch.testing.assert_close(importance(w, "piwae").bound, importance(w, "iwae").bound)
    both = 0.3 * flat.mean(0) + 0.7 * iwae(flat)
    torch.testing.assert_close(importance(w, "ciwae", beta=0.3).bound, both)
    for name in ESTIMATORS:
        turned_ = importance(w.flip(1), name).bound
        torch.testing.assert_close(importance(w, name).bound, turned_)
        assert (importance(w, name).bound <= iwae(flat) + 1e-12).all()


def test_b2_weights_are_normalised_over_the_draws_of_an_estimate() -> None:
    w = weights()
    own = w.softmax(1) / 3
    torch.testing.assert_close(importance(w, "miwae").decoder, own)
    for name in ("miwae", "piwae"):
        shares = importance(w, name)
        torch.testing.assert_close(shares.decoder * shares.encoder, own)
        alone = importance(w.flatten(0, 1)[None], name)  # one estimate of all draws: that of iwae, not the plain bound
        torch.testing.assert_close(alone.bound, iwae(w.flatten(0, 1)))
        torch.testing.assert_close(alone.decoder * alone.encoder, w.flatten(0, 1).softmax(0)[None])


@pytest.mark.parametrize("name", ESTIMATORS)
def test_b7_shares_sum_to_one_and_the_better_draw_has_the_larger(name: str) -> None:
    shares = importance(weights(), name)
    torch.testing.assert_close(shares.decoder.sum((0, 1)), torch.ones(64).double())
    if name != "elbo":
        w = torch.tensor([[[-1.0], [-3.0]]])
        good, bad = importance(w, name).decoder.flatten().tolist()
        assert good > bad


@pytest.mark.parametrize("name", ["elbo", "iwae", "ciwae", "miwae"])
def test_the_surrogates_gradient_is_that_of_the_bound(name: str) -> None:
    leaf = weights().requires_grad_(True)
    shares = importance(leaf, name)
    (wanted,) = torch.autograd.grad(shares.bound.sum(), leaf)
    torch.testing.assert_close(shares.decoder * shares.encoder, wanted)


def test_the_doubly_reparameterised_gradient_is_that_of_iwae_on_average_and_less_noisy() -> None:
    """A wrong encoder of probabilistic PCA, many draws: both gradients agree, within their noise."""
    k, times = 16, 300
    found: dict[bool, list[Tensor]] = {True: [], False: []}
    for doubly in (True, False):
        for seed in range(times):
            told = P.told(wider=1.3, shift=0.2).requires_grad_(True)
            many = told.repeat(k, 1)
            _, code, excess = Single(StandardNormal(Q), Diagonal(Q)).infer(
                many, noise(1, seed, k * 64).view(1, -1, Q), doubly
            )
            log_w = P.like(code.view(k, 64, Q)) - excess.view(k, 64)
            shares = importance(log_w[None], "iwae", doubly=doubly)
            many.register_hook(lambda g, s=shares: g * s.encoder.reshape(-1, 1))
            (shares.decoder[0].detach() * log_w).sum(0).mean().backward()
            found[doubly].append(told.grad.sum(0))
    a, b = (torch.stack(found[yes]) for yes in (True, False))
    error = (a.var(0) / times + b.var(0) / times).sqrt()
    assert ((a.mean(0) - b.mean(0)).abs() < 4 * error).all()
    assert a.var(0).sum() < 0.5 * b.var(0).sum()


def test_gradients_of_a_bound_are_finite_differences() -> None:
    told = P.told(wider=1.2)
    e = noise(6)

    def value(t: Tensor) -> Tensor:
        return importance(P.log_w(t, e)[None], "iwae").bound.mean()

    leaf = told.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(value(leaf), leaf)
    for i, j in ((0, 0), (3, 7), (10, 2)):
        step = torch.zeros_like(told)
        step[i, j] = 1e-5
        assert (value(told + step) - value(told - step)).item() / 2e-5 == pytest.approx(slope[i, j].item(), abs=1e-7)


# -- posteriors, priors, ladders ---------------------------------------------------------------------------------------


def test_the_divergence_in_closed_form_is_the_mean_of_draws() -> None:
    told = torch.randn(3, 2 * Q, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    law = Single(StandardNormal(Q), Diagonal(Q))
    excess = law.infer(told, noise(40_000, 3, 3))[2]
    error = excess.std(0) / 200
    assert ((excess.mean(0) - law.divergence(told)).abs() < 4 * error).all()
    torch.testing.assert_close(law.divergence(told), normal_kl(*Diagonal(Q).split(told)))


def test_cut_changes_no_value_and_stops_what_does_not_pass_through_z() -> None:
    told = P.told(wider=1.3).requires_grad_(True)
    law = Single(StandardNormal(Q), Diagonal(Q))
    whole, cut = law.infer(told, noise(3), False), law.infer(told, noise(3), True)
    for a, b in zip(whole, cut, strict=True):
        torch.testing.assert_close(a, b)
    exact = P.told().requires_grad_(True)  # at the posterior the path gradient vanishes draw by draw
    (slope,) = torch.autograd.grad(P.log_w(exact, noise(3), True).sum(), exact)
    assert slope.abs().max() < 1e-8


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("kind", ["normal", "mixture", "vamp", "realnvp", "one"])
def test_priors_integrate_to_one_and_draw_their_density(kind: str, given: bool) -> None:
    torch.manual_seed(0)
    count, context = 1 if kind == "one" else 2, 3 if given else 0
    prior = {
        "normal": lambda: StandardNormal(2),
        "mixture": lambda: Mixture(2, 5, context),
        "vamp": lambda: Vamp(2, lambda u: (u[:, :2], 0.3 * u[:, 2:] - 0.5), torch.randn(4, 4)),
        "realnvp": lambda: FlowPrior(2, 2, (8,), context),
        "one": lambda: FlowPrior(1, context=context),
    }[kind]().double()
    conditions = torch.randn(2, context).double() if given else torch.zeros(1, 0).double()
    with torch.no_grad():
        for p in prior.parameters():
            p.add_(0.3 * torch.randn_like(p))
        line = torch.linspace(-12, 12, 481, dtype=torch.float64)
        grid = torch.cartesian_prod(*[line] * count).view(-1, count)
        cell = (line[1] - line[0]) ** count
        for c in conditions:
            density = prior.log_prob(grid, c.expand(len(grid), -1)).exp()
            assert (density.sum() * cell).item() == pytest.approx(1.0, abs=1e-3)
            told = c.expand(40_000, -1)
            z = prior.push(torch.randn(40_000, count).double(), torch.rand(40_000).double(), told)
            for i in range(count):
                wanted = (density * grid[:, i]).sum() * cell
                assert z[:, i].mean().item() == pytest.approx(wanted.item(), abs=4 * z[:, i].std().item() / 200)
        z = torch.randn(4, len(conditions), count).double()
        rows = prior.log_prob(z.view(-1, count), conditions.repeat(4, 1)).view(4, -1)
        torch.testing.assert_close(prior.log_prob(z, conditions), rows)  # many draws of the rows of c
        if kind in ("realnvp", "one"):
            back = prior.pull(prior.push(z[0], z[0, :, 0], conditions), conditions)
            torch.testing.assert_close(back, z[0])


@pytest.mark.parametrize("law", ["iaf", "ladder", "flow prior"])
def test_weights_of_draws_from_q_have_mean_one(law: str) -> None:
    """E_q p(z|c)/q(z|x) = 1 for whatever the encoder says: signs, log-determinants and the states of a ladder."""
    torch.manual_seed(0)
    made = {
        "iaf": lambda: Single(StandardNormal(2), IAF(2, 3, hidden=(8,))),
        "ladder": lambda: Ladder(1, 2, 6, 1, context=3),
        "flow prior": lambda: Single(FlowPrior(2, 2, (8,), context=3), Diagonal(2)),
    }[law]().double()
    c = torch.randn(4, 3).double()
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.1 * torch.randn_like(p))
        told = 0.3 * torch.randn(4, made.size).double()
        if law == "flow prior":  # wide enough for weights of finite variance
            told[:, 2:] += 0.8
        z, code, excess = made.infer(told, torch.randn(60_000, 4, made.count).double(), c=c)
    w = (-excess).exp()
    assert ((w.mean(0) - 1).abs() < 4 * w.std(0) / math.sqrt(60_000)).all()
    torch.testing.assert_close(made.unfold(z, c), code)
    log_q = made.back(told, z, c)[1]
    torch.testing.assert_close(log_q - made.log_prob(z, c), excess)


@pytest.mark.parametrize("context", [0, 3])
def test_a_ladder_draws_its_prior(context: int) -> None:
    torch.manual_seed(0)
    ladder = Ladder(1, 3, 6, 1, context).double()
    told, c = torch.zeros(5, 6).double(), torch.randn(5, context).double()
    e = torch.randn(1, 5, 3).double()
    z = ladder.push(e[0], torch.rand(5), c)
    torch.testing.assert_close(z, ladder.infer(told, e, c=c)[0][0])  # q starts as p
    torch.testing.assert_close(ladder.pull(z, c), e[0])
    if context:
        assert (z - ladder.push(e[0], torch.rand(5), -c)).abs().max() > 0.01


# -- other objectives --------------------------------------------------------------------------------------------------


def test_mmd_of_one_law_is_nothing_on_average_and_of_two_is_not() -> None:
    g = torch.Generator().manual_seed(0)
    same = torch.stack([mmd(*torch.randn(2, 64, 3, generator=g)) for _ in range(200)])
    assert same.mean().abs() < 4 * same.std() / math.sqrt(200)
    apart = mmd(torch.randn(64, 3, generator=g), torch.randn(64, 3, generator=g) + 1)
    assert apart > 5 * same.std()


def test_sparse_divergence_is_nothing_at_its_share_alone() -> None:
    at = torch.full((10, 4), 0.1, dtype=torch.float64)
    assert sparse_kl(at, 0.1).item() == pytest.approx(0.0, abs=1e-12)
    assert sparse_kl(at * 2, 0.1).item() == pytest.approx(4 * (0.1 * math.log(0.5) + 0.9 * math.log(0.9 / 0.8)))


def test_the_standard_normal_prior_is_what_it_says() -> None:
    z = noise(2)
    torch.testing.assert_close(StandardNormal(Q).log_prob(z), normal_log_prob(z))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory of the process from /proc")
def test_steps_leave_no_memory_behind() -> None:
    """A hook that holds what leads back to its tensor keeps the graph of every step alive."""
    x = np.random.default_rng(0).integers(0, 256, (256, 28, 28)).astype(np.uint8)
    spec = Spec((Block("image", (Pixel.learn("grey", x),), (28, 28)),))
    model = create("iwae", spec, 0, network="mlp", width=64, depth=1, binarise=True, draws=5, prior="normal")
    trainer = Trainer(model, model.prepare({"grey": x}), None, 0, "cpu")

    def mib() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20

    for _ in range(5):
        trainer.advance(100)
    before = mib()
    for _ in range(20):
        trainer.advance(100)
    assert mib() - before < 40  # the graph of a step holds 5 MiB and more
