"""Images end to end: read, fit, draw, score, rebuild, write, load; and what is no image says so."""

import gzip
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import pofx
from pofx import store
from pofx.codecs.image import ImageCodec
from pofx.codecs.picture_io import Pictures, holds_images, read_images, shades, sheet, write_images
from pofx.errors import BadFile, CodecError, SpecError, Unsupported
from pofx.fields import Pixel

SMALL = {"latent": 3, "width": 16, "depth": 1, "components": 2, "samples": 8}


def bars(n: int = 160, side: int = 8, channels: int = 1) -> np.ndarray:
    rng = np.random.default_rng(0)
    v = rng.integers(0, 30, (n, side, side, channels))
    v[np.arange(n), :, rng.integers(0, side, n)] = 255
    return v.astype(np.uint8)[..., 0] if channels == 1 else v.astype(np.uint8)


@pytest.fixture(scope="module")
def model() -> pofx.Fitted:
    return pofx.fit(bars(), model="vae", steps=60, quiet=True, **SMALL)


def test_a_model_of_an_array_draws_scores_and_rebuilds_arrays(model: pofx.Fitted, tmp_path: Path) -> None:
    drawn = model.sample(6, seed=1, quiet=True)
    assert drawn.shape == (6, 8, 8) and drawn.dtype == np.uint8
    assert np.array_equal(drawn[:3], model.sample(3, seed=1, quiet=True))
    x = bars()[:10]
    assert np.isfinite(model.log_prob(x)).all() and model.log_prob(x).mean() > model.log_prob(255 - x).mean()
    told = model.log_prob(x, detail=True)
    assert np.allclose(told["bits_per_dim"], -told["log_prob"] / 64 / np.log(2))
    assert (told["effective_size"] >= 1).all() and (told["draws"] == 8).all()
    assert model.reconstruct(x).shape == x.shape
    assert model.decode(model.encode(bars()[:4])).shape == (4, 8, 8)
    assert model.interpolate(x[:2], x[2:4], steps=5).shape == (10, 8, 8)
    judged = model.anomaly(255 - x)
    assert list(judged.columns) == ["image", "anomaly", "p_value"] and (judged["p_value"] < 0.1).all()
    model.save(tmp_path / "m.pofx")
    again = pofx.load(tmp_path / "m.pofx")
    assert isinstance(again, pofx.Fitted) and "images of 8 x 8 x 1" in again.info()
    assert np.array_equal(again.sample(6, seed=1, quiet=True), drawn)
    assert np.array_equal(again.log_prob(x), model.log_prob(x))


@pytest.mark.parametrize("name", ["sheet.png", "all.npz", "all.npy", "folder"])
def test_what_is_written_can_be_read(model: pofx.Fitted, tmp_path: Path, name: str) -> None:
    assert model.sample(5, seed=2, path=tmp_path / name, quiet=True) == 5
    drawn = model.sample(5, seed=2, quiet=True)
    if name.endswith(".png"):
        assert np.asarray(Image.open(tmp_path / name)).shape == (8, 5 * 9 - 1)
        return
    assert np.array_equal(read_images(tmp_path / name)[0].plain(), drawn)


