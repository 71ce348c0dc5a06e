"""Metrics against values that follow from the data alone."""

import numpy as np
import pytest

from pofx.evaluate import independent
from pofx.fields import Category, Real
from pofx.metrics import Case, hashes, learner, registry, two_sample
from pofx.metrics.distance import Points, Space, between, nearest
from pofx.metrics.interval import auc, caught, error, wilson
from pofx.spec import Spec

from .made import LEVELS, rows, spec_of


def table(**columns):
    fields = tuple(
        Real.learn(name, v, 3) if v.dtype.kind == "f" else Category.learn(name, v, tuple("uvwxyz"[: v.max() + 1]))
        for name, v in columns.items()
    )
    return Spec.table(fields), dict(columns)


def test_shape_is_the_distance_of_distribution_functions_and_of_frequencies():
    spec, real = table(x=np.arange(10.0), l=np.array([0] * 5 + [1] * 5, np.int32))
    fake = {"x": np.arange(10.0) + 3, "l": np.array([0] * 8 + [1] * 2, np.int32)}
    answer = registry()["shape"](Case(spec, fake, real))["shape"]
    assert answer.detail["columns"] == pytest.approx({"x": 0.7, "l": 0.7})
    assert answer.value == pytest.approx(0.7)


def test_trend_takes_correlations_of_numbers_and_joint_frequencies_of_levels():
    a, b = np.tile([0.0, 1, 2, 3], 5), np.tile([0.0, 1, 2, 3], 5)
    k, m = np.tile([0, 1], 10).astype(np.int32), np.tile([0, 1], 10).astype(np.int32)
    spec, real = table(a=a, b=b, k=k, m=m)
    fake = {"a": a, "b": -b, "k": k, "m": 1 - m}
    found = {(i, j): v for i, j, v in registry()["trend"](Case(spec, fake, real))["trend"].detail["pairs"]}
    assert found[0, 1] == pytest.approx(0.0)
    assert found[2, 3] == pytest.approx(0.0)
    assert found[0, 2] == pytest.approx(1.0)


def test_another_extreme_shifts_every_bin_of_trend_but_not_of_trend_with_common_bins():
    x, k = np.tile(np.arange(10.0), 20), np.repeat([0, 1], 100).astype(np.int32)
    spec, real = table(x=x, k=k)
    fake = {"x": x.copy(), "k": k}
    fake["x"][-1] = 30.0
    answers = registry()["trend"](Case(spec, fake, real))
    assert answers["trend"].value < 0.5
    assert answers["trend_common"].value > 0.99


def test_areas_under_the_curve():
    positive = np.array([True, True, False, False])
    assert auc(np.array([3.0, 2, 1, 0]), positive) == 1
    assert auc(np.array([1.0, 1, 1, 1]), positive) == 0.5
    assert auc(np.array([2.0, 0, 1, 1]), positive) == 0.5
    assert caught(np.r_[np.full(50, 2.0), np.arange(100) / 100], np.arange(150) < 50) == 1
    assert caught(np.zeros(150), np.arange(150) < 50) == 0


def test_the_bootstrap_finds_the_error_of_a_mean_and_wilson_holds_the_share():
    v = np.random.default_rng(0).normal(size=400)
    found = error(lambda rows: v[rows].mean(), (400,), 300, np.random.default_rng(1))
    assert found == pytest.approx(v.std() / 20, rel=0.15)
    low, high = wilson(0.0, 100)
    assert low == 0 and 0.03 < high < 0.04


@pytest.mark.parametrize("power", [1, 2])
def test_distances_are_those_of_scaled_numbers_and_one_hot_levels(power):
    x = rows(60, 0)
    spec = spec_of(x)
    fields = tuple(f for f in spec.fields if f.name != "gap")
    space = Space(fields, x)
    (points,) = space(x)
    scaled = [(x[n] - x[n].min()) / np.ptp(x[n]) for n in ("twice", "x", "y")]
    hot = [np.eye(k)[x[n]] for n, k in (("kind", 4), ("label", 2))]
    full = np.concatenate([np.stack(scaled, 1), *hot], 1)
    gap = np.abs(full[:, None] - full[None])
    expected = (gap**power).sum(-1)
    assert np.allclose(between(points, points, power), expected, atol=1e-5)
    distance, place = nearest(points, points, power, without=np.arange(60))
    np.fill_diagonal(expected, np.inf)
    assert np.allclose(distance, expected.min(1), atol=1e-5)
    assert np.allclose(expected[np.arange(60), place], expected.min(1), atol=1e-5)


def test_blocks_do_not_change_a_distance(monkeypatch):
    rng = np.random.default_rng(2)
    a, b = (Points(rng.random((n, 3)), rng.integers(0, 3, (n, 2)).astype(np.int16)) for n in (50, 70))
    whole = nearest(a, b)[0]
    monkeypatch.setattr("pofx.metrics.distance.BLOCK", 100)
    assert np.array_equal(nearest(a, b)[0], whole)


