"""How often the guard accuses real examples, and how often it names what is wrong: calibration of training/guard.py.

    make bench-guard
    python benchmarks/guard.py --data adult mnist "fits adult" --seeds 0 1 2

Of each set real examples of a split of their own stand in the place of samples (`real`: every finding is a false
alarm), then samples of known failures: training examples (`parrot`), examples of half of the clusters (`half the
modes`), one example again and again (`one point`), columns drawn alone or a normal law of pixels (`trivial`), real
examples of which a third are training ones (`third parrot`), images under the next label (`labels shifted`). Figures:
in how many of the seeds the failure was named, by the finding named beside it, and what it was called otherwise. Sets
whose name begins with `fits` are fits, healthy ones and hurt ones: guard_fits.py.
"""

import argparse
import gzip
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import guard_fits
from autoencoders import pixels
from pofx.codecs.table import TableCodec
from pofx.codecs.tabular_io import read_table
from pofx.fields import Category, Pixel
from pofx.metrics import count, take
from pofx.metrics.prdc import distances
from pofx.spec import Block, Columns, Spec
from pofx.training.examination import Examiner, trivial
from pofx.training.verdict import judge
from record import measure

HERE = Path(__file__).parent
DATA = Path(os.environ.get("POFX_DATA", HERE.parents[1] / "shared" / "data"))
TABLES = {
    "adult": "adult_train.csv.gz", "bank_marketing": "bank_marketing.csv.gz", "california_housing": "housing.csv.gz",
    "default_credit": "creditcard_default.csv.gz",
}  # fmt: skip
IMAGES = ("mnist", "fashion_mnist")
FITS = ("fits adult", "fits california_housing", "fits mnist")
NAMED = {
    "real": "", "parrot": "copies", "third parrot": "copies", "half the modes": "missed modes",
    "one point": "collapse", "trivial": "no better than trivial, little skill", "labels shifted": "wrong labels",
}  # fmt: skip
HELD = 1000
PACKAGES = ("torch", "scikit-learn")


def table(name: str) -> tuple[Spec, Columns]:
    rows, kind = read_table(DATA / name / TABLES[name])
    codec = TableCodec.learn(rows, like=kind)
    return codec.spec, codec.encode(rows)


def images(name: str) -> tuple[Spec, Columns]:
    x = pixels(name, "train")[:20_000].copy()
    with gzip.open(DATA / name / "train-labels-idx1-ubyte.gz") as file:
        y = np.frombuffer(file.read(), np.uint8, offset=8)[: len(x)].astype(np.int32)
    label = Category.learn("label", y, levels=tuple("0123456789"))
    spec = Spec((Block("image", (Pixel.learn("grey", x),), x.shape[1:]),), Spec((Block("label", (label,)),)))
    return spec, {"grey": x, "label": y}


