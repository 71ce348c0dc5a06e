"""Every metric there is, under the laws that all obey."""

import math
from dataclasses import replace

import numpy as np
import pytest

from pofx.evaluate import evaluate
from pofx.fields import Category, Real
from pofx.metrics import Case, Skip, registry, take
from pofx.spec import Spec

from .made import noisy, rows, spec_of

N = 1200
TRAIN, UNSEEN, FRESH = rows(N, 1), rows(N, 2), rows(N, 3)
LOG_PROBS = {
    "flow": np.random.default_rng(0).normal(-5, 1, N),
    "independent": np.random.default_rng(1).normal(-7, 1, N),
}
RULES = {"twice = 2 kind + 1": lambda x: x["twice"] != 2 * x["kind"] + 1}
CASE = Case(spec_of(TRAIN), FRESH, TRAIN, UNSEEN, "label", LOG_PROBS, rules=RULES)
NAMES = sorted(registry())
SLACK = {"auc_gap": 0.06, "worst_auc": 0.2, "use_accuracy": 0.03, "lift": 0.01, "use_r2": 0.03}


def values(name, case):
    return {key: answer.value for key, answer in registry()[name](case).items()}


def worse(better, value):
    return abs(value - 1) if better == "one" else -value if better == "higher" else value


@pytest.fixture(scope="module")
def evidence():
    return evaluate(CASE.spec, FRESH, TRAIN, UNSEEN, target="label", log_probs=LOG_PROBS, rules=RULES)


@pytest.mark.parametrize("name", NAMES)
def test_a_fresh_sample_of_the_same_law_reaches_the_ceiling(name, evidence):
    for figure in evidence.figures:
        if figure.name in registry()[name].better and figure.ceiling is not None:
            error = 0.0 if figure.low is None else (figure.high - figure.low) / 2
            assert abs(figure.fair - figure.ceiling) < 2.5 * error + 0.025, figure


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_rows_does_not_matter_and_a_seed_decides(name):
    rng = np.random.default_rng(9)
    shuffled = {k: take(getattr(CASE, k), rng.permutation(N)) for k in ("fake", "train", "unseen")}
    first = values(name, CASE)
    assert first == values(name, replace(CASE, **shuffled)) == values(name, CASE)


@pytest.mark.parametrize("name", [name for name in NAMES if registry()[name].group in ("fidelity", "use")])
def test_independent_noise_makes_it_worse(name):
    steps = [values(name, replace(CASE, fake=noisy(FRESH, share, 4))) for share in (0.0, 0.3, 1.0)]
    for key in steps[0]:
        way, slack = registry()[name].better[key], SLACK.get(key, 0.02)
        a, b, c = (worse(way, step[key]) for step in steps)
        assert a <= b + slack and b <= c + slack, (key, steps)
    ways = registry()[name].better
    assert any(worse(ways[k], steps[2][k]) > worse(ways[k], steps[0][k]) + (0.002 if k == "lift" else 0.02)
               for k in steps[0])  # fmt: skip


@pytest.mark.parametrize("name", [name for name in NAMES if registry()[name].group == "privacy"])
def test_copied_training_rows_make_it_worse(name):
    def copied(share):
        return {k: np.concatenate([v[: int(N * share)], FRESH[k][int(N * share) :]]) for k, v in TRAIN.items()}

    steps = [values(name, replace(CASE, fake=copied(share))) for share in (0.0, 0.4, 1.0)]
    for key in steps[0]:
        a, b, c = (step[key] for step in steps)
        assert a <= b + SLACK.get(key, 0.03) and b <= c + SLACK.get(key, 0.03), (key, steps)
    assert max(steps[2][k] - steps[0][k] for k in steps[0]) > 0.3


def level(name, codes, levels):
    return Category.learn(name, np.asarray(codes, np.int32), levels)


def odd_tables():
    rng = np.random.default_rng(5)
    flat, gone = np.full(60, 3.0), np.full(60, np.nan)
    code = rng.integers(0, 3, 60).astype(np.int32)
    code[:3] = 0, 1, 2
    number = np.round(rng.normal(size=60), 2)
    void = np.full(60, -1, np.int32)
    yield "constant", (Real.learn("c", flat, 0), level("l", code * 0, ("u",))), {"c": flat, "l": code * 0}
    yield "missing", (Real.learn("m", gone, 0), level("v", void, ())), {"m": gone, "v": void}
    yield "one row", (Real.learn("x", number[:1], 2), level("l", [0], ("u",))), {"x": number[:1], "l": code[:1] * 0}
    fields = level("a", code, tuple("uvw")), level("b", code[::-1], tuple("uvw"))
    yield "categories", fields, {"a": code, "b": code[::-1]}
    yield "numbers", (Real.learn("x", number, 2), Real.learn("y", -number, 2)), {"x": number, "y": -number}
    mixed = (Real.learn("m", gone, 0), level("a", code, tuple("uvw")), Real.learn("x", number, 2))
    yield "mixed", mixed, {"m": gone, "a": code, "x": number}
    yield "no row", (Real.learn("x", number, 2),), {"x": number[:0]}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", list(odd_tables()), ids=lambda what: what[0])
@pytest.mark.parametrize("with_unseen", [True, False])
def test_odd_tables_get_an_answer_or_a_reason(name, what, with_unseen):
    _, fields, x = what
    for target in x:
        case = Case(Spec.table(fields), x, x, x if with_unseen else None, target, draws=3)
        try:
            answers = registry()[name](case)
        except Skip as skip:
            answers, reason = {}, str(skip)
        else:
            reason = "answered"
        assert len(reason) > 5
        assert all(math.isfinite(answer.value) for answer in answers.values()), answers


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_is_described(name, evidence):
    metric = registry()[name]
    assert set(metric.says) == set(metric.better)
    assert metric.doc
    assert set(values(name, CASE)) <= set(metric.better)
