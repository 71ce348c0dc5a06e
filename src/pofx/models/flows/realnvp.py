"""realnvp: affine couplings on the fields' levels."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from ...nn.mlp import MLP
from ...objectives import normal_log_prob
from ...spec import Columns, Given, Spec
from ...transforms.affine import AffineCoupling
from ..lifted import Context, Lifted, Reader, Sight, to_normal
from ..model import Batch, Clock, Recipe, Rows


class Conditioner(nn.Module):
    """(s, t) of a coupling from what it keeps and the condition: (B, D), (B, C) to (B, 2 D), zero at the start."""

    def __init__(self, sight: Sight, context: int, width: int, depth: int) -> None:
        super().__init__()
        self.reader = Reader(sight, width)
        self.net = MLP(width + context, 2 * len(sight.fields), width, depth, gain=0.0)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        return self.net(torch.cat([self.reader(z), c], -1))


class RealNVP(Lifted):
    """p(x) = integral over the cell of N(f(z); 0, I) |det df/dz| dz, z = Phi^-1(u), f a chain of affine couplings.

    Every field, category or number, is dequantised by its distributional transform u = lo + width U, so that z is
    standard normal field by field and f has only the relations to learn; at the start f = id and p is the independent
    law, exactly. Layer 2i keeps a random half of the fields, layer 2i + 1 the other half.

    z and noise: (B, fields). log p(x) = sum_j log P_j(x_j) + log E_U [N(f(z)) |det df/dz| / N(z)]: the loss takes one U
    and is a bound in nats; `log_prob` takes the mean over `samples`. `encode` takes the middle of the cell.

    Paper: Dinh, Sohl-Dickstein, Bengio 2017, Density Estimation Using Real NVP; Theis, van den Oord, Bethge 2016, A
    Note on the Evaluation of Generative Models (dequantisation as a bound).

        >>> pofx.fit("adult.csv", model="realnvp")  # doctest: +SKIP
    """

    family = "flows"
    abilities = frozenset({"sample", "log_prob", "bound", "encode", "condition"})

    def __init__(
        self, spec: Spec, layers: int = 8, width: int = 128, depth: int = 1, limit: float = 3.0, samples: int = 64
    ) -> None:
        super().__init__(spec, codes=False)
        self.samples, self.limit = samples, limit
        self.context = Context(self.sight_of_condition)
        self.nets = nn.ModuleList(Conditioner(self.sight, self.context.width, width, depth) for _ in range(layers))
        self.register_buffer("keep", halves(len(spec.fields), layers), persistent=False)

    def recipe(self, rows: int) -> Recipe:
        return Recipe(steps=min(2500, 400 + rows // 10), batch=min(256, max(rows, 1)), rate=2e-3)

    def couplings(self, c: Tensor) -> list[AffineCoupling]:
        """The chain for a condition, data to noise."""

        def one(keep: Tensor, net: nn.Module) -> AffineCoupling:
            return AffineCoupling(keep, lambda z: net(z, c), self.limit)

        return [one(keep, net) for keep, net in zip(self.keep, self.nets, strict=True)]

    def log_ratio(self, z: Tensor, c: Tensor) -> Tensor:
        """log N(f(z)) + log|det df/dz| - log N(z), (B,)."""
        w, total = z, torch.zeros_like(z[:, 0])
        for coupling in self.couplings(c):
            w, ladj = coupling.call_and_ladj(w)
            total = total + ladj
        return normal_log_prob(w) - normal_log_prob(z) + total

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        lo, width, _, extra = batch[:4]
        u = torch.rand(lo.shape, generator=generator, device=lo.device, dtype=lo.dtype)
        z = to_normal(lo + width * u).to(self.dtype)
        return -(self.log_ratio(z, self.context(*batch[4:])) + (width.log().sum(1) + extra).to(z.dtype))

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        size = (n, len(self.spec.fields))
        return torch.randn(size, generator=generator, dtype=torch.float64, device=generator.device)

    @torch.no_grad()
    def decode(
        self, z: Tensor, c: Columns | None = None, given: Given | None = None, known: Rows | None = None
    ) -> Columns:
        self.refuse(given, known)
        w = z.to(self.device, self.dtype)
        for coupling in reversed(self.couplings(self.context(*self.see_condition(c, len(w))))):
            w = coupling.inverse(w)
        return self.sight.lower(torch.special.ndtr(w.double()), torch.zeros(len(w), 0))

    @torch.no_grad()
    def encode(self, x: Columns, c: Columns | None = None) -> Tensor:
        """f(z) at the middle of each cell, (n, fields): noise that decodes to x, up to the precision of the weights."""
        batch = tuple(part.to(self.device) for part in self.prepare(x, c))
        w = to_normal(batch[0] + batch[1] / 2).to(self.dtype)
        for coupling in self.couplings(self.context(*batch[4:])):
            w = coupling.call_and_ladj(w)[0]
        return w

    def log_prob(self, x: Columns, c: Columns | None = None) -> np.ndarray:
        return self.importance(x, c, self.samples, len(self.spec.fields), self._weigh)

    def _weigh(self, batch: Batch) -> Callable[[Tensor], Tensor]:
        lo, width, _, extra = batch[:4]
        c, base = self.context(*batch[4:]), width.log().sum(1) + extra
        return lambda u: self.log_ratio(to_normal(lo + width * u).to(self.dtype), c) + base


def halves(fields: int, layers: int) -> Tensor:
    """(layers, fields) of bool: which fields each layer keeps, a random half and then the other."""
    generator = torch.Generator().manual_seed(fields)
    keep = torch.zeros(layers, fields, dtype=torch.bool)
    for i in range(0, layers, 2):
        keep[i, torch.randperm(fields, generator=generator)[: fields // 2]] = True
        keep[i + 1 : i + 2] = ~keep[i]
    return keep


MODEL = RealNVP
