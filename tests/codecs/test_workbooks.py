"""Workbooks: sheets in, one sheet out, and what a sheet cannot hold."""

import datetime as dt
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import pofx
from pofx.cli import main
from pofx.codecs.places import Place
from pofx.codecs.tabular_io import notes_of, read_table
from pofx.codecs.writing import write_table
from pofx.errors import CodecError, Unsupported

openpyxl = pytest.importorskip("openpyxl", reason="the package openpyxl is not installed")


def book(path: Path, **sheets: list[list[Any]]) -> Path:
    made = openpyxl.Workbook()
    made.remove(made.active)
    for name, rows in sheets.items():
        sheet = made.create_sheet(name)
        for row in rows:
            sheet.append(row)
    made.save(path)
    return path


def people(n: int = 60) -> list[list[Any]]:
    day = dt.datetime(2024, 1, 1)
    rows = [[20 + i % 50, 12.5 + i / 4, day + dt.timedelta(days=i % 9), i % 3 == 0, "ab"[i % 2]] for i in range(n)]
    return [["age", "size", "day", "member", "town"], *rows]


def test_a_table_comes_back(tmp_path: Path) -> None:
    day, moment = dt.date(2020, 1, 2), dt.datetime(2020, 1, 2, 3, 4, 5)
    table = pa.table(
        {
            "whole": [1, None, 3],
            "number": [1.5, 2.25, None],
            "day": [day, None, day],
            "moment": pa.array([moment, None, moment], pa.timestamp("us")),
            "time": pa.array([dt.time(1, 2, 3), None, None], pa.time64("us")),
            "truth": [True, None, False],
            "text": ["=1+2", "ä\nb", None],
            "digits": ["01234", "1", "2"],
        }
    )
    assert write_table([table, table], Place(str(tmp_path / "a.xlsx"), sheet="mine")) == 6
    found, kind = read_table(tmp_path / "a.xlsx")
    assert kind == "xlsx"
    assert found.slice(3).to_pydict() == table.to_pydict()
    assert found.schema.remove_metadata() == table.schema


def test_what_a_sheet_cannot_hold(tmp_path: Path) -> None:
    table = pa.table(
        {
            "decimal": pa.array([Decimal("12.50"), None], pa.decimal128(10, 2)),
            "long": [2**60, 7],
            "old": [dt.date(1820, 1, 2), dt.date(1899, 12, 31)],
            "zoned": pa.array([dt.datetime(2020, 1, 2, 3, 30)] * 2, pa.timestamp("us", "Europe/Berlin")),
            "odd": ["a\x01b", float("nan").__repr__()],
            "none": pa.nulls(2),
        }
    )
    write_table([table], tmp_path / "a.xlsx")
    found = read_table(tmp_path / "a.xlsx")[0]
    assert found["decimal"].to_pylist() == [12.5, None]
    assert found["long"].to_pylist() == [str(2**60), "7"]
    assert notes_of(found)["mixed types"].startswith("'long' (1 texts, 1 whole numbers)")
    assert found["old"].to_pylist() == ["1820-01-02", "1899-12-31"]
    assert found["zoned"].to_pylist() == [dt.datetime(2020, 1, 2, 3, 30)] * 2
    assert found["odd"].to_pylist() == ["ab", "nan"]
    assert found["none"].null_count == 2
    cell = openpyxl.load_workbook(tmp_path / "a.xlsx").active["A2"]
    assert (cell.value, cell.number_format) == (12.5, "0.00")


def test_loose_cells_are_told(tmp_path: Path) -> None:
    rows = [["a", "b", None, "d"], [1, "x", None, "#N/A"], [], [2.5, 3, None, dt.datetime(2020, 1, 1)], [None, None]]
    table, _ = read_table(book(tmp_path / "a.xlsx", one=rows))
    assert table.to_pydict() == {"a": [1, 2.5], "b": ["x", "3"], "d": [None, dt.date(2020, 1, 1)]}
    assert notes_of(table) == {"mixed types": "'b' (1 texts, 1 whole numbers): read as texts"}


@pytest.mark.parametrize(
    ("rows", "header", "names"),
    [
        ([["a", "b"], [1, 2]], "auto", ["a", "b"]),
        ([[1, 2], [3, 4]], "auto", ["column_1", "column_2"]),
        ([[2019, 2020], [3, 4]], "yes", ["2019", "2020"]),
        ([["x", "y"], ["z", "w"]], "no", ["column_1", "column_2"]),
        ([["a", "a"], [1, 2]], "auto", ["a", "a.2"]),
        ([[None, "a"], [0, 1.5]], "auto", ["column_1", "a"]),
    ],
)
def test_titles(tmp_path: Path, rows: list[list[Any]], header: str, names: list[str]) -> None:
    table, _ = read_table(book(tmp_path / "a.xlsx", one=rows), header=header)
    assert table.column_names == names
    assert table.num_rows == len(rows) - (names[-1] != "column_2")


