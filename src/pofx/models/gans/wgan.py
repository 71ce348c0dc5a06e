"""wgan: `gan` with the objective of Wasserstein and the textbook's arguments."""

from functools import partialmethod

from .gan import GAN


class WGAN(GAN):
    """min over G, max over D of slope 1: E D(x) - E D(y), the distance W1 of data and generated examples.

    `gan` with other defaults: objective `wasserstein`, five steps of D for one of G, a two-sided penalty of slopes in
    each, and one example at a time.

    Papers: Arjovsky, Chintala, Bottou 2017, Wasserstein GAN; Gulrajani et al. 2017, Improved Training of Wasserstein
    GANs.

        >>> pofx.fit("adult.csv", model="wgan")  # doctest: +SKIP
    """

    sequenced = None
    __init__ = partialmethod(
        GAN.__init__, objective="wasserstein", penalty="gradient", penalty_mode="exact", critics=5, pack=1
    )


MODEL = WGAN
