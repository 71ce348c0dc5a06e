"""Several tables from and to a database, a folder of files or frames, and what holds them together (relations.py)."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CodecError, SpecError, Unsupported
from ..store import beside
from . import kinship
from .databases import Database, Keys, opened, told, transaction
from .places import Place, place_of
from .relations import Link, Member, Relations
from .storable import in_sql, storable
from .tabular_io import container, labelled, notes_of, read_table
from .writing import write_table

if TYPE_CHECKING:
    import pyarrow as pa

    from .table import TableCodec

ENDINGS = {"csv": ".csv", "tsv": ".tsv", "parquet": ".parquet", "feather": ".feather", "jsonl": ".jsonl"}
Tables = dict[str, "pa.Table"]
Written = tuple[str, "pa.Table", "TableCodec | None"]
"""A table to write: its name, its rows, and the codec that says how texts are spelled."""


def read_several(
    source: Any, names: Sequence[str] | str = "all", keys: Mapping[str, Any] | None = None, **reading: Any
) -> tuple[Tables, Relations, str, dict[str, str]]:
    """The tables of a source by name, their relations, the kind of its container, and what there is to say.

    source: a database, whose declared keys hold where there are any; a folder of files; a mapping from names to frames
    or files. names: of the tables that are read, or "all". keys: instead of those declared or found. reading:
    delimiter, encoding and header of text files.

    Raises CodecError where tables cannot be read, have no rows, or break a key; SpecError for names and keys that do
    not exist, and for a circle of parents.
    """
    declared: dict[str, Keys] = {}
    if (place := place_of(source)) is not None and place.kind != "xlsx":
        _check_place(place)
        tables, declared = _from_database(place, names)
        kind = place.kind
    elif isinstance(source, Mapping):
        frames = {str(name): frame for name, frame in source.items()}
        tables = {n: read_table(frames[n], **reading)[0] for n in _chosen(list(frames), names, "the mapping")}
        kind = "frames"
    else:
        tables, kind = _from_folder(source, names, reading), "folder"
    for name, table in tables.items():
        if not table.num_rows:
            raise CodecError(f"expected rows in the table {name!r}, got none: leave it out (tables=, --tables)")
    if keys is not None:
        found, how = kinship.given(keys, tables), "given"
    elif any(links for _, links in declared.values()):
        found, how = _declared(declared), "declared"
    else:
        found, how = kinship.found(tables), "found"
    found, lost = kinship.feasible(found, tables)
    notes = lost | {f"{name}, {k}": v for name, table in tables.items() for k, v in notes_of(table).items()}
    return tables, found, kind, {"keys": how} | notes


def _check_place(place: Place) -> None:
    if place.words:
        raise SpecError(f"expected several tables, got {' and '.join(place.words)}: name them by tables= (--tables)")
    if not place.remote and not (Path(place.where).is_file() and os.path.getsize(place.where)):
        raise CodecError(f"expected a database at {place.where!r}, found none: check the path")


def _from_database(place: Place, names: Sequence[str] | str) -> tuple[Tables, dict[str, Keys]]:
    """All in one transaction, so that they belong together."""
    database = opened(place, False)
    tables: Tables = {}
    keys: dict[str, Keys] = {}
    try:
        with told(place, database, "read"):
            own = [name for name, is_table in database.tables().items() if is_table]
            for name in _chosen(own, names, place.shown):
                table, notes = database.rows(f"SELECT * FROM {database.quoted(name)}")
                keys[name] = database.keys(name)
                tables[name] = labelled(table, table.column_names, place.kind, notes=notes, of=name)
    finally:
        database.close()
    return tables, keys


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_file() and container(path)[0] is not None)
    except OSError:
        return []


def _from_folder(source: Any, names: Sequence[str] | str, reading: Mapping[str, Any]) -> Tables:
    folder = Path(source) if isinstance(source, str | os.PathLike) else None
    files = _files(folder) if folder is not None else []
    if not files:
        raise CodecError(
            f"expected a database, a folder of tables (CSV, Parquet, ...) or a mapping of frames, got {source!r}"
        )
    by_name: dict[str, Path] = {}
    for path in files:
        name = path.name.partition(".")[0]
        if name in by_name:
            raise CodecError(f"expected tables of different names, got {by_name[name].name!r} and {path.name!r}")
        by_name[name] = path
    return {name: read_table(by_name[name], **reading)[0] for name in _chosen(list(by_name), names, str(source))}


def _chosen(found: list[str], names: Sequence[str] | str, where: str) -> list[str]:
    if not found:
        raise CodecError(f"expected tables in {where!r}, found none")
    if names == "all":
        return found
    asked = [word.strip() for word in names.split(",")] if isinstance(names, str) else list(names)
    if odd := [name for name in asked if name not in found]:
        raise SpecError(f"expected tables among {', '.join(map(repr, found[:40]))}, got {odd[0]!r}")
    return [name for name in found if name in asked]


def _declared(keys: Mapping[str, Keys]) -> Relations:
    """Raises Unsupported for foreign keys of several columns."""
    members = []
    for name, (key, links) in keys.items():
        for columns, parent, _ in links:
            if len(columns) > 1 and parent in keys:
                raise Unsupported(
                    f"expected foreign keys of one column, got {name} ({', '.join(columns)}) -> {parent}: leave it out "
                    "(keys=, --keys), or give one of the tables a column that names the row"
                )
        own = tuple(Link(columns[0], parent, targets[0]) for columns, parent, targets in links if len(columns) == 1)
        members.append(Member(name, key, own))
    names = {m.name for m in members}
    return Relations(replace(m, links=tuple(k for k in m.links if k.parent in names)) for m in members)


# -- out ---------------------------------------------------------------------------------------------------------------


def check_target(path: Any) -> None:
    """Before the work that makes rows: CodecError for a place that is no database or folder, or is taken."""
    place = place_of(path)
    if place is None:
        _check_folder(Path(path))
        return
    if place.kind == "xlsx" or place.words:
        raise CodecError("expected a folder or a database for several tables, got one table or a workbook")
    if not place.remote and not Path(place.where).parent.is_dir():
        raise CodecError(f"expected an existing folder for {place.where!r}: create it first")


def _check_folder(path: Path) -> None:
    if container(path)[0] is not None and not path.is_dir():
        raise CodecError(f"expected a folder or a database for several tables, got the file name {path.name!r}")
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise CodecError(f"expected a new or empty folder, got {str(path)!r}, which has something in it: name another")
    if not path.absolute().parent.is_dir():
        raise CodecError(f"expected an existing folder for {path.name!r}, got {str(path.parent)!r}: create it first")


def write_several(
    tables: Sequence[Written], path: Any, relations: Relations, kinds: Mapping[str, str], taken: str = "refuse"
) -> int:
    """Writes tables, parents first, to a folder (kinds: of the file of each) or a database; how many rows.

    All or nothing: a folder is made beside its place and renamed, a database is written in one transaction, with the
    keys declared. Raises CodecError for a place that is taken, and for whatever the database refuses.
    """
    place = place_of(path)
    if place is not None:
        return _to_database(tables, place if taken == "refuse" else replace(place, if_exists=taken), relations)
    _check_folder(Path(path))
    with _made(Path(path)) as part:
        for name, table, like in tables:
            write_table([table], part / f"{name}{ENDINGS.get(kinds.get(name, ''), '.csv')}", like=like)
    return sum(table.num_rows for _, table, _ in tables)


@contextmanager
def _made(path: Path) -> Iterator[Path]:
    """A folder to fill, that takes its place when all is in it."""
    part = beside(path)
    try:
        part.mkdir()
        yield part
        if path.is_dir():
            path.rmdir()
        part.rename(path)
    except OSError as error:
        raise CodecError(f"could not write {str(path)!r}: {error.strerror or error}; nothing was changed") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _to_database(tables: Sequence[Written], place: Place, relations: Relations) -> int:
    with transaction(place) as database, told(place, database, "write to"):
        there = database.tables()
        names = [name for name, _, _ in tables]
        if (taken := [name for name in names if name in there]) and place.if_exists == "refuse":
            raise CodecError(
                f"expected a database without the tables {', '.join(map(repr, taken[:8]))}, got them in "
                f"{place.shown!r}: name another, or replace them or append to them (--if-exists)"
            )
        if taken and place.if_exists == "append":
            raise CodecError("expected new tables: keys that are made anew would meet those that are there")
        if taken and place.kind == "duckdb" and any(m.links for m in relations):
            raise CodecError(
                "expected a new file of DuckDB, which cannot replace tables that refer to one another in one "
                "transaction: name another"
            )
        for name in reversed(names):
            if name in there:
                database.drop(name)
        plain = {name: storable(like.typed(table) if like is not None else table) for name, table, like in tables}
        made: list[str] = []
        for name in written_order(relations):
            # DuckDB looks at a row before those beside it are there: no key of a table to itself
            there_is = made if place.kind == "duckdb" else [*made, name]
            database.create(name, plain[name], _clauses(relations, relations[name], there_is, database))
            made.append(name)
            database.insert(name, plain[name], made=True)
    return sum(table.num_rows for table in plain.values())


def written_order(relations: Relations) -> list[str]:
    """Names of tables, each after those that it refers to, as far as there is no circle."""
    left, out = [m.name for m in relations], []
    while left:
        ready = [n for n in left if not any(k.parent in left and k.parent != n for k in relations[n].links)]
        out.append((ready or left)[0])
        left.remove(out[-1])
    return out


def _clauses(relations: Relations, member: Member, made: Sequence[str], database: Database) -> list[str]:
    """The keys of a table as SQL declares them; those to tables that are not made are left out."""

    def several(names: Sequence[str]) -> str:
        return ", ".join(map(in_sql, names))

    out = [f"PRIMARY KEY ({several(member.key)})"] if member.key and relations.sure(member.name) else []
    unique = [key for key in relations.made(member.name) if (key,) != member.key]
    out += [f"UNIQUE ({several([key])})" for key in unique]
    return out + [
        f"FOREIGN KEY ({several([link.column])}) REFERENCES {database.quoted(link.parent)} ({several([link.target])})"
        for link in member.links
        if link.parent in made
    ]
