"""Differential privacy: what noise hides, what it costs, and where the randomness comes from.

Two data sets are neighbours where one has all rows of the other and those of one unit more: a row, or an entity whose
rows were cut to one. A mechanism M is (epsilon, delta)-private if for neighbours and any set of outcomes S

    P(M(D) in S) <= exp(epsilon) P(M(D') in S) + delta.

Costs are counted in rho of zero-concentrated privacy (Bun, Steinke 2016), which add up:

    a histogram, of which a row changes one bin by 1, with noise N(0, s^2) in each   rho = 1 / (2 s^2)
    the exponential mechanism, P(i) ~ exp(e score_i / 2), a row changing scores by 1  rho = e^2 / 8
    a vocabulary: the noisy counts, N(0, s^2), that exceed 1 + s Phi^-1(1 - d)       rho = 1 / (2 s^2), delta d

and rho-zCDP is (epsilon, delta)-private for every delta (Canonne, Kamath, Steinke 2020) with

    epsilon = min over a > 1 of  rho a + log((a - 1) / a) - (log delta + log a) / (a - 1).
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .errors import SpecError

ORDERS = 1.0 + np.geomspace(1e-3, 1e6, 4000)
KNOWN = "noise came from a known seed: whoever knows it can take the noise away, so there is no guarantee"


def epsilon_of(rho: float | np.ndarray, delta: float, orders: np.ndarray = ORDERS) -> float:
    """epsilon of rho-zCDP at a delta; or, where rho (orders,) / order is given for each order, of that Renyi curve."""
    if not math.isfinite(float(np.max(rho))):
        return math.inf
    curve = rho * orders + np.log1p(-1 / orders) - (math.log(delta) + np.log(orders)) / (orders - 1)
    return max(float(np.min(curve)), 0.0)


def rho_of(epsilon: float, delta: float) -> float:
    """The largest rho whose epsilon at this delta is at most `epsilon`."""
    low, high = 0.0, 1.0
    while epsilon_of(high, delta) < epsilon:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if epsilon_of(middle, delta) <= epsilon else (low, middle)
    return low * (1 - 1e-9)  # so that sums of its parts, rounded, stay below


def deviation(rho: float) -> float:
    """s of the Gaussian mechanism that costs rho at sensitivity 1; 0 where rho is infinite."""
    return 0.0 if math.isinf(rho) else 1 / math.sqrt(2 * rho)


def check_terms(epsilon: Any, delta: Any, unit: Any = "rows") -> None:
    """Raises SpecError for an epsilon of 0 or below, a delta not between 0 and 1, or a unit that is no text."""
    for name, value in (("epsilon", epsilon), ("delta", delta)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise SpecError(f"expected {name} as a number, got {value!r}")
    if not 0 < epsilon < math.inf:
        raise SpecError(f"expected epsilon above 0, got {epsilon}: 1 is strict, 10 is loose")
    if not 0 < delta < 1:
        raise SpecError(f"expected delta between 0 and 1, got {delta}: less than one over the rows, 1e-6 or so")
    if not isinstance(unit, str) or not unit:
        raise SpecError(f'expected unit as "rows" or the name of a column, got {unit!r}')


class Randomness:
    """Uniform and normal numbers of the system's own randomness (os.urandom), which no seed repeats.

    seed: for tests, a generator that can be repeated: then noise hides nothing from those who know it.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.seed = seed
        self._generator = None if seed is None else np.random.default_rng(seed)

    def uniform(self, *shape: int) -> np.ndarray:
        """Uniform numbers in (0, 1), of 52 bits each."""
        if self._generator is not None:
            return (self._generator.integers(0, 2**52, shape) + 0.5) * 2.0**-52
        bits = np.frombuffer(os.urandom(8 * math.prod(shape)), np.uint64) >> np.uint64(12)
        return (bits.reshape(shape) + 0.5) * 2.0**-52

    def normal(self, *shape: int) -> np.ndarray:
        """Standard normal numbers, by the inverse distribution function."""
        from scipy.special import ndtri

        return ndtri(self.uniform(*shape))

    def choice(self, scores: np.ndarray, strength: float) -> int:
        """The exponential mechanism: i with probability ~ exp(strength score_i / 2); the best where that is infinite.

        The largest of scores with Gumbel noise has this law.
        """
        if math.isinf(strength):
            return int(np.argmax(scores))
        return int(np.argmax(strength * scores / 2 - np.log(-np.log(self.uniform(len(scores))))))


@dataclass
class Budget:
    """What may be spent, in rho and in the delta of vocabularies, and what was.

    rho infinite: no privacy is asked for, and there is no noise.
    """

    rho: float
    delta: float = 0.0
    noise: Randomness = field(default_factory=Randomness)
    spent: dict[str, float] = field(default_factory=dict)
    spent_delta: float = 0.0

    def _pay(self, rho: float, what: str, delta: float = 0.0) -> None:
        if rho <= 0 or sum(self.spent.values()) + rho > self.rho * (1 + 1e-9):
            raise SpecError(f"expected a positive part of what is left of rho {self.rho:.3g}, got {rho:.3g} for {what}")
        if self.spent_delta + delta > self.delta * (1 + 1e-9):
            raise SpecError(f"expected a part of what is left of delta {self.delta:.3g}, got {delta:.3g} for {what}")
        self.spent[what] = self.spent.get(what, 0.0) + rho
        self.spent_delta += delta

    def histogram(self, counts: np.ndarray, rho: float, what: str) -> np.ndarray:
        """Counts with the noise that rho buys; a unit changes one of them by 1."""
        self._pay(rho, what)
        sigma = deviation(rho)
        return counts + sigma * self.noise.normal(*np.shape(counts)) if sigma else np.asarray(counts, np.float64)

    def vocabulary(self, names: Sequence[Any], counts: np.ndarray, rho: float, delta: float, what: str) -> np.ndarray:
        """The noisy counts that exceed the threshold, NaN for the others: names that one unit alone has never show."""
        self._pay(rho, what, delta)
        noisy = counts + deviation(rho) * self.noise.normal(len(names))
        return np.where(noisy > threshold(deviation(rho), delta), noisy, np.nan)

    def choose(self, scores: np.ndarray, rho: float, what: str) -> int:
        """One of the scores, which a unit changes by at most 1, by the exponential mechanism."""
        self._pay(rho, what)
        return self.noise.choice(scores, math.sqrt(8 * rho))


def threshold(sigma: float, delta: float) -> float:
    """What the noisy count of a name that one unit alone has exceeds with probability delta."""
    from scipy.special import ndtri

    return 1.0 if not sigma else 1.0 - sigma * float(ndtri(delta))


def onto_simplex(y: np.ndarray, total: float) -> np.ndarray:
    """The point nearest to y with entries of 0 or more that sum to `total`: max(y - t, 0) (Held, Wolfe, Crowder 1974).

    It takes away the excess that clipping noise at zero leaves.
    """
    if total <= 0:
        return np.zeros_like(y, np.float64)
    flat = np.sort(y.ravel())[::-1]
    over = np.cumsum(flat) - total
    k = int(np.flatnonzero(flat * np.arange(1, len(flat) + 1) > over)[-1])
    return np.maximum(y - over[k] / (k + 1), 0.0)
