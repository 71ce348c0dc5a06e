"""Likelihood of MNIST and Fashion-MNIST under autoencoders, test rows, in nats, beside what was published.

    make bench-autoencoders
    python benchmarks/autoencoders.py --runs mlp --seeds 0 1 2 --resume-from benchmarks/results/autoencoders.json

Pixels are chances of ink and drawn anew in each step (dynamic binarisation); test images are drawn once, by seed 0.
A run has so many CPU-minutes, which are turned into steps after some timed ones; the schedule, the averages and the
validation are those of every fit. Figures: the importance-weighted bound of 500 draws on all 10,000 test images, with
twice its standard error over images, the bound of one draw, the divergence, and the latent numbers that are active
(the variance of their mean over images above .01).
"""

import argparse
import gzip
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pofx.fields import Pixel
from pofx.models import create
from pofx.models.model import Model
from pofx.models.variational import Variational
from pofx.spec import Block, Columns, Spec
from pofx.training.loop import LOOKS, Trainer
from record import keep

HERE = Path(__file__).parent
DATA = Path(os.environ.get("POFX_DATA", HERE.parents[1] / "shared" / "data"))
MLP = {"latent": 40, "network": "mlp", "width": 400, "depth": 1, "binarise": True, "warmup": 0.05}
CONV = {"latent": 40, "network": "conv", "width": 32, "depth": 1, "binarise": True, "warmup": 0.05}
RUNS: dict[str, tuple[str, dict[str, Any], float]] = {  # model, arguments, CPU-minutes
    "mlp normal 3": ("vae", MLP | {"prior": "normal"}, 3.0),
    "mlp 3": ("vae", MLP, 3.0),
    "mlp iwae 3": ("iwae", MLP | {"prior": "normal", "draws": 5}, 3.0),
    "mlp 20": ("vae", MLP, 20.0),
    "conv 40": ("vae", CONV, 40.0),
}
PACKAGES = ("torch",)
PROBES, SURE = 100, 0.9  # steps that are timed, and the share of the time left that is planned: a long run is slower


def pixels(name: str, part: str) -> np.ndarray:
    with gzip.open(DATA / name / f"{part}-images-idx3-ubyte.gz") as file:
        return np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)


def columns(images: np.ndarray) -> Columns:
    return {"grey": images}


def drawn(images: np.ndarray, seed: int = 0) -> np.ndarray:
    """Black and white images, a pixel's shade being the chance of ink."""
    return ((np.random.default_rng(seed).random(images.shape) * 255 < images) * 255).astype(np.uint8)


def fit(model: Model, train: np.ndarray, valid: np.ndarray, minutes: float, seed: int, **recipe: Any) -> dict[str, Any]:
    """Trains for so many CPU-minutes of this process: what some steps and one validation take, with room to spare."""
    torch.manual_seed(seed)
    trainer = Trainer(model, model.prepare(columns(train)), model.prepare(columns(valid)), seed, "cpu", **recipe)
    began = time.process_time()
    for _ in range(3):
        trainer.advance(10**6)
    probe = time.process_time()
    saved = trainer.state()
    for _ in range(PROBES):
        trainer.advance(10**6)
    looks = time.process_time()
    each = (looks - probe) / PROBES
    trainer.look()
    now = time.process_time()
    trainer.restore(*saved)
    total = int((60 * minutes - (now - began) - LOOKS * (now - looks)) * SURE / each)
    history = trainer.run(total)
    return {"steps": history.steps, "cpu_seconds": time.process_time() - began, "ms_a_step": 1e3 * each,
            "skipped": history.skipped, "validation": history.best}  # fmt: skip


@torch.no_grad()
def figures(model: Variational, test: np.ndarray, draws: int, rows: int) -> dict[str, float]:
    x = columns(test[:rows])
    began = time.process_time()
    bound = model.bound(x, draws=draws)
    seconds = time.process_time() - began
    one = -model.bound(x, draws=1).value.mean()
    z = model.encode(x)
    return {"nats": float(-bound.value.mean()), "error_2se": float(2 * bound.value.std() / np.sqrt(rows)),
            "elbo": float(one), "active": float((z.var(0) > 0.01).sum()), "size": float(np.median(bound.size)),
            "draws": draws, "rows": rows, "scoring_cpu_seconds": seconds}  # fmt: skip


def run(name: str, data: str, seed: int, draws: int, rows: int, **more: Any) -> dict[str, Any]:
    kind, words, minutes = RUNS[name]
    train, test = pixels(data, "train"), drawn(pixels(data, "t10k"))
    spec = Spec((Block("image", (Pixel.learn("grey", train),), (28, 28)),))
    model = create(kind, spec, seed, **words)
    recipe = {"batch": 256, "rate": 3e-3, "clip": 200.0, "average": 0.02} | more
    told = fit(model, train[:58000], train[58000:], minutes, seed, **recipe)
    size = sum(p.numel() for p in model.parameters())
    return {"data": data, "run": name, "seed": seed, "parameters": size} | told | figures(model, test, draws, rows)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--runs", nargs="+", default=list(RUNS), choices=list(RUNS))
    ask.add_argument("--data", nargs="+", default=["mnist", "fashion_mnist"])
    ask.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    ask.add_argument("--draws", type=int, default=500)
    ask.add_argument("--rows", type=int, default=10_000)
    ask.add_argument("--threads", type=int, default=1)
    ask.add_argument("--resume-from", type=Path)
    ask.add_argument("--out", type=Path, default=HERE / "results" / "autoencoders.json")
    told = ask.parse_args()
    torch.set_num_threads(told.threads)
    rows: list[dict[str, Any]] = json.loads(told.resume_from.read_text())["rows"] if told.resume_from else []
    for data in told.data:
        for name in told.runs:
            for seed in told.seeds if RUNS[name][2] < 5 else told.seeds[:1]:
                if any((r["data"], r["run"], r["seed"]) == (data, name, seed) for r in rows):
                    continue
                rows.append(run(name, data, seed, told.draws, told.rows))
                print(json.dumps(rows[-1]), flush=True)
                keep(told.out, rows, PACKAGES, told.threads)


if __name__ == "__main__":
    main()
