"""Squeeze: a block of 2 x 2 sites becomes one site of four times the channels."""

from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from ..errors import SpecError


def squeeze(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, 4 C, H / 2, W / 2); volume is kept. SpecError where H or W is odd.

    Paper: Dinh, Sohl-Dickstein, Bengio 2017, Density Estimation Using Real NVP.
    """
    if x.shape[-1] % 2 or x.shape[-2] % 2:
        raise SpecError(f"expected an even height and width, got {tuple(x.shape[-2:])}: pad or crop first")
    return pixel_unshuffle(x, 2)


def unsqueeze(y: Tensor) -> Tensor:
    """(B, 4 C, H, W) -> (B, C, 2 H, 2 W), the inverse of `squeeze`."""
    return pixel_shuffle(y, 2)
