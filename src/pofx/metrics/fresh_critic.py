"""A new critic trained on frozen samples: how well a small network tells them from real examples (AUC, .5 a coin).

Paper: Lopez-Paz, Oquab 2017, Revisiting Classifier Two-Sample Tests.
"""

from collections.abc import Sequence

import numpy as np

from .interval import auc

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
    from torch import nn

    both = np.concatenate([yes, no])
    mean, scale = both.mean(0), both.std() + 1e-6
    parts = [torch.from_numpy(((v - mean) / scale).astype(np.float32)) for v in (yes, no, *asked)]
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Linear(both.shape[1], WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, 1)
        )
        optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-2)
        generator = torch.Generator().manual_seed(seed)
        for step in range(STEPS):
            rows = [v[torch.randint(len(v), (BATCH,), generator=generator)] for v in parts[:2]]
            told = net(torch.cat(rows))[:, 0]
            loss = nn.functional.softplus(torch.cat([-told[:BATCH], told[BATCH:]])).mean()
            optimiser.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
            optimiser.zero_grad(), loss.backward(), optimiser.step()
    with torch.inference_mode():
        return [net(v)[:, 0].numpy() for v in parts[2:]]
