"""Held-out log-likelihood at equal budgets: pofx flows, the best flows of released libraries, and baselines.

    make bench-density
    python benchmarks/density.py --sets letter moons --flows "pofx nsf" "zuko nsf" --minutes 1 --seeds 0
    python benchmarks/density.py --steps 1000 --minutes --out steps.json             equal steps in place of equal time
    python benchmarks/density.py --resume-from benchmarks/results/density.json       the rows that it lacks

Every flow is trained by the same loop (`trained`) for the same budget: Adam, batch 512, a rate that rises for a
twentieth of it and then falls as a cosine, gradients clipped at norm 5, an average of the weights, the best average by
validation rows kept. A minute is one of the process's own time over its threads, and of the compilers it starts: the
wall's on a core that nothing else uses. What a flow does before its first step counts, compiling too: flows that are
"compiled" are so as `fit` of pofx does it where five minutes are ahead, and JAX always. Those that are "documented"
have the architecture, batch, rate and schedule that their library's documentation shows for a spline flow. Integers are
dequantised by uniform noise. Figures are nats a row in data units (log-density of the standardised row less the
logarithms of the deviations), on test rows that nothing was chosen by, with twice the standard error.
"""

import argparse
import copy
import gzip
import itertools
import json
import math
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from record import keep

HERE = Path(__file__).parent
DATA = Path(os.environ.get("POFX_DATA", HERE.parents[1] / "shared" / "data"))
HIDDEN, WARM, CHECKS = (128, 128, 128), 0.05, 20
PACKAGES = ("torch", "zuko", "nflows", "normflows", "flowjax", "jax", "scikit-learn")
LogProb = Callable[[Tensor], Tensor]


class Recipe(NamedTuple):
    """How a flow is trained: the same for all, but for those that are built as their documentation shows."""

    batch: int = 512
    rate: float = 1e-3
    decay: float = 0.0
    scheduled: bool = True  # rises, then falls as a cosine


SHARED = Recipe()
DOCUMENTED = {
    "zuko nsf documented": Recipe(scheduled=False),  # its README
    "nflows nsf documented": Recipe(64, 3e-4),  # experiments of its authors, defaults
    "normflows nsf documented": Recipe(decay=1e-5, scheduled=False),  # its example of a spline flow
    "flowjax nsf documented": Recipe(100, 5e-4, scheduled=False),  # defaults of its flow and of its training
}


class Split(NamedTuple):
    """Standardised rows, float32, and the sum of the log-deviations that data units take off."""

    train: Tensor
    valid: Tensor
    test: Tensor
    log_scale: float


# -- data --------------------------------------------------------------------------------------------------------------


def numbers(path: Path, columns: slice) -> np.ndarray:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return np.array([line.split()[columns] for line in file if line.strip()], dtype=np.float64)


