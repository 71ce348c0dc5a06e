"""Held-out likelihood: nats a row on rows that the model never saw, beside simpler models of the same rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import Answer, Answers, Case, Skip, metric

BASELINES = ("independent", "gaussian_copula", "gaussian", "ppca", "mixture")
TRUTH = "truth"


@metric(
    group="likelihood",
    needs=("log_probs",),
    better={"log_prob": "higher", "log_prob_gain": "higher"},
    says={
        "log_prob": "log-likelihood of an unseen row, in nats",
        "log_prob_gain": "nats a row gained over the best baseline, on the same rows",
    },
    stand_in="",
    unit="nats",
)
def likelihood(case: Case) -> Answers:
    """The mean over held-out rows of log p(x), with its standard error, in the measure of the house.

    Of `log_probs` the first that is neither a baseline nor "truth" is the model; "truth", where a table's law is
    known, is the ceiling. `log_prob_gain` is the paired difference to the best baseline.
    """
    tables = {name: np.asarray(v, np.float64) for name, v in (case.log_probs or {}).items()}
    models = [name for name in tables if name not in (*BASELINES, TRUTH)]
    if not models or not len(tables[models[0]]):
        raise Skip("no likelihoods of a model were given")
    model = tables[models[0]]
    n, stand = len(model), standing(tables)
    detail = {"model": models[0], "models": stand.models, "words": stand.words("rows", "nats")}
    out = {"log_prob": Answer(float(model.mean()), mean_error(model), n, detail)}
    if stand.best:
        out["log_prob_gain"] = Answer(stand.gain, stand.error, n, {"over": stand.best})
    return out


@dataclass(frozen=True)
class Standing:
    """Where a model stands among simpler ones on the same unseen examples: `models`, mean and standard error of log p
    by name, nats; `best`, the best of BASELINES; `gain`, the mean paired difference to it, and its standard error.
    """

    models: dict[str, dict[str, float]]
    best: str
    gain: float
    error: float

    def words(self, what: str, unit: str, scale: float = 1.0) -> str:
        """Whether the model gains or loses, in a sentence; `scale` carries nats to the unit."""
        if not self.best:
            return ""
        gain, error = self.gain * scale, self.error * scale
        by = f"{abs(gain):.3g} ± {error:.2g} {unit}"
        if self.gain < -2 * self.error:
            return f"The model loses: {self.best}, a law in closed form, finds unseen {what} likelier by {by}."
        if self.gain > 2 * self.error:
            return f"The model finds unseen {what} likelier by {by} than the best law in closed form, {self.best}."
        return f"The model is level with {self.best}, a law in closed form: they differ by {by}."


def standing(log_probs: Mapping[str, Any]) -> Standing:
    """The standing of the first of `log_probs`, (n,) by name, that is no baseline and not "truth"."""
    tables = {name: np.asarray(v, np.float64) for name, v in log_probs.items()}
    models = {name: {"mean": float(v.mean()), "error": mean_error(v)} for name, v in tables.items()}
    own = next((name for name in tables if name not in (*BASELINES, TRUTH)), None)
    rivals = [name for name in BASELINES if name in tables]
    if own is None or not rivals:
        return Standing(models, "", 0.0, 0.0)
    best = max(rivals, key=lambda name: models[name]["mean"])
    gain = tables[own] - tables[best]
    return Standing(models, best, float(gain.mean()), mean_error(gain))


def mean_error(v: np.ndarray) -> float:
    """The standard error of the mean of v.

    >>> mean_error(np.array([1.0, 3.0]))
    1.0
    """
    return float(v.std(ddof=1) / np.sqrt(len(v))) if len(v) > 1 else 0.0
