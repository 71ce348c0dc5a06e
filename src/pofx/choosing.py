"""Which model suits a table of few rows: candidates compared on held-out likelihood, the simplest not worse wins.

Each candidate learns K - 1 of K folds of the training rows and gives log p of the rows of the other. With d_i the
difference of row i between the best candidate's log p and another's, the other is not worse if

    mean(d) <= sd(d) / sqrt(n),

and of those that are not worse the first in the order of CANDIDATES, from simple to rich, is taken (the rule of one
standard error: Breiman, Friedman, Olshen, Stone 1984, applied to paired differences).
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .errors import PofxError
from .models import create, load_class
from .progress import bar
from .spec import Columns, Spec
from .training.course import Course, only

FEW = 1000  # training rows below which `auto` compares
LEAST = 40  # and below which there is too little to compare
FOLDS = 5
WATCHED = 8  # of the rows that a network learns from, one in so many tells when to stop
CANDIDATES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("independent", "independent", {}),
    ("gaussian_copula", "gaussian_copula", {}),
    ("mst", "mst", {}),
    ("mixture", "mixture", {}),
    ("any_order, smoothed", "any_order", {"size": "small", "bins": 16, "fine": 1, "dropout": 0.4}),
    ("any_order", "any_order", {}),
)
COLUMNS = 100  # beyond which a mixture of full covariances would cost minutes


@dataclass(frozen=True)
class Choice:
    """The model that was taken, its arguments, and held-out log p a row of every candidate, (mean, error), in nats."""

    name: str
    model: str
    config: dict[str, Any]
    scores: dict[str, tuple[float, float]]

    def __str__(self) -> str:
        told = ", ".join(f"{name} {mean:.2f}" for name, (mean, _) in self.scores.items())
        best = max(self.scores, key=lambda name: self.scores[name][0])
        why = "the best" if best == self.name else f"the simplest that is not worse than {best}"
        return f"{self.name}, {why} by held-out nats a row: {told}"


def choose(spec: Spec, x: Columns, seed: int, until: float | None, missing: bool, quiet: bool) -> Choice | None:
    """The model for the rows x; None where there are too few to compare. missing: some cells were seen by nobody."""
    rows = len(next(iter(x.values())))
    if rows < LEAST:
        return None
    fold = np.random.default_rng(seed).permutation(np.arange(rows) % FOLDS)
    needed = {"log_prob"} | ({"condition"} if spec.condition else set()) | ({"unknown"} if missing else set())
    needed |= {"orders"} if spec.orders else set()  # which the codec left to the model
    able = [
        one for one in CANDIDATES
        if needed <= load_class(one[1]).abilities and (one[0] != "mixture" or len(spec.fields) <= COLUMNS)
    ]  # fmt: skip
    scores: dict[str, np.ndarray] = {}
    with bar("comparing models", len(able) * FOLDS, "fit", quiet) as tick:
        for name, model, config in able:
            found = np.full(rows, np.nan)
            for k in range(FOLDS):
                if until is not None and time.monotonic() > until:
                    break
                own, other = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
                found[other] = held_out(spec, model, config, _rows(x, own), _rows(x, other), seed)
                tick(1, name)
            if np.isfinite(found).all():
                scores[name] = found
    return _taken(scores, {name: (model, config) for name, model, config in able}) if scores else None


def _taken(scores: Mapping[str, np.ndarray], able: Mapping[str, tuple[str, dict[str, Any]]]) -> Choice:
    best = max(scores, key=lambda name: scores[name].mean())
    for name in scores:
        away = scores[best] - scores[name]
        if name == best or away.mean() <= away.std() / len(away) ** 0.5:
            break
    told = {k: (float(v.mean()), float(v.std() / len(v) ** 0.5)) for k, v in scores.items()}
    return Choice(name, *able[name], told)


def _rows(x: Columns, at: np.ndarray) -> Columns:
    return {name: v[at] for name, v in x.items()}


def held_out(spec: Spec, name: str, config: dict[str, Any], train: Columns, test: Columns, seed: int) -> np.ndarray:
    """log p of test rows, under a model of the others; NaN where it cannot be fitted to them."""
    rows = np.arange(len(next(iter(train.values()))))
    c = spec.condition.fields if spec.condition else ()
    try:
        made = create(name, spec, seed, **(load_class(name).advised(spec) | config))
        aside = (rows % WATCHED == 0) & made.trained  # a law in closed form has nothing to watch
        with torch.random.fork_rng(devices=[]):
            course = Course(spec, seed, "cpu", "float32", quiet=True)
            course.run(made, _rows(train, rows[~aside]), _rows(train, rows[aside]))
        return made.eval().log_prob(only(spec.fields, test), only(c, test) if c else None)
    except PofxError:
        return np.full(len(next(iter(test.values()))), np.nan)
