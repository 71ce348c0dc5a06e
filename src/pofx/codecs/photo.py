"""One photo in and out, as it came: bits, alpha, colour profile, EXIF, resolution (docs/images.md)."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Self

import numpy as np

from ..errors import CodecError
from ..store import placed
from .exif import PREFIX, exif_of, fits_tiff, unturned
from .lossless import rows_of, write_png, write_tiff
from .opening import opening, raw_of, set_raw

TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}
"""What makes a picture upright, by its orientation in EXIF."""
MODES = {
    "1": "L", "L": "L", "LA": "LA", "La": "LA", "P": "RGB", "PA": "RGBA", "RGB": "RGB", "RGBX": "RGB", "RGBA": "RGBA",
    "RGBa": "RGBA",
}  # fmt: skip
DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
STEPS = {"L;2": 85, "L;4": 17}  # shades between two values of grey of few bits
JPEG_QUALITY = 95  # of 100
HALF = 3_688, 10  # sum and least of the table of luma of quality 50, in annex K of the standard; 255 is the most
TIFF_BYTES = 4_000_000_000  # beyond which its addresses, of 32 bits, do not reach
SEGMENTS = {"exif": 65_527, "xmp": 65_504}  # bytes of what a JPEG holds
Channels = tuple[np.ndarray, np.ndarray | None]


@dataclass(frozen=True)
class Kept:
    """What goes back out with the pixels: format and mode as Pillow names them, colour profile, EXIF (a block without
    prefix, lying upright), XMP, dots per inch; where the photo came from, and with which quality, 1 to 100, if from a
    JPEG file.
    """

    format: str = ""
    mode: str = ""
    icc: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""
    dpi: tuple[float, float] | None = None
    source: Path | None = None
    quality: int | None = None


@dataclass(frozen=True, eq=False)
class Photo:
    """Pixels (H, W, C), uint8 or uint16, C 1 (grey) or 3 (RGB), upright; alpha (H, W) of the same dtype, or None.

    kept: what goes back out with them; notes: what was done in reading. Raises CodecError for other arrays.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    kept: Kept = field(default_factory=Kept)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        p, a = self.pixels, self.alpha
        if p.ndim != 3 or p.shape[2] not in (1, 3) or 0 in p.shape or p.dtype not in (np.uint8, np.uint16):
            raise CodecError(f"expected pixels (H, W, 1 or 3), uint8 or uint16, got {p.shape} of {p.dtype}")
        if a is not None and (a.shape != p.shape[:2] or a.dtype != p.dtype):
            raise CodecError(f"expected alpha {p.shape[:2]} of {p.dtype}, as the pixels, got {a.shape} of {a.dtype}")

    def with_pixels(self, pixels: np.ndarray, alpha: np.ndarray | None = None) -> Self:
        """Other pixels and alpha, of any size, with all else that is kept."""
        return replace(self, pixels=pixels, alpha=alpha)


def read_photo(path: str | Path, *, several: str = "first", largest: int | None = None) -> Photo:
    """The photo of a PNG, JPEG, WebP, TIFF, BMP or GIF file; what was done to it is in its notes.

    several: what becomes of a file of several frames, "first" (the first is read) or "refuse"; largest: in pixels, 300
    million by default. Raises CodecError for what is no such file, truncated, damaged, larger, of 32 bits, or animated
    where that is refused.
    """
    if several not in ("first", "refuse"):
        raise CodecError(f"expected several among first, refuse, got {several!r}")
    path = Path(path)
    with opening(path, str(path), largest) as picture:
        frames = getattr(picture, "n_frames", 1)
        if frames > 1 and several == "refuse" and picture.format != "MPO":
            raise CodecError(f"expected a photo of one frame, got {frames:,} in {str(path)!r}: give one of them alone")
        said = [f"has {frames:,} frames, of which the first was read"] if frames > 1 else []
        mode, lay = picture.mode, exif_of(picture)[1] if picture.format == "TIFF" else 1
        pixels, alpha, icc, words = _channels(picture, path, largest)
        exif, lies, whole = exif_of(picture)  # of a PNG it may follow the pixels
        said += [*words, *(["was turned as its EXIF says"] if max(lies, lay) > 1 else [])]
        said += [] if whole else ["has EXIF that is damaged and was left out"]
        kept = Kept(picture.format, mode, icc, exif, _xmp(picture), _dpi(picture), path, _quality(picture))
    turn = TURNS.get(lies, lambda array: array)  # a TIFF is upright once Pillow has decoded it
    pixels = np.ascontiguousarray(turn(pixels))
    alpha = None if alpha is None else np.ascontiguousarray(turn(alpha))
    return Photo(pixels, alpha, kept, tuple(said))


