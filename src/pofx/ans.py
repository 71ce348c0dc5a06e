"""Asymmetric numeral systems: symbols of known laws to bits and back, last in, first out, many lanes at a time.

A state s of each lane, 2^31 <= s < 2^63, takes a symbol of frequency f and cumulated frequency c, of 2^PRECISION in
all, by s <- (s div f) 2^PRECISION + s mod f + c, after which s mod 2^PRECISION lies in [c, c + f) and tells the symbol.
What a state cannot hold goes to a stack of 32-bit words that all lanes share. Popping a symbol of a law draws it with
its probability from what the stack holds: bits that are got back when it is pushed again.

Papers: Duda 2013, Asymmetric Numeral Systems; Townsend, Bird, Barber 2019, Practical Lossless Compression with Latent
Variables Using Bits Back Coding (lanes: Townsend et al. 2020, HiLLoC).
"""

from collections.abc import Callable

import numpy as np

PRECISION = 24
LOW = np.uint64(1 << 31)
WORD = np.uint64(32)
MASK = np.uint64((1 << PRECISION) - 1)

Find = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""Places in [0, 2^PRECISION), one a lane, to (symbol, start, frequency)."""


class Stack:
    """`lanes` states and the words below them. `seed` fills the bottom with bits that may be drawn from.

    untouched: how many of these no symbol was drawn from yet; spent: bits that symbols took, less those they gave back.
    """

    def __init__(self, lanes: int, seed: int = 0, words: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.heads = random.integers(1 << 31, 1 << 63, lanes, dtype=np.uint64)
        self.words = random.integers(0, 1 << 32, words, dtype=np.uint32).tolist()
        self.untouched, self.spent = words, 0.0

    def push(self, start: np.ndarray, frequency: np.ndarray) -> None:
        """A symbol of each of the first len(start) lanes: its interval [start, start + frequency)."""
        f, head = frequency.astype(np.uint64), self.heads[: len(start)]
        self.spent += len(f) * PRECISION - float(np.log2(f).sum())
        full = head >= (f << np.uint64(63 - PRECISION))
        if full.any():
            self.words.extend((head[full] & np.uint64(0xFFFFFFFF)).astype(np.uint32).tolist())
            head = np.where(full, head >> WORD, head)
        self.heads[: len(start)] = ((head // f) << np.uint64(PRECISION)) + head % f + start.astype(np.uint64)

    def pop(self, lanes: int, find: Find) -> np.ndarray:
        """A symbol of each of the first lanes, by the law that `find` looks places up in."""
        head = self.heads[:lanes]
        place = head & MASK
        symbol, start, frequency = find(place.astype(np.int64))
        self.spent -= lanes * PRECISION - float(np.log2(frequency).sum())
        head = frequency.astype(np.uint64) * (head >> np.uint64(PRECISION)) + place - start.astype(np.uint64)
        short = np.flatnonzero(head < LOW)
        if len(short):
            if len(short) > len(self.words):
                raise ValueError("the stack has no bits left to draw from")
            taken = np.array(self.words[-len(short) :], np.uint64)
            del self.words[-len(short) :]
            self.untouched = min(self.untouched, len(self.words))
            head[short] = (head[short] << WORD) | taken
        self.heads[:lanes] = head
        return symbol

    def to_array(self) -> np.ndarray:
        """Everything, uint32: the words, then the heads."""
        return np.concatenate([np.array(self.words, np.uint32), self.heads.view(np.uint32)])

    @classmethod
    def from_array(cls, held: np.ndarray, lanes: int) -> "Stack":
        """What `to_array` gave."""
        out = cls(0)
        out.words = held[: len(held) - 2 * lanes].tolist()
        out.heads = held[len(held) - 2 * lanes :].astype(np.uint32).view(np.uint64).copy()
        return out


def frequencies(mass: np.ndarray) -> np.ndarray:
    """Cumulated frequencies, int64 (..., K + 1), from 0 to 2^PRECISION, of masses (..., K); none is zero.

    K at most 2^(PRECISION - 1): each symbol keeps one unit, and the masses share what is left.
    """
    count = mass.shape[-1]
    rising = np.cumsum(mass / mass.sum(-1, keepdims=True), -1)
    free = (1 << PRECISION) - count
    inner = np.floor(rising * free).astype(np.int64) + np.arange(1, count + 1)
    inner[..., -1] = 1 << PRECISION
    return np.concatenate([np.zeros((*mass.shape[:-1], 1), np.int64), inner], -1)


def finder(rising: np.ndarray) -> Find:
    """The `Find` of cumulated frequencies (lanes, K + 1), or (1, K + 1) for all."""

    def find(place: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        symbol = (rising[:, 1:] <= place[:, None]).sum(1)
        lane = np.arange(len(place)) % len(rising)
        return symbol, rising[lane, symbol], rising[lane, symbol + 1] - rising[lane, symbol]

    return find


def push_symbols(stack: Stack, symbol: np.ndarray, rising: np.ndarray) -> None:
    """Pushes a symbol of each lane by cumulated frequencies (lanes, K + 1), or (1, K + 1) for all."""
    lane = np.arange(len(symbol)) % len(rising)
    start = rising[lane, symbol]
    stack.push(start, rising[lane, symbol + 1] - start)
