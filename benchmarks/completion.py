"""How well a model of digits completes them: MNIST with the lower half hidden, beside trivial fillers.

    make bench-completion
    python benchmarks/completion.py --models vae --seeds 0 1 2

Each model trains for `--minutes` of CPU time on 55,000 images and completes `--images` test images whose lower half is
hidden (posterior.py). Figures: the mean squared error of that half, in units of the range of a pixel, of one draw, of
the mean of 8 and of the best of 8, beside the mean training image and the training image that is nearest in the upper
half; and the accuracy of a linear classifier of whole training digits on real digits, on hidden halves left black, on
the fillers, and on completed ones. Twice the standard error is over images.
"""

import gzip
import itertools
import time
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from autoencoders import DATA, HERE, MLP, columns, fit, pixels
from pofx.fields import Pixel
from pofx.models import create
from pofx.posterior import Hidden, restored
from pofx.spec import Block, Spec
from record import asking, measure

MODELS: dict[str, tuple[str, dict[str, Any]]] = {"vae": ("vae", MLP), "gan": ("gan", {})}
LEARNED, WATCHED, TOLD = 55_000, 256, 10_000  # images of training, of validation, and of the classifier
DRAWS = 8
PACKAGES = ("torch", "scikit-learn")


def labels(name: str, part: str) -> np.ndarray:
    with gzip.open(DATA / name / f"{part}-labels-idx1-ubyte.gz") as file:
        return np.frombuffer(file.read(), np.uint8, offset=8)


def nearest(train: np.ndarray, x: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Of each image the training image nearest in what is known."""
    own, other = (torch.from_numpy(v[:, known].astype(np.float32)) for v in (x, train))
    return train[torch.cdist(own, other).argmin(1).numpy()]


def run(data: str, name: str, seed: int, minutes: float, images: int) -> dict[str, Any]:
    train, test = pixels(data, "train"), pixels(data, "t10k")[:images]
    spec = Spec((Block("image", (Pixel.learn("grey", train),), (28, 28)),))
    kind, config = MODELS[name]
    model = create(kind, spec, seed, **config)
    told = fit(model, columns(train[:LEARNED]), columns(train[LEARNED : LEARNED + WATCHED]), minutes, seed)
    hidden = np.zeros((28, 28), bool)
    hidden[14:] = True
    x, began = test / np.float32(255), time.process_time()
    found = restored(
        model.eval(), torch.from_numpy(x[:, None]), Hidden(torch.from_numpy(hidden)), 0.0, DRAWS, seed=seed
    )
    spent, draws = (time.process_time() - began) / images, found.draws[:, :, 0].numpy()
    mean = train[:LEARNED].mean(0, dtype=np.float32) / np.float32(255)
    full = {
        "real": x,
        "hidden": np.where(hidden, 0, x),
        "mean_image": np.where(hidden, mean, x),
        "nearest": np.where(hidden, nearest(train[:LEARNED], test, ~hidden) / np.float32(255), x),
        "one_draw": draws[0],
        "mean_of_8": draws.mean(0),
    }
    error = {k: np.square(v - x)[:, hidden].mean(1) for k, v in full.items()}
    error["best_of_8"] = np.square(draws - x)[:, :, hidden].mean(2).min(0)
    judge = LogisticRegression(max_iter=1000).fit(train[:TOLD].reshape(TOLD, -1) / 255, labels(data, "train")[:TOLD])
    right = {k: judge.predict(v.reshape(images, -1)) == labels(data, "t10k")[:images] for k, v in full.items()}
    row = {"data": data, "model": name, "seed": seed, "minutes": minutes, "images": images} | told
    row |= {"cpu_seconds_an_image": spent}
    row |= {f"mse_{k}": float(v.mean()) for k, v in error.items() if k not in ("real", "hidden")}
    row |= {"mse_mean_of_8_2se": float(2 * error["mean_of_8"].std() / np.sqrt(images))}
    return row | {f"accuracy_{k}": float(v.mean()) for k, v in right.items()}


def printed(rows: list[dict[str, Any]]) -> str:
    """Squared errors of the hidden half, and under them shares of digits that the classifier names rightly."""
    kinds = ("real", "hidden", "mean_image", "nearest", "one_draw", "mean_of_8", "best_of_8")
    lines = [f"| | seed | figure | {' | '.join(k.replace('_', ' ') for k in kinds)} |", "|---" * 10 + "|"]
    for row, figure in itertools.product(rows, ("mse", "accuracy")):
        cells = (f"{row[key]:.3f}" if (key := f"{figure}_{k}") in row else "" for k in kinds)
        lines.append(f"| {row['data']}, {row['model']}, {row['minutes']:g} min | {row['seed']} | {figure} | "
                     f"{' | '.join(cells)} |")  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    ask = asking(__doc__, HERE / "results" / "completion.json")
    ask.set_defaults(data=["mnist"], seeds=[0])
    ask.add_argument("--models", nargs="+", choices=tuple(MODELS), default=list(MODELS))
    ask.add_argument("--minutes", type=float, default=1.0)
    ask.add_argument("--images", type=int, default=200)
    told = ask.parse_args()
    torch.set_num_threads(told.threads)
    jobs = itertools.product(told.data, told.models, told.seeds)
    one = partial(run, minutes=told.minutes, images=told.images)
    measure(told, ("data", "model", "seed"), jobs, one, printed, PACKAGES)


if __name__ == "__main__":
    main()