def _quality(picture: Any) -> int | None:
    """Of a JPEG file, by how many times coarser its table of luma is than that of quality 50, as libjpeg scales it."""
    table = getattr(picture, "quantization", {}).get(0)
    if picture.format != "JPEG" or not table:
        return None
    times = 100 * (sum(table) / HALF[0] if max(table) < 255 else min(table) / HALF[1])
    return round(min(max(100 - times / 2 if times <= 100 else 5000 / times, 1), 100))


def _xmp(picture: Any) -> bytes:
    held = picture.info.get("xmp") or picture.info.get("XML:com.adobe.xmp") or b""
    return unturned(held.encode() if isinstance(held, str) else bytes(held))


def _dpi(picture: Any) -> tuple[float, float] | None:
    held = picture.info.get("dpi")
    dpi = tuple(float(value) for value in held) if held else ()
    return (dpi[0], dpi[1]) if len(dpi) == 2 and all(0 < value < 1e6 for value in dpi) else None


def _channels(picture: Any, path: Path, largest: int | None) -> tuple[np.ndarray, np.ndarray | None, bytes, list[str]]:
    """Pixels and alpha as they lie in the file, the colour profile that they have, and what was done to them."""
    raw, icc, words = raw_of(picture), picture.info.get("icc_profile") or b"", []
    if ";16" in raw and picture.mode in ("RGB", "RGBA"):
        pixels, alpha = _sixteen(picture, raw, path, largest)
    elif picture.mode in DEEP:
        pixels, alpha = _deep(picture, path), None
    elif picture.mode in MODES:
        picture.load()  # Pillow knows what is transparent by then
        into = "RGBA" if picture.mode == "P" and "transparency" in picture.info else MODES[picture.mode]
        pixels, alpha = _rows(picture, lambda strip: strip.convert(into), into.endswith("A"))
    else:
        convert, icc, said = _into_rgb(picture)
        words = [said, *(["has 16 bits a channel, of which the upper 8 were read"] if ";16" in raw else [])]
        pixels, alpha = _rows(picture, convert)
    key = picture.info.get("transparency")
    if picture.mode != "P" and isinstance(key, int | tuple):  # one colour is transparent
        same = (pixels == np.asarray(key) * STEPS.get(raw, 1)).all(-1)
        alpha = np.where(same, 0, np.iinfo(pixels.dtype).max).astype(pixels.dtype)
    return pixels, alpha, icc, words


def _rows(picture: Any, convert: Callable[[Any], Any], alpha: bool = False, dtype: type = np.uint8) -> Channels:
    """The channels of a Pillow image strip by strip, so that no second image of its size comes to be; alpha: whether
    the last of them is that.
    """
    picture.load()
    width, height = picture.size
    bands = len(convert(picture.crop((0, 0, 1, 1))).getbands()) - alpha
    pixels = np.empty((height, width, bands), dtype)
    above = np.empty((height, width), dtype) if alpha else None
    step = rows_of(pixels)
    for top in range(0, height, step):
        low = min(top + step, height)
        part = np.asarray(convert(picture.crop((0, top, width, low)))).reshape(low - top, width, -1)
        pixels[top:low] = part[..., :bands]
        if above is not None:
            above[top:low] = part[..., -1]
    return pixels, above


