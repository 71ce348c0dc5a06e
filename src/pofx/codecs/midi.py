"""MIDI and ABC: a file's bytes to a piece (package symusic), and a piece to the bytes of a MIDI file."""

import struct
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CodecError, Unsupported
from .pieces import HELD, HOLD, PITCHES, STRUCK, Piece

MIDI, ABC = (".mid", ".midi"), (".abc",)
LONGEST = 100_000  # steps of a piece
TICKS = 480  # of a quarter note, as written
DRUMS = 9  # the channel that has none but drums
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
    voices = _voices([held["time"].size for held in notes], first, after, pitch, len(roll))
    counts: dict[int, int] = {}
    for track in tracks:
        counts[track.program] = counts.get(track.program, 0) + len(track.notes)
    tempo = float(score.tempos[0].qpm) if len(score.tempos) else 120.0
    program, loud = max(counts, key=counts.__getitem__), round(velocity.mean())
    programs = () if voices is None else tuple(int(track.program) for track in tracks)
    return Piece(roll, grid, tempo, program, loud, Path(name).stem, voices, programs)


def _voices(sizes: list[int], first: np.ndarray, after: np.ndarray, pitch: np.ndarray, steps: int) -> np.ndarray | None:
    """What each track sounds in each step, (steps, tracks), as `Piece.voices`; None where one sounds two notes at once,
    for a step or more, or the pitch 0.
    """
    out = np.zeros((steps, len(sizes)), np.uint8)
    ends = np.cumsum(sizes)
    for line, begin, end in zip(out.T, ends - sizes, ends, strict=True):
        order = begin + np.argsort(first[begin:end], kind="stable")
        if (after[order[:-1]] > first[order[1:]]).any() or not pitch[order].all():
            return None
        for a, b, p in zip(first[order], after[order], pitch[order], strict=True):
            line[a:b] = p + HOLD
            line[a] = p
    return out


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
    """The bytes of a MIDI file: type 0, of one track, or with voices type 1, of a track and a program for each."""
    micros = min(max(round(60e6 / piece.tempo), 1), 2**24 - 1)
    tempo = b"\0\xff\x51\x03" + micros.to_bytes(3, "big")
    if piece.voices is None or piece.voices.shape[1] < 2:
        tracks = [tempo + _track(piece, events_of(piece), 0, piece.program)]
    else:
        count = piece.voices.shape[1]
        programs = piece.programs if len(piece.programs) == count else (piece.program,) * count
        voices = zip(piece.voices.T, programs, strict=True)
        tracks = [_track(piece, _sung(line), i % DRUMS, program) for i, (line, program) in enumerate(voices)]
        tracks[0] = tempo + tracks[0]
    head = struct.pack(">IHHH", 6, int(len(tracks) > 1), len(tracks), TICKS)
    return b"MThd" + head + b"".join(b"MTrk" + struct.pack(">I", len(track)) + track for track in tracks)


def _sung(line: np.ndarray) -> list[tuple[int, int, int]]:
    """The notes of a voice, as `events_of`."""
    starts = np.flatnonzero((line > 0) & (line < HOLD))
    rests = [line[first + 1 :] <= HOLD for first in starts]
    return [
        (int(first), int(first + 1 + (rest.argmax() if rest.any() else len(rest))), int(line[first]))
        for first, rest in zip(starts, rests, strict=True)
    ]


def _track(piece: Piece, notes: list[tuple[int, int, int]], channel: int, program: int) -> bytes:
    """The bytes of a track with these notes, (first step, step after the last, pitch)."""
    told = [event for first, after, pitch in notes for event in ((first, 1, pitch), (after, 0, pitch))]
    track, now = bytes((0, 0xC0 + channel, program % 128)), 0
    for step, on, pitch in sorted(told):
        at = round(step * TICKS / piece.grid)
        track += _count(at - now)
        track += bytes(((0x90 if on else 0x80) + channel, pitch, max(1, piece.velocity) if on else 64))
        now = at
    end = round(len(piece) * TICKS / piece.grid)
    return track + _count(end - now) + b"\xff\x2f\0"


def _count(number: int) -> bytes:
    """A number in groups of seven bits."""
    out = [number & 127]
    while number := number >> 7:
        out.append(number & 127 | 128)
    return bytes(reversed(out))
