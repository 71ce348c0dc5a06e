"""Pieces of music in memory: what sounds in each step of a grid."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from ..errors import CodecError

PITCHES = 128
SILENT, HELD, STRUCK = 0, 1, 2
HOLD = 128  # is added to a pitch of a voice that is held on


@dataclass(frozen=True, eq=False)
class Piece:
    """A piece: `roll` says of each step and MIDI pitch, uint8 (steps, 128), whether it is silent (0), held on from the
    step before (1) or struck (2).

    grid: steps of a quarter note; tempo: quarter notes a minute; program: of General MIDI, from 0; velocity: of all
    notes. Raises CodecError for a roll of another shape or other numbers. A pitch that is held where it did not sound
    before counts as struck. voices: where it has such, what each sounds in each step, uint8 (steps, V): a pitch that is
    struck, HOLD + a pitch that is held on, 0 for a rest; pitches are then 1 to 127. programs: that of each voice, where
    they are known.
    """

    roll: np.ndarray
    grid: int = 1
    tempo: float = 100.0
    program: int = 0
    velocity: int = 80
    name: str = ""
    voices: np.ndarray | None = None
    programs: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        roll = np.asarray(self.roll)
        if roll.ndim != 2 or roll.shape[1] != PITCHES or not np.isin(roll, (SILENT, HELD, STRUCK)).all():
            raise CodecError(f"expected a roll (steps, {PITCHES}) of 0, 1 and 2, got {roll.shape}: 2 is a struck note")
        before = np.concatenate([np.zeros((1, PITCHES), bool), roll[:-1] > 0])
        object.__setattr__(self, "roll", np.where((roll == HELD) & ~before, STRUCK, roll).astype(np.uint8))

    def __len__(self) -> int:
        """Steps."""
        return len(self.roll)

    @classmethod
    def of_chords(cls, chords: Sequence[Sequence[int]], **more: Any) -> Self:
        """The piece of the pitches of each step, all struck. Raises CodecError for what is no pitch from 0 to 127."""
        roll = np.zeros((len(chords), PITCHES), np.uint8)
        for row, chord in zip(roll, chords, strict=True):
            for pitch in chord:
                if type(pitch) is not int or not 0 <= pitch < PITCHES:
                    raise CodecError(f"expected pitches, whole numbers from 0 to 127, got {pitch!r}: leave it out")
                row[pitch] = STRUCK
        return cls(roll, **more)

    @classmethod
    def of_voices(cls, voices: np.ndarray, **more: Any) -> Self:
        """The piece of what V voices sound in each step, as `voices` says it. Raises CodecError for other numbers."""
        told = np.asarray(voices)
        if told.ndim != 2 or told.dtype.kind not in "iu" or (told.size and not 0 <= told.min() <= told.max() < 256):
            raise CodecError(f"expected voices (steps, V) of pitches from 0 to 127, got {told.shape} {told.dtype}")
        told = told.astype(np.uint8)
        pitch, before = told % HOLD, np.concatenate([np.zeros_like(told[:1]), told[:-1]])[: len(told)] % HOLD
        told = np.where((told > HOLD) & (pitch == before), told, pitch)  # held only where it sounded
        roll = np.zeros((len(told), PITCHES), np.uint8)
        for line in told.T:
            step = np.flatnonzero(line)
            state = np.where(line[step] > HOLD, HELD, STRUCK)
            roll[step, line[step] % HOLD] = np.maximum(roll[step, line[step] % HOLD], state)
        return cls(roll, voices=told, **more)

    @classmethod
    def of_lines(cls, pitches: np.ndarray, **more: Any) -> Self:
        """The piece of the pitches of V voices in each step, (steps, V), 0 for a rest: one that repeats is held."""
        told = np.asarray(pitches)
        if told.ndim != 2 or told.dtype.kind not in "iu" or (told.size and not 0 <= told.min() <= told.max() < HOLD):
            raise CodecError(f"expected whole pitches from 0 to 127, 0 for a rest, of each voice, got {told.dtype}")
        return cls.of_voices(joined(told), **more)

    @property
    def lines(self) -> np.ndarray:
        """The pitches of the voices in each step, int64 (steps, V), 0 for a rest."""
        return np.zeros((len(self), 0), int) if self.voices is None else self.voices.astype(int) % HOLD

    def chords(self) -> list[list[int]]:
        """The pitches that sound in each step, rising."""
        return [np.flatnonzero(row).tolist() for row in self.roll]

    def transposed(self, by: int) -> Self:
        """The piece `by` semitones higher. Raises CodecError where it leaves the pitches that there are."""
        pitches = np.flatnonzero(self.roll.any(0))
        if len(pitches) and not 0 <= pitches[0] + by <= pitches[-1] + by < PITCHES:
            raise CodecError(f"expected pitches from 0 to 127 after moving by {by}: move it by less")
        if self.voices is not None:
            held: dict[str, Any] = {
                "grid": self.grid,
                "tempo": self.tempo,
                "program": self.program,
                "velocity": self.velocity,
            }
            held["programs"] = self.programs
            voices = np.where(self.voices % HOLD > 0, self.voices.astype(int) + by, 0)
            return self.of_voices(voices, name=self.name, **held)
        return replace(self, roll=np.roll(self.roll, by, 1))


def joined(pitches: np.ndarray) -> np.ndarray:
    """Pitches (steps, V), 0 for a rest, as `Piece.voices` says them: what repeats is held."""
    again = np.concatenate([np.zeros_like(pitches[:1], bool), pitches[1:] == pitches[:-1]])[: len(pitches)]
    return np.where(again & (pitches > 0), pitches + HOLD, pitches)


@dataclass(frozen=True)
class Pieces:
    """Pieces of one grid. part: which are for training (0), validation (1) and test (2), where their file says so;
    notes: what was found or lost in reading, by subject; owner: of segments the number of the piece that each was cut
    from.
    """

    pieces: tuple[Piece, ...]
    part: np.ndarray | None = None
    notes: dict[str, str] = field(default_factory=dict)
    owner: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.pieces)

    @property
    def held(self) -> bool:
        """Whether some notes are held over steps, so that struck and held ones are told apart."""
        return any((piece.roll == HELD).any() for piece in self.pieces)

    @property
    def voices(self) -> int:
        """How many voices all of these have; 0 where some have none, or another number."""
        found = {0 if piece.voices is None else piece.voices.shape[1] for piece in self.pieces}
        return found.pop() if len(found) == 1 else 0

    def take(self, rows: np.ndarray | Sequence[int]) -> Self:
        """The pieces of these numbers."""
        index = np.asarray(rows, int)
        part, owner = (None if v is None else v[index] for v in (self.part, self.owner))
        return replace(self, pieces=tuple(self.pieces[i] for i in index), part=part, owner=owner)

    def cut(self, steps: int) -> Self:
        """Each piece in segments of `steps` steps one after the other; an end of less than half of them is left out,
        unless it is all that there is, and so are segments without a note. What is held from before is struck.

        Raises CodecError where no segment has a note.
        """
        made, owner = [], []
        for k, piece in enumerate(self.pieces):
            for first in range(0, max(len(piece) - steps // 2, 0) + 1, steps):
                roll = piece.roll[first : first + steps]
                if roll.any():
                    made.append(replace(piece, roll=roll, voices=None))
                    owner.append(k)
        if not made:
            raise CodecError(f"expected segments of {steps} steps that have notes, got none: take fewer steps")
        part = None if self.part is None else self.part[owner]
        return replace(self, pieces=tuple(made), part=part, owner=np.array(owner, int))

    def fingerprint(self) -> str:
        """SHA-256 over the rolls and their grids."""
        digest = hashlib.sha256()
        for piece in self.pieces:
            digest.update(f"{piece.grid}|{piece.roll.shape}|".encode() + piece.roll.tobytes())
            if piece.voices is not None:
                digest.update(piece.voices.tobytes())
        return digest.hexdigest()
