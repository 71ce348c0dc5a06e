"""nice: additive couplings."""

from ...nn import flows
from ...spec import Spec
from ..flowing import Flowing


class Nice(Flowing):
    """p(z) by the change of variables with couplings y = x + t(kept) and a linear map at the end.

    See models/flowing.py for how a table's rows become numbers, the units and the bound; nn/flows.py for the flow.
    Paper: Dinh, Krueger, Bengio 2015, NICE: Non-linear Independent Components Estimation.

        >>> pofx.fit("numbers.parquet", model="nice")  # doctest: +SKIP
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
        self.couples("nice")
        hidden = (width,) * depth
        self.flow = flows.NICE(self.features, self.context.width, transforms, hidden, waves, norm=True, base=base)


MODEL = Nice
