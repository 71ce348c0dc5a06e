"""The autoencoders against what is known, and a test for each defect known of released libraries (b1 to b11)."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from made import mixed, spec_of
from test_importance import PPCA, Q

from pofx.compose import Latent
from pofx.errors import SpecError, Unsupported
from pofx.fields import Category, Pixel, Real
from pofx.models import create
from pofx.models.collapse import can_live, diagnosis, forecast, information, spectrum
from pofx.models.model import Clock, Model
from pofx.nn.latents import Ladder, Single
from pofx.nn.posteriors import Diagonal
from pofx.nn.priors import FlowPrior, StandardNormal
from pofx.nn.quantise import FSQ, VQ, ResidualVQ, usage
from pofx.spec import Block, Columns, Spec
from pofx.training.loop import Trainer

SMALL = {"latent": 3, "width": 24, "depth": 1, "components": 3}


def learn(model: Model, x: Columns, steps: int = 150, c: Columns | None = None, **words: object) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Trainer(model, model.prepare(x, c), None, 0, "cpu", **({"batch": 64} | words)).run(steps)
    return model


def two_factors(n: int = 800, seed: int = 0) -> tuple[Columns, Spec]:
    """Five columns in [0, 1] driven by two factors: the largest eigenvalue of their covariance is about .1."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(np.random.default_rng(9).normal(size=(5, 2)))[0].T
    raw = rng.normal(size=(n, 2)) @ turn + 0.1 * rng.normal(size=(n, 5))
    scaled = np.round((raw + 4) / 8, 4)
    x = {f"c{j}": scaled[:, j] for j in range(5)}
    return x, Spec.table(tuple(Real.learn(k, v, 4) for k, v in x.items()))


