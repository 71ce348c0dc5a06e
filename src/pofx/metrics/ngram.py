"""An n-gram law of sequences with Kneser-Ney smoothing: what a model of sequences is held against."""

from collections import Counter, defaultdict
from collections.abc import Iterable

import numpy as np

DISCOUNT = 0.75
Context = tuple[int, ...]


class NGram:
    """Interpolated Kneser-Ney of `order` symbols, among `symbols`.

        p_n(w | h) = max(c(h w) - d, 0) / c(h) + d N(h .) / c(h) p_{n-1}(w | h'),   d = .75

    c counts the longest grams; shorter ones count in how many contexts they occur. N(h .) is how many symbols follow h,
    h' is h without its first, and p_0 is uniform. Chen and Goodman 1999.
    """

    def __init__(self, order: int, symbols: int) -> None:
        self.order, self.symbols = order, symbols
        self.counts: list[Counter[Context]] = [Counter() for _ in range(order)]
        self.total: list[dict[Context, int]] = []
        self.kinds: list[dict[Context, int]] = []

    @classmethod
    def learn(cls, sequences: Iterable[np.ndarray], symbols: int, order: int = 5) -> "NGram":
        """The law of sequences of codes, each told from its beginning (a symbol of its own, -1)."""
        made = cls(order, symbols)
        longest = made.counts[-1]
        for codes in sequences:
            padded = [-1] * (order - 1) + codes.tolist()
            longest.update(zip(*(padded[i:] for i in range(order)), strict=False))
        for n in range(order - 1, 0, -1):
            made.counts[n - 1].update(gram[1:] for gram in made.counts[n])
        for count in made.counts:
            total: dict[Context, int] = defaultdict(int)
            kinds: dict[Context, int] = defaultdict(int)
            for gram, c in count.items():
                total[gram[:-1]] += c
                kinds[gram[:-1]] += 1
            made.total.append(total)
            made.kinds.append(kinds)
        return made

    def p(self, gram: Context) -> float:
        """p(last | those before)."""
        p = 1 / self.symbols
        for n in range(min(self.order, len(gram))):
            own = gram[len(gram) - n - 1 :]
            total = self.total[n].get(own[:-1], 0)
            if total == 0:
                break
            spare = DISCOUNT * self.kinds[n][own[:-1]] / total
            p = max(self.counts[n].get(own, 0) - DISCOUNT, 0.0) / total + spare * p
        return p

    def log_prob(self, codes: np.ndarray) -> float:
        """log p of a sequence, nats."""
        padded = [-1] * (self.order - 1) + codes.tolist()
        return float(
            sum(np.log(self.p(tuple(padded[i : i + self.order]))) for i in range(len(padded) - self.order + 1))
        )

    def draws(self, count: int, length: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Sequences of the law, each of `length` codes at most and up to its END (0), which is left out."""
        after: list[dict[Context, tuple[list[int], np.ndarray]]] = []
        for counts in self.counts:
            found: dict[Context, list[tuple[int, int]]] = defaultdict(list)
            for gram, c in counts.items():
                found[gram[:-1]].append((gram[-1], c))
            after.append(
                {h: ([w for w, _ in part], np.cumsum([c - DISCOUNT for _, c in part])) for h, part in found.items()}
            )
        return [self._draw(length, rng, after) for _ in range(count)]

    def _draw(
        self, length: int, rng: np.random.Generator, after: list[dict[Context, tuple[list[int], np.ndarray]]]
    ) -> np.ndarray:
        """One sequence: the mass that a context keeps goes to its symbols, the rest to the next shorter context."""
        codes = [-1] * (self.order - 1)
        for _ in range(length):
            new = int(rng.integers(self.symbols))
            for n in range(self.order - 1, -1, -1):
                h = tuple(codes[len(codes) - n :])
                u = rng.random() * self.total[n].get(h, 0)
                if h in after[n] and u < after[n][h][1][-1]:
                    new = after[n][h][0][int(np.searchsorted(after[n][h][1], u, side="right"))]
                    break
            if new == 0:
                break
            codes.append(new)
        return np.array(codes[self.order - 1 :], np.int32)
