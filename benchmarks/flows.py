"""The speed of flows: training step, log_prob, sampling and round trip, pofx beside the released libraries, in one run.

    make bench-flows
    python benchmarks/flows.py --features 8 32 --kinds coupling autoregressive --rounds 5
    python benchmarks/flows.py --resume-from benchmarks/results/flows.json       what it lacks
    python benchmarks/flows.py --device cuda                                     on a GPU, in results/flows-cuda.*

Same architecture for all: 5 layers, 3 hidden layers of 128, ReLU, 8 bins on [-5, 5], batch 512, Adam, float32. A line
is the median of `rounds` rounds, in each of which every library is measured once, in turn, so that a slow moment of the
machine falls on all alike; the spread is half the range. The process is bound to as many cores as it has threads. Draws
of eight seconds or more are timed once. Peers are built as their documentation shows, with the same numbers. Peak
memory is that of a process of its own that takes three steps, scores and draws; on a GPU what was allocated there.
A GPU is waited for before and after what is timed. FlowJAX runs where its JAX can, and its line says where.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from record import keep, peak_mib

HERE = Path(__file__).parent
LAYERS, HIDDEN, BINS, BOUND, BATCH, DRAWN = 5, (128, 128, 128), 8, 5.0, 512, 4096
KINDS = ["coupling", "autoregressive", "affine", "maf"]
HEAD = "| flow | D | library | step ms | log_prob ms | 4,096 draws ms | first call s | peak MiB | round trip |"
LONG = 8000.0  # milliseconds of a draw that is timed once alone
PACKAGES = ("torch", "zuko", "nflows", "normflows", "FrEIA", "flowjax", "jax")


@dataclass
class Entry:
    """A flow: `step(x)` trains, `score(x)` gives log p, `draw(n)` gives rows, `trip(x)` is x there and back.

    `on` is where it ran and `peak` its memory there, MiB, where a library decides both for itself.
    """

    step: Callable[[Tensor], Any]
    score: Callable[[Tensor], Any]
    draw: Callable[[int], Any]
    trip: Callable[[Tensor], Tensor] | None = None
    on: str | None = None
    peak: Callable[[], float] | None = None


def trained(module: nn.Module, log_prob: Callable[[Tensor], Tensor]) -> Callable[[Tensor], None]:
    """A step of Adam on the mean negative log-likelihood."""
    optimiser = torch.optim.Adam(module.parameters(), 1e-3, fused=True)

    def step(x: Tensor) -> None:
        optimiser.zero_grad(set_to_none=True)
        (-log_prob(x).mean()).backward()
        optimiser.step()

    return step


def ours(kind: str, features: int, device: str, compiled: bool = False, mixed: bool = False) -> Entry | None:
    from pofx.nn import flows
    from pofx.nn.mixed import repays

    splines = partial(
        flows.NSF, features, transforms=LAYERS, hidden=HIDDEN, bins=BINS, bound=BOUND, linear=False, norm=False
    )
    made = {
        "coupling": splines,
        "autoregressive": partial(splines, coupling=False),
        "affine": lambda: flows.RealNVP(features, transforms=LAYERS, hidden=HIDDEN),
        "maf": lambda: flows.MAF(features, transforms=LAYERS, hidden=HIDDEN),
    }
    if mixed and not repays(device):
        return None
    flow = made[kind]().to(device).mixed_precision(mixed)
    log_prob = flow.log_prob
    if compiled:
        log_prob = flow.quicken_draws().compiled()
    return Entry(
        trained(flow, log_prob),
        torch.no_grad()(log_prob),  # without a gradient networks keep the precision of their weights
        torch.no_grad()(lambda n: flow.draw(n)[0]),
        torch.no_grad()(lambda x: flow.layers.inverse_and_ladj(flow.layers.call_and_ladj(x)[0])[0]),
    )


def zuko(kind: str, features: int, device: str) -> Entry:
    import zuko

    words = {"transforms": LAYERS, "hidden_features": HIDDEN}
    made = {
        "coupling": lambda: zuko.flows.NSF(features, bins=BINS, passes=2, **words),
        "autoregressive": lambda: zuko.flows.NSF(features, bins=BINS, **words),
        "affine": lambda: zuko.flows.RealNVP(features, **words),
        "maf": lambda: zuko.flows.MAF(features, **words),
    }
    flow = made[kind]().to(device)
    return Entry(
        trained(flow, lambda x: flow().log_prob(x)),
        torch.no_grad()(lambda x: flow().log_prob(x)),
        torch.no_grad()(lambda n: flow().sample((n,))),
        torch.no_grad()(lambda x: flow().transform.inv(flow().transform(x))),
    )


def nflows(kind: str, features: int, device: str) -> Entry:
    from nflows import distributions, flows, transforms
    from nflows.nn.nets import MLP

    class Net(MLP):
        def forward(self, inputs: Tensor, context: None = None) -> Tensor:
            return super().forward(inputs)

    def net(inputs: int, outputs: int) -> nn.Module:
        return Net((inputs,), (outputs,), list(HIDDEN), activation=torch.nn.functional.relu)

    def layer(i: int) -> Any:
        mask = torch.arange(features) % 2 == i % 2
        if kind == "coupling":
            return transforms.PiecewiseRationalQuadraticCouplingTransform(
                mask.int(), net, num_bins=BINS, tails="linear", tail_bound=BOUND
            )
        if kind == "affine":
            return transforms.AffineCouplingTransform(mask.int(), net)
        words = {"features": features, "hidden_features": HIDDEN[0], "num_blocks": 2, "use_residual_blocks": False}
        if kind == "maf":
            return transforms.MaskedAffineAutoregressiveTransform(**words)
        return transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
            num_bins=BINS, tails="linear", tail_bound=BOUND, **words
        )

    chain = transforms.CompositeTransform([layer(i) for i in range(LAYERS)])
    flow = flows.Flow(chain, distributions.StandardNormal([features])).to(device)
    return Entry(
        trained(flow, flow.log_prob),
        torch.no_grad()(flow.log_prob),
        torch.no_grad()(flow.sample),
        torch.no_grad()(lambda x: chain.inverse(chain(x)[0])[0]),
    )


def normflows(kind: str, features: int, device: str) -> Entry:
    import normflows as nf

    def layer(i: int) -> Any:
        if kind == "coupling":
            return nf.flows.CoupledRationalQuadraticSpline(features, 1, HIDDEN[0], num_bins=BINS, tail_bound=BOUND,
                                                           reverse_mask=bool(i % 2))  # fmt: skip
        if kind == "autoregressive":
            return nf.flows.AutoregressiveRationalQuadraticSpline(
                features, 1, HIDDEN[0], num_bins=BINS, tail_bound=BOUND
            )
        if kind == "maf":
            return nf.flows.MaskedAffineAutoregressive(features, HIDDEN[0], num_blocks=1)
        net = nf.nets.MLP([features, *HIDDEN, features], init_zeros=True)
        other = nf.nets.MLP([features, *HIDDEN, features], init_zeros=True)
        return nf.flows.MaskedAffineFlow((torch.arange(features) % 2 == i % 2).float(), net, other)

    flow = nf.NormalizingFlow(
        nf.distributions.base.DiagGaussian(features, trainable=False), [layer(i) for i in range(LAYERS)]
    ).to(device)
    return Entry(
        trained(flow, flow.log_prob),
        torch.no_grad()(flow.log_prob),
        torch.no_grad()(lambda n: flow.sample(n)[0]),
        torch.no_grad()(lambda x: flow.forward(flow.inverse(x))),
    )


def freia(kind: str, features: int, device: str) -> Entry | None:
    if kind != "affine":
        return None
    import FrEIA.framework as ff
    import FrEIA.modules as fm

    def net(inputs: int, outputs: int) -> nn.Module:
        widths = [inputs, *HIDDEN]
        hidden = [part for a, b in zip(widths, HIDDEN, strict=False) for part in (nn.Linear(a, b), nn.ReLU())]
        return nn.Sequential(*hidden, nn.Linear(HIDDEN[-1], outputs))

    flow = ff.SequenceINN(features)
    for _ in range(LAYERS):
        flow.append(fm.RNVPCouplingBlock, subnet_constructor=net)
    flow.to(device)

    def log_prob(x: Tensor) -> Tensor:
        z, ladj = flow(x)
        return -0.5 * z.square().sum(1) + ladj

    return Entry(
        trained(flow, log_prob),
        torch.no_grad()(log_prob),
        torch.no_grad()(lambda n: flow(torch.randn(n, features, device=device), rev=True)[0]),
        torch.no_grad()(lambda x: flow(flow(x)[0], rev=True)[0]),
    )


def flowjax(kind: str, features: int, device: str) -> Entry:
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import optax
    from flowjax import bijections, distributions, flows

    try:
        where = jax.devices("gpu" if device == "cuda" else "cpu")[0]
    except RuntimeError:  # a JAX without a GPU
        where = jax.devices("cpu")[0]
    jax.config.update("jax_default_device", where)
    placed = cache(lambda x: jax.device_put(x.cpu().numpy(), where))  # once, as rows of torch are
    base, key = distributions.Normal(jnp.zeros(features)), jax.random.key(0)
    words = {"flow_layers": LAYERS, "nn_width": HIDDEN[0], "nn_depth": len(HIDDEN)}
    if kind in ("coupling", "autoregressive"):
        words["transformer"] = bijections.RationalQuadraticSpline(knots=BINS, interval=BOUND)
    make = flows.coupling_flow if kind in ("coupling", "affine") else flows.masked_autoregressive_flow
    state = {"flow": make(key, base_dist=base, **words)}
    optimiser = optax.adam(1e-3)
    state["opt"] = optimiser.init(eqx.filter(state["flow"], eqx.is_inexact_array))

    @eqx.filter_jit
    def stepped(flow: Any, opt: Any, x: Any) -> Any:
        gradient = eqx.filter_grad(lambda f: -f.log_prob(x).mean())(flow)
        change, opt = optimiser.update(gradient, opt)
        return eqx.apply_updates(flow, change), opt

    score = eqx.filter_jit(lambda flow, x: flow.log_prob(x))
    draw = eqx.filter_jit(lambda flow, key, n: flow.sample(key, (n,)))

    def step(x: Tensor) -> None:
        state["flow"], state["opt"] = stepped(state["flow"], state["opt"], placed(x))
        jax.block_until_ready(jax.tree.leaves(eqx.filter(state["flow"], eqx.is_array)))

    return Entry(
        step,
        lambda x: jax.block_until_ready(score(state["flow"], placed(x))),
        lambda n: jax.block_until_ready(draw(state["flow"], jax.random.key(1), n)),
        on=where.platform,
        peak=None if where.platform == "cpu" else lambda: where.memory_stats()["peak_bytes_in_use"] / 2**20,
    )


LIBRARIES: dict[str, Callable[[str, int, str], Entry | None]] = {
    "pofx": ours,
    "pofx, compiled": partial(ours, compiled=True),
    "pofx, compiled, bf16": partial(ours, compiled=True, mixed=True),
    "zuko": zuko,
    "nflows": nflows,
    "normflows": normflows,
    "FrEIA": freia,
    "flowjax": flowjax,
}


def waited(device: str) -> float:
    """The time, once a GPU has done what it was told, seconds."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def timed(what: Callable[[], Any], device: str, least: float = 0.25) -> float:
    """Milliseconds a call, repeated for a quarter of a second."""
    count, began = 0, waited(device)
    while time.perf_counter() - began < least or not count:
        what()
        count += 1
    return 1e3 * (waited(device) - began) / count


