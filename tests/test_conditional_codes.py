"""Codes given a condition: symbols whose law knows it, and another law of codes that does; and what it can say then."""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from made import mixed, spec_of, split
from test_autoencoders import learn
from test_labels import pattern, two_classes

import pofx
from pofx.compose import Latent
from pofx.errors import SpecError, Unsupported
from pofx.models import create
from pofx.models.annealed import Bridge, sandwich

QUICK = {"width": 32, "depth": 1, "likelihood": "normal"}
VQ = QUICK | {"codes": 8, "groups": 2}
VAE = QUICK | {"latent": 2, "samples": 16, "prior": "normal"}
FIT = {"condition": "z0", "steps": 200, "quiet": True, "guard": False}
NEXT = {"u": "v", "v": "w", "w": "u"}


@cache
def kinds(n: int = 400) -> pd.DataFrame:
    """Three kinds of rows, few of them like rows of another; the name of the condition is one that codes have."""
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, n)
    a = np.array(["p", "q", "r"])[np.where(rng.random(n) < 0.03, rng.integers(0, 3, n), kind)]
    return pd.DataFrame({"z0": np.array(["u", "v", "w"])[kind], "a": a, "b": (8 * kind + rng.normal(size=n)).round(2)})


def right(frame: pd.DataFrame) -> float:
    """The share of rows that lie where rows of the kind that they say do."""
    return float(((frame["b"] - 8 * frame["z0"].map({"u": 0, "v": 1, "w": 2})).abs() < 4).mean())


@cache
def fitted(name: str) -> pofx.Fitted:
    return pofx.fit(kinds(), model=name, **FIT, **(VQ if name == "vq" else VAE))


@cache
def two(prior: str, name: str = "vae") -> pofx.Fitted:
    return fitted(name).with_prior(prior, data=kinds(), steps=60, quiet=True, guard=False)


# -- symbols -----------------------------------------------------------------------------------------------------------


def test_symbols_of_rows_know_the_condition(tmp_path: Path) -> None:
    model, frame = fitted("vq"), kinds()
    model.save(tmp_path / "m.pofx")
    again = pofx.load(tmp_path / "m.pofx")
    some = again.sample(200, given="z0 = w", seed=0, quiet=True)
    assert set(some["z0"]) == {"w"} and right(some) > 0.85
    told, other = model.log_prob(frame), model.log_prob(frame.assign(z0=frame["z0"].map(NEXT)))
    assert np.array_equal(told, again.log_prob(frame)) and (told > other + 2).mean() > 0.9
    codes = model.encode(frame)
    assert list(codes.columns) == ["z0", "z1", "z0_"]
    pd.testing.assert_frame_equal(again.decode(codes), model.reconstruct(frame))
    assert right(model.reconstruct(frame)) > 0.95 and model.anomaly(frame)["p_value"].between(0, 1).all()
    with pytest.raises(SpecError, match="expected the condition columns 'z0', got none"):
        model.model.decode(model.model.noise(3, torch.Generator()))


def test_masses_of_symbols_given_a_condition_sum_to_at_most_one() -> None:
    x = {k: v for k, v in mixed().items() if k in "ad"}
    own, c = split(x, ("a",))
    spec = spec_of(mixed())
    spec = type(spec).table((spec.field("d"),), (spec.field("a"),))
    model = learn(create("vq", spec, codes=4, groups=1, **QUICK), own, 60, c)
    both, drawn = {"d": np.arange(2).astype(np.int32)}, []
    for k in range(3):
        assert 0.3 < np.exp(model.log_prob(both, {"a": np.full(2, k, np.int32)})).sum() <= 1 + 1e-5
        noise = model.noise(2000, torch.Generator().manual_seed(0))
        drawn.append(model.decode(noise, {"a": np.full(2000, k, np.int32)})["d"].mean())
    assert drawn[2] - drawn[0] > 0.4  # .6 in the data


