"""Examples as vectors, without downloaded weights: two spaces for each kind of data, whose figures must agree.

Rows: `levels`, z = Phi^-1(u) of each number's level and a one for each category's level; `random`, a fixed network of
random weights on them. Images: `random`, means and deviations of a fixed random convolutional network's channels, whole
and by quarters; `classifier`, the last layer of a small one of the labels, or without labels `autoencoder`, the code of
a small one, trained on the training images. Text: `n-grams` and `gaps`; music: `figures` and `gaps` (sequences.py).
Sounds: `cepstra`, and a `recogniser` of the labels, or without labels a `random` network (hearing.py). Each is turned
to the principal axes of the training examples.

Papers: Saxe et al. 2011, On Random Weights and Unsupervised Feature Learning; Naeem et al. 2020, Reliable Fidelity and
Diversity Metrics for Generative Models (random embeddings).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..field import Field
from ..fields import Category, Level, Note, Token, Voice
from ..spec import Columns, Spec
from . import count, sequences

if TYPE_CHECKING:
    from torch import Tensor

AXES = 64  # principal axes that a space keeps
LEARNED = 4000  # training examples that the axes are found from
STEPS, BATCH, RATE = 300, 64, 2e-3  # of the trained space
WIDTH = 64
LEVELS = 256  # states of a category beyond which it is seen as a number
EDGE = 1e-4  # how far levels stay from 0 and 1: no row is farther out than 3.7 deviations
RECIPE = f"{AXES} {LEARNED} {STEPS} {BATCH} {RATE} {WIDTH} {LEVELS} {EDGE}"  # what a space is made by, beside the data
HEARD = 80  # steps of the recogniser of sounds


@dataclass
class Space:
    """Named vectors of examples: `of(x)` is (n, d) float32, on the principal axes of what `learn` saw."""

    name: str
    raw: Callable[[Columns], np.ndarray]
    mean: np.ndarray
    axes: np.ndarray

    @classmethod
    def learn(cls, name: str, raw: Callable[[Columns], np.ndarray], train: Columns) -> "Space":
        """The space of a function on the axes of at most LEARNED training examples."""
        v = raw({k: part[:LEARNED] for k, part in train.items()}).astype(np.float64)
        mean = v.mean(0)
        _, axes = np.linalg.eigh((v - mean).T @ (v - mean))
        return cls(name, raw, mean, axes[:, ::-1][:, :AXES])

    def of(self, x: Columns) -> np.ndarray:
        """(n, d) float32."""
        return ((self.raw(x) - self.mean) @ self.axes).astype(np.float32)


def shape_of(spec: Spec) -> str:
    """What is judged of examples: rows, images, symbols (of text), rolls (of music), sounds."""
    field = spec.fields[0]
    if isinstance(field, Note | Voice):
        return "rolls"
    if isinstance(field, Token):
        return "symbols"
    return "sounds" if isinstance(field, Level) else "images" if spec.blocks[0].sites else "rows"


def recipe(spec: Spec) -> str:
    """What the spaces of a kind of data are made by."""
    return RECIPE if shape_of(spec) in ("rows", "images") else f"{RECIPE} {sequences.RECIPE} {HEARD}"


def spaces(spec: Spec, train: Columns, seed: int = 0) -> tuple[Space, ...]:
    """The two spaces of a kind of data, learned from training examples; a condition is part of an example of rows."""
    shape, makers = shape_of(spec), {}
    if shape == "images":
        learned = "autoencoder" if labels_of(spec, train) is None else "classifier"
        makers = {"random": _random_images(spec, seed), learned: _trained_images(spec, train, seed)}
    elif shape == "rows":
        plain = plain_rows(spec, train, seed)
        makers = {"levels": plain, "random": _random_rows(plain, train, seed)}
    else:
        makers = (_heard if shape == "sounds" else _read)(spec, train, seed)
    return tuple(Space.learn(name, raw, train) for name, raw in makers.items())


def _read(spec: Spec, train: Columns, seed: int) -> dict[str, Callable[[Columns], np.ndarray]]:
    """The functions of text and of music."""
    field, x = spec.fields[0], train[spec.fields[0].name][:LEARNED]
    ends = isinstance(field, Token) and field.ends
    first = {"n-grams": sequences.ngrams(ends)} if x.ndim == 2 else {"figures": sequences.figures(x)}
    both = first | {"gaps": sequences.gaps(x, len(field.mass), ends, seed)}
    return {name: partial(_of_one, raw, field.name) for name, raw in both.items()}


def _heard(spec: Spec, train: Columns, seed: int) -> dict[str, Callable[[Columns], np.ndarray]]:
    """The functions of sounds. Their rate is that of a window of nn.stft.SECONDS, nearly."""
    from ..nn.stft import SECONDS
    from .hearing import Recogniser, cepstra

    field, codes = spec.fields[0], labels_of(spec, train)
    x = train[field.name][:LEARNED]
    told = codes is not None and bool((codes[:LEARNED] >= 0).any())
    net = Recogniser.learn(x, codes[:LEARNED], seed, HEARD) if codes is not None and told else Recogniser.random(seed)
    first = cepstra(round(2 * (x.shape[2] - 1) / SECONDS), Level.decibels, x)
    both = {
        "cepstra": lambda v: np.clip(first(v), -sequences.EDGE, sequences.EDGE),
        "recogniser" if told else "random": net.features,
    }
    return {name: partial(_of_one, raw, field.name) for name, raw in both.items()}


def _of_one(raw: Callable[[np.ndarray], np.ndarray], name: str, x: Columns) -> np.ndarray:
    return raw(x[name])


def unlabelled(spec: Spec, train: Columns, seed: int, own: "tuple[Space, ...]") -> "tuple[Space, ...]":
    """The spaces that say nothing of the condition itself: those of images; of rows, the levels of other fields."""
    if shape_of(spec) != "rows":
        return own
    return (Space.learn("levels", plain_rows(Spec(spec.blocks), train, seed), train),)


# -- rows --------------------------------------------------------------------------------------------------------------


def plain_rows(spec: Spec, train: Columns, seed: int) -> Callable[[Columns], np.ndarray]:
    """Rows as levels, projected at random where that has more than 4 AXES numbers."""
    fields = (*spec.fields, *(spec.condition.fields if spec.condition else ()))
    wide = sum(_parts(f) for f in fields)
    turn = None
    if wide > 4 * AXES:
        turn = np.random.default_rng(seed).normal(size=(wide, 4 * AXES)).astype(np.float32) / np.sqrt(4 * AXES)

    def raw(x: Columns) -> np.ndarray:
        v = np.concatenate([_column(f, x) for f in fields], 1)
        return v if turn is None else v @ turn

    return raw


def _coded(field: Field) -> bool:
    return isinstance(field, Category) and len(field.mass) <= LEVELS


def _parts(field: Field) -> int:
    return len(field.mass) if _coded(field) else 1


def _column(field: Field, x: Columns) -> np.ndarray:
    """A column as (n, parts) float32."""
    from scipy.special import ndtri

    v = x[field.name]
    if _coded(field):
        piece, seen = field.piece(v)
        return (seen[:, None] & (piece[:, None] == np.arange(len(field.mass)))).astype(np.float32)
    below, mass = field.lift(v)
    return ndtri(np.clip(below + mass / 2, EDGE, 1 - EDGE)).astype(np.float32)[:, None]


def _random_rows(plain: Callable[[Columns], np.ndarray], train: Columns, seed: int) -> Callable[[Columns], np.ndarray]:
    rng = np.random.default_rng([seed, 1])
    wide = plain({k: v[:1] for k, v in train.items()}).shape[1]
    first = rng.normal(size=(wide, 4 * AXES)).astype(np.float32) / np.sqrt(wide)
    bias = rng.normal(size=4 * AXES).astype(np.float32)
    second = rng.normal(size=(4 * AXES, 2 * AXES)).astype(np.float32) / np.sqrt(4 * AXES)

    def raw(x: Columns) -> np.ndarray:
        h = np.maximum(2 * plain(x) @ first + bias, 0)
        return np.concatenate([h, np.maximum(h @ second, 0)], 1)

    return raw


# -- images ------------------------------------------------------------------------------------------------------------


def pixels(spec: Spec, x: Columns) -> np.ndarray:
    """(n, C, H, W) in [-1, 1], float32."""
    top = float(getattr(spec.fields[0], "top", 255))
    return np.stack([x[f.name] for f in spec.fields], 1).astype(np.float32) * (2 / top) - 1


def _in_chunks(spec: Spec, net: "Callable[[Tensor], Tensor]", x: Columns) -> np.ndarray:
    """What a network says of images, (n, ...)."""
    import torch

    with torch.inference_mode():
        out = [net(part) for part in torch.from_numpy(pixels(spec, x)).split(512)]
    return torch.cat(out).float().numpy()


def _random_images(spec: Spec, seed: int) -> Callable[[Columns], np.ndarray]:
    import torch
    from torch.nn import functional as F

    generator = torch.Generator().manual_seed(seed)
    sizes = [len(spec.fields), 32, 64, 64]
    kernels = [
        torch.randn(b, a, 3, 3, generator=generator) * (2 / (9 * a)) ** 0.5
        for a, b in zip(sizes[:-1], sizes[1:], strict=True)
    ]

    def net(x: "Tensor") -> "Tensor":
        parts = []
        for kernel in kernels:
            x = F.leaky_relu(F.conv2d(x, kernel, stride=2, padding=1), 0.2)
            parts += [F.adaptive_avg_pool2d(x, 2).flatten(1), x.flatten(2).std(2, correction=0)]
        return torch.cat(parts, 1)

    return lambda x: _in_chunks(spec, net, x)


def _trained_images(spec: Spec, train: Columns, seed: int) -> Callable[[Columns], np.ndarray]:
    """The last hidden layer of a classifier where there are labels, else an autoencoder's code."""
    import torch
    from torch import nn

    from ..nn.coders import decoder, encoder

    shape = (len(spec.fields), *(int(side or 0) for side in spec.blocks[0].sites))
    labels = labels_of(spec, train)
    blank = torch.zeros(BATCH, 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = encoder(shape, WIDTH, network="conv", width=WIDTH, depth=0)
        told = int(labels.max()) + 1 if labels is not None else 0
        head: nn.Module = (
            nn.Sequential(nn.SiLU(), nn.Linear(WIDTH, told))
            if labels is not None
            else decoder(WIDTH, shape, network="conv", width=WIDTH, depth=0)
        )
        optimiser = torch.optim.Adam([*body.parameters(), *head.parameters()], RATE)
        generator = torch.Generator().manual_seed(seed)
        for step in range(STEPS):
            rows = torch.randint(count(train), (BATCH,), generator=generator).numpy()
            x = torch.from_numpy(pixels(spec, {f.name: train[f.name][rows] for f in spec.fields}))
            code = body(x, blank)
            if labels is not None:
                loss = nn.functional.cross_entropy(head(code), torch.from_numpy(labels[rows]), ignore_index=-1)
            else:
                loss = (head(code, blank).tanh() - x).square().mean()
            optimiser.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
            optimiser.zero_grad(), loss.backward(), optimiser.step()
    body.eval()
    return lambda x: _in_chunks(spec, lambda part: body(part, torch.zeros(len(part), 0)), x)


def labels_of(spec: Spec, x: Columns) -> np.ndarray | None:
    """Codes of the condition's only level, -1 where missing; None where there is no such thing."""
    own = spec.condition.fields if spec.condition else ()
    if len(own) != 1 or not isinstance(own[0], Category) or own[0].name not in x:
        return None
    code = x[own[0].name].astype(np.int64)
    return np.where(code < len(own[0].levels), code, -1)
