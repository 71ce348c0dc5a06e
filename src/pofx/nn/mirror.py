"""An encoder and the decoder that mirrors it, with the same weights or its own: what deterministic autoencoders learn.

    z = P (v - m) + F(v),    v^ = m + Q z + G(z)

P, Q linear, started from principal components, so that the autoencoder begins as PCA of the same size and can only
gain; F, G layers that mirror each other, or of widths of their own, started at zero. With `tied` Q = P' and G has F's
matrices transposed, kernels of convolutions too; both begin small, by a learned factor each.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Fold(nn.Module):
    """A linear map there, `forward`, and one back, `back`, whose matrix is the transposed one where `tied`."""

    def __init__(self, inputs: int, outputs: int, tied: bool) -> None:
        super().__init__()
        self.there = nn.Linear(inputs, outputs)
        self.matrix = None if tied else nn.Parameter(self.there.weight.detach().T.clone())
        self.bias = nn.Parameter(torch.zeros(inputs))

    def forward(self, h: Tensor) -> Tensor:
        return self.there(h)

    def back(self, h: Tensor) -> Tensor:
        return F.linear(h, self.there.weight.T if self.matrix is None else self.matrix, self.bias)


class ConvFold(nn.Module):
    """A convolution that halves both sides, and its transpose, with the same kernel where `tied`: (B, C, H, W)."""

    def __init__(self, inputs: int, outputs: int, tied: bool) -> None:
        super().__init__()
        self.there = nn.Conv2d(inputs, outputs, 4, 2, 1)
        self.kernel = None if tied else nn.Parameter(self.there.weight.detach().clone())
        self.bias = nn.Parameter(torch.zeros(inputs))

    def forward(self, h: Tensor) -> Tensor:
        return self.there(h)

    def back(self, h: Tensor) -> Tensor:
        kernel = self.there.weight if self.kernel is None else self.kernel
        return F.conv_transpose2d(h, kernel, self.bias, stride=2, padding=1)


def there(shape: tuple[int, ...], latent: int, hidden: Sequence[int], conv: bool) -> nn.Module:
    """F alone: (B, *shape) to (B, latent) through layers of `hidden` widths; zero at first."""
    widths, inner = _sizes(shape, hidden, conv)
    layers: list[nn.Module] = [] if conv else [nn.Flatten()]
    for a, b in zip(widths, widths[1:], strict=False):
        layers += [nn.Conv2d(a, b, 4, 2, 1) if conv else nn.Linear(a, b), nn.SiLU()]
    return nn.Sequential(*layers, nn.Flatten(), _silent(nn.Linear(math.prod(inner), latent)))


def back(shape: tuple[int, ...], latent: int, hidden: Sequence[int], conv: bool) -> nn.Module:
    """G alone: (B, latent) to (B, *shape), its layers from the last of `hidden` to the first; zero at first."""
    widths, inner = _sizes(shape, hidden, conv)
    layers: list[nn.Module] = [nn.Linear(latent, math.prod(inner)), nn.Unflatten(1, inner)]
    for a, b in zip(widths[:0:-1], widths[-2::-1], strict=True):
        layers += [nn.SiLU(), nn.ConvTranspose2d(a, b, 4, 2, 1) if conv else nn.Linear(a, b)]
    _silent(layers[-1])
    return nn.Sequential(*layers, nn.Unflatten(1, shape)) if not conv else nn.Sequential(*layers)


def _silent(layer: nn.Module) -> nn.Module:
    for p in layer.parameters():
        nn.init.zeros_(p)
    return layer


def _sizes(shape: tuple[int, ...], hidden: Sequence[int], conv: bool) -> tuple[list[int], tuple[int, ...]]:
    """(widths or channels from the example on; the shape of the last layer)."""
    widths = [shape[0] if conv else math.prod(shape), *hidden]
    return widths, (widths[-1], *(side // 2 ** len(hidden) for side in shape[1:])) if conv else (widths[-1],)


class Mirror(nn.Module):
    """v (B, *shape) to z (B, latent) and back, through layers of `hidden` widths (channels, where `conv`).

    away: the widths of the way back, where they are others. `shape` of a convolution: (C, H, W), H and W divisible by
    2^len(hidden) and 2^len(away).
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        latent: int,
        hidden: Sequence[int],
        tied: bool = False,
        conv: bool = False,
        away: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.shape, self.latent, self.tied, size = shape, latent, tied, math.prod(shape)
        self.middle = nn.Parameter(torch.zeros(size))
        self.gates = nn.Parameter(torch.full((2,), 0.1)) if tied and hidden else torch.ones(2)
        self.p = nn.Parameter(torch.randn(latent, size) / math.sqrt(size))
        self.q = None if tied else nn.Parameter(self.p.detach().T.clone())
        self.f = self.g = None
        if away is not None and list(away) != list(hidden):
            self.f = there(shape, latent, hidden, conv) if hidden else None
            self.g = back(shape, latent, away, conv) if away else None
            hidden = []
        fold = ConvFold if conv else Fold
        widths, self.inner = _sizes(shape, hidden, conv)
        self.folds = nn.ModuleList(fold(a, b, tied) for a, b in zip(widths, widths[1:], strict=False))
        self.last = Fold(math.prod(self.inner), latent, tied) if hidden else None
        if self.last is not None:
            nn.init.zeros_(self.last.there.bias)
            if self.last.matrix is not None:  # tied layers at zero would stay there: PCA is a saddle of theirs
                nn.init.zeros_(self.last.there.weight)
                nn.init.normal_(self.last.matrix, std=1 / math.sqrt(latent))
                first = self.folds[0]
                nn.init.zeros_(first.kernel if conv else first.matrix)

    @torch.no_grad()
    def start(self, middle: Tensor, axes: Tensor) -> None:
        """Starts as the projection on axes, (at most latent, D), orthonormal, about `middle`, (D,)."""
        self.middle.copy_(middle)
        self.p.zero_()[: len(axes)] = axes.to(self.p)
        if self.q is not None:
            self.q.copy_(self.p.T)

    def encode(self, v: Tensor) -> Tensor:
        """(B, *shape) to (B, latent)."""
        flat = v.flatten(1)
        z = F.linear(flat - self.middle, self.p)
        if self.last is None:
            return z if self.f is None else z + self.f(v)
        h = v if len(self.inner) > 1 else flat
        for fold in self.folds:
            h = F.silu(fold(h))
        return z + self.gates[0] * self.last(h.flatten(1))

    def decode(self, z: Tensor) -> Tensor:
        """(B, latent) to (B, *shape)."""
        flat = self.middle + F.linear(z, self.p.T if self.q is None else self.q)
        if self.last is None:
            return flat.view(-1, *self.shape) + (0.0 if self.g is None else self.g(z))
        h = self.last.back(z).view(-1, *self.inner)
        for fold in reversed(self.folds):
            h = fold.back(F.silu(h))
        return flat.view(-1, *self.shape) + self.gates[1] * h.view(-1, *self.shape)


def principal(centred: Tensor, count: int) -> Tensor:
    """The first principal directions of centred rows, (n, D) to (at most count, D), orthonormal."""
    if centred.shape[1] <= 1024 or count > centred.shape[1] // 4:
        _, vectors = torch.linalg.eigh(centred.T @ centred)
        return vectors.flip(1).T[: min(count, len(centred), centred.shape[1])]
    return torch.svd_lowrank(centred, min(count + 8, *centred.shape), niter=4)[2].T[:count]
