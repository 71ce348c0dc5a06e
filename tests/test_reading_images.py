"""The rules by which pictures and arrays are read (docs/images.md), and the split that keeps every class."""

import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pofx
from pofx.cli import main
from pofx.codecs import gathering
from pofx.codecs.picture_io import holds_images, read_images
from pofx.codecs.shades import Depth, shades
from pofx.errors import CodecError, SpecError
from pofx.split import parts

QUICK = {"model": "vae", "steps": 2, "quiet": True, "latent": 2, "width": 8, "depth": 1, "network": "mlp"}


def saved(path: Path, *arrays: np.ndarray, end: str = "png") -> Path:
    """A folder of pictures."""
    path.mkdir()
    for i, array in enumerate(arrays):
        Image.fromarray(array).save(path / f"{i:02d}.{end}")
    return path


def ramp(n: int, top: float, dtype: type) -> np.ndarray:
    return (np.linspace(0, top, n * 20).reshape(n, 4, 5)).astype(dtype)


def test_pictures_of_sixteen_bits_keep_256_shades_and_come_back(tmp_path: Path) -> None:
    """Values from 0 to 299 were two shades where 65,535 was taken to be white."""
    x = ramp(20, 299, np.uint16)
    model = pofx.fit(saved(tmp_path / "p", *x), **QUICK)
    assert "values     0 to 299 (uint16) are learned as 256 shades" in model.info()
    assert model.codec.spec.fields[0].top == 255 and len(np.unique(model._read(tmp_path / "p")[0].images)) == 256
    model.save(tmp_path / "m.pofx")
    model = pofx.load(tmp_path / "m.pofx")
    drawn = model.sample(6, seed=0, quiet=True)
    assert drawn.dtype == np.uint16 and 255 < drawn.max() <= 299
    for name in ("d.npz", "d.npy", "d"):
        model.sample(6, seed=0, path=tmp_path / name, quiet=True)
    assert np.array_equal(np.load(tmp_path / "d.npz")["images"], drawn)
    assert np.array_equal(np.load(tmp_path / "d.npy"), drawn)
    with Image.open(tmp_path / "d" / "000003.png") as picture:
        assert np.array_equal(np.asarray(picture), drawn[3])
    model.sample(6, seed=0, path=tmp_path / "sheet.png", quiet=True)
    np.testing.assert_array_equal(model.log_prob(tmp_path / "d", draws=2), model.log_prob(drawn, draws=2))
    assert len(model.learned_from()[0]) == 16
    one = x[:1] // 2  # a picture of a narrower range is read by the range that was learned
    assert model._read(one)[0].images.max() == round(255 * one.max() / 299)
    with pytest.raises(CodecError, match="expected values from 0 to 299, as were learned, got 0 to 598: clip them"):
        model.log_prob(2 * x)


def test_reals_and_arrays_follow_the_same_rule(tmp_path: Path) -> None:
    fine = ramp(3, 1, np.float32)
    held = read_images(saved(tmp_path / "p", *fine, end="tif"))[0]
    assert held.images.shape == (3, 4, 5, 1) and held.depth is None and len(np.unique(held.images)) == 60
    assert held.notes["values"] == "0 to 1 (float32) are learned as 256 shades"
    assert not shades(np.arange(256).reshape(1, 16, 16) / 255).note
    for array in (ramp(3, 4095, np.uint16), ramp(3, 70_000, np.int32), ramp(3, 9, np.float64) - 4):
        images, depth, note = shades(array)
        back = depth.values(images)
        assert depth.dtype == back.dtype == array.dtype and "256 shades" in note
        assert np.abs(back[..., 0] - array.astype(float)).max() <= 0.51 * max((depth.high - depth.low) / 255, 1)
        assert np.array_equal(depth.shades(back), images)
    assert shades(np.full((3, 4, 4), 300))[:2][1] == Depth(300, 300, "int64")
    assert np.array_equal(shades(ramp(3, 200, np.uint16)).images[..., 0], ramp(3, 200, np.uint16))
    model = pofx.fit(ramp(20, 9, np.float64) - 4, **QUICK)
    model.sample(3, path=tmp_path / "d", quiet=True)
    assert [p.suffix for p in (tmp_path / "d").iterdir()] == [".tif"] * 3
    assert np.isfinite(model.log_prob(tmp_path / "d", draws=2)).all()
    with pytest.raises(CodecError, match=r"expected shades of 8 bits, as were learned, got 0 to 4095 \(uint16\)"):
        pofx.fit(ramp(20, 255, np.uint8), **QUICK).log_prob(ramp(3, 4095, np.uint16))
    mixed = saved(tmp_path / "m", ramp(1, 300, np.uint16)[0], ramp(1, 200, np.uint8)[0])
    with pytest.raises(CodecError, match=r"expected pictures of one depth, got uint16 \(1\), uint8 \(1\)"):
        read_images(mixed)


