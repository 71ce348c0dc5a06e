"""Constraints of a table: how many drawn rows break one, and what likelihood gains, with them and without.

    make bench-constraints
    python benchmarks/constraints.py --models any_order nsf --seeds 0 1 2

A made table of trips: start <= end, total = net + tax, one colour of three, a city in one country. Each model learns
4,800 rows twice in so many steps, with what `fit` finds by itself and with constraints=none, and draws 4,000. Figures:
rows that break the order, the sum, the group (the floor, of unseen rows, is 0), nats a row of 4,000 unseen ones (with
their standard error), and the AUC of the guard's fresh critic (.5: it cannot tell drawn rows from real ones).
"""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import pofx
from record import asking, measure

HERE = Path(__file__).parent
MODELS = ("any_order", "nsf", "vae", "gan")
PACKAGES = ("torch", "numpy", "pandas")
ROWS = 6000


def trips(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng([seed, 7])
    start = pd.to_datetime("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, n), "D")
    net = np.exp(rng.normal(4, 0.6, n)).round(2)
    tax = (net * rng.choice([0.07, 0.19], n)).round(2)
    colour, city = rng.integers(0, 3, n), rng.integers(0, 4, n)
    return pd.DataFrame(
        {"start": start, "end": start + pd.to_timedelta(rng.poisson(4, n), "D"), "net": net, "tax": tax,
         "total": (net + tax).round(2)}
        | {name: (colour == i).astype(int) for i, name in enumerate(("red", "green", "blue"))}
        | {"city": np.array(["Rome", "Milan", "Paris", "Lyon"])[city], "class": np.where(net > 60, "dear", "cheap")}
    )  # fmt: skip


def broken(rows: pd.DataFrame) -> dict[str, int]:
    """How many rows break each constraint, as they were written."""
    cents = (rows[["net", "tax", "total"]].astype(float) * 100).round()
    return {
        "order": int((rows["start"] > rows["end"]).sum()),
        "sum": int((cents["net"] + cents["tax"] != cents["total"]).sum()),
        "group": int((rows[["red", "green", "blue"]].astype(int).sum(axis=1) != 1).sum()),
    }


def run(name: str, constraints: str, seed: int, steps: int) -> dict[str, Any]:
    model = pofx.fit(
        trips(ROWS, seed), model=name, constraints=constraints, steps=steps, seed=seed, threads=1, quiet=True
    )
    unseen = trips(4000, seed + 1000)
    row: dict[str, Any] = {"model": name, "constraints": constraints, "seed": seed, "steps": steps}
    row |= broken(model.sample(4000, seed=seed, quiet=True, allow_failed=True))
    row |= {f"{k}_floor": v for k, v in broken(unseen).items()}
    if "log_prob" in model.model.abilities:
        value = model.log_prob(unseen)
        row |= {"nats": float(value.mean()), "nats_error": float(value.std() / np.sqrt(len(value)))}
    return row | {"auc": model.provenance["verdict"]["figures"]["auc"], "verdict": model.verdict}


def printed(rows: list[dict[str, Any]]) -> str:
    """Rows of 4,000 that break a constraint, the most over seeds; medians of the other figures."""
    lines = ["| model | constraints | order | sum | group | nats a row | AUC |", "|---" * 7 + "|"]
    for (model, kind), found in itertools.groupby(rows, lambda row: (row["model"], row["constraints"])):
        some = list(found)
        most = (f"{max(row[k] for row in some):,}" for k in ("order", "sum", "group"))
        nats = f"{np.median([r['nats'] for r in some]):.2f} ± {some[0]['nats_error']:.2f}" if "nats" in some[0] else ""
        lines.append(f"| {model} | {kind} | {' | '.join(most)} | {nats} | {np.median([r['auc'] for r in some]):.3f} |")
    return "\n".join(lines)


def main() -> None:
    ask = asking(__doc__, HERE / "results" / "constraints.json", data=(), seeds=(0,))
    ask.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    ask.add_argument("--steps", type=int, default=400)
    told = ask.parse_args()
    torch.set_num_threads(told.threads)
    jobs = itertools.product(told.models, ("none", "found"), told.seeds)
    measure(told, ("model", "constraints", "seed"), jobs, lambda *job: run(*job, told.steps), printed, PACKAGES)


if __name__ == "__main__":
    main()
