"""The layer that carries a support to the whole space."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import constraints

from ..errors import SpecError
from ..transforms.domain import Above, Interval
from .layer import Layer

Kind = str | tuple[float, float]
"""What a feature can be: "real", "positive", "unit", or an interval (low, high)."""


class Support(Layer):
    """Each feature to the whole line by the map of its kind (transforms/domain.py); real ones stay. x, y: (B, D).

    Outside the support log|det| = -inf, so that a flow's log_prob is -inf there and never nan.

    Raises SpecError for a kind that there is not.
    """

    tolerance = (1e-4, 1e-9)

    def __init__(self, kinds: Sequence[Kind]) -> None:
        super().__init__()
        self.maps = [self._map(kind) for kind in kinds]

    @staticmethod
    def _map(kind: Kind) -> Interval | Above | None:
        if kind == "real":
            return None
        if kind == "positive":
            return Above()
        low, high = (0.0, 1.0) if kind == "unit" else kind if isinstance(kind, tuple) else (0.0, 0.0)
        if not -math.inf < float(low) < float(high) < math.inf:
            raise SpecError(f"expected 'real', 'positive', 'unit' or (low, high) with low < high, got {kind!r}")
        return Interval(float(low), float(high))

    @property
    def constraint(self) -> constraints.Constraint:
        """The support, as torch's distributions name it."""
        each = [m.constraint if m else constraints.real for m in self.maps]
        return constraints.independent(constraints.stack(each, -1), 1)

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        parts = [
            self._same(v) if m is None else m.call_and_ladj(v) for v, m in zip(x.unbind(1), self.maps, strict=True)
        ]
        return torch.stack([y for y, _ in parts], 1), torch.stack([ladj for _, ladj in parts]).sum(0)

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        pairs = zip(y.unbind(1), self.maps, strict=True)
        parts = [self._same(v) if m is None else m.inverse_and_ladj(v) for v, m in pairs]
        return torch.stack([x for x, _ in parts], 1), torch.stack([ladj for _, ladj in parts]).sum(0)

    @staticmethod
    def _same(v: Tensor) -> tuple[Tensor, Tensor]:
        return v, torch.zeros_like(v)
