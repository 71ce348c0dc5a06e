"""How much noise a denoising autoencoder takes off: PSNR of MNIST and Fashion-MNIST, beside the best Gaussian blur.

    make bench-denoising
    python benchmarks/denoising.py --strengths 0.25 --seeds 0 1 2

Noise is Gaussian, its deviation a share of the range of a pixel. A model of each strength trains for one CPU-minute;
the width of the blur is what validation images like best. Figures: decibels, mean over all 10,000 test images, cut
to the range of pixels, and twice the standard error of the gain over the input and over the blur, image by image.
"""

import itertools
import statistics
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autoencoders import HERE, columns, fit, pixels
from pofx import corrupt
from pofx.fields import Pixel
from pofx.models import create
from pofx.models.autoencoders.denoising import Denoising
from pofx.spec import Block, Spec
from record import asking, measure

WIDTHS = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2, 1.5]
PACKAGES = ("torch",)


def psnr(v: Tensor, other: Tensor) -> np.ndarray:
    """Decibels of each image, (n,)."""
    return (-10 * (v - other.clamp(0, 1)).square().flatten(1).mean(1).log10()).numpy()


def run(data: str, strength: float, seed: int, minutes: float) -> dict[str, Any]:
    train, test = pixels(data, "train"), pixels(data, "t10k")
    spec = Spec((Block("image", (Pixel.learn("grey", train),), (28, 28)),))
    model = create("denoising", spec, seed, corruption="gaussian", strength=strength)
    assert isinstance(model, Denoising)
    told = fit(model, columns(train[:58000]), columns(train[58000:58256]), minutes, seed)

    def spoiled(images: np.ndarray, key: int) -> tuple[Tensor, Tensor]:
        v = model.vectors.of(model.vectors.prepare(columns(images)))
        return v, model.spoil(v, torch.Generator().manual_seed(key))

    v, w = spoiled(train[58000:], 1)
    width = min(WIDTHS, key=lambda b: float((corrupt.blur(w, b).clamp(0, 1) - v).square().mean()))
    v, w = spoiled(test, 0)
    came, blurred, cleaned = (psnr(v, part) for part in (w, corrupt.blur(w, width), model.clean(w)))
    row = {"data": data, "strength": strength, "seed": seed, "minutes": minutes, "blur": width} | told
    row |= {"came_db": came.mean(), "blurred_db": blurred.mean(), "cleaned_db": cleaned.mean()}
    for name, other in (("came", came), ("blur", blurred)):
        gain = cleaned - other
        row |= {f"gain_over_{name}": gain.mean(), f"gain_over_{name}_2se": 2 * gain.std() / np.sqrt(len(gain))}
    return {k: float(x) if isinstance(x, np.floating) else x for k, x in row.items()}


def printed(rows: list[dict[str, Any]]) -> str:
    lines = ["| | noise | seeds | as it came, dB | best blur, dB | pofx denoising, dB | gain over input | over blur |",
             "|---" * 8 + "|"]  # fmt: skip
    for data, strength in dict.fromkeys((row["data"], row["strength"]) for row in rows):
        own = [row for row in rows if (row["data"], row["strength"]) == (data, strength)]
        mid = {k: statistics.median(row[k] for row in own) for k, v in own[0].items() if isinstance(v, float)}
        cleaned = [row["cleaned_db"] for row in own]
        spread = f" ± {(max(cleaned) - min(cleaned)) / 2:.2f}" if len(own) > 1 else ""
        lines.append(
            f"| {data} | {strength:g} | {len(own)} | {mid['came_db']:.2f} | {mid['blurred_db']:.2f} | "
            f"{mid['cleaned_db']:.2f}{spread} | {mid['gain_over_came']:.2f} | {mid['gain_over_blur']:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    ask = asking(__doc__, HERE / "results" / "denoising.json")
    ask.add_argument("--strengths", nargs="+", type=float, default=[0.1, 0.25, 0.5])
    ask.add_argument("--minutes", type=float, default=1.0)
    told = ask.parse_args()
    torch.set_num_threads(told.threads)
    jobs = itertools.product(told.data, told.strengths, told.seeds)
    one = partial(run, minutes=told.minutes)
    measure(told, ("data", "strength", "seed"), jobs, one, printed, PACKAGES)


if __name__ == "__main__":
    main()