def test_equal_rows_have_equal_hashes_and_others_do_not():
    x = {"x": np.array([0.0, -0.0, np.nan, np.nan, 1.0]), "l": np.zeros(5, np.int32)}
    spec = Spec.table((Real.learn("x", x["x"], 1), Category.learn("l", x["l"], ("u",))))
    h = hashes(spec.fields, x)
    assert h[0] == h[1] and h[2] == h[3]
    assert len(set(h.tolist())) == 3


def test_copies_are_counted_and_the_ceiling_without_unseen_rows_is_the_share_of_twins():
    x = {"x": np.array([1.0, 1.0, 2.0, 3.0])}
    spec = Spec.table((Real.learn("x", x["x"], 0),))
    answer = registry()["copies"](Case(spec, {"x": np.array([3.0, 5.0])}, x))["copies"]
    assert (answer.value, answer.ceiling) == (0.5, 0.5)


def test_closer_is_a_half_where_all_ties_and_one_where_all_is_copied():
    train, unseen = rows(300, 0), rows(300, 1)
    run = registry()["closer"]
    assert run(Case(spec_of(train), train, train, unseen))["closer"].value > 0.98
    tie = run(Case(spec_of(train), unseen, train, train))["closer"]
    assert (tie.value, tie.detail["ties"]) == (0.5, 1.0)


def test_dependencies_are_found_and_broken_ones_counted():
    train, fake = rows(1000, 0), rows(1000, 1)
    fake["twice"][:100] += 2
    answer = registry()["dependencies"](Case(spec_of(train), fake, train))["broken_dependencies"]
    assert {(r["a"], r["b"]) for r in answer.detail["rules"]} == {("kind", "twice"), ("twice", "kind")}
    assert answer.value == pytest.approx(0.1, abs=0.01)
    assert answer.low < 0.1 < answer.high
    assert "kind = " in next(r["example"] for r in answer.detail["rules"] if r["a"] == "kind")


def test_a_rule_that_independent_columns_could_keep_is_no_rule():
    rng = np.random.default_rng(0)
    spec, x = table(a=np.repeat(np.arange(6), 20).astype(np.int32), b=(np.arange(120) == 0).astype(np.int32))
    x["b"][:20] = 1
    x["b"][20:] = 0
    with pytest.raises(Exception, match="decides another"):
        registry()["dependencies"](Case(spec, x, {k: rng.permutation(v) for k, v in x.items()}))


def test_lost_rare_levels_are_named():
    train, fake = rows(1000, 0), rows(1000, 1)
    fake["kind"][fake["kind"] == 3] = 0
    answers = registry()["rare"](Case(spec_of(train), fake, train))
    assert answers["rare_kept"].value == 0
    assert answers["rare_kept"].detail["lost"][0][:2] == ["kind", LEVELS[3]]
    assert answers["rare_mass"].value == 0


@pytest.mark.parametrize("kind", sorted({"scikit-learn", learner.name()}))
def test_either_learner_tells_independent_columns_and_not_a_fresh_sample(kind):
    train, fresh = rows(900, 0), rows(900, 1)
    fields = spec_of(train).fields
    apart = independent(train, 900, np.random.default_rng(2))
    assert two_sample.run(fields, fresh, train, kind=kind).auc() < 0.56
    assert two_sample.run(fields, apart, train, kind=kind).auc() > 0.85


def test_what_gave_the_fakes_away_names_the_column_and_the_rule():
    train, fake = rows(900, 0), rows(900, 1)
    fake["y"] = np.where(fake["label"] == 1, 7.0, fake["y"])
    answer = registry()["two_sample"](Case(spec_of(train), fake, train, rows(900, 2), draws=5))["auc_train"]
    assert answer.detail["columns"][0][0] == "y"
    first = answer.detail["rules"][0]
    assert "y ≥" in first["words"] and first["fake"] > 0.3 and first["real"] == 0


def test_lift_says_when_synthetic_rows_do_not_help():
    train, unseen = rows(600, 0), rows(600, 1)
    apart = independent(train, 600, np.random.default_rng(2))
    answer = registry()["lift"](Case(spec_of(train), apart, train, unseen, "label", draws=30))["lift"]
    assert answer.detail["verdict"] in ("does not help", "harms")


def test_likelihood_is_a_mean_with_its_error_and_a_paired_gain():
    x = rows(50, 0)
    model, rival = np.arange(50.0), np.arange(50.0) - 2
    answers = registry()["likelihood"](Case(spec_of(x), x, x, log_probs={"independent": rival, "m": model}))
    assert answers["log_prob"].value == 24.5
    assert answers["log_prob"].error == pytest.approx(model.std(ddof=1) / 50**0.5)
    assert (answers["log_prob_gain"].value, answers["log_prob_gain"].error) == (2.0, 0.0)
