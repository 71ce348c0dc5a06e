"""A generator and a critic, and the examples that pass between them: rows of a table, or images."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import SpecError
from ..nn.coders import channels, decoder, encoder
from ..nn.mlp import MLP
from ..spec import Columns, Spec
from .lifted import Context, Reader, Sight, pick, to_normal
from .model import Batch
from .vectors import PixelVectors

TEMPERATURE = 0.5  # of the softmax that a drawn category is differentiated through
STARTED = 4096  # images whose mean a generator starts at


class Rivals(nn.Module):
    """G: noise e, (B, latent), and condition to examples; D: `pack` examples at once, and conditions, to a score.

    `shape` is that of an example as D sees it; `parts` of a batch are its own tensors; `draws` uniform numbers, beside
    e, make an example of the user's; `room` numbers are worked on for an image.
    """

    shape: tuple[int, ...]
    parts: int
    draws: int = 0
    room: int = 0

    def __init__(self, pack: int, condition: Sight) -> None:
        super().__init__()
        self.pack = pack
        self.context, self.context_of_critic = Context(condition), Context(condition)

    def project(self, features: int) -> None:
        """Lets the critic weigh `features` numbers of an example by its condition."""
        wide = self.pack * self.context_of_critic.width
        self.projection = nn.Linear(wide, features, bias=False) if wide else None

    def players(self) -> dict[str, list[nn.Parameter]]:
        """The parameters of each."""
        critic = [self.critic, self.context_of_critic, self.projection]
        return {
            "critic": [p for part in critic if part is not None for p in part.parameters()],
            "generator": [*self.generator.parameters(), *self.context.parameters()],
        }

    def prepare(self, x: Columns) -> Batch:
        """The own tensors of stored columns."""
        raise NotImplementedError

    def start(self, own: Batch) -> None:
        """A generator that starts at the middle of the data."""
        raise NotImplementedError

    def real(self, own: Batch, generator: torch.Generator) -> Tensor:
        """Data with fresh dequantisation, (B, *shape)."""
        raise NotImplementedError

    def middle(self, own: Batch) -> Tensor:
        """Data at the middle of their cells, (B, *shape)."""
        raise NotImplementedError

    def fake(self, e: Tensor, condition: Batch, generator: torch.Generator) -> Tensor:
        """Generated examples, (B, *shape), differentiable."""
        raise NotImplementedError

    def mean(self, e: Tensor, condition: Batch) -> Tensor:
        """Generated examples without chance: categories as their probabilities, (B, *shape)."""
        raise NotImplementedError

    def lower(self, e: Tensor, condition: Batch, uniform: Tensor | None) -> Columns:
        """Generated examples as stored columns, uniform (B, draws); None: the likeliest."""
        raise NotImplementedError

    def shades(self, v: Tensor) -> Columns:
        """Examples (B, *shape) as stored columns, of images."""
        raise NotImplementedError

    def picture(self, v: Tensor) -> Tensor:
        """Examples (B, *shape) as shades over their top, in [0, 1], differentiable, of images."""
        raise NotImplementedError

    def inverter(self, latent: int, width: int, depth: int) -> nn.Module:
        """A network from examples and the condition to noise, (B, *shape) and (B, context) to (B, latent)."""
        raise NotImplementedError

    def packed(self, x: Tensor) -> Tensor:
        """(B, D, ...) to (B / pack, pack D, ...)."""
        return x.reshape(len(x) // self.pack, self.pack * x.shape[1], *x.shape[2:])

    def score(self, packs: Tensor, condition: Batch) -> Tensor:
        """D of packs, (B / pack,): the first number that the critic tells, and by condition c, f . P c / |f|^(1/2)."""
        c = self.packed(self.context_of_critic(*condition))
        told = self.critic(packs, c)
        if self.projection is None:
            return told[:, 0]
        return told[:, 0] + (told[:, 1:] * self.projection(c)).sum(1) / math.sqrt(told.shape[1] - 1)


class RowRivals(Rivals):
    """Rows as (z, levels): z = Phi^-1(u) of each number, u dequantised anew in every step, and one-hot levels of each
    category, which G draws by Gumbel's rule and differentiates through the softmax (straight-through). G sees its noise
    e as (e, cos(pi k Phi(e)) for k = 1 to `waves`), of which steep steps, from one cluster to the next, are short sums.
    """

    parts = 3

    def __init__(
        self, spec: Spec, condition: Sight, latent: int, width: int, depth: int, pack: int, waves: int
    ) -> None:
        super().__init__(pack, condition)
        self.sight = Sight(spec.fields)
        self.fields, self.sizes = spec.fields, [len(self.sight.numbers), sum(self.sight.sizes)]
        self.shape, self.draws = (sum(self.sizes),), len(self.sight.groups)
        self.register_buffer("waves", math.pi * torch.arange(1, waves + 1), persistent=False)
        self.generator = MLP(latent * (1 + waves) + self.context.width, sum(self.sizes), width, depth)
        features = width if self.context.width else 0
        self.critic = RowCritic(self.sight, pack, self.context.width, 1 + features, width, depth)
        self.project(features)

    def prepare(self, x: Columns) -> Batch:
        return self.sight.see(x)

    def start(self, own: Batch) -> None:
        marginal = [torch.from_numpy(self.fields[j].mass).log() for j in self.sight.groups]
        if marginal:
            self.generator.bias[self.sizes[0] :] = torch.cat(marginal).to(self.generator.bias)

    def real(self, own: Batch, generator: torch.Generator) -> Tensor:
        return self._at(own, torch.rand(own[0].shape, generator=generator, device=own[0].device, dtype=own[0].dtype))

    def middle(self, own: Batch) -> Tensor:
        return self._at(own, torch.full_like(own[0], 0.5))

    def _at(self, own: Batch, u: Tensor) -> Tensor:
        """Rows at levels u of their cells, (B, numbers)."""
        lo, width, codes = own
        dtype = self.generator.bias.dtype
        return torch.cat([to_normal(lo + width * u).to(dtype), self.one_hot(codes, dtype)], 1)

    def one_hot(self, codes: Tensor, dtype: torch.dtype) -> Tensor:
        """Codes (B, groups) to ones among zeros, (B, S); none where a level was never seen."""
        place = torch.where(codes < 0, self.sizes[1], codes + self.critic.reader.first)
        blank = torch.zeros(len(codes), self.sizes[1] + 1, dtype=dtype, device=codes.device)
        return blank.scatter_(1, place, 1.0)[:, :-1]

    def made(self, e: Tensor, condition: Batch) -> tuple[Tensor, Tensor]:
        """(z, logits of the levels)."""
        waves = torch.cos(torch.special.ndtr(e).unsqueeze(-1) * self.waves).flatten(1)
        z, levels = self.generator(torch.cat([e, waves, self.context(*condition)], 1)).split(self.sizes, 1)
        return z, levels

    def fake(self, e: Tensor, condition: Batch, generator: torch.Generator) -> Tensor:
        z, levels = self.made(e, condition)
        if not self.sight.sizes:
            return z
        uniform = torch.rand(levels.shape, generator=generator, device=e.device, dtype=e.dtype).clamp(1e-6, 1 - 1e-6)
        noisy = (levels - torch.log(-torch.log(uniform))) / TEMPERATURE
        parts = [part.softmax(-1) for part in noisy.split(self.sight.sizes, -1)]
        hard = self.one_hot(torch.stack([part.argmax(-1) for part in parts], 1), e.dtype)
        soft = torch.cat(parts, 1)
        return torch.cat([z, hard + soft - soft.detach()], 1)

    def mean(self, e: Tensor, condition: Batch) -> Tensor:
        z, levels = self.made(e, condition)
        parts = levels.split(self.sight.sizes, -1) if self.sight.sizes else ()
        return torch.cat([z, *(part.softmax(-1) for part in parts)], 1)

    def inverter(self, latent: int, width: int, depth: int) -> nn.Module:
        return RowCritic(self.sight, 1, self.context.width, latent, width, depth)

    def lower(self, e: Tensor, condition: Batch, uniform: Tensor | None) -> Columns:
        numbers, levels = self.made(e, condition)
        logits = levels.split(self.sight.sizes, -1) if self.sight.sizes else ()
        codes = [part.argmax(1) if uniform is None else pick(part, uniform[:, j]) for j, part in enumerate(logits)]
        blank = torch.zeros(len(e), 0, dtype=torch.int64)
        return self.sight.lower(torch.special.ndtr(numbers.double()), torch.stack(codes, 1) if codes else blank)


class RowCritic(nn.Module):
    """`pack` rows at once, (B / pack, pack (F + S)), read one by one, to (B / pack, outputs); nothing is normalised."""

    def __init__(self, sight: Sight, pack: int, context: int, outputs: int, width: int, depth: int) -> None:
        super().__init__()
        self.sizes = [len(sight.numbers), sum(sight.sizes)]
        self.reader, self.wide = Reader(sight, width), pack * width
        self.net = MLP(pack * (width + context), outputs, width, depth, norm=False)

    def forward(self, packs: Tensor, c: Tensor) -> Tensor:
        z, levels = packs.reshape(-1, sum(self.sizes)).split(self.sizes, -1)
        return self.net(torch.cat([self.reader(z, levels=levels).reshape(len(packs), self.wide), c], 1))


class PixelRivals(Rivals):
    """Images, (C, H, W) in [-1, 1], their shades dequantised anew in every step; convolutions without normalisation.

    G is not bounded: with a tanh at its end a first push by D saturated it, and no gradient came back. What lies beyond
    the shades takes the last one.
    """

    parts = 1

    def __init__(self, spec: Spec, condition: Sight, latent: int, width: int, depth: int, pack: int) -> None:
        super().__init__(pack, condition)
        self.vectors = PixelVectors(spec)
        self.shape, self.levels = self.vectors.shape, self.vectors.top + 1
        self.room = channels(width) * math.prod(self.shape[1:])
        self.generator = decoder(latent, self.shape, self.context.width, "conv", width, depth)
        features = width if self.context.width else 0
        packs = (pack * self.shape[0], *self.shape[1:])
        self.critic = encoder(packs, 1 + features, pack * self.context.width, "conv", width, depth)
        self.project(features)

    def prepare(self, x: Columns) -> Batch:
        return (self.vectors.prepare(x),)

    def start(self, own: Batch) -> None:
        middle = (2 * (own[0][:STARTED].double().mean(0) + 0.5) / self.levels - 1).clamp(-0.95, 0.95)
        self.generator.bias_(middle.to(next(self.generator.parameters())))

    def real(self, own: Batch, generator: torch.Generator) -> Tensor:
        dtype = next(self.generator.parameters()).dtype
        u = torch.rand(own[0].shape, generator=generator, device=own[0].device, dtype=dtype)
        return 2 * (own[0] + u) / self.levels - 1

    def middle(self, own: Batch) -> Tensor:
        return 2 * (own[0].to(next(self.generator.parameters()).dtype) + 0.5) / self.levels - 1

    def fake(self, e: Tensor, condition: Batch, generator: torch.Generator) -> Tensor:
        return self.mean(e, condition)

    def mean(self, e: Tensor, condition: Batch) -> Tensor:
        return self.generator(e, self.context(*condition))

    def inverter(self, latent: int, width: int, depth: int) -> nn.Module:
        return encoder(self.shape, latent, self.context.width, "conv", width, depth)

    def lower(self, e: Tensor, condition: Batch, uniform: Tensor | None) -> Columns:
        return self.shades(self.mean(e, condition))

    def picture(self, v: Tensor) -> Tensor:
        return (((v + 1) / 2 * self.levels - 0.5) / self.vectors.top).clamp(0, 1)

    def shades(self, v: Tensor) -> Columns:
        """Images (B, C, H, W) in [-1, 1] as stored channels."""
        shades = ((v + 1) / 2 * self.levels).floor().clamp(0, self.vectors.top).to(torch.uint8).cpu().numpy()
        return {f.name: np.ascontiguousarray(shades[:, i]) for i, f in enumerate(self.vectors.fields)}


def rivals_of(spec: Spec, condition: Sight, latent: int, width: int, depth: int, pack: int, waves: int) -> Rivals:
    """The rivals of a Spec. Raises SpecError for waves of images."""
    if not any(block.sites for block in spec.blocks):
        return RowRivals(spec, condition, latent, width, depth, pack, waves)
    if waves:
        raise SpecError(f"expected rows of a table for waves={waves}, got images: leave it at 0")
    return PixelRivals(spec, condition, latent, width, depth, pack)
