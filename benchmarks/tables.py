"""The figures of the README: every pofx model, its peers, the ceiling and the baselines, on five tables, in one run.

    make bench-tables                                          everything: hours on two cores
    python benchmarks/tables.py --tables adult --models any_order independent --seeds 0 --minutes 1
    python benchmarks/tables.py --resume-from benchmarks/results/tables.json       the rows that it lacks

Each fit is a process of its own (one.py); samples are kept in benchmarks/cache/pofx. What is scored beside them: the
samples of CTGAN and TVAE that `make bench-peers` left in benchmarks/cache/peers; on the split adult_peers, the samples
that the authors of other systems published; and `real unseen rows`, the ceiling of every figure. scores.py measures all
of them by the same code. The JSON is written after each row, so that an interrupted run can go on from it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from record import keep
from scores import CEILING, Judge
from splits import data_root, make

HERE = Path(__file__).parent
SPLITS, PEERS, OURS = (HERE / "cache" / name for name in ("splits", "peers", "pofx"))
TABLES = ("adult", "default_credit", "bank_marketing", "california_housing", "adult_peers")
MODELS = ("any_order", "autoregressive", "vae", "gan", "realnvp", "gaussian_copula", "independent")
PACKAGES = ("pofx", "torch", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "xgboost-cpu")
COLUMNS = (
    ("fit s", "fit_seconds", "{:.0f}"),
    ("CPU s", "fit_cpu_seconds", "{:.0f}"),
    ("rows/s", "rows_per_second", "{:,.0f}"),
    ("peak MiB", "peak_mib", "{:.0f}"),
    ("Shape", "shape", "{:.4f}"),
    ("Trend", "trend", "{:.4f}"),
    ("Trend, common bins", "trend_common", "{:.4f}"),
    ("AUC train", "auc_train", "{:.3f}"),
    ("AUC unseen", "auc_unseen", "{:.3f}"),
    ("score", "score_train", "{:.3f}"),
    ("use", "use", "{:.4g}"),
    ("broken", "broken_dependencies", "{:.4f}"),
    ("closer", "closer", "{:.3f}"),
    ("nats a row", "nats", "{:.2f}"),
    ("file bytes", "file_bytes", "{:,.0f}"),
)
Row = dict[str, Any]


def key(row: Row) -> tuple[Any, ...]:
    """What makes a row one measurement."""
    return row["table"], row["model"], row.get("minutes"), row["seed"]


def jobs(told: argparse.Namespace) -> Iterator[Row]:
    """The fits to make: seeds outermost, so that an interrupted run has every model; closed forms take no minutes."""
    from pofx.models import load_class

    for seed in told.seeds:
        for table in told.tables:
            for model in told.models:
                for minutes in told.minutes if load_class(model).trained else (None,):
                    yield {"table": table, "model": model, "minutes": minutes, "seed": seed, "by": "pofx"}


def samples(table: str) -> Iterator[tuple[Row, Path]]:
    """What others drew for a table: the ceiling, the peers of the cache, the published samples."""
    yield {"table": table, "model": CEILING, "seed": 0, "by": "data"}, SPLITS / f"{table}-test.csv"
    for path in sorted(PEERS.glob(f"{table}-*-*.csv.gz")):
        _, model, seed = path.name.removesuffix(".csv.gz").rsplit("-", 2)
        costs = json.loads(path.with_name(path.name.removesuffix(".csv.gz") + ".json").read_text())
        yield {"table": table, "model": model, "seed": int(seed), "by": "peer"} | costs, path
    if table == "adult_peers":
        for path in sorted((data_root() / "adult_peers").glob("*_[0-9].csv.gz")):
            model, run = path.name.removesuffix(".csv.gz").rsplit("_", 1)
            yield {"table": table, "model": model, "seed": int(run), "by": "published"}, path


def fit(row: Row, told: argparse.Namespace) -> tuple[Row, Path]:
    """One fit in its own process: the row with its costs, and its sample."""
    OURS.mkdir(parents=True, exist_ok=True)
    pace = "" if row["minutes"] is None else f"-{row['minutes']:g}min"
    stem = OURS / f"{row['table']}-{row['model']}{pace}-{row['seed']}"
    command = [sys.executable, str(HERE / "one.py"), str(stem), "--fields", str(HERE / "fields.json")]
    command += [
        "--train",
        str(SPLITS / f"{row['table']}-train.csv"),
        "--test",
        str(SPLITS / f"{row['table']}-test.csv"),
    ]
    command += ["--table", row["table"].removesuffix("_peers"), "--model", row["model"], "--seed", str(row["seed"])]
    command += ["--minutes", str(row["minutes"])] if row["minutes"] is not None else []
    command += ["--threads", str(told.threads)]
    if not (told.rescore and Path(f"{stem}.json").exists()):
        done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": str(told.threads)}, stderr=subprocess.PIPE)
        if done.returncode:
            raise RuntimeError(done.stderr.decode(errors="replace").strip().splitlines()[-1])
    return row | json.loads(Path(f"{stem}.json").read_text()), Path(f"{stem}.csv.gz")


def measure(told: argparse.Namespace, rows: list[Row]) -> Iterator[Row]:
    """The rows that are not there yet, scored."""
    there = {key(row) for row in rows if "error" not in row}
    for table in told.tables:
        judge = None
        for row, path in samples(table):
            if key(row) not in there:
                judge = judge or Judge.of(table, SPLITS)
                yield row | judge.score(None if row["model"] == CEILING else path)
    judges: dict[str, Judge] = {}
    for row in jobs(told):
        if key(row) in there:
            continue
        try:
            done, path = fit(row, told)
        except RuntimeError as error:
            yield row | {"error": str(error)}
            continue
        judge = judges.setdefault(row["table"], None) or Judge.of(row["table"], SPLITS)
        judges[row["table"]] = judge
        yield done | judge.score(path)


def cell(values: list[float], form: str) -> str:
    """The median, and half the range over seeds where there are several."""
    if not values:
        return ""
    middle = form.format(statistics.median(values))
    half = (max(values) - min(values)) / 2
    return middle if len(values) == 1 else f"{middle} ± {form.format(half)}"


def printed(rows: list[Row], table: str) -> str:
    """One table as Markdown: a line for each model and pace, best two-sample score first below the ceiling."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row["table"] == table and "error" not in row:
            pace = "" if row.get("minutes") is None else f", {row['minutes']:g} min"
            groups.setdefault((row["by"], row["model"] + pace), []).append(row)
    first = {name: statistics.median([r.get("score_train", 0.0) for r in group]) for name, group in groups.items()}
    lines = [f"### {table}", "", "| model | seeds | " + " | ".join(title for title, _, _ in COLUMNS) + " |"]
    lines.append("|---|---|" + "---|" * len(COLUMNS))
    for by, name in sorted(groups, key=lambda g: (g[0] != "data", -first[g])):
        group = groups[by, name]
        cells = [cell([row[k] for row in group if row.get(k) is not None], form) for _, k, form in COLUMNS]
        mark = {"published": " (published sample)", "peer": " (ctgan package)"}.get(by, "")
        lines.append(f"| {name}{mark} | {len(group)} | " + " | ".join(cells) + " |")
    lines += [f"- {row['model']}, seed {row['seed']}: failed, {row['error']}"
              for row in rows if row["table"] == table and "error" in row]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    from pofx.models import names

    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--tables", nargs="+", default=list(TABLES), choices=TABLES)
    ask.add_argument("--models", nargs="*", default=list(MODELS), choices=names(), metavar="MODEL")
    ask.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    ask.add_argument("--minutes", nargs="+", type=float, default=[1.0], help="budgets of the trained models")
    ask.add_argument("--threads", type=int, default=2)
    ask.add_argument("--rescore", action="store_true", help="score samples of the cache again, without their fits")
    ask.add_argument("--resume-from", type=Path, help="a JSON of an earlier run, whose rows are kept")
    ask.add_argument("--out", type=Path, default=HERE / "results" / "tables.json")
    told = ask.parse_args()
    if not all((SPLITS / f"{table}-train.csv").exists() for table in told.tables):
        make(SPLITS)
    rows: list[Row] = json.loads(told.resume_from.read_text())["rows"] if told.resume_from else []
    for row in measure(told, rows):
        rows = [old for old in rows if key(old) != key(row)] + [row]
        keep(told.out, rows, PACKAGES, told.threads)
        print(
            row.get("error") or {k: row.get(k) for k in ("table", "model", "seed", "score_train", "nats")}, flush=True
        )
    text = "\n\n".join(printed(rows, table) for table in TABLES if any(row["table"] == table for row in rows))
    told.out.with_suffix(".md").write_text(text + "\n")
    print(text, "\n\nA figure is the median over seeds ± half their range. Written:", told.out)


if __name__ == "__main__":
    main()
