"""The law of music, step by step and in each from high to low: what `autoregressive` is over notes."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import SpecError
from ..fields import Note
from ..nn.mixed import Linear
from ..nn.sequence import Block, Memory
from ..spec import Columns, Given, Spec
from .model import Batch, Clock, Recipe, Rows
from .sequential import Sequential

STEP, FIRST = 1, 2  # the codes of a step's end and of the highest pitch
NOTES = 2400  # symbols of a step of the fit
SPAN = 16  # pieces that are drawn together
BACK = 4  # steps whose chords are seen at once, beside what attention finds
PHASES, PLACES = 16, 8  # of a step in its bars, of a note in its chord
BARS = 8  # of PHASES steps, that a code tells apart


class Place:
    """Where in the music the code after each of a sequence stands, (B, T) each.

    step: which, from 0; rank: the pitch told last in it, counted from the highest one, -1 where none was; notes: how
    many were; is_note, pitch, struck: of the codes themselves.
    """

    def __init__(self, seen: Tensor, pitches: int, kinds: int) -> None:
        code = seen - FIRST
        self.is_note = (code >= 0) & (code < pitches * kinds)
        self.pitch, self.struck = code.clamp(min=0) % pitches, code < pitches
        self.step = (seen == STEP).cumsum(1)
        self.rank = torch.where(self.is_note, self.pitch, -1)
        where = torch.arange(seen.shape[1], device=seen.device).expand_as(seen)
        self.notes = where - torch.where(self.is_note, 0, where).cummax(1).values

    def rolls(self, pitches: int, kinds: int) -> Tensor:
        """What sounds (and, where notes are held, is struck) in each step, (B, S, kinds, P), of 0 and 1."""
        steps = int(self.step.max()) + 1
        roll = torch.zeros(len(self.step), steps * kinds * pitches, device=self.step.device)
        at = self.step * kinds * pitches + self.pitch
        roll.scatter_add_(1, at, self.is_note.float())
        if kinds > 1:
            roll.scatter_add_(1, at + pitches, (self.is_note & self.struck).float())
        return roll.view(-1, steps, kinds, pitches)


class Net(nn.Module):
    """Logits of codes from the steps before and from what of their own step is told.

    g_s = transformer over steps (R [roll_{s-1}, ..., roll_{s-4}] + F[s mod 16] + (C[s mod 16] + D[s / 16]) z),
    z a code, where there is one
    h = g_s + E[x] + G[notes] + Q roll_s so far,   h = h + B gelu(A norm(h)) `layers` times,   W norm(h)
    """

    def __init__(
        self, symbols: int, pitches: int, kinds: int, width: int, heads: int, depth: int, layers: int, dropout: float,
        latent: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.heard = nn.Linear(BACK * kinds * pitches, width)
        self.aside = nn.Linear(latent, (PHASES + BARS) * width, bias=False) if latent else None
        self.embed, self.phase = nn.Embedding(symbols + 1, width), nn.Embedding(PHASES, width)
        self.notes, self.chord = nn.Embedding(PLACES, width), nn.Linear(kinds * pitches, width, bias=False)
        for table in (self.embed, self.phase, self.notes):
            nn.init.normal_(table.weight, std=0.3)
        self.blocks = nn.ModuleList(Block(width, heads, True, dropout) for _ in range(depth))
        self.ups = nn.ModuleList(nn.Sequential(nn.LayerNorm(width), Linear(width, 4 * width)) for _ in range(layers))
        self.downs = nn.ModuleList(Linear(4 * width, width) for _ in range(layers))
        for last in (*(last for block in self.blocks for last in (block.write, block.down)), *self.downs):
            nn.init.normal_(last.weight, std=0.5 / math.sqrt(2 * (depth + layers) * last.in_features))
        self.drop = nn.Dropout(dropout)
        self.last = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, symbols))
        nn.init.zeros_(self.last[1].weight)
        nn.init.zeros_(self.last[1].bias)

    def listen(
        self, before: Tensor, first: int, memories: list[Memory] | None = None, z: Tensor | None = None
    ) -> Tensor:
        """g, (B, S, width), of the rolls before each of S steps, (B, BACK + S - 1, kinds, P); `first` numbers them."""
        chords = before.flatten(2).unfold(1, BACK, 1).flatten(2)
        steps = torch.arange(first, first + chords.shape[1], device=before.device)
        g = self.drop(self.heard(chords) + self.phase(steps % PHASES))
        if self.aside is not None and z is not None:
            told = self.aside(z).unflatten(1, (PHASES + BARS, -1))
            g = g + told[:, steps % PHASES] + told[:, PHASES + steps // PHASES % BARS]
        for i, block in enumerate(self.blocks):
            g = block(g, memories[i] if memories else None)
        return g

    def tell(self, g: Tensor, x: Tensor, notes: Tensor, chord: Tensor) -> Tensor:
        """Logits (..., V) of what follows the code x in its step, whose roll so far is `chord`, (..., kinds, P)."""
        h = g + self.drop(self.embed(x) + self.notes(notes.clamp(max=PLACES - 1)) + self.chord(chord.flatten(-2)))
        for up, down in zip(self.ups, self.downs, strict=True):
            h = h + self.drop(down(F.gelu(up(h))))
        return self.last(h)


class Musical(Sequential):
    """log p(x) = sum_t log p(x_t | x_1..x_{t-1}), nats a piece, among legal codes alone (`Note` of fields.py).

    x: codes (n, T) of one `Note` field. Steps are told by a causal transformer from the chords of the steps before, and
    each code in its step by a network of those told already: exact over piano rolls (class `Net`). A step is told from
    the last half of `context` steps or more. A fit moves pieces by up to `transpose` semitones up or one fewer
    down, at random, as far as the field has pitches: all of them at first, fewer and fewer, and none at last, so that
    keys are those of the data.

    width, heads, depth: of the transformer over steps; layers: of the network in a step; dropout: share of their
    numbers that a step of the fit leaves out. Noise is uniform, (n, T). Raises SpecError for a width that heads do not
    divide into even parts, and an odd context. Boulanger-Lewandowski et al. 2012 (RNN-NADE); Vaswani et al. 2017.
    """

    def __init__(
        self, spec: Spec, width: int = 128, heads: int = 4, depth: int = 2, layers: int = 1, dropout: float = 0.4,
        transpose: int = 6, context: int = 512,
    ) -> None:  # fmt: skip
        field = spec.fields[0]
        if not isinstance(field, Note):
            raise SpecError(f"expected a sequence of notes, got {type(field).__name__}")
        if context % 2:
            raise SpecError(f"expected a context of an even number of steps, got {context}")
        super().__init__(spec, width, heads, 1, dropout)
        self.kinds, self.pitches, self.transpose, self.context = 1 + field.held, field.pitches, transpose, context
        self.net: Any = Net(self.symbols, self.pitches, self.kinds, width, heads, depth, layers, dropout)

    def recipe(self, rows: int) -> Recipe:
        """Steps of some 2,400 symbols; the bound of the gradient grows with a piece's symbols, of which its loss is."""
        size = 1 / float(self.field.mass[0])
        batch = int(min(max(NOTES / size, 1), 256))
        steps = max(2500, 50 * rows // batch)
        return Recipe(steps=steps, batch=batch, rate=4e-3, warmup=100, clip=size, decay=0.01, patience=8)

    @property
    def room(self) -> int:
        return self.length * self.symbols

    @property
    def span(self) -> int:
        return SPAN

    # -- the law -----------------------------------------------------------------------------------------------------

    def _legal(self, rank: Tensor, before: Tensor) -> Tensor:
        """Which codes may follow pitches of a rank (...,) where these sounded a step before, (..., P): (..., V)."""
        below = torch.arange(self.pitches, device=rank.device) > rank[..., None]
        close = (rank < 0)[..., None]  # after a STEP, at the beginning, and behind an END
        held = [below & (before > 0)] if self.kinds > 1 else []
        return torch.cat([close, torch.ones_like(close), below, *held], -1)

    def _heard(self, rolls: Tensor, z: Tensor | None) -> Tensor:
        """g of each step, (B, S, width), told from its window: `context` steps, or the last half of that and more."""
        steps, half = rolls.shape[1], self.context // 2
        before = F.pad(rolls[:, :-1], (0, 0, 0, 0, BACK, 0))
        if steps <= self.context:
            return self.net.listen(before, 0, None, z)
        parts = []
        for first in range(0, steps - half, half):
            g = self.net.listen(before[:, first : first + self.context + BACK - 1], first, None, z)
            parts.append(g[:, half:] if first else g)
        return torch.cat(parts, 1)

    def _terms(self, x: Tensor, c: Tensor | None = None, heard: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """log p(x_t | x_<t, c), 0 behind the END: codes (B, T) to (B, T), nats. c: a code, (B, latent); heard: what
        the steps before are taken for.
        """
        seen = torch.cat([x.new_full((len(x), 1), self.symbols), x[:, :-1]], 1)
        place = Place(seen, self.pitches, self.kinds)
        rolls = place.rolls(self.pitches, self.kinds)
        row, at = torch.nonzero(seen, as_tuple=True)  # all up to and with the END
        step, rank, told = place.step[row, at], place.rank[row, at], torch.zeros(x.shape, device=x.device)
        so_far = torch.arange(self.pitches, device=x.device) <= rank[:, None]
        g = self._heard(rolls if heard is None else heard(rolls), c)[row, step]
        logits = self.net.tell(g, seen[row, at], place.notes[row, at], rolls[row, step] * so_far[:, None])
        before = F.pad(rolls[:, :-1, 0], (0, 0, 1, 0))[row, step]
        logits = logits.masked_fill(~self._legal(rank, before), -math.inf)
        return told.index_put((row, at), -F.cross_entropy(logits, x[row, at], reduction="none"))

    # -- training ----------------------------------------------------------------------------------------------------

    def _transposed(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Each piece moved by up to `transpose` semitones up, or one fewer down, as far as the pitches go."""
        code = x - FIRST
        pitch = code % self.pitches
        low = torch.where(code < 0, 0, pitch).amax(1)
        high = torch.where(code < 0, self.pitches - 1, pitch).amin(1)
        by = torch.randint(1 - self.transpose, self.transpose + 1, (len(x),), generator=generator, device=x.device)
        by = torch.minimum(torch.maximum(by, low - self.pitches + 1), high)  # up is towards code 0
        return torch.where(code < 0, x, x - by[:, None])

    def _varied(self, x: Tensor, clock: Clock, generator: torch.Generator) -> Tensor:
        """Some of these pieces moved by some semitones: all at first, none at last."""
        if not self.transpose:
            return x
        own = torch.rand(len(x), 1, generator=generator, device=x.device) < clock.progress
        return torch.where(own, x, self._transposed(x, generator))

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        x = self._cut(batch[0].long())
        return -self._terms(self._varied(x, clock, generator) if self.training else x).sum(1)

    # -- drawing -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def continued(self, prompt: Tensor, u: Tensor, c: Tensor | None = None) -> Tensor:
        """What follows prompts (B, P), one symbol for each of the uniform numbers u, (B, L): codes (B, L).

        Behind an END all are END. Rows go on together, a step at a time. c: a code of each, (B, latent).
        """
        prompt, u = prompt.to(self.device), u.to(self.device)
        rows, start, most = len(u), prompt.shape[1], prompt.shape[1] + u.shape[1]
        row, out = torch.arange(rows, device=u.device), prompt.new_zeros(rows, most)
        forced = F.pad(prompt, (0, 1))
        at, over = prompt.new_zeros(rows), torch.zeros(rows, dtype=torch.bool, device=u.device)
        past = u.new_zeros(rows, BACK, self.kinds, self.pitches, dtype=torch.float32)
        code, memories, first, step = prompt.new_full((rows,), self.symbols), self._memories(), 0, 0
        while not bool(over.all()):
            if step - first == self.context:
                first, memories = step - self.context // 2, self._memories()
                g = self.net.listen(past[:, first:], first, memories, c)[:, -1]
            else:
                g = self.net.listen(past[:, -BACK:], step, memories, c)[:, -1]
            chord, rank, notes = torch.zeros_like(past[:, 0]), torch.full_like(at, -1), torch.zeros_like(at)
            told = ~over
            while bool(told.any()):
                logits = self.net.tell(g, code, notes, chord)
                logits = logits.masked_fill(~self._legal(rank, past[:, -1, 0]), -math.inf)
                new = self.drawn(logits, u.gather(1, (at - start).clamp(0, u.shape[1] - 1)[:, None])[:, 0])
                new = torch.where(at < start, forced.gather(1, at.clamp(max=start)[:, None])[:, 0], new)
                code = torch.where(told, new, code)
                out[row[told], at[told]] = code[told]
                at, note = at + told, told & (code >= FIRST)
                pitch = (code[note] - FIRST) % self.pitches
                rank[note], notes = pitch, notes + note
                chord[row[note], 0, pitch] = 1.0
                if self.kinds > 1:
                    chord[row[note], 1, pitch] = (code[note] < FIRST + self.pitches).float()
                over = over | (told & (code == 0)) | (at >= most)
                told = note & ~over
            past, step = torch.cat([past, chord[:, None]], 1), step + 1
        return out[:, start:].cpu()

    def decode(
        self, z: Tensor, c: Columns | None = None, given: Given | None = None, known: Rows | None = None
    ) -> Columns:
        none = torch.zeros(0, dtype=torch.long)
        parts = [self.continued(none.expand(len(part), 0), part) for part in z.split(SPAN)]
        return {self.field.name: torch.cat(parts).numpy().astype(np.int32)}
