"""One column's plan: how it is read into stored values, why so, and how it is written back."""

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field as entry
from typing import TYPE_CHECKING, Any

import numpy as np

from ..field import Field
from ..fields import Category, Number

if TYPE_CHECKING:
    import pyarrow as pa

MARKERS = ("", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "<NA>", "NaT", "#N/A", "#NA")
UNKNOWN = ("?", "-", "--", ".", "*", " ")
INFINITE = ("inf", "-inf", "+inf", "Inf", "-Inf", "Infinity", "-Infinity")


@dataclass
class ColumnPlan:
    """How one column is read and written.

    name is unique, title is what stands in the file; how: the kind of its field, or constant, derived, duplicate, key,
    dropped; why: in words; dtype: the Arrow type; missing: the text that marks a missing cell, None where the
    container has missing cells of its own; share: of missing cells; reading: number, moment, levels, key or blank,
    which names the functions at the end of readings.py; form: their plain arguments; values: the levels in the
    column's own type; source: of a derived column, its determinant.
    """

    name: str
    title: Any
    how: str
    why: str
    type: "pa.DataType"
    missing: str | None = None
    share: float = 0.0
    examples: tuple[str, ...] = ()
    reading: str = "levels"
    form: dict[str, Any] = entry(default_factory=dict)
    values: Any = None
    field: Field | None = None
    source: str | None = None

    @property
    def dtype(self) -> str:
        """The Arrow type of the column, in words."""
        return str(self.type)

    @property
    def decimals(self) -> int:
        """Decimals of a number; 0 for all else."""
        return self.field.decimals if isinstance(self.field, Number) else 0

    @property
    def levels(self) -> Sequence[str]:
        """The texts of the levels, in the order of their codes."""
        return self.field.levels if isinstance(self.field, Category) else self.form.get("levels", ())

    @property
    def modelled(self) -> bool:
        """Whether the column is a field of the Spec."""
        return self.field is not None and self.source is None

    @property
    def whole(self) -> bool:
        """Whether stored values are int64."""
        return self.form.get("whole", False)

    def parse(self, column: "pa.ChunkedArray") -> np.ndarray:
        """Stored values of a column's cells; CodecError for a cell that cannot be read."""
        return _functions(self.reading)[0](self, column)

    def render(self, stored: np.ndarray, first: int = 0) -> "pa.Array":
        """The cells of stored values in the column's own type; `first` is the number of the first row."""
        return _functions(self.reading)[1](self, stored, first)

    def plain(self, stored: np.ndarray, first: int = 0) -> "pa.Array":
        """The cells as numbers, dates, truth values or texts with missing cells, whatever the column's own type."""
        return _functions(self.reading)[2](self, stored, first)


def is_text(kind: "pa.DataType") -> bool:
    """Whether cells of this Arrow type are texts."""
    import pyarrow as pa

    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def single(column: "pa.ChunkedArray | pa.Array") -> "pa.Array":
    """The column as one array, of values where it was a dictionary."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def as_texts(column: "pa.ChunkedArray | pa.Array") -> "pa.Array":
    """The cells as texts, large_string; whole numbers without decimals, whatever their type."""
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = single(column)
    if pa.types.is_boolean(cells.type):
        return pc.if_else(cells, "True", "False").cast(pa.large_string())
    if pa.types.is_floating(cells.type):
        cells = pc.if_else(pc.is_nan(cells.cast(pa.float64())), None, cells.cast(pa.float64()))
    if pa.types.is_nested(cells.type) or pa.types.is_binary(cells.type) or pa.types.is_large_binary(cells.type):
        return pa.array([None if cell is None else str(cell) for cell in cells.to_pylist()], pa.large_string())
    return cells.cast(pa.large_string())


def coded(column: "pa.ChunkedArray") -> "tuple[pa.Array, np.ndarray]":
    """(texts, codes): the different texts of a column, and the code of each cell, -1 where it is null."""
    import pyarrow.compute as pc

    encoded = as_texts(column).dictionary_encode()
    return encoded.dictionary, pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)


def amiss(texts: "pa.Array", more: tuple[str, ...] = ()) -> np.ndarray:
    """Which texts mark a missing cell."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.is_in(texts, pa.array([*MARKERS, *more], pa.large_string())).to_numpy(zero_copy_only=False)


def keep(texts: "pa.Array", mask: np.ndarray) -> "pa.Array":
    """The texts where the mask holds."""
    import pyarrow as pa

    return texts.filter(pa.array(mask))


def _functions(reading: str) -> Any:
    from .readings import READINGS

    return READINGS[reading]
