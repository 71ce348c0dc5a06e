"""Fits one pofx model to one table, in a process of its own, and keeps its sample and what it cost.

Writes STEM.csv.gz (as many rows as the table) and STEM.json:

    fit_seconds, fit_cpu_seconds   wall and process time of `pofx.fit`, all threads together
    rows_per_second                wall time of drawing the sample into memory
    peak_mib                       of the process, after fit and sample, libraries included
    file_bytes                     the saved bundle
    nats, nats_error, bound        mean log p of the held-out rows and its standard error; whether it is a lower bound

    python benchmarks/one.py --train T.csv --test U.csv --fields F.json --model any_order --seed 0 --minutes 1 STEM
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from record import peak_mib

SPLIT = (0.95, 0.05, 0.0)  # the test rows are apart already, so that none is set aside again


def likelihood(model: Any, test: Path) -> dict[str, Any]:
    """Held-out nats a row, where the model has them."""
    import numpy as np

    import pofx

    try:
        nats = np.asarray(model.log_prob(test))
    except pofx.Unsupported:
        return {}
    return {"nats": float(nats.mean()), "nats_error": float(nats.std(ddof=1) / np.sqrt(len(nats))),
            "bound": "bound" in model.model.abilities}  # fmt: skip


def measure(told: argparse.Namespace) -> dict[str, Any]:
    """One fit, one sample, and their costs."""
    import pofx

    kinds = json.loads(told.fields.read_text())[told.table]
    rows = sum(1 for _ in told.train.open("rb")) - 1
    fit = pofx.fit  # what it imports is no part of a fit
    wall, cpu = time.perf_counter(), time.process_time()
    model = fit(
        told.train, model=told.model, minutes=told.minutes, seed=told.seed, fields=kinds, threads=told.threads,
        split=SPLIT, quiet=True,
    )  # fmt: skip
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    drawing = time.perf_counter()
    sample = model.sample(rows, seed=told.seed)
    drawing = time.perf_counter() - drawing
    peak = peak_mib()
    sample.to_csv(f"{told.stem}.csv.gz", index=False)
    bundle = Path(f"{told.stem}.pofx")
    model.save(bundle)
    return {"fit_seconds": wall, "fit_cpu_seconds": cpu, "rows_per_second": rows / drawing, "peak_mib": peak,
            "file_bytes": bundle.stat().st_size, "threads": told.threads} | likelihood(model, told.test)  # fmt: skip


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("stem", type=Path)
    for name in ("train", "test", "fields"):
        ask.add_argument(f"--{name}", type=Path, required=True)
    for name in ("table", "model"):
        ask.add_argument(f"--{name}", required=True)
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--minutes", type=float)
    ask.add_argument("--threads", type=int)
    told = ask.parse_args()
    Path(f"{told.stem}.json").write_text(json.dumps(measure(told), indent=1))


if __name__ == "__main__":
    main()
