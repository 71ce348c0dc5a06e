"""The verb `edit`: rows and images with another label, by the condition of a model or along a direction of codes."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from .codecs.picture_io import labels_of
from .coding import Coding
from .errors import CodecError, SpecError
from .fields import Category
from .models.coded import rows_of
from .spec import Columns

LEAST = 5  # examples of a label that have a mean
MOST = 1000  # examples of a side, evenly spread: the mean of their codes errs by a thirtieth of a code's deviation
FAR = 1000  # of an amount: beyond it rows may be no numbers any more
SHOWN = 20  # labels that an error names

Examples = tuple[np.ndarray, Columns, Columns | None]
"""The label of each example as a text, None where missing, object (n,); stored columns; those of the condition."""


class Editing(Coding):
    """What `Fitted` can do with codes and labels."""

    def edit(
        self,
        source: Any,
        labels: Any = None,
        *,
        toward: Any,
        away: Any = None,
        amount: float = 1.0,
        by: str | None = None,
        path: str | Path | None = None,
        allow_failed: bool = False,
    ) -> Any:
        """The rows or images as the label `toward` would have them, in the kind of container that came.

        Where the label is the condition c of the model, a row is encoded with its own label and decoded with the other,
        x' = centre of p(x | z(x, c), toward): `toward` says all. Elsewhere the code moves along a direction,

            z' = z + amount (mean code of `toward` - mean code of `away`, or of all other labels),

        found on `labels`: images with labels, as a fit reads them, or a table with the column `by`; by default on what
        the model was trained on, where that has labels. Examples without a label are passed over. by: of tables, the
        column of labels (default: the only column of the condition).

        Raises Unsupported for a model without codes that can be moved and decoded, CodecError for a label that is not
        there, examples without labels and fewer than 5 of a side, SpecError for `labels`, `away` or an `amount` where
        the condition is changed, an `amount` beyond +-1,000, a `toward` that is missing, `away` that is `toward`, and
        no `by` where it is needed; Failed where the fit did.
        """
        if "encode" not in self.model.abilities:
            raise self.model._cannot("interpolate")
        name, text = self._label_named(by), _text(toward)
        conditional = self.joint is not None and any(f.name == name for f in self.joint.fields)
        whole = conditional and "express" in self.model.abilities  # symbols have nothing between them, but a condition
        self._makes("express" if whole else "interpolate", allow_failed)
        if conditional and (labels is not None or away is not None or amount != 1):
            raise SpecError(
                f"expected toward alone, since {name!r} is the condition of this model, which is changed: leave "
                "labels, away and amount out"
            )
        if text is None or not (isinstance(amount, int | float) and abs(amount) <= FAR):
            raise SpecError(
                f"expected toward as a label and an amount from {-FAR} to {FAR}, got {toward!r} and {amount!r}: 1 goes "
                "from one mean to the other"
            )
        _, kind, x, c = self._read(source)
        z, c = self._codes(x, c)
        if c and conditional:
            c = c | {name: np.repeat(self._stored_label(name, text), len(z))}
        else:
            z = z.double() + amount * self._direction(labels, name, text, _text(away))
        return self._given_out(self.model.express(z, c) | (c or {}), kind, path)

    def _codes(self, x: Columns, c: Columns | None) -> tuple[Tensor, Columns | None]:
        """(codes, the condition, the likeliest where it is missing)."""
        own = self._own(x)
        c = self.model.settled(own, c)
        return self.model.encode(own, c), c

    def _direction(self, labels: Any, name: str, toward: str, away: str | None) -> Tensor:
        """From the mean code of the others to that of `toward`, float64 (latent,)."""
        if toward == away:
            raise SpecError(f"expected away as another label than toward, got {toward!r} twice: leave away out")
        names, x, c = self._examples(labels, name)
        there = np.array([label is not None for label in names], bool)
        if not there.any():
            raise CodecError("expected examples with labels, got none: give labels (--labels)")
        for label in (toward, *([] if away is None else [away])):
            _among(label, names[there])
        sides = {toward: names == toward, away or f"other than {toward}": names == away if away else names != toward}
        centres = []
        for label, side in sides.items():
            at = np.flatnonzero(side & there)
            if len(at) < LEAST:
                raise CodecError(f"expected {LEAST} examples or more of label {label!r}, got {len(at)}: give more")
            at = at[np.linspace(0, len(at) - 1, min(len(at), MOST)).astype(int)]
            centres.append(self._codes({k: v[at] for k, v in x.items()}, rows_of(c, at))[0].double().mean(0))
        return centres[0] - centres[1]

    def _stored_label(self, name: str, text: str) -> np.ndarray:
        """The stored value of a label of the condition, (1,)."""
        import pyarrow as pa

        field = next(f for f in self.joint.fields if f.name == name)
        if isinstance(field, Category):
            _among(text, field.levels)
        return self._condition_of({name: pa.chunked_array([pa.array([text], pa.large_string())])})[name]

    def _label_named(self, by: str | None) -> str:
        """The name of the column of labels."""
        raise NotImplementedError

    def _examples(self, labels: Any, name: str) -> Examples:
        """Labelled examples, by default those of the training."""
        raise NotImplementedError


def _text(label: Any) -> str | None:
    """A label as a text, whole numbers without decimals; None where it is missing."""
    (found,) = labels_of([label], 1)
    return None if found is None else str(found)


def _among(label: str, there: Iterable[str]) -> None:
    names = sorted(set(there))
    if label not in names:
        shown = ", ".join(map(repr, names[:SHOWN])) + (", ..." if len(names) > SHOWN else "")
        raise CodecError(f"expected a label among {shown}, got {label!r}: take one of them")
