"""Exact copies of training rows."""

import numpy as np

from . import Answer, Answers, Case, count, hashes, metric
from .interval import wilson


@metric(
    group="privacy",
    better={"copies": "lower"},
    says={"copies": "share of rows that equal a training row in every column"},
)
def copies(case: Case) -> Answers:
    """The share of rows that equal a training row in every column; the ceiling is that share among unseen rows.

    A table with few columns repeats rows by chance: what counts is the share beyond that of unseen real rows, or,
    without any, beyond the share of training rows that have a twin.
    """
    n, train = count(case.fake), hashes(case.fields, case.train)
    share = float(np.isin(hashes(case.fields, case.fake), train).mean())
    low, high = wilson(share, n)
    _, inverse, counts = np.unique(train, return_inverse=True, return_counts=True)
    twins = float((counts[inverse] > 1).mean())
    return {"copies": Answer(share, None, n, {"rows": round(share * n), "twins": twins}, low, high, twins)}
