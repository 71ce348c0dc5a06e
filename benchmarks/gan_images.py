"""Images from adversarial networks after equal CPU-minutes: skill, coverage and distances in two spaces of features.

    make bench-gan-images
    python benchmarks/gan_images.py --data fashion_mnist --runs gan "wgan-gp x 5" --minutes 20 --seeds 0

Every run has the networks of pofx's `gan` (models/rivals.py), learns 58,000 training images for so many CPU-minutes and
is judged on the 10,000 test images, of which it never saw one, by training/examination.py: 1,000 of each, beside
training images in the place of samples (the floor) and a normal law of all pixels (trivial: skill 0). `dcgan` is the
non-saturating game without a penalty (Radford, Metz, Chintala 2016), `wgan-gp x 5` the Wasserstein one with an exact
two-sided penalty and five steps of the critic (Gulrajani et al. 2017), `by class` learns p(image | label).

--throughput: images a second of one step of the generator, beside loops of plain torch with the same networks and batch
(torch.optim.Adam, float32): exact R1 + R2, and WGAN-GP with five steps of the critic.
"""

import gzip
import statistics
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from autoencoders import DATA, HERE, fit, pixels
from pofx.fields import Category, Pixel
from pofx.models import create
from pofx.models.gans.gan import GAN
from pofx.spec import Block, Columns, Spec
from pofx.training.examination import Examiner
from pofx.training.guard import sampler
from pofx.training.loop import Trainer
from pofx.training.verdict import judge
from record import asking, measure

VALID = 2000
RUNS: dict[str, tuple[str, dict[str, Any], bool]] = {  # model, arguments, whether by class
    "gan": ("gan", {}, False),
    "gan by class": ("gan", {}, True),
    "wgan-gp x 5": ("wgan", {}, False),
    "dcgan": ("gan", {"objective": "non-saturating", "penalty": "none", "pack": 1, "augment": "none"}, False),
}
PACKAGES = ("torch", "scikit-learn")
STEPS, ROUNDS = 30, 3
SPACES = ("random", "classifier")


def labels(name: str, part: str) -> np.ndarray:
    with gzip.open(DATA / name / f"{part}-labels-idx1-ubyte.gz") as file:
        return np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int32)


def spec_of(train: np.ndarray, by_class: bool) -> Spec:
    block = Block("image", (Pixel.learn("grey", train),), train.shape[1:])
    label = Category.learn("label", np.arange(10, dtype=np.int32), levels=tuple("0123456789"))
    return Spec((block,), Spec((Block("label", (label,)),)) if by_class else None)


def part_of(name: str, part: str, by_class: bool) -> Columns:
    x = {"grey": pixels(name, part).copy()}
    return x | ({"label": labels(name, part)} if by_class else {})


def run(name: str, data: str, seed: int, minutes: float) -> dict[str, Any]:
    kind, words, by_class = RUNS[name]
    x, test = part_of(data, "train", by_class), part_of(data, "t10k", by_class)
    spec = spec_of(x["grey"], by_class)
    order = np.random.default_rng(seed).permutation(len(x["grey"]))
    train, valid = ({k: v[rows] for k, v in x.items()} for rows in (order[VALID:], order[:VALID]))
    model = create(kind, spec, seed, **words)
    told = (
        fit(Prepared(model, by_class), train, valid, minutes, seed)
        if by_class
        else fit(model, train, valid, minutes, seed)
    )
    judged = Spec(spec.blocks, spec_of(x["grey"], True).condition)  # the classifier's space has labels in every run
    known, unseen = train | {"label": labels(data, "train")[order[VALID:]]}, test | {"label": labels(data, "t10k")}
    examiner = Examiner(judged, known, unseen, seed, "test")
    draws = sampler(model.eval(), train)
    given = {} if by_class else {"label": np.full(2 * examiner.n, -1, np.int32)}
    fake = draws(examiner.n, seed) | {k: v[: examiner.n] for k, v in given.items()}
    found = examiner.examine(fake, draws(2 * examiner.n, seed + 1) | given)
    row: dict[str, Any] = {"data": data, "run": name, "seed": seed, "minutes": minutes} | told
    row |= {"verdict": judge(found).word, "auc": found.auc, "near": found.near, "near_floor": found.near_floor}
    for space, skill in found.skill.items():
        row |= {f"{space} {k}": v for k, v in found.rates[space].items()}
        row |= {f"{space} skill": skill.value, f"{space} skill error": skill.error, f"{space} distance": skill.distance,
                f"{space} floor": skill.floor, f"{space} trivial": skill.trivial,
                f"{space} coverage floor": found.floors[space]["coverage"]}  # fmt: skip
    return row


class Prepared:
    """A model whose training columns hold the condition too, as `autoencoders.fit` gives them."""

    def __init__(self, model: GAN, by_class: bool) -> None:
        self.__dict__ |= {"model": model}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def prepare(self, x: Columns) -> Any:
        return self.model.prepare({"grey": x["grey"]}, {"label": x["label"]})


# -- throughput --------------------------------------------------------------------------------------------------------


def slopes(score: Any, x: Tensor) -> Tensor:
    x = x.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(score(x).sum(), x, create_graph=True)
    return gradient.flatten(1)


