"""The codec of sounds: clips to levels of their spectra over frames and frequencies, and back (docs/audio.md)."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from ..errors import CodecError, SpecError
from ..fields import Level
from ..spec import Block, Columns, Spec
from .audio_io import Sounds, read_sounds, resampled
from .image import LABEL, Labelling, label_field

LEVEL = "level"
LONGEST, SHARE = 2.0, 0.95  # seconds of an example at most, and the share of the clips that fit in it, unless asked for
DECIBELS = Level.decibels  # of the scale, below the loudest level that was seen
TOP = 255
LOUD = 0.1  # root mean square of a clip as it is learned
QUIET = 12  # steps; frames at the end that are nowhere above these are left out
PERIOD = 4  # frames are a multiple of it, as a model's codes are
STRIDES = 4  # windows that a sample of a long recording lies in
PIECE = 4  # windows of a long recording that are split together
TOGETHER = 64  # clips whose spectra are made together


class AudioCodec(Labelling):
    """How sounds become a block of levels over frames and frequencies, and back.

        level = round(255 (1 + (20 log10 |S(g x)| - top) / 80)) in [0, 255],   g = 0.1 / rms(x)

    spec: the field `level`, uint8 over T x F, and the field `label` where it is the condition; rate: samples a second;
    top: decibels of the highest level; loudness: the rms that sounds come back with; windows: whether examples are
    windows of long recordings, else clips whose ends are silence.
    """

    kind = "audio"

    def __init__(
        self, spec: Spec, rate: int, top: float, loudness: float, windows: bool = False, whole: bool = False
    ) -> None:
        self.spec, self.rate, self.top, self.loudness = spec, rate, top, loudness
        self.windows, self.whole = windows, whole

    @classmethod
    def learn(cls, sounds: Sounds, *, seconds: float | None = None) -> Self:
        """The codec of training sounds, of so many seconds, by default those that 95 % of the clips last, at most 2.

        Raises CodecError where there is nothing but silence, or not two sounds of 2 s or less nor one that is longer.
        """
        from ..nn.stft import window_of

        longest = np.quantile([len(c) for c in sounds.clips], SHARE) / sounds.rate
        asked = check_seconds(seconds) or min(longest, LONGEST)
        windows = long_recordings(sounds, asked)
        window = window_of(sounds.rate)
        frames = max(PERIOD, PERIOD * round(asked * sounds.rate / (window // 4) / PERIOD))
        loud = [float(np.sqrt(np.mean(np.square(c)))) for c in sounds.clips]
        if not max(loud) > 0:
            raise CodecError("expected sounds, got silence alone: give others")
        shape = (frames, window // 2 + 1)
        blank = Spec((Block("sound", (Level.learn(LEVEL, np.zeros((1, 1, 1), np.uint8)),), shape),))
        made = cls(blank, sounds.rate, 0.0, float(np.median([v for v in loud if v > 0])), windows)
        clips, _ = made._cut(sounds)
        if len(clips) < 2:
            raise CodecError(
                f"expected two sounds or more, or a long recording, got one of {longest:.2f} s: give others"
            )
        made.top = max(float(part.max()) for part in made._decibels(clips))
        fields = (Level.learn(LEVEL, made._levels(clips)),)
        label = Spec((Block(LABEL, (label_field(sounds.labels),)),)) if sounds.labels is not None else None
        made.spec = Spec((Block("sound", fields, shape),), label)
        made.whole = sounds.labels is not None and all(isinstance(v, int) for v in sounds.labels if v is not None)
        return made

    @property
    def shape(self) -> tuple[int, int]:
        """(frames, frequencies)."""
        frames, bins = (side or 0 for side in self.spec.blocks[0].sites)
        return frames, bins

    @property
    def window(self) -> int:
        """Samples of a window of the transform; frames are a quarter of it apart."""
        return 2 * (self.shape[1] - 1)

    @property
    def samples(self) -> int:
        """Samples of an example."""
        return (self.shape[0] - 1) * self.window // 4

    def encode(self, sounds: Sounds) -> Columns:
        """`level`, uint8 (n, T, F), and codes of labels where they are the condition.

        A clip is cut, or goes on as silence; a piece of a long recording gives windows, a quarter of one apart.
        """
        clips, rows = self._cut(resampled(sounds, self.rate))
        labels = [None] * len(sounds) if sounds.labels is None else sounds.labels.tolist()
        own = {LABEL: self.codes([labels[i] for i in rows])} if self.levels else {}
        return {LEVEL: self._levels(clips)} | own

    def words(self, sounds: Sounds) -> dict[str, str]:
        """What there is to say of how sounds are learned."""
        frames, bins = self.shape
        what = f"{self.samples / self.rate:.2f} s at {self.rate:,} Hz, {frames} frames of {bins} levels"
        if self.windows:
            return {"example": f"windows of long recordings, {what}"}
        cut = sum(len(c) > self.samples + self.window for c in sounds.clips)
        return {"example": f"{what}; {cut:,} of {len(sounds):,} clips are longer, and cut"}

    def spell(self, clip: np.ndarray) -> tuple[np.ndarray, float]:
        """The levels of one sound of any length, uint8 (1, frames, F), a multiple of 4 frames; and its rms."""
        hop = self.window // 4
        frames = PERIOD * -(-(len(clip) // hop + 1) // PERIOD)
        whole = np.pad(clip, (0, max((frames - 1) * hop - len(clip), 0)))[: (frames - 1) * hop]
        return self._levels([whole], whole=True), float(np.sqrt(np.mean(np.square(clip)))) or self.loudness

    def _cut(self, sounds: Sounds) -> tuple[list[np.ndarray], list[int]]:
        """Clips of the length of an example, and which sound each is of."""
        n, out, rows = self.samples, [], []
        step = max(1, n // STRIDES)
        for i, clip in enumerate(sounds.clips):
            ends = range(0, max(len(clip) - n, 0) + 1, step) if self.windows else (0,)
            out += [clip[at : at + n] for at in ends]
            rows += [i] * len(ends)
        return [np.pad(clip, (0, n - len(clip))) for clip in out], rows

    def _decibels(self, clips: list[np.ndarray]) -> Any:
        import torch

        from ..nn.stft import spectrum

        for at in range(0, len(clips), TOGETHER):
            x = torch.from_numpy(np.stack(clips[at : at + TOGETHER]))
            rms = torch.stack(
                [c[: int(c.abs().gt(0).nonzero()[-1]) + 1].square().mean().sqrt() if c.any() else c[0] for c in x]
            )
            x = x * (LOUD / rms.clamp(min=1e-9)).where(rms > 0, 1.0).unsqueeze(1)
            yield 20 * spectrum(x, self.window).abs().clamp(min=1e-9).log10()

    def _levels(self, clips: list[np.ndarray], whole: bool = False) -> np.ndarray:
        blank = np.zeros((0, *self.shape), np.uint8)
        parts = [
            ((1 + (v - self.top) / DECIBELS) * TOP).round().clamp(0, TOP).byte().numpy() for v in self._decibels(clips)
        ]
        return np.concatenate(parts if whole else [blank, *parts])

    def decode(self, x: Columns, loudness: np.ndarray | None = None) -> Sounds:
        """Sounds of levels (n, frames, F) by fast Griffin-Lim, of an rms each, by default that of training sounds.

        Silence at their ends is left out, unless examples are windows.
        """
        rms = np.full(len(x[LEVEL]), self.loudness) if loudness is None else loudness
        clips = tuple(self._loud(self._heard(one), loud) for one, loud in zip(x[LEVEL], rms, strict=True))
        return Sounds(clips, self.rate, self.labels(x[LABEL]) if LABEL in x else None)

    def _heard(self, levels: np.ndarray) -> np.ndarray:
        """The sound of levels (frames, F); alone, since transforms of several round otherwise."""
        import torch

        from ..nn.stft import griffin_lim

        some = torch.from_numpy(levels)[None]
        magnitude = 10 ** (((some.float() / TOP - 1) * DECIBELS + self.top) / 20) * (some > 0)
        found = griffin_lim(magnitude, self.window)[0].numpy()
        loud = np.flatnonzero(levels.max(1) > QUIET)
        last = len(levels) if self.windows else loud[-1] + 1 if len(loud) else 1
        return found[: max(int(last) * self.window // 4, 1)]

    @staticmethod
    def _loud(clip: np.ndarray, rms: float) -> np.ndarray:
        """The clip with this rms, or as near to it as its peaks, at most 1, allow."""
        own, peak = float(np.sqrt(np.mean(np.square(clip)))), float(np.abs(clip).max())
        return clip if not own > 0 else (clip * min(rms / own, 1 / peak)).astype(np.float32)

    def to_json(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Plain values and arrays that rebuild the codec."""
        header, arrays = self.spec.split()
        meta = {"kind": self.kind, "spec": header, "rate": self.rate, "top": self.top, "loudness": self.loudness}
        return meta | {"windows": self.windows, "whole": self.whole}, arrays

    @classmethod
    def from_json(cls, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """What `to_json` gave."""
        spec = Spec.join(meta["spec"], arrays)
        return cls(spec, meta["rate"], meta["top"], meta["loudness"], meta["windows"], meta["whole"])


def check_seconds(seconds: float | None) -> float | None:
    """Raises SpecError for seconds that are no length of an example."""
    if seconds is not None and not 0.05 <= seconds <= 60:
        raise SpecError(f"expected seconds from 0.05 to 60, got {seconds}")
    return seconds


def long_recordings(sounds: Sounds, seconds: float | None = None) -> bool:
    """Whether sounds are longer than an example twice over, most of them, so that windows of them are learned."""
    return bool(np.median([len(c) for c in sounds.clips]) > 2 * (seconds or LONGEST) * sounds.rate)


READING = ("rate", "pattern", "broken", "seconds")


def opened_sounds(source: Any, reading: Mapping[str, Any], labels: Any = None) -> tuple[Sounds, str]:
    """`read_sounds`, long recordings in pieces of PIECE windows, or shorter ones where these are fewer than ten.

    Raises SpecError for other words of reading.
    """
    if odd := sorted(set(reading) - set(READING)):
        raise SpecError(f"expected reading of sounds with {', '.join(READING)}, got {odd[0]!r}: leave it out")
    sounds, kind = read_sounds(source, labels=labels, **{k: v for k, v in reading.items() if k != "seconds"})
    if reading.get("pattern") and sounds.labels is not None and all(label is None for label in sounds.labels):
        raise CodecError(f"expected names like {reading['pattern']!r}, got {sounds.names[0]!r} and others: none fits")
    seconds = check_seconds(reading.get("seconds"))
    if long_recordings(sounds, seconds):
        least = 2.5 * (seconds or LONGEST)  # above 2: what makes them long recordings
        sounds = sounds.cut(int(sounds.rate * min(max(sounds.seconds / 10, least), PIECE * (seconds or LONGEST))))
    return sounds, kind
