"""Laws made of simpler ones: the joint law of a condition; an autoencoder with any model as the law of its codes."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from .errors import SpecError, Unsupported
from .field import Field
from .fields import Real
from .models import create
from .models.model import Model, Rows, who_can
from .spec import Columns, Given, Spec
from .training.loop import Trainer

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
        """Counts the cells of c, of rows of which all of it was seen.

        Raises SpecError for more than 4,096 of them, or none.
        """
        parts = [f.encode(c[f.name], f.tokens(BINS)) for f in fields]
        seen = np.all([p[2] for p in parts], 0)
        if not seen.any():
            raise SpecError("expected rows of which the whole condition is known, got none: name fewer columns")
        token = np.stack([p[0] for p in parts], 1)[seen]
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
        """log p(c), (n,), in the house measure; a cell combination never seen has mass 1/(n+1).

        Where a part of c was not seen, what is known of the others counts.
        """
        parts = [f.encode(c[f.name], f.tokens(BINS)) for f in self.fields]
        token = np.stack([p[0] for p in parts], 1)
        seen = np.stack([p[2] for p in parts], 1)
        keys = {tuple(cell): count for cell, count in zip(self.cells.tolist(), self.counts, strict=True)}
        count = np.array([keys.get(tuple(t), 0.0) for t in token.tolist()])
        for i in np.flatnonzero(~seen.all(1)):
            count[i] = self.counts[((self.cells == token[i]) | ~seen[i]).all(1)].sum()
        n = self.counts.sum()
        together = np.where(seen.any(1), np.log(np.where(count > 0, count, 1.0) / (n + 1)), 0.0)
        return together + np.stack([p[1] for p in parts], 1).sum(1)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The arrays that rebuild it, beside the fields."""
        return {"cells": self.cells, "counts": self.counts}

    @classmethod
    def from_arrays(cls, fields: tuple[Field, ...], arrays: dict[str, Any]) -> Self:
        """What `to_arrays` gave."""
        return cls(fields, arrays["cells"], arrays["counts"])


DECIMALS = 4  # of a code's numbers, as the law of codes sees them


class Latent(Model):
    """x = d(z), z from a model of the codes: any autoencoder with any law of tables as its prior, fitted afterwards.

    `learn` encodes rows and fits the prior, by name, to their codes as a table of real numbers. A deterministic
    autoencoder can then be sampled; a variational one gets the prior that its codes really have (two stages). Noise:
    that of the prior. `decode` gives the centre of p(x|z).

    Paper: Dai, Wipf 2019, Diagnosing and Enhancing VAE Models; Ghosh et al. 2020, From Variational to Deterministic
    Autoencoders (a mixture of Gaussians fitted afterwards).

        >>> Latent.learn(autoencoder, columns, prior="mixture")  # doctest: +SKIP
    """

    family = "autoencoders"
    abilities = frozenset({"sample", "encode", "express"})

    def __init__(self, autoencoder: Model, prior: Model) -> None:
        super().__init__(autoencoder.spec)
        self.autoencoder, self.prior, self.name = autoencoder, prior, "latent"

    @classmethod
    def learn(
        cls, autoencoder: Model, x: Columns, prior: str = "mixture", *, seed: int = 0, steps: int | None = None,
        **config: Any,
    ) -> Self:  # fmt: skip
        """The autoencoder with this law of its codes of x. Raises Unsupported where it has no codes or no way back."""
        if not autoencoder.abilities >= {"encode", "express"}:
            raise Unsupported(f"model {autoencoder.name!r} has no codes: these have: {', '.join(who_can('express'))}")
        if autoencoder.spec.condition:
            raise SpecError("expected an autoencoder without a condition, whose codes have one law: fit without it")
        codes = cls._table(autoencoder.encode(x))
        spec = Spec.table(tuple(Real.learn(name, v, DECIMALS) for name, v in codes.items()))
        law = create(prior, spec, seed, **config)
        if law.trained:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                trainer = Trainer(law, law.prepare(codes), None, seed, "cpu")
                trainer.run(steps or trainer.recipe.steps)
        else:
            law.fit_closed(codes)
        return cls(autoencoder, law.eval())

    @staticmethod
    def _table(z: Tensor) -> Columns:
        return {f"z{j}": np.round(z[:, j].double().numpy(), DECIMALS) for j in range(z.shape[1])}

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        return self.prior.noise(n, generator)

    def decode(
        self, z: Tensor, c: Columns | None = None, given: Given | None = None, known: Rows | None = None
    ) -> Columns:
        for what, asked in (("given", given), ("known", known)):
            if asked:
                raise self._cannot(what)
        codes = self.prior.decode(z)
        return self.autoencoder.express(torch.from_numpy(np.stack(list(codes.values()), 1)))

    def encode(self, x: Columns, c: Columns | None = None) -> Tensor:
        return self.autoencoder.encode(x)

    def express(self, z: Tensor, c: Columns | None = None) -> Columns:
        return self.autoencoder.express(z)
