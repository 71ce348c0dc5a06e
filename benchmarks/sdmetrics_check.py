"""Holds pofx's Shape and Trend against the SDMetrics package on the published samples of adult_peers.

Run by `make bench-sdmetrics` in the peers' environment (SDMetrics needs a package that is not open, so pofx does not
depend on it). Prints both figures for each sample, writes benchmarks/results/sdmetrics.json, and fails where they
differ by more than 1e-4.

    PYTHONPATH=src python benchmarks/sdmetrics_check.py
"""

import itertools
import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from sdmetrics.column_pairs import ContingencySimilarity, CorrelationSimilarity
from sdmetrics.single_column import KSComplement, TVComplement

from pofx.codecs.table import TableCodec
from pofx.metrics import Case, registry
from splits import data_root

HERE = Path(__file__).parent
TOLERANCE = 1e-4


def binned(column: pd.Series) -> pd.Series:
    """The number of each cell's bin among ten of equal width, on the column's own range."""
    return pd.Series(np.digitize(column, np.histogram_bin_edges(column)))


def theirs(real: pd.DataFrame, fake: pd.DataFrame, kinds: dict[str, str]) -> tuple[float, float]:
    """Shape and Trend by SDMetrics' functions of a column and of a pair, every pair counted.

    (Its quality report now leaves weakly dependent pairs out, which the published figures do not.)
    """
    numbers = [c for c in real if kinds[c] != "category"]
    shapes = [
        (KSComplement if c in numbers else TVComplement).compute(real_data=real[c], synthetic_data=fake[c])
        for c in real
    ]
    bins = [frame.assign(**{c: binned(frame[c]) for c in numbers}) for frame in (real, fake)]
    trends = []
    for pair in map(list, itertools.combinations(real, 2)):
        metric, (x, y) = (
            (CorrelationSimilarity, (real, fake)) if set(pair) <= set(numbers) else (ContingencySimilarity, tuple(bins))
        )
        trends.append(metric.compute(real_data=x[pair], synthetic_data=y[pair]))
    return float(np.mean(shapes)), float(np.mean(trends))


def ours(codec: TableCodec, real: pd.DataFrame, fake: pd.DataFrame) -> tuple[float, float]:
    """Shape and Trend by pofx."""
    case = Case(codec.whole, codec.encode(fake, derived=True), codec.encode(real, derived=True))
    metrics = registry()
    return metrics["shape"](case)["shape"].value, metrics["trend"](case)["trend"].value


def main() -> int:
    folder = data_root() / "adult_peers"
    kinds = json.loads((HERE / "fields.json").read_text())["adult"]
    real = pd.read_csv(folder / "train.csv.gz", keep_default_na=False)
    codec = TableCodec.learn(real, fields=kinds)
    rows = []
    for path in sorted(folder.glob("*_[0-9].csv.gz")):
        fake = pd.read_csv(path, keep_default_na=False)
        pair = {"sdmetrics": theirs(real, fake, kinds), "pofx": ours(codec, real, fake)}
        apart = max(abs(a - b) for a, b in zip(*pair.values(), strict=True))
        rows.append({"sample": path.name.removesuffix(".csv.gz"), "apart": apart} | pair)
        print(f"{rows[-1]['sample']:20}" + "  ".join(f"{k} {v[0]:.5f} {v[1]:.5f}" for k, v in pair.items()), flush=True)
    record = {"versions": {"sdmetrics": version("sdmetrics")}, "figures": ["Shape", "Trend"], "rows": rows}
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "sdmetrics.json").write_text(json.dumps(record, indent=1))
    return int(any(row["apart"] > TOLERANCE for row in rows))


if __name__ == "__main__":
    sys.exit(main())
