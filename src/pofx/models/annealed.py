"""log p(x) from both sides: annealed importance sampling, and on simulated rows its reverse, by Hamiltonian moves.

A law of y is given as (base, tilt): log f_t(y) = base(y) + t tilt(y), f_0 a density that can be drawn from, f_1 the
joint density of x and y, whose integral is p(x). With 0 = t_0 < ... < t_T = 1, y_0 from f_0 and y_k from y_{k-1} by a
move that leaves f_{t_k} as it is,

    log w = sum_k (t_k - t_{k-1}) tilt(y_{k-1}),      E w = p(x),      so that E log mean w <= log p(x);

the same walk backwards, from a y that is known to come from p(y|x), has E 1/w = 1/p(x), so that -log mean 1/w is on
average at least log p(x). Rows that a model drew itself have such a y: the code that they were drawn from.

Papers: Neal 2001, Annealed Importance Sampling; Grosse, Ancha, Roy 2016, Measuring the Reliability of MCMC Inference
with Bidirectional Monte Carlo; Wu, Burda, Salakhutdinov, Grosse 2017, On the Quantitative Analysis of Decoder-Based
Generative Models.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ..errors import SpecError
from ..objectives import iwae, normal_log_prob
from ..spec import Columns
from .coded import Bound, rows_of
from .model import Batch, Model
from .variational import CodeLaw, Variational, Walked, law_given

Law = Callable[[Tensor], tuple[Tensor, Tensor]]
"""y, (K, B, D), to (base, tilt), each (K, B)."""


def _nothing(y: Tensor) -> tuple[Tensor, Tensor]:
    zero = torch.zeros(y.shape[:2], dtype=torch.float64, device=y.device)
    return zero, zero


STARTS = ("posterior", "prior")
LEAPS = 6  # of a move
SHARP = 4.0  # the temperatures are those of a logistic curve from -SHARP to SHARP, closest at both ends
WANTED = 0.8  # share of moves that step sizes aim at
WARM = 20  # moves that a first step size is found by


def temperatures(steps: int) -> Tensor:
    """0 = t_0 < ... < t_steps = 1, float64."""
    t = torch.sigmoid(torch.linspace(-SHARP, SHARP, steps + 1, dtype=torch.float64))
    return (t - t[0]) / (t[-1] - t[0])


def _slope(law: Law, y: Tensor, t: float) -> tuple[Tensor, Tensor]:
    """(log f_t, (K, B), and its gradient in y)."""
    with torch.enable_grad():
        y = y.detach().requires_grad_(True)
        base, tilt = law(y)
        value = base + t * tilt
        (slope,) = torch.autograd.grad(value.sum(), y)
    return value.detach(), slope


def _at(law: Law, y: Tensor, t: float) -> Tensor:
    """log f_t, (K, B)."""
    base, tilt = law(y)
    return base + t * tilt


def move(
    law: Law, y: Tensor, t: float, size: Tensor, generator: torch.Generator, beside: Law = _nothing
) -> tuple[Tensor, Tensor]:
    """(y', chance that it was taken): LEAPS leapfrog steps of about `size`, (B,), which leave f_t invariant.

    beside: what f_t has beyond `law`, of which no gradient is known: it takes or leaves a move that `law` guided, which
    is as reversible and keeps as much volume as any.

    Paper: Neal 2011, MCMC using Hamiltonian Dynamics.
    """
    how = {"generator": generator, "device": y.device, "dtype": y.dtype}
    speed = torch.randn(y.shape, **how)
    step = (size * (0.5 + torch.rand(y.shape[:2], **how))).unsqueeze(-1)  # no length is a multiple of every period
    value, slope = _slope(law, y, t)
    energy, place = value + _at(beside, y, t) - 0.5 * speed.square().sum(-1), y
    for _ in range(LEAPS):
        speed = speed + 0.5 * step * slope
        place = place + step * speed
        value, slope = _slope(law, place, t)
        speed = speed + 0.5 * step * slope
    value = value + _at(beside, place, t)
    chance = (value - 0.5 * speed.square().sum(-1) - energy).clamp(max=0.0).exp().nan_to_num(0.0).to(y)
    taken = torch.rand(chance.shape, **how) < chance
    return torch.where(taken.unsqueeze(-1), place, y), chance


class Bridge:
    """The way from f_0 to f_1 in `steps` temperatures, whose step sizes a walk of its own, from `first`, has found.

    They are fixed then, for every row and temperature: what `up` and `down` give are bounds however badly they fit.
    """

    def __init__(self, law: Law, first: Tensor, steps: int, generator: torch.Generator, beside: Law = _nothing) -> None:
        self.law, self.generator, self.beside = law, generator, beside
        self.times = temperatures(steps).tolist()
        self.sizes: list[Tensor] = []
        self.taken = math.nan
        self._tune(first)

    def _tune(self, y: Tensor) -> None:
        log_size = y.new_full((y.shape[1],), math.log(0.3))
        for _ in range(WARM if len(self.times) > 2 else 0):
            y, chance = self._move(y, self.times[1], log_size.exp())
            log_size = log_size + 0.3 * (chance.mean(0) - WANTED)
        shares = []
        for t in self.times[1:-1]:
            self.sizes.append(log_size.exp())
            y, chance = self._move(y, t, self.sizes[-1])
            log_size = log_size + 0.2 * (chance.mean(0) - WANTED)
            shares.append(float(chance.mean()))
        self.taken = float(np.mean(shares)) if shares else math.nan

    def _move(self, y: Tensor, t: float, size: Tensor) -> tuple[Tensor, Tensor]:
        return move(self.law, y, t, size, self.generator, self.beside)

    @torch.no_grad()
    def _walk(self, y: Tensor, times: list[float], sizes: list[Tensor]) -> Tensor:
        """sum (t' - t) tilt(y) over the walk through `times`, y moved at each but the first and the last: (B,)."""
        total = torch.zeros(y.shape[:2], dtype=torch.float64, device=y.device)
        for i, (now, then) in enumerate(pairwise(times)):
            total = total + (then - now) * (self.law(y)[1] + self.beside(y)[1]).double()
            if i < len(sizes):
                y = self._move(y, then, sizes[i])[0]
        return iwae(total)

    def up(self, y: Tensor) -> Tensor:
        """A lower bound of log p(x), (B,), of y, (K, B, D), from f_0."""
        return self._walk(y, self.times, self.sizes)

    def down(self, y: Tensor) -> Tensor:
        """An upper bound of log p(x), (B,), of y, (K, B, D), each from p(y|x)."""
        return -self._walk(y, self.times[::-1], self.sizes[::-1])


# -- of a model --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sandwich:
    """log p of rows that the model drew itself, (n,) each, nats: from below and above by annealing, and the bound by
    importance of the same rows. taken: the share of moves that were taken.
    """

    lower: np.ndarray
    upper: np.ndarray
    importance: Bound
    steps: int
    chains: int
    start: str
    taken: float

    @property
    def gap(self) -> float:
        """The mean of upper - lower, nats: what neither side can be wrong by more than, on average."""
        return float((self.upper - self.lower).mean())

    def figures(self) -> dict[str, dict[str, float]]:
        """(mean, standard error over rows) of both sides, the bound by importance, and what each is short of."""
        own = {"lower": self.lower, "upper": self.upper, "importance": self.importance.value}
        own |= {"gap": self.upper - self.lower, "importance short by": self.upper - self.importance.value}
        return {name: {"mean": float(v.mean()), "error": _error(v)} for name, v in own.items()}

    def __str__(self) -> str:
        f = {name: f"{v['mean']:.2f} ± {v['error']:.2f}" for name, v in self.figures().items()}
        return (
            f"log p of {len(self.lower)} rows that the model drew, nats, mean ± standard error\n"
            f"  upper, annealed backwards           {f['upper']}\n"
            f"  lower, annealed ({self.steps} x {self.chains})".ljust(38)
            + f"{f['lower']}\n  lower, importance ({self.importance.draws} draws)".ljust(38)
            + f"{f['importance']}\n"
            f"  annealing: within {f['gap']} nats; importance: short by at most {f['importance short by']}"
        )


def _error(v: np.ndarray) -> float:
    return float(v.std(ddof=1) / math.sqrt(len(v))) if len(v) > 1 else 0.0


def _laws(of: Variational, law: CodeLaw | None, own: Batch, c: Tensor, told: Tensor, start: str) -> tuple[Law, Law]:
    """The law of y under the networks' own prior, and what another prior's has beyond it. y is the noise of q(z|x),
    f_0 = q, or z itself, f_0 = p(z).
    """

    def from_posterior(y: Tensor) -> tuple[Tensor, Tensor]:
        _, code, excess = of.latents.infer(told, y, c=c)
        return normal_log_prob(y), of.lens.log_mass(of.say(code, c), own) - excess

    def from_prior(z: Tensor) -> tuple[Tensor, Tensor]:
        return of.latents.log_prob(z, c), of.lens.log_mass(of.say(of.latents.unfold(z, c), c), own)

    if law is None:
        return (from_posterior if start == "posterior" else from_prior), _nothing

    @torch.no_grad()
    def beside(y: Tensor) -> tuple[Tensor, Tensor]:
        z = of.latents.infer(told, y, c=c)[0] if start == "posterior" else y
        more, none = law(z) - of.latents.log_prob(z, c).double(), _nothing(y)[0]
        return (none, more) if start == "posterior" else (more, none)

    return (from_posterior if start == "posterior" else from_prior), beside


def _opened(model: Model, steps: int, chains: int, start: str) -> Walked:
    walked: Walked = model.walked()
    if start not in STARTS:
        raise SpecError(f"expected start among {', '.join(STARTS)}, got {start!r}")
    if steps < 1 or chains < 1:
        raise SpecError(f"expected at least one step and one chain, got {steps} and {chains}")
    return walked


def _bridges(
    model: Model, x: Columns, c: Columns | None, steps: int, chains: int, start: str, seed: int
) -> Iterator[tuple[Bridge, Tensor, Tensor, Tensor, Callable[[], Tensor]]]:
    """For each chunk of rows: (bridge, what the encoder said, the condition as a vector, what is added to
    log p, new draws of f_0).
    """
    walked, at = _opened(model, steps, chains, start), 0
    of, generator = walked.of, torch.Generator(model.device).manual_seed(seed)
    for batch in of.chunks(x, c):
        own, extra, context = of.opened(batch)
        of.lens.strict(own)
        told, rows, at = of.encoder(of.lens.see(own), context).detach(), slice(at, at + len(extra)), at + len(extra)
        here = rows_of(c, rows)
        law, beside = _laws(of, law_given(walked.law, here), own, context.detach(), told, start)

        def fresh(told: Tensor = told, here: Columns | None = here) -> Tensor:
            """Draws of f_0, (chains, B, latent)."""
            if start == "posterior":
                return of._noise(chains, len(told), generator)
            many = {k: np.tile(v, chains) for k, v in here.items()} if here else None
            z = walked.codes(model.noise(chains * len(told), generator), many)
            return z.view(chains, len(told), -1).to(told)

        yield Bridge(law, fresh(), steps, generator, beside), told, context, extra, fresh


def annealed(
    model: Model,
    x: Columns,
    c: Columns | None = None,
    *,
    steps: int = 200,
    chains: int = 4,
    start: str = "posterior",
    seed: int = 0,
) -> np.ndarray:
    """A lower bound of log p(x|c) of each row, float64 (n,), nats, by annealing in `steps` temperatures.

    start: f_0 is q(z|x), nearer, or p(z), which no error of the encoder reaches. Another law of the codes than the
    networks' own prior may be without a gradient: moves follow the own prior's, and are taken by the other's.

    Raises Unsupported for a model without a law of codes, SpecError for grey pixels where the model has a law of black
    and white ones.
    """
    bridges = _bridges(model, x, c, steps, chains, start, seed)
    return torch.cat([(bridge.up(fresh()) + extra).cpu() for bridge, _, _, extra, fresh in bridges]).numpy()


def sandwich(
    model: Model,
    n: int = 100,
    c: Columns | None = None,
    *,
    steps: int = 200,
    chains: int = 4,
    draws: int | None = None,
    start: str = "posterior",
    seed: int = 0,
) -> Sandwich:
    """log p of n rows that the model draws, from below and from above, beside the bound of `draws` by importance.

    c: a condition for each row. Where the two sides are near each other, annealing gives log p, and what the bound by
    importance lacks is known, on rows that are like the model's. Raises as `annealed`.
    """
    walked = _opened(model, steps, chains, start)
    if n < 1:
        raise SpecError(f"expected at least one row, got {n}")
    noise = model.noise(n, torch.Generator().manual_seed(seed))
    x, latents = model.decode(noise, c), walked.of.latents
    z, lower, upper, taken, at = walked.codes(noise, c), [], [], [], 0
    for bridge, told, context, extra, fresh in _bridges(model, x, c, steps, chains, start, seed + 1):
        own, at = z[at : at + len(extra)].to(told).expand(chains, -1, -1), at + len(extra)
        last = latents.back(told, own, context)[0].detach() if start == "posterior" else own
        lower.append((bridge.up(fresh()) + extra).cpu())
        upper.append((bridge.down(last) + extra).cpu())
        taken.append(bridge.taken)
    below, above = (torch.cat(part).numpy() for part in (lower, upper))
    return Sandwich(below, above, model.bound(x, c, draws), steps, chains, start, float(np.mean(taken)))
