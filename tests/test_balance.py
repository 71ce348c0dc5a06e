"""Samples whose shares are asked for: exact to a row, the rest as conditions say, clear errors."""

import numpy as np
import pandas as pd
import pytest

import pofx
from pofx.balance import Part, dealt
from pofx.cli import main
from pofx.errors import PofxError, SpecError, Unsupported


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    income = rng.choice(["low", "mid", "high"], 800, p=[0.7, 0.2, 0.1])
    age = np.where(income == "high", rng.integers(50, 60, 800), rng.integers(20, 40, 800))
    return pd.DataFrame({"income": income, "age": age, "sex": rng.choice(["f", "m"], 800)})


@pytest.fixture(scope="module")
def model(frame: pd.DataFrame) -> pofx.Fitted:
    return pofx.fit(frame, steps=150, seed=1, quiet=True)


def shares(rows: pd.DataFrame, column: str) -> dict[str, float]:
    return rows[column].value_counts(normalize=True).to_dict()


def test_levels_get_equal_shares_and_the_rest_follows(model: pofx.Fitted) -> None:
    rows = model.sample(600, balance="income", seed=1, quiet=True)
    assert all(abs(share - 1 / 3) <= 1.5 / 600 + 0.02 for share in shares(rows, "income").values())
    assert rows[rows.income == "high"].age.median() >= 50 > rows[rows.income != "high"].age.median()


def test_shares_hold_and_what_is_not_named_keeps_its_proportions(model: pofx.Fitted) -> None:
    rows = model.sample(4096, balance={"income": {"high": 0.5}}, seed=1, quiet=True)
    found = shares(rows, "income")
    assert abs(found["high"] - 0.5) < 1e-3 and 2.5 < found["low"] / found["mid"] < 5
    both = model.sample(4096, balance={"income": {"high": 0.5, "low": 0.5}, "sex": {"f": 0.25}}, seed=1, quiet=True)
    assert abs(((both.income == "high") & (both.sex == "f")).mean() - 0.125) < 1e-3
    ages = model.sample(4096, balance={"age": {"< 30": 0.8, ">= 30": 0.2}}, seed=1, quiet=True)
    assert abs((ages.age < 30).mean() - 0.8) < 1e-3
    women = model.sample(300, given="sex = f", balance="income", seed=1, quiet=True)
    assert set(women.sex) == {"f"} and set(women.income) == {"low", "mid", "high"}


def test_a_small_sample_is_the_beginning_of_a_large_one(model: pofx.Fitted) -> None:
    few, many = (model.sample(n, balance="income", seed=3, quiet=True) for n in (50, 5000))
    assert few.income.tolist() == many.income[:50].tolist() and few.sex.tolist() == many.sex[:50].tolist()


def test_columns_of_the_condition_are_balanced_too(frame: pd.DataFrame) -> None:
    model = pofx.fit(frame, model="vae", condition="income", steps=5, quiet=True, width=16, depth=1)
    rows = model.sample(4096, balance="income", seed=1, quiet=True)
    assert all(abs(share - 1 / 3) < 1e-3 for share in shares(rows, "income").values())
    with pytest.raises(Unsupported, match="condition"):
        model.sample(10, balance="sex", quiet=True)


def test_rows_are_dealt_to_within_one() -> None:
    parts = [Part(share, {}) for share in (0.5, 0.3, 0.15, 0.05)]
    for seed in range(20):
        counts = np.bincount(dealt(parts, 7, np.random.default_rng(seed)), minlength=4)
        assert counts.sum() == 7 and (np.abs(counts - 7 * np.array([p.share for p in parts])) < 1).all()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("age", "has no levels"),
        ("nothing", "nothing"),
        ({"income": {"low": 0.9, "high": 0.3}}, "sum to 1, got 1.2"),
        ({"income": {"low": -0.1}}, "from 0 to 1"),
        ({"income": {"low": "half"}}, "from 0 to 1"),
        ({"age": {"< 30": 0.5}}, "sum to 1, got 0.5"),
        ({"income": {"poor": 0.5}}, "poor"),
        ({"income": {"low": True}}, "from 0 to 1"),
        ({"age": {"< 30": 0.5, "< 50": 0.5}}, "overlap"),
        ({"age": {"< 0": 1.0}}, "age"),
    ],
)
def test_what_cannot_be_is_said(model: pofx.Fitted, asked: object, words: str) -> None:
    with pytest.raises(PofxError, match=words):
        model.sample(10, balance=asked, quiet=True)


def test_a_column_is_not_both_balanced_and_given(model: pofx.Fitted) -> None:
    with pytest.raises(SpecError, match="leave one out"):
        model.sample(10, given="income = low", balance="income", quiet=True)


def test_on_the_command_line(model: pofx.Fitted, tmp_path, capsys: pytest.CaptureFixture) -> None:
    model.save(tmp_path / "m.pofx")
    words = ["sample", str(tmp_path / "m.pofx"), "-n", "200", "-o", str(tmp_path / "out.csv"), "--seed", "1", "--quiet"]
    assert main([*words, "--balance", '{"income": {"high": 0.5}}']) == 0
    assert abs((pd.read_csv(tmp_path / "out.csv").income == "high").mean() - 0.5) < 0.1
    assert main([*words, "--balance", '{"income": '])
    assert "expected a column or JSON" in capsys.readouterr().err
