"""Rows brought to known margins: by weights, by choice, to within a row a cell; and what cannot be says so."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pofx.cli import main
from pofx.errors import PofxError
from pofx.polish import polish


def frame(n: int = 4000) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    sex = rng.choice(["f", "m"], n, p=[0.4, 0.6])
    region = np.where(rng.random(n) < np.where(sex == "f", 0.7, 0.4), "north", "south")
    age = rng.integers(18, 80, n)
    return pd.DataFrame(
        {"sex": sex, "region": region, "age": age, "pay": (age * 100 + 900 * (sex == "m")).astype(float)}
    )


MARGINS = {"sex": {"f": 0.51, "m": 0.49}, "age": {"< 30": 0.3, ">= 30": 0.7}}


def test_margins_hold_to_about_a_row_a_cell_and_the_rest_follows() -> None:
    whole = frame()
    made = polish(whole, MARGINS, seed=1, quiet=True)
    assert abs((made.rows.sex == "f").mean() - 0.51) < 2 / made.number
    assert abs((made.rows.age < 30).mean() - 0.3) < 2 / made.number
    assert made.number > 2000 and not made.rows.index.duplicated().any() and len(made.rows) == made.number
    assert np.abs(made.after - made.target).max() < 2 / made.number < np.abs(made.before - made.target).max()
    for sex in ("f", "m"):  # p(region | sex) stays
        share = [(part[part.sex == sex].region == "north").mean() for part in (whole, made.rows)]
        assert abs(share[0] - share[1]) < 0.03
    assert made.rows.merge(whole.drop_duplicates(), how="left", indicator=True)._merge.eq("both").all()
    again = polish(whole, MARGINS, seed=1, quiet=True)
    pd.testing.assert_frame_equal(made.rows, again.rows)


def test_weights_meet_margins_exactly_and_are_those_of_raking() -> None:
    made = polish(frame(), MARGINS, weights="w", quiet=True).rows
    assert len(made) == 4000 and abs(made.w.mean() - 1) < 1e-9
    total = made.w.sum()
    assert abs(made.w[made.sex == "f"].sum() / total - 0.51) < 1e-8
    assert abs(made.w[made.age < 30].sum() / total - 0.3) < 1e-8
    cell = made.groupby([made.sex, made.age < 30]).w.nunique()
    assert (cell == 1).all()  # a product of a factor for each margin
    w = made.groupby([made.sex, made.age < 30]).w.first().unstack()
    assert abs(np.log(w.iloc[0, 0] * w.iloc[1, 1] / w.iloc[0, 1] / w.iloc[1, 0])) < 1e-6


def test_joint_margins_numbers_of_people_and_the_rest() -> None:
    joint = {"sex": {"f": {"region": {"north": 0.1, "south": 0.4}}, "m": {"region": {"north": 0.25, "south": 0.25}}}}
    made = polish(frame(), joint, quiet=True).rows
    assert abs(((made.sex == "f") & (made.region == "north")).mean() - 0.1) < 2e-3
    people = polish(frame(), {"sex": {"f": 300_000, "m": 700_000}}, quiet=True).rows
    assert abs((people.sex == "f").mean() - 0.3) < 1e-3
    rest = polish(frame(), {"age": {"in [18, 20]": 0.2}}, quiet=True)
    assert abs((rest.rows.age <= 20).mean() - 0.2) < 1e-3 and rest.cells[-1] == "age: others"


def test_more_rows_only_if_some_may_repeat() -> None:
    with pytest.raises(PofxError, match="at most"):
        polish(frame(), MARGINS, rows=4000, quiet=True)
    made = polish(frame(), MARGINS, rows=9000, repeat=True, quiet=True)
    assert made.number == 9000 and abs((made.rows.sex == "f").mean() - 0.51) < 1e-3
    assert polish(frame(), MARGINS, rows=100, quiet=True).number == 100


def test_margins_that_contradict_each_other_are_said() -> None:
    apart = {"sex": {"f": 0.9, "m": 0.1}, "region": {"north": 0.5, "south": 0.5}}
    rows = pd.DataFrame({"sex": ["f", "m"] * 50, "region": ["north", "south"] * 50, "n": range(100)})
    assert "contradict" in str(polish(rows, apart, quiet=True))


@pytest.mark.parametrize(
    ("margins", "words"),
    [
        ({}, "expected margins"),
        ({"sex": 0.5}, "expected margins"),
        ({"sex": {"f": -1}}, "0 or more"),
        ({"sex": {"f": "half"}}, "share or a number"),
        ({"sex": {"f": True}}, "share or a number"),
        ({"sex": {"x": 1.0}}, "never seen"),
        ({"sax": {"f": 1.0}}, "'sex'"),
        ({"age": {"< 40": 0.5, "< 50": 0.5}}, "overlap"),
        ({"age": {"> 200": 0.5, "<= 200": 0.5}}, "got none for > 200"),
        ({"sex": {"f": 0.3, "m": 0.3}}, "sum to 1"),
        ({"sex": {"f": 0.51, "m": 0.52}}, "or numbers of people, got shares of 1.03"),
        ({"sex": {"f": {"region": 0.5}}}, "within"),
    ],
)
def test_what_cannot_be_is_said(margins: dict, words: str) -> None:
    with pytest.raises(PofxError, match=words):
        polish(frame(200), margins, quiet=True)


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    frame().to_csv(tmp_path / "s.csv", index=False)
    (tmp_path / "m.json").write_text(json.dumps(MARGINS))
    words = ["polish", str(tmp_path / "s.csv"), "--margins", str(tmp_path / "m.json"), "-o", str(tmp_path / "o.csv")]
    assert main(words) == 0
    assert "off by" in capsys.readouterr().out
    made = pd.read_csv(tmp_path / "o.csv")
    assert abs((made.sex == "f").mean() - 0.51) < 1e-3 and list(made.columns) == ["sex", "region", "age", "pay"]
    (tmp_path / "m.json").write_text("{")
    assert main(words) == 2 and "expected JSON" in capsys.readouterr().err
    assert main([*words[:3], str(tmp_path / "none.json"), *words[4:]]) == 2
