"""`FittedPhotos`: a model that restores photos, and its verbs on files and arrays of any size."""

import copy
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np

from . import store
from .bundle import Fitted, load
from .codecs.photo import Photo, read_photo, write_photo
from .codecs.photos import PhotoCodec, Photos, read_photos
from .codecs.video import frames, info, rewrite
from .errors import CodecError, SpecError, Unsupported
from .evaluate_images import ImageEvidence
from .evaluate_photos import evaluate_photos
from .judging import publish
from .models.restorer import Restorer
from .models.restorers.upscaler import Upscaler
from .progress import Tick, bar, silent
from .restore import How, carrying, denoise, noise_level, tiles_of, upscale, with_alpha
from .restore_video import averaged, steadied
from .split import parts
from .tiles import TILE

LEVEL = "auto"
MARKED = 75  # quality of a JPEG file below which its marks are what is to go, and not noise
FRAMES = 16  # of a video that a model goes on learning from
VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".wmv", ".flv")


class FittedPhotos(Fitted):
    """A model that restores photos (`fit` with a task).

    A photo comes as a file, and goes out as it came: bits, alpha, colour profile, EXIF (codecs/photo.py); or as an
    array (H, W), (H, W, 1) or (H, W, 3), uint8 or uint16.
    """

    codec: PhotoCodec

    def _shape(self) -> str:
        return f"photos of {len(self.codec.spec.fields)} channels and any size"

    @property
    def restorer(self) -> Restorer:
        """The model."""
        return cast(Restorer, self.model)

    def denoise(
        self,
        source: Any,
        *,
        path: str | Path | None = None,
        sigma: float | str = LEVEL,
        quality: int | None = None,
        realism: float = 0.0,
        seed: int = 0,
        tile: int = TILE,
        wrap: bool = False,
        turned: bool = False,
        adapt: float = 0.0,
        quiet: bool = False,
        overwrite: bool = False,
    ) -> Any:
        """The photo or video without its noise: E[x | y], or with realism above zero on the way to a draw of p(x | y).

        sigma: the deviation of the noise in shades of 255, "auto" estimates it; quality: of the JPEG file whose marks
        are to go, where the model has learned those (by default that of the file, if it is below MARKED and sigma is
        "auto"). tile: side of what is worked on at a time; wrap: the photo goes on at its other side; turned: the
        mean over the eight ways to turn and mirror it, eight times as slow and some .1 dB nearer; adapt: minutes that a
        copy of the model goes on learning from this very photo or video first. Returns an array, or with `path`
        writes the photo there and returns what was lost in words. A video, which needs a path and the extra `video`,
        has the level of its first frame; noise is averaged over what moved smoothly (restore_video.py), and sound and
        times stay (codecs/video.py). Raises CodecError for what is no photo, SpecError for arguments that
        do not fit.
        """
        model, how = self.restorer, How(realism, seed, tile, wrap, turned).checked()
        if model.name != "denoiser":
            raise Unsupported("this model was fitted to enlarge photos: take one of task='denoise' (--task denoise)")
        self._real(realism)
        if sigma != LEVEL and not (isinstance(sigma, int | float) and 0 <= sigma <= 255):
            raise SpecError(f"expected sigma 'auto' or from 0 to 255 shades, got {sigma!r}")
        if quality is not None and not 1 <= quality <= 100:
            raise SpecError(f"expected a quality from 1 to 100, got {quality}")
        photo = _photo(source)
        if quality is None and sigma == LEVEL and model.config["jpeg"] and (photo.kept.quality or 100) < MARKED:
            quality = photo.kept.quality
        self.last_quality = quality
        marks = 0.0 if quality is None else 1 - quality / 100
        self.last_sigma = _level(photo.pixels, sigma, marks)
        level = (self.last_sigma, marks)
        if model.known == "blind":
            level = (0.0, 0.0)
        model = self._adapted(source, photo, adapt, self.last_sigma, seed, quiet)

        def change(pixels: np.ndarray, tick: Tick) -> np.ndarray:
            return cast(np.ndarray, denoise(model, pixels, level, how, tick))

        def film(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
            if not level[0]:
                return steadied(frames, lambda frame: change(frame, silent))
            return averaged(frames, lambda y, share: denoise(model, y, level, how, share=share), level[0])

        return self._restored(photo, source, change, film, how, path, quiet, overwrite)

    def upscale(
        self,
        source: Any,
        *,
        scale: int | None = None,
        path: str | Path | None = None,
        realism: float = 0.0,
        seed: int = 0,
        tile: int = TILE,
        wrap: bool = False,
        turned: bool = False,
        adapt: float = 0.0,
        quiet: bool = False,
        overwrite: bool = False,
    ) -> Any:
        """The photo or video `scale` times as large (by default the least that the model learned); see `denoise`."""
        model, how = self.restorer, How(realism, seed, tile, wrap, turned).checked()
        if model.name != "upscaler":
            raise Unsupported("this model was fitted to denoise photos: take one of task='upscale' (--task upscale)")
        self._real(realism)
        times = model.scales[0] if scale is None else scale
        photo = _photo(source)
        model = self._adapted(source, photo, adapt, 0.0, seed, quiet)

        def change(pixels: np.ndarray, tick: Tick) -> np.ndarray:
            return cast(np.ndarray, upscale(model, pixels, times, how, tick))

        def film(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
            carry = carrying(cast(Upscaler, model), times, how)
            return steadied(frames, lambda frame: change(frame, silent), times, carry)

        return self._restored(photo, source, change, film, how, path, quiet, overwrite)

    def evaluate(
        self,
        holdout: Any = None,
        target: str | None = None,
        *,
        train: Any = None,
        report: str | Path | None = None,
        json: str | Path | None = None,
        seed: int = 0,
        rows: int = 24,
        quiet: bool = False,
        **no: Any,
    ) -> ImageEvidence:
        """The evidence: PSNR on clean photos that were never learned from, spoiled and restored, at both ends of
        realism, beside the simple ways (evaluate_photos.py).

        holdout: such photos (by default the test photos of the stored split of the stored path); train: what was
        fitted, if it is no longer where it was; at most `rows` of them. Raises CodecError where there are none,
        Unsupported for a model of noisy photos alone without clean ones to hold it against.
        """
        if odd := [name for name, value in {"target": target, **no}.items() if value]:
            raise Unsupported(f"expected no {odd[0]} for a model that restores photos: leave it out")
        if holdout is None and self.restorer.known != "clean":
            raise Unsupported("the photos of this model were noisy: give clean ones to hold it against (--holdout)")
        for path in (report, json):
            if path is not None:
                store.check_folder(Path(path))
        unseen = (self.learned_from(train)[2] if holdout is None else read_photos(holdout)).pictures[:rows]
        if not unseen:
            raise CodecError("expected photos that were never learned from, the split left none: give some (holdout)")
        channels = self.restorer.channels if self.model.name == "denoiser" else unseen[0].shape[2]
        unseen = tuple(p if p.shape[2] == channels else p[..., :1].repeat(channels, 2) for p in unseen)
        with bar("judging", len(unseen), "photo", quiet) as tick:
            evidence = evaluate_photos(self.restorer, unseen, "texture" in self.provenance["fit"], seed, tick)
        evidence.rows["train"] = self.provenance["train_rows"]
        publish(evidence, report, json, f"{self.model.name} on {self.provenance['source']}", self.provenance)
        return evidence

    def learned_from(self, data: Any = None) -> tuple[Photos, Photos, Photos]:
        source = data if data is not None else self.provenance["path"]
        if source is None:
            raise CodecError("the model was fitted on arrays, which a bundle does not keep: give photos (--holdout)")
        photos = read_photos(source, **self.provenance["reading"])
        if photos.fingerprint() != self.provenance["fingerprint"]:
            raise CodecError(f"{str(source)!r} is not what the model was fitted on: its photos differ; give those")
        took = parts(len(photos), self.provenance["split"], self.provenance["seed"])
        return photos.take(took[0]), photos.take(took[1]), photos.take(took[2])

    def _real(self, realism: float) -> None:
        if realism and "texture" not in self.provenance["fit"]:
            raise Unsupported("this model has learned the least error alone: leave realism out, or fit it with texture")

    def _adapted(self, source: Any, photo: Photo, minutes: float, sigma: float, seed: int, quiet: bool) -> Restorer:
        """The model, or a copy that went on learning from what it is to restore (restoring.adapt)."""
        if not minutes:
            return self.restorer
        from .restoring import adapt

        if minutes < 0:
            raise SpecError(f"expected minutes of adapting above 0, got {minutes}")
        if self.model.name == "denoiser" and not sigma:
            raise SpecError("expected noise to learn from, found none in this photo: give sigma, or leave adapt out")
        own = _some_frames(source) if _moves(source) else [photo.pixels]
        model, channels = copy.deepcopy(self.restorer), self.restorer.channels
        top = np.iinfo(own[0].dtype).max
        own = [np.rint(p * np.float32(255 / top)).astype(np.uint8) for p in own]
        if model.name == "denoiser":
            own = [p if p.shape[2] == channels else p[..., :1].repeat(channels, 2) for p in own]
        adapt(model, own, minutes, sigma, seed, quiet)
        return model

    def _restored(
        self,
        photo: Photo,
        source: Any,
        change: Callable[[np.ndarray, Tick], np.ndarray],
        film: Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]],
        how: How,
        path: str | Path | None,
        quiet: bool,
        overwrite: bool,
    ) -> Any:
        if path is not None:
            store.check_folder(Path(path))
            _apart(source, path, overwrite)
        if _moves(source):
            if path is None:
                raise SpecError("expected a path to write the video to, got none: give path=")
            rewrite(source, path, film, overwrite=overwrite, quiet=quiet)
            return ()
        total = tiles_of(photo.pixels, how) * (1 if photo.alpha is None else 2)
        with bar("restoring", total, "tile", quiet) as tick:
            pixels, alpha = with_alpha(lambda some: change(some, tick), photo.pixels, photo.alpha)
        made = photo.with_pixels(pixels, alpha)
        if path is not None:
            return write_photo(made, path, overwrite=overwrite)
        return _array(made, source)


