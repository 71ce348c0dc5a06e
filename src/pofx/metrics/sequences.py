"""Sequences as vectors: two spaces each for codes (lines, stretches of text) and for piano rolls, and no downloads.

Codes: `n-grams`, the roots of how often runs of one, two and three symbols occur, hashed to a fixed number of columns.
Rolls: `figures`, what sounds together and one after the other. Both: `gaps`, the hidden layer of a small convolutional
network that learned from training examples to say symbols that are hidden, by its mean and deviation over sites.

Papers: Weinberger et al. 2009, Feature Hashing; Devlin et al. 2019, BERT (hidden symbols).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .runs import runs

if TYPE_CHECKING:
    import torch
    from torch import Tensor

COLUMNS = (128, 256, 256)  # of runs of one, two and three symbols
STEPS, BATCH, RATE, WIDTH = 300, 64, 3e-3, 64  # of the network
CROP = 32  # sites of a sequence that a step reads
FAR = 128  # sites of a sequence that are looked at
HIDDEN = 0.25  # share of sites that a step hides
CHUNK = 256
KEYS = 12
MOVES = (-12, -7, -4, -2, 0, 1, 3, 5, 8, 13)  # edges of moves of the highest and the lowest note, in semitones
LAGS = (1, 2, 4, 8)  # steps, over which onsets are compared
EDGE = 6.0  # deviations of training examples that a figure is cut at
RECIPE = f"{COLUMNS} {STEPS} {BATCH} {RATE} {WIDTH} {CROP} {FAR} {HIDDEN} {KEYS} {MOVES} {LAGS} {EDGE}"

Raw = Callable[[np.ndarray], np.ndarray]
"""Codes (n, T), or rolls (n, steps, P) of 0, 1 (held on) and 2 (struck), to numbers (n, d)."""


def sizes(codes: np.ndarray, ends: bool) -> np.ndarray:
    """The symbols of each row of codes (n, T), with the END, code 0, where sequences have one."""
    if not ends:
        return np.full(len(codes), codes.shape[1])
    over = codes == 0
    return np.where(over.any(1), over.argmax(1) + 1, codes.shape[1])


def in_chunks(raw: Raw) -> Raw:
    """The same for any number of examples, CHUNK at a time."""
    return lambda x: np.concatenate([raw(x[i : i + CHUNK]) for i in range(0, max(len(x), 1), CHUNK)])


def ngrams(ends: bool) -> Raw:
    """The roots of counts of hashed runs, (n, sum of COLUMNS); a sequence that ends has a beginning too."""

    @in_chunks
    def raw(codes: np.ndarray) -> np.ndarray:
        n, many = len(codes), sizes(codes, ends)
        told = np.pad(codes.astype(np.int64) + 2, ((0, 0), (int(ends), 0)), constant_values=1)
        many, parts = many + int(ends), []
        for order, wide in enumerate(COLUMNS, 1):
            if told.shape[1] < order:
                parts.append(np.zeros((n, wide)))
                continue
            place = (runs(told, order) >> np.uint64(40)).astype(np.int64) % wide
            inside = np.arange(place.shape[1]) <= (many - order)[:, None]
            flat = (place + np.arange(n)[:, None] * wide)[inside]
            parts.append(np.sqrt(np.bincount(flat, minlength=n * wide).reshape(n, wide)))
        return np.concatenate(parts, 1).astype(np.float32)

    return raw


# -- rolls -------------------------------------------------------------------------------------------------------------


def figures(train: np.ndarray) -> Raw:
    """What is heard in rolls (n, steps, P), on the scale of training ones: pitch classes; intervals of notes that sound
    together; moves of the highest and the lowest note; how many notes sound, go on, and how they change over time.
    """
    own = in_chunks(_heard)(train)
    middle, spread = own.mean(0), own.std(0) + 1e-3
    return lambda x: np.clip((in_chunks(_heard)(x) - middle) / spread, -EDGE, EDGE).astype(np.float32)


def _heard(rolls: np.ndarray) -> np.ndarray:
    on: np.ndarray = np.greater(rolls, 0)
    n, steps, pitches = on.shape
    loud = np.asarray(on.any(2))
    classes = np.zeros((n, steps, KEYS))
    for key in range(KEYS):
        classes[:, :, key] = on[:, :, key::KEYS].sum(2)
    notes = classes.sum(2)
    together = np.stack([(classes * np.roll(classes, -k, 2)).sum((1, 2)) for k in range(KEYS)], 1)
    together[:, 0] -= notes.sum(1)  # a note and itself
    top, low = pitches - 1 - on[:, :, ::-1].argmax(2), on.argmax(2)
    ends = [_share(_moves(line, loud)) for line in (top, low)]
    before = np.concatenate([np.zeros_like(on[:, :1]), on[:, :-1]], 1)
    onsets = (on & ~before).sum(2).astype(float)
    kept = (on & before).sum((1, 2)) / np.maximum(notes.sum(1), 1)
    struck = (rolls > 1).sum((1, 2)) / np.maximum(notes.sum(1), 1)
    beat = [(onsets[:, lag:] * onsets[:, :-lag]).mean(1) for lag in LAGS if lag < steps]
    heights = [np.where(loud, line, 0).sum(1) / np.maximum(loud.sum(1), 1) / KEYS for line in (top, low)]
    rest = [notes.mean(1), notes.std(1), loud.mean(1), onsets.mean(1), onsets.std(1), kept, struck, *heights, *beat]
    return np.concatenate([_share(classes.sum(1)), _share(together), *ends, np.stack(rest, 1)], 1)


def _moves(line: np.ndarray, loud: np.ndarray) -> np.ndarray:
    """How often a line, (n, steps), moves by which step of MOVES, (n, moves + 1), between steps that sound."""
    group = np.digitize(np.diff(line, axis=1), MOVES)
    there = loud[:, 1:] & loud[:, :-1]
    return np.stack([((group == g) & there).sum(1) for g in range(len(MOVES) + 1)], 1).astype(float)


def _share(counts: np.ndarray) -> np.ndarray:
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)


# -- a network that fills gaps -----------------------------------------------------------------------------------------


def gaps(train: np.ndarray, symbols: int, ends: bool, seed: int) -> Raw:
    """Of codes (n, T) among `symbols`, or rolls (n, steps, P): means and deviations over sites of the hidden layer of a
    network that learned from training examples to say a share of sites that it does not see, (n, 2 WIDTH).
    """
    import torch

    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        net = _learned(train, symbols, ends, np.random.default_rng([seed, 5]))

    @in_chunks
    def raw(x: np.ndarray) -> np.ndarray:
        x = x[:, :FAR]
        if not len(x):
            return np.zeros((0, 2 * WIDTH), np.float32)
        inside = _inside(x, ends)
        x, inside = x[:, : int(inside.sum(1).max())], inside[:, : int(inside.sum(1).max())]
        with torch.inference_mode():
            h = net.seen(torch.from_numpy(x.astype(np.int64)), torch.zeros(x.shape[:2], dtype=torch.bool))
            mask = torch.from_numpy(inside).unsqueeze(2).float()
            many = mask.sum(1)
            mean = (h * mask).sum(1) / many
            spread = ((h - mean.unsqueeze(1)).square() * mask).sum(1) / many
        return torch.cat([mean, spread.sqrt()], 1).numpy()

    return raw


def _inside(x: np.ndarray, ends: bool) -> np.ndarray:
    """The sites that count, bool (n, T)."""
    if x.ndim == 3:
        return np.ones(x.shape[:2], bool)
    return np.arange(x.shape[1]) < sizes(x, ends)[:, None]


def _learned(train: np.ndarray, symbols: int, ends: bool, rng: np.random.Generator) -> Any:
    """The network after STEPS steps."""
    import torch
    from torch.nn import functional as F

    rolls = train.ndim == 3
    net = _network(train.shape[2] if rolls else symbols, rolls)
    how = torch.optim.Adam(net.parameters(), RATE)
    for step in range(STEPS):
        x = train[rng.integers(0, len(train), BATCH)]
        inside = _inside(x, ends)
        far = max(int(inside.sum(1).max()) - CROP, 0)
        part = slice(first := int(rng.integers(far + 1)), first + CROP)
        x, inside = x[:, part], inside[:, part]
        told, hidden = torch.from_numpy(x.astype(np.int64)), torch.from_numpy(rng.random(x.shape[:2]) < HIDDEN)
        counted = (hidden & torch.from_numpy(inside)).float()
        said = net(told, hidden)
        if rolls:
            miss = F.binary_cross_entropy_with_logits(said, (told > 0).float(), reduction="none").sum(2)
        else:
            miss = F.cross_entropy(said.transpose(1, 2), told, reduction="none")
        loss = (miss * counted).sum() / counted.sum().clamp(min=1)
        how.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
        how.zero_grad(), loss.backward(), how.step()
    return net.eval()


def _network(symbols: int, rolls: bool) -> Any:
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Gaps(nn.Module):
        """Two convolutions over sites, which read codes or rolls and say what stands at each site."""

        def __init__(self) -> None:
            super().__init__()
            self.read: nn.Module = nn.Linear(symbols, WIDTH) if rolls else nn.Embedding(symbols, WIDTH)
            self.unseen = nn.Parameter(torch.zeros(WIDTH))
            self.body = nn.ModuleList(nn.Conv1d(WIDTH, WIDTH, 5, padding=2 * d, dilation=d) for d in (1, 2))
            self.tell = nn.Linear(WIDTH, symbols)

        def seen(self, x: "Tensor", hidden: "torch.Tensor") -> "Tensor":
            """The hidden layer, (B, T, WIDTH)."""
            h = self.read((x > 0).float() if rolls else x)
            h = torch.where(hidden.unsqueeze(2), self.unseen, h).transpose(1, 2)
            for conv in self.body:
                h = h + F.silu(conv(h))
            return h.transpose(1, 2)

        def forward(self, x: "Tensor", hidden: "torch.Tensor") -> "Tensor":
            return self.tell(F.silu(self.seen(x, hidden)))

    return Gaps()
