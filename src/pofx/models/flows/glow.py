"""glow: actnorm, linear maps and affine couplings."""

from ...nn import flows, scales
from ...spec import Spec
from ..flowing import Flowing
from ..pixel_flows import PixelFlow


class PixelGlow(PixelFlow):
    """p of images: actnorm, 1 x 1 convolutions and couplings by convolutions, at several scales.

    `transforms` steps at each scale; networks of a quarter of `width` channels and `depth` residual blocks. See
    models/pixel_flows.py for how shades become numbers, the units and the bound; nn/scales.py for the flow.
    Paper: Kingma, Dhariwal 2018, Glow: Generative Flow with Invertible 1x1 Convolutions.

        >>> pofx.fit("pictures/", model="glow")  # doctest: +SKIP
    """

    def __init__(
        self,
        spec: Spec,
        transforms: int = 4,
        width: int = 128,
        depth: int = 1,
        samples: int = 8,
        dequantise: str = "uniform",
    ) -> None:
        super().__init__(spec, scales.glow, transforms, width, depth, samples, dequantise)


class Glow(Flowing):
    """p(z) by the change of variables with layers of actnorm, an LU linear map and an affine coupling.

    See models/flowing.py for how a table's rows become numbers, the units and the bound; nn/flows.py for the flow.
    Paper: Kingma, Dhariwal 2018, Glow: Generative Flow with Invertible 1x1 Convolutions.

        >>> pofx.fit("numbers.parquet", model="glow")  # doctest: +SKIP
    """

    compiles = True
    images = True
    pictured = PixelGlow

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
