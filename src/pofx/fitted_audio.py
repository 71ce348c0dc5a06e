"""`FittedAudio`: a model of sounds, and the verbs on files and folders of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .bundle import Fitted
from .codecs.audio import AudioCodec, opened_sounds
from .codecs.audio_io import Sounds, read_sounds, write_sounds
from .codecs.image import LABEL
from .errors import CodecError, SpecError, Unsupported
from .models.sounds import SoundFlow
from .spec import Columns, Given
from .split import parts


class FittedAudio(Fitted):
    """A fitted model of sounds.

    What comes out are `Sounds` (clips, rate, labels), or a folder of .wav files with their labels in their names.
    """

    codec: AudioCodec
    model: SoundFlow

    def _shape(self) -> str:
        return f"sounds of {self.codec.samples / self.codec.rate:.2f} s at {self.codec.rate:,} Hz"

    def _given(self, given: Sequence[str] | str | Mapping[str, Any] | None) -> Given | None:
        if not given:
            return None
        if not self.joint:
            raise Unsupported("these sounds were learned without labels, which conditions are on: leave given out")
        return self.codec.given([given] if isinstance(given, str) else given)

    def _made(self, x: Columns, first: int, plain: bool = False) -> Sounds:
        return self.codec.decode(x)

    def _joined(self, rows: list[Sounds]) -> Sounds:
        labels = [part.labels for part in rows if part.labels is not None]
        clips = tuple(clip for part in rows for clip in part.clips)
        return replace(rows[0], clips=clips, labels=np.concatenate(labels) if labels else None)

    def _written(self, rows: Iterable[Sounds], path: str | Path) -> int:
        return write_sounds(self._joined(list(rows)), path)

    def _out(self, rows: Sounds, kind: str) -> Sounds:
        return rows
