"""Images to a file as short as a model's bound says, and back, exactly: bits back with asymmetric numeral systems.

For each lane of images, with the stack holding what came before:

    pop z ~ q(z|x),   push x under p(x|z),   push z under p(z),

so that x costs -log p(x|z) - log p(z) + log q(z|x), the bound of one draw. A latent number is the index of one of
2^BINS intervals of equal mass under its own prior N(m, s), given the levels above it: its law under the prior is
uniform, and q's masses are differences of normal distribution functions.

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
from .models.lens import PixelLens
from .models.model import Model
from .models.variational import Variational
from .nn.heads import Bernoulli
from .nn.latents import Ladder, Single
from .nn.posteriors import Diagonal
from .nn.priors import StandardNormal
from .spec import Columns

BINS = 12  # bits of a latent number: 2^BINS intervals
LANES = 64  # images coded side by side


@dataclass
class Compressor:
    """Compresses images by a vae with prior="normal" or an hvae.

    Raises Unsupported for other models, for those with a condition, which no file keeps, and for grey images under a
    law of black and white ones.
    """

    of: Model

    def __post_init__(self) -> None:
        if not isinstance(self.of, Variational):
            raise self._cannot()
        if self.of.spec.condition:
            raise Unsupported("a model of images with labels does not compress: fit one without (condition=())")
        self.model = copy.deepcopy(self.of).double().eval()  # in float64, which the user's model is not
        law = self.model.latents
        plain = isinstance(law, Single) and isinstance(law.prior, StandardNormal) and type(law.posterior) is Diagonal
        if not isinstance(self.model.lens, PixelLens) or not (plain or isinstance(law, Ladder)):
            raise self._cannot()

    @property
    def _lens(self) -> PixelLens:
        return cast(PixelLens, self.model.lens)

    def _cannot(self) -> Unsupported:
        return Unsupported(
            f"model {self.of.name!r} does not compress: fit images with hvae, or vae with prior='normal'"
        )

    # -- the laws ----------------------------------------------------------------------------------------------------

    def _levels(self) -> int:
        return self.model.latents.levels if isinstance(self.model.latents, Ladder) else 1

    def _told(self, own: tuple[Tensor, ...]) -> Tensor:
        return self.model.encoder(self.model.lens.see(own), torch.zeros(len(own[0]), 0, dtype=torch.float64))

    def _prior(self, level: int, state: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, scale) of p(z_level | state)."""
        if isinstance(self.model.latents, Ladder):
            mean, log = self.model.latents.rungs[level].own(state)
            return mean, log.exp()
        blank = torch.zeros(len(state), self.model.latents.count, dtype=torch.float64)
        return blank, blank + 1

    def _posterior(self, level: int, state: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, scale) of q(z_level | state, x) in units of the prior: of (z - m) / s."""
        if isinstance(self.model.latents, Ladder):
            shift, wider = self.model.latents.rungs[level].change(state, told)
            return shift, wider.exp()
        mean, log = self.model.latents.posterior.split(told)
        return mean, log.exp()

    def _start(self, lanes: int) -> Tensor:
        law = self.model.latents
        return law.first.expand(lanes, -1) if isinstance(law, Ladder) else torch.zeros(lanes, 1, dtype=torch.float64)

    def _step(self, level: int, state: Tensor, index: np.ndarray) -> Tensor:
        """The state below a level, of the middles of its intervals; with one level, z itself."""
        off = torch.special.ndtri((torch.from_numpy(index).double() + 0.5) / 2**BINS)
        mean, scale = self._prior(level, state)
        z = mean + scale * off
        return self.model.latents.rungs[level].step(state, z) if isinstance(self.model.latents, Ladder) else z

    def _pixels(self, code: Tensor) -> Callable[[int], np.ndarray]:
        """Cumulated frequencies of one pixel after the other, (lanes, shades + 1)."""
        lens = self._lens
        theta = self.model.say(code[None], torch.zeros(len(code), 0, dtype=torch.float64))[0]
        laws = theta.reshape(len(code), lens.head.size, -1)
        shades = torch.arange(lens.top + 1)
        if isinstance(lens.head, Bernoulli):
            ink = torch.sigmoid(laws[:, 0]).clamp(1e-6, 1 - 1e-6)
            return lambda i: frequencies(torch.stack([1 - ink[:, i], ink[:, i]], 1).numpy())
        low, high, gap = (end.double().expand(len(code), -1) for end in lens.ends(shades))

        def of(i: int) -> np.ndarray:
            own = laws[:, :, i : i + 1].expand(-1, -1, len(shades))
            return frequencies(lens.head.log_mass(low, high, gap, own).exp().numpy())  # type: ignore[call-arg]

        return of

    # -- there and back ----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def compress(self, x: Columns) -> np.ndarray:
        """The images as 32-bit words, uint32."""
        (pixels,), _ = self._lens.prepare(x)
        self._lens.strict((pixels,))
        stack = Stack(LANES, words=16 * LANES * self.model.latents.count // 32 + 64)
        for part in pixels.split(LANES):
            told, state, chosen = self._told((part,)), self._start(len(part)), []
            for level in range(self._levels()):
                chosen.append(self._draw(stack, *self._posterior(level, state, told)))
                state = self._step(level, state, chosen[-1])
            laws, flat = self._pixels(state), self._symbols(part)
            for i in range(flat.shape[1]):
                push_symbols(stack, flat[:, i], laws(i))
            for index in reversed(chosen):
                for j in reversed(range(index.shape[1])):
                    self._push_even(stack, index[:, j])
        return np.concatenate([np.array([len(pixels)], np.uint32), stack.to_array()])

    @torch.no_grad()
    def decompress(self, words: np.ndarray) -> Columns:
        """The images that `compress` made these words of."""
        if len(words) < 1 + 2 * LANES:
            raise SpecError("expected what compress wrote, got too few words: take another copy")
        count, stack = int(words[0]), Stack.from_array(words[1:], LANES)
        sizes = [min(LANES, count - i) for i in range(0, count, LANES)]
        lens = self._lens
        parts = []
        for lanes in reversed(sizes):
            state, chosen = self._start(lanes), []
            for level in range(self._levels()):
                width = self._prior(level, state)[0].shape[1]
                index = np.stack([stack.pop(lanes, _even) for _ in range(width)], 1)
                chosen.append((state, index))
                state = self._step(level, state, index)
            laws = self._pixels(state)
            flat = np.empty((lanes, math.prod(lens.shape)), np.int64)
            for i in reversed(range(flat.shape[1])):
                flat[:, i] = stack.pop(lanes, finder(laws(i)))
            shade = torch.from_numpy(flat * (lens.top if isinstance(lens.head, Bernoulli) else 1)).to(torch.uint8)
            parts.append(shade.view(lanes, *lens.shape))
            told = self._told((parts[-1],))
            for level in reversed(range(self._levels())):
                above, index = chosen[level]
                self._give_back(stack, index, *self._posterior(level, above, told))
        images = torch.cat(parts[::-1]).numpy()
        return {f.name: images[:, i] for i, f in enumerate(self.model.spec.fields)}

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
