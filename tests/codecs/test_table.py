"""The codec of tables: how columns are read, that they come back, and what is said about bad input."""

import json
import time

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pofx.codecs.table import TableCodec, between, read_table, to_frame, write_table
from pofx.errors import CodecError, SpecError

RNG = np.random.default_rng(0)


def texts(**columns: list[str]) -> pa.Table:
    return pa.table({name: pa.array(cells, pa.string()) for name, cells in columns.items()})


def reading(cells: list, **asked: object) -> tuple[str, TableCodec]:
    table = pa.table({"x": cells, "other": [str(i % 2) for i in range(len(cells))]})
    codec = TableCodec.learn(table, fields={"x": asked} if asked else None)
    return codec.plans[0].how, codec


def back(table: pa.Table, **more: object) -> TableCodec:
    """The codec, after the law: what it learned from comes back in every cell, also through JSON."""
    table, _ = read_table(table)
    codec = TableCodec.learn(table, **more)
    meta, arrays = codec.to_json()
    again = TableCodec.from_json(json.loads(json.dumps(meta)), arrays)
    for one in (codec, again):
        made = one.table(one.encode(table))
        assert made.schema.equals(table.schema, check_metadata=True)
        for name in table.column_names:
            assert made[name].to_pylist() == table[name].to_pylist(), name
    return codec


KINDS_OF_TEXTS = {
    "count": ["1", "0", "31"],
    "integer": ["-1", "5", "31"],
    "real": ["-1.50", "2.25", "0.00"],
    "positive": ["1.5", "2", "3.25"],
    "category": ["red", "green", "blue"],
    "boolean": ["yes", "no", "yes"],
    "datetime": ["2020-01-31", "1999-12-01", "0044-03-15"],
}


@pytest.mark.parametrize("kind", KINDS_OF_TEXTS)
@pytest.mark.parametrize("marker", [None, "", "NA", "null", "?"])
def test_kinds_of_texts_come_back(kind: str, marker: str | None) -> None:
    cells = KINDS_OF_TEXTS[kind] * 4 + [marker] * (marker is not None)
    how, codec = reading(cells)
    expected = "category" if (kind, marker) == ("boolean", "?") else kind
    assert how == expected, codec.profile()
    labels = kind in ("category", "boolean") and marker == "?"
    assert codec.plans[0].share == pytest.approx(0.0 if marker is None or labels else 1 / 13)
    back(pa.table({"x": cells, "other": ["1"] * len(cells)}))


@pytest.mark.parametrize(
    "cells",
    [
        ["1.50", "2.25", "10.00"],
        ["1.5", "2", "10.25"],
        ["1.5", "2.0", "10.25"],
        ["45.0", "46.0", "1.0"],
        ["1,5", "2,75", "-3,1"],
        ["1e-05", "2e-07", "1.25e-05"],
        ["2e+05", "123456", "1.2e+07", "17"],
        ["0.1", "0.123456789012", "3.0"],
        ["1234567.891", "0.001", "2.5"],
        ["-0.5", "0.25", "-12.125"],
    ],
)
def test_spellings_of_numbers_come_back(cells: list[str]) -> None:
    codec = back(texts(x=cells * 3, y=["a", "b", "c"] * len(cells)))
    assert codec.plans[0].reading == "number"


@pytest.mark.parametrize(
    ("cells", "unit"),
    [
        (["2020-01-31", "1066-10-14"], "D"),
        (["31/12/2020", "01/02/2021"], "D"),
        (["12/31/2020", "2/1/2021"], "D"),
        (["31.12.2020", "01.02.2021"], "D"),
        (["1.2.2021", "31.12.2020"], "D"),
        (["2020/01/31", "2020/02/28"], "D"),
        (["2020-01-31 10:30", "2020-02-01 00:01"], "m"),
        (["2020-01-31T10:30:59Z", "1066-02-01T00:01:00Z"], "s"),
        (["2020-01-31 10:30:59+02:00", "2020-02-01 00:01:00+02:00"], "s"),
        (["2020-01-31 00:00:00", "2020-02-01 00:00:00"], "D"),
        (["2020-01-31 10:30:59.120", "2020-02-01 00:01:00.000"], "ms"),
        (["2020-01-31 10:30:59.120001", "2020-02-01 00:01:00"], "us"),
        (["10:30", "23:59"], "m"),
        (["20200131", "19991231", "20010203", "20011111", "20050505"], "D"),
    ],
)
def test_forms_of_moments_come_back(cells: list[str], unit: str) -> None:
    codec = back(texts(x=cells * 3, y=["a", "b", "c"] * len(cells)))
    assert (codec.plans[0].how, codec.plans[0].form["unit"]) == ("datetime", unit)


