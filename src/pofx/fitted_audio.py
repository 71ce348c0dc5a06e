"""`FittedAudio`: a model of sounds, and the verbs on files and folders of them."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import store
from .codecs.audio import LEVEL, PERIOD, AudioCodec, opened_sounds
from .codecs.audio_io import Sounds, read_sounds, resampled, write_sounds
from .codecs.image import LABEL
from .codecs.tabular_io import to_frame
from .codecs.writing import write_table
from .errors import CodecError, SpecError, Unsupported
from .evaluate_audio import AudioEvidence, evaluate_audio
from .fitted_by_label import FittedByLabel
from .judging import check_asked, write_evidence
from .models.sounds import SoundFlow
from .progress import Tick, bar
from .report.sounds import page
from .restore_audio import denoised, noise_power, stretches, widened
from .spec import Columns
from .split import parts

LONGEST = 3600  # seconds that are drawn
GONE_ON = 10.0  # seconds that follow a sound where nothing is said
SHOWN = 12  # samples on a page, and half as many rebuilt sounds


class FittedAudio(FittedByLabel):
    """A fitted model of sounds.

    What comes out are `Sounds` (clips, rate, labels), or a folder of .wav files with their labels in their names, or,
    of one sound, a .wav, .flac or .ogg. Sounds of any rate come in. There is no log p: `anomaly` ranks sounds by how
    ill they are rebuilt.
    """

    examples = "these sounds were"
    into_folders = frozenset({"decode", "reconstruct", "denoise", "upscale"})
    codec: AudioCodec
    model: SoundFlow

    def _shape(self) -> str:
        return f"sounds of {self.codec.samples / self.codec.rate:.2f} s at {self.codec.rate:,} Hz"

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

    def _told(self, rows: list[Sounds], path: str | Path | None) -> Any:
        return self._written(rows, path) if path is not None else self._joined(rows)

    def _sounds(self, source: Any, resample: bool = True) -> Sounds:
        rate = self.codec.rate if resample else None
        return read_sounds(source, rate=rate, pattern=self.provenance["reading"].get("pattern"))[0]

    def _read(self, source: Any) -> tuple[Sounds, str, Columns, Columns | None]:
        rows = self._sounds(source)
        x = self.codec.encode(rows)
        return rows, "sounds", x, {LABEL: x[LABEL]} if self.joint else None

    def _condition(self, sounds: Sounds) -> Columns | None:
        labels = [None] * len(sounds) if sounds.labels is None else sounds.labels.tolist()
        return {LABEL: self.codec.codes(labels)} if self.joint else None

    # -- verbs -------------------------------------------------------------------------------------------------------

    def sample(  # type: ignore[override]
        self,
        n: int,
        given: Sequence[str] | str | Mapping[str, Any] | None = None,
        *,
        seconds: float | None = None,
        guidance: float | None = None,
        solver_steps: int | None = None,
        seed: int | None = None,
        path: str | Path | None = None,
        quiet: bool = False,
        allow_failed: bool = False,
    ) -> Any:
        """n new sounds; with `path`, written to a folder.

        given: "label = 3" or {"label": [3, 5]}. seconds: of a model of long recordings, how long each is, by default as
        an example; longer ones are gone on with as `continue_` does. guidance: 1 draws from p(x | label), more is
        clearer and less varied; by default that of the fit. A sample of 10 is the beginning of one of 100 of the same
        seed. Raises SpecError for n below 1, and for seconds that are not above 0 or of clips, CodecError for a label
        that was not learned.
        """
        seed, size = self._seed(seed), self._size(seconds)
        _check_place(path)
        with self.model.solved(guidance=_guided(guidance)), self.model.lasting(self._length(size)):
            rows = list(self.draws(n, given, seed, solver_steps=solver_steps, quiet=quiet, allow_failed=allow_failed))
        if size:
            rows = [replace(part, clips=tuple(clip[:size] for clip in part.clips)) for part in rows]
        return self._told(rows, path)

    @property
    def _each(self) -> int:
        """The samples that a code stands for."""
        return PERIOD * self.codec.window // 4

    def _length(self, size: int) -> int:
        """Codes of so many samples, whose frames are a quarter of a window apart, with one at each end."""
        return math.ceil((size + self.codec.window // 4) / self._each) if size else 0

    def _size(self, seconds: float | None) -> int:
        """The samples of so many seconds, 0 where none were asked for; SpecError where they cannot be."""
        if seconds is None:
            return 0
        if not 0 < seconds <= LONGEST:
            raise SpecError(f"expected seconds above 0 and at most {LONGEST:,}, got {seconds:g}")
        if not self.codec.windows:
            raise SpecError(
                f"expected no seconds, which models of long recordings take, got {seconds:g}: this one learned clips, "
                f"which last {self.codec.samples / self.codec.rate:.2f} s at most and end by themselves"
            )
        return max(1, round(seconds * self.codec.rate))

    def reconstruct(self, source: Any, *, path: str | Path | None = None, allow_failed: bool = False) -> Sounds | int:
        """The sounds that the codes of these, of any length, stand for; as long and as loud."""
        self._makes("express", allow_failed)
        _check_place(path)
        sounds = self._sounds(source)
        clips = [self._rebuilt(clip) for clip in sounds.clips]
        return self._told([replace(sounds, clips=tuple(clips))], path)

    def _rebuilt(self, clip: np.ndarray) -> np.ndarray:
        levels, loud = self.codec.spell(clip)
        made = self.codec.decode(self.model.express(self.model.encode({LEVEL: levels})), np.array([loud])).clips[0]
        return np.pad(made, (0, max(len(clip) - len(made), 0)))[: len(clip)]

    def denoise(
        self,
        source: Any,
        *,
        noise: Any = None,
        path: str | Path | None = None,
        quiet: bool = False,
        allow_failed: bool = False,
    ) -> Any:
        """The sounds, of any length, without steady noise: what the likeliest clean sound under this model, one of
        clean sounds, leaves of each (restore_audio.denoised).

        noise: a sound of the noise alone, or the root mean square of white noise, above 0 and below 1; by default the
        noise is read from the quietest frames of each sound. Raises SpecError and CodecError for another noise.
        """
        self._makes("express", allow_failed)
        power = self._noise(noise)
        return self._restored(
            self._sounds(source), lambda clip, tick: denoised(self.model, self.codec, clip, power, tick), path, quiet
        )

    def _noise(self, noise: Any) -> torch.Tensor | None:
        if noise is None:
            return None
        if isinstance(noise, int | float):
            if not 0 < noise < 1:
                raise SpecError(f"expected a root mean square of noise above 0 and below 1, got {noise}")
            return noise_power(self.codec, float(noise))
        clips, least = read_sounds(noise, rate=self.codec.rate)[0].clips, 2 * self.codec.window
        if len(clips) != 1 or len(clips[0]) < least:
            raise CodecError(f"expected one sound of noise alone, of {least / self.codec.rate:.2f} s or more, got "
                             f"{len(clips)}, of {len(clips[0]) / self.codec.rate:.2f} s: give another")  # fmt: skip
        return noise_power(self.codec, clips[0])

    def upscale(
        self,
        source: Any,
        *,
        band: float | None = None,
        path: str | Path | None = None,
        quiet: bool = False,
        allow_failed: bool = False,
    ) -> Any:
        """The sounds, of any length, with the high frequencies that they lack, as the likeliest sound under this model
        has them (restore_audio.widened); what lies below `band`, in hertz, stays.

        band: by default half the rate of the sounds, where that is below the model's. Raises SpecError for one that is
        not below half the rate of the model.
        """
        self._makes("express", allow_failed)
        sounds = self._sounds(source, resample=False)
        band = sounds.rate / 2 if band is None else band
        if not 0 < band < self.codec.rate / 2:
            raise SpecError(
                f"expected a band above 0 and below {self.codec.rate / 2:g} Hz, as sounds of fewer than "
                f"{self.codec.rate:,} samples a second have, got {band:g}: give the band of these (--band)"
            )
        sounds = resampled(sounds, self.codec.rate)
        return self._restored(sounds, lambda clip, tick: widened(self.model, self.codec, clip, band, tick), path, quiet)

    def _restored(
        self, sounds: Sounds, change: Callable[[np.ndarray, Tick], torch.Tensor], path: str | Path | None, quiet: bool
    ) -> Any:
        """The sounds, each after `change`; silence stays."""
        _check_place(path)
        with bar("restoring", sum(stretches(self.codec, clip) for clip in sounds.clips), "stretch", quiet) as tick:
            clips = [change(clip, tick).numpy() if clip.any() else clip for clip in sounds.clips]
        return self._told([replace(sounds, clips=tuple(clips))], path)

    def interpolate(
        self, a: Any, b: Any, *, steps: int = 8, path: str | Path | None = None, allow_failed: bool = False
    ) -> Any:
        """From each sound of a to the one of b beside it: `steps` sounds, of the noise that lies on the arc between
        the noise of theirs, with the label of the nearer end where that is known.

        Raises SpecError for fewer than two steps, or different numbers of sounds.
        """
        self._makes("interpolate", allow_failed)
        _check_place(path)
        ends = [self._sounds(source) for source in (a, b)]
        if steps < 2 or len(ends[0]) != len(ends[1]):
            raise SpecError(f"expected two steps or more and as many sounds in both, got {steps} steps, {len(ends[0])} "
                            f"and {len(ends[1])} sounds")  # fmt: skip
        c, d = (self._condition(sounds) for sounds in ends)
        z, w = (
            self.model.back(self.model.encode(self.codec.encode(whole)), of)
            for whole, of in ((self._firsts(ends[0]), c), (self._firsts(ends[1]), d))
        )
        share = torch.linspace(0, 1, steps).view(1, -1, 1)
        line = _arc(z.unsqueeze(1), w.unsqueeze(1), share).flatten(0, 1)
        late = np.tile(np.arange(steps) >= steps / 2, len(z))
        near = {k: np.where(late, np.repeat(d[k], steps), np.repeat(v, steps)) for k, v in c.items()} if c and d else {}
        return self._told([self.codec.decode(self.model.decode(line, near or None) | near)], path)

    def _firsts(self, sounds: Sounds) -> Sounds:
        """The sounds, cut to one example each."""
        return replace(sounds, clips=tuple(clip[: self.codec.samples] for clip in sounds.clips))

    def continue_(
        self,
        prompt: Any,
        *,
        seconds: float | None = None,
        guidance: float | None = None,
        seed: int | None = None,
        path: str | Path | None = None,
        quiet: bool = False,
        allow_failed: bool = False,
    ) -> Any:
        """Each sound, and what follows it: of a model of clips up to their length, of one of long recordings `seconds`,
        by default 10.

        The codes of the end of what is there are held while those that follow are drawn, half an example at a time; new
        sound is joined to the old over one window. Raises SpecError for seconds that are not above 0, CodecError for a
        sound that is as long as an example where examples are clips, or too short to have a code.
        """
        _check_place(path)
        self._size(seconds)
        self._trust(allow_failed)
        sounds, generator = self._sounds(prompt), torch.Generator().manual_seed(self._seed(seed))
        c, made = self._condition(sounds), []
        with self.model.solved(guidance=_guided(guidance)), bar("continuing", len(sounds), "sound", quiet) as tick:
            for i, clip in enumerate(sounds.clips):
                of = {k: v[i : i + 1] for k, v in c.items()} if c else None
                made.append(self._continued(clip, of, seconds, generator))
                tick(1)
        return self._told([replace(sounds, clips=tuple(made))], path)

    def _continued(
        self, clip: np.ndarray, c: Columns | None, seconds: float | None, generator: torch.Generator
    ) -> np.ndarray:
        frames, latent, each = self.model.frames, self.model.latent, self._each
        there = len(clip) // each  # codes that are all of the prompt
        if there < 1 or (not self.codec.windows and there >= frames):
            raise CodecError(
                f"expected a sound of {each / self.codec.rate:.2f} s or more"
                + (
                    ""
                    if self.codec.windows
                    else f" and below {self.codec.samples / self.codec.rate:.2f} s, as examples last"
                )
                + f", got {len(clip) / self.codec.rate:.2f} s: give another"
            )
        levels, loud = self.codec.spell(clip)
        codes = self.model.encode({LEVEL: levels}).view(1, -1, latent)[:, :there]
        size = len(clip) + self._size(seconds or GONE_ON) if self.codec.windows else None
        held, end = (None, self._length(size)) if size else (frames, frames)
        codes = self.model.gone_on(codes, end, c, lambda: self.model.noise(1, generator), held)
        made = self.codec.decode(self.model.express(codes[:, :end].flatten(1)), np.array([loud])).clips[0]
        return joined(clip, made, self.codec.window)[:size]

    def anomaly(self, source: Any, *, path: str | Path | None = None) -> Any:
        """Of each sound `anomaly`, the mean distance of its levels from rebuilt ones, in 255ths of 80 decibels, and
        `p_value`, the share of validation sounds as strange, never below 1 / (n + 1).
        """
        sounds = self._sounds(source)
        each = [self.model.misfit(self.codec.encode(sounds.take([i]).bare())).mean() for i in range(len(sounds))]
        score = np.array(each)
        as_strange = len(self.usual) - np.searchsorted(self.usual, score, side="left")
        told = {"anomaly": score, "p_value": (1.0 + as_strange) / (len(self.usual) + 1)}
        return self._beside(sounds, "sounds", told, path)

    def _beside(self, rows: Sounds, kind: str, told: dict[str, np.ndarray], path: str | Path | None) -> Any:
        import pyarrow as pa

        table = pa.table({"sound": list(rows.names) or np.arange(len(rows))} | told)
        return write_table([table], path, like=None) if path is not None else to_frame(table, "pandas")

    def log_prob(self, source: Any, *args: Any, **words: Any) -> Any:
        """A flow in codes has none."""
        raise Unsupported("a model of sounds gives no likelihood: anomaly ranks sounds by how ill they are rebuilt")

    def score(self, source: Any, *args: Any, **words: Any) -> Any:
        """As `log_prob`."""
        return self.log_prob(source)

    def complete(self, source: Any, *args: Any, **words: Any) -> Any:
        """Holes in sounds filled: not yet."""
        raise Unsupported("holes in sounds cannot be filled yet: continue goes on from a sound")

    def edit(self, source: Any, *args: Any, **words: Any) -> Any:
        """Another label for a sound: not yet."""
        raise Unsupported("the label of a sound cannot be changed yet: sample draws new ones of a label")

    def with_prior(self, prior: str = "mixture", **words: Any) -> Any:
        """Another law of codes: a model of sounds has its own."""
        raise Unsupported("a model of sounds has a flow of its codes already, learned with it: leave the prior out")

    # -- evidence ----------------------------------------------------------------------------------------------------

    def evaluate(
        self,
        holdout: Any = None,
        target: str | None = None,
        *,
        train: Any = None,
        report: str | Path | None = None,
        json: str | Path | None = None,
        seed: int = 0,
        rows: int = 300,
        quiet: bool = False,
        **no: Any,
    ) -> AudioEvidence:
        """The evidence: kernel distances of `rows` samples from unseen sounds, how many are recognised, and how well
        unseen ones are rebuilt (evaluate_audio.py); report: a page with players and spectra.

        holdout: sounds never learned from (by default the test part of the stored split); train: what was fitted, if it
        is no longer where it was. Raises CodecError where there are fewer than two.
        """
        check_asked("sounds", {"target": target, **no}, report, json)
        learned, _, unseen = self.learned_from(train)
        unseen = unseen if holdout is None else self._sounds(holdout)
        unseen = unseen.take(range(min(rows, len(unseen))))
        if len(unseen) < 2:
            raise CodecError("expected two sounds or more that were never learned from, got fewer: give some (holdout)")
        with bar("judging", 4, "part", quiet) as tick:
            c = self.joint.sample(rows, np.random.default_rng(seed)) if self.joint else None
            z = self.model.noise(rows, torch.Generator().manual_seed(seed))
            draw = lambda: self.codec.decode(self.model.decode(z, c) | (c or {}))  # noqa: E731
            evidence = evaluate_audio(self.codec, draw, self._rebuilt, learned, unseen, seed, tick)
        title = f"{self.model.name} on {self.provenance['source']}"
        write_evidence(
            title,
            evidence,
            self.provenance,
            lambda title: page(title, evidence, self.codec.window, SHOWN),
            report,
            json,
        )
        return evidence

    def learned_from(self, data: Any = None) -> tuple[Sounds, Sounds, Sounds]:
        source = data if data is not None else self.provenance["path"]
        if source is None:
            raise CodecError("the model was fitted on arrays, which a bundle does not keep: give them again (train=)")
        sounds = opened_sounds(source, self.provenance["reading"], self.provenance.get("labels"))[0]
        sounds = sounds if self.joint else sounds.bare()
        if sounds.fingerprint() != self.provenance["fingerprint"]:
            raise CodecError(
                "expected the sounds that the model was fitted on, got others: give those (train=, --data)"
            )
        took = parts(len(sounds), self.provenance["split"], self.provenance["seed"], sounds.labels)
        learned, watched, unseen = (sounds.take(part) for part in took)
        return learned, watched, unseen


def joined(old: np.ndarray, new: np.ndarray, fade: int) -> np.ndarray:
    """old, and what of new, which begins where old does, goes beyond it: they change places over the last `fade`."""
    fade = min(fade, len(old), len(new))
    share = np.ones(len(old), np.float32)
    share[len(old) - fade :] = np.linspace(1, 0, fade, dtype=np.float32)
    n = max(len(old), len(new))
    old, new, share = (np.pad(v, (0, n - len(v))) for v in (old, new, share))
    return share * old + (1 - share) * new


def _arc(z: torch.Tensor, w: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """From z to w along a great circle, over the last axis; lengths change evenly."""
    a, b = z.norm(dim=-1, keepdim=True), w.norm(dim=-1, keepdim=True)
    angle = ((z / a) * (w / b)).sum(-1, keepdim=True).clamp(-1, 1).acos().clamp(min=1e-4)
    way = (((1 - share) * angle).sin() * z / a + (share * angle).sin() * w / b) / angle.sin()
    return way * (a + share * (b - a))


def _guided(guidance: float | None) -> float | None:
    if guidance is not None and not 0 <= guidance < math.inf:
        raise SpecError(f"expected a guidance of 0 or more, got {guidance}")
    return guidance


def _check_place(path: str | Path | None) -> None:
    """Raises CodecError where an output cannot be: a file's folder, or that in which a folder is to be, must be."""
    if path is not None and not Path(path).is_dir():
        store.check_folder(Path(path))
