"""Texts put together cell by cell, by Arrow."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def glue(*parts: "pa.Array | str", gap: str = "") -> "pa.Array":
    """The texts of several columns and constants joined in each row, with `gap` between them; large_string."""
    import pyarrow as pa
    import pyarrow.compute as pc

    cells: list[Any] = [
        pa.scalar(part, pa.large_string()) if isinstance(part, str) else part.cast(pa.large_string())
        for part in (*parts, gap)
    ]
    return pc.binary_join_element_wise(*cells)
