"""A photo goes out as it came, and what is no photo is refused in one line."""

import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from pofx.codecs import lossless
from pofx.codecs.exif import upright
from pofx.codecs.photo import TURNS, Kept, Photo, read_photo, write_photo
from pofx.errors import CodecError

RNG = np.random.default_rng(0)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LOSSLESS = ("png", "tif", "tiff", "webp", "bmp")
ENDINGS = (*LOSSLESS, "jpg", "jpeg")
UP = RNG.integers(0, 256, (3, 5, 3)).astype(np.uint8)


def made(bits: int, channels: int, alpha: bool, size: tuple[int, int] = (7, 5)) -> Photo:
    dtype = np.dtype(f"uint{bits}")
    values = RNG.integers(0, 2**bits, (*size, channels + 1)).astype(dtype)
    return Photo(values[..., :channels], values[..., channels] if alpha else None)


def block() -> bytes:
    """EXIF of a photo that lies on its side, with a text that is not ASCII, a place and a note of its maker."""
    exif = Image.Exif()
    exif[0x0112], exif[0x013B], exif[0x0131] = 6, "Zoe", "camera"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    exif.get_ifd(0x8769)[0x927C] = b"\0maker\xff"
    exif.get_ifd(0x8825)[1] = "N"
    return exif.tobytes()[6:].replace(b"Zoe", b"Zo\xeb")


def told(exif: bytes) -> list[object]:
    found = Image.Exif()
    found.load(exif)
    details = found.get_ifd(0x8769)
    return [found.get(0x013B), found.get(0x0131), found.get(0x0112, 1), details[0x9003], details[0x927C],
            found.get_ifd(0x8825)[1]]  # fmt: skip


# -- out and in --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [8, 16])
def test_every_photo_in_every_format(bits: int, channels: int, alpha: bool, ending: str, tmp_path: Path) -> None:
    """What the format holds comes back exactly; all else is said."""
    photo, path = made(bits, channels, alpha), tmp_path / f"p.{ending}"
    notes = " ".join(write_photo(photo, path))
    back = read_photo(path)
    assert ("no alpha" in notes) == (alpha and ending in ("bmp", "jpg", "jpeg"))
    assert ("rounded" in notes) == (bits == 16 and ending not in ("png", "tif", "tiff"))
    grey = channels == 1 and (ending == "webp" or (alpha and bits == 16 and ending in ("tif", "tiff")))
    assert ("three equal channels" in notes) == grey
    assert back.pixels.dtype == (np.uint8 if "rounded" in notes else photo.pixels.dtype) and not back.notes
    assert (back.alpha is not None) == (alpha and "no alpha" not in notes)
    want, above = photo.pixels.astype(float), photo.alpha
    if alpha and back.alpha is None:
        share = photo.alpha[..., None] / (2**bits - 1)
        want = want * share + (2**bits - 1) * (1 - share)
    want = np.round(want / 257 if "rounded" in notes else want).repeat(3 if grey else 1, 2)
    if ending in LOSSLESS:
        assert np.abs(back.pixels - want).max() <= (alpha and back.alpha is None and bits == 16)  # rounded twice
        if back.alpha is not None:
            assert np.array_equal(back.alpha, np.round(above / 257) if "rounded" in notes else above)
    else:
        assert back.pixels.shape == want.shape and np.abs(back.pixels - want).mean() < 12  # noise, at quality 95


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([8, 16]), st.sampled_from([1, 3]), st.booleans(),
       st.sampled_from(["png", "tif"]), st.integers(1, 60), st.integers(0, 2**32 - 1))  # fmt: skip
def test_any_size_and_any_strip_is_exact(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, bits: int, channels: int, alpha: bool,
    ending: str, strip: int, seed: int,
) -> None:  # fmt: skip
    v = np.random.default_rng(seed).integers(0, 2**bits, (height, width, channels + 1)) // (1 + seed % 300)
    v = v.astype(f"uint{bits}")
    photo = Photo(v[..., :channels], v[..., channels] if alpha else None)
    path = tmp_path_factory.getbasetemp() / f"any.{ending}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lossless, "BYTES", strip)
        notes = write_photo(photo, path)
        back = read_photo(path)
    assert np.array_equal(back.pixels, photo.pixels.repeat(3 if notes else 1, 2))
    assert (back.alpha is None) == (not alpha) and (not alpha or np.array_equal(back.alpha, photo.alpha))


