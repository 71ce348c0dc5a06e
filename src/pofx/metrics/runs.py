"""Which sequences of symbols were learned from: exact repetitions, by hashes of 64 bits, and how many to expect."""

import math
from dataclasses import dataclass

import numpy as np

from . import _mix

BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no symbol of a run is lost
MOST = 4_000_000  # runs of training sequences that are remembered


def runs(symbols: np.ndarray, length: int) -> np.ndarray:
    """Hashes of all runs of `length` symbols, (..., T) whole numbers to (..., T - length + 1) uint64."""
    mixed = _mix(symbols.astype(np.uint64) + np.uint64(1))
    wide = symbols.shape[-1] - length + 1
    out = np.zeros((*symbols.shape[:-1], wide), np.uint64)
    for i in range(length):
        out = out * BASE + mixed[..., i : i + wide]
    return out


def step_symbols(rolls: np.ndarray) -> np.ndarray:
    """A hash of what sounds in each step, (..., steps, P) to (..., steps) uint64."""
    weights = _mix(np.arange(1, rolls.shape[-1] + 1, dtype=np.uint64))
    return ((rolls > 0) * weights).sum(-1, dtype=np.uint64)


@dataclass
class Seen:
    """The runs of training examples and of held-out ones, each once, and hashes of examples that are held out."""

    train: np.ndarray
    held: np.ndarray
    others: np.ndarray

    @classmethod
    def of(cls, train: np.ndarray, held: np.ndarray, others: np.ndarray) -> "Seen":
        """Of hashes of all runs of both, and of examples that are held out."""
        return cls(np.unique(train), np.unique(held), others)

    def shares(self, drawn: np.ndarray) -> tuple[float, float, float]:
        """The share of samples that are training examples; what it would be without memory; the error of that.

        Where no example is twice in the data, no held-out one is a training example, and yet a law draws some of both.
        With a the share of samples that are training and held-out runs alike, b of those that are held-out ones alone,
        of which there are M, and N training ones alone, a law that remembers none draws a + b N / M; or what held-out
        examples have, where that is more.
        """
        known = np.isin(drawn, self.train)
        alone = np.isin(drawn, self.held) & ~known
        both = np.isin(self.train, self.held, assume_unique=True).sum()
        common = float((known & np.isin(drawn, self.held)).mean())
        times = (len(self.train) - both) / max(len(self.held) - both, 1)
        expected = common + times * float(alone.mean())
        usual = float(np.isin(self.others, self.train).mean())
        error = times * math.sqrt(float(alone.sum()) + 1) / len(drawn)
        return float(known.mean()), min(max(expected, usual), 1.0), error
