"""The slope of log p of noisy rows in the user's units, against Gaussians, whose slope is known."""

import numpy as np
import pandas as pd
import pytest
from test_autoencoders import images

import pofx
from pofx.errors import Unsupported
from pofx.models.autoencoders.denoising import Denoising


def test_the_slope_of_a_gaussian_in_its_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """x ~ N(m, t^2): with noise of deviation s t the slope is -(x - m) / (t^2 (1 + s^2)), whatever the unit."""
    rng, s = np.random.default_rng(0), 0.6
    frame = pd.DataFrame({"a": np.round(rng.normal(50, 20, 3000), 2), "b": np.round(rng.normal(0, 0.01, 3000), 5)})
    words = {"corruption": "gaussian", "strength": s, "width": 8, "quiet": True}
    model = pofx.fit(frame, model="denoising", steps=250, **words)
    at = pd.DataFrame({"a": [20.0, 50.0, 65.0, np.nan], "b": [0.0, -0.012, 0.007, 0.01]})
    found = model.denoising_score(at)
    assert list(found) == ["score.a", "sigma.a", "score.b", "sigma.b"] and np.isnan(found.iloc[3, :2]).all()
    for name, middle, t in (("a", 50, 20), ("b", 0, 0.01)):
        wanted = -(at[name][:3] - middle) / (t**2 * (1 + s**2))
        np.testing.assert_allclose(found[f"score.{name}"][:3] * t, wanted * t, atol=0.25)
        np.testing.assert_allclose(found[f"sigma.{name}"][:3] / t, s, rtol=0.15)
    monkeypatch.setattr(Denoising, "clean", lambda self, w: w / (1 + s**2))  # E[v|w], exactly
    exact = model.denoising_score(at)
    np.testing.assert_allclose(exact["score.a"][:3] * 20, -(at["a"][:3] - 50) / 20 / (1 + s**2), atol=0.06)


def test_slopes_of_images_and_of_models_that_have_none() -> None:
    pixels = images(60)[0]["grey"]
    model = pofx.fit(pixels, model="denoising", steps=3, width=8, depth=1, quiet=True)
    found = model.denoising_score(pixels[:5])
    assert found.shape == (5, 8, 8) and found.dtype == np.float64
    v = model.model.vectors.of(model.model.vectors.prepare({"grey": pixels[:5]}))
    np.testing.assert_allclose(found, model.model.score(v)[:, 0].numpy() / 255, rtol=1e-6)
    rows = pd.DataFrame({"a": np.arange(40.0), "k": ["u", "v"] * 20})
    mixed = pofx.fit(rows, model="denoising", steps=2, width=8, quiet=True)
    with pytest.raises(Unsupported, match="the score needs Gaussian noise of one strength"):
        mixed.denoising_score(rows)
    with pytest.raises(Unsupported, match="model 'independent' has no slope of log p of noisy data: fit model='denoi"):
        pofx.fit(rows, model="independent", quiet=True).denoising_score(rows)
