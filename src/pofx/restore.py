"""A spoiled picture and what was done to it, to a clean or a larger one: tile by tile, alpha and colours kept."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from . import corrupt
from .errors import SpecError, Unsupported
from .models.restorer import Restorer
from .models.restorers.upscaler import Upscaler
from .progress import Tick, silent
from .tiles import TILE, tiled

LUMA = np.array([65.481, 128.553, 24.966], np.float32) / 255  # BT.601: Y = 16 / 255 + LUMA . (R, G, B)
BLACK, SWING = 16 / 255, 219 / 255  # luma of black, and between that and white
PROJECTED = 4  # pixels more that projecting back sees
GRAIN = 256  # side of the pieces that noise is drawn in, so that it is the same whatever the tiles
STRIP = 2**22  # numbers that are worked on together
CELLS, QUIET = 8, 0.2  # of patches of 2 x 2 pixels each, and the share of them that is quietest
EVEN, LIKE = 0.7, 0.1  # of noise that is taken for Gaussian: dark parts beside bright ones, neighbours' correlation

Range = tuple[float, float]
Carry = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(h, G) of y_t, W y_{t-1}, r_t, W s_{t-1}, (1, 3, H, W) in [0, 1], and a, (1, 1, H, W): as large as r_t."""


@dataclass(frozen=True)
class How:
    """What a restoration is asked for: realism in [0, 1] (models/restorer.py), its seed, the side of tiles, whether
    the picture goes on at its other side, as textures do; turned: the mean of the eight ways to turn and mirror it.
    """

    realism: float = 0.0
    seed: int = 0
    tile: int = TILE
    wrap: bool = False
    turned: bool = False

    def checked(self) -> Self:
        """Itself; SpecError for what does not fit."""
        if not 0 <= self.realism <= 1:
            raise SpecError(f"expected a realism from 0 (the least error) to 1 (the look), got {self.realism}")
        if self.tile < 32:
            raise SpecError(f"expected tiles of 32 pixels or more, got {self.tile}")
        return self


def denoise(
    model: Restorer,
    pixels: np.ndarray,
    level: tuple[float, float],
    how: How,
    tick: Tick = silent,
    share: np.ndarray | None = None,
) -> Any:
    """Pixels (H, W, C) of 8 or 16 bits without their noise, of the same shape and dtype.

    level: the deviation of the noise, in shades of 255, and how strong the marks of JPEG are, 1 - quality / 100; share:
    how much of that deviation each pixel has, (H, W), of the pixels' dtype, all of it at its largest number. A model of
    colours takes grey as three equal channels, one of grey ones each colour alone.
    """
    channels = pixels.shape[2]
    told = torch.tensor([[level[0] / 255, level[1]]], dtype=torch.float32)
    pixels = pixels if share is None else np.concatenate([pixels, share[..., None]], 2)

    def change(part: np.ndarray, i: int, j: int) -> np.ndarray:
        y, known = _tensor(part[..., :channels]), told
        if share is not None:
            known = told[:, :, None, None] * torch.cat(
                [_tensor(part[..., channels:]), torch.ones(1, 1, *part.shape[:2])], 1
            )
        if model.channels != channels:
            y = y.expand(-1, 3, -1, -1) if model.channels == 3 else y.transpose(0, 1)
        x = _run(model, y, known.expand(len(y), *known.shape[1:]), 1, how, (i, j), pixels.shape)
        if model.channels != channels:
            x = x.mean(1, keepdim=True) if model.channels == 3 else x.transpose(0, 1)
        return _array(x)

    return _through(change, model, pixels, 1, how, model.reach, tick, channels)


def upscale(model: Restorer, pixels: np.ndarray, scale: int, how: How, tick: Tick = silent) -> Any:
    """Pixels (H, W, C) of 8 or 16 bits as (scale H, scale W, C), of the same dtype.

    The network enlarges the luma, and colours beside it are bicubic; what comes out is then moved so that scaling it
    down gives the pixels that came: x + B (y - D x), B enlarging and D scaling down.
    """
    if scale not in model.scales:
        raise Unsupported(f"this model enlarges {' or '.join(map(str, model.scales))} times, got a scale of {scale}")

    def change(part: np.ndarray, i: int, j: int) -> np.ndarray:
        y = _tensor(part)
        own = luma(y)
        moved = _run(model, own, own.new_zeros(1, 0), scale, how, (i, j), pixels.shape) - corrupt.upsample(own, scale)
        x = corrupt.upsample(y, scale) + moved / SWING
        return _array(x + corrupt.upsample(y - corrupt.downsample(x, scale), scale))

    return _through(change, model, pixels, scale, how, model.reach + PROJECTED, tick)


