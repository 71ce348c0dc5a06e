"""Likelihood of MNIST and Fashion-MNIST under autoencoders, test rows, in nats, beside what was published.

    make bench-autoencoders
    python benchmarks/autoencoders.py --runs mlp --seeds 0 1 2 --resume-from benchmarks/results/autoencoders.json

Pixels are chances of ink and drawn anew in each step (dynamic binarisation); test images are drawn once, by seed 0.
A run has so many CPU-minutes, which are turned into steps after some timed ones; the schedule, the averages and the
validation are those of every fit. Figures: the importance-weighted bound of 500 draws on all 10,000 test images, with
twice its standard error over images, the bound of one draw, the divergence, and the latent numbers that are active
(the variance of their mean over images above .01).
"""

import gzip
import os
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pofx.fields import Pixel
from pofx.models import create
from pofx.models.model import Batch, Model
from pofx.models.variational import Variational
from pofx.spec import Block, Columns, Spec
from pofx.training.loop import LOOKS, REPAID, Trainer
from record import asking, measure, spent

HERE = Path(__file__).parent
DATA = Path(os.environ.get("POFX_DATA", HERE.parents[1] / "shared" / "data"))
MLP = {"latent": 40, "network": "mlp", "width": 400, "depth": 1, "binarise": True, "warmup": 0.05}
CONV = {"latent": 40, "network": "conv", "width": 128, "depth": 1, "binarise": True, "warmup": 0.05}
RUNS: dict[str, tuple[str, dict[str, Any], float]] = {  # model, arguments, CPU-minutes
    "mlp normal 3": ("vae", MLP | {"prior": "normal"}, 3.0),
    "mlp 3": ("vae", MLP, 3.0),
    "mlp iwae 3": ("iwae", MLP | {"prior": "normal", "draws": 5}, 3.0),
    "mlp 20": ("vae", MLP, 20.0),
    "conv 40": ("vae", CONV, 40.0),
}
FINE = "mlp 20"  # of which a tenth of the images is looked at with ten times the draws, once
PUBLISHED = {  # nats of test images of MNIST as their papers print them, binarised dynamically
    "VAE, 2 x 200 tanh (Burda et al. 2016)": 86.76,
    "IWAE, 50 draws, 2 x 200 tanh (Burda et al. 2016)": 84.78,
    "VAE with a VampPrior, gated MLP (Tomczak, Welling 2018)": 82.43,
    "VAE with IAF, deep ResNet (Kingma et al. 2016)": 79.10,
    "NVAE (Vahdat, Kautz 2020)": 78.01,
}
PACKAGES = ("torch",)
PROBES = 50  # steps that are timed, for a first plan


def pixels(name: str, part: str) -> np.ndarray:
    with gzip.open(DATA / name / f"{part}-images-idx3-ubyte.gz") as file:
        return np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)


def columns(images: np.ndarray) -> Columns:
    return {"grey": images}


def drawn(images: np.ndarray, seed: int = 0) -> np.ndarray:
    """Black and white images, a pixel's shade being the chance of ink."""
    return ((np.random.default_rng(seed).random(images.shape) * 255 < images) * 255).astype(np.uint8)


def fit(
    model: Model, train: Columns, valid: Columns, minutes: float, seed: int, device: str = "cpu", **recipe: Any
) -> dict[str, Any]:
    """Trains for so many CPU-minutes of this process."""
    return fit_batches(model, model.prepare(train), model.prepare(valid), minutes, seed, device, **recipe)


def fit_batches(
    model: Model, train: Batch, valid: Batch, minutes: float, seed: int, device: str = "cpu", **recipe: Any
) -> dict[str, Any]:
    """`fit` of what a step reads in so many minutes, planned by what some steps and one validation take, and anew."""
    torch.manual_seed(seed)
    trainer = Trainer(model, train, valid, seed, device, **recipe)
    began, saved = spent(device), trainer.state()
    if model.compiles and 60 * minutes > REPAID:
        trainer.quickened(trainer.timed())

    def each() -> float:
        since, steps = spent(device), 0
        while steps < 2 or (steps < PROBES and spent(device) - since < 0.04 * 60 * minutes):
            trainer.advance(10**6)
            steps += 1
        return (spent(device) - since) / steps

    each()
    step, since = each(), spent(device)
    trainer.look()
    look = spent(device) - since
    trainer.restore(*saved)
    left = 60 * minutes - (spent(device) - began) - LOOKS * look
    if left < step:
        raise SystemExit(f"expected time for a step after {LOOKS} validations of {look:.1f} s, got {minutes:g} minutes")
    total = min(int(left / step), trainer.recipe.most or 2**62)
    history = trainer.run(total, until=began + 60 * minutes, clock=partial(spent, device))
    took = spent(device) - began
    return {"steps": history.steps, "cpu_seconds": took, "ms_a_step": 1e3 * step, "compiled": trainer.quick,
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
    told = fit(model, columns(train[:58000]), columns(train[58000:]), minutes, seed, **recipe)
    size = sum(p.numel() for p in model.parameters())
    row = {"data": data, "run": name, "seed": seed, "parameters": size} | told | figures(model, test, draws, rows)
    if name == FINE:
        more = figures(model, test, 10 * draws, max(rows // 10, 1))
        row |= {f"{k}_fine": more[k] for k in ("nats", "error_2se", "draws", "rows")}
    return row


def printed(rows: list[dict[str, Any]]) -> str:
    """A line a run and set: medians over seeds; published figures below."""
    head = ["", "seeds", "CPU s", "steps", "-log p, nats", "spread", "2 s.e.", "one draw", "active"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for data, name in dict.fromkeys((row["data"], row["run"]) for row in rows):
        own = [row for row in rows if (row["data"], row["run"]) == (data, name)]
        mid = {k: statistics.median(row[k] for row in own) for k, v in own[0].items() if isinstance(v, int | float)}
        nats = [row["nats"] for row in own]
        spread = f"{(max(nats) - min(nats)) / 2:.2f}" if len(nats) > 1 else ""
        lines.append(
            f"| {data}, {name} | {len(own)} | {mid['cpu_seconds']:.0f} | {mid['steps']:,.0f} | {mid['nats']:.2f} | "
            f"{spread} | {mid['error_2se']:.2f} | {mid['elbo']:.2f} | {mid['active']:.0f} |"
        )
    lines += [f"| published, mnist: {name} | | | | {nats:.2f} | | | | |" for name, nats in PUBLISHED.items()]
    return "\n".join(lines)


def main() -> None:
    ask = asking(__doc__, HERE / "results" / "autoencoders.json")
    ask.add_argument("--runs", nargs="+", default=list(RUNS), choices=list(RUNS))
    ask.add_argument("--draws", type=int, default=500)
    ask.add_argument("--rows", type=int, default=10_000)
    told = ask.parse_args()
    torch.set_num_threads(told.threads)
    jobs = (
        (data, name, seed)
        for data in told.data
        for name in told.runs
        for seed in (told.seeds if RUNS[name][2] < 5 else told.seeds[:1])
    )

    def one(data: str, name: str, seed: int) -> dict[str, Any]:
        return run(name, data, seed, told.draws, told.rows)

    measure(told, ("data", "run", "seed"), jobs, one, printed, PACKAGES)


if __name__ == "__main__":
    main()
