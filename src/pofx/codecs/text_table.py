"""Text that lies in a column of a table, with labels in another; and what text of any source is."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import CodecError, SpecError
from .picture_io import labels_of
from .tabular_io import read_table
from .text_io import Texts, holds_text, read_texts


def opened_texts(
    source: Any, *, encoding: str | None = None, document: str = "auto", column: str | None = None,
    label: str | None = None, labels: Any = None, least: int = 2,
) -> tuple[Texts, str]:  # fmt: skip
    """(texts, kind of container) of what `read_texts` reads, with `labels` of lines, one each; or of a table.

    column: of a table, the one with the text: by default that of strings which are longest on average; label: the one
    with labels, if any. Cells without text are left out, and so are blank lines with their labels. Raises CodecError
    for a column that is not there or holds no strings, and another number of labels than lines; SpecError for columns
    of what is no table, and labels of a document.
    """
    if holds_text(source) or (isinstance(source, list | tuple) and not source):
        if column is not None or label is not None:
            raise SpecError("expected column and label of a table alone, got those of lines: leave them out")
        if labels is None:
            return read_texts(source, encoding=encoding, document=document, least=least)
        if document == "yes" or not isinstance(source, list | tuple):
            raise SpecError("expected labels of a list of lines alone: give a table with a column of them otherwise")
        return _labelled(list(source), labels_of(labels, len(source)), least), "list"
    if labels is not None:
        raise SpecError("expected labels of a list of lines alone, got those of a table: name their column")
    table, kind = read_table(source, **({} if encoding is None else {"encoding": encoding}))
    names = table.column_names
    for name in (column, label):
        if name is not None and name not in names:
            raise CodecError(
                f"expected a column among {', '.join(map(repr, names[:20]))}, got {name!r}: check its name"
            )
    column = _longest(table, label) if column is None else column
    cells = table.column(column).to_pylist()
    if not all(cell is None or isinstance(cell, str) for cell in cells):
        raise CodecError(f"expected strings in column {column!r}, got others: name another column")
    told = labels_of(table.column(label).to_pylist(), len(cells)) if label is not None else None
    texts = _labelled([cell or "" for cell in cells], told, least)
    return replace(texts, column=column, label=label or texts.label), kind


def _labelled(lines: Sequence[str], labels: np.ndarray | None, least: int) -> Texts:
    keep = np.array([bool(line.strip()) for line in lines], bool)
    texts, _ = read_texts([line for line, yes in zip(lines, keep, strict=True) if yes], document="no", least=least)
    if gone := int((~keep).sum()):
        texts.notes["blank lines"] = f"{gone:,} dropped"
    return replace(texts, labels=None if labels is None else labels[keep])


def _longest(table: Any, label: str | None) -> str:
    """The column of strings that are longest on average, but for the labels'."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kinds = {field.name: field.type for field in table.schema if field.name != label}
    strings = [name for name, kind in kinds.items() if pa.types.is_string(kind) or pa.types.is_large_string(kind)]
    sizes = {name: pc.mean(pc.utf8_length(table.column(name))).as_py() or 0.0 for name in strings}
    if not sizes:
        raise CodecError(f"expected a column of text, got {', '.join(map(repr, table.column_names[:20]))}")
    return max(sizes, key=lambda name: sizes[name])
