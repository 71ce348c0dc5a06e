"""The words of the command line that `fit` and `doctor` have alike, and how a table is read and a model set up."""

import argparse
import json
from collections.abc import Callable, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

from .cli_audio import ask_to_read_audio, words_of_audio
from .cli_places import ask_where, words_of_where
from .cli_text import ask_to_read_text, words_of_text
from .errors import PofxError


def ask_to_read(verb: argparse.ArgumentParser) -> None:
    """What verbs ask that learn how a table is read."""
    verb.add_argument("--delimiter", help="of a text file, instead of the one found")
    verb.add_argument("--encoding", help="of a text file, instead of the one found")
    verb.add_argument(
        "--header", choices=("auto", "yes", "no"), default="auto", help="whether the first line names the columns"
    )
    ask_where(verb)
    verb.add_argument(
        "--stream",
        choices=("auto", "yes", "no"),
        default="auto",
        help="whether the rows of a file stay on disk; auto: where they would fill half of the memory",
    )
    verb.add_argument("--fields", metavar="JSON", help='how columns are read: {"zip": "category"}')


def ask_to_fit(verb: argparse.ArgumentParser) -> None:
    """What `fit` and `doctor` ask alike."""
    verb.add_argument(
        "input",
        help="CSV, TSV (.gz, .zst), Parquet, Feather or JSON Lines; SQLite (.db), DuckDB, postgresql://..., .xlsx; "
        "images: .npz, .npy, IDX, a folder, a zip, a glob; "
        "text: .txt, .md; music: .mid, .abc, .json of chords; sounds: .wav, .flac, .ogg, .mp3; or a folder of such",
    )
    verb.add_argument(
        "--kind",
        choices=("auto", "table", "tables", "image", "text", "music", "voices", "audio"),
        default="auto",
        help="of the data, if not plain",
    )
    verb.add_argument("--pixels", metavar="HxW", help="the size that pictures of several sizes are brought to")
    verb.add_argument("--broken", choices=("refuse", "skip"), help="what to do with pictures that cannot be read")
    verb.add_argument("--largest", type=int, metavar="PIXELS", help="of a picture; more are refused")
    verb.add_argument(
        "--model",
        default="auto",
        help="a name of `pofx models` (default any_order; images vae, text, music autoregressive, audio flow_matching)",
    )
    verb.add_argument(
        "--size", choices=("small", "base", "large"), help="of the network: half, once or twice its default width"
    )
    verb.add_argument("--base", help="of a flow: normal (default), student (learned tails), mixture, uniform (nsf)")
    verb.add_argument("--seed", type=int, default=0)
    verb.add_argument(
        "--precision", choices=("auto", "float32"), default="auto", help="auto: wide networks may train in bfloat16"
    )
    verb.add_argument(
        "--missing",
        choices=("state", "unknown"),
        default="state",
        help="whether a missing cell is a state or unknown (models that can: `unknown` in `pofx models`)",
    )
    verb.add_argument(
        "--condition",
        help="columns c of p(x | c), separated by commas; of images label (the default where labels are found) or none",
    )
    verb.add_argument("--rare", type=int, metavar="K", help="of a table: merge what fewer than K training rows share")
    verb.add_argument("--epsilon", type=float, help="of a table: differential privacy (mst, any_order)")
    verb.add_argument("--delta", type=float, help="of it (default 1e-6)")
    verb.add_argument("--unit", default="rows", help="whom it protects: rows, or the entities of a key column")
    verb.add_argument(
        "--constraints",
        default="found",
        metavar="JSON",
        help='what every row keeps: found (default), none, or a file, ["start <= end"], of tables {"orders": [...]}',
    )
    verb.add_argument(
        "--dirty", choices=("clean", "keep"), default="clean", help="rows that break them: left out, or made as seen"
    )
    verb.add_argument("--device", default="auto", help="auto, cpu or cuda")
    verb.add_argument("--threads", type=int, help="of the processor")
    verb.add_argument("--split", default="0.8,0.1,0.1", help="shares for training, validation, test")
    verb.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="an argument of the model")
    ask_to_read(verb)
    ask_to_read_text(verb)
    ask_to_read_audio(verb)


def json_of(path: str | None) -> dict[str, Any] | None:
    """The object in a JSON file."""
    if path is None:
        return None
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PofxError(f"expected a JSON file at {path!r}: {error}") from error
    if not isinstance(found, dict):
        raise PofxError(f'expected {{"column": kind, ...}} in {path!r}, got {type(found).__name__}')
    return found


def constraints_of(text: str) -> Any:
    """found, none, or the texts in a JSON file, of several tables by table."""
    if text in ("found", "none"):
        return text
    try:
        found = json.loads(Path(text).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PofxError(f"expected --constraints as found, none or a JSON file, got {text!r}: {error}") from error
    lists = list(found.values()) if isinstance(found, dict) else [found]
    if not all(isinstance(own, list) and all(isinstance(one, str) for one in own) for own in lists):
        raise PofxError(f'expected a list of texts in {text!r}, ["start <= end", ...], got {type(found).__name__}')
    return found


def words_of_reading(told: argparse.Namespace) -> dict[str, Any]:
    """What was said of how a table is read, but for its fields."""
    words = {"delimiter": told.delimiter, "encoding": told.encoding, "header": told.header, "stream": told.stream}
    return {k: v for k, v in words.items() if v not in (None, "auto")} | words_of_where(told)


def _pixels(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    height, by, width = text.lower().partition("x")
    if not (by and height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise PofxError(f"expected --pixels as HEIGHTxWIDTH, 32x32, got {text!r}")
    return {"size": (int(height), int(width))}


def _words_of(text: str | None) -> list[str] | None:
    return None if text is None else [word.strip() for word in text.split(",") if word.strip()]


def settings_of(texts: Sequence[str], verb: Callable[..., Any]) -> dict[str, Any]:
    """The arguments of a model, NAME=VALUE each.

    Raises PofxError for a word that the verb has itself, but for the size, which it hands on.
    """
    own, out = set(signature(verb).parameters) - {"size"}, {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise PofxError(f"expected NAME=VALUE, got {text!r}")
        if name in own:
            raise PofxError(
                f"expected --set with an argument of the model, got {name!r}, a word of the fit: see --help"
            )
        try:
            out[name] = json.loads(value)
        except ValueError:
            out[name] = value
    return out


def words_of_fitting(told: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `fit` that `fit` and `doctor` share."""
    from .learn import fit

    try:
        split = tuple(float(s) for s in told.split.split(","))
    except ValueError as error:
        raise PofxError(f"expected --split as three numbers, 0.8,0.1,0.1, got {told.split!r}") from error
    same = ("model", "size", "seed", "device", "threads", "kind", "missing", "precision")
    words = {name: getattr(told, name) for name in same} | {"split": split}
    words |= {"fields": json_of(told.fields), "condition": _words_of(told.condition)}
    words |= {"constraints": constraints_of(told.constraints), "dirty": told.dirty}
    pictures = {name: value for name in ("broken", "largest") if (value := getattr(told, name)) is not None}
    words |= {
        "reading": words_of_reading(told) | _pixels(told.pixels) | pictures | words_of_text(told) | words_of_audio(told)
    }
    words |= {"base": told.base} if told.base else {}
    own = {name: getattr(told, name) for name in ("rare", "epsilon", "delta")} | {"unit": told.unit}
    words |= {name: value for name, value in own.items() if value not in (None, "rows")}
    return words | settings_of(told.set, fit)
