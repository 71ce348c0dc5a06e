"""Moments as the time that passed: since the earlier sibling, the parent, or another column of the same row."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from ..field import MISSING, Field
from ..fields import Datetime, Integer
from ..spec import Columns


@dataclass(frozen=True)
class Passing:
    """A column t of moments, told as what passed since a base b where there is one:

    after = t - b  where t and b are there,   at = t  where b is not;   t = b + after or at.

    Exactly invertible. `source` is the column of the same row that is the base, or None where the base comes from
    the earlier sibling or the parent. `has`: which of the two columns some training row has; `sure`: whether t is
    never missing; `centre`: what stands for a base that never was missing in training, and is.
    """

    name: str
    source: str | None
    has: tuple[str, ...]
    sure: bool
    centre: int

    @classmethod
    def learn(cls, field: Field, source: str | None, v: np.ndarray, base: np.ndarray) -> tuple[Self, list[Field]]:
        """The column and its fields, of moments v and bases of training rows."""
        there, based = v != MISSING, base != MISSING
        fields: list[Field] = []
        has = []
        made = cls(field.name, source, (), bool(there.all()), int(np.median(v[there])) if there.any() else 0)
        for word, where in (("after", there & based), ("at", there & ~based)):
            if where.any():
                x = made.encode(v, base)[f"{word}:{field.name}"]
                absolute = isinstance(field, Datetime) and word == "at"
                kind: Any = Datetime if absolute else Integer
                unit = {"unit": getattr(field, "unit", "s")} if absolute else {}
                fields.append(kind.learn(f"{word}:{field.name}", x, **unit))
                has.append(word)
        return cls(made.name, source, tuple(has), made.sure, made.centre), fields

    def encode(self, v: np.ndarray, base: np.ndarray) -> Columns:
        """The two columns, those that some training row has."""
        there, based = v != MISSING, base != MISSING
        after = np.where(there & based, v - np.where(based, base, 0), MISSING)
        out = {f"after:{self.name}": after, f"at:{self.name}": np.where(based, MISSING, v)}
        return {k: x for k, x in out.items() if not self.has or k.partition(":")[0] in self.has}

    def decode(self, x: Columns, base: np.ndarray) -> np.ndarray:
        """The moments."""
        after, at = x.get(f"after:{self.name}"), x.get(f"at:{self.name}")
        if after is None:
            return at if at is not None else np.full(len(base), MISSING)
        based = base != MISSING
        start = np.where(based, base, self.centre)
        moved = np.where(after == MISSING, MISSING, start + np.where(after == MISSING, 0, after))
        return moved if at is None else np.where(based, moved, at)

    def idle(self, base: np.ndarray) -> dict[str, np.ndarray]:
        """Of each of the two columns, the rows in which it says nothing, where both are there."""
        based = base != MISSING
        return {f"after:{self.name}": ~based, f"at:{self.name}": based} if len(self.has) == 2 else {}

    def to_json(self) -> list[Any]:
        """Plain values that rebuild it."""
        return [self.name, self.source, list(self.has), self.sure, self.centre]

    @classmethod
    def from_json(cls, told: list[Any]) -> Self:
        """What `to_json` gave."""
        return cls(told[0], told[1], tuple(told[2]), told[3], told[4])
