"""Images to a file as short as a model's bound says, and back, exactly: bits back with asymmetric numeral systems.

For each lane of images, with the stack holding what came before:

    pop z ~ q(z|x),   push x under p(x|z),   push z under p(z),

so that x costs -log p(x|z) - log p(z) + log q(z|x), the bound of one draw. A latent number is the index of one of
2^BINS intervals of equal mass under its own prior N(m, s), given the levels above it: its law under the prior is
uniform, and q's masses are differences of normal distribution functions. Where the prior is a flow z = g(u), the
numbers are those of u of N(0, I), and q(u|x) is the product of normal laws nearest to g^-1 of draws of q(z|x); any q
is exact, and this one costs what it is further from p(u|x). A label is pushed last, under p(c).

The first lane takes its z from bits that are known (`Stack`), which none of the images gave: with its head that is
what a file costs more than the bound. So few images go in few lanes.

All of it is in float64 on one thread, so that the same machine and torch give the same laws on both ways.

Papers: Hinton, van Camp 1993; Townsend, Bird, Barber 2019, Bits Back Coding; Kingma, Abbeel, Ho 2019, Bit-Swap.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from .ans import PRECISION, Stack, finder, frequencies, push_symbols
from .errors import SpecError, Unsupported
from .learn import torch_threads
from .models.lens import PixelLens
from .models.lifted import sobol, to_normal
from .models.model import Model
from .models.variational import Variational
from .nn.heads import Bernoulli
from .nn.latents import Ladder, Single
from .nn.posteriors import Diagonal
from .nn.priors import FlowPrior, StandardNormal
from .spec import Columns

BINS = 12  # bits of a latent number: 2^BINS intervals
LANES = 64  # images coded side by side at most,
TURNS = 16  # where each lane has so many
POINTS = 128  # draws of q(z|x) that say where u lies
ABLE = "fit images with hvae, or with vae or iwae and prior='realnvp' or 'normal'"


@dataclass(frozen=True)
class Compressed:
    """How long a file became, bits a dimension: in all, and by the bound of the model alone."""

    bits: float
    bound: float

    def __str__(self) -> str:
        return (
            f"{self.bits:.3f} bits a dimension, {self.bound:.3f} by the model's bound and {self.bits - self.bound:.3f} "
            "for the header and the start of each lane, which more images share"
        )


@dataclass
class Compressor:
    """Compresses images, and their labels, by an hvae, or a vae or iwae whose prior is realnvp or normal.

    Raises Unsupported for other models, SpecError for grey images under a law of black and white ones and for labels
    that are missing.
    """

    of: Model

    def __post_init__(self) -> None:
        if not isinstance(self.of, Variational):
            raise self._cannot()
        self.model = copy.deepcopy(self.of).double().eval()  # in float64, which the user's model is not
        law = self.model.latents
        single = isinstance(law, Single) and isinstance(law.prior, FlowPrior | StandardNormal)
        if not isinstance(self.model.lens, PixelLens) or not (single or isinstance(law, Ladder)):
            raise self._cannot()
        if self.model.sight_of_condition.numbers:
            raise Unsupported("more than 256 labels do not compress: fit images without (condition=())")

    @property
    def _lens(self) -> PixelLens:
        return cast(PixelLens, self.model.lens)

    def _cannot(self) -> Unsupported:
        return Unsupported(f"model {self.of.name!r} does not compress: {ABLE}")

    # -- the laws ----------------------------------------------------------------------------------------------------

    def _levels(self) -> int:
        return self.model.latents.levels if isinstance(self.model.latents, Ladder) else 1

    def _context(self, codes: Tensor) -> Tensor:
        """The condition's vector of the codes of labels, (lanes, 1), or of none, (lanes, 0)."""
        blank = torch.zeros(len(codes), 0, dtype=torch.float64)
        return self.model.context(blank, blank, codes)

    def _labels(self) -> list[np.ndarray]:
        """p(c) as cumulated frequencies, (1, labels + 1), where there are labels."""
        sight = self.model.sight_of_condition
        return [frequencies(sight.fields[j].mass[None]) for j in sight.groups]

    def _prior(self, level: int, state: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, scale) of p(z_level | state)."""
        if isinstance(self.model.latents, Ladder):
            mean, log = self.model.latents.rungs[level].own(state)
            return mean, log.exp()
        blank = torch.zeros(len(state), self.model.latents.count, dtype=torch.float64)
        return blank, blank + 1  # of u

    def _posterior(self, level: int, state: Tensor, told: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, scale) of q(z_level | state, x) in units of the prior: of (z - m) / s."""
        if isinstance(self.model.latents, Ladder):
            shift, wider = self.model.latents.rungs[level].change(state, told)
            return shift, wider.exp()
        law = cast(Single, self.model.latents)
        if isinstance(law.prior, StandardNormal) and type(law.posterior) is Diagonal:
            mean, log = law.posterior.split(told)
            return mean, log.exp()
        noise = to_normal(sobol(law.count, POINTS)).unsqueeze(1).expand(-1, len(told), -1)
        z = law.infer(told, noise, c=context)[0]
        u = law.prior.pull(z.flatten(0, 1), context.repeat(POINTS, 1)).view_as(z)
        off = (u - u.mean(0)).transpose(0, 1)
        spread = off.mT @ off / POINTS + 1e-9 * torch.eye(law.count, dtype=torch.float64)
        return u.mean(0), torch.linalg.inv(spread).diagonal(dim1=1, dim2=2).rsqrt()

    def _start(self, context: Tensor) -> Tensor:
        law, lanes = self.model.latents, len(context)
        return law.top(context).expand(lanes, -1) if isinstance(law, Ladder) else context.new_zeros(lanes, 1)

    def _step(self, level: int, state: Tensor, index: np.ndarray, context: Tensor) -> Tensor:
        """The state below a level, of the middles of its intervals; with one level, z itself."""
        off, law = torch.special.ndtri((torch.from_numpy(index).double() + 0.5) / 2**BINS), self.model.latents
        if isinstance(law, Ladder):
            mean, scale = self._prior(level, state)
            return law.rungs[level].step(state, mean + scale * off)
        return law.push(off, off[:, 0], context)

    def _pixels(self, code: Tensor, context: Tensor) -> Callable[[int, np.ndarray], np.ndarray]:
        """Cumulated frequencies, (lanes, shades + 1), of shade i of (lanes, shades) of which those before are known."""
        lens = self._lens
        laws, tied = (part.flatten(-2) for part in lens.laws(self.model.say(code[None], context)[0]))
        laws, sites = laws.flatten(2), math.prod(lens.shape[1:])
        shades = torch.arange(lens.top + 1)
        if isinstance(lens.head, Bernoulli):
            ink = torch.sigmoid(laws[:, 0]).clamp(1e-6, 1 - 1e-6)
            return lambda i, _: frequencies(torch.stack([1 - ink[:, i], ink[:, i]], 1).numpy())
        low, high, gap = (end.double().expand(len(code), -1) for end in lens.ends(shades))

        def of(i: int, flat: np.ndarray) -> np.ndarray:
            own = laws[:, :, i : i + 1].expand(-1, -1, len(shades))
            before = torch.from_numpy(flat[:, i % sites : i : sites]).double() * (2 / lens.top) - 1
            moved = torch.as_tensor(lens.moved(tied[..., i % sites], list(before.unbind(1)))).view(-1, 1)
            mass = lens.head.log_mass(low - moved, high - moved, gap, own)  # type: ignore[call-arg]
            return frequencies(mass.exp().numpy())

        return of

    # -- there and back ----------------------------------------------------------------------------------------------

    def _empty(self, lanes: int) -> Stack:
        return Stack(lanes, words=lanes * (2 * self.model.latents.count + 64))

    @torch.no_grad()
    def compress(self, x: Columns, c: Columns | None = None) -> tuple[np.ndarray, float]:
        """(the images as 32-bit words, uint32; the bits that their bound is)."""
        (pixels,), _ = self._lens.prepare(x)
        self._lens.strict((pixels,))
        codes = self.model.see_condition(c, len(pixels))[2]
        if gone := int((codes < 0).any(1).sum()):
            raise SpecError(f"expected the label of every image, got {gone} missing: fill them in first (complete)")
        lanes = lanes_of(len(pixels))
        stack = self._empty(lanes)
        with torch_threads(1):
            for part, of in zip(pixels.split(lanes), codes.split(lanes), strict=True):
                self._push(stack, part, of)
        head = np.array([len(pixels), stack.untouched], np.uint32)
        return np.concatenate([head, stack.to_array()[stack.untouched :]]), stack.spent

    def _push(self, stack: Stack, pixels: Tensor, codes: Tensor) -> None:
        """An image of each lane, (lanes, C, H, W), and the codes of its labels, (lanes, 0 or 1)."""
        context, chosen = self._context(codes), []
        state = self._start(context)
        told = self.model.encoder(self._lens.see((pixels,)), context)
        for level in range(self._levels()):
            chosen.append(self._draw(stack, *self._posterior(level, state, told, context)))
            state = self._step(level, state, chosen[-1], context)
        laws, flat = self._pixels(state, context), self._symbols(pixels)
        for i in reversed(range(flat.shape[1])):
            push_symbols(stack, flat[:, i], laws(i, flat))
        for index in reversed(chosen):
            for j in reversed(range(index.shape[1])):
                self._push_even(stack, index[:, j])
        for j, law in enumerate(self._labels()):
            push_symbols(stack, codes[:, j].numpy(), law)

    @torch.no_grad()
    def decompress(self, words: np.ndarray) -> Columns:
        """The images, and labels, that `compress` made these words of.

        Raises ValueError where they are those of another model, and it shows.
        """
        count, untouched = (int(word) for word in words[:2])
        lanes = lanes_of(count)
        below = self._empty(lanes).to_array()[:untouched]
        stack, parts = Stack.from_array(np.concatenate([below, words[2:]]), lanes), []
        with torch_threads(1):
            for many in reversed([min(lanes, count - i) for i in range(0, count, lanes)]):
                parts.append(self._pop(stack, many))
        images, codes = (torch.cat(part[::-1]) for part in zip(*parts, strict=True))
        made = {f.name: images[:, i].numpy() for i, f in enumerate(self.model.spec.fields)}
        return made | self.model.sight_of_condition.lower(torch.zeros(count, 0), codes)

    def _pop(self, stack: Stack, lanes: int) -> tuple[Tensor, Tensor]:
        """What `_push` pushed: (pixels, codes)."""
        lens, of = self._lens, [stack.pop(lanes, finder(law)) for law in self._labels()]
        codes = torch.from_numpy(np.stack(of, 1)) if of else torch.zeros(lanes, 0, dtype=torch.int64)
        context, chosen = self._context(codes), []
        state = self._start(context)
        for level in range(self._levels()):
            width = self._prior(level, state)[0].shape[1]
            index = np.stack([stack.pop(lanes, _even) for _ in range(width)], 1)
            chosen.append((state, index))
            state = self._step(level, state, index, context)
        laws = self._pixels(state, context)
        flat = np.empty((lanes, math.prod(lens.shape)), np.int64)
        for i in range(flat.shape[1]):
            flat[:, i] = stack.pop(lanes, finder(laws(i, flat)))
        shade = torch.from_numpy(flat * (lens.top if isinstance(lens.head, Bernoulli) else 1)).to(torch.uint8)
        pixels = shade.view(lanes, *lens.shape)
        told = self.model.encoder(lens.see((pixels,)), context)
        for level in reversed(range(self._levels())):
            above, index = chosen[level]
            self._give_back(stack, index, *self._posterior(level, above, told, context))
        return pixels, codes

    def _symbols(self, pixels: Tensor) -> np.ndarray:
        lens = self._lens
        shade = pixels.flatten(1).long()
        return (shade // lens.top if isinstance(lens.head, Bernoulli) else shade).numpy()

    @staticmethod
    def _push_even(stack: Stack, index: np.ndarray) -> None:
        step = 1 << (PRECISION - BINS)
        stack.push(index * step, np.full(len(index), step))

    def _draw(self, stack: Stack, mean: Tensor, scale: Tensor) -> np.ndarray:
        """Indices popped from q, (lanes, numbers)."""
        columns = [stack.pop(len(mean), finder(_bins(mean[:, j], scale[:, j]))) for j in range(mean.shape[1])]
        return np.stack(columns, 1)

    def _give_back(self, stack: Stack, index: np.ndarray, mean: Tensor, scale: Tensor) -> None:
        for j in reversed(range(mean.shape[1])):
            push_symbols(stack, index[:, j], _bins(mean[:, j], scale[:, j]))


def lanes_of(count: int) -> int:
    """How many images are coded side by side, of so many."""
    return min(LANES, max(1, count // TURNS))


EDGES = torch.special.ndtri(torch.arange(1, 2**BINS, dtype=torch.float64) / 2**BINS)


def _bins(mean: Tensor, scale: Tensor) -> np.ndarray:
    """Cumulated frequencies of a normal law over the 2^BINS intervals, (lanes, 2^BINS + 1)."""
    rising = torch.special.ndtr((EDGES - mean[:, None]) / scale[:, None])
    ends = torch.cat([torch.zeros(len(mean), 1), rising, torch.ones(len(mean), 1)], 1)
    return frequencies(ends.diff(dim=1).clamp(min=0).numpy())


def _even(place: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The `Find` of 2^BINS symbols of equal mass."""
    step = 1 << (PRECISION - BINS)
    index = place // step
    return index, index * step, np.full(len(place), step)
