"""Evidence on a synthetic table: every metric that applies, each figure beside its ceiling and its trivial baseline.

The ceiling puts real rows in the place of the synthetic ones; the trivial baseline draws each column alone, from the
training rows, so that it knows every marginal and no dependence.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from .metrics import Answer, Answers, Case, Metric, Skip, check, count, registry, some, take
from .metrics.likelihood import BASELINES
from .metrics.verdict import Figure, Reason, privacy, verdict
from .metrics.views import joint, marginal
from .spec import Columns, Spec

# 40 draws put the standard error of a figure within about 11 % of its own value, at one or two seconds in all.
DRAWS = 40
# The trivial baseline is far from the ceiling: where the number of rows does not bias a figure, 5,000 show it.
BASELINE_ROWS = 5_000
# Rows a side of the slow metrics when a quick answer is asked for.
QUICK_ROWS = 4_000
# What a page can hold: columns in pictures and heat maps, pairs side by side.
COLUMNS, PAIRS = 40, 6


@dataclass
class Evidence:
    """All that is known of a synthetic table: figures, what was skipped and why, tables for the pictures, a verdict."""

    figures: list[Figure]
    verdict: str
    headline: str
    reasons: list[Reason]
    privacy: str
    skipped: dict[str, str]
    rows: dict[str, int]
    tables: dict[str, Any]

    def __getitem__(self, name: str) -> Figure:
        """The figure of this name; KeyError where it could not be given."""
        for figure in self.figures:
            if figure.name == name:
                return figure
        raise KeyError(f"no figure {name!r}: there are {', '.join(f.name for f in self.figures)}")

    def __contains__(self, name: str) -> bool:
        return any(figure.name == name for figure in self.figures)

    def summary(self) -> str:
        """The verdict, the main figures and the privacy statement, for a terminal."""
        head = f"{'':19}{'value':>9}{'95 % interval':>20}{'ceiling':>9}{'trivial':>9}"
        lines = [self.headline, "", head] if self.figures else [self.headline]
        lines += [_line(f) for f in self.figures if f.name in HEADLINES]
        stands = self["log_prob"].detail["words"] if "log_prob" in self else ""
        sides, rebuilt = self.tables.get("annealing", {}), self.tables.get("rebuilding", {}).get("words", "")
        lines += ["", stands] if stands else []
        lines += ["", rebuilt] if rebuilt and rebuilt not in self.headline else []
        lines += [f"annealing: {name} {row['mean']:.2f} ± {row['error']:.2f} nats" for name, row in sides.items()]
        lines += _attacked(self.tables["attacks"]) if "attacks" in self.tables else []
        lines += [f"attacks: skipped, {self.skipped['attacks']}"] if "attacks" in self.skipped else []
        return "\n".join([*lines, "", self.privacy])

    def to_json(self) -> dict[str, Any]:
        """The evidence as plain JSON: no NaN, no arrays."""
        return plain(asdict(self))


HEADLINES = ("auc_train", "score_train", "auc_unseen", "shape", "trend", "trend_common", "alpha_precision",
             "beta_recall", "broken_dependencies", "broken_constraints", "use_auc", "use_rmse", "lift", "log_prob",
             "closer", "copies", "nearest_auc", "ratio_auc")  # fmt: skip


def _line(figure: Figure) -> str:
    def shown(value: float | None) -> str:
        return "-" if value is None else f"{value:.4g}" if abs(value) >= 10 else f"{value:.3f}"

    interval = "-" if figure.low is None else f"{shown(figure.low)} to {shown(figure.high)}"
    cells = f"{shown(figure.value):>9}{interval:>20}{shown(figure.ceiling):>9}{shown(figure.baseline):>9}"
    return f"{figure.name:19}{cells}"


def _attacked(found: Mapping[str, Any]) -> list[str]:
    """The attacks on training rows, for a terminal."""
    head = f"{'attack':33}{'training':>10}{'control':>10}{'guess':>10}{'risk':>8}   95 % interval"
    rows = [
        f"{row['name']:33}" + "".join(f"{row[k][0]:>10.2%}" for k in ("train", "control", "guess"))
        + f"{row['risk'][0]:>8.3f}   {row['risk'][1]:.3f} to {row['risk'][2]:.3f}"
        for row in found["rows"]
    ]  # fmt: skip
    return ["", head, *rows, found["words"]]


def plain(value: Any) -> Any:
    """The value as plain JSON values: arrays as lists, numbers that are not finite as null."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def evaluate(
    spec: Spec,
    synthetic: Columns,
    train: Columns,
    holdout: Columns | None = None,
    *,
    target: str | None = None,
    log_probs: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
    progress: Callable[[float, str], None] | None = None,
    quick: bool = False,
    rules: Mapping[str, Callable[[Columns], np.ndarray]] | None = None,
) -> Evidence:
    """Judges synthetic rows by the rows that a model learned from and rows that it never saw.

    `log_probs`: log p of each held-out row, in nats, by name: the model, "independent", "gaussian_copula", and
    "truth" where the law is known. `progress(done, what)` hears of each metric, done in [0, 1]. `quick` bounds the
    rows of the slow metrics. `rules`: for each constraint, in words, which rows break it. Without `holdout` the figures
    that need unseen rows are skipped, with the reason.

    Raises SpecError where a table lacks a column or the target is none.
    """
    check(spec, synthetic=synthetic, train=train, **({"hold-out": holdout} if holdout is not None else {}))
    if target is not None:
        spec.field(target)
    case = Case(spec, synthetic, train, holdout if count(holdout) else None, target, log_probs, seed, DRAWS,
                QUICK_ROWS if quick else None, rules or None)  # fmt: skip
    figures, skipped = [], {}
    members = registry()
    for k, (name, metric) in enumerate(members.items()):
        if progress:
            progress(k / len(members), name)
        try:
            figures += list(_figures(metric, case))
        except Skip as reason:
            skipped[name] = str(reason)
    figures.sort(key=lambda f: GROUPS.index(f.group))
    tables = _tables(case, figures)
    if progress:
        progress(1.0, "done")
    rows = {"synthetic": count(synthetic), "train": count(train), "holdout": count(holdout)}
    return Evidence(figures, *verdict(figures, rows), privacy(figures), skipped, rows, tables)


