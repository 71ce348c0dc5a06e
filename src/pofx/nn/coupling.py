"""Coupling layers: some features pass, and say how the others are moved."""

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import SpecError
from .layer import Layer


class Elementwise(Protocol):
    """A map of each feature by parameters of its own: x (B, D), theta (B, size, D) -> (y, log dy/dx), each (B, D)."""

    @property
    def size(self) -> int: ...

    def call_and_ladj(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]: ...

    def inverse_and_ladj(self, y: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]: ...


def waved(x: Tensor, waves: int) -> Tensor:
    """(x, cos(pi k Phi(x)) for k = 1 to `waves`), each number's one after the other: (B, D) -> (B, D (1 + waves))."""
    if not waves:
        return x
    k = math.pi * torch.arange(1, waves + 1, dtype=x.dtype, device=x.device)
    return torch.cat([x[..., None], torch.cos(torch.special.ndtr(x)[..., None] * k)], -1).flatten(-2)


class Conditioner(nn.Module):
    """theta(x, c): (B, I) and (B, C) -> (B, size, O), a perceptron with the context added to its first hidden layer.

    Its last layer starts at zero, so that every map starts at theta = 0. The rows of the last layer are sorted by
    parameter, so that the view (B, size, O) costs nothing. With `waves` it reads each input as `waved`, which sees
    steps and modes of numbers that are nearly normal.
    """

    def __init__(
        self, inputs: int, context: int, size: int, outputs: int, hidden: Sequence[int], waves: int = 0
    ) -> None:
        super().__init__()
        widths, self.waves = [*hidden], waves
        self.first = nn.Linear(inputs * (1 + waves), widths[0])
        self.aside = nn.Linear(context, widths[0], bias=False) if context else None
        self.middle = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:], strict=False))
        self.last = nn.Linear(widths[-1], size * outputs)
        self.shape = (size, outputs)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        h = self.first(waved(x, self.waves))
        if self.aside is not None and c is not None:
            h = h + self.aside(c)
        h = F.silu(h)
        for layer in self.middle:
            h = F.silu(layer(h))
        return self.last(h).view(len(x), *self.shape)


class Coupling(Layer):
    """y_keep = x_keep, y_move = g(x_move; theta(x_keep, c)), log|det| = sum over the moved features of log g'.

    `keep`: (D,) of bool. x, y: (B, D).

    Papers: Dinh, Krueger, Bengio 2015, NICE; Dinh, Sohl-Dickstein, Bengio 2017, Real NVP; Durkan et al. 2019, Neural
    Spline Flows.

    Raises SpecError where there is not one feature to keep and one to move.
    """

    def __init__(
        self, keep: Tensor, context: int, elementwise: Elementwise, hidden: Sequence[int], waves: int = 0
    ) -> None:
        super().__init__()
        kept, moved = (int(n) for n in (keep.sum(), (~keep).sum()))
        if not kept or not moved:
            raise SpecError(
                f"expected two features or more for a coupling, got {len(keep)}: use an autoregressive flow (maf, nsf "
                "with coupling=False)"
            )
        self.elementwise, self.kept = elementwise, kept
        order = torch.cat([keep.nonzero()[:, 0], (~keep).nonzero()[:, 0]])
        self.register_buffer("order", order)
        self.register_buffer("back", order.argsort())
        self.net = Conditioner(kept, context, elementwise.size, moved, hidden, waves)

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        keep, move = self._parts(x)
        moved, ladj = self.elementwise.call_and_ladj(move, self.net(keep, c))
        return self._whole(keep, moved), ladj.sum(1)

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        keep, move = self._parts(y)
        moved, ladj = self.elementwise.inverse_and_ladj(move, self.net(keep, c))
        return self._whole(keep, moved), ladj.sum(1)

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        sorted_ = x.index_select(1, self.order)
        return sorted_[:, : self.kept], sorted_[:, self.kept :]

    def _whole(self, keep: Tensor, move: Tensor) -> Tensor:
        return torch.cat([keep, move], 1).index_select(1, self.back)
