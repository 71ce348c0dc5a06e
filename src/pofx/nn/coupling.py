"""Coupling layers: some features pass, and say how the others are moved."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import SpecError
from ..transforms.sizes import sizes
from .layer import Layer, beside
from .mixed import Mixed


class Elementwise(Protocol):
    """A map of each feature by parameters of its own: x (B, D), theta (B, size, D) -> (y, log dy/dx), each (B, D)."""

    @property
    def size(self) -> int: ...

    def call_and_ladj(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]: ...

    def inverse_and_ladj(self, y: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True)
class View:
    """How a network sees a feature: (x, cos(pi k Phi(x)) / k for k = 1..waves), or (cos k x, sin k x) / k of an angle.

    (..., D) -> (..., D size), each feature's numbers one after the other. The waves show steps and modes of numbers
    that are nearly normal; short ones are weak, so that they do not learn rows by heart.
    """

    waves: int = 0
    angle: bool = False

    def __post_init__(self) -> None:
        sizes(least=0, waves=self.waves)

    @property
    def size(self) -> int:
        """Numbers a feature."""
        return 2 * max(self.waves, 1) if self.angle else 1 + self.waves

    def __call__(self, x: Tensor) -> Tensor:
        if self.size == 1:
            return x
        k = torch.arange(1, max(self.waves, 1) + 1, dtype=x.dtype, device=x.device)
        if self.angle:
            turn = x[..., None] * k
            return torch.cat([turn.cos() / k, turn.sin() / k], -1).flatten(-2)
        return torch.cat([x[..., None], torch.cos(math.pi * torch.special.ndtr(x)[..., None] * k) / k], -1).flatten(-2)


PLAIN = View()
MANY = 8  # parameters of a feature from which its map reads them faster with the rows last


class Conditioner(Mixed):
    """theta(x, c): (B, I) and (B, C) -> (B, size, O), a perceptron with the context added to its first hidden layer.

    h_1 = A_1 x + C c, then two layers at a time, h + B relu(A n(h)), or one where one is left, A n(h); at the end
    theta = V relu(h). n is relu, or LayerNorm with `norm`, which the end has too. `dropout` is the share of inner units
    dropped in training. V starts at zero, so that every map starts at theta = 0; its rows are sorted by parameter, so
    that the shape (B, size, O) costs nothing.
    """

    def __init__(
        self,
        inputs: int,
        context: int,
        size: int,
        outputs: int,
        hidden: Sequence[int],
        view: View = PLAIN,
        norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        widths, self.view = [*hidden], view
        self.first = nn.Linear(inputs * view.size, widths[0])
        self.aside = nn.Linear(context, widths[0], bias=False) if context else None
        self.middle = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:], strict=False))
        self.norms = nn.ModuleList(nn.LayerNorm(w) if norm else nn.ReLU() for w in widths[:-1:2])
        self.end = nn.LayerNorm(widths[-1]) if norm else nn.Identity()
        self.drop = nn.Dropout(dropout)
        self.last = nn.Linear(widths[-1], size * outputs)
        self.shape = (size, outputs)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def exact(self, x: Tensor, c: Tensor | None) -> Tensor:
        h = beside(self.first(self.view(x)), self.aside, c)
        for i in range(0, len(self.middle), 2):
            inner = self.middle[i](self.norms[i // 2](h))
            if i + 1 == len(self.middle):
                h = inner
                break
            move = self.middle[i + 1](self.drop(F.relu(inner)))
            h = h + move if move.shape == h.shape else move
        return told(F.relu(self.end(h)), self.last.weight, self.last.bias, *self.shape)


def told(h: Tensor, weight: Tensor, bias: Tensor, size: int, features: int) -> Tensor:
    """W h + b as parameters of features, (B, size, features); in eager mode rows are last in memory, where maps of many
    parameters read long runs of them.
    """
    if size < MANY or torch.compiler.is_compiling():
        return F.linear(h, weight, bias).view(len(h), size, features)
    return torch.addmm(bias[:, None], weight, h.T).view(size, features, len(h)).permute(2, 0, 1)


class Coupling(Layer):
    """y_keep = x_keep, y_move = g(x_move; theta(x_keep, c)), log|det| = sum over the moved features of log g'.

    `keep`: (D,) of bool. x, y: (B, D).

    Papers: Dinh, Krueger, Bengio 2015, NICE; Dinh, Sohl-Dickstein, Bengio 2017, Real NVP; Durkan et al. 2019, Neural
    Spline Flows.

    Raises SpecError where there is not one feature to keep and one to move.
    """

    def __init__(
        self,
        keep: Tensor,
        context: int,
        elementwise: Elementwise,
        hidden: Sequence[int],
        view: View = PLAIN,
        norm: bool = False,
        dropout: float = 0.0,
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
        self.net = Conditioner(kept, context, elementwise.size, moved, hidden, view, norm, dropout)

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        keep, move = self._parts(x)
        moved, ladj = self.elementwise.call_and_ladj(move, self.net(keep, c))
        return self._whole(keep, moved), ladj.sum(1)

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        keep, move = self._parts(y)
        moved, ladj = self.elementwise.inverse_and_ladj(move, self.net.exact(keep, c))
        return self._whole(keep, moved), ladj.sum(1)

    def moves(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The numbers that are moved and the parameters that move them, (B, M) and (B, size, M)."""
        keep, move = self._parts(x)
        return move, self.net(keep, c)

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        sorted_ = x.index_select(1, self.order)
        return sorted_[:, : self.kept], sorted_[:, self.kept :]

    def _whole(self, keep: Tensor, move: Tensor) -> Tensor:
        return torch.cat([keep, move], 1).index_select(1, self.back)
