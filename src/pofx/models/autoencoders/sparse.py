"""sparse: a wide code of which few units are active at a time."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import SpecError
from ...objectives import sparse_kl
from ...spec import Columns, Spec
from ..model import Batch, Clock
from ..reconstructing import Reconstructing

PENALTIES = ("topk", "l1", "kl")
ASLEEP = 256  # steps without activity after which a unit counts as dead
REVIVAL = 1 / 32  # weight of what dead units can say of the error that is left


class Sparse(Reconstructing):
    """v^ = m + D z, z = h(E (v - m) + b), columns of D of length one, z of `latent` units.

    penalty: `topk`, h keeps the `active` largest of relu(.) and no more; `l1`, h = relu and weight * |z|_1; `kl`, h the
    logistic function and weight * sum_j KL(Bernoulli(active / latent) || Bernoulli(mean z_j)). Units that were not
    active for ASLEEP steps are dead: the `active` strongest of them rebuild the error that is left, at REVIVAL the
    weight, which wakes them. `remarks` gives the share of units alive.

    v: (B, *shape); z: (B, latent). The loss is the squared error of a row and its penalty, without unit.

    Papers: Makhzani, Frey 2014, k-Sparse Autoencoders; Ng 2011, Sparse Autoencoder; Gao et al. 2024, Scaling and
    Evaluating Sparse Autoencoders (revival by an auxiliary loss).

        >>> pofx.fit("adult.csv", model="sparse", active=8)  # doctest: +SKIP
    """

    def __init__(
        self, spec: Spec, latent: int = 256, active: int = 16, penalty: str = "topk", weight: float = 0.1
    ) -> None:
        super().__init__(spec, latent)
        if penalty not in PENALTIES:
            raise SpecError(f"expected penalty among {', '.join(PENALTIES)}, got {penalty!r}")
        if not 1 <= active < latent:
            raise SpecError(f"expected active units from 1 to {latent - 1}, got {active}: a code has {latent}")
        self.penalty, self.active, self.weight = penalty, active, weight
        directions = F.normalize(torch.randn(latent, self.size), dim=1)
        self.encoder = nn.Parameter(directions.clone())
        self.decoder = nn.Parameter(directions.clone())
        self.bias = nn.Parameter(torch.zeros(latent))
        self.shift = nn.Parameter(torch.zeros(self.size))
        self.register_buffer("asleep", torch.zeros(latent))

    @torch.no_grad()
    def start(self, batch: Batch) -> None:
        super().start(batch)
        self.shift.copy_(self.middle)

    def heard(self, v: Tensor) -> Tensor:
        """What each unit hears, E (v - m) + b, (B, latent)."""
        return F.linear(v.flatten(1) - self.shift, self.encoder, self.bias)

    def _kept(self, heard: Tensor) -> Tensor:
        """The `active` largest of each row, none below zero."""
        top = heard.topk(min(self.active, heard.shape[1]), 1)
        return torch.zeros_like(heard).scatter(1, top.indices, F.relu(top.values))

    def fire(self, heard: Tensor) -> Tensor:
        """h."""
        return {"topk": self._kept, "l1": F.relu, "kl": torch.sigmoid}[self.penalty](heard)

    def code(self, v: Tensor) -> Tensor:
        return self.fire(self.heard(v))

    def _sum(self, z: Tensor) -> Tensor:
        return z @ F.normalize(self.decoder, dim=1)

    def rebuild(self, z: Tensor) -> Tensor:
        return (self.shift + self._sum(z)).view(-1, *self.vectors.shape)

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        v = self.vectors.of(batch[0])
        heard = self.heard(v)
        z = self.fire(heard)
        rebuilt = self.rebuild(z)
        total = self.error(v, rebuilt)
        if self.penalty == "l1":
            total = total + self.weight * z.sum(1)
        if self.penalty == "kl":
            total = total + self.weight * sparse_kl(z, self.active / self.latent)
        return total + self._revival(heard, z, (v - rebuilt).flatten(1).detach()) if self.training else total

    def _revival(self, heard: Tensor, z: Tensor, left: Tensor) -> Tensor | float:
        """|left - D z_dead|^2 of the strongest dead units, where there are any; counts who is asleep.

        Gradients pass below zero too, where a unit that is silent would hear none.
        """
        with torch.no_grad():
            self.asleep.add_(1).mul_((z < 1e-3).all(0))
        dead = self.asleep > ASLEEP
        if self.penalty == "kl" or not dead.any():
            return 0.0
        strongest = torch.where(dead, heard, -torch.inf).topk(min(self.active, int(dead.sum())), 1)
        felt = F.relu(strongest.values).detach() + strongest.values - strongest.values.detach()
        spoken = self._sum(torch.zeros_like(heard).scatter(1, strongest.indices, felt))
        return REVIVAL * (left - spoken).square().sum(1)

    def numbers_told(self, z: Tensor) -> int:
        """The active units of a row, their mean."""
        return max(1, round(float((z > 1e-3).float().sum(1).mean())))

    @torch.no_grad()
    def remarks(self, x: Columns, c: Columns | None = None) -> dict[str, Any]:
        z = self.encode(x)
        alive, at_once = (z > 1e-3).any(0).float().mean(), (z > 1e-3).float().sum(1).mean()
        return super().remarks(x, c) | {"share of units alive": float(alive), "active units of a row": float(at_once)}


MODEL = Sparse
