"""The made table: what it draws follows the law that it writes down."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from made_table import AGES, CITIES, DAYS, LOG_STEPS, MadeTable

TABLE = MadeTable()
CENTS = np.arange(1, 10_001) / 100
SUPPORT = {
    "city": CITIES,
    "country": np.array(["France", "Switzerland", "Austria"]),
    "age": AGES,
    "member": np.array([False, True]),
    "ordered": DAYS,
    "weight": np.r_[np.nan, CENTS],
    "tip": np.r_[0.0, CENTS],
    "rating": np.array([1, 2, 3, 4, 5, np.nan]),
}


def law(name: str, context: pd.DataFrame) -> np.ndarray:
    """P(value | context) for every value that the column can take, for one row of context."""
    values = SUPPORT[name]
    rows = context.iloc[np.zeros(len(values), int)].reset_index(drop=True).assign(**{name: values})
    step = np.where(pd.isna(values), 0.0, LOG_STEPS.get(name, 0.0))
    return np.exp(TABLE.cells(rows)[:, TABLE.columns.index(name)] + step)


@pytest.mark.parametrize("name", TABLE.columns)
def test_every_conditional_sums_to_one(name: str) -> None:
    for _, context in TABLE.sample(12, seed=3).groupby(np.arange(12)):
        assert law(name, context).sum() == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("name", TABLE.columns)
def test_draws_follow_the_conditional(name: str) -> None:
    """For u = F(v-) + U P(v), F the conditional distribution function, the mean is 1/2 and the variance 1/12."""
    rows, rng, u = TABLE.sample(120, seed=4), np.random.default_rng(0), []
    for i in range(len(rows)):
        p = law(name, rows.iloc[i : i + 1])
        value = rows[name].iloc[i]
        at = int(np.flatnonzero(pd.isna(SUPPORT[name]) if pd.isna(value) else SUPPORT[name] == value)[0])
        u.append(p[:at].sum() + rng.random() * p[at])
    assert np.mean(u) == pytest.approx(0.5, abs=4 * np.sqrt(1 / 12 / len(u)))
    assert np.var(u) == pytest.approx(1 / 12, abs=4 * np.sqrt(1 / 180 / len(u)))


def test_mean_log_prob_is_the_entropy() -> None:
    """-mean(log_prob) equals the entropy, each conditional's computed by summing over its support."""
    contexts = TABLE.sample(60, seed=5)
    inner = np.zeros((len(contexts), len(TABLE.columns)))
    for i in range(len(contexts)):
        for j, name in enumerate(TABLE.columns):
            p = law(name, contexts.iloc[i : i + 1])
            step = np.where(pd.isna(SUPPORT[name]), 0.0, LOG_STEPS.get(name, 0.0))
            inner[i, j] = -(p[p > 0] * (np.log(p[p > 0]) - step[p > 0])).sum()
    entropy, loss = inner.sum(1), -TABLE.log_prob(TABLE.sample(20_000, seed=6))
    error = np.hypot(entropy.std() / np.sqrt(len(entropy)), loss.std() / np.sqrt(len(loss)))
    assert loss.mean() == pytest.approx(entropy.mean(), abs=4 * error)
    assert error < 0.2


def test_a_file_keeps_the_law(tmp_path: Path) -> None:
    rows = TABLE.sample(500, seed=7)
    rows.to_csv(tmp_path / "orders.csv", index=False)
    again = pd.read_csv(tmp_path / "orders.csv")
    np.testing.assert_allclose(TABLE.log_prob(again), TABLE.log_prob(rows), rtol=1e-12)


def test_impossible_rows_have_no_probability() -> None:
    rows = TABLE.sample(1, seed=8)
    for change in ({"country": "Italy"}, {"age": 17}, {"city": "Rome"}, {"tip": -1.0}, {"ordered": "1999-01-01"}):
        assert TABLE.log_prob(rows.assign(**change))[0] == -np.inf


def test_a_seed_gives_one_table() -> None:
    pd.testing.assert_frame_equal(TABLE.sample(100, seed=1), TABLE.sample(100, seed=1))
    assert not TABLE.sample(100, seed=1).equals(TABLE.sample(100, seed=2))
