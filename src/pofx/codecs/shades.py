"""Shades: what values become of 0 to 255, as a model of images learns, and how those of more than 8 bits come back."""

from typing import NamedTuple

import numpy as np

from ..errors import CodecError

MOST = 16  # channels of an array of images; pictures have one (grey) or three (red, green, blue)
SLACK = 1e-3  # of a shade, by which a real number may miss it and still be called that shade


class Depth(NamedTuple):
    """Values v from `low` to `high`, of `dtype`, as shades: s = round(255 (v - low) / (high - low))."""

    low: float
    high: float
    dtype: str

    @property
    def whole(self) -> bool:
        """Whether values are whole numbers."""
        return np.dtype(self.dtype).kind in "iu"

    def shades(self, values: np.ndarray) -> np.ndarray:
        """Values (n, ...) as shades, uint8; CodecError for values beyond `low` and `high`."""
        out = np.zeros(values.shape, np.uint8)
        low, high = (float(values.min()), float(values.max())) if values.size else (self.low, self.high)
        if not (low >= self.low and high <= self.high):
            raise CodecError(
                f"expected values from {self.low:g} to {self.high:g}, as were learned, got {low:g} to {high:g}: clip "
                "them, or fit a model to these"
            )
        if self.high > self.low:
            for i, image in enumerate(values):
                out[i] = np.round((image.astype(np.float64) - self.low) * (255 / (self.high - self.low)))
        return out

    def values(self, shades: np.ndarray) -> np.ndarray:
        """Shades as values: low + s (high - low) / 255."""
        v = self.low + np.arange(256) * ((self.high - self.low) / 255)
        return (np.round(v) if self.whole else v).astype(self.dtype)[shades]


class Shades(NamedTuple):
    """Images, uint8 (n, H, W, C), the depth of their values if it is another, and what there is to say of that."""

    images: np.ndarray
    depth: Depth | None = None
    note: str = ""


def shades(array: np.ndarray, depth: Depth | None = None) -> Shades:
    """An array of images (n, H, W) or (n, H, W, C) as shades.

    Bytes, truth values, whole numbers from 0 to 255 and reals from 0 to 1 are shades; of others `depth` says what they
    are, or without it their range does. Raises CodecError for other shapes, values that are not finite, and values
    beyond `depth`.
    """
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or not 1 <= array.shape[3] <= MOST or 0 in array.shape[1:3]:
        raise CodecError(
            f"expected images (n, H, W) or (n, H, W, C), C from 1 to {MOST}, got an array of {array.shape}"
        )
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise CodecError(f"expected shades that are finite numbers, got {low:g} to {high:g}: replace the others")
    if depth is not None:
        return Shades(depth.shades(array), depth)
    unit = 1 if array.dtype.kind == "f" else 255
    if array.dtype in (np.uint8, np.bool_):
        return Shades(array.astype(np.uint8, copy=False))
    if not (low >= 0 and high <= unit):
        depth = Depth(low, high, str(array.dtype))
        return Shades(depth.shades(array), depth, f"{low:g} to {high:g} ({depth.dtype}) are learned as 256 shades")
    scaled = array * (255 / unit)
    near = np.round(scaled)
    lost = bool((np.abs(scaled - near) > SLACK).any())
    return Shades(near.astype(np.uint8), None, f"0 to 1 ({array.dtype}) are learned as 256 shades" if lost else "")
