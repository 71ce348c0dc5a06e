"""The judge that several metrics share: gradient boosted trees on numbers and level codes (Chen and Guestrin, 2016).

XGBoost at its defaults where it can be imported, else scikit-learn's histogram gradient boosting; `name()` says which.
Each fit runs on one thread, so that it waits for no other on a busy machine; `together` runs several fits at once.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from ..field import Field
from ..spec import Columns
from . import is_level, numbers

COLUMNS = 256


@cache
def name() -> str:
    """The learner at hand: "xgboost" or "scikit-learn"."""
    try:
        import xgboost  # noqa: F401
    except ImportError:
        return "scikit-learn"
    return "xgboost"


def together(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """The results of the calls in order, two at a time where there are two cores."""
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        return [job.result() for job in [pool.submit(call) for call in calls]]


@contextmanager
def one_thread() -> Iterator[None]:
    """Fits and predictions inside run on one thread."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1, user_api="openmp"):
        yield


def judged(fields: tuple[Field, ...], seed: int) -> tuple[Field, ...]:
    """The fields that a judge sees: all, or a random 256 of more."""
    if len(fields) <= COLUMNS:
        return fields
    return tuple(fields[k] for k in np.sort(np.random.default_rng(seed).permutation(len(fields))[:COLUMNS]))


def matrix(fields: tuple[Field, ...], x: Columns) -> np.ndarray:
    """(n, fields) float64: numbers with NaN where missing, levels as their codes."""
    return np.stack([x[f.name].astype(np.float64) if is_level(f) else numbers(f, x) for f in fields], 1)


def classifier(learner: str, seed: int = 0, **more: Any) -> Any:
    """A new classifier."""
    if learner == "xgboost":
        from xgboost import XGBClassifier

        return XGBClassifier(eval_metric="logloss", n_jobs=1, random_state=seed, **more)
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(random_state=seed, early_stopping=False, **_plain(more))


def regressor(learner: str, seed: int = 0, **more: Any) -> Any:
    """A new regressor."""
    if learner == "xgboost":
        from xgboost import XGBRegressor

        return XGBRegressor(n_jobs=1, random_state=seed, **more)
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(random_state=seed, early_stopping=False, **_plain(more))


def _plain(more: dict[str, Any]) -> dict[str, Any]:
    names = {"n_estimators": "max_iter"}
    return {names.get(k, k): v for k, v in more.items()}
