"""nsf: rational-quadratic splines, in couplings or autoregressive."""

from ...nn import flows
from ...spec import Spec
from ..flowing import Flowing


class Nsf(Flowing):
    """p(z) by the change of variables with layers whose maps are monotone splines of bounded slope.

    `coupling=True` moves half of the fields given the other half; False moves each given those before it.
    See models/flowing.py for how a table's rows become numbers, the units and the bound; nn/flows.py for the flow.
    Paper: Durkan, Bekasov, Murray, Papamakarios 2019, Neural Spline Flows.

        >>> pofx.fit("numbers.parquet", model="nsf")  # doctest: +SKIP
    """

    compiles = True

    def __init__(
        self,
        spec: Spec,
        transforms: int = 5,
        width: int = 128,
        depth: int = 3,
        bins: int = 8,
        coupling: bool = True,
        waves: int = 8,
        samples: int = 64,
    ) -> None:
        super().__init__(spec, samples)
        if coupling:
            self.couples("nsf")
        hidden = (width,) * depth
        self.flow = flows.NSF(self.features, self.context.width, transforms, hidden, waves, True, bins, coupling)


MODEL = Nsf
