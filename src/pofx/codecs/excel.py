"""Workbooks (.xlsx), by openpyxl: sheets in, row by row; one sheet out."""

import datetime as dt
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from ..errors import CodecError, PofxError, Unsupported
from ..store import check_folder, placed
from .dialect import has_header
from .loose import Loose
from .places import Place
from .storable import storable
from .tabular_io import labelled, unique

if TYPE_CHECKING:
    import pyarrow as pa

    from .table import TableCodec

try:
    import openpyxl
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
except ImportError as error:
    raise CodecError(
        "a workbook needs the package openpyxl, which is not installed: pip install pofx[excel]"
    ) from error

BATCH = 10_000  # rows
LONGEST = 1_048_576  # rows of a sheet, that of the titles included
EXACT = 2**53  # whole numbers beyond are texts in a sheet, whose numbers have 15 digits
ERRORS = ("#N/A", "#DIV/0!", "#REF!", "#VALUE!", "#NAME?", "#NUM!", "#NULL!")  # of formulas: missing cells
_FORMS = {dt.date: "yyyy-mm-dd", dt.datetime: "yyyy-mm-dd hh:mm:ss", dt.time: "hh:mm:ss"}


@contextmanager
def _open(place: Place) -> Iterator[Any]:
    """The workbook of a place, as it was saved: of formulas, the values they had."""
    if not Path(place.where).is_file():
        raise CodecError(f"expected a file at {place.where!r}, found none: check the path")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what openpyxl leaves out: styles, validations
            book = openpyxl.load_workbook(place.where, read_only=True, data_only=True)
            try:
                yield book
            finally:
                book.close()
    except PofxError:
        raise
    except (BadZipFile, OSError, KeyError, ValueError, TypeError, SyntaxError, AttributeError) as error:
        raise CodecError(f"{place.where!r} cannot be read as a workbook, it is damaged: {error}") from error


def read_workbook(place: Place, header: str = "auto") -> "pa.Table":
    """The rows of a sheet; where none is named, of the only one that has any.

    header: whether the first row with cells names the columns. Rows without a cell are left out, cells of a failed
    formula are missing. Raises CodecError where several sheets have rows, for a sheet that is not there or is empty,
    and for a damaged file.
    """
    import pyarrow as pa

    if place.query is not None:
        raise CodecError("expected a sheet of a workbook, got a query: name the sheet (--sheet)")
    with _open(place) as book:
        name = place.sheet or place.table or _only(place, book)
        if name not in book.sheetnames:
            raise CodecError(f"expected a sheet of {place.where!r}, got {name!r}; it has {_shown(book)}")
        rows = _rows(book[name])
        head = list(islice(rows, 100))
        if not head:
            raise CodecError(f"expected rows in the sheet {name!r} of {place.where!r}, got none: give another")
        titles, first = _titles(head, header)
        columns = [Loose(title or f"column_{i + 1}") for i, title in enumerate(titles)]
        count = _fill(columns, iter(first), place) + _fill(columns, rows, place)
    if not count:
        raise CodecError(f"expected rows below the titles of the sheet {name!r} of {place.where!r}, got none")
    columns = [column for column, title in zip(columns, titles, strict=True) if title or not column.empty]
    mixed = ", ".join(filter(None, (column.mixed for column in columns)))
    notes = {"mixed types": f"{mixed}: read as texts"} if mixed else {}
    names = [column.name for column in columns]
    table = pa.Table.from_arrays([_dates(column.column()) for column in columns], names=unique(names))
    return labelled(table, names, "xlsx", notes=notes, of=name)


