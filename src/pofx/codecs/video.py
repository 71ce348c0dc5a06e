"""Videos as frames of RGB, and videos of changed frames with all else of the source kept (PyAV, extra `video`).

Frames come in the order of time, upright (a turn that the file asks for is done, and no longer asked for), 8 bits a
channel (of deeper ones the upper 8), both fields of an interlaced frame as one picture. `Clip.notes` says what of this
happens to a file.
"""

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from ..errors import CodecError
from ..progress import bar
from ..store import beside, check_folder
from . import video_source as source_of
from . import video_streams as streams
from .video_colour import Painter, colour_of, turn_of
from .video_sink import CODECS, Change, Encoder, Given, Sink, tags, target, written


@dataclass(frozen=True)
class Clip:
    """Upright size, frames a second (mean), length, frames as the header counts them, streams in words, remarks."""

    height: int
    width: int
    rate: Fraction
    seconds: float
    frames: int
    streams: tuple[str, ...]
    notes: tuple[str, ...] = ()


def info(path: str | os.PathLike[str]) -> Clip:
    """What a video is, by its header and its first frame. Raises CodecError as `frames` does."""
    with source_of.opened(path) as (container, stream):
        frame = next(source_of.decoded(path, container, stream))
        turn = turn_of(frame)
        size = (frame.height, frame.width) if turn is None or turn[0] else (frame.width, frame.height)
        colour = "" if frame.format.is_rgb else f", {colour_of(frame)}"
        own = f"video {stream.index}: {stream.codec_context.name}, {frame.format.name}{colour}"
        return Clip(
            *size,
            source_of.rate_of(stream),
            source_of.seconds_of(container, stream),
            source_of.frames_of(container, stream),
            (own, *map(streams.words, streams.others(container, stream))),
            tuple(source_of.remarks(frame, turn is not None)),
        )


def frames(path: str | os.PathLike[str]) -> Iterator[np.ndarray]:
    """RGB uint8 (H, W, 3) in the order of time, by the matrix and range that the file names (video_colour.py).

    Raises CodecError for a file that is missing, no video, a picture, without pictures, or, after the frames up to
    there, damaged or cut off; Unsupported without PyAV.
    """
    with source_of.opened(path) as (container, stream):
        painter = Painter()
        for frame in source_of.decoded(path, container, stream):
            yield painter.array(frame, colour_of(frame))


def rewrite(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    change: Change,
    *,
    codec: str | None = None,
    quality: int = 16,
    overwrite: bool = False,
    quiet: bool = False,
) -> None:
    """Writes the frames of `change(frames)` one for one at the times of those they came from, and all else unchanged.

    Times keep the unit of the source where the container can (Matroska counts milliseconds). The other streams are
    copied packet by packet, chapters and tags kept; one warning names the streams that the container of `out` (.mp4,
    .m4v, .mov, .mkv, .webm) cannot hold, which are left out, and what reading loses. Colours are written as the source
    means them, matrix and range said even where it does not say them. Chroma is halved where the source halves it and
    the sides of the new frames are even, else kept for every pixel (yuv444p): any size is kept exactly. `codec` is
    libx264 (of .webm libvpx-vp9), libx265 or ffv1, `quality` its constant rate factor, 0 to 51: less is better and
    larger; ffv1 loses nothing and has none. Frames are streamed. The file is written beside its place and renamed.

    Raises CodecError for what `frames` raises, for an ending, codec or quality that is not known, an `out` that is the
    source or exists (without `overwrite`), a full disk, and a change that gives fewer or more frames than came, or
    others than uint8 (H, W, 3) of one size.
    """
    source, out = Path(source), Path(out)
    holder, encoder = _checked(source, out, codec, quality, overwrite)
    part = beside(out)
    try:
        with source_of.opened(source) as (container, stream), source_of.opened(source) as (again, same):
            rest = streams.others(again, same)
            kept = [one for one in rest if streams.holds(holder, one)]
            given = Given(source_of.decoded(source, container, stream), stream)
            total = source_of.frames_of(container, stream)
            with target(out, part, holder, stream) as made, bar(f"writing {out.name}", total, "frame", quiet) as tick:
                made.metadata.update(tags(container.metadata))
                made.set_chapters(container.chapters())
                sink = None
                for array, start, length in given.changed(change):
                    sink = sink or Sink(made, stream, given.first, array.shape, encoder, streams.Copies(again, kept))
                    with written(out):
                        sink.write(array, start, length)
                    tick()
                if sink is not None:
                    with written(out):
                        sink.end()
            notes = [f"cannot be copied to {out.suffix}: {streams.words(one)}" for one in rest if one not in kept]
            notes += source_of.remarks(given.first, turn_of(given.first) is not None)
        with written(out):
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)
    if notes:
        warnings.warn(f"{source.name}: {'; '.join(notes)}", stacklevel=2)


def _checked(source: Path, out: Path, codec: str | None, quality: int, overwrite: bool) -> tuple[str, Encoder]:
    holder = streams.HOLDERS.get(out.suffix.lower())
    if holder is None:
        raise CodecError(f"expected a name that ends in {', '.join(streams.HOLDERS)}, got {out.name!r}")
    check_folder(out)
    if out.exists() and source.exists() and out.samefile(source):
        raise CodecError(f"expected an output beside the source, got {str(out)!r} for both: give another name")
    if out.exists() and not overwrite:
        raise CodecError(f"expected a new file, got {str(out)!r}, which exists: overwrite=True, or another name")
    codec = codec or ("libvpx-vp9" if holder == "webm" else "libx264")
    if codec not in CODECS or not 0 <= quality <= 51:
        raise CodecError(
            f"expected a codec of {', '.join(CODECS)} and a quality of 0 to 51, got {codec!r} and {quality!r}"
        )
    return holder, Encoder(codec, quality)
