"""Voices in and out: CSV files of one column of MIDI pitches for each voice, and tar archives of such."""

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import CodecError
from .gathering import Found, files_of
from .pieces import Piece

TARS = (".tgz", ".tar.gz", ".tar")
ROWS = 4  # rows of a quarter note
HEAD, ENTRY = b"note0", 1 << 24  # how such a file begins; its bytes at most


@contextmanager
def scores_of(source: str | Path) -> Iterator[list[Found] | None]:
    """`files_of` in the order of their paths, of a tar archive too. Raises CodecError for one that is damaged."""
    path = Path(source)
    if not str(path).lower().endswith(TARS) or not path.is_file():
        with files_of(source) as found:
            yield found if found is None else sorted(found, key=lambda file: file.parts)
        return
    try:
        with tarfile.open(path) as archive:
            members = [(m, m.name.removeprefix("./")) for m in archive if m.isfile() and m.size <= ENTRY]
            held = [(name, archive.extractfile(m)) for m, name in members]
            data = {name: file.read() for name, file in held if file is not None}
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise CodecError(f"could not read the archive {str(path)!r}: {error}; take another copy") from error
    found = [Found(tuple(name.split("/")), f"{path}/{name}", partial(io.BytesIO, held)) for name, held in data.items()]
    yield sorted((file for file in found if not file.parts[-1].startswith(".")), key=lambda file: file.parts)


def is_voices(file: Found) -> bool:
    """Whether a file is a CSV whose first column is note0."""
    if Path(file.parts[-1]).suffix.lower() != ".csv":
        return False
    try:
        opened = file.file()
        with opened.open("rb") if isinstance(opened, Path) else opened as held:
            return held.read(len(HEAD)) == HEAD
    except (OSError, CodecError):
        return False


def read_voices(data: bytes, name: str, grid: int) -> Piece:
    """The piece of a CSV: columns note0, note1, ... from the highest voice down, MIDI pitches of each 16th note, 0 for
    a rest. `grid` steps of a quarter note are kept. Raises CodecError for what is no such file or grid.
    """
    if ROWS % grid:
        raise CodecError(f"expected a grid of 1, 2 or 4 steps of a quarter note for voices in CSV, got {grid}")
    try:
        head, *lines = data.decode("utf-8-sig").split()
        told = np.array([[int(cell or 0) for cell in line.split(",")] for line in lines], int)
    except ValueError as error:
        raise CodecError(f"{name}: expected whole pitches from 0 to 127 in each cell: {error}") from error
    names = head.split(",")
    if names != [f"note{v}" for v in range(len(names))] or told.ndim != 2 or told.shape[1] != len(names):
        raise CodecError(f"{name}: expected columns note0, note1, ... and a pitch of each in every row, got {head!r}")
    if not 0 <= told.min() <= told.max() < 128:
        raise CodecError(f"{name}: expected pitches from 0 to 127, got {told.min()} to {told.max()}")
    return Piece.of_lines(told[:: ROWS // grid], grid=grid, name=Path(name).stem)


def csv_of(piece: Piece) -> bytes:
    """The bytes of such a file. Raises CodecError for a piece without voices, or of another grid than 1, 2 and 4."""
    if piece.voices is None or ROWS % piece.grid:
        raise CodecError("expected a piece in voices on 1, 2 or 4 steps of a quarter note for CSV: write a .mid")
    lines = np.repeat(piece.lines, ROWS // piece.grid, 0)
    head = ",".join(f"note{v}" for v in range(lines.shape[1]))
    return "\n".join([head, *(",".join(map(str, line)) for line in lines), ""]).encode()
