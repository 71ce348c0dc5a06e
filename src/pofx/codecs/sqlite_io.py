"""SQLite, by the module that Python brings: cells of loose types in, declared types out."""

import os
import re
import sqlite3
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .loose import as_text, mixture, one_type
from .places import Place
from .storable import in_sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from .databases import Keys, Read

WAIT = 5.0  # seconds for another program to let go of the file
_BATCH = 50_000
_COLUMNS = 1000  # of a SELECT, half of what SQLite allows
_TYPES = {"integer": int, "real": float, "text": str, "blob": bytes}
_DECIMAL = re.compile(r"(DECIMAL|NUMERIC)\s*\(\s*(\d+)\s*,\s*(\d+)\s*\)")
_REAL = re.compile("REAL|FLOA|DOUB")


class Sqlite:
    """A file of SQLite; the words of databases.Database."""

    faults = (sqlite3.Error,)

    def __init__(self, place: Place, write: bool) -> None:
        where = f"file:{quote(os.path.abspath(place.where))}?mode={'rwc' if write else 'ro'}"
        self.connection = sqlite3.connect(where, uri=True, timeout=WAIT, isolation_level=None)

    @staticmethod
    def why(error: Exception) -> str:
        text = str(error)
        if "locked" in text or "busy" in text:
            return f"{text}, another program is writing to it: end that, or try again"
        return text

    def _all(self, sql: str) -> list[Any]:
        return self.connection.execute(sql).fetchall()

    def tables(self) -> dict[str, bool]:
        rows = self._all(
            "SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' "
            "ESCAPE '\\' ORDER BY rowid"
        )
        return {name: kind == "table" for name, kind in rows}

    def quoted(self, name: str) -> str:
        return in_sql(name)

    def count(self, select: str) -> int:
        return self._all(select)[0][0]

    def rows(self, select: str) -> "Read":
        with self.reader(select) as (reader, notes):
            return reader.read_all(), notes

    @contextmanager
    def reader(self, select: str) -> "Iterator[tuple[pa.RecordBatchReader, dict[str, str]]]":
        """The rows of a SELECT in batches of one type, and what there is to say of them.

        The SELECT is a view of this connection alone, which tells the declared types of its columns. The types of cells
        are counted before they are read; those of a declared type are read once more beforehand, to see whether they
        are all of it.
        """
        import pyarrow as pa

        if not self.connection.in_transaction:
            self.connection.execute("BEGIN")
        self.connection.execute("DROP VIEW IF EXISTS temp.pofx_rows")
        self.connection.execute(f"CREATE TEMP VIEW pofx_rows AS\n{select}")
        declared = {name: kind.upper() for _, name, kind, *_ in self._all("PRAGMA temp.table_info(pofx_rows)")}
        counts = self._counts(list(declared))
        kinds = {name: one_type(set(own)) for name, own in counts.items()}
        odd = [name for name, kind in kinds.items() if kind is not None and pa.types.is_binary(kind)]
        names = [name for name in declared if name not in odd]
        mixed = ", ".join(mixture(name, counts[name]) for name in names if kinds[name] is None)
        notes = {"mixed types": f"{mixed}: read as texts"} if mixed else {}
        notes |= {"left out": ", ".join(f"{name!r} (blobs)" for name in odd)} if odd else {}
        finals = self._as_declared({name: declared[name] for name in names}, kinds)
        schema = pa.schema([(name, finals[name]) for name in names])

        def batches() -> "Iterator[pa.RecordBatch]":
            for cells in self._batches(names):
                columns = [
                    as_kind(typed(own, kinds[name]), finals[name]) for name, own in zip(names, cells, strict=True)
                ]
                yield pa.RecordBatch.from_arrays(columns, schema=schema)

        yield pa.RecordBatchReader.from_batches(schema, batches() if names else []), notes

    def _counts(self, names: "Sequence[str]") -> dict[str, Counter[type]]:
        """How many cells of each column are of which type."""
        words = [f"coalesce(sum(typeof({in_sql(name)}) = '{kind}'), 0)" for name in names for kind in _TYPES]
        found: list[int] = []
        for at in range(0, len(words), _COLUMNS):
            found += self._all(f"SELECT {', '.join(words[at : at + _COLUMNS])} FROM temp.pofx_rows")[0]
        each = [found[k : k + len(_TYPES)] for k in range(0, len(found), len(_TYPES))]
        told = (Counter(dict(zip(_TYPES.values(), own, strict=True))) for own in each)
        return {name: +own for name, own in zip(names, told, strict=True)}

    def _batches(self, names: "Sequence[str]") -> "Iterator[list[tuple[Any, ...]]]":
        """The cells of some columns, some rows at a time."""
        cursor = self.connection.execute(f"SELECT {', '.join(map(in_sql, names))} FROM temp.pofx_rows")
        while batch := cursor.fetchmany(_BATCH):
            yield list(zip(*batch, strict=True))

    def _as_declared(
        self, declared: dict[str, str], kinds: "dict[str, pa.DataType | None]"
    ) -> "dict[str, pa.DataType]":
        """The type of each column: that which it declares, where every cell is such a value, else that of its cells."""
        import pyarrow as pa

        finals = {name: pa.string() if kinds[name] is None else kinds[name] for name in declared}
        wanted = {name: found for name in declared if (found := _wanted(declared[name], finals[name]))}
        for cells in self._batches(list(wanted)) if wanted else ():
            for name, own in zip(wanted, cells, strict=True):
                array = typed(own, kinds[name])
                wanted[name] = [kind for kind in wanted[name] if as_kind(array, kind, wary=True) is not None]
        return finals | {name: found[0] for name, found in wanted.items() if found}

    def columns(self, name: str) -> list[str]:
        return [row[1] for row in self._all(f"PRAGMA table_info({self.quoted(name)})")]

    def begin(self) -> None:
        self.connection.execute("BEGIN IMMEDIATE")

    def keys(self, name: str) -> "Keys":
        columns = self._all(f"PRAGMA table_info({self.quoted(name)})")
        own = tuple(row[1] for row in sorted(columns, key=lambda row: row[5]) if row[5])
        found: dict[int, list[Any]] = {}
        for number, _, parent, column, target, *_ in self._all(f"PRAGMA foreign_key_list({self.quoted(name)})"):
            found.setdefault(number, []).append((column, parent, target))
        links = []
        for _, parts in sorted(found.items(), reverse=True):  # the last one declared has number 0
            parent = next((t for t in self.tables() if t.lower() == parts[0][1].lower()), parts[0][1])
            targets = tuple(part[2] for part in parts)
            targets = self.keys(parent)[0] if None in targets and parent != name else targets
            links.append((tuple(part[0] for part in parts), parent, own if None in targets else targets))
        return own, links

    def create(self, name: str, table: "pa.Table", clauses: "Sequence[str]" = ()) -> None:
        columns = [f"{self.quoted(field.name)} {declared_type(field.type)}" for field in table.schema]
        self.connection.execute(f"CREATE TABLE {self.quoted(name)} ({', '.join([*columns, *clauses])})")

    def drop(self, name: str) -> None:
        self.connection.execute(f"DROP TABLE {self.quoted(name)}")

    def insert(self, name: str, table: "pa.Table", *, made: bool) -> None:
        columns, marks = ", ".join(map(self.quoted, table.column_names)), ", ".join("?" * table.num_columns)
        cells = [_sent(column).to_pylist() for column in table.columns]
        sql = f"INSERT INTO {self.quoted(name)} ({columns}) VALUES ({marks})"
        self.connection.executemany(sql, zip(*cells, strict=True))

    def commit(self) -> None:
        self.connection.execute("COMMIT")

    def rollback(self) -> None:
        self.connection.rollback()

    def close(self) -> None:
        self.connection.close()


