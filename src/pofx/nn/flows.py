"""Flows by their names, for use in torch without files: `pofx.flows.NSF(features=6, context=3)`.

All take `features` D, `context` C (0: none), `transforms` layers and `base`, a Base or a word: "normal", "student",
"mixture", and "uniform" of NSF. Called with a context or without, a flow is a torch Distribution; `start(x)` sets from
rows what they can set. Words that are the same where they make sense:

- `hidden`, widths of networks: of couplings, autoregressive layers, contractions and velocities; in Planar, Radial and
  Sylvester of what reads the context, (): linear. TarFlow has `width`, `heads` and `depth`, as transformers do.
- `waves`, cosines that a network sees each feature by, beside itself: couplings, MAF, IAF, NSF, TarFlow. A contraction
  would lose its bound by them; a velocity is smooth in x.
- `norm`, LayerNorm in the networks of couplings. It mixes units that an autoregressive layer keeps apart.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch

from ..errors import SpecError
from ..transforms.affine import Additive, Affine
from ..transforms.sizes import sizes
from ..transforms.spline import Spline
from .angles import Angled, Angles, BesideAngles
from .autoregressive import Autoregressive
from .base import Base, Uniform
from .base import Conditional as Conditional
from .base import Mixture as Mixture
from .base import Normal as Normal
from .base import StudentT as StudentT
from .bumps import PlanarLayer, RadialLayer, SylvesterLayer
from .continuous import EXACT, Continuous
from .coupling import Coupling, Elementwise, View
from .dequantise import CdfDifference as CdfDifference
from .dequantise import Dequantised as Dequantised
from .divergence import alpha_divergence as alpha_divergence
from .divergence import reverse_kl as reverse_kl
from .flow import Flow
from .layer import Inverse, Layer, Permutation
from .linear import LULinear, Turn
from .matching import PATHS as PATHS
from .matching import flow_matching as flow_matching
from .normalise import ActNorm
from .residual import Residual
from .tarflow import TarFlow as TarFlow

HIDDEN = (128, 128, 128)


class Planar(Flow):
    """Planar maps in a row. Rezende, Mohamed 2015, Variational Inference with Normalizing Flows."""

    layer: type[PlanarLayer | RadialLayer] = PlanarLayer

    def __init__(
        self,
        features: int,
        context: int = 0,
        transforms: int = 16,
        hidden: Sequence[int] = (),
        base: Base | str | None = None,
    ) -> None:
        _check(features, context, transforms, hidden)
        super().__init__([self.layer(features, context, hidden) for _ in range(transforms)], features, context, base)


class Radial(Planar):
    """Radial maps in a row. Rezende, Mohamed 2015, Variational Inference with Normalizing Flows."""

    layer = RadialLayer


class Sylvester(Flow):
    """Sylvester maps in a row. van den Berg et al. 2018, Sylvester Normalizing Flows for Variational Inference."""

    def __init__(
        self,
        features: int,
        context: int = 0,
        transforms: int = 8,
        hidden: Sequence[int] = (),
        count: int | None = None,
        base: Base | str | None = None,
    ) -> None:
        _check(features, context, transforms, hidden)
        layers = [SylvesterLayer(features, context, count, hidden) for _ in range(transforms)]
        super().__init__(layers, features, context, base)


class RealNVP(Flow):
    """Affine couplings. Dinh, Sohl-Dickstein, Bengio 2017, Density Estimation Using Real NVP."""

    elementwise: Elementwise = Affine()

    def __init__(
        self,
        features: int,
        context: int = 0,
        transforms: int = 6,
        hidden: Sequence[int] = HIDDEN,
        waves: int = 0,
        norm: bool = False,
        base: Base | str | None = None,
    ) -> None:
        couplings = _couplings(features, context, transforms, self.elementwise, hidden, View(waves), norm)
        super().__init__(self.among(couplings, features), features, context, base)

    @staticmethod
    def among(couplings: list[Layer], features: int) -> list[Layer]:
        """The couplings and what lies among them."""
        return couplings


class NICE(RealNVP):
    """Additive couplings and a linear map at the end, of which the paper has the diagonal.

    Dinh, Krueger, Bengio 2015, NICE: Non-linear Independent Components Estimation.
    """

    elementwise = Additive()

    @staticmethod
    def among(couplings: list[Layer], features: int) -> list[Layer]:
        return [*couplings, LULinear(features, permute=False)]


class Glow(RealNVP):
    """Actnorm, an LU linear map and an affine coupling, again and again. Kingma, Dhariwal 2018, Glow."""

    @staticmethod
    def among(couplings: list[Layer], features: int) -> list[Layer]:
        return [part for one in couplings for part in (ActNorm(features), LULinear(features), one)]


class MAF(Flow):
    """Affine autoregressive layers, the order reversed between them: density in one pass, samples in one pass too.

    Papamakarios, Pavlakou, Murray 2017, Masked Autoregressive Flow for Density Estimation.
    """

    inverse = False

    def __init__(
        self,
        features: int,
        context: int = 0,
        transforms: int = 5,
        hidden: Sequence[int] = HIDDEN,
        waves: int = 0,
        base: Base | str | None = None,
    ) -> None:
        layers = _autoregressive(features, context, transforms, Affine(), hidden, View(waves))
        super().__init__([Inverse(layer) for layer in layers] if self.inverse else layers, features, context, base)


class IAF(MAF):
    """MAF the other way round. Kingma et al. 2016, Improved Variational Inference with Inverse Autoregressive Flow."""

    inverse = True


class NSF(Flow):
    """Rational-quadratic splines, in couplings or autoregressive (`coupling=False`).

    Beyond +-bound the map is the identity. With `linear` an LU map follows each layer, as in the paper. With `circular`
    the features are angles in [-pi, pi], the splines close the circle, a learned turn lies before each layer, and the
    base is uniform: a density on the torus, which sees x modulo 2 pi. `circular` may name those that are angles,
    (0, 3): they have a flow on their torus, the others, which `base` is of, one given them (nn/angles.py).
    base="uniform" is a density on [-bound, bound]^D: the splines' ends are free, and no LU maps leave the box.

    Papers: Durkan et al. 2019, Neural Spline Flows; Rezende et al. 2020, Normalizing Flows on Tori and Spheres.
    """

    def __init__(
        self,
        features: int,
        context: int = 0,
        transforms: int = 8,
        hidden: Sequence[int] = HIDDEN,
        waves: int = 0,
        norm: bool = True,
        bins: int = 8,
        coupling: bool = True,
        bound: float = 5.0,
        circular: bool | Sequence[int] = False,
        linear: bool = True,
        base: Base | str | None = None,
    ) -> None:
        if not isinstance(circular, bool):
            words = {"transforms": transforms, "hidden": hidden, "waves": waves, "norm": norm, "bins": bins}
            words |= {"bound": bound, "linear": linear, "base": base}
            layer, base = _angled(features, context, tuple(circular), coupling, words)
            super().__init__(layer, features, context, base)
            return
        spline, view = Spline(bins, bound), View(waves)
        if circular:
            spline, view = Spline(bins, math.pi, ends="circular"), View(waves, angle=True)
            base = Uniform(features, math.pi) if base in (None, "uniform") else base
            if isinstance(base, str) or base.bound != math.pi:
                raise SpecError(
                    f"expected base=Uniform({features}, math.pi), or none, with circular=True, got "
                    f"{base if isinstance(base, str) else type(base).__name__}: a base of angles is a law of the circle"
                )
        elif base == "uniform":
            spline, linear, base = Spline(bins, bound, ends="bounded"), False, Uniform(features, bound)
        if coupling:
            layers = _couplings(features, context, transforms, spline, hidden, view, norm)
        else:
            layers = _autoregressive(features, context, transforms, spline, hidden, view)
        if circular:
            layers = [part for layer in layers for part in (Turn(features), layer)]
        elif linear:
            layers = [part for layer in layers for part in (layer, LULinear(features, permute=False))]
        super().__init__(layers, features, context, base)


def _angled(
    features: int, context: int, circular: tuple[int, ...], coupling: bool, words: dict[str, Any]
) -> tuple[Layer, Base]:
    """The layer of features of which some are angles, and its base: `base` of the words is that of the others."""
    angles, others = len(set(circular)), features - len(set(circular))
    if not set(circular) <= set(range(features)) or not angles or not others:
        raise SpecError(
            f"expected circular as numbers of some of the {features} features, from 0, got {circular}: True or False "
            "for all or none of them"
        )
    which = Angles(tuple(sorted(set(circular))), features)
    torus = NSF(angles, context, coupling=coupling and angles > 1, circular=True, **words | {"base": None})
    line = NSF(others, context + 2 * angles, coupling=coupling and others > 1, **words)
    return Angled(which, torus.layers, line.layers), BesideAngles(which, line.base)


class ResidualFlow(Flow):
    """The identity plus contractions, actnorm before each; log|det| is exact up to 64 features, else an estimate.

    Chen et al. 2019, Residual Flows for Invertible Generative Modeling.
    """

    def __init__(
        self,
        features: int,
        context: int = 0,
        transforms: int = 6,
        hidden: Sequence[int] = (64, 64),
        base: Base | str | None = None,
    ) -> None:
        _check(features, context, transforms, hidden, least=1)
        parts = [(ActNorm(features), Residual(features, context, hidden)) for _ in range(transforms)]
        super().__init__([layer for pair in parts for layer in pair], features, context, base)


class FFJORD(Flow):
    """The flow of a differential equation, by `steps` of a Runge-Kutta method; `exact` as for Continuous.

    Grathwohl et al. 2019, FFJORD.
    """

    def __init__(
        self,
        features: int,
        context: int = 0,
        transforms: int = 1,
        hidden: Sequence[int] = (64, 64),
        steps: int = 16,
        base: Base | str | None = None,
        exact: int = EXACT,
    ) -> None:
        _check(features, context, transforms, hidden, least=1)
        layers = [Continuous(features, context, hidden, steps, exact) for _ in range(transforms)]
        super().__init__(layers, features, context, base)


def _couplings(
    features: int,
    context: int,
    transforms: int,
    elementwise: Elementwise,
    hidden: Sequence[int],
    view: View,
    norm: bool,
) -> list[Layer]:
    """Couplings that keep a random half of the features and then the other, in turn."""
    _check(features, context, transforms, hidden, least=1)
    layers: list[Layer] = []
    keep = torch.zeros(features, dtype=torch.bool)
    for i in range(transforms):
        if i % 2 == 0:
            keep = torch.zeros(features, dtype=torch.bool)
            keep[torch.randperm(features)[: features // 2]] = True
        layers.append(Coupling(keep if i % 2 == 0 else ~keep, context, elementwise, hidden, view, norm))
    return layers


def _autoregressive(
    features: int, context: int, transforms: int, elementwise: Elementwise, hidden: Sequence[int], view: View
) -> list[Layer]:
    """Autoregressive layers with the order reversed between them."""
    _check(features, context, transforms, hidden, least=1)
    layers: list[Layer] = []
    for i in range(transforms):
        layers += [Permutation.reverse(features)] * (i > 0)
        layers.append(Autoregressive(features, context, elementwise, hidden, view))
    return layers


def _check(features: int, context: int, transforms: int, hidden: Sequence[int], least: int = 0) -> None:
    sizes(features=features, transforms=transforms, hidden=hidden)
    sizes(least=0, context=context)
    if len(hidden) < least:
        raise SpecError("expected at least one hidden layer, got hidden=(): give widths such as (128, 128)")