def letter(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """16 integers of letters; the first 16,000 rows train, as documented with the data."""
    x = numbers(DATA / "uci_numeric" / "letter-recognition.data.gz", slice(1, 17))
    x = x + np.random.default_rng(seed).random(x.shape)
    return x[:16000], x[16000:]


def pendigits(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """16 integers of digits; the official split, by writer."""
    parts = [numbers(DATA / "uci_numeric" / f"pendigits.{part}.gz", slice(0, 16)) for part in ("tra", "tes")]
    random = np.random.default_rng(seed)
    return parts[0] + random.random(parts[0].shape), parts[1] + random.random(parts[1].shape)


def california_housing(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the housing table, uniform noise of one decimal step on each, 90/10 by a permutation of seed 0."""
    with gzip.open(DATA / "california_housing" / "housing.csv.gz", "rt", encoding="utf-8") as file:
        rows = [line.strip().split(",") for line in file][1:]
    keep = [j for j in range(len(rows[0])) if all(is_number(row[j]) for row in rows[:100])]
    cells = [[row[j] for j in keep] for row in rows if all(row[j] for j in keep)]
    x = np.array(cells, dtype=np.float64)
    step = [min(10.0 ** -len(c.rstrip("0").partition(".")[2]) for c in column) for column in zip(*cells, strict=True)]
    x = x + np.random.default_rng(seed).random(x.shape) * step
    order = np.random.default_rng(0).permutation(len(x))
    return x[order[: len(x) * 9 // 10]], x[order[len(x) * 9 // 10 :]]


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text == ""
    return True


def gallery(shape: Callable[[np.random.Generator, int], np.ndarray]) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    """20,000 rows to train on and 10,000 to test."""

    def made(seed: int) -> tuple[np.ndarray, np.ndarray]:
        x = shape(np.random.default_rng(seed), 30000)
        return x[:20000], x[20000:]

    return made


def eight_gaussians(random: np.random.Generator, n: int) -> np.ndarray:
    turn = random.integers(0, 8, n) * np.pi / 4
    return 4 * np.stack([np.cos(turn), np.sin(turn)], 1) + 0.5 * random.normal(size=(n, 2))


def rings(random: np.random.Generator, n: int) -> np.ndarray:
    turn, radius = random.random(n) * 2 * np.pi, random.integers(1, 5, n) + 0.08 * random.normal(size=n)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn)], 1)


def checkerboard(random: np.random.Generator, n: int) -> np.ndarray:
    x, row = random.random(n) * 4 - 2, random.integers(0, 2, n) * 2
    return np.stack([x, random.random(n) - row + np.floor(x) % 2], 1) * 2


def moons(random: np.random.Generator, n: int) -> np.ndarray:
    turn, which = random.random(n) * np.pi, random.integers(0, 2, n)
    x = np.stack(
        [np.where(which, 1 - np.cos(turn), np.cos(turn)), np.where(which, 0.5 - np.sin(turn), np.sin(turn))], 1
    )
    return x + 0.08 * random.normal(size=(n, 2))


def pinwheel(random: np.random.Generator, n: int) -> np.ndarray:
    radius, across = 1 + 0.3 * random.normal(size=n), 0.1 * random.normal(size=n)
    turn = random.integers(0, 5, n) * 2 * np.pi / 5 + 0.25 * np.exp(radius)
    return 2 * np.stack(
        [radius * np.cos(turn) - across * np.sin(turn), radius * np.sin(turn) + across * np.cos(turn)], 1
    )


def spirals(random: np.random.Generator, n: int) -> np.ndarray:
    turn, side = np.sqrt(random.random(n)) * 3 * np.pi, random.integers(0, 2, n) * 2 - 1
    return side[:, None] * np.stack([-np.cos(turn), np.sin(turn)], 1) * turn[:, None] / 3 + 0.1 * random.normal(
        size=(n, 2)
    )


SETS: dict[str, Callable[[int], tuple[np.ndarray, np.ndarray]]] = {
    "pendigits": pendigits,
    "letter": letter,
    "california_housing": california_housing,
    **{shape.__name__: gallery(shape) for shape in (eight_gaussians, rings, checkerboard, moons, pinwheel, spirals)},
}


def split(name: str, seed: int) -> Split:
    """A tenth of the training rows, by a permutation of the seed, validates."""
    train, test = SETS[name](seed)
    order = np.random.default_rng(seed).permutation(len(train))
    mean, deviation = train.mean(0), train.std(0)
    cut = len(train) // 10
    parts = [torch.from_numpy((x - mean) / deviation).float() for x in (train[order[cut:]], train[order[:cut]], test)]
    return Split(*parts, float(np.log(deviation).sum()))


# -- flows -------------------------------------------------------------------------------------------------------------


def pofx_flow(name: str, features: int) -> tuple[nn.Module, LogProb]:
    from pofx.nn import flows

    made = {
        "pofx nsf": lambda: flows.NSF(features),
        "pofx nsf compiled": lambda: flows.NSF(features),
        "pofx nsf 5 layers": lambda: flows.NSF(features, transforms=5),
        "pofx nsf mixture": lambda: flows.NSF(features, transforms=5, base=flows.Mixture(features)),
        "pofx nsf bf16": lambda: flows.NSF(features, transforms=5).mixed_precision(),
        "pofx nsf waves": lambda: flows.NSF(features, transforms=5, waves=8),
        "pofx nsf autoregressive": lambda: flows.NSF(features, transforms=5, coupling=False),
        "pofx nsf autoregressive 8 layers": lambda: flows.NSF(features, coupling=False),
        "pofx glow": lambda: flows.Glow(features, norm=True),
        "pofx maf": lambda: flows.MAF(features),
    }
    flow = made[name]()
    return flow, flow.log_prob


def zuko_flow(name: str, features: int) -> tuple[nn.Module, LogProb]:
    import zuko

    made = {
        "zuko nsf": lambda: zuko.flows.NSF(features, transforms=5, hidden_features=HIDDEN),
        "zuko nsf coupling": lambda: zuko.flows.NSF(features, transforms=5, hidden_features=HIDDEN, passes=2),
        "zuko nsf documented": lambda: zuko.flows.NSF(features, transforms=3, hidden_features=HIDDEN),
    }
    flow = made[name]()
    return flow, lambda x: flow().log_prob(x)


def nflows_flow(name: str, features: int) -> tuple[nn.Module, LogProb]:
    """Steps of a permutation, an LU map and a spline coupling, as the authors of the spline have them."""
    from nflows import distributions, flows, transforms
    from nflows.nn.nets import ResidualNet

    told = name.endswith("documented")
    count, width, dropout, bound = (10, 256, 0.25, 3.0) if told else (5, HIDDEN[0], 0.0, 5.0)

    def net(inputs: int, outputs: int) -> nn.Module:
        return ResidualNet(inputs, outputs, width, num_blocks=2, dropout_probability=dropout)

    def step(i: int) -> list[Any]:
        return [
            transforms.RandomPermutation(features),
            transforms.LULinear(features, identity_init=True),
            transforms.PiecewiseRationalQuadraticCouplingTransform(
                (torch.arange(features) % 2 == i % 2).int(), net, num_bins=8, tails="linear", tail_bound=bound,
                apply_unconditional_transform=told,
            ),
        ]  # fmt: skip

    chain = transforms.CompositeTransform([part for i in range(count) for part in step(i)])
    flow = flows.Flow(chain, distributions.StandardNormal([features]))
    return flow, flow.log_prob


def normflows_flow(name: str, features: int) -> tuple[nn.Module, LogProb]:
    import normflows as nf

    told = name.endswith("documented")
    words = {} if told else {"num_bins": 8, "tail_bound": 5.0}
    layers = []
    for _ in range(16 if told else 5):
        layers.append(nf.flows.AutoregressiveRationalQuadraticSpline(features, 2 if told else 1, HIDDEN[0], **words))
        layers.append(nf.flows.LULinearPermute(features))
    flow = nf.NormalizingFlow(nf.distributions.base.DiagGaussian(features, trainable=False), layers)
    return flow, flow.log_prob


FLOWS: dict[str, Callable[[str, int], tuple[nn.Module, LogProb]] | None] = {
    "pofx nsf": pofx_flow,
    "pofx nsf compiled": pofx_flow,
    "pofx nsf 5 layers": pofx_flow,
    "pofx nsf mixture": pofx_flow,
    "pofx nsf bf16": pofx_flow,
    "pofx nsf waves": pofx_flow,
    "pofx nsf autoregressive": pofx_flow,
    "pofx nsf autoregressive 8 layers": pofx_flow,
    "pofx glow": pofx_flow,
    "pofx maf": pofx_flow,
    "zuko nsf": zuko_flow,
    "zuko nsf coupling": zuko_flow,
    "zuko nsf documented": zuko_flow,
    "nflows nsf": nflows_flow,
    "nflows nsf documented": nflows_flow,
    "normflows nsf": normflows_flow,
    "normflows nsf documented": normflows_flow,
    "flowjax nsf": None,  # these are trained by `trained_in_jax`
    "flowjax nsf documented": None,
}


def clock() -> float:
    """CPU seconds of this process and of the compilers that it started and that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def trained(
    flow: nn.Module,
    log_prob: LogProb,
    data: Split,
    seconds: float = math.inf,
    limit: float = math.inf,
    recipe: Recipe = SHARED,
    compiled: bool = False,
) -> dict[str, Any]:
    """The loop that all share, for some seconds or `limit` steps; leaves the best average in the flow."""
    began, steps, checked, best = clock(), 0, 0, math.inf
    if hasattr(flow, "start"):
        flow.start(data.train)
    stepped = flow.compiled() if compiled else log_prob
    optimiser = torch.optim.Adam(flow.parameters(), recipe.rate, weight_decay=recipe.decay, fused=True)
    kept, average = copy.deepcopy(flow.state_dict()), [p.detach().clone() for p in flow.parameters()]
    while (gone := max((clock() - began) / torch.get_num_threads() / seconds, steps / limit)) < 1:
        if int(gone * CHECKS) > checked:
            checked = int(gone * CHECKS)
            now = swap(flow, average)
            loss = -scored(flow, log_prob, data.valid).mean().item()
            if loss < best:
                best, kept = loss, copy.deepcopy(flow.state_dict())
            swap(flow, now)
        if recipe.scheduled:
            falls = 0.5 * (1 + math.cos(math.pi * gone))
            optimiser.param_groups[0]["lr"] = recipe.rate * min(1.0, gone / WARM) * falls
        x = data.train[torch.randint(len(data.train), (recipe.batch,))]
        optimiser.zero_grad(set_to_none=True)
        loss = -stepped(x).mean()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
        if torch.isfinite(norm):
            optimiser.step()
        steps += 1
        torch._foreach_lerp_(average, [p.detach() for p in flow.parameters()], 1 / min(steps, 100))
    swap(flow, average)
    if -scored(flow, log_prob, data.valid).mean().item() > best:
        flow.load_state_dict(kept)
    return {"steps": steps, "parameters": sum(p.numel() for p in flow.parameters())}


def trained_in_jax(name: str, data: Split, seconds: float, limit: float, seed: int) -> tuple[dict[str, Any], Tensor]:
    """`trained` again, for a spline flow of FlowJAX; what happened, and log p of the test rows. Compiling counts."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import optax
    from flowjax import bijections, distributions, flows
    from paramax import NonTrainable, unwrap

    began, features, steps, checked, best = clock(), data.train.shape[1], 0, 0, math.inf
    recipe, told = DOCUMENTED.get(name, SHARED), name.endswith("documented")
    words = {} if told else {"flow_layers": 5, "nn_width": HIDDEN[0], "nn_depth": len(HIDDEN)}
    flow = flows.masked_autoregressive_flow(
        jax.random.key(seed), base_dist=distributions.Normal(jnp.zeros(features)),
        transformer=bijections.RationalQuadraticSpline(knots=8, interval=4.0 if told else 5.0), **words,
    )  # fmt: skip
    weights, fixed = eqx.partition(flow, eqx.is_inexact_array, is_leaf=lambda leaf: isinstance(leaf, NonTrainable))
    optimiser = optax.chain(optax.clip_by_global_norm(5.0), optax.scale_by_adam())
    state, average, kept = optimiser.init(weights), weights, weights

    @jax.jit
    def stepped(weights: Any, state: Any, average: Any, x: Any, rate: Any, share: Any) -> Any:
        gradient = jax.grad(lambda w: -unwrap(eqx.combine(w, fixed)).log_prob(x).mean())(weights)
        move, state = optimiser.update(gradient, state)
        weights = jax.tree.map(lambda w, m: w - rate * m, weights, move)
        return weights, state, jax.tree.map(lambda a, w: a + share * (w - a), average, weights)

    @jax.jit
    def log_prob(weights: Any, x: Any) -> Any:
        return unwrap(eqx.combine(weights, fixed)).log_prob(x)

    def scores(weights: Any, x: Tensor) -> Tensor:
        return torch.cat([torch.from_numpy(np.array(log_prob(weights, part.numpy()))) for part in x.split(2000)])

    while (gone := max((clock() - began) / seconds, steps / limit)) < 1:
        if int(gone * CHECKS) > checked:
            checked = int(gone * CHECKS)
            loss = -scores(average, data.valid).mean().item()
            if loss < best:
                best, kept = loss, average
        x = data.train[torch.randint(len(data.train), (recipe.batch,))].numpy()
        falls = min(1.0, gone / WARM) * 0.5 * (1 + math.cos(math.pi * gone)) if recipe.scheduled else 1.0
        steps += 1
        weights, state, average = stepped(weights, state, average, x, recipe.rate * falls, 1 / min(steps, 100))
        jax.block_until_ready(average)
    if -scores(average, data.valid).mean().item() <= best:
        kept = average
    return {"steps": steps, "parameters": sum(w.size for w in jax.tree.leaves(weights))}, scores(kept, data.test)


@torch.no_grad()
def swap(flow: nn.Module, values: list[Tensor]) -> list[Tensor]:
    """Puts these values into the flow's parameters; returns those it had."""
    old = [p.detach().clone() for p in flow.parameters()]
    for p, v in zip(flow.parameters(), values, strict=True):
        p.copy_(v)
    return old


@torch.no_grad()
def scored(flow: nn.Module, log_prob: LogProb, x: Tensor) -> Tensor:
    """log p of each row, in evaluation mode."""
    flow.eval()
    out = torch.cat([log_prob(part) for part in x.split(4096)])
    flow.train()
    return out


# -- baselines ---------------------------------------------------------------------------------------------------------


def gaussian(data: Split) -> Tensor:
    law = torch.distributions.MultivariateNormal(data.train.mean(0), data.train.T.cov())
    return law.log_prob(data.test)


def mixture(data: Split) -> Tensor:
    """Gaussians with full covariances, as many of them as validation rows like best."""
    from sklearn.mixture import GaussianMixture

    fits = [GaussianMixture(k, reg_covar=1e-5, random_state=0).fit(data.train.numpy()) for k in (5, 10, 20, 50)]
    best = max(fits, key=lambda fit: fit.score(data.valid.numpy()))
    return torch.from_numpy(best.score_samples(data.test.numpy()))


def kernels(data: Split) -> Tensor:
    """A Gaussian kernel on each training row, of the width that validation rows like best."""

    def log_prob(x: Tensor, width: float) -> Tensor:
        far = torch.cat(
            [torch.logsumexp(-0.5 * (torch.cdist(part, data.train) / width) ** 2, 1) for part in x.split(500)]
        )
        return far - math.log(len(data.train)) - x.shape[1] * math.log(width * math.sqrt(2 * math.pi))

    widths = [0.05 * 1.35**i for i in range(9)]
    return log_prob(data.test, max(widths, key=lambda width: log_prob(data.valid[:1000], width).mean().item()))


BASELINES = {"Gaussian": gaussian, "Gaussian mixture": mixture, "kernel density": kernels}


# -- the run -----------------------------------------------------------------------------------------------------------


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["set"], row["flow"], row["minutes"], row.get("limit"), row["seed"]


def jobs(told: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row to be for each seed, budget, set and flow; the baselines have no budget."""
    budgets = [(minutes, None) for minutes in told.minutes] + [(None, steps) for steps in told.steps]
    for seed, (minutes, limit), name in itertools.product(told.seeds, budgets, told.sets):
        for flow in told.flows:
            yield {"set": name, "flow": flow, "minutes": minutes, "limit": limit, "seed": seed}
        for flow in told.baselines:
            yield {"set": name, "flow": flow, "minutes": None, "limit": None, "seed": seed}


def measured(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its figures, or with the error of a peer that does not run."""
    data, more = split(row["set"], row["seed"]), {}
    torch.manual_seed(row["seed"])
    seconds, limit = 60 * (row["minutes"] or math.inf), row["limit"] or math.inf
    try:
        if row["flow"] in BASELINES:
            nats = BASELINES[row["flow"]](data)
        elif (make := FLOWS[row["flow"]]) is None:
            more, nats = trained_in_jax(row["flow"], data, seconds, limit, row["seed"])
        else:
            flow, log_prob = make(row["flow"], data.train.shape[1])
            recipe, compiled = DOCUMENTED.get(row["flow"], SHARED), row["flow"].endswith("compiled")
            more = trained(flow, log_prob, data, seconds, limit, recipe, compiled)
            nats = scored(flow, log_prob, data.test)
    except Exception as error:
        return row | {"error": f"{type(error).__name__}: {error}"[:200]}
    nats = nats.double() - data.log_scale
    return row | more | {"nats": nats.mean().item(), "error_2se": 2 * nats.std().item() / len(nats) ** 0.5}


def budget(row: dict[str, Any]) -> str:
    """What a row was given, in words; nothing for a baseline."""
    if row["minutes"]:
        return f"{row['minutes']:g} min"
    return f"{row['limit']:,} steps" if row.get("limit") else ""


def printed(rows: list[dict[str, Any]]) -> str:
    lines = ["| set | flow | budget | seeds | test nats a row | spread | steps |", "|---|---|---|---|---|---|---|"]
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["set"], budget(row), row["flow"]), []).append(row)

    def order(group: tuple[Any, ...]) -> tuple[Any, ...]:
        return list(SETS).index(group[0]), group[1], -statistics.median(r.get("nats", -1e9) for r in groups[group])

    for name, spent, flow in sorted(groups, key=order):
        group = groups[name, spent, flow]
        found = [row["nats"] for row in group if "nats" in row]
        figure = f"{statistics.median(found):.3f}" if found else group[0]["error"]
        spread = f"{(max(found) - min(found)) / 2:.3f}" if len(found) > 1 else ""
        steps = [row["steps"] for row in group if "steps" in row]
        lines.append(
            f"| {name} | {flow} | {spent} | {len(group)} | {figure} | {spread} | "
            f"{f'{statistics.median(steps):,.0f}' if steps else ''} |"
        )
    return "\n".join(lines)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS), metavar="SET")
    ask.add_argument("--flows", nargs="*", default=list(FLOWS), choices=list(FLOWS), metavar="FLOW")
    ask.add_argument("--baselines", nargs="*", default=list(BASELINES), choices=list(BASELINES), metavar="BASELINE")
    ask.add_argument("--minutes", nargs="*", type=float, default=[1.0, 5.0])
    ask.add_argument("--steps", nargs="*", type=int, default=[])
    ask.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    ask.add_argument("--threads", type=int, default=2)
    ask.add_argument("--resume-from", type=Path, help="a JSON of an earlier run, whose rows are kept")
    ask.add_argument("--out", type=Path, default=HERE / "results" / "density.json")
    told = ask.parse_args()
    torch.set_num_threads(told.threads)
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # compilers that are waited for, and so timed
    rows: list[dict[str, Any]] = json.loads(told.resume_from.read_text())["rows"] if told.resume_from else []
    there = {key(row) for row in rows}
    for job in jobs(told):
        if key(job) in there:
            continue
        rows.append(measured(job))
        there.add(key(job))
        keep(told.out, rows, PACKAGES, told.threads)
        print({k: v for k, v in rows[-1].items() if k != "parameters"}, flush=True)
    text = printed(rows)
    told.out.with_suffix(".md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
