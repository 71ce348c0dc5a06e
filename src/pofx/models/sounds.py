"""Sounds as levels over frames and frequencies: an autoencoder of them and a flow of its codes, fitted in turn."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import SpecError
from ..nn.convnext import Decoder, Encoder, Velocity
from ..nn.matching import regression
from ..spec import Columns, Given, Spec
from .flowing import Solved
from .lifted import Conditioned, Context
from .model import Batch, Clock, Model, Recipe, Rows

STRIDE = 4  # frames of a code
APART = 16  # sounds that are worked on together
KL = 1e-4  # weight of the divergence of a code against the mean error of a level: heavier, half of a code is lost
NEPERS = 9.2  # that the scale of levels spans, 80 decibels: its unit of error
STARTED = 1024  # examples that the decoder starts from
DROPPED = 0.1  # share of the conditions that are hidden in training, for guidance
SHARE = 0.45  # of a fit, for the autoencoder


class SoundCoder(Model):
    """E_q |s - d(z)| + 1e-4 KL(q(z|s) || N(0, 1)), q(z|s) = N(m(s), e^v(s)), levels s on [-1, 1].

    Levels (B, T, F) have codes (B, T / 4, latent): an example of any length T that is a multiple of 4 has one, and
    codes that follow one another are sounds that do. The error is the mean of a number, the divergence that of a code.

    Papers: Kingma, Welling 2014; Rombach et al. 2022, High-Resolution Image Synthesis with Latent Diffusion Models (the
    light divergence); Siuzdak 2024, Vocos (the blocks).
    """

    name = "autoencoder of sounds"

    def __init__(self, spec: Spec, latent: int, width: int, depth: int) -> None:
        super().__init__(spec)
        frames, bins = (int(side or 0) for side in spec.blocks[0].sites)
        self.latent, self.frames, self.bins = latent, frames, bins
        self.encoder = Encoder(bins, 2 * latent, STRIDE, width, depth)
        self.decoder = Decoder(latent, bins, STRIDE, width, depth)

    def recipe(self, rows: int) -> Recipe:
        return Recipe(steps=3000, batch=min(32, max(rows, 1)), rate=3e-3, patience=0)

    @torch.no_grad()
    def start(self, batch: Batch) -> None:
        """What is made is the mean of each frequency at first."""
        self.decoder.fine[-1].bias.copy_(self.scaled(batch[0][:STARTED]).mean((0, 1)))

    def prepare(self, x: Columns, c: Columns | None = None) -> Batch:
        return (torch.from_numpy(np.ascontiguousarray(x[self.spec.fields[0].name])),)

    def scaled(self, levels: Tensor) -> Tensor:
        """Levels, uint8, on [-1, 1]."""
        return levels.to(self.dtype) / 127.5 - 1

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def told(self, levels: Tensor) -> tuple[Tensor, Tensor]:
        """m and v of q, each (B, T / 4, latent)."""
        m, v = self.encoder(self.scaled(levels)).chunk(2, 2)
        return m, v.clamp(-12, 4)

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        m, v = self.told(batch[0])
        noise = torch.randn(m.shape, generator=generator, device=m.device, dtype=m.dtype)
        made = self.decoder(m + (v / 2).exp() * noise)
        error = (made - self.scaled(batch[0])).abs().mean((1, 2)) * (NEPERS / 2)
        return error + KL * (m.square() + v.exp() - v - 1).sum(2).mean(1) / 2

    def levels(self, z: Tensor) -> Tensor:
        """The levels of codes, uint8 (B, T, F)."""
        return ((self.decoder(z) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


class SoundFlow(Conditioned):
    """E |v(t, z_t, c) - (z_1 - z_0)|^2, z_0 codes of an autoencoder of levels (SoundCoder), each on the same scale, z_1
    normal: a rectified flow in the codes of sounds, fitted after the autoencoder.

    A draw solves dz/dt = w v(t, z, c) + (1 - w) v(t, z, none) from t = 1 to 0 in `solver_steps` of Heun's method, w the
    `guidance`: 1 draws from p(x | c), more is nearer to what tells c from the rest, and less varied. `width` and
    `depth` are of the networks, `latent` numbers are a code's at each 4 frames. z and noise: (B, T / 4 latent), and so
    are the codes of `encode`, which are the autoencoder's. There is no log_prob.

    Papers: Liu, Gong, Liu 2023, Flow Straight and Fast; Rombach et al. 2022 (a flow of codes); Ho, Salimans 2021,
    Classifier-Free Diffusion Guidance. Raises SpecError for solver_steps below 1 and a guidance below 0.

        >>> pofx.fit("recordings/", model="flow_matching")  # doctest: +SKIP
    """

    family = "flows"
    abilities = frozenset({"sample", "encode", "express", "interpolate", "condition", "solver_steps"})

    def __init__(
        self,
        spec: Spec,
        width: int = 256,
        depth: int = 8,
        latent: int = 16,
        guidance: float = 1.5,
        solver_steps: int = 8,
    ) -> None:
        super().__init__(spec)
        if guidance < 0:
            raise SpecError(f"expected a guidance of 0 or more, got {guidance}")
        Solved.enough(solver_steps)
        self.guidance, self.solver_steps, self.latent = guidance, solver_steps, latent
        self.lasts = 0  # codes of a draw, 0: those of an example
        self.coder = SoundCoder(spec, latent, width, max(depth // 2, 1))
        self.context = Context(self.sight_of_condition)
        self.frames = self.coder.frames // STRIDE
        self.net = Velocity(latent, self.frames, self.context.width, width, depth)
        self.register_buffer("middle", torch.zeros(latent))
        self.register_buffer("spread", torch.ones(latent))

    # -- two fits ----------------------------------------------------------------------------------------------------

    def stages(self) -> list[tuple[str, Model, float]]:
        return [("autoencoder", self.coder, SHARE), (self.name, self, 1 - SHARE)]

    def players(self) -> dict[str, list[torch.nn.Parameter]]:
        return {"model": [*self.net.parameters(), *self.context.parameters()]}

    def recipe(self, rows: int) -> Recipe:
        return Recipe(steps=4000, batch=min(64, max(rows, 1)), rate=1e-3, patience=0)

    def prepare(self, x: Columns, c: Columns | None = None) -> Batch:
        """m and v of each example's q, once for all of the fit; the condition."""
        m, v = self._told(x)
        return m, v, *self.see_condition(c, len(m))

    @torch.no_grad()
    def _told(self, x: Columns) -> tuple[Tensor, Tensor]:
        blank = torch.zeros(0, self.frames, self.latent, device=self.device)
        parts = [self.coder.told(part.to(self.device)) for part in self.coder.prepare(x)[0].split(APART) if len(part)]
        m, v = zip(*parts or [(blank, blank)], strict=True)
        return torch.cat(m), torch.cat(v)

    @torch.no_grad()
    def start(self, batch: Batch) -> None:
        m, v = batch[:2]
        self.middle.copy_(m.mean((0, 1)))
        self.spread.copy_((m.var((0, 1), correction=0) + v.exp().mean((0, 1))).sqrt().clamp(min=1e-6))

    def plain(self, z: Tensor) -> Tensor:
        """Codes on the scale of the flow, (B, T / 4, latent)."""
        return (z - self.middle) / self.spread

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        m, v, lo, width, codes = batch
        like = {"generator": generator, "device": m.device}
        z = self.plain(m + (v / 2).exp() * torch.randn(m.shape, dtype=m.dtype, **like))
        hidden = torch.rand(len(codes), 1, **like) < DROPPED
        c = self.see((lo, width, codes.masked_fill(hidden, -1)))
        return regression(lambda t, x: self.net.velocity(t, x, c), z, "rectified", generator) / z[0].numel()

    def see(self, condition: Batch) -> Tensor | None:
        """The context of sounds, (n, C), None where the model has none."""
        return self.context(*condition) if self.context.width else None

    # -- draws -------------------------------------------------------------------------------------------------------

    @property
    def labour(self) -> float:
        twice = 2 if self.context.width and self.guidance != 1 else 1
        return 2.0 * twice * self.solver_steps * sum(v.numel() for v in self.net.parameters()) * self.frames

    @property
    def span(self) -> int:
        return APART

    @contextmanager
    def solved(self, steps: int | None = None, guidance: float | None = None) -> Iterator[None]:
        """The equation solved in so many steps, with such a guidance, for a while."""
        before = self.solver_steps, self.guidance
        self.solver_steps, self.guidance = steps or before[0], before[1] if guidance is None else guidance
        try:
            yield
        finally:
            self.solver_steps, self.guidance = before

    @contextmanager
    def lasting(self, codes: int) -> Iterator[None]:
        """Draws of so many codes for a while: an example, gone on with (`gone_on`) or cut; 0: an example."""
        self.lasts = codes
        try:
            yield
        finally:
            self.lasts = 0

    def _velocity(self, t: float, x: Tensor, condition: Batch) -> Tensor:
        w, times = self.guidance, x.new_full((len(x),), t)
        if w == 1 or not self.context.width:
            return self.net.velocity(times, x, self.see(condition))
        lo, width, codes = condition
        both = self.see((lo.repeat(2, 1), width.repeat(2, 1), torch.cat([codes, torch.full_like(codes, -1)])))
        v, free = self.net.velocity(times.repeat(2), x.repeat(2, 1, 1), both).chunk(2)
        return free + w * (v - free)

    def _solve(self, x: Tensor, condition: Batch, start: float, end: float, known: Tensor | None = None) -> Tensor:
        """x(end) of x(start), (B, T / 4, latent), by Heun's method; the first codes go straight to `known` ones."""
        h, first = (end - start) / self.solver_steps, x
        for i in range(self.solver_steps):
            t = start + i * h
            v = self._velocity(t, x, condition)
            x = x + h / 2 * (v + self._velocity(t + h, x + h * v, condition))
            if known is not None:
                k = known.shape[1]
                x = torch.cat([(1 - t - h) * known + (t + h) * first[:, :k], x[:, k:]], 1)
        return x

    @torch.no_grad()
    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randn(n, self.code_size, generator=generator, device=generator.device)

    @torch.no_grad()
    def drawn(self, z: Tensor, c: Columns | None = None, known: Tensor | None = None) -> Tensor:
        """The codes, (n, T / 4, latent), of noise; the first of them `known`, (n, k, latent)."""
        seen, out = self.see_condition(c, len(z)), []
        for at in range(0, len(z), APART):
            some = slice(at, at + APART)
            x = z[some].to(self.device, self.dtype).view(-1, self.frames, self.latent)
            held = None if known is None else self.plain(known[some].to(x))
            out.append(self._solve(x, tuple(part[some] for part in seen), 1.0, 0.0, held))
        return torch.cat(out) * self.spread + self.middle

    def decode(
        self, z: Tensor, c: Columns | None = None, given: Given | None = None, known: Rows | None = None
    ) -> Columns:
        self.refuse(given, known)
        codes = self.drawn(z, c)
        if self.lasts:
            each = [torch.Generator().manual_seed(_seed(row)) for row in z]
            more = partial(_normal, each, self.code_size)
            codes = self.gone_on(codes, self.lasts, c, more)[:, : self.lasts]
        return self.express(codes.flatten(1))

    def gone_on(
        self, codes: Tensor, end: int, c: Columns | None, noise: Callable[[], Tensor], held: int | None = None
    ) -> Tensor:
        """Codes, (n, k, latent), and what follows until there are `end` or more. The last `held` of them, half an
        example by default, are held while as many as are missing for an example are drawn from `noise`.
        """
        held = self.frames // 2 if held is None else held
        while codes.shape[1] < end:
            known = codes[:, max(codes.shape[1] - held, 0) :]
            codes = torch.cat([codes, self.drawn(noise(), c, known)[:, known.shape[1] :]], 1)
        return codes

    # -- codes -------------------------------------------------------------------------------------------------------

    @property
    def code_size(self) -> int:
        return self.frames * self.latent

    @torch.no_grad()
    def encode(self, x: Columns, c: Columns | None = None) -> Tensor:
        return self._told(x)[0].flatten(1).cpu()

    @torch.no_grad()
    def express(self, z: Tensor, c: Columns | None = None) -> Columns:
        """The levels of codes; as many frames as these have."""
        codes = z.to(self.device, self.dtype).view(len(z), -1, self.latent)
        return {self.spec.fields[0].name: torch.cat([self.coder.levels(p) for p in codes.split(APART)]).cpu().numpy()}

    @torch.no_grad()
    def back(self, z: Tensor, c: Columns | None = None) -> Tensor:
        """The noise that codes, (n, T / 4 latent), come from without guidance, (n, T / 4 latent)."""
        x = self.plain(z.to(self.device, self.dtype).view(-1, self.frames, self.latent))
        with self.solved(guidance=1.0):
            return self._solve(x, self.see_condition(c, len(x)), 0.0, 1.0).flatten(1)

    def misfit(self, x: Columns, c: Columns | None = None) -> np.ndarray:
        """The mean distance of levels from those that the codes stand for, (n,), in steps."""
        return np.abs(self._off(x)).mean((1, 2), dtype=np.float64)

    def _off(self, x: Columns) -> np.ndarray:
        name = self.spec.fields[0].name
        return self.express(self.encode(x))[name].astype(np.float32) - x[name]

    def remarks(self, x: Columns, c: Columns | None = None) -> dict[str, Any]:
        """How far levels are from rebuilt ones, in steps, and the square of that on [0, 1]."""
        off = self._off(x)
        return {"steps off": float(np.abs(off).mean()), "squared error": float(np.square(off / 255).mean())}


def _seed(noise: Tensor) -> int:
    """A seed that a row's noise decides, so that what follows it is its own."""
    return int.from_bytes(blake2b(noise.cpu().numpy().tobytes(), digest_size=7).digest(), "little")


def _normal(each: list[torch.Generator], size: int) -> Tensor:
    """Normal numbers, (n, size), of n generators."""
    return torch.cat([torch.randn(1, size, generator=generator) for generator in each])
