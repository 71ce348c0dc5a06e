"""One HTML page of the evidence on several tables: keys, children a parent, rows with their parents."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import pictures
from .page import facts_of, home

SHOWN = 12  # numbers of children that have a bar of their own; more are one


def render_tables(
    evidence: Any, *, title: str, tree: str, verdict: Mapping[str, Any], provenance: Mapping[str, Any]
) -> str:
    """The page of a `tables.judging.TablesEvidence` and the verdict on it; it needs no network."""
    wrong = ", ".join(f"{name}: {n:,} rows" for name, n in evidence.keys.items() if n)
    counts = {name: _counts(*both) for name, both in evidence.counts.items()}
    told = {k: v for k, v in provenance.items() if k in ("source", "seed", "split", "fit seconds", "versions")}
    return home().get_template("tables.html").render(
        title=title, evidence=evidence, tree=tree, broken=wrong, counts=counts, judged=_judged(evidence.pairs),
        facts=facts_of(told), fit=verdict,
    )  # fmt: skip


def _counts(real: Sequence[int], fake: Sequence[int]) -> str:
    """Shares of parents by their number of children."""
    top = max(len(real), len(fake))

    def shares(counts: Sequence[int]) -> np.ndarray:
        some = np.zeros(max(top, 1))
        some[: len(counts)] = counts
        few = np.r_[some[:SHOWN], some[SHOWN:].sum()] if top > SHOWN else some
        return few / max(few.sum(), 1)

    def paint(ax: Any) -> None:
        one, two = shares(real), shares(fake)
        at = np.arange(len(one))
        ax.bar(at - 0.2, one, 0.4, color=pictures.REAL, alpha=0.7)
        ax.bar(at + 0.2, two, 0.4, color=pictures.FAKE, alpha=0.9)
        step = 1 if len(at) <= 7 else 2
        names = [f"{k}+" if top > SHOWN and k == SHOWN else str(k) for k in at]
        ax.set_xticks(at[::step], names[::step])

    return pictures.draw(3.2, 1.9, paint, "counts")


def _judged(pairs: Mapping[str, Mapping[str, float]]) -> str:
    """AUC of each table beside its floor and what is trivial."""

    def paint(ax: Any) -> None:
        for y, told in enumerate(pairs.values()):
            ax.plot([told["floor"], told["trivial"]], [y, y], color=pictures.MARK, linewidth=1)
            ax.plot(told["floor"], y, "D", color=pictures.REAL, markersize=5)
            ax.plot(told["trivial"], y, "x", color=pictures.MARK, markersize=6)
            ax.plot(told["auc"], y, "o", color=pictures.FAKE, markersize=7)
        ax.axvline(0.5, color=pictures.MARK, linewidth=1, linestyle=":")
        ax.set_yticks(range(len(pairs)), [pictures.short(name) for name in pairs], parse_math=False)
        ax.set_ylim(len(pairs) - 0.5, -0.5)
        ax.set_xlabel("AUC: drawn (disc), floor (diamond), trivial (cross)")

    return pictures.draw(5.0, 0.9 + 0.3 * len(pairs), paint, "judged") if pairs else ""
