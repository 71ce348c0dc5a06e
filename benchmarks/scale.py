"""Tables larger than memory: rows a second of reading, training, sampling and scoring, and the peak memory of all.

    make bench-scale
    python benchmarks/scale.py --rows 1000000 5000000 --kinds csv --stream yes

A made table of 20 columns (numbers, counts, dates, levels, a truth value, 5,000 cities in falling frequency) is written
block by block; then one process fits `any_order` to it, draws `--sampled` rows into a file, and scores `--scored` rows
of a file into another. `read` is the pass that puts the rows on disk, `learned` the passes that find the columns,
`dealt` the one that encodes every row and deals it into buckets: rows a second of each, of the clock. `peak` is the
most that the process held; `stream no` is the same fit in memory.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

from record import asking, measure, peak_mib

HERE = Path(__file__).parent
PACKAGES = ("torch", "pyarrow", "numpy")
STEP = 200_000


def blocks(rows: int) -> Iterator[pa.Table]:
    """The made table."""
    rng = np.random.default_rng(0)
    for start in range(0, rows, STEP):
        n = min(STEP, rows - start)
        z, group = rng.standard_normal((n, 4)), rng.integers(0, 6, n)
        columns: dict[str, Any] = {
            "city": np.char.add("city ", (rng.zipf(1.6, n) % 5000).astype(str)),
            "group": np.array(list("abcdef"))[group],
            "age": np.clip((40 + 12 * z[:, 0]).round(), 0, 99).astype(int),
            "income": np.exp(10 + 0.7 * z[:, 1] + 0.1 * group).round(2),
            "spent": np.exp(5 + 0.7 * z[:, 1] + 0.3 * z[:, 2]).round(2),
            "visits": rng.poisson(np.exp(0.5 * z[:, 2] + 0.2 * group)),
            "score": (0.6 * z[:, 0] + 0.8 * z[:, 3]).round(4),
            "member": rng.random(n) < 1 / (1 + np.exp(-z[:, 1])),
            "day": np.datetime64("2015-01-01") + rng.integers(0, 3650, n),
            "branch": np.array(["north", "south"])[group // 3],
        }
        for i in range(5):
            columns[f"x{i}"] = (z[:, i % 4] * (i + 1) + rng.standard_normal(n)).round(3)
        for i in range(5):
            turned = (group + i + (rng.random(n) < 0.2) * rng.integers(0, 4, n)) % 4
            columns[f"colour{i}"] = np.array(["red", "green", "blue", "grey"])[turned]
        yield pa.table(columns)


def write(path: Path, rows: int) -> None:
    writer: Any = None
    for table in blocks(rows):
        if writer is None:
            writer = (pq.ParquetWriter if path.suffix == ".parquet" else csv.CSVWriter)(str(path), table.schema)
        writer.write_table(table)
    writer.close()


def one(path: Path, minutes: float, stream: str, sampled: int, scored: int, threads: int) -> dict[str, Any]:
    """The figures of one process."""
    import pofx
    from pofx import learn, opening

    spent: dict[str, float] = {}

    def timed(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **words: Any) -> Any:
            began = time.perf_counter()
            out = work(*args, **words)
            spent[name] = time.perf_counter() - began
            return out

        return wrapped

    opening.spooled = timed("read", opening.spooled)
    opening.glean = timed("learned", opening.glean)
    learn._pooled = timed("dealt", learn._pooled)
    model = pofx.fit(
        path,
        minutes=minutes,
        threads=threads,
        reading={"stream": stream},
        quiet=True,
        checkpoint=path.with_suffix(".c"),
    )
    told = model.provenance["fit"]
    row: dict[str, Any] = {f"{name}_rows_a_second": model.provenance["rows"] / s for name, s in spent.items()}
    row |= {"fit_seconds": told["fit seconds"], "steps": told["steps"], "batch": told["batch"]}
    row |= {"training_rows_a_second": told["steps"] * told["batch"] / told["step seconds"]}
    row |= {"validation": told["validation"], "verdict": model.verdict, "fit_peak_mib": peak_mib()}
    for name, count, work in (
        ("sampled", sampled, lambda: model.sample(sampled, seed=0, path=path.with_suffix(".out.csv"), quiet=True)),
        ("scored", scored, lambda: model.score(path.with_suffix(".some.csv"), path=path.with_suffix(".scores.csv"))),
    ):
        began = time.perf_counter()
        assert work() == count
        row[f"{name}_rows_a_second"] = count / (time.perf_counter() - began)
    return row | {"sampled": sampled, "scored": scored, "peak_mib": peak_mib()}


def run(kind: str, stream: str, rows: int, told: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"made.{kind}"
        write(path, rows)
        write(path.with_suffix(".some.csv"), told.scored)
        words = [str(path), str(told.minutes), stream, str(told.sampled or rows), str(told.scored), str(told.threads)]
        done = subprocess.run([sys.executable, __file__, "--one", *words], check=True, capture_output=True, text=True)
        size = path.stat().st_size / 2**20
    return {"kind": kind, "stream": stream, "rows": rows, "file_mib": size, "minutes": told.minutes} | json.loads(
        done.stdout.splitlines()[-1]
    )


def printed(rows: list[dict[str, Any]]) -> str:
    """Thousands of rows a second, and MiB."""
    names = ("read", "learned", "dealt", "training", "sampled", "scored")
    lines = [f"| rows | file, MiB | on disk | {' | '.join(names)} | peak of the fit | peak |", "|---" * 11 + "|"]
    for row in rows:
        speeds = (f"{row[key] / 1e3:,.0f} k" if (key := f"{n}_rows_a_second") in row else "" for n in names)
        lines.append(
            f"| {row['rows']:,} | {row['kind']}, {row['file_mib']:,.0f} | {row['stream']} | {' | '.join(speeds)} | "
            f"{row['fit_peak_mib']:,.0f} | {row['peak_mib']:,.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        path, minutes, stream, sampled, scored, threads = sys.argv[2:]
        print(json.dumps(one(Path(path), float(minutes), stream, int(sampled), int(scored), int(threads))))
        return
    ask = asking(__doc__, HERE / "results" / "scale.json", data=(), seeds=())
    ask.add_argument("--rows", nargs="+", type=int, default=[1_000_000, 5_000_000])
    ask.add_argument("--kinds", nargs="+", choices=("csv", "parquet"), default=["csv"])
    ask.add_argument("--stream", nargs="+", choices=("yes", "no"), default=["yes"])
    ask.add_argument("--minutes", type=float, default=3.0, help="of the clock, for the whole fit")
    ask.add_argument("--sampled", type=int, default=0, help="rows to draw; 0: as many as the table has")
    ask.add_argument("--scored", type=int, default=200_000)
    told = ask.parse_args()
    jobs = [(kind, stream, rows) for kind in told.kinds for stream in told.stream for rows in told.rows]
    measure(told, ("kind", "stream", "rows"), jobs, lambda *job: run(*job, told), printed, PACKAGES)


if __name__ == "__main__":
    main()
