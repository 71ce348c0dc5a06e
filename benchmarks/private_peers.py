"""Fits synthesizers of smartnoise-synth to Adult with differential privacy and keeps their samples and costs.

Run by `make bench-privacy-peers` in a virtual environment of its own (benchmarks/requirements-privacy.txt); pofx is not
imported. Defaults of the package, a fifth of epsilon for its preprocessor, delta 1e-6 where the method takes one; one
thread. What exists in the cache is not run again, and what fails or takes longer than --limit is said.

    python benchmarks/private_peers.py --data SPLITS --cache CACHE [--models mst dpctgan] [--epsilons 1 3 10]
"""

import argparse
import json
import multiprocessing
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from record import peak_mib

SHARE = 0.2  # of epsilon, for ranges and levels: as pofx has it
DELTA = 1e-6


def fit_one(name: str, epsilon: float, seed: int, data: Path, out: Path, kinds: dict[str, str]) -> None:
    """One fit and its sample, in a process of its own."""
    import numpy as np
    import torch
    from snsynth import Synthesizer

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    np.random.seed(seed)
    frame = pd.read_csv(data / "adult-train.csv", keep_default_na=False)
    numbers = [c for c in frame if kinds[c] != "category"]
    frame[numbers] = frame[numbers].apply(pd.to_numeric)
    words: dict[str, Any] = {"delta": DELTA} if name in ("mst", "aim", "dpctgan", "patectgan") else {}
    model = Synthesizer.create(name, epsilon=epsilon, **words)
    wall, cpu = time.perf_counter(), time.process_time()
    model.fit(
        frame, categorical_columns=[c for c in frame if c not in numbers], continuous_columns=numbers,
        preprocessor_eps=SHARE * epsilon,
    )  # fmt: skip
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    sample = model.sample(len(frame))[list(frame)]
    sample[numbers] = sample[numbers].round().astype("Int64")
    sample.to_csv(out, index=False)
    costs = {"seconds": wall, "cpu_seconds": cpu, "peak_mib": peak_mib(), "epsilon": epsilon, "seed": seed}
    costs |= {"versions": {"smartnoise-synth": version("smartnoise-synth"), "torch": torch.__version__}}
    out.with_name(out.name.removesuffix(".csv.gz") + ".json").write_text(json.dumps(costs, indent=1))


def main() -> None:
    here = Path(__file__).parent
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--data", type=Path, required=True)
    ask.add_argument("--cache", type=Path, required=True)
    ask.add_argument("--models", nargs="+", default=["mst", "aim", "dpctgan"])
    ask.add_argument("--epsilons", nargs="+", type=float, default=[1.0, 3.0, 10.0])
    ask.add_argument("--seeds", nargs="+", type=int, default=[0])
    ask.add_argument("--limit", type=float, default=30.0, help="minutes of a fit")
    told = ask.parse_args()
    told.cache.mkdir(parents=True, exist_ok=True)
    kinds = json.loads((here / "fields.json").read_text())["adult"]
    for seed in told.seeds:
        for epsilon in told.epsilons:
            for name in told.models:
                out = told.cache / f"adult-smartnoise_{name}-{epsilon:g}-{seed}.csv.gz"
                if out.exists():
                    continue
                work = multiprocessing.Process(target=fit_one, args=(name, epsilon, seed, told.data, out, kinds))
                work.start()
                work.join(60 * told.limit)
                if work.is_alive():
                    work.kill()
                    work.join()
                    print(f"{name} at epsilon {epsilon:g}: longer than {told.limit:g} minutes, given up", flush=True)
                else:
                    print(f"{name} at epsilon {epsilon:g}: {'done' if out.exists() else 'failed'}", flush=True)


if __name__ == "__main__":
    main()
