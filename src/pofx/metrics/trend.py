"""Trend: how well the law of each pair of columns is kept."""

from dataclasses import dataclass

import numpy as np

from . import Answer, Answers, Case, Skip, codes, count, is_level, metric, numbers, pairs_of

PAIRS = 3000
ROWS = 50_000
BINS = 10
DENSE = 1 << 20


@dataclass(frozen=True)
class Sides:
    """The columns of one table: levels or bins as codes from 0, numbers as they are."""

    codes: dict[int, np.ndarray]
    numbers: dict[int, np.ndarray]


def _digitised(v: np.ndarray, edges: np.ndarray | None) -> np.ndarray:
    return np.digitize(v, edges) if edges is not None else np.full(len(v), BINS + 1)


def _edges(v: np.ndarray) -> np.ndarray | None:
    v = v[np.isfinite(v)]
    return np.histogram_bin_edges(v, BINS) if len(v) else None


def sides(case: Case, rows: tuple[np.ndarray, np.ndarray], common: bool) -> tuple[Sides, Sides]:
    """(synthetic, real): ten bins of equal width for numbers, edges of each table's own or the real ones for both."""
    out = (Sides({}, {}), Sides({}, {}))
    for i, f in enumerate(case.fields):
        if is_level(f):
            for side, code, r in zip(out, codes(f, case.fake, case.train), rows, strict=True):
                side.codes[i] = code[r] + 1
            continue
        a, b = numbers(f, case.fake)[rows[0]], numbers(f, case.train)[rows[1]]
        real = _edges(b)
        out[0].codes[i], out[1].codes[i] = _digitised(a, real if common else _edges(a)), _digitised(b, real)
        out[0].numbers[i], out[1].numbers[i] = a, b
    return out


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation over the rows where both are present; NaN for a constant."""
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    if len(a) < 2:
        return float("nan")
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt(np.einsum("i,i", a, a) * np.einsum("i,i", b, b))
    return float(np.clip(np.einsum("i,i", a, b) / scale, -1, 1)) if scale > 0 else float("nan")


class _Pair:
    def __init__(self, fake: Sides, real: Sides, i: int, j: int) -> None:
        self.linear = i in fake.numbers and j in fake.numbers
        if self.linear:
            self.parts = [(side.numbers[i], side.numbers[j]) for side in (fake, real)]
        else:
            self.joint, self.size = self._joint(fake, real, i, j)

    @staticmethod
    def _joint(fake: Sides, real: Sides, i: int, j: int) -> tuple[list[np.ndarray], int]:
        width = int(max(fake.codes[j].max(initial=0), real.codes[j].max(initial=0))) + 1
        both = [side.codes[i].astype(np.int64) * width + side.codes[j] for side in (fake, real)]
        top = int(max(b.max(initial=0) for b in both)) + 1
        if top > DENSE:
            values, inverse = np.unique(np.concatenate(both), return_inverse=True)
            both, top = np.split(inverse, [len(both[0])]), len(values)
        return both, top

    def __call__(self, *rows: np.ndarray | slice) -> float:
        if self.linear:
            rho = [correlation(a[r], b[r]) for (a, b), r in zip(self.parts, rows, strict=True)]
            return 1 - abs(rho[0] - rho[1]) / 2
        p, q = (np.bincount(b[r], minlength=self.size) / max(len(b[r]), 1)
                for b, r in zip(self.joint, rows, strict=True))  # fmt: skip
        return float(1 - np.abs(p - q).sum() / 2)


def _score(case: Case, common: bool) -> Answer | None:
    rng = case.generator(2)
    most = case.at_most(ROWS)
    rows = rng.permutation(count(case.fake))[:most], rng.permutation(count(case.train))[:most]
    fake, real = sides(case, rows, common)
    pairs = list(pairs_of([f.name for f in case.fields]))
    if len(pairs) > PAIRS:
        pairs = [pairs[k] for k in np.sort(rng.permutation(len(pairs))[:PAIRS])]
    draws = case.draws if len(pairs) <= 500 else min(case.draws, 10)
    resampled = [tuple(rng.integers(0, max(len(r), 1), len(r)) for r in rows) for _ in range(draws)]
    values, table = {}, np.zeros((draws, len(pairs)))
    for k, (i, j) in enumerate(pairs):
        pair = _Pair(fake, real, i, j)
        values[i, j] = pair(slice(None), slice(None))
        if np.isfinite(values[i, j]):
            table[:, k] = [pair(*drawn) for drawn in resampled]
        else:
            table[:, k] = np.nan
    values = {key: value for key, value in values.items() if np.isfinite(value)}
    if not values:
        return None
    error = float(np.nanmean(table, 1).std(ddof=1)) if draws > 1 else None
    detail = {"pairs": [[i, j, v] for (i, j), v in values.items()], "names": [f.name for f in case.fields]}
    return Answer(float(np.mean(list(values.values()))), error, len(rows[0]), detail)


@metric(
    group="fidelity",
    better={"trend": "higher", "trend_common": "higher"},
    says={
        "trend": "Trend: how well each pair of columns goes together (SDMetrics' own bins; 1 is perfect)",
        "trend_common": "Trend with the same bins for both tables (1 is perfect)",
    },
    matched=True,
)
def trend(case: Case) -> Answers:
    """Trend = mean over pairs of columns, as SDMetrics defines it, and the same with common bins.

    Two numbers: 1 - |rho - rho'| / 2 with Pearson's correlation over complete rows; otherwise 1 - sum |P - Q| / 2
    over joint frequencies, a number cut into ten bins of equal width, missing levels counted. `trend` takes the edges
    from each table alone, so that one other extreme shifts every bin; `trend_common` takes the real edges for both.
    Pairs with a constant number have no correlation and no score; above 3,000 pairs a random 3,000 are taken, above
    50,000 rows a random 50,000.
    """
    if len(case.fields) < 2:
        raise Skip("one column alone has no pairs")
    found = {"trend": _score(case, False), "trend_common": _score(case, True)}
    if found["trend"] is None:
        raise Skip("no pair of columns varies")
    return {name: answer for name, answer in found.items() if answer}
