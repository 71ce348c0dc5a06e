"""Shape: how well each column's own law is kept."""

from collections.abc import Callable

import numpy as np

from ..field import Field
from ..spec import Columns
from . import Answer, Answers, Case, Skip, codes, count, is_level, metric
from .interval import error


def column_score(field: Field, fake: Columns, real: Columns) -> Callable[..., float]:
    """The complement of the distance between two columns as a function of the rows taken from each.

    Numbers: 1 - max |F - G| (Kolmogorov-Smirnov); levels: 1 - sum |p - q| / 2 (total variation); missing cells left
    out, NaN where nothing else is there.
    """
    a, b = (code + 1 for code in codes(field, fake, real))
    size = int(max(a.max(initial=0), b.max(initial=0))) + 1

    def score(rows: np.ndarray | slice = slice(None), others: np.ndarray | slice = slice(None)) -> float:
        p = np.bincount(a[rows], minlength=size)[1:]
        q = np.bincount(b[others], minlength=size)[1:]
        if not p.sum() or not q.sum():
            return float("nan") if p.sum() == q.sum() else 0.0
        gap = p / p.sum() - q / q.sum()
        return float(1 - (np.abs(gap).sum() / 2 if is_level(field) else np.abs(np.cumsum(gap)).max()))

    return score


@metric(
    group="fidelity",
    better={"shape": "higher", "missing_gap": "lower"},
    says={
        "shape": "Shape: how well each column's own distribution is kept (1 is perfect)",
        "missing_gap": "largest difference in the share of missing cells of a column",
    },
    matched=True,
)
def shape(case: Case) -> Answers:
    """Shape = mean over columns of the Kolmogorov-Smirnov or total variation complement, as SDMetrics defines it.

    A column that is missing throughout has no score. `missing_gap` = max over columns of the difference in the share
    of missing cells, where there are any.
    """
    scores = {f.name: column_score(f, case.fake, case.train) for f in case.fields}
    single = {name: score() for name, score in scores.items()}
    single = {name: value for name, value in single.items() if np.isfinite(value)}
    if not single:
        raise Skip("every column is missing throughout")
    kept = [scores[name] for name in single]
    sizes, n = (count(case.fake), count(case.train)), count(case.fake)
    spread = error(lambda a, b: float(np.nanmean([s(a, b) for s in kept])), sizes, case.draws, case.generator(1))
    out = {"shape": Answer(float(np.mean(list(single.values()))), spread, n, {"columns": single})}
    return out | _missing(case)


def _missing(case: Case) -> Answers:
    gaps = {}
    for f in case.fields:
        a, b = (f.absent(x[f.name]).mean() for x in (case.fake, case.train))
        if a or b:
            gaps[f.name] = float(abs(a - b))
    n = count(case.fake)
    return {"missing_gap": Answer(max(gaps.values()), None, n, {"columns": gaps})} if gaps else {}