def test_symbols_of_images_know_the_label() -> None:
    x, y = two_classes(200)
    model = pofx.fit(x, labels=y, model="vq", network="mlp", steps=100, quiet=True, guard=False, **VQ)
    assert "condition  label" in model.info()
    images, labels = model.sample(200, seed=0, quiet=True)
    assert (pattern(images) == labels).mean() > 0.95
    assert pattern(model.sample(60, given="label = 1", seed=0, quiet=True).images).mean() > 0.95
    assert (model.log_prob((x, y)) > model.log_prob((x, 1 - y))).mean() > 0.95


# -- another law of codes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vae", "vq"])
def test_another_law_of_codes_knows_the_condition(name: str, tmp_path: Path) -> None:
    model, frame = two("maf", name), kinds()
    model.save(tmp_path / "m.pofx")
    again = pofx.load(tmp_path / "m.pofx")
    pd.testing.assert_frame_equal(model.sample(40, seed=1, quiet=True), again.sample(40, seed=1, quiet=True))
    some = model.sample(200, given="z0 = w", seed=0, quiet=True)
    assert set(some["z0"]) == {"w"} and right(some) > 0.8
    told, other = again.log_prob(frame), model.log_prob(frame.assign(z0=frame["z0"].map(NEXT)))
    assert (told > other + 1).mean() > 0.9 and right(model.reconstruct(frame)) > 0.95


def test_the_codes_of_a_class_have_a_law_of_their_own() -> None:
    """Where the decoder ignores c, it is the law of the codes alone that makes rows of the class."""
    x = mixed()
    own, c = split(x, ("a",))
    model = learn(create("wae", spec_of(x, ("a",)), latent=2, **QUICK), own, 60, c)
    made = Latent.learn(model, own, "maf", c, steps=60)
    codes = {
        k: made.codes(made.noise(400, torch.Generator().manual_seed(0)), {"a": np.full(400, k, np.int32)})
        for k in (0, 2)
    }
    real = {k: model.encode(own, c)[torch.from_numpy(c["a"] == k)].double() for k in (0, 2)}
    off = real[0].mean(0) - real[2].mean(0)
    torch.testing.assert_close(codes[0].mean(0) - codes[2].mean(0), off, atol=0.35, rtol=0.1)


def test_images_of_a_label_and_missing_ones(tmp_path: Path) -> None:
    x, y = two_classes(300)
    words = {"latent": 2, "width": 16, "depth": 1, "components": 1, "samples": 8, "network": "mlp", "prior": "normal"}
    some = [None if i % 3 == 0 else int(k) for i, k in enumerate(y)]
    one = pofx.fit(x, labels=some, model="vae", steps=150, quiet=True, guard=False, **words)
    model = one.with_prior("maf", data=(x, some), steps=40, quiet=True, guard=False)
    images, labels = model.sample(200, seed=0, quiet=True)
    assert (pattern(images) == labels).mean() > 0.95
    assert pattern(model.sample(60, given="label = 1", seed=0, quiet=True).images).mean() > 0.95
    assert (model.complete(x[:60]).labels == y[:60]).mean() > 0.95
    each = np.stack([model.log_prob((x[:30], [k] * 30)) for k in (0, 1)])
    kept = np.log(np.exp(model.joint.log_prob({"label": np.array([0, 1], np.int32)})).sum())
    np.testing.assert_allclose(np.logaddexp(*each), model.log_prob(x[:30]) + kept, atol=1e-3)


def test_a_prior_that_takes_no_condition_names_those_that_do() -> None:
    with pytest.raises(
        Unsupported, match="model 'mixture' cannot be a prior of codes given 'z0': these can: any_order, autoregr"
    ):
        fitted("vae").with_prior("mixture", data=kinds(), quiet=True)


# -- what another law of codes can say ---------------------------------------------------------------------------------


def test_missing_cells_are_filled_under_another_law_of_codes() -> None:
    model, frame = two("maf"), kinds()[:20]
    full = model.complete(frame.assign(b=np.nan, a=None), quiet=True)
    assert full["z0"].equals(frame["z0"]) and full["a"].notna().all() and right(full) > 0.8
    assert len(model.complete(frame[:5].assign(b=np.nan), draws=3, quiet=True)) == 15
    gone = model.complete(frame.assign(z0=None), quiet=True)
    assert gone["b"].equals(frame["b"]) and right(gone) > 0.9
    x, c = split(model.codec.encode(model._read(frame)[0]), ("z0",))
    every = np.ones((20, 2), bool)
    np.testing.assert_allclose(model.model.marginal((x, every), c), model.model.log_prob(x, c), atol=1e-4)
    assert np.abs(model.model.marginal((x, ~every), c)).max() < 1


