"""Held-out likelihood: nats a row on rows that the model never saw, beside simpler models of the same rows."""

import numpy as np

from . import Answer, Answers, Case, Skip, metric

BASELINES = ("independent", "gaussian_copula")
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
    n, rows = len(model), {name: {"mean": float(v.mean()), "error": _error(v)} for name, v in tables.items()}
    detail = {"model": models[0], "models": rows}
    out = {"log_prob": Answer(float(model.mean()), _error(model), n, detail)}
    rivals = [name for name in BASELINES if name in tables]
    if rivals:
        best = max(rivals, key=lambda name: rows[name]["mean"])
        gain = model - tables[best]
        out["log_prob_gain"] = Answer(float(gain.mean()), _error(gain), n, {"over": best})
    return out


def _error(v: np.ndarray) -> float:
    return float(v.std(ddof=1) / np.sqrt(len(v))) if len(v) > 1 else 0.0
