"""Features of which some are angles: their flow on the torus, and that of the others given them."""

import math

import torch
from torch import Generator, Tensor, nn

from .base import Base, Uniform
from .coupling import View
from .layer import Chain, Layer, spread


class Angles(nn.Module):
    """Which of D features are angles: `split` and `join` of (B, D)."""

    def __init__(self, angles: tuple[int, ...], features: int) -> None:
        super().__init__()
        self.count = len(angles)
        order = torch.tensor([*angles, *(i for i in range(features) if i not in angles)])
        self.register_buffer("order", order)
        self.register_buffer("back", order.argsort())

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(angles, others), (B, A) and (B, D - A)."""
        sorted_ = x.index_select(1, self.order)
        return sorted_[:, : self.count], sorted_[:, self.count :]

    def join(self, angles: Tensor, others: Tensor) -> Tensor:
        return torch.cat([angles, others], 1).index_select(1, self.back)


class Angled(Layer):
    """y_a = f(x_a; c) on the torus, y_r = g(x_r; c, cos x_a, sin x_a) on the line: p(x_a | c) p(x_r | x_a, c)."""

    def __init__(self, which: Angles, torus: Chain, line: Chain) -> None:
        super().__init__()
        self.which, self.torus, self.line, self.view = which, torus, line, View(angle=True)
        single, double = (max(part.tolerance[i] for part in (torus, line)) for i in (0, 1))
        self.tolerance = (single, double)

    @property
    def period(self) -> Tensor:  # type: ignore[override]
        """2 pi for angles, none for the others, (D,)."""
        turns = torch.full((len(self.which.order),), math.inf)
        turns[: self.which.count] = 2 * math.pi
        return turns.to(self.which.back.device)[self.which.back]

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        angles, others = self.which.split(x)
        turned, first = self.torus.call_and_ladj(angles, c)
        moved, second = self.line.call_and_ladj(others, self._seen(angles, c))
        return self.which.join(turned, moved), first + second

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        turned, moved = self.which.split(y)
        angles, first = self.torus.inverse_and_ladj(turned, c)
        others, second = self.line.inverse_and_ladj(moved, self._seen(angles, c))
        return self.which.join(angles, others), first + second

    def _seen(self, angles: Tensor, c: Tensor | None) -> Tensor:
        """The context of the others, (B, C + 2 A)."""
        seen = self.view(angles)
        return seen if c is None else torch.cat([spread(c, len(angles)).expand(len(angles), -1), seen], 1)


class BesideAngles(Base):
    """Uniform on the circle for angles, `line` for the others, which does not look at their context."""

    def __init__(self, which: Angles, line: Base) -> None:
        super().__init__(len(which.order))
        self.which, self.torus, self.line = which, Uniform(which.count, math.pi), line
        self.bound = max(math.pi, line.bound)

    def log_prob(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        angles, others = self.which.split(z)
        return self.torus.log_prob(angles) + self.line.log_prob(others)

    def draw(self, n: int, c: Tensor | None, like: Tensor, generator: Generator | None = None) -> Tensor:
        return self.which.join(self.torus.draw(n, c, like, generator), self.line.draw(n, c, like, generator))

    def start(self, z: Tensor) -> None:
        self.line.start(self.which.split(z)[1])
