"""What the flows have in common as models of a table: fields as normal levels, a flow of them, bounds by importance."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from ..errors import SpecError
from ..nn.certificate import Certificate, certify
from ..nn.continuous import Continuous
from ..nn.flow import Flow
from ..objectives import normal_log_prob
from ..spec import Columns, Given, Spec
from .lifted import Context, Lifted, to_normal
from .model import Batch, Clock, Recipe, Rows

STARTED = 4096  # rows that a layer is started from


class Flowing(Lifted):
    """p(x) = integral over the cell of p_0(f(z)) |det df/dz| dz, z = Phi^-1(u), f a flow, p_0 its base.

    Every field, category or number, is dequantised by its distributional transform u = lo + width U, so that z is
    standard normal field by field and f has only the relations to learn. log p(x) = sum_j log P_j(x_j) +
    log E_U [p_flow(z) / N(z)]: the loss takes one U and is a bound in nats; `log_prob` takes the mean over `samples`.
    z and noise, which is a draw of the base: (B, fields). `encode` takes the middle of the cell. Fields among `even`
    have z = pi (2 u - 1) instead, uniform on the circle of angles, or on the box of a uniform base.

    A model sets `flow`, of as many features as there are fields and the context `self.context.width`.

    Paper: Theis, van den Oord, Bethge 2016, A Note on the Evaluation of Generative Models (dequantisation as a bound).
    """

    family = "flows"
    abilities = frozenset({"sample", "log_prob", "bound", "encode", "condition", "check"})
    flow: Flow
    quick: Callable[[Tensor, Tensor | None], Tensor] | None = None  # the compiled density, in training alone

    def __init__(self, spec: Spec, samples: int, even: Sequence[int] = ()) -> None:
        super().__init__(spec, codes=False)
        self.samples, self.features = samples, len(spec.fields)
        mask = torch.zeros(self.features, dtype=torch.bool)
        mask[list(even)] = True
        self.register_buffer("even", mask, persistent=False)
        self.context = Context(self.sight_of_condition)

    def recipe(self, rows: int) -> Recipe:
        return Recipe(steps=min(2500, 400 + rows // 10), batch=min(256, max(rows, 1)), rate=2e-3)

    def log_ratio(self, z: Tensor, c: Tensor | None) -> Tensor:
        """log p_flow(z | c) - log q(z), q what z is field by field, (B,)."""
        density = self.quick if self.quick and self.training else self.flow.density
        even = int(self.even.sum())
        own = normal_log_prob(z[:, ~self.even] if even else z) - even * math.log(2 * math.pi)
        return density(z, c) - own

    def _raised(self, u: Tensor) -> Tensor:
        """z of levels u, each (B, fields)."""
        z = to_normal(u)
        return (torch.where(self.even, math.pi * (2 * u - 1), z) if self.even.any() else z).to(self.dtype)

    def _within(self, lo: Tensor, width: Tensor, generator: torch.Generator) -> Tensor:
        """z somewhere in each cell, (B, fields)."""
        u = torch.rand(lo.shape, generator=generator, device=lo.device, dtype=lo.dtype)
        return self._raised(lo + width * u)

    def levels(self, z: Tensor) -> Tensor:
        """u of z, each (..., fields)."""
        even = self.even.to(z.device)
        return torch.where(even, (z / math.pi + 1) / 2, torch.special.ndtr(z)).clamp(0.0, 1.0)

    def quicken(self, yes: bool = True) -> None:
        if yes and not self.compiles:
            warnings.warn(f"model {self.name!r} does not compile in reasonable time: it trains without", stacklevel=2)
        self.quick = self.flow.compiled() if yes and self.compiles else None

    def see(self, c: Columns | None, n: int) -> Tensor | None:
        """The context of n rows, (n, C), None where the model has none."""
        return self._see(self.see_condition(c, n))

    def _see(self, condition: Batch) -> Tensor | None:
        return self.context(*condition) if self.context.width else None

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        lo, width, _, extra = batch[:4]
        z = self._within(lo, width, generator)
        return -(self.log_ratio(z, self._see(batch[4:])) + (width.log().sum(1) + extra).to(z.dtype))

    @torch.no_grad()
    def start(self, batch: Batch) -> None:
        """Actnorm and a mixture start from data before the first step, so that a resumed fit starts alike."""
        lo, width, *_ = some = tuple(part[:STARTED] for part in batch)
        self.flow.start(self._within(lo, width, torch.Generator(self.device).manual_seed(0)), self._see(some[4:]))

    @torch.no_grad()
    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        like = torch.zeros(0, dtype=torch.float64, device=generator.device)
        return self.flow.base.draw(n, None, like, generator)

    @torch.no_grad()
    def decode(
        self, z: Tensor, c: Columns | None = None, given: Given | None = None, known: Rows | None = None
    ) -> Columns:
        self.refuse(given, known)
        w = z.to(self.device, self.dtype)
        x = self.flow.layers.inverse(w, self.see(c, len(w))).double()
        return self.sight.lower(self.levels(x), torch.zeros(len(w), 0))

    @torch.no_grad()
    def encode(self, x: Columns, c: Columns | None = None) -> Tensor:
        """f(z) at the middle of each cell, (n, fields): noise that decodes to x, up to the precision of the weights."""
        batch = tuple(part.to(self.device) for part in self.prepare(x, c))
        z = self._raised(batch[0] + batch[1] / 2)
        return self.flow.layers.call_and_ladj(z, self._see(batch[4:]))[0]

    def log_prob(self, x: Columns, c: Columns | None = None) -> np.ndarray:
        return self.importance(x, c, self.samples, self.features, self._weigh)

    def _weigh(self, batch: Batch) -> Callable[[Tensor], Tensor]:
        lo, width, _, extra = batch[:4]
        c, base = self._see(batch[4:]), width.log().sum(1) + extra
        return lambda u: self.log_ratio(self._raised(lo + width * u), c) + base

    @torch.no_grad()
    def check(
        self, rows: int, generator: torch.Generator, x: Columns | None = None, c: Columns | None = None
    ) -> Certificate:
        """The certificate of the flow at z of rows of x, or at z of its own draws and at ten times its noise."""
        if x is not None:
            batch = tuple(part[:rows].to(self.device) for part in self.prepare(x, c))
            u = torch.rand(batch[0].shape, generator=generator, dtype=torch.float64).to(self.device)
            return certify(self.flow, self._raised(batch[0] + batch[1] * u), self._see(batch[4:]))
        noise = [self.noise(rows, generator).to(self.device, self.dtype) for _ in range(2)]
        seen = self.see(c, rows)
        return certify(self.flow, self.flow.layers.inverse_and_ladj(noise[0], seen)[0], seen, 10 * noise[1])

    def couples(self, name: str) -> None:
        """Raises SpecError where there is one field alone, which a coupling cannot move."""
        if self.features < 2:
            raise SpecError(
                f"expected two columns or more for couplings ({name}), got one beside constant and duplicate "
                "ones: use maf, or nsf with coupling=False"
            )


class Solved(Flowing):
    """Base of the flows of a differential equation, which `solver_steps` of a Runge-Kutta method solve.

    Raises SpecError for fewer than one step.
    """

    abilities = Flowing.abilities | {"solver_steps"}

    def __init__(self, spec: Spec, samples: int, solver_steps: int) -> None:
        super().__init__(spec, samples)
        self.enough(solver_steps)

    @staticmethod
    def enough(steps: int) -> None:
        """Raises SpecError for fewer than one step."""
        if steps < 1:
            raise SpecError(f"expected solver_steps of at least 1, got {steps}")

    @contextmanager
    def solved(self, steps: int) -> Iterator[None]:
        """The equation solved in so many steps, for a while."""
        self.enough(steps)
        layers = [part for part in self.flow.modules() if isinstance(part, Continuous)]
        before = [part.steps for part in layers]
        try:
            for part in layers:
                part.steps = steps
            yield
        finally:
            for part, own in zip(layers, before, strict=True):
                part.steps = own
