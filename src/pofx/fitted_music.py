"""`FittedMusic`: a model of music, and the verbs on pieces."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import store
from .bundle import Fitted
from .codecs.music import MUSIC, STEP, MusicCodec
from .codecs.music_io import read_pieces, write_pieces
from .codecs.pieces import Piece, Pieces
from .codecs.tabular_io import to_frame
from .codecs.writing import write_table
from .errors import CodecError, SpecError, Unsupported
from .evaluate_music import MusicEvidence, evaluate_music
from .judging import check_asked, write_evidence
from .models.sequence_vae import CodedSequence
from .models.sequential import Sequential
from .progress import bar
from .spec import Columns, Given
from .split import parts


class FittedMusic(Fitted):
    """A fitted model of music. What comes out is a list of `Piece` (codecs/pieces.py), or files: .mid, .wav, .json, or
    a folder of a .mid and a .wav for each. log p is in nats a piece with its end, exact over piano rolls.
    """

    codec: MusicCodec

    def _shape(self) -> str:
        low, top = self.codec.pitches
        sites, held = self.codec.spec.blocks[0].sites[0], ", struck or held" if self.codec.field.held else ""
        what = "music" if self.codec.segment is None else f"segments of {self.codec.segment} steps of music,"
        return f"{what} of some {sites} symbols, {self.codec.grid} steps a quarter note, pitches {low} to {top}{held}"

    def _given(self, given: Sequence[str] | str | Mapping[str, Any] | None) -> Given | None:
        if given:
            raise Unsupported("music was learned without labels, which conditions are on: leave given out")
        return None

    def _made(self, x: Columns, first: int, plain: bool = False) -> list[Piece]:
        return list(self.codec.decode(x).pieces)

    def _joined(self, rows: list[list[Piece]]) -> list[Piece]:
        return [piece for part in rows for piece in part]

    def _written(self, rows: Iterable[list[Piece]], path: str | Path) -> int:
        return write_pieces([piece for part in rows for piece in part], path)

    def _out(self, rows: list[Piece], kind: str) -> list[Piece]:
        return rows

    def _pieces(self, source: Any) -> Pieces:
        source = [source] if isinstance(source, Piece) else source
        pieces, _ = read_pieces(source, grid=self.codec.grid, broken=self.provenance["reading"].get("broken", "refuse"))
        return pieces if self.codec.segment is None else pieces.cut(self.codec.segment)

    def _read(self, source: Any) -> tuple[Pieces, str, Columns, Columns | None]:
        pieces = self._pieces(source)
        return pieces, "list", self.codec.encode(pieces, strict=True), None

    def _tempered(self, temperature: float, top_p: float) -> Any:
        if temperature == 1 and top_p == 1:
            return nullcontext()
        if not isinstance(self.model, Sequential):
            raise Unsupported(f"model {self.model.name!r} has no temperature: autoregressive has")
        return self.model.tempered(temperature, top_p)

    def sample(  # type: ignore[override]
        self,
        n: int,
        given: Any = None,
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int | None = None,
        path: str | Path | None = None,
        quiet: bool = False,
        allow_failed: bool = False,
    ) -> Any:
        """`Fitted.sample`, of p^(1 / temperature) and of the likeliest symbols that hold `top_p` of it.

        path: a .json of all pieces, a .mid or .wav, or a folder of both for each. They have the tempo, the program and
        the velocity of training.
        """
        check_place(path)
        with self._tempered(temperature, top_p):
            pieces = super().sample(n, given, seed=seed, quiet=quiet, allow_failed=allow_failed)
        return pieces if path is None else write_pieces(pieces, path)

    def continue_(
        self,
        source: Any,
        *,
        symbols: int | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int | None = None,
        path: str | Path | None = None,
        quiet: bool = False,
        allow_failed: bool = False,
    ) -> Any:
        """Each piece of a source, and what follows it: up to its end, or `symbols` symbols (notes and ends of steps; T
        at most where none are said). Tempo, program and velocity are those of the piece.

        Raises SpecError for symbols below 1, CodecError for pitches that were not learned, Unsupported for a model that
        does not go from left to right.
        """
        if not isinstance(self.model, Sequential) or isinstance(self.model, CodedSequence):
            raise Unsupported(f"model {self.model.name!r} does not go on from a prompt: autoregressive does")
        if symbols is not None and symbols < 1:
            raise SpecError(f"expected at least one symbol, got {symbols}")
        self._trust(allow_failed)
        check_place(path)
        pieces, _, x, _ = self._read(source)
        made = []
        with (
            self._tempered(temperature, top_p),
            torch.inference_mode(),
            bar("writing", len(pieces), "piece", quiet) as tick,
        ):
            generator = torch.Generator().manual_seed(self._seed(seed))
            for piece, row in zip(pieces.pieces, x[MUSIC], strict=True):
                prompt = row[row != 0].astype(np.int64)
                u = torch.rand(1, symbols or self.model.length, generator=generator)
                more = self.model.continued(torch.from_numpy(prompt)[None], u)[0]
                roll = self.codec.piece(np.append(prompt, more.numpy())).roll
                made.append(replace(piece, roll=roll, voices=None))
                tick(1)
        return made if path is None else write_pieces(made, path)

    def complete(self, source: Any, *args: Any, **words: Any) -> Any:
        """Raises Unsupported: holes are filled by a model of voices."""
        raise Unsupported(
            "holes in music are filled by any_order of voices: fit it on CSV of voices, or on MIDI files whose tracks "
            "sound one note at a time; or continue a piece"
        )

    def _extra(self, rows: Pieces, c: Columns | None) -> float:
        return 0.0

    def _beside(self, rows: Pieces, kind: str, told: dict[str, np.ndarray], path: str | Path | None) -> Any:
        import pyarrow as pa

        table = pa.table({"piece": [piece.name for piece in rows.pieces]} | told)
        return write_table([table], path, like=None) if path is not None else to_frame(table, "pandas")

    def log_prob(self, source: Any, *, detail: bool = False) -> Any:
        """log p of each piece with its end, float64 (n,), nats; of one that was cut, of what is left.

        detail: a frame with the steps of each and nats a step. Raises CodecError for pitches that were not learned,
        Unsupported where the model has no likelihood.
        """
        return self._told(source, None) if detail else self.model.log_prob(self._read(source)[2])

    def score(self, source: Any, *, path: str | Path | None = None) -> Any:
        """The figures of `log_prob(detail=True)`, as a frame or a file."""
        return self._told(source, path)

    def _steps(self, codes: np.ndarray) -> np.ndarray:
        """How many steps the pieces of codes (n, T) have."""
        return (codes == STEP).sum(1)

    def _told(self, source: Any, path: str | Path | None) -> Any:
        pieces, _, x, _ = self._read(source)
        value, steps = self.model.log_prob(x), self._steps(x[MUSIC])
        return self._beside(pieces, "list", {"log_prob": value, "steps": steps, "nats_a_step": -value / steps}, path)

    def evaluate(
        self,
        holdout: Any = None,
        target: str | None = None,
        *,
        train: Any = None,
        report: str | Path | None = None,
        json: str | Path | None = None,
        seed: int = 0,
        rows: int = 100,
        quiet: bool = False,
        **no: Any,
    ) -> MusicEvidence:
        """The evidence: nats a step of unseen music beside an n-gram and independent pitches, and how `rows` samples
        sound beside unseen and training music (evaluate_music.py).

        holdout: music never learned from (by default the test part of the stored split of the stored path); train: what
        was fitted, if it is no longer where it was. Raises CodecError where there is none, Unsupported for a target.
        """
        check_asked("music", {"target": target, **no}, report, json)
        learned, _, unseen = self.learned_from(train)
        unseen = unseen if holdout is None else self._pieces(holdout)
        if not len(unseen):
            raise CodecError("expected music that was never learned from, the split left none: give some (holdout)")
        with bar("judging", 3, "part", quiet) as tick:
            evidence = self._evidence(learned, unseen, rows, seed, tick)
        title = f"{self.model.name} on {self.provenance['source']}"
        write_evidence(title, evidence, self.provenance, evidence.html, report, json)
        return evidence

    def _evidence(
        self, learned: Pieces, unseen: Pieces, rows: int, seed: int, tick: Callable[[int], None]
    ) -> MusicEvidence:
        x = self.codec.encode(unseen)
        nats = -self.model.log_prob(x)
        tick(1)
        drawn = self._joined(list(self._draws(rows, seed=seed, quiet=True)))
        tick(1)
        rolls = rolls_of({"drawn": Pieces(tuple(drawn)), "learned": learned, "unseen": unseen})
        codes = [[_whole(row) for row in part] for part in (self.codec.encode(learned)[MUSIC], x[MUSIC])]
        evidence = evaluate_music(nats, codes[0], codes[1], len(self.codec.field.levels), rolls)
        tick(1)
        return evidence

    def learned_from(self, data: Any = None) -> tuple[Pieces, Pieces, Pieces]:
        source = data if data is not None else self.provenance["path"]
        if source is None:
            raise CodecError("the model was fitted on a list, which a bundle does not keep: give it again (data=)")
        pieces = self._pieces(source)
        if pieces.fingerprint() != self.provenance["fingerprint"]:
            raise CodecError("expected the music that the model was fitted on, got another: give that (--data)")
        learned, watched, unseen = parts_of(pieces, self.provenance["split"], self.provenance["seed"])
        return pieces.take(learned), pieces.take(watched), pieces.take(unseen)


def parts_of(pieces: Pieces, split: Sequence[float], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which pieces are for training, validation and test: as their file says, else by the split; segments of one piece
    together.
    """
    if pieces.part is None:
        if pieces.owner is None:
            return parts(len(pieces), split, seed)
        learned, watched, unseen = parts(int(pieces.owner.max()) + 1, split, seed)
        return tuple(np.flatnonzero(np.isin(pieces.owner, part)) for part in (learned, watched, unseen))  # type: ignore[return-value]
    learned, watched, unseen = (np.flatnonzero(pieces.part == part) for part in range(3))
    return learned, watched, unseen


def rolls_of(held: Mapping[str, Pieces]) -> dict[str, list[np.ndarray]]:
    """What sounds in each piece, bool (steps, 128)."""
    return {name: [piece.roll > 0 for piece in part.pieces] for name, part in held.items()}


def _whole(row: np.ndarray) -> np.ndarray:
    """The codes of a row up to and with its END."""
    return row[: int((row != 0).sum()) + 1]


def check_place(path: str | Path | None) -> None:
    """Raises CodecError where files or a folder of that name cannot be."""
    if path is not None and not Path(path).is_dir():
        store.check_folder(Path(path))
