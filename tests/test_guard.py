"""The guard: its figures have closed forms, injected failures are named, healthy samples are not accused."""

import html
import math
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm

import pofx
from pofx.cli import main
from pofx.errors import Failed, SpecError
from pofx.evaluate import Evidence
from pofx.fields import Category, Pixel, Real
from pofx.judging import publish
from pofx.metrics import count, take
from pofx.metrics.distance import Points
from pofx.metrics.distance import nearest as rows_nearest
from pofx.metrics.fresh_critic import fresh_critic
from pofx.metrics.prdc import frechet, nearest, prdc
from pofx.models.gans.gan import GAN
from pofx.spec import Block, Columns, Spec
from pofx.training.examination import Examiner, trivial
from pofx.training.figures import Examination, Figure, Protocol, Skill
from pofx.training.guard import CHANGES, RETURNS, WARMING, Guard, Pulse, Standing, alike, final
from pofx.training.loop import LOST, Trainer
from pofx.training.verdict import judge

MIDDLES = np.array([(-3.0, -3.0), (3.0, 3.0), (-3.0, 3.0), (3.0, -3.0)])
SHARES = (0.4, 0.3, 0.2, 0.1)


def rows(n: int, seed: int, only: tuple[int, ...] = (0, 1, 2, 3)) -> Columns:
    """Four groups in a plane, with their name, and numbers that follow them."""
    rng = np.random.default_rng(seed)
    k = rng.choice(4, 8 * n, p=SHARES)
    k = k[np.isin(k, only)][:n]
    x = np.round(MIDDLES[k] + 0.5 * rng.normal(size=(n, 2)), 3)
    more = np.round(x @ [0.5, -1.0] + 0.2 * rng.normal(size=n), 3)
    return {"a": x[:, 0], "b": x[:, 1], "c": more, "kind": k.astype(np.int32)}


TRAIN, HELD = rows(3000, 0), rows(600, 1)
SPEC = Spec.table(
    (*(Real.learn(name, TRAIN[name], 3) for name in "abc"), Category.learn("kind", TRAIN["kind"], levels=tuple("pqrs")))
)


@pytest.fixture(scope="module")
def examiner() -> Examiner:
    return Examiner(SPEC, TRAIN, HELD)


def names(examiner: Examiner, draws: Callable[[int, int], Columns]) -> dict[str, int]:
    """The findings on samples, and their levels."""
    found = examiner.examine(draws(examiner.n, 5), draws(2 * examiner.n, 6))
    return {f.name: f.level for f in judge(found).findings}


# -- figures -----------------------------------------------------------------------------------------------------------


def test_frechet_of_normals_is_that_of_their_moments() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200_000, 2)), 3 + 2 * rng.normal(size=(200_000, 2))
    assert frechet(x, y) == pytest.approx(2 * 9 + 2 * 1, rel=0.01)  # |m - m'|^2 + sum of (s - s')^2
    assert frechet(x, x) == pytest.approx(0, abs=1e-9)
    one = np.ones((50, 3))
    assert frechet(one, one + 1) == pytest.approx(3)  # no variance at all: no root of a negative number


def test_rates_of_one_law_and_of_a_part_of_it() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(1000, 4)).astype(np.float32), rng.normal(size=(1000, 4)).astype(np.float32)
    same = prdc(x, y)
    assert same["coverage"] == pytest.approx(0.969, abs=0.02)  # 1 - prod (N - i) / (2 N - i)
    assert same["density"] == pytest.approx(1, abs=0.1)
    narrow = prdc(0.1 * x, y)
    assert narrow["precision"] > 0.99 and narrow["recall"] < 0.3 and narrow["coverage"] < 0.4
    far = prdc(x + 100, y)
    assert max(far.values()) == 0


def test_a_fresh_critic_finds_the_area_of_two_normals() -> None:
    rng = np.random.default_rng(2)

    def draw(n: int, shift: float) -> np.ndarray:
        return (rng.normal(size=(n, 3)) + [shift, 0, 0]).astype(np.float32)

    area, error = fresh_critic(draw(3000, 1), draw(3000, 0), draw(1500, 1), draw(1500, 0))
    assert area == pytest.approx(norm.cdf(1 / math.sqrt(2)), abs=4 * error + 0.01)
    area, error = fresh_critic(draw(3000, 0), draw(3000, 0), draw(1500, 0), draw(1500, 0))
    assert area == pytest.approx(0.5, abs=4 * error + 0.01)