def test_no_moments() -> None:
    assert reading(["31/12/2020", "13/13/2020"] * 5)[0] == "category"
    assert reading(["01/02/2020", "03/04/2020"] * 5)[0] == "category", "both readings are possible"
    asked = {"kind": "datetime", "format": "%d/%m/%Y"}
    how, codec = reading(["01/02/2020", "03/04/2020"] * 5, **asked)
    assert how == "datetime" and codec.plans[0].plain(np.array([18293])).to_pylist()[0].isoformat() == "2020-02-01"


def test_moments_in_stored_steps() -> None:
    _, codec = reading(["2020-01-02 00:00:00+01:00", "1970-01-01 00:00:10+01:00"] * 5)
    x = codec.encode(texts(x=["1970-01-01 00:00:10+01:00", "1969-12-31 23:59:59+01:00"], other=["0", "1"]))
    assert x["x"].tolist() == [10, -1]


TYPED = {
    "int8": pa.array([1, 2, -3] * 4, pa.int8()),
    "nulls": pa.array([1, None, 3] * 4, pa.int64()),
    "float": pa.array([0.1, 2.5, None] * 4),
    "odd": pa.array(RNG.normal(size=12)),
    "huge": pa.array(RNG.normal(size=12) * 1e200),
    "tiny": pa.array(RNG.normal(size=12) * 1e-200),
    "float32": pa.array(np.array([0.1, 2.5, 3.14] * 4, np.float32)),
    "wholes": pa.array([1.0, 2.0, None] * 4),
    "bool": pa.array([True, False, None] * 4),
    "date": pa.array([0, -400000, 3] * 4, pa.int32()).cast(pa.date32()),
    "zone": pa.array([0, 86_400_000_001, None] * 4, pa.int64()).cast(pa.timestamp("us", "Europe/Berlin")),
    "nano": pa.array([1, 2, 3] * 4, pa.timestamp("ns")),
    "time": pa.array([0, 3_600_000_000, 1] * 4, pa.int64()).cast(pa.time64("us")),
    "duration": pa.array([1, 2, 3] * 4, pa.duration("s")),
    "decimal": pa.array([1, 2, 3] * 4).cast(pa.decimal128(22, 2)),
    "dictionary": pa.array(["b", "a", None] * 4).dictionary_encode(),
    "large": pa.array(["1.50", "2.25", "NA"] * 4, pa.large_string()),
    "labels": pa.array(["", "NA", None] * 4),
    "ids": pa.array([2**62, -(2**62), 5] * 4),
    "unsigned": pa.array([2**64 - 1, 5, 6] * 4, pa.uint64()),
    "nothing": pa.nulls(12),
    "null": pa.nulls(12, pa.float64()),
    "compact": pa.array([20200131, 19991231, 20010203, 20011111, 20050505, 20060606] * 2),
}


@pytest.mark.parametrize("name", TYPED)
def test_typed_columns_come_back(name: str) -> None:
    back(pa.table({name: TYPED[name], "other": ["a", "b"] * 6}))


def test_nan_and_null_stay_apart() -> None:
    made = TableCodec.learn(table := pa.table({"x": [0.5, float("nan"), 1.5], "y": ["a", "b", "a"]}))
    cells = made.table(made.encode(table))["x"]
    assert cells.null_count == 0 and np.isnan(cells[1].as_py())


