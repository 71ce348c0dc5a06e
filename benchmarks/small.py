"""Few rows: held-out likelihood of the models that `auto` compares, what it takes, and whether synthetic rows help.

    make bench-small
    python benchmarks/small.py --data adult --rows 100 300 900 --seeds 0 1 2

Of each table `--rows` rows are drawn; four fifths of them are learned from. Figures: nats a row of up to 5,000 other
rows above those of `independent` (the columns' own laws, trivial), for every candidate of choosing.py and for what was
taken; and the lift, what a learner of the target gains when as many synthetic rows are added to the real ones, in AUC
or R2, with its 95 % interval (metrics/usefulness.py).
"""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import pofx
from pofx.choosing import CANDIDATES, held_out
from pofx.codecs.table import TableCodec
from record import asking, measure
from splits import data_root

HERE = Path(__file__).parent
SETS = {
    "adult": ("adult/adult_train.csv.gz", "income"),
    "bank_marketing": ("bank_marketing/bank_marketing.csv.gz", "y"),
    "california_housing": ("california_housing/housing.csv.gz", "median_house_value"),
    "default_credit": ("default_credit/creditcard_default.csv.gz", "has_default"),
    "titanic": ("titanic/train.csv", "Survived"),
}
PACKAGES = ("torch", "numpy", "scikit-learn")
TOLD = 5000


def run(data: str, rows: int, seed: int) -> dict[str, Any]:
    path, target = SETS[data]
    frame = pd.read_csv(data_root() / path)
    some = frame.sample(rows, random_state=seed)
    test = frame.drop(some.index).sample(min(TOLD, len(frame) - rows), random_state=seed)
    model = pofx.fit(some, seed=seed, quiet=True, guard=False, threads=1)
    learned = model.learned_from(some)[0]
    codec = TableCodec.learn(learned)
    x, y = codec.encode(learned), codec.encode(test)
    told = {name: held_out(codec.spec, kind, config, x, y, seed).mean() for name, kind, config in CANDIDATES}
    alone = told["independent"]
    figure = model.evaluate(test, target, train=some, seed=seed, quiet=True)["lift"]
    said = model.provenance["notes"]["chosen"]
    taken = max((name for name, _, _ in CANDIDATES if said.startswith(f"{name}, ")), key=len)
    row = {"data": data, "rows": rows, "seed": seed, "taken": taken}
    row |= {"gain " + name: float(value - alone) for name, value in told.items()}
    row |= {"regret": float(max(told.values()) - told[taken])}
    row |= {"fit_seconds": model.provenance["fit"]["fit seconds"]}
    return row | {
        "lift": figure.value,
        "lift_low": figure.low,
        "lift_high": figure.high,
        "says": figure.detail["verdict"],
    }


def printed(rows: list[dict[str, Any]]) -> str:
    """Medians over seeds; what was taken and what the lift says, of every seed."""
    names = [name for name, _, _ in CANDIDATES if name != "independent"]
    lines = [f"| | rows | {' | '.join(names)} | taken | nats short of the best | lift | synthetic rows |"]
    lines.append("|---" * (len(names) + 6) + "|")
    for (data, count), found in itertools.groupby(rows, lambda row: (row["data"], row["rows"])):
        some = list(found)
        gains = (f"{np.median([row['gain ' + name] for row in some]):+.2f}" for name in names)
        lift = "; ".join(f"{r['lift']:+.3f} ({r['lift_low']:+.3f} to {r['lift_high']:+.3f})" for r in some)
        lines.append(
            f"| {data} | {count} | {' | '.join(gains)} | {', '.join(dict.fromkeys(row['taken'] for row in some))} | "
            f"{max(row['regret'] for row in some):.2f} | {lift} | "
            f"{', '.join(dict.fromkeys(row['says'] for row in some))} |"
        )
    return "\n".join(lines)


def main() -> None:
    ask = asking(__doc__, HERE / "results" / "small.json", data=tuple(SETS))
    ask.add_argument("--rows", nargs="+", type=int, default=[100, 300, 800])
    told = ask.parse_args()
    torch.set_num_threads(told.threads)
    measure(told, ("data", "rows", "seed"), itertools.product(told.data, told.rows, told.seeds), run, printed, PACKAGES)


if __name__ == "__main__":
    main()
