"""A table too large for memory: its rows on disk, in blocks of Arrow, read a block at a time."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any
from weakref import finalize

import numpy as np

from ..errors import CodecError, SpecError, Unsupported
from ..progress import Tick, silent
from .databases import streamed_database
from .places import place_of
from .tabular_io import TEXT, examined, labelled, opened, parsing, read_table, spelled

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = "rows.arrow"
BLOCK = 65_536  # rows
TAKEN, PACKED = 10, 5  # memory that a fit takes for a byte of text, and bytes of text in a packed one
STREAMED = (*TEXT, "parquet", "feather")


class Spool:
    """The rows of a table on disk; `blocks` gives them in order, `take` those of some numbers.

    What stands in memory is a block of 65,536 rows, whatever the table. The folder goes when the object does.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        import pyarrow as pa

        self.folder, self.kind, self.path = folder, kind, folder / ROWS
        finalize(self, rmtree, folder, ignore_errors=True)
        with pa.OSFile(str(self.path)) as file:
            reader = pa.ipc.open_file(file)
            self.schema, self.count = reader.schema, reader.num_record_batches
            last = reader.get_batch(self.count - 1).num_rows if self.count else 0
        self.num_rows = max(self.count - 1, 0) * BLOCK + last

    def __len__(self) -> int:
        return self.num_rows

    def blocks(self, numbers: np.ndarray | None = None) -> "Iterator[tuple[int, pa.Table]]":
        """(number of its first row, rows) of each block; with `numbers`, rising, those rows of it alone."""
        import pyarrow as pa

        with pa.OSFile(str(self.path)) as file:
            reader = pa.ipc.open_file(file)
            for i in range(self.count):
                first = i * BLOCK
                if numbers is None:
                    yield first, pa.Table.from_batches([reader.get_batch(i)])
                    continue
                start, stop = np.searchsorted(numbers, (first, first + BLOCK))
                if stop > start:
                    some = pa.array(numbers[start:stop] - first)
                    yield first, pa.Table.from_batches([reader.get_batch(i).take(some)])

    def take(self, numbers: np.ndarray) -> "pa.Table":
        """The rows of these numbers, in rising order."""
        import pyarrow as pa

        found = [rows for _, rows in self.blocks(np.sort(numbers))]
        return pa.concat_tables(found) if found else self.schema.empty_table()


@contextmanager
def counted_from(first: int) -> Iterator[None]:
    """CodecErrors of the rows of a block say where their count begins."""
    try:
        yield
    except CodecError as error:
        raise CodecError(f"{error} (rows are counted from row {first + 1:,} of the table on)") from error


def in_memory(reading: Mapping[str, Any] | None, what: str) -> dict[str, Any]:
    """The words of a reading of rows that are held in memory; Unsupported where they are to stay on disk."""
    words = dict(reading or {})
    if words.pop("stream", "no") == "yes":
        raise Unsupported(f"{what} are learned in memory: leave stream out (--stream)")
    return words


def read_rows(source: Any, reading: Mapping[str, Any], tick: Tick = silent) -> "tuple[pa.Table | Spool, str]":
    """The rows of a source and the kind of its container, on disk where `stream` of its reading says so (streams)."""
    words = {name: value for name, value in reading.items() if name != "stream"}
    if not streams(source, reading):
        return read_table(source, **words)
    rows = spooled(source, **words, tick=tick)
    return rows, rows.kind


def spooled(
    source: Any,
    *,
    delimiter: str | None = None,
    encoding: str | None = None,
    header: str = "auto",
    tick: Tick = silent,
) -> Spool:
    """The rows of a file, written to a folder for temporary files in one pass.

    Raises CodecError for what `read_table` refuses, for a source that is no file of text, Parquet or Feather, and for a
    full disk.
    """
    import pyarrow as pa

    place = place_of(source)
    if place is None and not isinstance(source, str | os.PathLike):
        raise CodecError(
            "expected a database or a file of text, Parquet or Feather to be read as a stream, got another source"
        )
    shown = place.shown if place is not None else str(source)
    folder = Path(mkdtemp(prefix="pofx-"))
    try:
        if place is not None:
            with streamed_database(place) as rows:
                _write(rows, folder / ROWS, tick)
            kind = place.kind
        else:
            kind = _spool_file(Path(source), folder / ROWS, delimiter, encoding, header, tick)
        return Spool(folder, kind)
    except (pa.ArrowException, OSError) as error:
        rmtree(folder, ignore_errors=True)
        raise CodecError(f"{shown!r} cannot be read, or the disk is full: {error}") from error
    except BaseException:
        rmtree(folder, ignore_errors=True)
        raise