def measure(kind: str, features: int, names: list[str], rounds: int, device: str) -> Iterator[dict[str, Any]]:
    torch.manual_seed(0)
    x, entries, rows = torch.randn(BATCH, features).to(device), {}, {}
    for name in names:
        began = time.perf_counter()
        try:
            entry = LIBRARIES[name](kind, features, device)
            if entry is None:
                continue
            for _ in range(3):
                entry.step(x)
            entry.score(x), entry.draw(DRAWN)
        except Exception as error:  # a peer that does not run is a row that says so
            yield {
                "kind": kind,
                "features": features,
                "library": name,
                "error": f"{type(error).__name__}: {error}"[:200],
            }
            continue
        entries[name], rows[name] = entry, {"first": waited(device) - began, "step": [], "score": [], "draw": []}
    for _ in range(rounds):
        for name, entry in entries.items():
            rows[name]["step"].append(timed(lambda entry=entry: entry.step(x), device))
            rows[name]["score"].append(timed(lambda entry=entry: entry.score(x), device))
            if not rows[name]["draw"] or rows[name]["draw"][-1] < LONG:
                rows[name]["draw"].append(timed(lambda entry=entry: entry.draw(DRAWN), device))
    for name, entry in entries.items():
        trip = None if entry.trip is None else float((entry.trip(x) - x).abs().max())
        yield {"kind": kind, "features": features, "library": name, "round_trip": trip, "on": entry.on} | rows[name]


