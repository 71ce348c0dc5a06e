"""Tables from and to files and frames, by pyarrow.

Text files arrive as columns of texts alone, so that nothing is lost: leading zeros, decimals, missing markers, the
format of dates. What the container looked like travels in the schema's metadata under the key `pofx`.
"""

import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import CodecError
from .dialect import (
    DELIMITERS,
    Dialect,
    check_delimiter,
    check_encoding,
    find_delimiter,
    find_encoding,
    has_header,
    records,
    split,
)
from .places import Place, place_of

if TYPE_CHECKING:
    import pyarrow as pa

KEY = b"pofx"
TEXT = ("csv", "tsv")
_ENDINGS = {
    ".csv": "csv", ".txt": "csv", ".data": "csv", ".tsv": "tsv", ".tab": "tsv", ".parquet": "parquet", ".pq": "parquet",
    ".feather": "feather", ".arrow": "feather", ".ipc": "feather", ".jsonl": "jsonl", ".ndjson": "jsonl",
}  # fmt: skip
_PACKED = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}
_HEAD = 1 << 20
T = TypeVar("T")


def container(path: Path) -> tuple[str | None, str | None]:
    """(kind, compression) of a file by its name; None where the name does not say."""
    endings = [ending.lower() for ending in path.suffixes]
    packed = _PACKED.get(endings[-1]) if endings else None
    rest = endings[:-1] if packed else endings
    return (_ENDINGS.get(rest[-1]) if rest else None), packed


def look(table: "pa.Table") -> dict[str, Any]:
    """What is known of the container: kind, titles of the columns as they stood there, dialect of a text file."""
    return json.loads((table.schema.metadata or {}).get(KEY, b"{}"))


def notes_of(table: "pa.Table") -> dict[str, str]:
    """What there is to say of how the table was read."""
    return dict(look(table).get("notes", {}))


def labelled(table: "pa.Table", titles: Sequence[Any], kind: str, **more: Any) -> "pa.Table":
    """The table with columns of unique names, and the titles that they had in metadata."""
    meta = {"kind": kind, "titles": list(titles), **more}
    kept = {**(table.schema.metadata or {}), KEY: json.dumps(meta).encode()}
    return table.rename_columns(unique(titles)).replace_schema_metadata(kept)


def with_column(table: "pa.Table", name: str, cells: Any) -> "pa.Table":
    """The table with one column more, of this name or, where it is taken, of this name and an underscore."""
    while name in table.column_names:
        name += "_"
    known = look(table)
    titles = [*known.pop("titles", table.column_names), name]
    return labelled(table.append_column(name, cells), titles, known.pop("kind", "arrow"), **known)


def unique(titles: Sequence[Any]) -> list[str]:
    """The titles as texts, all different: a, a.2, a.3."""
    taken: set[str] = set()
    everything = {str(title) for title in titles}
    out = []
    for title in titles:
        name, number = str(title), 1
        while name in taken or (number > 1 and name in everything):
            number += 1
            name = f"{title}.{number}"
        taken.add(name)
        out.append(name)
    return out


def read_table(
    source: Any,
    *,
    delimiter: str | None = None,
    encoding: str | None = None,
    header: str = "auto",
    table: str | None = None,
    query: str | None = None,
    sheet: str | None = None,
) -> tuple["pa.Table", str]:
    """The table of a path, a place (places.py) or a frame (pandas, Polars, Arrow), and the kind of its container.

    Kinds of files are csv, tsv, parquet, feather and jsonl, each also packed (.gz, .zst); of places sqlite, duckdb,
    postgresql and xlsx, where table, query or sheet say what is read; of frames pandas, polars and arrow. `header` is
    auto, yes or no. Raises CodecError for a file that is missing, empty, binary, ragged or damaged, and for an object
    that is no table.
    """
    if header not in ("auto", "yes", "no"):
        raise CodecError(f"expected a header of auto, yes or no, got {header!r}")
    if (place := place_of(source, table=table, query=query, sheet=sheet)) is not None:
        return _from_place(place, header)
    if not isinstance(source, str | os.PathLike):
        return _from_frame(source)
    path = Path(source)
    kind, packed, head, whole = examined(path)
    if kind in TEXT:
        return spelled(
            path, head, whole, encoding, lambda found: _parse(path, packed, kind, head, found, delimiter, header)
        ), kind
    import pyarrow as pa

    try:
        found = {"parquet": _read_parquet, "feather": _read_feather, "jsonl": _read_jsonl}[kind](path, packed)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CodecError(f"{str(path)!r} cannot be read as {kind}, it is damaged or no such file: {error}") from error
    return labelled(found, look(found).get("titles", found.column_names), kind), kind


def examined(path: Path) -> tuple[str, str | None, bytes, bool]:
    """(kind, compression, how it begins, whether that is all) of a file; CodecError where there is none."""
    if path.is_dir():
        raise CodecError(f"expected a file, got the folder {str(path)!r}: name a file in it, or --kind tables")
    if not path.is_file():
        raise CodecError(f"expected a file at {str(path)!r}, found none: check the path")
    kind, packed = container(path)
    head, whole = _head(path, packed)
    return kind or _by_content(head), packed, head, whole


