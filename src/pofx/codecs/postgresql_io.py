"""PostgreSQL, by its ADBC driver, which takes and gives rows as Arrow batches over COPY."""

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import CodecError
from .infinite import infinite_cells
from .places import Place
from .storable import DIGITS, in_sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
CENTS = (19, 2)  # digits of money, and those behind the point
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
        with self.reader(select) as (reader, notes):
            return reader.read_all(), notes

    @contextmanager
    def reader(self, select: str) -> "Iterator[tuple[pa.RecordBatchReader, dict[str, str]]]":
        """The rows of a SELECT in batches, and what there is to say of them."""
        inner = f"(\n{select}\n) AS pofx_rows"
        found = self.cursor.adbc_execute_schema(f"SELECT * FROM {inner}")
        cells, kept, odd = {}, [], []
        for field in found:
            name, kind = in_sql(field.name), _told_type(field)
            if kind in _ODD or pa.types.is_nested(field.type):
                odd.append(f"{field.name!r} ({kind.removeprefix('_') + '[]' if kind.startswith('_') else kind})")
            else:
                cells[field.name] = f"{name}{_cast(field, kind)} AS {name}"
                kept.append(field)
        notes = {"left out": ", ".join(odd)} if odd else {}
        if not cells:
            yield pa.RecordBatchReader.from_batches(pa.schema([]), []), notes
            return
        if len(cells) + len(odd) < len(found):
            raise CodecError("expected columns of different names in the query, got two of one: name them (AS)")
        digits = self._digits([field for field in kept if _told_type(field) == "numeric"], inner)
        digits |= {field.name: pa.decimal128(*CENTS) for field in kept if _told_type(field) == "money"}
        self.cursor.execute(f"SELECT {', '.join(cells.values())} FROM {inner}")
        with self.cursor.fetch_record_batch() as reader:
            schema = pa.schema([(f.name, digits.get(f.name, f.type)) for f in reader.schema])

            def batches() -> "Iterator[pa.RecordBatch]":
                for batch in reader:
                    columns = [
                        _native(field, batch.column(i), digits.get(field.name)) for i, field in enumerate(reader.schema)
                    ]
                    yield pa.RecordBatch.from_arrays(columns, schema=schema)

            yield pa.RecordBatchReader.from_batches(schema, batches()), notes

    def _digits(self, fields: "Sequence[pa.Field]", inner: str) -> "dict[str, pa.DataType]":
        """The types of columns of numerics: decimals of the digits that a column declares, or else of as many as its
        cells have; binary fractions where those are more than 38.
        """
        out, asked = {}, []
        for field in fields:
            modifier = int(_told(field, "POSTGRESQL:typmod") or -1) - 4
            if modifier < 0:
                asked.append(field.name)
            else:
                digits, scale = (modifier >> 16) & 0xFFFF, (modifier & 0x7FF ^ 1024) - 1024
                digits, scale = (digits - scale, 0) if scale < 0 else (digits, scale)
                out[field.name] = pa.decimal128(digits, scale) if scale <= digits <= DIGITS else pa.float64()
        if asked:
            words = [f"max(scale({in_sql(n)})), max(length(trunc(abs({in_sql(n)}))::text))" for n in asked]
            told = self._all(f"SELECT {', '.join(words)} FROM {inner}")[0]
            for name, scale, whole in zip(asked, told[::2], told[1::2], strict=True):
                scale = scale or 0
                out[name] = pa.decimal128(DIGITS, scale) if (whole or 0) + scale <= DIGITS else pa.float64()
        return out

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
        return "::numeric({},{})".format(*CENTS)
    if kind == "numeric":
        return ""
    special = isinstance(field.type, pa.BaseExtensionType) or pa.types.is_interval(field.type)
    return "::text" if special or pa.types.is_binary(field.type) else ""


def _native(field: "pa.Field", column: "pa.Array", decimal: "pa.DataType | None") -> "pa.Array":
    """Numerics, which arrive as texts, as decimals or binary fractions, NaN as missing; and CodecError for infinite
    numbers and for moments at infinity.
    """
    if decimal is not None:
        texts = getattr(column, "storage", column).cast(pa.string())
        texts = pc.if_else(pc.equal(pc.utf8_lower(texts), "nan"), None, texts)
        if pc.any(infinite := pc.match_substring(texts, "inf", ignore_case=True)).as_py():
            raise infinite_cells(field.name, pc.index(infinite, True).as_py())
        return texts.cast(decimal)
    if pa.types.is_timestamp(field.type) or pa.types.is_date(field.type):
        moment = pa.types.is_timestamp(field.type)
        bits = column.cast(pa.int64() if moment else pa.int32())
        low, high = MOMENTS if moment else DAYS
        if pc.any(odd := pc.or_(pc.less(bits, low), pc.greater(bits, high))).as_py():
            raise infinite_cells(field.name, pc.index(odd, True).as_py())
    return column


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
