"""hvae: a variational autoencoder with several levels of latent numbers, each given those above it."""

from collections.abc import Mapping

from ...errors import SpecError
from ...nn.latents import Ladder
from ...spec import Spec
from ..lens import lens_of
from ..variational import Variational


class HVAE(Variational):
    """log p(x|c) >= E_q log p(x|z,c) - sum_l KL(q(z_l|z_<l,x,c) || p(z_l|z_<l,c)), z = (z_1, ..., z_levels).

    Each rung of the ladder (nn/latents.py) says how the posterior differs from the prior, in its scales; everything
    else is as in `vae`. x: rows or images of `spec`; z: (B, levels latent).

    Papers: Sonderby et al. 2016, Ladder Variational Autoencoders; Vahdat, Kautz 2020, NVAE; Child 2021, Very Deep VAEs
    Generalize Autoregressive Models.

        >>> pofx.fit("adult.csv", model="hvae")  # doctest: +SKIP
    """

    def __init__(
        self,
        spec: Spec,
        levels: int = 3,
        latent: int = 8,
        network: str = "auto",
        width: int = 128,
        depth: int = 1,
        likelihood: str | Mapping[str, str] = "mixture",
        components: int = 6,
        beta: float = 1.0,
        warmup: float = 0.1,
        free_bits: float = 0.0,
        samples: int = 64,
        masked: float = 0.1,
        binarise: bool = False,
    ) -> None:
        if not 2 <= levels <= 8:
            raise SpecError(f"expected 2 to 8 levels, got {levels}")
        super().__init__(
            spec, lens_of(spec, width, likelihood, components, binarise, blanks=masked > 0),
            lambda model: Ladder(latent, levels, width, depth, model.context.width), network, width, depth, beta,
            warmup, free_bits, samples=samples, masked=masked,
        )  # fmt: skip


MODEL = HVAE
