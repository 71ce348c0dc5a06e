"""aae: an autoencoder whose codes a critic cannot tell from the noise."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from ...nn.mlp import MLP
from ...objectives import r1, r2, relativistic
from ...spec import Spec
from ..aggregate import Aggregate
from ..model import Batch, Clock


class AAE(Aggregate):
    """min over e, d: -E log p(x|e(x, c), c) + weight A, where A is what the critic D of codes loses to the encoder.

    D tells codes from draws of N(0, I) by softplus(D(z) - D(n)) + gamma/2 (|grad D(n)|^2 + |grad D(z)|^2), relativistic
    pairs as in `gan`; the encoder minimises softplus(D(n) - D(z)). weight is in nats for each latent number. The lens
    is that of `vae`. x: rows or images of `spec`; z: (B, latent). `validate` is the negative log-likelihood alone.

    Papers: Makhzani, Shlens, Jaitly, Goodfellow, Frey 2016, Adversarial Autoencoders; Huang et al. 2024 (the game).

        >>> pofx.fit("adult.csv", model="aae")  # doctest: +SKIP
    """

    def __init__(
        self,
        spec: Spec,
        latent: int = 8,
        weight: float = 1.0,
        gamma: float = 1.0,
        network: str = "auto",
        width: int = 128,
        depth: int = 2,
        likelihood: str | Mapping[str, str] = "mixture",
        components: int = 6,
        binarise: bool = False,
    ) -> None:
        super().__init__(spec, latent, network, width, depth, likelihood, components, binarise)
        self.weight, self.gamma = weight, gamma
        self.critic = MLP(latent, 1, width, 1, norm=False)

    def players(self) -> dict[str, list[nn.Parameter]]:
        critic = list(self.critic.parameters())
        own = {id(p) for p in critic}
        return {"autoencoder": [p for p in self.parameters() if id(p) not in own], "critic": critic}

    def judge(self, z: Tensor) -> Tensor:
        """D(z), (B,)."""
        return self.critic(z).squeeze(1)

    def turns(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        z, cost = self.rebuilt(batch, generator)
        drawn = self.prior(len(z), generator)
        told = z.detach()
        yield "autoencoder", cost + self.weight * self.latent * relativistic(self.judge(z), self.judge(drawn))
        slope = self.gamma / 2 * (r1(self.judge, drawn) + r2(self.judge, told))
        yield "critic", relativistic(self.judge(drawn), self.judge(told)) + slope

    @torch.no_grad()
    def validate(self, batch: Batch, generator: torch.Generator) -> Tensor:
        return self.rebuilt(batch, generator)[1]


MODEL = AAE
