"""Another law of an autoencoder's codes: kept, drawn, scored; and what means nothing is refused."""

import math
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from made import mixed, spec_of, split
from test_autoencoders import SMALL, images, learn, two_factors

import pofx
from pofx.cli import main
from pofx.compose import Latent
from pofx.errors import CodecError, SpecError, Unsupported
from pofx.models import create
from pofx.models.model import Model

WORDS = {
    "vae": {"latent": 2, "width": 24, "depth": 1, "components": 3, "samples": 16},
    "autoencoder": {"latent": 2, "width": 24, "depth": 1},
    "vq": {"groups": 2, "codes": 16, "width": 24, "depth": 1, "components": 3},
    "wae": {"latent": 2, "width": 24, "depth": 1, "components": 3},
}


@cache
def factors() -> pd.DataFrame:
    return pd.DataFrame(two_factors(500)[0])


@cache
def fitted(name: str) -> pofx.Fitted:
    return pofx.fit(factors(), model=name, steps=500 if name == "vae" else 150, quiet=True, **WORDS[name])


@pytest.mark.parametrize("name", ["vae", "hvae"])
def test_a_bound_under_the_models_own_prior_is_its_own_bound(name: str) -> None:
    x, spec = two_factors(60)
    model = create(name, spec, width=16, depth=1, samples=8)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0)))
    np.testing.assert_allclose(
        model.bound(x, law=lambda z, c: model.latents.log_prob(z)).value, model.log_prob(x), atol=1e-3
    )
    twice = model.bound(x, law=lambda z, c: model.latents.log_prob(z) + math.log(2)).value
    np.testing.assert_allclose(twice - model.log_prob(x), math.log(2), atol=1e-3)


@pytest.mark.parametrize("prior", ["maf", "mixture", "any_order"])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
def test_a_law_of_codes_is_a_density_of_codes(prior: str, scale: float) -> None:
    """Codes of one number: the density integrates to what unseen ones leave, at any scale of the code."""
    x, spec = two_factors(400)
    model = learn(create("wae", spec, latent=1, width=16, depth=1), x, 3)
    with torch.no_grad():
        model.encoder.standardise_(torch.zeros(1), torch.full((1,), 1 / scale))
    made = Latent.learn(model, x, prior, steps=30)
    z = made.encode(x).double()
    grid = torch.linspace(float(z.min()), float(z.max()), 20_001, dtype=torch.float64).view(-1, 1)
    total = float(made.log_prior(grid).exp().sum() * (grid[1] - grid[0]))
    assert total == pytest.approx(400 / 404, abs=0.02)


def test_a_prior_that_fits_the_codes_bounds_better_than_one_that_does_not() -> None:
    x, spec = two_factors(800)
    model = learn(create("vae", spec, prior="normal", masked=0.0, warmup=1.0, beta=0.05, **SMALL), x, 300)
    two = Latent.learn(model, x, "mixture")
    assert two.log_prob(x).mean() > model.log_prob(x).mean() + 0.5


@pytest.mark.parametrize("name", list(WORDS))
@pytest.mark.parametrize("prior", ["mixture", "autoregressive"])
def test_a_model_with_another_prior_is_kept_drawn_and_scored(name: str, prior: str, tmp_path: Path) -> None:
    model = fitted(name).with_prior(prior, data=factors(), steps=60, quiet=True)
    model.save(tmp_path / "m.pofx")
    again = pofx.load(tmp_path / "m.pofx")
    pd.testing.assert_frame_equal(model.sample(40, seed=1, quiet=True), again.sample(40, seed=1, quiet=True))
    assert f"{name} with {prior}" in repr(again) and f"model {prior}" in again.info()
    if name in ("vae", "vq"):
        assert np.array_equal(model.log_prob(factors()[:50]), again.log_prob(factors()[:50]))
        assert {"log_prob", "bound"} <= again.model.abilities
    else:
        with pytest.raises(Unsupported, match=f"model '{name} with {prior}' cannot give a likelihood"):
            again.log_prob(factors())
    judged = again.anomaly(factors()[:50])
    assert judged["p_value"].between(0, 1).all()
    drawn = model.sample(1500, seed=0, quiet=True)
    near = np.corrcoef(drawn.T)[0]
    assert near[1] > 0.4 and near[2] < -0.4  # .93 and -.93 in the data
    other = model.with_prior("independent", data=factors(), quiet=True)
    assert other.model.autoencoder is model.model.autoencoder


def test_images_get_another_prior(tmp_path: Path) -> None:
    x, _ = images(150)
    np.save(tmp_path / "x.npy", x["grey"])
    model = pofx.fit(tmp_path / "x.npy", model="autoencoder", steps=20, latent=3, width=32, quiet=True)
    two = model.with_prior("mixture", quiet=True)
    assert two.sample(4, seed=0, quiet=True).shape == (4, 8, 8)
    np.save(tmp_path / "x.npy", x["grey"][:100])
    with pytest.raises(CodecError, match="is not what the model was fitted on"):
        model.with_prior("mixture", quiet=True)


