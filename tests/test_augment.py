"""Changes of images that a critic sees, and the chance of them: differentiable, an example's own, moved by a gap."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from test_gans import game, moved, pictures
from test_images import bars
from test_models_families import mixed
from torch import Tensor

import pofx
from pofx import objectives
from pofx.errors import SpecError
from pofx.models.gans import gan
from pofx.models.gans.gan import GAN
from pofx.models.model import Batch
from pofx.nn import augment as a
from pofx.training.loop import Trainer

CHANGES = (a.brightness, a.contrast, a.saturation, a.translation, a.cutout)
SHAPES = [(1, 9, 13), (2, 1, 5), (3, 17, 8), (4, 6, 30)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some(n: int, *shape: int) -> Tensor:
    return torch.rand(n, *shape, generator=seeded(9), dtype=torch.float64) * 2 - 1


# -- the changes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_no_chance_changes_nothing_and_draws_nothing(shape: tuple[int, ...]) -> None:
    x, g = some(4, *shape), seeded()
    before = g.get_state()
    assert a.augment(x, 0.0, g) is x and a.augment(x, torch.tensor(0.0), g) is x
    assert torch.equal(g.get_state(), before)


@pytest.mark.parametrize("shape", SHAPES)
def test_changes_are_differentiable_keep_shapes_and_follow_their_generator(shape: tuple[int, ...]) -> None:
    x = some(3, *shape).requires_grad_()
    for change in (*CHANGES, lambda v, g: a.augment(v, 0.7, g)):
        assert change(x, seeded()).shape == x.shape
        assert torch.equal(change(x, seeded()), change(x, seeded()))
        assert torch.autograd.gradcheck(lambda v, change=change: change(v, seeded()), x, fast_mode=True)


@pytest.mark.parametrize("chance", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("channels", [1, 3])
def test_each_change_meets_each_example_by_its_own_chance(chance: float, channels: int) -> None:
    """Examples that none of k changes meets keep their bytes: (1 - p)^(k - 1) of them, and a shift by no pixel."""
    x = some(3000, channels, 16, 16)
    same = (a.augment(x, chance, seeded()) == x).flatten(1).all(1).double().mean()
    others = 4 if channels == 3 else 3
    assert float(same) == pytest.approx((1 - chance) ** others * (1 - chance + chance / 25), abs=0.03)


def test_what_each_change_keeps() -> None:
    x = some(200, 3, 16, 24)
    off = a.brightness(x, seeded()) - x
    assert torch.allclose(off, off[:, :1, :1, :1].expand_as(off)) and off.abs().max() <= 0.5
    for change, over, least, most in ((a.contrast, (1, 2, 3), 0.5, 1.5), (a.saturation, (1,), 0, 2)):
        y, mean = change(x, seeded()), x.mean(over, keepdim=True)
        assert torch.allclose(y.mean(over, keepdim=True), mean)
        scale = ((y - mean) / (x - mean)).flatten(1).median(1).values
        assert torch.allclose(y - mean, scale.view(-1, 1, 1, 1) * (x - mean))
        assert scale.min() >= least and scale.max() <= most and scale.std() > 0.2


def test_a_translation_is_a_shift_by_up_to_an_eighth_with_edges_repeated() -> None:
    x = some(300, 1, 16, 24)
    wide = torch.nn.functional.pad(x, (3, 3, 2, 2), mode="replicate")
    shifts = [wide[:, :, i : i + 16, j : j + 24] for i in range(5) for j in range(7)]
    found = torch.stack([(a.translation(x, seeded()) == shift).flatten(1).all(1) for shift in shifts])
    assert (found.sum(0) == 1).all() and found.any(1).all()


def test_a_cutout_is_the_middle_shade_in_up_to_a_quarter() -> None:
    x = some(300, 2, 16, 24) + 3
    y = a.cutout(x, seeded())
    gone = y == 0
    assert torch.equal(torch.where(gone, x, y), x) and torch.equal(gone[:, :1], gone[:, 1:])
    share = gone[:, 0].double().mean((1, 2))
    assert 0 < share.min() < 0.15 and 0.2 < share.max() <= 0.25
    sides = gone[:, 0].any(2).sum(1) * gone[:, 0].any(1).sum(1)
    assert torch.equal(sides, gone[:, 0].sum((1, 2)))  # a rectangle


# -- the game under them -----------------------------------------------------------------------------------------------


def test_both_players_move_under_changes_and_a_half_is_not_none() -> None:
    x, spec = pictures(12)
    own = {"grey": x["grey"]}
    for words in ({"penalty_mode": "exact"}, {"penalty_mode": "finite-difference"}, {"penalty": "one-sided"}):
        model = game(x, spec, augment=0.6, **words)
        assert moved(model, model.prepare(own)) == ["critic", "generator"]
    model = game(x, spec, augment=0.6, pack=2)
    v = model.real(model.prepare(own), seeded())
    assert model.seen(v, seeded()).shape == (6, 2, 9, 13)
    assert not torch.equal(model.seen(v, seeded()), model.rivals.packed(v))
    assert torch.equal(game(x, spec, augment="none").seen(v, seeded()), model.rivals.packed(v))


def test_words_of_the_chance() -> None:
    x, spec = pictures(4)
    for given, begun, adaptive in (("auto", 0, True), ("none", 0, False), (0, 0, False), (0.25, 0.25, False)):
        model = game(x, spec, augment=given)
        assert float(model.chance) == begun and model.adaptive == adaptive
    for wrong in ("much", 1.0, -0.1, math.nan):
        with pytest.raises(SpecError, match="expected augment as 'auto', 'none' or a number from 0 to below 1, got"):
            game(x, spec, augment=wrong)
    table = game(*mixed(20))
    assert not table.adaptive and "chance" not in table.state_dict()
    with pytest.raises(SpecError, match="expected images for augment=0.3, got rows: leave it at 'auto'"):
        game(*mixed(20), augment=0.3)


def judged(model: GAN, monkeypatch: pytest.MonkeyPatch, *scores: float) -> dict[str, float]:
    """What `attend` says where D says these of training, generated and held-out examples, in the order it asks."""
    left = list(scores)
    monkeypatch.setattr(model.rivals, "score", lambda packs, condition: torch.full((len(packs),), left.pop(0)))
    batch = model.prepare({"grey": pictures(12)[0]["grey"]})
    return model.attend(batch, batch[0:1] if len(scores) == 3 else None, seeded())


def test_the_chance_follows_the_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    model = game(*pictures(12))
    said = judged(model, monkeypatch, 3.0, -1.0, 1.0)
    critic = {"critic on training": 3, "critic on held-out": 1, "critic on generated": -1}
    assert said == critic | {"gap": 0.5, "gap error": 0}
    assert float(model.chance) == pytest.approx(gan.STRIDE)
    for _ in range(40):
        judged(model, monkeypatch, 3.0, -1.0, 1.0)
    assert float(model.chance) == pytest.approx(gan.MOST)
    judged(model, monkeypatch, 3.0, -1.0, 2.5)
    assert float(model.chance) == pytest.approx(gan.MOST - gan.STRIDE)
    for scores in ((3.0, 3.0, 1.0), (3.0, 4.0, 1.0), (3.0, -1.0)):  # D does not tell them apart; no held-out rows
        assert math.isnan(judged(model, monkeypatch, *scores)["gap"])
        assert float(model.chance) == pytest.approx(gan.MOST - gan.STRIDE)
    for _ in range(40):
        judged(model, monkeypatch, 3.0, -1.0, 3.5)
    assert float(model.chance) == 0
    fixed = game(*pictures(12), augment=0.4)
    assert judged(fixed, monkeypatch, 3.0, -1.0, 1.0)["gap"] == 0.5 and float(fixed.chance) == pytest.approx(0.4)


@pytest.mark.parametrize("images", [False, True])
def test_a_critic_that_knows_its_rows_by_heart_shows_a_gap(images: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """D learns 16 of 200 rows beside a generator that stands still."""
    x, spec = pictures(200, condition=True) if images else mixed(200)
    c = {"label": x.pop("label")} if images else None
    model = game(x, spec, penalty="none", pack=1)
    data = model.prepare(x, c)
    few, others = tuple(part[:16] for part in data), tuple(part[16:] for part in data)
    assert abs(_gap(model, few, few)) < 0.5
    optimiser = torch.optim.Adam(model.players()["critic"], 3e-3)
    monkeypatch.setattr(model, "adaptive", False)
    for _ in range(60):
        x1, y1 = model.real(few, seeded()), model.fake(16, few[model.rivals.parts :], seeded()).detach()
        both = tuple(torch.cat([part, part]) for part in few[model.rivals.parts :])
        real, fake = model.rivals.score(torch.cat([x1, y1]), both).chunk(2)
        loss = (torch.nn.functional.softplus(fake) + torch.nn.functional.softplus(-real)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert _gap(model, few, others) > _gap(model, few, few)


def _gap(model: GAN, train: Batch, valid: Batch) -> float:
    gap = model.attend(train, valid, seeded())["gap"]
    return 0.0 if math.isnan(gap) else gap


def trainer(model: GAN, x: np.ndarray) -> Trainer:
    data = model.prepare({"grey": x})
    return Trainer(model, data, data, 5, "cpu", batch=8)


def attended(t: Trainer, steps: int) -> Trainer:
    """So many steps, and a look at the critic after each."""
    for _ in range(steps):
        t.advance(8)
        t.model.attend(t.train, t.valid, seeded(t.step))
    return t


def test_a_fit_is_reproducible_and_a_resumed_one_keeps_its_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gan, "TARGET", -math.inf)  # every gap is above it,
    monkeypatch.setattr(objectives, "SURE", -math.inf)  # and says something
    x, spec = pictures(24)
    whole, again, rest = (trainer(game(x, spec, width=8, augment="auto"), x["grey"]) for _ in range(3))
    attended(whole, 8)
    state = attended(again, 5).state()
    assert float(again.model.chance) > 0
    rest.restore(*state)
    assert float(rest.model.chance) == float(again.model.chance)
    for other in (attended(again, 3), attended(rest, 3)):
        assert all(torch.equal(other.model.state_dict()[k], v) for k, v in whole.model.state_dict().items())


def test_a_chance_is_saved_and_loaded(tmp_path: Path) -> None:
    words = {"model": "gan", "steps": 4, "quiet": True, "latent": 4, "width": 8}
    model = pofx.fit(bars(60, channels=3), augment=0.3, **words)
    assert float(model.model.chance) == pytest.approx(0.3)
    model.save(tmp_path / "m.pofx")
    again = pofx.load(tmp_path / "m.pofx")
    assert float(again.model.chance) == pytest.approx(0.3)
    assert np.array_equal(again.sample(5, seed=1, quiet=True), model.sample(5, seed=1, quiet=True))
