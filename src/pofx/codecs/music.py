"""The codec of music: piano rolls to the codes of their notes, step by step and from high to low, and back."""

from typing import Any, Self

import numpy as np

from ..errors import CodecError, SpecError
from ..fields import Note
from ..spec import Block, Columns, Spec
from .pieces import HELD, PITCHES, STRUCK, Piece, Pieces

MUSIC = "music"
STEP, FIRST = 1, 2  # the codes of a step's end and of the highest pitch; 0 is the END
DOWN, UP = 5, 6  # semitones beyond the pitches of training: what a fit transposes by


class MusicCodec:
    """How music becomes rows of T codes, and back: a bijection of piano rolls and legal sequences (`Note`).

    spec: the field `music` over T sites; grid: steps of a quarter note; tempo, program, velocity: those that drawn
    pieces have; length: the symbols that pieces are cut at, None: none are; segment: the steps of what is an example,
    None: pieces are.
    """

    kind = "music"

    def __init__(
        self, spec: Spec, grid: int, tempo: float, program: int, velocity: int, length: int | None = None,
        segment: int | None = None,
    ) -> None:  # fmt: skip
        self.spec, self.grid, self.tempo, self.program, self.velocity = spec, grid, tempo, program, velocity
        self.length, self.segment = length, segment
        field = spec.field(MUSIC)
        if not isinstance(field, Note):
            raise SpecError(f"expected a field of notes, got {field.kind}")
        self.field = field
        self.top = int(field.levels[FIRST])

    @classmethod
    def learn(cls, pieces: Pieces, *, length: int | None = None, segment: int | None = None) -> Self:
        """The codec of the pitches of these pieces and of some beyond; T the symbols of the longest one, or `length`.

        Tempo is their median, program the most frequent, velocity the mean. Raises SpecError for a length below 2,
        CodecError where there is nothing to learn.
        """
        if length is not None and length < 2:
            raise SpecError(f"expected a length of two symbols or more, got {length}")
        used = np.flatnonzero(sum((piece.roll.any(0) for piece in pieces.pieces), np.zeros(PITCHES)))
        if not len(used):
            raise CodecError("expected some music to learn from, got none: give pieces that have notes")
        top, low = min(int(used[-1]) + UP, PITCHES - 1), max(int(used[0]) - DOWN, 0)
        names = tuple(map(str, range(top, low - 1, -1)))
        levels = ("", "|", *names, *(f"~{name}" for name in names if pieces.held))
        codes = [_codes(piece, top, low, pieces.held) for piece in pieces.pieces]
        sites = length or max(map(len, codes)) + 1
        field = Note.learn(MUSIC, _rows(codes, sites, length), levels, held=pieces.held)
        programs = np.bincount([piece.program for piece in pieces.pieces])
        return cls(
            Spec((Block(MUSIC, (field,), (sites,)),)), pieces.pieces[0].grid,
            float(np.median([piece.tempo for piece in pieces.pieces])), int(programs.argmax()),
            round(float(np.mean([piece.velocity for piece in pieces.pieces]))), length, segment,
        )  # fmt: skip

    @property
    def pitches(self) -> tuple[int, int]:
        """The lowest and the highest pitch that has a code."""
        return self.top - self.field.pitches + 1, self.top

    def encode(self, pieces: Pieces, *, strict: bool = False) -> Columns:
        """{"music": int32 (n, T or more)}: a row for each piece, END (0) after it; longer than T where a piece is.

        A pitch without a code goes to the nearest octave that has one, or with `strict` raises CodecError; so does a
        grid that was not learned. Where no notes were held in training, all sounding ones are alike.
        """
        low, top = self.pitches
        for piece in pieces.pieces:
            if piece.grid != self.grid:
                raise CodecError(f"expected {self.grid} steps of a quarter note, as learned, got {piece.grid}")
            used = np.flatnonzero(piece.roll.any(0))
            if strict and len(used) and not low <= used[0] <= used[-1] <= top:
                raise CodecError(f"expected pitches from {low} to {top}, got {used[0]} to {used[-1]}: transpose it")
        codes = [_codes(piece, top, low, self.field.held) for piece in pieces.pieces]
        sites = self.spec.blocks[0].sites[0] or 0
        return {MUSIC: _rows(codes, max([sites, *(len(c) + 1 for c in codes)]), self.length)}

    def decode(self, x: Columns) -> Pieces:
        """The pieces of rows (n, T), up to their END."""
        return Pieces(tuple(self.piece(row) for row in np.asarray(x[MUSIC])))

    def piece(self, row: np.ndarray) -> Piece:
        """The piece of codes, (T,), up to the first END; notes of a step that was not closed make one."""
        codes = row[: np.argmax(row == 0)] if (row == 0).any() else row
        step = np.cumsum(codes == STEP) - (codes == STEP)
        note = codes >= FIRST
        kind, pitch = np.divmod(codes[note] - FIRST, self.field.pitches)
        roll = np.zeros((int(step[-1]) + 1 if len(step) else 0, PITCHES), np.uint8)
        roll[step[note], self.top - pitch] = np.where(kind == 1, HELD, STRUCK)
        return Piece(roll, self.grid, self.tempo, self.program, self.velocity)

    def to_json(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Plain values and arrays that rebuild the codec."""
        header, arrays = self.spec.split()
        words = {name: getattr(self, name) for name in ("grid", "tempo", "program", "velocity", "length", "segment")}
        return {"kind": self.kind, "spec": header} | words, arrays

    @classmethod
    def from_json(cls, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """What `to_json` gave."""
        words = {k: v for k, v in meta.items() if k not in ("kind", "spec")}
        return cls(Spec.join(meta["spec"], arrays), **words)


def _codes(piece: Piece, top: int, low: int, held: bool) -> np.ndarray:
    """The codes of a piece without its END, int32; pitches outside [low, top] by octaves into it."""
    roll = piece.roll
    used = np.flatnonzero(roll.any(0))
    if len(used) and not low <= used[0] <= used[-1] <= top:
        roll = np.zeros_like(roll)
        for pitch in used:
            octaves = -max(0, -(-(int(pitch) - top) // 12)) or max(0, -(-(low - int(pitch)) // 12))
            to = min(max(int(pitch) + 12 * octaves, low), top)
            roll[:, to] = np.maximum(roll[:, to], piece.roll[:, pitch])
        roll = Piece(roll).roll
    step, place = np.nonzero(roll[:, low : top + 1][:, ::-1])
    pitches = top - low + 1
    code = FIRST + place + pitches * ((roll[step, top - place] == HELD) & held)
    ends = np.arange(len(roll))
    order = np.argsort(np.concatenate([step, ends]), kind="stable")  # each step's end behind its notes
    return np.concatenate([code, np.full(len(roll), STEP)])[order].astype(np.int32)


def _rows(codes: list[np.ndarray], sites: int, length: int | None) -> np.ndarray:
    """Codes of pieces to rows, (n, T), cut at `length`, END (0) behind them."""
    sites = sites if length is None else length
    rows = np.zeros((len(codes), sites), np.int32)
    for row, code in zip(rows, codes, strict=True):
        row[: len(code)] = code[:sites]
    return rows
