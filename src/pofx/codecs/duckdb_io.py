"""DuckDB, by its own package, which hands rows over as Arrow; without its extensions, other files or the network."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ..errors import CodecError
from .places import Place
from .storable import in_sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .databases import Keys, Read

try:
    import duckdb
except ImportError as error:
    raise CodecError(
        "a file of DuckDB needs the package duckdb, which is not installed: pip install pofx[duckdb]"
    ) from error

CLOSED = {
    "enable_external_access": "false", "autoinstall_known_extensions": "false", "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
}  # fmt: skip
_ODD = ("BLOB", "BIT", "JSON", "STRUCT", "MAP", "UNION", "VARIANT", "GEOMETRY")
_AS_TEXT = ("UUID", "INTERVAL", "TIME WITH TIME ZONE", "BIGNUM", "VARINT")


class Duckdb:
    """A file of DuckDB; the words of databases.Database."""

    faults = (duckdb.Error, OSError, pa.ArrowException)  # the last two where a stream of rows breaks

    def __init__(self, place: Place, write: bool) -> None:
        self.connection = duckdb.connect(place.where, read_only=not write, config=CLOSED)
        self.connection.execute("SET TimeZone = 'UTC'")

    @staticmethod
    def why(error: Exception) -> str:
        text = str(error).partition("\n")[0]
        if "Could not set lock" in text:
            return "it is locked, another program is writing to it: end that, or try again"
        return text

    def _all(self, sql: str, *values: Any) -> list[Any]:
        return self.connection.execute(sql, values or None).fetchall()

    def tables(self) -> dict[str, bool]:
        rows = self._all(
            "SELECT table_schema, table_name, table_type FROM information_schema.tables "
            "WHERE table_catalog = current_database() ORDER BY table_schema, table_name"
        )
        return {n if schema == "main" else f"{schema}.{n}": kind != "VIEW" for schema, n, kind in rows}

    def _parts(self, name: str) -> tuple[str, str]:
        schema, dot, rest = name.partition(".")
        schemas = {row[0] for row in self._all("SELECT schema_name FROM information_schema.schemata")} if dot else set()
        return (schema, rest) if schema in schemas and rest else ("main", name)

    def quoted(self, name: str) -> str:
        return ".".join(map(in_sql, self._parts(name)))

    def count(self, select: str) -> int:
        return self._all(select)[0][0]

    def rows(self, select: str) -> "Read":
        with self.reader(select) as (reader, notes):
            return reader.read_all(), notes

    @contextmanager
    def reader(self, select: str) -> "Iterator[tuple[pa.RecordBatchReader, dict[str, str]]]":
        """The rows of a SELECT in batches, and what there is to say of them."""
        found = self.connection.sql(f"SELECT * FROM (\n{select}\n) AS pofx_rows")
        kinds = dict(zip(found.columns, map(str, found.types), strict=True))
        odd = [name for name, kind in kinds.items() if kind.startswith(_ODD) or kind.endswith("]")]
        cells = {
            name: f"{in_sql(name)}::VARCHAR AS {in_sql(name)}" if kinds[name] in _AS_TEXT else in_sql(name)
            for name in kinds
            if name not in odd
        }
        notes = {"left out": ", ".join(f"{name!r} ({kinds[name]})" for name in odd)} if odd else {}
        if not cells:
            yield pa.RecordBatchReader.from_batches(pa.schema([]), []), notes
            return
        with pa.RecordBatchReader.from_stream(found.project(", ".join(cells.values()))) as reader:
            yield reader, notes

    def columns(self, name: str) -> list[str]:
        return self.connection.sql(f"SELECT * FROM {self.quoted(name)}").columns

    def begin(self) -> None:
        self.connection.execute("BEGIN TRANSACTION")

    def keys(self, name: str) -> "Keys":
        rows = self._all(
            "SELECT constraint_type, constraint_column_names, referenced_table, referenced_column_names "
            "FROM duckdb_constraints() WHERE database_name = current_database() AND schema_name = ? AND table_name = ? "
            "AND constraint_type IN ('PRIMARY KEY', 'FOREIGN KEY') ORDER BY constraint_index",
            *self._parts(name),
        )
        own = next((tuple(columns) for kind, columns, *_ in rows if kind == "PRIMARY KEY"), ())
        links = [(tuple(a), parent, tuple(b)) for kind, a, parent, b in rows if kind == "FOREIGN KEY"]
        return own, list(dict.fromkeys(links))

    def create(self, name: str, table: "pa.Table", clauses: "Sequence[str]" = ()) -> None:
        if not clauses:
            self._by_arrow(f"CREATE TABLE {self.quoted(name)} AS FROM pofx_new", table.slice(0, 0))
            return
        self.connection.register("pofx_new", table.slice(0, 0))
        kinds = self._all("DESCRIBE SELECT * FROM pofx_new")
        self.connection.unregister("pofx_new")
        columns = [f"{in_sql(column)} {kind}" for column, kind, *_ in kinds]
        self.connection.execute(f"CREATE TABLE {self.quoted(name)} ({', '.join([*columns, *clauses])})")

    def drop(self, name: str) -> None:
        self.connection.execute(f"DROP TABLE {self.quoted(name)}")

    def insert(self, name: str, table: "pa.Table", *, made: bool) -> None:
        self._by_arrow(f"INSERT INTO {self.quoted(name)} BY NAME FROM pofx_new", table)

    def _by_arrow(self, sql: str, table: "pa.Table") -> None:
        self.connection.register("pofx_new", table)
        try:
            self.connection.execute(sql)
        finally:
            with suppress(duckdb.Error):  # of a transaction that failed, whose own error says why
                self.connection.unregister("pofx_new")

    def commit(self) -> None:
        self.connection.execute("COMMIT")

    def rollback(self) -> None:
        self.connection.execute("ROLLBACK")

    def close(self) -> None:
        self.connection.close()
