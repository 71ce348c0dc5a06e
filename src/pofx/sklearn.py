"""Estimators with the words of scikit-learn, around any model by its name.

    Density     fit, score_samples, score, sample             models that draw or have a likelihood
    Encoder     fit, transform, inverse_transform             models with codes
    Outliers    fit, fit_predict, predict, decision_function  models with a likelihood, or that rebuild rows
    Denoiser    fit, transform                                models that take noise away

X is an array (n, features) of finite numbers; each column becomes a real field with as many decimals as its numbers
have, up to nine digits. They go into Pipeline, GridSearchCV and clone.

    >>> import numpy as np
    >>> Density(model="gaussian_copula").fit(np.random.default_rng(0).normal(size=(99, 2))).sample(3).shape
    (3, 2)
"""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    OneToOneFeatureMixin,
    OutlierMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from .coding import strangeness
from .errors import PofxError, SpecError, Unsupported
from .fields import Real
from .learn import pick_device, torch_threads
from .models import create, load_class
from .models.model import ABILITIES, Model, who_can
from .spec import Columns, Spec
from .training.loop import Trainer

DIGITS = 9  # of a number that are kept
HELD = 0.1  # share of the rows that training watches, where there are enough


class _Estimator(BaseEstimator):
    """What the estimators share: arrays to columns, and a fit.

    model: a name of `pofx models`; steps: of training (by default the model's recipe); config: the model's arguments;
    random_state, device, threads: as elsewhere.
    """

    _needs: tuple[str, ...] = ("sample", "log_prob")  # one of them

    def __init__(
        self,
        model: str = "any_order",
        *,
        steps: int | None = None,
        config: Mapping[str, Any] | None = None,
        random_state: Any = None,
        device: str = "auto",
        threads: int | None = None,
    ) -> None:
        self.model, self.steps, self.config = model, steps, config
        self.random_state, self.device, self.threads = random_state, device, threads

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learns the rows of X, (n, features); y is not used. Raises ValueError for what cannot be learned."""
        X = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        try:
            if not load_class(self.model).abilities.intersection(self._needs):
                able = sorted({name for what in self._needs for name in who_can(what)})
                raise Unsupported(f"model {self.model!r} cannot do this: these can: {', '.join(able)}")
            self._learn(X, int(check_random_state(self.random_state).randint(2**31 - 1)))
        except PofxError as error:
            raise ValueError(f"{error} (n_features={X.shape[1]}, n_samples={X.shape[0]})") from error
        return self

    def _learn(self, X: np.ndarray, seed: int) -> None:
        if self.steps is not None and self.steps < 1:
            raise SpecError(f"expected at least one step, got {self.steps}")
        self._decimals = [_decimals(column) for column in X.T]
        x = self._columns(X)
        fields = tuple(Real.learn(f"x{j}", x[f"x{j}"], d) for j, d in enumerate(self._decimals))
        self.model_: Model = create(self.model, Spec.table(fields), seed, **(self.config or {}))
        if not self.model_.trained:
            self.model_.fit_closed(x)
            return
        with torch_threads(self.threads):
            torch.manual_seed(seed)
            order = np.random.default_rng(seed).permutation(len(X))
            held = int(len(X) * HELD) if len(X) >= 100 else 0
            train, valid = (self.model_.prepare({k: v[rows] for k, v in x.items()})
                            for rows in (order[held:], order[:held]))  # fmt: skip
            trainer = Trainer(self.model_, train, valid, seed, pick_device(self.device))
            trainer.run(self.steps or trainer.recipe.steps)
            self.model_.to("cpu").double()  # so that what is said of a row does not depend on the rows beside it

    def _columns(self, X: np.ndarray) -> Columns:
        return {f"x{j}": np.round(X[:, j], d) for j, d in enumerate(self._decimals)}

    def _seen(self, X: Any) -> Columns:
        check_is_fitted(self, "model_")
        return self._columns(validate_data(self, X, dtype=np.float64, reset=False))

    @staticmethod
    def _array(x: Columns) -> np.ndarray:
        return np.stack(list(x.values()), 1)


def _decimals(v: np.ndarray) -> int:
    """The decimals of a column's numbers, so many that no more than DIGITS digits are kept."""
    most = DIGITS - int(np.ceil(np.log10(max(np.abs(v).max(), 1e-12))))
    few = (d for d in range(min(most, 0), most) if np.array_equal(np.round(v, d), v))
    return next(few, most)