def test_the_verb_prior(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    factors().to_csv(tmp_path / "d.csv", index=False)
    here = str(tmp_path)
    assert main(["fit", f"{here}/d.csv", "-o", f"{here}/a.pofx", "--model", "autoencoder", "--steps", "20", "--quiet",
                 "--set", "latent=2"]) == 0  # fmt: skip
    assert main(["prior", f"{here}/a.pofx", "-o", f"{here}/b.pofx", "--model", "nsf", "--steps", "20"]) == 0
    assert "autoencoder with nsf" in capsys.readouterr().out
    assert main(["sample", f"{here}/b.pofx", "-n", "5", "-o", f"{here}/s.csv", "--quiet"]) == 0
    assert len(pd.read_csv(tmp_path / "s.csv")) == 5
    assert main(["prior", f"{here}/a.pofx", "-o", f"{here}/b.pofx", "--model", "sparse"]) == 2
    assert "model 'sparse' cannot be a prior: these can: any_order" in capsys.readouterr().err


def test_wrong_priors_say_why() -> None:
    x = mixed()
    conditional = create("vae", spec_of(x, ("a",)))
    own, c = split(x, ("a",))
    with pytest.raises(Unsupported, match="model 'mixture' cannot be a prior of codes given 'a': these can: any_order"):
        Latent.learn(conditional, own, "mixture", c)
    with pytest.raises(Unsupported, match="model 'nsf' has no codes: these have: .*vae"):
        Latent.learn(create("nsf", spec_of(x)), x)
    with pytest.raises(CodecError, match="give it again"):
        fitted("vae").with_prior("mixture", quiet=True)
    with pytest.raises(SpecError, match="steps or minutes"):
        fitted("vae").with_prior("nsf", data=factors(), steps=3, minutes=1, quiet=True)


# -- what means nothing ------------------------------------------------------------------------------------------------


def test_there_is_nothing_between_symbols() -> None:
    rows = factors()[:3]
    for model in (fitted("vq"), fitted("vq").with_prior("independent", data=factors(), quiet=True)):
        with pytest.raises(
            Unsupported, match=r"cannot go from one example to another.*these can: vae, iwae|autoencoder"
        ):
            model.interpolate(rows, rows)
    assert len(fitted("wae").interpolate(rows, rows, steps=4)) == 12


def test_codes_that_are_none_of_the_models() -> None:
    symbols = fitted("vq").encode(factors()[:4])
    assert fitted("vq").decode(symbols).shape == (4, 5)
    for wrong in (symbols + 0.5, symbols - 100, symbols + 16):
        with pytest.raises(SpecError, match="expected symbols, whole numbers from 0 to 15, got others"):
            fitted("vq").decode(wrong)
    z = fitted("vae").encode(factors()[:4])
    with pytest.raises(SpecError, match="expected codes of 2 numbers, got 1"):
        fitted("vae").decode(z[["z0"]])
    with pytest.raises(SpecError, match="expected codes of finite numbers"):
        fitted("wae").decode(z * np.inf)


def test_a_nested_code_may_be_shorter_and_others_may_not() -> None:
    x, spec = two_factors(50)
    z = torch.zeros(3, 1)
    create("autoencoder", spec, latent=2, nested=True).own_code(z)
    with pytest.raises(SpecError, match="expected codes of 2 numbers, got 1"):
        create("autoencoder", spec, latent=2).own_code(z)


def fits(name: str) -> Model:
    return create(name, two_factors(50)[1])


@pytest.mark.parametrize("name", ["denoising", "gan", "nsf", "any_order"])
@pytest.mark.parametrize("verb", ["interpolate", "express"])
def test_verbs_of_codes_name_the_models_that_have_them(name: str, verb: str) -> None:
    model = fits(name)
    assert verb not in model.abilities
    told = str(model._cannot(verb))
    assert "vae" in told and ("vq" in told) == (verb == "express")


# -- scores of tables --------------------------------------------------------------------------------------------------


def test_a_bound_of_a_table_says_its_draws_and_how_sure_it_is(tmp_path: Path) -> None:
    rows = factors()[:40]
    rows.to_csv(tmp_path / "d.csv", index=False)
    fitted("vae").save(tmp_path / "m.pofx")
    two = fitted("vae").with_prior("mixture", data=factors(), quiet=True)
    for model, known in ((fitted("vae"), "state"), (fitted("vae"), "unknown"), (two, "state")):
        told = model.log_prob(rows, detail=True, draws=60, missing=known)
        assert list(told.columns) == ["log_prob", "error", "effective_size", "draws"] and (told["draws"] == 60).all()
        assert (told["error"] > 0).all() and told["effective_size"].between(1, 60).all()
        assert np.array_equal(told["log_prob"], model.log_prob(rows, draws=60, missing=known))
        assert (model.log_prob(rows, detail=True, missing=known)["draws"] == 16).all()
    here = str(tmp_path)
    assert main(["score", f"{here}/m.pofx", f"{here}/d.csv", "-o", f"{here}/s.csv", "--draws", "30", "--quiet"]) == 0
    scored = pd.read_csv(tmp_path / "s.csv")
    assert list(scored.columns[5:]) == ["log_prob", "error", "effective_size", "draws"]
    assert (scored["draws"] == 30).all()


def test_draws_of_what_is_no_bound_by_importance_are_refused() -> None:
    for model in (fitted("vq"), fitted("vq").with_prior("independent", data=factors(), quiet=True)):
        with pytest.raises(Unsupported, match="the log p of model 'vq.*' is not weighed from draws: leave draws out"):
            model.log_prob(factors()[:3], draws=3)
        assert list(model.log_prob(factors()[:3], detail=True).columns) == ["log_prob"]
    with pytest.raises(SpecError, match="expected draws of at least 1, got 0"):
        fitted("vae").log_prob(factors()[:3], draws=0)
