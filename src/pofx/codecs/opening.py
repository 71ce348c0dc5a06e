"""A picture file as Pillow opens it, or one line that says why it cannot be read."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import IO, Any

from ..errors import CodecError, PofxError

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")  # of Pillow's
LARGEST = 300_000_000  # pixels of a picture, unless more are allowed
TURNED = 0x0112  # the tag of EXIF that says how a picture lies
_LIMIT = Lock()


@contextmanager
def opening(file: Path | IO[bytes], name: str, largest: int | None = None) -> Iterator[Any]:
    """A Pillow image of the first frame, not yet decoded; what fails while it is used is named too.

    file: a path or its bytes; name: what errors call it; largest: in pixels, LARGEST by default. Raises CodecError for
    what is no file, empty, of no format of FORMATS, truncated or damaged, and for more pixels than `largest`.
    """
    what = f"could not read the picture {name!r}"
    if isinstance(file, Path) and not file.is_file():
        found = "a folder: name a file in it" if file.is_dir() else "nothing there: check the path"
        raise CodecError(f"{what}: expected a file, got {found}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _open(file, what) as picture:
                width, height = picture.size
                most = LARGEST if largest is None else largest
                if width * height > most:
                    raise CodecError(
                        f"{what}: expected {most:,} pixels at most, got {width:,} x {height:,}: scale it down, or "
                        f"allow more where you trust it (largest={width * height}, --largest of fit)"
                    )
                yield picture
    except PofxError:
        raise
    except Exception as error:  # Pillow meets damage in every kind of error
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise CodecError(f"{what}: it is truncated or damaged ({why}); remove it or take another copy") from error


def _open(file: Path | IO[bytes], what: str) -> Any:
    """Image.open without Pillow's own limit of pixels, which warns first, is half as high and global."""
    from PIL import Image, UnidentifiedImageError

    if not isinstance(file, Path):
        file.seek(0)
    with _LIMIT:
        own, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=FORMATS)
        except UnidentifiedImageError as error:
            raise CodecError(
                f"{what}: expected {', '.join(FORMATS)}, got {_looks(file)}: give a picture, or convert it"
            ) from error
        finally:
            Image.MAX_IMAGE_PIXELS = own


def _looks(file: Path | IO[bytes]) -> str:
    """What a file that is no picture looks like."""
    if isinstance(file, Path):
        with file.open("rb") as stream:
            return _looks(stream)
    file.seek(0)
    head = file.read(512)
    if not head:
        return "an empty file"
    if head.isascii() and all(byte >= 32 or byte in b"\t\n\r\f" for byte in head):
        return "text"
    return "another format, or its first bytes alone"


def raw_of(picture: Any) -> str:
    """How the bytes of an image that is not yet decoded lie in the file, in Pillow's words: RGB;16B."""
    args = picture.tile[0][3] if picture.tile else ""
    return str(args[0] if isinstance(args, tuple) and args else args)


def set_raw(picture: Any, raw: str) -> None:
    """Has Pillow take the bytes as if they lay so."""
    for i, tile in enumerate(picture.tile):
        args = (raw, *tile[3][1:]) if isinstance(tile[3], tuple) else raw
        picture.tile[i] = getattr(type(tile), "_make", tuple)((*tile[:3], args))
