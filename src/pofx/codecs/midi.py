"""MIDI and ABC: a file's bytes to a piece (package symusic), and a piece to the bytes of a MIDI file."""

import struct
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CodecError, Unsupported
from .pieces import HELD, PITCHES, STRUCK, Piece

MIDI, ABC = (".mid", ".midi"), (".abc",)
LONGEST = 100_000  # steps of a piece
TICKS = 480  # of a quarter note, as written
SMALLEST, TWO = 14, 2  # bytes of a header; the format of which tracks are pieces of their own


def read_score(data: bytes, name: str, grid: int) -> Piece:
    """The piece of a MIDI or ABC file, all of its tracks but drums together, on `grid` steps of a quarter note.

    A note begins at the step nearest to it and lasts one step or more. Tempo is the first one, the program that of most
    notes, the velocity their mean. Raises CodecError for what cannot be read, no notes and a MIDI file of type 2.
    """
    score = _score(data, name)
    tracks = [track for track in score.tracks if not track.is_drum and len(track.notes)]
    if not tracks:
        raise CodecError(f"{name} holds no notes (drums aside), expected a piece of music: leave it out")
    notes = [track.notes.numpy() for track in tracks]
    start, lasts, pitch, velocity = (
        np.concatenate([held[k] for held in notes]).astype(np.int64) for k in ("time", "duration", "pitch", "velocity")
    )
    first = np.floor(start * grid / score.tpq + 0.5).astype(int)
    after = np.maximum(np.floor((start + lasts) * grid / score.tpq + 0.5).astype(int), first + 1)
    if after.max() > LONGEST:
        raise CodecError(f"{name} has {after.max():,} steps, expected {LONGEST:,} at most: read it with a coarser grid")
    roll = np.zeros((after.max(), PITCHES), np.uint8)
    for a, b, p in zip(first, after, pitch, strict=True):
        roll[a:b, p] = np.maximum(roll[a:b, p], HELD)
    roll[first, pitch] = STRUCK
    counts: dict[int, int] = {}
    for track in tracks:
        counts[track.program] = counts.get(track.program, 0) + len(track.notes)
    tempo = float(score.tempos[0].qpm) if len(score.tempos) else 120.0
    return Piece(roll, grid, tempo, max(counts, key=counts.__getitem__), round(velocity.mean()), Path(name).stem)


def _score(data: bytes, name: str) -> Any:
    """The file as symusic has it."""
    symusic = _package()
    try:
        if Path(name).suffix.lower() in ABC:
            return symusic.Score.from_abc(data.decode("utf-8", "replace"))
        if len(data) >= SMALLEST and data[:4] == b"MThd" and data[8:10] == bytes((0, TWO)):
            raise CodecError(f"{name} is a MIDI file of type 2, whose tracks are pieces of their own: split it")
        return symusic.Score.from_midi(data)
    except (RuntimeError, ValueError, TypeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise CodecError(f"{name} could not be read as music: {reason}; take another copy") from error


def _package() -> Any:
    """The package symusic; Unsupported where it is not installed."""
    try:
        import symusic
    except ImportError:
        raise Unsupported(
            'expected the package symusic to read MIDI and ABC, got none: pip install "pofx[music]"'
        ) from None
    return symusic


def events_of(piece: Piece) -> list[tuple[int, int, int]]:
    """The notes of a piece, (first step, step after the last, pitch), by the step they begin in."""
    out = []
    for pitch in np.flatnonzero(piece.roll.any(0)):
        line = np.append(piece.roll[:, pitch], 0)
        for first in np.flatnonzero(line == STRUCK):
            rest = line[first + 1 :]
            out.append((int(first), int(first + 1 + np.argmax(rest != HELD)), int(pitch)))
    return sorted(out)


def midi_of(piece: Piece) -> bytes:
    """The bytes of a MIDI file of one track, type 0."""
    told = []
    for first, after, pitch in events_of(piece):
        told += [(first, 1, pitch), (after, 0, pitch)]
    micros = min(max(round(60e6 / piece.tempo), 1), 2**24 - 1)
    track = b"\0\xff\x51\x03" + micros.to_bytes(3, "big") + bytes((0, 0xC0, piece.program % 128))
    now = 0
    for step, on, pitch in sorted(told):
        at = round(step * TICKS / piece.grid)
        track += _count(at - now) + bytes((0x90 if on else 0x80, pitch, max(1, piece.velocity) if on else 64))
        now = at
    end = round(len(piece) * TICKS / piece.grid)
    track += _count(end - now) + b"\xff\x2f\0"
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, TICKS) + b"MTrk" + struct.pack(">I", len(track)) + track


def _count(number: int) -> bytes:
    """A number in groups of seven bits."""
    out = [number & 127]
    while number := number >> 7:
        out.append(number & 127 | 128)
    return bytes(reversed(out))
