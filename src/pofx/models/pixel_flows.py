"""Flows of images: shades as normal numbers, a flow of several scales, bounds by importance, labels summed over."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from ..errors import SpecError
from ..nn.certificate import Certificate, certify
from ..nn.coders import channels
from ..nn.flow import Flow
from ..nn.scales import Smear, Step, halvings, multiscale
from ..objectives import normal_log_prob
from ..spec import Columns, Given, Spec
from .classes import Classes
from .coded import Bound, turned, weighed
from .lifted import Conditioned, Context, to_normal
from .model import DRAWN, Batch, Clock, Recipe, Rows, spans
from .shades import Shades, normal_at
from .vectors import PixelVectors

DEQUANTISED = ("uniform", "variational")
STARTED = 512  # images that actnorm starts from


class OfImages(Conditioned):
    """What flows of images have in common: a batch is (pixels, lo, width, codes of the condition).

    A missing label has a vector of its own in training.
    """

    family = "flows"
    images = True
    abilities = frozenset({"sample", "encode", "interpolate", "condition"})

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.context = Context(self.sight_of_condition)
        self.pixels = PixelVectors(spec)

    @property
    def span(self) -> int:
        return self.together(DRAWN)

    def prepare(self, x: Columns, c: Columns | None = None) -> Batch:
        pixels = self.pixels.prepare(x)
        return pixels, *self.see_condition(c, len(pixels))

    def see(self, condition: Batch) -> Tensor | None:
        """The context of images, (n, C), None where the model has none."""
        return self.context(*condition) if self.context.width else None

    def chunks(self, x: Columns, c: Columns | None, most: int = DRAWN) -> Iterator[Batch]:
        """The images as batches on the model's device."""
        for part in zip(*(tensor.split(self.together(most)) for tensor in self.prepare(x, c)), strict=True):
            yield tuple(tensor.to(self.device) for tensor in part)

    def _back(self, z: Tensor, c: Tensor | None) -> Columns:
        """The stored columns of codes given their context."""
        raise NotImplementedError

    @torch.no_grad()
    def express(self, z: Tensor, c: Columns | None = None) -> Columns:
        """The images of codes, (n, D): the way back of `encode`."""
        seen = self.see(self.see_condition(c, len(z)))
        parts = [
            self._back(z[at].to(self.device, self.dtype), None if seen is None else seen[at])
            for at in spans(len(z), self.span)
        ]
        return {f.name: np.concatenate([part[f.name] for part in parts]) for f in self.spec.fields}

    def decode(
        self, z: Tensor, c: Columns | None = None, given: Given | None = None, known: Rows | None = None
    ) -> Columns:
        self.refuse(given, known)
        return self.express(z, c)


