"""iwae: the vae trained on bounds of several draws."""

from collections.abc import Mapping

from ...spec import Spec
from .vae import VAE


class IWAE(VAE):
    """L_k = E log (1/k) sum_j p(x, z_j)/q(z_j|x), z_j from q: at least the bound of one draw, and nearer to log p(x).

    estimator: `iwae`; `ciwae`, beta ELBO + (1 - beta) L_k; `miwae`, the mean of `groups` bounds of `draws` draws;
    `piwae`, whose decoder learns by iwae and whose encoder by miwae. Gradients of the encoder are doubly
    reparameterised unless `doubly` is False: with plain ones their ratio of signal to noise falls as 1/sqrt(k).
    Everything else is as in vae.

    Papers: Burda, Grosse, Salakhutdinov 2016; Rainforth et al. 2018, Tighter Variational Bounds are Not Necessarily
    Better; Tucker et al. 2019, Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives.

        >>> pofx.fit("adult.csv", model="iwae", draws=16)  # doctest: +SKIP
    """

    sequenced, musical = None, None

    def __init__(
        self,
        spec: Spec,
        estimator: str = "iwae",
        draws: int = 8,
        groups: int = 1,
        doubly: bool = True,
        latent: int | None = None,
        prior: str = "realnvp",
        posterior: str = "diagonal",
        network: str = "auto",
        width: int = 128,
        depth: int = 2,
        likelihood: str | Mapping[str, str] = "mixture",
        components: int = 6,
        warmup: float = 0.1,
        samples: int = 64,
        masked: float = 0.1,
        binarise: bool = False,
    ) -> None:
        super().__init__(
            spec, estimator=estimator, draws=draws, groups=groups, doubly=doubly, latent=latent, prior=prior,
            posterior=posterior, network=network, width=width, depth=depth, likelihood=likelihood,
            components=components, warmup=warmup, samples=samples, masked=masked, binarise=binarise,
        )  # fmt: skip


MODEL = IWAE