def test_completion_draws_from_the_other_law() -> None:
    """With nothing known, codes of q(z|nothing known) that another law finds likelier are picked more often."""
    x, c = split(mixed(), ("a",))
    model = create("vae", spec_of(mixed(), ("a",)), **VAE)
    own = model._known_of({k: v[:1] for k, v in x.items()}, np.zeros((1, 3), bool))
    u = torch.rand(300, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = torch.zeros(300, 2, dtype=torch.float64)
    many, context = tuple(part.expand(300, -1) for part in own), torch.zeros(300, model.context.width)
    with torch.no_grad():
        right = model._pick(z, u, context, many, lambda z: -((z - 0.7) ** 2).sum(-1) / 0.02)
        alone = model._pick(z, u, context, many, None)
    assert (right.mean(0) - 0.7).abs().max() < 0.2 and (alone.mean(0) - 0.7).abs().max() > 0.3


@pytest.mark.parametrize("start", ["posterior", "prior"])
def test_another_law_of_codes_is_annealed_from_both_sides(start: str) -> None:
    found = two("maf").sandwich(20, steps=30, chains=2, draws=300, start=start, seed=0)
    assert -0.2 < found.gap < 0.8 and found.taken > 0.3
    assert abs((found.importance.value - found.lower).mean()) < 0.4


def test_what_is_annealed_beside_counts() -> None:
    """N(0, 1) with beside it the log of N(1, 1) over N(0, 1), times a constant: the moves reach N(1, 1)."""

    def law(y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return -0.5 * y.square().sum(-1), torch.zeros(y.shape[:2])

    def beside(y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(y.shape[:2]), (y - 0.5).sum(-1) + 2.0

    generator = torch.Generator().manual_seed(0)
    bridge = Bridge(law, torch.randn(200, 8, 1, generator=generator), 30, generator, beside)
    up, down = (bridge.up(torch.randn(200, 8, 1, generator=generator)),
                bridge.down(1 + torch.randn(200, 8, 1, generator=generator)))  # fmt: skip
    torch.testing.assert_close(up, torch.full_like(up, 2.0), atol=0.1, rtol=0)
    torch.testing.assert_close(down, torch.full_like(down, 2.0), atol=0.1, rtol=0)


def test_what_has_no_law_of_codes_says_why() -> None:
    for model, why in (
        (two("maf", "vq"), r"since 'vq' has no law q\(z\|x\) that codes are drawn from"),
        (two("gan"), "since 'gan' has no log p of codes"),
    ):
        with pytest.raises(Unsupported, match=f"cannot complete missing cells, {why}: these can: any_order"):
            model.complete(kinds().assign(b=np.nan), quiet=True)
        with pytest.raises(Unsupported, match=f"has no log p to anneal, {why}: vae, iwae and hvae have a q"):
            sandwich(model.model, 2)


# -- levels that were never seen ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vae", "any_order"])
@pytest.mark.parametrize("typed", [str, "category"])
def test_completion_keeps_a_level_that_was_never_seen(name: str, typed: str) -> None:
    """As score and reconstruct, which take it as telling nothing."""
    frame = kinds()[:6].assign(a="new")
    frame.loc[:2, "b"] = np.nan
    words = VAE if name == "vae" else {"size": "small"}
    model = pofx.fit(kinds().astype({"a": typed}), model=name, **(FIT | {"steps": 5}), **words)
    for asked in (frame, frame.assign(a=kinds()["a"][:6], z0="new")):
        full = model.complete(asked.astype({"a": typed}), quiet=True)
        assert full["b"].notna().all() and full["b"][3:].equals(frame["b"][3:])
        assert full[["z0", "a"]].astype(str).equals(asked[["z0", "a"]].astype(str))
        assert np.isfinite(model.log_prob(asked)).all()
