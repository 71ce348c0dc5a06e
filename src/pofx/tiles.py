"""Any map of pictures, one overlapping tile after another: the memory is that of a tile and of what comes out."""

import math
import warnings
from collections.abc import Callable

import numpy as np

from .errors import Failed
from .progress import Tick, silent

TILE = 512  # side of a tile, without its margins
RAMP = 16  # pixels over which a tile gives way to the next
SMALLEST = 32

Change = Callable[[np.ndarray, int, int], np.ndarray]
"""(h, w, C) from (row, column) on to (scale h, scale w, C'), float32 in [0, 1] or what the map takes."""


class Axis:
    """One side of a picture in tiles: where each is read, where it counts, and with which weight.

    Tile k counts from b_k - RAMP / 2 to b_{k+1} + RAMP / 2, b_k = k tile, with weights that sum to one with those of
    its neighbours, cos^2 and sin^2; it is read with `margin` pixels more on both sides, from a multiple of `grid` on,
    up to the edge of the picture, or with `wrap` beyond it, from the other side.
    """

    def __init__(self, length: int, tile: int, margin: int, grid: int, wrap: bool) -> None:
        self.length, self.wrap = length, wrap
        count = max(1, math.ceil(length / tile))
        self.edges = [min(round(k * length / count / grid) * grid, length) for k in range(count)] + [length]
        self.half = min(RAMP, *np.diff(self.edges)) // 2 if count > 1 else 0
        self.margin = -(-margin // grid) * grid

    def __len__(self) -> int:
        return len(self.edges) - 1

    def counts(self, k: int) -> tuple[int, int]:
        """The pixels that tile k has a say in."""
        return max(self.edges[k] - self.half, 0), min(self.edges[k + 1] + self.half, self.length)

    def read(self, k: int, grid: int) -> tuple[np.ndarray, int]:
        """The numbers of the pixels that tile k reads, and how many of them are before those that count."""
        low, high = self.counts(k)
        start, stop = low // grid * grid - self.margin, high + self.margin
        if not self.wrap:
            start, stop = max(start, 0), min(stop, self.length)
        return np.arange(start, stop) % self.length, low - start

    def weight(self, k: int, scale: int) -> np.ndarray:
        """The weight of each pixel of the enlarged tile that counts."""
        low, high = self.counts(k)
        out = np.ones((high - low) * scale, np.float32)
        ramp = 2 * self.half * scale
        rise = np.sin(0.5 * np.pi * (np.arange(ramp, dtype=np.float32) + 0.5) / max(ramp, 1)) ** 2
        if k > 0 and ramp:
            out[:ramp] *= rise
        if k < len(self) - 1 and ramp:
            out[-ramp:] *= rise[::-1]
        return out


def tiled(
    change: Change,
    picture: np.ndarray,
    out: Callable[[int, np.ndarray], None],
    *,
    scale: int = 1,
    margin: int = 0,
    grid: int = 1,
    tile: int = TILE,
    wrap: bool = False,
    tick: Tick = silent,
) -> None:
    """`change` of a picture (H, W, C), a tile at a time: `out(row, rows)` gets what comes out from top to bottom, rows
    of (h, scale W, C') that follow one another.

    margin: how far away `change` sees, so that no tile differs from the whole; grid: sides that it works on are
    multiples of it. A tile for which the memory does not suffice is done in smaller ones. Raises Failed where it does
    not suffice for the smallest either.
    """
    down, across = (Axis(length, tile, margin, grid, wrap) for length in picture.shape[:2])
    carry: np.ndarray | None = None
    for k in range(len(down)):
        low, high = down.counts(k)
        band = _band(change, picture, down, across, k, scale, margin, grid, tick)
        if carry is not None:
            band[: len(carry)] += carry
        ready = (high - 2 * down.half - low if k < len(down) - 1 else high - low) * scale
        out(low * scale, band[:ready])
        carry = band[ready:].copy()


def _band(
    change: Change,
    picture: np.ndarray,
    down: Axis,
    across: Axis,
    k: int,
    scale: int,
    margin: int,
    grid: int,
    tick: Tick,
) -> np.ndarray:
    """The weighted sum of the tiles of one row of them, (rows, scale W, C')."""
    rows, before = down.read(k, grid)
    low, high = down.counts(k)
    fall, band = down.weight(k, scale)[:, None, None], None
    for j in range(len(across)):
        columns, left = across.read(j, grid)
        start, stop = across.counts(j)
        made = _made(change, _taken(picture, rows, columns), int(rows[0]), int(columns[0]), scale, margin, grid)
        own = made[before * scale : (before + high - low) * scale, left * scale : (left + stop - start) * scale]
        if band is None:
            band = np.zeros(((high - low) * scale, picture.shape[1] * scale, made.shape[2]), np.float32)
        band[:, start * scale : stop * scale] += own * across.weight(j, scale)[:, None]
        tick(1)
    return band * fall if band is not None else np.zeros((0, 0, 0), np.float32)


def _made(change: Change, part: np.ndarray, row: int, column: int, scale: int, margin: int, grid: int) -> np.ndarray:
    """`change` of a tile, or of the smaller ones that it is cut into where the memory does not suffice."""
    try:
        return change(part, row, column)
    except (MemoryError, RuntimeError) as error:
        smaller = max(part.shape[:2]) // 2
        if not _of_memory(error):
            raise
        if smaller < max(SMALLEST, margin):
            raise Failed(f"the memory does not suffice for a tile of {2 * smaller} pixels: free some of it") from error
        warnings.warn(f"the memory does not suffice for a tile of {2 * smaller} pixels: it is cut up", stacklevel=2)
    held: list[np.ndarray] = []
    tiled(
        lambda some, i, j: change(some, row + i, column + j), part, lambda _, rows: held.append(rows),
        scale=scale, margin=margin, grid=grid, tile=smaller,
    )  # fmt: skip
    return np.concatenate(held)


def _taken(picture: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """A part of a picture; a view where neither side goes round."""
    if rows[-1] - rows[0] + 1 == len(rows) and columns[-1] - columns[0] + 1 == len(columns):
        return picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return picture[rows[:, None], columns]


def _of_memory(error: Exception) -> bool:
    words = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in words or "allocate memory" in words
