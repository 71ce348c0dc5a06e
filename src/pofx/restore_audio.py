"""Sounds without their noise, and with the high frequencies that they lack: what the codes of a model say of spectra.

Papers: Bando, Mimura, Itoyama, Yoshii, Kawahara 2018, Statistical Speech Enhancement Based on Probabilistic Integration
of Variational Autoencoder and Non-Negative Matrix Factorization; Leglaive, Girin, Horaud 2018, A Variance Modeling
Framework Based on Variational Autoencoders for Speech Enhancement (codes that explain sound and noise together).
"""

import math

import numpy as np
import torch
from torch import Tensor

from .codecs.audio import DECIBELS, LOUD, PERIOD, AudioCodec
from .models.sounds import SoundFlow
from .nn.stft import OVERLAP, griffin_lim, hann, sound_of, spectrum
from .progress import Tick, silent

NEPERS = math.log(10) / 10  # of power, a decibel
STEPS, RATE = 60, 0.1  # of the search for codes
LEAST = 0.03  # of every number of the spectrum stays: what is wholly gone is heard as chirping
GATE = 2.0  # times the noise, that the search begins without
QUIETEST = 0.15  # share of the frames that the noise is read from
SMOOTH = 9  # frequencies that its spectrum is the mean of there
HUSH = 1e-6  # of the loudest power: 60 decibels below it nothing is to be explained
SHARP = 0.95  # of a band, below what a resampler has worn away
STRETCH, BESIDE = 1024, 64  # frames that codes are sought for together, and those that are seen beside them


def denoised(
    model: SoundFlow, codec: AudioCodec, clip: np.ndarray, noise: Tensor | None, tick: Tick = silent
) -> Tensor:
    """A sound, (samples,), without noise of the power `noise`, (F,), that of its quietest frames where None.

    The phase stays, and each number of the spectrum Y is multiplied by

        M = X / (X + N),

    N the power of the noise, X that of the likeliest sound under the model (`likeliest`).
    """
    whole = _whole(codec, clip)
    y = spectrum(whole[None], codec.window)[0]
    power = y.abs().square()
    low = HUSH * power.max().clamp(min=1e-12)
    n = (quietest(power) if noise is None else noise).clamp(min=float(low))
    x = likeliest(model, codec, power, n.expand_as(power), y.shape[1], tick)
    return sound_of((y * (x / (x + n)).clamp(min=LEAST))[None], codec.window)[0, : len(clip)]


def widened(model: SoundFlow, codec: AudioCodec, clip: np.ndarray, band: float, tick: Tick = silent) -> Tensor:
    """A sound, (samples,), that has frequencies below `band` hertz alone, with those above it.

    What lies below stays as it came; above it the magnitudes are those of the likeliest sound, with the phases that
    Griffin-Lim finds beside what is held.
    """
    y = spectrum(_whole(codec, clip)[None], codec.window)
    power = y[0].abs().square()
    seen = max(1, min(int(SHARP * band * codec.window / codec.rate), power.shape[1]))
    low = (HUSH * power.max().clamp(min=1e-12)).expand_as(power)
    x = likeliest(model, codec, power, low, seen, tick)
    return griffin_lim(x.sqrt()[None], codec.window, held=y[:, :, :seen])[0, : len(clip)]


def likeliest(
    model: SoundFlow, codec: AudioCodec, power: Tensor, noise: Tensor, seen: int, tick: Tick = silent
) -> Tensor:
    """The power X, (T, F), of the sound whose codes z and gain g have the largest posterior given `power` of it with
    noise, of which the first `seen` frequencies are known:

        -log p = sum (log(X + N) + P / (X + N)) / 4 + |z|^2 / 2,    X = e^g d(z),

    a power being exponential with its mean, a sample lying in 4 windows, and codes, on the scale of the flow, standard
    normal. Each stretch of frames has a gain of its own.
    """
    out = torch.empty_like(power)
    for at in range(0, len(power), STRETCH):
        first, end = max(at - BESIDE, 0), min(at + STRETCH + BESIDE, len(power))
        found = _sought(model, codec, power[first:end], noise[first:end], seen)
        out[at : at + STRETCH] = found[at - first : at - first + STRETCH]
        tick(1)
    return out


