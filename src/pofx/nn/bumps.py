"""Layers that add a bump to the identity: planar, radial, Sylvester; with a context, as it says."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..transforms.planar import Planar
from ..transforms.radial import Radial
from ..transforms.sizes import sizes
from ..transforms.sylvester import Sylvester
from .layer import Layer, spread


class Given(nn.Module):
    """Parameters of a map: learned numbers, plus a function of the context, one set for each row.

    The function is linear, or a perceptron of `hidden` widths.
    """

    def __init__(self, start: Tensor, context: int, hidden: Sequence[int] = ()) -> None:
        super().__init__()
        sizes(hidden=hidden)
        self.free = nn.Parameter(start)
        widths = [context, *hidden] if context else [0]
        layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
        self.first, self.net = nn.Sequential(*layers), None
        if context:
            self.net = nn.Linear(widths[-1], len(start), bias=False)
            nn.init.zeros_(self.net.weight)

    def forward(self, c: Tensor | None, n: int) -> Tensor:
        return self.free if self.net is None or c is None else self.free + spread(self.net(self.first(c)), n)


class PlanarLayer(Layer):
    """A planar map (transforms/planar.py) with w, v and b learned. The inverse is a root: 1e-4 in float32."""

    tolerance = (1e-4, 1e-8)

    def __init__(self, features: int, context: int = 0, hidden: Sequence[int] = ()) -> None:
        super().__init__()
        sizes(features=features)
        start = torch.cat([torch.randn(features) / features**0.5, torch.zeros(features + 1)])
        self.features, self.given = features, Given(start, context, hidden)

    def _map(self, c: Tensor | None, n: int) -> Planar:
        p, d = self.given(c, n), self.features
        return Planar(p[..., :d], p[..., d : 2 * d], p[..., -1])

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._map(c, len(x)).call_and_ladj(x)

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._map(c, len(y)).inverse_and_ladj(y)


class RadialLayer(Layer):
    """A radial map (transforms/radial.py) with centre and shape learned."""

    def __init__(self, features: int, context: int = 0, hidden: Sequence[int] = ()) -> None:
        super().__init__()
        sizes(features=features)
        start = torch.cat([0.5 * torch.randn(features), torch.full((2,), 0.5413)])
        self.given = Given(start, context, hidden)

    def _map(self, c: Tensor | None, n: int) -> Radial:
        p = self.given(c, n)
        return Radial(p[..., :-2], p[..., -2], p[..., -1])

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._map(c, len(x)).call_and_ladj(x)

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._map(c, len(y)).inverse_and_ladj(y)


class SylvesterLayer(Layer):
    """A Sylvester map (transforms/sylvester.py) along `count` orthonormal directions, Q from a QR factorisation.

    A context moves b.
    """

    tolerance = (1e-4, 1e-8)

    def __init__(self, features: int, context: int = 0, count: int | None = None, hidden: Sequence[int] = ()) -> None:
        super().__init__()
        count = min(features if count is None else count, features)
        sizes(features=features, count=count)
        self.frame = nn.Parameter(torch.randn(features, count))
        self.r = nn.Parameter(0.1 * torch.randn(count, count))
        self.t = nn.Parameter(0.1 * torch.randn(count, count))
        self.b = Given(torch.zeros(count), context, hidden)

    def _map(self, c: Tensor | None, n: int) -> Sylvester:
        r, t = Sylvester.bounded(self.r, self.t)
        return Sylvester(torch.linalg.qr(self.frame)[0], r, t, self.b(c, n))

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._map(c, len(x)).call_and_ladj(x)

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._map(c, len(y)).inverse_and_ladj(y)
