"""Columns as databases and workbooks can hold them."""

from typing import TYPE_CHECKING

from .tabular_io import look

if TYPE_CHECKING:
    import pyarrow as pa

DIGITS = 38  # of the decimals that every database here has


def in_sql(name: str) -> str:
    """A name as SQL has it: in quotes, those in it twice."""
    return '"' + name.replace('"', '""') + '"'


def storable(table: "pa.Table") -> "pa.Table":
    """The table with plain columns alone: levels as their values, moments in microseconds, texts where cells have no
    type or are made of parts; under the titles that columns had.
    """
    import pyarrow as pa

    names = [str(title) for title in look(table).get("titles", table.column_names)]
    names = names if len(set(names)) == len(names) else table.column_names
    return pa.table([_plain(column) for column in table.columns], names=names)


def _plain(column: "pa.ChunkedArray") -> "pa.ChunkedArray":
    import pyarrow as pa

    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], kind)
    if pa.types.is_dictionary(kind):
        return _plain(column.cast(kind.value_type))
    if pa.types.is_nested(kind) or pa.types.is_interval(kind):
        texts = [None if cell is None else str(cell) for cell in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])
    for test, wanted in (
        (pa.types.is_null, pa.string()), (pa.types.is_large_string, pa.string()),
        (pa.types.is_string_view, pa.string()), (pa.types.is_large_binary, pa.binary()),
        (pa.types.is_float16, pa.float32()), (pa.types.is_date64, pa.date32()), (pa.types.is_duration, pa.int64()),
        (pa.types.is_time, pa.time64("us")), (pa.types.is_uint64, pa.decimal128(20, 0)),
    ):  # fmt: skip
        if test(kind):
            return column.cast(wanted, safe=False)
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp("us", kind.tz), safe=False)
    if pa.types.is_decimal(kind) and (kind.precision > DIGITS or kind.bit_width != 128):
        small = kind.precision <= DIGITS and kind.scale >= 0
        return column.cast(pa.decimal128(kind.precision, kind.scale) if small else pa.float64())
    return column
