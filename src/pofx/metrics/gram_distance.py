"""How far the runs of characters in drawn texts are from those in real ones, and how varied their characters are."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

LONGEST = 4
BEGIN, END = "\x02", "\x03"  # marks that text does not hold


def gram_distance(drawn: Sequence[str], real: Sequence[str], longest: int = LONGEST) -> float:
    """The total variation distance between the frequencies of runs of n characters, in [0, 1], a mean over n up to
    `longest`; runs go from a mark of the beginning to one of the end.

    Rare runs are in one of two finite sets by chance, so that real texts are far from real ones as well: the floor.
    """
    return float(np.mean([_apart(_grams(drawn, n), _grams(real, n)) for n in range(1, longest + 1)]))


def _grams(texts: Sequence[str], n: int) -> Counter[str]:
    told: Counter[str] = Counter()
    for text in texts:
        whole = (BEGIN if n > 1 else "") + text + END
        told.update(whole[i : i + n] for i in range(len(whole) - n + 1))
    return told


def _apart(a: Counter[str], b: Counter[str]) -> float:
    if not a or not b:
        return float(bool(a) != bool(b))
    total, other = a.total(), b.total()
    return 0.5 * sum(abs(a[gram] / total - b[gram] / other) for gram in a.keys() | b.keys())


def entropy(texts: Sequence[str]) -> float:
    """Of the frequencies of characters, nats."""
    count = np.array(list(Counter("".join(texts)).values()), np.float64)
    p = count / max(count.sum(), 1.0)
    return float(-(p * np.log(p)).sum())
