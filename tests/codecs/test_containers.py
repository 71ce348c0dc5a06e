"""Files and frames: what is found in them, what comes back, and what is said about bad ones."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pofx.codecs.table import TableCodec, write_table
from pofx.codecs.tabular_io import read_table, to_frame, unique
from pofx.errors import CodecError

TEXT = "name,size,city\nAnn,1.50,Köln\nBob,2.25,Łódź\n"


def put(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_with_a_mark_are_found(tmp_path: Path, encoding: str) -> None:
    table, kind = read_table(put(tmp_path / "a.csv", TEXT.encode(encoding)))
    assert kind == "csv"
    assert table.to_pydict() == {"name": ["Ann", "Bob"], "size": ["1.50", "2.25"], "city": ["Köln", "Łódź"]}


def test_bytes_that_are_no_utf8_are_read_as_western_text(tmp_path: Path) -> None:
    content = "name;city\n" + "Zoë;Málaga\nJörg;München\n" * 20
    table, _ = read_table(put(tmp_path / "a.csv", content.encode("cp1252")))
    assert table["city"].to_pylist()[:2] == ["Málaga", "München"]


def test_bytes_that_are_no_utf8_far_down_are_read_too(tmp_path: Path) -> None:
    content = b"a,b\n" + b"1,x\n" * 300_000 + "2,é\n".encode("cp1252")
    assert read_table(put(tmp_path / "a.csv", content))[0]["b"].to_pylist()[-1] == "é"


def test_an_encoding_can_be_given_and_a_wrong_one_is_said(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", "a,b\n1,Łódź\n2,x\n".encode("cp1250"))
    assert read_table(path, encoding="cp1250")[0]["b"].to_pylist() == ["Łódź", "x"]
    with pytest.raises(CodecError, match="is not text in utf-8"):
        read_table(path, encoding="utf-8")
    with pytest.raises(CodecError, match="name of an encoding"):
        read_table(path, encoding="klingon")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters_are_found_though_quotes_hold_others(tmp_path: Path, delimiter: str) -> None:
    others = ",;|\t".replace(delimiter, "")
    lines = [delimiter.join(["a", "b", "c"])] + [delimiter.join([str(i), f'"{others}{i}"', "x y"]) for i in range(9)]
    table, _ = read_table(put(tmp_path / "a.csv", "\n".join(lines)))
    assert table.column_names == ["a", "b", "c"]
    assert table["b"][3].as_py() == f"{others}3"


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("a,b\n1,x\n2,y\n", ["a", "b"]),
        ("1,x\n2,y\n3,z\n", ["column_1", "column_2"]),
        ("a,b\nx,y\nz,w\n", ["a", "b"]),
        (",b\n0,1\n1,2\n", ["", "b"]),
    ],
)
def test_header_is_found(tmp_path: Path, content: str, names: list[str]) -> None:
    assert read_table(put(tmp_path / "a.csv", content))[0].column_names == names


def test_header_can_be_said(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", "2019,2020\n1,2\n3,4\n")
    assert read_table(path, header="yes")[0].column_names == ["2019", "2020"]
    assert read_table(path, header="no")[0].num_rows == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\n \n", "the file is empty"),
        (bytes(range(256)) * 40, "binary"),
        (b"a,b\n1,2\n1,2,3\n", "same number of cells"),
        (b"PAR1 and then nothing", "damaged"),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        read_table(put(tmp_path / "bad", content))


def test_missing_files_folders_and_strangers(tmp_path: Path) -> None:
    with pytest.raises(CodecError, match="found none: check the path"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(CodecError, match="got the folder"):
        read_table(tmp_path)
    with pytest.raises(CodecError, match="got int"):
        read_table(3)
    with pytest.raises(CodecError, match="damaged or not gzip"):
        read_table(put(tmp_path / "a.csv.gz", "a,b\n1,2\n"))


def test_wrong_delimiter(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", "a,b\n1,2\n3,4\n")
    with pytest.raises(CodecError, match="';' does not occur in .* but ',' does"):
        read_table(path, delimiter=";")
    with pytest.raises(CodecError, match="one character"):
        read_table(path, delimiter=",,")


def test_names_with_quotes_emoji_newlines_and_twins(tmp_path: Path) -> None:
    content = 'a,"b ""x""",😀,"two\nlines",a\n' + "".join(f"{i},{i % 3}.5,k{i % 2},t,{i % 5}\n" for i in range(80))
    table, _ = read_table(put(tmp_path / "a.csv", content))
    assert table.column_names == ["a", 'b "x"', "😀", "two\nlines", "a.2"]
    codec = TableCodec.learn(table)
    write_table([codec.table(codec.encode(table))], tmp_path / "b.csv", like=codec)
    assert (tmp_path / "b.csv").read_text() == content
    assert list(to_frame(codec.table(codec.encode(table)), "pandas").columns)[-1] == "a"


def test_unique_names_keep_clear_of_those_there_are() -> None:
    assert unique(["a", "a", "a.2", "a"]) == ["a", "a.3", "a.2", "a.4"]


