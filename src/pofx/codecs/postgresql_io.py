"""PostgreSQL, by its ADBC driver, which takes and gives rows as Arrow batches over COPY."""

import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import CodecError
from .infinite import infinite_cells
from .places import Place
from .storable import DIGITS, in_sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .databases import Keys, Read

try:
    import adbc_driver_manager as adbc
    from adbc_driver_postgresql import dbapi
except ImportError as error:
    raise CodecError(
        "PostgreSQL needs the package adbc-driver-postgresql, which is not installed: pip install pofx[postgres]"
    ) from error

PATIENCE = 10  # seconds for a server to answer, where the address does not say (connect_timeout)
_ODD = ("bytea", "json", "jsonb", "xml", "tsvector", "tsquery", "point", "line", "lseg", "box", "path", "polygon",
        "circle", "geometry", "geography")  # fmt: skip
MOMENTS = (-220_000_000_000_000_000, 9_200_000_000_000_000_000)  # microseconds from 1970, beyond which is infinity
DAYS = (-2_500_000, 2_146_000_000)  # the same, of dates
_MESSAGE = re.compile(r"(?:ERROR|FATAL|PANIC):\s+(.*)")
_LAYERS = re.compile(r"^([A-Z_]+: )?(\[libpq\] )?(Failed to [a-z ]+: )?")


class Postgresql:
    """A database of PostgreSQL; the words of databases.Database."""

    faults = (adbc.Error, OSError, pa.ArrowException)  # the last two where a stream of rows breaks

    def __init__(self, place: Place, write: bool) -> None:
        where = place.where
        if "connect_timeout=" not in where:
            where += f"{'&' if '?' in where else '?'}connect_timeout={PATIENCE}"
        self.connection = dbapi.connect(where)
        self.cursor = self.connection.cursor()
        try:
            if not write:
                self.cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        except BaseException:
            self.close()
            raise

    @staticmethod
    def why(error: Exception) -> str:
        text = str(error)
        found = _MESSAGE.search(text)
        text = found[1] if found else " ".join(_LAYERS.sub("", text).partition("\n\nQuery was:")[0].split())
        if re.search("server closed|connection (was )?(lost|closed|reset)|terminat", text):
            text += "; the connection was lost, nothing was changed"
        return text

    def _all(self, sql: str) -> list[Any]:
        self.cursor.execute(sql)
        return self.cursor.fetchall()

    def tables(self) -> dict[str, bool]:
        rows = self._all(
            "SELECT n.nspname, c.relname, c.relkind IN ('r', 'p', 'f'), n.nspname = current_schema() "
            "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND NOT c.relispartition "
            "AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%' ORDER BY 1, 2"
        )
        return {name if here else f"{schema}.{name}": is_table for schema, name, is_table, here in rows}

    def _parts(self, name: str) -> tuple[str | None, str]:
        schema, dot, rest = name.partition(".")
        if dot and rest and (schema,) in self._all("SELECT nspname FROM pg_namespace"):
            return schema, rest
        return None, name

    def quoted(self, name: str) -> str:
        return ".".join(in_sql(part) for part in self._parts(name) if part is not None)

    def count(self, select: str) -> int:
        return self._all(select)[0][0]

    def rows(self, select: str) -> "Read":
        inner = f"(\n{select}\n) AS pofx_rows"
        found = self.cursor.adbc_execute_schema(f"SELECT * FROM {inner}")
        cells, odd = {}, []
        for field in found:
            name, kind = in_sql(field.name), _told_type(field)
            if kind in _ODD or pa.types.is_nested(field.type):
                odd.append(f"{field.name!r} ({kind.removeprefix('_') + '[]' if kind.startswith('_') else kind})")
            else:
                cells[field.name] = f"{name}{_cast(field, kind)} AS {name}"
        notes = {"left out": ", ".join(odd)} if odd else {}
        if not cells:
            return pa.table({}), notes
        if len(cells) + len(odd) < len(found):
            raise CodecError("expected columns of different names in the query, got two of one: name them (AS)")
        self.cursor.execute(f"SELECT {', '.join(cells.values())} FROM {inner}")
        with self.cursor.fetch_record_batch() as reader:
            table = reader.read_all()
        for i, field in enumerate(table.schema):
            table = table.set_column(i, field.name, _native(field, table.column(i)))
        return table, notes

    def columns(self, name: str) -> list[str]:
        return self.cursor.adbc_execute_schema(f"SELECT * FROM {self.quoted(name)}").names

    def begin(self) -> None:
        """The driver has begun one."""

    def keys(self, name: str) -> "Keys":
        where = f"'{self.quoted(name).replace(chr(39), 2 * chr(39))}'::regclass"
        rows = self._all(
            "SELECT c.contype = 'p', n.nspname = current_schema(), n.nspname, t.relname, k.place, a.attname, "
            "b.attname, c.oid::bigint FROM pg_constraint c CROSS JOIN LATERAL unnest(c.conkey, c.confkey) "
            "WITH ORDINALITY AS k(own, other, place) JOIN pg_attribute a ON a.attrelid = c.conrelid "
            "AND a.attnum = k.own LEFT JOIN pg_attribute b ON b.attrelid = c.confrelid AND b.attnum = k.other "
            "LEFT JOIN pg_class t ON t.oid = c.confrelid LEFT JOIN pg_namespace n ON n.oid = t.relnamespace "
            f"WHERE c.contype IN ('p', 'f') AND c.conrelid = {where} ORDER BY c.oid, k.place"
        )
        own = tuple(row[5] for row in rows if row[0])
        found: dict[int, list[Any]] = {}
        for primary, here, schema, parent, _, column, target, number in rows:
            if not primary:
                found.setdefault(number, []).append((column, parent if here else f"{schema}.{parent}", target))
        links = [(tuple(p[0] for p in parts), parts[0][1], tuple(p[2] for p in parts)) for parts in found.values()]
        return own, links

    def create(self, name: str, table: "pa.Table", clauses: "Sequence[str]" = ()) -> None:
        columns = ", ".join([_declared(table), *clauses])
        self.cursor.execute(f"CREATE TABLE {self.quoted(name)} ({columns})")

    def drop(self, name: str) -> None:
        self.cursor.execute(f"DROP TABLE {self.quoted(name)}")

    def insert(self, name: str, table: "pa.Table", *, made: bool) -> None:
        if made:
            schema, own = self._parts(name)
            self.cursor.adbc_ingest(own, table, mode="append", db_schema_name=schema)
            return
        # a table that was there has types of its own: the server brings rows into them
        self.cursor.execute(f"CREATE TEMP TABLE pofx_rows ({_declared(table)}) ON COMMIT DROP")
        self.cursor.adbc_ingest("pofx_rows", table, mode="append", temporary=True)
        columns = ", ".join(map(in_sql, table.column_names))
        self.cursor.execute(f"INSERT INTO {self.quoted(name)} ({columns}) SELECT {columns} FROM pg_temp.pofx_rows")
        self.cursor.execute("DROP TABLE pg_temp.pofx_rows")

    def commit(self) -> None:
        self.connection.commit()

    def rollback(self) -> None:
        self.connection.rollback()

    def close(self) -> None:
        self.cursor.close()
        self.connection.close()