def plain_loop(model: GAN, images: Tensor, batch: int, kind: str) -> Any:
    """A step of a loop in plain torch with the networks of a model: what a reader of the papers would write."""
    rivals, blank = model.rivals, torch.zeros(batch, 0)
    players = model.players()
    g = torch.optim.Adam(players["generator"], 5e-4, betas=(0.0, 0.99))
    d = torch.optim.Adam(players["critic"], 5e-4, betas=(0.0, 0.99))

    def make() -> Tensor:
        return rivals.generator(torch.randn(batch, model.latent), blank).tanh()

    def score(x: Tensor) -> Tensor:
        return rivals.critic(x, blank[: len(x)])[:, 0]

    def step() -> None:
        for _ in range(5 if kind == "wgan-gp" else 1):
            x = images[torch.randint(len(images), (batch,))].float() / 127.5 - 1
            y = make().detach()
            if kind == "wgan-gp":
                mixed = torch.rand(batch, 1, 1, 1)
                penalty = 10 * (slopes(score, mixed * x + (1 - mixed) * y).norm(dim=1) - 1).square()
                loss = score(y) - score(x) + penalty
            else:
                penalty = 0.5 * (slopes(score, x).square().sum(1) + slopes(score, y).square().sum(1))
                loss = softplus(score(y) - score(x)) + penalty
            d.zero_grad(), loss.mean().backward(), d.step()
        x = images[torch.randint(len(images), (batch,))].float() / 127.5 - 1
        told = score(make())
        loss = -told if kind == "wgan-gp" else softplus(score(x) - told)
        g.zero_grad(), loss.mean().backward(), g.step()

    return step


def throughput(data: str, seed: int) -> dict[str, Any]:
    """Images a second, medians over rounds: steps of each loop take turns."""
    x = part_of(data, "train", False)
    spec = spec_of(x["grey"], False)
    model = create("gan", spec, seed, pack=1, augment="none")
    batch = model.recipe(len(x["grey"])).batch
    trainer = Trainer(model, model.prepare(x), None, seed, "cpu")
    model.train()
    images = torch.from_numpy(x["grey"])[:, None]
    loops = {"pofx": lambda: trainer.advance(10**6)}
    for kind in ("r1+r2", "wgan-gp"):
        loops[kind] = plain_loop(create("gan", spec, seed, pack=1), images, batch, kind)
    seconds: dict[str, list[float]] = {k: [] for k in loops}
    for _ in range(ROUNDS):
        for name, loop in loops.items():
            loop(), loop()
            began = time.process_time()
            for _ in range(STEPS):
                loop()
            seconds[name].append((time.process_time() - began) / STEPS)
    out: dict[str, Any] = {"data": data, "run": "throughput", "seed": seed, "minutes": 0.0, "batch": batch}
    return out | {f"{k} images a second": batch / statistics.median(v) for k, v in seconds.items()} | {
        f"{k} ms": [1e3 * s for s in v] for k, v in seconds.items()}  # fmt: skip


def printed(rows: list[dict[str, Any]]) -> str:
    """A line a run and set, medians over seeds; then images a second."""
    head = ["", "minutes", "seeds", "CPU s", "steps"]
    head += [f"{what}, {s}" for what in ("skill", "coverage (floor)", "distance (floor, trivial)") for s in SPACES]
    head += ["fresh critic AUC", "verdict"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    judged = [row for row in rows if row["run"] != "throughput"]
    for asked in dict.fromkeys((row["data"], row["run"], row["minutes"]) for row in judged):
        own = [row for row in judged if (row["data"], row["run"], row["minutes"]) == asked]
        data, name, minutes = asked

        def mid(key: str, own: list[dict[str, Any]] = own) -> float:
            return statistics.median(row[key] for row in own)

        cells = [f"{mid(f'{s} skill'):.3f} ± {mid(f'{s} skill error'):.3f}" for s in SPACES]
        cells += [f"{mid(f'{s} coverage'):.2f} ({mid(f'{s} coverage floor'):.2f})" for s in SPACES]
        cells += [f"{mid(f'{s} distance'):.3g} ({mid(f'{s} floor'):.3g}, {mid(f'{s} trivial'):.3g})" for s in SPACES]
        words = ", ".join(sorted({row["verdict"] for row in own}))
        start = f"| {data}, {name} | {minutes:g} | {len(own)} | {mid('cpu_seconds'):.0f} | {mid('steps'):,.0f} | "
        lines.append(start + " | ".join(cells) + f" | {mid('auc'):.3f} | {words} |")
    for row in rows:
        if row["run"] == "throughput":
            told = {k[: -len(" images a second")]: v for k, v in row.items() if k.endswith("a second")}
            rates = [
                f"{k} {v:,.0f}" + (f" (pofx {told['pofx'] / v:.1f} x)" if k != "pofx" else "") for k, v in told.items()
            ]
            lines += ["", f"Images a second, {row['data']}, batch {row['batch']}: " + ", ".join(rates)]
    return "\n".join(lines)


def main() -> None:
    ask = asking(__doc__, HERE / "results" / "gan_images.json")
    ask.add_argument("--runs", nargs="*", default=list(RUNS), choices=list(RUNS))
    ask.add_argument("--minutes", type=float, default=20.0)
    ask.add_argument("--throughput", action="store_true", help="measure images a second as well, first")
    told = ask.parse_args()
    torch.set_num_threads(told.threads)
    jobs = [(data, name, seed, told.minutes) for seed in told.seeds for data in told.data for name in told.runs]
    if told.throughput:
        jobs = [(data, "throughput", told.seeds[0], 0.0) for data in told.data[:1]] + jobs

    def one(data: str, name: str, seed: int, minutes: float) -> dict[str, Any]:
        return throughput(data, seed) if name == "throughput" else run(name, data, seed, minutes)

    measure(told, ("data", "run", "seed", "minutes"), jobs, one, printed, PACKAGES)


if __name__ == "__main__":
    main()
