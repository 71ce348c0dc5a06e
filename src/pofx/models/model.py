"""The contract of a model: it pushes noise to data, x = decode(z, c), z = noise(n), and all randomness is in z.

A model file holds one class, named by the file: `prepare`, `loss` (or `turns`), `noise` and `decode` are its
obligations; `log_prob`, `cells`, `given`, `known`, `encode`, `express`, `picture`, `restore` and `check` are gifts some
models bring, listed in `abilities`.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import SpecError, Unsupported
from ..spec import Columns, Given, Spec

Batch = tuple[Tensor, ...]
"""What a step reads: tensors of one row each, made once by `prepare` and indexed by the loop."""

Rows = tuple[Columns, np.ndarray]
"""Stored values and which of their cells are known, (n, fields)."""


@dataclass(frozen=True)
class Clock:
    """Where a fit stands: `step` of `total`, planned at the step and the progress of `since`."""

    step: int
    total: int
    since: tuple[int, float] = (0, 0.0)

    @property
    def progress(self) -> float:
        """step / total, in [0, 1); of a total planned anew at (s, p) what goes on from there, p + (1 - p) (step - s) /
        (total - s).
        """
        step, before = self.since
        return before + (1 - before) * (self.step - step) / max(self.total - step, 1)


@dataclass(frozen=True)
class Recipe:
    """How a model wants to be trained on n rows; every number can be overridden by an argument of the fit.

    steps: optimiser steps; batch: rows a step; rate: peak learning rate, after `warmup` steps, then by cosine to
    `floor` times the peak; decay: AdamW's decoupled weight decay of matrices; clip: bound of the gradient's norm;
    average: the half-life of the exponential average of the weights, as a share of the steps; betas: of AdamW;
    muon: of matrices that say so, the rate of Muon (training/muon.py), as a multiple of rate; 0: AdamW for all;
    watch: validation rows that are looked at, at most; most: steps beyond which more only overfit, so that
    minutes buy no more of them; patience: looks at the validation rows without a better one before a fit stops, 0 for a
    model that does not overfit.
    """

    steps: int
    batch: int
    rate: float = 2e-3
    warmup: int = 50
    floor: float = 0.02
    decay: float = 1e-4
    clip: float = 1.0
    average: float = 0.04
    betas: tuple[float, float] = (0.9, 0.99)
    muon: float = 0.0
    watch: int = 2048
    most: int | None = None
    patience: int = 5


RESIDENT = 2**23  # numbers of examples that are worked on together: 32 MiB, some four times that with what is between
DRAWN = 64  # images that are drawn together
DEALT = 16  # normal numbers are dealt in so many: rows by as many get the draws that all of them together would


def spans(n: int, size: int) -> Iterator[slice]:
    """n rows, `size` at a time; of none one that is empty."""
    return (slice(i, i + size) for i in range(0, max(n, 1), size))


class Model(nn.Module):
    """Base of every model.

    `spec` describes the data; further arguments of a model's constructor are keywords of plain values, and `create`
    stores them in `config`. Layers are initialised inside `create`, under a seed of its own.
    """

    family: ClassVar[str] = ""
    abilities: frozenset[str] = frozenset({"sample"})
    trained: ClassVar[bool] = True
    compiles: bool = False
    optional: ClassVar[dict[str, str]] = {}  # abilities that an argument of the fit brings, and that argument
    images: ClassVar[bool] = False  # whether it learns blocks over sites, beside rows of tables
    pictured: ClassVar["type[Model] | None"] = None  # the class that does so in its place, with arguments of its own
    sequenced: ClassVar["type[Model] | None"] = None  # the class that learns sequences of tokens in its place
    musical: ClassVar["type[Model] | None"] = None  # and the class that learns music, which has a rule
    sounded: ClassVar["type[Model] | None"] = None  # the class that learns sounds in its place
    voiced: ClassVar["type[Model] | None"] = None  # and of music in voices
    config: dict[str, Any]
    name: str
    effective: float = math.inf  # the least effective sample size of a condition that is not exact, since last reset

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec

    @property
    def room(self) -> int:
        """Numbers that an example works on at a time; 0 where they are few."""
        return 0

    @property
    def span(self) -> int:
        """How many examples `decode` works on together, in order, whatever their company; 0: all of them."""
        return 0

    @property
    def labour(self) -> float:
        """Multiplications that a draw takes, about, where these are many; 0: few. The guard asks for as many draws as
        it can afford.
        """
        return 0.0

    @property
    def weights(self) -> int:
        """How many numbers its parameters hold."""
        return sum(v.numel() for v in self.parameters())

    def together(self, most: int) -> int:
        """How many examples are worked on together where no gradient is kept: at most `most`, and RESIDENT numbers."""
        fit = RESIDENT // self.room if self.room else most
        return min(most, max(1, fit - fit % DEALT if fit > DEALT else fit))

    # -- obligations -------------------------------------------------------------------------------------------------

    def prepare(self, x: Columns, c: Columns | None = None) -> Batch:
        """Stored columns as the tensors that a step reads, once for a data set."""
        raise NotImplementedError

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        """The objective of each row, (B,), in nats where it is a likelihood."""
        raise NotImplementedError

    def turns(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        """(player, loss) pairs; the loop takes a step for that player's parameters and resumes here."""
        yield "model", self.loss(batch, clock, generator)

    def players(self) -> dict[str, list[nn.Parameter]]:
        """The parameters that each player moves."""
        return {"model": [p for p in self.parameters() if p.requires_grad]}

    def recipe(self, rows: int) -> Recipe:
        """How to train on this many rows."""
        raise NotImplementedError

    @classmethod
    def advised(cls, spec: Spec) -> dict[str, Any]:
        """Arguments that suit few rows (Field.rows) better than the defaults: a fit takes them where none are given."""
        return {}

    def stages(self) -> "list[tuple[str, Model, float]]":
        """Fits in a row, the last of them its own: a name, what is fitted, and its share of the minutes or steps."""
        return [(self.name, self, 1.0)]

    def start(self, batch: Batch) -> None:
        """A start that depends on the data: output biases, scales."""

    def adopt(self, other: "Model") -> None:
        """The weights of a fitted model with the same arguments, of the same fields or of fewer levels of these.

        Raises Unsupported where the model has no place for the levels that are new.
        """
        own, theirs = self.state_dict(), other.state_dict()
        if any(own[k].shape != v.shape for k, v in theirs.items()):
            raise Unsupported(
                f"model {self.name!r} cannot take levels that it never saw: any_order and autoregressive can; leave "
                "out such rows, or fit anew"
            )
        self.load_state_dict(theirs)

    def quicken(self, yes: bool = True) -> None:
        """Compiles what a training step costs most, for models whose `compiles` says so, or undoes that."""

    def fit_closed(self, x: Columns, c: Columns | None = None) -> None:
        """The whole fit of a model in closed form (`trained` is False)."""
        raise NotImplementedError

    def validate(self, batch: Batch, generator: torch.Generator) -> Tensor | None:
        """What the loop watches on validation rows, (B,), lower is better; None where a model has no such thing."""
        return self.loss(batch, Clock(1, 1), generator)

    def attend(self, train: Batch, valid: Batch | None, generator: torch.Generator) -> dict[str, float]:
        """What a game's critic says of examples it learned from, of others and of its own; it may adapt to that."""
        return {}

    def altered(self, x: Columns, generator: torch.Generator) -> Columns | None:
        """Examples changed as its critic may see them (augmentation), which must not show in samples; None without."""
        return None

    def firmer(self, times: int) -> bool:
        """A penalty 4^times as strong as its argument says, where there is one: what the guard may ask for; whether
        the model has such a penalty.
        """
        return False

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        """n rows of the model's own noise."""
        raise NotImplementedError

    def decode(
        self, z: Tensor, c: Columns | None = None, given: Given | None = None, known: Rows | None = None
    ) -> Columns:
        """Noise to stored columns, one row each.

        `c` holds a row of the condition for each row of z. `given` are sets in which values must lie, the same for
        all rows (ability "given"). `known` are rows with some cells known, which are kept (ability "known").
        """
        raise NotImplementedError

    # -- gifts -------------------------------------------------------------------------------------------------------

    def log_prob(self, x: Columns, c: Columns | None = None) -> np.ndarray:
        """log p(x | c) of each row, float64 (n,), in the house measure; a lower bound where "bound" is an ability."""
        if "cells" in self.abilities:
            return self.cells(x, c).sum(1)
        raise self._cannot("log_prob")

    @property
    def weighs(self) -> bool:
        """Whether its log p is a bound by importance, of so many draws as are asked (`bound`)."""
        return False

    def bound(
        self, x: Columns, c: Columns | None = None, draws: int | None = None, known: np.ndarray | None = None
    ) -> Any:
        """The bound by importance of `draws` draws (models/coded.py), of the known cells alone where `known` is given.

        Raises Unsupported where `weighs` is not.
        """
        raise Unsupported(
            f"the log p of model {self.name!r} is not weighed from draws: leave draws out, or fit vae, iwae or hvae "
            "(of images realnvp or glow too)"
        )

    def cells(self, x: Columns, c: Columns | None = None) -> np.ndarray:
        """log p of each cell given those before it in the model's own order, (n, fields); rows sum to log p(x | c)."""
        raise self._cannot("cells")

    def marginal(self, rows: Rows, c: Columns | None = None) -> np.ndarray:
        """log p of the known cells alone, (n,), the others integrated out."""
        raise self._cannot("known")

    def check(self, rows: int, generator: torch.Generator, x: Columns | None = None, c: Columns | None = None) -> Any:
        """The certificate of its layers (nn/certificate.py) on the first rows of x, or on as many of its own."""
        raise self._cannot("check")

    def forecast(self, batch: Batch) -> str:
        """What the data say of a fit before it begins, in a sentence; empty where there is nothing to say."""
        return ""

    def remarks(self, x: Columns, c: Columns | None = None) -> dict[str, Any]:
        """What there is to say of the fit on rows not trained on: figures or lists of them, by names in words."""
        return {}

    def words(self, said: dict[str, Any]) -> str:
        """What a fit's remarks mean: pattern, cause, remedy; empty where there is nothing to say."""
        return ""

    def fair(self, x: Columns, seed: int) -> Columns:
        """Rows that the model's law is a likelihood of: these, but that grey pixels are drawn where it knows none."""
        return x

    def encode(self, x: Columns, c: Columns | None = None) -> Tensor:
        """A code of each row, (n, latent)."""
        raise self._cannot("encode")

    def code_draws(self, x: Columns, generator: torch.Generator, c: Columns | None = None) -> Tensor:
        """Codes that a law of codes is learned from, (n, latent): those of `encode`, or draws of q(z | x, c)."""
        return self.encode(x, c)

    def express(self, z: Tensor, c: Columns | None = None) -> Columns:
        """The rows that codes stand for, (n, latent) to stored columns: the centre of p(x | z, c)."""
        raise self._cannot("express")

    @property
    def uttered(self) -> int:
        """How many uniform numbers `utter` reads; 0 where there is no law p(x | z), and an example is d(z)."""
        return 0

    def utter(self, z: Tensor, u: Tensor, c: Columns | None = None) -> Columns:
        """Draws of p(x | z, c) of codes (n, latent) by uniform numbers (n, `uttered`)."""
        return self.express(z, c)

    def log_prob_under(self, law: Callable[..., Tensor], x: Columns, c: Columns | None = None) -> np.ndarray:
        """The bound of log p(x|c) under another law of the codes, (..., B, latent) of rows of c to (..., B)."""
        raise self._cannot("log_prob")

    def settled(self, x: Columns, c: Columns | None = None, known: np.ndarray | None = None) -> Columns | None:
        """The condition with what is not known of it as it is likeliest given x; as it came where none can say.

        known: which cells of x are, (n, fields); with it a missing condition is none that stays so, even as a state.
        """
        return c

    @property
    def settles(self) -> bool:
        """Whether `settled` says the likeliest class of a row where it is missing."""
        return False

    def numbers_told(self, z: Tensor) -> int | None:
        """How many principal components tell as much as codes (n, latent) do; None where numbers are no measure of it.

        A code of symbols tells a few bits each, and a component a real number: neither is fair beside the other.
        """
        return z.shape[1] if z.is_floating_point() else None

    @property
    def code_size(self) -> int:
        """How many numbers a code has that `express` takes."""
        raise self._cannot("express")

    def own_code(self, z: Tensor) -> None:
        """Raises SpecError for codes that cannot be this model's."""
        if z.shape[1] != self.code_size:
            raise SpecError(f"expected codes of {self.code_size} numbers, got {z.shape[1]}: give what encode gave")
        if not torch.isfinite(z).all():
            raise SpecError("expected codes of finite numbers, got others: give what encode gave")

    def misfit(self, x: Columns, c: Columns | None = None) -> np.ndarray:
        """How ill each row is rebuilt from its code, (n,): what a model without a likelihood says of strange rows."""
        able = ", ".join(sorted({*who_can("log_prob"), *who_can("express")}))
        raise Unsupported(f"model {self.name!r} can neither score nor rebuild an example: these can: {able}")

    def walked(self) -> Any:
        """What annealing reads of a model (`Walked` of models/variational.py); Unsupported where nothing can be."""
        raise Unsupported(f"model {self.name!r} has no law of codes to anneal: these have: vae, iwae, hvae")

    def restore(self, x: Columns, c: Columns | None = None) -> Columns:
        """Clean rows for spoiled ones."""
        raise self._cannot("restore")

    def picture(self, e: Tensor, c: Batch) -> Tensor:
        """The centre of p(x | e, c), (n, C, H, W) in [0, 1], of normal noise e, (n, `code_size`), and what the model
        sees of a condition; gradients pass (ability "posterior").
        """
        raise self._cannot("posterior")

    def noise_of(self, x: Columns, c: Columns | None = None) -> Tensor | None:
        """Normal noise e whose picture is near each image, (n, `code_size`), where an encoder says it."""
        return self.encode(x, c) if "encode" in self.abilities else None

    def _cannot(self, what: str) -> Unsupported:
        words = self.optional.get(what)
        own = f"fit it with {words} (--set {words.lower()}), or take one that can" if words else "these can"
        return Unsupported(f"model {self.name!r} cannot {ABILITIES[what]}: {own}: {', '.join(who_can(what))}")

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next((p.device for p in self.parameters()), torch.device("cpu"))


ABILITIES = {
    "sample": "draw new examples",
    "log_prob": "give a likelihood",
    "bound": "bound a likelihood",
    "cells": "say which cells make a row unlikely",
    "given": "sample under conditions",
    "known": "complete missing cells",
    "encode": "encode an example",
    "express": "rebuild an example from its code",
    "interpolate": "go from one example to another by codes that lie between",
    "restore": "remove noise",
    "posterior": "find the images that a spoiled one may have been",
    "condition": "learn p(x | c)",
    "unknown": "learn from cells that nobody saw",
    "orders": "keep orders of columns while drawing",
    "check": "certify its layers",
    "truncate": "draw nearer to the middle",
    "solver_steps": "draw in so many steps of a solver",
}


def who_can(what: str) -> list[str]:
    """The names of the models with an ability."""
    from . import load_class, names

    return [name for name in names() if what in load_class(name).abilities]
