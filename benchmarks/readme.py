"""Writes the tables under "How good" of the README from benchmarks/results/tables.json, and nothing else.

python benchmarks/readme.py
"""

import json
import statistics
from typing import Any

from tables import COLUMNS, HERE, Row, cell

README, RESULTS = HERE.parent / "README.md", HERE / "results" / "tables.json"
BEGIN, END = "## How good\n", "## More\n"
TITLES = {
    "adult": "**Adult** (32,561 rows)",
    "adult_peers": "**Adult, the split of published samples** (24,403 rows)",
    "california_housing": "**California housing** (18,576 rows; use is an RMSE)",
    "bank_marketing": "**Bank marketing** (40,689 rows)",
    "default_credit": "**Default of credit cards** (27,000 rows)",
}
SHOWN = {
    "fit_cpu_seconds": "CPU s",
    "score_train": "two-sample score",
    "auc_unseen": "AUC, unseen",
    "shape": "Shape",
    "trend_common": "Trend",
    "use": "use",
    "closer": "closer",
    "nats": "nats",
}
INTRO = """
Measured by `make bench-tables` ({processor}, {threads} threads, torch {torch}, xgboost {xgboost}), a minute a
fit unless said otherwise: medians over seeds ± half their range, by the same code on the same machine; all
figures: [benchmarks/results](benchmarks/results/tables.md). *Two-sample score*: 2 - 2 AUC of gradient boosting
that tells synthetic from training rows (1: it cannot); *AUC, unseen*: the same against rows never trained on;
*Shape* and *Trend*: single columns and pairs (common bins); *use*: AUC on real unseen rows of a model trained
on synthetic ones; *closer*: share of rows nearer to a training row than to an unseen one (.5 is chance);
*nats*: held-out log-likelihood of a row. The line *real unseen rows* is the ceiling. Shape and Trend equal the
SDMetrics package's (`make bench-sdmetrics`).

"""


def table(name: str, rows: list[Row]) -> str:
    """One table: the ceiling, then the best two-sample score first."""
    forms = {key: form for _, key, form in COLUMNS} | {"use": "{:,.0f}" if name == "california_housing" else "{:.3f}"}
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row["table"] == name and "error" not in row:
            minutes = "" if row.get("minutes") in (None, 1.0) else f", {row['minutes']:g} minutes"
            label = f"`{row['model']}`{minutes}" if row["by"] == "pofx" else row["model"]
            mark = {"published": " (published sample)", "peer": " (ctgan package)"}.get(row["by"], "")
            groups.setdefault((row["by"], label + mark), []).append(row)
    first = {key: statistics.median([row["score_train"] for row in group]) for key, group in groups.items()}
    lines = [TITLES[name], "", "| | seeds | " + " | ".join(SHOWN.values()) + " |", "|---|---|" + "---|" * len(SHOWN)]
    for key in sorted(groups, key=lambda key: (key[0] != "data", -first[key])):
        cells = [cell([row[k] for row in groups[key] if row.get(k) is not None], forms[k]) for k in SHOWN]
        lines.append(f"| {key[1]} | {len(groups[key])} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n\n"


def section(record: dict[str, Any]) -> str:
    """The text between the two headings."""
    versions = record["versions"]
    said = INTRO.format(processor=record["machine"]["processor"], threads=record["threads"], torch=versions["torch"],
                        xgboost=versions["xgboost-cpu"])  # fmt: skip
    there = {row["table"] for row in record["rows"]}
    return said + "".join(table(name, record["rows"]) for name in TITLES if name in there)


def filled(text: str, record: dict[str, Any]) -> str:
    """The README with its figures made anew."""
    before, after = text.index(BEGIN) + len(BEGIN), text.index(END)
    return text[:before] + section(record) + text[after:]


def main() -> None:
    README.write_text(filled(README.read_text(), json.loads(RESULTS.read_text())))


if __name__ == "__main__":
    main()