def typed(cells: "Sequence[Any]", kind: "pa.DataType | None") -> "pa.Array":
    """Cells as an array of a type; None: as texts."""
    import pyarrow as pa

    return pa.array(map(as_text, cells), pa.string()) if kind is None else pa.array(cells, kind)


def as_kind(cells: "pa.Array", kind: "pa.DataType", wary: bool = False) -> Any:
    """Cells as values of a type; wary: None where one of them is no such value."""
    import pyarrow as pa

    if cells.type == kind:
        return cells
    try:
        made = _times(cells) if pa.types.is_time(kind) else _wide(cells, kind).cast(kind)
    except (pa.ArrowException, ValueError):
        if wary:
            return None
        raise
    number = pa.types.is_integer(cells.type) or pa.types.is_floating(cells.type)
    return None if wary and number and not _same(made, cells) else made


def _same(made: "pa.Array", cells: "pa.Array") -> bool:
    """Whether numbers are the same but for what making decimals of binary fractions and back may cost."""
    import pyarrow.compute as pc

    x, y = (pc.drop_null(one.cast("float64")).to_numpy() for one in (cells, made))
    return bool((abs(x - y) <= 1e-14 * abs(x)).all())


def _wide(cells: "pa.Array", kind: "pa.DataType") -> "pa.Array":
    """Whole numbers on their way to decimals, which Arrow makes of none but wide ones."""
    import pyarrow as pa

    if pa.types.is_decimal(kind) and pa.types.is_integer(cells.type):
        return cells.cast(pa.decimal128(38, kind.scale))
    return cells


