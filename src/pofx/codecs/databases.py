"""Tables from and to databases: which table, which query, and one transaction for what is written.

What differs between databases is in a class each: `sqlite_io`, `duckdb_io`, `postgresql_io`. Sources are opened to be
read alone; rows travel in batches and are held as Arrow columns.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..errors import CodecError
from ..store import beside, check_folder
from .places import Place
from .storable import storable
from .tabular_io import labelled, look

if TYPE_CHECKING:
    import pyarrow as pa

    from .table import TableCodec

BATCH = 50_000  # rows
MANY = 1_000_000  # rows beyond which a table is not counted to the end
ROWS = "rows"  # the table that is written where nothing names one
_SELECTS = ("select", "with", "values", "table", "from", "pivot", "unpivot")
_REMARK = re.compile(r"\s+|--[^\n]*(\n|$)|/\*.*?\*/|\(", re.DOTALL)
_CLASSES = {"sqlite": "Sqlite", "duckdb": "Duckdb", "postgresql": "Postgresql"}

Read = tuple["pa.Table", dict[str, str]]
"""Rows, and what there is to say of how they were read."""

Keys = tuple[tuple[str, ...], list[tuple[tuple[str, ...], str, tuple[str, ...]]]]
"""The columns of a primary key; and of each foreign key its columns, the table that it leads to, and columns there."""


class Database(Protocol):
    """An open database. Its errors are `faults`, and `why` gives one line of each."""

    faults: tuple[type[Exception], ...]

    def __init__(self, place: Place, write: bool) -> None:
        """Opens it, to read alone unless `write`."""

    def why(self, error: Exception) -> str:
        """An error in one line."""

    def tables(self) -> dict[str, bool]:
        """The names of tables and views, and whether each is a table; one of another schema than the usual with it."""

    def quoted(self, name: str) -> str:
        """A name of `tables`, or of one to be, as SQL has it."""

    def count(self, select: str) -> int:
        """The first cell of a SELECT."""

    def rows(self, select: str) -> Read:
        """What a SELECT gives, without columns whose cells are no values of a table."""

    def reader(self, select: str) -> "AbstractContextManager[tuple[pa.RecordBatchReader, dict[str, str]]]":
        """The same in batches, which have one type each column."""

    def columns(self, name: str) -> list[str]:
        """The columns of a table."""

    def begin(self) -> None:
        """A transaction; what follows is seen by nobody before `commit`."""

    def keys(self, name: str) -> Keys:
        """The declared primary key of a table, and its foreign keys in the order of their declaration."""

    def create(self, name: str, table: "pa.Table", clauses: Sequence[str] = ()) -> None:
        """An empty table with the columns of this one, and clauses of keys behind them."""

    def drop(self, name: str) -> None:
        """Takes a table away."""

    def insert(self, name: str, table: "pa.Table", *, made: bool) -> None:
        """Adds rows; `made`: to a table that `create` made, whose types are those of the rows."""

    def commit(self) -> None:
        """Ends the transaction."""

    def rollback(self) -> None:
        """Undoes it."""

    def close(self) -> None:
        """Ends the connection."""


def opened(place: Place, write: bool) -> Database:
    """The database of a place. Raises CodecError where it cannot be opened."""
    found = getattr(import_module(f"..{place.kind}_io", __name__), _CLASSES[place.kind])
    with told(place, found, "open"):
        return found(place, write)


@contextmanager
def told(place: Place, database: Any, what: str) -> Iterator[None]:
    """Errors of a database in one line, as CodecError, without a password."""
    try:
        yield
    except database.faults as error:
        why = place.hidden(database.why(error))
        raise CodecError(f"could not {what} {place.shown!r}: {why}") from None


# -- in ----------------------------------------------------------------------------------------------------------------


def read_database(place: Place) -> "pa.Table":
    """The rows of a table or a query of a database; where nothing is named, of its only table.

    Raises CodecError where there are several tables, for a table that is not there, a query that does not select, rows
    that are none, and whatever the database refuses.
    """
    import pyarrow as pa

    with _selected(place) as (database, place, select):
        table, notes = database.rows(select)
    _check_columns(table.column_names, place, notes)
    if not table.num_rows:
        raise CodecError(f"expected rows in {_shown(place)} of {place.shown!r}, got none: give another")
    # a copy of the cells alone: what a driver leaves where one is missing would make a fingerprint differ
    table = table.take(pa.array(np.arange(table.num_rows)))
    return labelled(table, table.column_names, place.kind, **_meta(place, notes))


@contextmanager
def streamed_database(place: Place) -> "Iterator[Iterator[pa.Table]]":
    """The rows that `read_database` gives, in batches as they come."""
    if place.kind not in _CLASSES:
        raise CodecError(
            f"expected a database or a file of text, Parquet or Feather to be read as a stream, got {place.kind}: "
            "write its rows as Parquet first"
        )
    with _selected(place) as (database, place, select), database.reader(select) as (reader, notes):
        _check_columns(reader.schema.names, place, notes)
        meta = _meta(place, notes)
        yield (labelled(t, t.column_names, place.kind, **meta) for t in map(_table_of, reader))


def _table_of(batch: "pa.RecordBatch") -> "pa.Table":
    import pyarrow as pa

    return pa.Table.from_batches([batch])


@contextmanager
def _selected(place: Place) -> Iterator[tuple[Database, Place, str]]:
    """(the open database, the place with the table that is meant, a SELECT of its rows)."""
    if place.sheet is not None:
        raise CodecError(f"expected a table or query of a database, got the sheet {place.sheet!r}: name the table")
    if place.query is not None:
        select = _selecting(place.query)
    if not place.remote and not Path(place.where).is_file():
        raise CodecError(f"expected a file at {place.where!r}, found none: check the path")
    if not place.remote and not os.path.getsize(place.where):
        raise CodecError(f"expected a database in {place.where!r}, the file is empty")
    database = opened(place, False)
    try:
        with told(place, database, "read"):
            if place.query is None:
                place = replace(place, table=_chosen(place, database))
                select = f"SELECT * FROM {database.quoted(str(place.table))}"
            yield database, place, select
    finally:
        database.close()


def _shown(place: Place) -> str:
    return f"the table {place.table!r}" if place.query is None else "the query"


def _check_columns(names: Sequence[str], place: Place, notes: dict[str, str]) -> None:
    if not names:
        raise CodecError(f"expected columns of values in {_shown(place)}, got none: {'; '.join(notes.values())}")


def _meta(place: Place, notes: dict[str, str]) -> dict[str, Any]:
    return {"notes": notes} | ({"of": place.table} if place.query is None else {})


def _selecting(query: str) -> str:
    """The query without what ends it. Raises CodecError where it does not select."""
    rest = query
    while found := _REMARK.match(rest):
        rest = rest[found.end() :]
    word = re.match(r"\w*", rest)
    if word is None or word[0].lower() not in _SELECTS:
        raise CodecError(f"expected a query that selects rows (SELECT ...), got {' '.join(query.split())[:60]!r}")
    return query.rstrip().rstrip(";").rstrip()


def _chosen(place: Place, database: Database) -> str:
    """The table that is meant: the named one, or the only one."""
    found = database.tables()
    if place.table in found:
        return str(place.table)
    own = [name for name, is_table in found.items() if is_table] or list(found)
    if place.table is None and len(own) == 1:
        return own[0]
    if not found:
        raise CodecError(f"expected tables in {place.shown!r}, found none")
    shown = ", ".join(f"{name} ({_counted(database, name)})" for name in own[:40])
    shown += f" and {len(own) - 40:,} more" if len(own) > 40 else ""
    if place.table is None:
        raise CodecError(
            f"expected one table in {place.shown!r}, got {len(own):,}: {shown}; name one (--table, #table), give a "
            "query (--query), or learn them together (--tables all)"
        )
    low = {name.lower(): name for name in found}
    near = [low[name] for name in get_close_matches(place.table.lower(), low, 1)]
    raise CodecError(
        f"expected a table in {place.shown!r}, got {place.table!r}"
        + (f", did you mean {near[0]!r}?" if near else "")
        + f"; it has {shown}"
    )


def _counted(database: Database, name: str) -> str:
    rows = database.count(
        f"SELECT count(*) FROM (SELECT 1 FROM {database.quoted(name)} LIMIT {MANY + 1}) AS pofx_counted"
    )
    return f"{rows:,} row{'s' * (rows != 1)}" if rows <= MANY else f"more than {MANY:,} rows"


# -- out ---------------------------------------------------------------------------------------------------------------


def check_database(place: Place) -> None:
    """Raises CodecError where a table cannot be written there: before the work that makes its rows."""
    check_target(place)
    if _fresh(place):
        import_module(f"..{place.kind}_io", __name__)
        return
    database = opened(place, True)
    try:
        with told(place, database, "read"):
            if place.table is not None:
                check_absent(place, database, place.table)
    finally:
        database.close()


def write_database(tables: "Iterable[pa.Table]", place: Place, like: "TableCodec | None") -> int:
    """Writes tables one after another into one table of a database, in one transaction; the number of rows.

    The table is the one that the place names, or that which was read, or "rows". Raises CodecError for one that is
    there already, unless it is to be replaced or appended to, and for whatever the database refuses; nothing is changed
    then.
    """
    check_target(place)
    rows, name = 0, ""
    with transaction(place) as database:
        for table in tables:
            plain = storable(like.typed(table) if like is not None else table)
            if not name:
                name = place.table or look(table).get("of") or ROWS
                with told(place, database, "write to"):
                    _prepared(place, database, name, plain)
            with told(place, database, "write to"):
                database.insert(name, plain, made=place.if_exists != "append")
            rows += plain.num_rows
    return rows


def check_target(place: Place) -> None:
    if place.query is not None or place.sheet is not None:
        raise CodecError("expected a table to be written to a database, got a query or sheet: name a table")
    if not place.remote:
        check_folder(Path(place.where))


def _fresh(place: Place) -> bool:
    """Whether it is a file that is yet to be made."""
    return not place.remote and (not os.path.exists(place.where) or not os.path.getsize(place.where))


@contextmanager
def transaction(place: Place) -> Iterator[Database]:
    """A database to write, all or nothing; a new file is made beside its place and renamed when whole."""
    path = Path(place.where)
    fresh = _fresh(place)
    part = beside(path).with_suffix(path.suffix) if fresh else path
    at = replace(place, where=str(part)) if fresh else place
    try:
        database = opened(at, True)
        try:
            with told(place, database, "write to"):
                database.begin()
            yield database
            with told(place, database, "write to"):
                database.commit()
        except BaseException:
            with suppress(*database.faults):
                database.rollback()
            raise
        finally:
            with suppress(*database.faults):
                database.close()
        if fresh:
            os.replace(part, path)
    except OSError as error:
        raise CodecError(f"could not write {place.shown!r}: {error.strerror or error}; nothing was changed") from error
    finally:
        for left in (part, part.with_name(part.name + ".wal"), part.with_name(part.name + "-journal")) if fresh else ():
            left.unlink(missing_ok=True)


def _prepared(place: Place, database: Database, name: str, table: "pa.Table") -> None:
    """Makes the table, or looks at the one that rows are added to."""
    check_absent(place, database, name)
    there = name in database.tables()
    if there and place.if_exists == "append":
        has = database.columns(name)
        if gone := [column for column in table.column_names if column not in has]:
            raise CodecError(
                f"expected a table with the column(s) {', '.join(map(repr, gone[:8]))} to append to, got {name!r} with "
                f"{', '.join(map(repr, has[:20]))}: name another"
            )
        return
    if there:
        database.drop(name)
    database.create(name, table)


def check_absent(place: Place, database: Database, name: str) -> None:
    found = database.tables()
    if name in found and not found[name]:
        raise CodecError(f"expected the name of a table to write, got the view {name!r} of {place.shown!r}: another")
    if name in found and place.if_exists == "refuse":
        raise CodecError(
            f"expected a new table in {place.shown!r}, got {name!r}, which is there: name another (--to-table), or "
            "replace it or append to it (--if-exists replace, append)"
        )
