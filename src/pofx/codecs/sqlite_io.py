"""SQLite, by the module that Python brings: cells of loose types in, declared types out."""

import os
import re
import sqlite3
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .loose import Loose
from .places import Place
from .storable import in_sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from .databases import Keys, Read

WAIT = 5.0  # seconds for another program to let go of the file
_BATCH = 50_000
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
        """The SELECT as a view of this connection alone, which tells the declared types of its columns."""
        import pyarrow as pa

        if not self.connection.in_transaction:
            self.connection.execute("BEGIN")
        self.connection.execute("DROP VIEW IF EXISTS temp.pofx_rows")
        self.connection.execute(f"CREATE TEMP VIEW pofx_rows AS\n{select}")
        declared = {name: kind.upper() for _, name, kind, *_ in self._all("PRAGMA temp.table_info(pofx_rows)")}
        columns = [Loose(name) for name in declared]
        cursor = self.connection.execute("SELECT * FROM temp.pofx_rows")
        while batch := cursor.fetchmany(_BATCH):
            for column, cells in zip(columns, zip(*batch, strict=True), strict=True):
                column.add(cells)
        made, odd = {}, []
        for column in columns:
            cells = column.column()
            if pa.types.is_binary(cells.type):
                odd.append(f"{column.name!r} (blobs)")
            else:
                made[column.name] = as_declared(cells, declared[column.name])
        mixed = ", ".join(filter(None, (column.mixed for column in columns)))
        notes = {"mixed types": f"{mixed}: read as texts"} if mixed else {}
        return pa.table(made), notes | ({"left out": ", ".join(odd)} if odd else {})

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


def as_declared(cells: "pa.ChunkedArray", declared: str) -> "pa.ChunkedArray":
    """Cells in the type that their column declares, where every one of them is such a value."""
    import pyarrow as pa

    for kind in _wanted(declared, cells.type):
        try:
            made = _times(cells) if pa.types.is_time(kind) else _wide(cells, kind).cast(kind)
        except (pa.ArrowException, ValueError):
            continue
        if not (pa.types.is_integer(cells.type) or pa.types.is_floating(cells.type)):
            return made
        if _same(made, cells):
            return made
    return cells


def _same(made: "pa.ChunkedArray", cells: "pa.ChunkedArray") -> bool:
    """Whether numbers are the same but for what making decimals of binary fractions and back may cost."""
    import pyarrow.compute as pc

    x, y = (pc.drop_null(one.cast("float64")).to_numpy() for one in (cells, made))
    return bool((abs(x - y) <= 1e-14 * abs(x)).all())


def _wide(cells: "pa.ChunkedArray", kind: "pa.DataType") -> "pa.ChunkedArray":
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


def _times(cells: "pa.ChunkedArray") -> "pa.ChunkedArray":
    from datetime import time

    import pyarrow as pa

    found = [None if cell is None else time.fromisoformat(cell) for cell in cells.to_pylist()]
    return pa.chunked_array([pa.array(found, pa.time64("us"))])


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
