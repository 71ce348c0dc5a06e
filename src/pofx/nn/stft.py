"""Short-time Fourier transforms of sounds, and sounds of magnitudes alone.

Paper: Perraudin, Balazs, Sondergaard 2013, A Fast Griffin-Lim Algorithm.
"""

import math

import torch
from torch import Tensor

SECONDS = 0.04  # of a window, about: 256 samples at 8 kHz, 1,024 at 22,050 Hz
OVERLAP = 4  # windows that a sample lies in
ALPHA = 0.99  # of the momentum; 0 is the slow algorithm
ROUNDS = 48


def window_of(rate: int) -> int:
    """Samples of a window, a power of two, at so many samples a second."""
    return 2 ** max(4, round(math.log2(rate * SECONDS)))


def hann(window: int) -> Tensor:
    """The window, (window,), float32."""
    return torch.hann_window(window)


def spectrum(sound: Tensor, window: int) -> Tensor:
    """Complex (n, frames, window / 2 + 1) of sounds (n, samples), frames = samples // hop + 1, hop = window / 4.

    Silence stands before and after; a sine of amplitude 1 has magnitude 1 at its frequency.
    """
    shape = hann(window)
    out = torch.stft(
        sound, window, window // OVERLAP, window=shape, center=True, pad_mode="constant", return_complex=True
    )
    return out.transpose(1, 2) * (2 / shape.sum())


def sound_of(spectra: Tensor, window: int) -> Tensor:
    """The sounds, (n, (frames - 1) hop), whose spectra are nearest to these in squared distance."""
    shape = hann(window)
    scaled = spectra.transpose(1, 2) * (shape.sum() / 2)
    return torch.istft(scaled, window, window // OVERLAP, window=shape, center=True)


def griffin_lim(
    magnitude: Tensor, window: int, rounds: int = ROUNDS, alpha: float = ALPHA, held: Tensor | None = None
) -> Tensor:
    """Sounds (n, (frames - 1) hop) of magnitudes (n, frames, window / 2 + 1): fast Griffin-Lim from fixed phases.

        t_k = S S^+ (m e^(i arg c_k)),    c_(k+1) = t_k + alpha (t_k - t_(k-1)),

    S the transform and S^+ its least-squares inverse; each sound depends on its own magnitudes alone. held: complex
    numbers of the lowest frequencies, (n, frames, k), that stay as they are.
    """

    def kept(c: Tensor) -> Tensor:
        return c if held is None else torch.cat([held, c[:, :, held.shape[2] :]], 2)

    generator = torch.Generator().manual_seed(0)
    phase = 2 * math.pi * torch.rand(magnitude.shape[1:], generator=generator)
    c, before = kept(torch.polar(magnitude, phase.expand_as(magnitude).contiguous())), None
    for _ in range(rounds):
        t = spectrum(sound_of(c, window), window)
        c = t if before is None else t + alpha * (t - before)
        before, c = t, kept(magnitude * c / c.abs().clamp(min=1e-12))
    return sound_of(c, window)
