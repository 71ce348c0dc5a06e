"""Attacks: copies of training rows are found, rows of the same law are not, and numbers agree with direct counts."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pofx
from pofx.cli import main
from pofx.errors import PofxError
from pofx.evaluate import Evidence
from pofx.fields import Category, Real
from pofx.metrics.attacks import _alone, _stacked, attacks
from pofx.spec import Columns, Spec


def rows(n: int, seed: int) -> Columns:
    rng = np.random.default_rng(seed)
    a = np.r_[np.arange(6), rng.integers(0, 6, n - 6)].astype(np.int32)
    x = {"a": a, "b": np.r_[0, 1, rng.random(n - 2) < 0.3].astype(np.int32)}
    for k in range(4):
        x[f"v{k}"] = np.round(rng.normal(a, 1.0), 3)
    x["v0"][7] = np.nan
    return x


TRAIN, CONTROL, FRESH = rows(1500, 0), rows(1500, 1), rows(1500, 2)
SPEC = Spec.table((
    Category.learn("a", TRAIN["a"], tuple("uvwxyz")), Category.learn("b", TRAIN["b"], ("0", "1")),
    *(Real.learn(f"v{k}", TRAIN[f"v{k}"], 3) for k in range(4)),
))  # fmt: skip


def of(found: dict, name: str) -> dict:
    return next(row for row in found["rows"] if row["name"] == name)


def bare(*_: object, **__: object) -> Evidence:
    """Evidence without figures, for time."""
    rows = {"synthetic": 1, "train": 1, "holdout": 1}
    return Evidence([], "judged", "Judged.", [], "", {}, rows, {"marginals": []})


NAMES = ("singling out by one column", "singling out by several columns", "linkability", "inference")


def test_copies_of_training_rows_leak_by_every_attack() -> None:
    found = attacks(SPEC.fields, TRAIN, TRAIN, CONTROL)
    for name in NAMES:
        row = of(found, name)
        assert row["risk"][1] > 0.05, name
        assert row["train"][0] > row["control"][2], name
    assert of(found, "linkability")["train"][0] == 1.0 and of(found, "inference")["train"][0] > 0.95
    assert found["words"].startswith("leaks: singling out")


def test_rows_of_the_same_law_do_not() -> None:
    found = attacks(SPEC.fields, FRESH, TRAIN, CONTROL)
    for name in NAMES:
        row = of(found, name)
        assert row["risk"][1] < 0.02 and abs(row["risk"][0]) < 0.08, name
    assert "no attack succeeds more often" in found["words"] and "no guarantee" in found["words"]
    inferred = of(found, "inference")
    assert inferred["control"][0] > inferred["guess"][2]  # knowledge of the population is no leak
    assert attacks(SPEC.fields, FRESH, TRAIN, CONTROL) == found


def test_a_predicate_is_alone_where_a_direct_count_says_so() -> None:
    x = _stacked(SPEC.fields, TRAIN)
    v = TRAIN["v1"]
    low, high = float(np.sort(v)[0]), float(np.sort(v)[-2])
    assert _alone([((3, "<", low),), ((3, ">", high),), ((0, "=", 2.0),), ((1, "=", 1.0), (3, "<", -99.0))], x) == 1


def test_the_page_and_the_command_line_show_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pofx.judging.evaluate", bare)
    for name, x in (("train", TRAIN), ("holdout", CONTROL)):
        pd.DataFrame(x)[:250].to_csv(tmp_path / f"{name}.csv", index=False)
    asked = ["evaluate", "--synthetic", str(tmp_path / "train.csv"), "--train", str(tmp_path / "train.csv")]
    asked += ["--holdout", str(tmp_path / "holdout.csv"), "--privacy", "-o", str(tmp_path / "r.html")]
    assert main(asked) == 0
    page = (tmp_path / "r.html").read_text()
    assert "Attacks with the synthetic rows" in page and "inference of" in page
    assert "linkability" in capsys.readouterr().out


def test_too_little_is_told() -> None:
    few = {k: v[:50] for k, v in CONTROL.items()}
    with pytest.raises(PofxError, match="100 synthetic"):
        attacks(SPEC.fields, FRESH, TRAIN, few)
    made = pofx.fit(pd.DataFrame(TRAIN), model="independent", split=(1, 0, 0), quiet=True)
    with pytest.raises(PofxError, match="never learned from"):
        made.evaluate(train=pd.DataFrame(TRAIN), privacy=True, quiet=True)
