"""DP-SGD: steps on clipped, noised gradients of random batches (Abadi et al. 2016), accounted by Opacus.

At every step each row is taken by itself with probability q (Poisson sampling, which the accountant assumes), and

    g = (sum over taken rows of g_i min(1, C / |g_i|)  +  N(0, s^2 C^2 I)) / (q n)

moves the weights by Adam. q, C, s, the rates and the number of steps are settled before the first step. The Renyi
divergence of a step at order a is that of the subsampled Gaussian mechanism (Mironov, Talwar, Zhang 2019), of T steps
T times that, beside rho a of what was bought before; s is the least for which the whole costs at most epsilon at delta.
Batches and noise come from the system's randomness; only the order of fields and the first weights follow the seed.
"""

import math
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import SpecError, Unsupported
from ..models.flows.any_order import AnyOrder
from ..models.ghost import Ghost
from ..models.model import Clock, Recipe
from ..privacy import Randomness
from ..progress import bar
from ..spec import Columns
from .adamw import AdamW
from .loop import rate

ORDERS = [
    1.1,
    1.25,
    1.5,
    1.75,
    2.25,
    2.5,
    2.75,
    3.5,
    4.5,
    *range(2, 64),
    *(2**k for k in range(6, 12)),
]  # halves are slow
BATCH, STEPS = 1024, 400  # rows a step, on average, and steps: more of either need more noise in each
CLIP = 1.0
RATE = 2e-2  # high, since few steps are affordable
AVERAGE = 0.1  # half-life of the average of the weights, as a share of the steps
PROBES = 10


def accountant() -> Any:
    """Opacus's analysis of Renyi divergences. Raises Unsupported, naming the extra, where it is not installed."""
    try:
        from opacus.accountants.analysis import rdp
    except ImportError as error:
        raise Unsupported(
            "expected the package opacus, which counts the privacy of training, got none: pip install 'pofx[private]', "
            "or model='mst', which needs none"
        ) from error
    return rdp


def cost(analysis: Any, q: float, sigma: float, steps: int, rho: float, delta: float) -> float:
    """epsilon of so many steps and of rho beside them."""
    spent = analysis.compute_rdp(q=q, noise_multiplier=sigma, steps=steps, orders=ORDERS)
    epsilon, _ = analysis.get_privacy_spent(orders=ORDERS, rdp=np.asarray(spent) + rho * np.array(ORDERS), delta=delta)
    return float(epsilon)


def least_noise(analysis: Any, q: float, steps: int, rho: float, epsilon: float, delta: float) -> float:
    """The least s whose cost is at most epsilon. Raises SpecError where no s is enough."""
    low, high = math.log(0.2), math.log(0.4)
    while cost(analysis, q, math.exp(high), steps, rho, delta) > epsilon:
        low, high = high, high + math.log(2)
        if high > math.log(1e5):
            raise SpecError(f"expected a larger epsilon for any_order, got {epsilon}: or take model='mst'")
    for _ in range(14):
        middle = (low + high) / 2
        low, high = (
            (low, middle) if cost(analysis, q, math.exp(middle), steps, rho, delta) <= epsilon else (middle, high)
        )
    return math.exp(high)


def fit_steps(
    model: Any,
    x: Columns,
    noise: Randomness,
    rho: float,
    epsilon: float,
    delta: float,
    rows: int,
    steps: int | None,
    minutes: float | None,
    seed: int,
    quiet: bool,
    batch: int = BATCH,
    clip: float = CLIP,
    top: float = RATE,
) -> tuple[dict[str, Any], float]:
    """Trains any_order; what happened, and the epsilon of the whole. `rho`: what was set aside for what was bought
    before, fixed beforehand; `rows`: their noisy number.
    """
    analysis = accountant()
    if not isinstance(model, AnyOrder):
        raise Unsupported(f"model {model.name!r} has no private training: any_order has")
    token, seen = model.prepare({f.name: x[f.name] for f in model.spec.fields})
    q = min(1.0, batch / max(rows, 1))
    ghost, clock = Ghost(model.net), time.monotonic()
    steps = steps or (STEPS if minutes is None else _fitting(model, ghost, min(batch, rows), minutes))
    sigma = least_noise(analysis, q, steps, rho, epsilon, delta)
    walk = Descent(ghost, q * rows, sigma, clip, Recipe(steps=steps, batch=batch, rate=top, warmup=20), noise)
    generator = torch.Generator().manual_seed(seed)
    with bar("training", steps, "step", quiet) as tick:
        for step in range(steps):
            taken = torch.from_numpy(np.flatnonzero(noise.uniform(len(token)) < q))
            walk.step(token[taken], seen[taken], model._order_of(step, generator), Clock(step, steps))
            tick(1)
    walk.settle()
    done = {
        "steps": steps, "stopped": "planned", "batch": f"Poisson sampling, q {q:.4g}", "noise": sigma,
        "clip": clip, "seconds": time.monotonic() - clock,
        "accountant": f"Renyi divergences of Opacus {_version()}, and zCDP of what was bought before",
    }  # fmt: skip
    return done, cost(analysis, q, sigma, steps, rho, delta)


class Descent:
    """Adam on noised sums of clipped gradients, and the average of the weights that it passes."""

    def __init__(
        self, ghost: Ghost, expected: float, sigma: float, clip: float, recipe: Recipe, noise: Randomness
    ) -> None:
        self.ghost, self.expected, self.sigma, self.clip, self.recipe = ghost, expected, sigma, clip, recipe
        self.noise = noise
        self.optimiser = AdamW(ghost.parameters, recipe.betas, 0.0)
        self.mean = [p.detach().clone() for p in ghost.parameters]

    def step(self, token: Tensor, seen: Tensor, order: list[int], clock: Clock) -> Tensor:
        """One step on the rows that were taken; the norms of their gradients before they were cut."""
        found, norms = self.ghost.clipped(token, seen, order, self.clip)
        for p, g in zip(self.ghost.parameters, found, strict=True):
            noise = torch.from_numpy(self.noise.normal(*g.shape)).to(g.dtype)
            p.grad = (g + self.sigma * self.clip * noise) / self.expected
        self.optimiser.step(rate(self.recipe, clock), shrink=1.0)
        keep = min(0.5 ** (1 / max(AVERAGE * clock.total, 1.0)), (clock.step + 1) / (clock.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(self.mean, self.ghost.parameters, 1.0 - keep)
        return norms

    def settle(self) -> None:
        """Leaves the average in the model."""
        with torch.no_grad():
            for p, mean in zip(self.ghost.parameters, self.mean, strict=True):
                p.copy_(mean)
                p.grad = None


def _fitting(model: AnyOrder, ghost: Ghost, batch: int, minutes: float) -> int:
    """The steps that fit into the minutes, timed on tokens that are drawn and not learned from."""
    token = torch.stack([torch.randint(k, (batch,)) for k, _ in model.codes.sizes], 1)
    seen = torch.ones_like(token, dtype=torch.bool)
    walk = Descent(ghost, batch, 1.0, CLIP, Recipe(steps=1, batch=batch, rate=0.0), Randomness())
    walk.step(token, seen, model.order, Clock(0, 1))
    began = time.monotonic()
    for _ in range(PROBES):
        walk.step(token, seen, model.order, Clock(0, 1))
    each = (time.monotonic() - began) / PROBES
    return max(10, int(60 * minutes * 0.9 / each))


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("opacus")
    except PackageNotFoundError:
        return ""
