"""independent: the product of the fields' own laws."""

import numpy as np
import torch
from torch import Tensor

from ...spec import Columns, Given
from ..model import Batch, Model, Rows


class Independent(Model):
    """p(x) = prod_j P_j(x_j), with P_j the law of the pieces of field j; the condition is ignored.

    noise: uniform (n, fields), float64; decode: x_j = F_j^-1(u_j), F_j the law cut to the allowed set where one is
    given. There is nothing to fit: the fields hold their laws. What it scores is the entropy that no relation between
    fields has lowered, the floor of every comparison.

        >>> pofx.fit("adult.csv", model="independent")  # doctest: +SKIP
    """

    family = "baselines"
    abilities = frozenset({"sample", "log_prob", "cells", "given", "known", "unknown"})
    trained = False

    def prepare(self, x: Columns, c: Columns | None = None) -> Batch:
        return (torch.from_numpy(self.cells(x)),)

    def fit_closed(self, x: Columns, c: Columns | None = None) -> None:
        """Nothing is left to learn."""

    def loss(self, batch: Batch, clock: object, generator: torch.Generator) -> Tensor:
        return -batch[0].sum(1)

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        size = (n, len(self.spec.fields))
        return torch.rand(size, generator=generator, dtype=torch.float64, device=generator.device)

    def decode(
        self, z: Tensor, c: Columns | None = None, given: Given | None = None, known: Rows | None = None
    ) -> Columns:
        x, given = {}, given or {}
        for j, (field, u) in enumerate(zip(self.spec.fields, z.cpu().numpy().T, strict=True)):
            tokens = field.tokens(1, whole=True)
            if field.name in given:
                tokens = field.allow(tokens, given[field.name])
            x[field.name] = field.decode(np.zeros(len(u), np.int64), u, tokens)
            if known is not None:
                x[field.name] = np.where(known[1][:, j], known[0][field.name], x[field.name])
        return x

    def cells(self, x: Columns, c: Columns | None = None) -> np.ndarray:
        return np.stack([field.log_prob(x[field.name]) for field in self.spec.fields], 1)

    def marginal(self, rows: Rows, c: Columns | None = None) -> np.ndarray:
        return np.where(rows[1], self.cells(rows[0]), 0.0).sum(1)


MODEL = Independent