@pytest.mark.parametrize(
    "ending", [".csv", ".tsv", ".csv.gz", ".tsv.zst", ".parquet", ".feather", ".jsonl", ".jsonl.gz"]
)
def test_files_come_back(tmp_path: Path, ending: str) -> None:
    frame = pd.DataFrame({"n": [1, 2, 3], "r": [0.5, None, 2.25], "s": ["x", 'q"u', "a,b"], "b": [True, False, True]})
    write_table([read_table(frame)[0]], tmp_path / f"t{ending}")
    table, kind = read_table(tmp_path / f"t{ending}")
    assert kind == ending.split(".")[1]
    if kind in ("csv", "tsv"):
        assert table["r"].to_pylist() == ["0.5", "", "2.25"]
        assert table["s"].to_pylist() == frame["s"].tolist()
    else:
        pd.testing.assert_frame_equal(to_frame(table, "pandas"), frame, check_dtype=kind != "jsonl")


def test_chunks_are_streamed_to_one_file(tmp_path: Path) -> None:
    chunks = (pa.table({"a": pa.array([i, i + 1])}) for i in range(0, 10, 2))
    assert write_table(chunks, tmp_path / "a.parquet") == 10
    assert pq.read_table(tmp_path / "a.parquet")["a"].to_pylist() == list(range(10))


def test_a_single_column_with_blanks_keeps_its_rows(tmp_path: Path) -> None:
    write_table([pa.table({"a": ["x", None, "y"]})], tmp_path / "a.csv")
    assert read_table(tmp_path / "a.csv")[0]["a"].to_pylist() == ["x", "", "y"]


def test_json_lines_of_mixed_types_become_texts(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", '{"a": 1, "b": 2}\n{"a": "x", "c": [1]}\n')
    table, _ = read_table(path)
    assert table["a"].to_pylist() == ["1", "x"]
    assert table["b"].to_pylist() == [2, None]


def test_unwritable_places(tmp_path: Path) -> None:
    table = pa.table({"a": [1]})
    with pytest.raises(CodecError, match="existing folder"):
        write_table([table], tmp_path / "none" / "a.csv")
    with pytest.raises(CodecError, match="ends in .csv"):
        write_table([table], tmp_path / "a.docx")


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet", ".feather", ".jsonl"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    monkeypatch.setattr("pofx.codecs.writing.beside", lambda path: tmp_path / "part")
    (tmp_path / "part").symlink_to(full)
    rows = np.random.default_rng(0).normal(size=100_000)
    with pytest.raises(CodecError, match="could not write .*; nothing was changed"):
        write_table([pa.table({"a": rows})], tmp_path / f"a{ending}")
    assert list(tmp_path.iterdir()) == []


def test_frames_keep_their_types() -> None:
    frame = pd.DataFrame(
        {
            "int": pd.array([1, None, 3], "Int64"),
            "cat": pd.Categorical(["a", "b", None], ["b", "a", "c"], ordered=True),
            "when": pd.to_datetime(["2020-01-01", None, "2020-06-01 12:00"], format="mixed").tz_localize(
                "Europe/Berlin"
            ),
            "text": pd.array(["x", None, "y"], "string"),
            7: [1.5, np.nan, 2.0],
        }
    )
    table, kind = read_table(frame)
    pd.testing.assert_frame_equal(to_frame(table, kind), frame)
    other = pl.DataFrame({"c": pl.Series(["a", None], dtype=pl.Enum(["b", "a"])), "d": [1, None], "s": ["x", "y"]})
    table, kind = read_table(other)
    assert to_frame(table, kind).equals(other) and to_frame(table, kind).schema == other.schema


def test_mixed_objects_and_twin_names_in_frames() -> None:
    frame = pd.DataFrame({"a": [1, "x", 2.5, None], "b": [1, 2, 3, 4]}).set_axis(["a", "a"], axis=1)
    table, kind = read_table(frame)
    assert table["a"].to_pylist() == ["1", "x", "2.5", None]
    assert list(to_frame(table, kind).columns) == ["a", "a"]


def test_packed_text_says_what_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"a;b\r\n1;x\r\n2;y\r\n"))
    table, _ = read_table(path)
    meta = json.loads(table.schema.metadata[b"pofx"])
    assert (meta["dialect"]["delimiter"], meta["dialect"]["newline"]) == (";", "\r\n")
    write_table([table], tmp_path / "b.csv")
    assert (tmp_path / "b.csv").read_bytes() == b"a;b\r\n1;x\r\n2;y\r\n"


@given(
    st.lists(st.lists(st.text("ab ,;\t|\"'\n\ré0", max_size=5), min_size=2, max_size=2), min_size=1, max_size=6),
    st.sampled_from([".csv", ".tsv"]),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_text_comes_back(tmp_path: Path, rows: list[list[str]], ending: str) -> None:
    cells = [["key", *(f"k{row[0]}" for row in rows)], ["value", *(row[1] for row in rows)]]
    table = pa.table({column[0]: column[1:] for column in cells})
    write_table([table], tmp_path / f"a{ending}")
    back = read_table(tmp_path / f"a{ending}", delimiter=dict(csv=",", tsv="\t")[ending[1:]], header="yes")[0]
    assert back.to_pydict() == table.to_pydict()
