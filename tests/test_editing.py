"""Editing: the condition changed, or codes moved along a labelled direction; the label changes, and the rest stays."""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pofx
from pofx.cli import main
from pofx.codecs.picture_io import read_images, write_images
from pofx.errors import CodecError, SpecError, Unsupported
from pofx.models import load_class, names

HOW = {"steps": 250, "quiet": True, "guard": False}
SMALL = {"width": 64, "depth": 1}
VAE = SMALL | {"network": "mlp", "latent": 6, "components": 1, "samples": 8, "prior": "normal"}
OTHER = {"left": "right", "right": "left"}


@cache
def bars(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A bright bar at the left or at the right, as the label says; a row that is brighter or darker, as chance says."""
    rng = np.random.default_rng(seed)
    right, level = rng.random(n) < 0.5, rng.uniform(40, 220, n)
    v = 60 + 5 * rng.normal(size=(n, 8, 8))
    v[np.arange(n), 3, :] = level[:, None]
    v[np.arange(n), :, np.where(right, 6, 1)] = 200
    return v.round().clip(0, 255).astype(np.uint8), np.where(right, "right", "left")


def side(images: np.ndarray) -> np.ndarray:
    v = np.delete(images.astype(float), 3, axis=1)
    return np.where(v[:, :, 6].mean(1) > v[:, :, 1].mean(1), "right", "left")


def row(images: np.ndarray) -> np.ndarray:
    return images[:, 3, 2:6].astype(float).mean(1)


def holds(before: np.ndarray, after: np.ndarray, toward: str, other: float = 0.9) -> None:
    assert (side(after) == toward).mean() > 0.95
    assert np.corrcoef(row(before), row(after))[0, 1] > other


@cache
def of_images(name: str, conditional: bool) -> pofx.Fitted:
    words = {"autoencoder": SMALL | {"conv": False, "latent": 6}, "vae": VAE,
             "realnvp": {"width": 32, "transforms": 2, "steps": 120}}[name]  # fmt: skip
    images, labels = bars()
    return pofx.fit(images, labels=labels if conditional else None, model=name, **(HOW | words))


@cache
def rows(n: int = 500, seed: int = 0) -> pd.DataFrame:
    """A kind that shifts a, and not b and c, which go together."""
    rng = np.random.default_rng(seed)
    kind, b = rng.integers(0, 2, n), rng.normal(50, 10, n).round(1)
    a = (10 + 6 * kind + rng.normal(size=n)).round(2)
    c = (b / 2 + rng.normal(0, 0.3, n)).round(1)
    return pd.DataFrame({"a": a, "b": b, "c": c, "kind": np.array(["low", "high"])[kind]})


@cache
def of_rows(name: str, condition: str | None) -> pofx.Fitted:
    more = {"vae": {"latent": 3, "samples": 8, "prior": "normal", "likelihood": "normal", "beta": 0.2},
            "vq": {"quantiser": "fsq", "codes": 16, "groups": 2, "steps": 200},
            "autoencoder": {"latent": 3}}[name]  # fmt: skip
    words = {"width": 48, "depth": 1} | more
    return pofx.fit(rows(), model=name, condition=condition, **(HOW | words))


# -- along a direction -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["autoencoder", "vae", "realnvp"])
@pytest.mark.parametrize("toward", ["left", "right"])
def test_images_move_along_the_direction_and_the_rest_stays(name: str, toward: str) -> None:
    images, labels = bars(100, 1)
    some = images[labels == OTHER[toward]]
    made = of_images(name, False).edit(some, bars(), toward=toward)
    assert made.shape == some.shape and made.dtype == np.uint8
    holds(some, made, toward)


def movable() -> list[str]:
    """The models of images whose codes lie between others."""
    kinds = {name: load_class(name) for name in names() if load_class(name).images or load_class(name).pictured}
    return [k for k, v in kinds.items() if "interpolate" in (v.pictured or v).abilities | v.optional.keys()]


@pytest.mark.parametrize("name", movable())
def test_every_model_whose_codes_can_be_moved_edits(name: str) -> None:
    images, labels = bars()
    more = {} if name == "sparse" else {"width": 16}
    more |= {"encoder": True} if "interpolate" in load_class(name).optional else {}
    model = pofx.fit(images[:40], model=name, **(HOW | {"steps": 2}), **more)
    made = model.edit(images[:6], (images[:40], labels[:40]), toward="left", amount=2)
    assert made.shape == (6, 8, 8)
    if "express" in model.model.abilities:
        still = model.edit(images[:6], (images[:40], labels[:40]), toward="left", amount=0)
        assert np.array_equal(still, model.reconstruct(images[:6]))


def test_the_amount_is_a_share_of_the_way() -> None:
    images, model = bars(100, 1)[0], of_images("autoencoder", False)
    back = model.edit(images, bars(), toward="right", amount=-1)
    assert np.array_equal(back, model.edit(images, bars(), toward="left"))  # of two labels the one is away of the other


def test_away_is_one_label_or_all_others() -> None:
    images, labels = bars()
    three = np.where(row(images) > 190, "bright", labels)
    model, some = of_images("autoencoder", False), bars(100, 1)[0]
    one = model.edit(some, (images, three), toward="right", away="left")
    all_of = model.edit(some, (images, three), toward="right")
    assert (row(all_of) < row(one) - 10).mean() > 0.8  # away of the bright ones too
    gone = np.array([None if label == "bright" else label for label in three], object)
    assert np.array_equal(one, model.edit(some, (images, gone), toward="right"))


@pytest.mark.parametrize("name", ["vae", "autoencoder"])
def test_rows_move_along_the_direction_and_the_rest_stays(name: str) -> None:
    low = rows(200, 1).query("kind == 'low'")
    model = of_rows(name, None)
    made = model.edit(low, rows(), toward="high", by="kind")
    assert list(made.columns) == ["a", "b", "c", "kind"] and (made["kind"] == "high").mean() > 0.8
    assert ((made["a"] - 16).abs() < 3).mean() > 0.8
    assert np.corrcoef(low["b"], made["b"])[0, 1] > 0.8


def test_labels_of_a_table_may_be_a_column_that_was_not_learned() -> None:
    flag = np.where(rows()["kind"] == "high", 1.0, 0.0)
    labels = rows().assign(flag=np.where(np.arange(500) % 7, flag, np.nan))
    made = of_rows("vae", None).edit(rows(50, 1), labels, toward=1, by="flag")
    assert made["a"].mean() > rows(50, 1)["a"].mean() + 1
    with pytest.raises(CodecError, match="expected a label among '0', '1', got '2'"):
        of_rows("vae", None).edit(rows(), labels, toward=2, by="flag")


def test_codes_under_another_condition_keep_it() -> None:
    frame = rows().assign(site=np.where(np.arange(500) % 2, "x", "y"))
    model = pofx.fit(frame, model="vae", condition="site", **HOW, width=48, depth=1, latent=3, samples=8,
                     prior="normal", likelihood="normal")  # fmt: skip
    made = model.edit(frame, frame, toward="high", by="kind")
    assert (made["site"] == frame["site"]).all() and (made["kind"] == "high").mean() > 0.9


def test_another_law_of_codes_changes_no_edit() -> None:
    model, some = of_rows("vae", None), rows(50, 1)
    two = model.with_prior("independent", data=rows(), steps=1, quiet=True, guard=False)
    pd.testing.assert_frame_equal(
        model.edit(some, rows(), toward="low", by="kind"), two.edit(some, rows(), toward="low", by="kind")
    )


# -- by the condition --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vae", "realnvp"])
def test_the_condition_of_images_is_changed(name: str) -> None:
    images, labels = bars(100, 1)
    some = images[labels == "left"]
    made = of_images(name, True).edit((some, labels[labels == "left"]), toward="right")
    assert set(made.labels) == {"right"}
    holds(some, made.images, "right", 0.8)


def test_a_missing_label_is_the_likeliest_before_it_is_changed() -> None:
    images, labels = bars(100, 1)
    model = of_images("vae", True)
    told, not_told = (model.edit(source, toward="left") for source in ((images, labels), images))
    assert (np.abs(told.images.astype(int) - not_told.images).mean((1, 2)) < 1).mean() > 0.95


@pytest.mark.parametrize("name", ["vae", "vq"])
def test_the_condition_of_rows_is_changed_and_needs_no_name(name: str) -> None:
    low, model = rows(200, 1).query("kind == 'low'"), of_rows(name, "kind")
    made = model.edit(low, toward="high")
    pd.testing.assert_frame_equal(made, model.edit(low, toward="high", by="kind"))
    assert set(made["kind"]) == {"high"} and ((made["a"] - 16).abs() < 3).mean() > 0.9
    assert np.corrcoef(low["b"], made["b"])[0, 1] > 0.7


# -- files -------------------------------------------------------------------------------------------------------------


def test_the_training_data_have_labels_of_their_own(tmp_path: Path) -> None:
    write_images(read_images(bars())[0], tmp_path / "all.npz")
    model = pofx.fit(tmp_path / "all.npz", model="autoencoder", condition=(), **HOW, **SMALL, latent=6)
    assert model.joint is None and model.learned_from()[0].labels is None
    images, labels = bars(100, 1)
    some = images[labels == "left"]
    holds(some, model.edit(some, toward="right"), "right")
    np.savez(tmp_path / "all.npz", images=bars()[0])
    with pytest.raises(CodecError, match="expected examples with labels, got none: give labels"):
        model.edit(some, toward="right")


def test_the_command_line_edits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = {name: str(tmp_path / name) for name in ("m.pofx", "x.npz", "out.npz", "t.pofx", "t.csv", "out.csv")}
    write_images(read_images(bars())[0], Path(place["x.npz"]))
    of_images("autoencoder", False).save(place["m.pofx"])
    told = ["edit", place["m.pofx"], place["x.npz"], "-o", place["out.npz"], "--toward", "right", "--away", "left"]
    assert main([*told, "--labels", place["x.npz"]]) == 0 and "wrote 400 rows" in capsys.readouterr().out
    holds(bars()[0][bars()[1] == "left"], np.load(place["out.npz"])["images"][bars()[1] == "left"], "right")
    assert main(told) == 2 and "give it again (train=, data=, labels=" in capsys.readouterr().err
    rows().to_csv(place["t.csv"], index=False)
    model = pofx.fit(place["t.csv"], model="autoencoder", **HOW, width=48, depth=1, latent=3)
    model.save(place["t.pofx"])
    told = ["edit", place["t.pofx"], place["t.csv"], "-o", place["out.csv"], "--by", "kind", "--toward"]
    assert main([*told, "high", "--amount", "0.5"]) == 0
    assert 1 < (pd.read_csv(place["out.csv"])["a"] - rows()["a"]).mean() < 5
    assert main([*told, "huge"]) == 2
    assert "pofx edit: expected a label among 'high', 'low', got 'huge'" in capsys.readouterr().err


# -- what cannot be ----------------------------------------------------------------------------------------------------


def test_wrong_words_of_images_say_why() -> None:
    images, labels = bars()
    few = np.where(np.arange(400) < 4, "odd", labels)
    free, bound = of_images("autoencoder", False), of_images("vae", True)
    for words, kind, match in (
        ({"labels": (images, labels), "toward": "up"}, CodecError, "expected a label among 'left', 'right', got 'up'"),
        ({"labels": (images, labels), "toward": "left", "away": "up"}, CodecError, "'left', 'right', got 'up'"),
        ({"labels": (images, labels), "toward": "left", "away": "left"}, SpecError, "got 'left' twice"),
        ({"labels": (images, few), "toward": "odd"}, CodecError, "5 examples or more of label 'odd', got 4"),
        ({"labels": images, "toward": "left"}, CodecError, "expected examples with labels, got none"),
        ({"labels": (images, labels[:9]), "toward": "left"}, CodecError, "expected 400 labels"),
        ({"labels": (images, ["left"] * 400), "toward": "left"}, CodecError, "label 'other than left', got 0"),
        ({"toward": "left"}, CodecError, "give it again .*labels="),
        ({"toward": "left", "by": "kind"}, SpecError, "expected by of a table alone, got 'kind'"),
        (
            {"labels": (images, labels), "toward": "left", "amount": float("nan")},
            SpecError,
            "from -1000 to 1000, got .* nan",
        ),
        ({"labels": (images, labels), "toward": ""}, SpecError, "expected toward as a label"),
    ):
        with pytest.raises(kind, match=match):
            free.edit(images, **words)
    with pytest.raises(CodecError, match="expected a label among 'left', 'right', got 'up'"):
        bound.edit((images, labels), toward="up")
    for words in ({"labels": (images, labels)}, {"away": "right"}, {"amount": 0.5}):
        with pytest.raises(SpecError, match="expected toward alone, since 'label' is the condition of this model"):
            bound.edit((images, labels), toward="left", **words)


def test_wrong_words_of_rows_say_why() -> None:
    with pytest.raises(SpecError, match="expected by .--by., the column of labels, got none"):
        of_rows("vae", None).edit(rows(), rows(), toward="high")
    with pytest.raises(CodecError, match="expected a column 'flag' of labels, got a, b, c, kind"):
        of_rows("vae", None).edit(rows(), rows(), toward="high", by="flag")
    with pytest.raises(CodecError, match="expected a label among 'high', 'low', got 'up'"):
        of_rows("vae", "kind").edit(rows(), toward="up")


def test_models_that_cannot_name_those_that_can() -> None:
    for name, words, match in (
        ("gan", {"width": 8}, "by codes that lie between: fit it with encoder=True"),
        ("independent", {}, "by codes that lie between: .*vae"),
        ("vq", {"width": 16, "depth": 1}, "cannot go from one example to another by codes that lie between: .*vae"),
        ("nsf", {"width": 8}, "cannot go from one example to another by codes that lie between: .*vae"),
    ):
        how = {"steps": 2, "quiet": True, "guard": False}
        model = pofx.fit(rows(), model=name, **how, **words)
        with pytest.raises(Unsupported, match=match):
            model.edit(rows(), rows(), toward="high", by="kind")
