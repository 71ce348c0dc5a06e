"""Broken constraints: rules that a codec was given or found, a <= b, sums, groups, ranges."""

import numpy as np

from . import Answer, Answers, Case, count, metric
from .interval import wilson


@metric(
    group="fidelity",
    needs=("rules",),
    better={"broken_constraints": "lower"},
    says={"broken_constraints": "share of rows that break a constraint of the table"},
)
def constraints(case: Case) -> Answers:
    """The share of rows that break at least one constraint of the table; real rows may break some too.

    The detail lists each rule with its share.
    """
    n, bad, listed = count(case.fake), np.zeros(count(case.fake), bool), []
    for words, broken in (case.rules or {}).items():
        rows = broken(case.fake)
        bad |= rows
        listed.append({"rule": words, "share": float(rows.mean())})
    share = float(bad.mean())
    low, high = wilson(share, n)
    listed.sort(key=lambda rule: -float(str(rule["share"])))
    return {"broken_constraints": Answer(share, None, n, {"rules": listed}, low, high)}
