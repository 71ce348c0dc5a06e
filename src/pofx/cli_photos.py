"""The words of the command line that restore photos and videos: denoise and upscale, and what `fit --task` asks."""

import argparse
from pathlib import Path
from typing import Any

from .errors import PofxError


def ask_of_task(verb: argparse.ArgumentParser) -> None:
    """What `fit` asks where photos are learned to be restored."""
    verb.add_argument("--task", choices=("denoise", "upscale"), help="learn to restore photos, in place of their law")
    verb.add_argument("--scale", type=int, help="how many times larger, 2, 3 or 4 (task upscale; default: all three)")
    verb.add_argument("--clean", metavar="DIR", help="the clean photos of noisy ones, of the same names (task denoise)")
    noisy = verb.add_mutually_exclusive_group()
    noisy.add_argument(
        "--noisy", action="store_true", default=None, help="photos are noisy, and there are no clean ones"
    )
    noisy.add_argument("--not-noisy", dest="noisy", action="store_false", help="photos are clean")
    verb.add_argument("--sigma", type=float, help="deviation of the noise of noisy photos, in shades of 255, if known")
    verb.add_argument("--no-texture", action="store_true", help="learn the least error alone, and no realism")


def words_of_task(told: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `fit` for a task; PofxError for those of a task without one."""
    words = {
        name: getattr(told, name) for name in ("scale", "clean", "noisy", "sigma") if getattr(told, name) is not None
    }
    words |= {"texture": False} if told.no_texture else {}
    if told.task is None:
        if words:
            raise PofxError(
                f"expected {', '.join(words)} with --task alone, got no task: give --task denoise or upscale"
            )
        return {}
    return words | {"task": told.task}


def ask_to_restore(verb: argparse.ArgumentParser, task: str) -> None:
    """The words of `denoise` and `upscale`."""
    verb.add_argument(
        "files", nargs="+", metavar="[MODEL] INPUT", help="a model file, or none for the general one; what is restored"
    )
    verb.add_argument("-o", "--output", required=True)
    if task == "denoise":
        verb.add_argument("--sigma", default="auto", help="deviation of the noise in shades of 255, or auto (photos)")
        verb.add_argument("--quality", type=int, help="of the JPEG file whose marks are to go (photos; 1 to 100)")
    else:
        verb.add_argument("--scale", type=int, help="how many times larger (default: the least the model has, 2)")
    verb.add_argument("--realism", type=float, default=0.0, help="0: the least error; 1: the look of clean photos")
    verb.add_argument("--tile", type=int, help="side of what is worked on at a time, in pixels")
    verb.add_argument("--wrap", action="store_true", help="the picture goes on at its other side (textures)")
    verb.add_argument("--seed", type=int, default=0)
    verb.add_argument("--overwrite", action="store_true", help="the output may be the input")


def run_restoring(told: argparse.Namespace) -> str:
    """pofx denoise, upscale"""
    from . import store
    from .bundle import load
    from .fitted_photos import FittedPhotos, general

    if len(told.files) > 2:
        raise PofxError(f"expected a model and an input, or an input alone, got {len(told.files)} files")
    store.check_folder(Path(told.output))
    source = told.files[-1]
    model = load(told.files[0]) if len(told.files) == 2 else general(told.verb)
    words: dict[str, Any] = {"path": told.output}
    if isinstance(model, FittedPhotos):
        words |= {name: getattr(told, name) for name in ("realism", "wrap", "seed", "overwrite", "quiet")}
        words |= {"tile": told.tile} if told.tile is not None else {}
        if told.verb == "upscale":
            words |= {"scale": told.scale}
        else:
            words |= {"sigma": _sigma(told.sigma), "quality": told.quality}
    said = getattr(model, told.verb)(source, **words)
    if not isinstance(model, FittedPhotos):
        return f"wrote {said:,} rows to {told.output}"
    level = f" (noise of deviation {model.last_sigma:.1f} of 255)" if told.verb == "denoise" else ""
    return "\n".join([f"wrote {told.output}{level}", *said])


def _sigma(text: str) -> float | str:
    try:
        return text if text == "auto" else float(text)
    except ValueError as error:
        raise PofxError(f"expected --sigma auto or a number, got {text!r}") from error
