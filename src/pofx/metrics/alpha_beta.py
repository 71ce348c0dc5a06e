"""Alpha-precision and beta-recall: are synthetic rows typical, and is every sort of real row covered."""

import numpy as np

from . import Answer, Answers, Case, Skip, count, metric, some
from .distance import Points, Space, affordable, nearest
from .interval import error

ROWS = 8_000
ALPHAS = np.linspace(0, 1, 30)


def from_centre(points: Points, centre: Points) -> np.ndarray:
    """The Euclidean distance of each row, levels one-hot, to the mean of the rows of `centre`."""
    square = ((points.numbers - centre.numbers.mean(0)) ** 2).sum(1)
    for a, b in zip(points.levels.T, centre.levels.T, strict=True):
        values, code = np.unique(np.concatenate([b, a]), return_inverse=True)
        p = np.bincount(code[: len(b)], minlength=len(values)) / max(len(b), 1)
        square = square + 1 - 2 * p[code[len(b) :]] + (p**2).sum()
    return np.sqrt(np.maximum(square, 0))


def curve_score(curve: np.ndarray) -> float:
    """1 - sum |alpha - curve(alpha)| / sum alpha."""
    return float(1 - np.abs(ALPHAS - curve).sum() / ALPHAS.sum())


@metric(
    group="fidelity",
    better={"alpha_precision": "higher", "beta_recall": "higher"},
    says={
        "alpha_precision": "alpha-precision: are synthetic rows as typical as real ones (1 is perfect)",
        "beta_recall": "beta-recall: how much of the real variety is covered (fresh real rows reach about .5)",
    },
    matched=True,
)
def alpha_beta(case: Case) -> Answers:
    """Alpha-precision and beta-recall (Alaa et al., 2022), as synthcity computes its "naive" keys.

    Rows are range-scaled numbers and one-hot levels, n of each table. With c the mean of the real rows and R_k the
    quantile of |real - c| at level a_k, P(a_k) = mean(|fake - c| <= R_k). For each real row, d_rs is the distance to
    its nearest synthetic row j and d_rr to its nearest other real row; B(a_k) = mean(d_rs <= d_rr and
    |fake_j - mean(fake)| <= the a_k quantile of those). Each score is 1 - sum |a_k - curve| / sum a_k over 30 levels.
    """
    n = min(ROWS, count(case.fake), count(case.train))
    n = case.at_most(min(n, affordable(n, n, len(case.fields), 5e9)))
    if n < 10:
        raise Skip("alpha-precision needs 10 rows of each table")
    rng = case.generator(10)
    real, fake = some(case.train, n, rng), some(case.fake, n, rng)
    a, b = Space(case.fields, real)(fake, real)
    own, cross = nearest(b, b, 2, without=np.arange(n)), nearest(b, a, 2)
    radii = np.quantile(from_centre(b, b), ALPHAS)
    reach, inside = from_centre(a, b), from_centre(a, a)[cross[1]]
    covered = cross[0] <= own[0]

    def precision(rows: np.ndarray | slice = slice(None)) -> float:
        far = np.sort(reach[rows])
        return curve_score(np.searchsorted(far, radii, side="right") / len(far))

    def recall(rows: np.ndarray | slice = slice(None)) -> float:
        levels = np.quantile(inside[rows], ALPHAS)
        return curve_score((covered[rows][:, None] & (inside[rows][:, None] <= levels)).mean(0))

    return {
        "alpha_precision": Answer(precision(), error(precision, (n,), case.draws, case.generator(11)), n),
        "beta_recall": Answer(recall(), error(recall, (n,), case.draws, case.generator(12)), n),
    }
