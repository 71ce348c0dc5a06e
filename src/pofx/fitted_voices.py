"""`FittedVoices`: a model of music in voices, and what it fills: voices to given ones, and bars."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .codecs.music import MUSIC
from .codecs.music_io import write_pieces
from .codecs.pieces import Piece, Pieces, joined
from .codecs.voices import VoicesCodec
from .errors import CodecError, SpecError, Unsupported
from .evaluate_music import MusicEvidence, evaluate_voices
from .fitted_music import FittedMusic, check_place, rolls_of
from .models.voiced import Voiced
from .progress import bar

BAR = 4  # quarter notes
ORDERS = 8  # that bounds are means of


class FittedVoices(FittedMusic):
    """A fitted model of V voices, as `FittedMusic`. log p is a bound, nats a piece with its end."""

    codec: VoicesCodec  # type: ignore[assignment]
    model: Voiced

    def _shape(self) -> str:
        low, top = self.codec.pitches
        voices, grid = ", ".join(self.codec.names), self.codec.grid
        return f"music in {self.codec.voices} voices ({voices}), {grid} steps a quarter note, pitches {low} to {top}"

    def _tempered(self, temperature: float, top_p: float) -> Any:
        return nullcontext() if temperature == 1 and top_p == 1 else self.model.tempered(temperature, top_p)

    def _steps(self, codes: np.ndarray) -> np.ndarray:
        return (codes > 0).sum(1) // self.codec.voices

    def complete(
        self,
        source: Any,
        *,
        voices: Sequence[str] | str | None = None,
        bars: tuple[int, int] | None = None,
        draws: int | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int | None = 0,
        path: str | Path | None = None,
        quiet: bool = False,
        allow_failed: bool = False,
    ) -> Any:
        """Pieces whose missing voices or bars are drawn, given all the rest; what is given stays as it is.

        source: music in voices (MIDI of a track for each, CSV, `Piece`), or a melody: the pitch of each step, 0 for a
        rest. voices: the names of those that are known (by default the first ones, of a source that has fewer than the
        model; soprano, of a melody). bars: the first and the last, from 1, of four quarter notes, that are drawn;
        others are known. draws: several of each, one after the other. path: as `sample` has it.

        Raises SpecError for voices and bars that are not there, and nothing to draw, CodecError for pitches that were
        not learned and music that is not in voices, Unsupported where a piece would miss voices outside its bars.
        """
        if draws is not None and draws < 1:
            raise SpecError(f"expected a draw or more, got {draws}")
        self._trust(allow_failed)
        check_place(path)
        asked = [_hidden(self.codec, piece, voices, bars) for piece in self._scores(source)]
        made = []
        with (
            self._tempered(temperature, top_p),
            torch.inference_mode(),
            bar("filling", len(asked) * (draws or 1), "piece", quiet) as tick,
        ):
            generator = torch.Generator().manual_seed(self._seed(seed))
            for piece, known, codes, hidden in asked:
                for _ in range(draws or 1):
                    drawn = joined(self.codec.pitched(self._filled(codes, hidden, generator)))
                    done = Piece.of_voices(np.where(hidden, drawn, known))
                    own = piece.programs if len(piece.programs) == self.codec.voices else self.codec.programs
                    made.append(replace(piece, roll=done.roll, voices=done.voices, programs=own))
                    tick(1)
        return made if path is None else write_pieces(made, path)

    def _scores(self, source: Any) -> tuple[Piece, ...]:
        """The pieces of a source, or of a melody."""
        if isinstance(source, list | tuple | np.ndarray) and len(source) and not isinstance(source[0], Piece):
            if not all(isinstance(pitch, int | np.integer) for pitch in source):
                raise CodecError("expected a melody as a list of whole pitches, one a step, 0 for a rest")
            return (Piece.of_lines(np.asarray(source)[:, None], **self.codec.manner),)
        return self._pieces(source).pieces

    def _filled(self, codes: np.ndarray, hidden: np.ndarray, generator: torch.Generator) -> np.ndarray:
        """Codes (steps, V) with the hidden ones drawn."""
        end = np.zeros((1, self.codec.voices), np.int64)
        x = torch.from_numpy(np.concatenate([codes, end]).reshape(1, -1))
        seen = ~torch.from_numpy(np.concatenate([hidden, end > 0]).reshape(1, -1))
        u = torch.rand(1, 2 * x.shape[1], generator=generator)
        return self.model.filled(x, torch.tensor([codes.size]), u, seen)[0, : codes.size].numpy()

    def _evidence(
        self, learned: Pieces, unseen: Pieces, rows: int, seed: int, tick: Callable[[int], None]
    ) -> MusicEvidence:
        x = self.codec.encode(unseen)
        whole = -self.model.log_prob(x)
        rest = -given_first(self.model, x[MUSIC], seed)
        tick(1)
        drawn = Pieces(tuple(self._joined(list(self._draws(rows, seed=seed, quiet=True)))))
        made = harmonised(self.model, self.codec, unseen.take(range(min(rows, len(unseen)))), seed)
        tick(1)
        held = {"drawn": drawn, "harmonised": made, "learned": learned, "unseen": unseen}
        lines = [[piece.lines for piece in part.pieces] for part in (learned, self.codec.decode(x))]
        evidence = evaluate_voices(whole, rest, lines[0], lines[1], rolls_of(held))
        tick(1)
        return evidence


@torch.inference_mode()
def given_first(model: Voiced, codes: np.ndarray, seed: int) -> np.ndarray:
    """The bound of log p of all voices but the first given it, (n,), nats, of codes (n, T): the mean of ORDERS."""
    others = (torch.arange(codes.shape[1]) % model.voices > 0).expand(codes.shape)
    return model.conditional(torch.from_numpy(codes).long(), others, ORDERS, seed).numpy()


@torch.inference_mode()
def harmonised(model: Voiced, codec: VoicesCodec, pieces: Pieces, seed: int) -> Pieces:
    """The first voice of each piece, the others drawn."""
    x = torch.from_numpy(codec.encode(pieces)[MUSIC]).long()
    seen = torch.arange(x.shape[1]) % codec.voices == 0
    generator = torch.Generator().manual_seed(seed)
    out = []
    for part in x.split(model.span):
        u = torch.rand(len(part), 2 * part.shape[1], generator=generator)
        out.append(model.filled(part, (part > 0).sum(1), u, seen.expand(part.shape)))
    return codec.decode({MUSIC: torch.cat(out).numpy()})


def _hidden(
    codec: VoicesCodec, piece: Piece, voices: Sequence[str] | str | None, bars: tuple[int, int] | None
) -> tuple[Piece, np.ndarray, np.ndarray, np.ndarray]:
    """(a piece, what all voices sound where it is known, its codes, which of them are drawn), (steps, V) each."""
    if piece.voices is None:
        raise CodecError("expected music in voices, of one note at a time each, got chords: give a melody, or tracks")
    own, steps = piece.voices.shape[1], len(piece)
    if own > codec.voices:
        raise CodecError(f"expected at most {codec.voices} voices, got {own}")
    names = codec.names[: own if own < codec.voices else 0] if voices is None else voices
    names = [names] if isinstance(names, str) else list(names)
    if odd := [name for name in names if name not in codec.names]:
        raise SpecError(f"expected voices among {', '.join(codec.names)}, got {odd[0]!r}")
    known = [codec.names.index(name) for name in names]
    if own not in (codec.voices, len(known)):
        raise SpecError(f"expected the names of {own} voices, as the piece has, got {len(known)}: {', '.join(names)}")
    if voices is None and bars is None and own == codec.voices:
        raise SpecError(f"expected voices or bars to draw, got a piece of all {own} voices: say which are known")
    if bars is not None and own < codec.voices:
        raise Unsupported(f"bars are drawn in pieces of all {codec.voices} voices, got {own}: draw the voices first")
    told, codes = np.zeros((steps, codec.voices), np.uint8), np.ones((steps, codec.voices), np.int64)
    place = range(own) if own == codec.voices else known
    told[:, place], codes[:, place] = piece.voices, codec.codes(piece)
    hidden = np.ones((steps, codec.voices), bool)
    hidden[:, known] = False
    if bars is not None:
        first, last = bars
        size = BAR * codec.grid
        if not 1 <= first <= last <= -(-steps // size):
            raise SpecError(f"expected bars from 1 to {-(-steps // size)}, got {first} to {last}")
        hidden[: (first - 1) * size] = hidden[last * size :] = False
    if not hidden.any():
        raise SpecError("expected voices or bars to draw, got a piece of which all is known: say less of it is")
    return piece, told, codes, hidden
