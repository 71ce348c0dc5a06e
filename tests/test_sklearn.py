"""scikit-learn's own examination of the estimators, and their work in its tools."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from pofx.models import load_class, names
from pofx.sklearn import Density, Encoder, Outliers

QUICK = {"steps": 2, "random_state": 0, "threads": 1}


@parametrize_with_checks([
    Density("gaussian_copula", **QUICK),
    Density("any_order", config={"size": "small"}, **QUICK),
    Outliers("gaussian_copula", **QUICK),
    Encoder("autoencoder", config={"latent": 1, "depth": 1, "width": 16}, **QUICK),
])  # fmt: skip
def test_scikit_learn_finds_nothing(estimator: object, check: object) -> None:
    check(estimator)


def rows(n: int = 240, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 3))
    return np.c_[z[:, 0], z[:, 0] + 0.3 * z[:, 1], z[:, 1] + 0.5 * z[:, 2]]


@pytest.mark.parametrize("name", [n for n in names() if "log_prob" in load_class(n).abilities])
def test_every_model_with_a_likelihood_is_a_density(name: str) -> None:
    x = rows(60)
    made = Density(name, steps=1, random_state=0).fit(x)
    assert made.score_samples(x).shape == (60,) and np.isfinite(made.score(x))
    assert made.sample(4, random_state=1).shape == (4, 3)


@pytest.mark.parametrize("name", [n for n in names() if "encode" in load_class(n).abilities])
def test_every_model_with_codes_is_an_encoder(name: str) -> None:
    x = rows(60)
    made = Encoder(name, steps=1, random_state=0, config={"latent": 2} if name == "autoencoder" else None).fit(x)
    z = made.transform(x)
    assert len(z) == 60 and z.shape[1] == len(made.get_feature_names_out())
    if "express" in load_class(name).abilities:
        assert made.inverse_transform(z).shape == x.shape


def test_a_density_in_a_grid_search_finds_the_better_model() -> None:
    search = GridSearchCV(Density(random_state=0), {"model": ["independent", "gaussian_copula"]}, cv=3)
    search.fit(rows())
    assert search.best_params_ == {"model": "gaussian_copula"}
    assert clone(search.best_estimator_).get_params() == search.best_estimator_.get_params()


def test_likelihoods_are_densities_in_the_units_of_the_array() -> None:
    x = rows(2000)[:, :2]
    fitted, other = Density("gaussian_copula").fit(x), Density("gaussian_copula").fit(100 * x)
    np.testing.assert_allclose(fitted.score_samples(x) - other.score_samples(100 * x), 2 * np.log(100), atol=1e-6)
    exact = -0.5 * (x[:, 0] ** 2 + ((x[:, 1] - x[:, 0]) / 0.3) ** 2) - np.log(2 * np.pi) - np.log(0.3)
    assert fitted.score(x) == pytest.approx(exact.mean(), abs=0.1)


def test_codes_feed_a_classifier_in_a_pipeline() -> None:
    x = rows()
    made = make_pipeline(
        StandardScaler(), Encoder(steps=50, random_state=0, config={"latent": 2}), LogisticRegression()
    )
    assert made.fit(x, x[:, 0] > 0).score(x, x[:, 0] > 0) > 0.9


def test_outliers_are_found_and_as_many_as_said() -> None:
    x = np.r_[rows(), [[0.0, 4.0, 0.0], [3.0, -3.0, 0.0]]]
    made = Outliers("gaussian_copula", contamination=0.05)
    called = made.fit_predict(x)
    assert (called[-2:] == -1).all()
    assert (called == -1).mean() == pytest.approx(0.05, abs=0.01)


def test_a_model_that_cannot_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="model 'gan' cannot do this: these can: .*any_order"):
        Density("gan").fit(rows(20))
    with pytest.raises(ValueError, match=r"has no argument colour.*n_features=3"):
        Density("gaussian_copula", config={"colour": 1}).fit(rows(20))
