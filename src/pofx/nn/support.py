"""The layer that carries a support to the whole space."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import constraints

from ..errors import SpecError
from ..transforms.domain import Above, Below, Interval
from .layer import Layer

Kind = str | tuple[float, float]
"""What a feature can be: "real", "positive", "unit", or an interval (low, high), of which one end may be infinite."""


class Support(Layer):
    """Each feature to the whole line by the map of its kind (transforms/domain.py); real ones stay. x, y: (B, D).

    A row outside the support goes to zero with log|det| = -inf, so that a flow's log_prob is -inf there and never nan.

    Raises SpecError for a kind that there is not.
    """

    tolerance = (1e-4, 1e-9)

    def __init__(self, kinds: Sequence[Kind]) -> None:
        super().__init__()
        self.maps = [self._map(kind) for kind in kinds]

    @staticmethod
    def _map(kind: Kind) -> Interval | Above | Below | None:
        known: dict[Kind, tuple[float, float]] = {"positive": (0.0, math.inf), "unit": (0.0, 1.0)}
        if kind == "real":
            return None
        low, high = known.get(kind, kind if isinstance(kind, tuple) and len(kind) == 2 else (0.0, 0.0))
        if not low < high or (low, high) == (-math.inf, math.inf):
            raise SpecError(f"expected 'real', 'positive', 'unit' or (low, high) with low < high, got {kind!r}")
        if high == math.inf:
            return Above(float(low))
        return Interval(float(low), float(high)) if low > -math.inf else Below(float(high))

    @property
    def constraint(self) -> constraints.Constraint:
        """The support, as torch's distributions name it."""
        each = [m.constraint if m else constraints.real for m in self.maps]
        return constraints.independent(constraints.stack(each, -1), 1)

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        parts = [
            self._same(v) if m is None else m.call_and_ladj(v) for v, m in zip(x.unbind(1), self.maps, strict=True)
        ]
        y, ladj = torch.stack([y for y, _ in parts], 1), torch.stack([ladj for _, ladj in parts], 1)
        outside = (ladj == -math.inf).any(1) & ~x.isnan().any(1)
        return torch.where(outside[:, None], 0.0, y), torch.where(outside, -math.inf, ladj.sum(1))

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        pairs = zip(y.unbind(1), self.maps, strict=True)
        parts = [self._same(v) if m is None else m.inverse_and_ladj(v) for v, m in pairs]
        return torch.stack([x for x, _ in parts], 1), torch.stack([ladj for _, ladj in parts]).sum(0)

    @staticmethod
    def _same(v: Tensor) -> tuple[Tensor, Tensor]:
        return v, torch.zeros_like(v)
