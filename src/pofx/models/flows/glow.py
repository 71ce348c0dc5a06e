"""glow: actnorm, linear maps and affine couplings."""

from ...nn import flows
from ...spec import Spec
from ..flowing import Flowing


class Glow(Flowing):
    """p(z) by the change of variables with layers of actnorm, an LU linear map and an affine coupling.

    See models/flowing.py for how a table's rows become numbers, the units and the bound; nn/flows.py for the flow.
    Paper: Kingma, Dhariwal 2018, Glow: Generative Flow with Invertible 1x1 Convolutions.

        >>> pofx.fit("numbers.parquet", model="glow")  # doctest: +SKIP
    """

    compiles = True

    def __init__(
        self,
        spec: Spec,
        transforms: int = 6,
        width: int = 128,
        depth: int = 3,
        waves: int = 8,
        samples: int = 64,
        base: str = "normal",
    ) -> None:
        super().__init__(spec, samples)
        self.couples("glow")
        hidden = (width,) * depth
        self.flow = flows.Glow(self.features, self.context.width, transforms, hidden, waves, norm=True, base=base)


MODEL = Glow
