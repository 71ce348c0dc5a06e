"""Layers that add a bump to the identity: planar, radial, Sylvester; with a context, as it says."""

import torch
from torch import Tensor, nn

from ..transforms.planar import Planar
from ..transforms.radial import Radial
from ..transforms.sylvester import Sylvester
from .layer import Layer


class Given(nn.Module):
    """Parameters of a map: learned numbers, plus a linear function of the context, one set for each row."""

    def __init__(self, start: Tensor, context: int) -> None:
        super().__init__()
        self.free = nn.Parameter(start)
        self.net = nn.Linear(context, len(start), bias=False) if context else None
        if self.net is not None:
            nn.init.zeros_(self.net.weight)

    def forward(self, c: Tensor | None) -> Tensor:
        return self.free if self.net is None or c is None else self.free + self.net(c)


class PlanarLayer(Layer):
    """A planar map (transforms/planar.py) with w, v and b learned. The inverse is a root: 1e-4 in float32."""

    tolerance = (1e-4, 1e-8)

    def __init__(self, features: int, context: int = 0) -> None:
        super().__init__()
        start = torch.cat([torch.randn(features) / features**0.5, torch.zeros(features + 1)])
        self.features, self.given = features, Given(start, context)

    def _map(self, c: Tensor | None) -> Planar:
        p, d = self.given(c), self.features
        return Planar(p[..., :d], p[..., d : 2 * d], p[..., -1])

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._map(c).call_and_ladj(x)

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._map(c).inverse_and_ladj(y)


class RadialLayer(Layer):
    """A radial map (transforms/radial.py) with centre and shape learned."""

    def __init__(self, features: int, context: int = 0) -> None:
        super().__init__()
        start = torch.cat([0.5 * torch.randn(features), torch.full((2,), 0.5413)])
        self.given = Given(start, context)

    def _map(self, c: Tensor | None) -> Radial:
        p = self.given(c)
        return Radial(p[..., :-2], p[..., -2], p[..., -1])

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._map(c).call_and_ladj(x)

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._map(c).inverse_and_ladj(y)


class SylvesterLayer(Layer):
    """A Sylvester map (transforms/sylvester.py) along `count` orthonormal directions, Q from a QR factorisation.

    A context moves b.
    """

    tolerance = (1e-4, 1e-8)

    def __init__(self, features: int, context: int = 0, count: int | None = None) -> None:
        super().__init__()
        count = min(count or features, features)
        self.frame = nn.Parameter(torch.randn(features, count))
        self.r = nn.Parameter(0.1 * torch.randn(count, count))
        self.t = nn.Parameter(0.1 * torch.randn(count, count))
        self.b = Given(torch.zeros(count), context)

    def _map(self, c: Tensor | None) -> Sylvester:
        r, t = Sylvester.bounded(self.r, self.t)
        return Sylvester(torch.linalg.qr(self.frame)[0], r, t, self.b(c))

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._map(c).call_and_ladj(x)

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._map(c).inverse_and_ladj(y)
