"""Anomaly p-values: of rows of the learned law itself they are uniform, however few rows were kept aside."""

import numpy as np
import pandas as pd
import pytest

import pofx


def frame(n: int, seed: int) -> pd.DataFrame:
    """Five columns of noise but for one curve."""
    x = np.random.default_rng(seed).normal(size=(n, 5))
    x[:, 1] += x[:, 0] ** 2
    return pd.DataFrame(np.round(x, 2), columns=list("abcde"))


@pytest.mark.parametrize(("name", "steps"), [("vae", 400), ("gaussian_copula", None)])
def test_p_values_of_fresh_rows_are_not_too_small(name: str, steps: int | None) -> None:
    fitted = pofx.fit(frame(600, 0), model=name, steps=steps, quiet=True, guard=False)
    p = fitted.anomaly(frame(2000, 1))["p_value"]
    assert len(fitted.usual) == 60 and p.min() >= 1 / 61
    for level in (0.05, 0.1, 0.3):  # of 60 scores the share below a level has a deviation of sqrt(level / 60) or less
        assert (p <= level).mean() < level + 2 * np.sqrt(level / 60), level
    assert (p > 0.5).mean() > 0.3


def test_without_rows_kept_aside_no_row_is_strange_and_the_remarks_say_so() -> None:
    whole = pofx.fit(frame(60, 0), model="autoencoder", steps=3, latent=2, split=(1.0, 0.0, 0.0), quiet=True)
    assert (whole.anomaly(frame(5, 1))["p_value"] == 1).all()
    assert "remarks on training rows, none were kept aside" in " ".join(whole.info().split())
