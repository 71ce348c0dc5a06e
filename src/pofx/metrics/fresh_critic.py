"""A new critic trained on frozen samples: how well a small network tells them from real examples (AUC, .5 a coin).

Paper: Lopez-Paz, Oquab 2017, Revisiting Classifier Two-Sample Tests.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .interval import auc

if TYPE_CHECKING:
    import torch

WIDTH, STEPS, BATCH, RATE = 64, 300, 128, 3e-3


def fresh_critic(
    fake: np.ndarray, real: np.ndarray, fake_aside: np.ndarray, real_aside: np.ndarray, seed: int = 0
) -> tuple[float, float]:
    """(AUC, standard error) on examples put aside, all (n, d), of a network that learned from the others.

    The error is Hanley and McNeil's (1982).
    """
    score = np.concatenate(logits(fake, real, (fake_aside, real_aside), seed))
    n, m = len(fake_aside), len(real_aside)
    area = auc(score, np.arange(n + m) < n)
    if not np.isfinite(area):
        return 1.0, 0.0
    q = max(area, 1 - area)
    spread = q * (1 - q) + (n - 1) * (q / (2 - q) - q * q) + (m - 1) * (2 * q * q / (1 + q) - q * q)
    return area, float(np.sqrt(max(spread, 0.0) / (n * m)))


def logits(yes: np.ndarray, no: np.ndarray, asked: Sequence[np.ndarray], seed: int = 0) -> list[np.ndarray]:
    """log odds, (n,), that each of `asked`, (n, d), is one of `yes`, by a network that learned `yes` from `no`."""
    import torch
    from torch.nn.functional import softplus

    def rows(generator: torch.Generator) -> list[torch.Tensor]:
        places = [torch.randint(len(v), (BATCH,), generator=generator) for v in (yes, no)]
        return [places[0], len(yes) + places[1]]

    def loss(told: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        return softplus(torch.where(index < len(yes), -told[:, 0], told[:, 0])).mean()

    return [told[:, 0] for told in _learned(np.concatenate([yes, no]), 1, rows, loss, asked, seed)]


def told_apart(x: np.ndarray, y: np.ndarray, asked: Sequence[np.ndarray], seed: int = 0) -> list[np.ndarray]:
    """The likeliest label, (n,), of each of `asked`, by a network that learned labels y >= 0 of x, (m, d)."""
    import torch
    from torch.nn.functional import cross_entropy

    x, y = x[y >= 0], y[y >= 0]
    labels = torch.from_numpy(y.astype(np.int64))

    def rows(generator: torch.Generator) -> list[torch.Tensor]:
        return [torch.randint(len(y), (2 * BATCH,), generator=generator)]

    def loss(told: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        return cross_entropy(told, labels[index])

    return [told.argmax(1) for told in _learned(x, int(y.max()) + 1, rows, loss, asked, seed)]


def _learned(
    x: np.ndarray,
    width: int,
    rows: "Callable[[torch.Generator], list[torch.Tensor]]",
    loss: "Callable[[torch.Tensor, torch.Tensor], torch.Tensor]",
    asked: Sequence[np.ndarray],
    seed: int,
) -> list[np.ndarray]:
    """What a small network, (d) to (width), says of each of `asked` after STEPS steps on rows of x."""
    import torch
    from torch import nn

    mean, scale = x.mean(0), x.std() + 1e-6
    parts = [torch.from_numpy(((v - mean) / scale).astype(np.float32)) for v in (x, *asked)]
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Linear(x.shape[1], WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, width)
        )
        optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-2)
        generator = torch.Generator().manual_seed(seed)
        for step in range(STEPS):
            index = torch.cat(rows(generator))
            cost = loss(net(parts[0][index]), index)
            optimiser.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
            optimiser.zero_grad(), cost.backward(), optimiser.step()
    with torch.inference_mode():
        return [net(v).numpy() for v in parts[1:]]
