"""Images from flows, autoencoders and adversarial networks after equal CPU-minutes, each of default size, by class.

    make bench-images
    python benchmarks/images.py --data mnist --runs glow flow_matching --minutes 20 --seeds 0

Every run learns p(image | label) for so many CPU-minutes of one process and is judged on test images that it never saw:

- bits a dimension of test images given their label, where there is a likelihood: a bound of 8 draws of the noise in
  the shades, of 64 codes of `vae`, of 4 below a flow; `vq` has the bound of its symbols. Twice the
  standard error over images beside it;
- samples beside test images in two spaces of features (metrics/features.py), as training/examination.py does: skill,
  Fréchet distance and coverage, with training images in the place of samples (the floor) and a normal law of all pixels
  (trivial: skill 0);
- class accuracy: the share of drawn images that a small classifier of real training images finds to be of the label
  they were drawn under, beside that of real test images;
- CPU-seconds for 1,000 samples.

`vae + flow_matching` spends half of the minutes on a vae and half on a law of its codes, of 20,000 images; it needs
half a minute at least. Of the images to learn from 300 are for validation. cifar10: the 4,000 lossless images of the
shared subset, 3,600 to learn from and 400 to judge by; never beside rows of the whole set.
"""

import statistics
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import cross_entropy

from autoencoders import DATA, HERE, fit_batches, pixels
from gan_images import SPACES, labels
from pofx.compose import Latent
from pofx.fields import Category, Pixel
from pofx.models import create
from pofx.models.model import Batch, Model
from pofx.spec import Block, Columns, Spec
from pofx.training.examination import Examiner
from pofx.training.guard import sampler
from pofx.training.verdict import judge
from record import asking, measure, spent

RUNS: dict[str, tuple[str, dict[str, Any], str | None]] = {  # model, its arguments, and a law of its codes
    "realnvp": ("realnvp", {}, None),
    "glow": ("glow", {}, None),
    "glow, wide": ("glow", {"width": 1024, "transforms": 6, "dequantise": "variational"}, None),  # for a GPU
    "flow_matching": ("flow_matching", {}, None),
    "vae": ("vae", {}, None),
    "vq": ("vq", {}, None),
    "gan": ("gan", {}, None),
    "vae + flow_matching": ("vae", {}, "flow_matching"),
}
RECIPES: dict[str, dict[str, Any]] = {"glow, wide": {"batch": 256}}
BUT_WIDE = [name for name in RUNS if "wide" not in name]
PACKAGES = ("torch", "scikit-learn")
VALID = 300  # images that a fit is watched on: a look at more would be dear beside short fits
CODED, CODED_VALID = 20_000, 100  # images whose codes a law of codes learns, and is watched on
SOLVED = 4  # codes of an image where a law of codes is a differential equation's
SCORED = 1000  # test images of a likelihood
CLASSES = 10
TAUGHT, BATCH, RATE = 1000, 128, 2e-3  # the classifier's steps
TIMED = 1000  # samples