def carrying(model: Upscaler, scale: int, how: How) -> Carry | None:
    """What the model has learned of frames that follow one another, of their luma, tile by tile; None if nothing, or
    where realism is asked for, which it was not learned with.
    """
    if not model.frames or how.realism:
        return None

    def change(part: np.ndarray, i: int, j: int) -> np.ndarray:
        v = torch.from_numpy(part).permute(2, 0, 1).unsqueeze(0).to(model.device)
        low, large = v.split([3, v.shape[1] - 3], 1)
        y, before, same = low.split(1, 1)
        r, last = F.pixel_shuffle(large, scale).chunk(2, 1)
        return _array(torch.cat(model.carried(y, before, r, last, same, scale), 1))

    def carry(y: Tensor, before: Tensor, r: Tensor, last: Tensor, same: Tensor) -> tuple[Tensor, Tensor]:
        large = F.pixel_unshuffle(luma(torch.cat([r, last])), scale).flatten(0, 1)
        known = torch.cat([luma(torch.cat([y, before])).flatten(0, 1), same[0], large]).permute(1, 2, 0)
        made = np.empty((known.shape[0] * scale, known.shape[1] * scale, 2), np.float32)

        def out(row: int, rows: np.ndarray) -> None:
            made[row : row + len(rows)] = rows

        tiled(change, known.contiguous().numpy(), out, scale=scale, margin=model.reach, tile=how.tile)
        h, more = torch.from_numpy(made).permute(2, 0, 1).unsqueeze(0).chunk(2, 1)
        return h / SWING, more

    return carry


def with_alpha(change: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray, alpha: np.ndarray | None) -> Any:
    """(pixels, alpha) after `change` of both: colours are changed as they are seen, times alpha, so that what lies
    under a transparent part does not bleed into its edge, and divided by it again.
    """
    if alpha is None:
        return change(pixels), None
    top = np.iinfo(pixels.dtype).max
    seen = _by_rows(lambda p, a: p * (a[..., None] / np.float32(top)), pixels, alpha)
    above, made = change(alpha[..., None])[..., 0], change(seen)
    out = _by_rows(lambda p, a: p * (top / np.maximum(a, 1).astype(np.float32)[..., None]), made, above)
    return out, above


def luma(v: Tensor) -> Tensor:
    """BT.601 luma (B, 1, H, W) in [16, 235] / 255 of pictures (B, 1 or 3, H, W) in [0, 1]."""
    if v.shape[1] == 1:
        return BLACK + SWING * v
    return BLACK + (v * torch.from_numpy(LUMA).view(1, 3, 1, 1).to(v)).sum(1, keepdim=True)


def noise_level(pixels: np.ndarray) -> float:
    """The deviation of Gaussian noise in a picture (H, W, C), in shades of 255 (`noise_of`)."""
    return noise_of(pixels)[0]


