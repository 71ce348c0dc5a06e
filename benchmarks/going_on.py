"""Going on from a fitted model, `fit --from`: what steps on more rows, with a new level, gain beside a fit anew.

    make bench-going-on
    python benchmarks/going_on.py --data adult --seeds 0

The first fit sees half of the rows that are learned from, without those of one level of a column (that whose share of
the rows is nearest to 5 %, as a ratio). Then all are there: the model goes on for some more steps, and is fitted
anew for as many steps, and for as many as both fits had. Figures: nats a row of up to 5,000 rows that nobody learned
from, of all of them and of those with the new level, above those of `independent` fitted on all rows (trivial);
CPU-seconds of the last fit.
"""

import itertools
import time
from typing import Any

import numpy as np
import pandas as pd
import torch
from pandas.api.types import is_numeric_dtype

import pofx
from record import asking, measure
from small import HERE, PACKAGES, SETS, TOLD
from splits import data_root

SHARE = 0.05  # of the rows, that the new level has


def new_level(frame: pd.DataFrame) -> tuple[str, Any]:
    """The column of words and its level whose share of the rows is nearest to SHARE, as a ratio."""
    columns = [name for name in frame if not is_numeric_dtype(frame[name]) and frame[name].nunique() < 50]
    shares = pd.concat({name: frame[name].value_counts(normalize=True) for name in columns})
    column, level = np.log(shares / SHARE).abs().idxmin()
    return column, level


def run(data: str, seed: int, first: int, more: int) -> dict[str, Any]:
    frame = pd.read_csv(data_root() / SETS[data][0])
    frame = frame.sample(len(frame), random_state=seed, ignore_index=True)
    test, rows = frame[:TOLD], frame[TOLD:]
    column, level = new_level(frame)
    early = rows[: len(rows) // 2]
    early = early[early[column] != level]
    took: dict[str, float] = {}

    def fitted(name: str, of: pd.DataFrame, **words: Any) -> pofx.Fitted:
        began = time.process_time()
        made = pofx.fit(of, seed=seed, quiet=True, guard=False, threads=1, **words)
        took[name] = time.process_time() - began
        return made

    old = fitted("before", early, model="any_order", steps=first)
    ways = {
        "independent": fitted("independent", rows, model="independent"),
        "before": old,
        "going on": fitted("going on", rows, start=old, steps=more),
        "anew": fitted("anew", rows, model="any_order", steps=more),
        "anew, as long": fitted("anew, as long", rows, model="any_order", steps=first + more),
    }
    scores = {name: model.log_prob(test) for name, model in ways.items()}
    own, trivial = (test[column] == level).to_numpy(), scores.pop("independent")
    row = {"data": data, "seed": seed, "first": first, "more": more, "new": f"{column} = {level}"}
    row |= {"rows": len(rows), "rows_before": len(early), "test_rows": len(test), "new_rows": int(own.sum())}
    for name, score in scores.items():
        gain = score - trivial
        row |= {f"gain {name}": float(gain.mean()), f"error {name}": float(gain.std() / len(gain) ** 0.5),
                f"gain {name}, new": float(gain[own].mean()), f"seconds {name}": took[name]}  # fmt: skip
    return row


def printed(rows: list[dict[str, Any]]) -> str:
    """Medians over seeds: nats a row above the trivial law, of rows of the new level in brackets; CPU-seconds."""
    names = [key.removeprefix("seconds ") for key in rows[0] if key.startswith("seconds ")]
    lines = ["| | rows, before | steps | " + " | ".join(names) + " | CPU-seconds |", "|---" * (len(names) + 4) + "|"]
    for (data, first, more), found in itertools.groupby(rows, lambda row: (row["data"], row["first"], row["more"])):
        some = list(found)

        def middle(key: str, some: list[dict[str, Any]] = some) -> float:
            return float(np.median([row[key] for row in some]))

        cells = [f"{middle(f'gain {name}'):+.3f} ({middle(f'gain {name}, new'):+.2f})" for name in names]
        seconds = ", ".join(f"{middle(f'seconds {name}'):.0f}" for name in names)
        lines.append(
            f"| {data} | {some[0]['rows']:,}, {some[0]['rows_before']:,} | {first:,} and {more:,} | "
            f"{' | '.join(cells)} | {seconds} |"
        )
    return "\n".join(lines)


def main() -> None:
    ask = asking(__doc__, HERE / "results" / "going_on.json", data=("adult", "bank_marketing", "california_housing"))
    ask.add_argument("--first", type=int, default=1500, help="steps of the first fit")
    ask.add_argument("--more", type=int, default=500, help="steps of the second")
    told = ask.parse_args()
    torch.set_num_threads(told.threads)
    jobs = itertools.product(told.data, told.seeds, [told.first], [told.more])
    measure(told, ("data", "seed", "first", "more"), jobs, run, printed, PACKAGES)


if __name__ == "__main__":
    main()
