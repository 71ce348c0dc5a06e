"""The evidence as a whole: verdicts, JSON, and what is said where something is missing."""

import json

import numpy as np
import pytest

from pofx.errors import SpecError
from pofx.evaluate import evaluate, independent, plain
from pofx.fields import Category, Real
from pofx.spec import Spec

from .made import rows, spec_of

N = 800
TRAIN, UNSEEN, FRESH = rows(N, 1), rows(N, 2), rows(N, 3)
SPEC = spec_of(TRAIN)


@pytest.fixture(scope="module")
def good():
    return evaluate(SPEC, FRESH, TRAIN, UNSEEN, target="label", quick=True)


def test_a_fresh_sample_is_good_and_the_page_says_it_is_no_guarantee(good):
    assert good.verdict == "good", [r for r in good.reasons if r.level]
    assert "evidence and not a guarantee" in good.privacy
    assert "labels, ranges" in good.privacy
    assert good["shape"].low < good["shape"].value < good["shape"].high
    assert "good" in good.summary() and "auc_unseen" in good.summary()


def test_every_figure_stands_beside_its_ceiling_and_trivial_baseline(good):
    for figure in good.figures:
        assert figure.ceiling is not None, figure.name
        assert figure.baseline is not None, figure.name


def test_columns_drawn_alone_are_not_to_be_trusted():
    apart = independent(TRAIN, N, np.random.default_rng(0))
    found = evaluate(SPEC, apart, TRAIN, UNSEEN, target="label", quick=True)
    assert found.verdict == "do not trust"
    assert {r.figure for r in found.reasons if r.level == 2} >= {"auc_unseen", "broken_dependencies", "use_auc"}
    assert "judge" in found.headline or "rule" in found.headline


def test_training_rows_themselves_are_a_breach_of_privacy():
    found = evaluate(SPEC, TRAIN, TRAIN, UNSEEN, quick=True)
    assert found.verdict == "do not trust"
    assert {r.figure for r in found.reasons if r.level == 2} >= {"copies", "closer", "nearest_auc"}
    assert "do not share" in found.privacy
    assert "target" in found.skipped["usefulness"]


def test_without_a_hold_out_the_skipped_figures_say_so():
    found = evaluate(SPEC, FRESH, TRAIN, quick=True)
    assert {"two_sample", "shape"} & {"two_sample", *found.skipped} == {"two_sample"}
    assert "hold-out" in found.skipped["closer"]
    assert "auc_train" in found and "auc_unseen" not in found
    assert found.verdict == "usable with care"
    assert "only exact copies" in found.privacy


def test_the_same_seed_gives_the_same_evidence(good):
    again = evaluate(SPEC, FRESH, TRAIN, UNSEEN, target="label", quick=True)
    assert json.dumps(again.to_json()) == json.dumps(good.to_json())


def test_json_is_plain_and_holds_no_nan(good):
    text = json.dumps(good.to_json(), allow_nan=False)
    back = json.loads(text)
    assert back["verdict"] == "good"
    assert {"name", "value", "low", "high", "ceiling", "baseline", "better", "n"} <= set(back["figures"][0])
    assert plain({"a": np.array([1.0, np.nan]), 2: np.int64(3)}) == {"a": [1.0, None], "2": 3}


def test_progress_rises_to_one_and_names_what_runs():
    heard = []
    evaluate(SPEC, FRESH, TRAIN, progress=lambda done, what: heard.append((done, what)), quick=True)
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)
    assert heard[-1][0] == 1.0
    assert "trend" in {what for _, what in heard}


def test_a_lacking_column_and_an_unknown_target_are_named():
    with pytest.raises(SpecError, match="synthetic rows lack the columns 'x'"):
        evaluate(SPEC, {k: v for k, v in FRESH.items() if k != "x"}, TRAIN)
    with pytest.raises(SpecError, match="got 'wage'"):
        evaluate(SPEC, FRESH, TRAIN, target="wage")


def test_likelihoods_stand_beside_baseline_and_truth():
    rng = np.random.default_rng(0)
    log_probs = {
        name: rng.normal(mean, 1, N) for name, mean in (("any_order", -5), ("independent", -8), ("truth", -4.5))
    }
    found = evaluate(SPEC, FRESH, TRAIN, UNSEEN, log_probs=log_probs, quick=True)
    figure = found["log_prob"]
    assert figure.value == pytest.approx(-5, abs=0.2)
    assert figure.baseline == pytest.approx(-8, abs=0.2)
    assert figure.ceiling == pytest.approx(-4.5, abs=0.2)
    assert figure.unit == "nats"


def test_a_table_of_one_row_is_judged_with_care():
    x = {"x": np.array([1.0]), "l": np.zeros(1, np.int32)}
    spec = Spec.table((Real.learn("x", x["x"], 0), Category.learn("l", x["l"], ("u",))))
    found = evaluate(spec, x, x, x, target="l")
    assert found.verdict != "good"
    assert found.skipped
