"""Adversarial networks: objectives, penalties and their modes, rows and images, conditions."""

import inspect
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from test_models_families import SMALL, mixed, noise, train
from torch import Tensor, nn

import pofx
from pofx import objectives as o
from pofx.cli import main
from pofx.errors import SpecError, Unsupported
from pofx.fields import Category, Integer, Pixel
from pofx.models import SIZES, create, load_class, names, sized
from pofx.models.gans import gan
from pofx.models.gans.gan import GAN
from pofx.models.model import Batch, Clock
from pofx.nn.mlp import MLP
from pofx.spec import Block, Columns, Spec


def game(x: Columns, spec: Spec, **words: object) -> GAN:
    model = create("gan", spec, **SMALL["gan"] | words)
    assert isinstance(model, GAN)
    return model


def pictures(n: int = 64, condition: bool = False) -> tuple[Columns, Spec]:
    """A bright bar at one of three places on a dark ground, 9 x 13, and the place as a condition."""
    random = np.random.default_rng(0)
    place = random.integers(0, 3, n).astype(np.int32)
    grey = random.integers(0, 30, (n, 9, 13)).astype(np.uint8)
    for row, at in zip(grey, place, strict=True):
        row[:, 4 * at : 4 * at + 3] += 200
    block = Block("image", (Pixel.learn("grey", grey),), (9, 13))
    label = Block("label", (Category.learn("label", place, ("a", "b", "c")),))
    return {"grey": grey, "label": place}, Spec((block,), label if condition else None)


def moved(model: GAN, batch: Batch, step: int = 0) -> list[str]:
    """The players of a step, each of whose losses reaches its own parameters, and the critic's no other."""
    players, turns = model.players(), []
    for player, loss in model.turns(batch, Clock(step, 10), torch.Generator().manual_seed(0)):
        model.zero_grad()
        loss.mean().backward()
        turns.append(player)
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in players[player])
        if player == "critic":
            assert all(p.grad is None for p in players["generator"])
    assert {id(p) for ps in players.values() for p in ps} == {id(p) for p in model.parameters()}
    return turns


# -- objectives and penalties ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(o.GAMES))
def test_a_generator_minimises_what_its_critic_wants_more_of(name: str) -> None:
    """Both losses fall as their side wins: slopes in the score of a fake example have opposite signs."""
    pair = o.GAMES[name]
    real, fake = (torch.tensor([0.3, 0.2], requires_grad=True) for _ in range(2))  # between the targets of all games
    (up,) = torch.autograd.grad(pair.critic(real, fake).sum(), fake)
    (down,) = torch.autograd.grad(pair.generator(real, fake).sum(), fake)
    assert (up > 0).all() and (down < 0).all()
    (lower,) = torch.autograd.grad(pair.critic(real, fake).sum(), real)
    assert (lower < 0).all()


def test_losses_of_the_games_in_closed_form() -> None:
    real, fake = torch.tensor([0.5]), torch.tensor([-2.0])
    sigmoid = torch.sigmoid
    expected = {
        "minimax": (-sigmoid(real).log() - (1 - sigmoid(fake)).log(), (1 - sigmoid(fake)).log()),
        "non-saturating": (-sigmoid(real).log() - (1 - sigmoid(fake)).log(), -sigmoid(fake).log()),
        "least-squares": ((real - 1) ** 2 + fake**2, (fake - 1) ** 2),
        "hinge": (torch.tensor([0.5]), torch.tensor([2.0])),
        "wasserstein": (torch.tensor([-2.5]), torch.tensor([2.0])),
        "relativistic": (-sigmoid(real - fake).log(), -sigmoid(fake - real).log()),
    }
    assert expected.keys() == o.GAMES.keys()
    for name, (critic, generator) in expected.items():
        torch.testing.assert_close(o.GAMES[name].critic(real, fake), critic)
        torch.testing.assert_close(o.GAMES[name].generator(real, fake), generator)


