"""A column under examination, before it is decided how it is read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .columns import ColumnPlan, amiss, coded, is_text, single

if TYPE_CHECKING:
    import pyarrow as pa


class Draft:
    """A column under examination: its different texts with their counts, made when first asked for."""

    def __init__(self, name: str, title: Any, column: "pa.ChunkedArray", asked: Mapping[str, Any]) -> None:
        self.column, self.asked = column, asked
        self.plan = ColumnPlan(name, title, "", "", column.type)
        self.text = is_text(single(column).type)
        self.dictionary = str(column.type).startswith("dictionary")
        self.texts, self.codes = coded(column)
        self.counts = np.bincount(self.codes[self.codes >= 0], minlength=len(self.texts))
        self.nulls = int((self.codes < 0).sum())
        self.rows = len(column)

    @property
    def kind(self) -> str | None:
        """The kind that the user asks for."""
        return self.asked.get("kind")

    def gone(self, more: tuple[str, ...] = ()) -> np.ndarray:
        """Which texts count as missing: none where the container has missing cells of its own."""
        return amiss(self.texts, more) if self.text and not self.nulls else np.zeros(len(self.texts), bool)

    def mark(self, gone: np.ndarray) -> None:
        """Settles what marks a missing cell, and the examples."""
        counts = np.where(gone, self.counts, 0)
        if self.text and not self.nulls:
            self.plan.missing = self.texts[int(counts.argmax())].as_py() if counts.any() else ""
        self.plan.share = (int(counts.sum()) + self.nulls) / max(self.rows, 1)
        some = np.flatnonzero(~gone)
        common = some[np.argsort(-self.counts[some], kind="stable")[:3]]
        self.plan.examples = tuple(self.texts[int(i)].as_py() for i in common)
