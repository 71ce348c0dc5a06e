"""maf: affine autoregressive layers, fast to score."""

from ...nn import flows
from ...spec import Spec
from ..flowing import Flowing


class Maf(Flowing):
    """p(z) by the change of variables with y_i = x_i exp(s_i) + t_i, s_i and t_i functions of x_1..x_{i-1}.

    See models/flowing.py for how a table's rows become numbers, the units and the bound; nn/flows.py for the flow.
    Paper: Papamakarios, Pavlakou, Murray 2017, Masked Autoregressive Flow for Density Estimation.

        >>> pofx.fit("numbers.parquet", model="maf")  # doctest: +SKIP
    """

    compiles = True

    def __init__(
        self,
        spec: Spec,
        transforms: int = 5,
        width: int = 128,
        depth: int = 2,
        waves: int = 8,
        samples: int = 64,
        base: str = "normal",
    ) -> None:
        super().__init__(spec, samples)
        hidden = (width,) * depth
        self.flow = flows.MAF(self.features, self.context.width, transforms, hidden, waves, base)


MODEL = Maf
