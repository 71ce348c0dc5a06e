"""A flow: a chain of layers and a base; called, it is a torch Distribution."""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Size, Tensor, nn
from torch.distributions import Distribution, constraints

from ..errors import SpecError
from .autoregressive import Autoregressive
from .base import Base, Normal
from .compiling import isolated
from .layer import Chain, Layer, Permutation
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
        self, layers: Layer | Sequence[Layer], features: int, context: int = 0, base: Base | None = None
    ) -> None:
        super().__init__()
        self.features, self.context = features, context
        self.layers = Chain([layers] if isinstance(layers, Layer) else layers)
        self.base = base or Normal(features)
        if self.base.features != features:
            raise SpecError(f"expected a base of {features} features, got one of {self.base.features}")
        self.looked = self.warned = False  # whether a batch in training, and whether a bad one, was looked at

    def on(self, support: Sequence[Kind]) -> Self:
        """The flow on a support: for each feature "real", "positive", "unit" or (low, high). Elsewhere p(x) = 0."""
        if len(support) != self.features:
            raise SpecError(f"expected a kind for each of {self.features} features, got {len(support)}")
        self.layers = Chain([Support(support), *self.layers.layers])
        return self

    def forward(self, c: Tensor | None = None) -> "FlowDistribution":
        return FlowDistribution(self, c)

    def log_prob(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """log p(x | c) of rows, (B, D) and (B, C) -> (B,), nats; one context, (1, C) or (C,), is that of all rows."""
        c = self.known(c, len(x))
        z, ladj = self.layers.call_and_ladj(x, c)
        return self.base.log_prob(z, c) + ladj

    def estimate(self, x: Tensor, c: Tensor | None = None, draws: int = 10) -> tuple[Tensor, Tensor]:
        """(mean, standard error) of `draws` values of `log_prob`, each (B,).

        The error is zero but for FFJORD and ResidualFlow beyond 64 features, whose log-determinants are estimates.
        """
        values = torch.stack([self.log_prob(x, c) for _ in range(draws)])
        return values.mean(0), values.std(0) / draws**0.5

    def draw(self, n: int, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(x, log p(x | c)) of n draws, (n, D) and (n,); c: (n, C), or (1, C) or (C,) for all of them."""
        c = self.known(c, n)
        z = self.base.draw(n, c, self.like)
        x, ladj = self.layers.inverse_and_ladj(z, c)
        return x, self.base.log_prob(z, c) - ladj

    def known(self, c: Tensor | None, n: int) -> Tensor | None:
        """The context of n rows, (n, C), or (1, C) where they share one. Raises SpecError for another and for none."""
        c = c[None] if c is not None and c.ndim == 1 else c
        if (c is None) != (self.context == 0) or (
            c is not None and c.shape not in ((n, self.context), (1, self.context))
        ):
            raise self.unfit(c, f"({n}, {self.context}) or (1, {self.context})")
        return c

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
        was, c = self.training, self.known(c, len(x))
        self.base.start(self.train().layers.call_and_ladj(x, c)[0])
        return self.train(was)

    def compiled(self) -> Callable[..., Tensor]:
        """`log_prob`, compiled at its first call (half a minute), for batches of one size.

        What repeats in the chain is one graph for all its repetitions: eight layers take as long to compile as one.
        Raises SpecError for an actnorm that has not started: it looks at its first rows, and a graph cannot. A
        ResidualFlow beyond 64 features takes a random number of terms and cannot be compiled.
        """
        if any(isinstance(part, ActNorm) and not part.started for part in self.modules()):
            raise SpecError("expected a flow whose actnorms have started, got one that has not: flow.start(x) first")
        graph = isolated(Chain.call_and_ladj, dynamic=False)
        parts = [Chain(part) for part in repeated(list(self.layers.layers))]

        def log_prob(x: Tensor, c: Tensor | None = None) -> Tensor:
            c, total = self.known(c, len(x)), x.new_zeros(len(x))
            if torch.is_grad_enabled() and not x.requires_grad:
                x = x.detach().requires_grad_()  # as it reaches all parts but the first, which need another graph else
            for part in parts:
                x, ladj = graph(part, x, c)
                total = total + ladj
            return self.base.log_prob(x, c) + total

        return log_prob

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
        self.looked, share = True, self._outside(x.detach())
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
        return next((t for t in (*self.parameters(), *self.buffers()) if t.is_floating_point()), torch.zeros(0))


def repeated(layers: list[Layer]) -> list[list[Layer]]:
    """A chain in parts that end each with a layer of the last one's class: what repeats is alike."""
    ends = [i + 1 for i, layer in enumerate(layers) if type(layer) is type(layers[-1])]
    return [layers[a:b] for a, b in zip([0, *ends], ends, strict=False)]


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
        """R^D, or what the flow was put `on`."""
        first = self.flow.layers.layers[0]
        return first.constraint if isinstance(first, Support) else constraints.independent(constraints.real, 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "FlowDistribution":
        """The same law for a batch shape that this one broadcasts to."""
        c = self.c.expand(*batch_shape, -1) if self.c is not None else None
        out = FlowDistribution(self.flow, c)
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
        x = self._rows(value, shape)
        self.flow.look(x)
        return self.flow.log_prob(x, self._contexts(shape)).reshape(shape)

    def rsample_and_log_prob(self, sample_shape: Any = ()) -> tuple[Tensor, Tensor]:
        """Draws and their log-densities, from one pass."""
        shape = Size(sample_shape) + self.batch_shape
        x, log = self.flow.draw(math.prod(shape), self._contexts(shape))
        return x.reshape(*shape, self.flow.features), log.reshape(shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.rsample_and_log_prob(sample_shape)[0]

    def _contexts(self, shape: Size) -> Tensor | None:
        """The contexts of rows of a shape: one alone stays one, so that layers look at it once."""
        if self.c is None or math.prod(self.c.shape[:-1]) == 1:
            return None if self.c is None else self.c.reshape(1, -1)
        return self._rows(self.c, shape)

    @staticmethod
    def _rows(part: Tensor, shape: Size) -> Tensor:
        return part.expand(*shape, part.shape[-1]).reshape(math.prod(shape), part.shape[-1])