@pytest.mark.parametrize("shape", [(20, 6, 6), (20, 6, 6, 1), (20, 6, 6, 3)])
@pytest.mark.parametrize("name", ["x.npz", "x.npy"])
def test_images_come_out_in_the_shape_that_they_came_in(shape: tuple[int, ...], name: str, tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    np.save(tmp_path / name, x) if name.endswith("npy") else np.savez(tmp_path / name, images=x)
    made = pofx.fit(tmp_path / name, model="autoencoder", steps=1, latent=2, width=8, quiet=True)
    made.save(tmp_path / "m.pofx")
    made = pofx.load(tmp_path / "m.pofx")
    assert made.reconstruct(x).shape == shape
    made.reconstruct(tmp_path / name, path=tmp_path / f"y{name}")
    held = np.load(tmp_path / f"y{name}")
    assert (held["images"] if name.endswith("npz") else held).shape == shape


def test_denoising_gives_images_back(tmp_path: Path) -> None:
    model = pofx.fit(bars(), model="denoising", steps=30, quiet=True, width=8, depth=1)
    assert model.denoise(bars()[:3]).shape == (3, 8, 8)
    with pytest.raises(Unsupported, match="'denoising' cannot draw new examples"):
        model.sample(3)
    with pytest.raises(Unsupported, match="'denoising' can neither score nor rebuild an example: these can: "):
        model.anomaly(bars()[:3])


def test_colours_and_files_and_the_command_line(tmp_path: Path) -> None:
    from pofx.cli import main

    np.savez(tmp_path / "x.npz", images=bars(60, 8, 3))
    words = ["--set", "latent=2", "--set", "width=8", "--set", "depth=1", "--set", "components=2", "--set", "samples=4"]
    assert main(["fit", str(tmp_path / "x.npz"), "-o", str(tmp_path / "m.pofx"), "--model", "vae", "--steps", "5",
                 "--quiet", *words]) == 0  # fmt: skip
    for verb, out in (("reconstruct", "r.npz"), ("anomaly", "a.csv"), ("encode", "z.csv"), ("score", "s.csv")):
        assert (
            main([verb, str(tmp_path / "m.pofx"), str(tmp_path / "x.npz"), "-o", str(tmp_path / out), "--quiet"]) == 0
        )
    assert main(["decode", str(tmp_path / "m.pofx"), str(tmp_path / "z.csv"), "-o", str(tmp_path / "d.npz"),
                 "--quiet"]) == 0  # fmt: skip
    rebuilt, decoded = (read_images(tmp_path / name)[0].images for name in ("r.npz", "d.npz"))
    assert rebuilt.shape == (60, 8, 8, 3) and np.abs(rebuilt.astype(int) - decoded).max() <= 1
    assert main(["interpolate", str(tmp_path / "m.pofx"), str(tmp_path / "x.npz"), str(tmp_path / "x.npz"), "-o",
                 str(tmp_path / "i.png"), "--steps", "3", "--quiet"]) == 0  # fmt: skip


def test_an_idx_file_is_read_packed_or_not(tmp_path: Path) -> None:
    data = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (20, 8, 8)) + bars(20).tobytes()
    (tmp_path / "t-images-idx3-ubyte").write_bytes(data)
    (tmp_path / "t-images-idx3-ubyte.gz").write_bytes(gzip.compress(data))
    for name in ("t-images-idx3-ubyte", "t-images-idx3-ubyte.gz"):
        assert np.array_equal(read_images(tmp_path / name)[0].plain(), bars(20))
    (tmp_path / "bad-idx3-ubyte").write_bytes(data[:40])
    with pytest.raises(CodecError, match="could not read images from .*bad-idx3-ubyte"):
        read_images(tmp_path / "bad-idx3-ubyte")


def folder_of(path: Path, *pictures: Image.Image) -> Path:
    path.mkdir()
    for i, picture in enumerate(pictures):
        picture.save(path / f"{i}.png")
    return path


def test_a_folder_of_mixed_sizes_says_which_and_takes_a_size(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "p", Image.new("L", (8, 8)), Image.new("L", (9, 7)), Image.new("L", (8, 8)))
    with pytest.raises(CodecError, match=r"one size, got 2 sizes, 8 x 8 \(2\), 9 x 7 \(1\): give the size") as told:
        read_images(path)
    assert 'reading={"size": (height, width)}' in str(told.value) and "--pixels HEIGHTxWIDTH" in str(told.value)
    words = {"model": "autoencoder", "steps": 1, "latent": 1, "quiet": True}
    assert pofx.fit(path, reading={"size": (6, 4)}, **words).codec.shape == (6, 4, 1)
    from pofx.cli import main

    out = ["-o", str(tmp_path / "m.pofx"), "--model", "autoencoder", "--steps", "1", "--set", "latent=1", "--quiet"]
    assert main(["fit", str(path), "--pixels", "6x4", *out, "--no-guard"]) == 0
    assert pofx.load(tmp_path / "m.pofx").codec.shape == (6, 4, 1)
    assert read_images(path, (6, 4))[0].images.shape == (3, 6, 4, 1)