def test_finite_differences_are_the_squared_slope_on_average() -> None:
    g = torch.Generator().manual_seed(0)
    x, a = torch.randn(5, 3, generator=g, dtype=torch.float64), torch.tensor([3.0, -4.0, 12.0], dtype=torch.float64)
    for critic, exact in ((lambda v: v @ a, torch.full((5,), 169.0).double()),
                          (lambda v: 0.5 * v.square().sum(1), x.square().sum(1))):  # fmt: skip
        probes = torch.randn(4000, 5, 3, generator=g, dtype=torch.float64)
        found = torch.stack([o.finite_slope(critic, x, probe) for probe in probes]).mean(0)
        torch.testing.assert_close(found, exact, rtol=0.1, atol=0)


def test_a_one_sided_penalty_lets_flat_critics_be() -> None:
    x, y, mix = torch.randn(6, 2), torch.randn(6, 2), torch.rand(6)
    flat, steep = (lambda v: 0.5 * v[:, 0]), (lambda v: 3.0 * v[:, 0])
    torch.testing.assert_close(o.gradient_penalty(flat, x, y, mix), torch.full((6,), 0.25))
    torch.testing.assert_close(o.gradient_penalty(flat, x, y, mix, sides=1), torch.zeros(6))
    torch.testing.assert_close(o.gradient_penalty(steep, x, y, mix, sides=1), torch.full((6,), 4.0))


def test_a_trained_critic_tells_how_far_two_gaussians_are_apart() -> None:
    """W1 of N(0, I) and N(a, I) is |a|, 5: what a critic with the penalty of slopes ends at, within 5 %.

    Of a linear one the slope s is where 5 s - w (s - 1)^2 is highest, 1 + 5 / 2 w: 1.025 for a weight w of 100.
    """
    torch.manual_seed(0)
    shift = torch.tensor([3.0, -4.0])
    critic = MLP(2, 1, 32, 1, norm=False)
    optimiser = torch.optim.Adam(critic.parameters(), 3e-3, betas=(0.0, 0.9))
    score = lambda v: critic(v)[:, 0]  # noqa: E731
    for _ in range(600):
        x, y = torch.randn(256, 2), torch.randn(256, 2) + shift
        loss = o.wasserstein(score(x), score(y)) + 100 * o.gradient_penalty(score, x, y, torch.rand(256))
        optimiser.zero_grad()
        loss.mean().backward()
        optimiser.step()
    x, y = torch.randn(20_000, 2), torch.randn(20_000, 2) + shift
    with torch.no_grad():
        assert -o.wasserstein(score(x), score(y)).mean().item() == pytest.approx(5.0, rel=0.05)


# -- turns -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", sorted(o.GAMES))
def test_turns_move_one_player_each(objective: str) -> None:
    x, spec = mixed(51)
    model = game(x, spec, objective=objective, critics=2)
    assert moved(model, model.prepare(x)) == ["critic", "critic", "generator"]


@pytest.mark.parametrize("penalty", sorted(gan.WEIGHTS))
@pytest.mark.parametrize("images", [False, True])
def test_every_penalty_lets_both_players_move(penalty: str, images: bool) -> None:
    x, spec = pictures(12) if images else mixed(30)
    model = game(x, spec, penalty=penalty, objective="hinge")
    assert moved(model.train(), model.prepare(x)) == ["critic", "generator"]


def weight_of(model: GAN, x: Columns, step: int, **told: Tensor) -> float:
    """The mean penalty of a step."""
    batch = model.whole(model.prepare(x))
    g = torch.Generator().manual_seed(0)
    condition = batch[model.rivals.parts :]
    a = model.rivals.packed(model.real(batch, g))
    b = model.rivals.packed(model.fake(len(batch[0]), condition, g)).detach()
    cost = model.cost(a, b, condition, Clock(step, 10), g)
    return float(cost.detach().mean()) if isinstance(cost, Tensor) else cost


