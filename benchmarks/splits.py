"""Writes the benchmark's train and test rows as plain CSV, the same for pofx and its peers.

Adult keeps its official split; the other tables are split 90/10 by a permutation of seed 0. Cells are copied as text.
"""

import csv
import gzip
import os
from pathlib import Path

import numpy as np

SOURCES = {
    "default_credit": "default_credit/creditcard_default.csv.gz",
    "bank_marketing": "bank_marketing/bank_marketing.csv.gz",
    "california_housing": "california_housing/housing.csv.gz",
}


def data_root() -> Path:
    """The folder of the real data sets: POFX_DATA, by default ../shared/data beside the repository."""
    return Path(os.environ.get("POFX_DATA", Path(__file__).parents[2] / "shared" / "data"))


def rows_of(path: Path) -> tuple[list[str], list[list[str]]]:
    with gzip.open(path, "rt", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return header, rows


def write(path: Path, header: list[str], rows: list[list[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def make(folder: Path) -> None:
    """Writes TABLE-train.csv and TABLE-test.csv for every table, and adult_peers with it, into folder."""
    folder.mkdir(parents=True, exist_ok=True)
    root = data_root()
    for name, pair in {
        "adult": ("adult/adult_train.csv.gz", "adult/adult_test.csv.gz"),
        "adult_peers": ("adult_peers/train.csv.gz", "adult_peers/holdout.csv.gz"),
    }.items():
        for part, path in zip(("train", "test"), pair, strict=True):
            write(folder / f"{name}-{part}.csv", *rows_of(root / path))
    for name, path in SOURCES.items():
        header, rows = rows_of(root / path)
        order = np.random.default_rng(0).permutation(len(rows))
        cut = len(rows) * 9 // 10
        write(folder / f"{name}-train.csv", header, [rows[i] for i in order[:cut]])
        write(folder / f"{name}-test.csv", header, [rows[i] for i in order[cut:]])


if __name__ == "__main__":
    import sys

    make(Path(sys.argv[1]))
