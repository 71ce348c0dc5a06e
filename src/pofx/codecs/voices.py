"""The codec of music in voices: what each voice sounds in each step to a code, and back."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from ..errors import CodecError, SpecError
from ..fields import Voice
from ..spec import Block, Columns, Spec
from .music import DOWN, MUSIC, UP
from .pieces import Piece, Pieces

REST, FIRST = 1, 2  # the codes of a rest and of the lowest pitch; 0 is the END
QUARTET = ("soprano", "alto", "tenor", "bass")


class VoicesCodec:
    """How music in V voices becomes rows of T codes, and back: voice v of step s at site s V + v.

    spec: the field `music` (`Voice`) over T sites; grid: steps of a quarter note; tempo, program, velocity: those that
    drawn pieces have, programs: of each voice, where those were told; length: the steps that pieces are cut at, None:
    none are. Codes say what sounds, not whether it is struck: a pitch that repeats is held.
    """

    kind = "voices"
    segment: int | None = None  # of MusicCodec: pieces are examples

    def __init__(
        self, spec: Spec, grid: int, tempo: float, program: int, velocity: int, length: int | None = None,
        programs: Sequence[int] = (),
    ) -> None:  # fmt: skip
        self.spec, self.grid, self.tempo, self.program, self.velocity = spec, grid, tempo, program, velocity
        self.length, self.programs = length, tuple(programs)
        field = spec.field(MUSIC)
        if not isinstance(field, Voice):
            raise SpecError(f"expected a field of voices, got {field.kind}")
        self.field, self.voices = field, field.voices
        self.low = int(field.levels[FIRST])

    @classmethod
    def learn(cls, pieces: Pieces, *, length: int | None = None) -> Self:
        """The codec of the pitches of these pieces and of some beyond; T sites for the longest one and its END.

        Raises SpecError for a length below 1, CodecError where there is nothing to learn, or not in voices.
        """
        if length is not None and length < 1:
            raise SpecError(f"expected a length of one step or more, got {length}")
        voices = pieces.voices
        used = np.unique(np.concatenate([piece.lines.ravel() for piece in pieces.pieces] or [np.zeros(0, int)]))
        used = used[used > 0]
        if not voices or not len(used):
            raise CodecError("expected pieces of the same number of voices, of one note at a time each, got others")
        low, top = max(int(used[0]) - DOWN, 1), min(int(used[-1]) + UP, 127)
        levels = ("", "-", *map(str, range(low, top + 1)))
        codes = [_codes(piece, low) for piece in pieces.pieces]
        steps = length or max(map(len, codes))
        rows = _rows(codes, steps + 1, length)
        field = Voice.learn(MUSIC, rows, levels, voices=voices)
        programs = np.bincount([piece.program for piece in pieces.pieces])
        return cls(
            Spec((Block(MUSIC, (field,), (rows.shape[1],)),)), pieces.pieces[0].grid,
            float(np.median([piece.tempo for piece in pieces.pieces])), int(programs.argmax()),
            round(float(np.mean([piece.velocity for piece in pieces.pieces]))), length, _programs(pieces),
        )  # fmt: skip

    @property
    def pitches(self) -> tuple[int, int]:
        """The lowest and the highest pitch that has a code."""
        return self.low, self.low + len(self.field.levels) - FIRST - 1

    @property
    def names(self) -> tuple[str, ...]:
        """What the voices are called: soprano, alto, tenor and bass where they are four, else voice1 and so on."""
        return QUARTET if self.voices == len(QUARTET) else tuple(f"voice{v + 1}" for v in range(self.voices))

    def encode(self, pieces: Pieces, *, strict: bool = False) -> Columns:
        """{"music": int32 (n, T or more)}: a row for each piece, END (0) after it; longer than T where a piece is.

        A pitch without a code goes to the nearest octave that has one, or with `strict` raises CodecError; so do a grid
        and a number of voices that were not learned.
        """
        if len(pieces) and pieces.voices != self.voices:
            raise CodecError(f"expected pieces of {self.voices} voices, of one note at a time each, got others")
        rows = [self.codes(piece, strict=strict) for piece in pieces.pieces]
        steps = (self.spec.blocks[0].sites[0] or 0) // self.voices
        return {MUSIC: _rows(rows, max([steps, *(len(row) + 1 for row in rows)]), self.length, self.voices)}

    def codes(self, piece: Piece, *, strict: bool = True) -> np.ndarray:
        """The codes of a piece of any voices, (steps, voices), int64. Raises CodecError as `encode` does."""
        low, top = self.pitches
        if piece.grid != self.grid:
            raise CodecError(f"expected {self.grid} steps of a quarter note, as learned, got {piece.grid}")
        lines = piece.lines
        used = lines[lines > 0]
        if strict and len(used) and not low <= used.min() <= used.max() <= top:
            raise CodecError(f"expected pitches from {low} to {top}, got {used.min()} to {used.max()}: transpose it")
        octaves = np.maximum(0, -((lines - low) // 12)) - np.maximum(0, -((top - lines) // 12))
        lines = np.where(lines > 0, np.clip(lines + 12 * octaves, low, top), 0)
        return np.where(lines > 0, lines - low + FIRST, REST)

    def decode(self, x: Columns) -> Pieces:
        """The pieces of rows (n, T), up to their END."""
        return Pieces(tuple(self.piece(row) for row in np.asarray(x[MUSIC])))

    def piece(self, row: np.ndarray) -> Piece:
        """The piece of codes, (T,), up to the first END."""
        ended = np.flatnonzero(row == 0)
        steps = (int(ended[0]) if len(ended) else len(row)) // self.voices
        return Piece.of_lines(self.pitched(row[: steps * self.voices]), **self.manner)

    def pitched(self, codes: np.ndarray) -> np.ndarray:
        """The pitches of codes, (steps, V), 0 for a rest."""
        told = codes.reshape(-1, self.voices).astype(int)
        return np.where(told >= FIRST, told - FIRST + self.low, 0)

    @property
    def manner(self) -> dict[str, Any]:
        """What drawn pieces have beside their notes."""
        return {name: getattr(self, name) for name in ("grid", "tempo", "program", "velocity", "programs")}

    def to_json(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Plain values and arrays that rebuild the codec."""
        header, arrays = self.spec.split()
        return {"kind": self.kind, "spec": header, "length": self.length} | self.manner, arrays

    @classmethod
    def from_json(cls, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """What `to_json` gave."""
        words = {k: v for k, v in meta.items() if k not in ("kind", "spec")}
        return cls(Spec.join(meta["spec"], arrays), **words)


def _programs(pieces: Pieces) -> tuple[int, ...]:
    """The most frequent program of each voice; none where no piece tells them."""
    told = [piece.programs for piece in pieces.pieces if piece.programs]
    return tuple(int(np.bincount(own).argmax()) for own in zip(*told, strict=True))


def _codes(piece: Piece, low: int) -> np.ndarray:
    return np.where(piece.lines > 0, piece.lines - low + FIRST, REST)


def _rows(codes: list[np.ndarray], steps: int, length: int | None, voices: int | None = None) -> np.ndarray:
    """Codes (steps, V) of pieces to rows, (n, T), cut at `length` steps, END (0) behind them."""
    steps = steps if length is None else length + 1
    rows = np.zeros((len(codes), steps, voices or codes[0].shape[1]), np.int32)
    for row, code in zip(rows, codes, strict=True):
        row[: len(code)][: steps - 1] = code[: steps - 1]
    return rows.reshape(len(codes), -1)
