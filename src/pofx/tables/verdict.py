"""From the evidence on several tables to PASS, WARN or FAIL."""

import math
from collections.abc import Iterator

from ..training.verdict import SKILL, TOLD, Finding, Verdict
from .judging import LEAST, TablesEvidence

GRAVE = {"AUC": 0.75, "distance": 0.25}  # half of the way from what cannot be told apart, of distances a quarter
SURE = 2.0  # standard errors beyond which a figure counts


def verdict(evidence: TablesEvidence) -> Verdict:
    """The verdict on drawn tables, by what held-out ones have (floor) and by what is made without a model (trivial).

    A broken key fails. The skill of a table is (trivial - AUC) / (trivial - floor), AUC that of a judge of its rows
    with their parent and earlier sibling: below SKILL a warning, and a failure where they are farther off than the
    trivial rows and beyond GRAVE too, since what depends on nothing has trivial rows as good as any. So are distances
    of the numbers of children. Standard errors: 1/sqrt(6 n) of an AUC of n rows a side (Mann, Whitney 1947), and
    sqrt(1/(2 n)) of the largest difference of distribution functions, n of held-out parents.
    """
    return Verdict([*_keys(evidence), *_rows(evidence), *_children(evidence)])


def _keys(told: TablesEvidence) -> Iterator[Finding]:
    if wrong := {name: n for name, n in told.keys.items() if n}:
        named = ", ".join(f"{name} ({n:,} rows)" for name, n in wrong.items())
        yield Finding("broken keys", 2, f"keys do not hold: {named}")


def _rows(told: TablesEvidence) -> Iterator[Finding]:
    if not told.pairs:
        yield Finding("few entities", 0, f"fewer than {LEAST} held-out entities: rows were not judged")
    for name, one in told.pairs.items():
        error, what = 1 / math.sqrt(6 * one["n"]), f"rows of {name} with parent and earlier sibling"
        yield from _far(what, one["auc"], one["floor"], one["trivial"], error, "AUC")
        if one["auc"] - SURE * error > TOLD:
            yield Finding("told apart", 1, f"a judge tells rows of {name} from held-out ones, AUC {one['auc']:.3f}")


def _children(told: TablesEvidence) -> Iterator[Finding]:
    for name, one in told.children.items():
        error = math.sqrt(1 / (2 * max(sum(told.counts[name][0]), 1)))
        figures = one["distance"], one["floor"], one["trivial"]
        yield from _far(f"numbers of children, {name}", *figures, error, "distance")


def _far(what: str, value: float, floor: float, trivial: float, error: float, measure: str) -> Iterator[Finding]:
    """A finding where a figure is nearer to the trivial one than to the floor, or beyond it."""
    beside = f"{measure} {value:.3f} (held-out {floor:.3f}, trivial {trivial:.3f})"
    if value - trivial > SURE * math.sqrt(2) * error:
        level = 2 if value > GRAVE[measure] else 1
        yield Finding("worse than trivial", level, f"{what}: farther off than trivial ones, {beside}: train longer")
    elif trivial - floor > SURE * error and value - SURE * error > floor + (1 - SKILL) * (trivial - floor):
        yield Finding("little skill", 1, f"{what}: {beside}: train longer")
