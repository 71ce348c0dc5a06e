"""Evidence on a model of text: likelihood of unseen text beside simpler laws, and how samples repeat or
copy and how far they are, beside those of laws that were learned by likelihood.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np

from .metrics.gram_distance import entropy, gram_distance
from .metrics.likelihood import mean_error
from .metrics.ngram import NGram
from .metrics.repetition import self_bleu, share_distinct, share_new

ORDER = 5
ALIKE = 0.015  # distances nearer to one another than that are alike: two sets of 500 draws of one law of names are
COUNTED, TRIVIAL, FLOOR = f"{ORDER}-gram, Kneser-Ney", "frequencies of symbols", "unseen (floor)"
PAGE = """<!doctype html><meta charset="utf-8"><title>{title}</title>
<style>body{{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}}table{{border-collapse:collapse}}
td,th{{padding:.2em .8em;border-bottom:1px solid #ccc;text-align:left}}pre{{background:#f5f5f5;padding:.5em;
white-space:pre-wrap}}</style><h1>{title}</h1>{words}{tables}<h2>Drawn by the model</h2>{drawn}"""


@dataclass
class TextEvidence:
    """nats: of a symbol of unseen text by law, with its standard error; repetition: of samples and of unseen text by
    figure, with their distance from unseen text; drawn: some samples of the model; words: what that means.
    """

    nats: dict[str, tuple[float, float]]
    repetition: dict[str, dict[str, float]]
    drawn: list[str]
    rows: dict[str, int]
    words: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """Lines for a terminal."""
        lines = [*self.words, f"nats a symbol of unseen text ({self.rows['symbols']:,} symbols)"]
        lines += [f"  {name:<28} {value:.3f} +- {2 * error:.3f}" for name, (value, error) in self.nats.items()]
        names = list(next(iter(self.repetition.values()), {}))
        lines += ["  ".join(["texts".ljust(28), *names])] if names else []
        for name, row in self.repetition.items():
            lines.append("  ".join([f"  {name:<26}", *(f"{row[k]:<{len(k)}.3f}" for k in names)]))
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        nats = {k: {"value": v, "standard error": e} for k, (v, e) in self.nats.items()}
        return {"nats a symbol": nats, "repetition": self.repetition, "rows": self.rows, "words": self.words}

    def html(self, title: str) -> str:
        """One page that needs no network."""
        nats = [["nats a symbol of unseen text", "value", "two standard errors"]]
        nats += [[k, f"{v:.3f}", f"{2 * e:.3f}"] for k, (v, e) in self.nats.items()]
        names = list(next(iter(self.repetition.values()), {}))
        rows = [["texts", *names], *([k, *(f"{row[n]:.3f}" for n in names)] for k, row in self.repetition.items())]
        words = "".join(f"<p>{escape(word)}</p>" for word in self.words)
        drawn = "".join(f"<pre>{escape(text)}</pre>" for text in self.drawn)
        return PAGE.format(title=escape(title), words=words, tables=table_of(nats) + table_of(rows), drawn=drawn)


def table_of(rows: list[list[str]]) -> str:
    tags = ["th", *["td"] * (len(rows) - 1)]
    cells = ["".join(f"<{tag}>{escape(c)}</{tag}>" for c in row) for row, tag in zip(rows, tags, strict=True)]
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>"


def laws_of(learned: Sequence[np.ndarray], symbols: int) -> dict[str, NGram]:
    """The laws that a model stands beside, learned by counting: Kneser-Ney of five symbols, and their frequencies."""
    return {name: NGram.learn(learned, symbols, order) for name, order in ((COUNTED, ORDER), (TRIVIAL, 1))}


def evaluate_text(
    nats: Mapping[str, np.ndarray],
    counts: np.ndarray,
    learned: Sequence[np.ndarray],
    unseen: Sequence[np.ndarray],
    symbols: int,
    texts: dict[str, list[str]],
    drawn: Mapping[str, list[str]],
    spell: Callable[[np.ndarray], str],
    seed: int = 0,
) -> TextEvidence:
    """The evidence: `nats` of each unseen stretch under the model and others by name, and their `counts` of symbols;
    codes of training and of unseen sequences for the laws beside; texts: training lines ("learned") and unseen ones
    ("unseen"), empty where text is one document; drawn: samples, those of "the model" first; spell: codes to text.

    Beside the model stand a Kneser-Ney law of five symbols and the frequencies of symbols alone (trivial).
    """
    told = {k: (float(v.sum() / counts.sum()), mean_error(v / counts)) for k, v in nats.items()}
    laws = laws_of(learned, symbols)
    for name, law in laws.items():
        each = np.array([-law.log_prob(codes) for codes in unseen])
        sizes = np.array([len(codes) for codes in unseen])
        told[name] = (float(each.sum() / sizes.sum()), mean_error(each / sizes))
    own = drawn["the model"]
    rows = {"symbols": int(counts.sum()), "drawn": len(own)}
    if not texts["unseen"]:
        figures = {name: _repeats(lines, []) for name, lines in drawn.items()}
        return TextEvidence(told, figures, own[:20], rows, _likelier(told))
    longest = max(map(len, learned))
    drawn = {**drawn, **spelled(laws, len(own), longest, spell, seed)}
    figures = figures_of(drawn, texts["learned"], texts["unseen"], seed)
    return TextEvidence(told, figures, own[:20], rows, [*_likelier(told), nearer(figures)])


def spelled(
    laws: Mapping[str, NGram], n: int, longest: int, spell: Callable[[np.ndarray], str], seed: int
) -> dict[str, list[str]]:
    """n draws of each law, as text."""
    rng = np.random.default_rng([seed, 5])
    return {name: [spell(codes) for codes in law.draws(n, longest, rng)] for name, law in laws.items()}


def figures_of(
    drawn: Mapping[str, list[str]], learned: list[str], unseen: list[str], seed: int = 0
) -> dict[str, dict[str, float]]:
    """How texts of each source repeat one another and training lines, and their distance from unseen lines.

    The floor is unseen lines themselves, and as distance that of as many training lines.
    """
    n = min(len(next(iter(drawn.values()))), len(learned))
    some = [learned[i] for i in np.random.default_rng([seed, 6]).choice(len(learned), n, replace=False)]
    return {k: _repeats(v, learned) | {"distance": gram_distance(v, unseen)} for k, v in drawn.items()} | {
        FLOOR: _repeats(unseen[:n], learned) | {"distance": gram_distance(some, unseen)}
    }


def _likelier(told: Mapping[str, tuple[float, float]]) -> list[str]:
    """Whether the model's likelihood beats an n-gram's."""
    if "the model" not in told:
        return []
    gain = told[COUNTED][0] - told["the model"][0]
    return [f"The model {'beats' if gain > 0 else 'LOSES to'} a {ORDER}-gram by {abs(gain):.3f} nats a symbol."]


def nearer(figures: Mapping[str, Mapping[str, float]]) -> str:
    """Whether the model's draws are nearer to unseen lines than those of each law that was learned by likelihood."""
    own, floor, far = (figures[name]["distance"] for name in ("the model", FLOOR, TRIVIAL))
    others = {k: v["distance"] for k, v in figures.items() if k not in ("the model", FLOOR, TRIVIAL)}
    said = ", ".join(f"{other:.3f} by {name} ({_than(own, other)})" for name, other in others.items())
    return (
        f"Distance from unseen lines, of runs of 1 to 4 characters: {own:.3f} by the model, {said}; training lines "
        f"{floor:.3f}, {TRIVIAL} {far:.3f}."
    )


def _than(own: float, other: float) -> str:
    return "as near" if abs(other - own) < ALIKE else "farther" if other > own else "NEARER"


def _repeats(texts: list[str], learned: list[str]) -> dict[str, float]:
    new = {"new": share_new(texts, learned)} if learned else {}
    varied = {"distinct": share_distinct(texts), "self-BLEU": self_bleu(texts), "entropy": entropy(texts)}
    return new | varied
