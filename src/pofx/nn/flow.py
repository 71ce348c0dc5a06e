"""A flow: a chain of layers and a base; called, it is a torch Distribution."""

import math
import warnings
from collections.abc import Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Size, Tensor, nn
from torch.distributions import Distribution, constraints

from ..errors import SpecError, Unsupported
from ..transforms.sizes import sizes
from .angles import Angled
from .autoregressive import Autoregressive
from .base import Base, base_of
from .compiling import isolated, mode_of
from .layer import Chain, Inverse, Layer, Permutation
from .mixed import mix
from .normalise import ActNorm
from .support import Kind, Support

if TYPE_CHECKING:
    from .certificate import Certificate

ENOUGH, MUCH = 100, 0.01  # values that say something of a batch, and the share outside a box that is worth a warning


class Flow(nn.Module):
    """log p(x | c) = log p(f(x; c) | c) + log|det df/dx|, x (B, D), c (B, C).

    `flow(c)`, or `flow()` without a context, is a torch Distribution over R^D.

        >>> from pofx.nn.linear import LULinear
        >>> flow = Flow(LULinear(2), features=2)
        >>> flow().log_prob(torch.zeros(2)).round(decimals=4)
        tensor(-1.8379, grad_fn=<RoundBackward1>)
    """

    def __init__(
        self, layers: Layer | Sequence[Layer], features: int, context: int = 0, base: Base | str | None = None
    ) -> None:
        super().__init__()
        sizes(features=features)
        sizes(least=0, context=context)
        self.features, self.context = features, context
        self.layers = Chain([layers] if isinstance(layers, Layer) else layers)
        self.base = base_of(base, features)
        if self.base.features != features:
            raise SpecError(f"expected a base of {features} features, got one of {self.base.features}")
        if self.base.context not in (0, context):
            raise SpecError(f"expected a base of context {context}, as the flow has, got one of {self.base.context}")
        self.looked = self.warned = False  # whether a batch in training, and whether a bad one, was looked at

    def on(self, support: Sequence[Kind]) -> Self:
        """The flow on a support: for each feature "real", "positive", "unit" or (low, high), one end of which may be
        infinite.

        Elsewhere p(x) = 0. Raises SpecError for another kind, and for a flow that is on a support already: of angles,
        with a uniform base, or by this.
        """
        if len(support) != self.features:
            raise SpecError(f"expected a kind for each of {self.features} features, got {len(support)}")
        if self.base.bound < math.inf or isinstance(self.layers.layers[0], Support | Angled):
            raise SpecError("expected a flow on all of R^D, got one with a support of its own: put a new flow on this")
        self.layers = Chain([Support(support), *self.layers.layers])
        return self

    def forward(self, c: Tensor | None = None) -> "FlowDistribution":
        return FlowDistribution(self, c)

    def pyro(self, c: Tensor | None = None) -> "FlowDistribution":
        """`flow(c)` as a distribution of Pyro, for pyro.sample, plates and SVI. Raises Unsupported without pyro-ppl."""
        from .pyro import pyro_law

        return pyro_law()(self, c)

    def log_prob(self, x: Tensor, c: Tensor | None = None, turns: int = 1) -> Tensor:
        """log p(x | c) of rows, (B, D) and (B, C) -> (B,), nats; one context, (1, C) or (C,), is that of all rows.

        With `turns` the rows go so many times through the contexts, (B / turns, C), which are looked at once. Raises
        SpecError for rows and contexts of another shape or dtype.
        """
        c = self.seen(x, c, turns)
        if not torch.compiler.is_compiling():
            self.look(x)
        return self.density(x, c)

    def density(self, x: Tensor, c: Tensor | None) -> Tensor:
        """`log_prob` of rows and contexts that are known to fit, and are no data to warn of."""
        z, ladj = self.layers.call_and_ladj(x, c)
        return self.base.log_prob(z, c) + ladj

    def estimate(self, x: Tensor, c: Tensor | None = None, draws: int = 10) -> tuple[Tensor, Tensor]:
        """(mean, standard error) of `draws` values of `log_prob`, each (B,).

        The error is zero but for FFJORD and ResidualFlow beyond 64 features, whose log-determinants are estimates.
        """
        sizes(least=2, draws=draws)
        values = torch.stack([self.log_prob(x, c) for _ in range(draws)])
        return values.mean(0), values.std(0) / draws**0.5

    def draw(self, n: int, c: Tensor | None = None, turns: int = 1) -> tuple[Tensor, Tensor]:
        """(x, log p(x | c)) of n draws, (n, D) and (n,); c and `turns` as in log_prob, of n rows."""
        c = self.known(c, n, turns)
        z = self.base.draw(n, c, self.like)
        x, ladj = self.layers.inverse_and_ladj(z, c)
        return x, self.base.log_prob(z, c) - ladj

    def seen(self, x: Tensor, c: Tensor | None, turns: int = 1) -> Tensor | None:
        """The context of rows x, as `known` gives it. Raises SpecError for rows that are not (B, D) of its dtype."""
        if x.ndim != 2 or x.shape[1] != self.features:
            raise SpecError(
                f"expected rows of shape (B, {self.features}), got {tuple(x.shape)}: a flow of {self.features}"
            )
        self._typed("x", x)
        return self.known(c, len(x), turns)

    def known(self, c: Tensor | None, n: int, turns: int = 1) -> Tensor | None:
        """The context of n rows, (n / turns, C), or (1, C) where they share one. Raises SpecError for another and for
        none.
        """
        c, own = c[None] if c is not None and c.ndim == 1 else c, n // turns
        if (c is None) != (self.context == 0) or (
            c is not None and c.shape not in ((own, self.context), (1, self.context))
        ):
            raise self.unfit(c, f"({own}, {self.context}) or (1, {self.context})")
        if c is not None:
            self._typed("a context", c)
        return c

    def _typed(self, name: str, value: Tensor) -> None:
        own = next((t.dtype for t in chain(self.parameters(), self.buffers()) if t.is_floating_point()), value.dtype)
        if value.dtype != own:
            raise SpecError(f"expected {name} of {own}, as the flow's weights are, got {value.dtype}: {name}.to({own})")

    def unfit(self, c: Tensor | None, shape: str) -> SpecError:
        """What there is to say of a context that is not of the shape, or of one too many."""
        got = "none" if c is None else f"one of shape {tuple(c.shape)}"
        return SpecError(
            f"expected a context of shape {shape if self.context else 'none'}, got {got}: this flow has "
            f"context={self.context}"
        )

    @torch.no_grad()
    def start(self, x: Tensor, c: Tensor | None = None) -> Self:
        """Sets, before the first step, what rows can set at once: actnorm's scales, a mixture's components.

        x: (B, D), some thousands of rows; c: (B, C).
        """
        was, c = self.training, self.seen(x, c)
        self.base.start(self.train().layers.call_and_ladj(x, c)[0])
        return self.train(was)

    def compiled(self) -> Callable[..., Tensor]:
        """`log_prob` as one graph, compiled at its first call (a minute), for batches of one size.

        Of a flow on a CUDA device, which it must be on before, the kernels are captured (mode "reduce-overhead") and
        replayed by one call: launching them one by one costs more than they do. torch's own capture and not
        torch.cuda.graphs, since that takes the backward pass too, and weights where they are, and fuses what it
        captures. Its values lie where the next call's will, so each call gives a copy.

        A density that goes feature by feature (IAF) does not compile in reasonable time: it stays as it is, with a
        warning. Raises SpecError for an actnorm that has not started: it looks at its first rows, and a graph cannot.
        A ResidualFlow beyond 64 features takes a random number of terms and cannot be compiled.
        """
        if any(isinstance(part, Inverse) and isinstance(part.layer, Autoregressive) for part in self.modules()):
            warnings.warn(
                "a density that goes feature by feature (IAF) does not compile in reasonable time: it stays uncompiled",
                stacklevel=2,
            )
            return self.log_prob
        if any(isinstance(part, ActNorm) and not part.started for part in self.modules()):
            raise SpecError("expected a flow whose actnorms have started, got one that has not: flow.start(x) first")
        mode = mode_of(self.like.device)
        quick = isolated(self.log_prob, dynamic=False, mode=mode)
        return quick if mode is None else lambda *args: quick(*args).clone()

    def quicken_draws(self, yes: bool = True) -> Self:
        """Compiles what an autoregressive draw does for each feature: seconds at the first draw, fewer at each one."""
        for part in self.modules():
            if isinstance(part, Autoregressive):
                part.quicken(yes)
        return self

    def mixed_precision(self, yes: bool = True) -> Self:
        """While a gradient is taken in training, the networks of couplings and autoregressive layers use bfloat16.

        Maps, log-determinants, scores and draws keep the precision of the weights: an inverse in bfloat16 would be
        another map. Repays once compiled, or with wide networks, where the processor has products of bfloat16
        (`pofx.nn.mixed.repays`).
        """
        mix(self, yes)
        return self

    def look(self, x: Tensor) -> None:
        """Warns, once in a flow's life, where over 1 % of a batch lies outside the box of the splines that read it.

        Of batches that a gradient is wanted of the first is looked at, of others all.
        """
        if self.warned or x.numel() < ENOUGH or (self.looked and torch.is_grad_enabled()):
            return
        try:
            share = self._outside(x.detach())
        except RuntimeError:  # under vmap a number cannot be looked at
            return
        self.looked = True
        if share > MUCH:
            self.warned = True
            warnings.warn(
                f"{share:.0%} of the values lie outside the splines' box, where the map is the identity: standardise "
                "the data, or give a larger bound",
                stacklevel=3,
            )

    @torch.no_grad()
    def _outside(self, x: Tensor) -> float:
        """The share of values outside the box of the first layer, if it has one, behind supports and permutations."""
        for part in self.layers.layers:
            if isinstance(part, Permutation | Support):
                x = part.call_and_ladj(x)[0]
                continue
            outside = getattr(getattr(part, "elementwise", None), "outside", None)
            return float(outside(x).float().mean()) if outside else 0.0
        return 0.0

    def check(self, x: Tensor, c: Tensor | None = None) -> "Certificate":
        """Whether every layer keeps its promises on rows, (B, D) and (B, C): see nn/certificate.py."""
        from .certificate import certify

        return certify(self, x, c)

    @property
    def like(self) -> Tensor:
        """A tensor of the dtype and on the device of the flow."""
        return next((t for t in chain(self.parameters(), self.buffers()) if t.is_floating_point()), torch.zeros(0))


