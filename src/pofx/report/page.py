"""One HTML page of the evidence: verdict, pictures, tables; it needs no network and reads well on a phone."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import store
from ..errors import CodecError
from ..evaluate import Evidence
from ..metrics.verdict import Figure
from . import pictures

GROUPS = {
    "fidelity": "Fidelity: does it look like the real table",
    "use": "Use: is it worth something",
    "likelihood": "Likelihood: what the model gives to unseen rows",
    "privacy": "Privacy: does it give training rows away",
}
CARDS = {
    "auc_unseen": "A judge tells it from unseen rows",
    "auc_train": "A judge tells it from training rows",
    "shape": "Single columns",
    "trend_common": "Pairs of columns",
    "use_auc": "Useful: AUC on real rows",
    "use_r2": "Useful: variance explained",
    "log_prob": "Nats an unseen row",
    "closer": "Nearer to training rows",
}
AREAS = {
    "auc_unseen": "judge: synthetic or unseen",
    "auc_train": "judge: synthetic or training",
    "nearest_auc": "attack: nearest row",
    "ratio_auc": "attack: density ratio",
    "worst_auc": "attack: most unusual tenth",
}
MARKS = ("✓", "!", "✗")


def shown(value: float | None, figure: Figure | None = None) -> str:
    """A number as the page prints it."""
    if value is None:
        return "–"
    if figure is not None and figure.name in ("copies", "broken_dependencies", "broken_constraints", "missing_gap"):
        return f"{value:.2%}"
    return f"{value:,.4g}" if abs(value) >= 10 else f"{value:.3f}".replace("-", "−")


def home() -> Any:
    """The templates of this folder."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = FileSystemLoader(Path(__file__).parent)
    made = Environment(loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters["shown"] = shown
    return made


def render(
    evidence: Evidence, *, title: str, provenance: Mapping[str, Any], labels: Mapping[str, str] | None = None
) -> str:
    """The page as text. `labels` gives columns other names in the page; `provenance` is printed as it is."""
    page = home().get_template("page.html")
    return page.render(
        title=title,
        evidence=evidence,
        level=max((r.level for r in evidence.reasons), default=1),
        marks=MARKS,
        cards=[(words, evidence[name]) for name, words in CARDS.items() if name in evidence],
        groups=[(words, [f for f in evidence.figures if f.group == group]) for group, words in GROUPS.items()],
        fit=provenance.get("verdict"),
        provenance=facts_of(provenance),
        **_details(evidence),
        **_pictures(evidence, dict(labels or {})),
    )


def judged_block(provenance: Mapping[str, Any]) -> str:
    """The verdict of the fit and the figures behind it, as a part of a page; empty where there is none."""
    templates = home()
    return "".join(
        templates.get_template(name).render(fit=provenance.get("verdict")) for name in ("guard.html", "judged.html")
    )


def write_report(
    evidence: Evidence,
    path: str | Path,
    *,
    title: str,
    provenance: Mapping[str, Any],
    labels: Mapping[str, str] | None = None,
) -> None:
    """Writes the page to path, whole or not at all.

    Raises CodecError if the folder does not exist or the file cannot be written.
    """
    path = Path(path)
    store.check_folder(path)
    part = store.beside(path)
    try:
        part.write_text(render(evidence, title=title, provenance=provenance, labels=labels), encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise CodecError(f"could not write {str(path)!r}: {error.strerror or error}; nothing was changed") from error
    finally:
        part.unlink(missing_ok=True)


def facts_of(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is known of a model or sample, as a page prints it."""
    return [(str(k).replace("_", " "), str(v)) for k, v in provenance.items() if v is not None and k != "verdict"]


def _details(evidence: Evidence) -> dict[str, Any]:
    def of(name: str, key: str) -> Any:
        return evidence[name].detail.get(key, []) if name in evidence else []

    models = of("log_prob", "models")
    found = evidence.tables.get("attacks", {})
    return {
        "attacks": {"words": found["words"], "rows_": _attacked(found)} if found else {},
        "stands": of("log_prob", "words") or "",
        "annealing": evidence.tables.get("annealing", {}),
        "rebuilt": evidence.tables.get("rebuilding", {}),
        "rules": of("auc_train", "rules"),
        "learner": of("auc_train", "learner"),
        "broken": of("broken_dependencies", "rules"),
        "kept": of("broken_constraints", "rules"),
        "lost": of("rare_kept", "lost"),
        "models": sorted(models.items(), key=lambda m: -m[1]["mean"]) if models else [],
        "lift": of("lift", "verdict"),
    }


def _attacked(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The attacks, and below inference the columns with the largest risk."""
    rows = list(found["rows"])
    worst = [
        column | {"name": f"inference of {column['name']}", "says": "", "trials": row["trials"]}
        for row in rows
        for column in row.get("columns", [])
    ]
    return rows + worst


def _pictures(evidence: Evidence, labels: dict[str, str]) -> dict[str, Any]:
    def name(column: str) -> str:
        return labels.get(column, column)

    tables = evidence.tables
    leaned = evidence["auc_train"].detail.get("columns", []) if "auc_train" in evidence else []
    areas = [(words, evidence[key]) for key, words in AREAS.items() if key in evidence]
    both = tables.get("pairs")
    return {
        "marginals": [(name(v["name"]), v["score"], pictures.marginal(v)) for v in tables["marginals"]],
        "pairs": pictures.pairs([name(n) for n in both["names"]], both["matrix"]) if both else "",
        "worst": [(name(v["a"]), name(v["b"]), v["score"], pictures.joint(v)) for v in tables.get("worst", [])],
        "areas": pictures.intervals(areas) if areas else "",
        "leaned": pictures.bars([(name(n), v) for n, v in leaned[:10]]) if leaned else "",
    }
