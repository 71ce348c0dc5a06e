"""What restorers of pictures have in common: x from y = A(x), learned on pieces of pictures of any size."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import SpecError
from ..spec import Spec
from .model import Batch, Clock, Model, Recipe

STAGES = ("mean", "texture", "frames")
SPREAD = 0.05  # deviation of the noise that the flow begins with: draws of one y differ, and its field is smooth
FLOW_STEPS = 8  # of Euler's rule: the way is nearly straight
Spoiled = tuple[Tensor, Tensor, Tensor, Tensor | None]
LEAST = 24  # the shortest side of a picture that is learned from
GAIN = 100.0  # times the squared error of numbers in [0, 1], so that losses are near one


class Restorer(Model):
    """r(y) = E[x | y], by min E |x - r(y)|^2; and from there a draw of p(x | y), by a flow:

        dx_t / dt = v(x_t, t, r),  x_0 = r + s n,  x_1 = x:  min E |v(t x + (1 - t) x_0, t, r) - (x - x_0)|^2,
        x(realism) = r + realism (x_1 - r).

    r has the least squared error, x_1 the look of clean pictures, and no restoration has a smaller error at the same
    distance of its law from that of clean pictures than one between the two. x: (B, C, H, W) in [0, 1].

    What a frame of a video shows of the next one is learned by a model that has `frames`. All are learned one after
    the other (`stage`). The loss is a squared error, times GAIN, without unit.

    A model sets `channels`, `patch`, `grid`, `reach` and `scales`, and says what `spoiled`, `mean` and `field` are.

    Papers: Ohayon, Michaeli, Elad 2025, Posterior-Mean Rectified Flow; Freirich, Michaeli, Meir 2021, A Theory of the
    Distortion-Perception Tradeoff in Wasserstein Space.
    """

    family = "restorers"
    images = True
    abilities = frozenset({"restore"})
    channels: int  # of x
    patch: int  # side of the pieces of x that a step sees
    grid: int  # both sides of y are made multiples of it
    reach: int  # pixels of y away that one is seen
    scales: Sequence[int] = (1,)  # how many times larger x is than y
    known: str = "clean"  # what pictures are learned from
    rate: float = 1e-3
    batch: int = 16

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.stage = STAGES[0]
        self.means, self.fields, self.frames = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()

    # -- what a restorer says ----------------------------------------------------------------------------------------

    def spoiled(self, batch: Batch, scale: int, generator: torch.Generator) -> Spoiled:
        """What a step learns from pieces in [0, 1]: (x, y, how much each was spoiled (B, L), the pixels of x that
        count, or None: all).
        """
        raise NotImplementedError

    def mean(self, y: Tensor, level: Tensor, scale: int = 1) -> Tensor:
        """r(y), (B, C, scale H, scale W)."""
        raise NotImplementedError

    def field(self, xt: Tensor, t: Tensor, r: Tensor, level: Tensor, scale: int = 1) -> Tensor:
        """v(x_t, t, r), t: (B,)."""
        raise NotImplementedError

    def loss_of_clips(self, pieces: Tensor, scale: int, generator: torch.Generator) -> Tensor:
        """What is lost on videos that pieces in [0, 1] are made into, of each."""
        raise NotImplementedError

    # -- learning ----------------------------------------------------------------------------------------------------

    def players(self) -> dict[str, list[nn.Parameter]]:
        moved = {"mean": self.means, "texture": self.fields, "frames": self.frames}[self.stage]
        return {self.stage: list(moved.parameters())}

    def pieces(self, *pictures: Sequence[np.ndarray]) -> Batch:
        """Pictures (H, W, C) of bytes as pieces of one size, which overlap and cover them, (n, C, b, b) of bytes; of
        several lists of pictures, that belong together, a tensor each.

        Raises SpecError where none is large enough.
        """
        large = [k for k, p in enumerate(pictures[0]) if min(p.shape[:2]) >= LEAST]
        if not large:
            raise SpecError(f"expected pictures of {LEAST} x {LEAST} pixels or more to learn from, got smaller ones")
        unit = int(np.lcm.reduce([self.grid, *self.scales]))
        side = min(2 * self.patch, min(min(pictures[0][k].shape[:2]) for k in large)) // unit * unit
        return tuple(
            torch.from_numpy(np.stack(_cut(held, large, side)).transpose(0, 3, 1, 2).copy()) for held in pictures
        )

    def turns(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        yield self.stage, self.loss(batch, clock, generator)

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        scale = self.scales[int(torch.randint(len(self.scales), (), generator=generator, device=generator.device))]
        if self.stage == "frames":
            return self.loss_of_clips(self._turned(batch, generator)[0], scale, generator)
        x, y, level, counts = self.spoiled(self._turned(batch, generator), scale, generator)
        x, y, counts = self._part(x, y, counts, scale, generator)
        if self.stage == STAGES[0]:
            missed = (self.mean(y, level, scale) - x).square()
            own = missed if counts is None else missed * counts / counts.mean().clamp(min=1e-6)
            return GAIN * own.flatten(1).mean(1)
        with torch.no_grad():
            r = self.mean(y, level, scale)
        start = r + SPREAD * torch.randn(r.shape, generator=generator, device=r.device)
        t = torch.rand(len(x), generator=generator, device=x.device)
        at = torch.lerp(start, x, t.view(-1, 1, 1, 1))
        return GAIN * (self.field(at, t, r, level, scale) - (x - start)).square().flatten(1).mean(1)

    def _turned(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Square pieces of bytes in [0, 1], all turned and mirrored in the same of the eight ways."""
        way = int(torch.randint(8, (), generator=generator, device=generator.device))
        turned = (torch.rot90(x, way % 4, (2, 3)) for x in batch)
        return tuple((x.flip(3) if way >= 4 else x).to(self.dtype) / 255 for x in turned)

    def _part(
        self, x: Tensor, y: Tensor, counts: Tensor | None, scale: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The same part of x, of y and of what counts, of `patch` pixels of x."""
        unit = scale * self.grid
        side = min(self.patch // unit * unit, x.shape[2])
        free = (x.shape[2] - side) // unit + 1
        i, j = (unit * k for k in torch.randint(free, (2,), generator=generator, device=generator.device).tolist())

        def part(v: Tensor, by: int) -> Tensor:
            return v[..., i // by : (i + side) // by, j // by : (j + side) // by]

        return part(x, 1), part(y, scale), None if counts is None else part(counts, 1)

    @property
    def room(self) -> int:
        return 2 * self.patch**2 * max(self.channels, 4)

    def recipe(self, rows: int) -> Recipe:
        batch = self.batch if self.stage != "frames" else self.batch // 2  # a clip is several pictures
        return Recipe(4000, min(batch, rows), self.rate, warmup=100, floor=0.01, decay=0.0, patience=0)

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    # -- use ---------------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def restored(
        self,
        y: Tensor,
        level: Tensor,
        scale: int = 1,
        realism: float = 0.0,
        noise: Tensor | None = None,
        turned: bool = False,
    ) -> Tensor:
        """x(realism) of y, not clamped; noise: n, of the shape of x, for realism above zero; turned: with the mean of r
        over the eight ways to turn and mirror y.
        """
        r = self._all_ways(y, level, scale) if turned else self.mean(y, level, scale)
        if realism == 0 or noise is None:
            return r
        x = r + SPREAD * noise
        for k in range(FLOW_STEPS):
            t = torch.full((len(x),), k / FLOW_STEPS, dtype=x.dtype, device=x.device)
            x = x + self.field(x, t, r, level, scale) / FLOW_STEPS
        return torch.lerp(r, x, realism)

    def _all_ways(self, y: Tensor, level: Tensor, scale: int) -> Tensor:
        total = torch.zeros(())
        for way in range(8):
            v, own = (torch.rot90(u, way % 4, (2, 3)) if u.dim() == 4 else u for u in (y, level))
            v, own = (u.flip(3) if way >= 4 and u.dim() == 4 else u for u in (v, own))
            r = self.mean(v, own, scale)
            total = total.to(r) + torch.rot90(r.flip(3) if way >= 4 else r, -(way % 4), (2, 3))
        return total / 8


def maps(level: Tensor, like: Tensor) -> Tensor:
    """Levels (B, L), or (B, L, h, w) of the parts of a picture, as channels (B, L, H, W) beside one of that size or
    smaller.
    """
    if level.dim() == 4:
        return F.adaptive_avg_pool2d(level.to(like.dtype), like.shape[2:])
    return level.to(like.dtype).view(*level.shape, 1, 1).expand(-1, -1, *like.shape[2:])


def _cut(pictures: Sequence[np.ndarray], which: Sequence[int], side: int) -> list[np.ndarray]:
    """Pieces of a side, as few as cover each of these pictures."""
    out = []
    for k in which:
        rows, columns = (_starts(length, side) for length in pictures[k].shape[:2])
        out += [pictures[k][i : i + side, j : j + side] for i in rows for j in columns]
    return out


def _starts(length: int, side: int) -> list[int]:
    """Where pieces of a side begin that cover a length evenly."""
    count = -(-length // side)
    return [round(k * (length - side) / max(count - 1, 1)) for k in range(count)]