def _if_able(what: str) -> Any:
    """A method of the estimators whose model has an ability; the others have no such method."""

    def able(estimator: _Estimator) -> bool:
        if what not in load_class(estimator.model).abilities:
            raise Unsupported(
                f"model {estimator.model!r} cannot {ABILITIES[what]}: these can: {', '.join(who_can(what))}"
            )
        return True

    return available_if(able)


class Density(_Estimator):
    """p(x) of the rows of X. A model without a likelihood (`gan`, `wae`, `aae`) can be sampled alone."""

    @_if_able("log_prob")
    def score_samples(self, X: Any) -> np.ndarray:
        """log p of each row, (n,), nats, in the units of X; a lower bound where the model only has one."""
        x = self._seen(X)
        return self.model_.log_prob(x)

    @_if_able("log_prob")
    def score(self, X: Any, y: Any = None) -> float:
        """The mean of log p over the rows."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """New rows, (n_samples, features)."""
        check_is_fitted(self, "model_")
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        return self._array(self.model_.decode(self.model_.noise(n_samples, torch.Generator().manual_seed(seed))))


class Outliers(OutlierMixin, _Estimator):
    """Rows of low likelihood, or that a model without one rebuilds ill: -1, the others 1.

    contamination: the share of the rows learned from that are called so. offset_: the score below which a row is an
    outlier; decision_function is the score less that.
    """

    _needs = ("log_prob", "express")

    def __init__(
        self,
        model: str = "any_order",
        *,
        contamination: float = 0.1,
        steps: int | None = None,
        config: Mapping[str, Any] | None = None,
        random_state: Any = None,
        device: str = "auto",
        threads: int | None = None,
    ) -> None:
        super().__init__(model, steps=steps, config=config, random_state=random_state, device=device, threads=threads)
        self.contamination = contamination

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learns the rows of X and the score that `contamination` of them fall below."""
        if not 0 < self.contamination <= 0.5:
            raise ValueError(f"expected contamination in (0, 0.5], got {self.contamination}")
        super().fit(X)
        self.offset_ = float(np.percentile(self.score_samples(X), 100 * self.contamination))
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """log p of each row, (n,), or minus the error of rebuilding it where the model has no likelihood."""
        x = self._seen(X)
        return -strangeness(self.model_, x, None)

    def decision_function(self, X: Any) -> np.ndarray:
        """score_samples - offset_, (n,): below zero for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """1 for usual rows, -1 for outliers, (n,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)


class Encoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, _Estimator):
    """Codes of the rows of X, and the way back where the model has one."""

    _needs = ("encode",)

    def __init__(
        self,
        model: str = "autoencoder",
        *,
        steps: int | None = None,
        config: Mapping[str, Any] | None = None,
        random_state: Any = None,
        device: str = "auto",
        threads: int | None = None,
    ) -> None:
        super().__init__(model, steps=steps, config=config, random_state=random_state, device=device, threads=threads)

    def _learn(self, X: np.ndarray, seed: int) -> None:
        super()._learn(X, seed)
        self._n_features_out = self.model_.encode(self._columns(X[:1])).shape[1]

    def transform(self, X: Any) -> np.ndarray:
        """The code of each row, (n, codes)."""
        x = self._seen(X)
        return self.model_.encode(x).double().numpy()

    @_if_able("express")
    def inverse_transform(self, Z: Any) -> np.ndarray:
        """The rows that codes stand for, (n, features)."""
        check_is_fitted(self, "model_")
        z = torch.as_tensor(np.asarray(Z))
        try:
            self.model_.own_code(z)
        except PofxError as error:
            raise ValueError(str(error)) from error
        return self._array(self.model_.express(z))


class Denoiser(OneToOneFeatureMixin, TransformerMixin, _Estimator):
    """The rows of X without the noise that the model learned to take away."""

    _needs = ("restore",)

    def __init__(
        self,
        model: str = "denoising",
        *,
        steps: int | None = None,
        config: Mapping[str, Any] | None = None,
        random_state: Any = None,
        device: str = "auto",
        threads: int | None = None,
    ) -> None:
        super().__init__(model, steps=steps, config=config, random_state=random_state, device=device, threads=threads)

    def transform(self, X: Any) -> np.ndarray:
        """The clean rows, (n, features)."""
        x = self._seen(X)
        return self._array(self.model_.restore(x))