def _into_rgb(picture: Any) -> tuple[Callable[[Any], Any], bytes, str]:
    """How a strip of CMYK, YCbCr, LAB or HSV becomes RGB, the profile of that, and what was done, in words."""
    from PIL import ImageCms

    profile = picture.info.get("icc_profile")
    if picture.mode == "CMYK" and profile:
        standard = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        try:
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            change = ImageCms.buildTransform(own, standard, "CMYK", "RGB")
        except (ImageCms.PyCMSError, OSError):  # a damaged profile, or one of another space
            pass
        else:
            words = "was brought from CMYK to sRGB by its colour profile"
            return lambda strip: ImageCms.applyTransform(strip, change), standard.tobytes(), words
    words = f"was brought from {picture.mode} to RGB" + ", without a colour profile" * (picture.mode == "CMYK")
    return lambda strip: strip.convert("RGB"), b"", words


def _deep(picture: Any, path: Path) -> np.ndarray:
    """Grey pixels of 16 bits."""
    picture.load()
    low, high = {"F": lambda: (-1, 1), "I": picture.getextrema}.get(picture.mode, lambda: (0, 65_535))()
    if low < 0 or high > 65_535:
        what = "real numbers" if picture.mode == "F" else f"values from {low:,} to {high:,}"
        raise CodecError(f"expected a photo of 8 or 16 bits, got {what} in {str(path)!r}: save it with 16 bits")
    return _rows(picture, lambda strip: strip, dtype=np.uint16)[0]


def _sixteen(picture: Any, raw: str, path: Path, largest: int | None) -> Channels:
    """Pixels and alpha of 16 bits, whose upper and lower bytes Pillow decodes one after the other."""
    if raw == "LA;16B":  # grey with alpha has four bytes, as RGBA has
        set_raw(picture, "RGBA")
        both = _rows(picture, lambda strip: strip)[0].view(">u2").astype(np.uint16)
        return np.ascontiguousarray(both[..., :1]), np.ascontiguousarray(both[..., 1])
    pixels, alpha = _rows(picture, lambda strip: strip, picture.mode == "RGBA", np.uint16)
    with opening(path, str(path), largest) as again:
        set_raw(again, raw[:-1] + ("L" if raw.endswith("B") else "B"))  # N, of this machine, has the upper byte last
        lower, below = _rows(again, lambda strip: strip, again.mode == "RGBA")
    for upper, low in ((pixels, lower), (alpha, below)):
        if upper is not None and low is not None:
            upper <<= 8
            upper |= low
    return pixels, alpha


# -- out ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Format:
    """How photos of an ending are written, and what the format holds."""

    name: str
    write: Callable[[IO[bytes], np.ndarray, np.ndarray | None, Kept], None]
    side: int
    alpha: bool = True
    deep: bool = True
    grey: bool = True
    lacks: tuple[str, ...] = ()


def _by_pillow(name: str, **words: Any) -> Callable[[IO[bytes], np.ndarray, np.ndarray | None, Kept], None]:
    def write(file: IO[bytes], pixels: np.ndarray, alpha: np.ndarray | None, kept: Kept) -> None:
        from PIL import Image

        picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        if alpha is not None:
            picture.putalpha(Image.fromarray(alpha))
        held = {"icc_profile": kept.icc, "exif": PREFIX * bool(kept.exif) + kept.exif, "xmp": kept.xmp, "dpi": kept.dpi}
        picture.save(file, name, **words, **{key: value for key, value in held.items() if value})

    return write


_JPEG = _Format("JPEG", _by_pillow("JPEG", quality=JPEG_QUALITY, subsampling=0), 65_500, alpha=False, deep=False)
_TIFF = _Format("TIFF", write_tiff, 1 << 31)
_WEBP = _by_pillow("WEBP", lossless=True, exact=True, method=2, quality=25)  # of effort: as small, ten times as soon
_WRITTEN = {
    ".png": _Format("PNG", write_png, 1 << 31),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": _Format("WebP", _WEBP, 16_383, deep=False, grey=False, lacks=("dpi",)),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": _Format("BMP", _by_pillow("BMP"), 1 << 31, alpha=False, deep=False, lacks=("icc", "exif", "xmp")),
}
_NAMES = {"icc": "colour profile", "exif": "EXIF", "xmp": "XMP", "dpi": "dots per inch"}


