"""Tables to files: streamed chunk by chunk beside the place of the file, and renamed when whole."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..errors import CodecError
from ..store import beside, check_folder
from .dialect import Dialect
from .glue import glue
from .places import Place, place_of
from .tabular_io import KEY, TEXT, container, look

if TYPE_CHECKING:
    import pyarrow as pa

    from .table import TableCodec

Write = Callable[["pa.Table"], None]


def check_path(path: Any) -> None:
    """Before the work that makes rows: CodecError for a folder that is not there, or a table that is there already."""
    place = place_of(path)
    if place is None:
        check_folder(Path(path))
    elif place.kind == "xlsx":
        from .excel import check_workbook

        check_workbook(place)
    else:
        from .databases import check_database

        check_database(place)


def write_table(
    tables: "Iterable[pa.Table]", path: "str | os.PathLike[str] | Place", *, like: "TableCodec | None" = None
) -> int:
    """Writes tables one after another to one file or place (places.py), and returns the number of rows.

    The ending of the name says how: .csv, .tsv, .parquet, .feather, .jsonl, the text formats also with .gz or .zst.
    Text is spelled as in the table that the codec `like` has learned from; columns of texts that stand for numbers,
    dates or truth values become such in the other formats. Raises CodecError for an unknown ending, a missing folder
    and a full disk; nothing is left behind then.
    """
    import pyarrow as pa

    if (place := place_of(path)) is not None:
        return _to_place(tables, place, like)
    path = Path(cast(str, path))
    kind, packed = container(path)
    if kind is None or (packed and kind in ("parquet", "feather")):
        raise CodecError(
            f"expected a name that ends in .csv, .tsv, .jsonl (also .gz, .zst), .parquet, .feather, .db, "
            f".duckdb or .xlsx, got {path.name!r}"
        )
    check_folder(path)
    part, rows = beside(path), 0
    try:
        with _SINKS[kind](part, packed) as write:
            for table in tables:
                write(like.typed(table) if like is not None and kind not in TEXT else table)
                rows += table.num_rows
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except (OSError, pa.ArrowException) as error:
        raise CodecError(
            f"could not write {str(path)!r}: {getattr(error, 'strerror', None) or error}; nothing was changed"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return rows


def _to_place(tables: "Iterable[pa.Table]", place: Place, like: "TableCodec | None") -> int:
    if place.kind == "xlsx":
        from .excel import write_workbook

        return write_workbook(tables, place, like)
    from .databases import write_database

    return write_database(tables, place, like)


def _open(part: Path, packed: str | None) -> Any:
    import pyarrow as pa

    return pa.output_stream(str(part), compression=packed)


def _ends(delimiter: str) -> Callable[[Path, str | None], Any]:
    @contextmanager
    def text(part: Path, packed: str | None) -> Iterator[Write]:
        started: list[Dialect] = []
        with _open(part, packed) as sink:

            def write(table: "pa.Table") -> None:
                if not started:
                    started.append(_spelling(table, delimiter))
                    if started[0].header:
                        sink.write(_titles(table, started[0]))
                if table.num_rows:
                    sink.write(_joined(table, started[0]))

            yield write

    return text


def _spelling(table: "pa.Table", delimiter: str) -> Dialect:
    meta = look(table)
    known = Dialect(**meta["dialect"]) if "dialect" in meta else Dialect(delimiter)
    return known if (known.delimiter == "\t") == (delimiter == "\t") else Dialect(delimiter, header=known.header)


def _titles(table: "pa.Table", dialect: Dialect) -> bytes:
    import pyarrow as pa

    titles = look(table).get("titles", table.column_names)
    row = pa.table([pa.array([str(title)]) for title in titles], names=[str(i) for i in range(len(titles))])
    return (b"\xef\xbb\xbf" if dialect.encoding == "utf-8-sig" else b"") + _joined(row, dialect)


def _joined(table: "pa.Table", dialect: Dialect) -> bytes:
    return (dialect.newline.join(lines_of(table, dialect).to_pylist()) + dialect.newline).encode()


@contextmanager
def _parquet(part: Path, packed: str | None) -> Iterator[Write]:
    import pyarrow.parquet as pq

    with _Once(lambda table: pq.ParquetWriter(str(part), table.schema, compression="zstd")) as writer:
        yield lambda table: writer.write(_bare(table))


@contextmanager
def _feather(part: Path, packed: str | None) -> Iterator[Write]:
    import pyarrow as pa

    options = pa.ipc.IpcWriteOptions(compression="lz4", unify_dictionaries=True)
    with _Once(lambda table: pa.ipc.new_file(str(part), table.schema, options=options)) as writer:
        yield lambda table: writer.write(_bare(table))


class _Once:
    """A writer that is opened by the first table."""

    def __init__(self, start: Callable[["pa.Table"], Any]) -> None:
        self.start = start
        self.writer: Any = None

    def __enter__(self) -> "_Once":
        return self

    def write(self, table: "pa.Table") -> None:
        self.writer = self.writer or self.start(table)
        self.writer.write_table(table) if hasattr(self.writer, "write_table") else self.writer.write(table)

    def __exit__(self, *error: Any) -> None:
        if self.writer is not None:
            self.writer.close()


def _bare(table: "pa.Table") -> "pa.Table":
    meta = {k: v for k, v in (table.schema.metadata or {}).items() if k != KEY}
    return table.replace_schema_metadata(meta or None)


@contextmanager
def _jsonl(part: Path, packed: str | None) -> Iterator[Write]:
    with _open(part, packed) as sink:

        def write(table: "pa.Table") -> None:
            table = table.rename_columns(look(table).get("names", table.column_names))
            rows = (json.dumps(row, ensure_ascii=False, default=str) for row in table.to_pylist())
            sink.write("".join(row + "\n" for row in rows).encode())

        yield write


_SINKS: dict[str, Callable[[Path, str | None], Any]] = {
    "csv": _ends(","),
    "tsv": _ends("\t"),
    "parquet": _parquet,
    "feather": _feather,
    "jsonl": _jsonl,
}


def lines_of(table: "pa.Table", dialect: Dialect) -> "pa.Array":
    """Each row as the line of a text file, quoted where it must be."""
    import pyarrow as pa
    import pyarrow.compute as pc

    gap = dialect.delimiter + " " * dialect.space
    cells = [quoted(table.column(i), dialect.delimiter) for i in range(table.num_columns)]
    if len(cells) == 1:
        return pc.if_else(pc.equal(cells[0], ""), pa.scalar('""', pa.large_string()), cells[0])
    return glue(*cells, gap=gap)


def quoted(column: "pa.ChunkedArray", delimiter: str) -> "pa.Array":
    """The cells of a column as texts of a delimited file; missing ones are empty."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
    if pa.types.is_boolean(column.type):
        texts = pc.if_else(column, "True", "False").cast(pa.large_string())
    elif pa.types.is_nested(column.type):
        texts = pa.array(
            [None if c is None else json.dumps(c, default=str) for c in column.to_pylist()], pa.large_string()
        )
    else:
        texts = column.cast(pa.large_string())
    texts = pc.fill_null(texts, "")
    odd = pc.match_substring_regex(texts, rf'["\r\n{_escaped(delimiter)}]')
    if pc.any(odd).as_py():
        texts = pc.if_else(odd, glue('"', pc.replace_substring(texts, '"', '""'), '"'), texts)
    return texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts


def _escaped(delimiter: str) -> str:
    return {"\t": r"\t"}.get(delimiter, "\\" + delimiter if not delimiter.isalnum() and delimiter != " " else delimiter)
