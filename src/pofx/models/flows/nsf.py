"""nsf: rational-quadratic splines, in couplings or autoregressive."""

import math

from ...fields import Angle
from ...nn import flows
from ...spec import Spec
from ..flowing import Flowing


class Nsf(Flowing):
    """p(z) by the change of variables with layers whose maps are monotone splines of bounded slope.

    `coupling=True` moves half of the fields given the other half; False moves each given those before it. Angles that
    are never missing are circular: what holds at 359 degrees holds at 1; `base` is that of the other fields.
    base="uniform" has all fields on a box, z = pi (2 u - 1), and the flow is a copula.
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
        base: str = "normal",
    ) -> None:
        angles = [i for i, f in enumerate(spec.fields) if isinstance(f, Angle) and not (f.has_missing or f.unknown)]
        box = base == "uniform"
        super().__init__(spec, samples, range(len(spec.fields)) if box else angles)
        if coupling:
            self.couples("nsf")
        hidden = (width,) * depth
        circular = angles if 0 < len(angles) < self.features else bool(angles)
        own = None if circular is True and base == "normal" else base  # the angles' own law
        self.flow = flows.NSF(
            self.features, self.context.width, transforms, hidden, waves, True, bins, coupling,
            math.pi if box else 5.0, circular, base=own,
        )  # fmt: skip


MODEL = Nsf