def draws(kind: str, examiner: Examiner, spec: Spec, train: Columns, real: Columns) -> Callable[[int, int], Columns]:
    """Samples of a failure, (n, seed)."""

    def draw(n: int, seed: int) -> Columns:
        rng = np.random.default_rng([seed, 1])
        own = (
            take(real, rng.integers(0, count(real), n))
            if n > count(real)
            else take(real, rng.permutation(count(real))[:n])
        )
        parrot = take(train, rng.permutation(count(train))[:n])
        if kind == "real":
            return own
        if kind == "parrot":
            return parrot
        if kind == "third parrot":
            return {k: np.concatenate([own[k][n // 3 :], parrot[k][: n // 3]]) for k in own}
        if kind == "one point":
            return {k: np.repeat(v[:1], n, 0) for k, v in own.items()}
        if kind == "trivial":
            return trivial(spec, train, n, rng)
        if kind == "labels shifted":
            return own | {"label": (own["label"] + 1) % 10}
        place = distances(examiner.spaces[0].of(real), examiner.middle).argmin(1)
        kept = np.flatnonzero(place < len(examiner.middle) // 2)
        return take(real, rng.choice(kept, n))

    return draw


def run(name: str, seed: int, failures: list[str], only: list[str] | None = None) -> dict[str, Any]:
    of = name.removeprefix("fits ")
    spec, x = images(of) if of in IMAGES else table(of)
    order = np.random.default_rng([seed, 2]).permutation(count(x))
    held, real, train = (take(x, part) for part in np.split(order, [HELD, HELD + 3 * HELD]))
    if name in FITS:
        return {"data": name, "seed": seed, "fits": guard_fits.run(spec, train, held, seed, only)}
    began = time.process_time()
    examiner = Examiner(spec, train, held, seed)
    out: dict[str, Any] = {"data": name, "seed": seed, "n": examiner.n, "made_cpu_seconds": time.process_time() - began}
    for kind in failures:
        if kind == "labels shifted" and name not in IMAGES:
            continue
        draw = draws(kind, examiner, spec, train, real)
        began = time.process_time()
        found = examiner.examine(draw(examiner.n, seed), draw(2 * examiner.n, seed + 1))
        lowest = found.lowest
        out[kind] = {
            "findings": {f.name: f.level for f in judge(found).findings},
            "cpu_seconds": time.process_time() - began,
            "skill": None if lowest is None else lowest.value, "coverage": found.coverage, "auc": found.auc,
            "near": found.near, "spread": found.spread, "repeated": found.repeated,
        }  # fmt: skip
    return out


def printed(rows: list[dict[str, Any]]) -> str:
    """A line a failure and set: in how many seeds it was named, and the range of each figure; then one a fit."""
    lines = ["| samples | data | named | what else was found | skill | coverage | AUC | near training | spread |"]
    lines.append("|---" * 9 + "|")
    for kind, name in NAMED.items():
        names = set(name.split(", ")) - {""}  # any of them
        for data in dict.fromkeys(row["data"] for row in rows if kind in row):
            own = [row[kind] for row in rows if row["data"] == data and kind in row]
            found = Counter(f for one in own for f in one["findings"])
            hit = (
                f"{sum(bool(names & set(one['findings'])) for one in own)} of {len(own)}"
                if name
                else f"clean in {sum(not o['findings'] for o in own)} of {len(own)}"
            )
            other = ", ".join(f"{k} {v}" for k, v in found.most_common() if k not in names)
            spans = [_span([one[k] for one in own]) for k in ("skill", "coverage", "auc", "near", "spread")]
            lines.append(f"| {kind} | {data.replace('_', ' ')} | {hit} | {other} | " + " | ".join(spans) + " |")
    fits = [row for row in rows if "fits" in row]
    return "\n".join([*lines, *(["", guard_fits.printed(fits)] if fits else [])])


def _span(values: list[float | None]) -> str:
    kept = [v for v in values if v is not None]
    return f"{min(kept):.2f} to {max(kept):.2f}" if kept else ""


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--data", nargs="+", default=[*TABLES, *IMAGES, *FITS], choices=[*TABLES, *IMAGES, *FITS])
    ask.add_argument("--seeds", nargs="+", type=int, default=list(range(10)))
    ask.add_argument("--failures", nargs="+", default=list(NAMED), choices=list(NAMED))
    ask.add_argument("--fits", nargs="+", help='of the fits those alone: "healthy, wgan"')
    ask.add_argument("--threads", type=int, default=1)
    ask.add_argument("--resume-from", type=Path, help="a JSON of an earlier run, whose rows are kept")
    ask.add_argument("--out", type=Path, default=HERE / "results" / "guard.json")
    told = ask.parse_args()
    torch.set_num_threads(told.threads)
    jobs = ((name, seed) for seed in told.seeds for name in told.data)
    measure(
        told, ("data", "seed"), jobs, lambda name, seed: run(name, seed, told.failures, told.fits), printed, PACKAGES
    )


if __name__ == "__main__":
    main()
