"""Changed frames of a video, coded at the times of those that they came from."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import CodecError
from .video_colour import Painter, colour_of, tag, turn_of
from .video_source import pyav, rate_of
from .video_streams import Copies

if TYPE_CHECKING:
    import av

Change = Callable[[Iterator[np.ndarray]], Iterator[np.ndarray]]
CODECS = ("libx264", "libx265", "libvpx-vp9", "ffv1")
OLD = ("encoder", "duration", "bps", "number_of_", "rotate", "_statistics", "major_brand", "minor_ver", "compatible_b")


def tags(metadata: dict[str, str]) -> dict[str, str]:
    """Without those that tell of the old file and coding."""
    return {key: value for key, value in metadata.items() if not key.lower().startswith(OLD)}


class Given:
    """The frames that a change is given, and the times of those that it has not given back."""

    def __init__(self, decoded: Iterator[Any], stream: Any) -> None:
        self._decoded, self._stream, self._painter = decoded, stream, Painter()
        self._starts: deque[int] = deque()
        self._latest: int | None = None
        self.first: Any = None

    def _arrays(self) -> Iterator[np.ndarray]:
        for frame in self._decoded:
            self.first, self._last = self.first or frame, frame
            self._latest = self._start(frame)
            self._starts.append(self._latest)
            yield self._painter.array(frame, colour_of(frame))

    def _start(self, frame: Any) -> int:
        """In ticks; one that is missing or does not rise is the earliest possible."""
        if self._latest is None:
            return frame.pts or 0
        return self._latest + self._length(frame) if frame.pts is None else max(frame.pts, self._latest + 1)

    def _length(self, frame: Any) -> int:
        """In ticks; a coarse clock rounds lengths down, the mean rate rounds them to the nearest."""
        mean = round(1 / (rate_of(self._stream) * self._stream.time_base))
        return max(1, mean if abs(mean - (frame.duration or mean)) <= 1 else frame.duration)

    def _end(self) -> int:
        """When the last frame ends, in ticks: as the header of the stream says, else as the frame does."""
        said = (self._stream.start_time or 0) + (self._stream.duration or 0)
        latest = self._latest or 0
        return said if said > latest else latest + self._length(self._last)

    def changed(self, change: Change) -> Iterator[tuple[np.ndarray, int, int]]:
        """New frames, each with start and length in ticks of the source.

        Raises CodecError for more or fewer than came, and for others than uint8 (H, W, 3) of one size.
        """
        count, before = 0, None
        for array in change(self._arrays()):
            if not self._starts:
                raise CodecError(f"expected a change that gives as many frames as came, got more than {count:,}")
            array, start, count = np.asarray(array), self._starts.popleft(), count + 1
            size = array.shape if before is None else before[0].shape
            if array.dtype != np.uint8 or array.shape != size or len(size) != 3 or size[2] != 3:
                raise CodecError(
                    f"expected changed frames of uint8 (height, width, 3), all of one size, got {array.dtype} of "
                    f"{array.shape}{f' after {size}' * (array.shape != size)}: round and clip them, and keep the size"
                )
            if before is not None:
                yield *before, start - before[1]
            before = array, start
        if self._starts or next(self._decoded, None) is not None or before is None:
            raise CodecError(f"expected a change that gives as many frames as came, got {count:,} and then none")
        yield *before, self._end() - before[1]


@dataclass(frozen=True)
class Encoder:
    """A codec by FFmpeg's name and its constant rate factor."""

    name: str
    quality: int

    def options(self) -> dict[str, str]:
        """As FFmpeg spells them."""
        options = {"crf": str(self.quality)} if self.name != "ffv1" else {}
        more = {"libvpx-vp9": {"b": "0"}, "libx265": {"x265-params": "log-level=none"}}
        return options | more.get(self.name, {})


@contextmanager
def written(out: Path) -> Iterator[None]:
    """Errors of writing in one line."""
    try:
        yield
    except (OSError, pyav().FFmpegError) as error:
        raise CodecError(
            f"could not write {str(out)!r}: {getattr(error, 'strerror', None) or error}; nothing was changed"
        ) from error


@contextmanager
def target(out: Path, part: Path, holder: str, stream: Any) -> Iterator["av.container.OutputContainer"]:
    """A container to be written; what a failure leaves of it is closed without another.

    MP4 counts where streams begin in ticks of the whole, which are made those of the pictures.
    """
    ticks = {"movie_timescale": str(stream.time_base.denominator)} if holder in ("mp4", "mov") else {}
    with written(out):
        made = pyav().open(str(part), "w", format=holder, options=ticks)
    try:
        yield made
    except BaseException:
        with suppress(Exception):
            made.close()
        raise
    with written(out):
        made.close()


class Sink:
    """Pictures of (height, width), first of `container`'s streams, and beside them the copies, in the order of time."""

    def __init__(
        self,
        container: "av.container.OutputContainer",
        stream: Any,
        first: "av.VideoFrame",
        size: tuple[int, ...],
        encoder: Encoder,
        copies: Copies,
    ) -> None:
        self._container, self._copies, self._painter = container, copies, Painter()
        self._tick, self._lengths = stream.time_base, dict[int, int]()
        self._begin: int | None = None
        self._earliest: int | None = None
        self._colour = colour_of(first).fitting(*size[:2])
        try:
            self._made = self._set_up(stream, first, size, encoder)
            copies.join(container)
            container.start_encoding()
        except (ValueError, pyav().FFmpegError) as error:
            raise CodecError(
                f"{encoder.name} in {container.format.name} cannot hold frames of {size[0]} x {size[1]} "
                f"({error}): another codec, ending or size"
            ) from error

    def _set_up(self, stream: Any, first: "av.VideoFrame", size: tuple[int, ...], encoder: Encoder) -> Any:
        made = self._container.add_stream(encoder.name, rate=rate_of(stream), options=encoder.options())
        coder = made.codec_context
        coder.height, coder.width, coder.pix_fmt = *size[:2], self._colour.pixels
        made.time_base = coder.time_base = stream.time_base
        tag(coder, self._colour)
        if stream.sample_aspect_ratio:
            turn = turn_of(first)
            lying = turn is not None and not turn[0]
            coder.sample_aspect_ratio = 1 / stream.sample_aspect_ratio if lying else stream.sample_aspect_ratio
        made.metadata.update(tags(stream.metadata))
        made.disposition = stream.disposition
        return made

    def write(self, array: np.ndarray, start: int, length: int) -> None:
        """A frame (H, W, 3), shown at `start` for `length` ticks."""
        frame = self._painter.frame(array, self._colour)
        frame.pts, frame.duration, frame.time_base = start, length, self._tick
        self._lengths[start] = length
        self._begin, self._end = start if self._begin is None else self._begin, start + length
        self._mux(self._made.encode(frame))

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            packet.duration = self._lengths.pop(packet.pts)
            self._earliest = packet.dts if self._earliest is None else self._earliest
            self._copies.write(until=float(packet.dts * packet.time_base))
            self._container.mux(packet)

    def end(self) -> None:
        """The frames that the encoder holds, and the rest of the copies.

        MP4 adds lengths up in the order of decoding: the last one there closes the sum.
        """
        held = self._made.encode(None)
        if held and self._begin is not None and self._container.format.name != "matroska":
            earliest = held[0].dts if self._earliest is None else self._earliest
            self._lengths[held[-1].pts] = self._end - self._begin - (held[-1].dts - earliest)
        self._mux(held)
        self._copies.write()
