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
from .support import Kind, Support

if TYPE_CHECKING:
    from .certificate import Certificate

ENOUGH, MUCH = 100, 0.01  # rows that say something of a batch, and the share outside a box that is worth a warning


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
        self.looked = False  # whether a batch was looked at for values outside the first spline's box

    def on(self, support: Sequence[Kind]) -> Self:
        """The flow on a support: for each feature "real", "positive", "unit" or (low, high). Elsewhere p(x) = 0."""
        if len(support) != self.features:
            raise SpecError(f"expected a kind for each of {self.features} features, got {len(support)}")
        self.layers = Chain([Support(support), *self.layers.layers])
        return self

    def forward(self, c: Tensor | None = None) -> "FlowDistribution":
        return FlowDistribution(self, c)

    def log_prob(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """log p(x | c) of rows, (B, D) and (B, C) -> (B,), nats."""
        z, ladj = self.layers.call_and_ladj(x, c)
        return self.base.log_prob(z, c) + ladj

    def draw(self, n: int, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(x, log p(x | c)) of n draws, (n, D) and (n,); c: (n, C)."""
        z = self.base.draw(n, c, self.like)
        x, ladj = self.layers.inverse_and_ladj(z, c)
        return x, self.base.log_prob(z, c) - ladj

    @torch.no_grad()
    def start(self, x: Tensor, c: Tensor | None = None) -> Self:
        """Sets, before the first step, what rows can set at once: actnorm's scales, a mixture's components.

        x: (B, D), some thousands of rows; c: (B, C).
        """
        was = self.training
        self.base.start(self.train().layers.call_and_ladj(x, c)[0])
        return self.train(was)

    def compiled(self) -> Callable[..., Tensor]:
        """`log_prob` as one graph, compiled at its first call (a minute), for batches of one size."""
        return isolated(self.log_prob, dynamic=False)

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
        """Warns, once in a flow's life, where over 1 % of a batch lies outside the box of the splines that read it."""
        if self.looked or len(x) < ENOUGH:
            return
        self.looked = True
        first = next((part for part in self.layers.layers if not isinstance(part, Permutation)), None)
        outside = getattr(getattr(first, "elementwise", None), "outside", None)
        share = float(outside(x.detach()).float().mean()) if outside else 0.0
        if share > MUCH:
            warnings.warn(
                f"{share:.0%} of the values lie outside the splines' box, where the map is the identity: standardise "
                "the data, or give a larger bound",
                stacklevel=3,
            )

    def check(self, x: Tensor, c: Tensor | None = None) -> "Certificate":
        """Whether every layer keeps its promises on rows, (B, D) and (B, C): see nn/certificate.py."""
        from .certificate import certify

        return certify(self, x, c)

    @property
    def like(self) -> Tensor:
        """A tensor of the dtype and on the device of the flow."""
        return next((t for t in (*self.parameters(), *self.buffers()) if t.is_floating_point()), torch.zeros(0))


class FlowDistribution(Distribution):
    """p(x | c) of a flow: batch shape c.shape[:-1], event shape (D,)."""

    arg_constraints: dict[str, Any] = {}
    support = constraints.independent(constraints.real, 1)
    has_rsample = True

    def __init__(self, flow: Flow, c: Tensor | None = None) -> None:
        if (c is None) != (flow.context == 0) or (c is not None and c.shape[-1:] != (flow.context,)):
            got = "none" if c is None else f"one of shape {tuple(c.shape)}"
            wanted = f"(..., {flow.context})" if flow.context else "none"
            raise SpecError(f"expected a context of shape {wanted}, got {got}: flow(c) with context={flow.context}")
        self.flow, self.c = flow, c
        super().__init__(c.shape[:-1] if c is not None else Size(), Size([flow.features]), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "FlowDistribution":
        """The same law for a batch shape that this one broadcasts to."""
        c = self.c.expand(*batch_shape, -1) if self.c is not None else None
        out = FlowDistribution(self.flow, c)
        Distribution.__init__(out, Size(batch_shape), self.event_shape, validate_args=False)
        return out

    def log_prob(self, value: Tensor) -> Tensor:
        if value.shape[-1:] != self.event_shape:
            raise SpecError(f"expected x of shape (..., {self.flow.features}), got {tuple(value.shape)}")
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        x = self._rows(value, shape)
        self.flow.look(x)
        return self.flow.log_prob(x, self._rows(self.c, shape)).reshape(shape)

    def rsample_and_log_prob(self, sample_shape: Any = ()) -> tuple[Tensor, Tensor]:
        """Draws and their log-densities, from one pass."""
        shape = Size(sample_shape) + self.batch_shape
        x, log = self.flow.draw(math.prod(shape), self._rows(self.c, shape))
        return x.reshape(*shape, self.flow.features), log.reshape(shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.rsample_and_log_prob(sample_shape)[0]

    @staticmethod
    def _rows(part: Tensor | None, shape: Size) -> Any:
        return None if part is None else part.expand(*shape, part.shape[-1]).reshape(math.prod(shape), part.shape[-1])