def test_a_folder_of_mixed_modes_becomes_coloured_and_transparent_parts_white(tmp_path: Path) -> None:
    glass = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    path = folder_of(tmp_path / "p", Image.new("L", (4, 4), 7), Image.new("RGB", (4, 4), (1, 2, 3)), glass)
    images = read_images(path)[0].images
    assert images.shape == (3, 4, 4, 3)
    assert images[:, 0, 0].tolist() == [[7, 7, 7], [1, 2, 3], [255, 255, 255]]
    assert "1 of 3 lie on white where they are transparent; 1 of 3 are grey" in read_images(path)[0].notes["pictures"]


def test_what_is_no_image_says_so(tmp_path: Path) -> None:
    empty = tmp_path / "e"
    empty.mkdir()
    with pytest.raises(CodecError, match="expected pictures .* found none"):
        read_images(empty)
    (empty / "a.png").write_text("no picture")
    with pytest.raises(CodecError, match="could not read the picture .*a.png"):
        read_images(empty)
    with pytest.raises(CodecError, match="found nothing: check the path"):
        read_images(tmp_path / "gone.npz")
    np.savez(tmp_path / "two.npz", a=bars(4), b=bars(4))
    with pytest.raises(CodecError, match="expected one array of images, or one named 'images', found a, b"):
        read_images(tmp_path / "two.npz")
    for array, words in (
        (np.zeros((3, 4, 4, 17), np.uint8), r"got an array of \(3, 4, 4, 17\)"),
        (np.full((3, 4, 4), np.nan), "expected shades that are finite numbers, got nan to nan"),
    ):
        with pytest.raises(CodecError, match=words):
            shades(array)
    with pytest.raises(CodecError, match="expected two images or more"):
        pofx.fit(bars(1), model="vae", quiet=True)
    with pytest.raises(CodecError, match=r"expected a name (that ends|ending) in .npz"):
        write_images(Pictures(bars(2)[..., None]), tmp_path / "x.jpg")


def test_models_of_tables_and_words_of_tables_are_refused_for_images() -> None:
    with pytest.raises(Unsupported, match="images have no fields to name"):
        pofx.fit(bars(), model="vae", fields={"label": "category"}, quiet=True)
    with pytest.raises(SpecError, match="model 'any_order' learns rows of tables, got images"):
        pofx.fit(bars(), model="any_order", quiet=True)
    assert pofx.fit(bars(), steps=2, quiet=True).model.name == "vae"
    with pytest.raises(SpecError, match="expected kind among auto, table, tables, image"):
        pofx.fit(bars(), kind="video", quiet=True)


def test_images_of_another_size_are_refused(model: pofx.Fitted) -> None:
    with pytest.raises(CodecError, match=r"expected images of \(8, 8, 1\) .* got \(7, 8, 1\)"):
        model.log_prob(bars()[:, 1:])
    with pytest.raises(Unsupported, match="learned without labels, which conditions are on"):
        model.sample(2, "a = 1")


def test_the_codec_is_exact_and_comes_back_from_plain_values() -> None:
    images = bars(20, 8, 3)
    codec = ImageCodec.learn(Pictures(images))
    assert np.array_equal(codec.decode(codec.encode(Pictures(images))).images, images)
    again = ImageCodec.from_json(*codec.to_json())
    assert again.shape == (8, 8, 3) and again.spec.fields[1].name == "green"
    assert ImageCodec.learn(Pictures((images > 100).astype(np.uint8))).spec.fields[0].top == 1


