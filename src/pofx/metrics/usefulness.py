"""Usefulness: what a learner trained on synthetic rows is worth on real ones, and what they add to the real rows."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..field import Field
from ..spec import Columns
from . import Answer, Answers, Better, Case, Skip, count, is_level, learner, metric, numbers, some
from .interval import auc, error

SETTINGS = {"n_estimators": 100, "learning_rate": 0.1}
LEAST = 20
ROWS = 100_000


@dataclass(frozen=True)
class Outcome:
    """Predictions for test rows: of classes (n, k) probabilities and true codes, of numbers (n,) values."""

    truth: np.ndarray
    predicted: np.ndarray
    classes: bool

    def scores(self, rows: np.ndarray | slice = slice(None)) -> dict[str, float]:
        """AUC (over classes, each against the rest, by frequency) and accuracy; or RMSE and R2."""
        y, p = self.truth[rows], self.predicted[rows]
        if not self.classes:
            wrong = float(((y - p) ** 2).mean())
            return {"rmse": wrong**0.5, "r2": 1 - wrong / max(float(y.var()), 1e-300)}
        if p.shape[1] == 2:
            area = auc(p[:, 1], y == 1)
        else:
            found = [(auc(p[:, k], y == k), (y == k).sum()) for k in range(p.shape[1]) if 0 < (y == k).sum() < len(y)]
            area = float(np.average([a for a, _ in found], weights=[w for _, w in found])) if found else float("nan")
        return {"auc": area, "accuracy": float((p.argmax(1) == y).mean())}


def fit(fields: tuple[Field, ...], target: Field, x: Columns, test: Columns, seed: int = 0) -> Outcome:
    """Trains on x, predicts the target of the test rows; of more than 256 columns the learner sees a random 256.

    Raises Skip where x leaves nothing to learn.
    """
    inputs = learner.judged(tuple(f for f in fields if f.name != target.name), seed)
    x, test = (_known(target, rows) for rows in (x, test))
    if not inputs or count(x) < LEAST or count(test) < LEAST:
        raise Skip(f"usefulness needs {LEAST} rows with a known target and one other column")
    a, b = learner.matrix(inputs, x), learner.matrix(inputs, test)
    with learner.one_thread():
        if is_level(target):
            return _classes(a, b, x[target.name], test[target.name], len(target.levels), seed)
        y = numbers(target, x)
        found = learner.regressor(learner.name(), seed, **SETTINGS).fit(a, y).predict(b)
    return Outcome(numbers(target, test), np.clip(found, y.min(), y.max()).astype(np.float64), False)


def _classes(a: np.ndarray, b: np.ndarray, y: np.ndarray, truth: np.ndarray, levels: int, seed: int) -> Outcome:
    seen, code = np.unique(y, return_inverse=True)
    p = np.zeros((len(b), max(levels, int(seen.max()) + 1, int(truth.max()) + 1)))
    if len(seen) == 1:
        p[:, seen[0]] = 1.0
    else:
        p[:, seen] = learner.classifier(learner.name(), seed, **SETTINGS).fit(a, code).predict_proba(b)
    return Outcome(truth, p, True)


def _known(target: Field, x: Columns) -> Columns:
    keep = ~target.absent(x[target.name])
    return {name: v[keep] for name, v in x.items()}


def _target(case: Case) -> Field:
    for f in case.fields:
        if f.name == case.target:
            return f
    raise Skip(f"the target {case.target!r} is not a column of this table")


WAY: dict[str, Better] = {"auc": "higher", "accuracy": "higher", "rmse": "lower", "r2": "higher"}
WORDS = {
    "auc": "area under the ROC curve",
    "accuracy": "accuracy",
    "rmse": "root mean squared error",
    "r2": "share of variance explained",
}


@metric(
    group="use",
    needs=("unseen", "target"),
    better={f"use_{k}": way for k, way in WAY.items()},
    says={f"use_{k}": f"trained on synthetic rows, tested on unseen real rows: {words}" for k, words in WORDS.items()},
    stand_in="train",
)
def usefulness(case: Case) -> Answers:
    """Train on synthetic, test on real: AUC and accuracy of a level, RMSE and R2 of a number.

    The ceiling trains on the training rows instead, as many of them.
    """
    target, rng = _target(case), case.generator(30)
    n = case.at_most(min(ROWS, count(case.fake), count(case.train)))
    outcome = fit(case.fields, target, some(case.fake, n, rng), case.held_out, case.seed)
    return _scored(case, outcome, n)


def _scored(case: Case, outcome: Outcome, n: int) -> Answers:
    out = {}
    for name, value in outcome.scores().items():
        spread = error(lambda rows, name=name: outcome.scores(rows)[name], (len(outcome.truth),),
                       case.draws, case.generator(31))  # fmt: skip
        if np.isfinite(value):
            detail = {"target": case.target, "learner": learner.name(), "tested on": len(outcome.truth)}
            out[f"use_{name}"] = Answer(value, spread, n, detail)
    return out


@metric(
    group="use",
    needs=("unseen", "target"),
    better={"lift": "higher"},
    says={"lift": "what real + synthetic rows gain over real rows alone (AUC, or share of variance explained)"},
    stand_in="half",
)
def lift(case: Case) -> Answers:
    """Gain of training on real + synthetic rows over real rows alone, tested on unseen rows, with a paired bootstrap.

    In AUC for a level, in R2 for a number; as many synthetic rows are added as there are real ones. The detail says
    in words whether they help.
    """
    target, rng = _target(case), case.generator(32)
    n = case.at_most(min(ROWS, count(case.fake), count(case.train)))
    real, fake = some(case.train, case.at_most(ROWS), rng), some(case.fake, n, rng)
    both = {name: np.concatenate([v, fake[name]]) for name, v in real.items()}
    fits = [partial(fit, case.fields, target, x, case.held_out, case.seed) for x in (real, both)]
    alone, joined = learner.together(fits)
    key = "auc" if alone.classes else "r2"

    def gain(rows: np.ndarray | slice = slice(None)) -> float:
        return joined.scores(rows)[key] - alone.scores(rows)[key]

    value, spread = gain(), error(gain, (len(alone.truth),), case.draws, case.generator(33))
    if not np.isfinite(value):
        raise Skip("the unseen rows hold one class of the target only")
    return {"lift": Answer(value, spread, n, _in_words(value, spread, key, alone))}


def _in_words(value: float, spread: float | None, key: str, alone: Outcome) -> dict[str, Any]:
    sure = 1.96 * (spread or 0.0)
    words = "helps" if value - sure > 0 else "harms" if value + sure < 0 else "does not help"
    return {"measure": key, "alone": alone.scores()[key], "verdict": words}