def test_skill_is_zero_of_trivial_and_one_of_training_rows(examiner: Examiner) -> None:
    poor = examiner.examine(trivial(SPEC, TRAIN, examiner.n, np.random.default_rng(3)))
    good = examiner.examine(rows(examiner.n, 4))
    for name, skill in poor.skill.items():
        assert skill.measurable
        assert skill.value == pytest.approx(0, abs=4 * skill.error)
        assert good.skill[name].value == pytest.approx(1, abs=4 * good.skill[name].error)
        assert poor.rates[name]["coverage"] < examiner.rates[name]["coverage"] - 0.1
    assert good.coverage == pytest.approx(1, abs=0.1)


def test_skill_is_not_measured_where_columns_say_nothing_of_one_another() -> None:
    rng = np.random.default_rng(0)
    train, held, more = ({k: np.round(rng.normal(size=n), 3) for k in "ab"} for n in (2000, 500, 500))
    spec = Spec.table(tuple(Real.learn(k, v, 3) for k, v in train.items()))
    found = Examiner(spec, train, held).examine(more)
    assert not any(s.measurable for s in found.skill.values())
    assert not judge(found).findings
    assert {s["value"] for s in found.to_json()["skill"].values()} == {None}
    off = judge(Examiner(spec, train, held).examine({k: v + 1.5 for k, v in more.items()}))
    assert off.refused and "worse than trivial" in {f.name for f in off.findings}


def test_one_row_again_and_again_is_refused_where_the_floor_is_noise() -> None:
    few = Examiner(SPEC, take(TRAIN, np.arange(200)), take(HELD, np.arange(60)))
    point = few.examine({k: np.repeat(v, few.n) for k, v in rows(1, 5).items()})
    assert all(s.loses for s in point.skill.values()) and judge(point).refused


def test_nearest_of_vectors_is_that_of_rows_of_numbers() -> None:
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(n, 3)) for n in (40, 70))
    rows = [Points(v, np.zeros((len(v), 0), np.int16)) for v in (x, y)]
    for k in (1, 4):
        assert np.allclose(nearest(x, y, k), np.sqrt(rows_nearest(*rows, 2, k)[0]), rtol=1e-5)
    assert len(nearest(x[:0], y)) == 0


def test_figures_of_other_protocols_are_not_compared() -> None:
    one = Skill(0.5, 0.1, Protocol("levels", 100, "validation", 0), True)
    other = Skill(0.9, 0.1, Protocol("levels", 200, "validation", 0), True)
    with pytest.raises(SpecError, match="one protocol, got n 100 and 200: measure both"):
        one.worse(other)
    with pytest.raises(SpecError, match="one protocol"):
        Figure(0.5, 0.1, one.protocol).over(Figure(0.9, 0.1, replace(one.protocol, split="test")))


def test_looks_of_other_protocols_are_not_compared() -> None:
    """Neither their skill nor their coverage; the lowest of two spaces is one figure, whichever space it is of."""

    def standing(first: float, second: float, n: int = 600) -> Standing:
        both = {"levels": first, "random": second}
        skill = {k: Skill(v, 0.02, Protocol(k, n, "validation", 0), True) for k, v in both.items()}
        rates = {k: {"coverage": 0.9} for k in both}
        return Standing.of(Examination(n, skill=skill, rates=rates, floors=rates))

    best, other = standing(0.8, 0.9), standing(0.9, 0.2)
    assert other.behind(best) and not best.behind(other)
    assert best.skill.protocol.space == "levels or random"
    for wrong in (standing(0.8, 0.9, 500), replace(best, coverage=standing(0.8, 0.9, 500).coverage)):
        with pytest.raises(SpecError, match="one protocol, got n"):
            wrong.behind(best)


def test_figures_of_other_data_or_another_extractor_are_not_compared(examiner: Examiner) -> None:
    other = Examiner(SPEC, TRAIN, rows(600, 9))
    mine, theirs = (x.examine(rows(x.n, 4)) for x in (examiner, other))
    assert mine.protocols == examiner.examine(rows(600, 5)).protocols
    for space, figure in mine.skill.items():
        with pytest.raises(SpecError, match="one protocol"):
            figure.worse(theirs.skill[space])
        assert mine.to_json()["protocols"][space]["data"] != theirs.to_json()["protocols"][space]["data"]
    known = {p.extractor for p in (*mine.protocols.values(), *Examiner(SPEC, rows(900, 3), HELD).protocols.values())}
    assert len(known) == 4