def test_a_pixels_law_is_that_of_its_channel() -> None:
    v = bars(50)
    field = Pixel.learn("grey", v)
    assert np.exp(field.log_prob(np.arange(256, dtype=np.uint8))).sum() == pytest.approx(50 / 54, abs=1e-6)
    assert field.lower(field.lift(v.ravel())[0] + 1e-9).dtype == np.uint8
    with pytest.raises(SpecError, match="expected shades from 0 to 1, got 255"):
        Pixel.learn("grey", v, top=1)


def test_which_sources_hold_images(tmp_path: Path) -> None:
    assert holds_images(bars(2)) and not holds_images(np.zeros((3, 3)))
    assert not holds_images("table.csv") and holds_images("x.npz")
    assert holds_images(folder_of(tmp_path / "p", Image.new("L", (4, 4))))


def test_a_sheet_has_lines_between_its_images() -> None:
    made = sheet(np.full((5, 4, 4, 1), 9, np.uint8), columns=3)
    assert made.shape == (9, 14, 1) and made[4].max() == 0 and made[:4, 4].max() == 0


COMPRESS = {"latent": 2, "width": 16, "depth": 1, "components": 2, "network": "mlp"}


@pytest.mark.parametrize(
    ("name", "top", "prior"),
    [("vae", 1, "normal"), ("vae", 255, "normal"), ("vae", 255, "realnvp"), ("hvae", 1, None), ("hvae", 255, None)],
)
def test_compression_is_exact_and_as_short_as_the_bound(name: str, top: int, prior: str | None, tmp_path: Path) -> None:
    x = bars(64, 6) if top == 255 else (bars(64, 6) > 100).astype(np.uint8)
    model = pofx.fit(x, model=name, steps=60, quiet=True, **COMPRESS | ({"prior": prior} if prior else {}))
    length = model.compress(x, tmp_path / "x.pofz")
    assert np.array_equal(model.decompress(tmp_path / "x.pofz"), x)
    bound = -model.model.bound({"grey": x}, draws=1).value.mean() / 36 / np.log(2)
    assert length.bound == pytest.approx(bound, rel=0.05)
    assert 0 < length.bits - length.bound < 8 * 700 / x.size
    again = pofx.load(_saved(model, tmp_path))
    assert np.array_equal(again.decompress(tmp_path / "x.pofz"), x)


def _saved(model: pofx.Fitted, path: Path) -> Path:
    model.save(path / "m.pofx")
    return path / "m.pofx"


@pytest.fixture(scope="module")
def packer() -> pofx.Fitted:
    return pofx.fit(bars(), model="hvae", steps=20, quiet=True, **COMPRESS)


@pytest.mark.parametrize("n", [1, 40])
def test_few_images_begin_with_little(packer: pofx.Fitted, n: int, tmp_path: Path) -> None:
    length = packer.compress(bars(n), tmp_path / "x.pofz")
    assert np.array_equal(packer.decompress(tmp_path / "x.pofz"), bars(n))
    assert (length.bits - length.bound) * bars(n).size / 8 < 600  # bytes


def test_a_compressed_file_comes_out_of_its_own_model_alone(packer: pofx.Fitted, tmp_path: Path) -> None:
    packer.compress(bars(40), tmp_path / "x.pofz")
    header, arrays = store.read(tmp_path / "x.pofz", "compressed")
    others = {
        "weights": pofx.fit(bars(), model="hvae", steps=20, seed=1, quiet=True, split=(1, 0, 0), **COMPRESS),
        "fields": pofx.fit(255 - bars(), model="hvae", steps=1, quiet=True, **COMPRESS),
        "(height, width, channels)": pofx.fit(bars(20, 6), model="hvae", steps=1, quiet=True, **COMPRESS),
    }
    others["weights"].codec = packer.codec
    for what, other in others.items():
        with pytest.raises(BadFile, match=re.escape(f"was written by another model, of other {what}: expected")):
            other.decompress(tmp_path / "x.pofz")
    store.write(tmp_path / "y.pofz", "compressed", header | {"pixels": "0" * 16}, arrays)
    with pytest.raises(BadFile, match="does not come out as the pixels that went in"):
        packer.decompress(tmp_path / "y.pofz")


