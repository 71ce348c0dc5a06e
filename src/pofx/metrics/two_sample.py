"""The classifier two-sample test: can a learner tell synthetic rows from real ones, and by what."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..field import Field
from ..fields import Category, Datetime
from ..spec import Columns
from . import Answer, Answers, Case, Skip, count, is_level, learner, metric, some
from .interval import auc, error

FOLDS = 3
LEAST = 30
WATCHED = 4000


@dataclass(frozen=True)
class Test:
    """Out-of-fold scores of a cross-validated classifier: `fake` marks the synthetic rows, `fold` their fold."""

    score: np.ndarray
    fake: np.ndarray
    fold: np.ndarray
    drops: np.ndarray

    def auc(self, rows: np.ndarray | slice = slice(None)) -> float:
        """The mean over folds of the area under the ROC curve."""
        score, fake, fold = self.score[rows], self.fake[rows], self.fold[rows]
        return float(np.mean([auc(score[fold == k], fake[fold == k]) for k in range(FOLDS)]))


def run(
    fields: tuple[Field, ...], fake: Columns, real: Columns, seed: int = 0, kind: str | None = None, watch: bool = False
) -> Test:
    """Three-fold stratified shuffled cross-validation of the probability of being synthetic.

    `watch` measures by how much the AUC of the first fold drops when a column is shuffled.
    """
    from sklearn.model_selection import StratifiedKFold

    kind = kind or learner.name()
    x = np.concatenate([learner.matrix(fields, fake), learner.matrix(fields, real)])
    y = np.arange(len(x)) < count(fake)
    splits = list(StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(x, y))

    def judge(k: int, rest: np.ndarray, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with learner.one_thread():
            model = learner.classifier(kind, seed).fit(x[rest], y[rest])
            drops = _drops(model, x[out], y[out], seed) if watch and k == 0 else np.zeros(0)
            return model.predict_proba(x[out])[:, 1], drops

    found = learner.together([partial(judge, k, *split) for k, split in enumerate(splits)])
    score, fold = np.zeros(len(x)), np.zeros(len(x), np.int64)
    for k, ((_, out), (p, _)) in enumerate(zip(splits, found, strict=True)):
        score[out], fold[out] = p, k
    return Test(score, y, fold, found[0][1])


def _drops(model: Any, x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(x))[: max(WATCHED * 15 // max(x.shape[1], 15), 500)]
    x, y = x[rows], y[rows]
    whole = auc(model.predict_proba(x)[:, 1], y)
    drops = np.zeros(x.shape[1])
    for j in range(x.shape[1]):
        shuffled = x.copy()
        shuffled[:, j] = rng.permutation(x[:, j])
        drops[j] = whole - auc(model.predict_proba(shuffled)[:, 1], y)
    return drops


def score(area: float) -> float:
    """2 - 2 max(1/2, AUC): 1 where the tables cannot be told apart, 0 where they always can."""
    return 2 - 2 * max(0.5, area)


def _pair(case: Case, real: Columns, n: int, key: int, watch: bool = False) -> Test:
    rng = case.generator(key)
    fields = learner.judged(case.fields, case.seed)
    return run(fields, some(case.fake, n, rng), some(real, n, rng), case.seed, watch=watch)


def _answers(case: Case, name: str, test: Test, key: int, detail: dict[str, Any]) -> Answers:
    area, n = test.auc(), int(test.fake.sum())
    spread = error(test.auc, (len(test.score),), case.draws, case.generator(key))
    seen = min(len(case.fields), learner.COLUMNS)
    detail = {"learner": learner.name(), "folds": FOLDS, "seen": seen} | detail
    twice = None if spread is None else 2 * spread
    return {
        f"auc_{name}": Answer(area, spread, n, detail),
        f"score_{name}": Answer(score(area), twice, n, {"learner": learner.name()}),
    }


@metric(
    group="fidelity",
    better={
        "auc_train": "lower",
        "score_train": "higher",
        "auc_unseen": "lower",
        "score_unseen": "higher",
        "auc_gap": "lower",
    },
    says={
        "auc_train": "how often a trained judge tells a synthetic row from a training row (.5 is a coin)",
        "score_train": "two-sample score against training rows, 2 - 2 AUC (1 is perfect)",
        "auc_unseen": "how often a trained judge tells a synthetic row from an unseen real row (.5 is a coin)",
        "score_unseen": "two-sample score against unseen rows, 2 - 2 AUC (1 is perfect)",
        "auc_gap": "by how much synthetic rows resemble training rows more than unseen ones (AUC gap at equal n)",
    },
    stand_in="half",
)
def two_sample(case: Case) -> Answers:
    """Classifier two-sample test (Lopez-Paz and Oquab, 2017) by gradient boosting, at equal n.

    AUC = mean over three folds; score = 2 - 2 max(1/2, AUC). `auc_gap` = AUC against unseen rows - AUC against as
    many training rows: above zero where the synthetic rows resemble the training rows more. `rules` and `columns` of
    the detail say what gave the synthetic rows away. Of more than 256 columns the judge sees a random 256 (`seen`).
    """
    n = case.at_most(min(count(case.fake), count(case.train)))
    if n < LEAST:
        raise Skip(f"a two-sample test needs {LEAST} rows of each table")
    watch = case.draws > 0
    test = _pair(case, case.train, n, 3, watch)
    detail = away(case, n, test) if watch else {}
    out = _answers(case, "train", test, 4, detail)
    m = case.at_most(min(count(case.fake), count(case.held_out)))
    if m < LEAST:
        return out
    other = _pair(case, case.held_out, m, 5)
    out |= _answers(case, "unseen", other, 6, {})
    same = test if m == n else _pair(case, case.train, min(m, n), 7)
    one, two = (error(t.auc, (len(t.score),), case.draws, case.generator(6)) for t in (other, same))
    width = None if one is None or two is None else float(np.hypot(one, two))
    return out | {"auc_gap": Answer(other.auc() - same.auc(), width, min(m, n), {})}


# -- what gave the synthetic rows away -------------------------------------------------------------------------------


def away(case: Case, n: int, test: Test, depth: int = 4) -> dict[str, Any]:
    """The columns on which the judge leaned, most first, and rules in words that single out synthetic or real rows."""
    fields = learner.judged(case.fields, case.seed)
    columns = [(f.name, float(d)) for f, d in zip(fields, test.drops, strict=True)]
    rng = case.generator(8)
    fake, real = some(case.fake, min(n, 20_000), rng), some(case.train, min(n, 20_000), rng)
    return {"columns": sorted(columns, key=lambda c: -c[1]), "rules": rules(fields, fake, real, depth, case.seed)}


def rules(
    fields: tuple[Field, ...], fake: Columns, real: Columns, depth: int = 4, seed: int = 0
) -> list[dict[str, Any]]:
    """The leaves of one small decision tree, the most telling first: words, share of synthetic and of real rows."""
    from sklearn.tree import DecisionTreeClassifier

    features = _indicators(fields, fake, real)
    x = np.stack([v for _, _, v in features], 1).astype(np.float32)
    y = np.arange(len(x)) < count(fake)
    tree = DecisionTreeClassifier(max_depth=depth, min_samples_leaf=max(20, len(x) // 500), random_state=seed).fit(x, y)
    leaf = tree.apply(x)
    out: list[dict[str, Any]] = []
    for node, words in _leaves(tree.tree_, features):
        a, b = float((leaf[y] == node).mean()), float((leaf[~y] == node).mean())
        if words:
            out.append({"words": words, "fake": a, "real": b})
    return sorted(out, key=lambda r: -_weight(r["fake"], r["real"]))[:6]


def _weight(a: float, b: float) -> float:
    return (a - b) * float(np.log((a + 1e-4) / (b + 1e-4)))


def _indicators(fields: tuple[Field, ...], fake: Columns, real: Columns) -> list[tuple[Field, int | None, np.ndarray]]:
    out: list[tuple[Field, int | None, np.ndarray]] = []
    for f in fields[:200]:
        v = np.concatenate([fake[f.name], real[f.name]])
        if not is_level(f):
            out.append((f, None, np.where(f.absent(v), np.nan, v.astype(np.float64))))
            continue
        common, counts = np.unique(v, return_counts=True)
        out += [(f, int(code), (v == code).astype(np.float64)) for code in common[np.argsort(-counts)][:12]]
    return out


def _leaves(tree: Any, features: list) -> list[tuple[int, str]]:
    out: list[tuple[int, str]] = []
    stack: list[tuple[int, dict[int, tuple[float, float]]]] = [(0, {})]
    while stack:
        node, bounds = stack.pop()
        if tree.children_left[node] < 0:
            out.append(
                (node, " and ".join(_words(features[k][0], features[k][1], *ends) for k, ends in bounds.items()))
            )
            continue
        k, cut = int(tree.feature[node]), float(tree.threshold[node])
        low, high = bounds.get(k, (-np.inf, np.inf))
        stack.append((int(tree.children_left[node]), bounds | {k: (low, min(high, cut))}))
        stack.append((int(tree.children_right[node]), bounds | {k: (max(low, cut), high)}))
    return out


def level_name(field: Category, code: int) -> str:
    """A level in words."""
    if code < 0:
        return "missing"
    return str(field.levels[code]) if code < len(field.levels) else "a level never seen"


def _words(field: Field, code: int | None, low: float, high: float) -> str:
    if code is not None and is_level(field):
        return f"{field.name} {'is' if low > 0 else 'is not'} {level_name(field, code)}"
    if field.dtype.kind == "i":
        low, high = np.floor(low) + 1 if np.isfinite(low) else low, np.floor(high) if np.isfinite(high) else high
    a, b = number_word(field, low), number_word(field, high)
    if low == high:
        return f"{field.name} = {a}"
    if not np.isfinite(low):
        return f"{field.name} ≤ {b}"
    return f"{field.name} ≥ {a}" if not np.isfinite(high) else f"{a} ≤ {field.name} ≤ {b}"


def number_word(field: Field, value: float) -> str:
    """A number of a field in words: a moment as a date."""
    if not np.isfinite(value):
        return str(value)
    if isinstance(field, Datetime):
        return str(np.array(int(value)).astype(f"datetime64[{field.unit}]"))
    return f"{value:.0f}" if field.dtype.kind == "i" else f"{value:.6g}"
