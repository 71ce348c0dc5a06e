"""Laws of voices, each by itself: what a model of music in voices is held against."""

from collections.abc import Sequence

import numpy as np

from .ngram import NGram

Lines = Sequence[np.ndarray]
"""Pitches (steps, V) of pieces, 0 for a rest."""

PITCHES, ORDER = 128, 5
LEAST = 0.5  # counts that a voice's pitches get beyond those seen, shared among all


def apart(learned: Lines, unseen: Lines) -> dict[str, np.ndarray]:
    """log p of each voice of each unseen piece given its length, nats, (n, V), under laws of that voice alone:

    frequencies, f(x); repeats, r [x = the one before] + (1 - r) f(x), where r is the share of steps that repeat; and
    a Kneser-Ney law of five symbols, a step each.
    """
    shape = len(unseen), unseen[0].shape[1]
    out = {name: np.zeros(shape) for name in (f"{ORDER}-gram", "repeats", "frequencies")}
    for v in range(shape[1]):
        before = [piece[:, v] for piece in learned]
        counts = np.bincount(np.concatenate(before), minlength=PITCHES) + LEAST / PITCHES
        f = counts / counts.sum()
        again = np.concatenate([line[1:] == line[:-1] for line in before])
        r = (again.sum() + LEAST) / (len(again) + 2 * LEAST)
        gram = NGram.learn(before, PITCHES, ORDER)
        for i, piece in enumerate(unseen):
            line = piece[:, v]
            p = f[line]
            out["frequencies"][i, v] = np.log(p).sum()
            repeats = np.where(line[1:] == line[:-1], r, 0.0) + (1 - r) * p[1:]
            out["repeats"][i, v] = np.log(p[:1]).sum() + np.log(repeats).sum()
            out[f"{ORDER}-gram"][i, v] = gram.log_prob(line)
    return out
