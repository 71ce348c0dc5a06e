"""wae: an autoencoder whose codes, taken together, have the law of the noise."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ...objectives import mmd
from ...spec import Spec
from ..aggregate import Aggregate
from ..model import Batch, Clock


class WAE(Aggregate):
    """min -E log p(x|e(x, c), c) + weight MMD^2(e(x, c), N(0, I)), MMD of a batch and as many draws (objectives.mmd).

    weight is in nats for each latent number. The lens is that of `vae`. x: rows or images of `spec`; z: (B, latent).

    Paper: Tolstikhin, Bousquet, Gelly, Scholkopf 2018, Wasserstein Auto-Encoders.

        >>> pofx.fit("adult.csv", model="wae")  # doctest: +SKIP
    """

    def __init__(
        self,
        spec: Spec,
        latent: int = 8,
        weight: float = 10.0,
        network: str = "auto",
        width: int = 128,
        depth: int = 2,
        likelihood: str | Mapping[str, str] = "mixture",
        components: int = 6,
        binarise: bool = False,
    ) -> None:
        super().__init__(spec, latent, network, width, depth, likelihood, components, binarise)
        self.weight = weight

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        z, cost = self.rebuilt(batch, generator)
        if len(z) < 2:
            return cost
        return cost + self.weight * self.latent * mmd(z, self.prior(len(z), generator))


MODEL = WAE