def test_a_lazy_penalty_is_as_strong_as_the_exact_one_over_time() -> None:
    x, spec = mixed(60)
    exact, lazy = (game(x, spec, penalty_mode=mode, lazy=4) for mode in ("exact", "lazy"))
    lazy.load_state_dict(exact.state_dict())
    assert weight_of(exact, x, 1) > 0
    assert sum(weight_of(lazy, x, step) for step in range(4)) == pytest.approx(4 * weight_of(exact, x, 0), rel=1e-5)
    assert [weight_of(lazy, x, step) > 0 for step in range(5)] == [True, False, False, False, True]


@pytest.mark.parametrize("penalty", ["r1+r2", "gradient"])
def test_the_weight_of_slopes_falls_by_half_a_cosine(penalty: str) -> None:
    x, spec = mixed(60)
    steady, falls = (game(x, spec, penalty=penalty, penalty_mode="exact", anneal=a) for a in (1.0, 0.2))
    falls.load_state_dict(steady.state_dict())
    at = [weight_of(falls, x, step) / weight_of(steady, x, step) for step in (0, 5, 10, 12)]  # of 10
    np.testing.assert_allclose(at, [1, 0.6, 0.2, 0.2], rtol=1e-5)
    assert weight_of(steady, x, 7) == weight_of(steady, x, 0)


@pytest.mark.parametrize("penalty", ["r1", "r2", "r1+r2"])
def test_squared_slopes_at_real_at_fake_and_at_both(penalty: str) -> None:
    x, spec = mixed(60)
    model, g = game(x, spec, penalty=penalty, penalty_mode="exact", weight=3.0), torch.Generator().manual_seed(0)
    batch = model.prepare(x)
    condition = batch[3:]
    a = model.rivals.packed(model.real(batch, g))
    b = model.rivals.packed(model.fake(60, condition, g)).detach()
    slopes = {"r1": o.r1(lambda v: model.rivals.score(v, condition), a),
              "r2": o.r2(lambda v: model.rivals.score(v, condition), b)}  # fmt: skip
    expected = 1.5 * torch.stack([slope for name, slope in slopes.items() if name in penalty]).sum(0)
    torch.testing.assert_close(model.cost(a, b, condition, Clock(1, 10), g), expected)


def test_finite_differences_are_watched() -> None:
    x, spec = mixed(600)
    model = game(x, spec, penalty_mode="finite-difference")
    exact = game(x, spec, penalty_mode="exact")
    model.load_state_dict(exact.state_dict())
    assert weight_of(model, x, 0) == pytest.approx(weight_of(exact, x, 0), rel=0.3)
    assert not model.ratios
    for step in (1, 50, 51, 500):
        weight_of(model, x, step)
    assert len(model.ratios) == 2 and abs(math.log(model.ratios[0])) < math.log(1.3)
    fresh = game(x, spec, penalty_mode="finite-difference")
    with pytest.warns(UserWarning, match="by finite differences is 5 times the exact one"):
        fresh._compare(torch.tensor([5.0]), torch.tensor([1.0]))
    assert fresh.remarks({}) == {"finite differences": 5.0}
    assert "was 5 times the exact one" in fresh.words(fresh.remarks({}))


