"""contractive: a code that changes little where the example does."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import SpecError
from ...nn.mirror import Mirror
from ...objectives import contraction
from ...spec import Spec
from ..model import Batch, Clock
from ..reconstructing import Reconstructing


class Contractive(Reconstructing):
    """min E |v - d(e(v))|^2 + weight |de/dv|_F^2.

    depth 1: e(v) = s(W v + b), d(z) = W' z + c, s the logistic function, and the penalty in closed form,
    sum_j (z_j (1 - z_j))^2 |W_j|^2. Deeper: the network of `autoencoder`, and the penalty estimated by one probe a row,
    |(de/dv)' n|^2 with n standard normal.

    v: (B, *shape); z: (B, latent). The loss is in squares of v, without unit.

    Paper: Rifai, Vincent, Muller, Glorot, Bengio 2011, Contractive Auto-Encoders: Explicit Invariance During Feature
    Extraction.

        >>> pofx.fit("adult.csv", model="contractive", weight=0.1)  # doctest: +SKIP
    """

    def __init__(self, spec: Spec, latent: int = 32, weight: float = 0.1, width: int = 256, depth: int = 1) -> None:
        super().__init__(spec, latent)
        if depth < 1 or weight < 0:
            raise SpecError(f"expected depth of at least 1 and weight of at least 0, got {depth} and {weight}")
        self.weight, self.deep = weight, depth > 1
        if self.deep:
            self.net = Mirror(self.vectors.shape, latent, [max(8, width // 2**i) for i in range(depth - 1)])
        else:
            self.layer = nn.Linear(self.size, latent)
            self.shift = nn.Parameter(torch.zeros(self.size))

    @torch.no_grad()
    def start(self, batch: Batch) -> None:
        super().start(batch)
        if self.deep:
            self.net.start(self.middle, self.axes)
        else:
            self.shift.copy_(self.middle)

    def code(self, v: Tensor) -> Tensor:
        return self.net.encode(v) if self.deep else torch.sigmoid(self.layer(v.flatten(1)))

    def rebuild(self, z: Tensor) -> Tensor:
        flat = self.net.decode(z) if self.deep else self.shift + F.linear(z, self.layer.weight.T)
        return flat.view(-1, *self.vectors.shape)

    def slope(self, v: Tensor, z: Tensor, generator: torch.Generator) -> Tensor:
        """|de/dv|_F^2 of each row, (B,), or an estimate of it without bias."""
        if not self.deep:
            return (z * (1 - z)).square() @ self.layer.weight.square().sum(1)
        probe = torch.randn(z.shape, generator=generator, device=z.device, dtype=z.dtype)
        return contraction(self.code, v, probe)

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        v = self.vectors.of(batch[0])
        z = self.code(v)
        penalty = self.slope(v, z, generator) if self.training or not self.deep else 0.0
        return self.error(v, self.rebuild(z)) + self.weight * penalty


MODEL = Contractive
