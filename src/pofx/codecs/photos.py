"""Many photos to learn a restoration from, of any sizes; the codec of pictures whose size is free."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..errors import CodecError
from ..fields import Pixel
from ..spec import Block, Spec
from .gathering import PICTURES, files_of, readable
from .image import NAMES
from .pictures import Opened, opened

SAMPLED = 2**20  # pixels that the law of a channel is learned from


@dataclass(frozen=True)
class Photos:
    """Pictures (H, W, C) of bytes, all grey or all RGB, their names, and what they came in."""

    pictures: tuple[np.ndarray, ...]
    names: tuple[str, ...]
    kind: str
    notes: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.pictures)

    def take(self, index: np.ndarray) -> Self:
        """Those of these numbers."""
        pictures, names = (tuple(held[i] for i in index) for held in (self.pictures, self.names))
        return replace(self, pictures=pictures, names=names)

    def mapped(self, change: Callable[[np.ndarray], np.ndarray]) -> Self:
        """Each after a change."""
        return replace(self, pictures=tuple(change(picture) for picture in self.pictures))

    def fingerprint(self) -> str:
        """SHA-256 over shapes and pixels."""
        digest = hashlib.sha256()
        for picture in self.pictures:
            digest.update(repr(picture.shape).encode() + np.ascontiguousarray(picture).tobytes())
        return digest.hexdigest()


def read_photos(source: Any, broken: str = "refuse", largest: int | None = None, **no: Any) -> Photos:
    """The photos of a folder and all below it, of a zip, a glob or one file, as pictures are read (docs/images.md); or
    arrays: (n, H, W), (n, H, W, 1 or 3), or a sequence of those of one photo.

    They are coloured where one of them is; 16 bits are rounded to 8. broken: what becomes of files that cannot be read,
    "refuse" or "skip"; largest: pixels of one. Raises CodecError for what holds none, and for words of other data.
    """
    if no or broken not in ("refuse", "skip"):
        raise CodecError(f"expected broken (refuse or skip) and largest for photos, got {no or broken!r}: leave it out")
    notes: dict[str, str] = {}
    if isinstance(source, np.ndarray) and source.ndim in (3, 4):
        source = list(source)
    if isinstance(source, str | Path):
        held, names, kind, notes = _files(source, broken, largest)
    elif isinstance(source, Sequence) and len(source) and all(isinstance(p, np.ndarray) for p in source):
        held, names, kind = list(source), [str(i) for i in range(len(source))], "array"
    else:
        raise CodecError("expected photos: a folder, a zip, a glob, a file, or arrays (H, W) or (H, W, 3) of bytes")
    held = [_bytes(p if p.ndim == 3 else p[..., None], name) for p, name in zip(held, names, strict=True)]
    channels = max(p.shape[2] for p in held)
    return Photos(
        tuple(p if p.shape[2] == channels else p.repeat(channels, 2) for p in held), tuple(names), kind, notes
    )


def _files(
    source: str | Path, broken: str, largest: int | None
) -> tuple[list[np.ndarray], list[str], str, dict[str, str]]:
    """The pictures of files, their names, what they came in, and what there is to say of them."""
    with files_of(source) as found:
        if found is None:
            return [_joined(opened(Path(source), str(source), largest))], [Path(source).name], "file", {}
        files = sorted((file for file in found if file.pictured), key=lambda file: file.parts)
        if not files:
            raise CodecError(f"expected photos ({', '.join(PICTURES)}) in {str(source)!r}, found none: check the path")
        pictures, kept, why = readable(files, largest)
    if why and (broken == "refuse" or not pictures):
        raise CodecError(
            f'{next(iter(why.values()))}, or read without such: reading={{"broken": "skip"}}, --broken skip'
        )
    said = (
        {"photos": f"{len(why):,} of {len(files):,} could not be read and were skipped: {', '.join(why)}"}
        if why
        else {}
    )
    return [_joined(picture) for picture in pictures], [files[i].path for i in kept], "folder", said


def _joined(picture: Opened) -> np.ndarray:
    """Its channels side by side, (H, W, C)."""
    return np.stack([np.asarray(band) for band in picture.bands], -1).astype(picture.dtype)


def _bytes(picture: np.ndarray, name: str) -> np.ndarray:
    """A photo (H, W, 1 or 3) of 8 or 16 bits as bytes."""
    if picture.ndim != 3 or picture.shape[2] not in (1, 3) or picture.dtype not in (np.uint8, np.uint16):
        raise CodecError(
            f"expected photos (H, W) or (H, W, 3) of 8 or 16 bits, got {picture.shape} of {picture.dtype} ({name})"
        )
    return picture if picture.dtype == np.uint8 else ((picture.astype(np.uint32) + 128) // 257).astype(np.uint8)


class PhotoCodec:
    """Photos as channels of pixels over sites of a free size."""

    kind = "photo"

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    @classmethod
    def learn(cls, photos: Photos) -> Self:
        """The codec of photos."""
        some = np.concatenate([p.reshape(-1, p.shape[2]) for p in photos.pictures])
        some = some[:: max(1, len(some) // SAMPLED)]
        fields = tuple(Pixel.learn(name, some[:, i], top=255) for i, name in enumerate(NAMES[some.shape[1]]))
        return cls(Spec((Block("image", fields, (None, None)),)))

    def to_json(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Plain values and arrays that rebuild the codec."""
        header, arrays = self.spec.split()
        return {"kind": self.kind, "spec": header}, arrays

    @classmethod
    def from_json(cls, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """What `to_json` gave."""
        return cls(Spec.join(meta["spec"], arrays))
