"""Adult with differential privacy: what a judge tells, and what the sample is worth, at epsilon 1, 3 and 10.

    make bench-privacy                                                   all of it (an hour on two cores)
    python benchmarks/privacy.py --epsilons 1 10 --seeds 0 --minutes 0.5      a small form
    python benchmarks/privacy.py --resume-from benchmarks/results/privacy.json      the rows that it lacks

Beside pofx's mst and any_order stand the samples of smartnoise-synth that `make bench-privacy-peers` left in the cache;
any_order and mst without privacy; `independent`, the trivial baseline; and real unseen rows, the floor of the judge and
the ceiling of use. Kinds of columns are given to all (fields.json). delta is 1e-6, the unit is a row.

score: 1 where a judge cannot tell the sample from training rows, 0 where it always can; use: the AUC, on real rows, of
a classifier that learned from the sample; risk: attacks (metrics/attacks.py), the largest lower end of an interval.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from record import asking, measure
from scores import CEILING, Judge
from splits import make

HERE = Path(__file__).parent
SPLITS, PEERS = HERE / "cache" / "splits", HERE / "cache" / "private_peers"
PACKAGES = ("pofx", "torch", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "xgboost-cpu", "opacus")
PRIVATE = ("mst", "any_order")
OPEN = ("mst", "any_order", "independent")
DELTA = 1e-6
COLUMNS = (
    ("score", "score_train", "{:.3f}"),
    ("AUC train", "auc_train", "{:.3f}"),
    ("use", "use_auc", "{:.3f}"),
    ("Shape", "shape", "{:.4f}"),
    ("Trend, common bins", "trend_common", "{:.4f}"),
    ("risk", "risk", "{:.3f}"),
    ("fit s", "seconds", "{:.0f}"),
    ("epsilon spent", "spent", "{:.3f}"),
)
Row = dict[str, Any]


def jobs(told: argparse.Namespace) -> Iterator[tuple[str, float | None, int]]:
    """(model, epsilon, seed); a peer is named by its sample."""
    yield CEILING, None, 0
    for seed in told.seeds:
        for model in OPEN:
            yield model, None, seed
        for epsilon in told.epsilons:
            for model in PRIVATE:
                yield model, epsilon, seed
            for path in sorted(PEERS.glob(f"adult-*-{epsilon:g}-{seed}.csv.gz")):
                yield path.name.split("-")[1], epsilon, seed


class Run:
    """A fit, its sample and what it is worth."""

    def __init__(self, told: argparse.Namespace) -> None:
        self.told, self.judge = told, Judge.of("adult", SPLITS)
        self.kinds = json.loads((HERE / "fields.json").read_text())["adult"]

    def __call__(self, model: str, epsilon: float | None, seed: int) -> Row:
        row: Row = {"model": model, "epsilon": epsilon, "seed": seed}
        if model == CEILING:
            return row | self.score(None)
        peer = PEERS / f"adult-{model}-{epsilon:g}-{seed}.csv.gz" if epsilon is not None else None
        if peer is not None and peer.exists():
            costs = json.loads(peer.with_name(peer.name.removesuffix(".csv.gz") + ".json").read_text())
            return row | {"seconds": costs["seconds"]} | self.score(peer)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "sample.csv"
            return row | self.fit(model, epsilon, seed, path) | self.score(path)

    def fit(self, model: str, epsilon: float | None, seed: int, path: Path) -> Row:
        import pofx

        words: dict[str, Any] = {"epsilon": epsilon, "delta": DELTA, "split": (1, 0, 0)}
        words = words if epsilon is not None else {"split": (0.95, 0.05, 0.0), "guard": False}
        words |= {"minutes": self.told.minutes} if model == "any_order" else {}
        began = time.perf_counter()
        made = pofx.fit(
            SPLITS / "adult-train.csv", model=model, seed=seed, fields=self.kinds, threads=self.told.threads,
            quiet=True, **words,
        )  # fmt: skip
        seconds = time.perf_counter() - began
        made.sample(self.told.rows, seed=seed, path=path, quiet=True)
        terms = made.provenance.get("privacy", {})
        return {"seconds": seconds, "steps": made.provenance["fit"]["steps"], "spent": terms.get("epsilon spent")}

    def score(self, path: Path | None) -> Row:
        """Figures of a sample; of real unseen rows where there is none."""
        from pofx.metrics import Skip, registry
        from pofx.metrics.attacks import attacks

        fake = None if path is None else self.judge.codec.encode(path, derived=True)
        out: Row = {}
        for name in ("shape", "trend", "two_sample", "usefulness"):
            metric = registry()[name]
            try:
                case = self.judge.ceiling(metric.stand_in) if fake is None else self.judge.case(fake)
                out |= {figure: answer.value for figure, answer in metric(case).items()}
            except Skip:
                continue
        if fake is not None:
            found = attacks(self.judge.codec.whole.fields, fake, self.judge.train, self.judge.unseen)
            out |= {"risk": max(row["risk"][1] for row in found["rows"]), "attacks": found["words"]}
        return out


def printed(rows: list[Row]) -> str:
    """Markdown: a line for each model and epsilon, the median over seeds."""
    groups: dict[tuple[str, float | None], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["model"], row["epsilon"]), []).append(row)
    lines = ["| model | epsilon | seeds | " + " | ".join(title for title, _, _ in COLUMNS) + " |"]
    lines.append("|---|---|---|" + "---|" * len(COLUMNS))
    for (model, epsilon), group in sorted(groups.items(), key=lambda g: (g[0][1] or 1e9, g[0][0])):
        cells = []
        for _, key, form in COLUMNS:
            values = [row[key] for row in group if row.get(key) is not None]
            cells.append(form.format(statistics.median(values)) if values else "")
        strength = "none" if epsilon is None else f"{epsilon:g}"
        lines.append(f"| {model} | {strength} | {len(group)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    ask = asking(__doc__, HERE / "results" / "privacy.json", data=())
    ask.add_argument("--epsilons", nargs="+", type=float, default=[1.0, 3.0, 10.0])
    ask.add_argument("--minutes", type=float, default=2.0, help="of a fit of any_order")
    ask.add_argument("--rows", type=int, default=32_561, help="of a sample")
    told = ask.parse_args()
    if not (SPLITS / "adult-train.csv").exists():
        make(SPLITS)
    measure(told, ("model", "epsilon", "seed"), jobs(told), Run(told), printed, PACKAGES)


if __name__ == "__main__":
    main()
