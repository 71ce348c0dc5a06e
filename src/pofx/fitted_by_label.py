"""`FittedByLabel`: what models of examples with one label share, whether images, text or sounds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .bundle import Fitted
from .codecs.picture_io import labels_of
from .errors import Unsupported
from .spec import Columns, Given


class FittedByLabel(Fitted):
    """A fitted model whose condition, if any, is one label, named `codec.label`."""

    examples = ""  # what they are called, and that they were

    def _given(self, given: Sequence[str] | str | Mapping[str, Any] | None) -> Given | None:
        if not given:
            return None
        if not self.joint:
            raise Unsupported(f"{self.examples} learned without labels, which conditions are on: leave given out")
        return self.codec.given([given] if isinstance(given, str) else given)

    def _extra(self, rows: Any, c: Columns | None) -> np.ndarray | float:
        """log p(c), 0 where the label is missing."""
        return self.joint.log_prob(c) if self.joint and c else 0.0

    def _cells_of(self, c: Columns) -> dict[str, Any]:
        return {self.codec.label: self.codec.labels(c[self.codec.label]).tolist()}

    def _condition_of(self, cells: dict[str, Any]) -> Columns:
        labels = cells[self.codec.label].to_pylist()
        return {self.codec.label: self.codec.codes(labels_of(labels, len(labels)).tolist(), strict=True)}
