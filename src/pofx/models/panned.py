"""Short videos of photos that move in a known way: what restorers of videos learn from."""

import torch
from torch import Tensor
from torch.nn import functional as F

STILL, BEFORE = 0.2, 0.5  # shares of clips in which nothing moves, and that show a second photo before the first


def panned(pieces: Tensor, count: int, side: int, whole: bool, generator: torch.Generator) -> Tensor:
    """`count` frames (B, count, C, side, side) of a window that moves over each piece (B, C, H, H), evenly, as fast as
    there is room for. Before a share of them passes an ellipse of the next piece, which moves by itself and hides what
    is behind it. whole: frames lie whole pixels apart, so that none is interpolated.
    """
    n = len(pieces)
    how = {"generator": generator, "device": pieces.device, "dtype": pieces.dtype}
    times = torch.linspace(-0.5, 0.5, count, device=pieces.device, dtype=pieces.dtype).view(1, -1, 1)

    def way() -> Tensor:
        """Where a window is, in pixels of a piece, (B, count, 2)."""
        room = pieces.shape[-1] - side
        length = room * (2 * torch.rand(n, 1, 2, **how) - 1) * (torch.rand(n, 1, 1, **how) > STILL)
        free = room - length.abs()
        at = free * torch.rand(n, 1, 2, **how) + length.abs() / 2 + length * times
        return at.round() if whole else at

    behind = _windows(pieces, way(), side)
    ahead, place = way(), side * torch.rand(n, 1, 2, **how)
    size = side * (0.15 + 0.35 * torch.rand(n, 1, 2, **how))
    moved = place + ahead[:, :1] - ahead  # what is shown goes the other way than the window
    pixels = torch.arange(side, **{k: v for k, v in how.items() if k != "generator"})
    x, y = ((pixels - moved[..., k, None]) / size[..., k, None] for k in (0, 1))
    within = (x.square().unsqueeze(-2) + y.square().unsqueeze(-1) < 1) & (torch.rand(n, 1, 1, 1, **how) < BEFORE)
    return torch.where(within.unsqueeze(2), _windows(pieces.roll(1, 0), ahead, side), behind)


def _windows(pieces: Tensor, at: Tensor, side: int) -> Tensor:
    """Windows of pieces from places (B, count, 2) in pixels, x and y, on: bicubic between pixels."""
    size, count = pieces.shape[-1], at.shape[1]
    steps = torch.arange(side, dtype=pieces.dtype, device=pieces.device) + 0.5
    x, y = (2 * (at[..., k, None] + steps) / size - 1 for k in (0, 1))
    grid = torch.stack([x.unsqueeze(-2).expand(-1, -1, side, -1), y.unsqueeze(-1).expand(-1, -1, -1, side)], -1)
    many = pieces.unsqueeze(1).expand(-1, count, -1, -1, -1).flatten(0, 1)
    made = F.grid_sample(many, grid.flatten(0, 1), mode="bicubic", padding_mode="border", align_corners=False)
    return made.unflatten(0, (-1, count)).clamp(0, 1)