GROUPS = ("fidelity", "use", "likelihood", "privacy")


def of_codes(found: dict[str, Any], train: int, holdout: int) -> Evidence:
    """The evidence on a model that has codes and draws no rows: what `rebuilding` found."""
    stands = found["stands"]
    return Evidence(
        [], stands, found["words"], [Reason(found["level"], f"what codes of unseen rows rebuild is {stands}", "")],
        "No rows were drawn, so none can give training rows away. The model file itself holds the labels, ranges and "
        "frequent values of the training rows; share it as you would share those.",
        {name: "the model draws no rows; `pofx prior` gives it a law of its codes" for name in GROUPS},
        {"synthetic": 0, "train": train, "holdout": holdout}, {"marginals": [], "rebuilding": found},
    )  # fmt: skip


# -- a figure and what stands beside it ------------------------------------------------------------------------------


def _figures(metric: Metric, case: Case) -> Iterator[Figure]:
    answers = metric(case)
    other = replace(case, draws=0)
    ceiling = _answers(metric, _ceiling_case(metric, other))
    baseline = _answers(metric, _baseline_case(metric, other))
    fewer = metric.matched and any(ceiling[name].n < answer.n for name, answer in answers.items() if name in ceiling)
    matched = _answers(metric, _matched_case(other)) if fewer else {}
    for name, answer in answers.items():
        low, high = _interval(answer)
        best, worst, fair = (found[name].value if name in found else None for found in (ceiling, baseline, matched))
        best = answer.ceiling if best is None else best
        yield Figure(name, metric.group, metric.says[name], answer.value, low, high, best, worst, fair,
                     metric.better[name], metric.unit, answer.n, answer.detail)  # fmt: skip


def _answers(metric: Metric, case: Case | None) -> Answers:
    try:
        return metric(case) if case else {}
    except Skip:
        return {}


def _interval(answer: Answer) -> tuple[float | None, float | None]:
    if answer.error is None:
        return answer.low, answer.high
    return answer.value - 1.96 * answer.error, answer.value + 1.96 * answer.error


def _ceiling_case(metric: Metric, case: Case) -> Case | None:
    rng = case.generator(1000)
    if metric.group == "likelihood":
        return _likelihood_case(case, "truth")
    if case.unseen is None:
        return None
    if metric.stand_in == "train":
        return replace(case, fake=some(case.train, count(case.fake), rng))
    if metric.stand_in == "unseen":
        return replace(case, fake=some(case.unseen, count(case.fake), rng))
    order = rng.permutation(count(case.unseen))
    half = len(order) // 2
    return replace(case, fake=take(case.unseen, order[:half]), unseen=take(case.unseen, order[half:]))


def _baseline_case(metric: Metric, case: Case) -> Case | None:
    if metric.group == "likelihood":
        return _likelihood_case(case, "independent")
    limit = case.limit if metric.matched else case.at_most(BASELINE_ROWS)
    return replace(case, fake=independent(case.train, count(case.fake), case.generator(1001)), limit=limit)


def _likelihood_case(case: Case, name: str) -> Case | None:
    known = case.log_probs or {}
    rivals = {k: v for k, v in known.items() if k in BASELINES}
    return replace(case, log_probs={"stand-in": known[name]} | rivals) if name in known else None


def _matched_case(case: Case) -> Case:
    return replace(case, fake=some(case.fake, count(case.unseen), case.generator(1002)))


def independent(x: Columns, n: int, generator: np.random.Generator) -> Columns:
    """n rows whose columns are drawn one by one: each column of x in an order of its own, repeated as needed."""
    m = count(x)
    rounds = -(-n // max(m, 1))
    return {
        name: v[np.concatenate([generator.permutation(m) for _ in range(rounds)])[:n]] if m else v
        for name, v in x.items()
    }


# -- what the pictures show ------------------------------------------------------------------------------------------


def _tables(case: Case, figures: list[Figure]) -> dict[str, Any]:
    by_name = {f.name: f for f in figures}
    scores = by_name["shape"].detail["columns"] if "shape" in by_name else {}
    fields = sorted(case.fields, key=lambda f: scores.get(f.name, 1.0))[:COLUMNS]
    marginals = [marginal(f, case.fake, case.train) | {"score": scores.get(f.name)} for f in fields]
    return {"marginals": marginals} | (_pairs(case, by_name["trend_common"]) if "trend_common" in by_name else {})


def _pairs(case: Case, figure: Figure) -> dict[str, Any]:
    pairs = sorted(figure.detail["pairs"], key=lambda p: p[2])
    columns: list[int] = []
    for i, j, _ in pairs:
        columns += [k for k in (i, j) if k not in columns]
    shown = sorted(columns[:COLUMNS])
    matrix = np.full((len(shown), len(shown)), np.nan)
    for i, j, value in pairs:
        if i in shown and j in shown:
            a, b = shown.index(i), shown.index(j)
            matrix[a, b] = matrix[b, a] = value
    worst = [joint(case.fields[i], case.fields[j], case.fake, case.train) | {"score": v} for i, j, v in pairs[:PAIRS]]
    names = [case.fields[k].name for k in shown]
    return {"pairs": {"names": names, "matrix": matrix.tolist()}, "worst": worst}
