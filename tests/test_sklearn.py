"""scikit-learn's own examination of the estimators, and their work in its tools."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from pofx.errors import Unsupported
from pofx.models import load_class, names
from pofx.sklearn import Denoiser, Density, Encoder, Outliers

QUICK = {"steps": 2, "random_state": 0, "threads": 1}


@parametrize_with_checks([
    Density("gaussian_copula", **QUICK),
    Density("any_order", config={"size": "small"}, **QUICK),
    Density("nice", **QUICK),
    Density("gan", config={"width": 8}, **QUICK),
    Outliers("gaussian_copula", **QUICK),
    Outliers("contractive", config={"latent": 1}, **QUICK),
    Encoder("wae", config={"latent": 1, "depth": 1, "width": 16}, **QUICK),
    Encoder("autoencoder", config={"latent": 1, "depth": 1, "width": 16}, **QUICK),
    Encoder("vae", config={"latent": 1, "depth": 1, "width": 16, "prior": "normal"}, **QUICK),
    Denoiser(config={"depth": 2, "width": 4}, **QUICK),
])  # fmt: skip
def test_scikit_learn_finds_nothing(estimator: object, check: object) -> None:
    check(estimator)


def rows(n: int = 240, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 3))
    return np.c_[z[:, 0], z[:, 0] + 0.3 * z[:, 1], z[:, 1] + 0.5 * z[:, 2]]


ESTIMATORS = {Density: {"sample", "log_prob"}, Encoder: {"encode"}, Outliers: {"log_prob", "express"},
              Denoiser: {"restore"}}  # fmt: skip


@pytest.mark.parametrize("name", names())
def test_every_model_is_an_estimator_of_each_sort_that_it_can_be(name: str) -> None:
    x, can = rows(60), load_class(name).abilities
    own = [kind for kind, needs in ESTIMATORS.items() if needs & can]
    assert own
    for kind in own:
        made = kind(name, steps=1, random_state=0, config={"latent": 2} if name == "autoencoder" else None)
        assert clone(made).get_params() == made.get_params()
        made.fit(x)
        {Density: density, Encoder: encoder, Outliers: outliers, Denoiser: denoiser}[kind](made, x, can)
    for kind in set(ESTIMATORS) - set(own):
        with pytest.raises(ValueError, match=f"model '{name}' cannot do this: these can: "):
            kind(name).fit(x)


def density(made: Density, x: np.ndarray, can: frozenset[str]) -> None:
    assert made.sample(4, random_state=1).shape == (4, 3)
    if "log_prob" in can:
        assert made.score_samples(x).shape == (60,) and np.isfinite(made.score(x))
    else:
        assert not hasattr(made, "score")
        with pytest.raises(AttributeError, match="no attribute 'score_samples'") as found:
            made.score_samples(x)
        assert isinstance(found.value.__cause__, Unsupported) and "a likelihood: these can: any_order" in str(
            found.value.__cause__
        )


def encoder(made: Encoder, x: np.ndarray, can: frozenset[str]) -> None:
    z = made.transform(x)
    assert len(z) == 60 and z.shape[1] == len(made.get_feature_names_out())
    if "express" in can:
        assert made.inverse_transform(z).shape == x.shape
        with pytest.raises(ValueError, match="expected codes of"):
            made.inverse_transform(np.c_[z, z])


def outliers(made: Outliers, x: np.ndarray, can: frozenset[str]) -> None:
    score = made.decision_function(x)
    assert np.isfinite(score).all() and set(made.predict(x)) <= {-1, 1}
    assert (score < 0).mean() == pytest.approx(0.1, abs=0.02)


def denoiser(made: Denoiser, x: np.ndarray, can: frozenset[str]) -> None:
    assert made.transform(x).shape == x.shape
    assert made.get_feature_names_out().tolist() == ["x0", "x1", "x2"]


TINY = {
    "autoencoder": {"latent": 2, "width": 8}, "sparse": {"latent": 8, "active": 2}, "contractive": {"latent": 2},
    "denoising": {"width": 4, "depth": 2}, "vq": {"width": 16, "depth": 1, "groups": 2},
    "tarflow": {"width": 16, "transforms": 2},
    **{name: {"latent": 2, "width": 16, "depth": 1} for name in ("vae", "iwae", "wae", "aae")},
    **{name: {"size": "small"} for name in ("any_order", "autoregressive")},
}  # fmt: skip
PAIRS = [(kind, name) for name in names() for kind, needs in ESTIMATORS.items() if needs & load_class(name).abilities]


@pytest.mark.parametrize(("kind", "name"), PAIRS, ids=[f"{kind.__name__}-{name}" for kind, name in PAIRS])
def test_what_is_said_of_a_row_does_not_depend_on_the_rows_beside_it(kind: type, name: str) -> None:
    x = rows(24)
    made = kind(name, steps=1, random_state=0, threads=1, config=TINY.get(name)).fit(x)
    for verb in ("score_samples", "decision_function", "transform", "predict"):
        if hasattr(made, verb):
            whole, say = getattr(made, verb)(x), getattr(made, verb)
            alone = np.concatenate([say(x[:1]), say(x[1:4]), say(x[:3:-1])[::-1]])
            np.testing.assert_allclose(whole, alone, rtol=1e-7, atol=1e-9)
    assert hasattr(made, "score") == (kind is Density and "log_prob" in load_class(name).abilities)


def test_a_denoiser_takes_noise_away() -> None:
    x = np.repeat(np.random.default_rng(0).normal(size=(2000, 1)), 4, 1)
    noisy = x + 0.5 * np.random.default_rng(1).normal(size=x.shape)
    made = Denoiser(steps=300, random_state=0, config={"strength": 0.5}).fit(x)
    assert np.square(made.transform(noisy) - x).mean() < 0.5 * np.square(noisy - x).mean()


def test_rows_that_are_rebuilt_ill_are_outliers() -> None:
    x = np.r_[rows(), [[0.0, 9.0, -9.0]]]
    made = Outliers("autoencoder", contamination=0.02, steps=50, random_state=0, config={"latent": 2})
    assert made.fit_predict(x)[-1] == -1


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
    with pytest.raises(ValueError, match="model 'sparse' cannot do this: these can: .*any_order.*gan"):
        Density("sparse").fit(rows(20))
    with pytest.raises(ValueError, match=r"has no argument colour.*n_features=3"):
        Density("gaussian_copula", config={"colour": 1}).fit(rows(20))
