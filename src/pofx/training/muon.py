"""Muon: momentum whose step turns all directions of a matrix alike, for the hidden matrices of a network."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..nn.mixed import repays
from .adamw import AdamW

MOMENTUM = 0.95
ROUNDS = 5
QUINTIC = (3.4445, -4.775, 2.0315)  # a, b, c of the polynomial, steepest at 0


class Muon(AdamW):
    """AdamW, but for matrices (out, in) whose attribute `orthogonal` says in how many parts, of rows, they are steps.

        m = .95 m + .05 g,  u = .05 g + .95 m,  w = (1 - r decay) w - r sqrt(max(1, out / in)) U V^T,  r = times * rate

    U S V^T is the singular value decomposition of u, whose S is set to about one by five rounds of
    X <- a X + (b X X^T + c (X X^T)^2) X from X = u / |u|. Jordan et al. 2024.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], betas: tuple[float, float], decay: float, times: float
    ) -> None:
        super().__init__(parameters, betas, decay)
        self.times, self.decay = times, decay
        alike: dict[tuple[int, ...], list[int]] = {}  # matrices of one shape turn together: fewer, larger products
        for i, p in enumerate(self.parameters):
            if getattr(p, "orthogonal", 0):
                alike.setdefault((p.orthogonal, *p.shape), []).append(i)
        self.alike = list(alike.values())
        turned = {i for some in self.alike for i in some}
        both = [
            (left, d) for part, d in zip(self.parts, self.decays, strict=True) if (left := sorted(set(part) - turned))
        ]
        self.parts, self.decays = [part for part, _ in both], [d for _, d in both]

    @torch.no_grad()
    def step(self, rate: float, shrink: float = 1.0) -> None:
        super().step(rate, shrink)
        rate *= self.times
        for some in self.alike:
            learned = [(self.parameters[i], self.means[i]) for i in some if self.parameters[i].grad is not None]
            if not learned:
                continue
            p, m = (list(part) for part in zip(*learned, strict=True))
            g = torch._foreach_div([part.grad for part in p], shrink)
            torch._foreach_lerp_(m, g, 1 - MOMENTUM)
            u = torch.stack(torch._foreach_lerp(g, m, MOMENTUM))
            turned = orthogonal(u.view(len(p) * p[0].orthogonal, -1, u.shape[2])).view_as(u)
            tall = max(1.0, u.shape[1] / p[0].orthogonal / u.shape[2]) ** 0.5
            torch._foreach_mul_(p, 1 - rate * self.decay)
            torch._foreach_sub_(p, list(turned), alpha=rate * tall)


def orthogonal(u: Tensor) -> Tensor:
    """About U V^T of each matrix u = U S V^T, (N, out, in): singular values from .7 to 1.2, but of those near 0."""
    a, b, c = QUINTIC
    tall = u.shape[1] > u.shape[2]
    x = u.mT if tall else u
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    x = x.bfloat16() if repays(str(u.device)) else x
    for _ in range(ROUNDS):
        square = x @ x.mT
        x = a * x + (b * square + c * (square @ square)) @ x
    return (x.mT if tall else x).to(u.dtype)
