"""A video file, opened and decoded: where it cannot be, one line says at which frame and why."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CodecError, Unsupported
from . import video_streams as streams

if TYPE_CHECKING:
    import av

PICTURES = ("heic", "heix", "mif1", "msf1", "avif")
HDR = (16, 18)  # transfers PQ and HLG
REPAIR = "take another copy, or repair it (ffmpeg -i it -c copy repaired.mkv)"


def pyav() -> Any:
    """The module av. Raises Unsupported without it."""
    try:
        import av
    except ImportError:
        raise Unsupported("expected the package av (PyAV) for videos, got none: pip install pofx[video]") from None
    return av


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[tuple["av.container.InputContainer", Any]]:
    """A container and the stream of its pictures. Raises CodecError for a file that is no video."""
    av, path = pyav(), Path(path)
    if not path.is_file():
        raise CodecError(f"expected a video at {str(path)!r}, found none: check the path")
    try:
        container = av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        raise CodecError(
            f"expected a video, got {str(path)!r}, which is none or is cut off ({error.strerror}): take another copy"
        ) from error
    with container:
        form = container.format.name
        if form.endswith("_pipe") or form == "image2" or container.metadata.get("major_brand") in PICTURES:
            raise CodecError(f"expected a video, got the picture {str(path)!r}: use what reads photos")
        if form == "tty":
            raise CodecError(f"expected a video, got the text {str(path)!r}: check the path")
        covers = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
        pictures = [stream for stream in container.streams.video if not stream.disposition & covers]
        if not pictures:
            held = "; ".join(map(streams.words, container.streams)) or "no stream"
            raise CodecError(f"expected a video, got {str(path)!r} without pictures ({held}): check the path")
        if pictures[0].codec_context is None:
            raise CodecError(f"expected a coding that FFmpeg knows, got another in {str(path)!r}: convert it first")
        yield container, pictures[0]


def decoded(path: str | os.PathLike[str], container: "av.container.InputContainer", stream: Any) -> Iterator[Any]:
    """Frames in the order of time, all that can be read; then CodecError where the file is damaged or cut off.

    Damage that a decoder conceals is not seen.
    """
    av, path = pyav(), str(path)
    stream.thread_type = "AUTO"
    count, packets, end = 0, 0, 0.0
    listed = len(stream.index_entries) if "mp4" in container.format.name else 0
    try:
        for packet in container.demux():
            if packet.size and packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream.index == stream.index:
                packets += bool(packet.size)
                for frame in packet.decode():
                    yield frame
                    count += 1
    except av.FFmpegError as error:
        raise CodecError(f"{path!r} is damaged after frame {count:,} ({error.strerror}): {REPAIR}") from error
    if packets < listed or (not listed and end < _least(container, stream)):
        raise CodecError(
            f"{path!r} is cut off after frame {count:,} of about {frames_of(container, stream):,}: {REPAIR}"
        )
    if not count:
        raise CodecError(f"expected a video, got {path!r} without frames: take another copy")


def _least(container: "av.container.InputContainer", stream: Any) -> float:
    """The time, in seconds, that the packets of a whole file reach at least, by the length that its header says."""
    return 0.99 * (container.duration or 0) / 1e6 - max(0.25, 2 / float(rate_of(stream)))


def rate_of(stream: Any) -> Fraction:
    """Frames a second, on average."""
    return stream.average_rate or stream.guessed_rate or Fraction(25)


def seconds_of(container: "av.container.InputContainer", stream: Any) -> float:
    """How long the pictures last, by the header."""
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / 1e6


def frames_of(container: "av.container.InputContainer", stream: Any) -> int:
    """As the header counts them, else by length and rate."""
    return stream.frames or round(seconds_of(container, stream) * float(rate_of(stream)))


def remarks(frame: Any, turned: bool) -> Iterator[str]:
    """What reading changes, by the first frame."""
    bits = max(component.bits for component in frame.format.components)
    if bits > 8:
        yield f"has {bits} bits a channel, of which 8 are read and written"
    if frame.color_trc in HDR:
        yield "has a high dynamic range: its values are read as coded, and the data of its mastering is left out"
    if frame.interlaced_frame:
        yield "is interlaced: both fields of a frame are read as one picture, and written so"
    if any(component.is_alpha for component in frame.format.components):
        yield "has a channel of transparency, which is left out"
    if turned:
        yield "asks to be turned: it is read and written upright"
