"""The words of the command line for sounds: how they are read, and how they are drawn and gone on with."""

import argparse
from typing import Any

READ = ("rate", "seconds", "pattern")


def ask_to_read_audio(verb: argparse.ArgumentParser) -> None:
    """What `fit` asks of sounds."""
    verb.add_argument("--pattern", help="of sounds: names with their label, '{label}_{speaker}_{index}.wav'")
    verb.add_argument("--seconds", type=float, help="of sounds: of an example (default: of 95 in 100 clips, at most 2)")
    verb.add_argument("--rate", type=int, help="of sounds: samples a second (default: the files' own, at most 22050)")


def words_of_audio(told: argparse.Namespace) -> dict[str, Any]:
    """What was said of how sounds are read."""
    return {name: getattr(told, name) for name in READ if getattr(told, name) is not None}


def ask_how_guided(verb: argparse.ArgumentParser) -> None:
    """What `sample` and `continue` ask of sounds."""
    verb.add_argument("--seconds", type=float, help="of long recordings: how long what is drawn is (continue: 10)")
    verb.add_argument("--guidance", type=float, help="of sounds: 1 the law itself, above 1 clearer and less varied")


def words_of_guidance(told: argparse.Namespace) -> dict[str, Any]:
    """What was said of that."""
    return {name: getattr(told, name) for name in ("seconds", "guidance") if getattr(told, name) is not None}


def continue_audio(told: argparse.Namespace, model: Any) -> str:
    """pofx continue, of sounds"""
    from .cli_photos import verb_of
    from .errors import PofxError

    if told.input is None or told.output is None:
        raise PofxError("expected sounds to go on with and -o, got one of them alone: give both")
    bold = {k: getattr(told, k) for k in ("temperature", "top_p", "symbols") if getattr(told, k) is not None}
    words = bold | words_of_guidance(told) | {"seed": told.seed, "path": told.output}
    words |= {"allow_failed": True} if told.allow_failed else {}
    made = verb_of(model, "continue_", words)(told.input, quiet=told.quiet, **words)
    return f"wrote {made:,} sounds to {told.output} (seed {model.last_seed})"
