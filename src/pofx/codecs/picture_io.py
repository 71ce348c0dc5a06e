"""Images in and out: arrays, NumPy and IDX files, gathered pictures, sheets; and the labels that lie beside them."""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from ..errors import CodecError, SpecError
from .gathering import holds_pictures, read_pictures
from .pictures import Size
from .shades import Depth, shades

COLUMNS = 16  # pictures side by side in a sheet


class Labelled(NamedTuple):
    """Images (n, H, W) or (n, H, W, 3) and their labels, (n,): whole numbers, or texts, "" where missing."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Pictures:
    """Images, uint8 (n, H, W, C), and the label of each, all int or all str, None where missing; or None: no labels.

    deep: whether grey ones came with an axis of one channel, as they go out; depth: which values the shades stand for,
    if others than they are; notes: what was lost in reading, by subject.
    """

    images: np.ndarray
    labels: np.ndarray | None = None
    deep: bool = False
    depth: Depth | None = None
    notes: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def take(self, index: np.ndarray) -> Self:
        """Those of these numbers."""
        return replace(self, images=self.images[index], labels=None if self.labels is None else self.labels[index])

    def bare(self) -> Self:
        """Those without their labels."""
        return replace(self, labels=None)

    def values(self) -> np.ndarray:
        """What the shades stand for, (n, H, W, C): uint8, or values of `depth`."""
        return self.images if self.depth is None else self.depth.values(self.images)

    @property
    def array(self) -> np.ndarray:
        """As a user has them: values (n, H, W) where they are grey and came so, else (n, H, W, C)."""
        images = self.values()
        return images[..., 0] if images.shape[-1] == 1 and not self.deep else images

    def plain(self) -> np.ndarray | Labelled:
        """As a user has them: an array, or with labels a pair."""
        return self.array if self.labels is None else Labelled(self.array, array_of(self.labels))

    def fingerprint(self) -> str:
        """SHA-256 over shape, pixels and labels."""
        digest = hashlib.sha256(repr(self.images.shape).encode() + np.ascontiguousarray(self.images).tobytes())
        if self.labels is not None:
            digest.update(repr(self.labels.tolist()).encode())
        return digest.hexdigest()


def labels_of(labels: Any, n: int) -> np.ndarray:
    """The labels of n images, object (n,): all int, where all are whole numbers, or all str; None, NaN and "" are None.

    Raises CodecError for another number of them.
    """
    held = np.asarray(labels) if hasattr(labels, "dtype") else np.array(list(labels), object)
    if held.shape != (n,):
        raise CodecError(f"expected {n} labels, one for each image, got {' x '.join(map(str, held.shape))} of them")
    out = np.empty(n, object)
    out[:] = [_label(value) for value in held.tolist()]
    if not all(isinstance(value, int) for value in out if value is not None):
        out[:] = [value if value is None else str(value) for value in out]
    return out


def _label(value: Any) -> int | str | None:
    if value is None or type(value).__name__ == "NAType" or value == "" or value != value:
        return None
    if isinstance(value, int | float | np.number) and not isinstance(value, bool) and float(value).is_integer():
        return int(value)
    return value.decode() if isinstance(value, bytes) else str(value)


def array_of(labels: np.ndarray) -> np.ndarray:
    """Labels as int64, or as texts where some are texts or missing: "" is missing."""
    if all(isinstance(value, int) for value in labels):
        return labels.astype(np.int64)
    return np.array(["" if value is None else str(value) for value in labels], str)


# -- in ----------------------------------------------------------------------------------------------------------------


def holds_images(source: Any) -> bool:
    """Whether a source is images: an array of three or four axes, such a one with labels, a .npy, .npz or IDX file, a
    picture, or a folder, zip or glob of which most files are.
    """
    if isinstance(source, tuple) and len(source) == 2:
        source = source[0]
    if isinstance(source, np.ndarray):
        return source.ndim in (3, 4)
    if not isinstance(source, str | Path):
        return False
    path = Path(source)
    return path.suffix.lower() in (".npy", ".npz") or "idx3-ubyte" in path.name or holds_pictures(source)


def words_of(reading: Mapping[str, Any]) -> dict[str, Any]:
    """The words of `read_images` among those of a fit's `reading`, also as they come back from a bundle.

    Raises SpecError for others.
    """
    if odd := sorted(set(reading) - {"size", "broken", "largest"}):
        raise SpecError(f"expected reading of images with size, broken, largest, got {odd[0]!r}: leave it out")
    return {k: tuple(v) if k == "size" and v else v for k, v in reading.items()}


def read_images(
    source: Any,
    size: Size = None,
    labels: Any = None,
    depth: Depth | None = None,
    *,
    broken: str = "refuse",
    largest: int | None = None,
) -> tuple[Pictures, str]:
    """(pictures, kind of container) of an array, a pair of images and labels, a file, or a picture, or a folder,
    zip or glob of such.

    Labels are those of the pair, the array `labels` of a .npz, the labels file beside an IDX file, of pictures those of
    labels.csv or their sub-folders (missing for pictures that lie in none), or `labels`, which go before all these.
    depth: which values become which shades, where a model has learned that; broken: whether pictures that cannot be
    read are an error or left out, "refuse" or "skip"; largest: pixels of a picture, 300 million by default. The rules
    of reading are in docs/images.md.

    Raises CodecError, saying what is wrong, for what holds no images, for pictures of several sizes without `size` or
    of several depths, for values that are not finite or beyond `depth`, and where there are not as many labels as
    images.
    """
    said = ""
    if isinstance(source, tuple):
        source, labels = source[0], source[1] if labels is None else labels
    if isinstance(source, np.ndarray):
        array, found, kind = source, None, "array"
    elif (gathered := read_pictures(source, size, broken, largest)) is not None:
        (array, found, said), kind = gathered, "folder"
    else:
        (array, found), kind = _file(Path(source)), "npz"
    held = found if labels is None else labels
    deep = array.ndim == 4 and array.shape[-1] == 1 and kind != "folder"
    images, depth, note = shades(array, depth)
    notes = {name: words for name, words in (("pictures", said), ("values", note)) if words}
    kept = None if held is None else labels_of(held, len(images))
    return Pictures(images, kept, deep, depth, notes), kind


def _file(path: Path) -> tuple[np.ndarray, Any]:
    """(images, labels) of a file."""
    if not path.is_file():
        raise CodecError(f"expected images at {str(path)!r}, found nothing: check the path")
    try:
        return _idx(path) if "idx3-ubyte" in path.name else _numpy(path)
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise CodecError(f"could not read images from {str(path)!r}: {error}") from error


def _numpy(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    held = np.load(path, allow_pickle=False)
    if isinstance(held, np.ndarray):
        return held, None
    names = [name for name in held.files if held[name].ndim in (3, 4)]
    if "images" in names:
        names = ["images"]
    if len(names) != 1:
        raise ValueError(
            f"expected one array of images, or one named 'images', found {', '.join(held.files) or 'none'}"
        )
    return held[names[0]], held["labels"] if "labels" in held.files else None


def _idx(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The images of an IDX file, and the labels of the file that is named like it: images-idx3 and labels-idx1."""
    data = _bytes(path, b"\0\0\x08\x03", "three dimensions")
    n, height, width = (int.from_bytes(data[i : i + 4], "big") for i in (4, 8, 12))
    images = np.frombuffer(data, np.uint8, offset=16).reshape(n, height, width)
    name = path.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    for beside in (path.with_name(name), path.with_name(name + ".gz")):
        if "labels" in name and beside.is_file():
            return images, np.frombuffer(_bytes(beside, b"\0\0\x08\x01", "one dimension"), np.uint8, offset=8)
    return images, None