def test_frames_come_back_with_their_types() -> None:
    frame = pd.DataFrame(
        {
            "int": pd.array([1, None, 3] * 4, "Int64"),
            "cat": pd.Categorical(["a", "b", None] * 4, ["b", "a", "c"], ordered=True),
            "when": pd.to_datetime(["2020-01-01", None, "2020-06-01"] * 4).tz_localize("Europe/Berlin"),
            "text": pd.array(["x", None, "y"] * 4, "string"),
            "flag": np.array([True, None, False] * 4, object),
            "float": [1.5, np.nan, 2.0] * 4,
        }
    )
    table, kind = read_table(frame)
    codec = back(table)
    pd.testing.assert_frame_equal(to_frame(codec.table(codec.encode(frame)), kind), frame)
    assert [plan.how for plan in codec.plans] == ["count", "ordinal", "datetime", "category", "boolean", "positive"]
    other = pl.DataFrame(
        {"c": pl.Series(["a", None] * 6, dtype=pl.Enum(["b", "a"])), "d": pl.Series([1, 2] * 6, dtype=pl.UInt8)}
    )
    codec = back(read_table(other)[0])
    made = to_frame(codec.table(codec.encode(other)), "polars")
    assert made.equals(other) and made.schema == other.schema


CELL = {
    "int": st.integers(-(10**15), 10**15),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "text": st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6),
    "bool": st.booleans(),
    "date": st.dates(),
    "moment": st.datetimes(),
    "money": st.decimals(-1000, 1000, places=2).map(float),
}


@st.composite
def frames(draw: st.DrawFn) -> pa.Table:
    n = draw(st.integers(2, 12))
    kinds = draw(st.lists(st.sampled_from(sorted(CELL)), min_size=1, max_size=5))
    types = {"int": pa.int64(), "float": pa.float64(), "text": pa.string(), "bool": pa.bool_(), "date": pa.date32()}
    types |= {"moment": pa.timestamp("us"), "money": pa.float64()}
    columns = {
        f"{kind}{i}": pa.array(draw(st.lists(st.none() | CELL[kind], min_size=n, max_size=n)), types[kind])
        for i, kind in enumerate(kinds)
    }
    columns["last"] = pa.array([str(i % 2) for i in range(n)])
    return pa.table(columns)


@given(frames())
@example(pa.table({"a": [None] * 8 + [1e308], "b": [None] * 8 + [1.1e308], "last": list("010101010")}))
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_small_frame_comes_back(table: pa.Table) -> None:
    back(table)