def _from_place(place: Place, header: str) -> tuple["pa.Table", str]:
    if place.kind == "xlsx":
        from .excel import read_workbook

        return read_workbook(place, header), "xlsx"
    from .databases import read_database

    return read_database(place), place.kind


def opened(path: Path, packed: str | None) -> Any:
    import pyarrow as pa

    return pa.input_stream(str(path), compression=packed, buffer_size=1 << 20)


def _head(path: Path, packed: str | None) -> tuple[bytes, bool]:
    import pyarrow as pa

    try:
        with opened(path, packed) as stream:
            head = stream.read(_HEAD)
    except (OSError, pa.ArrowException) as error:
        raise CodecError(
            f"{str(path)!r} cannot be read, it is damaged or not {packed or 'readable'}: {error}"
        ) from error
    if not head.strip():
        raise CodecError(f"expected a table in {str(path)!r}, the file is empty")
    return head, len(head) < _HEAD


def _by_content(head: bytes) -> str:
    if head[:4] == b"PAR1":
        return "parquet"
    if head[:6] == b"ARROW1":
        return "feather"
    return "jsonl" if head.lstrip()[:1] == b"{" else "csv"


def _read_parquet(path: Path, packed: str | None) -> "pa.Table":
    import pyarrow.parquet as pq

    with opened(path, packed) as stream:
        return pq.read_table(io.BytesIO(stream.read()) if packed else str(path))


def _read_feather(path: Path, packed: str | None) -> "pa.Table":
    import pyarrow.feather as feather

    with opened(path, packed) as stream:
        return feather.read_table(io.BytesIO(stream.read()) if packed else str(path))