# -- failures of samples -----------------------------------------------------------------------------------------------


def test_healthy_samples_are_not_accused_over_ten_seeds() -> None:
    accused = []
    for seed in range(10):
        examiner = Examiner(SPEC, rows(3000, 10 * seed), rows(600, 10 * seed + 1), seed)
        accused += list(names(examiner, lambda n, key, s=seed: rows(n, 100 * s + key)))
    assert accused == []


def test_a_generator_of_one_mode_is_named(examiner: Examiner) -> None:
    found = names(examiner, lambda n, key: rows(n, key, only=(0,)))
    assert found["missed modes"] == 2
    assert {"little skill", "no better than trivial", "worse than trivial"} & set(found)
    point = names(examiner, lambda n, key: {k: np.repeat(v, n) for k, v in rows(1, key).items()})
    assert point["repeats"] == point["collapse"] == point["low coverage"] == point["worse than trivial"] == 2


def test_missing_modes_are_named_with_examples_and_shares(examiner: Examiner) -> None:
    found = examiner.examine(rows(examiner.n, 7, only=(0, 1, 2)))
    assert sum(c.real for c in found.missed) == pytest.approx(SHARES[3], abs=0.03)
    told = examiner.examine(rows(examiner.n, 7, only=(0, 1, 2)), rows(2 * examiner.n, 8)).missed
    assert all("kind is s (100%)" in c.where and " to " in c.where for c in told)
    for cluster in found.missed:
        assert (TRAIN["kind"][cluster.examples] == 3).all()
        assert cluster.fake < 0.01


def test_a_parrot_is_named(examiner: Examiner) -> None:
    def parrot(n: int, key: int) -> Columns:
        return take(TRAIN, np.random.default_rng(key).integers(0, count(TRAIN), n))

    assert names(examiner, parrot)["copies"] == 2


def test_columns_drawn_alone_are_named_and_shifted_ones_are_worse(examiner: Examiner) -> None:
    alone = names(examiner, lambda n, key: trivial(SPEC, TRAIN, n, np.random.default_rng(key)))
    assert alone["no better than trivial"] == 2 and "worse than trivial" not in alone
    rng = np.random.default_rng(0)
    off = names(
        examiner, lambda n, key: {k: v if k == "kind" else v + rng.normal(2, 3, n) for k, v in rows(n, key).items()}
    )
    assert off["worse than trivial"] == 2


def test_numbers_that_are_not_finite_are_named(examiner: Examiner) -> None:
    spoiled = rows(examiner.n, 8)
    spoiled["b"][3] = math.nan
    verdict = judge(examiner.examine(spoiled))
    assert verdict.word == "FAIL" and verdict.refused
    assert [f.name for f in verdict.findings] == ["not finite"]


