"""What the autoencoders have in common as models: a lens, a condition, and bounds by importance."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import torch
from torch import Tensor

from ..errors import SpecError
from ..field import Field
from ..spec import Columns, Spec
from .classes import Classes
from .lens import Lens, PixelLens
from .lifted import Conditioned, Context, Sight, sobol, to_normal
from .model import DRAWN, Batch, Recipe, spans

Law = Callable[[Tensor, Columns | None], Tensor]
"""log p of codes given the condition of each, (..., B, latent) and B rows to (..., B)."""

ROOM = 2**21  # numbers that a decoder may say at a time: 8 MiB, which a processor's cache holds
ROWS = 256  # rows that are encoded, once, for all their draws
FEWEST, NUMBERS = 32, 2**19  # images of a step, and numbers that the log mass of more of them works on
STEADY = 2e-3  # the rate of so few images: at twice that a long fit of `vq` went wrong


@dataclass(frozen=True)
class Bound:
    """log (1/k) sum_j w_j of each row, w = p(x, z)/q(z|x), z from q: on average at most log p(x), nats.

    error: its standard error; size: the effective sample size (sum w)^2 / sum w^2, of `draws` in all. A size of a few
    says that the bound may be far below log p(x).
    """

    value: np.ndarray
    error: np.ndarray
    size: np.ndarray
    draws: int


class Coded(Conditioned):
    """Base of the autoencoders. A batch is the example's tensors (`lens.parts` of them), what is added to their log
    mass, (lo, width, codes) of the condition, and what else a model reads of a row.
    """

    family = "autoencoders"
    images = True
    rate: ClassVar[float] = STEADY  # of a step of 256
    sums: ClassVar[bool] = False  # whether it sums over the classes of a row whose class is not known

    def __init__(self, spec: Spec, lens: Lens) -> None:
        super().__init__(spec)
        self.lens = lens
        if not isinstance(lens, PixelLens):
            self.abilities = self.abilities - {"posterior"}
        self.context = Context(self.sight_of_condition)
        self.classes = Classes(self.sight_of_condition if self.sums else Sight(()))

    @property
    def room(self) -> int:
        return self.lens.room

    @property
    def span(self) -> int:
        return self.together(DRAWN) if isinstance(self.lens, PixelLens) else 0

    def recipe(self, rows: int) -> Recipe:
        """Steps of 256 rows, or of fewer and more of them where the log mass of an image is dear: in equal minutes many
        small steps are nearer than few large ones.
        """
        pixels = isinstance(self.lens, PixelLens)
        batch = min(256, max(FEWEST, NUMBERS // self.lens.room)) if pixels else 256
        steps = max(1, 128 // batch) * min(5000, 500 + rows // 5)
        rate = self.rate if batch == 256 else min(self.rate, STEADY)
        return Recipe(steps=steps, batch=min(batch, max(rows, 1)), rate=rate)

    def prepare(self, x: Columns, c: Columns | None = None) -> Batch:
        own, extra = self.lens.prepare(x)
        return *own, extra, *self.see_condition(c, len(extra))

    def fair(self, x: Columns, seed: int) -> Columns:
        return self.lens.fair(x, seed)

    def see_condition(self, c: Columns | None, n: int) -> Batch:
        """(lo, width, codes) of the condition; SpecError for a cell that nobody saw, where no class is summed over."""
        for field in self.sight_of_condition.fields if c and not self.classes.count else ():
            if field.unknown and c and (gone := int(field.absent(c[field.name]).sum())):
                raise SpecError(
                    f"expected {field.name!r} of every row, got {gone} missing: model {self.name!r} cannot integrate "
                    "over them; fill them, leave these rows out, or leave it out of the condition"
                )
        return super().see_condition(c, n)

    def opened(self, batch: Batch) -> tuple[Batch, Tensor, Tensor]:
        """The example's tensors, what is added to their log mass, and the condition's vector."""
        own, rest = batch[: self.lens.parts], batch[self.lens.parts :]
        return own, rest[0], self.context(*rest[1:4])

    def theta(self, z: Tensor, c: Tensor) -> Tensor:
        """What the decoder says of codes, (n, latent), and the condition's vector: (n, *told)."""
        raise NotImplementedError

    def _told(self, z: Tensor, c: Columns | None, say: Callable[[Tensor, slice], Columns]) -> Columns:
        """Stored columns that `say` makes of what the decoder says of codes, some (a slice of all) at a time."""
        seen = self.see_condition(c, len(z))
        if gone := len(self.classes.gone(seen[2])):
            name = self.sight_of_condition.fields[0].name
            raise SpecError(f"expected {name!r} of every code, got {gone} missing: encode gives it beside the codes")
        context, size = self.context(*seen), self.span or self.together(max(len(z), 1))
        parts = [say(self.theta(z[at].to(self.device), context[at]), at) for at in spans(len(z), size)]
        return {f.name: np.concatenate([part[f.name] for part in parts]) for f in self.spec.fields}

    def picture(self, e: Tensor, c: Batch) -> Tensor:
        told = self.context(*c)
        return cast(PixelLens, self.lens).mean(self.theta(self.code_of(e, told), told))

    def code_of(self, e: Tensor, c: Tensor) -> Tensor:
        """The codes that normal noise stands for given the condition's vector, (n, latent)."""
        return e

    @torch.no_grad()
    def express(self, z: Tensor, c: Columns | None = None) -> Columns:
        """The centre of p(x|z,c) of codes, (n, latent)."""
        return self._told(z, c, lambda theta, _: self.lens.centre(theta))

    @property
    def uttered(self) -> int:
        return self.lens.draws

    @torch.no_grad()
    def utter(self, z: Tensor, u: Tensor, c: Columns | None = None) -> Columns:
        """A draw of p(x|z,c) for each code, (n, latent), and uniform numbers, (n, lens.draws)."""
        return self._told(z, c, lambda theta, at: self.lens.draw(theta, u[at].to(self.device)))

    def chunks(self, x: Columns, c: Columns | None = None) -> Iterator[Batch]:
        """The rows as batches of at most ROWS, fewer of large ones, on the model's device."""
        for part in zip(*(tensor.split(self.together(ROWS)) for tensor in self.prepare(x, c)), strict=True):
            yield tuple(tensor.to(self.device) for tensor in part)