def _told(field: "pa.Field", name: str) -> str:
    return (field.metadata or {}).get(name.encode(), b"").decode()


def _told_type(field: "pa.Field") -> str:
    """The type of a column, as the server calls it."""
    return _told(field, "ADBC:postgresql:typname") or _told(field, "POSTGRESQL:type")


def _cast(field: "pa.Field", kind: str) -> str:
    """What makes a column one of a type that Arrow has."""
    if kind == "money":
        return "::numeric(19,2)"
    if kind == "numeric":
        return ""
    special = isinstance(field.type, pa.BaseExtensionType) or pa.types.is_interval(field.type)
    return "::text" if special or pa.types.is_binary(field.type) else ""


def _native(field: "pa.Field", column: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """Numerics, which arrive as texts, as decimals; and CodecError for moments at infinity."""
    if _told_type(field) == "numeric":
        texts = pa.chunked_array([getattr(chunk, "storage", chunk) for chunk in column.chunks], pa.string())
        return _decimals(field, texts)
    if pa.types.is_timestamp(field.type) or pa.types.is_date(field.type):
        moment = pa.types.is_timestamp(field.type)
        bits = column.cast(pa.int64() if moment else pa.int32())
        low, high = MOMENTS if moment else DAYS
        if pc.any(odd := pc.or_(pc.less(bits, low), pc.greater(bits, high))).as_py():
            raise infinite_cells(field.name, pc.index(odd, True).as_py())
    return column


def _decimals(field: "pa.Field", texts: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """Of the digits that the column declares, or else of as many as its cells have; NaN is missing.

    Numbers of more than 38 digits become binary fractions. Raises CodecError for infinite ones.
    """
    texts = pc.if_else(pc.equal(pc.utf8_lower(texts), "nan"), None, texts)
    if pc.any(infinite := pc.match_substring(texts, "inf", ignore_case=True)).as_py():
        raise infinite_cells(field.name, pc.index(infinite, True).as_py())
    modifier = int(_told(field, "POSTGRESQL:typmod") or -1) - 4
    digits, scale = (modifier >> 16) & 0xFFFF, (modifier & 0x7FF ^ 1024) - 1024
    if modifier < 0:
        digits = DIGITS
        ends = pc.find_substring(texts, ".")
        places = pc.if_else(pc.equal(ends, -1), 0, pc.subtract(pc.subtract(pc.utf8_length(texts), ends), 1))
        scale = pc.max(places).as_py() or 0
    digits, scale = (digits - scale, 0) if scale < 0 else (digits, scale)
    try:
        return texts.cast(pa.decimal128(digits, scale))
    except (pa.ArrowException, ValueError):
        return texts.cast(pa.float64())


def _declared(table: "pa.Table") -> str:
    return ", ".join(f"{in_sql(field.name)} {declared_type(field.type)}" for field in table.schema)


def declared_type(kind: "pa.DataType") -> str:
    """The type that a column is declared with, by its Arrow type: the one that COPY of it needs."""
    if pa.types.is_decimal(kind):
        return f"numeric({kind.precision},{kind.scale})"
    if pa.types.is_timestamp(kind):
        return "timestamptz" if kind.tz else "timestamp"
    for words, word in (
        (("bool",), "boolean"), (("int8", "uint8", "int16"), "smallint"), (("uint16", "int32"), "integer"),
        (("uint32", "int64"), "bigint"), (("float",), "real"), (("double",), "double precision"),
        (("date32[day]",), "date"), (("time64[us]",), "time"), (("binary",), "bytea"),
    ):  # fmt: skip
        if str(kind) in words:
            return word
    return "text"