def png(path: Path, array: np.ndarray, colour: int) -> None:
    """A PNG of 16 bits a channel, which Pillow does not write in colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in array)
    head = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], 16, colour, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def test_coloured_pictures_of_sixteen_bits(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    x = np.random.default_rng(0).integers(0, 4096, (12, 4, 5, 3))
    for i, image in enumerate(x):
        png(tmp_path / "p" / f"{i:02d}.png", image, 2)
    held = read_images(tmp_path / "p")[0]
    assert held.depth == Depth(x.min(), x.max(), "uint16")
    assert np.abs(held.values().astype(int) - x).max() <= 8
    with pytest.raises(CodecError, match="expected grey pictures of uint16 for a folder, got coloured ones"):
        pofx.fit(tmp_path / "p", **QUICK).sample(2, path=tmp_path / "d", quiet=True)
    (tmp_path / "a").mkdir()
    png(tmp_path / "a" / "0.png", np.dstack([x[0] * 16, np.full((4, 5), 65535)]), 6)
    held = read_images(tmp_path / "a")[0]
    assert held.notes["pictures"] == "1 of 1 have 16 bits a channel, of which the upper 8 were read"


def test_modes_and_what_is_said_of_them(tmp_path: Path) -> None:
    grey = np.full((2, 3), 100, np.uint8)
    half = saved(tmp_path / "la", np.dstack([grey, np.full_like(grey, 51)]), np.dstack([grey, np.full_like(grey, 255)]))
    held = read_images(half)[0]
    assert held.images.shape == (2, 2, 3, 1) and held.images[:, 0, 0, 0].tolist() == [224, 100]
    assert held.notes == {"pictures": "1 of 2 lie on white where they are transparent"}
    (tmp_path / "modes").mkdir()
    up = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(up).save(tmp_path / "modes" / "a.png", exif=exif)
    Image.fromarray(up).quantize(8).save(tmp_path / "modes" / "b.png")
    Image.fromarray(up).convert("CMYK").save(tmp_path / "modes" / "c.tif")
    Image.fromarray(up).save(tmp_path / "modes" / "d.gif", save_all=True, append_images=[Image.fromarray(up[:, ::-1])])
    Image.fromarray(up[..., 0]).save(tmp_path / "modes" / "e.png")
    held = read_images(tmp_path / "modes")[0]
    assert np.array_equal(held.images[0], up[:, ::-1]) and np.array_equal(held.images[1], up)
    assert held.notes["pictures"] == (
        "1 of 5 have several frames, of which the first was read; 1 of 5 were turned as their EXIF says; "
        "1 of 5 were brought from another colour space to RGB; 1 of 5 are grey among coloured ones"
    )


def test_notes_are_said_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path / "p", *ramp(12, 299, np.uint16))
    words = [part for k in ("latent", "width", "depth") for part in ("--set", f"{k}={QUICK[k]}")]
    told = ["fit", str(path), "-o", str(tmp_path / "m.pofx"), "--model", "vae", "--steps", "1", "--no-guard", *words]
    assert main(told) == 0
    said = capsys.readouterr()
    assert "values: 0 to 299 (uint16) are learned as 256 shades" in said.err
    assert "values     0 to 299 (uint16) are learned as 256 shades" in said.out


# -- classes of few images ---------------------------------------------------------------------------------------------


def test_each_label_keeps_a_training_row() -> None:
    labels = np.array(["cat"] * 60 + ["dog"] * 60 + ["solo"] + [None] * 9, object)
    for seed in range(20):
        plain, kept = parts(130, (0.8, 0.1, 0.1), seed), parts(130, (0.8, 0.1, 0.1), seed, labels)
        assert [len(part) for part in plain] == [len(part) for part in kept]
        assert sorted(np.concatenate(kept)) == list(range(130)) and 120 in kept[0]
        if 120 in plain[0]:
            assert all(np.array_equal(a, b) for a, b in zip(plain, kept, strict=True))
    alone = parts(60, (0.8, 0.1, 0.1), 0, np.arange(60).astype(object))
    assert len(alone[0]) == 48


def test_a_class_of_one_image_is_learned_and_classes_that_are_not_are_named(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (41, 4, 4)).astype(np.uint8)
    labels = ["cat"] * 20 + ["dog"] * 20 + ["solo"]
    for seed in range(8):
        model = pofx.fit(x, labels=labels, seed=seed, guard=False, **QUICK)
        assert set(model.codec.levels) == {"cat", "dog", "solo"}
        assert set(model.sample(4, given="label = solo", quiet=True).labels) == {"solo"}
        assert 40 in [int(np.flatnonzero((x == image[..., 0]).all((1, 2)))[0]) for image in
                      model.learned_from((x, labels))[0].images]  # fmt: skip
    model = pofx.fit(x[:40], labels=[f"c{i:02d}" for i in range(40)], guard=False, **QUICK)
    assert len(model.codec.levels) == 32
    assert "labels     40, the condition; 8 of them without a training image, which are not learned: 'c" in model.info()


# -- folders, zips, globs, and labels beside them ----------------------------------------------------------------------


def animals(path: Path) -> Path:
    """Two folders of three pictures."""
    for i, name in enumerate(("cat", "dog")):
        (path / name).mkdir(parents=True)
        for j in range(3):
            Image.fromarray(np.full((4, 5), 40 * i + j, np.uint8)).save(path / name / f"{j}.png")
    return path


def zipped(path: Path, source: Path, how: int = zipfile.ZIP_LZMA, below: str = "") -> Path:
    with zipfile.ZipFile(path, "w", how) as archive:
        for file in sorted(source.rglob("*")):
            archive.write(file, below + str(file.relative_to(source)))
    return path


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_and_a_glob_are_read_as_their_folder(how: int, tmp_path: Path) -> None:
    folder = animals(tmp_path / "p")
    (folder / "readme.txt").write_text("pictures")
    want = read_images(folder)[0]
    plain, deep = zipped(tmp_path / "a.zip", folder, how), zipped(tmp_path / "b.ZIP", folder, how, "p/")
    with zipfile.ZipFile(plain, "a") as archive:
        archive.writestr("__MACOSX/cat/._0.png", b"no picture")
    for source in (plain, str(deep), f"{folder}/*/*.png", f"{folder}/**/*.png"):
        assert holds_images(source)
        held, kind = read_images(source)
        assert kind == "folder" and held.fingerprint() == want.fingerprint(), source
    assert want.labels.tolist() == ["cat"] * 3 + ["dog"] * 3
    assert len(read_images(f"{folder}/cat/[01].png")[0]) == 2
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "a.csv").write_text("a,b\n1,2\n")
    assert not holds_images(zipped(tmp_path / "t.zip", tmp_path / "t")) and not holds_images(f"{tmp_path}/t/*.csv")
    assert not holds_images(f"{tmp_path}/nothing/*.png")


def test_a_model_is_fitted_on_a_zip_or_glob_and_finds_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "p"
    saved(folder, *ramp(12, 200, np.uint8))
    zipped(tmp_path / "p.zip", folder)
    monkeypatch.chdir(tmp_path)
    for source in ("p.zip", "p/*.png"):
        model = pofx.fit(source, guard=False, **QUICK)
        model.save("m.pofx")
        assert sum(map(len, pofx.load("m.pofx").learned_from())) == 12


def test_zips_that_are_unsafe_or_damaged_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("../a.png", "/a.png", "b/../../a.png", "C:\\a.png", "..\\a.png"):
        with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
            archive.writestr(name, b"")
        with pytest.raises(CodecError, match="expected a safe zip, got .* which points out of it: pack it again"):
            read_images(tmp_path / "z.zip")
    link = zipfile.ZipInfo("a.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(CodecError, match="which points out of it"):
        read_images(tmp_path / "z.zip")
    good = zipped(tmp_path / "g.zip", animals(tmp_path / "p"))
    data = bytearray(good.read_bytes())
    data[data.rindex(b"cat/0.png") - 46 + 8] |= 1  # the bit that says encrypted
    (tmp_path / "e.zip").write_bytes(data)
    with pytest.raises(CodecError, match="which needs a password: unpack it and give the folder"):
        read_images(tmp_path / "e.zip")
    monkeypatch.setattr(gathering, "ENTRY", 20)
    with pytest.raises(CodecError, match=r"of \d+ bytes, 20 at most: unpack it and give the folder"):
        read_images(good)
    monkeypatch.undo()
    (tmp_path / "cut.zip").write_bytes(good.read_bytes()[:-30])
    with pytest.raises(CodecError, match="could not read the zip .*: take another copy|; take another copy"):
        read_images(tmp_path / "cut.zip")
    data = bytearray(good.read_bytes())
    data[data.index(b"0.png") + 20] ^= 255
    (tmp_path / "flip.zip").write_bytes(data)
    with pytest.raises(CodecError, match=r"could not read the picture '.*flip\.zip/cat/0\.png': it is"):
        read_images(tmp_path / "flip.zip")
    assert len(read_images(tmp_path / "flip.zip", broken="skip")[0]) == 5


@pytest.mark.parametrize("inside", [True, False])
def test_labels_of_a_file(inside: bool, tmp_path: Path) -> None:
    folder = animals(tmp_path / "p")
    (folder / "cat").rename(folder / "Cat")
    want = ["x", None, "z", "u", "v", "w"]
    rows = zip(["cat/0.PNG", "Cat/1.png", "./cat/2.png", "dog/0.png", "dog\\1.png", "dog/2.png"], want, strict=True)
    place = folder if inside else tmp_path
    before = "" if inside else "p/"
    lines = [f"{label or ''};{before}{name.removeprefix('./')}" for name, label in rows]
    lines += [] if inside else ["k;other/1.png"]
    (place / "labels.csv").write_text("\ufeffLabel;FILE\n" + "\n".join(lines) + "\n", encoding="utf-8")
    assert holds_images(folder)
    assert read_images(folder)[0].labels.tolist() == want
    if inside:
        assert read_images(zipped(tmp_path / "q.zip", folder, below="q/"))[0].labels.tolist() == want
        assert read_images(f"{folder}/*/*.png")[0].labels.tolist() == want
        assert read_images(folder, labels=list("abcdef"))[0].labels.tolist() == list("abcdef")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,label\n0.png,a\n1.png,b\n9.png,c\n8.png,c\n", "got 2 of 4 rows that name none, or several: '9.png', '8"),
        ("file,label\n0.png,a\n", "expected a row for each picture in .*, got none for 1 of 2: '1.png': add these"),
        ("name,label\n0.png,a\n", "expected the columns file and label in .*csv', got name, label: name them so"),
        ("", "got none: name them so"),
        ("file,label\n0.png,a\n0.png,b\n1.png,c\n", "expected one label for '0.png' in .*, got another in row 3"),
    ],
)  # fmt: skip
def test_labels_that_do_not_fit_are_named(text: str, words: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "p", *ramp(2, 200, np.uint8))
    for i in range(2):
        (path / f"{i:02d}.png").rename(path / f"{i}.png")
    (path / "labels.csv").write_text(text)
    with pytest.raises(CodecError, match=words):
        read_images(path)


def test_broken_pictures_are_named_and_refused_or_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path / "p", *ramp(14, 200, np.uint8))
    (path / "00.png").write_bytes((path / "00.png").read_bytes()[:50])
    (path / "05.png").write_text("no picture")
    with pytest.raises(CodecError, match=r"could not read the picture '.*00\.png': .* \(and 1 more of 14: '05\.png'\)"):
        read_images(path)
    held = read_images(path, broken="skip")[0]
    assert len(held) == 12
    assert held.notes["pictures"] == "2 of 14 could not be read and were skipped: '00.png', '05.png'"
    with pytest.raises(CodecError, match="expected broken among refuse, skip, got 'mend'"):
        read_images(path, broken="mend")
    words = [part for k in ("latent", "width", "depth") for part in ("--set", f"{k}={QUICK[k]}")]
    told = ["fit", str(path), "-o", str(tmp_path / "m.pofx"), "--model", "vae", "--steps", "1", "--no-guard", *words]
    assert main(told) == 2 and "--broken skip" in capsys.readouterr().err
    assert main([*told, "--broken", "skip"]) == 0
    model = pofx.load(tmp_path / "m.pofx")
    assert sum(map(len, model.learned_from())) == 12
    with pytest.raises(CodecError, match="could not read the picture"):
        model.log_prob(path)
    for file in path.iterdir():
        file.write_bytes(b"")
    with pytest.raises(CodecError, match="got an empty file"):
        read_images(path, broken="skip")


def test_a_picture_that_is_too_large_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path / "p", *ramp(3, 200, np.uint8))
    with pytest.raises(CodecError, match="expected 19 pixels at most, got 5 x 4"):
        read_images(path, largest=19)
    assert len(read_images(path, largest=20)[0]) == 3
    told = ["fit", str(path), "-o", str(tmp_path / "m.pofx"), "--model", "vae", "--steps", "1", "--largest", "19"]
    assert main(told) == 2 and "--largest of fit" in capsys.readouterr().err


def test_words_of_reading_belong_to_a_kind(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="reading of images with size, broken, largest, got 'delimiter': leave it out"):
        pofx.fit(ramp(9, 9, np.uint8), reading={"delimiter": ";"}, **QUICK)
    (tmp_path / "t.csv").write_text("a,b\n1,2\n2,3\n")
    with pytest.raises(
        SpecError, match="reading of a table with delimiter, encoding, header, stream, got 'broken': leave it"
    ):
        pofx.fit(tmp_path / "t.csv", reading={"broken": "skip"}, steps=1, quiet=True)


def test_a_picture_alone_is_read_scored_and_a_way_between_two_is_written(tmp_path: Path) -> None:
    arrays = np.random.default_rng(0).integers(0, 256, (12, 5, 5)).astype(np.uint8)
    folder = saved(tmp_path / "all", *arrays)
    model = pofx.fit(folder, model="vae", steps=2, latent=2, width=16, network="mlp", quiet=True)
    first, second = sorted(folder.iterdir())[:2]
    assert holds_images(first)
    assert read_images(first)[0].images.shape == (1, 5, 5, 1)
    assert np.allclose(model.log_prob(first), model.log_prob(folder)[:1])
    assert model.interpolate(first, second, steps=3).shape[0] == 3
    (tmp_path / "broken.png").write_text("no picture")
    with pytest.raises(CodecError, match="broken.png"):
        model.log_prob(tmp_path / "broken.png")