def rows_of(c: Columns | None, at: slice | np.ndarray) -> Columns | None:
    """Some rows of a condition."""
    return {k: v[at] for k, v in c.items()} if c else None


def stem_of(letter: str, beside: Iterable[Field]) -> str:
    """The letter, with underscores until no field beside begins so: numbered, it names fields that are no other's."""
    while any(field.name.startswith(letter) for field in beside):
        letter += "_"
    return letter


def turned(trace: Tensor, width: int) -> Tensor:
    """A hash of each row, (B, any) to (B, width) in [0, 1): how its points are turned, in any call and company."""
    turn = torch.rand(trace.shape[1], width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return (trace.cpu() @ turn * 1e3).remainder(1.0)


def weighed(
    log_weight: Callable[[Tensor], Tensor], own: Tensor, draws: int, told: int
) -> tuple[Tensor, Tensor, Tensor]:
    """(log mean w, its standard error, effective size), float64 (B,): `log_weight(noise)` of noise (k, B, latent).

    Row r takes the points s_j + own_r mod 1, s a scrambled Sobol sequence with a seed of its own. Draws are taken as
    many at a time as ROOM holds, each of which works on `told` numbers, and are summed as they come.
    """
    points = sobol(own.shape[1], draws)
    top = torch.full((len(own),), -math.inf, dtype=torch.float64)
    first, second = torch.zeros_like(top), torch.zeros_like(top)
    for some in points.split(max(1, ROOM // max(1, told * len(own)))):
        log_w = log_weight(to_normal((own + some.unsqueeze(1)).remainder(1.0))).double().cpu()
        peak = torch.maximum(top, log_w.max(0).values)
        old, w = torch.exp(top - peak), torch.exp(log_w - peak)
        first, second, top = first * old + w.sum(0), second * old.square() + w.square().sum(0), peak
    size = first.square() / second
    return top + first.log() - math.log(draws), (1 / size - 1 / draws).clamp(min=0.0).sqrt(), size