def _read_jsonl(path: Path, packed: str | None) -> "pa.Table":
    with opened(path, packed) as stream:
        rows = [json.loads(line) for line in stream.read().splitlines() if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("expected one object in braces on each line")
    names = list(dict.fromkeys(name for row in rows for name in row))
    return _table([_guess([row.get(name) for row in rows]) for name in names], names)


def _table(columns: list["pa.Array"], names: list[str]) -> "pa.Table":
    import pyarrow as pa

    return pa.Table.from_arrays(columns, names=names)


def _guess(cells: Sequence[Any]) -> "pa.Array":
    """The cells with the type that fits all of them, else as texts."""
    import pyarrow as pa

    try:
        if len({isinstance(cell, bool) for cell in cells if cell is not None}) < 2:
            return pa.array(cells, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        pass
    return pa.array([None if cell is None or cell != cell else str(cell) for cell in cells], pa.string())


def spelled(path: Path, head: bytes, whole: bool, encoding: str | None, read: Callable[[str], T]) -> T:
    """What `read` makes of a text file in its encoding, or in cp1252 where it is not UTF-8 after all.

    Raises CodecError for lines of unequal numbers of cells, and for text that is not in the encoding that was given.
    """
    import pyarrow as pa

    found = check_encoding(encoding) if encoding else find_encoding(head, whole, str(path))
    try:
        return read(found)
    except (UnicodeDecodeError, pa.ArrowInvalid) as error:
        if not isinstance(error, UnicodeDecodeError) and "UTF8" not in str(error):
            raise CodecError(
                f"{str(path)!r} does not have the same number of cells in each line ({error}): give the right "
                "delimiter or repair the file"
            ) from error
        if encoding:
            raise CodecError(
                f"{str(path)!r} is not text in {encoding}: leave the encoding out or give another"
            ) from error
        return read("cp1252")


def _parse(
    path: Path, packed: str | None, kind: str, head: bytes, encoding: str, delimiter: str | None, header: str
) -> "pa.Table":
    from pyarrow import csv

    titles, dialect, options = parsing(path, kind, head, encoding, delimiter, header)
    with opened(path, packed) as stream:
        table = csv.read_csv(stream, *options)
    table, space = _unspaced(table)
    return labelled(table, titles, kind, dialect=replace(dialect, space=space).meta())


def parsing(
    path: Path, kind: str, head: bytes, encoding: str, delimiter: str | None, header: str
) -> tuple[list[str], Dialect, tuple[Any, Any, Any]]:
    """(titles, dialect, options of pyarrow's readers) of a text file that begins so; every column is text."""
    import pyarrow as pa
    from pyarrow import csv

    text = head[: len(head) // 4 * 4 if "32" in encoding or "16" in encoding else None].decode(
        encoding, "strict" if len(head) < _HEAD else "ignore"
    )
    lines = records(text if len(head) < _HEAD else text[: text.rfind("\n") + 1 or None])
    if delimiter is not None:
        check_delimiter(delimiter, lines, str(path))
    known = delimiter or ("\t" if kind == "tsv" and "\t" in lines[0] else find_delimiter(lines)) or DELIMITERS[0]
    rows = [split(line, known) for line in lines]
    named = header == "yes" or (header == "auto" and has_header(rows))
    titles = rows[0] if named else [f"column_{i + 1}" for i in range(len(rows[0]))]
    if named and len(titles) > 1 and all(title.startswith(" ") for title in titles[1:]):
        titles = [titles[0], *(title[1:] for title in titles[1:])]
    names = unique(titles)
    options = (
        csv.ReadOptions(column_names=names, skip_rows_after_names=int(named), encoding=encoding.removesuffix("-sig")),
        csv.ParseOptions(delimiter=known, newlines_in_values='"' in text or len(head) == _HEAD),
        csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
    )
    return titles, Dialect(known, encoding, named, "\r\n" if "\r\n" in text else "\n", False), options


def _unspaced(table: "pa.Table") -> tuple["pa.Table", bool]:
    """The table without the blank that follows every delimiter of some files, and whether it did."""
    import pyarrow.compute as pc

    if table.num_columns < 2 or table.num_rows < 10:
        return table, False
    rest = table.column_names[1:]
    if not all(pc.all(pc.starts_with(table[name], " ")).as_py() for name in rest):
        return table, False
    for i, name in enumerate(rest, 1):
        table = table.set_column(i, name, pc.utf8_slice_codeunits(table[name], 1))
    return table, True


def _from_frame(source: Any) -> tuple["pa.Table", str]:
    import pyarrow as pa

    home = type(source).__module__.split(".")[0]
    if home == "pandas" and hasattr(source, "columns"):
        return _from_pandas(source), "pandas"
    if home == "polars" and hasattr(source, "columns"):
        source = source.collect() if hasattr(source, "collect") else source
        return _from_polars(source), "polars"
    if isinstance(source, pa.RecordBatch):
        source = pa.Table.from_batches([source])
    if isinstance(source, pa.Table):
        if KEY in (source.schema.metadata or {}):
            return source, look(source)["kind"]
        return labelled(source, source.column_names, "arrow"), "arrow"
    raise CodecError(
        f"expected a path, a pandas or Polars frame or an Arrow table, got {type(source).__name__}: convert it first"
    )


def _plain(title: Any) -> Any:
    title = title.item() if hasattr(title, "item") else title
    return (
        list(map(_plain, title)) if isinstance(title, tuple) else title if isinstance(title, str | int) else str(title)
    )


def _from_pandas(frame: Any) -> "pa.Table":
    import pyarrow as pa

    titles = [_plain(title) for title in frame.columns]
    objects = [i for i, dtype in enumerate(frame.dtypes) if dtype.kind == "O" and str(dtype) == "object"]
    frame = frame.set_axis(unique(titles), axis=1)
    for name in frame.columns:
        if frame[name].dtype == object:
            cells = frame[name].tolist()
            guess = _guess(cells)
            if pa.types.is_string(guess.type) or pa.types.is_nested(guess.type):
                missing = frame[name].isna()
                frame = frame.assign(**{name: frame[name].where(missing, frame[name].map(str)).where(~missing, None)})
    return labelled(pa.Table.from_pandas(frame, preserve_index=False), titles, "pandas", objects=objects)


def _from_polars(frame: Any) -> "pa.Table":
    import polars as pl

    odd = [name for name, dtype in frame.schema.items() if dtype == pl.Object]
    for name in odd:
        texts = [None if cell is None else str(cell) for cell in frame[name].to_list()]
        frame = frame.with_columns(pl.Series(name, texts, dtype=pl.String))
    return labelled(frame.to_arrow(), frame.columns, "polars")


def to_frame(table: "pa.Table", kind: str) -> Any:
    """The table as a frame of this kind: pandas, polars or arrow; for a kind of file, pandas if it is installed.

    Titles that were made unique come back as they were. Raises CodecError where the library is not installed.
    """
    titles = look(table).get("titles", table.column_names)
    try:
        return _FRAMES.get(kind, _to_any)(table, titles)
    except ImportError as error:
        raise CodecError(
            f"a {kind} frame needs {error.name}, which is not installed: pip install {error.name}"
        ) from error


def _to_any(table: "pa.Table", titles: list[Any]) -> Any:
    from importlib.util import find_spec

    return (_to_pandas if find_spec("pandas") else _to_arrow)(table, titles)


def _to_pandas(table: "pa.Table", titles: list[Any]) -> Any:
    import pandas as pd

    frame = table.to_pandas()
    objects = [table.column_names[i] for i in look(table).get("objects", ())]
    frame = frame.astype(dict.fromkeys(objects, object))
    names = [tuple(title) if isinstance(title, list) else title for title in titles]
    frame.columns = pd.Index(names, dtype=None if names else object)
    return frame


def _to_polars(table: "pa.Table", titles: list[Any]) -> Any:
    import polars as pl

    return pl.from_arrow(table)


def _to_arrow(table: "pa.Table", titles: list[Any]) -> "pa.Table":
    meta = {k: v for k, v in (table.schema.metadata or {}).items() if k != KEY}
    return table.rename_columns([str(title) for title in titles]).replace_schema_metadata(meta or None)


_FRAMES: dict[str, Callable[["pa.Table", list[Any]], Any]] = {
    "pandas": _to_pandas,
    "polars": _to_polars,
    "arrow": _to_arrow,
}