def images(n: int = 300, side: int = 8, top: int = 255, seed: int = 0) -> tuple[Columns, Spec]:
    """A bright bar in a random column."""
    rng = np.random.default_rng(seed)
    at = rng.integers(0, side, n)
    v = rng.integers(0, max(top // 8, 1), (n, side, side))
    v[np.arange(n), :, at] = top
    x = {"grey": v.astype(np.uint8)}
    return x, Spec((Block("image", (Pixel.learn("grey", x["grey"], top=top),), (side, side)),))


@cache
def vae_of_factors() -> Model:
    x, spec = two_factors()
    return learn(create("vae", spec, prior="normal", masked=0.0, **SMALL), x, 400)


def excess(model: Model, x: Columns) -> torch.Tensor:
    """KL of each row in closed form, under a normal prior."""
    own, _, c = model.opened(model.prepare(x))
    return model.latents.divergence(model.encoder(model.lens.see(own), c))


# -- defects -----------------------------------------------------------------------------------------------------------


def test_b1_the_divergence_of_the_default_weighs_and_moves_the_encoder() -> None:
    x = mixed()
    model = create("vae", spec_of(x), **SMALL)
    model.start(model.prepare(x))
    own, _, c = model.opened(model.prepare(x))
    told = model.encoder(model.lens.see(own), c)
    kl = model.latents.infer(told, torch.randn(256, len(told), 3))[2].mean()
    assert kl > 1e-4
    kl.backward()
    assert sum(float(p.grad.abs().sum()) for p in model.encoder.parameters() if p.grad is not None) > 0


@pytest.mark.parametrize("prior", ["realnvp", "normal"])
def test_b1_the_loss_has_the_whole_divergence(prior: str) -> None:
    x, spec = two_factors(60)
    model = create("vae", spec, prior=prior, masked=0.0, warmup=0.5, **SMALL)
    with torch.no_grad():
        for p in model.encoder.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    own, _, c = model.opened(model.prepare(x))
    told = model.encoder(model.lens.see(own), c)
    noise = torch.randn(1, 60, 3, generator=torch.Generator().manual_seed(0))
    wanted = excess(model, x) if prior == "normal" else model.latents.infer(told, noise)[2][0]
    got = [model.loss(model.prepare(x), Clock(at, 1), torch.Generator().manual_seed(0)) for at in (0, 1)]
    assert wanted.mean() > 0.05
    torch.testing.assert_close(got[1] - got[0], wanted, atol=1e-3, rtol=1e-3)


def test_b1_scores_of_the_same_rows_are_the_same() -> None:
    x, _ = two_factors()
    assert np.array_equal(vae_of_factors().log_prob(x), vae_of_factors().log_prob(x))


@pytest.mark.parametrize("estimator", ["iwae", "ciwae", "miwae", "piwae", "elbo"])
@pytest.mark.parametrize("doubly", [True, False])
def test_b3_what_is_reported_is_the_bound_and_not_its_surrogate(estimator: str, doubly: bool) -> None:
    x, spec = two_factors(40)
    model = create("iwae", spec, estimator=estimator, draws=5, groups=2 if estimator != "elbo" else 1, doubly=doubly,
                   masked=0.0, **SMALL)  # fmt: skip
    value = model.loss(model.prepare(x), Clock(1, 1), torch.Generator().manual_seed(0))
    own, extra, c = model.opened(model.prepare(x))
    many = 5 if estimator == "elbo" else 10
    noise = torch.randn(many, 40, 3, generator=torch.Generator().manual_seed(0))
    told = model.encoder(model.lens.see(own), c)
    if estimator != "elbo":
        noise, told = torch.randn(1, 400, 3, generator=torch.Generator().manual_seed(0)), told.repeat(10, 1)
    _, code, over = model.latents.infer(told, noise)
    log_w = model.lens.log_mass(model.say(code.view(many, 40, -1), c), own) - over.view(many, 40) + extra
    whole = torch.logsumexp(log_w, 0) - math.log(many)
    wanted = whole
    if estimator in ("elbo", "ciwae"):
        wanted = log_w.mean(0) if estimator == "elbo" else 0.05 * log_w.mean(0) + 0.95 * whole
    if estimator == "miwae":
        wanted = (torch.logsumexp(log_w.view(2, 5, 40), 1) - math.log(5)).mean(0)
    torch.testing.assert_close(-value, wanted.to(value.dtype), atol=1e-3, rtol=1e-4)
    value.mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.encoder.parameters())


def test_b4_data_are_likelier_than_noise_and_few_draws_are_as_many_as_asked() -> None:
    x, spec = two_factors()
    far = {k: np.roll(v, i) for i, (k, v) in enumerate(x.items())}
    model = vae_of_factors()
    assert model.log_prob(x).mean() > model.log_prob(far).mean() + 1
    got = model.bound(x, draws=3)
    assert got.draws == 3 and (got.size <= 3 + 1e-9).all() and (got.size >= 1 - 1e-9).all()


def test_b4_b10_rows_are_encoded_once_for_all_their_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    x, _ = two_factors(300)
    model, seen = vae_of_factors(), []
    whole = model.encoder.forward
    monkeypatch.setattr(model.encoder, "forward", lambda v, c: seen.append(len(v)) or whole(v, c))
    for draws in (1, 700):
        seen.clear()
        model.bound(x, draws=draws)
        assert sum(seen) == 300


def test_b5_b10_a_mean_over_rows_does_not_know_of_batches() -> None:
    x, _ = two_factors(300)
    model = vae_of_factors()
    whole = model.log_prob(x)
    for size in (1, 7, 299):
        parts = [model.log_prob({k: v[i : i + size] for k, v in x.items()}) for i in range(0, 300, size)][:20]
        np.testing.assert_allclose(np.concatenate(parts), whole[: sum(map(len, parts))], atol=1e-4)


def test_b6_a_table_in_the_unit_interval_does_not_collapse() -> None:
    x, spec = two_factors(seed=1)
    model = vae_of_factors()
    assert excess(model, x).mean() > 1.0
    assert model.log_prob(x).mean() > create("independent", spec).log_prob(x).mean() + 0.5


def test_b8_units_move_a_likelihood_by_their_logarithm_and_nothing_else() -> None:
    x, spec = two_factors(200)
    bigger = x | {"c0": np.round(x["c0"] * 10, 3)}
    other = Spec.table((Real.learn("c0", bigger["c0"], 3), *spec.fields[1:]))
    a, b = (create("vae", s, seed=3, **SMALL) for s in (spec, other))
    np.testing.assert_allclose(a.log_prob(x) - b.log_prob(bigger), math.log(10), atol=1e-5)


def test_b8_validation_has_the_objective_that_training_ends_with() -> None:
    x, spec = two_factors(50)
    model = create("vae", spec, prior="normal", beta=3.0, masked=0.0, **SMALL)
    at_the_end = model.loss(model.prepare(x), Clock(1, 1), torch.Generator().manual_seed(0))
    watched = model.eval().validate(model.prepare(x), torch.Generator().manual_seed(0))
    torch.testing.assert_close(watched, at_the_end)


def test_b9_beta_and_free_bits_are_used() -> None:
    x, spec = two_factors(100)
    of = {}
    for beta in (1.0, 3.0):
        model = create("vae", spec, prior="normal", beta=beta, masked=0.0, **SMALL)
        of[beta] = model.loss(model.prepare(x), Clock(1, 1), torch.Generator().manual_seed(0))
    torch.testing.assert_close(of[3.0] - of[1.0], 2 * excess(model, x), atol=1e-3, rtol=1e-3)
    free = create("vae", spec, prior="normal", free_bits=9.0, masked=0.0, **SMALL)
    got = free.loss(free.prepare(x), Clock(1, 1), torch.Generator().manual_seed(0))
    short = 27.0 - excess(free, x).mean()
    torch.testing.assert_close(got - of[1.0], short.expand(100), atol=1e-3, rtol=1e-3)


def test_b11_the_warm_up_follows_the_length_of_the_fit() -> None:
    x, spec = two_factors(100)
    model = create("vae", spec, prior="normal", masked=0.0, **SMALL)

    def at(step: int, total: int) -> torch.Tensor:
        return model.loss(model.prepare(x), Clock(step, total), torch.Generator().manual_seed(0))

    torch.testing.assert_close(at(5, 100), at(50, 1000))
    torch.testing.assert_close(at(10, 100), at(900, 1000), atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(at(100, 100) - at(0, 100), excess(model, x), atol=1e-3, rtol=1e-3)


# -- oracles -----------------------------------------------------------------------------------------------------------


def test_of_pure_noise_nothing_is_learned_and_that_is_right() -> None:
    rng = np.random.default_rng(0)
    x = {k: np.round(rng.normal(size=2000), 3) for k in "abc"}
    spec = Spec.table(tuple(Real.learn(k, v, 3) for k, v in x.items()))
    model = learn(create("vae", spec, prior="normal", masked=0.0, **SMALL), x, 300)
    assert excess(model, x).mean() < 0.1
    held = {k: np.round(np.random.default_rng(1).normal(size=1000), 3) for k in "abc"}
    alone = create("independent", spec).log_prob(held).mean()
    assert model.log_prob(held).mean() == pytest.approx(alone, abs=0.1)


def test_bounds_rise_with_the_draws_and_say_their_error() -> None:
    x, _ = two_factors(200)
    model = vae_of_factors()
    found = [model.bound(x, draws=k) for k in (1, 8, 64, 512)]
    means = [b.value.mean() for b in found]
    assert means[0] < means[1] < means[2] <= means[3] + 0.02
    assert found[2].error.mean() < found[1].error.mean() + 1e-9
    assert (found[3].size > 20).mean() > 0.9


def test_cells_can_be_integrated_out_and_filled_in() -> None:
    x, spec = two_factors(1500)
    model = learn(create("vae", spec, masked=0.3, samples=128, **SMALL), x, 700)
    held, _ = two_factors(300, seed=5)
    known = np.ones((300, 5), bool)
    known[:, 2] = False
    without = create("independent", spec).cells(held)[:, [0, 1, 3, 4]].sum(1)
    assert model.marginal((held, known)).mean() > without.mean() + 0.5
    made = model.decode(model.noise(300, torch.Generator().manual_seed(0)), known=(held, known))
    for j, name in enumerate(held):
        if j != 2:
            assert np.array_equal(made[name], held[name])
    assert np.corrcoef(made["c2"], held["c2"])[0, 1] > 0.7


# -- images ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("top", [255, 1])
def test_a_vae_learns_images(network: str, top: int) -> None:
    x, spec = images(top=top)
    model = create("vae", spec, network=network, latent=4, width=16, depth=1, components=3, samples=8)
    before = model.log_prob(x).mean()
    learn(model, x, 150, rate=5e-3)
    assert model.log_prob(x).mean() > before + 10
    drawn = model.decode(model.noise(5, torch.Generator().manual_seed(0)))
    assert drawn["grey"].shape == (5, 8, 8) and drawn["grey"].dtype == np.uint8 and drawn["grey"].max() <= top
    assert model.express(model.encode(x))["grey"].shape == (300, 8, 8)


def test_large_examples_are_looked_at_few_at_a_time_and_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x, spec = images(200)
    made = create("vae", spec, network="mlp", latent=4, width=16, depth=1, components=2, samples=4)
    trainer = Trainer(made, made.prepare(x), made.prepare(x), 0, "cpu", batch=16)
    noise = made.noise(200, torch.Generator().manual_seed(0))

    def told() -> list[np.ndarray]:
        z = made.encode(x)
        drawn, rebuilt = made.decode(noise), made.express(z)
        said = made.remarks(x)["bound"]
        return [np.array(trainer.look()), made.log_prob(x), z.numpy(), drawn["grey"], rebuilt["grey"], np.array(said)]

    whole, seen, mass = told(), [], made.lens.log_mass
    monkeypatch.setattr("pofx.models.model.RESIDENT", 40 * made.room)
    monkeypatch.setattr(made.lens, "log_mass", lambda theta, own: seen.append(theta.shape[1]) or mass(theta, own))
    for a, b in zip(whole, told(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)
    assert max(seen) == 32 and made.together(7) == 7


def test_masses_of_all_small_images_sum_to_one() -> None:
    x, spec = images(60, 2, 1)
    model = create("vae", spec, network="mlp", latent=2, width=16, depth=1, samples=2000)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    every = (np.arange(16)[:, None] >> np.arange(4) & 1).astype(np.uint8).reshape(16, 2, 2)
    assert np.exp(model.log_prob({"grey": every})).sum() == pytest.approx(1.0, abs=0.02)


def test_a_bernoulli_law_refuses_grey_pixels_and_learns_from_their_chances() -> None:
    x, spec = images()
    model = learn(create("vae", spec, binarise=True, latent=2, width=16, depth=1), x, 20)
    with pytest.raises(SpecError, match="expected black and white pixels, got grey ones"):
        model.log_prob(x)
    black = {"grey": ((x["grey"] > 127) * 255).astype(np.uint8)}
    assert np.isfinite(model.log_prob(black)).all()


def test_sides_that_four_does_not_divide_are_padded() -> None:
    x, spec = images(30, 7)
    model = learn(create("vae", spec, network="conv", latent=2, width=32, depth=1, components=2), x, 3)
    assert model.decode(model.noise(2, torch.Generator().manual_seed(0)))["grey"].shape == (2, 7, 7)


def test_a_constant_pixel_has_finite_bounds() -> None:
    x = {"grey": np.zeros((50, 4, 4), np.uint8)}
    spec = Spec((Block("image", (Pixel.learn("grey", x["grey"]),), (4, 4)),))
    model = learn(create("vae", spec, network="mlp", latent=2, width=32, depth=1, components=2), x, 30)
    assert np.isfinite(model.log_prob(x)).all()


# -- deterministic ones ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [{}, {"tied": True}, {"nested": True}, {"depth": 0}, {"decoder_depth": 0}, {"depth": 0, "decoder_depth": 2}],
)
def test_an_autoencoder_starts_as_pca_and_only_gains(words: dict) -> None:
    x, spec = two_factors()
    model = create("autoencoder", spec, latent=2, **words)
    model.start(model.prepare(x))
    before = model.remarks(x)
    near = 0.1 if words.get("tied") else 1e-4
    assert before["squared error"] == pytest.approx(before["squared error of PCA of 2"], rel=near)
    learn(model, x, 100)
    assert model.remarks(x)["squared error"] < before["squared error"] * (1.3 if words.get("nested") else 1.01)


@pytest.mark.parametrize("tied", [False, True])
def test_an_autoencoder_follows_a_curve_that_pca_cannot(tied: bool) -> None:
    t = np.random.default_rng(0).uniform(-2, 2, 1000)
    x = {"a": np.round(t, 3), "b": np.round(np.sin(2 * t), 3), "c": np.round(np.cos(2 * t), 3)}
    spec = Spec.table(tuple(Real.learn(k, v, 3) for k, v in x.items()))
    model = learn(create("autoencoder", spec, latent=1, width=64, tied=tied), x, 600, rate=5e-3)
    said = model.remarks(x)
    assert said["squared error"] < 0.5 * said["squared error of PCA of 1"]


@pytest.mark.parametrize("conv", [False, True])
def test_a_decoder_may_have_a_width_and_a_depth_of_its_own(conv: bool) -> None:
    x, spec = images()
    plain = create("autoencoder", spec, latent=4, width=16, depth=2, conv=conv)
    others = [{"decoder_width": 64}, {"decoder_depth": 0}, {"decoder_width": 8, "decoder_depth": 3}]
    for words in others:
        model = create("autoencoder", spec, latent=4, width=16, depth=2, conv=conv, **words)
        assert sum(p.numel() for p in model.parameters()) != sum(p.numel() for p in plain.parameters())
        model.start(model.prepare(x))
        before = model.misfit(x).mean()
        assert learn(model, x, 40, rate=5e-3).misfit(x).mean() < 1.01 * before
    same = create("autoencoder", spec, latent=4, width=16, depth=2, conv=conv, decoder_width=16, decoder_depth=2)
    assert [p.shape for p in same.parameters()] == [p.shape for p in plain.parameters()]
    with pytest.raises(SpecError, match="expected no decoder_width and decoder_depth with tied=True"):
        create("autoencoder", spec, latent=4, tied=True, decoder_depth=1)
    with pytest.raises(SpecError, match="expected images whose sides divide by 16 for conv of depth 4"):
        create("autoencoder", spec, latent=4, conv=True, decoder_depth=4)


def test_tied_weights_are_one_tensor_convolutions_too() -> None:
    x, spec = images()
    model = create("autoencoder", spec, latent=4, width=16, depth=2, conv=True, tied=True)
    free = create("autoencoder", spec, latent=4, width=16, depth=2, conv=True)
    counts = [sum(p.numel() for p in m.parameters() if p.dim() > 1) for m in (model, free)]
    assert counts[1] == 2 * counts[0]
    learn(model, x, 60)
    assert model.remarks(x)["squared error"] < model.remarks(x)["squared error of PCA of 4"] * 1.05


def test_a_nested_code_is_ordered() -> None:
    x, spec = two_factors()
    model = learn(create("autoencoder", spec, latent=3, nested=True), x, 300)
    z, v = model.encode(x), model.vectors.prepare(x)
    with torch.no_grad():
        kept = [torch.cat([z[:, :k], 0 * z[:, k:]], 1) for k in (1, 2, 3)]
        errors = [float((v - model.rebuild(part)).square().mean()) for part in kept]
    assert errors[0] > errors[1] >= errors[2] * 0.98
    assert set(model.express(z[:, :2])) == set(x)


@pytest.mark.parametrize("penalty", ["topk", "l1", "kl"])
def test_sparse_codes_are_sparse_and_units_live(penalty: str) -> None:
    x, spec = two_factors()
    weight = {"topk": 0.0, "l1": 0.3, "kl": 1.0}[penalty]
    model = create("sparse", spec, latent=40, active=4, penalty=penalty, weight=weight)
    learn(model, x, 500, rate=5e-3)
    said = model.remarks(x)
    assert said["squared error"] < 0.6
    if penalty == "topk":
        assert said["active units of a row"] <= 4
    if penalty == "kl":
        assert float(model.encode(x).mean()) == pytest.approx(0.1, abs=0.05)
    assert said["share of units alive"] > 0.2


def test_dead_units_are_woken() -> None:
    x, spec = two_factors()
    model = create("sparse", spec, latent=30, active=3)
    model.start(model.prepare(x))
    with torch.no_grad():
        model.bias[10:] = -20.0
        model.asleep[10:] = 1000.0
    learn(model, x, 5)
    batch = model.prepare(x)
    model.train()
    model.loss(batch, Clock(0, 1), torch.Generator()).mean().backward()
    assert float(model.bias.grad[10:].abs().sum()) > 0


@pytest.mark.parametrize("depth", [1, 3])
def test_the_contractive_penalty_is_the_jacobians_norm(depth: int) -> None:
    x, spec = two_factors(30)
    model = create("contractive", spec, latent=4, width=16, depth=depth)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    v = model.vectors.prepare(x)
    each = torch.stack([torch.autograd.functional.jacobian(lambda u: model.code(u[None])[0], row) for row in v])
    wanted = each.square().sum((1, 2))
    g = torch.Generator().manual_seed(0)
    got = torch.stack([model.slope(v, model.code(v), g).detach() for _ in range(1 if depth == 1 else 3000)])
    error = 4 * got.std(0, correction=0) / math.sqrt(len(got)) + 1e-4
    assert ((got.mean(0) - wanted).abs() < error).all()


def test_contraction_makes_codes_move_less() -> None:
    x, spec = two_factors()
    moved = []
    for weight in (0.0, 30.0):
        model = learn(create("contractive", spec, latent=3, weight=weight), x, 400, rate=5e-3)
        v = model.vectors.prepare(x)
        moved.append(float(model.slope(v, model.code(v), torch.Generator()).mean().detach()))
    assert moved[1] < 0.5 * moved[0]


@pytest.mark.parametrize("corruption", ["auto", "gaussian", "mask", "swap"])
def test_rows_are_denoised(corruption: str) -> None:
    x, spec = two_factors(1500)
    model = learn(create("denoising", spec, corruption=corruption, strength=0.4, width=32), x, 400)
    said = model.remarks(two_factors(400, seed=3)[0])
    assert said["squared error"] < 0.75 * said["squared error as it came"]


@pytest.mark.parametrize("corruption", ["gaussian", "salt_pepper", "blur", "mask"])
def test_images_are_denoised(corruption: str) -> None:
    x, spec = images(200)
    strength = 1.0 if corruption == "blur" else 0.3
    model = learn(create("denoising", spec, corruption=corruption, strength=strength, width=16, depth=1), x, 150)
    said = model.remarks(images(100, seed=1)[0])
    assert said["squared error"] < 0.7 * said["squared error as it came"]
    assert model.restore(x)["grey"].shape == x["grey"].shape


def test_the_denoising_score_of_a_gaussian_is_known() -> None:
    """v ~ N(0, 1) in each number: v + s n has the score -v / (1 + s^2)."""
    rng = np.random.default_rng(0)
    x = {k: np.round(rng.normal(size=4000), 3) for k in "ab"}
    spec = Spec.table(tuple(Real.learn(k, v, 3) for k, v in x.items()))
    model = learn(create("denoising", spec, corruption="gaussian", strength=0.7, width=32), x, 500)
    v = torch.tensor([[0.0, 1.0], [-1.0, 0.5], [1.2, -0.7]])
    torch.testing.assert_close(model.score(v), -v / 1.49, atol=0.12, rtol=0.1)
    blind = create("denoising", spec, blind=True)
    with pytest.raises(Unsupported, match="the score needs Gaussian noise of one strength"):
        blind.score(v)


# -- symbols -----------------------------------------------------------------------------------------------------------


def test_symbols_of_a_quantiser_are_all_used_and_looked_up_again() -> None:
    torch.manual_seed(0)
    z = torch.randn(512, 4, 3)
    for made in (VQ(32, 3), ResidualVQ(16, 3, 2), FSQ((8, 5, 5))):
        made.train()
        for _ in range(60):
            made(z)
        near, codes, loss = made.eval()(z)
        assert codes.min() >= 0 and codes.max() < made.count and loss.shape == (512,)
        torch.testing.assert_close(made.look_up(codes), near, atol=1e-5, rtol=1e-5)
        assert usage(codes, made.count)[0] > (0.9 if not isinstance(made, FSQ) else 0.5)
        if isinstance(made, VQ):
            torch.testing.assert_close(made(near)[0], near, atol=1e-5, rtol=1e-5)


def test_dead_symbols_come_back() -> None:
    torch.manual_seed(0)
    made = VQ(16, 2, keep=0.8).train()
    z = torch.randn(256, 1, 2)
    made(z)
    made.vectors[:12] = 100.0
    made.sums[:12], made.chosen[:12] = 0.0, 0.0
    for _ in range(40):
        made(z)
    assert usage(made.eval()(z)[1], 16)[0] > 0.8


def test_rounding_reaches_every_code_whatever_the_precision() -> None:
    made = FSQ((1024,))
    z = torch.linspace(-6, 6, 40_000).view(-1, 1, 1)
    assert usage(made(z)[1], 1024)[0] > 0.99
    assert usage(made(z.bfloat16())[1], 1024)[0] > 0.2  # what bfloat16 inputs can name; indices are exact
    assert made(z.bfloat16())[1].max() > 1000


@pytest.mark.parametrize("quantiser", ["vq", "residual", "fsq"])
def test_vq_learns_draws_and_names_symbols(quantiser: str) -> None:
    x, spec = two_factors(1000)
    model = create("vq", spec, quantiser=quantiser, codes=16, groups=3, width=32, depth=1, components=3)
    learn(model, x, 700, rate=5e-3)
    alone = create("independent", spec).log_prob(x).mean()
    assert model.log_prob(x).mean() > alone + 0.3
    drawn = model.decode(model.noise(2000, torch.Generator().manual_seed(0)))
    real, made = (np.corrcoef(np.stack([y[k] for k in x])) for y in (x, drawn))
    assert np.abs(real - made).max() < 0.3
    assert model.remarks(x)["perplexity of symbols"] > 3


# -- codes bound as a whole --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["wae", "aae"])
def test_codes_have_the_law_of_the_noise_and_draws_that_of_the_data(name: str) -> None:
    x, spec = two_factors(1500)
    model = create(name, spec, latent=2, width=32, depth=1, components=3)
    learn(model, x, 900, rate=5e-3)
    z = model.encode(x)
    assert z.mean(0).abs().max() < 0.5 and (z.std(0) - 1).abs().max() < 0.6
    drawn = model.decode(model.noise(2000, torch.Generator().manual_seed(0)))
    real, made = (np.corrcoef(np.stack([y[k] for k in x])) for y in (x, drawn))
    assert np.abs(real - made).max() < 0.4


# -- bad words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("vae", {"prior": "cauchy"}, "expected prior among normal, mixture, vamp, realnvp, got 'cauchy'"),
        ("vae", {"posterior": "full"}, "expected posterior among diagonal, iaf"),
        ("vae", {"estimator": "elb"}, "expected estimator among elbo, iwae"),
        ("vae", {"likelihood": "mse"}, "expected likelihood among mixture, normal, student"),
        ("vae", {"network": "conv"}, "expected images for network='conv', got rows"),
        ("vae", {"binarise": True}, "expected images for binarise, got rows"),
        ("vae", {"latent": 0}, "expected latent of at least 1, got 0"),
        ("hvae", {"levels": 1}, "expected 2 to 8 levels"),
        ("autoencoder", {"latent": 99}, "expected a code of at most 5 numbers, as a row has, got 99"),
        ("sparse", {"penalty": "l2"}, "expected penalty among topk, l1, kl"),
        ("sparse", {"active": 500}, "expected active units from 1 to 255, got 500"),
        ("contractive", {"depth": 0}, "expected depth of at least 1"),
        ("denoising", {"corruption": "jpeg"}, "expected corruption among auto, gaussian"),
        ("denoising", {"corruption": "blur"}, "expected images for corruption='blur', got rows"),
        ("vq", {"quantiser": "lfq"}, "expected quantiser among vq, residual, fsq"),
        ("vq", {"quantiser": "fsq", "codes": 100}, "expected codes among 2, 4, 16, 64, 256, 1024, 4096 for fsq"),
    ],
)
def test_words_that_do_not_fit_are_refused(name: str, words: dict, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        create(name, two_factors(50)[1], **words)


# -- a law of codes, fitted afterwards ---------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", ["mixture", "gaussian_copula", "nsf"])
def test_a_deterministic_autoencoder_with_a_law_of_its_codes_draws_rows(prior: str) -> None:
    x, spec = two_factors()
    rebuilding = learn(create("autoencoder", spec, latent=2, depth=1), x, 150)
    model = Latent.learn(rebuilding, x, prior, steps=100)
    drawn = model.decode(model.noise(1500, torch.Generator().manual_seed(0)))
    real, made = (np.corrcoef(np.stack([y[k] for k in x])) for y in (x, drawn))
    assert np.abs(real - made).max() < 0.3
    torch.testing.assert_close(model.encode(x), rebuilding.encode(x))


def test_what_has_no_codes_gets_no_law_of_them() -> None:
    x, spec = two_factors(50)
    with pytest.raises(Unsupported, match="model 'gan' has no codes: these have: .*vae"):
        Latent.learn(create("gan", spec), x)


# -- collapse ----------------------------------------------------------------------------------------------------------


def test_as_many_numbers_can_live_as_eigenvalues_stand_out() -> None:
    rng = np.random.default_rng(0)
    two = rng.normal(size=(2000, 2)) @ rng.normal(size=(2, 6)) + 0.3 * rng.normal(size=(2000, 6))
    assert can_live(torch.from_numpy(two), 4) == 2
    assert can_live(torch.from_numpy(rng.normal(size=(2000, 6))), 4) == 0
    unit = torch.from_numpy(two / two.std(0))
    values = np.linalg.eigvalsh(np.cov(unit.numpy().T))
    for variance in (0.01, 1.0, 2.5):  # B6: a decoder variance of one above every eigenvalue leaves nothing alive
        assert can_live(unit, 6, variance=variance) == (values > variance).sum()


def noise_and_categories(n: int, constants: int = 0) -> tuple[Columns, Spec]:
    """Columns that say nothing of one another: three numbers, two categories, and some that never change."""
    rng = np.random.default_rng(3)
    x: Columns = {k: np.round(rng.normal(size=n), 3) for k in "abc"}
    x |= {f"k{j}": rng.integers(0, size, n).astype(np.int32) for j, size in enumerate((3, 6))}
    x |= {f"z{j}": np.full(n, 1.5) for j in range(constants)}
    fields = [
        Category.learn(k, v, tuple("uvwxyz")[: v.max() + 1]) if v.dtype == np.int32 else Real.learn(k, v, 3)
        for k, v in x.items()
    ]
    return x, Spec.table(tuple(fields))


@pytest.mark.parametrize("constants", [0, 20])
def test_categories_and_constant_columns_give_no_number_a_life(constants: int) -> None:
    x, spec = noise_and_categories(1000, constants)
    model = create("vae", spec, prior="normal", masked=0.0, warmup=0.0, **SMALL)
    assert model.forecast(model.prepare(x)).startswith("0 of 3 latent numbers can live")
    learn(model, x, 300)
    said = model.remarks(x)
    assert said["numbers that can live"] == 0 and said["divergence"] < 0.1
    assert model.words(said).startswith("nothing to learn")


def test_a_category_that_goes_along_with_another_gives_one_and_a_pixel_that_never_changes_none() -> None:
    x, spec = noise_and_categories(1000)
    x |= {"k1": (x["k0"] + 3 * (np.random.default_rng(0).random(1000) < 0.3)).astype(np.int32)}
    model = create("vae", spec, **SMALL | {"latent": 8})
    assert can_live(model.lens.plain(model.prepare(x)[: model.lens.parts]), 8) == 2
    rng = np.random.default_rng(0)
    v = np.concatenate([rng.normal(size=(500, 20)), np.ones((500, 20))], 1)
    assert can_live(torch.from_numpy(v), 16) == 0 == can_live(torch.ones(9, 4), 2)
    assert can_live(torch.from_numpy(np.concatenate([v, 2 * v[:, :1]], 1)), 16) == 1


def test_the_remarks_of_a_fit_say_whether_its_code_lives() -> None:
    x, _ = two_factors()
    said = vae_of_factors().remarks(x)
    assert said["bound"] > said["bound with codes of other rows"] + 1
    assert said["numbers in use"] >= 2 and 2 <= said["numbers that can live"] <= 3
    assert vae_of_factors().words(said).startswith("healthy")
    asleep = said | {"divergence": 0.01, "bound with codes of other rows": said["bound"]}
    assert (
        f"collapse: the code tells 0.01 nats of a row although {said['numbers that can live']:.0f} numbers could live"
        in diagnosis(asleep)
    )
    assert diagnosis(asleep | {"numbers that can live": 0.0}).startswith("nothing to learn")
    assert diagnosis({"validation": 1.0}) == ""


def exact_code(rows: int) -> tuple[Single, torch.Tensor, torch.Tensor, float]:
    """Probabilistic PCA with its exact posterior: (latents, told, z from q, I(x; z) = sum_j log(1 + |w_j|^2/s^2)/2)."""
    p = PPCA(rows, 2.0)
    e = torch.randn(rows, Q, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    told, law = p.told(), Single(StandardNormal(Q), Diagonal(Q))
    return law, told, law.infer(told, e[None])[0], float(-p.scale.log().sum())


def test_what_a_code_tells_and_each_number_costs_is_known_for_probabilistic_pca() -> None:
    law, told, z, exact = exact_code(3000)
    assert information(law, told, z[0]) == pytest.approx(exact, abs=0.06)
    each = law.each(told, z)
    wanted = -PPCA(4, 2.0).scale.log()
    torch.testing.assert_close(each, wanted, atol=0.05, rtol=0)
    torch.testing.assert_close(each.sum(), law.divergence(told).mean())
    learned = Single(FlowPrior(Q), Diagonal(Q)).each(told[:1500], z[:, :1500])
    torch.testing.assert_close(learned, wanted, atol=0.05, rtol=0)
    moved = torch.cat(
        [told[:, :Q] + 2.0, told[:, Q:]], 1
    )  # a code that the prior does not fit tells as much, costs more
    assert information(law, moved, z[0] + 2.0) == pytest.approx(exact, abs=0.06)
    assert float(law.divergence(moved).mean()) == pytest.approx(float(each.sum()) + 2 * Q, abs=0.4)
    few = information(law, *(part[:20] for part in (exact_code(20)[1], exact_code(20)[2][0])))
    assert few <= math.log(20)


def test_a_ladders_costs_sum_to_its_divergence() -> None:
    torch.manual_seed(0)
    ladder = Ladder(2, 3, 6, 1).double()
    with torch.no_grad():
        for p in ladder.parameters():
            p.add_(0.2 * torch.randn_like(p))
        told = torch.randn(1, ladder.size).double().expand(20_000, -1)
        z, _, excess = ladder.infer(told, torch.randn(1, 20_000, 6).double())
        each = ladder.each(told, z)
    assert (each > 0).all() and each.shape == (6,)
    assert float(each.sum()) == pytest.approx(float(excess.mean()), abs=4 * float(excess.std()) / 141)


def test_the_forecast_counts_the_eigenvalues_above_the_bar() -> None:
    rng = np.random.default_rng(0)
    scales = np.array([3.0, 2.0, 0.5, 0.5, 0.5, 0.5])
    v = torch.from_numpy(rng.normal(size=(5000, 6)) * scales)
    torch.testing.assert_close(spectrum(v), torch.from_numpy(scales**2).double(), rtol=0.06, atol=0.01)
    words = forecast(v, 4)
    assert words.startswith("2 of 4 latent numbers can live: so many eigenvalues of the data's covariance (9.01")
    assert "above beta (1) x the variance that a decoder would leave, 0.27" in words
    assert forecast(v, 2).endswith("every number does, more may help")
    assert forecast(v, 4, beta=20.0).endswith("relations that are not linear, or with a lower beta")
    nothing = forecast(torch.from_numpy(rng.normal(size=(5000, 6))), 4)
    assert nothing.startswith("0 of 4") and nothing.endswith(
        "a code would stay unused but for relations that are not linear"
    )


def test_a_fit_says_before_it_begins_what_can_live_unless_quiet(capsys) -> None:
    import pandas as pd

    import pofx

    frame = pd.DataFrame(two_factors(300)[0])
    fitted = pofx.fit(frame, model="vae", steps=3, **SMALL)
    assert "of 3 latent numbers can live: so many eigenvalues" in capsys.readouterr().err
    pofx.fit(frame, model="vae", steps=3, quiet=True, **SMALL)
    assert capsys.readouterr().err == ""
    shown = fitted.info()
    assert "nats of each number " in shown and "information at most" in shown and "means" in shown


def test_each_number_of_a_fit_is_weighed() -> None:
    x, _ = two_factors(seed=4)
    said = vae_of_factors().remarks(x)
    assert sum(said["nats of each number"]) == pytest.approx(said["divergence"], rel=0.2)
    assert said["nats of each number"] == sorted(said["nats of each number"], reverse=True)
    assert sorted(said["its place in the code"]) == [0, 1, 2]
    assert said["nats lost without it"][0] > 1 and said["nats lost without it"][1] > 1
    assert 0.7 < said["information"] <= said["information at most"] == pytest.approx(math.log(300))
    off = said | {"divergence": said["information"] + 3}
    assert diagnosis(off).startswith("off its prior: the code costs") and "tell nothing of a row" in diagnosis(off)


# -- cells that nobody saw ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vae", "independent", "gaussian_copula"])
def test_unknown_cells_are_integrated_out(name: str) -> None:
    import pandas as pd

    import pofx

    x, _ = two_factors(600)
    frame = pd.DataFrame(x)
    holes = frame.mask(np.random.default_rng(1).random(frame.shape) < 0.2)
    words = {"steps": 30} | SMALL if name == "vae" else {}
    model = pofx.fit(holes, model=name, missing="unknown", quiet=True, **words)
    assert not model.sample(300, seed=0, quiet=True).isna().any().any()
    blank = holes.iloc[:5].copy()
    blank[:] = np.nan
    assert np.abs(model.log_prob(blank)).max() < 1.0
    assert np.isfinite(model.log_prob(holes)).all()