def _sought(model: SoundFlow, codec: AudioCodec, power: Tensor, noise: Tensor, seen: int) -> Tensor:
    """`likeliest` of one stretch, by Adam: from the codes of what is louder than the noise; or, where not all
    frequencies are seen, from zero, since codes of half a sound say that the other half is silent, with the gain that
    the seen half has.
    """
    clear = (power - GATE * noise).clamp(min=0)
    clear[:, seen:] = 0
    heard = clear[clear.amax(1) > 0]
    loud = float(heard.mean() / _white(codec.window, 1.0)) if len(heard) else 0.0
    gain = math.log(max(loud, 1e-10) / LOUD**2)
    decibels = (clear.clamp(min=1e-20).log() - gain) / NEPERS
    levels = ((1 + (decibels - codec.top) / DECIBELS) * 255).round().clamp(0, 255).byte()
    whole = seen == power.shape[1]
    with torch.no_grad():
        z = model.plain(model.coder.told(levels[None])[0]) * float(whole)
    z, g = z.requires_grad_(), torch.tensor(gain, requires_grad=whole)
    moved = [z, g] if whole else [z]
    adam = torch.optim.Adam(moved, RATE)

    def told() -> Tensor:
        made = model.coder.decoder(z * model.spread + model.middle)[0]
        return (((made - 1) / 2 * DECIBELS + codec.top) * NEPERS + g).exp()

    p, n = power[:, :seen], noise[:, :seen]
    for _ in range(STEPS):
        total = told()[:, :seen] + n
        loss = (total.log() + p / total).sum() / OVERLAP + z.square().sum() / 2
        for v, slope in zip(moved, torch.autograd.grad(loss, moved), strict=True):
            v.grad = slope
        adam.step()
    with torch.no_grad():
        return told()


def quietest(power: Tensor) -> Tensor:
    """The power of steady noise, (F,), in that of a sound, (T, F): of each frequency the quantile below which QUIETEST
    of the frames are, divided by what it is of an exponential law of mean one; a mean of SMOOTH neighbours.
    """
    low = torch.quantile(power, QUIETEST, 0) / -math.log1p(-QUIETEST)
    return torch.nn.functional.avg_pool1d(low[None], SMOOTH, 1, SMOOTH // 2, count_include_pad=False)[0]


def noise_power(codec: AudioCodec, noise: np.ndarray | float) -> Tensor:
    """The power of noise, (F,): of a sound of it, or of white noise of a root mean square."""
    if isinstance(noise, float):
        return _white(codec.window, noise).expand(codec.shape[1])
    return spectrum(torch.from_numpy(noise)[None], codec.window)[0, 2:-2].abs().square().mean(0)


def _white(window: int, rms: float) -> Tensor:
    """The mean power of a number of the spectrum of white noise."""
    shape = hann(window)
    return rms**2 * shape.square().sum() * (2 / shape.sum()) ** 2


def _whole(codec: AudioCodec, clip: np.ndarray) -> Tensor:
    """A sound with silence after it, so that it has a multiple of PERIOD frames."""
    hop = codec.window // OVERLAP
    frames = PERIOD * -(-(-(-len(clip) // hop) + 1) // PERIOD)
    return torch.from_numpy(np.pad(clip, (0, (frames - 1) * hop - len(clip))))


def stretches(codec: AudioCodec, clip: np.ndarray) -> int:
    """How many stretches a sound is worked on in, for a bar of progress."""
    return -(-len(_whole(codec, clip)) * OVERLAP // codec.window // STRETCH) or 1
