"""iaf: affine autoregressive layers the other way round."""

from ...nn import flows
from ...spec import Spec
from ..flowing import Flowing


class Iaf(Flowing):
    """p(z) by the change of variables with the inverse of maf's layers: a draw is one plain pass, a score is not.

    See models/flowing.py for how a table's rows become numbers, the units and the bound; nn/flows.py for the flow.
    Paper: Kingma et al. 2016, Improved Variational Inference with Inverse Autoregressive Flow.

        >>> pofx.fit("numbers.parquet", model="iaf")  # doctest: +SKIP
    """

    def __init__(
        self,
        spec: Spec,
        transforms: int = 3,
        width: int = 128,
        depth: int = 2,
        waves: int = 8,
        samples: int = 64,
        base: str = "normal",
    ) -> None:
        super().__init__(spec, samples)
        hidden = (width,) * depth
        self.flow = flows.IAF(self.features, self.context.width, transforms, hidden, waves, base)


MODEL = Iaf
