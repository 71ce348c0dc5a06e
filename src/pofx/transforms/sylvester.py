"""The Sylvester map: several planar bumps at once, in an orthonormal frame."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .monotone import root
from .planar import LEAST


@dataclass(frozen=True)
class Sylvester:
    """y = x + Q R tanh(T Q' x + b). x: (B, D); Q: (D, M), Q'Q = I; R and T upper triangular, (M, M); b: (M,) or (B, M).

    log|det dy/dx| = sum_i log(1 + (1 - tanh^2)_i R_ii T_ii), where R_ii T_ii > -1 is the caller's to see to
    (`bounded`: at least -LEAST). The inverse goes from the last of the M coordinates to the first, each the root of an
    increasing function of one number.

    Paper: van den Berg, Hasenclever, Tomczak, Welling 2018, Sylvester Normalizing Flows for Variational Inference.
    """

    q: Tensor
    r: Tensor
    t: Tensor
    b: Tensor

    @staticmethod
    def bounded(r: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Upper triangles of any matrices, |R_ii T_ii| <= LEAST by diagonals sqrt(LEAST) tanh(a)."""
        first, second = (m.triu(1) + torch.diag(LEAST**0.5 * torch.tanh(m.diagonal())) for m in (r, t))
        return first, second

    def _steep(self) -> Tensor:
        return self.r.diagonal() * self.t.diagonal()

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(y, log|det dy/dx|), (B, D) and (B,)."""
        h = torch.tanh(x @ self.q @ self.t.T + self.b)
        return x + h @ self.r.T @ self.q.T, torch.log1p((1 - h.square()) * self._steep()).sum(-1)

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """(x, log|det dx/dy|)."""
        target, steep = y @ self.q, self._steep()
        count = target.shape[1]
        z, h = [target[:, 0]] * count, [target[:, 0]] * count
        for i in reversed(range(count)):
            later = range(i + 1, count)
            aim = target[:, i] - sum((self.r[i, j] * h[j] for j in later), torch.zeros_like(target[:, i]))
            shift = self.b[..., i] + sum((self.t[i, j] * z[j] for j in later), torch.zeros_like(aim))
            z[i] = _solve(aim, self.r[i, i], self.t[i, i], shift)
            h[i] = torch.tanh(self.t[i, i] * z[i] + shift)
        moved = torch.stack(h, 1)
        return y - moved @ self.r.T @ self.q.T, -torch.log1p((1 - moved.square()) * steep).sum(-1)


def _solve(aim: Tensor, r: Tensor, t: Tensor, shift: Tensor) -> Tensor:
    """z with z + r tanh(t z + shift) = aim."""

    def excess(z: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(t * z + shift)
        return z + r * h - aim, 1 + r * t * (1 - h.square())

    with torch.no_grad():
        reach = r.abs() + 1e-3 * (1 + aim.abs())
        z = root(excess, aim - reach, aim + reach)
    value, slope = excess(z)
    return z - value / slope.detach()