class FlowDistribution(Distribution):
    """p(x | c) of a flow: batch shape c.shape[:-1], event shape (D,)."""

    arg_constraints: dict[str, Any] = {}
    has_rsample = True

    def __init__(self, flow: Flow, c: Tensor | None = None) -> None:
        if (c is None) != (flow.context == 0) or (c is not None and c.shape[-1:] != (flow.context,)):
            raise flow.unfit(c, f"(..., {flow.context})")
        self.flow, self.c = flow, c
        super().__init__(c.shape[:-1] if c is not None else Size(), Size([flow.features]), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """R^D, or what the flow was put `on`, or the box of its base where every layer keeps that.

        Raises Unsupported for layers that move the box: which x they carry into it has no name.
        """
        first, bound = self.flow.layers.layers[0], self.flow.base.bound
        if isinstance(first, Support):
            return first.constraint
        if bound == math.inf:
            return constraints.independent(constraints.real, 1)
        if not self.flow.layers.keeps(bound):
            raise Unsupported(
                f"expected layers that keep the box [-{bound:g}, {bound:g}] of the base, got some that move it: the "
                "support has no name; NSF(linear=False, bound=...) keeps a box"
            )
        return constraints.independent(constraints.interval(-bound, bound), 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "FlowDistribution":
        """The same law for a batch shape that this one broadcasts to."""
        c = self.c.expand(*batch_shape, -1) if self.c is not None else None
        out = type(self)(self.flow, c)
        Distribution.__init__(out, Size(batch_shape), self.event_shape, validate_args=False)
        return out

    def log_prob(self, value: Tensor) -> Tensor:
        if value.shape[-1:] != self.event_shape:
            raise SpecError(f"expected x of shape (..., {self.flow.features}), got {tuple(value.shape)}")
        try:
            shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        except RuntimeError:
            raise SpecError(
                f"expected x of a shape that goes with a batch of {tuple(self.batch_shape)} contexts, got "
                f"{tuple(value.shape)}: give one x for each, or flow(c[:, None]) for all of them"
            ) from None
        return self.flow.log_prob(self._rows(value, shape), *self._contexts(shape)).reshape(shape)

    def rsample_and_log_prob(self, sample_shape: Any = ()) -> tuple[Tensor, Tensor]:
        """Draws and their log-densities, from one pass."""
        shape = Size(sample_shape) + self.batch_shape
        x, log = self.flow.draw(math.prod(shape), *self._contexts(shape))
        return x.reshape(*shape, self.flow.features), log.reshape(shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.rsample_and_log_prob(sample_shape)[0]

    def _contexts(self, shape: Size) -> tuple[Tensor | None, int]:
        """The contexts of rows of a shape, and how often the rows go through them, so that each is looked at once."""
        if self.c is None:
            return None, 1
        own = self.c.shape[:-1]
        if math.prod(own) == 1:
            return self.c.reshape(1, -1), 1
        if shape[len(shape) - len(own) :] == own and math.prod(own):
            return self.c.reshape(-1, self.flow.context), math.prod(shape) // math.prod(own)
        return self._rows(self.c, shape), 1

    @staticmethod
    def _rows(part: Tensor, shape: Size) -> Tensor:
        return part.expand(*shape, part.shape[-1]).reshape(math.prod(shape), part.shape[-1])