def test_which_sheet_is_asked_for(tmp_path: Path) -> None:
    path = book(tmp_path / "a.xlsx", one=people(9), two=people(3), empty=[])
    with pytest.raises(CodecError, match=r"got 2: 'one' \(10 rows\), 'two' \(4 rows\), 'empty' \(0 rows\); name one"):
        read_table(path)
    assert read_table(f"{path}#two")[0].num_rows == 3
    assert read_table(path, sheet="one")[0].num_rows == 9
    for words, said in (({"sheet": "three"}, "got 'three'; it has 'one'"), ({"sheet": "empty"}, "got none"),
                        ({"query": "SELECT 1"}, "got a query")):  # fmt: skip
        with pytest.raises(CodecError, match=said):
            read_table(path, **words)
    assert read_table(book(tmp_path / "b.xlsx", one=people(9), empty=[]))[0].num_rows == 9
    with pytest.raises(CodecError, match="rows below the titles"):
        read_table(book(tmp_path / "c.xlsx", one=[["a", "b"]]), header="yes")


def test_damaged_workbooks(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    with pytest.raises(CodecError, match="found none"):
        read_table(path)
    path.write_bytes(b"PK\x03\x04nonsense")
    with pytest.raises(CodecError, match="it is damaged"):
        read_table(path)
    whole = book(tmp_path / "b.xlsx", one=people()).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CodecError, match="it is damaged"):
        read_table(path)
    for name, head in (("a.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" * 9), ("a.xls", b"\xd0\xcf\x11\xe0" * 9)):
        (tmp_path / name).write_bytes(head)
        with pytest.raises(CodecError, match="another format, or an encrypted one"):
            read_table(tmp_path / name)
    ragged = [*([["a", "b"]] + [[1, 2]] * 150), [1, 2, 3]]
    with pytest.raises(CodecError, match="expected 2 cells in each row .* got 3"):
        read_table(book(path, one=ragged))


def test_a_workbook_that_is_there(tmp_path: Path) -> None:
    path = book(tmp_path / "a.xlsx", one=people())
    before = path.read_bytes()
    table = pa.table({"a": [1]})
    with pytest.raises(CodecError, match="which is there: name another, or replace all of it"):
        write_table([table], path)
    with pytest.raises(Unsupported, match="got append"):
        write_table([table], Place(str(path), if_exists="append"))

    def breaking() -> Iterator[pa.Table]:
        yield table
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        write_table(breaking(), Place(str(path), if_exists="replace"))
    assert path.read_bytes() == before
    assert write_table([table], Place(str(path), if_exists="replace")) == 1
    assert read_table(path)[0].to_pydict() == {"a": [1]}
    with pytest.raises(CodecError, match="name of a sheet"):
        write_table([table], Place(str(tmp_path / "b.xlsx"), sheet="a/b"))


def test_a_sheet_that_would_be_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pofx.codecs.excel.LONGEST", 10)
    assert write_table([pa.table({"a": range(9)})], tmp_path / "a.xlsx") == 9
    with pytest.raises(CodecError, match="expected 9 rows at most in a sheet"):
        write_table([pa.table({"a": range(10)})], tmp_path / "b.xlsx")
    assert not (tmp_path / "b.xlsx").exists()


def test_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = book(tmp_path / "a.xlsx", one=people())
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    monkeypatch.delitem(sys.modules, "pofx.codecs.excel", raising=False)
    with pytest.raises(CodecError, match=r"pip install pofx\[excel\]"):
        read_table(path)


def test_the_verbs_on_workbooks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = book(tmp_path / "a.xlsx", one=people(), two=people(3))
    model, made = str(tmp_path / "m.pofx"), str(tmp_path / "made.xlsx")
    assert main(["fit", str(path), "-o", model]) == 2
    assert "name one (--sheet" in capsys.readouterr().err
    assert main(["fit", str(path), "--sheet", "one", "-o", model, "--model", "independent", "--quiet"]) == 0
    assert main(["sample", model, "-n", "30", "-o", made, "--sheet", "made"]) == 0
    table, _ = read_table(made, sheet="made")
    assert table.num_rows == 30
    assert table.schema.remove_metadata() == read_table(path, sheet="one")[0].schema.remove_metadata()
    assert main(["sample", model, "-n", "30", "-o", made]) == 2
    assert "which is there" in capsys.readouterr().err
    assert main(["score", model, str(path), "--sheet", "two", "-o", str(tmp_path / "s.xlsx")]) == 0
    assert read_table(tmp_path / "s.xlsx")[0].num_rows == 3
    assert sum(part.num_rows for part in pofx.load(model).learned_from()) == 60
    assert main(["profile", str(path), "--sheet", "one"]) == 0
    assert "date32[day]" in capsys.readouterr().out
