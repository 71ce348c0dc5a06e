"""Bad input to every autoencoder: a clear message, or a sensible end."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from made import mixed, spec_of
from torch import Tensor

import pofx
from pofx.errors import CodecError, SpecError
from pofx.fields import Pixel
from pofx.models import create, load_class, names
from pofx.models.model import Batch, Clock
from pofx.spec import Block, Spec
from pofx.training.loop import Trainer

CODERS = names("autoencoders")
NETWORK = {name: {"width": 16, "depth": 1} for name in CODERS} | {"sparse": {"latent": 16, "active": 4}}
RNG = np.random.default_rng(0)


def fit(source: object, name: str, steps: int = 4, **words: object) -> pofx.Fitted:
    own = {"latent": 1} if name == "autoencoder" else {}
    return pofx.fit(source, model=name, steps=steps, quiet=True, **(NETWORK[name] | own | words))


def use(model: pofx.Fitted, rows: pd.DataFrame, tmp_path: Path) -> None:
    """Every verb that the model has, on rows, before and after a file."""
    model.save(tmp_path / "m.pofx")
    model = pofx.load(tmp_path / "m.pofx")
    can = model.model.abilities
    if "sample" in can:
        assert model.sample(7, seed=0, quiet=True).columns.tolist() == rows.columns.tolist()
    if "log_prob" in can:
        assert np.isfinite(model.log_prob(rows)).all()
    if "encode" in can:
        codes = model.encode(rows)
        assert np.isfinite(codes.to_numpy()).all()
        assert len(model.decode(codes)) == len(model.reconstruct(rows)) == len(rows)
        judged = model.anomaly(rows)
        assert np.isfinite(judged["anomaly"]).all() and judged["p_value"].between(0, 1).all()
    if "interpolate" in can:
        assert len(model.interpolate(rows[:1], rows[1:2], steps=3)) == 3
    if "restore" in can:
        assert len(model.denoise(rows)) == len(rows)
    if "known" in can:
        full = model.complete(rows, quiet=True)
        assert len(full) == len(rows) and not full.drop(columns="none", errors="ignore").isna().any().any()
    assert all(np.isfinite(v) for v in model.provenance["fit"].values() if isinstance(v, float))


def plain(n: int = 60) -> pd.DataFrame:
    z = RNG.normal(size=n)
    return pd.DataFrame({"a": np.round(z, 3), "b": np.round(z + RNG.normal(size=n), 3), "c": RNG.choice(["u", "v"], n)})


def frames() -> dict[str, pd.DataFrame]:
    table = plain()
    gaps = plain()
    gaps.loc[3:6] = None
    gaps["none"] = pd.Series([None] * 60, dtype="float64")
    return {
        "constants": table.assign(k=1.5, i=7, s="same"),
        "tiny": table.assign(a=table["a"] * 1e-12),
        "huge": table.assign(a=table["a"] * 1e12, b=table["b"] * 1e9),
        "both scales": table.assign(a=table["a"] * 1e-12, b=table["b"] * 1e12),
        "missing rows and a missing column": gaps,
        "two rows": table[:2],
        "one column": table[["a"]],
        "one column of levels": table[["c"]],
    }


@pytest.mark.parametrize("kind", list(frames()))
@pytest.mark.parametrize("name", CODERS)
def test_strange_tables_are_learned(name: str, kind: str, tmp_path: Path) -> None:
    frame = frames()[kind]
    use(fit(frame, name), frame, tmp_path)


@pytest.mark.parametrize("name", CODERS)
def test_a_column_of_ten_thousand_levels(name: str, tmp_path: Path) -> None:
    levels = np.array([f"item {i % 10_000}" for i in range(12_000)])
    frame = pd.DataFrame({"a": np.round(RNG.normal(size=12_000), 2), "c": levels})
    model = fit(frame, name, fields={"c": "category"}, split=(1, 0, 0))
    assert len(model.model.spec.field("c").levels) == 10_000
    use(model, frame[:40], tmp_path)


@pytest.mark.parametrize("name", CODERS)
def test_all_constant_and_all_missing_tables(name: str, tmp_path: Path) -> None:
    constants = pd.DataFrame({"k": [1.5] * 9, "s": ["x"] * 9})
    use(fit(constants, name), constants, tmp_path)
    with pytest.raises(CodecError, match="every cell of the table is missing, expected some values: check the file"):
        fit(pd.DataFrame({"n": [np.nan] * 9}), name)


@pytest.mark.parametrize("top", [255, 1])
@pytest.mark.parametrize("name", CODERS)
def test_constant_pixels(name: str, top: int) -> None:
    images = np.zeros((30, 4, 4), np.uint8)
    images[:, 0, 0] = 255
    images[::2, 1, 1] = 255 if top == 1 else 90
    model = fit(images, name)
    if "log_prob" in model.model.abilities:
        assert np.isfinite(model.log_prob(images)).all()
    if "express" in model.model.abilities:
        assert model.reconstruct(images).shape == images.shape
        assert np.isfinite(model.anomaly(images)["anomaly"]).all()
    if "restore" in model.model.abilities:
        assert model.denoise(images).shape == images.shape


@pytest.mark.parametrize(("top", "advice"), [(1, r"draw grey ones black \(0\) or white \(1\)"), (9, "scale them")])
@pytest.mark.parametrize("name", [n for n in names() if load_class(n).images])
def test_pixels_beyond_their_range(name: str, top: int, advice: str) -> None:
    x = RNG.integers(0, top + 1, (6, 4, 4)).astype(np.uint8)
    spec = Spec((Block("image", (Pixel.learn("grey", x, top=top),), (4, 4)),))
    words = {"width": 16, "depth": 1} | ({} if load_class(name).family == "flows" else {"latent": 2})
    model = create(name, spec, **NETWORK.get(name, words))
    assert len(model.prepare({"grey": x})[0]) == 6
    for wrong, shown in ((x + np.uint8(1), top + 1), (x.astype(np.int16) - 1, -1)):
        wrong[0, 0, :2] = shown
        with pytest.raises(SpecError, match=f"from 0 to {top}, got {shown}: {advice}, or fit a model to these"):
            model.prepare({"grey": wrong})
    with pytest.raises(SpecError, match=r"expected images of \(4, 4\), got \(3, 4\): resize them"):
        model.prepare({"grey": x[:, 1:]})


@pytest.mark.parametrize("name", [n for n in CODERS if n not in ("denoising", "vq")])
def test_codes_longer_than_a_row(name: str, tmp_path: Path) -> None:
    frame = plain()[["a", "b"]]
    if name == "autoencoder":
        with pytest.raises(SpecError, match="expected a code of at most 2 numbers, as a row has, got 50: see `sparse`"):
            fit(frame, name, latent=50)
        return
    use(fit(frame, name, latent=50), frame, tmp_path)


@pytest.mark.parametrize("name", CODERS)
def test_a_batch_of_one_and_a_rest_of_one(name: str) -> None:
    x = mixed(257)
    model = create(name, spec_of(x), **NETWORK[name])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Trainer(model, model.prepare(x), model.prepare({k: v[:1] for k, v in x.items()}), 0, "cpu", batch=1).run(3)
    assert all(p.isfinite().all() for p in model.parameters())
    last = {k: v[-1:] for k, v in x.items()}
    if "log_prob" in model.abilities:
        np.testing.assert_allclose(model.log_prob(x)[-1:], model.log_prob(last), atol=1e-4)
    if "encode" in model.abilities:
        torch.testing.assert_close(model.encode(x)[-1:], model.encode(last), atol=1e-4, rtol=1e-4)
    if "restore" in model.abilities:
        assert len(model.restore(last)["c"]) == 1
    assert all(np.isfinite(v).all() for v in model.remarks(last).values())


@pytest.mark.parametrize("name", CODERS)
def test_losses_that_are_no_numbers_are_skipped_counted_and_told(name: str) -> None:
    x = mixed(200)
    model = create(name, spec_of(x), **NETWORK[name])
    turns = model.turns

    def spoiled(batch: Batch, clock: Clock, generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        for player, loss in turns(batch, clock, generator):
            yield player, loss * (float("nan") if 10 <= clock.step < 20 else float("inf") if clock.step == 30 else 1.0)

    model.turns = spoiled
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        trainer = Trainer(model, model.prepare(x), None, 0, "cpu", batch=32)
        with pytest.warns(UserWarning, match="step 20: 10 losses in a row were no numbers; .*half the rate"):
            history = trainer.run(40)
    assert history.skipped == 11 and history.retreats == 1
    assert all(player.scale == 0.5 for player in trainer.players.values())
    assert all(p.isfinite().all() for p in model.state_dict().values())


def test_a_fit_that_lost_its_way_says_so_in_its_provenance(monkeypatch: pytest.MonkeyPatch) -> None:
    from pofx.models.autoencoders.vae import VAE

    loss = VAE.loss
    monkeypatch.setattr(VAE, "loss", lambda self, batch, clock, generator: loss(self, batch, clock, generator)
                        * (float("nan") if self.training and 5 <= clock.step < 15 else 1.0))  # fmt: skip
    with pytest.warns(UserWarning, match="10 losses in a row"):
        model = fit(plain(), "vae", steps=30, split=(1, 0, 0))
    assert model.provenance["fit"]["skipped"] == 10 and model.provenance["fit"]["retreats"] == 1
    assert "retreats   1" in model.info()
