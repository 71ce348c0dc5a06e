"""realnvp: affine couplings."""

from ...nn import flows
from ...spec import Spec
from ..flowing import Flowing


class RealNVP(Flowing):
    """p(z) by the change of variables with affine couplings: each keeps a random half, the next the other half.

    At the start f = id and p is the independent law, exactly. See models/flowing.py for how a table's rows become
    numbers, the units and the bound; nn/flows.py for the flow.
    Paper: Dinh, Sohl-Dickstein, Bengio 2017, Density Estimation Using Real NVP.

        >>> pofx.fit("adult.csv", model="realnvp")  # doctest: +SKIP
    """

    compiles = True

    def __init__(
        self,
        spec: Spec,
        transforms: int = 8,
        width: int = 128,
        depth: int = 3,
        waves: int = 8,
        samples: int = 64,
        base: str = "normal",
    ) -> None:
        super().__init__(spec, samples)
        self.couples("realnvp")
        hidden = (width,) * depth
        self.flow = flows.RealNVP(self.features, self.context.width, transforms, hidden, waves, norm=True, base=base)


MODEL = RealNVP