def test_a_short_fit_keeps_the_ratio_of_finite_differences_and_the_weight_in_force(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": np.random.default_rng(0).normal(size=200)})
    words = {"model": "gan", "steps": 60, "width": 8, "latent": 2, "quiet": True}
    model = pofx.fit(frame, penalty_mode="finite-difference", **words)
    assert model.provenance["fit"]["finite differences"] == model.model.ratios[-1] and len(model.model.ratios) == 1
    assert "weight 1," in model.info() and "weight None" not in model.info()
    model.save(tmp_path / "m.pofx")
    assert "finite differences" in pofx.load(tmp_path / "m.pofx").info()


def test_spectral_norms_are_kept_in_a_bundle(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": np.random.default_rng(0).normal(size=200), "b": ["x", "y"] * 100})
    words = {"model": "gan", "steps": 5, "width": 8, "latent": 2, "quiet": True, "guard": False}
    model = pofx.fit(frame, penalty="spectral", encoder=True, **words)
    model.save(tmp_path / "m.pofx")
    again = pofx.load(tmp_path / "m.pofx")
    assert again.sample(50, seed=1, quiet=True).equals(model.sample(50, seed=1, quiet=True))
    assert (
        again.encode(frame).equals(model.encode(frame))
        and again.model.state_dict().keys() == model.model.state_dict().keys()
    )
    batch = model.model.prepare(model._own(model._read(frame)[2]))
    scores = [m.model.eval().attend(batch, None, torch.Generator().manual_seed(0)) for m in (model, again)]
    assert scores[0]["critic on training"] == scores[1]["critic on training"]


def test_small_and_large_are_widths(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": np.random.default_rng(0).normal(size=60), "b": ["x", "y"] * 30})
    for name in names():
        arguments = inspect.signature(load_class(name).__init__).parameters
        if name in ("any_order", "autoregressive"):
            assert sized(name, "small") == {"size": "small"}
        elif "width" in arguments:
            wide = arguments["width"].default
            assert [sized(name, size)["width"] for size in SIZES] == [wide // 2, wide, 2 * wide]
        else:
            with pytest.raises(SpecError, match=f"model '{name}' has no width for size='small': leave it out; the"):
                sized(name, "small")
    assert sized("vq", 3) == {"size": 3}
    with pytest.raises(SpecError, match="expected a size among small, base, large, got 'huge'"):
        sized("gan", "huge")
    frame.to_csv(tmp_path / "x.csv", index=False)
    told = ["fit", str(tmp_path / "x.csv"), "-o", str(tmp_path / "m.pofx"), "--model", "gan", "--steps", "1"]
    assert main([*told, "--size", "small", "--no-guard", "--quiet"]) == 0
    assert pofx.load(tmp_path / "m.pofx").model.config["width"] == 64
    assert main([*told, "--size", "small", "--set", "width=8", "--no-guard", "--quiet"]) == 0
    assert pofx.load(tmp_path / "m.pofx").model.config["width"] == 8


def test_clipped_weights_stay_within_and_spectral_ones_stretch_nothing() -> None:
    x, spec = pictures(16)
    model = game(x, spec, penalty="clip", objective="wasserstein", weight=0.02)
    list(model.turns(model.prepare(x), Clock(0, 10), torch.Generator().manual_seed(0)))
    assert all(p.abs().max() <= 0.02 for p in model.players()["critic"])
    model = game(x, spec, penalty="spectral").train()
    for _ in range(20):
        list(model.turns(model.prepare(x), Clock(0, 10), torch.Generator().manual_seed(0)))
    for part in model.rivals.critic.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            assert float(torch.linalg.matrix_norm(part.weight.detach().flatten(1), 2)) == pytest.approx(1.0, abs=0.1)


# -- what is learned ---------------------------------------------------------------------------------------------------


STRICT = {"objective": "wasserstein", "penalty": "gradient", "critics": 3, "weight": 1.0}


@pytest.mark.parametrize("config", [{}, STRICT, {"penalty_mode": "finite-difference"}])
def test_it_comes_closer_to_held_out_rows(config: dict) -> None:
    x, spec = mixed(1500)
    model = game(x, spec, **config)
    held = model.prepare(mixed(1000, seed=1)[0])
    before = model.validate(held, torch.Generator().manual_seed(0))
    train(model, x, steps=200)
    after = model.validate(held, torch.Generator().manual_seed(0))
    assert after.shape == (1000,) and after[0] < 0.7 * before[0]
    assert np.corrcoef(*(model.decode(noise(model, 2000))[k] for k in ("age", "group")))[0, 1] > 0.5


def test_it_draws_categories_as_its_softmax_says() -> None:
    x, spec = mixed()
    model = game(x, spec)
    model.start(model.prepare(x))
    with torch.no_grad():
        model.rivals.generator.last[-1].weight.zero_()
        rows = model.fake(4000, model.see_condition(None, 4000), torch.Generator().manual_seed(0))
    sight = model.rivals.sight
    drawn = rows.split([len(sight.numbers), *sight.sizes], 1)[2].mean(0)
    np.testing.assert_allclose(drawn.numpy(), spec.field("colour").mass, atol=0.03)
    y = model.decode(noise(model, 4000))
    assert (y["colour"] == -1).mean() == pytest.approx(spec.field("colour").mass[0], abs=0.03)


def test_images_of_any_sides_are_learned_by_label() -> None:
    """The bar that a label asks for is brighter than the two others."""
    x, spec = pictures(300, condition=True)
    model = game(x, spec, width=64, pack=1)
    own, c = {"grey": x["grey"]}, {"label": x["label"]}
    train(model, own, c, steps=150)
    asked = {"label": np.repeat(np.arange(3, dtype=np.int32), 50)}
    y = model.eval().decode(noise(model, 150), asked)["grey"]
    assert y.shape == (150, 9, 13) and y.dtype == np.uint8
    bars = np.stack([y[:, :, 4 * k : 4 * k + 3].mean((1, 2)) for k in range(3)], 1)
    assert (bars.argmax(1) == asked["label"]).mean() > 0.9


@pytest.mark.parametrize("images", [False, True])
def test_an_encoder_inverts_the_generator(images: bool) -> None:
    x, spec = pictures(300) if images else mixed(600)
    x = {f.name: x[f.name] for f in spec.fields}
    model = game(x, spec, encoder=True, width=64)
    assert model.abilities >= {"encode", "express", "interpolate"} and "encode" not in GAN.abilities
    assert moved(model, model.prepare(x)) == ["critic", "generator", "encoder"]
    before = model.misfit(x)
    train(model, x, steps=150, rate=1e-3 if images else 3e-3)
    z = model.eval().encode(x)
    assert z.shape == (len(before), 8) and model.encode({k: v[:0] for k, v in x.items()}).shape == (0, 8)
    assert model.misfit(x).mean() < 0.7 * before.mean()
    back = model.express(z)
    for field in spec.fields:
        assert back[field.name].dtype == field.dtype and back[field.name].shape == x[field.name].shape
    if not images:
        assert np.corrcoef(back["age"], x["age"])[0, 1] > 0.7 and (back["group"] == x["group"]).mean() > 0.7


def test_without_an_encoder_there_are_no_codes() -> None:
    x, spec = mixed(30)
    model = game(x, spec)
    for verb in (model.encode, model.misfit):
        words = r"model 'gan' cannot .*: fit it with encoder=True \(--set encoder=true\), or take one that can: .*vae"
        with pytest.raises(Unsupported, match="model 'gan' cannot" if verb == model.misfit else words):
            verb(x)


def test_pixels_go_to_the_critic_and_back() -> None:
    x, spec = pictures(20)
    model = game(x, spec)
    v = model.real(model.prepare(x), torch.Generator().manual_seed(0))
    assert v.shape == (20, 1, 9, 13) and v.min() >= -1 and v.max() <= 1
    back = ((v + 1) / 2 * 256).floor().numpy()[:, 0]
    np.testing.assert_array_equal(back, x["grey"])


def test_wgan_is_gan_with_the_textbooks_arguments() -> None:
    own, other = (inspect.signature(load_class(name).__init__).parameters for name in ("wgan", "gan"))
    changed = {k: v.default for k, v in own.items() if v.default != other[k].default}
    assert list(own) == list(other)  # so that an argument that gan gets is wgan's too
    assert changed == {
        "objective": "wasserstein", "penalty": "gradient", "penalty_mode": "exact", "critics": 5, "pack": 1,
    }  # fmt: skip
    x, spec = mixed(40)
    model = create("wgan", spec, **SMALL["gan"])
    assert (model.objective, model.penalty, model.mode, model.critics) == ("wasserstein", "gradient", "exact", 5)
    assert moved(model, model.prepare(x)) == ["critic"] * 5 + ["generator"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"objective": "least squares"}, "expected objective among relativistic, minimax, non-saturating, least"),
        ({"penalty": "r3"}, "expected penalty among none, clip, gradient, one-sided, r1, r2, r1"),
        ({"penalty_mode": "never"}, "expected penalty_mode among lazy, exact, finite-difference, got 'never'"),
        ({"penalty": "clip", "penalty_mode": "finite-difference"}, "expected penalty among r1, r2, r1\\+r2 for finite"),
        ({"weight": 0.0}, "expected a weight above 0, got 0.0: penalty='none' takes the penalty away"),
        ({"anneal": 1.5}, "expected anneal from 0 to 1, got 1.5: 1 keeps the weight as it is"),
        ({"critics": 0}, "expected critics of at least 1, got 0"),
    ],
)  # fmt: skip
def test_words_it_does_not_know(words: dict, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        game(*mixed(20), **words)


def test_a_lone_number_and_a_lone_category() -> None:
    some = np.arange(50, dtype=np.int32)
    for field, v in ((Integer.learn("v", some), some), (Category.learn("v", some % 2, ("a", "b")), some % 2)):
        model = game({}, Spec.table((field,)))
        assert moved(model, model.prepare({"v": v})) == ["critic", "generator"]


# -- truncation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("images", [False, True])
def test_truncated_noise_is_nearer_to_the_middle_and_its_uniform_numbers_stay(images: bool) -> None:
    model = game(*(pictures(12) if images else mixed(60)))
    z = noise(model, 50)
    near = model.truncated(z, 0.7)
    torch.testing.assert_close(near[:, :8], 0.7 * z[:, :8])
    assert torch.equal(near[:, 8:], z[:, 8:]) and near.shape == z.shape


def test_a_truncated_sample_varies_less_and_the_whole_one_keeps_its_bytes(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(300, 2))
    frame = pd.DataFrame({"a": np.round(x[:, 0], 3), "b": np.round(x[:, 0] + 0.3 * x[:, 1], 3)})
    model = pofx.fit(frame, model="gan", steps=10, quiet=True, latent=4, width=16)
    whole, same, near = (model.sample(900, seed=3, quiet=True, **how) for how in
                         ({}, {"truncation": 1.0}, {"truncation": 0.3}))  # fmt: skip
    assert whole.equals(same) and near["a"].std() < 0.8 * whole["a"].std()
    assert model.sample(40, seed=3, truncation=0.3, quiet=True).equals(near[:40])
    model.save(tmp_path / "m.pofx")
    told = [str(tmp_path / "m.pofx"), "-n", "40", "--seed", "3", "--truncation", "0.3", "--quiet"]
    assert main(["sample", *told, "-o", str(tmp_path / "near.csv")]) == 0
    np.testing.assert_allclose(pd.read_csv(tmp_path / "near.csv"), near[:40])
    for psi in (0, -1, 1.5, math.nan):
        with pytest.raises(SpecError, match="expected a truncation above 0 and up to 1, got"):
            model.sample(4, truncation=psi)
    other = pofx.fit(frame, model="independent", quiet=True)
    assert len(other.sample(4, truncation=1.0, quiet=True)) == 4
    with pytest.raises(Unsupported, match="model 'independent' cannot draw nearer to the middle: these can: gan, wgan"):
        other.sample(4, truncation=0.5)
