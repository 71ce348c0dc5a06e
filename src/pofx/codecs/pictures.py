"""Picture files as arrays: upright, grey or coloured, on white, of as many bits as they have (docs/images.md)."""

from collections import Counter
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from ..errors import CodecError
from .exif import exif_of
from .opening import opening, raw_of, set_raw

DEEP = {"I;16": "uint16", "I;16B": "uint16", "I;16L": "uint16", "I;16N": "uint16", "I": "int32", "F": "float32"}
GREY = ("1", "L", "LA", "La")
PLAIN = (*GREY, *DEEP, "P", "PA", "RGB", "RGBA", "RGBa", "RGBX")
UPPER, LOWER = "RGB;16B", "RGB;16L"  # how Pillow takes the first or the second byte of each channel of 16 bits
SAID = {
    "frames": "have several frames, of which the first was read",
    "upper": "have 16 bits a channel, of which the upper 8 were read",
    "turned": "were turned as their EXIF says",
    "white": "lie on white where they are transparent",
    "space": "were brought from another colour space to RGB",
    "grey": "are grey among coloured ones",
}
Size = tuple[int, int] | None


class Opened(NamedTuple):
    """Channels, one (grey) or three, of mode L, or F for values of more than 8 bits; their dtype; words of SAID."""

    bands: tuple[Any, ...]
    dtype: str
    said: tuple[str, ...]


def opened(file: Path | IO[bytes], name: str, largest: int | None = None) -> Opened:
    """A picture file, or its bytes; CodecError where it is none, damaged, or of more than `largest` pixels."""
    from PIL import Image, ImageOps

    with opening(file, name, largest) as picture:
        mode, dtype, said, raw = picture.mode, DEEP.get(picture.mode, "uint8"), [], raw_of(picture)
        lies = exif_of(picture)[1]
        said += ["frames"] if getattr(picture, "n_frames", 1) > 1 else []
        said += ["turned"] if lies != 1 else []
        said += ["space"] if mode not in PLAIN else []
        upright = picture.copy() if lies == 1 else ImageOps.exif_transpose(picture)
    if picture.format == "PNG" and raw == UPPER:
        with opening(file, name, largest) as picture:
            set_raw(picture, LOWER)
            lower = (picture.copy() if lies == 1 else ImageOps.exif_transpose(picture)).split()
        return Opened(tuple(map(_sixteen, upright.split(), lower)), "uint16", tuple(said))
    if dtype != "uint8":
        return Opened((upright.convert("F"),), dtype, tuple(said))
    said += ["upper"] if ";16" in raw else []
    if mode.endswith(("A", "a")) or "transparency" in upright.info:
        above = upright.convert("RGBA")
        said += ["white"] if above.getchannel("A").getextrema() != (255, 255) else []
        upright = Image.alpha_composite(Image.new("RGBA", above.size, "white"), above)
    grey = mode in GREY or raw.startswith("LA")
    return Opened(upright.convert("L" if grey else "RGB").split(), dtype, tuple(said))


def _sixteen(upper: Any, lower: Any) -> Any:
    """A channel of its upper and its lower bytes, mode F."""
    from PIL import Image

    return Image.fromarray(np.asarray(upper, np.float32) * 256 + np.asarray(lower, np.float32))


def stacked(pictures: list[Opened], size: Size) -> tuple[np.ndarray, str]:
    """Pictures of one size, or brought to `size`, as one array (n, H, W, C) of their dtype; and what was done to them.

    Raises CodecError for several sizes without `size`, and for several depths.
    """
    sizes = Counter(picture.bands[0].size for picture in pictures)
    if len(sizes) > 1 and size is None:
        shown = ", ".join(f"{w} x {h} ({count})" for (w, h), count in sizes.most_common(4))
        raise CodecError(
            f"expected pictures of one size, got {len(sizes)} sizes, {shown}: give the size to bring them to, "
            'reading={"size": (height, width)} in Python, --pixels HEIGHTxWIDTH on the command line'
        )
    depths = Counter(picture.dtype for picture in pictures)
    if len(depths) > 1:
        shown = ", ".join(f"{dtype} ({count})" for dtype, count in depths.most_common())
        raise CodecError(f"expected pictures of one depth, got {shown}: bring them to one")
    dtype, channels = pictures[0].dtype, max(len(picture.bands) for picture in pictures)
    arrays = []
    for picture in pictures:
        bands = [np.asarray(_fitted(band, size)) for band in picture.bands]
        image = np.stack(bands if len(bands) == channels else bands * channels, -1)
        arrays.append((image.round() if np.dtype(dtype).kind in "iu" else image).astype(dtype))
    counts = Counter(word for picture in pictures for word in picture.said)
    counts["grey"] = sum(len(picture.bands) < channels for picture in pictures)
    told = [f"{counts[word]:,} of {len(pictures):,} {words}" for word, words in SAID.items() if counts[word]]
    return np.stack(arrays), "; ".join(told)


def _fitted(band: Any, size: Size) -> Any:
    """The middle of a channel, scaled to a size."""
    from PIL import ImageOps

    return band if size is None or band.size == size[::-1] else ImageOps.fit(band, size[::-1])