@pytest.mark.parametrize(
    ("mode", "ending"),
    [("1", "png"), ("1", "tif"), ("1", "bmp"), ("L", "jpg"), ("L", "gif"), ("LA", "png"), ("LA", "tif"), ("P", "png"),
     ("P", "bmp"), ("P", "gif"), ("P", "tif"), ("RGB", "jpg"), ("RGB", "webp"), ("RGB", "bmp"), ("RGBA", "png"),
     ("RGBA", "webp"), ("RGBA", "tif"), ("I;16", "png"), ("I;16", "tif"), ("PA", "png"), ("I;16B", "tif")],
)  # fmt: skip
def test_files_of_pillow_are_read_as_pillow_reads_them(mode: str, ending: str, tmp_path: Path) -> None:
    if mode.startswith("I"):
        values = RNG.integers(0, 65536, (6, 4)).astype(np.uint16)
        picture = Image.frombytes(mode, (4, 6), values.astype(">u2" if mode == "I;16B" else "<u2").tobytes())
    else:
        image = Image.fromarray(RNG.integers(0, 256, (6, 4, 4)).astype(np.uint8)).convert("RGBA")
        picture = (
            image
            if mode == "RGBA"
            else image.convert("RGB").convert("LA" if mode == "LA" else mode if mode != "PA" else "P")
        )
    picture.save(tmp_path / f"p.{ending}")
    photo = read_photo(tmp_path / f"p.{ending}")
    with Image.open(tmp_path / f"p.{ending}") as held:
        if mode.startswith("I"):
            assert np.array_equal(photo.pixels[..., 0], values)
        else:
            grey = held.mode in ("1", "L", "LA")
            into = ("LA" if photo.alpha is not None else "L") if grey else "RGBA" if photo.alpha is not None else "RGB"
            want = np.asarray(held.convert(into)).reshape(6, 4, -1)
            assert np.array_equal(want[..., : photo.pixels.shape[2]], photo.pixels)
            assert photo.alpha is None or np.array_equal(want[..., -1], photo.alpha)
            assert (photo.alpha is not None) == held.mode.endswith("A")


