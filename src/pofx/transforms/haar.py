"""The Haar transform: means and differences of blocks of 2 x 2 sites."""

import torch
from torch import Tensor

from .squeeze import squeeze, unsqueeze

SIGNS = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2


def haar(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, 4 C, H / 2, W / 2): all means, then horizontal, vertical and diagonal differences.

    Orthonormal: lengths and volume are kept, log|det| = 0. SpecError where H or W is odd.
    """
    parts = squeeze(x).unflatten(1, (x.shape[1], 4))
    return torch.einsum("ks,bcshw->bkchw", SIGNS.to(x), parts).flatten(1, 2)


def unhaar(y: Tensor) -> Tensor:
    """(B, 4 C, H, W) -> (B, C, 2 H, 2 W), the inverse of `haar`."""
    parts = y.unflatten(1, (4, y.shape[1] // 4))
    return unsqueeze(torch.einsum("ks,bkchw->bcshw", SIGNS.to(y), parts).flatten(1, 2))
