"""A preview of music: sums of partials, as a WAV file."""

import io
import wave

import numpy as np

from .midi import events_of
from .pieces import Piece

RATE = 22_050  # samples a second
PARTIALS = 6
DECAY, RELEASE, ATTACK = 1.2, 0.08, 0.008  # seconds
LOUD = 0.9


def sound_of(piece: Piece) -> np.ndarray:
    """The sound of a piece, float64 (samples,), at most LOUD: each note

        s(t) = e(t) sum_{k=1}^{6} k^-1.6 exp(-k t / 2.4 s) sin(2 pi k f t),  f = 440 2^((p - 69) / 12) Hz

    with an envelope e that rises in 8 ms, fades with a time of 1.2 s and falls in 80 ms after the note's end. Partials
    above half the rate are left out.
    """
    step = 60.0 / piece.tempo / piece.grid
    out = np.zeros(int((len(piece) * step + RELEASE) * RATE) + 1)
    for first, after, pitch in events_of(piece):
        start, lasts = int(first * step * RATE), (after - first) * step
        t = np.arange(min(int((lasts + RELEASE) * RATE), len(out) - start)) / RATE
        frequency = 440.0 * 2.0 ** ((pitch - 69) / 12)
        note = np.zeros(len(t))
        for k in range(1, PARTIALS + 1):
            if 2 * k * frequency < RATE:
                note += k**-1.6 * np.exp(-k * t / (2 * DECAY)) * np.sin(2 * np.pi * k * frequency * t)
        shape = np.minimum(t / ATTACK, 1) * np.exp(-t / DECAY) * np.clip((lasts + RELEASE - t) / RELEASE, 0, 1)
        out[start : start + len(t)] += note * shape
    peak = np.abs(out).max()
    return out * (LOUD / peak) if peak > 0 else out


def wave_of(piece: Piece) -> bytes:
    """The bytes of a WAV file, one channel of 16 bits."""
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.round(sound_of(piece) * 32767).astype("<i2").tobytes())
    return held.getvalue()
