"""realnvp: affine couplings on the fields' levels."""

import torch
from torch import Tensor

from ...nn.flow import Flow
from ...nn.layer import Layer
from ...nn.mlp import MLP
from ...spec import Spec
from ...transforms.affine import AffineCoupling
from ..flowing import Flowing
from ..lifted import Reader, Sight


class MaskedCoupling(Layer):
    """An affine coupling whose (s, t) come from what it keeps and the condition, zero at the start."""

    def __init__(self, keep: Tensor, sight: Sight, context: int, width: int, depth: int, limit: float) -> None:
        super().__init__()
        self.limit = limit
        self.register_buffer("keep", keep, persistent=False)
        self.reader = Reader(sight, width)
        self.net = MLP(width + context, 2 * len(keep), width, depth, gain=0.0)

    def _map(self, c: Tensor | None) -> AffineCoupling:
        def conditioner(z: Tensor) -> Tensor:
            seen = self.reader(z)
            return self.net(seen if c is None else torch.cat([seen, c], -1))

        return AffineCoupling(self.keep, conditioner, self.limit)

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._map(c).call_and_ladj(x)

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._map(c).inverse_and_ladj(y)


class RealNVP(Flowing):
    """p(z) by the change of variables with a chain of affine couplings: layer 2i keeps a random half of the fields,
    layer 2i + 1 the other half.

    At the start f = id and p is the independent law, exactly. See models/flowing.py for how a table's rows become
    numbers, the units and the bound.

    Paper: Dinh, Sohl-Dickstein, Bengio 2017, Density Estimation Using Real NVP.

        >>> pofx.fit("adult.csv", model="realnvp")  # doctest: +SKIP
    """

    def __init__(
        self, spec: Spec, layers: int = 8, width: int = 128, depth: int = 1, limit: float = 3.0, samples: int = 64
    ) -> None:
        super().__init__(spec, samples)
        context = self.context.width
        keep = halves(self.features, layers)
        chain = [MaskedCoupling(half, self.sight, context, width, depth, limit) for half in keep]
        self.flow = Flow(chain, self.features, context)


def halves(fields: int, layers: int) -> Tensor:
    """(layers, fields) of bool: which fields each layer keeps, a random half and then the other."""
    generator = torch.Generator().manual_seed(fields)
    keep = torch.zeros(layers, fields, dtype=torch.bool)
    for i in range(0, layers, 2):
        keep[i, torch.randperm(fields, generator=generator)[: fields // 2]] = True
        keep[i + 1 : i + 2] = ~keep[i]
    return keep


MODEL = RealNVP
