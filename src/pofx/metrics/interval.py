"""Errors of figures: the bootstrap (Efron, 1979), and the ratio of a count to its number of trials."""

from collections.abc import Callable

import numpy as np


def error(
    statistic: Callable[..., float], sizes: tuple[int, ...], draws: int, generator: np.random.Generator
) -> float | None:
    """The standard deviation of statistic(rows, rows, ...) over `draws` resamples of tables of these sizes.

    None without draws. The interval is value +- 1.96 error: a resample of rows is itself a noisy table, so that the
    percentiles of a distance between tables lie to one side of it.
    """
    if draws < 2:
        return None
    drawn = [statistic(*(generator.integers(0, n, n) for n in sizes)) for _ in range(draws)]
    values = np.array(drawn, np.float64)
    values = values[np.isfinite(values)]
    return float(values.std(ddof=1)) if len(values) > 1 else None


def wilson(share: float, n: float) -> tuple[float, float]:
    """The 95 % interval of a share of n trials (Wilson, 1927)."""
    if n <= 0:
        return 0.0, 1.0
    z2 = 1.96**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = 1.96 * np.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return float(max(centre - half, 0.0)), float(min(centre + half, 1.0))


def auc(score: np.ndarray, positive: np.ndarray) -> float:
    """P(score of a positive > score of a negative), ties half; NaN where either is absent."""
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    yes = int(positive.sum())
    no = len(score) - yes
    return float((rank[positive].sum() - yes * (yes + 1) / 2) / (yes * no)) if yes and no else float("nan")


def caught(score: np.ndarray, positive: np.ndarray, rate: float = 0.01) -> float:
    """The share of positives above the threshold that at most `rate` of the negatives exceed; ties do not count."""
    below = score[~positive]
    if not len(below) or not positive.any():
        return float("nan")
    bar = np.sort(below)[::-1][min(int(rate * len(below)), len(below) - 1)]
    return float((score[positive] > bar).mean())