def squares(n: int, seed: int) -> Columns:
    """Grey pictures of a bright square somewhere, in two sizes, which their label names."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, n)
    x = rng.integers(0, 40, (n, 12, 12))
    for i in range(n):
        side = 3 + 3 * label[i]
        top, left = rng.integers(0, 12 - side, 2)
        x[i, top : top + side, left : left + side] += 180
    return {"grey": x.astype(np.uint8), "label": label.astype(np.int32)}


@pytest.fixture(scope="module")
def looked() -> Examiner:
    train, held = squares(1200, 0), squares(400, 1)
    block = Block("image", (Pixel.learn("grey", train["grey"]),), (12, 12))
    spec = Spec((block,), Spec((Block("label", (Category.learn("label", train["label"], levels=("small", "big")),)),)))
    return Examiner(spec, train, held)


@pytest.mark.parametrize("how", ["swapped", "random"])
def test_images_of_another_label_than_asked_for_are_named(looked: Examiner, how: str) -> None:
    def wrong(n: int, key: int) -> Columns:
        x = squares(n, key)
        other = 1 - x["label"] if how == "swapped" else squares(n, key + 50)["label"]
        return {"grey": x["grey"], "label": other}

    found = names(looked, wrong)
    assert found["wrong labels"] == 2
    assert how == "random" or found["missed classes"] == 2


def test_rows_of_another_class_than_asked_for_are_named() -> None:
    spec = Spec(SPEC.blocks[:0] + (Block("row", SPEC.fields[:3]),), Spec((Block("c", SPEC.fields[3:]),)))
    examiner = Examiner(spec, TRAIN, HELD)
    assert names(examiner, lambda n, key: rows(n, key)) == {}
    found = names(examiner, lambda n, key: rows(n, key) | {"kind": rows(n, key + 50)["kind"]})
    assert found["wrong labels"] == 2


def test_images_are_judged_in_two_spaces_and_by_class(looked: Examiner) -> None:
    examiner, spec, train = looked, looked.spec, looked.train
    assert [s.name for s in examiner.spaces] == ["random", "classifier"]
    assert names(examiner, squares) == {}

    def half(n: int, key: int) -> Columns:
        """Big squares where small ones were asked for."""
        x = squares(2 * n, key)
        big = np.flatnonzero(x["label"] == 1)[:n]
        return {"grey": x["grey"][big], "label": squares(n, key)["label"][: len(big)]}

    found = examiner.examine(take(half(700, 3), np.arange(examiner.n)))
    assert found.classes["small"].value < 0.3 < found.classes["big"].value
    poor = names(examiner, lambda n, key: trivial(spec, train, n, np.random.default_rng(key)))
    assert poor["no better than trivial"] == 2


def test_a_leaking_augmentation_is_named() -> None:
    train, held = squares(1200, 0), squares(400, 1)
    spec = Spec((Block("image", (Pixel.learn("grey", train["grey"]),), (12, 12)),))
    model = pofx.models.create("gan", spec, 0, width=8, latent=4, depth=0)
    generator = torch.Generator().manual_seed(1)
    assert model.altered({"grey": train["grey"]}, generator) is None  # no augmentation, nothing to leak
    model.chance.fill_(0.5)
    examiner = Examiner(spec, train, held)
    clean = Guard(examiner, lambda n, seed: squares(n, seed + 5))
    assert clean.leaks(model.altered) == []
    dirty = Guard(examiner, lambda n, seed: model.altered(squares(n, seed + 5), generator) or {})
    assert [f.name for f in dirty.leaks(model.altered)] == ["augmentation leaks"]
    poor = Guard(examiner, lambda n, seed: trivial(spec, train, n, np.random.default_rng(seed)))
    assert poor.leaks(model.altered) == []  # bad samples, but nothing of augmentation in them


# -- signals and states ------------------------------------------------------------------------------------------------


def test_a_pulse_that_jumps_or_stops_is_heard() -> None:
    jumps, stops = Pulse(), Pulse()
    calm = np.exp(np.random.default_rng(0).normal(0, 0.5, 300))
    assert {jumps.hear(v) for v in calm} == {stops.hear(v) for v in calm} == {""}
    assert [jumps.hear(100.0) for _ in range(3)] == ["", "", "diverging"]
    assert {stops.hear(1e-7) for _ in range(499)} == {""}
    assert stops.hear(1e-7) == "vanished"


class Script:
    """An examiner that gives looks from a list of (skill, coverage)."""

    n, seed, enough = 600, 0, True

    def __init__(self, looks: list[tuple[float, float]]) -> None:
        self.looks, self.last = iter(looks), looks[-1]

    def examine(self, fake: Columns, more: Columns | None = None) -> Examination:
        skill, share = next(self.looks, self.last)
        found = Examination(self.n, finite=math.isfinite(skill))
        found.skill = {"levels": Skill(skill, 0.02, Protocol("levels", self.n, "validation", 0), True)}
        found.rates, found.floors = {"levels": {"coverage": share}}, {"levels": {"coverage": 1.0}}
        return found


def scripted(looks: list[tuple[float, float]]) -> Guard:
    return Guard(Script(looks), lambda n, seed: {})  # type: ignore[arg-type]


def states(looks: list[tuple[float, float]]) -> list[str]:
    guard, out = scripted(looks), []
    for _ in looks:
        guard.look()
        out.append(guard.state)
        if guard.state == "going back":
            guard.gone_back()
    return out


UP = [(0.1 * i, 0.9) for i in range(1, 7)]


@pytest.mark.parametrize("bad", [(0.1, 0.9), (0.6, 0.3), (math.nan, 0.9)])
def test_two_bad_looks_in_a_row_send_a_fit_back_and_one_does_not(bad: tuple[float, float]) -> None:
    assert states([*UP, bad, UP[-1], bad]) == ["warming up"] * WARMING + ["healthy"] * 3 + [
        "suspect",
        "healthy",
        "suspect",
    ]
    assert states([*UP, bad, bad, UP[-1]])[-3:] == ["suspect", "going back", "healthy"]


def test_after_three_returns_a_fit_stops() -> None:
    told = states(UP + [(0.0, 0.9)] * 2 * (RETURNS + 1))
    assert told.count("going back") == RETURNS
    assert told[-1] == "stopped"


def test_a_guard_comes_back_from_its_plain_values() -> None:
    one = scripted([*UP, (0.0, 0.9), (0.0, 0.9)])
    for _ in range(len(UP) + 1):
        one.look()
    other = scripted([(0.0, 0.9)])
    other.restore(one.plain())
    other.look()
    one.look()
    assert other.plain() == one.plain() and other.state == one.state == "going back"


# -- a fit -------------------------------------------------------------------------------------------------------------


def game(steps: int, looks: list[tuple[float, float]], seed: int = 0, **words: Any) -> tuple[Trainer, Guard]:
    model = pofx.models.create("gan", SPEC, seed, width=8, latent=4, **words)
    guard = scripted(looks)
    return Trainer(model, model.prepare(TRAIN), model.prepare(HELD), seed, "cpu", guard=guard), guard


def test_a_fit_goes_back_to_all_that_was_good_and_changes_one_thing() -> None:
    trainer, guard = game(32, UP + [(0.0, 0.9)] * 2 + [(0.6, 0.9)] * 8)
    states_at: dict[int, dict[str, np.ndarray]] = {}
    look, go_back = trainer.look, trainer._go_back

    def looked() -> float | None:
        got = look()
        states_at[trainer.step] = trainer.state(kept=False)[1]
        return got

    def went() -> None:
        go_back()
        now = trainer.state(kept=False)[1]
        for key, value in states_at[12].items():  # the sixth look, the best one
            np.testing.assert_array_equal(now[key], value, err_msg=key)

    trainer.look, trainer._go_back = looked, went  # type: ignore[method-assign]
    with pytest.warns(UserWarning, match="goes back: step 16 to 12, half the rates"):
        history = trainer.run(32)
    assert history.returns == [f"step 16 to 12, {CHANGES[0]}"]
    assert [p.scale for p in trainer.players.values()] == [0.5, 0.5]
    steps = [look["step"] for look in history.looks]
    assert steps == sorted(steps) and history.steps == 32


def test_minutes_leave_no_trace_in_the_guard() -> None:
    trainer, guard = game(32, UP)
    trainer.plan(None, time.monotonic() + 2.0)
    assert guard.plain() == scripted(UP).plain() and trainer.kept is None and trainer.step == 0


def test_each_return_changes_the_next_thing_and_the_fourth_stops() -> None:
    trainer, guard = game(64, UP + [(0.0, 0.9)] * 10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        history = trainer.run(64)
    assert [r.split(", ")[1] for r in history.returns] == list(CHANGES)
    assert history.stopped.startswith("behind its best")
    assert trainer.model.firm == 4.0 and {p.longer for p in trainer.players.values()} == {4.0}
    assert history.best_step == 24


@pytest.mark.parametrize("penalty", ["none", "clip", "spectral"])
def test_a_penalty_that_no_weight_strengthens_is_not_said_to_change(penalty: str) -> None:
    trainer, _ = game(64, UP + [(0.0, 0.9)] * 10, penalty=penalty)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        history = trainer.run(64)
    assert [r.split(", ")[1] for r in history.returns] == [CHANGES[0], CHANGES[2], CHANGES[0]]
    assert [p.scale for p in trainer.players.values()] == [0.25, 0.25]


@pytest.mark.parametrize("what", ["the weights", "a moment", "the average"])
def test_a_tensor_that_is_no_number_is_named_and_left_behind(what: str) -> None:
    trainer, guard = game(96, [*UP, (0.6, 0.9)])
    advance, look, spoilt = trainer.advance, guard.look, []

    def spoiled(total: int) -> float | None:
        player = trainer.players["generator"]
        held = {"the weights": player.parameters, "a moment": player.optimiser.squares, "the average": player.mean}
        if trainer.step == 37 and not spoilt:
            spoilt.append(next(n for n, p in trainer.model.named_parameters() if p is player.parameters[2]))
            held[what][2].data.view(-1)[0] = math.nan
        return advance(total)

    def looked() -> float:  # a script sees no weights: the figures of such an average are none
        sound = all(torch.isfinite(p).all() for p in trainer.model.parameters())
        guard.examiner.looks = iter([] if sound else [(math.nan, 0.9)])  # type: ignore[attr-defined]
        return look()

    trainer.advance, guard.look = spoiled, looked  # type: ignore[method-assign]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        history = trainer.run(96)
    assert history.culprit == f"{what} of {spoilt[0]!r}"
    assert len(history.returns) == 1 and history.skipped == (0 if what == "the average" else LOST)
    assert all(torch.isfinite(t).all() for player in trainer.players.values() for t in player.mean)


@pytest.mark.filterwarnings("ignore:the guard goes back")
def test_a_fit_that_went_back_resumes_with_the_same_bytes(tmp_path: Path) -> None:
    looks = UP + [(0.0, 0.9)] * 2 + [(0.6, 0.9)] * 8
    whole, _ = game(32, looks)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole.run(32)
    half, guard = game(32, looks)
    states: list[Any] = []

    class Stop(Exception):
        pass

    def attend(*args: Any) -> dict[str, float]:
        if half.step == 21:
            states.append(half.state())
            raise Stop
        return GAN.attend(half.model, *args)

    half.model.attend = attend
    with pytest.raises(Stop):
        half.run(32)
    rest, _ = game(32, looks[10:])
    rest.restore(*states[0])
    rest.run(32)
    for a, b in zip(whole.model.parameters(), rest.model.parameters(), strict=True):
        assert torch.equal(a, b)


# -- failures of a fit -------------------------------------------------------------------------------------------------

FRAME = pd.DataFrame({k: v for k, v in rows(2400, 3).items()})
WORDS: dict[str, Any] = {"model": "gan", "steps": 48, "width": 16, "latent": 4, "threads": 1, "quiet": True}


def fitted(monkeypatch: pytest.MonkeyPatch, frame: pd.DataFrame = FRAME, **scales: float) -> dict[str, int]:
    """The findings on a short fit, with the rates of players multiplied."""
    start = Trainer.__init__

    def hurt(self: Trainer, *args: Any, **words: Any) -> None:
        start(self, *args, **words)
        for name, scale in scales.items():
            self.players[name].scale = scale

    monkeypatch.setattr(Trainer, "__init__", hurt)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        verdict = pofx.fit(frame, **WORDS).provenance["verdict"]
    return {f["name"]: f["level"] for f in verdict["findings"]}


@pytest.mark.guarded
@pytest.mark.parametrize(
    ("player", "scale", "finding", "looks"),
    [("critic", 100.0, "steps too large", 2), ("generator", 0.0, "does not move", 3)],
)
def test_a_player_that_is_too_fast_or_stands_still_is_named_within_so_many_looks(
    monkeypatch: pytest.MonkeyPatch, player: str, scale: float, finding: str, looks: int
) -> None:
    heard: list[set[str]] = []
    look = Guard.look

    def looked(self: Guard) -> float:
        heard.append(set(self.notes))
        return look(self)

    monkeypatch.setattr(Guard, "look", looked)
    found = fitted(monkeypatch, **{player: scale})
    assert finding in found and finding in heard[looks - 1]
    assert player == "critic" or found["worse than trivial"] == 2


@pytest.mark.guarded
def test_an_ordinary_fit_is_not_said_to_be_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = {"steps too large", "does not move", "diverging", "vanished", "no number", "went back", "copies"}
    assert not broken & set(fitted(monkeypatch))


@pytest.mark.guarded
def test_a_game_that_converges_passes() -> None:
    model = pofx.fit(FRAME, **(WORDS | {"steps": 600, "width": 64, "latent": 16}))
    assert (model.verdict, model.reasons()) == ("PASS", [])
    assert "validation is minus the skill of samples" in model.info()


def test_a_critic_that_memorises_is_named_beyond_its_error(examiner: Examiner) -> None:
    guard = Guard(examiner, rows)
    model = pofx.models.create("gan", SPEC, 0, width=8, latent=4)
    for error, found in ((0.3, set()), (0.05, {("critic memorises", 0)})):
        told = {"critic": {"gap": 0.76, "gap error": error}}
        verdict = final(guard, model, TRAIN, told)
        assert {(f.name, f.level) for f in verdict.findings} == found and verdict.word == "PASS"
    verdict = final(guard, model, TRAIN, told | {"returns": ["step 9 to 3, half the rates"]})
    assert ("critic memorises", 1) in {(f.name, f.level) for f in verdict.findings} and verdict.word == "WARN"


@pytest.mark.guarded
def test_rows_that_are_all_alike_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fitted(monkeypatch, pd.DataFrame({"a": [1.5] * 400, "b": [2] * 400})) == {"all alike": 2}


@pytest.mark.guarded
@pytest.mark.filterwarnings("error")
def test_images_that_are_all_alike_are_named_quietly() -> None:
    model = pofx.fit(np.full((400, 8, 8), 7, np.uint8), model="gan", steps=4, width=8, latent=4, quiet=True)
    assert model.verdict == "FAIL" and "are alike: there is nothing" in model.reasons()[0]


@pytest.mark.guarded
def test_a_condition_of_one_value_is_named() -> None:
    frame = FRAME.assign(label="u")
    with pytest.raises(SpecError, match="'label', whose cells are all alike"):
        pofx.fit(frame, condition="label", **WORDS)
    spec = Spec(SPEC.blocks, Spec((Block("label", (Category.learn("label", np.zeros(9, np.int32), levels=("u",)),)),)))
    found = alike(spec, take(TRAIN, np.arange(9)) | {"label": np.zeros(9, np.int32)})
    assert [(f.name, f.level) for f in found] == [("constant condition", 1)]


@pytest.mark.guarded
def test_a_number_that_is_none_at_step_37_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    cost = GAN.cost

    def spoiled(self: GAN, x: Any, y: Any, c: Any, clock: Any, generator: Any) -> Any:
        return cost(self, x, y, c, clock, generator) + (math.nan if clock.step == 37 else 0.0)

    monkeypatch.setattr(GAN, "cost", spoiled)
    model = pofx.fit(FRAME, **WORDS)
    found = {f["name"]: f["words"] for f in model.provenance["verdict"]["findings"]}
    assert found["no number"].startswith("1 steps were left out") and "the loss of 'critic'" in found["no number"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_a_kill_in_the_middle_of_a_save_leaves_the_old_file(tmp_path: Path) -> None:
    model = pofx.fit(FRAME[:200], model="independent", quiet=True)
    place = tmp_path / "model.pofx"
    model.save(place)
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nimport pofx\n"
        "model = pofx.load(sys.argv[1])\n"
        "os.replace = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\n"
        "Path.replace = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\n"
        "model.provenance['source'] = 'another'\nmodel.save(sys.argv[1])\n"
    )
    words = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code, place], env=words).returncode == -signal.SIGKILL
    assert pofx.load(place).provenance["source"] == model.provenance["source"]


# -- what a verdict does -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def failed() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = pofx.fit(FRAME, guard=True, **(WORDS | {"steps": 1}))
    assert model.verdict == "FAIL"
    return model


@pytest.mark.filterwarnings("ignore:the fit of this model failed")
def test_a_failed_model_is_not_sampled_unless_asked(failed: Any, tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(Failed, match="allow_failed=True"):
        failed.sample(5)
    with pytest.warns(UserWarning, match="the fit of this model failed"):
        assert len(failed.sample(5, allow_failed=True)) == 5
    failed.save(tmp_path / "m.pofx")
    again = pofx.load(tmp_path / "m.pofx")
    assert again.verdict == "FAIL" and again.reasons() == failed.reasons()
    again.provenance["fit"]["returns"] = ["step 16 to 12, half the rates"]
    assert "verdict    FAIL" in again.info() and "step 16 to 12, half the rates" in again.info()
    words = ["sample", str(tmp_path / "m.pofx"), "-n", "3", "-o", str(tmp_path / "x.csv"), "--quiet"]
    assert main(words) == 1
    assert "--allow-failed" in capsys.readouterr().err
    assert main([*words, "--allow-failed"]) == 0 and (tmp_path / "x.csv").exists()


@pytest.mark.guarded
def test_a_fit_that_fails_keeps_its_file_and_ends_with_one(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "x.csv", index=False)
    words = ["fit", str(tmp_path / "x.csv"), "-o", str(tmp_path / "m.pofx"), "--quiet", "--steps", "1"]
    assert main([*words, "--model", "gan", "--set", "width=8"]) == 1
    assert pofx.load(tmp_path / "m.pofx").verdict == "FAIL"
    assert main([*words, "--model", "gan", "--set", "width=8", "--no-guard"]) == 0
    assert pofx.load(tmp_path / "m.pofx").verdict == ""


@pytest.mark.guarded
@pytest.mark.parametrize("name", ["gaussian_copula", "mixture", "vae", "nsf", "any_order", "gan"])
def test_every_family_gets_the_same_verdict(name: str) -> None:
    steps = {} if name in ("gaussian_copula", "mixture") else {"steps": 60}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        told = pofx.fit(FRAME, model=name, threads=1, quiet=True, **steps).provenance["verdict"]
    assert told["word"] in ("PASS", "WARN", "FAIL")
    assert set(told["figures"]["skill"]) == {"levels", "random"}
    assert 0.4 < told["figures"]["auc"] <= 1


@pytest.mark.guarded
def test_a_law_of_codes_is_judged_with_its_autoencoder() -> None:
    model = pofx.fit(FRAME, model="autoencoder", steps=60, latent=3, quiet=True)
    told = model.with_prior("mixture", data=FRAME, quiet=True).provenance["verdict"]
    assert set(told["figures"]["skill"]) == {"levels", "random"}


@pytest.mark.guarded
def test_a_checkup_draws_of_a_fit_that_must_fail() -> None:
    found = pofx.doctor(FRAME[:600], model="gan", width=8)
    assert [name for name, _ in found.phases] == ["fit", "save", "load", "sample"]


@pytest.mark.guarded
def test_few_held_out_rows_are_not_judged_by() -> None:
    model = pofx.fit(FRAME[:100], model="independent", quiet=True)
    assert model.verdict == "WARN" and "too few to judge" in model.reasons()[0]
    assert "nothing was watched" in model.reasons()[0]


@pytest.mark.guarded
def test_copies_of_few_rows_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    cls = type(pofx.models.create("independent", SPEC))
    few = rows(100, 3)
    monkeypatch.setattr(cls, "decode", lambda self, z, c=None, **_: take(few, np.arange(len(z)) % 60))
    verdict = pofx.fit(pd.DataFrame(few), model="independent", quiet=True).provenance["verdict"]
    assert {f["name"]: f["level"] for f in verdict["findings"]} == {"too few to judge": 1, "copies": 1}


@pytest.mark.guarded
def test_a_model_that_cannot_be_sampled_has_no_verdict() -> None:
    assert pofx.fit(FRAME, model="autoencoder", steps=4, quiet=True).verdict == ""


def test_unknown_cells_are_left_out_of_what_is_judged_by() -> None:
    from pofx.training.guard import known_rows

    field = Real.learn("a", np.array([1.0, 2.0, math.nan, 4.0] * 10), 0).seen_alone()
    x = {"a": np.array([1.0, math.nan, 2.0])}
    assert known_rows(Spec.table((field,)), x)["a"].tolist() == [1.0, 2.0]


def test_a_report_of_a_table_begins_with_the_verdict_of_the_fit(failed: Any, tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    evidence = Evidence([], "good", "fine", [], "", {}, {"synthetic": 1, "train": 1, "holdout": 1}, {"marginals": []})
    publish(evidence, page, None, "t", failed.provenance)
    text = html.unescape(page.read_text())
    at = [text.index(w) for w in ("The fit ended with FAIL", failed.reasons()[0], "Good", "Modes that samples miss")]
    assert at == sorted(at) and " to " in text[at[-1] :] and "Nearest training examples" in text[at[-1] :]


def test_a_report_of_images_shows_samples_beside_unseen_and_nearest_ones(tmp_path: Path) -> None:
    images, label = squares(400, 0).values()
    model = pofx.fit(images, model="gan", labels=label.tolist(), steps=4, width=8, latent=4, quiet=True)
    page = tmp_path / "r.html"
    found = model.evaluate(train=(images, label.tolist()), report=page, json=tmp_path / "r.json", quiet=True)
    assert [sheet.says for sheet in found.sheets][:3] == ["unseen", "drawn", "nearest"]
    assert found.verdict is not None and found.verdict.word == "FAIL" and "FAIL" in found.words[0]
    assert set(found.fidelity) == {f"{s}: {w}" for s in ("random", "classifier") for w in ("drawn", "training images")}
    text = page.read_text()
    assert "The training image nearest to each of those" in text
    assert "The fit ended with" not in text  # no guard, no verdict of a fit
    model.provenance["verdict"] = found.verdict.to_json()
    publish(found, page, None, "t", model.provenance)
    text = page.read_text()
    assert "The fit ended with FAIL" in text and found.verdict.sorted()[0].words in html.unescape(text)
    assert found.verdict.examination is not None and found.verdict.examination.classes
    assert '"verdict"' in (tmp_path / "r.json").read_text()
