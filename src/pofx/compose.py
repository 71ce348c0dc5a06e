"""Laws made of simpler ones: the joint law of a condition; an autoencoder with any model as the law of its codes."""

import math
from dataclasses import dataclass
from inspect import signature
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from .errors import SpecError, Unsupported
from .field import Field
from .fields import Category, Real
from .models import create, load_class
from .models.coded import Bound, rows_of, stem_of
from .models.model import Model, Rows, spans, who_can
from .models.variational import Variational, Walked
from .spec import Columns, Given, Spec
from .training.loop import Trainer

CELLS = 4096  # more joint cells than this are too many to be counted well
SPAN = 256  # rows that are drawn together
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


DIGITS = 4  # of a code's numbers, next to their deviation, as the law of codes sees them


class Latent(Model):
    """x ~ p(x|z, c), z ~ p'(z|c): any autoencoder with any law of tables as the prior of its codes, fitted afterwards.

    The prior learns codes as a table: real numbers of the codes of `encode`, or of draws of q(z|x, c) where there is a
    q, or symbols as levels; c is its condition. A deterministic autoencoder can then be sampled; a variational one gets
    the prior that its codes really have (two stages). Where both have a likelihood the bound is that of the autoencoder
    under this prior,

        log p(x|c) >= E log (1/k) sum_j p(x|z_j, c) p'(z_j|c) / q(z_j|x, c),  of symbols  log p(x|k, c) + log p'(k|c),

    and with a q cells are completed, and rows annealed, as the autoencoder does, by these weights.

    Noise: that of the prior, uniform numbers of p(x|z, c) where there is such a law (else `decode` gives d(z)), and
    that of q where there is one, which completion reads.

    Paper: Dai, Wipf 2019, Diagnosing and Enhancing VAE Models; Ghosh et al. 2020, From Variational to Deterministic
    Autoencoders (a mixture of Gaussians fitted afterwards).

        >>> Latent.learn(autoencoder, columns, prior="mixture")  # doctest: +SKIP
    """

    family = "autoencoders"

    def __init__(self, autoencoder: Model, prior: Model) -> None:
        super().__init__(autoencoder.spec)
        self.autoencoder, self.prior = autoencoder, prior
        self.name = f"{autoencoder.name} with {prior.name}"
        self.config = autoencoder.config | {"prior": prior.name} | {f"prior.{k}": v for k, v in prior.config.items()}
        both = {"log_prob", "bound"} if "log_prob" in autoencoder.abilities & prior.abilities else set()
        both |= {"known"} if both and isinstance(autoencoder, Variational) else set()
        self.abilities = frozenset({"sample"} | both | autoencoder.abilities & {"encode", "express", "interpolate"})
        self.proposed = autoencoder.latents.count if isinstance(autoencoder, Variational) and both else 0

    @classmethod
    def over(
        cls, autoencoder: Model, x: Columns, prior: str, c: Columns | None = None, *, seed: int = 0, **config: Any
    ) -> tuple[Self, Columns]:
        """The autoencoder with a prior that has yet to be fitted, and the codes of x given c that it is to learn.

        Raises Unsupported where there are no codes or no way back, or where the prior cannot be sampled, or takes no
        condition and there is one.
        """
        if isinstance(autoencoder, Latent):
            autoencoder = autoencoder.autoencoder
        if not autoencoder.abilities >= {"encode", "express"}:
            raise Unsupported(f"model {autoencoder.name!r} has no codes: these have: {', '.join(who_can('express'))}")
        kind, before = load_class(prior), autoencoder.spec.condition.fields if autoencoder.spec.condition else ()
        if "sample" not in kind.abilities:
            raise Unsupported(f"model {prior!r} cannot be a prior: these can: {', '.join(who_can('sample'))}")
        if before and "condition" not in kind.abilities:
            names, able = ", ".join(repr(field.name) for field in before), ", ".join(who_can("condition"))
            raise Unsupported(f"model {prior!r} cannot be a prior of codes given {names}: these can: {able}")
        z = autoencoder.code_draws(x, torch.Generator().manual_seed(seed), c)
        stem = stem_of("z", before)
        fields = tuple(_field(f"{stem}{j}", column) for j, column in enumerate(z.T))
        if z.is_floating_point() and "samples" in signature(kind.__init__).parameters:
            config = {"samples": 1} | config  # the cell of a code's number is so narrow that a point of it says all
        made = cls(autoencoder, create(prior, Spec.table(fields, before), seed, **config))
        return made, made.table(z)

    @classmethod
    def learn(
        cls, autoencoder: Model, x: Columns, prior: str = "mixture", c: Columns | None = None, *, seed: int = 0,
        steps: int | None = None, **config: Any,
    ) -> Self:  # fmt: skip
        """The autoencoder with this law of its codes of x given c."""
        c = autoencoder.settled(x, c)
        made, codes = cls.over(autoencoder, x, prior, c, seed=seed, **config)
        if made.prior.trained:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                trainer = Trainer(made.prior, made.prior.prepare(codes, c), None, seed, "cpu")
                trainer.run(steps or trainer.recipe.steps)
        else:
            made.prior.fit_closed(codes, c)
        return made.eval()

    @property
    def uttered(self) -> int:
        return self.autoencoder.uttered

    @property
    def span(self) -> int:
        return SPAN

    def table(self, z: Tensor) -> Columns:
        """Codes as the prior's stored columns."""
        return {f.name: _stored(f, column) for f, column in zip(self.prior.spec.fields, z.T, strict=True)}

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        own = self.prior.noise(n, generator).double()
        how = {"generator": generator, "device": generator.device, "dtype": torch.float64}
        u = torch.rand(n, self.uttered, **how)
        return torch.cat([own, u, torch.randn(n, self.proposed, **how), torch.rand(n, bool(self.proposed), **how)], 1)

    def _parts(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Noise of the prior, of p(x|z), and of q."""
        more = self.proposed + bool(self.proposed)
        own, u, q = z.split([z.shape[1] - self.uttered - more, self.uttered, more], 1)
        return own, u, q

    def codes(self, z: Tensor, c: Columns | None = None) -> Tensor:
        """The codes that noise stands for, (n, latent): draws of p'(z|c)."""
        drawn = self.prior.decode(self._parts(z)[0], c)
        return torch.from_numpy(np.stack([_code(f, drawn[f.name]) for f in self.prior.spec.fields], 1))

    def decode(
        self, z: Tensor, c: Columns | None = None, given: Given | None = None, known: Rows | None = None
    ) -> Columns:
        if known and "known" in self.abilities and isinstance(self.autoencoder, Variational):
            _, u, q = self._parts(z)
            return self.autoencoder.decode(torch.cat([q, u], 1), c, given, known, self.log_prior)
        for what, asked in (("given", given), ("known", known)):
            if asked:
                raise self._cannot(what)
        parts = []
        for at in spans(len(z), SPAN):
            of = rows_of(c, at)
            parts.append(self.autoencoder.utter(self.codes(z[at], of), self._parts(z[at])[1], of))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def encode(self, x: Columns, c: Columns | None = None) -> Tensor:
        return self.autoencoder.encode(x, c)

    def numbers_told(self, z: Tensor) -> int | None:
        return self.autoencoder.numbers_told(z)

    @property
    def code_size(self) -> int:
        return self.autoencoder.code_size

    def own_code(self, z: Tensor) -> None:
        self.autoencoder.own_code(z)

    def express(self, z: Tensor, c: Columns | None = None) -> Columns:
        return self.autoencoder.express(z, c)

    def misfit(self, x: Columns, c: Columns | None = None) -> np.ndarray:
        if "log_prob" in self.autoencoder.abilities:  # under the own prior, where this one says nothing
            return -self.autoencoder.log_prob(x, c)
        return self.autoencoder.misfit(x, c)

    @property
    def settles(self) -> bool:
        return self.autoencoder.settles

    def settled(self, x: Columns, c: Columns | None = None, known: np.ndarray | None = None) -> Columns | None:
        if "known" in self.abilities and isinstance(self.autoencoder, Variational):
            return self.autoencoder.settled(x, c, known, self.log_prior)
        return self.autoencoder.settled(x, c, known)

    def log_prior(self, z: Tensor, c: Columns | None = None) -> Tensor:
        """log p'(z|c) of codes, (..., B, latent) and B rows to (..., B)."""
        flat = z.flatten(0, -2).cpu()
        many = {k: np.tile(v, len(flat) // max(len(v), 1)) for k, v in c.items()} if c else None
        found = self.prior.log_prob(self.table(flat), many)
        return torch.from_numpy(found).view(z.shape[:-1]).to(z.device)

    def log_prob(self, x: Columns, c: Columns | None = None) -> np.ndarray:
        if "log_prob" not in self.abilities:
            raise self._cannot("log_prob")
        return self.autoencoder.log_prob_under(self.log_prior, x, c)

    @property
    def weighs(self) -> bool:
        return "log_prob" in self.abilities and self.autoencoder.weighs

    def bound(
        self, x: Columns, c: Columns | None = None, draws: int | None = None, known: np.ndarray | None = None
    ) -> Bound:
        if not self.weighs or not isinstance(self.autoencoder, Variational):
            return super().bound(x, c, draws, known)
        return self.autoencoder.bound(x, c, draws, known, self.log_prior)

    def marginal(self, rows: Rows, c: Columns | None = None) -> np.ndarray:
        return self.bound(rows[0], c, known=rows[1]).value

    def walked(self) -> Walked:
        if "known" not in self.abilities or not isinstance(self.autoencoder, Variational):
            raise Unsupported(f"model {self.name!r} has no log p to anneal{self._why()}: vae, iwae and hvae have a q")
        return Walked(self.autoencoder, self.codes, self.log_prior)

    def _why(self) -> str:
        """Why there are no weights of codes."""
        if not isinstance(self.autoencoder, Variational):
            return f", since {self.autoencoder.name!r} has no law q(z|x) that codes are drawn from"
        return f", since {self.prior.name!r} has no log p of codes" if "known" not in self.abilities else ""

    def _cannot(self, what: str) -> Unsupported:
        told = str(super()._cannot(what))
        return Unsupported(told.replace(":", self._why() + ":", 1) if what == "known" else told)


def _field(name: str, z: Tensor) -> Field:
    """The field of a code's numbers, or of its symbols, whose levels are named by them."""
    if z.is_floating_point():
        size = max(float(z.double().std(correction=0)), 1e-9 * float(z.abs().max()))
        digits = DIGITS - (math.ceil(math.log10(size)) if size > 0 else 0)
        return Real.learn(name, np.round(z.double().numpy(), digits), digits)
    symbols, codes = np.unique(z.numpy(), return_inverse=True)
    return Category.learn(name, codes.astype(np.int32), tuple(map(str, symbols.tolist())))


def _stored(field: Field, z: Tensor) -> np.ndarray:
    if not isinstance(field, Category):
        return np.round(z.double().numpy(), getattr(field, "decimals", 0))
    symbols = np.array([int(level) for level in field.levels])
    at = np.searchsorted(symbols, z.numpy()).clip(max=len(symbols) - 1)
    return np.where(symbols[at] == z.numpy(), at, len(symbols)).astype(np.int32)


def _code(field: Field, v: np.ndarray) -> np.ndarray:
    return np.array([int(level) for level in field.levels])[v] if isinstance(field, Category) else v
