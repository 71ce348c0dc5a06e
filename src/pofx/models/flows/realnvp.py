"""realnvp: affine couplings."""

from ...nn import flows
from ...spec import Spec
from ..flowing import Flowing


class RealNVP(Flowing):
    """p(z) by the change of variables with couplings y = x exp(s(kept)) + t(kept).

    See models/flowing.py for how a table's rows become numbers, the units and the bound; nn/flows.py for the flow.
    Paper: Dinh, Sohl-Dickstein, Bengio 2017, Density Estimation Using Real NVP.

        >>> pofx.fit("numbers.parquet", model="realnvp")  # doctest: +SKIP
    """

    def __init__(
        self, spec: Spec, transforms: int = 8, width: int = 128, depth: int = 2, waves: int = 8, samples: int = 64
    ) -> None:
        super().__init__(spec, samples)
        self.couples("realnvp")
        hidden = (width,) * depth
        self.flow = flows.RealNVP(self.features, self.context.width, transforms, hidden, waves)


MODEL = RealNVP
