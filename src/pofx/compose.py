"""Laws made of simpler ones: the joint law of a condition, kept so that a conditional model can draw whole rows."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from .errors import SpecError
from .field import Field
from .spec import Columns, Given

CELLS = 4096  # more joint cells than this are too many to be counted well
BINS = 32  # a number in a condition is counted by its bin


@dataclass(frozen=True)
class Joint:
    """p(c) by counting: the joint cells of the condition's tokens seen in training, and how often each was."""

    fields: tuple[Field, ...]
    cells: np.ndarray
    counts: np.ndarray

    @classmethod
    def learn(cls, fields: tuple[Field, ...], c: Columns) -> Self:
        """Counts the cells of c.

        Raises SpecError for more than 4,096 of them.
        """
        token = np.stack([f.encode(c[f.name], f.tokens(BINS))[0] for f in fields], 1)
        cells, counts = np.unique(token, axis=0, return_counts=True)
        if len(cells) > CELLS:
            names = ", ".join(repr(f.name) for f in fields)
            raise SpecError(
                f"the condition {names} has {len(cells)} joint cells, at most {CELLS} can be counted: name fewer"
            )
        return cls(fields, cells.astype(np.int64), counts.astype(np.float64))

    def sample(self, n: int, rng: np.random.Generator, given: Given | None = None) -> Columns:
        """n draws of c, under the conditions that name its fields."""
        tokens, weight = [f.tokens(BINS) for f in self.fields], self.counts.copy()
        for j, field in enumerate(self.fields):
            if given and field.name in given:
                whole, tokens[j] = tokens[j].marginal, field.allow(tokens[j], given[field.name])
                weight *= (tokens[j].marginal / np.maximum(whole, 1e-300)).reshape(-1)[self.cells[:, j]]
        if weight.sum() <= 0:
            names = ", ".join(repr(f.name) for f in self.fields)
            raise SpecError(f"no training row meets the conditions on {names} together: relax one of them")
        pick = self.cells[rng.choice(len(weight), n, p=weight / weight.sum())]
        return {f.name: f.decode(pick[:, j], rng.random(n), tokens[j]) for j, f in enumerate(self.fields)}

    def log_prob(self, c: Columns) -> np.ndarray:
        """log p(c), (n,), in the house measure; a cell combination never seen has mass 1/(n+1)."""
        parts = [f.encode(c[f.name], f.tokens(BINS)) for f in self.fields]
        token = np.stack([p[0] for p in parts], 1)
        seen = np.stack([p[2] for p in parts], 1)
        keys = {tuple(cell): count for cell, count in zip(self.cells.tolist(), self.counts, strict=True)}
        count = np.array([keys.get(tuple(t), 0.0) for t in token.tolist()])
        n = self.counts.sum()
        together = np.where(seen.all(1), np.log(np.where(count > 0, count, 1.0) / (n + 1)), 0.0)
        return together + np.stack([p[1] for p in parts], 1).sum(1)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The arrays that rebuild it, beside the fields."""
        return {"cells": self.cells, "counts": self.counts}

    @classmethod
    def from_arrays(cls, fields: tuple[Field, ...], arrays: dict[str, Any]) -> Self:
        """What `to_arrays` gave."""
        return cls(fields, arrays["cells"], arrays["counts"])
