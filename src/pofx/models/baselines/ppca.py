"""ppca: probabilistic principal components of the fields' normal scores."""

from ...spec import Spec
from .gaussian_copula import GaussianCopula


class PPCA(GaussianCopula):
    """gaussian_copula with R = W W' + s^2 I, W of `rank` columns: the linear variational autoencoder in closed form.

    W = U (L - s^2)^(1/2), L the largest eigenvalues of the full R, U their vectors, s^2 the mean of the others; the
    diagonal is scaled back to one, so that each field keeps its own law.

    Paper: Tipping, Bishop 1999, Probabilistic Principal Component Analysis.

        >>> pofx.fit("adult.csv", model="ppca", rank=4)  # doctest: +SKIP
    """

    def __init__(self, spec: Spec, rank: int = 4, samples: int = 64) -> None:
        super().__init__(spec, samples)
        self.rank = rank


MODEL = PPCA
