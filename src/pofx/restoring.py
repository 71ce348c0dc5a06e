"""`fit` with a task: photos in, a model that restores them out."""

import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from .codecs.photos import PhotoCodec, Photos, read_photos
from .errors import SpecError
from .fitted_photos import FittedPhotos
from .models import create, sized
from .models.model import Batch
from .models.restorer import STAGES, Restorer
from .progress import bar, say
from .restore import BLACK, LUMA, SWING, noise_level, noise_of
from .split import parts
from .training.checkpoint import Checkpoint
from .training.loop import Trainer
from .version import __version__

TASKS = {"denoise": "denoiser", "upscale": "upscaler"}
WATCHED = 64  # pieces of validation pictures that are looked at
MINUTES = {"mean": 7, "texture": 3, "frames": 4}  # how the minutes of a fit are shared out
STEPS = {"mean": 7, "texture": 3, "frames": 1}  # and its steps: one of clips takes as long as many
NOISY = 8.0  # median deviation from which photos are taken as noisy: 9 of 10 clean ones are below
ADAPTED = 2e-4  # rate of learning from the very pictures that are to be restored
SPARE = 3.0  # seconds of --minutes that are kept for what follows the steps


def fit_restorer(
    source: Any,
    task: str,
    *,
    clean: Any = None,
    noisy: bool | None = None,
    sigma: float | None = None,
    texture: bool = True,
    video: bool = False,
    minutes: float | None = None,
    steps: int | None = None,
    size: str | None = None,
    seed: int = 0,
    split: Sequence[float] = (0.8, 0.1, 0.1),
    device: str = "cpu",
    precision: str = "auto",
    checkpoint: str | Path | None = None,
    resume: bool = False,
    quiet: bool = False,
    reading: Mapping[str, Any] | None = None,
    **config: Any,
) -> FittedPhotos:
    """A model of `task` from photos (read_photos): `learn.fit` hands on what it is asked.

    clean: of noisy photos the clean ones, of the same names; noisy: whether photos are noisy and there are no clean
    ones, so that it is learned from noise alone (None: where the noise that is estimated in them is above NOISY), of
    deviation `sigma`, in shades of 255, if that is known; else it is estimated, or, where it is not Gaussian, nothing
    is taken for known of it. texture: whether a draw of p(x | y) is learned as well, for realism above zero; video:
    whether what a frame shows of the next one is, from clips of the photos as they move. Raises what `fit` does.
    """
    began = time.monotonic()
    _check(task, clean, noisy, sigma, video)
    with bar("reading", None, "photo", quiet) as tick:
        photos = read_photos(source, **dict(reading or {}))
        beside = None if clean is None else _beside(photos, read_photos(clean))
        tick(len(photos))
    fingerprint, notes = photos.fingerprint(), dict(photos.notes)
    if task == "upscale":
        photos = photos.mapped(luma_of)
    elif clean is not None:
        config["known"] = "pairs"
    else:
        known, notes["noise"] = _told(photos, sigma, noisy)
        config |= {"known": known} if known != "clean" else {}
    config |= {"video": True} if video else {}
    config = (sized(TASKS[task], size) if size is not None else {}) | config
    took = list(parts(len(photos), split, seed))
    few = not len(took[1])
    if few:
        took = [np.arange(len(photos))] * 3
    codec = PhotoCodec.learn(photos.take(took[0]))
    model = cast(Restorer, create(TASKS[task], codec.spec, seed, **config))
    learned, watched = (_batch(model, photos, beside, part, sigma) for part in took[:2])
    if few:
        learned, watched = _aside(learned, seed)
        notes["split"] = "too few photos to keep some aside: a tenth of the pieces of all of them is watched"
    say("\n".join(f"{k}: {v}" for k, v in notes.items()), quiet)
    own = {
        "model": TASKS[task], "config": model.config, "seed": seed, "split": list(split), "rows": len(photos),
        "train_rows": len(took[0]), "fingerprint": fingerprint, "task": task,
    }  # fmt: skip
    asked = {"mean": True, "texture": texture and model.known in ("clean", "pairs"), "frames": video}
    stages = [stage for stage in STAGES if asked[stage]]
    places = {stage: Checkpoint(Path(f"{checkpoint}.{stage}"), own) for stage in stages if checkpoint is not None}
    end = None if minutes is None else began + 60 * minutes - SPARE
    fits: dict[str, Any] = {}
    for k, stage in enumerate(stages):
        model.stage = stage
        now = time.monotonic()
        until = None if end is None else now + (end - now) * MINUTES[stage] / sum(MINUTES[s] for s in stages[k:])
        count = None if steps is None else max(1, round(steps * STEPS[stage] / sum(STEPS[s] for s in stages)))
        fits[stage] = _stage(
            model, learned, _few(watched), seed, device, precision, count, until, places.get(stage), resume, quiet
        )  # fmt: skip
    for place in places.values():
        place.remove()
    path = str(Path(source).resolve()) if isinstance(source, str | Path) else None
    provenance = own | {
        "source": Path(path).name if path else "arrays", "path": path, "container": photos.kind, "notes": notes,
        "reading": dict(reading or {}), "fit": fits | {"fit seconds": time.monotonic() - began},
        "versions": {"pofx": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }  # fmt: skip
    return FittedPhotos(model.eval(), codec, provenance)


def _check(task: str, clean: Any, noisy: bool | None, sigma: float | None, video: bool) -> None:
    """Raises SpecError for words that do not belong to the task or to one another."""
    if task not in TASKS:
        raise SpecError(f"expected a task among {', '.join(TASKS)}, got {task!r}")
    if task != "denoise" and (clean is not None or noisy or sigma is not None):
        raise SpecError(f"expected clean, noisy and sigma with task 'denoise' alone, got them with {task!r}")
    if sigma is not None and (clean is not None or noisy is False or not 0 < sigma <= 255):
        raise SpecError(f"expected sigma above 0 and up to 255, and with noisy photos alone, got {sigma}")
    if video and task != "upscale":
        raise SpecError("expected video with task 'upscale': what denoises photos denoises videos, so leave it out")


def adapt(
    model: Restorer, pictures: Sequence[np.ndarray], minutes: float, sigma: float, seed: int, quiet: bool
) -> dict[str, Any]:
    """Goes on training a restorer on the very pictures that it is to restore, for so many minutes; what happened.

    An upscaler learns from them scaled down once more, a denoiser from them with more noise than they have (`sigma`, in
    shades of 255). Paper: Shocher, Cohen, Irani 2018, Zero-Shot Super-Resolution using Deep Internal Learning.
    """
    until = time.monotonic() + 60 * minutes
    model.stage = STAGES[0]
    if model.name == "denoiser":
        flat = [np.full((*p.shape[:2], 1), sigma, np.float32) for p in pictures]
        pieces, level = model.pieces(pictures, flat)
        batch: Batch = (pieces, level[..., :1, :1].clone())
    else:
        batch = model.pieces([luma_of(p) for p in pictures])
    learned, watched = _aside(batch, seed)
    known, model.known = model.known, "gaussian"
    model.rate = ADAPTED
    try:
        return _stage(model, learned, _few(watched), seed, "cpu", "auto", None, until, None, False, quiet)
    finally:
        model.known = known
        model.eval()


def luma_of(picture: np.ndarray) -> np.ndarray:
    """(H, W, 1 or 3) to luma (H, W, 1), rounded."""
    bright = picture.astype(np.float32) @ LUMA[:, None] if picture.shape[2] == 3 else picture * np.float32(SWING)
    return np.rint(BLACK * 255 + bright).astype(np.uint8)


def _stage(
    model: Restorer,
    learned: Batch,
    watched: Batch,
    seed: int,
    device: str,
    precision: str,
    steps: int | None,
    until: float | None,
    place: Checkpoint | None,
    resume: bool,
    quiet: bool,
) -> dict[str, Any]:
    """Fits what the model's stage moves; what happened, in plain values."""
    torch.manual_seed(seed)
    trainer = Trainer(model, learned, watched, seed, device, precision)
    held = place.read() if place is not None and resume else None
    if held is not None:
        trainer.restore(held[0], held[1])
    total = held[2] if held is not None else trainer.plan(steps, until)
    if place is not None and held is None:
        place.write(*trainer.state(), total)
    with bar(f"training the {model.stage}", total, "step", quiet) as tick:
        tick(trainer.step)
        history = trainer.run(total, place, tick, until if held is None and steps is None else None)
    if place is not None:
        place.write(*trainer.state(), history.planned)
    model.to("cpu")
    return {
        "steps": history.steps, "best step": history.best_step, "stopped": history.stopped,
        "validation": history.best, "skipped": history.skipped, "seconds": history.seconds,
        "cpu seconds": history.cpu_seconds, "precision": "bfloat16" if trainer.mixed else "float32",
    }  # fmt: skip


def _beside(photos: Photos, clean: Photos) -> Photos:
    """The clean photos in the order of the noisy ones, found by their names; SpecError where they do not belong."""
    place = {str(Path(name).with_suffix("")): i for i, name in enumerate(clean.names)}
    of = [str(Path(name).with_suffix("")) for name in photos.names]
    lost = [name for name, stem in zip(photos.names, of, strict=True) if stem not in place]
    if lost:
        raise SpecError(
            f"expected a clean photo of the name of each noisy one, found none for {len(lost)} of {len(photos)}: "
            f"{', '.join(map(repr, lost[:8]))}"
        )
    clean = clean.take(np.array([place[stem] for stem in of]))
    for name, a, b in zip(photos.names, photos.pictures, clean.pictures, strict=True):
        if a.shape != b.shape:
            raise SpecError(f"expected {name!r} and its clean photo of one shape, got {a.shape} and {b.shape}")
    return clean


def _told(photos: Photos, sigma: float | None, noisy: bool | None) -> tuple[str, str]:
    """How photos without clean ones beside them are learned from, and why, in words."""
    if sigma is not None:
        return "gaussian", f"Gaussian of deviation {sigma:g}, as told: learned from the same photos with more noise"
    found = [noise_of(p) for p in photos.pictures]
    levels, white = [level for level, _ in found], float(np.mean([ok for _, ok in found]))
    said = f"deviation {np.median(levels):.1f} of 255, from {min(levels):.1f} to {max(levels):.1f}, estimated"
    if noisy is False or (noisy is None and np.median(levels) < NOISY):
        return "clean", f"{said}; the photos are taken as clean ones" + " (noisy=True, --noisy, if not)" * (
            noisy is None
        )
    if white > 0.5:
        return "gaussian", f"{said}; even and without a pattern: learned from the same photos with more noise"
    return "blind", f"{said}; it has a pattern or follows the brightness: each pixel is learned from those around it"


def _batch(model: Restorer, photos: Photos, beside: Photos | None, part: np.ndarray, sigma: float | None) -> Batch:
    """The pieces of a part of the photos, and what belongs to each."""
    own = photos.take(part)
    if beside is not None:
        return model.pieces(own.pictures, beside.take(part).pictures)
    if model.known != "gaussian":
        return model.pieces(own.pictures)
    levels = [noise_level(p) if sigma is None else sigma for p in own.pictures]
    flat = [np.full((*p.shape[:2], 1), level, np.float32) for p, level in zip(own.pictures, levels, strict=True)]
    pieces, level = model.pieces(own.pictures, flat)
    return pieces, level[..., :1, :1].clone()


def _aside(batch: Batch, seed: int) -> tuple[Batch, Batch]:
    """A batch without a tenth of its pieces, and that."""
    order = torch.randperm(len(batch[0]), generator=torch.Generator().manual_seed(seed))
    cut = max(1, len(order) // 10) if len(order) > 1 else 0
    return tuple(t[order[cut:]] for t in batch), tuple(t[order[:cut]] for t in batch)


def _few(batch: Batch) -> Batch:
    """At most WATCHED pieces, from everywhere."""
    step = max(1, len(batch[0]) // WATCHED)
    return tuple(t[::step][:WATCHED] for t in batch)