def _spool_file(path: Path, target: Path, delimiter: str | None, encoding: str | None, header: str, tick: Tick) -> str:
    """Writes the rows of a file; its kind."""
    kind, packed, head, whole = examined(path)
    if kind not in STREAMED:
        raise CodecError(f"expected a file of {', '.join(STREAMED)} to be read as a stream, got {kind}: convert it")
    if kind not in TEXT:
        with _of_file(path, kind) as rows:
            _write((labelled(t, t.column_names, kind) for t in rows), target, tick)
        return kind

    def read(found: str) -> None:
        titles, dialect, options = parsing(path, kind, head, found, delimiter, header)
        with opened(path, packed) as stream:
            tables, space = _of_text(stream, options)
            meta = dialect.meta() | {"space": space}
            _write((labelled(t, titles, kind, dialect=meta) for t in tables), target, tick)

    spelled(path, head, whole, encoding, read)
    return kind


def _of_text(stream: Any, options: tuple[Any, Any, Any]) -> "tuple[Iterator[pa.Table], bool]":
    """The rows of a text file, and whether a blank follows every delimiter, as it does in the first block."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv

    reader = csv.open_csv(stream, *options)
    first = pa.Table.from_batches([some] if (some := next(reader, None)) is not None else [], reader.schema)
    rest = first.column_names[1:]
    space = bool(rest) and all(pc.all(pc.starts_with(first[name], " ")).as_py() for name in rest)

    def rows() -> "Iterator[pa.Table]":
        for table in chain([first], (pa.Table.from_batches([some], reader.schema) for some in reader)):
            for i, name in enumerate(rest, 1) if space else ():
                table = table.set_column(i, name, pc.replace_substring_regex(table[name], "^ ", ""))
            yield table

    return rows(), space


@contextmanager
def _of_file(path: Path, kind: str) -> "Iterator[Iterator[pa.Table]]":
    import pyarrow as pa
    import pyarrow.parquet as pq

    if kind == "parquet":
        with pq.ParquetFile(str(path)) as file:
            yield (pa.Table.from_batches([some]) for some in file.iter_batches(BLOCK))
        return
    with pa.OSFile(str(path)) as file:
        reader = pa.ipc.open_file(file)
        yield (pa.Table.from_batches([reader.get_batch(i)]) for i in range(reader.num_record_batches))


def _write(tables: "Iterator[pa.Table]", target: Path, tick: Tick) -> None:
    """Blocks of equal size; columns of dictionaries become those of their values."""
    import pyarrow as pa

    held: list[pa.Table] = []
    writer = None
    with pa.OSFile(str(target), "wb") as file:
        for table in tables:
            held.append(_values(table))
            writer = writer or pa.ipc.new_file(file, held[0].schema)
            tick(table.num_rows)
            if sum(t.num_rows for t in held) >= BLOCK:
                joined = pa.concat_tables(held)
                full = joined.num_rows // BLOCK * BLOCK
                for start in range(0, full, BLOCK):
                    writer.write_batch(_block(joined.slice(start, BLOCK)))
                held = [joined.slice(full)]
        if writer is None:
            raise CodecError("expected a table with columns and rows, got none: check the file")
        if (rest := pa.concat_tables(held)).num_rows:
            writer.write_batch(_block(rest))
        writer.close()


def _block(table: "pa.Table") -> "pa.RecordBatch":
    return table.combine_chunks().to_batches()[0]


def _values(table: "pa.Table") -> "pa.Table":
    import pyarrow as pa

    for i, column in enumerate(table.columns):
        if pa.types.is_dictionary(column.type):
            table = table.set_column(i, table.column_names[i], column.cast(column.type.value_type))
    return table


def streams(source: Any, reading: Mapping[str, Any]) -> bool:
    """Whether a table stays on disk: as `stream` of its reading says, auto where it would fill half of the memory."""
    asked = reading.get("stream", "auto")
    if asked not in ("auto", "yes", "no"):
        raise SpecError(f"expected stream of auto, yes or no, got {asked!r}")
    return asked == "yes" or (asked == "auto" and too_large(source))


def too_large(source: Any) -> bool:
    """Whether a file's table would take more than half of the memory that there is."""
    place = place_of(source)
    path = Path(place.where) if place is not None else Path(source) if isinstance(source, str | os.PathLike) else None
    if path is None or not path.is_file():
        return False
    kind, packed, _, _ = examined(path) if place is None else (place.kind, "its own", b"", False)
    if kind not in (*STREAMED, "duckdb", "sqlite"):
        return False
    return path.stat().st_size * (PACKED if packed or kind == "parquet" else 1) * TAKEN > memory() / 2


def memory() -> float:
    """The bytes that this process may take; 8 GiB where nothing says."""
    found = [8 * 2.0**30]
    with suppress(AttributeError, OSError, ValueError):
        found = [float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # a container's
            found.append(float(Path(path).read_text()))
    return min(found)
