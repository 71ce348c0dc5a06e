"""wgan: `gan` with the objective of Wasserstein and the textbook's arguments."""

from ...spec import Spec
from .gan import GAN


class WGAN(GAN):
    """min over G, max over D of slope 1: E D(x) - E D(y), the distance W1 of data and generated examples.

    `gan` with objective `wasserstein`, five steps of D for one of G, and a two-sided penalty of slopes in each.

    Papers: Arjovsky, Chintala, Bottou 2017, Wasserstein GAN; Gulrajani et al. 2017, Improved Training of Wasserstein
    GANs.

        >>> pofx.fit("adult.csv", model="wgan")  # doctest: +SKIP
    """

    def __init__(
        self,
        spec: Spec,
        penalty: str = "gradient",
        weight: float | None = None,
        penalty_mode: str = "exact",
        lazy: int = 4,
        critics: int = 5,
        pack: int = 1,
        latent: int | None = None,
        width: int = 128,
        depth: int = 1,
        encoder: bool = False,
        augment: str | float = "auto",
        anneal: float = 1.0,
    ) -> None:
        super().__init__(
            spec, "wasserstein", penalty, weight, penalty_mode, lazy, critics, pack, latent, width, depth, encoder,
            augment, anneal,
        )  # fmt: skip


MODEL = WGAN
