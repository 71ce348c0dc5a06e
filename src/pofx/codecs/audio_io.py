"""Sounds in and out: folders, zips, globs and files of them, arrays; and their labels (docs/audio.md)."""

import hashlib
import io
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Self

import numpy as np

from ..errors import CodecError, SpecError, Unsupported
from .gathering import Found, files_of
from .picture_io import labels_of

ENDINGS = (".wav", ".flac", ".ogg", ".oga", ".mp3", ".aif", ".aiff", ".au")
CODED = (".m4a", ".aac", ".mp4", ".webm", ".opus")  # read by PyAV
WRITTEN = (".wav", ".flac", ".ogg")
RATE = 22_050  # samples a second at most, unless asked for
SHOWN = 8
CLIPPED = 0.01  # share of the samples at the rails, beyond which a sound is said to be clipped
RAIL = 0.999


@dataclass(frozen=True, eq=False)
class Sounds:
    """Clips, each float32 (samples,) in [-1, 1], `rate` samples a second, and the label of each, all int or all str,
    None where missing; or None: no labels.

    notes: what was found or lost in reading, by subject; names: of the files, where they were files.
    """

    clips: tuple[np.ndarray, ...]
    rate: int
    labels: np.ndarray | None = None
    notes: dict[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.clips)

    def take(self, index: np.ndarray | Sequence[int]) -> Self:
        """Those of these numbers."""
        rows = [int(i) for i in index]
        names = tuple(self.names[i] for i in rows) if self.names else ()
        labels = None if self.labels is None else self.labels[rows]
        return replace(self, clips=tuple(self.clips[i] for i in rows), labels=labels, names=names)

    def bare(self) -> Self:
        """Those without their labels."""
        return replace(self, labels=None)

    def cut(self, samples: int) -> Self:
        """Those in pieces of so many samples, a last piece of less than half of that left out."""
        ends = [range(0, max(len(c) - samples // 2, 1), samples) for c in self.clips]
        many = [len(e) for e in ends]
        clips = tuple(c[at : at + samples] for c, e in zip(self.clips, ends, strict=True) for at in e)
        names = tuple(name for name, n in zip(self.names, many, strict=True) for _ in range(n)) if self.names else ()
        labels = None if self.labels is None else np.repeat(self.labels, many)
        return replace(self, clips=clips, labels=labels, names=names)

    def fingerprint(self) -> str:
        """SHA-256 over rate, samples and labels."""
        digest = hashlib.sha256(f"{self.rate}".encode())
        for clip in self.clips:
            digest.update(f"|{len(clip)}|".encode() + np.ascontiguousarray(clip).tobytes())
        if self.labels is not None:
            digest.update(repr(self.labels.tolist()).encode())
        return digest.hexdigest()

    def equals(self, other: Self) -> bool:
        """Whether rate, samples and labels are the same."""
        return self.fingerprint() == other.fingerprint()

    @property
    def seconds(self) -> float:
        """How long all of them are."""
        return sum(map(len, self.clips)) / self.rate


# -- in ----------------------------------------------------------------------------------------------------------------


def holds_audio(source: Any) -> bool:
    """Whether a source is sounds: `Sounds`, a pair of an array and a rate, a file of a sound, or a folder, zip or glob
    of which most files are such.
    """
    if isinstance(source, Sounds):
        return True
    if isinstance(source, tuple) and len(source) == 2:
        return isinstance(source[1], int | np.integer) and not isinstance(source[0], str)
    if not isinstance(source, str | Path):
        return False
    if Path(source).suffix.lower() in ENDINGS + CODED:
        return True
    try:
        with files_of(source) as found:
            return bool(found) and 2 * sum(map(_sounding, found or ())) > len(found or ())
    except CodecError:
        return False


def _sounding(found: Found) -> bool:
    return Path(found.parts[-1]).suffix.lower() in ENDINGS + CODED


def read_sounds(
    source: Any, *, rate: int | None = None, labels: Any = None, pattern: str | None = None, broken: str = "refuse"
) -> tuple[Sounds, str]:
    """(sounds, kind of container) of a folder, a zip, a glob, a file, or a pair (array (n, samples) or a list of
    arrays, samples a second).

    rate: of what comes out, by default the commonest of the files, at most 22,050. Labels are sub-folders, `{label}` of
    `pattern`, "{label}_{speaker}_{index}.wav", which names have, or `labels`. broken: whether files that cannot be read
    are an error or left out, "refuse" or "skip". Several channels are mixed to one.

    Raises CodecError for what holds no sounds, for empty ones and for samples that are not finite; Unsupported without
    the extra `audio`.
    """
    if broken not in ("refuse", "skip"):
        raise SpecError(f"expected broken to be 'refuse' or 'skip', got {broken!r}")
    if rate is not None and not 1000 <= rate <= 192_000:
        raise SpecError(f"expected a rate from 1,000 to 192,000 samples a second, got {rate}")
    if isinstance(source, Sounds):
        held, kind = source, "sounds"
    elif isinstance(source, tuple):
        held, kind = _arrays(*source), "sounds"
    else:
        held, kind = _files(Path(source), rate, pattern, broken), "folder"
    held = resampled(held, rate or min(held.rate, RATE))
    if labels is not None:
        held = replace(held, labels=labels_of(labels, len(held)))
    return held, kind


def _arrays(arrays: Any, rate: Any) -> Sounds:
    clips = tuple(_clip(np.asarray(one), f"sound {i}") for i, one in enumerate(arrays))
    if not clips:
        raise CodecError("expected sounds, got none: give an array (n, samples) or a list of arrays")
    return Sounds(clips, int(rate))


def _clip(samples: np.ndarray, name: str) -> np.ndarray:
    """One channel, float32; whole numbers are taken to fill their type."""
    whole = samples.dtype.kind in "iu"
    if samples.ndim == 2:
        samples = samples.mean(1) if samples.shape[1] <= samples.shape[0] else samples.mean(0)
    if samples.ndim != 1 or not len(samples):
        raise CodecError(f"expected samples (n,) of {name}, got an array {samples.shape}: give one axis of some")
    if whole:
        raise CodecError(
            f"expected samples of {name} as floats in [-1, 1], got whole numbers: divide them by their top"
        )
    out = samples.astype(np.float32)
    if not np.isfinite(out).all():
        raise CodecError(f"expected finite samples of {name}, got others: leave it out")
    return out


def _files(path: Path, rate: int | None, pattern: str | None, broken: str) -> Sounds:
    with files_of(path) as gathered:
        if gathered is None:
            if not path.is_file():
                raise CodecError(f"expected sounds at {str(path)!r}, found nothing: check the path")
            gathered = [Found((path.name,), repr(str(path)), lambda: path)]
        found = sorted((one for one in gathered if _sounding(one)), key=lambda one: one.parts)
        if not found:
            raise CodecError(f"expected sounds in {str(path)!r}, found none that end in {', '.join(ENDINGS + CODED)}")
        read, gone = [], []
        for one in found:
            try:
                read.append((one, *_read(one)))
            except CodecError as error:
                if broken == "refuse":
                    raise CodecError(f"{error}; or leave such files out with broken='skip' (--broken skip)") from error
                gone.append(one.path)
    if not read:
        raise CodecError(f"expected sounds in {str(path)!r}, found none that can be read")
    counts = Counter(own for _, _, own, _ in read)
    rate = rate or min(RATE, counts.most_common(1)[0][0])
    notes = _notes(counts, rate, [channels for *_, channels in read], [clip for _, clip, _, _ in read], gone)
    clips = tuple(_at(clip, own, rate) for _, clip, own, _ in read)
    labels, told = _labels([one for one, *_ in read], pattern)
    notes |= {"label": told} if told else {}
    return Sounds(clips, rate, labels, notes, tuple(one.path for one, *_ in read))


def _notes(
    counts: Counter[int], rate: int, channels: list[int], clips: list[np.ndarray], gone: list[str]
) -> dict[str, str]:
    notes = {}
    if others := {own: n for own, n in counts.items() if own != rate}:
        told = ", ".join(f"{n:,} of {own:,} Hz" for own, n in sorted(others.items())[:SHOWN])
        notes["rate"] = f"{rate:,} samples a second; resampled: {told}"
    if mixed := sum(n > 1 for n in channels):
        notes["channels"] = f"{mixed:,} of {len(channels):,} files had several, mixed to one"
    if silent := sum(not np.abs(clip).max() > 0 for clip in clips):
        notes["silent"] = f"{silent:,} of {len(clips):,} files are silent"
    if loud := sum((np.abs(clip) >= RAIL).mean() > CLIPPED for clip in clips):
        notes["clipped"] = f"{loud:,} of {len(clips):,} files are clipped, and are learned so"
    if gone:
        notes["left out"] = f"{len(gone):,} files that cannot be read: {', '.join(gone[:SHOWN])}"
    return notes


def _read(found: Found) -> tuple[np.ndarray, int, int]:
    """(one channel, rate, channels) of a file."""
    file, name = found.file(), found.name
    if Path(found.parts[-1]).suffix.lower() in CODED:
        samples, rate = _coded(file, name)
    else:
        soundfile = _extra("soundfile")
        try:
            samples, rate = soundfile.read(
                io.BytesIO(file.read()) if not isinstance(file, Path) else str(file), dtype="float32", always_2d=True
            )
        except (soundfile.LibsndfileError, RuntimeError, OSError, ValueError) as error:
            raise CodecError(f"could not read a sound from {name}: {error}") from error
    if not len(samples):
        raise CodecError(f"{name} holds no samples, expected a sound: leave it out")
    return _clip(samples.mean(1), name), int(rate), samples.shape[1]


def _coded(file: Path | IO[bytes], name: str) -> tuple[np.ndarray, int]:
    """(samples, channels) and the rate, by PyAV."""
    av = _extra("av", "video")
    try:
        with av.open(str(file) if isinstance(file, Path) else file) as container:
            stream = container.streams.audio[0]
            turn = av.AudioResampler(format="fltp", rate=stream.rate)
            frames = [part for frame in container.decode(stream) for part in turn.resample(frame)]
            return np.concatenate([frame.to_ndarray() for frame in frames], 1).T, stream.rate
    except (av.FFmpegError, IndexError, ValueError, OSError) as error:
        raise CodecError(f"could not read a sound from {name}: {error}") from error


def _extra(name: str, extra: str = "audio") -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except (ImportError, OSError) as error:
        raise Unsupported(f"sounds need {name}, which is not here: pip install 'pofx[{extra}]'") from error


def resampled(sounds: Sounds, rate: int) -> Sounds:
    """The sounds at another rate."""
    if rate == sounds.rate:
        return sounds
    return replace(sounds, clips=tuple(_at(clip, sounds.rate, rate) for clip in sounds.clips), rate=rate)


def _at(clip: np.ndarray, own: int, rate: int) -> np.ndarray:
    if own == rate:
        return clip
    out = np.asarray(_extra("soxr").resample(clip, own, rate), np.float32)
    return out if len(out) else np.zeros(1, np.float32)


def _labels(found: list[Found], pattern: str | None) -> tuple[np.ndarray | None, str]:
    """The labels of files, and a word on them."""
    if pattern is not None:
        told = [_asked(pattern)(one.parts[-1]) for one in found]
        gone = sum(label is None for label in told)
        return labels_of([_whole(label) for label in told], len(found)), (
            f"from {pattern!r}" + (f"; {gone:,} names do not fit" if gone else "")
        )
    folders = [one.parts[-2] if len(one.parts) > 1 else None for one in found]
    if len(set(folders)) < 2:
        return None, ""
    return labels_of([_whole(folder) for folder in folders], len(found)), "from sub-folders"


def _whole(label: str | None) -> int | str | None:
    return int(label) if label is not None and label.isdecimal() and str(int(label)) == label else label


def _asked(pattern: str) -> Callable[[str], str | None]:
    """The label that a file's name has by a pattern; SpecError for one without {label}."""
    if pattern.count("{label}") != 1:
        raise SpecError(f"expected a pattern with {{label}} once, '{{label}}_{{index}}.wav', got {pattern!r}")
    parts = [
        "(?P<label>.+?)" if part == "{label}" else ".+?" if part.startswith("{") else re.escape(part)
        for part in re.split(r"(\{\w*\})", pattern)
    ]
    own = re.compile("".join(parts) + ("" if "." in pattern else r"\.\w+"), re.IGNORECASE)

    def label(name: str) -> str | None:
        there = own.fullmatch(name)
        return there["label"] if there else None

    return label


# -- out ---------------------------------------------------------------------------------------------------------------


def write_sounds(sounds: Sounds, path: str | Path) -> int:
    """Writes a folder of .wav files, 000000.wav or 000000_label.wav, or one sound as .wav, .flac or .ogg; how many.

    Raises CodecError for several sounds and the name of one file, and for another ending.
    """
    path = Path(path)
    if path.suffix:
        if path.suffix.lower() not in WRITTEN:
            raise CodecError(f"expected a folder, or a name that ends in {', '.join(WRITTEN)}, got {path.name!r}")
        if len(sounds) > 1:
            raise CodecError(f"expected a folder for {len(sounds)} sounds, got {path.name!r}: leave the ending out")
        _write(sounds.clips[0], sounds.rate, path)
        return 1
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise CodecError(f"could not make the folder {str(path)!r}: {error.strerror or error}") from error
    labels = [None] * len(sounds) if sounds.labels is None else sounds.labels.tolist()
    for i, (clip, label) in enumerate(zip(sounds.clips, labels, strict=True)):
        named = "" if label is None else "_" + re.sub(r"[^\w.-]", "-", str(label))
        _write(clip, sounds.rate, path / f"{i:06d}{named}.wav")
    return len(sounds)


def _write(clip: np.ndarray, rate: int, path: Path) -> None:
    from .. import store

    with store.placed(path) as file:
        file.write(bytes_of(clip, rate, path.suffix[1:]))


def bytes_of(clip: np.ndarray, rate: int, kind: str = "wav") -> bytes:
    """A sound as the bytes of a file, of 16 bits where that is a question."""
    out = io.BytesIO()
    _extra("soundfile").write(out, np.clip(clip, -1, 1), rate, format=kind.upper())
    return out.getvalue()