def _bytes(path: Path, magic: bytes, what: str) -> bytes:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if data[:4] != magic:
        raise ValueError(f"expected {path.name!r} to be an IDX file of unsigned bytes in {what}")
    return data


# -- out ---------------------------------------------------------------------------------------------------------------


def write_images(pictures: Pictures, path: Path, top: int = 255) -> int:
    """Writes .npz (images, labels), .npy, a sheet (.png, each label on rows of its own), or, where the path has no
    ending, a folder of pictures (a sub-folder for each label); how many. Values of more than 8 bits come back in all
    but a sheet, which shows shades.

    Raises CodecError for another ending, for a folder of labels that cannot name one, and for one of coloured pictures
    of more than 8 bits.
    """
    from .. import store

    ending = path.suffix.lower()
    if ending not in (".npy", ".npz", ".png", ""):
        raise CodecError(
            f"expected a name that ends in .npz, .npy, .png (a sheet) or nothing (a folder), got {path.name!r}"
        )
    labels = pictures.labels
    if ending in (".png", "") and pictures.images.shape[3] not in (1, 3):
        raise CodecError(
            f"expected images of 1 or 3 channels for pictures, got {pictures.images.shape[3]}: write .npy or .npz"
        )
    bright = pictures.images if top == 255 else pictures.images * np.uint8(255)
    if not ending:
        return _write_folder(pictures if pictures.depth else replace(pictures, images=bright), path)
    with store.placed(path) as file:
        if ending == ".png":
            _picture(sheet(bright) if labels is None else sheet_of_labels(bright, labels)).save(file, "PNG")
        elif ending == ".npy":
            np.save(file, pictures.array)
        else:
            held = {"images": pictures.array} | ({} if labels is None else {"labels": array_of(labels)})
            np.savez_compressed(file, allow_pickle=False, **held)
    return len(pictures)


def _write_folder(pictures: Pictures, path: Path) -> int:
    """Pictures as .png; values that are not whole, or beyond 16 bits, as .tif of float32."""
    labels, values, depth = pictures.labels, pictures.values(), pictures.depth
    if depth and values.shape[-1] > 1:
        raise CodecError(f"expected grey pictures of {depth.dtype} for a folder, got coloured ones: write .npy or .npz")
    short = depth is None or (depth.whole and depth.low >= 0 and depth.high < 2**16)
    if depth:
        values = values.astype(np.uint16 if short else np.float32)
    names = [""] * len(values) if labels is None else ["" if label is None else str(label) for label in labels]
    for name in sorted(set(names)):
        if name in (".", "..") or not {"/", "\\", "\0"}.isdisjoint(name):
            raise CodecError(f"expected labels that can name folders, got {name!r}: write .npz")
    path.mkdir(parents=False, exist_ok=True)
    for i, (image, name) in enumerate(zip(values, names, strict=True)):
        (path / name).mkdir(exist_ok=True)
        _picture(image).save(path / name / f"{i:06d}.{'png' if short else 'tif'}")
    return len(values)


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


def sheet_of_labels(images: np.ndarray, labels: np.ndarray, columns: int = COLUMNS) -> np.ndarray:
    """A sheet on which each label, in order and the missing ones last, begins a row."""
    names = sorted({label for label in labels if label is not None}) + [None] * (None in labels)
    groups = [np.array([i for i, label in enumerate(labels) if label == name]) for name in names]
    columns = min(columns, max(map(len, groups)))
    index = np.concatenate([np.pad(group, (0, -len(group) % columns), constant_values=-1) for group in groups])
    return sheet(np.concatenate([images, np.zeros_like(images[:1])])[index], columns)
