"""Evidence on a model of sounds: kernel distances in two spaces, who is recognised, and how well sounds are rebuilt.

Papers: Bińkowski et al. 2018, Demystifying MMD GANs (the kernel); Kilgour et al. 2019, Fréchet Audio Distance
(features of a network); Yamamoto, Song, Kim 2020, Parallel WaveGAN (several transforms).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .codecs.audio import DECIBELS, LEVEL, AudioCodec
from .codecs.audio_io import Sounds
from .codecs.image import LABEL
from .metrics.prdc import kernel_distance
from .nn.stft import spectrum
from .spec import Columns

STEPS, FEW, BATCH, RATE = 700, 60, 64, 3e-3  # of the recogniser: FEW and one for 4 examples, at most STEPS
WARM = 30  # steps in which its rate rises
HIDDEN = 7  # at most a seventh of the frames, and of the frequencies, is hidden from it at a time
FEATURES = 64  # that it recognises by
MOVED = 8  # frames, and
LOUDER = 16  # steps of a level, by which its examples differ from call to call
MELS, CEPSTRA = 26, 13
HEARD = 16  # steps above silence
FLOORS = 5  # draws of training sounds that a floor is the mean of

Features = Callable[[np.ndarray], np.ndarray]
"""Levels, uint8 (n, T, F), to features, float64 (n, d)."""


def _halved(a: int, b: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(a, b, 4, 2, 1), nn.BatchNorm2d(b), nn.ReLU()


class Recogniser(nn.Module):
    """A small convolutional network of labels, learned from levels (n, T, F) and codes (n,), -1 where there is none."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_halved(1, 16), *_halved(16, 32), *_halved(32, 64), *_halved(64, 64), nn.AdaptiveAvgPool2d((2, 4)),
            nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * 8, FEATURES), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(FEATURES, classes)

    @classmethod
    def random(cls, seed: int = 0) -> "Recogniser":
        """The network that has learned nothing."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(1).eval()

    @classmethod
    def learn(cls, levels: np.ndarray, codes: np.ndarray, seed: int = 0) -> "Recogniser":
        """The network of sounds that have a label."""
        rows = np.flatnonzero(codes >= 0)
        steps = min(STEPS, FEW + len(rows) // 4)
        x, y = torch.from_numpy(levels), torch.from_numpy(codes.astype(np.int64))
        rng = np.random.default_rng(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = cls(int(codes.max()) + 1)
            how = torch.optim.AdamW(net.parameters(), RATE, weight_decay=0.01)
            for step in range(steps):
                some = torch.from_numpy(rng.choice(rows, BATCH))
                v = torch.roll(x[some], int(rng.integers(MOVED + 1)), 1).float()
                v = v + (v > 0) * torch.from_numpy(rng.normal(0, LOUDER, (BATCH, 1, 1)).astype(np.float32))
                for axis in (1, 2):  # some frames and some frequencies are not heard
                    size = v.shape[axis]
                    first, many = int(rng.integers(size)), int(rng.integers(size // HIDDEN + 1))
                    v.narrow(axis, first, min(many, size - first)).zero_()
                how.param_groups[0]["lr"] = RATE * min(1, (step + 1) / WARM) * (1 - step / steps)
                loss = F.cross_entropy(net(v), y[some])
                how.zero_grad(), loss.backward(), how.step()
        return net.eval()

    def seen(self, levels: Tensor) -> Tensor:
        """What it recognises by, (n, FEATURES)."""
        return self.body(levels.unsqueeze(1) / 127.5 - 1)

    def forward(self, levels: Tensor) -> Tensor:
        return self.head(self.seen(levels))

    @torch.no_grad()
    def features(self, levels: np.ndarray) -> np.ndarray:
        """`Features`."""
        return torch.cat([self.seen(part.float()) for part in torch.from_numpy(levels).split(256)]).double().numpy()

    @torch.no_grad()
    def labels(self, levels: np.ndarray) -> np.ndarray:
        """The likeliest code of each, (n,)."""
        return torch.cat([self(part.float()).argmax(1) for part in torch.from_numpy(levels).split(256)]).numpy()


def cepstra(rate: int, decibels: float, train: np.ndarray) -> Features:
    """Means, deviations and mean moves over frames of mel-frequency cepstra, and the share of frames that are heard, on
    the scale of training sounds; `decibels` of 255 steps.
    """
    bank = mel_bank(rate, train.shape[2])
    turn = np.cos(np.pi / MELS * np.outer(np.arange(CEPSTRA), np.arange(MELS) + 0.5))

    def raw(levels: np.ndarray) -> np.ndarray:
        out = []
        for x in levels:
            heard = x.max(1) > HEARD
            some = x[heard] if heard.sum() > 1 else x[:2]
            energy = 10 ** ((some / 255.0 - 1) * decibels / 10) @ bank.T
            c = np.log(energy + 1e-10) @ turn.T / MELS
            out.append(np.r_[c.mean(0), c.std(0), np.abs(np.diff(c, axis=0)).mean(0), heard.mean()])
        return np.array(out)

    own = raw(train)
    middle, spread = own.mean(0), own.std(0) + 1e-9
    return lambda levels: (raw(levels) - middle) / spread


def mel_bank(rate: int, bins: int) -> np.ndarray:
    """Triangles over frequencies that stand evenly on the mel scale, (MELS, bins)."""
    mel = np.linspace(0, 2595 * np.log10(1 + rate / 1400), MELS + 2)
    at = 700 * (10 ** (mel / 2595) - 1) * 2 * (bins - 1) / rate
    place = np.arange(bins)
    up, down = ((place - a) / (b - a) for a, b in ((at[:-2, None], at[1:-1, None]), (at[2:, None], at[1:-1, None])))
    return np.clip(np.minimum(up, down), 0, None)


def spectral_distance(a: np.ndarray, b: np.ndarray, window: int) -> float:
    """The distance of two sounds of one length over windows of half, once and twice `window`:

    |S_a - S_b| / |S_a| + mean |log S_a - log S_b|, S the magnitudes, at least a thousandth of the loudest of a.
    """
    told = 0.0
    for size in (window // 2, window, 2 * window):
        s, t = (spectrum(torch.from_numpy(x)[None], size).abs() for x in (a, b))
        low = float(s.max()) / 1000 + 1e-9
        told += float(
            (s - t).norm() / s.norm().clamp(min=1e-9) + (s.clamp(min=low).log() - t.clamp(min=low).log()).abs().mean()
        )
    return told / 3


@dataclass
class AudioEvidence:
    """distances: of each space, of what stands in the place of samples, kernel distances from unseen sounds; figures:
    others by name; drawn: samples; pairs: unseen sounds and these rebuilt; words: what figures mean.
    """

    distances: dict[str, dict[str, float]]
    figures: dict[str, float]
    drawn: Sounds
    pairs: tuple[Sounds, Sounds]
    words: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """Lines for a terminal."""
        lines = list(self.words)
        for space, told in self.distances.items():
            lines.append(f"kernel distance, {space}: " + ", ".join(f"{k} {v:.4g}" for k, v in told.items()))
        return "\n".join([*lines, *(f"{k:<44} {v:.4g}" for k, v in self.figures.items())])

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"kernel distances": self.distances, "figures": self.figures, "words": self.words}


def distances(
    spaces: dict[str, Features], drawn: np.ndarray, train: np.ndarray, unseen: np.ndarray, noise: np.ndarray, seed: int
) -> dict[str, dict[str, float]]:
    """Of each space the kernel distance of samples from unseen sounds; of training sounds, as many, the mean of FLOORS
    draws (the floor); and of noise (trivial).
    """
    out: dict[str, dict[str, float]] = {}
    for name, of in spaces.items():
        rng = np.random.default_rng(seed)
        there, learned = of(unseen), of(train)
        size = min(len(drawn), len(learned))
        floor = [kernel_distance(learned[rng.permutation(len(learned))[:size]], there) for _ in range(FLOORS)]
        out[name] = {
            "samples": kernel_distance(of(drawn), there),
            "training sounds (floor)": float(np.mean(floor)),
            "noise (trivial)": kernel_distance(of(noise), there),
        }
    return out


def far(true: np.ndarray, made: np.ndarray, samples: int, window: int) -> float:
    """The spectral distance of a sound made as loud as the true one, over their first `samples`."""
    n = min(len(true), samples)
    true, made = true[:n], np.pad(made, (0, max(n - len(made), 0)))[:n]
    loud = np.sqrt(np.mean(np.square(true)) / max(float(np.mean(np.square(made))), 1e-12))
    return spectral_distance(true, (made * loud).astype(np.float32), window)


def hiss(codec: AudioCodec, n: int, seed: int) -> Sounds:
    """White noise of the length of examples."""
    rng = np.random.default_rng(seed)
    return Sounds(tuple(rng.normal(0, 0.1, codec.samples).astype(np.float32) for _ in range(n)), codec.rate)


def spaces_of(codec: AudioCodec, x: Columns, seed: int) -> tuple[dict[str, Features], Recogniser | None]:
    """The two spaces that training sounds give, and the recogniser of their labels, where there are some."""
    net = Recogniser.learn(x[LEVEL], x[LABEL], seed) if LABEL in x else None
    name, own = ("recogniser", net) if net is not None else ("random convolutions", Recogniser.random(seed))
    return {name: own.features, "cepstra": cepstra(codec.rate, DECIBELS, x[LEVEL])}, net


def evaluate_audio(
    codec: AudioCodec,
    draw: Callable[[], Sounds],
    rebuild: Callable[[np.ndarray], np.ndarray],
    learned: Sounds,
    unseen: Sounds,
    seed: int,
    tick: Callable[..., None],
) -> AudioEvidence:
    """The evidence of what `draw` draws and of `rebuild`, sound by sound, as it would be written and read again."""
    began = time.process_time()
    drawn = draw()
    spent = time.process_time() - began
    tick(1)
    x, there, made = codec.encode(learned), codec.encode(unseen), codec.encode(drawn)
    spaces, net = spaces_of(codec, x, seed)
    tick(1)
    noise = hiss(codec, len(unseen), seed)
    found = distances(spaces, made[LEVEL], x[LEVEL], there[LEVEL], codec.encode(noise)[LEVEL], seed)
    tick(1)
    pairs = {
        "rebuilt": tuple(rebuild(clip) for clip in unseen.clips),
        "true magnitudes (floor)": tuple(_told(codec, clip) for clip in unseen.clips),
        "noise (trivial)": noise.clips,
    }
    own = [
        [far(a, b, codec.samples, codec.window) for a, b in zip(unseen.clips, v, strict=True)] for v in pairs.values()
    ]
    figures = {f"spectral distance, {k}": float(np.mean(v)) for k, v in zip(pairs, own, strict=True)}
    figures["CPU seconds of a second of sound"] = spent / max(drawn.seconds, 1e-9)
    words = [f"{name}: samples are {_stand(told)}." for name, told in found.items()]
    if net is not None:
        known = there[LABEL] < len(codec.levels)
        figures["recognised, samples"] = float((net.labels(made[LEVEL]) == made[LABEL]).mean())
        figures["recognised, unseen sounds"] = float((net.labels(there[LEVEL]) == there[LABEL])[known].mean())
    tick(1)
    return AudioEvidence(found, figures, drawn, (unseen, replace(unseen, clips=pairs["rebuilt"])), words)


def _told(codec: AudioCodec, clip: np.ndarray) -> np.ndarray:
    levels, loud = codec.spell(clip)
    return codec.decode({LEVEL: levels}, np.array([loud])).clips[0]


def _stand(told: dict[str, float]) -> str:
    """How far on the way from noise to training sounds samples are, in words."""
    floor, trivial = told["training sounds (floor)"], told["noise (trivial)"]
    way = (trivial - told["samples"]) / max(trivial - floor, 1e-12)
    return f"{100 * way:.1f} % of the way from noise to training sounds"
