"""Sounds with noise and without their high frequencies, restored by a model of clean ones and in simple ways.

- white noise at so many decibels below the sound: the scale-invariant ratio of signal to distortion, dB, higher is
  better, and the distance of log spectra, dB, lower is better, of what came (noisy), of spectral gating (twice the
  power of the noise taken off each number of the spectrum), of the decision-directed Wiener filter of Ephraim and
  Malah (1984), and of `denoise`; all three with a second of the noise alone, and with what they read of it in the
  quietest frames;
- half of the samples a second: the distance of log spectra, over all and above the band, of plain resampling, of the
  low band mirrored above it at the loudness that training sounds have there, and of `upscale`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pofx.codecs.audio import AudioCodec
from pofx.codecs.audio_io import Sounds, resampled
from pofx.models.sounds import SoundFlow
from pofx.nn.stft import sound_of, spectrum
from pofx.restore_audio import denoised, noise_power, quietest, widened

RATIOS = (0, 5, 10)  # decibels
FLOOR = 0.05  # of a gate
KEPT = 0.98  # of the frame before, in the decision-directed filter
LOW = 1e-3  # of the loudest magnitude: what lies below is alike


def ratio(x: np.ndarray, y: np.ndarray) -> float:
    """The scale-invariant ratio of signal to distortion of y, an estimate of x, dB (Le Roux et al. 2019)."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    part = (x @ y) / (x @ x) * x
    return float(10 * np.log10(np.sum(part**2) / np.sum((part - y) ** 2)))


def distance(x: np.ndarray, y: np.ndarray, window: int, first: int = 0) -> float:
    """The root mean square over frequencies, from `first` on, of the difference in dB; its mean over frames."""
    s, t = (spectrum(torch.from_numpy(v)[None], window)[0].abs() for v in (x, y))
    low = LOW * float(s.max())
    off = 20 * (s.clamp(min=low).log10() - t.clamp(min=low).log10())[:, first:]
    return float(off.square().mean(1).sqrt().mean())


def gated(y: Tensor, n: Tensor) -> Tensor:
    """A spectrum without twice the power of the noise."""
    return y * (1 - 2 * n / y.abs().square().clamp(min=1e-20)).clamp(min=FLOOR)


def directed(y: Tensor, n: Tensor) -> Tensor:
    """A spectrum by the decision-directed Wiener filter."""
    out, before = [], torch.zeros(())
    for frame in y:
        after = frame.abs().square() / n.clamp(min=1e-20)
        prior = KEPT * before + (1 - KEPT) * (after - 1).clamp(min=0)
        out.append((prior / (1 + prior)).clamp(min=FLOOR))
        before = out[-1].square() * after
    return y * torch.stack(out)


def simple(
    change: Callable[[Tensor, Tensor], Tensor], codec: AudioCodec, y: np.ndarray, n: Tensor | None
) -> np.ndarray:
    hop = codec.window // 4
    whole = np.pad(y, (0, -len(y) % hop))
    own = spectrum(torch.from_numpy(whole)[None], codec.window)[0]
    made = change(own, quietest(own.abs().square()) if n is None else n)
    return sound_of(made[None], codec.window)[0, : len(y)].numpy()


def noise_figures(model: SoundFlow, codec: AudioCodec, judged: Sounds, seed: int) -> dict[str, float]:
    ways: dict[str, Callable[..., np.ndarray]] = {
        "gate": lambda y, n: simple(gated, codec, y, n),
        "Wiener": lambda y, n: simple(directed, codec, y, n),
        "denoise": lambda y, n: denoised(model, codec, y, n).numpy(),
    }
    row, rng = {}, np.random.default_rng(seed)
    for decibels in RATIOS:
        told: dict[str, list[tuple[float, float]]] = {}
        for x in judged.clips:
            loud = np.sqrt(np.mean(np.square(x))) * 10 ** (-decibels / 20)
            noise = (loud * rng.normal(size=len(x) + codec.rate)).astype(np.float32)
            y, alone = x + noise[: len(x)], noise_power(codec, noise[len(x) :])
            made = {"noisy": y} | {f"{k}, noise {w}": way(y, n) for k, way in ways.items()
                                   for w, n in (("given", alone), ("read", None))}  # fmt: skip
            for name, own in made.items():
                told.setdefault(name, []).append((ratio(x, own), distance(x, own, codec.window)))
        for name, found in told.items():
            for what, value in zip(("ratio", "distance"), np.mean(found, 0), strict=True):
                row[f"{name}, {what} at {decibels} dB"] = float(value)
    return row


def mirrored(codec: AudioCodec, y: np.ndarray, gain: float) -> np.ndarray:
    """A sound of half the band with its low frequencies mirrored above it, times a gain."""
    whole = np.pad(y, (0, -len(y) % (codec.window // 4)))
    own = spectrum(torch.from_numpy(whole)[None], codec.window)[0]
    half = own.shape[1] // 2
    own = torch.cat([own[:, : half + 1], gain * own[:, :half].flip(1)], 1)
    return sound_of(own[None], codec.window)[0, : len(y)].numpy()


def band_figures(model: SoundFlow, codec: AudioCodec, learned: Sounds, judged: Sounds) -> dict[str, float]:
    half = codec.shape[1] // 2

    def above(clip: np.ndarray) -> np.ndarray:
        power = spectrum(torch.from_numpy(clip)[None], codec.window)[0].abs().square()
        return np.array([float(power[:, :half].mean()), float(power[:, half:].mean())])

    low, high = np.sum([above(clip) for clip in learned.clips], 0)
    few = resampled(resampled(judged, codec.rate // 2), codec.rate)
    told: dict[str, list[tuple[float, float]]] = {}
    for x, y in zip(judged.clips, few.clips, strict=True):
        y = np.pad(y, (0, max(len(x) - len(y), 0)))[: len(x)]
        made = {"resampled": y, "mirrored": mirrored(codec, y, float(np.sqrt(high / low))),
                "upscale": widened(model, codec, y, codec.rate / 4).numpy()}  # fmt: skip
        for name, own in made.items():
            told.setdefault(name, []).append((distance(x, own, codec.window), distance(x, own, codec.window, half)))
    return {f"{name}, distance{part}": float(value) for name, found in told.items()
            for part, value in zip(("", " above the band"), np.mean(found, 0), strict=True)}  # fmt: skip


def figures(model: SoundFlow, codec: AudioCodec, learned: Sounds, judged: Sounds, seed: int) -> dict[str, Any]:
    """All of them."""
    return noise_figures(model, codec, judged, seed) | band_figures(model, codec, learned, judged)
