"""The Spec: an example is named blocks of typed fields, each block over its own sites.

A codec produces it, a model obeys it. A table row is one block of many fields with no sites; the condition c is a Spec
of its own.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from .errors import SpecError
from .field import Allowed, Field
from .fields import from_meta
from .orders import Order

Columns = dict[str, np.ndarray]
"""Stored values by field name, all of one length."""

Given = dict[str, Allowed]
"""Conditions by field name: the set in which the field's value must lie."""


@dataclass(frozen=True)
class Block:
    """Fields that share their sites: a fixed size, or None where the size is free."""

    name: str
    fields: tuple[Field, ...]
    sites: tuple[int | None, ...] = ()


@dataclass(frozen=True)
class Spec:
    """Blocks of fields, and the Spec of the condition if there is one; orders that hold between fields of both."""

    blocks: tuple[Block, ...]
    condition: "Spec | None" = None
    orders: tuple[Order, ...] = ()

    def __post_init__(self) -> None:
        names = [field.name for field in (*self.fields, *(self.condition.fields if self.condition else ()))]
        if len(set(names)) < len(names):
            raise SpecError(f"expected fields of different names, got {names}")
        if not names:
            raise SpecError("expected at least one field to learn, got none: every column was dropped or derived")

    @classmethod
    def table(
        cls, fields: tuple[Field, ...], condition: tuple[Field, ...] = (), orders: tuple[Order, ...] = ()
    ) -> Self:
        """The Spec of a table's rows."""
        return cls((Block("row", fields),), cls((Block("condition", condition),)) if condition else None, orders)

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields of all blocks."""
        return tuple(field for block in self.blocks for field in block.fields)

    def field(self, name: str) -> Field:
        """The field of this name, the condition's included; SpecError names those there are."""
        both = (*self.fields, *(self.condition.fields if self.condition else ()))
        for field in both:
            if field.name == name:
                return field
        raise SpecError(f"expected one of the columns {', '.join(repr(f.name) for f in both)}, got {name!r}")

    def absent(self, x: Columns) -> np.ndarray:
        """Which cells are missing, (n, fields)."""
        return np.stack([field.absent(x[field.name]) for field in self.fields], 1)

    def split(self) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
        """Plain values and arrays that rebuild the Spec (`Spec.join`)."""
        both = [(block, False) for block in self.blocks]
        both += [(block, True) for block in self.condition.blocks] if self.condition else []
        header, arrays = [], {}
        for b, (block, of_condition) in enumerate(both):
            for f, field in enumerate(block.fields):
                arrays[f"field.{b}.{f}"] = np.stack([field.left, field.right, field.mass])
            fields = [field.meta() for field in block.fields]
            header.append({"name": block.name, "sites": list(block.sites), "condition": of_condition, "fields": fields})
        return header, arrays

    @classmethod
    def join(cls, header: list[dict[str, Any]], arrays: dict[str, np.ndarray]) -> Self:
        """The Spec that `split` took apart."""
        parts: tuple[list[Block], list[Block]] = ([], [])
        for b, meta in enumerate(header):
            fields = tuple(from_meta(m, arrays[f"field.{b}.{f}"]) for f, m in enumerate(meta["fields"]))
            parts[bool(meta["condition"])].append(Block(meta["name"], fields, tuple(meta["sites"])))
        return cls(tuple(parts[0]), cls(tuple(parts[1])) if parts[1] else None)
