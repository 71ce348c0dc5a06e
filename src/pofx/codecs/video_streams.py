"""Sound, subtitles and all else that lies beside the pictures of a video: copied packet by packet, never decoded."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import av

HOLDERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}


def words(stream: Any) -> str:
    """A stream in words: its kind, number, coding and language."""
    context = stream.codec_context
    told = [context.name if context is not None else stream.name or "unknown coding"]
    if stream.type == "audio" and context is not None:
        told += [f"{context.sample_rate:,} Hz", f"{context.channels} channel{'s' * (context.channels != 1)}"]
    language = stream.metadata.get("language", "und")
    return f"{stream.type} {stream.index}: {', '.join(told + [language] * (language != 'und'))}"


def others(container: "av.container.InputContainer", pictures: Any) -> list[Any]:
    """All streams but the one of the pictures, and but the text that MP4 keeps of chapters, which are kept as such."""
    chapters = "mp4" in container.format.name and bool(container.chapters())
    rest = [stream for stream in container.streams if stream.index != pictures.index]
    return [stream for stream in rest if not (chapters and stream.type == "data" and stream.name == "bin_data")]


def holds(holder: str, stream: Any) -> bool:
    """Whether a container can hold a stream: one with it alone is begun in memory."""
    import av

    trial = av.open(BytesIO(), "w", format=holder)
    try:
        _added(trial, stream)
        trial.start_encoding()
    except (ValueError, av.FFmpegError):
        return False
    finally:
        with suppress(ValueError, av.FFmpegError):
            trial.close()
    return True


def _added(target: "av.container.OutputContainer", stream: Any) -> Any:
    made = target.add_stream_from_template(stream, opaque=True)
    made.metadata.update(stream.metadata)
    made.disposition = stream.disposition
    return made


class Copies:
    """Streams of a container, copied into another in the order of time."""

    def __init__(self, source: "av.container.InputContainer", streams: Sequence[Any]) -> None:
        self._streams, self._packets = streams, self._read(source)

    def _read(self, source: "av.container.InputContainer") -> Iterator[Any]:
        timed = [stream for stream in self._streams if stream.type != "attachment"]
        if timed:
            yield from (packet for packet in source.demux(timed) if packet.size or packet.dts is not None)

    def join(self, target: "av.container.OutputContainer") -> None:
        """Adds the streams to a container that is not begun."""
        self._target = target
        self._made = {stream.index: _added(target, stream) for stream in self._streams}
        self._next = next(self._packets, None)

    def write(self, until: float = float("inf")) -> None:
        """Writes the packets up to a time in seconds."""
        while (packet := self._next) is not None:
            start = packet.dts if packet.dts is not None else packet.pts
            if start is not None and start * packet.time_base > until:
                return
            packet.stream = self._made[packet.stream_index]
            self._target.mux(packet)
            self._next = next(self._packets, None)
