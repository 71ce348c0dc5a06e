"""Rare categories: are they kept, and with their mass."""

import numpy as np

from . import Answer, Answers, Case, Skip, count, is_level, metric
from .interval import error

RARE = 0.01


@metric(
    group="fidelity",
    kinds=("category", "ordinal"),
    better={"rare_kept": "higher", "rare_mass": "one"},
    says={
        "rare_kept": "share of the rare categories (under 1 % of training rows) that occur in the synthetic table",
        "rare_mass": "rows of rare categories, synthetic over training share (1 is perfect)",
    },
    matched=True,
)
def rare(case: Case) -> Answers:
    """Of the levels with less than 1 % of the training rows: the share that occurs, and their mass over the real mass.

    The mass of a row is the number of its rare levels.
    """
    fields = [f for f in case.fields if is_level(f)]
    n, real_mass, fake_mass, kept, lost = count(case.fake), 0, np.zeros(count(case.fake)), [], []
    for f in fields:
        counts = np.bincount(case.train[f.name] + 1, minlength=len(f.levels) + 2)[1:-1]
        few = np.flatnonzero((counts > 0) & (counts < RARE * count(case.train)))
        shares = np.bincount(case.fake[f.name] + 1, minlength=len(f.levels) + 2)[1:-1]
        real_mass += int(counts[few].sum())
        lookup = np.isin(np.arange(-1, len(f.levels) + 1), few)
        fake_mass += lookup[case.fake[f.name] + 1]
        kept += (shares[few] > 0).tolist()
        lost += [[f.name, f.levels[k], int(counts[k])] for k in few[shares[few] == 0]]
    if not kept:
        raise Skip("no category is rarer than 1 %")
    expected = real_mass / count(case.train)

    def ratio(rows: np.ndarray | slice = slice(None)) -> float:
        return float(fake_mass[rows].mean() / expected)

    lost = sorted(lost, key=lambda row: -row[2])[:50]
    return {
        "rare_kept": Answer(float(np.mean(kept)), None, n, {"lost": lost, "levels": len(kept)}),
        "rare_mass": Answer(ratio(), error(ratio, (n,), case.draws, case.generator(20)), n),
    }