def test_transparent_colours_become_alpha(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def png(bits: int, colour: int, width: int, row: bytes, *chunks: bytes) -> Photo:
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, bits, colour, 0, 0, 0))
        body = b"".join([head, *chunks, chunk(b"IDAT", zlib.compress(b"\0" + row)), chunk(b"IEND", b"")])
        (tmp_path / "t.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
        return read_photo(tmp_path / "t.png")

    fine = png(16, 2, 2, struct.pack(">6H", 256, 2, 3, 257, 2, 3), chunk(b"tRNS", struct.pack(">3H", 257, 2, 3)))
    assert fine.alpha.tolist() == [[65535, 0]] and fine.pixels.tolist() == [[[256, 2, 3], [257, 2, 3]]]
    assert png(16, 0, 2, struct.pack(">2H", 256, 257), chunk(b"tRNS", b"\1\1")).alpha.tolist() == [[65535, 0]]
    few = png(4, 0, 2, b"\x5a", chunk(b"tRNS", b"\0\x0a"))
    assert few.pixels[0, :, 0].tolist() == [0x55, 0xAA] and few.alpha.tolist() == [[255, 0]]
    palette = chunk(b"PLTE", bytes([9, 9, 9, 1, 2, 3])) + chunk(b"tRNS", b"\x80\xff")
    clear = png(8, 3, 2, b"\0\1", palette)
    assert clear.pixels.tolist() == [[[9, 9, 9], [1, 2, 3]]] and clear.alpha.tolist() == [[128, 255]]
    assert png(8, 2, 1, b"\1\2\3", chunk(b"tRNS", b"\0\1\0\2\0\3")).alpha.tolist() == [[0]]
    assert png(16, 4, 1, struct.pack(">2H", 513, 770)).alpha.tolist() == [[770]]


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_upright_once(orientation: int, ending: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    words = {"quality": 95, "subsampling": 0} if ending == "jpg" else {"lossless": True} if ending == "webp" else {}
    flat = np.kron(RNG.integers(0, 256, (2, 3, 1)).astype(np.uint8).repeat(3, 2), np.ones((8, 8, 1), np.uint8))
    Image.fromarray(flat).save(tmp_path / f"p.{ending}", exif=exif, **words)
    photo = read_photo(tmp_path / f"p.{ending}")
    with Image.open(tmp_path / f"p.{ending}") as held:
        from PIL import ImageOps

        want = np.asarray(ImageOps.exif_transpose(held).convert("RGB"))
    assert np.array_equal(photo.pixels, want) and photo.pixels.flags.c_contiguous
    turned = TURNS[orientation](flat) if orientation > 1 else flat
    assert np.abs(turned.astype(int) - want).max() <= 4
    assert photo.notes == (("was turned as its EXIF says",) if orientation > 1 else ())
    write_photo(photo, tmp_path / f"again.{ending}")
    again = read_photo(tmp_path / f"again.{ending}")
    assert not again.notes and again.pixels.shape == want.shape


@pytest.mark.parametrize("first", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("second", ["jpg", "png", "webp", "tif"])
def test_profile_exif_xmp_and_resolution_go_along(first: str, second: str, tmp_path: Path) -> None:
    kept = Kept(icc=SRGB, exif=upright(block()), xmp=b'<x a="1"/>', dpi=(300.0, 200.0))
    write_photo(Photo(UP, None, kept), tmp_path / f"a.{first}")
    photo = read_photo(tmp_path / f"a.{first}").with_pixels(UP[:2].astype(np.uint16) * 257)
    write_photo(photo, tmp_path / f"b.{second}")
    back = read_photo(tmp_path / f"b.{second}").kept
    assert back.icc == SRGB and back.xmp == b'<x a="1"/>'
    assert told(back.exif) == ["Zoë", "camera", 1, "2020:01:02 03:04:05", b"\0maker\xff", "N"]
    if "webp" not in (first, second):
        assert back.dpi == pytest.approx((300, 200), abs=0.02)
    with Image.open(tmp_path / f"b.{second}") as held:
        assert held.info["icc_profile"] == SRGB


def test_exif_is_kept_byte_by_byte_but_for_the_orientation() -> None:
    for order in ("<", ">"):
        entries = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, 8, 0) + struct.pack(
            f"{order}HHI4s", 0x010F, 2, 3, b"ab\0\0"
        )
        head = {"<": b"II*\0\x08\0\0\0", ">": b"MM\0*\0\0\0\x08"}[order]
        before = head + struct.pack(f"{order}H", 2) + entries + b"\0\0\0\0 and a thumbnail"
        after = upright(before)
        assert [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b] == [18 + (order == ">")]
        assert after[18:20] == struct.pack(f"{order}H", 1) and upright(after) == after
        for end in range(len(before)):
            upright(before[:end])


def test_xmp_no_longer_turns_the_photo(tmp_path: Path) -> None:
    xmp = b'<x tiff:Orientation="6" a="1"/>'
    Image.fromarray(UP).save(tmp_path / "p.png", pnginfo=None)
    Image.fromarray(UP).save(tmp_path / "p.webp", xmp=xmp, lossless=True)
    photo = read_photo(tmp_path / "p.webp")
    assert photo.pixels.shape == (5, 3, 3) and photo.kept.xmp == b'<x a="1"/>'


def test_what_a_format_cannot_hold_is_said(tmp_path: Path) -> None:
    grey = bytes(16) + b"GRAY" + bytes(200)
    photo = Photo(UP[..., :1], None, Kept(icc=grey, exif=bytes(70_000), xmp=bytes(70_000), dpi=(72, 72)))
    assert write_photo(photo, tmp_path / "p.jpg") == (
        "JPEG cannot hold the EXIF of the photo: left out", "JPEG cannot hold the XMP of the photo: left out",
    )  # fmt: skip
    assert "WebP cannot hold the colour profile of the photo: left out" in write_photo(photo, tmp_path / "p.webp")
    assert read_photo(tmp_path / "p.jpg").kept.icc == grey and not read_photo(tmp_path / "p.webp").kept.icc
    assert read_photo(tmp_path / "p.webp").notes == ("has EXIF that is damaged and was left out",)
    assert "TIFF cannot hold the EXIF of the photo: left out" in write_photo(photo, tmp_path / "p.tif")
    opaque = Photo(UP, np.full((3, 5), 255, np.uint8))
    assert write_photo(opaque, tmp_path / "p.bmp") == ()
    wide = Photo(np.zeros((1, 16_384, 3), np.uint8))
    with pytest.raises(CodecError, match=r"WebP cannot hold 16,384 x 1 pixels: write \.png"):
        write_photo(wide, tmp_path / "w.webp")
    assert not (tmp_path / "w.webp").exists()


def test_jpeg_keeps_colour_at_full_resolution(tmp_path: Path) -> None:
    from PIL.JpegImagePlugin import get_sampling

    write_photo(Photo(np.zeros((32, 32, 3), np.uint8)), tmp_path / "p.jpg")
    with Image.open(tmp_path / "p.jpg") as held:
        assert get_sampling(held) == 0 and max(held.quantization[0]) <= 13


@pytest.mark.parametrize("ending", ["jpg", "tif"])
def test_cmyk_becomes_rgb_and_says_so(ending: str, tmp_path: Path) -> None:
    Image.new("CMYK", (4, 3), (255, 0, 0, 0)).save(tmp_path / f"p.{ending}")
    photo = read_photo(tmp_path / f"p.{ending}")
    assert photo.notes == ("was brought from CMYK to RGB, without a colour profile",)
    assert photo.pixels.shape == (3, 4, 3) and photo.pixels[0, 0].tolist() == [0, 255, 255] and not photo.kept.icc
    Image.new("CMYK", (4, 3)).save(tmp_path / f"q.{ending}", icc_profile=b"no profile")
    assert "without a colour profile" in read_photo(tmp_path / f"q.{ending}").notes[0]
    Image.new("LAB", (4, 3), (128, 0, 0)).save(tmp_path / "lab.tif")
    assert read_photo(tmp_path / "lab.tif").notes == ("was brought from LAB to RGB",)


def test_coloured_tiffs_of_either_byte_order(tmp_path: Path) -> None:
    x = RNG.integers(0, 65536, (5, 4, 3)).astype(np.uint16)
    for order, head in (("<", b"II*\0"), (">", b"MM\0*")):
        tags = {
            256: (3, 4),
            257: (3, 5),
            259: (3, 1),
            262: (3, 2),
            273: (4, 8),
            277: (3, 3),
            278: (3, 5),
            279: (4, 120),
        }
        entries = [
            (tag, kind, 1, struct.pack(f"{order}{'HI'[kind - 3]}", v).ljust(4, b"\0"))
            for tag, (kind, v) in tags.items()
        ]
        at = 8 + 120 + 2 + 12 * 9 + 4
        entries.append((258, 3, 3, struct.pack(f"{order}I", at)))
        body = b"".join(struct.pack(f"{order}HHI4s", *entry) for entry in sorted(entries))
        data = head + struct.pack(f"{order}I", 128) + x.astype(f"{order}u2").tobytes()
        (tmp_path / "p.tif").write_bytes(
            data + struct.pack(f"{order}H", 9) + body + bytes(4) + struct.pack(f"{order}3H", 16, 16, 16)
        )
        assert np.array_equal(read_photo(tmp_path / "p.tif").pixels, x)


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tif", "bmp", "gif"])
def test_truncated_files_are_named_or_whole(ending: str, tmp_path: Path) -> None:
    """Wherever a file ends, it is refused in one line, or nothing of its pixels is lost."""
    whole, path = tmp_path / f"whole.{ending}", tmp_path / f"cut.{ending}"
    Image.fromarray(RNG.integers(0, 256, (12, 9, 3)).astype(np.uint8)).save(whole)
    data, want = whole.read_bytes(), read_photo(whole).pixels
    said = []
    for end in range(0, len(data), max(1, len(data) // 50)):
        path.write_bytes(data[:end])
        try:
            assert np.array_equal(read_photo(path).pixels, want)
        except CodecError as error:
            said.append(str(error))
    assert len(said) > 35 and all(str(path) in words and "\n" not in words for words in said)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["png", "jpg", "webp", "tif", "bmp", "gif"]),
    st.integers(0, 10**6),
    st.binary(min_size=1, max_size=6),
)
def test_damaged_files_never_end_in_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, ending: str, at: int, junk: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / f"damaged.{ending}"
    Image.fromarray(UP).save(path)
    data = bytearray(path.read_bytes())
    at %= len(data)
    data[at : at + len(junk)] = junk
    path.write_bytes(data)
    with suppress(CodecError):
        read_photo(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "got an empty file: give a picture, or convert it"),
        (b"name,age\nAnn,3\n", "expected PNG, JPEG, WEBP, TIFF, BMP, GIF, got text"),
        (b"\0\1\2\3" * 9, "got another format, or its first bytes alone"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "got text"),
        (b"\x89PNG\r\n\x1a\n", "could not read the picture"),
    ],
)
def test_what_is_no_picture(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    path.write_bytes(content)
    with pytest.raises(CodecError, match=words) as error:
        read_photo(path)
    assert "p.png" in str(error.value) and "\n" not in str(error.value)


def test_paths_that_hold_no_file(tmp_path: Path) -> None:
    with pytest.raises(CodecError, match="got nothing there: check the path"):
        read_photo(tmp_path / "gone.png")
    with pytest.raises(CodecError, match="got a folder: name a file in it"):
        read_photo(tmp_path)
    (tmp_path / "renamed.jpg").write_bytes(b"")
    Image.fromarray(UP).save(tmp_path / "renamed.jpg", "PNG")
    assert np.array_equal(read_photo(tmp_path / "renamed.jpg").pixels, UP)  # what it is counts, not its name


def test_bombs_are_refused_without_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    write_photo(Photo(np.zeros((3, 5, 1), np.uint8)), path)
    data, limit = bytearray(path.read_bytes()), Image.MAX_IMAGE_PIXELS
    for size, words, most in (
        ((30_000, 20_000), "expected 300,000,000 pixels at most, got 30,000 x 20,000: .*largest=600000000", None),
        ((10_000, 10_000), "it is truncated", None),  # Pillow warns of these
        ((10_000, 10_000), "expected 99 pixels at most, got 10,000 x 10,000", 99),
        ((20_000, 15_000), "it is truncated", None),  # and refuses these
    ):
        data[16:24] = struct.pack(">II", *size)
        data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
        path.write_bytes(data)
        with pytest.raises(CodecError, match=words):  # a warning would be an error of its own
            read_photo(path, largest=most)
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("ending", ["gif", "png", "webp", "tif"])
def test_of_several_frames_the_first_is_read_and_said_or_refused(ending: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "blue", "green")]
    path = tmp_path / f"p.{ending}"
    frames[0].save(path, save_all=True, append_images=frames[1:], **({"lossless": True} if ending == "webp" else {}))
    photo = read_photo(path)
    assert photo.pixels[0, 0].tolist() == [255, 0, 0] and photo.notes == ("has 3 frames, of which the first was read",)
    with pytest.raises(CodecError, match="expected a photo of one frame, got 3 in .*: give one of them alone"):
        read_photo(path, several="refuse")
    with pytest.raises(CodecError, match="expected several among first, refuse, got 'all'"):
        read_photo(path, several="all")


