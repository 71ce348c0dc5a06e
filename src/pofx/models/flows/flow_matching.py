"""flow_matching: a differential equation learned by regression, without being solved."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ...errors import SpecError, Unsupported
from ...nn import flows
from ...nn.coders import channels
from ...nn.matching import regression
from ...nn.unet import Velocity
from ...spec import Columns, Spec
from ..flowing import Solved
from ..lifted import to_normal
from ..model import Batch, Clock, Recipe
from ..pixel_flows import OfImages
from ..sounds import SoundFlow


def chosen(path: str, condition: int) -> str:
    """The path; SpecError for another word, and for transport with a condition."""
    if path not in flows.PATHS:
        raise SpecError(f"expected path among {', '.join(flows.PATHS)}, got {path!r}")
    if path == "transport" and condition:
        raise SpecError("expected no condition with path='transport', got one: use path='rectified'")
    return path


class PixelFlowMatching(OfImages):
    """E |v(t, x_t, c) - (x_1 - x_0)|^2, x_0 images with fresh noise in their shades, scaled to [-1, 1], x_1 normal.

    v is a U-Net (nn/unet.py) of an eighth of `width` channels at full size, twice and four times as many below, `depth`
    blocks at each size. A draw solves dx/dt = v from t = 1 to 0 in `solver_steps` of Heun's method (two passes a step),
    `encode` the other way. It has no log_prob: the trace of dv/dx at so many numbers is an estimate, and a bound of
    importance samples would count its noise as likelihood. z and noise: (B, C H W).

    Papers: those of the model of tables below; Karras et al. 2022, Elucidating the Design Space (Heun's method).
    Raises SpecError for another path, for transport with labels, and for solver_steps below 1.

        >>> pofx.fit("pictures/", model="flow_matching")  # doctest: +SKIP
    """

    abilities = OfImages.abilities | {"solver_steps"}

    def __init__(
        self, spec: Spec, width: int = 128, depth: int = 1, solver_steps: int = 10, path: str = "rectified"
    ) -> None:
        super().__init__(spec)
        self.path = chosen(path, self.context.width)
        Solved.enough(solver_steps)
        self.solver_steps, self.shape = solver_steps, self.pixels.shape
        self.wide = max(1, channels(width) // 2)
        self.net = Velocity(self.shape[0], self.context.width, self.wide, depth)

    @property
    def room(self) -> int:
        return 4 * self.wide * self.shape[1] * self.shape[2]

    @property
    def code_size(self) -> int:
        return self.shape[0] * self.shape[1] * self.shape[2]

    def recipe(self, rows: int) -> Recipe:
        return Recipe(steps=min(10000, 1500 + rows // 10), batch=min(64, max(rows, 1)), rate=1e-3, clip=1e3)

    def scaled(self, pixels: Tensor, u: Tensor) -> Tensor:
        """Shades at the places u of their cells, on [-1, 1]."""
        return (pixels + u).to(self.dtype) * (2 / (self.pixels.top + 1)) - 1

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        pixels, c = batch[0], self.see(batch[1:])
        u = torch.rand(pixels.shape, generator=generator, device=pixels.device, dtype=self.dtype)
        return regression(lambda t, x: self.net.velocity(t, x, c), self.scaled(pixels, u), self.path, generator)

    @contextmanager
    def solved(self, steps: int) -> Iterator[None]:
        """The equation solved in so many steps, for a while."""
        Solved.enough(steps)
        before, self.solver_steps = self.solver_steps, steps
        try:
            yield
        finally:
            self.solver_steps = before

    def _solve(self, x: Tensor, c: Tensor | None, start: float, end: float) -> Tensor:
        """x(end) of x(start) by Heun's method on an even grid."""
        h = (end - start) / self.solver_steps
        for i in range(self.solver_steps):
            t = x.new_full((len(x),), start + i * h)
            v = self.net.velocity(t, x, c)
            x = x + h / 2 * (v + self.net.velocity(t + h, x + h * v, c))
        return x

    @torch.no_grad()
    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randn(n, self.code_size, generator=generator, device=generator.device)

    def _back(self, z: Tensor, c: Tensor | None) -> Columns:
        x = self._solve(z.view(-1, *self.shape), c, 1.0, 0.0)
        levels = self.pixels.top + 1
        shades = ((x + 1) * (levels / 2)).floor().clamp(0, self.pixels.top).to(torch.uint8).cpu().numpy()
        return {f.name: shades[:, i] for i, f in enumerate(self.spec.fields)}

    @torch.no_grad()
    def encode(self, x: Columns, c: Columns | None = None) -> Tensor:
        """The noise that images at the middle of their cells come from, (n, C H W), up to the error of the method."""
        out = [torch.zeros(0, self.code_size)]
        for batch in self.chunks(x, c):
            middle = self.scaled(batch[0], torch.full_like(batch[0], 0.5, dtype=self.dtype))
            out.append(self._solve(middle, self.see(batch[1:]), 0.0, 1.0).flatten(1).cpu())
        return torch.cat(out)

    def _cannot(self, what: str) -> Unsupported:
        if what == "log_prob":
            return Unsupported("flow_matching of images cannot give a likelihood: realnvp, glow, vae and iwae can")
        return super()._cannot(what)


class FlowMatching(Solved):
    """E |v(t, x_t, c) - (x_1 - x_0)|^2 with x_t = (1 - t) x_0 + t x_1, x_0 data, x_1 normal, t uniform.

    The velocity that attains the minimum carries the data to the normal law, so that log p follows from the
    differential equation as for ffjord: a bound in nats, while the loss is a squared length. What is watched on
    validation rows is that likelihood. path="transport" pairs each batch with its noise at the least total distance;
    `solver_steps` can then be fewer. See models/flowing.py for how a table's rows become numbers.

    Papers: Lipman et al. 2023, Flow Matching for Generative Modeling; Liu, Gong, Liu 2023, Flow Straight and Fast; Tong
    et al. 2024, Improving and Generalizing Flow-Based Generative Models with Minibatch Optimal Transport.
    Raises SpecError for another path, and for transport with a condition.

        >>> pofx.fit("numbers.parquet", model="flow_matching")  # doctest: +SKIP
    """

    images = True
    pictured = PixelFlowMatching
    sounded = SoundFlow

    def __init__(
        self,
        spec: Spec,
        width: int = 128,
        depth: int = 3,
        solver_steps: int = 16,
        path: str = "rectified",
        samples: int = 16,
    ) -> None:
        super().__init__(spec, samples, solver_steps)
        self.path = chosen(path, self.context.width)
        wide = (width,) * depth
        self.flow = flows.FFJORD(
            self.features, self.context.width, hidden=wide, steps=solver_steps, exact=self.features
        )

    def recipe(self, rows: int) -> Recipe:
        return Recipe(steps=min(6000, 1500 + rows // 5), batch=min(256, max(rows, 1)), rate=2e-3)

    def start(self, batch: Batch) -> None:
        """Nothing starts from data: the base is what the regression leads to, the normal law."""

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        lo, width = batch[:2]
        x = to_normal(lo + width * self._uniform(lo, generator)).to(self.dtype)
        return flows.flow_matching(self.flow, x, self._see(batch[4:]), self.path, generator)

    def validate(self, batch: Batch, generator: torch.Generator) -> Tensor:
        return super().loss(batch, Clock(1, 1), generator)

    @staticmethod
    def _uniform(like: Tensor, generator: torch.Generator) -> Tensor:
        return torch.rand(like.shape, generator=generator, device=like.device, dtype=like.dtype)


MODEL = FlowMatching