def general(task: str) -> FittedPhotos:
    """The model of a task that comes with pofx (recipes/general_restorers.py made it)."""
    return cast(FittedPhotos, load(Path(__file__).parent / "weights" / f"{task}.pofx"))


def _moves(source: Any) -> bool:
    """Whether a source is a video, by its ending."""
    return isinstance(source, str | Path) and Path(source).suffix.lower() in VIDEOS


def _some_frames(path: str | Path) -> list[np.ndarray]:
    """Frames from all over a video, at most twice FRAMES."""
    step = max(1, (info(path).frames or 0) // FRAMES)
    return [frame for i, frame in enumerate(frames(path)) if i % step == 0][: 2 * FRAMES]


def _photo(source: Any) -> Photo:
    """A photo, or the first frame of a video."""
    if _moves(source):
        return Photo(next(frames(source)))
    if isinstance(source, str | Path):
        return read_photo(source)
    if isinstance(source, np.ndarray) and source.ndim in (2, 3):
        return Photo(source if source.ndim == 3 else source[..., None])
    raise CodecError("expected a photo: a file, or an array (H, W) or (H, W, 3) of 8 or 16 bits")


def _apart(source: Any, path: str | Path, overwrite: bool) -> None:
    """Raises CodecError before the work for an output onto the input."""
    if isinstance(source, str | Path) and not overwrite and Path(path).exists() and Path(path).samefile(source):
        raise CodecError(f"expected another name than that of the input, got {str(path)!r}: give one, or overwrite it")


def _array(photo: Photo, source: Any) -> np.ndarray:
    """Pixels, with alpha as the last channel, of as many axes as came."""
    if photo.alpha is not None:
        return np.concatenate([photo.pixels, photo.alpha[..., None]], 2)
    grey = photo.pixels.shape[2] == 1 and not (isinstance(source, np.ndarray) and source.ndim == 3)
    return photo.pixels[..., 0] if grey else photo.pixels


def _level(pixels: np.ndarray, sigma: float | str, marks: float) -> float:
    """The level of noise that is told, or the estimate; none beside the marks of JPEG, which would be taken for it."""
    if sigma != LEVEL:
        return float(sigma)
    return 0.0 if marks else noise_level(pixels)
