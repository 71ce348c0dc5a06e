"""vae: a variational autoencoder with a law for every kind of field, and a prior that is learned."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from ...errors import SpecError
from ...nn.latents import Latents, Single
from ...nn.posteriors import POSTERIORS, Diagonal
from ...nn.priors import PRIORS, FlowPrior, Mixture, Prior, StandardNormal, Vamp
from ...spec import Spec
from ..lens import lens_of
from ..model import Model
from ..musical_vae import MusicalVAE
from ..sequence_vae import SequenceVAE
from ..variational import Variational

LEAST, MOST, SHADES = 16, 128, 48
PSEUDO = 128  # inputs of a VampPrior


class VAE(Variational):
    """log p(x|c) >= E_q log p(x|z,c) - KL(q(z|x,c) || p(z|c)).

    p(x|z,c) is the product over fields or pixels of the laws of a lens (models/lens.py): exact masses in the house
    measure, scales learned, so that `beta` weighs the divergence against a likelihood that is normalised (beta = 1: the
    bound). prior: `realnvp`, trained jointly, or `mixture`, of which c is told; `vamp`, without a condition; `normal`,
    one law for all c. posterior: `diagonal` or `iaf`. The weight of the divergence counts from 0 to beta over the first
    `warmup` of the fit; `free_bits` are the nats that a latent number may cost for nothing, over a batch.

    estimator: `elbo`, or one of `iwae`, with `draws` and `groups`. doubly: gradients of the encoder that vanish where
    the posterior is exact (for one draw: sticking the landing). `log_prob` is the importance-weighted bound of
    `samples` draws; `bound` says its error and its effective sample size too. Of the share `masked` of the rows a
    random part is hidden in training, so that cells can be integrated out (`marginal`) and filled in (`decode` with
    known cells). network: `mlp`, or `conv` for images, of `width` (a quarter as many channels) and `depth`.
    likelihood of numbers and shades: `mixture` of `components` logistics, `normal` or `student`; of a table also
    `count`, `zero_inflated` or `ordinal`, for all numbers or, {column: head}, for some (models/laws.py). binarise:
    pixels are chances of ink (PixelLens).

    x: rows or images of `spec`; z: (B, latent), as many numbers as `numbers_of` says where `latent` does not. Noise:
    `latent` normal numbers, one uniform for the prior, and those of the lens.

    Papers: Kingma, Welling 2014, Auto-Encoding Variational Bayes; Xu et al. 2020 (RealNVP prior); Kingma et al. 2016
    (IAF, free bits); Roeder, Wu, Duvenaud 2017, Sticking the Landing; Mattei, Frellsen 2019, MIWAE (missing cells).

        >>> pofx.fit("adult.csv", model="vae")  # doctest: +SKIP
    """

    sequenced: ClassVar[type[Model] | None] = SequenceVAE
    musical: ClassVar[type[Model] | None] = MusicalVAE

    def __init__(
        self,
        spec: Spec,
        latent: int | None = None,
        prior: str = "realnvp",
        posterior: str = "diagonal",
        network: str = "auto",
        width: int = 128,
        depth: int = 2,
        likelihood: str | Mapping[str, str] = "mixture",
        components: int = 6,
        beta: float = 1.0,
        warmup: float = 0.1,
        free_bits: float = 0.0,
        estimator: str = "elbo",
        draws: int = 1,
        groups: int = 1,
        doubly: bool = True,
        samples: int = 64,
        masked: float = 0.1,
        binarise: bool = False,
    ) -> None:
        for name, value, among in (("prior", prior, PRIORS), ("posterior", posterior, tuple(POSTERIORS))):
            if value not in among:
                raise SpecError(f"expected {name} among {', '.join(among)}, got {value!r}")

        lens = lens_of(spec, width, likelihood, components, binarise, blanks=masked > 0)
        count = latent or numbers_of(lens.shape)

        def latents(model: Variational) -> Latents:
            told: Diagonal = POSTERIORS[posterior](count)
            return Single(model._vamp(told) if prior == "vamp" else _plain(prior, count, model.context.width), told)

        super().__init__(
            spec, lens, latents, network, width, depth, beta, warmup, free_bits, estimator, draws, groups,
            doubly and posterior == "diagonal", samples, masked,
        )  # fmt: skip

    def _vamp(self, told: Diagonal) -> Prior:
        if self.context.width:
            raise SpecError(
                "expected no condition for prior='vamp', whose inputs have none: use realnvp, or fit without"
            )

        def encode(u: Tensor) -> tuple[Tensor, Tensor]:
            return told.split(self.encoder(u, u.new_zeros(len(u), 0)))

        return Vamp(told.latent, encode, 0.5 * torch.randn(PSEUDO, *self.lens.shape))


def numbers_of(shape: tuple[int, ...]) -> int:
    """The numbers of a code: LEAST of a row; of images one for each SHADES shades, from LEAST to MOST."""
    return min(MOST, max(LEAST, math.prod(shape) // SHADES)) if len(shape) == 3 else LEAST


def _plain(name: str, latent: int, context: int) -> Prior:
    if name == "normal":
        return StandardNormal(latent)
    return (Mixture if name == "mixture" else FlowPrior)(latent, context=context)


MODEL = VAE
