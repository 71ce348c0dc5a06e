"""The demo: a table of known p(x) is made, learned and judged. `make demo` runs it; it takes under two minutes.

The law of the table is written down in made_table.py, so the ceiling of the likelihood is exact: no model can have more
nats a row on unseen rows than the law itself, and the gap is KL(law || model).
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import pofx
from made_table import MadeTable

# 25,000 rows leave 20,000 to learn from after the default split: enough for the rarest city to hold some 700.
ROWS, UNSEEN = 25_000, 10_000
FIGURES = {
    "auc_train": "two-sample AUC against training rows (.5: no judge can tell)",
    "auc_unseen": "two-sample AUC against unseen rows",
    "shape": "Shape: each column's own distribution (1: perfect)",
    "trend_common": "Trend: each pair of columns (1: perfect)",
    "broken_dependencies": "rows that break city -> country",
    "use_auc": "AUC for `member` on unseen rows, learned from synthetic ones",
    "closer": "rows nearer to a training row than to an unseen one (.5: none copied)",
}


def mean(nats: np.ndarray) -> str:
    """A mean and its standard error."""
    return f"{nats.mean():8.3f} ± {nats.std() / np.sqrt(len(nats)):.3f}"


def headlines(model: Any, evidence: Any, table: MadeTable, unseen: Path, synthetic: Path) -> str:
    """The figures beside their ceilings."""
    truth, own = table.log_prob(pd.read_csv(unseen)), model.log_prob(unseen)
    forbidden = int(np.isneginf(table.log_prob(pd.read_csv(synthetic))).sum())
    lines = [
        f"held-out nats a row, the law that made the table (ceiling, exact) {mean(truth)}",
        f"held-out nats a row, the model                                    {mean(own)}",
        f"what the model still has to learn, KL in nats a row               {mean(truth - own)}",
        f"synthetic rows that the law forbids                               {forbidden:4d} of {ROWS}",
        "",
        f"{'':74}{'model':>8}{'ceiling':>9}",
    ]
    for name, words in FIGURES.items():
        if name in evidence:
            figure = evidence[name]
            ceiling = "-" if figure.ceiling is None else f"{figure.ceiling:.3f}"
            lines.append(f"{words:74}{figure.value:8.3f}{ceiling:>9}")
    return "\n".join(lines)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--minutes", type=float, default=0.5, help="how long the fit may take")
    ask.add_argument("--folder", type=Path, default=Path("demo"), help="where the files go")
    told = ask.parse_args()
    began = time.monotonic()
    told.folder.mkdir(parents=True, exist_ok=True)
    orders, unseen, synthetic, report = (
        told.folder / name for name in ("orders.csv", "unseen.csv", "synthetic.csv", "report.html")
    )
    table = MadeTable()
    table.sample(ROWS, seed=0).to_csv(orders, index=False)
    table.sample(UNSEEN, seed=1).to_csv(unseen, index=False)
    print(f"made {orders}: {ROWS:,} rows, {len(table.columns)} columns, and {unseen}: {UNSEEN:,} rows kept unseen")

    model = pofx.fit(orders, minutes=told.minutes, seed=0, quiet=False)
    model.sample(ROWS, seed=0, path=synthetic, quiet=False)
    model.save(told.folder / "orders.pofx")
    evidence = model.evaluate(unseen, target="member", report=report, json=told.folder / "metrics.json", quiet=False)

    print(f"\n{evidence.headline}\n\n{headlines(model, evidence, table, unseen, synthetic)}\n")
    for what, path in (("synthetic table", synthetic), ("report", report), ("model", told.folder / "orders.pofx")):
        print(f"the {what:18}{path}")
    print(f"{time.monotonic() - began:.0f} seconds in all")


if __name__ == "__main__":
    main()