def noise_of(pixels: np.ndarray) -> tuple[float, bool]:
    """The deviation of the noise of a picture (H, W, C), in shades of 255, and whether it is as loud in dark as in
    bright parts and has no pattern.

    Of 2 x 2 pixels d = (a - b - c + d) / 2 has the deviation of the noise, and little of what is smooth. That of the
    picture is of its quietest patches: the QUIET quantile of the deviations of d in patches of CELLS x CELLS, divided
    by what it is, of so many numbers, for a deviation of one. Patches that are nearly black or white, where noise is
    cut off, do not count where there are others.

    Paper: Donoho, Johnstone 1994, Ideal Spatial Adaptation by Wavelet Shrinkage (noise in the finest differences).
    """
    unit = 255 / np.iinfo(pixels.dtype).max
    d, bright = _diagonal(pixels)
    if d.size == 0:
        return 0.0, True
    d, bright = d * unit, bright * unit
    rows, columns = (max(side // CELLS, 1) for side in d.shape[:2])
    parts = [
        [part for half in np.array_split(v, rows) for part in np.array_split(half, columns, 1)] for v in (d, bright)
    ]
    loud = np.array([np.sqrt(np.mean(np.square(part))) for part in parts[0]])
    shade = np.array([part.mean() for part in parts[1]])
    level = _floor(loud, parts[0][0].size)
    open_ = (shade > 2.5 * level) & (shade < 255 - 2.5 * level)
    if open_.any():
        level = _floor(loud[open_], parts[0][0].size)
    loud, shade, held = (loud[open_], shade[open_], [p for p, ok in zip(parts[0], open_, strict=True) if ok])
    if level == 0 or len(loud) < 2:
        return level, True
    dark = shade <= np.median(shade)
    low, high = sorted(_floor(loud[half], held[0].size) for half in (dark, ~dark)) if not dark.all() else (1.0, 1.0)
    quiet = [part for part, own in zip(held, loud, strict=True) if own <= np.quantile(loud, 2 * QUIET)]
    like = sum((p[:, 1:] * p[:, :-1]).sum() for p in quiet) / max(sum(np.square(p[:, 1:]).sum() for p in quiet), 1e-12)
    return level, bool(low > EVEN * high and abs(like) < LIKE)


def _floor(loud: np.ndarray, count: int) -> float:
    """The deviation of the quietest patches, of `count` numbers each."""
    return float(np.quantile(loud, QUIET) / (1 - 0.84 / math.sqrt(2 * count)))  # .84 deviations below: a fifth


def _diagonal(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The diagonal differences of blocks of 2 x 2 pixels, and their brightness, (h, w, C) each, of some rows of large
    pictures.
    """
    height, width = (side // 2 * 2 for side in pixels.shape[:2])
    step = max(1, height * width // STRIP)
    cells = pixels[:height, :width].reshape(height // 2, 2, width // 2, 2, pixels.shape[2])[::step].astype(np.float32)
    a, b, c, d = cells[:, 0, :, 0], cells[:, 0, :, 1], cells[:, 1, :, 0], cells[:, 1, :, 1]
    return (a - b - c + d) / 2, (a + b + c + d) / 4


# -- between arrays and tensors ----------------------------------------------------------------------------------------


def _tensor(part: np.ndarray) -> Tensor:
    """(h, w, C) of whole numbers to (1, C, h, w) in [0, 1]."""
    v = torch.from_numpy(part.astype(np.float32)) / np.iinfo(part.dtype).max
    return v.permute(2, 0, 1).unsqueeze(0)


def _array(x: Tensor) -> np.ndarray:
    return x[0].permute(1, 2, 0).cpu().numpy()


def _run(
    model: Restorer, y: Tensor, level: Tensor, scale: int, how: How, at: tuple[int, int], whole: tuple[int, ...]
) -> Tensor:
    """The model on a picture of any sides, which are repeated to what it works on."""
    height, width = y.shape[2:]
    edges = (0, -width % model.grid, 0, -height % model.grid)
    y, level = (v if v.dim() < 4 else F.pad(v, edges, mode="replicate") for v in (y, level))
    n = None
    if how.realism:
        n = grain(how.seed, at, (y.shape[2], y.shape[3]), whole, len(y) * model.channels, scale)
        n = n.view(len(y), model.channels, *n.shape[1:])
    device = model.device
    n = None if n is None else n.to(device)
    x = model.restored(y.to(device), level.to(device), scale, how.realism, n, how.turned)
    return x[:, :, : height * scale, : width * scale].cpu()


def grain(
    seed: int, at: tuple[int, int], sides: tuple[int, int], whole: tuple[int, ...], channels: int, scale: int
) -> Tensor:
    """Normal noise (channels, scale h, scale w) of a part of a picture: that of each pixel depends on where it lies in
    the whole alone.
    """
    out = torch.empty(channels, *(side * scale for side in sides))
    rows, columns = (np.arange(a, a + side) % length for a, side, length in zip(at, sides, whole, strict=False))
    for i in np.unique(rows // GRAIN):
        for j in np.unique(columns // GRAIN):
            mark = int(np.random.SeedSequence([seed, int(i), int(j), scale]).generate_state(1)[0])
            made = torch.randn(channels, GRAIN * scale, GRAIN * scale, generator=torch.Generator().manual_seed(mark))
            here, there = (np.flatnonzero(k // GRAIN == m) for k, m in ((rows, i), (columns, j)))
            own = made[:, _wide(rows[here] % GRAIN, scale)][:, :, _wide(columns[there] % GRAIN, scale)]
            out[:, _wide(here, scale)[:, None], _wide(there, scale)] = own
    return out


def _wide(index: np.ndarray, scale: int) -> np.ndarray:
    """The pixels of an enlarged picture that those of the small one become."""
    return (index[:, None] * scale + np.arange(scale)).ravel()


def _through(
    change: Callable[[np.ndarray, int, int], np.ndarray],
    model: Restorer,
    pixels: np.ndarray,
    scale: int,
    how: How,
    margin: int,
    tick: Tick,
    channels: int | None = None,
) -> np.ndarray:
    height, width, count = pixels.shape
    top = np.iinfo(pixels.dtype).max
    made = np.empty((height * scale, width * scale, channels or count), pixels.dtype)

    def out(row: int, rows: np.ndarray) -> None:
        rows *= top
        made[row : row + len(rows)] = np.clip(np.rint(rows, out=rows), 0, top, out=rows)

    words: dict[str, Any] = {"scale": scale, "margin": margin, "grid": model.grid}
    tiled(change, pixels, out, **words, tile=how.checked().tile, wrap=how.wrap, tick=tick)
    return made


def tiles_of(pixels: np.ndarray, how: How) -> int:
    """How many tiles a picture is done in, for a bar of progress."""
    return math.prod(max(1, math.ceil(side / how.tile)) for side in pixels.shape[:2])


def _by_rows(change: Callable[[np.ndarray, np.ndarray], np.ndarray], pixels: np.ndarray, alpha: np.ndarray) -> Any:
    """`change` of pixels and alpha, rounded to the pixels' dtype, a strip at a time."""
    out, step = np.empty_like(pixels), max(1, STRIP // max(pixels.shape[1] * pixels.shape[2], 1))
    top = np.iinfo(pixels.dtype).max
    for row in range(0, len(pixels), step):
        part = change(pixels[row : row + step], alpha[row : row + step])
        out[row : row + step] = np.clip(np.rint(part), 0, top)
    return out
