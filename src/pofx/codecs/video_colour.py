"""Frames of a video as RGB and back, by the matrix and the range that the frames themselves name.

    Y = Kr R + Kg G + Kb B,   Cb = (B - Y) / (2 - 2 Kb),   Cr = (R - Y) / (2 - 2 Kr),   Kg = 1 - Kr - Kb

Limited range keeps Y in [16, 235] and Cb, Cr in [16, 240]; full range uses all 256 levels. Poynton 2012, Digital Video
and HD, chapter 28; numbers of matrices as in ITU-T H.273.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import CodecError

if TYPE_CHECKING:
    import av

BT709, UNSET, BT601 = 1, 2, 6
LIMITED, FULL = 1, 2
WEIGHTS = {  # Kr, Kb
    BT709: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    BT601: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
NAMES = {BT709: "bt709", 4: "fcc", 5: "bt601", BT601: "bt601", 7: "smpte240m", 9: "bt2020"}
CONSTANT = 10  # BT.2020 of constant luminance, read as the common one
RGB = 0


@dataclass(frozen=True)
class Colour:
    """Matrix and range, always known; primaries and transfer as they were said; the chroma that is kept of YUV."""

    matrix: int
    range: int
    primaries: int
    transfer: int
    pixels: str
    guessed: bool = False

    def __str__(self) -> str:
        unset = " (not said: taken by the height)" if self.guessed else ""
        return f"{NAMES[self.matrix]}{unset}, {'full' if self.range == FULL else 'limited'} range"

    def fitting(self, height: int, width: int) -> "Colour":
        """With chroma of every pixel where halves of an odd side would be needed: the size stays as it is."""
        halved = {"yuv420p": (height, width), "yuv422p": (width,), "yuv444p": ()}[self.pixels]
        return replace(self, pixels="yuv444p") if any(side % 2 for side in halved) else self


def colour_of(frame: "av.VideoFrame") -> Colour:
    """Of a decoded frame; a matrix not said is bt709 from 720 rows on, else bt601, and a range not said is limited."""
    form = frame.format
    matrix = 9 if frame.colorspace == CONSTANT else frame.colorspace
    guessed = matrix not in WEIGHTS
    if guessed:
        matrix = BT709 if frame.height >= 720 else BT601
    full = frame.color_range == FULL or form.name.startswith("yuvj")
    grey = form.name.startswith("gray") and frame.color_range != LIMITED
    return Colour(
        matrix,
        FULL if (full or grey) and not form.is_rgb else LIMITED,
        frame.color_primaries,
        frame.color_trc,
        _chroma(form),
        guessed and not form.is_rgb,
    )


def _chroma(form: Any) -> str:
    if form.is_rgb or len(form.components) < 3:
        return "yuv444p" if form.is_rgb else "yuv420p"
    if form.chroma_width(64) == 64:
        return "yuv444p"
    return "yuv422p" if form.chroma_width(64) == 32 and form.chroma_height(64) == 64 else "yuv420p"


class Painter:
    """RGB of frames and frames of RGB; unchanged frames differ by rounding alone."""

    def __init__(self) -> None:
        from av.video.reformatter import Interpolation as I
        from av.video.reformatter import VideoReformatter

        self._to, self._from = VideoReformatter(), VideoReformatter()
        self._how = int(I.BICUBIC | I.ACCURATE_RND | I.FULL_CHR_H_INT | I.FULL_CHR_H_INP)

    def array(self, frame: "av.VideoFrame", colour: Colour) -> np.ndarray:
        """RGB of 8 bits, (H, W, 3), upright."""
        said: dict[str, Any] = {"src_colorspace": _scaler(colour.matrix), "src_color_range": colour.range}
        if frame.format.is_rgb:
            said = {}
        rgb = self._to.reformat(frame, format="rgb24", dst_color_range=FULL, interpolation=self._how, threads=1, **said)
        return upright(rgb.to_ndarray(), turn_of(frame))

    def frame(self, array: np.ndarray, colour: Colour) -> "av.VideoFrame":
        """A frame of colour.pixels. swscale rounds well to limited range only: full range is computed here."""
        import av

        said: dict[str, Any] = {"dst_colorspace": _scaler(colour.matrix), "dst_color_range": colour.range}
        if colour.range == FULL:
            rgb = av.VideoFrame.from_ndarray(_full(array, colour.matrix), "yuv444p")
            said |= {"src_colorspace": _scaler(colour.matrix), "src_color_range": FULL}
        else:
            rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), "rgb24")
            said |= {"src_color_range": FULL}
        made = self._from.reformat(rgb, format=colour.pixels, interpolation=self._how, threads=1, **said)
        tag(made, colour)
        return made


def tag(target: Any, colour: Colour) -> None:
    """Writes on a frame or an encoder what its colours mean."""
    target.colorspace, target.color_range = colour.matrix, colour.range
    target.color_primaries, target.color_trc = colour.primaries, colour.transfer


def _scaler(matrix: int) -> int:
    """swscale's number of a matrix."""
    return 5 if matrix == BT601 else matrix


def _full(array: np.ndarray, matrix: int) -> np.ndarray:
    """(H, W, 3) RGB to planes (3, H, W) of Y, Cb, Cr, all of 256 levels."""
    kr, kb = WEIGHTS[matrix]
    luma = np.array([kr, 1 - kr - kb, kb])
    rows = np.stack([luma, (np.eye(3)[2] - luma) / (2 - 2 * kb), (np.eye(3)[0] - luma) / (2 - 2 * kr)])
    planes = rows.astype(np.float32) @ array.reshape(-1, 3).T.astype(np.float32)
    planes += np.array([[0.5], [128.5], [128.5]], np.float32)
    return planes.clip(0, 255).astype(np.uint8).reshape(3, *array.shape[:2])


def turn_of(frame: "av.VideoFrame") -> tuple[int, int, int, int] | None:
    """(a, b, c, d) of x' = a x + c y, y' = b x + d y, signs alone, which turns a stored frame upright; None: as it is.

    Raises CodecError for a turn by another angle than quarters.
    """
    from av.sidedata.sidedata import Type

    side = frame.side_data.get(Type.DISPLAYMATRIX)
    if side is None:
        return None
    m = np.frombuffer(bytes(side), np.int32)[[0, 1, 3, 4]]
    a, b, c, d = (int(sign) for sign in np.sign(np.where(abs(m) < abs(m).max() / 1000, 0, m)))
    if (a, b, c, d) == (1, 0, 0, 1):
        return None
    if not (a == d == 0 and b and c) and not (b == c == 0 and a and d):
        raise CodecError(
            f"expected frames turned by quarters, got an angle of {frame.rotation} degrees: turn the video first"
        )
    return a, b, c, d


def upright(array: np.ndarray, turn: tuple[int, int, int, int] | None) -> np.ndarray:
    """(H, W, C) as it is to be seen."""
    if turn is None:
        return array
    a, b, c, d = turn
    turned = array if a else array.transpose(1, 0, 2)
    return np.ascontiguousarray(turned[:: b or d, :: a or c])
