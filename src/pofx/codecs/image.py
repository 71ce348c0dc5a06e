"""The codec of images: arrays, NumPy and IDX files and folders of pictures to channels of pixels, and back.

Images are one uint8 array (n, H, W, C), C of NAMES. Pictures of several sizes need `size`; grey and coloured ones
together become coloured, transparent ones lie on white.
"""

import gzip
import hashlib
from collections import Counter
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..errors import CodecError
from ..fields import Pixel
from ..spec import Block, Columns, Spec

NAMES = {1: ("grey",), 3: ("red", "green", "blue")}
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
COLUMNS = 16  # pictures side by side in a sheet
Size = tuple[int, int] | None


class ImageCodec:
    """How images become a block of pixels, and back. spec: channels over H x W; like: the kind of what was read."""

    kind = "image"

    def __init__(self, spec: Spec, like: str = "array") -> None:
        self.spec, self.like = spec, like

    @classmethod
    def learn(cls, images: np.ndarray, like: str = "array") -> Self:
        """The codec of images, (n, H, W, C): of two shades where there are no others, else of 256.

        Raises CodecError for fewer than two images.
        """
        if len(images) < 2:
            raise CodecError(f"expected two images or more to learn from, got {len(images)}")
        top = 1 if images.max() <= 1 else 255
        channels = (np.ascontiguousarray(images[..., i]) for i in range(images.shape[3]))
        fields = tuple(Pixel.learn(name, v, top=top) for name, v in zip(NAMES[images.shape[3]], channels, strict=True))
        return cls(Spec((Block("image", fields, images.shape[1:3]),)), like)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        height, width = (side or 0 for side in self.spec.blocks[0].sites)
        return height, width, len(self.spec.fields)

    def encode(self, images: np.ndarray) -> Columns:
        """Channels by name, uint8 (n, H, W). Raises CodecError for images of another size or number of channels."""
        if images.shape[1:] != self.shape:
            raise CodecError(f"expected images of {self.shape} (height, width, channels), got {images.shape[1:]}")
        return {f.name: np.ascontiguousarray(images[..., i]) for i, f in enumerate(self.spec.fields)}

    def decode(self, x: Columns) -> np.ndarray:
        """Images, (n, H, W, C), of channels by name."""
        return np.stack([x[f.name] for f in self.spec.fields], -1)

    def to_json(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Plain values and arrays that rebuild the codec."""
        header, arrays = self.spec.split()
        return {"kind": self.kind, "spec": header, "like": self.like}, arrays

    @classmethod
    def from_json(cls, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """What `to_json` gave."""
        return cls(Spec.join(meta["spec"], arrays), meta["like"])


# -- in ----------------------------------------------------------------------------------------------------------------


def holds_images(source: Any) -> bool:
    """Whether a source is images: an array of three or four axes, a .npy, .npz or IDX file, a folder of pictures."""
    if isinstance(source, np.ndarray):
        return source.ndim in (3, 4)
    if not isinstance(source, str | Path):
        return False
    path = Path(source)
    if path.is_dir():
        inside = [p for p in path.rglob("*") if p.is_file()]
        return sum(p.suffix.lower() in PICTURES for p in inside) * 2 > len(inside)
    return path.suffix.lower() in (".npy", ".npz") or "idx3-ubyte" in path.name


def read_images(source: Any, size: Size = None) -> tuple[np.ndarray, str]:
    """(images, kind of container): uint8 (n, H, W, C).

    Raises CodecError, saying what is wrong, for what holds no images, for pictures of several sizes without `size`, and
    for numbers that are no shades.
    """
    if isinstance(source, np.ndarray):
        return shades(source), "array"
    path = Path(source)
    if path.is_dir():
        return _folder(path, size), "folder"
    if not path.is_file():
        raise CodecError(f"expected images at {str(path)!r}, found nothing: check the path")
    try:
        return shades(_idx(path) if "idx3-ubyte" in path.name else _numpy(path)), "npz"
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise CodecError(f"could not read images from {str(path)!r}: {error}") from error


def shades(array: np.ndarray) -> np.ndarray:
    """An array of images as uint8 (n, H, W, C): booleans, whole numbers from 0 to 255, or reals from 0 to 1."""
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.shape[3] not in NAMES or 0 in array.shape[1:3]:
        raise CodecError(f"expected images (n, H, W), (n, H, W, 1) or (n, H, W, 3), got an array of {array.shape}")
    if array.dtype in (np.uint8, np.bool_):
        return array.astype(np.uint8, copy=False)
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    top = 1 if array.dtype.kind == "f" else 255
    if not (low >= 0 and high <= top):
        raise CodecError(
            f"expected shades from 0 to {top} of {array.dtype} images, got {low:g} to {high:g}: rescale them"
        )
    return np.round(array * (255 / top)).astype(np.uint8)


def _numpy(path: Path) -> np.ndarray:
    held = np.load(path, allow_pickle=False)
    if isinstance(held, np.ndarray):
        return held
    names = [name for name in held.files if held[name].ndim in (3, 4)]
    if "images" in names:
        names = ["images"]
    if len(names) != 1:
        raise ValueError(
            f"expected one array of images, or one named 'images', found {', '.join(held.files) or 'none'}"
        )
    return held[names[0]]


def _idx(path: Path) -> np.ndarray:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if data[:4] != b"\0\0\x08\x03":
        raise ValueError("expected an IDX file of unsigned bytes in three dimensions")
    n, height, width = (int.from_bytes(data[i : i + 4], "big") for i in (4, 8, 12))
    return np.frombuffer(data, np.uint8, offset=16).reshape(n, height, width)


def _folder(path: Path, size: Size) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in PICTURES)
    if not files:
        raise CodecError(f"expected pictures ({', '.join(PICTURES)}) in {str(path)!r}, found none")
    opened = []
    for file in files:
        try:
            with Image.open(file) as picture:
                opened.append(_flat(picture))
        except (OSError, UnidentifiedImageError) as error:
            raise CodecError(f"could not read the picture {str(file)!r}: {error}; remove or replace it") from error
    sizes = Counter(picture.size for picture in opened)
    if len(sizes) > 1 and size is None:
        shown = ", ".join(f"{w} x {h} ({count})" for (w, h), count in sizes.most_common(4))
        raise CodecError(f"expected pictures of one size, got {len(sizes)} sizes, {shown}: give size=(height, width)")
    mode = "L" if all(picture.mode == "L" for picture in opened) else "RGB"
    fitted = [np.asarray(_fitted(picture, size).convert(mode)) for picture in opened]
    return shades(np.stack(fitted))


def _flat(picture: Any) -> Any:
    """A picture as grey or coloured, transparent parts on white, 16 bits as 8."""
    from PIL import Image

    if picture.mode in ("1", "L"):
        return picture.convert("L")
    if picture.mode.startswith("I"):
        return Image.fromarray((np.asarray(picture) / 257).round().clip(0, 255).astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        above = picture.convert("RGBA")
        below = Image.new("RGBA", above.size, "white")
        return Image.alpha_composite(below, above).convert("RGB")
    return picture.convert("RGB")


def _fitted(picture: Any, size: Size) -> Any:
    """The middle of a picture, scaled to a size."""
    from PIL import ImageOps

    return picture if size is None or picture.size == size[::-1] else ImageOps.fit(picture, size[::-1])


def fingerprint(images: np.ndarray) -> str:
    """SHA-256 over shape and pixels."""
    return hashlib.sha256(repr(images.shape).encode() + np.ascontiguousarray(images).tobytes()).hexdigest()


# -- out ---------------------------------------------------------------------------------------------------------------


def write_images(images: np.ndarray, path: Path, top: int = 255) -> int:
    """Writes .npy, .npz (images), a sheet (.png), or, where the path has no ending, a folder of pictures; how many.

    Raises CodecError for another ending.
    """
    from .. import store

    ending = path.suffix.lower()
    if ending not in (".npy", ".npz", ".png", ""):
        raise CodecError(
            f"expected a name that ends in .npz, .npy, .png (a sheet) or nothing (a folder), got {path.name!r}"
        )
    store.check_folder(path) if ending else path.mkdir(parents=False, exist_ok=True)
    bright = images if top == 255 else images * np.uint8(255)
    if not ending:
        for i, image in enumerate(bright):
            _picture(image).save(path / f"{i:06d}.png")
        return len(images)
    part = store.beside(path)
    try:
        with part.open("wb") as file:
            if ending == ".png":
                _picture(sheet(bright)).save(file, "PNG")
            elif ending == ".npy":
                np.save(file, images)
            else:
                np.savez_compressed(file, images=images)
        part.replace(path)
    except OSError as error:
        raise CodecError(f"could not write {str(path)!r}: {error.strerror or error}; nothing was changed") from error
    finally:
        part.unlink(missing_ok=True)
    return len(images)


def _picture(image: np.ndarray) -> Any:
    from PIL import Image

    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def sheet(images: np.ndarray, columns: int = COLUMNS) -> np.ndarray:
    """Images side by side, row by row, with a line of one pixel between them: (n, H, W, C) to one image."""
    n, height, width, channels = images.shape
    columns = min(columns, n)
    lines = -(-n // columns)
    out = np.zeros((lines * (height + 1) - 1, columns * (width + 1) - 1, channels), np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * (height + 1), i % columns * (width + 1)
        out[top : top + height, left : left + width] = image
    return out
