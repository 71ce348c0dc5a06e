"""How much sequences repeat one another, and what was learned."""

from collections import Counter
from collections.abc import Sequence

import numpy as np


def share_new(drawn: Sequence[str], known: Sequence[str]) -> float:
    """The share of texts that are none of the known ones."""
    own = set(known)
    return float(np.mean([text not in own for text in drawn]))


def share_distinct(drawn: Sequence[str]) -> float:
    """Different texts, as a share of all."""
    return len(set(drawn)) / len(drawn)


def self_bleu(drawn: Sequence[str], order: int = 4, most: int = 200) -> float:
    """The mean BLEU of each of the first `most` texts against the others: 1 where they repeat one another.

    The geometric mean over n = 1..order of the share of a text's n-grams of characters that occur in the others, each
    at most as often as in one of them; one is added to both counts for n > 1. Zhu et al. 2018, Texygen; Lin and Och
    2004 for the smoothing. No penalty of brevity: the lengths are the law's own.
    """
    texts = list(drawn[:most])
    logs = np.zeros(len(texts))
    for n in range(1, order + 1):
        grams = [Counter(text[i : i + n] for i in range(len(text) - n + 1)) for text in texts]
        first: Counter[str] = Counter()
        second: Counter[str] = Counter()
        for own in grams:
            for gram, c in own.items():
                if c > first[gram]:
                    second[gram], first[gram] = first[gram], c
                elif c > second[gram]:
                    second[gram] = c
        for i, own in enumerate(grams):
            hits = sum(min(c, second[g] if c == first[g] else first[g]) for g, c in own.items())
            total, add = sum(own.values()), n > 1
            logs[i] += np.log(max((hits + add) / max(total + add, 1), 1e-9)) / order
    return float(np.exp(logs).mean())
