"""Closer to training than to unseen rows: a smoke test for memorised rows."""

import numpy as np

from . import Answer, Answers, Case, Skip, count, metric, some
from .distance import Space, affordable, nearest

QUERIES = 6000
REFERENCE = 16_000
LEAST = 20


def clustered(share: np.ndarray, group: np.ndarray) -> float:
    """The standard error of a mean of outcomes, those of one group as one: sqrt(sum_g (sum_i s_i - mean)^2) / n."""
    sums = np.bincount(group, share - share.mean())
    return float(np.sqrt((sums**2).sum()) / len(share))


@metric(
    group="privacy",
    needs=("unseen",),
    better={"closer": "lower"},
    says={"closer": "share of rows nearer to a training row than to an unseen row (.5 where nothing is memorised)"},
    stand_in="half",
)
def closer(case: Case) -> Answers:
    """mean over synthetic rows of [d(train) < d(unseen)] + [d(train) = d(unseen)] / 2.

    d is the distance to the nearest of as many training as unseen rows, in L1 over range-scaled numbers plus 2 for
    each level that differs. The error is the larger of the binomial one and the one that counts the synthetic rows
    with the same nearest neighbour as one. The subsample is stated: `n` rows against `reference` rows of each.
    """
    rng, size = case.generator(40), min(REFERENCE, count(case.train), count(case.unseen))
    size = case.at_most(size)
    if size < LEAST or count(case.fake) < LEAST:
        raise Skip(f"distances need {LEAST} rows of each table")
    n = affordable(case.at_most(min(QUERIES, count(case.fake))), 2 * size, len(case.fields))
    tables = some(case.fake, n, rng), some(case.train, size, rng), some(case.held_out, size, rng)
    fake, train, unseen = Space(case.fields, case.train)(*tables)
    (a, i), (b, j) = nearest(fake, train), nearest(fake, unseen)
    share = np.where(np.isclose(a, b, rtol=1e-6, atol=1e-6), 0.5, a < b)
    group = np.where(a <= b, i, size + j)
    value = float(share.mean())
    spread = max(clustered(share, group), float(np.sqrt(value * (1 - value) / n)))
    detail = {"reference": size, "ties": float((share == 0.5).mean()), "of": count(case.fake)}
    return {"closer": Answer(value, spread, n, detail)}
