"""Few rows: models compared on held-out likelihood, and the simplest that is not worse."""

import numpy as np
import pandas as pd
import pytest

from pofx import choosing, fit, load
from pofx.choosing import CANDIDATES, LEAST, _taken, choose
from pofx.codecs.table import TableCodec
from pofx.training.loop import Trainer

WORDS = {"quiet": True, "guard": False}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Models in closed form alone."""
    monkeypatch.setattr(choosing, "CANDIDATES", CANDIDATES[:4])


def independent(n: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"a": rng.choice(list("xyz"), n), "b": rng.normal(size=n).round(2), "c": rng.poisson(4, n)})


def normal(n: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    z = rng.multivariate_normal(np.zeros(3), [[1, 0.9, 0.7], [0.9, 1, 0.8], [0.7, 0.8, 1]], n)
    return pd.DataFrame(z.round(3), columns=list("abc"))


def tree(n: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 4, n)
    b = np.where(rng.random(n) < 0.9, (a + 1) % 4, rng.integers(0, 4, n))
    c = np.where(rng.random(n) < 0.9, (b * 3) % 4, rng.integers(0, 4, n))
    return pd.DataFrame(
        {"a": np.array(list("pqrs"))[a], "b": np.array(list("stuv"))[b], "c": np.array(list("wxyz"))[c]}
    )


@pytest.mark.parametrize(("made", "told"), [(independent, "independent"), (normal, "gaussian_copula"), (tree, "mst")])
def test_a_made_law_is_given_to_the_model_that_is_it(made, told):
    model = fit(made(400), **WORDS)
    assert model.model.name == told
    assert f"chosen     {told}, " in model.info() and "by held-out nats a row: independent " in model.info()
    unseen = made(2000, seed=1)
    others = [fit(made(400), model=name, **WORDS) for name in ("independent", "gaussian_copula", "mst") if name != told]
    assert all(model.log_prob(unseen).mean() > other.log_prob(unseen).mean() - 0.01 for other in others)


def test_the_simplest_that_is_not_worse_is_taken():
    rng = np.random.default_rng(0)
    base = rng.normal(size=400)
    able = {name: (name, {}) for name in ("plain", "middle", "rich")}
    noise = rng.normal(0, 0.1, 400)
    scores = {"plain": base - 1, "middle": base - 0.001 + noise - noise.mean(), "rich": base}
    choice = _taken(scores, able)
    assert choice.name == "middle" and "the simplest that is not worse than rich" in str(choice)
    assert _taken(scores | {"middle": base - 0.1}, able).name == "rich"
    assert _taken(scores | {"plain": base}, able).name == "plain"
    assert choice.scores["rich"] == (pytest.approx(base.mean()), pytest.approx(base.std() / 20))


def test_what_was_asked_for_is_not_compared(tmp_path):
    rows = tree(200)
    assert fit(rows, steps=2, **WORDS).model.name == "any_order"
    assert fit(rows, size="small", minutes=0.01, **WORDS).model.name == "any_order"
    assert fit(rows, model="any_order", minutes=0.01, **WORDS).model.name == "any_order"
    assert "chosen" not in fit(rows[: LEAST // 2], **WORDS).info()
    made = fit(rows, seed=3, **WORDS)
    made.save(tmp_path / "m.pofx")
    assert load(tmp_path / "m.pofx").provenance["notes"]["chosen"] == made.provenance["notes"]["chosen"]
    assert made.sample(20, seed=0).equals(fit(rows, seed=3, **WORDS).sample(20, seed=0))


def test_models_that_cannot_do_what_is_asked_are_not_compared(monkeypatch):
    run = Trainer.run
    monkeypatch.setattr(choosing, "CANDIDATES", CANDIDATES)
    monkeypatch.setattr(Trainer, "run", lambda self, total, *rest: run(self, min(total, 10), *rest))
    rows = tree(100)
    spec = TableCodec.learn(rows, condition=["a"])
    choice = choose(spec.spec, spec.encode(rows), 0, None, False, True)
    assert choice is not None and set(choice.scores) == {"any_order, smoothed", "any_order"}
    rows.loc[::7, "b"] = None
    assert fit(rows, missing="unknown", **WORDS).model.name in {model for _, model, _ in CANDIDATES} - {"mixture"}
    assert "mixture" not in fit(rows, missing="unknown", **WORDS).provenance["notes"]["chosen"]


def test_it_stops_comparing_when_the_time_is_up(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(choosing.time, "monotonic", lambda: next(clock))
    codec = TableCodec.learn(rows := tree(100))
    choice = choose(codec.spec, codec.encode(rows), 0, 12, False, True)
    assert choice is not None and list(choice.scores) == ["independent", "gaussian_copula"]
    assert choose(codec.spec, codec.encode(rows), 0, -1, False, True) is None
