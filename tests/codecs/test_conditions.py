"""Conditions: what they mean in stored values, and what is said about those that mean nothing."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from pofx.codecs.table import TableCodec, between
from pofx.errors import CodecError

N = 300
RNG = np.random.default_rng(1)
FRAME = pd.DataFrame(
    {
        "age": RNG.integers(17, 91, N),
        "pay": (RNG.integers(0, 4000, N) / 4).astype(float),
        "sex": RNG.choice(["Female", "Male"], N),
        "size": RNG.choice(["S", "M", "L"], N),
        "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(RNG.integers(0, 700, N), "D"),
        "at": pd.Timestamp("2020-01-01") + pd.to_timedelta(RNG.integers(0, 10**7, N), "s"),
        "gap": np.where(RNG.random(N) < 0.3, np.nan, RNG.integers(0, 50, N) / 10),
        "hours-per-week": RNG.integers(1, 99, N),
        "odd `name` = 1": RNG.choice(["a, b", 'say "x"', "is missing", "c"], N),
        "ok": RNG.choice([True, False], N),
        "one": 5,
    }
)
FRAME["num"] = FRAME["size"].map({"S": 1, "M": 2, "L": 3})
FRAME.loc[:2, "sex"] = None
CODEC = TableCodec.learn(FRAME, fields={"size": {"kind": "ordinal", "levels": ["S", "M", "L"]}})


def chosen(conditions: object) -> np.ndarray:
    """Which rows of the frame lie in the sets, by the stored values alone."""
    x, keep = CODEC.encode(FRAME), np.ones(N, bool)
    for name, allowed in CODEC.given(conditions).items():
        field = CODEC.spec.field(name)
        gone, inside = field.absent(x[name]), np.isin(x[name], list(allowed.codes))
        for low, high in allowed.intervals:
            inside |= (x[name] >= low - 1e-9) & (x[name] <= high + 1e-9)
        keep &= np.where(gone, allowed.missing, inside)
    return keep


F = FRAME
CASES: list[tuple[object, Callable[[], object]]] = [
    ("age = 30", lambda: F.age == 30),
    ("age == 30", lambda: F.age == 30),
    ("age!=30", lambda: F.age != 30),
    ("age < 30", lambda: F.age < 30),
    ("age <= 30.5", lambda: F.age <= 30),
    ("age > 30", lambda: F.age > 30),
    ("age >= 29.5", lambda: F.age >= 30),
    ("age in [20, 30]", lambda: F.age.between(20, 30)),
    ("age in [20,30)", lambda: F.age.between(20, 30, "left")),
    ("age in (20,30]", lambda: F.age.between(20, 30, "right")),
    ("age in (20,30)", lambda: F.age.between(20, 30, "neither")),
    ("age in {20, 30, 31}", lambda: F.age.isin([20, 30, 31])),
    ("pay < 500.25", lambda: F.pay < 500.25),
    ("pay in [100, 200.5)", lambda: F.pay.between(100, 200.5, "left")),
    ("sex = Female", lambda: F.sex == "Female"),
    ("sex = 'Female'", lambda: F.sex == "Female"),
    ("sex != Female", lambda: F.sex == "Male"),
    ("sex is missing", lambda: F.sex.isna()),
    ("sex is not missing", lambda: F.sex.notna()),
    ("sex in {Female, Male}", lambda: F.sex.notna()),
    ("gap is missing", lambda: F.gap.isna()),
    ("gap is not missing", lambda: F.gap.notna()),
    ("gap <= 2", lambda: F.gap <= 2),
    ("gap != 2", lambda: F.gap.notna() & (F.gap != 2)),
    ("size >= M", lambda: F["size"].isin(["M", "L"])),
    ("size in [S, M]", lambda: F["size"].isin(["S", "M"])),
    ("num = 2", lambda: F["size"] == "M"),
    ("num > 1", lambda: F["size"] != "S"),
    ("day in {2020-05-01, 2020-05}", lambda: F.day.between("2020-05-01", "2020-05-31")),
    ("day in [2020-05, 2020-06]", lambda: F.day.between("2020-05-01", "2020-06-30")),
    ("day < 2020-05-01", lambda: F.day < "2020-05-01"),
    ("day >= 2021", lambda: F.day >= "2021-01-01"),
    ("at = 2020-01-03", lambda: F["at"].dt.date == pd.Timestamp("2020-01-03").date()),
    ("at > 2020-01-03", lambda: F["at"] >= "2020-01-04"),
    ("at <= 2020-01-03 12:00:00", lambda: F["at"] <= "2020-01-03 12:00:00"),
    ("hours-per-week >= 40", lambda: F["hours-per-week"] >= 40),
    ("`hours-per-week` >= 40", lambda: F["hours-per-week"] >= 40),
    ("`odd ``name`` = 1` = c", lambda: F["odd `name` = 1"] == "c"),
    ("odd `name` = 1 = c", lambda: F["odd `name` = 1"] == "c"),
    ('`odd ``name`` = 1` in {"a, b", \'say "x"\'}', lambda: F["odd `name` = 1"].isin(["a, b", 'say "x"'])),
    ('`odd ``name`` = 1` = "is missing"', lambda: F["odd `name` = 1"] == "is missing"),
    ("ok = true", lambda: F.ok),
    ("one = 5", lambda: F.one == 5),
    (["age > 20", "age <= 60", "age != 40"], lambda: (F.age > 20) & (F.age <= 60) & (F.age != 40)),
    (["sex = Male", "gap > 1"], lambda: (F.sex == "Male") & (F.gap > 1)),
    (["num > 1", "size <= M"], lambda: F["size"] == "M"),
    ({"sex": "Female", "age": between(20, 30)}, lambda: (F.sex == "Female") & F.age.between(20, 30)),
    ({"age": between(20, 30, closed="neither")}, lambda: F.age.between(20, 30, "neither")),
    ({"age": {20, 21}}, lambda: F.age.isin([20, 21])),
    ({"sex": None}, lambda: F.sex.isna()),
    ({"ok": True, "num": 3}, lambda: F.ok & (F["size"] == "L")),
    ({"day": between(pd.Timestamp("2020-05-01"), "2020-06")}, lambda: F.day.between("2020-05-01", "2020-06-30")),
]


@pytest.mark.parametrize(("conditions", "expected"), CASES, ids=[str(case[0]) for case in CASES])
def test_conditions_choose_the_rows_that_they_say(conditions: object, expected: Callable[[], object]) -> None:
    truth = np.asarray(expected(), bool)
    assert np.array_equal(chosen(conditions), truth) and truth.any()


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ("agee = 3", "names the column 'agee', expected one of 'age'"),
        ("nothing like it = 3", "names the column 'nothing like it', expected one of"),
        ({"agee": 3}, "names the column 'agee'"),
        ("`nope` = 3", "names the column 'nope'"),
        ("age 3", "cannot be read: write a = v"),
        ("age in 3", "cannot be read"),
        ("age in [3]", "cannot be read"),
        ("age = old", "compares 'age', a number, with 'old'"),
        ("sex = Femal", "names 'Femal', which was never seen in 'sex': expected one of 'Female'"),
        ("sex < Male", "needs an order, 'sex' has labels"),
        ("age > 200", r"'age > 200' is outside what was seen in 'age': values lay in \[17, 90\]"),
        ("age is missing", "outside what was seen"),
        (["age < 20", "age > 30"], "'age < 20' and 'age > 30' contradict each other"),
        (["sex = Male", "sex is missing"], "contradict each other"),
        (["num = 1", "size = L"], "contradict each other: no value of 'size' is left"),
        (["age >= 90.5", "age <= 95"], "outside what was seen"),
        ("num = 9", "outside what was seen in 'num'"),
        ("one = 6", "'6', which was never seen in 'one'"),
        ("one is missing", "'one' is always '5'"),
        ("day = yesterday", "expected a date such as 2020-05-31, got 'yesterday'"),
    ],
)
def test_conditions_that_mean_nothing(conditions: object, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        CODEC.given(conditions)


def test_a_closed_word_that_does_not_exist() -> None:
    with pytest.raises(CodecError, match="both, left, right, neither"):
        between(1, 2, closed="open")


def test_clocks_of_a_time_zone() -> None:
    hours = pd.date_range("2020-06-01", periods=96, freq="h", tz="Europe/Berlin")
    codec = TableCodec.learn(pd.DataFrame({"at": hours, "y": ["a", "b"] * 48}))
    x = codec.encode(pd.DataFrame({"at": hours, "y": ["a", "b"] * 48}))["at"]
    for condition in ("at = 2020-06-02", {"at": between("2020-06-02", "2020-06-02T23:00")}):
        low, high = codec.given(condition)["at"].intervals[0]
        assert np.array_equal((x >= low) & (x <= high), hours.day == 2)
    low, high = codec.given({"at": pd.Timestamp("2020-06-01 22:00", tz="UTC")})["at"].intervals[0]
    assert np.flatnonzero((x >= low) & (x <= high)).tolist() == [24]
