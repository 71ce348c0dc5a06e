"""Fits CTGAN and TVAE of the ctgan package at their defaults and keeps their samples and costs.

Run by `make bench-peers` in a virtual environment of its own (benchmarks/requirements-peers.txt); pofx is not imported.
One seed each, one thread: CTGAN needs some twenty CPU-minutes a table. What exists in the cache is not run again.
Missing numbers, which the package refuses, are filled with the median beside a categorical flag column, and
restored from the flag in the sample.

    python benchmarks/peers.py --data SPLITS --cache CACHE [--tables adult ...] [--models tvae ctgan]
"""

import argparse
import json
import os
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from ctgan import CTGAN, TVAE

from record import peak_mib

MODELS = {"tvae": TVAE, "ctgan": CTGAN}
FLAG = "__missing__"


def with_flags(frame: pd.DataFrame, numeric: list[str]) -> tuple[pd.DataFrame, list[str]]:
    flags = []
    for name in numeric:
        if frame[name].isna().any():
            frame[name + FLAG] = frame[name].isna().map({True: "yes", False: "no"})
            frame[name] = frame[name].fillna(frame[name].median())
            flags.append(name + FLAG)
    return frame, flags


def without_flags(frame: pd.DataFrame, flags: list[str]) -> pd.DataFrame:
    for flag in flags:
        frame.loc[frame[flag] == "yes", flag.removesuffix(FLAG)] = np.nan
    return frame.drop(columns=flags)


def fit_one(name: str, table: str, data: Path, cache: Path, kinds: dict[str, str], seed: int) -> None:
    out = cache / f"{table}-{name}-{seed}.csv.gz"
    if out.exists():
        return
    frame = pd.read_csv(data / f"{table}-train.csv", keep_default_na=table != "adult")
    numeric = [c for c in frame if kinds[c] != "category"]
    frame[numeric] = frame[numeric].apply(pd.to_numeric)
    order = list(frame)
    frame, flags = with_flags(frame, numeric)
    categories = [c for c in frame if c not in numeric]
    np.random.seed(seed)
    torch.manual_seed(seed)
    model = MODELS[name]()
    model.set_random_state(seed)
    wall, cpu = time.perf_counter(), time.process_time()
    model.fit(frame, categories)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    drawing = time.perf_counter()
    sample = model.sample(len(frame))
    drawing = time.perf_counter() - drawing
    sample = without_flags(sample, flags)[order]
    whole = [c for c in numeric if kinds[c] == "integer"]
    sample[whole] = sample[whole].round().astype("Int64")  # the package leaves whole numbers with fractions
    sample.to_csv(out, index=False)
    weights = out.with_suffix(".pt")
    model.save(weights)
    record = {
        "fit_seconds": wall,
        "fit_cpu_seconds": cpu,
        "rows_per_second": len(frame) / drawing,
        "peak_mib": peak_mib(),
        "file_bytes": weights.stat().st_size,
        "threads": torch.get_num_threads(),
        "seed": seed,
        "versions": {"ctgan": version("ctgan"), "torch": torch.__version__},
    }
    weights.unlink()
    out.with_name(out.name.removesuffix(".csv.gz") + ".json").write_text(json.dumps(record, indent=1))
    print(table, name, record, flush=True)


def main() -> None:
    here = Path(__file__).parent
    kinds = json.loads((here / "fields.json").read_text())
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--data", type=Path, required=True)
    ask.add_argument("--cache", type=Path, required=True)
    ask.add_argument("--tables", nargs="+", default=list(kinds))
    ask.add_argument("--models", nargs="+", default=list(MODELS))
    ask.add_argument("--seed", type=int, default=0)
    told = ask.parse_args()
    told.cache.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for name in told.models:
        for table in told.tables:
            if os.fork() == 0:  # a process each, so that peak memory is its own
                fit_one(name, table, told.data, told.cache, kinds[table], told.seed)
                os._exit(0)
            os.wait()


if __name__ == "__main__":
    main()
