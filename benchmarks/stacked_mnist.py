"""How many of a thousand modes an adversarial network keeps: Stacked MNIST, beside what was published.

    make bench-stacked-mnist
    python benchmarks/stacked_mnist.py --runs "relativistic r1+r2" --minutes 60 --seeds 0

An image is three digits of MNIST, one a channel, 28 x 28: 128,000 random triples of the training digits, 1,000 modes.
Of 26,000 draws each channel is read by one small classifier of digits (its accuracy on test digits is printed); a mode
is found where a draw has it, and KL is that of the law of modes from the uniform law (nats). `real test triples` are
26,000 triples of test digits through the same classifier: what a perfect model would score.
"""

import statistics
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from autoencoders import HERE, fit, pixels
from gan_images import labels
from gans import RUNS
from pofx.fields import Pixel
from pofx.models import create
from pofx.spec import Block, Columns, Spec
from record import asking, measure, spent

ON_GPU = {"batch": 256}
TRIPLES, DRAWS, VALID, BLOCK = 128_000, 26_000, 2_000, 1_000
CHANNELS = ("red", "green", "blue")
EPOCHS, BATCH, RATE = 3, 128, 2e-3
PUBLISHED = {  # modes and KL of 26,000 draws: Lin et al. 2018 (PacGAN), tables of VEEGAN's protocol and of their own
    "DCGAN (Srivastava et al. 2017)": (99, 3.40), "ALI": (16, 5.40), "Unrolled GAN": (48.7, 4.32),
    "VEEGAN": (150, 2.95), "PacDCGAN2 (Lin et al. 2018)": (1000, 0.06),
}  # fmt: skip
PACKAGES = ("torch",)


def triples(part: str, n: int, seed: int) -> Columns:
    x, rng = pixels("mnist", part), np.random.default_rng(seed)
    return {name: x[rng.integers(0, len(x), n)] for name in CHANNELS}


@cache
def classifier(seed: int = 0) -> tuple[nn.Module, float]:
    """(a small network of digits, its accuracy on test digits)."""
    x, y = (
        (_images(pixels("mnist", part)) for part in ("train", "t10k")),
        (labels("mnist", p) for p in ("train", "t10k")),
    )
    (train, test), (told, truth) = x, (torch.from_numpy(v).long() for v in y)
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(1, 32, 5, 2, 2), nn.ReLU(), nn.Conv2d(32, 64, 5, 2, 2), nn.ReLU(), nn.Flatten(),
        nn.Linear(64 * 49, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip
    steps = EPOCHS * len(train) // BATCH
    optimiser = torch.optim.Adam(net.parameters(), RATE)
    for step in range(steps):
        rows = torch.randint(len(train), (BATCH,))
        optimiser.param_groups[0]["lr"] = RATE * (1 - step / steps)
        optimiser.zero_grad(), cross_entropy(net(train[rows]), told[rows]).backward(), optimiser.step()
    with torch.no_grad():
        found = torch.cat([net(part).argmax(1) for part in test.split(BLOCK)])
    return net.eval(), float((found == truth).double().mean())


def _images(x: np.ndarray) -> Tensor:
    return torch.from_numpy(x.copy())[:, None].float() / 127.5 - 1


@torch.no_grad()
def figures(net: nn.Module, drawn: Columns) -> dict[str, float]:
    digit = [torch.cat([net(p).argmax(1) for p in _images(drawn[c]).split(BLOCK)]).numpy() for c in CHANNELS]
    share = np.bincount(digit[0] * 100 + digit[1] * 10 + digit[2], minlength=1000) / len(digit[0])
    there = share[share > 0]
    return {"modes": float(len(there)), "kl": float((there * np.log(there * 1000)).sum())}


def run(words: str, seed: int, minutes: float, device: str) -> dict[str, Any]:
    net, accuracy = classifier()
    row: dict[str, Any] = {"run": words, "seed": seed, "minutes": minutes, "accuracy": accuracy}
    if words == "real test triples":
        return row | {"steps": 0, "cpu_seconds": 0.0} | figures(net, triples("t10k", DRAWS, 3000 + seed))
    x = triples("train", TRIPLES, 1000 + seed)
    spec = Spec((Block("image", tuple(Pixel.learn(c, x[c]) for c in CHANNELS), (28, 28)),))
    model = create("gan", spec, seed, augment="none", **RUNS[words])
    told = fit(
        model, x, triples("train", VALID, 2000 + seed), minutes, seed, device, **(ON_GPU if device == "cuda" else {})
    )
    began = spent(device)
    parts = [
        model.decode(model.noise(BLOCK, torch.Generator().manual_seed(10**6 * (1 + seed) + i)))
        for i in range(DRAWS // BLOCK)
    ]
    drawn = {c: np.concatenate([p[c] for p in parts]) for c in CHANNELS}
    return row | told | {"drawing_cpu_seconds": spent(device) - began} | figures(net, drawn)


def printed(rows: list[dict[str, Any]]) -> str:
    """A line a run, medians over fits and the worst of them; published figures last."""
    lines = ["| | fits | CPU s | steps | modes (worst) | KL, nats (worst) |", "|---" * 6 + "|"]
    for name in dict.fromkeys(row["run"] for row in rows):
        own = [row for row in rows if row["run"] == name]
        mid = {k: statistics.median(row[k] for row in own) for k in ("cpu_seconds", "steps", "modes", "kl")}
        lines.append(
            f"| {name} | {len(own)} | {mid['cpu_seconds']:.0f} | {mid['steps']:,.0f} | {mid['modes']:g} "
            f"({min(row['modes'] for row in own):g}) | {mid['kl']:.3f} ({max(row['kl'] for row in own):.3f}) |"
        )
    lines += [f"| published: {who} | | | | {found:g} | {kl:.2f} |" for who, (found, kl) in PUBLISHED.items()]
    return "\n".join([*lines, "", f"The classifier is right on {rows[0]['accuracy']:.2%} of the test digits."])


def main() -> None:
    ask = asking(__doc__, HERE / "results" / "stacked_mnist.json", gpu=True)
    choices = ["real test triples", *RUNS]
    ask.add_argument("--runs", nargs="+", default=choices, choices=choices)
    ask.add_argument("--minutes", type=float, default=60.0)
    told = ask.parse_args()
    torch.set_num_threads(told.threads)
    jobs = ((words, seed, told.minutes) for seed in told.seeds for words in told.runs)
    measure(told, ("run", "seed", "minutes"), jobs, partial(run, device=told.device), printed, PACKAGES)


if __name__ == "__main__":
    main()