def _titles(head: list[tuple[Any, ...]], header: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """(the titles of the columns, empty where there are none; those of the first rows that are no titles)."""
    width = max(map(len, head))
    texts = [["" if cell is None else str(cell) for cell in [*row, *[None] * (width - len(row))]] for row in head]
    if header == "yes" or (header == "auto" and _titled(head, texts)):
        return texts[0], head[1:]
    return [""] * width, head


def _rows(sheet: Any) -> Iterator[tuple[Any, ...]]:
    """The rows that have a cell, without empty cells at their end."""
    sheet.reset_dimensions()  # what a file says of its size is often wrong
    for row in sheet.iter_rows(values_only=True):
        cells = [None if cell in ERRORS or cell == "" else cell for cell in row]
        while cells and cells[-1] is None:
            cells.pop()
        if cells:
            yield tuple(cells)


def _titled(head: list[tuple[Any, ...]], texts: list[list[str]]) -> bool:
    """Whether the first row names columns: texts alone, above cells of other types or texts that look unlike it."""
    if not all(cell is None or isinstance(cell, str) for cell in head[0]):
        return False
    typed = any(cell is not None and not isinstance(cell, str) for row in head[1:] for cell in row)
    return typed or has_header(texts)


def _fill(columns: list[Loose], rows: Iterator[tuple[Any, ...]], place: Place) -> int:
    """Adds rows to columns, and says how many. Raises CodecError for a row with more cells than there are columns."""
    width, count = len(columns), 0
    while batch := list(islice(rows, BATCH)):
        for row in batch:
            if len(row) > width:
                raise CodecError(
                    f"expected {width:,} cells in each row of {place.where!r}, got {len(row):,} in one, with "
                    f"{str(row[width:][-1])!r} at its end: keep tables apart, one a sheet"
                )
        for i, column in enumerate(columns):
            column.add([_cell(row[i]) if i < len(row) else None for row in batch])
        count += len(batch)
    return count


def _cell(cell: Any) -> Any:
    return str(cell) if isinstance(cell, dt.timedelta) else cell


def _dates(cells: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """Moments that are all at midnight, as dates."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_timestamp(cells.type):
        days = cells.cast(pa.date32(), safe=False)
        return days if pc.all(pc.equal(days.cast(cells.type), cells)).as_py() else cells
    return cells


def _only(place: Place, book: Any) -> str:
    full = [name for name in book.sheetnames if next(_rows(book[name]), None) is not None]
    if len(full) > 1:
        raise CodecError(
            f"expected one sheet in {place.where!r}, got {len(full):,}: {_shown(book)}; name one (--sheet, #sheet)"
        )
    return full[0] if full else book.sheetnames[0]


def _shown(book: Any) -> str:
    return ", ".join(f"{name!r} ({sum(1 for _ in _rows(book[name])):,} rows)" for name in book.sheetnames[:20])


# -- out ---------------------------------------------------------------------------------------------------------------


def check_workbook(place: Place) -> None:
    """Raises CodecError for a workbook that is there already and is not to be replaced, Unsupported for additions."""
    check_folder(Path(place.where))
    if place.if_exists == "append":
        raise Unsupported("expected a workbook to be written whole, got append: write another, or --if-exists replace")
    if Path(place.where).exists() and place.if_exists == "refuse":
        raise CodecError(
            f"expected a new workbook, got {place.where!r}, which is there: name another, or replace all of it "
            "(--if-exists replace)"
        )


def write_workbook(tables: "Iterable[pa.Table]", place: Place, like: "TableCodec | None") -> int:
    """Writes tables one after another into one sheet of a new workbook; the number of rows.

    Decimals show as many digits as they have; moments with a zone are written in UTC, which a sheet cannot say; whole
    numbers too long for a sheet become texts. Raises CodecError for more rows than a sheet has, and as
    `check_workbook`.
    """
    check_workbook(place)
    book = openpyxl.Workbook(write_only=True)
    name = (place.sheet or place.table or "Sheet1")[:31]
    try:
        sheet = book.create_sheet(name)
    except ValueError as error:
        raise CodecError(f"expected the name of a sheet, got {name!r}: {error}") from error
    try:
        rows = _filled(sheet, tables, like)
    except BaseException:
        sheet.close()
        raise
    with placed(Path(place.where)) as file:
        book.save(file)
    return rows


def _filled(sheet: Any, tables: "Iterable[pa.Table]", like: "TableCodec | None") -> int:
    """Titles and rows of tables into a sheet; the number of rows."""
    rows, titled = 0, False
    for table in tables:
        plain = storable(like.typed(table) if like is not None else table)
        if not titled:
            sheet.append([_text(sheet, title) for title in plain.column_names])
            titled = True
        rows += plain.num_rows
        if rows >= LONGEST:
            raise CodecError(f"expected {LONGEST - 1:,} rows at most in a sheet, got more: write .csv or .parquet")
        columns = [_written(column, sheet) for column in plain.columns]
        for row in zip(*columns, strict=True):
            sheet.append(row)
    return rows


def _written(column: "pa.ChunkedArray", sheet: Any) -> list[Any]:
    """Cells as a sheet takes them."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_timestamp(kind) and kind.tz:
        column = column.cast(pa.timestamp("us", "UTC")).cast(pa.timestamp("us"))
    cells = column.to_pylist()
    if pa.types.is_decimal(kind):
        form = "0." + "0" * kind.scale if kind.scale > 0 else "0"
        return [None if cell is None else _formed(sheet, cell, form) for cell in cells]
    if pa.types.is_integer(kind):
        return [str(cell) if cell is not None and abs(cell) > EXACT else cell for cell in cells]
    if pa.types.is_floating(kind):
        return [None if cell is None or cell != cell else cell for cell in cells]
    if pa.types.is_temporal(kind):
        return [None if cell is None else _moment(sheet, cell) for cell in cells]
    return [_text(sheet, cell) if isinstance(cell, str) else cell for cell in cells]


def _moment(sheet: Any, cell: Any) -> Any:
    """A date or time; the text of one before 1900, where the days of a sheet begin."""
    if getattr(cell, "year", 1900) < 1900:
        return str(cell)
    return _formed(sheet, cell, _FORMS[type(cell)])


def _text(sheet: Any, text: str) -> Any:
    """A text that is no formula, whatever it begins with, and without characters that a sheet cannot hold."""
    text = ILLEGAL_CHARACTERS_RE.sub("", text)
    if not text.startswith("="):
        return text
    cell = WriteOnlyCell(sheet, text)
    cell.data_type = "s"
    return cell


def _formed(sheet: Any, value: Any, form: str) -> Any:
    cell = WriteOnlyCell(sheet, value)
    cell.number_format = form
    return cell
