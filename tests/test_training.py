"""The loop: the same seed gives the same weights, interrupted or not; bad steps are skipped; overfitting stops."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from made import mixed, spec_of
from torch import Tensor

from pofx.errors import BadFile, SpecError
from pofx.models import create, names
from pofx.models.model import Batch, Clock, Model, Recipe
from pofx.nn.mixed import mix
from pofx.training import loop
from pofx.training.checkpoint import Checkpoint
from pofx.training.loop import Feed, Trainer, rate

RESUMED = ("vae", "iwae", "hvae", "vq", "wae", "aae", "sparse", "contractive", "denoising")


def trainer(name: str = "any_order", **recipe: object) -> Trainer:
    x = mixed()
    model = create(name, spec_of(x), seed=0)
    torch.manual_seed(5)
    return Trainer(model, model.prepare(x), model.prepare(mixed(100, 1)), 5, "cpu", **({"batch": 32} | recipe))


def weights(model: Model) -> list[np.ndarray]:
    return [p.detach().numpy().copy() for p in model.parameters()]


@pytest.fixture(autouse=True)
def _own_random_state() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.mark.parametrize("name", [*RESUMED, "gan", *names("flows")])
def test_a_fit_resumed_ends_as_one_unbroken(name: str, tmp_path: Path) -> None:
    assert name in names()
    whole = trainer(name)
    whole.run(24)
    place = Checkpoint(tmp_path / "c", {"fit": 1})
    first = trainer(name)
    for _ in range(11):  # the state in the middle of a run, as a kill would leave it
        first.advance(24)
        if first.step % (24 // 16 or 1) == 0:
            first.history.looks.append({"step": first.step, "valid": first.look() or float("nan")})
        first._attend()
    place.write(*first.state(), 24)
    torch.manual_seed(99)
    second = trainer(name)
    state = place.read()
    assert state is not None
    second.restore(state[0], state[1])
    second.run(state[2])
    assert second.history.looks == whole.history.looks
    assert all(np.array_equal(a, b) for a, b in zip(weights(whole.model), weights(second.model), strict=True))


@pytest.mark.parametrize("name", ["any_order", "glow"])
def test_minutes_become_steps_without_a_trace(name: str) -> None:
    import time

    t = trainer(name)
    before = weights(t.model)
    steps = t.plan(None, time.monotonic() + 3.0)
    assert steps >= 10
    assert t.step == 0
    assert all(np.array_equal(a, b) for a, b in zip(before, weights(t.model), strict=True))


def test_a_checkpoint_of_another_fit(tmp_path: Path) -> None:
    Checkpoint(tmp_path / "c", {"seed": 1, "model": "vae"}).write(*trainer().state(), 5)
    with pytest.raises(BadFile, match="another fit: seed differ"):
        Checkpoint(tmp_path / "c", {"seed": 2, "model": "vae"}).read()


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    assert Checkpoint(tmp_path / "c", {}).read() is None


class Hurdle(Model):
    """Minimises |w - 1|, with a loss that is no number at some steps."""

    abilities = frozenset()

    def __init__(self, bad: set[int]) -> None:
        super().__init__(spec_of(mixed()))
        self.weight, self.bad = torch.nn.Parameter(torch.zeros(1)), bad

    def recipe(self, rows: int) -> Recipe:
        return Recipe(steps=100, batch=8, rate=0.05, warmup=1)

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        loss = (self.weight - 1).abs().expand(8)
        return loss * float("nan") if clock.step in self.bad else loss

    def validate(self, batch: Batch, generator: torch.Generator) -> Tensor:
        return (self.weight - 1).abs()


def test_steps_that_are_no_numbers_are_skipped() -> None:
    t = Trainer(Hurdle({3, 4, 40}), (torch.zeros(64, 1),), (torch.zeros(8, 1),), 0, "cpu")
    history = t.run(100)
    assert history.skipped == 3
    assert abs(t.model.weight.item() - 1) < 0.1


def test_a_run_of_bad_steps_goes_back_to_the_average_with_half_the_rate_and_says_so() -> None:
    t = Trainer(Hurdle(set(range(20, 30))), (torch.zeros(64, 1),), None, 0, "cpu")
    with pytest.warns(
        UserWarning, match="step 30: 10 losses in a row were no numbers; .* half the rate .time 1.; first: the loss of"
    ):
        history = t.run(60)
    assert t.players["model"].scale == 0.5
    assert torch.isfinite(t.model.weight).all()
    assert history.skipped == 10 and history.retreats == 1


class Steep(Hurdle):
    """A loss of finite value whose slope in one of two weights is infinite at step 3."""

    def __init__(self) -> None:
        super().__init__(set())
        self.other = torch.nn.Parameter(torch.zeros(()))

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> torch.Tensor:
        return super().loss(batch, clock, generator) + (self.other.abs().sqrt() if clock.step == 3 else self.other)


def test_what_is_no_number_is_named() -> None:
    t = Trainer(Hurdle({3}), (torch.zeros(64, 1),), None, 0, "cpu")
    assert t.run(6).culprit == "the loss of 'model'"
    t = Trainer(Steep(), (torch.zeros(64, 1),), None, 0, "cpu")
    with torch.no_grad():
        t.model.other.zero_()
    t.players["model"].optimiser.step = lambda rate, shrink: None
    history = t.run(6)
    assert history.skipped == 1 and history.culprit == "the gradient of 'other'"


def test_a_fit_that_is_lost_ends_with_what_it_had_and_one_that_never_began_is_an_error() -> None:
    t = Trainer(Hurdle(set(range(40, 400))), (torch.zeros(64, 1),), (torch.zeros(8, 1),), 0, "cpu")
    with pytest.warns(UserWarning, match="10 losses in a row"):
        history = t.run(400)
    assert history.stopped == "losses were no numbers" and history.steps == 90 and history.retreats == 5
    assert abs(t.model.weight.item() - 1) < 0.5
    never = Trainer(Hurdle(set(range(400))), (torch.zeros(64, 1),), None, 0, "cpu")
    with (
        pytest.warns(UserWarning, match="10 losses"),
        pytest.raises(SpecError, match="none of 50 steps had a loss that is a number"),
    ):
        never.run(400)


class Tally(Hurdle):
    """A buffer that bad steps spoil and that the loss depends on."""

    def __init__(self, bad: set[int]) -> None:
        super().__init__(bad)
        self.register_buffer("tally", torch.zeros(1))

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        if self.training:
            self.tally += float("nan") if clock.step in self.bad else 1.0
        return (self.weight - 1).abs().expand(8) + 0 * self.tally

    def validate(self, batch: Batch, generator: torch.Generator) -> Tensor:
        return (self.weight - 1).abs() + 0 * self.tally


class Huge(Hurdle):
    """Validation figures beyond anything that a start value would hold."""

    def validate(self, batch: Batch, generator: torch.Generator) -> Tensor:
        return 1e13 * (1 + (self.weight - 1).abs())


def test_b5_the_best_of_huge_losses_is_kept() -> None:
    t = Trainer(Huge(set()), (torch.zeros(64, 1),), (torch.zeros(8, 1),), 0, "cpu")
    history = t.run(100)
    assert history.best is not None and history.best >= 1e13 and abs(t.model.weight.item() - 1) < 0.1


def test_what_a_model_counts_beside_its_weights_goes_back_too() -> None:
    t = Trainer(Tally({25}), (torch.zeros(64, 1),), (torch.zeros(8, 1),), 0, "cpu")
    with pytest.warns(UserWarning, match="step 35: 10 losses"):
        t.run(60)
    assert t.model.tally.isfinite().all() and abs(t.model.weight.item() - 1) < 0.3


def test_a_validation_that_is_never_a_number_leaves_the_last_average() -> None:
    t = Trainer(Worse(set()), (torch.zeros(64, 1),), (torch.zeros(8, 1),), 0, "cpu")
    t.model.validate = lambda batch, generator: torch.tensor([float("nan")])
    with pytest.warns(UserWarning, match="the loss of the validation rows is no number"):
        t.run(40)
    assert abs(t.model.weight.item() - 1) < 0.5


class Worse(Hurdle):
    """Validation that only gets worse."""

    def validate(self, batch: Batch, generator: torch.Generator) -> Tensor:
        return self.weight.clone()


def test_a_fit_that_overfits_stops_and_keeps_the_best() -> None:
    t = Trainer(Worse(set()), (torch.zeros(64, 1),), (torch.zeros(8, 1),), 0, "cpu")
    history = t.run(160)
    assert history.stopped == "no better on validation rows"
    assert history.best_step == 10
    assert history.steps < 160


class Watched(Hurdle):
    """Keeps the progress that each step was told."""

    def __init__(self) -> None:
        super().__init__(set())
        self.told: list[float] = []

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        self.told.append(clock.progress)
        return super().loss(batch, clock, generator)


@pytest.mark.parametrize(
    ("later", "most", "steps"), [(1.0, None, 160), (0.25, None, 400), (4.0, None, 100), (0.25, 200, 200)]
)
def test_a_fit_ends_in_time_though_steps_get_slower_or_faster(later: float, most: int | None, steps: int) -> None:
    t = Trainer(Watched(), (torch.zeros(64, 1),), (torch.zeros(8, 1),), 0, "cpu", most=most, patience=0)

    def now() -> float:
        """A second a step at first, of 80 steps."""
        return min(t.step, 80) + later * max(t.step - 80, 0)

    history = t.run(160, until=160.0, clock=now)
    assert history.steps == history.planned == pytest.approx(steps, rel=0.1)
    assert now() <= 160.0 * 1.1
    told = np.array(t.model.told)
    assert (np.diff(told) > 0).all() and 0.9 < told[-1] < 1
    assert np.array_equal(told[:80], np.arange(80) / 160)


def test_a_plan_that_was_changed_is_kept(tmp_path: Path) -> None:
    t = Trainer(Watched(), (torch.zeros(64, 1),), None, 0, "cpu")
    t.run(160, until=160.0, clock=lambda: 2.0 * t.step)
    place = Checkpoint(tmp_path / "c", {})
    place.write(*t.state(), t.history.planned)
    again, held = Trainer(Watched(), (torch.zeros(64, 1),), None, 0, "cpu"), place.read()
    assert held is not None
    again.restore(held[0], held[1])
    assert again.since == t.since != (0, 0.0)


def test_an_epoch_shows_each_row_once() -> None:
    feed = Feed((torch.arange(100),), 20, torch.Generator().manual_seed(0))
    first = torch.cat([feed.next()[0] for _ in range(5)])
    second = torch.cat([feed.next()[0] for _ in range(5)])
    assert first.sort().values.tolist() == list(range(100)) == second.sort().values.tolist()
    assert first.tolist() != second.tolist()


def test_the_rate_rises_and_falls() -> None:
    recipe = Recipe(steps=100, batch=1, rate=1.0, warmup=10, floor=0.1)
    curve = [rate(recipe, Clock(step, 100)) for step in range(100)]
    assert curve[0] == pytest.approx(0.1, abs=0.01)
    assert max(curve) == pytest.approx(1.0, abs=0.03)
    assert curve[-1] == pytest.approx(0.1, abs=0.01)


def test_no_rows() -> None:
    with pytest.raises(SpecError, match="at least one training row"):
        Trainer(Hurdle(set()), (torch.zeros(0, 1),), None, 0, "cpu")


@pytest.mark.parametrize(
    ("width", "precision", "coarse"), [(256, "auto", True), (256, "float32", False), (8, "auto", False)]
)
def test_wide_networks_train_in_bfloat16_and_score_in_their_own_precision(
    monkeypatch: pytest.MonkeyPatch, width: int, precision: str, coarse: bool
) -> None:
    monkeypatch.setattr(loop, "repays", lambda device: True)
    x = mixed()
    model = create("vae", spec_of(x), 0, width=width, masked=0.0)
    t = Trainer(model, model.prepare(x), None, 0, "cpu", precision)
    assert t.mixed == coarse
    score = model.eval().log_prob(x)

    def told(gradient: bool) -> torch.Tensor:
        with torch.set_grad_enabled(gradient):
            return model.train().encoder(torch.linspace(-1, 1, 3 * width).view(3, width), torch.zeros(3, 0)).detach()

    assert told(True).dtype == torch.float32
    assert (float((told(True) - told(False)).abs().max()) > 1e-4) == coarse
    mix(model, False)
    np.testing.assert_array_equal(model.eval().log_prob(x), score)
    mix(model, coarse, narrow=False)
    t.run(3)
    assert all(torch.isfinite(p).all() and p.dtype == torch.float32 for p in model.parameters())
