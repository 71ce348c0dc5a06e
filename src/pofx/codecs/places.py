"""Where a table stands that is no file of its own: a database or a workbook, and the table, query or sheet in it.

A place is named by a path or an address, and may name its table behind a #: shop.db#customers, book.xlsx#Sheet1,
postgresql://user@host/shop#customers. The password of an address stays in the place: what is shown or kept is
`address`.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ..errors import CodecError

WORDS = ("table", "query", "sheet")
IF_EXISTS = ("refuse", "replace", "append")
TYPED = ("sqlite", "duckdb", "postgresql", "xlsx")  # kinds with types of their own: texts are meant as texts
_ENDINGS = {
    ".db": "sqlite", ".sqlite": "sqlite", ".sqlite3": "sqlite", ".db3": "sqlite", ".duckdb": "duckdb", ".ddb": "duckdb",
    ".xlsx": "xlsx", ".xlsm": "xlsx", ".xls": "",
}  # fmt: skip
_ADDRESS = re.compile(r"([a-z][a-z0-9]+)(\+[a-z0-9]+)?://", re.IGNORECASE)
_UNCLEAR = (
    "expected an address postgresql://user@host:port/database, got one whose parts cannot be told apart: write special "
    "characters as %40 for @, %23 for #, %2F for /, %3A for :"
)
_SECRET = ("password", "sslpassword")


@dataclass(frozen=True, repr=False)
class Place:
    """A database or workbook, with what of it is read or written; a source or a path in every verb on tables.

    where: a path, or postgresql://user@host/database; table, or query (a SELECT), or sheet of a workbook: needed where
    there are several; if_exists: what becomes of a table that is there already when one is written: refuse, replace
    or append.

        >>> Place("postgresql://ann:secret@host/shop", table="customers")
        Place('postgresql://ann@host/shop', table='customers')
    """

    where: str
    table: str | None = None
    query: str | None = None
    sheet: str | None = None
    if_exists: str = "refuse"

    def __post_init__(self) -> None:
        if self.if_exists not in IF_EXISTS:
            raise CodecError(f"expected if_exists among {', '.join(IF_EXISTS)}, got {self.if_exists!r}")
        if len(self.words) > 1:
            raise CodecError(f"expected one of table, query and sheet, got {' and '.join(self.words)}: give one")
        if self.remote:
            _check_address(self.where)

    def __repr__(self) -> str:
        told = self.words | ({} if self.if_exists == "refuse" else {"if_exists": self.if_exists})
        return f"Place({', '.join([repr(self.shown), *(f'{k}={v!r}' for k, v in told.items())])})"

    def __str__(self) -> str:
        name = self.shown if self.remote else Path(self.where).name
        return ", ".join([name, *(f"{k} {v!r}" for k, v in self.words.items())])

    @property
    def remote(self) -> bool:
        """Whether it is an address and no file."""
        return _ADDRESS.match(self.where) is not None

    @property
    def kind(self) -> str:
        """sqlite, duckdb, postgresql or xlsx; of a file by its first bytes, of none yet by its ending."""
        kind = "postgresql" if self.remote else _kind_of_file(self.where)
        if not kind:
            raise CodecError(
                f"expected a database of SQLite or DuckDB or a workbook (.xlsx) in {self.where!r}, got another format, "
                "or an encrypted one: export the table as CSV or Parquet"
            )
        return kind

    @property
    def words(self) -> dict[str, str]:
        """What it names of table, query and sheet."""
        return {name: value for name in WORDS if (value := getattr(self, name)) is not None}

    @property
    def shown(self) -> str:
        """The path as it was given, or the address without a password."""
        return _bare(self.where) if self.remote else self.where

    @property
    def address(self) -> str:
        """The full path, or the address without a password: what is kept of it."""
        return self.shown if self.remote else str(Path(self.where).resolve())

    def hidden(self, text: str) -> str:
        """A text without the password of this place."""
        for secret in _secrets(self.where) if self.remote else ():
            text = text.replace(secret, "***")
        return text


def place_of(source: Any, **words: Any) -> Place | None:
    """The place that a source names, with further `words` of it; None for another source.

    Raises CodecError for an address of another database, for what ends as a database and is none, and for a table,
    query or sheet of a source that has none.
    """
    words = {name: value for name, value in words.items() if value is not None}
    if isinstance(source, Place):
        return replace(source, **words) if words else source
    found = _named(os.fspath(source)) if isinstance(source, str | Path) else None
    if found is None:
        if asked := [name for name in WORDS if name in words]:
            raise CodecError(
                f"expected {asked[0]} of a database or workbook alone, got one of another source: leave it out"
            )
        return None
    return replace(found, **words) if words else found


def located(source: Any, reading: Mapping[str, Any] | None) -> tuple[Any, dict[str, Any]]:
    """(the place that a source and the words of its reading name, or the source; the other words)."""
    rest = dict(reading or {})
    words = {name: rest.pop(name) for name in WORDS if name in rest}
    return place_of(source, **words) or source, rest


def again(path: Any, reading: Mapping[str, Any], data: Any = None) -> tuple[Any, dict[str, Any]]:
    """`located` of what was learned from, as a bundle keeps it, or of `data` in its stead.

    The table, query or sheet that is kept goes with data in a database that names none itself.
    """
    found = place_of(data) if data is not None else None
    if data is None or (found is not None and not found.words):
        return located(path if data is None else data, reading)
    return found or data, {name: value for name, value in reading.items() if name not in WORDS}


def named(source: Any, otherwise: str) -> dict[str, Any]:
    """What is kept of where a source was, without a password: its name, or else; its path or address, if any."""
    if (place := place_of(source)) is not None:
        return {"source": str(place), "path": place.address}
    path = Path(source).resolve() if isinstance(source, str | Path) else None
    return {"source": path.name if path else otherwise, "path": str(path) if path else None}


def _named(text: str) -> Place | None:
    if address := _ADDRESS.match(text):
        kind = address[1].lower()
        if kind in ("sqlite", "duckdb") and text[address.end() :].startswith("/"):
            return _named(text[address.end() + 1 :])
        where, _, table = text[address.end() :].partition("#")
        if "@" in table:
            raise CodecError(_UNCLEAR)
        kind = "postgresql" if kind == "postgres" else kind
        return Place(f"{kind}://{where}", unquote(table) or None)
    if _looks(text):
        return Place(text)
    where, _, name = text.rpartition("#")
    if where and name and not os.path.exists(text) and _looks(where):
        return Place(where, **{"sheet" if _kind_of_file(where) == "xlsx" else "table": name})
    return None


def _looks(path: str) -> bool:
    return Path(path).suffix.lower() in _ENDINGS or (os.path.isfile(path) and _kind_of_file(path) is not None)


def _kind_of_file(path: str) -> str | None:
    ending = Path(path).suffix.lower()
    try:
        with open(path, "rb") as file:
            head = file.read(16)
    except OSError:
        return _ENDINGS.get(ending)
    if not head:
        return _ENDINGS.get(ending)
    if head == b"SQLite format 3\0":
        return "sqlite"
    if head[8:12] == b"DUCK":
        return "duckdb"
    return "xlsx" if head[:4] == b"PK\x03\x04" and _ENDINGS.get(ending) == "xlsx" else None


def _check_address(text: str) -> None:
    """Raises CodecError for an address of another database, and, without a word of what stands in it, for one whose
    parts cannot be told apart.
    """
    kind, _, _ = text.partition("://")
    if kind != "postgresql":
        raise CodecError(
            f"expected postgresql:// as the address of a database, got {kind}://: export the table as CSV or Parquet, "
            "or read it into a frame"
        )
    try:
        parts = urlsplit(text)
        _ = parts.port
        unclear = "@" in parts.path + parts.query + parts.fragment or bool(parts.fragment)
    except ValueError:
        unclear = True
    if unclear:
        raise CodecError(_UNCLEAR)


def _bare(text: str) -> str:
    parts = urlsplit(text)
    user, at, host = parts.netloc.rpartition("@")
    query = "&".join(part for part in parts.query.split("&") if not _is_secret(part))
    return parts._replace(netloc=f"{user.partition(':')[0]}{at}{host}", query=query).geturl()


def _is_secret(part: str) -> bool:
    return unquote(part.partition("=")[0]).strip().lower() in _SECRET


def _secrets(text: str) -> list[str]:
    parts = urlsplit(text)
    query = [part.partition("=")[2] for part in parts.query.split("&") if _is_secret(part)]
    found = [parts.password or "", *query]
    return sorted({form for one in found if one for form in (one, unquote(one))}, key=len, reverse=True)
