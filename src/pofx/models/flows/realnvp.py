"""realnvp: affine couplings."""

from ...nn import flows, scales
from ...spec import Spec
from ..flowing import Flowing
from ..pixel_flows import PixelFlow


class PixelRealNVP(PixelFlow):
    """p of images: couplings by convolutions, whose masks are checkerboards and channels in turn, at several scales.

    `transforms` steps at each scale; networks of a quarter of `width` channels and `depth` residual blocks. See
    models/pixel_flows.py for how shades become numbers, the units and the bound; nn/scales.py for the flow.
    Paper: Dinh, Sohl-Dickstein, Bengio 2017, Density Estimation Using Real NVP.

        >>> pofx.fit("pictures/", model="realnvp")  # doctest: +SKIP
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
        super().__init__(spec, scales.realnvp, transforms, width, depth, samples, dequantise)


class RealNVP(Flowing):
    """p(z) by the change of variables with affine couplings: each keeps a random half, the next the other half.

    At the start f = id and p is the independent law, exactly. See models/flowing.py for how a table's rows become
    numbers, the units and the bound; nn/flows.py for the flow.
    Paper: Dinh, Sohl-Dickstein, Bengio 2017, Density Estimation Using Real NVP.

        >>> pofx.fit("adult.csv", model="realnvp")  # doctest: +SKIP
    """

    compiles = True
    images = True
    pictured = PixelRealNVP

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