def _wanted(declared: str, kind: "pa.DataType") -> "list[pa.DataType]":
    """The types that a declared one stands for, of cells of this type; the first one that fits is it."""
    import pyarrow as pa

    none = pa.types.is_null(kind)
    if declared.startswith("BOOL") and (none or pa.types.is_integer(kind)):
        return [pa.bool_()]
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if (found := _DECIMAL.match(declared)) and (none or number):
        digits, scale = int(found[2]), int(found[3])
        return [pa.decimal128(digits, scale)] if 0 < digits <= 38 and scale <= digits else []
    if declared == "DATE" and not number:
        return [pa.date32()]
    if declared.startswith(("DATETIME", "TIMESTAMP")) and not number:
        zoned = [pa.timestamp("us", "UTC")]
        return zoned if none and "ZONE" in declared else [pa.timestamp("us"), *zoned]
    if declared == "TIME" and not number:
        return [pa.time64("us")]
    if none:
        return [pa.int64() if "INT" in declared else pa.float64() if _REAL.search(declared) else pa.string()]
    return []


def _times(cells: "pa.Array") -> "pa.Array":
    from datetime import time

    import pyarrow as pa

    found = [None if cell is None else time.fromisoformat(cell) for cell in cells.to_pylist()]
    return pa.array(found, pa.time64("us"))


def declared_type(kind: "pa.DataType") -> str:
    """The type that a column is declared with, by its Arrow type."""
    import pyarrow as pa

    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP WITH TIME ZONE" if kind.tz else "TIMESTAMP"
    for test, word in (
        (pa.types.is_boolean, "BOOLEAN"), (pa.types.is_integer, "INTEGER"), (pa.types.is_floating, "REAL"),
        (pa.types.is_date, "DATE"), (pa.types.is_time, "TIME"), (pa.types.is_binary, "BLOB"),
    ):  # fmt: skip
        if test(kind):
            return word
    return "TEXT"


def _sent(column: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """Cells as SQLite takes them: moments as ISO texts, decimals as texts that it makes numbers of."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", "UTC")) if column.type.tz else column
        whole = (
            pc.all(pc.equal(pc.microsecond(column), 0)).as_py() and pc.all(pc.equal(pc.millisecond(column), 0)).as_py()
        )
        column = column.cast(pa.timestamp("s", column.type.tz)) if whole else column
    temporal = pa.types.is_timestamp(column.type) or pa.types.is_date(column.type) or pa.types.is_time(column.type)
    return column.cast(pa.string()) if temporal or pa.types.is_decimal(column.type) else column
