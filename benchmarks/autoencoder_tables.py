"""Held-out likelihood of tables under the variational autoencoders as they come, beside the ladder of simpler laws.

    make bench-autoencoder-tables
    python benchmarks/autoencoder_tables.py --tables california_housing --models vae hvae --seeds 0 1 2

Each model learns the training rows with its own defaults; no time is set. Figures: mean nats of a test row in the
house measure (docs/measure.md), twice its standard error, and the seconds of the process that the fit took. Those of
autoencoders are importance-weighted lower bounds. The other laws have no seed.
"""

import argparse
import json
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import pofx
from one import SPLIT
from record import measure

HERE = Path(__file__).parent
TABLES = ("adult", "bank_marketing", "california_housing", "default_credit")
LADDER = ("independent", "gaussian_copula", "ppca", "mixture")
MODELS = ("vae", "iwae", "hvae")
PACKAGES = ("torch",)


def run(table: str, model: str, seed: int, splits: Path, threads: int) -> dict[str, Any]:
    fields = json.loads((HERE / "fields.json").read_text())[table]
    began = time.process_time()
    fitted = pofx.fit(
        splits / f"{table}-train.csv", model=model, seed=seed, fields=fields, threads=threads, split=SPLIT, quiet=True
    )
    seconds = time.process_time() - began
    nats = np.asarray(fitted.log_prob(splits / f"{table}-test.csv"))
    return {"table": table, "model": model, "seed": seed, "fit_cpu_seconds": seconds, "nats": float(nats.mean()),
            "error_2se": float(2 * nats.std() / np.sqrt(len(nats)))}  # fmt: skip


def printed(rows: list[dict[str, Any]]) -> str:
    """A line a model, a column a table: medians over seeds, half their range, and the seconds of a fit."""
    tables = list(dict.fromkeys(row["table"] for row in rows))
    lines = ["| | " + " | ".join(name.replace("_", " ") for name in tables) + " |", "|---" * (1 + len(tables)) + "|"]
    for model in dict.fromkeys(row["model"] for row in rows):
        cells = []
        for table in tables:
            own = [row for row in rows if (row["table"], row["model"]) == (table, model)]
            if not own:
                cells.append("")
                continue
            nats = [row["nats"] for row in own]
            spread = f" ± {(max(nats) - min(nats)) / 2:.2f}" if len(own) > 1 else ""
            seconds = statistics.median(row["fit_cpu_seconds"] for row in own)
            cells.append(f"{statistics.median(nats):.2f}{spread} ({seconds:.0f} s)")
        lines.append(f"| {model} | " + " | ".join(cells) + " |")
    error = {table: statistics.median(row["error_2se"] for row in rows if row["table"] == table) for table in tables}
    return "\n".join([*lines, "| twice the standard error | " + " | ".join(f"{e:.2f}" for e in error.values()) + " |"])


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--tables", nargs="+", default=list(TABLES), choices=TABLES)
    ask.add_argument("--models", nargs="+", default=[*LADDER, *MODELS], choices=[*LADDER, *MODELS])
    ask.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    ask.add_argument("--threads", type=int, default=1)
    ask.add_argument("--splits", type=Path, default=HERE / "cache" / "splits")
    ask.add_argument("--resume-from", type=Path, help="a JSON of an earlier run, whose rows are kept")
    ask.add_argument("--out", type=Path, default=HERE / "results" / "autoencoder_tables.json")
    told = ask.parse_args()
    torch.set_num_threads(told.threads)
    jobs = (
        (table, model, seed)
        for seed in told.seeds
        for table in told.tables
        for model in told.models
        if seed == told.seeds[0] or model not in LADDER
    )
    one = partial(run, splits=told.splits, threads=told.threads)
    measure(told, ("table", "model", "seed"), jobs, one, printed, PACKAGES)


if __name__ == "__main__":
    main()
