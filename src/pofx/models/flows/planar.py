"""planar: bumps across planes, one after the other."""

from ...nn import flows
from ...spec import Spec
from ..flowing import Flowing


class Planar(Flowing):
    """p(z) by the change of variables with maps y = x + u tanh(w x + b).

    See models/flowing.py for how a table's rows become numbers, the units and the bound; nn/flows.py for the flow.
    Paper: Rezende, Mohamed 2015, Variational Inference with Normalizing Flows.

        >>> pofx.fit("numbers.parquet", model="planar")  # doctest: +SKIP
    """

    def __init__(self, spec: Spec, transforms: int = 32, samples: int = 64, base: str = "normal") -> None:
        super().__init__(spec, samples)
        self.flow = flows.Planar(self.features, self.context.width, transforms, base=base)


MODEL = Planar
