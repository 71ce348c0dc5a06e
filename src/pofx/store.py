"""Named arrays and one JSON header in a single safetensors file: bundles and checkpoints are written with it.

The file holds numbers and JSON alone, so that reading it can run no code. The header carries a format number and a
SHA-256 over the tensor bytes. A file is written beside its place, flushed, and renamed, so that a crash or a full disk
leaves the previous one.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from .errors import BadFile, CodecError

FORMAT = 1
_HEADER_LIMIT = 1 << 30


def digest_of(text: str, arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over a text and the names, kinds, shapes and bytes of arrays, in hexadecimal digits."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _checksum(kind: str, number: str, text: str, arrays: Mapping[str, np.ndarray]) -> str:
    return digest_of(f"{kind}|{number}|{text}|", arrays)


def beside(path: Path) -> Path:
    """The name under which a file is written before it is renamed to `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def check_folder(path: Path) -> None:
    """Raises CodecError where the folder of an output file does not exist, or the path is a folder."""
    if not path.parent.is_dir():
        raise CodecError(f"expected an existing folder for {path.name!r}, got {str(path.parent)!r}: create it first")
    if path.is_dir():
        raise CodecError(f"expected a file name, got the folder {str(path)!r}: add a file name")


@contextmanager
def placed(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes its place at the end, or leaves what was there where that fails.

    Raises CodecError if the folder does not exist or the file cannot be written.
    """
    check_folder(path)
    part = beside(path)
    try:
        with part.open("w+b") as file:
            yield file
        part.replace(path)
    except OSError as error:
        raise CodecError(f"could not write {str(path)!r}: {error.strerror or error}; nothing was changed") from error
    finally:
        part.unlink(missing_ok=True)


def write(path: str | Path, kind: str, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes header and arrays to path, whole or not at all.

    Raises CodecError if the folder does not exist or the disk is full.
    """
    from safetensors.numpy import save

    path = Path(path)
    plain = {name: np.array(array, order="C") for name, array in arrays.items()}
    text = json.dumps(header, allow_nan=True)
    meta = {"pofx": kind, "format": str(FORMAT), "checksum": _checksum(kind, str(FORMAT), text, plain), "header": text}
    with placed(path) as file:
        file.write(save(plain or {"empty": np.zeros(1, np.uint8)}, metadata=meta))
        file.flush()
        os.fsync(file.fileno())


def _metadata(data: bytes) -> dict[str, str]:
    size = int.from_bytes(data[:8], "little")
    if not 2 <= size <= min(_HEADER_LIMIT, len(data) - 8):
        raise ValueError("no safetensors header")
    meta = json.loads(data[8 : 8 + size].decode("utf-8")).get("__metadata__", {})
    if "pofx" not in meta:
        raise ValueError("no pofx header")
    return meta


def read(path: str | Path, kind: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header and arrays of a file of this kind.

    Raises BadFile, saying what is wrong, for a file that is missing, foreign, newer, of another kind, truncated or
    damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = Path(path)
    if not path.is_file():
        raise BadFile(f"expected a pofx file at {str(path)!r}, found none: check the path")
    try:
        data = path.read_bytes()  # once, so that a file that is renamed into place meanwhile is not half read
        meta = _metadata(data)
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise BadFile(
            f"{str(path)!r} is not a pofx file, or its beginning is damaged ({error}): write it again with pofx"
        ) from error
    number = meta.get("format", "")
    if not number.isdecimal() or int(number) > FORMAT:
        raise BadFile(f"{str(path)!r} has format {number!r}, this pofx reads up to {FORMAT}: upgrade pofx")
    if meta["pofx"] != kind:
        raise BadFile(f"{str(path)!r} is a pofx {meta['pofx']!r} file, expected {kind!r}: give a {kind} file")
    try:
        arrays = load(data)
    except (SafetensorError, ValueError, KeyError, OverflowError) as error:
        raise BadFile(f"{str(path)!r} is truncated or damaged ({error}): take a copy or write it again") from error
    if list(arrays) == ["empty"]:
        arrays = {}
    text = meta.get("header", "")
    if _checksum(kind, number, text, arrays) != meta.get("checksum"):
        raise BadFile(f"{str(path)!r} does not match its checksum: it was changed or damaged; take another copy")
    return json.loads(text), arrays