def test_values_that_are_no_photo(tmp_path: Path) -> None:
    Image.fromarray(np.full((3, 4), 0.5, np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(CodecError, match="expected a photo of 8 or 16 bits, got real numbers in .*: save it with 16"):
        read_photo(tmp_path / "f.tif")
    Image.fromarray(np.full((3, 4), 70_000, np.int32)).save(tmp_path / "i.tif")
    with pytest.raises(CodecError, match="got values from 70,000 to 70,000 in"):
        read_photo(tmp_path / "i.tif")
    for array in (np.zeros((3, 4)), np.zeros((3, 4, 2), np.uint8), np.zeros((0, 4, 3), np.uint8), np.zeros((3, 4, 3))):
        with pytest.raises(CodecError, match=r"expected pixels \(H, W, 1 or 3\), uint8 or uint16, got"):
            Photo(array)
    with pytest.raises(CodecError, match=r"expected alpha \(3, 5\) of uint8, as the pixels, got \(3, 4\) of uint8"):
        Photo(UP).with_pixels(UP, np.zeros((3, 4), np.uint8))


def test_the_input_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    write_photo(Photo(UP), path)
    photo = read_photo(path)
    (tmp_path / "link.png").symlink_to(path)
    for name in ("p.png", "link.png"):
        with pytest.raises(CodecError, match="expected another name than that of the input, got .*: give one, or over"):
            write_photo(photo.with_pixels(UP[:1]), tmp_path / name)
    assert np.array_equal(read_photo(path).pixels, UP)
    write_photo(photo.with_pixels(UP[:1]), path, overwrite=True)
    assert np.array_equal(read_photo(path).pixels, UP[:1])
    write_photo(photo, path.with_name("other.PNG"))
    for bad, words in (
        ("p.gif", "expected a name that ends in .png, .jpg"),
        ("no/p.png", "expected an existing folder"),
    ):
        with pytest.raises(CodecError, match=words):
            write_photo(photo, tmp_path / bad)
    assert {p.name for p in tmp_path.iterdir()} == {"p.png", "link.png", "other.PNG"}


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_photo(Photo(UP), tmp_path / "p.png")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lossless.zlib, "compress", full)
    with pytest.raises(CodecError, match="could not write .*: No space left on device; nothing was changed"):
        write_photo(Photo(UP, None, Kept(icc=SRGB)), tmp_path / "p.png")
    assert np.array_equal(read_photo(tmp_path / "p.png").pixels, UP) and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("ending", ENDINGS)
def test_one_pixel_is_a_photo(ending: str, tmp_path: Path) -> None:
    write_photo(Photo(np.full((1, 1, 3), 200, np.uint8)), tmp_path / f"p.{ending}")
    assert read_photo(tmp_path / f"p.{ending}").pixels.tolist() == [[[200] * 3]]
