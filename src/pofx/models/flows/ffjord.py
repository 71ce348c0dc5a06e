"""ffjord: the flow of a learned differential equation."""

from ...nn import flows
from ...spec import Spec
from ..flowing import Solved


class Ffjord(Solved):
    """p(z) by dz/dt = v(t, z, c): log p(z(0)) = log N(z(1)) + integral of tr dv/dz.

    `solver_steps` of the Runge-Kutta method; a draw may take others (`sample(n, solver_steps=32)`). The trace is exact;
    beyond 64 fields training takes an estimate of it. See models/flowing.py for how a table's rows become numbers, the
    units and the bound; nn/continuous.py for the layer.
    Paper: Grathwohl et al. 2019, FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models.

        >>> pofx.fit("numbers.parquet", model="ffjord")  # doctest: +SKIP
    """

    def __init__(
        self,
        spec: Spec,
        width: int = 64,
        depth: int = 2,
        solver_steps: int = 8,
        samples: int = 16,
        base: str = "normal",
    ) -> None:
        super().__init__(spec, samples, solver_steps)
        wide = (width,) * depth
        self.flow = flows.FFJORD(
            self.features, self.context.width, hidden=wide, steps=solver_steps, exact=self.features, base=base
        )


MODEL = Ffjord