def alone(kind: str, features: int, name: str, device: str) -> None:
    """Prints the peak memory, MiB, of this process, or of what it allocated on a GPU, after a library's work."""
    entry, x = LIBRARIES[name](kind, features, device), torch.randn(BATCH, features).to(device)
    assert entry is not None
    for _ in range(3):
        entry.step(x)
    entry.score(x), entry.draw(DRAWN)
    on_gpu = device == "cuda" and entry.on is None
    print(entry.peak() if entry.peak else torch.cuda.max_memory_allocated() / 2**20 if on_gpu else peak_mib())


def peak(kind: str, features: int, name: str, device: str) -> float | None:
    """MiB of a process of its own."""
    command = [sys.executable, __file__, "--device", device, "--alone", kind, str(features), name]
    done = subprocess.run(command, capture_output=True, text=True)
    return float(done.stdout.split()[-1]) if done.returncode == 0 else None


def cell(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ± {(max(values) - min(values)) / 2:.1f}"


def order(row: dict[str, Any]) -> tuple[int, int, int]:
    return KINDS.index(row["kind"]), row["features"], list(LIBRARIES).index(row["library"])


def line(row: dict[str, Any]) -> str:
    """A line of the table."""
    on = f" ({row['on']})" if row.get("on") else ""
    head = f"| {row['kind']} | {row['features']} | {row['library']}{on} |"
    if "error" in row:
        return f"{head} {row['error']} |"
    memory = "" if row["peak_mib"] is None else f"{row['peak_mib']:.0f}"
    figures = " | ".join(cell(row[k]) for k in ("step", "score", "draw"))
    trip = "" if row["round_trip"] is None else f"{row['round_trip']:.1e}"
    return f"{head} {figures} | {row['first']:.1f} | {memory} | {trip} |"


def main(words: list[str] | None = None) -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--features", nargs="+", type=int, default=[8, 32, 64])
    ask.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    ask.add_argument("--libraries", nargs="+", default=list(LIBRARIES), choices=list(LIBRARIES))
    ask.add_argument("--rounds", type=int, default=5)
    ask.add_argument("--threads", type=int, default=1)
    ask.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    ask.add_argument("--resume-from", type=Path, help="a JSON of an earlier run, whose rows are kept")
    ask.add_argument("--alone", nargs=3, metavar=("KIND", "D", "LIBRARY"), help="one library, its peak memory alone")
    ask.add_argument("--out", type=Path, help="default: results/flows.json, of a GPU results/flows-cuda.json")
    told = ask.parse_args(words)
    if told.device == "cuda" and not torch.cuda.is_available():
        ask.error("expected a GPU for --device cuda, got none that torch can use: leave --device out, or install torch "
                  "for CUDA")  # fmt: skip
    told.out = told.out or HERE / "results" / ("flows-cuda.json" if told.device == "cuda" else "flows.json")
    torch.set_num_threads(told.threads)
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", tempfile.mkdtemp())  # a first call is one that compiles
    if hasattr(os, "sched_setaffinity"):  # JAX takes every core that it may use, whatever it is told
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: told.threads])
    if told.alone:
        alone(told.alone[0], int(told.alone[1]), told.alone[2], told.device)
        return
    rows: list[dict[str, Any]] = json.loads(told.resume_from.read_text())["rows"] if told.resume_from else []
    there = {(row["kind"], row["features"]) for row in rows}
    for kind in told.kinds:
        for features in told.features:
            if (kind, features) in there:
                continue
            for row in measure(kind, features, told.libraries, told.rounds, told.device):
                rows.append(row)
                if "error" not in row:
                    row["peak_mib"] = peak(kind, features, row["library"], told.device)
                print(line(row), flush=True)
            keep(told.out, rows, PACKAGES, told.threads)
    text = "\n".join([HEAD, "|---" * 9 + "|", *map(line, sorted(rows, key=order))])
    told.out.with_suffix(".md").write_text(text + "\n")


if __name__ == "__main__":
    main()
