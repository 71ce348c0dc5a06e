"""Music in and out: JSON of chords, MIDI, ABC and CSV files, folders and archives of these; docs/music.md."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import store
from ..errors import CodecError, SpecError
from .gathering import Found
from .midi import ABC, MIDI, midi_of, read_score
from .pieces import Piece, Pieces
from .synth import wave_of
from .voices_io import csv_of, is_voices, read_voices, scores_of

ENDINGS = (*MIDI, *ABC)
CHORDS = re.compile(rb'\s*(\{\s*"\w+"\s*:\s*)?\[\s*\[\s*\[')  # how a JSON of pieces begins
GRID = 4  # steps of a quarter note, of MIDI and ABC
PARTS = {"train": 0, "valid": 1, "validation": 1, "test": 2}


# -- in ----------------------------------------------------------------------------------------------------------------


def holds_music(source: Any) -> bool:
    """Whether a source is music: `Pieces`, pieces, a .mid, .midi or .abc file, a .json of lists of lists of chords, a
    CSV of voices, a folder, archive or glob of which most files are such.
    """
    if isinstance(source, Pieces):
        return True
    if isinstance(source, list | tuple):
        return bool(source) and all(isinstance(piece, Piece) for piece in source)
    if not isinstance(source, str | Path):
        return False
    path = Path(source)
    if path.suffix.lower() == ".json" and path.is_file():
        with path.open("rb") as file:
            return CHORDS.match(file.read(4096)) is not None
    if path.suffix.lower() in ENDINGS:
        return True
    if path.suffix.lower() == ".csv" and path.is_file():
        return is_voices(_alone(path))
    with scores_of(source) as found:
        return 2 * sum(map(_musical, found or ())) > len(found or ())


def holds_voices(source: Any) -> bool:
    """Whether a source is music in voices: a CSV of such, or a folder or archive whose music is in CSV files, or pieces
    that all have the same number of voices, two or more.
    """
    if isinstance(source, Pieces | list | tuple):
        return (source if isinstance(source, Pieces) else Pieces(tuple(source))).voices > 1
    path = Path(source)
    if path.suffix.lower() in (".json", *ENDINGS):
        return False
    if path.suffix.lower() == ".csv":
        return True
    with scores_of(source) as found:
        music = [file for file in found or () if _musical(file)]
        return bool(music) and all(Path(file.parts[-1]).suffix.lower() == ".csv" for file in music)


def _alone(path: Path) -> Found:
    return Found((path.name,), str(path), lambda: path)


def _musical(file: Found) -> bool:
    return Path(file.parts[-1]).suffix.lower() in ENDINGS or is_voices(file)


def _scored(file: Found, grid: int) -> Piece:
    """The piece of a file."""
    return (read_voices if file.parts[-1].lower().endswith(".csv") else read_score)(_bytes(file), file.path, grid)


def read_pieces(source: Any, *, grid: int | None = None, broken: str = "refuse") -> tuple[Pieces, str]:
    """(pieces, kind of container: "json", "file", "folder" or "list") of a path or of pieces.

    grid: steps of a quarter note, of MIDI, ABC and CSV 4 by default; of JSON, whose steps are what they are, 1. broken:
    "refuse" or "skip" files that cannot be read. Pieces without a note are left out, which the notes say. Raises
    SpecError for other words, CodecError for what is not there or cannot be read.
    """
    if broken not in ("refuse", "skip"):
        raise SpecError(f"expected broken to be 'refuse' or 'skip', got {broken!r}")
    if grid is not None and (type(grid) is not int or not 1 <= grid <= 96):
        raise SpecError(f"expected a grid of 1 to 96 steps of a quarter note, got {grid!r}")
    if isinstance(source, Pieces | list | tuple):
        held, container = source if isinstance(source, Pieces) else Pieces(tuple(source)), "list"
    elif Path(source).suffix.lower() == ".json":
        held, container = _json(Path(source), grid or 1), "json"
    else:
        held, container = _files(source, grid or GRID, broken == "skip")
    full = [i for i, piece in enumerate(held.pieces) if piece.roll.any()]
    if not full:
        raise CodecError("expected pieces of music, got none that has a note: check the source")
    if len({held.pieces[i].grid for i in full}) > 1:
        raise CodecError("expected pieces of one grid, got several: read them with the same one")
    if silent := len(held) - len(full):
        held.notes["silence"] = f"{silent:,} pieces without a note, left out"
    return held.take(full), container


def _json(path: Path, grid: int) -> Pieces:
    """The pieces of a JSON file: a list of them, or one of each part."""
    try:
        told = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CodecError(f"could not read JSON from {str(path)!r}: {error}") from error
    parts = told if isinstance(told, dict) else {"train": told}
    if odd := sorted(set(parts) - set(PARTS)):
        raise CodecError(f"expected parts train, valid and test in {str(path)!r}, got {odd[0]!r}: leave it out")
    pieces, part = [], []
    for key, held in parts.items():
        if not isinstance(held, list):
            raise CodecError(f"expected a list of pieces in {str(path)!r}, got {type(held).__name__}")
        for i, steps in enumerate(held):
            if not isinstance(steps, list) or not all(isinstance(chord, list) for chord in steps):
                raise CodecError(f"expected each piece as a list of lists of pitches, got another at {key} {i}")
            pieces.append(Piece.of_chords(steps, grid=grid, name=f"{key}-{i}"))
            part.append(PARTS[key])
    if not isinstance(told, dict):
        return Pieces(tuple(pieces))
    if 0 not in part:
        raise CodecError(f"expected pieces for training (train) in {str(path)!r}, got none")
    counts = np.bincount(part, minlength=3)
    return Pieces(tuple(pieces), np.array(part), {"split": f"the file's own: {counts[0]}, {counts[1]}, {counts[2]}"})


def _files(source: str | Path, grid: int, skip: bool) -> tuple[Pieces, str]:
    """The pieces of a file, or of those of a folder, an archive or a glob; sub-folders train, valid and test that hold
    them all are their split.
    """
    path, pieces, folders, left, notes = Path(source), [], [], [], {}
    with scores_of(source) as found:
        if found is None:
            if not path.is_file():
                raise CodecError(f"expected music at {str(source)!r}, found nothing: check the path")
            return Pieces((_scored(_alone(path), grid),)), "file"
        for file in filter(_musical, found):
            try:
                pieces.append(_scored(file, grid))
                folders.append(file.parts[-2] if len(file.parts) > 1 else "")
            except CodecError as error:
                if not skip:
                    raise CodecError(f"{error} (broken='skip' leaves such files out)") from error
                left.append(file.path)
    if left:
        notes["broken"] = f"{len(left):,} files left out: {', '.join(left[:8])}"
    if "train" not in folders or not set(folders) <= set(PARTS):
        return Pieces(tuple(pieces), None, notes), "folder"
    part = np.array([PARTS[folder] for folder in folders])
    counts = np.bincount(part, minlength=3)
    notes["split"] = f"the folders' own: {counts[0]}, {counts[1]}, {counts[2]}"
    return Pieces(tuple(pieces), part, notes), "folder"


def _bytes(file: Found) -> bytes:
    opened = file.file()
    try:
        if isinstance(opened, Path):
            return opened.read_bytes()
        with opened:
            return opened.read()
    except OSError as error:
        raise CodecError(f"could not read {file.name}: {error}") from error


# -- out ---------------------------------------------------------------------------------------------------------------


def write_pieces(pieces: Sequence[Piece], path: str | Path, stem: str = "piece") -> int:
    """Writes pieces; how many. A .json holds the pitches of the steps of all of them, a .mid, .wav or .csv (of voices)
    one piece, or with a number in its name each of several; any other path is a folder, of a .mid and a .wav for each.

    Raises CodecError as `store.placed` does.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending == ".json":
        with store.placed(path) as file:
            file.write(json.dumps([piece.chords() for piece in pieces]).encode())
        return len(pieces)
    if ending in (*MIDI, ".wav", ".csv"):
        data = {".wav": wave_of, ".csv": csv_of}.get(ending, midi_of)
        for i, piece in enumerate(pieces):
            where = path if len(pieces) == 1 else path.with_stem(f"{path.stem}-{i + 1}")
            with store.placed(where) as file:
                file.write(data(piece))
        return len(pieces)
    if ending and not path.is_dir():
        raise CodecError(f"expected a .mid, .json or .wav file or a folder to write music to, got {str(path)!r}")
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise CodecError(f"could not make the folder {str(path)!r}: {error.strerror}") from error
    for i, piece in enumerate(pieces):
        for end, made in ((".mid", midi_of), (".wav", wave_of)):
            with store.placed(path / f"{stem}-{i + 1}{end}") as file:
                file.write(made(piece))
    return len(pieces)
