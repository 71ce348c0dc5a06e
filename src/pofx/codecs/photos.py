"""Many photos to learn a restoration from, of any sizes; the codec of pictures whose size is free."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..errors import CodecError
from ..fields import Pixel
from ..spec import Block, Spec
from .image import NAMES
from .photo import read_photo
from .picture_io import PICTURES

SAMPLED = 2**20  # pixels that the law of a channel is learned from


@dataclass(frozen=True)
class Photos:
    """Pictures (H, W, C) of bytes, all grey or all RGB, their names, and what they came in."""

    pictures: tuple[np.ndarray, ...]
    names: tuple[str, ...]
    kind: str

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


def read_photos(source: Any) -> Photos:
    """The photos of a folder and all below it, of one file, or arrays: (n, H, W), (n, H, W, 1 or 3), or a sequence.

    They are coloured where one of them is; 16 bits are rounded to 8. Raises CodecError for what holds none.
    """
    if isinstance(source, np.ndarray) and source.ndim in (3, 4):
        source = list(source if source.ndim == 4 else source[..., None])
    if isinstance(source, str | Path):
        files = _files(Path(source))
        held, names = [read_photo(file).pixels for file in files], [file.name for file in files]
        kind = "folder" if Path(source).is_dir() else "file"
    elif isinstance(source, Sequence) and len(source) and all(isinstance(p, np.ndarray) for p in source):
        held, names, kind = (
            [p if p.ndim == 3 else p[..., None] for p in source],
            [str(i) for i in range(len(source))],
            "array",
        )
    else:
        raise CodecError("expected photos: a folder, a file, or arrays (H, W) or (H, W, 3) of bytes")
    for name, p in zip(names, held, strict=True):
        if p.ndim != 3 or p.shape[2] not in (1, 3) or p.dtype not in (np.uint8, np.uint16):
            raise CodecError(
                f"expected photos (H, W) or (H, W, 3) of 8 or 16 bits, got {p.shape} of {p.dtype} ({name})"
            )
    held = [p if p.dtype == np.uint8 else ((p.astype(np.uint32) + 128) // 257).astype(np.uint8) for p in held]
    channels = max(p.shape[2] for p in held)
    held = [p if p.shape[2] == channels else p.repeat(channels, 2) for p in held]
    return Photos(tuple(held), tuple(names), kind)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in PICTURES) if path.is_dir() else []
    if not files:
        raise CodecError(f"expected photos ({', '.join(PICTURES)}) at {str(path)!r}, found none: check the path")
    return files


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