@given(st.lists(st.decimals(-(10**6), 10**6, places=3), min_size=2, max_size=20), st.integers(0, 6), st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_fixed_spelling_comes_back(numbers: list, places: int, comma: bool) -> None:
    cells = [f"{abs(number):.{places}f}" for number in numbers]
    back(
        texts(x=[cell.replace(".", ",") for cell in cells] if comma else cells, y=["a"] * len(cells), z=_letters(cells))
    )


def _letters(cells: list) -> list[str]:
    return ["ab"[i % 2] for i in range(len(cells))]


# -- the list of hard tables -------------------------------------------------------------------------------------------


def test_a_hundred_thousand_levels() -> None:
    codes = np.r_[np.arange(100_000), np.arange(100_000)]
    cells = pa.array([f"level {i}" for i in codes])
    start = time.perf_counter()
    codec = TableCodec.learn(table := pa.table({"x": cells, "y": pa.array(codes % 3)}))
    made = codec.table(codec.encode(table))
    assert made.equals(table) and len(codec.spec.field("x").levels) == 100_000
    assert codec.plans[0].how == "category" and time.perf_counter() - start < 20


def test_nearly_all_missing() -> None:
    x = [None if i % 100 else i / 8 for i in range(1000)]
    codec = back(pa.table({"x": x, "y": ["a", "b"] * 500, "z": ["" if i % 100 else str(i) for i in range(1000)]}))
    assert codec.plans[0].share == codec.plans[2].share == 0.99
    assert codec.spec.field("x").has_missing


def test_one_distinct_value() -> None:
    codec = back(
        pa.table({"x": [7] * 9, "t": ["NA"] * 9, "d": pa.array([3] * 9, pa.date32()), "y": ["a", "b", "c"] * 3})
    )
    assert [plan.how for plan in codec.plans] == ["constant"] * 3 + ["category"]
    assert [field.name for field in codec.spec.fields] == ["y"]
    codec = back(pa.table({"x": [7] * 9}))
    assert codec.plans[0].how == "category", "kept where there is nothing else"


def test_a_thousand_columns() -> None:
    start = time.perf_counter()
    columns = {f"c{i}": [str(v) for v in RNG.integers(0, 5, 60)] for i in range(1000)}
    codec = TableCodec.learn(table := texts(**columns))
    assert codec.table(codec.encode(table)).to_pydict() == table.to_pydict()
    assert len(codec.spec.fields) == 1000 and time.perf_counter() - start < 30


def test_mixed_types_become_labels_of_their_texts() -> None:
    frame = pd.DataFrame({"x": [1, "a", 2.5, None] * 20, "y": ["k", "l"] * 40})
    codec = TableCodec.learn(frame)
    assert set(codec.spec.field("x").levels) == {"1", "a", "2.5"}
    assert to_frame(codec.table(codec.encode(frame)), "pandas")["x"].isna().sum() == 20


def test_one_row_and_no_row_and_no_cell() -> None:
    with pytest.raises(CodecError, match="at least two rows to learn from, got one row"):
        TableCodec.learn(pa.table({"a": [1]}))
    with pytest.raises(CodecError, match="got a header and no rows"):
        TableCodec.learn(pa.table({"a": pa.array([], pa.string())}))
    with pytest.raises(CodecError, match="every cell of the table is missing"):
        TableCodec.learn(texts(a=["", "", ""], b=["NA", "NA", "NA"]))


@pytest.mark.parametrize("cells", [[1.0, float("inf"), 2.5], ["1.5", "inf", "2"], ["1.5", "-Infinity", "2"]])
def test_infinite_values(cells: list) -> None:
    with pytest.raises(CodecError, match="column 'x' holds infinite values, the first in row 2"):
        TableCodec.learn(pa.table({"x": cells, "y": ["a", "b", "a"]}))


@pytest.mark.parametrize(
    ("name", "low", "high", "how"),
    [
        ("wind_dir", 0.0, 360.0, "angle"),
        ("Bearing (deg)", 0.0, 360.0, "angle"),
        ("price", 0.0, 360.0, "positive"),
        ("bearing", 0.0, 90.0, "positive"),
        ("triangle", 0.0, 360.0, "positive"),
        ("angle", 0.0, 400.0, "positive"),
    ],
)
def test_an_angle_is_found_by_its_name_and_the_circle_that_it_fills(
    name: str, low: float, high: float, how: str
) -> None:
    v = np.random.default_rng(0).uniform(low + 0.1, high - 0.1, 500).round(1)
    codec = TableCodec.learn(table := pa.table({name: v, "y": np.arange(500) % 7}))
    assert codec.plans[0].how == how
    assert ("named like an angle" in codec.profile()) == (how == "angle")
    assert codec.table(codec.encode(table)).equals(table)


# -- keys --------------------------------------------------------------------------------------------------------------


def test_keys_are_made_anew_in_their_shape() -> None:
    rows = 200
    table = pa.table(
        {
            "row": list(range(1, rows + 1)),
            "user_id": (RNG.permutation(90_000)[:rows] + 10_000).tolist(),
            "ref": [f"AB-{RNG.integers(10**6):06d}{i % 10}" for i in range(rows)],
            "uuid": [f"{RNG.integers(16**8):08x}-{RNG.integers(16**4):04x}" for _ in range(rows)],
            "note": [
                " ".join(RNG.choice(["alpha", "be", "c", "delta,", "eps"], RNG.integers(4, 9))) for _ in range(rows)
            ],
            "price": RNG.permutation(100_000)[:rows].tolist(),
            "y": ["a", "b"] * (rows // 2),
        }
    )
    codec = TableCodec.learn(table)
    assert [plan.how for plan in codec.plans] == ["key", "key", "key", "key", "dropped", "count", "category"]
    assert "free text" in codec.plans[4].why and "not learned" in codec.profile()
    x = {name: np.tile(column, 10) for name, column in codec.encode(table).items()}
    first, second = codec.table(x), codec.table(x, first_row=2000)
    for name, pattern in (("ref", r"AB-\d{7}"), ("uuid", r"[0-9a-f]{8}-[0-9a-f]{4}")):
        both = pd.Series(first[name].to_pylist() + second[name].to_pylist())
        assert both.str.fullmatch(pattern).all() and both.is_unique
    assert first["row"].to_pylist()[:3] == [1, 2, 3] and second["row"][0].as_py() == 2001
    ids = pd.Series(first["user_id"].to_pylist() + second["user_id"].to_pylist())
    assert ids.is_unique and ids.between(10_000, 100_000).all()
    assert first["note"].null_count in (0, 2000) and set(first["note"].to_pylist()) <= {"", None}


def test_missing_keys_are_modelled_as_missing() -> None:
    cells = [f"C{i:04d}" if i % 4 else None for i in range(200)]
    codec = TableCodec.learn(table := pa.table({"cabin": cells, "y": ["a", "b"] * 100}))
    x = codec.encode(table)
    assert codec.plans[0].how == "key" and (x["cabin"] < 0).sum() == 50
    made = codec.table(x)["cabin"].to_pylist()
    assert [cell is None for cell in made] == [cell is None for cell in cells]


def test_keys_outlast_their_shape() -> None:
    codec = TableCodec.learn(pa.table({"k": [f"k{i:02d}" for i in range(100)], "y": ["a", "b"] * 50}))
    made = codec.table({"y": np.zeros(5000, np.int32)})["k"].to_pylist()
    assert len(set(made)) == 5000


# -- dependencies ------------------------------------------------------------------------------------------------------


def schools(n: int = 2000) -> pa.Table:
    level = RNG.integers(0, 8, n)
    names = np.array(["none", "some", "prim", "sec", "hs", "ba", "ma", "phd"])
    return pa.table({"num": level + 1, "school": names[level], "high": level > 5, "age": RNG.integers(17, 90, n)})


def test_dependencies_are_found_and_kept() -> None:
    table = schools()
    codec = back(table)
    assert {(rule.source, rule.target) for rule in codec.dependencies} == {("school", "num"), ("school", "high")}
    assert [field.name for field in codec.spec.fields] == ["school", "age"]
    assert codec.broken(table).sum() == 0
    wrong = table.set_column(0, "num", pa.array(np.r_[99, np.array(table["num"])[1:]]))
    assert codec.broken(wrong).tolist() == [1] + [0] * (table.num_rows - 1)
    assert {field.name for field in codec.whole.fields} == {"num", "school", "high", "age"}
    assert set(codec.encode(table, derived=True)) == {"num", "school", "high", "age"}


def test_chance_is_no_dependency() -> None:
    x = np.r_[RNG.integers(1, 100, 1497), 0, 0, 0]
    rare = x == 0
    table = pa.table({"x": x, "rare": rare, "y": RNG.integers(0, 2, 1500), "row": np.arange(1500) // 2})
    assert TableCodec.learn(table).dependencies == []
    small = pa.table({"a": ["x", "y", "z"] * 4, "b": ["1", "2", "2"] * 4})
    assert TableCodec.learn(small).dependencies == []


def test_conditions_columns_are_not_derived() -> None:
    codec = TableCodec.learn(schools(), condition=["num"])
    assert [field.name for field in codec.spec.condition.fields] == ["num"]
    assert ("num", "school") in {(rule.source, rule.target) for rule in codec.dependencies}


def test_equal_columns_are_kept_once() -> None:
    v = RNG.normal(size=300).round(3)
    codec = back(pa.table({"a": v, "b": v, "y": ["a", "b", "c"] * 100}))
    assert [plan.how for plan in codec.plans] == ["real", "duplicate", "category"]
    assert set(codec.given(["b > 0"])) == {"a"}


# -- overrides and strangers -------------------------------------------------------------------------------------------


def test_overrides() -> None:
    table = pa.table(
        {
            "zip": [10115, 20095, 80331] * 20,
            "age": [20, 30, 40] * 20,
            "size": ["S", "L", "M"] * 20,
            "note": ["a", "b", "c"] * 20,
            "ref": [f"{i % 3}x" for i in range(60)],
            "dir": [0.5, 350.0, 10.0] * 20,
            "keep": [f"{i % 7}" for i in range(60)],
        }
    )
    fields = {
        "zip": "category",
        "age": {"kind": "bounded", "low": 0, "high": 120},
        "size": {"kind": "ordinal", "levels": ["S", "M", "L", "XL"]},
        "note": "drop",
        "ref": "key",
        "dir": {"kind": "angle", "derived": False},
    }
    codec = TableCodec.learn(table, fields={k: v for k, v in fields.items()})
    how = {plan.name: plan.how if plan.source is None else plan.source for plan in codec.plans}
    assert how["note"] == "dropped" and how["ref"] == "key" and how["dir"] == "angle" and how["keep"] == "count"
    assert codec.whole.field("size").levels == ("S", "M", "L")
    assert codec.whole.field("zip").levels == ("10115", "20095", "80331")
    made = codec.table(codec.encode(table))
    for name in ("zip", "age", "size", "dir"):
        assert made[name].to_pylist() == table[name].to_pylist()
    with pytest.raises(SpecError, match="fields among the columns 'zip'.* got 'sip'"):
        TableCodec.learn(table, fields={"sip": "category"})
    with pytest.raises(SpecError, match="kind among real, .* got 'number'"):
        TableCodec.learn(table, fields={"zip": "number"})
    with pytest.raises(CodecError, match=r"got also \['L', 'M'\]"):
        TableCodec.learn(table, fields={"size": {"kind": "ordinal", "levels": ["S"]}})
    with pytest.raises(CodecError, match="expected numbers, got 'S'"):
        TableCodec.learn(table, fields={"size": "real"})


def test_leading_zeros_are_labels() -> None:
    assert reading(["01234", "04567", "12345"] * 20)[0] == "category"


def test_question_marks_are_missing_among_numbers_only() -> None:
    codec = back(texts(a=["1", "?", "3"] * 5, b=["x", "?", "y"] * 5))
    assert codec.plans[0].missing == "?" and codec.plans[0].share == pytest.approx(1 / 3)
    assert codec.spec.field("b").levels == ("?", "x", "y")


def test_a_typed_frame_meets_a_codec_of_texts() -> None:
    table = texts(
        n=["1", "2", "NA"] * 4, r=["1.50", "2.25", ""] * 4, d=["31.12.2020", "01.02.2021", ""] * 4, s=["a", "b", ""] * 4
    )
    codec = TableCodec.learn(table)
    plain = codec.table(codec.encode(table), plain=True)
    assert [str(kind) for kind in plain.schema.types] == ["int64", "double", "date32[day]", "string"]
    assert codec.typed(table).to_pylist() == plain.to_pylist()
    assert codec.table(codec.encode(plain)).equals(table)
    assert codec.table(codec.encode(plain.to_pandas())).equals(table)


def test_tables_that_do_not_fit() -> None:
    codec = TableCodec.learn(texts(age=["1", "2", "3"] * 4, sex=["f", "m", "m"] * 4, c=["1.5", "2", "5"] * 4))
    with pytest.raises(CodecError, match="lacks the column\\(s\\) 'sex'; it has 'gender' instead"):
        codec.encode(texts(age=["1"], gender=["f"], c=["1"]))
    with pytest.raises(CodecError, match="column 'age': expected numbers, got 'old' in row 2"):
        codec.encode(texts(age=["1", "old"], sex=["f", "f"], c=["1", "2"]))
    with pytest.raises(CodecError, match="column 'age': expected whole numbers, got 1.5 in row 1"):
        codec.encode(texts(age=["1.5"], sex=["f"], c=["1"]))
    assert codec.encode(texts(age=["7"], sex=["x"], c=["9.25"]))["sex"].tolist() == [2]


def test_writing_parquet_from_texts_makes_types(tmp_path) -> None:
    table = texts(
        n=["1", "2", "NA"] * 4, b=["TRUE", "FALSE", "TRUE"] * 4, d=["2020-01-01 10:00", "2021-01-01 11:30", ""] * 4
    )
    codec = TableCodec.learn(table)
    write_table([codec.table(codec.encode(table))], tmp_path / "a.parquet", like=codec)
    made = read_table(tmp_path / "a.parquet")[0]
    assert [str(kind) for kind in made.schema.types] == ["int64", "bool", "timestamp[s]"] or made.schema.types[
        2
    ] == pa.timestamp("ms")
    assert made["n"].to_pylist()[:3] == [1, 2, None]


def test_profile_says_how_and_why() -> None:
    words = TableCodec.learn(schools()).profile()
    assert "2,000 rows, 4 columns" in words and "school -> num" in words and "a function of school" in words
    assert between(1, 2).closed == "both"
