"""The words of the command line that restore photos and videos: denoise and upscale, and what `fit --task` asks."""

import argparse
from collections.abc import Callable
from inspect import signature
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
    verb.add_argument("--video", action="store_true", help="learn what frames show of the next (task upscale)")


def words_of_task(told: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `fit` for a task; PofxError for those of a task without one."""
    words = {
        name: getattr(told, name) for name in ("scale", "clean", "noisy", "sigma") if getattr(told, name) is not None
    }
    words |= {"texture": False} if told.no_texture else {}
    words |= {"video": True} if told.video else {}
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
        verb.add_argument("--sigma", help="deviation of the noise in shades of 255, or auto (the default of photos)")
        verb.add_argument(
            "--noise", help="of sounds: a sound of the noise alone, or its root mean square (white noise)"
        )
        verb.add_argument("--quality", type=int, help="of the JPEG file whose marks are to go (photos; 1 to 100)")
    else:
        verb.add_argument("--scale", type=int, help="how many times larger (default: the least that the model can)")
        verb.add_argument(
            "--band", type=float, help="of sounds: hertz above which they lack all (default: half the rate)"
        )
    verb.add_argument("--realism", type=float, help="of photos: 0 the least error (default), 1 the look of clean ones")
    verb.add_argument("--tile", type=int, help="of photos: side of what is worked on at a time, in pixels")
    verb.add_argument("--adapt", type=float, metavar="MINUTES", help="of photos: learn from this very one first")
    verb.add_argument("--wrap", action="store_true", default=None, help="of photos: it goes on at its other side")
    verb.add_argument("--turned", action="store_true", default=None, help="of photos: the mean of eight ways, slower")
    verb.add_argument("--overwrite", action="store_true", default=None, help="of photos: the output may be the input")
    verb.add_argument("--broken", choices=("refuse", "skip"), help="of a folder of photos: those that cannot be read")
    verb.add_argument("--draws", type=int, help="of a model of images: several draws of p(x|y) instead of its mean")
    verb.add_argument("--seed", type=int, help="of realism and draws")


WORDS = (
    "sigma", "noise", "quality", "band", "scale", "realism", "tile", "adapt", "wrap", "turned", "overwrite", "draws",
    "seed",
)  # fmt: skip


def run_restoring(told: argparse.Namespace) -> str:
    """pofx denoise, upscale"""
    from .bundle import load
    from .codecs.writing import check_path
    from .fitted_photos import FittedPhotos, general

    if len(told.files) > 2:
        raise PofxError(f"expected a model and an input, or an input alone, got {len(told.files)} files")
    model = load(told.files[0]) if len(told.files) == 2 else general(told.verb)
    each = isinstance(model, FittedPhotos) and Path(told.files[-1]).is_dir()
    if not (Path(told.output).is_dir() and (each or told.verb in model.into_folders)):
        check_path(told.output)
    words = {name: value for name in WORDS if (value := getattr(told, name, None)) is not None}
    words |= {"allow_failed": True} if told.allow_failed else {}
    words |= {"quiet": True} if told.quiet else {}
    if "sigma" in words:
        words["sigma"] = _sigma(words["sigma"])
    if "noise" in words:
        words["noise"] = _noise(words["noise"])
    verb = verb_of(model, told.verb, words)
    if told.broken and not each:
        raise PofxError("expected no --broken but for a folder of photos: leave it out")
    if each:
        return _each(verb, Path(told.files[-1]), Path(told.output), words, told.broken == "skip")
    said = verb(told.files[-1], path=told.output, **words)
    if not isinstance(model, FittedPhotos):
        return f"wrote {said:,} rows to {told.output}"
    level = ""
    if told.verb == "denoise":
        noise = f"noise of deviation {model.last_sigma:.1f} of 255"
        level = f" ({noise if model.last_quality is None else f'marks of JPEG of quality {model.last_quality}'})"
    return "\n".join([f"wrote {told.output}{level}", *said])


def _each(verb: Callable[..., Any], folder: Path, into: Path, words: dict[str, Any], skip: bool) -> str:
    """Restores the photos and videos of a folder and of those in it, under their own names. What cannot be restored is
    named after the others are; PofxError then, unless it is to be skipped, and for a folder of none.
    """
    from .codecs.gathering import PICTURES
    from .fitted_photos import VIDEOS
    from .progress import bar

    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in (*PICTURES, *VIDEOS))
    if not files:
        raise PofxError(f"expected photos ({', '.join(PICTURES)}) or videos in {str(folder)!r}, found none")
    if into.exists() and not into.is_dir():
        raise PofxError(f"expected a folder to write {len(files):,} files to, got the file {str(into)!r}: name another")
    if into.exists() and into.samefile(folder) and "overwrite" not in words:
        raise PofxError(f"expected another folder than that of the input, got {str(into)!r}: name one, or --overwrite")
    why = []
    with bar("restoring", len(files), "file", words.get("quiet", False)) as tick:
        for file in files:
            path = into / file.relative_to(folder)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                verb(file, path=path, **(words | {"quiet": True}))
            except PofxError as error:
                why.append(f"{file}: {error}")
            tick()
    said = "\n".join([f"wrote {len(files) - len(why):,} of {len(files):,} files to {into}", *why])
    if why and not skip:
        raise PofxError(f"{said}\nexpected {len(files):,} files that can be restored: --broken skip goes on without")
    return said


def verb_of(fitted: Any, name: str, words: dict[str, Any]) -> Callable[..., Any]:
    """A verb of a model; PofxError where its kind of data has none, or not these words."""
    verb = getattr(fitted, name, None)
    if verb is None:
        raise PofxError(f"expected a model of images for {name}, got one of a table")
    own = signature(verb).parameters
    if any(p.kind is p.VAR_KEYWORD for p in own.values()):
        return verb  # which says itself what it cannot
    if "quiet" in words and "quiet" not in own:
        del words["quiet"]
    if odd := [word for word in words if word not in own]:
        kind = type(fitted).__name__.removeprefix("Fitted").lower()
        raise PofxError(f"expected no --{odd[0].replace('_', '-')} for {name} by a model of {kind}: leave it out")
    return verb


def _sigma(text: str) -> float | str:
    try:
        return text if text == "auto" else float(text)
    except ValueError as error:
        raise PofxError(f"expected --sigma auto or a number, got {text!r}") from error


def _noise(text: str) -> float | str:
    """A number, or the name of a file."""
    try:
        return float(text)
    except ValueError:
        return text
