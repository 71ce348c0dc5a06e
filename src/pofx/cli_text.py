"""The words of the command line for text: how it is read, how boldly it is drawn, and `continue`."""

import argparse
from typing import Any

from .cli_places import source_at


def ask_to_read_text(verb: argparse.ArgumentParser) -> None:
    """What `fit` asks of text."""
    verb.add_argument("--tokens", choices=("characters", "bytes", "bpe"), help="of text: its symbols (bpe: extra bpe)")
    verb.add_argument("--vocabulary", type=int, help="of text with bpe: how many symbols")
    verb.add_argument(
        "--segment", type=int, help="of music: steps of what is an example (default: pieces, of vae 4 bars)"
    )
    verb.add_argument("--length", type=int, help="symbols of a line or piece at most, or half of what a model sees")
    verb.add_argument("--grid", type=int, help="of music: steps of a quarter note (of MIDI 4)")
    verb.add_argument("--column", help="of a table learned as text (--kind text): where the text is (the longest)")
    verb.add_argument("--document", choices=("auto", "yes", "no"), help="of text: one long text, or a line an example")


def words_of_text(told: argparse.Namespace) -> dict[str, Any]:
    """What was said of how text is read."""
    words = {name: getattr(told, name) for name in ("tokens", "vocabulary", "length", "document", "grid", "segment")}
    return {k: v for k, v in words.items() if v is not None}


def ask_how_bold(verb: argparse.ArgumentParser) -> None:
    """What `sample` and `continue` ask of text."""
    verb.add_argument("--temperature", type=float, help="of text, music: below 1 the likely more often (1)")
    verb.add_argument("--top-p", type=float, help="of text, music: the likeliest that hold this share (1)")


def words_of_boldness(told: argparse.Namespace) -> dict[str, Any]:
    """What was said of that."""
    words = {"temperature": told.temperature, "top_p": told.top_p}
    return {k: v for k, v in words.items() if v is not None}


def ask_to_continue(verb: argparse.ArgumentParser) -> None:
    """The words of `continue`."""
    verb.add_argument("model", metavar="MODEL")
    verb.add_argument("input", nargs="?", help="a text file of prompts (of a document: all of it), or music")
    verb.add_argument("--text", help="the prompt itself")
    verb.add_argument("-o", "--output", help="a text file (default: shown), or one of music")
    verb.add_argument("--symbols", type=int, help="how many follow (default: to the end; of a document 500)")
    verb.add_argument("--seed", type=int, help="drawn and printed if not given")
    ask_how_bold(verb)


def ask_to_fill(verb: argparse.ArgumentParser) -> None:
    """What `complete` asks of: a file and where to, or a text."""
    verb.add_argument("input", nargs="?")
    verb.add_argument("--text", help="of text: a line with holes, an underscore for each symbol; shown without -o")
    verb.add_argument("-o", "--output")
    verb.add_argument(
        "--voices", nargs="+", metavar="VOICE", help="of music: the known ones (soprano); others are drawn"
    )
    verb.add_argument("--bars", metavar="A-B", help="of music: the bars of four quarter notes that are drawn")
    ask_how_bold(verb)


def words_of_filling(told: argparse.Namespace) -> dict[str, Any]:
    """What was said of what is filled, and how boldly."""
    from .errors import PofxError

    words = words_of_boldness(told) | ({} if told.voices is None else {"voices": told.voices})
    if told.bars is None:
        return words
    ends = told.bars.split("-")
    if not all(end.isdecimal() for end in ends) or len(ends) > 2:
        raise PofxError(f"expected bars such as 4-8 or 4, got {told.bars!r}")
    return words | {"bars": (int(ends[0]), int(ends[-1]))}


def source_of(told: argparse.Namespace) -> Any:
    """What `complete` is given: a path, or a list of one text."""
    from .errors import PofxError

    if (told.text is None) == (told.input is None):
        raise PofxError("expected a file or --text, got both or neither: give one")
    if told.text is None and told.output is None:
        raise PofxError("expected a file to write: give it with -o")
    return source_at(told) if told.text is None else [told.text]


def shown(rows: Any) -> str:
    """Texts for a terminal; with their labels, as CSV."""
    return "\n".join(rows) if isinstance(rows, list) else str(rows.to_csv(index=False)).rstrip("\n")


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
        | ({"allow_failed": True} if told.allow_failed else {})
    )
    go_on = verb_of(model, "continue_", words)
    if model.codec.kind in ("music", "voices"):
        return _continue_music(go_on, told, words) + f" (seed {model.last_seed})"
    prompts = [told.text] if told.input is None else model.prompts(told.input)
    made = go_on(prompts, quiet=told.quiet, **words)
    seed = f"(seed {model.last_seed})"
    return f"wrote {made:,} texts to {told.output} {seed}" if told.output else "\n".join([*made, seed])


def _continue_music(go_on: Any, told: argparse.Namespace, words: dict[str, Any]) -> str:
    from .errors import PofxError

    if told.input is None or told.output is None:
        raise PofxError("expected a file of music and an output (-o longer.mid), got a model of music without")
    return f"wrote {go_on(told.input, quiet=told.quiet, **words):,} pieces to {told.output}"