class PixelFlow(OfImages):
    """log p(k|c) >= E log [p(f(z)|c) |det df/dz| P(k) / (N(z) r(u|k))], z of models/shades.py, u ~ r in the unit cube.

    f is a chain over several scales (nn/scales.py); r is uniform, or with dequantise="variational" learned. The loss
    takes one u; `log_prob` the mean over `samples` of them, and `bound` says its standard error and effective sample
    size. The label c of an image that has none is summed over: log p(k) = log sum_c p(c) p(k|c), and `settled` is the
    likeliest. z and noise: (B, D) normal numbers, D = C H W padded; `encode` takes the middle of each cell.

    Papers: Dinh, Sohl-Dickstein, Bengio 2017; Kingma, Dhariwal 2018; Theis, van den Oord, Bethge 2016 (the bound); Ho
    et al. 2019, Flow++ (variational dequantisation). Raises SpecError for another word of dequantise.
    """

    abilities = OfImages.abilities | {"log_prob", "bound", "check"}

    def __init__(
        self,
        spec: Spec,
        made: Callable[[int, int, int], tuple[Step, Step]],
        transforms: int,
        width: int,
        depth: int,
        samples: int,
        dequantise: str,
    ) -> None:
        super().__init__(spec)
        if dequantise not in DEQUANTISED:
            raise SpecError(f"expected dequantise among {', '.join(DEQUANTISED)}, got {dequantise!r}")
        self.samples = samples
        self.shades = Shades(spec, 2 ** halvings(self.pixels.shape[1:]))
        self.classes, wide = Classes(self.sight_of_condition), channels(width)
        layers = multiscale(self.shades.shape, *made(self.context.width, wide, depth), transforms)
        self.flow = Flow(layers, self.shades.features, self.context.width)
        self.smear = Smear(self.shades.shape, wide, depth) if dequantise == "variational" else None
        self.wide = wide

    @property
    def room(self) -> int:
        return 2 * self.wide * self.shades.features

    def recipe(self, rows: int) -> Recipe:
        return Recipe(steps=min(6000, 600 + rows // 10), batch=min(64, max(rows, 1)), rate=2e-3, clip=100.0)

    @torch.no_grad()
    def start(self, batch: Batch) -> None:
        """Actnorm starts from data before the first step, so that a resumed fit starts alike."""
        some = tuple(part[:STARTED] for part in batch)
        generator = torch.Generator(self.device).manual_seed(0)
        low, gap, _ = self.shades.cells(some[0])
        u = torch.rand(low.shape, generator=generator, device=low.device, dtype=low.dtype)
        z = normal_at(low, gap, u).to(self.dtype)
        self.flow.start(z, self.see(some[1:]))

    # -- likelihood --------------------------------------------------------------------------------------------------

    def log_weight(self, pixels: Tensor, w: Tensor, c: Tensor | None) -> Tensor:
        """log p(k, u|c) - log r(u|k) of images at uniform numbers w, (K, B, D), that u is made of: (K, B), nats."""
        low, gap, whole = self.shades.cells(pixels)
        k, b, d = w.shape
        u, price = w.reshape(k * b, d), 0.0
        if self.smear is not None:
            image = self.shades.image(pixels, self.flow.like).repeat(k, 1, 1, 1)
            v, price = self.smear(to_normal(u).to(self.dtype), image)
            u = torch.special.ndtr(v.double())
        z = normal_at(low.repeat(k, 1), gap.repeat(k, 1), u).to(self.dtype)
        return (self.flow.density(z, c) - normal_log_prob(z) + whole.repeat(k).to(z.dtype) - price).view(k, b)

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        shape = (1, len(batch[0]), self.shades.features)
        w = torch.rand(shape, generator=generator, device=self.device, dtype=torch.float64)
        return -self.log_weight(batch[0], w, self.see(batch[1:]))[0]

    @property
    def weighs(self) -> bool:
        return True

    @torch.no_grad()
    def bound(
        self, x: Columns, c: Columns | None = None, draws: int | None = None, known: np.ndarray | None = None
    ) -> Bound:
        """The importance-weighted bound of each image, summed over the classes of one whose label is missing.

        Raises SpecError for draws below 1.
        """
        if draws is not None and draws < 1:
            raise SpecError(f"expected draws of at least 1, got {draws}")
        self.refuse(None, known)
        draws, parts = draws or self.samples, [(torch.zeros(0, dtype=torch.float64),) * 3]
        for batch in self.chunks(x, c):
            found = torch.stack(self._weighed(batch[0], batch[1:], draws))
            gone = self.classes.gone(batch[3])
            if len(gone):
                each = [torch.stack(row) for row in zip(*self._each(batch[0][gone], draws), strict=True)]
                found[:, gone.cpu()] = torch.stack(self.classes.summed(*each))
            parts.append(tuple(found))
        value, error, size = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
        return Bound(value, error, size, draws)

    def _weighed(self, pixels: Tensor, condition: Batch, draws: int) -> tuple[Tensor, Tensor, Tensor]:
        c, own = self.see(condition), turned(self.shades.trace(pixels), self.shades.features)
        told = self.wide * self.shades.features
        weigh = lambda z: self.log_weight(pixels, torch.special.ndtr(z.to(self.device)), c)  # noqa: E731
        return weighed(weigh, own, draws, told)

    def _each(self, pixels: Tensor, draws: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The bounds of images under each class in turn."""
        blank = torch.zeros(len(pixels), 0, dtype=torch.float64, device=self.device)
        for k in range(self.classes.count):
            codes = torch.full((len(pixels), 1), k, device=self.device)
            yield self._weighed(pixels, (blank, blank, codes), draws)

    def log_prob(self, x: Columns, c: Columns | None = None) -> np.ndarray:
        return self.bound(x, c).value

    @property
    def settles(self) -> bool:
        return self.classes.count > 0

    @torch.no_grad()
    def settled(self, x: Columns, c: Columns | None = None, known: np.ndarray | None = None) -> Columns | None:
        """The condition with the likeliest class, argmax p(c) p(k|c), where it is missing."""
        if not c or not self.settles:
            return c
        (field,) = self.sight_of_condition.fields
        codes, at = self.sight_of_condition.see(c)[2][:, 0], 0
        missing = (codes < 0).numpy()
        for batch in self.chunks(x, c) if missing.any() else ():
            gone = self.classes.gone(batch[3])
            if len(gone):
                values = torch.stack([value for value, *_ in self._each(batch[0][gone], 1)])
                codes[at + gone.cpu()] = (values + self.classes.log_p.cpu()[:, None]).argmax(0)
            at += len(batch[0])
        blank = torch.zeros(len(codes), 0)
        filled = self.sight_of_condition.lower(blank, codes.clamp(min=0)[:, None])[field.name]
        return {field.name: np.where(missing, filled, c[field.name])}

    # -- codes -------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randn(n, self.shades.features, generator=generator, device=generator.device)

    def _back(self, z: Tensor, c: Tensor | None) -> Columns:
        return self.shades.lower(self.flow.layers.inverse(z, c))

    @torch.no_grad()
    def encode(self, x: Columns, c: Columns | None = None) -> Tensor:
        """f(z) at the middle of each cell, (n, D): noise that decodes to x, up to the precision of the weights."""
        out = [torch.zeros(0, self.shades.features)]
        for batch in self.chunks(x, self.settled(x, c)):
            low, gap, _ = self.shades.cells(batch[0])
            z = normal_at(low, gap, torch.full_like(low, 0.5)).to(self.dtype)
            out.append(self.flow.layers.call_and_ladj(z, self.see(batch[1:]))[0].cpu())
        return torch.cat(out)

    @property
    def code_size(self) -> int:
        return self.shades.features

    @torch.no_grad()
    def check(
        self, rows: int, generator: torch.Generator, x: Columns | None = None, c: Columns | None = None
    ) -> Certificate:
        """The certificate of the flow at z of images, or at z of its own draws; at most DRAWN of them."""
        rows = min(rows, self.together(DRAWN))
        if x is not None:
            some = {k: v[:rows] for k, v in x.items()}
            batch = tuple(
                t.to(self.device) for t in self.prepare(some, {k: v[:rows] for k, v in c.items()} if c else c)
            )
            low, gap, _ = self.shades.cells(batch[0])
            u = torch.rand(low.shape, generator=generator, dtype=torch.float64).to(self.device)
            return certify(self.flow, normal_at(low, gap, u).to(self.dtype), self.see(batch[1:]))
        noise = self.noise(rows, generator).to(self.device, self.dtype)
        seen = self.see(self.see_condition({k: v[:rows] for k, v in c.items()} if c else c, rows))
        return certify(self.flow, self.flow.layers.inverse(noise, seen), seen)
