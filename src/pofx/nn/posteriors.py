"""Posteriors q(z|x) of variational autoencoders: what an encoder says becomes draws and their log-density."""

import math

import torch
from torch import Tensor, nn

from ..objectives import normal_log_prob
from ..transforms.affine import Affine, soft_limit
from .autoregressive import Autoregressive
from .layer import Permutation

WIDE = 7.0  # bound of the logarithm of a scale


class Diagonal(nn.Module):
    """z = mu + e^l noise: N(mu, diag e^2l). told: (B, 2 latent), mu then l, |l| < 7."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent, self.size = latent, 2 * latent

    def split(self, told: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, log-scale), each (B, latent)."""
        mean, raw = told[:, : 2 * self.latent].chunk(2, 1)
        return mean, soft_limit(raw, WIDE)

    def mean(self, told: Tensor) -> Tensor:
        """One z for each example, (B, latent), without noise."""
        return self.split(told)[0]

    def forward(self, told: Tensor, noise: Tensor, cut: bool = False) -> tuple[Tensor, Tensor]:
        """(z, log q(z|x)), (..., B, latent) and (..., B), of standard normal noise of that shape.

        With `cut`, log q passes gradients through z alone: the path that doubly reparameterised gradients take.
        """
        mean, log_scale = self.split(told)
        z = mean + log_scale.exp() * noise
        if not cut:  # (z - mean) / scale is the noise
            return z, -(0.5 * noise.square() + log_scale).sum(-1) - 0.5 * self.latent * math.log(2 * math.pi)
        mean, log_scale = mean.detach(), log_scale.detach()
        back = (z - mean) * torch.exp(-log_scale)
        return z, -(0.5 * back.square() + log_scale).sum(-1) - 0.5 * self.latent * math.log(2 * math.pi)

    def back(self, told: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """(noise, log q(z|x)) of any z, (..., B, latent) to (..., B, latent) and (..., B)."""
        mean, log_scale = self.split(told)
        noise = (z - mean) * torch.exp(-log_scale)
        return noise, normal_log_prob(noise) - log_scale.sum(-1)


class IAF(Diagonal):
    """Diagonal noise moved on by inverse autoregressive layers that see `hints` numbers of the encoder.

    log q(z|x) = log q_0(z_0|x) - log|det dz/dz_0|, one pass both. told: (B, 2 latent + hints).

    Paper: Kingma et al. 2016, Improved Variational Inference with Inverse Autoregressive Flow.
    """

    def __init__(self, latent: int, hints: int = 32, transforms: int = 2, hidden: tuple[int, ...] = (128, 128)) -> None:
        super().__init__(latent)
        self.size = 2 * latent + hints
        self.layers = nn.ModuleList(Autoregressive(latent, hints, Affine(1.5), hidden) for _ in range(transforms))
        self.turn = Permutation.reverse(latent)

    def _move(self, told: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        hints, total = told[:, 2 * self.latent :], z.new_zeros(len(z))
        for i, layer in enumerate(self.layers):
            z = self.turn.call_and_ladj(z)[0] if i else z
            z, ladj = layer.call_and_ladj(z, hints)
            total = total + ladj
        return z, total

    def mean(self, told: Tensor) -> Tensor:
        return self._move(told, super().mean(told))[0]

    def forward(self, told: Tensor, noise: Tensor, cut: bool = False) -> tuple[Tensor, Tensor]:
        z, log_q = super().forward(told, noise)
        many = told.expand(*z.shape[:-1], told.shape[-1]).reshape(-1, told.shape[-1])
        moved, ladj = self._move(many, z.reshape(-1, self.latent))
        return moved.view_as(z), log_q - ladj.view(z.shape[:-1])

    def back(self, told: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        hints = told[:, 2 * self.latent :].expand(*z.shape[:-1], -1).flatten(0, -2)
        moved, total = z.flatten(0, -2), z.new_zeros(z[..., 0].numel())
        for i, layer in reversed(list(enumerate(self.layers))):
            moved, ladj = layer.inverse_and_ladj(moved, hints)
            moved, total = self.turn.inverse_and_ladj(moved)[0] if i else moved, total + ladj
        noise, log_q = super().back(told, moved.view_as(z))
        return noise, log_q + total.view(z.shape[:-1])


POSTERIORS = {"diagonal": Diagonal, "iaf": IAF}
