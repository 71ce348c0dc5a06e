"""Evidence on a model of sounds: kernel distances in two spaces, who is recognised, and how well sounds are rebuilt.

Papers: Bińkowski et al. 2018, Demystifying MMD GANs (the kernel); Yamamoto, Song, Kim 2020, Parallel WaveGAN (several
transforms). The spaces are those of metrics/hearing.py.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from .codecs.audio import DECIBELS, LEVEL, AudioCodec
from .codecs.audio_io import Sounds
from .codecs.image import LABEL
from .metrics.hearing import Features, Recogniser, cepstra
from .metrics.prdc import kernel_distance
from .nn.stft import spectrum
from .spec import Columns

FLOORS = 5  # draws of training sounds that a floor is the mean of


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
