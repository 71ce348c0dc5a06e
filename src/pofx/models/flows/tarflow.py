"""tarflow: autoregressive maps whose parameters come from a causal transformer over the fields."""

from ...nn.tarflow import TarFlow
from ...spec import Spec
from ...transforms.affine import Affine
from ...transforms.spline import Spline
from ..flowing import Flowing
from ..model import Recipe


class Tarflow(Flowing):
    """p(z) by the change of variables with y_i = x_i exp(s_i) + m_i, s_i and m_i by attention to x_1..x_{i-1}.

    Each `patch` fields, a number that divides theirs, are a token of `width` numbers; `transforms` maps of `depth`
    attention blocks each, the order of the fields reversed between them. `bins` > 0 puts splines of so many bins in
    place of the paper's affine maps. See models/flowing.py for how a table's rows become numbers, the units and the
    bound; nn/tarflow.py for the flow. A pass costs many times one of `maf`, the more so the more fields there are.
    Paper: Zhai et al. 2024, Normalizing Flows are Capable Generative Models.

        >>> pofx.fit("numbers.parquet", model="tarflow")  # doctest: +SKIP
    """

    def __init__(
        self,
        spec: Spec,
        transforms: int = 4,
        width: int = 64,
        heads: int = 4,
        depth: int = 1,
        bins: int = 0,
        patch: int = 1,
        waves: int = 8,
        samples: int = 16,
        base: str = "normal",
    ) -> None:
        super().__init__(spec, samples)
        self.flow = TarFlow(
            self.features,
            self.context.width,
            transforms,
            width,
            heads,
            depth,
            patch,
            waves=waves,
            elementwise=Spline(bins) if bins else Affine(),
            base=base,
        )

    def recipe(self, rows: int) -> Recipe:
        return Recipe(steps=min(5000, 800 + rows // 5), batch=min(64, max(rows, 1)), rate=2e-3)


MODEL = Tarflow
