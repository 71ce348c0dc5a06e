"""PNG and TIFF of 8 and 16 bits, grey or coloured, with alpha or without, written strip by strip.

Pillow writes no colour of 16 bits. Of the libraries that do, pypng (MIT, last release 2022) loops in Python and does
not filter, tifffile (BSD, kept) is for TIFF alone, and imagecodecs, OpenCV and imageio weigh tens of megabytes; what a
photo needs of both formats is the 60 lines below.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from .exif import tags_of

BYTES = 1 << 19  # of a strip, which a cache holds
LEVEL = 6  # of zlib
COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}  # PNG's colour type by the number of channels
INCH = 0.0254  # metres


def strips(pixels: np.ndarray, alpha: np.ndarray | None) -> Iterator[np.ndarray]:
    """Rows of pixels (H, W, C) and alpha (H, W) together, (h, W, C + 1), a strip at a time."""
    step = rows_of(pixels)
    for top in range(0, len(pixels), step):
        part = pixels[top : top + step]
        yield part if alpha is None else np.concatenate([part, alpha[top : top + step, :, None]], -1)


def rows_of(pixels: np.ndarray) -> int:
    """The rows of a strip."""
    return max(1, BYTES // max(pixels[:1].nbytes, 1))


# -- PNG ---------------------------------------------------------------------------------------------------------------


def write_png(file: IO[bytes], pixels: np.ndarray, alpha: np.ndarray | None, kept: Any) -> None:
    """pixels (H, W, C), C 1 or 3, and alpha (H, W), uint8 or uint16, with icc, exif, xmp and dpi of `kept`."""

    def chunk(kind: bytes, data: bytes) -> None:
        file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))

    channels, bits = pixels.shape[2] + (alpha is not None), 8 * pixels.itemsize
    file.write(b"\x89PNG\r\n\x1a\n")
    chunk(b"IHDR", struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], bits, COLOURS[channels], 0, 0, 0))
    if kept.icc:
        chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(kept.icc))
    if kept.dpi:
        chunk(b"pHYs", struct.pack(">IIB", *(round(value / INCH) for value in kept.dpi), 1))
    if kept.exif:
        chunk(b"eXIf", kept.exif)
    if kept.xmp:
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + kept.xmp)
    press = zlib.compressobj(LEVEL)
    above = np.zeros((1, pixels.shape[1] * channels * pixels.itemsize), np.uint8)
    for part in strips(pixels, alpha):
        rows = part.astype(f">u{pixels.itemsize}").view(np.uint8).reshape(len(part), -1)
        chunk(b"IDAT", press.compress(filtered(rows, above, channels * pixels.itemsize).tobytes()))
        above = rows[-1:]
    chunk(b"IDAT", press.flush())
    chunk(b"IEND", b"")


def filtered(rows: np.ndarray, above: np.ndarray, size: int) -> np.ndarray:
    """Rows (n, L) of bytes as differences, their filter before each: (n, 1 + L).

    above: the row before the first, (1, L); size: bytes of a pixel. Of the filters Sub (1), Up (2) and Paeth (4) a row
    takes the one whose bytes, as signed numbers, have the least sum of sizes.
    """
    up = np.concatenate([above, rows[:-1]])
    left, corner = (np.pad(a, ((0, 0), (size, 0)))[:, :-size] for a in (rows, up))
    p, q = up.astype(np.int16) - corner, left.astype(np.int16) - corner  # how far the guess lies from left, from up
    a, b, c = np.abs(p), np.abs(q), np.abs(p + q)
    paeth = np.where((a <= b) & (a <= c), left, np.where(b <= c, up, corner))
    tried = [rows - guess for guess in (left, up, paeth)]
    best = np.argmin([np.abs(one.view(np.int8).astype(np.int16)).sum(1, dtype=np.int64) for one in tried], 0)
    out = np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
    out[:, 0] = np.array([1, 2, 4], np.uint8)[best]
    for i, one in enumerate(tried):
        out[best == i, 1:] = one[best == i]
    return out


# -- TIFF --------------------------------------------------------------------------------------------------------------

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
OFFSETS, SAMPLES, ROWS, COUNTS, ACROSS, DOWN, PLANAR = 273, 277, 278, 279, 282, 283, 284
UNIT, PREDICTOR, EXTRA, XMP, ICC = 296, 317, 338, 700, 34675
LONG = 4
DEFLATE, DIFFERENCES, INCHES, UNASSOCIATED = 8, 2, 2, 2


def write_tiff(file: IO[bytes], pixels: np.ndarray, alpha: np.ndarray | None, kept: Any) -> None:
    """As `write_png`; strips of differences along rows, deflated, and then the directory."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    file.write(b"II*\0" + bytes(4))
    starts, sizes = [], []
    for part in strips(pixels, alpha):
        rows = part.astype(f"<u{pixels.itemsize}")
        rows[:, 1:] -= rows[:, :-1].copy()
        data = zlib.compress(rows.tobytes(), LEVEL)
        starts.append(file.tell())
        sizes.append(len(data))
        file.write(data + bytes(len(data) % 2))
    channels = pixels.shape[2] + (alpha is not None)
    ifd = ImageFileDirectory_v2(b"II*\0" + bytes(4))
    tags = {
        WIDTH: pixels.shape[1], HEIGHT: pixels.shape[0], BITS: (8 * pixels.itemsize,) * channels, COMPRESSION: DEFLATE,
        PHOTOMETRIC: 1 if pixels.shape[2] == 1 else 2, SAMPLES: channels, ROWS: rows_of(pixels), PLANAR: 1,
        PREDICTOR: DIFFERENCES, OFFSETS: (0,) * len(starts), COUNTS: tuple(sizes),
    }  # fmt: skip
    tags |= {EXTRA: UNASSOCIATED} if alpha is not None else {}
    tags |= {ACROSS: kept.dpi[0], DOWN: kept.dpi[1], UNIT: INCHES} if kept.dpi else {}
    tags |= {ICC: kept.icc} if kept.icc else {}
    tags |= {XMP: kept.xmp} if kept.xmp else {}
    for tag, value in (tags | (tags_of(kept.exif) if kept.exif else {})).items():
        ifd[tag] = value
    for tag in (OFFSETS, COUNTS):
        ifd.tagtype[tag] = LONG
    at = file.tell()
    file.write(_placed(ifd.tobytes(at), at, starts))
    file.seek(4)
    file.write(struct.pack("<I", at))


def _placed(directory: bytes, at: int, starts: list[int]) -> bytes:
    """A directory that stands at `at`, with the places of the strips, which Pillow takes to follow it."""
    out = bytearray(directory)
    for entry in range(2, 2 + 12 * struct.unpack_from("<H", out)[0], 12):
        if struct.unpack_from("<H", out, entry)[0] == OFFSETS:
            where = entry + 8 if len(starts) == 1 else struct.unpack_from("<I", out, entry + 8)[0] - at
            struct.pack_into(f"<{len(starts)}I", out, where, *starts)
    return bytes(out)
