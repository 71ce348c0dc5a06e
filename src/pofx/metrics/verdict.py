"""The verdict on a synthetic table, read from its figures in plain words."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One figure: its value with a 95 % interval, its ceiling, its trivial baseline, and which way is better.

    `matched` is the value on as many rows as the ceiling has, where the number of rows matters and is not the same.
    """

    name: str
    group: str
    says: str
    value: float
    low: float | None
    high: float | None
    ceiling: float | None
    baseline: float | None
    matched: float | None
    better: str
    unit: str
    n: int
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def fair(self) -> float:
        """The value to hold against the ceiling."""
        return self.value if self.matched is None else self.matched


@dataclass(frozen=True)
class Reason:
    """A sentence behind the verdict: level 0 speaks for the table, 1 for care, 2 against it."""

    level: int
    words: str
    figure: str


@dataclass(frozen=True)
class Check:
    """Reads a figure: how far it stands on the bad side of `ideal` or its ceiling, beyond its own error.

    At most `good` speaks for the table, more than `bad` against it, between them for care.
    """

    figure: str
    ideal: float
    good: float
    bad: float
    words: str
    instead_of: str = ""


# `good` is what the best published models reach on tables of ten thousands of rows, `bad` what columns drawn
# alone or a copied table give.
CHECKS = (
    Check("auc_unseen", 0.5, 0.10, 0.30, "a trained judge told synthetic from unseen real rows with AUC {value:.3f}"),
    Check("auc_train", 0.5, 0.10, 0.30, "a trained judge told synthetic from training rows with AUC {value:.3f}",
          "auc_unseen"),
    Check("shape", 1.0, 0.015, 0.08, "single columns match to {fair:.3f} of 1 (Shape)"),
    Check("trend_common", 1.0, 0.02, 0.08, "pairs of columns match to {fair:.3f} of 1 (Trend)"),
    Check("missing_gap", 0.0, 0.01, 0.10, "missing cells differ by up to {value:.1%} of a column"),
    Check("broken_dependencies", 0.0, 0.005, 0.05, "{value:.2%} of rows break a rule that all training rows keep"),
    Check("broken_constraints", 0.0, 0.005, 0.05, "{value:.2%} of rows break a constraint of the table"),
    Check("use_auc", 1.0, 0.02, 0.08, "a model trained on synthetic rows reaches AUC {value:.3f} on real ones"),
    Check("use_r2", 1.0, 0.03, 0.15, "a model trained on synthetic rows explains {value:.1%} of the real variance"),
    Check("log_prob_gain", 0.0, 0.0, 5.0, "unseen rows are {value:+.2f} nats likelier than under the best baseline"),
    Check("copies", 0.0, 0.001, 0.01, "{value:.2%} of rows equal a training row"),
    Check("closer", 0.5, 0.02, 0.10, "{value:.1%} of rows are nearer to a training row than to an unseen one"),
    Check("nearest_auc", 0.5, 0.02, 0.10, "the nearest-row membership attack reaches AUC {value:.3f}"),
    Check("ratio_auc", 0.5, 0.02, 0.10, "the density-ratio membership attack reaches AUC {value:.3f}"),
    Check("nearest_caught", 0.01, 0.02, 0.10, "the nearest-row attack finds {value:.1%} of members (1 % false alarms)"),
    Check("ratio_caught", 0.01, 0.02, 0.10, "the density-ratio attack finds {value:.1%} of members (1 % false alarms)"),
    Check("worst_auc", 0.5, 0.05, 0.15, "on the most unusual tenth of rows an attack reaches AUC {value:.3f}"),
)  # fmt: skip
WORDS = ("good", "usable with care", "do not trust")
FEW_ROWS = 200


def _loss(check: Check, figure: Figure) -> float:
    sign = 1.0 if figure.better == "lower" else -1.0
    ideal = check.ideal if figure.ceiling is None or figure.group == "likelihood" else figure.ceiling
    if figure.better == "lower":
        ideal = max(ideal, check.ideal)
    error = 0.0 if figure.low is None or figure.high is None else (figure.high - figure.low) / 2
    return max(sign * (figure.fair - ideal) - error, 0.0)


def _judged(figures: list[Figure]) -> Iterator[Reason]:
    found = {f.name: f for f in figures}
    for check_ in CHECKS:
        figure = found.get(check_.figure)
        if figure is None or not math.isfinite(figure.value) or check_.instead_of in found:
            continue
        loss = _loss(check_, figure)
        words = check_.words.format(value=figure.value, fair=figure.fair)
        if figure.ceiling is not None and figure.group != "likelihood":
            words += f" (real rows in their place: {_shown(figure.ceiling, check_.words)})"
        yield Reason(int(loss > check_.good) + int(loss > check_.bad), words, figure.name)


def _shown(value: float, words: str) -> str:
    return f"{value:.2%}" if "%}" in words else f"{value:.3f}"


def verdict(figures: list[Figure], rows: dict[str, int]) -> tuple[str, str, list[Reason]]:
    """(verdict, headline, reasons): one of `WORDS`, a sentence, and a reason for each figure, the gravest first."""
    reasons = list(_judged(figures))
    if min(rows["synthetic"], rows["train"]) < FEW_ROWS:
        reasons.append(Reason(1, f"under {FEW_ROWS} rows of a kind: too few to judge", ""))
    if not rows["holdout"]:
        reasons.append(Reason(1, "no unseen rows were given: use and privacy could not be measured", ""))
    reasons.sort(key=lambda r: -r.level)
    level = max((r.level for r in reasons), default=1)
    against = [r.words for r in reasons if r.level == level][:3]
    first = {0: "The synthetic table is good: ", 1: "Usable with care: ", 2: "Do not trust this table: "}[level]
    return WORDS[level], first + "; ".join(against or ["nothing could be measured"]) + ".", reasons


def privacy(figures: list[Figure]) -> str:
    """What the attacks found, in plain words, and what no figure can promise."""
    names = {c.figure for c in CHECKS} & {f.name for f in figures if f.group == "privacy"}
    worst = max((r.level for r in _judged(figures) if r.figure in names), default=None)
    seen = {
        None: "No privacy figure could be given. ",
        0: "These attacks found no sign that training rows were memorised. ",
        1: "Some attacks found more than chance: see the figures before you share this table. ",
        2: "Training rows can be recognised in this table: do not share it. ",
    }[worst]
    if "closer" not in names:
        seen = "Without unseen rows only exact copies could be looked for. " + (seen if worst else "")
    return seen + (
        "This is evidence and not a guarantee: other attacks may find what these did not, and averages hide single "
        "people. The model file itself holds the labels, ranges and frequent values of the training rows; share it as "
        "you would share those."
    )
