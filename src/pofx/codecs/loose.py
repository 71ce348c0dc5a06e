"""Columns whose cells have each a type of its own, as in SQLite and in workbooks: they become columns of one type."""

from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

_NAMES = {
    int: "whole numbers", float: "numbers", str: "texts", bytes: "blobs", bool: "truth values", datetime: "moments",
    date: "dates", time: "times",
}  # fmt: skip


class Loose:
    """A column as its cells arrive; `column` is the whole of it.

    Cells of one kind keep it, whole and other numbers become numbers, and any other mixture becomes texts, of which
    `mixed` tells: how many cells were of which kind.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.counts: Counter[type] = Counter()
        self.chunks: list[pa.Array] = []

    def add(self, cells: Sequence[Any]) -> None:
        """The next cells: None, bool, int, float, str, bytes, datetime, date or time each."""
        import pyarrow as pa

        counts = Counter(map(type, cells))
        self.counts += counts
        kind = one_type(set(counts))
        cells = list(map(as_text, cells)) if kind is None else cells
        self.chunks.append(pa.array(cells, pa.string() if kind is None else kind))

    @property
    def empty(self) -> bool:
        """Whether every cell is missing."""
        return set(self.counts) <= {type(None)}

    @property
    def mixed(self) -> str:
        """Which kinds of cells are mixed, empty where they are not."""
        return mixture(self.name, self.counts) if one_type(set(self.counts)) is None else ""

    def column(self) -> "pa.ChunkedArray":
        """All cells, in one type; of type null where every cell is missing."""
        import pyarrow as pa

        kind = one_type(set(self.counts))
        if kind is not None:
            return pa.chunked_array([chunk.cast(kind) for chunk in self.chunks], kind)
        texts = [chunk if pa.types.is_string(chunk.type) else _texts(chunk) for chunk in self.chunks]
        return pa.chunked_array(texts, pa.string())


def mixture(name: str, counts: Counter[type]) -> str:
    """A column and how many of its cells are of which kind, in words."""
    told = ", ".join(f"{n:,} {_NAMES[kind]}" for kind, n in counts.most_common() if kind in _NAMES)
    return f"{name!r} ({told})"


def one_type(kinds: set[type]) -> "pa.DataType | None":
    """The one type of cells of these kinds; None where there is none."""
    import pyarrow as pa

    kinds = kinds - {type(None)}
    if kinds == {int, float}:
        return pa.float64()
    if len(kinds) > 1:
        return None
    types = {
        int: pa.int64(), float: pa.float64(), str: pa.string(), bytes: pa.binary(), bool: pa.bool_(),
        datetime: pa.timestamp("us"), date: pa.date32(), time: pa.time64("us"),
    }  # fmt: skip
    return types[kinds.pop()] if kinds else pa.null()


def _texts(chunk: "pa.Array") -> "pa.Array":
    import pyarrow as pa

    return pa.array(map(as_text, chunk.to_pylist()), pa.string())


def as_text(cell: Any) -> str | None:
    """A cell of a column of mixed kinds."""
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "replace")
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15 else str(cell)
