"""Infinite numbers, which no field can hold: they are looked for in all rows, before any part of these is learned."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import CodecError
from .columns import INFINITE, MARKERS, UNKNOWN, is_text, keep, single
from .numerals import read_numbers

if TYPE_CHECKING:
    import pyarrow as pa

FREE = ("category", "boolean", "ordinal", "datetime", "key", "drop")  # kinds that need no numbers


def refuse_infinite(table: "pa.Table", asked: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises CodecError for the first column of numbers with an infinite one, and names its row, from 1 on.

    Among texts, "inf" is a number where all others are numbers or missing.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    for name, column in zip(table.column_names, table.columns, strict=True):
        if asked.get(name, {}).get("kind") in FREE or pa.types.is_dictionary(column.type):
            continue
        if pa.types.is_floating(column.type):
            odd = pc.is_inf(column.cast(pa.float64()))
        elif is_text(column.type):
            odd = pc.is_in(column, pa.array(INFINITE, column.type))
            if pc.any(odd).as_py():
                others = pc.drop_null(single(pc.unique(column))).cast(pa.large_string())
                words = pa.array((*INFINITE, *MARKERS, *UNKNOWN), pa.large_string())
                others = keep(others, ~pc.is_in(others, words).to_numpy(zero_copy_only=False))
                odd = odd if len(others) and read_numbers(others) is not None else pa.array([False])
        else:
            continue
        if pc.any(odd).as_py():
            raise infinite_cells(name, pc.index(odd, True).as_py())


def infinite_cells(name: str, row: int) -> CodecError:
    """The error for a column with infinite values."""
    return CodecError(
        f"column {name!r} holds infinite values, the first in row {row + 1}: replace them by missing or by a number"
    )
