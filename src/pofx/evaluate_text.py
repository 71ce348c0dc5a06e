"""Evidence on a model of text: likelihood of unseen text beside simpler laws, and how samples repeat or copy."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np

from .metrics.likelihood import mean_error
from .metrics.ngram import NGram
from .metrics.repetition import self_bleu, share_distinct, share_new

ORDER = 5
PAGE = """<!doctype html><meta charset="utf-8"><title>{title}</title>
<style>body{{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}}table{{border-collapse:collapse}}
td,th{{padding:.2em .8em;border-bottom:1px solid #ccc;text-align:left}}pre{{background:#f5f5f5;padding:.5em;
white-space:pre-wrap}}</style><h1>{title}</h1>{words}{tables}<h2>Drawn by the model</h2>{drawn}"""


@dataclass
class TextEvidence:
    """nats: of a symbol of unseen text by law, with its standard error; repetition: of samples and of unseen text by
    figure; drawn: some samples; words: what that means.
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


def evaluate_text(
    nats: np.ndarray,
    counts: np.ndarray,
    learned: Sequence[np.ndarray],
    unseen: Sequence[np.ndarray],
    symbols: int,
    texts: dict[str, list[str]],
) -> TextEvidence:
    """The evidence: `nats` of each unseen stretch under the model and its `counts` of symbols; codes of training and of
    unseen sequences for the laws beside; texts: samples ("drawn"), training lines ("learned") and unseen ones
    ("unseen"), empty where text is one document.

    Beside the model stand a Kneser-Ney law of five symbols and the frequencies of symbols alone (trivial).
    """
    own = nats / counts
    told = {"the model": (float(nats.sum() / counts.sum()), mean_error(own))}
    for name, order in ((f"{ORDER}-gram, Kneser-Ney", ORDER), ("frequencies of symbols", 1)):
        law = NGram.learn(learned, symbols, order)
        each = np.array([-law.log_prob(codes) for codes in unseen])
        sizes = np.array([len(codes) for codes in unseen])
        told[name] = (float(each.sum() / sizes.sum()), mean_error(each / sizes))
    drawn = texts["drawn"]
    repetition = {"drawn": _repeats(drawn, texts["learned"])}
    if texts["unseen"]:
        repetition["unseen (floor)"] = _repeats(texts["unseen"][: len(drawn)], texts["learned"])
    gain = told[f"{ORDER}-gram, Kneser-Ney"][0] - told["the model"][0]
    words = [f"The model {'beats' if gain > 0 else 'LOSES to'} a {ORDER}-gram by {abs(gain):.3f} nats a symbol."]
    return TextEvidence(told, repetition, drawn[:20], {"symbols": int(counts.sum()), "drawn": len(drawn)}, words)


def _repeats(texts: list[str], learned: list[str]) -> dict[str, float]:
    new = {"new": share_new(texts, learned)} if learned else {}
    return new | {"distinct": share_distinct(texts), "self-BLEU": self_bleu(texts)}