def test_labels_are_compressed_with_their_images(tmp_path: Path) -> None:
    x, y = bars(40), np.arange(40) % 3 + 4
    model = pofx.fit(x, labels=y, model="vae", steps=20, quiet=True, **COMPRESS)
    model.compress((x, y), tmp_path / "x.pofz")
    images, labels = model.decompress(tmp_path / "x.pofz")
    assert np.array_equal(images, x) and np.array_equal(labels, y)
    with pytest.raises(SpecError, match="expected the label of every image, got 40 missing: fill them in first"):
        model.compress(x, tmp_path / "x.pofz")


def test_what_does_not_compress_says_what_does(tmp_path: Path) -> None:
    words = COMPRESS | {"prior": "mixture"}
    with pytest.raises(Unsupported, match="'vae' does not compress: fit images with hvae, or with vae or iwae and"):
        pofx.fit(bars(20), model="vae", steps=1, quiet=True, **words).compress(bars(5), tmp_path / "x")
    from pofx.cli import main

    pofx.fit(_frame(), model="independent", quiet=True).save(tmp_path / "t.pofx")
    assert main(["compress", str(tmp_path / "t.pofx"), "x.npz", "-o", str(tmp_path / "o")]) == 2


def _frame() -> object:
    import pandas as pd

    return pd.DataFrame({"a": [1, 2, 3] * 20, "b": ["u", "v"] * 30})


@pytest.mark.parametrize("channels", [2, 5])
def test_arrays_of_any_number_of_channels(channels: int, tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (40, 6, 7, channels)).astype(np.uint8)
    np.save(tmp_path / "x.npy", x)
    for name in ("vae", "gan"):
        model = pofx.fit(tmp_path / "x.npy", model=name, steps=2, width=8, latent=2, quiet=True)
        model.save(tmp_path / "m.pofx")
        again = pofx.load(tmp_path / "m.pofx")
        drawn = again.sample(3, seed=0, quiet=True)
        assert drawn.shape == (3, 6, 7, channels) and drawn.dtype == np.uint8
        again.sample(3, seed=0, path=tmp_path / "y.npz", quiet=True)
        assert np.array_equal(np.load(tmp_path / "y.npz")["images"], drawn)
        with pytest.raises(CodecError, match="1 or 3 channels for pictures"):
            again.sample(3, path=tmp_path / "y.png", quiet=True)
    again.evaluate(report=tmp_path / "r.html", quiet=True)
    assert "data:image/png" in (tmp_path / "r.html").read_text()
    with pytest.raises(CodecError, match="C from 1 to 16"):
        pofx.fit(np.zeros((5, 4, 4, 17), np.uint8), model="vae")


@pytest.mark.parametrize("name", ["vae", "vq", "wae", "gan", "with a prior"])
def test_few_images_are_drawn_without_those_of_the_whole_block(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words: dict[str, Any] = {"groups": 2, "codes": 4} if name == "vq" else {"latent": 2}
    words |= {} if name == "gan" else {"network": "mlp"}
    made = pofx.fit(bars(), model=name if name != "with a prior" else "vae", steps=3, quiet=True, width=16, **words)
    made = made.with_prior("mixture", data=bars(), quiet=True) if name == "with a prior" else made
    many = made.sample(300, seed=4)
    decode, seen = made.model.decode, []

    def counted(z: torch.Tensor, *rest: Any) -> Any:
        seen.append(len(z))
        return decode(z, *rest)

    monkeypatch.setattr(made.model, "decode", counted)
    assert np.array_equal(made.sample(5, seed=4), many[:5])
    assert seen in ([64], [256])
