"""Noise, its cost, and what one unit can change of what is asked: against closed forms."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from made import mixed, spec_of
from scipy.stats import norm

from pofx.codecs.private import learn_private
from pofx.codecs.tabular_io import read_table
from pofx.errors import PofxError
from pofx.models import create
from pofx.privacy import Budget, Randomness, deviation, epsilon_of, onto_simplex, rho_of, threshold


def exact_delta(epsilon: float, sigma: float) -> float:
    """delta of the Gaussian mechanism of sensitivity 1 (Balle, Wang 2018)."""
    low, high = 0.5 / sigma - epsilon * sigma, -0.5 / sigma - epsilon * sigma
    return float(norm.cdf(low) - math.exp(epsilon) * norm.cdf(high))


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("delta", [1e-9, 1e-5])
def test_the_conversion_is_safe_and_not_wasteful(epsilon: float, delta: float) -> None:
    rho = rho_of(epsilon, delta)
    assert epsilon_of(rho, delta) == pytest.approx(epsilon, rel=1e-6)
    assert exact_delta(epsilon, deviation(rho)) <= delta  # what is said is never less than what holds
    assert exact_delta(0.8 * epsilon, deviation(rho)) > delta  # and hardly more
    assert epsilon <= rho + 2 * math.sqrt(rho * math.log(1 / delta))  # the simple bound of Bun and Steinke is looser


def test_costs_add_up_and_end_with_the_budget() -> None:
    budget = Budget(1.0, 1e-6, Randomness(0))
    budget.histogram(np.zeros(3), 0.4, "a")
    budget.choose(np.zeros(3), 0.6, "b")
    assert sum(budget.spent.values()) == pytest.approx(1.0)
    for spend in (lambda: budget.histogram(np.zeros(3), 0.1, "c"), lambda: budget.choose(np.zeros(3), 0.0, "c")):
        with pytest.raises(PofxError, match="positive part of what is left"):
            spend()
    with pytest.raises(PofxError, match="delta"):
        Budget(1.0, 1e-6).vocabulary(["a"], np.ones(1), 0.5, 1e-5, "d")


def test_noise_has_the_scale_that_was_paid() -> None:
    for rho in (0.02, 2.0):
        noisy = Budget(rho, 0, Randomness(1)).histogram(np.full(40_000, 7.0), rho, "x")
        assert noisy.std() == pytest.approx(1 / math.sqrt(2 * rho), rel=0.02)
        assert noisy.mean() == pytest.approx(7.0, abs=0.03 / math.sqrt(2 * rho))


def test_randomness_of_the_system_is_normal_and_never_repeats() -> None:
    a, b = Randomness().normal(200, 100), Randomness().normal(200, 100)
    assert not (a == b).any() and np.isfinite(a).all()
    assert abs(a.mean()) < 0.04 and a.std() == pytest.approx(1, abs=0.03)


def test_a_name_that_one_unit_has_shows_with_probability_delta() -> None:
    names, delta = list(range(200_000)), 0.01
    got = Budget(0.02, delta, Randomness(2)).vocabulary(names, np.ones(len(names)), 0.02, delta, "v")
    assert np.isfinite(got).mean() == pytest.approx(delta, rel=0.1)
    assert threshold(5.0, delta) == pytest.approx(1 + 5 * 2.3263, rel=1e-4)


def test_the_exponential_mechanism_has_its_law() -> None:
    scores, rho, noise = np.array([0.0, 1.0, 3.0]), 0.3, Randomness(3)
    strength = math.sqrt(8 * rho)
    picked = np.bincount([noise.choice(scores, strength) for _ in range(20_000)], minlength=3) / 20_000
    law = np.exp(strength * scores / 2)
    assert np.allclose(picked, law / law.sum(), atol=0.012)
    assert noise.choice(scores, math.inf) == 2


def test_the_nearest_point_of_the_simplex() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        y = rng.normal(1, 3, 12)
        x = onto_simplex(y, 5.0)
        assert x.sum() == pytest.approx(5) and (x >= 0).all()
        others = rng.dirichlet(np.ones(12), 200) * 5
        assert (np.square(others - y).sum(1) >= np.square(x - y).sum() - 1e-9).all()


class Replayed(Budget):
    """Remembers what it was asked, and answers as another did: the same outcomes, so that all later questions are."""

    asked: list[np.ndarray]
    answers: list[Any]
    first: "Replayed | None"

    def ask(self, exact: np.ndarray, answer: Any) -> Any:
        self.asked.append(np.asarray(exact, float))
        self.answers.append(answer)
        return answer if self.first is None else self.first.answers[len(self.answers) - 1]

    def histogram(self, counts: np.ndarray, rho: float, what: str) -> np.ndarray:
        return self.ask(counts, super().histogram(counts, rho, what)).copy()

    def vocabulary(self, names: Any, counts: np.ndarray, rho: float, delta: float, what: str) -> np.ndarray:
        named = dict(zip(names, super().vocabulary(names, counts, rho, delta, what), strict=True))
        self.words.append(dict(zip(names, counts, strict=True)))
        if self.first is not None:
            named = self.first.named[len(self.named)]
        self.named.append(named)
        return np.array([named[name] for name in names])

    def choose(self, scores: np.ndarray, rho: float, what: str) -> int:
        picked = self.ask(scores, super().choose(scores, rho, what))
        self.choices.append(len(self.asked) - 1)
        return picked


def replayed(first: Replayed | None = None, rho: float = 50.0) -> Replayed:
    budget = Replayed(rho, 1e-3, Randomness(0))
    budget.asked, budget.answers, budget.first = [], [], first
    budget.words, budget.named, budget.choices = [], [], []
    return budget


def frame(n: int = 1500) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    a = rng.choice(["u", "v", "w"], n, p=[0.5, 0.3, 0.2])
    b = np.where(rng.random(n) < 0.4, 0, rng.poisson(20 + 30 * (a == "u"))).astype(object)
    b[rng.random(n) < 0.1] = ""
    c = np.round(rng.normal(3.0 * (a == "v"), 1.0), 2)
    return pd.DataFrame({"a": a, "b": b, "c": c, "d": c > 1, "text": b}).astype({"b": str, "text": str})


@pytest.mark.parametrize("row", [0, 3, 700, 1499])
def test_one_row_changes_every_question_by_at_most_one(row: int) -> None:
    """The whole of reading and counting, on a table and on one of a row less, with the same noisy answers."""
    whole, _ = read_table(frame())
    less = pa.concat_tables([whole.slice(0, row), whole.slice(row + 1)])
    runs: list[Replayed] = []
    for table in (whole, less):
        budget = replayed(runs[0] if runs else None)
        codec, rows, _ = learn_private(table, None, budget, 20.0, 1e-4, "pandas")
        model = create("mst", codec.spec, bins=8)
        model.fit_noised(codec.encode(rows), budget, 30.0)
        runs.append(budget)
    one, two = runs
    assert len(one.asked) == len(two.asked) > 30 and one.choices == two.choices and len(one.choices) == 4
    for k, (p, q) in enumerate(zip(one.asked, two.asked, strict=True)):
        change = np.abs(p - q).max() if k in one.choices else np.linalg.norm(p - q)
        assert change <= 1 + 1e-9, k
    for p, q in zip(one.words, two.words, strict=True):
        assert math.sqrt(sum((p[name] - q.get(name, 0)) ** 2 for name in p)) <= 1
    assert sum(one.spent.values()) <= 50 * (1 + 1e-9)


def test_a_made_tree_is_found_and_noise_takes_it_away() -> None:
    """At a large rho the law of a known tree; at a tiny one the fields stand nearly alone."""
    x = mixed(6000, seed=1)
    spec = spec_of(x)
    free, rich, poor = (create("mst", spec, bins=12) for _ in range(3))
    alone = create("independent", spec)
    free.fit_closed(x)
    rich.fit_noised(x, Budget(1e4, 0, Randomness(0)), 1e4)
    poor.fit_noised(x, Budget(1e-6, 0, Randomness(0)), 1e-6)
    unseen = mixed(4000, seed=2)
    said = {name: m.log_prob(unseen).mean() for name, m in zip("frp", (free, rich, poor), strict=True)}
    base = alone.log_prob(unseen).mean()
    assert said["f"] > base + 0.8  # the levels tell of all other fields
    assert said["r"] == pytest.approx(said["f"], abs=0.02)
    assert said["p"] < base + 0.1
    assert {frozenset(e) for e in edges(rich)} == {frozenset(e) for e in edges(free)} == {
        frozenset((0, j)) for j in (1, 2, 3)
    }  # fmt: skip


def edges(model: Any) -> list[tuple[int, int]]:
    return [(j, up) for j, up in enumerate(model.parent.tolist()) if up >= 0]


def test_the_law_of_a_tree_is_that_of_its_counts() -> None:
    """Two levels: the pair's shares where the prior counts for nothing, the product of its own where it is all."""
    rng = np.random.default_rng(0)
    a = np.r_[0, 1, rng.integers(0, 2, 998)].astype(np.int32)
    b = np.where(rng.random(1000) < 0.9, a, 1 - a).astype(np.int32)
    from pofx.fields import Category
    from pofx.spec import Spec

    x = {"a": a, "b": b}
    spec = Spec.table(tuple(Category.learn(k, v, ("0", "1")) for k, v in x.items()))
    model = create("mst", spec, prior=1e-9)
    model.fit_closed(x)
    share = np.array([[((a == i) & (b == j)).mean() for j in (0, 1)] for i in (0, 1)])
    told = np.exp(model.log_prob({"a": np.array([0, 0, 1, 1], np.int32), "b": np.array([0, 1, 0, 1], np.int32)}))
    assert np.allclose(told.reshape(2, 2), share * 1000 / 1004 * 1000 / 1004, atol=3e-3)
    shrunk = create("mst", spec, prior=1e9)
    shrunk.fit_closed(x)
    alone = np.outer(share.sum(1), share.sum(0))
    told = np.exp(shrunk.log_prob({"a": np.array([0, 0, 1, 1], np.int32), "b": np.array([0, 1, 0, 1], np.int32)}))
    assert np.allclose(told.reshape(2, 2), alone * 1000 / 1004 * 1000 / 1004, atol=3e-3)
