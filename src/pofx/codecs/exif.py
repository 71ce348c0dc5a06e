"""EXIF from one file to another: all that it says but how the picture lies, which is upright when it is written."""

import re
import struct
from typing import Any

from .opening import TURNED

PREFIX = b"Exif\0\0"
DETAILS, PLACE = 0x8769, 0x8825  # tags that hold directories: of the exposure and of the place
ABOUT = (
    0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C, 0x4746, 0x4749, 0x8298, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E,
    0x9C9F, DETAILS, PLACE,
)  # fmt: skip
"""Tags of a TIFF's first directory that are about the photo; its others are about the file."""


def exif_of(picture: Any) -> tuple[bytes, int, bool]:
    """The EXIF of a Pillow image: a block without a prefix, lying upright, or b""; how the image lies, 1 to 8; whether
    it could be read.
    """
    held = re.sub(b"^(Exif\0\0)+", b"", picture.info.get("exif") or b"")
    try:
        found = picture.getexif()
        return upright(held) or _made(_about(found)), int(found.get(TURNED, 1)), True
    except Exception:  # Pillow meets damage in every kind of error, and the pixels may be whole
        return b"", 1, False


def _made(tags: dict[int, Any]) -> bytes:
    from PIL import Image

    kept = Image.Exif()
    for tag, value in tags.items():
        kept[tag] = value
    return kept.tobytes().removeprefix(PREFIX) if tags else b""


def upright(block: bytes) -> bytes:
    """The same block, byte by byte, but for its orientation, which becomes 1."""
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) < 10:
        return block
    out = bytearray(block)
    (first,) = struct.unpack_from(f"{order}I", block, 4)
    count = struct.unpack_from(f"{order}H", block, first)[0] if first + 2 <= len(block) else 0
    for at in range(first + 2, min(first + 2 + 12 * count, len(block) - 11), 12):
        if struct.unpack_from(f"{order}H", block, at)[0] == TURNED:
            struct.pack_into(f"{order}HIHH", out, at + 2, 3, 1, 1, 0)
    return bytes(out)


def unturned(xmp: bytes) -> bytes:
    """XMP without what it says of how the picture lies."""
    return re.sub(rb'\s*tiff:Orientation="\d"|<tiff:Orientation>\d</tiff:Orientation>', b"", xmp)


def tags_of(block: bytes) -> dict[int, Any]:
    """The tags of a block that are about the photo, for the directory of a TIFF."""
    from PIL import Image

    found = Image.Exif()
    found.load(block)
    return _about(found)


def fits_tiff(block: bytes) -> bool:
    """Whether these can be written: a damaged block goes from one file into another, but not into a directory."""
    try:
        return bool(_made(tags_of(block)))
    except Exception:  # as above
        return False


def _about(found: Any) -> dict[int, Any]:
    """Texts are bytes, as they stand in the file: Pillow would write what is not ASCII as question marks."""
    held = {tag: found.get_ifd(tag) if tag in (DETAILS, PLACE) else found[tag] for tag in ABOUT if tag in found}
    return {tag: v.encode("latin-1", "replace") if isinstance(v, str) else v for tag, v in held.items() if v}