def write_photo(photo: Photo, path: str | Path, *, overwrite: bool = False) -> tuple[str, ...]:
    """Writes a photo as the ending says (.png, .jpg, .jpeg, .webp, .tif, .tiff, .bmp), whole or not at all; what of it
    the format could not hold, in words.

    PNG, WebP, TIFF and BMP lose nothing of their pixels; JPEG is written with quality JPEG_QUALITY and colour of full
    resolution (4:4:4). Raises CodecError for another ending, for the file that the photo was read from without
    `overwrite`, for a photo larger than the format holds, and where it cannot be written.
    """
    path = Path(path)
    form = _WRITTEN.get(path.suffix.lower())
    if form is None:
        raise CodecError(f"expected a name that ends in {', '.join(_WRITTEN)}, got {path.name!r}: give one of these")
    source = photo.kept.source
    if not overwrite and source is not None and path.exists() and source.exists() and path.samefile(source):
        raise CodecError(f"expected another name than that of the input, got {str(path)!r}: give one, or overwrite it")
    height, width = photo.pixels.shape[:2]
    if max(height, width) > form.side or (form is _TIFF and photo.pixels.nbytes > TIFF_BYTES):
        raise CodecError(f"{form.name} cannot hold {width:,} x {height:,} pixels: write .png")
    pixels, alpha, kept, said = _fitting(photo, form)
    with placed(path) as file:
        form.write(file, pixels, alpha, kept)
    return said


def _fitting(photo: Photo, form: _Format) -> tuple[np.ndarray, np.ndarray | None, Kept, tuple[str, ...]]:
    """Pixels, alpha and what is kept as a format holds them, and what was lost."""
    pixels, alpha, kept, said = photo.pixels, photo.alpha, photo.kept, []
    if alpha is not None and not form.alpha:
        if alpha.min() < np.iinfo(alpha.dtype).max:
            pixels = _strip_by_strip(_on_white, pixels, alpha)
            said.append(f"{form.name} has no alpha: transparent parts lie on white")
        alpha = None
    if pixels.dtype == np.uint16 and not form.deep:
        pixels = _strip_by_strip(_rounded, pixels)
        alpha = None if alpha is None else _strip_by_strip(_rounded, alpha)
        said.append(f"{form.name} has 8 bits: the 16 of the photo were rounded")
    if pixels.shape[2] == 1 and (not form.grey or (form is _TIFF and alpha is not None and alpha.dtype == np.uint16)):
        pixels = pixels.repeat(3, 2)
        said.append(f"{form.name} has no {'such ' * form.grey}grey: it is written in three equal channels")
    lost = [name for name in form.lacks if getattr(kept, name)]
    lost += ["icc"] if kept.icc[16:20] == b"GRAY" and pixels.shape[2] == 3 and "icc" not in lost else []
    lost += [name for name, most in SEGMENTS.items() if form is _JPEG and len(getattr(kept, name)) > most]
    lost += ["exif"] if form is _TIFF and kept.exif and not fits_tiff(kept.exif) else []
    said += [f"{form.name} cannot hold the {_NAMES[name]} of the photo: left out" for name in lost]
    gone: dict[str, Any] = {name: None if name == "dpi" else b"" for name in lost}
    kept = replace(kept, **gone)
    return np.ascontiguousarray(pixels), None if alpha is None else np.ascontiguousarray(alpha), kept, tuple(said)


def _strip_by_strip(change: Callable[..., np.ndarray], *arrays: np.ndarray) -> np.ndarray:
    step = rows_of(arrays[0])
    first = change(*(a[:1] for a in arrays))
    out = np.empty(arrays[0].shape, first.dtype)
    for top in range(0, len(out), step):
        out[top : top + step] = change(*(a[top : top + step] for a in arrays))
    return out


def _on_white(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """alpha v + (1 - alpha) top, of `top` shades."""
    top = np.iinfo(pixels.dtype).max
    share = alpha[..., None].astype(np.int64)
    return ((pixels * share + top * (top - share) + top // 2) // top).astype(pixels.dtype)


def _rounded(values: np.ndarray) -> np.ndarray:
    """round(255 v / 65,535)."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
