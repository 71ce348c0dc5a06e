"""Photos restored: what is learned, at which level, tile by tile, with alpha, bits and colours as they came."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

import pofx
from pofx import corrupt
from pofx.cli import main
from pofx.codecs.photo import read_photo
from pofx.codecs.photos import PhotoCodec, read_photos
from pofx.errors import CodecError, SpecError, Unsupported
from pofx.fitted_photos import FittedPhotos, general
from pofx.models import create
from pofx.models.restorer import Restorer
from pofx.models.restorers.denoiser import AGAIN
from pofx.restore import grain, noise_level, noise_of

SMALL = {"width": 12, "depth": 2}


@cache
def photos() -> tuple[np.ndarray, ...]:
    """Parts of a photo that scikit-learn brings."""
    whole = load_sample_image("china.jpg")
    return tuple(whole[i : i + 140, j : j + 160].copy() for i in (0, 140, 280) for j in (0, 160, 320, 480))


@cache
def other() -> np.ndarray:
    return load_sample_image("flower.jpg")[120:250, 200:350].copy()


@cache
def noisy(sigma: float = 25.0) -> np.ndarray:
    made = other() + sigma * np.random.default_rng(0).normal(size=other().shape)
    return made.round().clip(0, 255).astype(np.uint8)


@cache
def fitted(task: str) -> FittedPhotos:
    words = SMALL | {"scale": 2} if task == "upscale" else {"noisy": False, "jpeg": 0.2, "width": 24, "depth": 1}
    made = pofx.fit(list(photos()), task=task, steps=240 if task == "upscale" else 250, quiet=True, **words)
    assert isinstance(made, FittedPhotos)
    return made


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


def small(x: np.ndarray, scale: int) -> np.ndarray:
    sides = (x.shape[1] // scale, x.shape[0] // scale)
    return np.asarray(Image.fromarray(x).resize(sides, Image.Resampling.BICUBIC))


def bicubic(x: np.ndarray, scale: int) -> np.ndarray:
    sides = (x.shape[1] * scale, x.shape[0] * scale)
    return np.asarray(Image.fromarray(x).resize(sides, Image.Resampling.BICUBIC))


# -- what spoils -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_scaling_is_pillows(scale: int) -> None:
    x = np.random.default_rng(0).random((24, 36)).astype(np.float32)
    v = torch.from_numpy(x)[None, None]
    for made, sides in (
        (corrupt.downsample(v, scale), (36 // scale, 24 // scale)),
        (corrupt.upsample(v, scale), (36 * scale, 24 * scale)),
    ):
        theirs = np.asarray(Image.fromarray(x, mode="F").resize(sides, Image.Resampling.BICUBIC))
        np.testing.assert_allclose(made[0, 0].numpy(), theirs, atol=2e-5)


def test_jpeg_is_what_a_file_gives_back(tmp_path: Path) -> None:
    x = photos()[0]
    Image.fromarray(x).save(tmp_path / "x.jpg", quality=20)
    theirs = np.asarray(Image.open(tmp_path / "x.jpg"))
    made = corrupt.jpeg(torch.from_numpy(x.copy()).permute(2, 0, 1)[None] / 255, 20)
    np.testing.assert_allclose(made[0].permute(1, 2, 0).numpy() * 255, theirs, atol=1e-3)


@pytest.mark.parametrize("sigma", [5, 15, 25, 50])
def test_the_level_of_noise_is_found(sigma: float) -> None:
    rng = np.random.default_rng(0)
    smooth = 128 + 40 * np.sin(np.arange(200) / 15)[:, None, None] * np.ones((200, 300, 3))
    y = (smooth + sigma * rng.normal(size=smooth.shape)).round().clip(0, 255).astype(np.uint8)
    assert noise_level(y) == pytest.approx(sigma, rel=0.04)
    assert noise_of(y)[1]
    assert noise_level(y.astype(np.uint16) * 257) == pytest.approx(noise_level(y), rel=1e-6)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 5, 1), (3, 1, 3), (1, 1, 1)])
def test_a_picture_without_two_rows_and_columns_has_no_level_of_noise(shape: tuple[int, ...], tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    assert noise_of(x) == (0.0, True)
    Image.fromarray(x if shape[2] == 3 else x[..., 0]).save(tmp_path / "x.png")
    assert main(["denoise", str(tmp_path / "x.png"), "-o", str(tmp_path / "y.png"), "--quiet"]) == 0
    assert np.array_equal(
        read_photo(tmp_path / "y.png").pixels,
        general("denoise").denoise(x if shape[2] == 3 else x[..., 0]).reshape(shape),
    )


def test_a_folder_is_restored_file_by_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noisy_, into, empty = tmp_path / "noisy", tmp_path / "clean", tmp_path / "empty"
    empty.mkdir()
    (noisy_ / "more").mkdir(parents=True)
    for name in ("a.png", "more/b.jpg"):
        Image.fromarray(noisy()[:24, :20]).save(noisy_ / name)
    words = ["denoise", str(noisy_), "-o", str(into), "--quiet"]
    assert main(words) == 0
    alone = tmp_path / "alone.png"
    assert main(["denoise", str(noisy_ / "a.png"), "-o", str(alone), "--quiet"]) == 0
    assert (into / "a.png").read_bytes() == alone.read_bytes() and (into / "more" / "b.jpg").exists()
    (noisy_ / "aa.png").write_text("no picture")
    (into / "more" / "b.jpg").unlink()
    capsys.readouterr()
    assert main(words) == 2 and (into / "more" / "b.jpg").exists()
    told = capsys.readouterr().err
    assert "wrote 2 of 3 files" in told and "aa.png: could not read" in told and "--broken skip" in told
    assert main([*words, "--broken", "skip"]) == 0
    for odd, why in [
        (["denoise", str(noisy_), "-o", str(noisy_)], "another folder than that of the input"),
        (["denoise", str(noisy_), "-o", str(alone)], "expected a folder to write 3 files to"),
        (["upscale", str(empty), "-o", str(tmp_path / "large")], "found none"),
        (["denoise", str(alone), "-o", str(tmp_path / "a.png"), "--broken", "skip"], "but for a folder of photos"),
    ]:
        assert main([*odd, "--quiet"]) == 2
        assert why in capsys.readouterr().err


def test_noise_that_follows_brightness_or_neighbours_is_not_taken_for_gaussian() -> None:
    rng = np.random.default_rng(0)
    bright = np.linspace(20, 220, 300)[None, :, None] * np.ones((200, 300, 1))
    grows = (bright + bright / 6 * rng.normal(size=bright.shape)).round().clip(0, 255).astype(np.uint8)
    pattern = (120 + 20 * rng.normal(size=(100, 150, 1))).repeat(2, 0).repeat(2, 1)
    pattern = (np.roll(pattern, (1, 1), (0, 1))).round().clip(0, 255).astype(np.uint8)
    assert not noise_of(grows)[1]
    assert not noise_of(pattern)[1]


# -- what is learned from ----------------------------------------------------------------------------------------------


def made(name: str, **words: Any) -> Restorer:
    model = create(name, PhotoCodec.learn(read_photos(list(photos()))).spec, 0, **SMALL, **words)
    assert isinstance(model, Restorer)
    return model


def test_noise_put_twice_is_independent_and_of_the_level_that_is_told() -> None:
    model, generator = made("denoiser", known="gaussian"), torch.Generator().manual_seed(0)
    clean, s = torch.full((64, 3, 32, 32), 0.5), torch.full((64, 1, 1, 1), 0.1)
    y = clean + 0.1 * torch.randn(clean.shape, generator=generator)
    target, seen, level, _ = model.spoiled((y, s), 1, generator)
    one, two = (seen - clean).flatten(1), (target - clean).flatten(1)
    alike = (one * two).mean() / (one.std() * two.std())
    assert abs(float(alike)) < 4 / np.sqrt(one.numel())
    torch.testing.assert_close(one.std(1), level[:, 0], rtol=0.08, atol=0)
    assert level[:, 0].min() >= 0.1 * np.sqrt(1 + AGAIN[0] ** 2) - 1e-6


def test_a_hidden_pixel_is_not_seen() -> None:
    model = made("denoiser", known="blind")
    y = torch.rand(2, 3, 32, 32)
    target, seen, level, counts = model.spoiled((y,), 1, torch.Generator().manual_seed(0))
    assert counts is not None and 0 < float(counts.mean()) < 0.1
    moved = torch.where(counts.bool(), y + 1, y)
    again = model.spoiled((moved,), 1, torch.Generator().manual_seed(0))[1]
    hidden = counts.bool().expand_as(y)
    alone = (seen != y) & hidden  # neighbours that are hidden themselves would carry the change
    assert alone.any() and torch.equal(target, y) and not level.any()
    assert torch.equal(torch.where(hidden, 0.0, seen), torch.where(hidden, 0.0, again))


def test_pairs_are_told_how_far_they_lie_apart() -> None:
    model = made("denoiser", known="pairs")
    x = torch.rand(3, 3, 32, 32)
    y = x + torch.tensor([0.0, 0.1, 0.2]).view(3, 1, 1, 1) * torch.randn(
        x.shape, generator=torch.Generator().manual_seed(0)
    )
    target, seen, level, _ = model.spoiled((y, x), 1, torch.Generator())
    assert torch.equal(target, x) and torch.equal(seen, y)
    np.testing.assert_allclose(level[:, 0], [0, 0.1, 0.2], atol=0.01)


def test_pieces_cover_pictures_and_keep_pairs_together() -> None:
    model = made("denoiser")
    own = [np.arange(150 * 170, dtype=np.int64).reshape(150, 170, 1) % 251 for _ in range(2)]
    own = [p.astype(np.uint8) for p in own]
    a, b = model.pieces(own, [p + 1 for p in own])
    assert a.shape[1:] == (1, 128, 128) and len(a) == 2 * 4
    assert torch.equal(a + 1, b)


def test_a_network_begins_as_doing_nothing() -> None:
    y, level = torch.rand(1, 3, 32, 32), torch.tensor([[0.1, 0.0]])
    assert torch.equal(made("denoiser").eval().restored(y, level), y)
    up = create("upscaler", PhotoCodec.learn(read_photos([p[..., :1] for p in photos()])).spec, 0, **SMALL)
    assert isinstance(up, Restorer)
    for scale in (2, 3, 4):
        made_large = up.eval().restored(y[:, :1], y.new_zeros(1, 0), scale)
        torch.testing.assert_close(made_large, corrupt.upsample(y[:, :1], scale))


# -- what comes out ----------------------------------------------------------------------------------------------------


def test_a_photo_is_enlarged_better_than_by_bicubic() -> None:
    x = other()
    low = small(x, 2)
    made = fitted("upscale").upscale(low)
    assert made.shape == x.shape and made.dtype == np.uint8
    assert psnr(made, x) > psnr(bicubic(low, 2), x) + 0.3
    assert np.abs(small(made, 2).astype(int) - low).mean() < 1  # colours stay


def test_noise_is_taken_out_at_the_level_that_is_found() -> None:
    model = fitted("denoise")
    made = model.denoise(noisy())
    assert model.last_sigma == pytest.approx(25, rel=0.15)
    assert psnr(made, other()) > psnr(noisy(), other()) + 1
    quiet = model.denoise(other(), sigma=0)
    assert psnr(quiet, other()) > 29  # where there is no noise little is done


def test_grey_photos_under_a_model_of_colours() -> None:
    grey = noisy()[..., 1]
    made = fitted("denoise").denoise(grey, sigma=25)
    assert made.shape == grey.shape
    assert psnr(made, other()[..., 1]) > psnr(grey, other()[..., 1]) + 1


@pytest.mark.parametrize(("task", "realism"), [("upscale", 0.0), ("upscale", 1.0), ("denoise", 0.0), ("denoise", 0.7)])
def test_tiles_do_not_show(task: str, realism: float) -> None:
    model = fitted(task)
    verb = model.upscale if task == "upscale" else model.denoise
    whole, parts = (verb(noisy(), realism=realism, seed=3, tile=tile, quiet=True) for tile in (512, 48))
    assert np.abs(whole.astype(int) - parts).max() <= 1


def test_realism_lies_on_the_way_from_the_least_error_to_a_draw() -> None:
    model = fitted("denoise")
    least, half, draw = (model.denoise(noisy(), realism=r, seed=1).astype(int) for r in (0.0, 0.5, 1.0))
    assert np.abs(half - (least + draw) / 2).mean() < 0.6
    assert np.array_equal(draw, model.denoise(noisy(), realism=1.0, seed=1))
    assert not np.array_equal(draw, model.denoise(noisy(), realism=1.0, seed=2))
    assert psnr(least, other()) > psnr(draw, other())


def test_grain_depends_on_where_a_pixel_lies_alone() -> None:
    whole = grain(5, (0, 0), (300, 280), (300, 280), 2, 2)
    part = grain(5, (240, 100), (60, 170), (300, 280), 2, 2)
    assert torch.equal(part, whole[:, 480:600, 200:540])
    round_ = grain(5, (290, 270), (20, 20), (300, 280), 2, 1)
    assert torch.equal(round_[:, 10:, 10:], grain(5, (0, 0), (10, 10), (300, 280), 2, 1))


def test_sixteen_bits_and_alpha_come_back(tmp_path: Path) -> None:
    deep = noisy().astype(np.uint16) * 257
    made = fitted("denoise").denoise(deep, sigma=25)
    assert made.dtype == np.uint16
    assert np.abs(made / 257 - fitted("denoise").denoise(noisy(), sigma=25)).max() <= 1
    x = other()[:96, :96].copy()
    alpha = np.zeros((96, 96), np.uint8)
    alpha[:, 48:] = 255
    x[:, :48] = (255, 0, 255)  # what nobody sees must not bleed into what is seen
    Image.fromarray(np.dstack([x, alpha])).save(tmp_path / "x.png")
    model = fitted("upscale")
    model.upscale(tmp_path / "x.png", path=tmp_path / "large.png")
    large = np.asarray(Image.open(tmp_path / "large.png"))
    assert large.shape == (192, 192, 4)
    assert large[:, :72, 3].max() <= 8 and large[:, 120:, 3].min() >= 247
    seen = model.upscale(x[:, 48:].copy())
    assert np.abs(large[:, 120:, :3].astype(int) - seen[:, 24:]).mean() < 3


def test_a_texture_goes_on_at_its_other_side() -> None:
    x = noisy()[:96, :128]
    model = fitted("denoise")
    one = model.denoise(x, sigma=25, wrap=True, tile=64)
    two = model.denoise(np.roll(x, (16, 24), (0, 1)), sigma=25, wrap=True, tile=64)
    assert np.abs(np.roll(one, (16, 24), (0, 1)).astype(int) - two).max() <= 2


def test_a_quality_tells_the_marks_of_jpeg(tmp_path: Path) -> None:
    Image.fromarray(other()).save(tmp_path / "x.jpg", quality=10)
    one, two = (fitted("denoise").denoise(tmp_path / "x.jpg", quality=q).astype(int) for q in (10, 90))
    assert not np.array_equal(one, two)
    model = fitted("denoise")
    assert np.array_equal(model.denoise(tmp_path / "x.jpg"), one) and model.last_quality == 10
    model.denoise(tmp_path / "x.jpg", sigma=3)
    assert model.last_quality is None
    for quality in (1, 30, 60, 90, 100):
        Image.fromarray(other()).save(tmp_path / "y.jpg", quality=quality)
        assert abs((read_photo(tmp_path / "y.jpg").kept.quality or 0) - quality) <= 1
    with pytest.raises(SpecError, match="expected a quality from 1 to 100, got 0"):
        fitted("denoise").denoise(other(), quality=0)


def test_a_model_is_kept_and_does_no_more_than_it_can(tmp_path: Path) -> None:
    model = fitted("upscale")
    model.save(tmp_path / "m.pofx")
    again = pofx.load(tmp_path / "m.pofx")
    assert isinstance(again, FittedPhotos)
    assert np.array_equal(again.upscale(noisy()), model.upscale(noisy()))
    assert "upscaler" in again.info() and "texture" in again.info()
    with pytest.raises(Unsupported, match="cannot draw new examples"):
        again.sample(3)
    with pytest.raises(Unsupported, match="fitted to enlarge photos"):
        again.denoise(noisy())
    with pytest.raises(Unsupported, match="fitted to denoise photos"):
        fitted("denoise").upscale(noisy())


@pytest.mark.parametrize("task", ["upscale", "denoise"])
def test_the_evidence_shows_both_ends_of_realism(task: str, tmp_path: Path) -> None:
    evidence = fitted(task).evaluate(
        [other(), load_sample_image("flower.jpg")[:120, :120]], report=tmp_path / "r.html", quiet=True
    )
    names = list(evidence.cleaning)
    assert any("realism 0" in name for name in names) and any("realism 1" in name for name in names)
    for what in ("x2",) if task == "upscale" else ("noise 25", "noise 50"):
        rows = {
            name.partition(", ")[2]: row["psnr"] for name, row in evidence.cleaning.items() if name.startswith(what)
        }
        assert rows["realism 0"] > rows["realism 1"]
        assert rows["realism 0"] > rows["bicubic" if task == "upscale" else "as it came"]
    page = (tmp_path / "r.html").read_text()
    assert "realism 1" in page and "data:image/png" in page
    assert "neighbouring pixels" in evidence.summary()
    with pytest.raises(Unsupported, match="expected no target"):
        fitted(task).evaluate([other()], "x")
    with pytest.raises(CodecError, match="fitted on arrays"):
        fitted(task).evaluate()


def test_a_model_adapts_to_what_it_restores_and_stays_itself() -> None:
    model, low = fitted("upscale"), small(other(), 2)
    before = model.upscale(low)
    own = model.upscale(low, adapt=0.08, quiet=True)
    assert not np.array_equal(own, before) and np.array_equal(model.upscale(low), before)
    assert psnr(own, other()) > psnr(before, other()) - 0.2
    assert not np.array_equal(fitted("denoise").denoise(noisy(), adapt=0.05), fitted("denoise").denoise(noisy()))
    with pytest.raises(SpecError, match="expected noise to learn from"):
        fitted("denoise").denoise(noisy(), sigma=0, adapt=0.05)


def test_broken_photos_are_named_or_skipped(tmp_path: Path) -> None:
    for i, p in enumerate(photos()[:3]):
        Image.fromarray(p).save(tmp_path / f"{i}.png")
    (tmp_path / "bad.png").write_text("no picture")
    words: dict[str, Any] = {"task": "upscale", "scale": 2, "steps": 2, "quiet": True, **SMALL}
    with pytest.raises(CodecError, match=r"bad\.png"):
        pofx.fit(tmp_path, **words)
    model = pofx.fit(tmp_path, reading={"broken": "skip"}, **words)
    assert model.provenance["rows"] == 3 and "bad.png" in model.provenance["notes"]["photos"]
    with pytest.raises(CodecError, match="for photos"):
        pofx.fit(tmp_path, reading={"delimiter": ";"}, **words)


def test_a_fit_that_was_stopped_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pofx.training.loop import Trainer

    words: dict[str, Any] = {"task": "upscale", "scale": 2, "steps": 30, "quiet": True, "width": 8, "depth": 1}
    whole = pofx.fit(list(photos()[:6]), **words)
    count, advance = 0, Trainer.advance

    def stop(self: Trainer, total: int) -> float | None:
        nonlocal count
        count += 1
        if count == 22:  # in the second stage
            raise KeyboardInterrupt
        return advance(self, total)

    monkeypatch.setattr("pofx.training.checkpoint.EVERY", 0.0)
    monkeypatch.setattr(Trainer, "advance", stop)
    with pytest.raises(KeyboardInterrupt):
        pofx.fit(list(photos()[:6]), checkpoint=tmp_path / "c", **words)
    monkeypatch.setattr(Trainer, "advance", advance)
    again = pofx.fit(list(photos()[:6]), checkpoint=tmp_path / "c", resume=True, **words)
    for name, v in whole.model.state_dict().items():
        assert torch.equal(v, again.model.state_dict()[name]), name
    assert not list(tmp_path.iterdir())


def test_the_models_that_come_with_pofx(tmp_path: Path) -> None:
    x = other()
    assert psnr(general("upscale").upscale(small(x, 2), scale=2), x) > psnr(bicubic(small(x, 2), 2), x) + 1
    made = general("denoise").denoise(noisy())
    assert psnr(made, x) > psnr(noisy(), x) + 4.5
    Image.fromarray(noisy()).save(tmp_path / "x.png")
    assert main(["denoise", str(tmp_path / "x.png"), "-o", str(tmp_path / "y.png"), "--quiet"]) == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "y.png")), made)
    for task in ("upscale", "denoise"):
        assert sum(p.numel() for p in general(task).restorer.means.parameters()) < 160_000
        assert general(task).provenance["path"] is None


# -- words and bad input -----------------------------------------------------------------------------------------------


def test_noisy_photos_alone_are_found_and_said() -> None:
    rng = np.random.default_rng(0)
    loud = [(p + 25 * rng.normal(size=p.shape)).round().clip(0, 255).astype(np.uint8) for p in photos()]
    words: dict[str, Any] = {"task": "denoise", "steps": 4, "quiet": True, **SMALL}
    model = pofx.fit(loud, **words)
    assert model.model.config["known"] == "gaussian" and "estimated" in model.provenance["notes"]["noise"]
    assert "texture" not in model.provenance["fit"]
    assert pofx.fit(list(photos()), **words).model.config["known"] == "clean"
    told = pofx.fit(loud, sigma=25, **words)
    assert "as told" in told.provenance["notes"]["noise"]
    with pytest.raises(Unsupported, match="least error alone"):
        model.denoise(noisy(), realism=0.5)
    paired = pofx.fit(loud, clean=list(photos()), **words)
    assert paired.model.config["known"] == "pairs"


def test_the_command_line_restores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, p in enumerate(photos()):
        Image.fromarray(p).save(folder / f"{i}.png")
    Image.fromarray(noisy()).save(tmp_path / "noisy.png")
    model, out = str(tmp_path / "m.pofx"), str(tmp_path / "clean.png")
    sizes = [f"--set={k}={v}" for k, v in SMALL.items()]
    assert main(["fit", str(folder), "-o", model, "--task", "denoise", "--steps", "6", "--quiet", *sizes]) == 0
    assert main(["denoise", model, str(tmp_path / "noisy.png"), "-o", out]) == 0
    assert "noise of deviation" in capsys.readouterr().out
    assert np.asarray(Image.open(out)).shape == noisy().shape
    for words, said in (
        (["denoise", model, out, "-o", out], "expected another name than that of the input"),
        (["denoise", model, out, "-o", str(tmp_path / "y.png"), "--sigma", "x"], "expected --sigma auto or a number"),
        (["denoise", model, out, "-o", str(tmp_path / "y.png"), "--realism", "2"], "expected a realism from 0"),
        (["denoise", model, out, "-o", str(tmp_path / "y.png"), "--tile", "3"], "expected tiles of 32 pixels"),
        (["denoise", model, model, "-o", str(tmp_path / "y.png")], "could not read the picture"),
        (["upscale", model, out, "-o", str(tmp_path / "y.png")], "fitted to denoise photos"),
        (["fit", str(folder), "-o", model, "--scale", "2"], "with --task alone"),
        (["fit", str(folder), "-o", model, "--task", "upscale", "--scale", "5"], "expected a scale among 2, 3, 4"),
        (["fit", str(folder), "-o", model, "--task", "upscale", "--sigma", "5"], "with task 'denoise' alone"),
        (["fit", str(tmp_path / "none"), "-o", model, "--task", "upscale"], "expected a file, got nothing there"),
    ):
        assert main([*words, "--quiet"]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ([np.zeros((8, 8, 3), np.uint8)], "24 x 24 pixels or more"),
        ([np.zeros((40, 40, 3), np.float32)], "of 8 or 16 bits"),
        ([np.zeros((40, 40, 2), np.uint8)], "of 8 or 16 bits"),
        ([], "expected photos"),
        (3, "expected photos"),
    ],
)
def test_what_is_no_photo_is_said(source: Any, said: str) -> None:
    with pytest.raises((CodecError, SpecError), match=said):
        pofx.fit(source, task="upscale", steps=2, quiet=True)


def test_one_pixel() -> None:
    assert fitted("upscale").upscale(np.full((1, 1, 3), 7, np.uint8)).shape == (2, 2, 3)
    assert fitted("denoise").denoise(np.full((1, 1, 3), 7, np.uint8), sigma=5).shape == (1, 1, 3)


def test_turned_is_the_mean_over_eight_ways_and_turns_with_the_photo() -> None:
    model = fitted("upscale")
    photo = other()[:48, :40]
    made = model.upscale(photo, turned=True, quiet=True)
    assert made.shape == (96, 80, 3) and not np.array_equal(made, model.upscale(photo, quiet=True))
    other_way = model.upscale(np.rot90(photo).copy(), turned=True, quiet=True)
    assert np.abs(np.rot90(other_way, -1).astype(int) - made.astype(int)).max() <= 1