def loaded(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(images, labels) to learn from and to judge by: uint8 (n, H, W, C) and int32 (n,)."""
    if name != "cifar10":
        train, test = pixels(name, "train")[..., None], pixels(name, "t10k")[..., None]
        return train, labels(name, "train"), test, labels(name, "t10k")
    home = DATA / name / "lossless"
    sheets = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(home.glob("cifar10_batch_*.png"))]
    images = np.concatenate([sheet.reshape(-1, 32, 32, 3) for sheet in sheets])
    codes = np.loadtxt(home / "labels.csv", np.int32, delimiter=",", skiprows=1, usecols=1)
    order = np.random.default_rng(0).permutation(len(images))
    learned, judged = order[:3600], order[3600:]
    return images[learned], codes[learned], images[judged], codes[judged]


def columns(images: np.ndarray, codes: np.ndarray) -> Columns:
    return {f"c{i}": np.ascontiguousarray(images[..., i]) for i in range(images.shape[3])} | {"label": codes}


def apart(x: Columns) -> tuple[Columns, Columns]:
    """(the image, its label)."""
    return {k: v for k, v in x.items() if k != "label"}, {"label": x["label"]}


def spec_of(x: Columns) -> Spec:
    own, _ = apart(x)
    block = Block("image", tuple(Pixel.learn(k, v) for k, v in own.items()), next(iter(own.values())).shape[1:])
    label = Category.learn("label", np.arange(CLASSES, dtype=np.int32), levels=tuple(map(str, range(CLASSES))))
    return Spec((block,), Spec((Block("label", (label,)),)))


def prepared(model: Model, *parts: Columns) -> list[Batch]:
    return [model.prepare(*apart(part)) for part in parts]


def fitted(
    name: str, spec: Spec, train: Columns, valid: Columns, minutes: float, seed: int, device: str
) -> tuple[Model, dict]:
    """A run's model, and what its fit took."""
    kind, words, prior = RUNS[name]
    model = create(kind, spec, seed, **words)
    share = minutes / 2 if prior else minutes
    told = fit_batches(model, *prepared(model, train, valid), share, seed, device, **RECIPES.get(name, {}))
    if prior is None:
        return model.eval(), told
    some, few = ({k: v[:n] for k, v in x.items()} for x, n in ((train, CODED), (valid, CODED_VALID)))
    (own, c), (aside, d) = apart(some), apart(few)
    began = spent(device)
    both, codes = Latent.over(model.eval(), own, prior, c, seed=seed)
    rest = both.table(both.autoencoder.code_draws(aside, torch.Generator().manual_seed(seed + 1), d))
    encoded = spent(device) - began
    more = fit_batches(
        both.prior,
        both.prior.prepare(codes, c),
        both.prior.prepare(rest, d),
        max(share - encoded / 60, share / 2),
        seed,
        device,
    )
    took = told["cpu_seconds"] + more["cpu_seconds"] + encoded
    return both.eval(), told | {"cpu_seconds": took, "prior_steps": more["steps"]}


def classifier(spec: Spec, train: Columns, seed: int) -> nn.Module:
    """A small convolutional network of labels, learned from real images."""
    (own, c), channels = apart(train), len(spec.fields)
    x = torch.from_numpy(np.stack(list(own.values()), 1))
    y = torch.from_numpy(c["label"]).long()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(channels, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
            nn.Dropout(0.3), nn.Linear(64 * 16, CLASSES),
        )  # fmt: skip
        how = torch.optim.AdamW(net.parameters(), RATE)
        for step in range(TAUGHT):
            for group in how.param_groups:
                group["lr"] = RATE * (1 - step / TAUGHT)
            rows = torch.randint(len(x), (BATCH,))
            loss = cross_entropy(net(x[rows].float() / 127.5 - 1), y[rows])
            how.zero_grad(), loss.backward(), how.step()
    return net.eval()


@torch.no_grad()
def accuracy(net: nn.Module, x: Columns) -> float:
    own, c = apart(x)
    images = torch.from_numpy(np.stack(list(own.values()), 1))
    found = torch.cat([net(part.float() / 127.5 - 1).argmax(1) for part in images.split(500)])
    return float((found.numpy() == c["label"]).mean())


def likelihood(model: Model, test: Columns, device: str) -> dict[str, float]:
    """Bits a dimension of test images given their labels, twice its standard error, and what they cost."""
    if "log_prob" not in model.abilities:
        return {}
    own, c = apart({k: v[:SCORED] for k, v in test.items()})
    began = spent(device)
    slow = isinstance(model, Latent)  # each code's log p solves an equation
    nats = -(model.bound(own, c, draws=SOLVED).value if slow else model.log_prob(own, c))
    seconds, size = spent(device) - began, sum(v[0].size for v in own.values()) * np.log(2)
    return {"bits": float(nats.mean() / size), "bits_2se": float(2 * nats.std() / np.sqrt(len(nats)) / size),
            "bits_rows": len(nats), "scoring_cpu_seconds": seconds}  # fmt: skip


def run(data: str, name: str, seed: int, minutes: float, device: str) -> dict[str, Any]:
    images, codes, judged, told_labels = loaded(data)
    order = np.random.default_rng(seed).permutation(len(images))
    x, test = columns(images, codes), columns(judged, told_labels)
    spec = spec_of(x)
    valid, train = ({k: v[rows] for k, v in x.items()} for rows in (order[:VALID], order[VALID:]))
    model, told = fitted(name, spec, train, valid, minutes, seed, device)
    row: dict[str, Any] = {"data": data, "run": name, "seed": seed, "minutes": minutes} | told
    row |= {"parameters": sum(p.numel() for p in model.parameters())} | likelihood(model, test, device)
    draws = sampler(model, train)
    began = spent(device)
    timed = draws(TIMED, seed + 2)
    row["seconds_per_1000"] = spent(device) - began
    net = classifier(spec, train, seed)
    row |= {"accuracy": accuracy(net, timed), "accuracy_real": accuracy(net, test)}
    examiner = Examiner(spec, train, test, seed, "test")
    found = examiner.examine({k: v[: examiner.n] for k, v in timed.items()}, draws(2 * examiner.n, seed + 1))
    row |= {"verdict": judge(found).word, "auc": found.auc, "examples": examiner.n}
    for space, skill in found.skill.items():
        row |= {f"{space} {k}": v for k, v in found.rates[space].items()}
        row |= {f"{space} skill": skill.value, f"{space} skill error": skill.error, f"{space} distance": skill.distance,
                f"{space} floor": skill.floor, f"{space} trivial": skill.trivial,
                f"{space} coverage floor": found.floors[space]["coverage"]}  # fmt: skip
    return row


def printed(rows: list[dict[str, Any]]) -> str:
    """A line a run and set: medians over seeds."""
    head = ["", "seeds", "CPU s", "steps", "bits a dimension", "skill, random", "skill, classifier"]
    head += [f"{what}, {s}" for what in ("coverage (floor)", "distance (floor, trivial)") for s in SPACES]
    head += ["class accuracy (real)", "s per 1,000", "verdict"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for data, name, minutes in dict.fromkeys((row["data"], row["run"], row["minutes"]) for row in rows):
        own = [row for row in rows if (row["data"], row["run"], row["minutes"]) == (data, name, minutes)]

        def mid(key: str, own: list[dict[str, Any]] = own) -> float:
            return statistics.median(row[key] for row in own)

        bound = f"<= {mid('bits'):.3f} ± {mid('bits_2se'):.3f}" if "bits" in own[0] else ""
        cells = [f"{mid('cpu_seconds'):.0f}", f"{mid('steps'):,.0f}", bound]
        cells += [f"{mid(f'{s} skill'):.3f} ± {mid(f'{s} skill error'):.3f}" for s in SPACES]
        cells += [f"{mid(f'{s} coverage'):.2f} ({mid(f'{s} coverage floor'):.2f})" for s in SPACES]
        cells += [f"{mid(f'{s} distance'):.3g} ({mid(f'{s} floor'):.3g}, {mid(f'{s} trivial'):.3g})" for s in SPACES]
        cells += [f"{mid('accuracy'):.3f} ({mid('accuracy_real'):.3f})", f"{mid('seconds_per_1000'):.1f}"]
        words = ", ".join(sorted({row["verdict"] for row in own}))
        lines.append(f"| {data}, {name}, {minutes:g} min | {len(own)} | " + " | ".join(cells) + f" | {words} |")
    return "\n".join(lines)


def main() -> None:
    ask = asking(__doc__, HERE / "results" / "images.json", gpu=True)
    ask.set_defaults(data=["mnist", "fashion_mnist", "cifar10"], seeds=[0])
    ask.add_argument("--runs", nargs="+", default=BUT_WIDE, choices=list(RUNS))
    ask.add_argument("--minutes", type=float, default=20.0)
    told = ask.parse_args()
    torch.set_num_threads(told.threads)
    jobs = [(data, name, seed, told.minutes) for seed in told.seeds for data in told.data for name in told.runs]

    measure(told, ("data", "run", "seed", "minutes"), jobs, partial(run, device=told.device), printed, PACKAGES)


if __name__ == "__main__":
    main()
