"""What `fit` is given, opened: its kind, the codec that learns it, and which rows are for what."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .codecs.audio import AudioCodec, opened_sounds
from .codecs.audio_io import Sounds, holds_audio
from .codecs.gleaning import glean, sample_of
from .codecs.image import LABEL, ImageCodec
from .codecs.music import MusicCodec
from .codecs.music_io import holds_music, holds_voices, read_pieces
from .codecs.picture_io import Pictures, holds_images, read_images, words_of
from .codecs.places import Place
from .codecs.rare import merged
from .codecs.spool import Spool, read_rows
from .codecs.table import TableCodec
from .codecs.tabular_io import notes_of
from .codecs.text import TextCodec
from .codecs.text_io import holds_text
from .codecs.text_table import opened_texts
from .codecs.voices import VoicesCodec
from .errors import SpecError, Unsupported
from .fitted_music import parts_of as parts_of_music
from .fitted_text import parts_of
from .models.model import Model
from .split import fingerprint, parts

KINDS = ("auto", "table", "tables", "image", "text", "music", "voices", "audio")
AUTO = {  # models where none is named
    "image": "vae", "text": "autoregressive", "music": "autoregressive", "audio": "flow_matching",
}  # fmt: skip
UNNAMED = {
    "image": "an array",
    "text": "a list",
    "music": "a list",
    "voices": "a list",
    "audio": "arrays",
}  # a source without a path


def kind_of(source: Any) -> str:
    """What a source holds: sounds, music in voices or not, images, text, or a table."""
    if isinstance(source, Place):
        return "table"
    if holds_audio(source):
        return "audio"
    if holds_music(source):
        return "voices" if holds_voices(source) else "music"
    return "image" if holds_images(source) else "text" if holds_text(source) else "table"


Opened = tuple[Any, Any, str, tuple[np.ndarray, np.ndarray, np.ndarray], dict[str, str]]
"""The codec of a source, its rows, the kind of its container, the numbers of its rows in each part, and what there is
to say of them.
"""


TABLED = ("delimiter", "encoding", "header", "stream")


def _table(source: Any, reading: Mapping[str, Any], split: Sequence[float], seed: int, **asked: Any) -> Opened:
    if asked["labels"] is not None:
        raise SpecError("expected labels with images alone, got those of a table: add them as a column")
    if odd := sorted(set(reading) - set(TABLED)):
        raise SpecError(f"expected reading of a table with {', '.join(TABLED)}, got {odd[0]!r}: leave it out")
    words = {"fields": asked["fields"], "condition": asked["condition"] or (), "missing": asked["missing"]}
    words |= {"constraints": asked["constraints"], "dirty": asked["dirty"], "masks": "orders" in asked["cls"].abilities}
    least = asked.get("rare")
    rows, container = read_rows(source, reading, asked["tick"])
    took = parts(rows.num_rows, split, seed)
    if isinstance(rows, Spool):
        if least is not None:
            raise Unsupported("rare values are merged in memory: leave rare out, or give stream no")
        sample = sample_of(took[0], seed)
        told = f"from disk; columns as in {len(sample):,} training rows, held against all {len(took[0]):,}"
        return glean(rows, took[0], sample, **words), rows, container, took, {"streamed": told}
    notes, came = notes_of(rows), rows
    if least is not None:
        rows = merged(rows, least, asked["fields"], took[0])
        notes["rare"] = f"levels and ends of fewer than {least} training rows are merged (docs/private.md)"
    codec = TableCodec.learn(rows, part=took[0], like=container, least=least or 0, **words)
    codec.origin = fingerprint(came) if rows is not came else None
    clean, dirty = cleaned(codec, rows, took)
    return codec, rows, container, clean, notes | dirty


def cleaned(
    codec: TableCodec, rows: Any, took: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], dict[str, str]]:
    """(the row numbers of each part, without those to learn from that break a given constraint; what is said of it)."""
    clean = (codec.clean(rows, took[0]), codec.clean(rows, took[1]), took[2])
    lost = sum(len(part) for part in took) - sum(len(part) for part in clean)
    return clean, {"dirty": f"{lost:,} rows that break a constraint are not learned from"} if lost else {}


def _images(source: Any, reading: Mapping[str, Any], split: Sequence[float], seed: int, **asked: Any) -> Opened:
    if asked["fields"]:
        raise Unsupported("images have no fields to name: leave fields out")
    rows, container = read_images(source, labels=asked["labels"], **words_of(reading))
    keep, notes = _labels(rows, container, asked["condition"], asked["cls"])
    rows = rows if keep else rows.bare()
    took = parts(len(rows), split, seed, rows.labels)
    codec = ImageCodec.learn(rows.take(took[0]), container)
    found = [] if rows.labels is None else rows.labels.tolist()
    gone = sorted({str(label) for label in found if label is not None} - set(codec.levels))
    if gone:
        shown = ", ".join(map(repr, gone[:8])) + (", ..." if len(gone) > 8 else "")
        notes["labels"] += f"; {len(gone):,} of them without a training image, which are not learned: {shown}"
    return codec, rows, container, took, notes | rows.notes


TEXTED = ("encoding", "document", "tokens", "vocabulary", "length", "column", "label")


def _texts(source: Any, reading: Mapping[str, Any], split: Sequence[float], seed: int, **asked: Any) -> Opened:
    """Labels of a list are the condition `label`; of a table the condition is a column, and the text another."""
    if asked["fields"]:
        raise Unsupported("text has no fields to name: leave fields out")
    if odd := sorted(set(reading) - set(TEXTED)):
        raise SpecError(f"expected reading of text with {', '.join(TEXTED)}, got {odd[0]!r}: leave it out")
    names = {k: v for k, v in reading.items() if k in ("encoding", "document", "column", "label")}
    condition = list(asked["condition"] or [])
    if condition and asked["labels"] is None:
        if len(condition) > 1 or "label" in names:
            raise Unsupported("expected one column as the condition of text: name one")
        names["label"] = condition[0]
    rows, container = opened_texts(source, labels=asked["labels"], **names)
    if rows.labels is not None and "condition" not in asked["cls"].abilities:
        raise Unsupported("this model takes no condition: leave labels out")
    took = parts_of(rows, split, seed)
    codec = TextCodec.learn(rows.take(took[0]), **{k: v for k, v in reading.items() if k in TEXTED[2:5]})
    notes = dict(rows.notes)
    if rows.column is not None:
        notes["text"] = f"the column {rows.column!r}"
    if rows.labels is not None:
        notes["labels"] = f"{len(codec.levels)}, the condition {rows.label!r}"
    return codec, rows, container, took, notes


MUSICAL = ("grid", "broken", "length", "segment")
BARS = 16  # quarter notes of a segment, where a model learns codes of those


def _music(source: Any, reading: Mapping[str, Any], split: Sequence[float], seed: int, **asked: Any) -> Opened:
    if asked["fields"] or asked["labels"] is not None or asked["condition"]:
        raise Unsupported("music has no fields, labels or condition yet: leave those out")
    if odd := sorted(set(reading) - set(MUSICAL)):
        raise SpecError(f"expected reading of music with {', '.join(MUSICAL)}, got {odd[0]!r}: leave it out")
    rows, container = read_pieces(source, **{k: v for k, v in reading.items() if k in MUSICAL[:2]})
    words: dict[str, Any] = {"length": reading.get("length")}
    if rows.voices and asked["cls"].voiced is not None:
        if "segment" in reading:
            raise SpecError("expected segments of music without voices, got voices: leave segment out")
        took = parts_of_music(rows, split, seed)
        return VoicesCodec.learn(rows.take(took[0]), **words), rows, container, took, dict(rows.notes)
    segment = reading.get("segment")
    if segment is None and asked["cls"].musical is not None and "encode" in asked["cls"].musical.abilities:
        segment = BARS * rows.pieces[0].grid
    notes = dict(rows.notes)
    if segment is not None:
        if type(segment) is not int or segment < 2:
            raise SpecError(f"expected a segment of two steps or more, got {segment!r}")
        whole, rows = len(rows), rows.cut(segment)
        notes["segments"] = f"{len(rows):,} of {segment} steps, of {whole:,} pieces"
    took = parts_of_music(rows, split, seed)
    return MusicCodec.learn(rows.take(took[0]), **words, segment=segment), rows, container, took, notes


def _sounds(source: Any, reading: Mapping[str, Any], split: Sequence[float], seed: int, **asked: Any) -> Opened:
    if asked["fields"]:
        raise Unsupported("sounds have no fields to name: leave fields out")
    rows, container = opened_sounds(source, reading, asked["labels"])
    keep, notes = _labels(rows, container, asked["condition"], asked["cls"])
    rows = rows if keep else rows.bare()
    took = parts(len(rows), split, seed, rows.labels)
    codec = AudioCodec.learn(rows.take(took[0]), seconds=reading.get("seconds"))
    return codec, rows, container, took, notes | rows.notes | codec.words(rows)


OPENERS: dict[str, Callable[..., Opened]] = {
    "table": _table, "image": _images, "text": _texts, "music": _music, "voices": _music, "audio": _sounds,
}  # fmt: skip


def _labels(
    rows: Pictures | Sounds, kind: str, asked: Sequence[str] | None, cls: type[Model]
) -> tuple[bool, dict[str, str]]:
    """Whether labels are the condition, and what there is to say of that.

    Unless asked for they are where the model can, every picture of a folder has one, and there are two or more.
    Raises SpecError for another condition, and where labels are asked for that are not there or all alike.
    """
    if asked and list(asked) != [LABEL]:
        raise SpecError(f"expected the condition {LABEL!r} or none of images, got {', '.join(map(repr, asked))}")
    labels = [] if rows.labels is None else rows.labels.tolist()
    found, gone = sorted({str(label) for label in labels if label is not None}), labels.count(None)
    if asked and len(found) < 2:
        raise SpecError(
            f"expected two labels or more, got {len(found)}: give labels=, an array `labels` in a .npz, labels.csv, "
            "or sub-folders"
        )
    why = "as asked" if asked is not None and not asked else None
    if asked is None and len(found) == 1:
        why = f"{found[0]!r} is the only one"
    elif asked is None and "condition" not in cls.abilities:
        why = "this model learns p(x) alone"
    elif asked is None and kind == "folder" and gone:
        why = (
            f"{gone:,} of {len(labels):,} pictures lie in no sub-folder or have no label; the condition {LABEL!r} "
            "takes those as missing"
        )
    if not found or why:
        return False, {"labels": f"{len(found)}, left out: {why}"} if found else {}
    return True, {"labels": f"{len(found)}, the condition" + (f"; {gone:,} of {len(labels):,} missing" if gone else "")}
