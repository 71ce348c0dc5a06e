"""The law of music in voices, any notes given any others: what `any_order` is over voices."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import SpecError
from ..fields import Voice
from ..nn.sequence import Block
from ..spec import Spec
from .infilling import Infilling
from .model import Batch, Clock, Recipe
from .sequential import recipe

REST, FIRST = 1, 2  # the codes of a rest and of the lowest pitch
STEPS = 2048  # that a step of the fit sees
NEAR = 3  # steps to a side whose notes are read at once, before any attention
PHASES = 16  # of a step in its bars
FAR = 15  # steps to what is seen of a voice, beyond which all are alike


class Net(nn.Module):
    """Logits of every site of a window of steps from the notes of all of them.

        h_s = sum_{v, k} E_{v, k}[x_{s+k, v}] + sum_{v, i} (C_{v, i}[y_i] + D_{v, i}[how far]) + F[s mod 16],  k = -3..3
        h = `depth` blocks over steps,   logits_v = W_v norm(h_s) + sum_i (w_{v, i} norm(h_s)) onehot(y_i)

    where y_1 and y_2 are what is seen last and next of the voice, 0 to FAR steps away: notes last, so that a hidden one
    is often either. x: (B, S, V) of codes, of which the last stands for what is not seen; first: the step of each
    window's first one, (B,); seen: which steps there are, (B, S). Gives (B, S, V, symbols).
    """

    def __init__(self, symbols: int, voices: int, width: int, heads: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.symbols, self.voices = symbols, voices
        self.reads = (2 * NEAR + 1) * voices
        self.embed = nn.Parameter(torch.randn(self.reads * (symbols + 1), width) * (0.5 / math.sqrt(self.reads)))
        self.beside = nn.Parameter(torch.randn(2 * voices * (symbols + 1), width) * 0.2)
        self.far = nn.Parameter(torch.randn(2 * voices * (FAR + 1), width) * 0.1)
        self.phase = nn.Embedding(PHASES, width)
        nn.init.normal_(self.phase.weight, std=0.3)
        self.blocks = nn.ModuleList(Block(width, heads, False, dropout) for _ in range(depth))
        for last in (last for block in self.blocks for last in (block.write, block.down)):
            nn.init.normal_(last.weight, std=0.5 / math.sqrt(2 * depth * last.in_features))
        self.drop = nn.Dropout(dropout)
        self.last = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, voices * symbols))
        self.again = nn.Linear(width, 2 * voices)
        for layer in (self.last[1], self.again):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def neighbours(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What is seen of each voice last and next, and how many steps away, (B, S, V, 2) each."""
        at = torch.arange(x.shape[1], device=x.device)[:, None]
        most, known = x.shape[1] - 1, x < self.symbols
        last = torch.where(known, at, -1).cummax(1).values
        after = most - torch.where(known, most - at, -1).flip(1).cummax(1).values.flip(1)
        place = torch.stack([last, after], 3)
        none = (place < 0) | (place > most)
        code = torch.stack([x.gather(1, part.clamp(0, most)) for part in (last, after)], 3)
        far = (place - at[..., None]).abs().clamp(max=FAR)
        return torch.where(none, self.symbols, code), torch.where(none, FAR, far)

    def forward(self, x: Tensor, first: Tensor, seen: Tensor) -> Tensor:
        before = torch.where(first == 0, 0, self.symbols)[:, None, None].expand(-1, NEAR, self.voices)
        wide = F.pad(torch.cat([before, x], 1), (0, 0, 0, NEAR), value=self.symbols)
        near = wide.unfold(1, 2 * NEAR + 1, 1).flatten(2)  # (B, S, V (2 NEAR + 1))
        near = near + torch.arange(self.reads, device=x.device) * (self.symbols + 1)
        h = F.embedding_bag(near.flatten(0, 1), self.embed, mode="sum")
        beside, far = self.neighbours(x)
        for table, told in ((self.beside, beside), (self.far, far)):
            each = torch.arange(2 * self.voices, device=x.device) * (len(table) // (2 * self.voices))
            h = h + F.embedding_bag(told.flatten(2).flatten(0, 1) + each, table, mode="sum")
        h = h.unflatten(0, x.shape[:2])
        h = self.drop(h + self.phase((first[:, None] + torch.arange(x.shape[1], device=x.device)) % PHASES))
        for block in self.blocks:
            h = block(h, None, seen[:, None, None])
        h = self.last[0](h)
        logits = F.pad(self.last[1](h).unflatten(2, (self.voices, self.symbols)), (0, 1))
        return logits.scatter_add(3, beside, self.again(h).unflatten(2, (self.voices, 2)))[..., :-1]


class Voiced(Infilling):
    """A masked discrete flow over music in voices: any notes given any others (models/infilling.py has its bound).

    x: codes (n, S V) of one `Voice` field, step by step; the transformer runs over steps and reads all voices of each
    (class `Net`). A site is told from a window of `context` steps: the windows of a piece overlap by half, and of each
    the middle counts. Every law of a hidden site depends on what is seen alone, so that the bound holds for pieces of
    any length.

    A fit sees random windows. Of each, hidden are k sites in random order among those that are free, k uniform: all; or
    all of some voices (of half of these, all but the first); or all of some bars. It moves them by up to `transpose`
    semitones up or one fewer down, all at first and none at last.

    width, heads, depth, dropout: of the transformer. Raises SpecError for an odd context, and what is not in voices.
    Huang et al. 2017, Coconet; Hadjeres et al. 2017, DeepBach.
    """

    def __init__(
        self, spec: Spec, width: int = 128, heads: int = 4, depth: int = 3, dropout: float = 0.3,
        rounds: int = 64, transpose: int = 6, context: int = 64,
    ) -> None:  # fmt: skip
        field = spec.fields[0]
        if not isinstance(field, Voice):
            raise SpecError(f"expected music in voices, got {type(field).__name__}")
        if context % 2:
            raise SpecError(f"expected a context of an even number of steps, got {context}")
        super().__init__(spec, width, heads, 1, 0.0, rounds)
        self.voices, self.transpose, self.context = field.voices, transpose, context
        self.net = Net(self.symbols, self.voices, width, heads, depth, dropout)

    @property
    def span(self) -> int:
        return 8

    @property
    def labour(self) -> float:
        return 2.0 * self.weights * self.rounds / float(self.field.mass[0]) / self.voices  # windows overlap by half

    def recipe(self, rows: int) -> Recipe:
        """Steps of some 2,000 steps of music, forty windows of each piece or 2,500 steps."""
        batch = max(1, STEPS // self.context)
        made = recipe(batch, float(self.context * self.voices), max(2500, 40 * rows // batch))
        return Recipe(**(made.__dict__ | {"watch": 48}))

    def start(self, batch: Batch) -> None:
        """Every pitch as frequent in its voice as it is, and every number of steps."""
        x = batch[0].long()
        counts = torch.bincount(self._sizes(x).cpu() // self.voices, minlength=self.length // self.voices + 1).double()
        code = x.unflatten(1, (-1, self.voices))
        mass = torch.stack([torch.bincount(line.flatten(), minlength=self.symbols) for line in code.unbind(2)])
        mass = mass.float().cpu()[:, 1:] + 0.5
        with torch.no_grad():
            self.net.last[1].bias.view(self.voices, -1)[:, 1:] = (mass / mass.sum(1, keepdim=True)).log()
            self.sizes.zero_()
            self.sizes[:: self.voices] = (counts + 1 / len(counts)) / (counts.sum() + 1)

    def _cut(self, x: Tensor, sizes: Tensor) -> Tensor:
        return x[:, : int(sizes.max()) + self.voices]

    def _told(self, x: Tensor, hidden: Tensor, first: Tensor, steps: Tensor) -> Tensor:
        """Logits of windows (B, S, V) that begin at `first`, of pieces of so many steps."""
        at = first[:, None] + torch.arange(x.shape[1], device=x.device)
        logits = self.net(torch.where(hidden, self.symbols, x), first, at <= steps[:, None])
        return torch.cat([torch.full_like(logits[..., :1], -1e9), logits[..., 1:]], 3)

    def _law(self, x: Tensor, hidden: Tensor, sizes: Tensor, c: Tensor | None = None) -> Tensor:
        x, hidden = (part.unflatten(1, (-1, self.voices)) for part in (x, hidden))
        steps, half, total = sizes // self.voices, self.context // 2, x.shape[1]
        most = min(int(steps.max()) + 1, total) if len(x) else 0
        starts = list(range(0, max(most - half, 1), half))
        edge = half // 2
        out = []
        for first in starts:
            part = slice(first, min(first + self.context, most))
            law = self._told(x[:, part], hidden[:, part], torch.full_like(steps, first), steps)
            begin = first and edge
            end = law.shape[1] if first == starts[-1] else half + edge
            out.append(law[:, begin:end])
        law = torch.cat(out, 1)
        return F.pad(law, (0, 0, 0, 0, 0, total - law.shape[1])).flatten(1, 2)

    # -- training ----------------------------------------------------------------------------------------------------

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        whole = batch[0].long()
        steps, n, device = self._sizes(whole) // self.voices, len(whole), whole.device

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator, device=device)

        first = (uniform(n) * (steps - self.context + 1).clamp(min=1)).long()
        at = first[:, None] + torch.arange(self.context, device=device)
        x = whole.unflatten(1, (-1, self.voices))
        x = torch.where((at < steps[:, None])[..., None], x[torch.arange(n)[:, None], at.clamp(max=x.shape[1] - 1)], 0)
        if self.training and self.transpose:
            own = uniform(n, 1, 1) < clock.progress
            x = torch.where(own, x, self._transposed(x, generator))
        free = self._free(x, generator).flatten(1) & (x.flatten(1) > 0)
        u = (torch.arange(n, device=device) + uniform(1)) / n
        share, room = u[torch.randperm(n, generator=generator, device=device)], free.sum(1)
        count = torch.minimum((share * room).long() + 1, room)
        hidden = torch.where(free, uniform(*free.shape), 2.0).argsort(1).argsort(1) < count[:, None]
        law = self._told(x, hidden.unflatten(1, (-1, self.voices)), first, steps)
        miss = F.cross_entropy(law.flatten(0, 2), x.flatten(), reduction="none").view(n, -1)
        return torch.where(hidden, miss, 0.0).sum(1) / count.clamp(min=1) * (self.context * self.voices)

    def _free(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Which sites of windows (B, S, V) may be hidden."""
        n, steps, voices = x.shape

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator, device=x.device)

        kind = (uniform(n) * 3).long()
        rank = uniform(n, voices).argsort(1).argsort(1)
        known = rank < (1 + uniform(n, 1) * (voices - 1)).long()
        alone = torch.arange(voices, device=x.device) == 0
        by_voice = ~torch.where(uniform(n, 1) < 0.5, alone, known)
        begin, end = (uniform(n, 2) * (steps + 1)).sort(1).values[:, :, None].unbind(1)
        at = torch.arange(steps, device=x.device)
        by_step = (at >= begin.floor()) & (at < end.ceil())
        free = torch.where((kind == 1)[:, None, None], by_voice[:, None], by_step[:, :, None])
        return (kind == 0)[:, None, None] | free | torch.tensor(voices == 1, device=x.device)

    def _transposed(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Each window moved by up to `transpose` semitones up, or one fewer down, as far as the pitches go."""
        note = x >= FIRST
        low = torch.where(note, x, self.symbols).amin((1, 2)) - FIRST
        high = self.symbols - 1 - torch.where(note, x, 0).amax((1, 2))
        by = torch.randint(1 - self.transpose, self.transpose + 1, (len(x),), generator=generator, device=x.device)
        by = torch.minimum(torch.maximum(by, -low), high)
        return torch.where(note, x + by[:, None, None], x)

    # -- likelihood --------------------------------------------------------------------------------------------------

    def _length(self, sizes: Tensor) -> Tensor:
        """log p of so many sites; beyond T a geometric law, of mean T."""
        more = (sizes - self.length).clamp(min=0) // self.voices
        mean = self.length / self.voices
        tail = more * math.log(mean / (mean + 1)) - math.log(mean + 1)
        return self.sizes[sizes.clamp(max=self.length)].log() + torch.where(sizes >= self.length, tail, 0.0)

    def _bounds(
        self, x: Tensor, c: Tensor | None, draws: int, generator: torch.Generator, free: Tensor | None = None
    ) -> Tensor:
        """Unbiased estimates, (draws, B), of the bound of log p(x), or of log p(x_free | the others), free (B, T)."""
        sizes = self._sizes(x)
        length = self._length(sizes) if free is None else torch.zeros(len(x), dtype=torch.float64, device=x.device)
        x = self._cut(x, sizes)
        inside = torch.arange(x.shape[1], device=x.device) < sizes[:, None]
        inside = inside if free is None else inside & free[:, : x.shape[1]]
        room, out = inside.sum(1), []
        start = torch.rand(len(x), generator=generator, device=x.device)
        for i in range(draws):
            count = torch.minimum(((start + i / draws) % 1 * room).long() + 1, room)
            u = torch.rand(x.shape, generator=generator, device=x.device)
            hidden = torch.where(inside, u, 2.0).argsort(1).argsort(1) < count[:, None]
            out.append(length - self._missed(x, hidden, sizes, c).double() * room / count.clamp(min=1))
        return torch.stack(out)

    @torch.no_grad()
    def conditional(self, x: Tensor, free: Tensor, draws: int, seed: int) -> Tensor:
        """The bound of log p(x_free | the others) of codes (B, T), nats, float64 (B,): the mean of `draws` orders."""
        generator = torch.Generator(self.device).manual_seed(seed)
        parts = zip(x.to(self.device).split(self.span), free.to(self.device).split(self.span), strict=True)
        told = [self._bounds(part.long(), None, draws, generator, own).mean(0) for part, own in parts]
        return torch.cat(told).cpu()
