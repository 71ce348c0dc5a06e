"""The words of the command line for text: how it is read, how boldly it is drawn, and `continue`."""

import argparse
from typing import Any


def ask_to_read_text(verb: argparse.ArgumentParser) -> None:
    """What `fit` asks of text."""
    verb.add_argument("--tokens", choices=("characters", "bytes", "bpe"), help="of text: its symbols (bpe: extra bpe)")
    verb.add_argument("--vocabulary", type=int, help="of text with bpe: how many symbols")
    verb.add_argument("--length", type=int, help="of text: symbols of a line at most, or half of what a model sees")
    verb.add_argument("--document", choices=("auto", "yes", "no"), help="of text: one long text, or a line an example")


def words_of_text(told: argparse.Namespace) -> dict[str, Any]:
    """What was said of how text is read."""
    words = {name: getattr(told, name) for name in ("tokens", "vocabulary", "length", "document")}
    return {k: v for k, v in words.items() if v is not None}


def ask_how_bold(verb: argparse.ArgumentParser) -> None:
    """What `sample` and `continue` ask of text."""
    verb.add_argument("--temperature", type=float, help="of text: below 1 the likely more often, above 1 less (1)")
    verb.add_argument("--top-p", type=float, help="of text: only the likeliest symbols that hold this share (1)")


def words_of_boldness(told: argparse.Namespace) -> dict[str, Any]:
    """What was said of that."""
    words = {"temperature": told.temperature, "top_p": told.top_p}
    return {k: v for k, v in words.items() if v is not None}


def ask_to_continue(verb: argparse.ArgumentParser) -> None:
    """The words of `continue`."""
    verb.add_argument("model", metavar="MODEL")
    verb.add_argument("input", nargs="?", help="a text file of prompts (of a document: all of it is the prompt)")
    verb.add_argument("--text", help="the prompt itself")
    verb.add_argument("-o", "--output", help="a text file (default: shown)")
    verb.add_argument("--symbols", type=int, help="how many follow (default: to the end; of a document 500)")
    verb.add_argument("--seed", type=int, help="drawn and printed if not given")
    ask_how_bold(verb)


def continue_text(told: argparse.Namespace) -> str:
    """pofx continue"""
    from .bundle import load
    from .cli_audio import continue_audio, words_of_guidance
    from .cli_photos import verb_of
    from .errors import PofxError

    model: Any = load(told.model)
    if model.codec.kind == "audio":
        return continue_audio(told, model)
    if (told.text is None) == (told.input is None):
        raise PofxError("expected a file of prompts or --text, got both or neither: give one")
    words = (
        words_of_boldness(told)
        | words_of_guidance(told)
        | {"symbols": told.symbols, "seed": told.seed, "path": told.output}
    )
    go_on = verb_of(model, "continue_", words)
    prompts = [told.text] if told.input is None else model.prompts(told.input)
    made = go_on(prompts, quiet=told.quiet, **words)
    seed = f"(seed {model.last_seed})"
    return f"wrote {made:,} texts to {told.output} {seed}" if told.output else "\n".join([*made, seed])
