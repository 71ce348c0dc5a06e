"""Inception-v3 as the FID protocol takes it: images to the 2,048 numbers of its last average pool.

An image in 0 to 255 is brought to 299 x 299 (bilinear, half-pixel centres, no antialias) and to [-1, 1]. Each
convolution is without bias, then batch norm (eps .001) and ReLU. The graph of 2015 differs from the paper's
successors: its average pools do not count padding, and the pool of the last mixed block is a maximum.

Weights are the user's: a .safetensors file whose names are those of the widely used layout
(`Conv2d_1a_3x3.conv.weight`, `Mixed_5b.branch1x1.bn.running_mean`); a classifier (`fc`) and auxiliary outputs in it are
left aside.

Papers: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna 2016, Rethinking the Inception Architecture; Heusel, Ramsauer,
Unterthiner, Nessler, Hochreiter 2017, GANs Trained by a Two Time-Scale Update Rule (FID).
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import BadFile
from ..store import digest_of

FEATURES, SIDE, BATCH = 2048, 299, 32
CLASSES = 1008  # of the classifier in the graph of 2015; other training has others
MARK = 16  # hexadecimal digits of a digest
ASIDE = ("fc.", "AuxLogits.")  # what a file may hold beside
CONVERT = (
    'convert it once, where you trust it: python -c "import torch, safetensors.torch as s; s.save_file({k: '
    "v.contiguous() for k, v in torch.load('%s', map_location='cpu', weights_only=True).items()}, '%s')\""
)


class Convolution(nn.Module):
    """relu(bn(w * x)), w (out, in, kernel)."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int | tuple[int, int], stride: int = 1, padded: bool = True
    ) -> None:
        super().__init__()
        high, wide = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (high // 2, wide // 2) if padded else (0, 0)
        self.conv = nn.Conv2d(inputs, outputs, (high, wide), stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


def mean_pool(x: Tensor) -> Tensor:
    """Means of 3 x 3, of the numbers inside alone."""
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def max_pool(x: Tensor) -> Tensor:
    """Maxima of 3 x 3."""
    return F.max_pool2d(x, 3, 1, 1)


def halved(x: Tensor) -> Tensor:
    """Maxima of 3 x 3, every other one."""
    return F.max_pool2d(x, 3, 2)


# A branch is convolutions in a row: (name, outputs, kernel), -2 of a kernel: stride 2 without padding.
Row = tuple[tuple[str, int, int | tuple[int, int]], ...]
HALF = -2


class Mixed(nn.Module):
    """Branches side by side, joined along channels; then what `pool` says of x, under `branch_pool` where it has one.

    fork: a branch's last two convolutions see the same and both go on (`_2a`, `_2b`).
    """

    def __init__(self, inputs: int, branches: tuple[Row, ...], pool: Callable[[Tensor], Tensor], pooled: int) -> None:
        super().__init__()
        self.pool, self.rows = pool, [[f"branch{name}" for name, _, _ in branch] for branch in branches]
        for branch in branches:
            before = inputs
            for name, outputs, kernel in branch:
                half = kernel == HALF
                made = Convolution(before, outputs, 3 if half else kernel, 2 if half else 1, padded=not half)
                self.add_module(f"branch{name}", made)
                before = before if name.endswith("a") else outputs
        self.branch_pool = Convolution(inputs, pooled, 1) if pooled else None

    def forward(self, x: Tensor) -> Tensor:
        out = []
        for names in self.rows:
            v = x
            for name in names:
                made = self.get_submodule(name)(v)
                if name.endswith("a"):
                    out.append(made)
                else:
                    v = made
            out.append(v)
        v = self.pool(x)
        return torch.cat([*out, v if self.branch_pool is None else self.branch_pool(v)], 1)


def _five(inputs: int, pooled: int) -> Mixed:
    rows: tuple[Row, ...] = (
        (("1x1", 64, 1),),
        (("5x5_1", 48, 1), ("5x5_2", 64, 5)),
        (("3x3dbl_1", 64, 1), ("3x3dbl_2", 96, 3), ("3x3dbl_3", 96, 3)),
    )
    return Mixed(inputs, rows, mean_pool, pooled)


def _six(inputs: int, w: int) -> Mixed:
    across, down = (1, 7), (7, 1)
    rows: tuple[Row, ...] = (
        (("1x1", 192, 1),),
        (("7x7_1", w, 1), ("7x7_2", w, across), ("7x7_3", 192, down)),
        (("7x7dbl_1", w, 1), ("7x7dbl_2", w, down), ("7x7dbl_3", w, across), ("7x7dbl_4", w, down),
         ("7x7dbl_5", 192, across)),
    )  # fmt: skip
    return Mixed(inputs, rows, mean_pool, 192)


def _seven(inputs: int, pool: Callable[[Tensor], Tensor]) -> Mixed:
    rows: tuple[Row, ...] = (
        (("1x1", 320, 1),),
        (("3x3_1", 384, 1), ("3x3_2a", 384, (1, 3)), ("3x3_2b", 384, (3, 1))),
        (("3x3dbl_1", 448, 1), ("3x3dbl_2", 384, 3), ("3x3dbl_3a", 384, (1, 3)), ("3x3dbl_3b", 384, (3, 1))),
    )
    return Mixed(inputs, rows, pool, 192)


REDUCED: tuple[tuple[Row, ...], ...] = (
    ((("3x3", 384, HALF),), (("3x3dbl_1", 64, 1), ("3x3dbl_2", 96, 3), ("3x3dbl_3", 96, HALF))),
    (
        (("3x3_1", 192, 1), ("3x3_2", 320, HALF)),
        (("7x7x3_1", 192, 1), ("7x7x3_2", 192, (1, 7)), ("7x7x3_3", 192, (7, 1)), ("7x7x3_4", 192, HALF)),
    ),
)


class Inception(nn.Module):
    """`forward` takes images (B, 3, H, W) in [-1, 1] of any size, and gives (B, 2048)."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, 2, padded=False)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3, padded=False)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3)
        self.Conv2d_3b_1x1 = Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3, padded=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _five(192, 32), _five(256, 64), _five(288, 64)
        self.Mixed_6a = Mixed(288, REDUCED[0], halved, 0)
        self.Mixed_6b, self.Mixed_6c = _six(768, 128), _six(768, 160)
        self.Mixed_6d, self.Mixed_6e = _six(768, 160), _six(768, 192)
        self.Mixed_7a = Mixed(768, REDUCED[1], halved, 0)
        self.Mixed_7b, self.Mixed_7c = _seven(1280, mean_pool), _seven(2048, max_pool)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False)
        for name, part in self.named_children():
            x = part(x)
            if name in ("Conv2d_2b_3x3", "Conv2d_4a_3x3"):
                x = halved(x)
        return x.mean((2, 3))

    def of(self, images: np.ndarray) -> np.ndarray:
        """The features of images, uint8 (B, C, H, W) of one or three channels, (B, 2048) float32."""
        with torch.inference_mode():
            return self(torch.from_numpy(images).expand(-1, 3, -1, -1).float() / 127.5 - 1).numpy()


def load_inception(path: str | Path) -> tuple[Inception, str, int | None]:
    """The network with the weights of a file, a digest of them, and the classes of the classifier beside them, if any.

    Raises BadFile for a file that is none of safetensors, or lacks a weight, or has one of another shape.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = Path(path)
    if not path.is_file():
        raise BadFile(f"expected weights of Inception at {str(path)!r}, found none: check the path")
    if path.suffix != ".safetensors":
        told = CONVERT % (path.name, path.with_suffix(".safetensors").name)
        raise BadFile(f"expected Inception's weights as .safetensors, got {path.name!r}, which can run code: {told}")
    try:
        held = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise BadFile(f"{str(path)!r} is no safetensors file, or a damaged one ({error}): write it again") from error
    with torch.device("meta"):  # no weights are drawn, so that the global random state stays
        net = Inception()
    own = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    gone = sorted(own.keys() - held.keys())
    other = sorted(k for k in held.keys() - own.keys() if not k.startswith(ASIDE) and not k.endswith("_tracked"))
    if gone or other:
        words = "; ".join(f"{what} {', '.join(k[:3])}" for what, k in (("lacks", gone), ("has also", other)) if k)
        raise BadFile(f"expected the {len(own)} weights of Inception-v3 in {path.name!r}, but it {words}: "
                      "name them as Conv2d_1a_3x3.conv.weight, Mixed_5b.branch1x1.bn.running_mean")  # fmt: skip
    for name, v in own.items():
        if held[name].shape != tuple(v.shape):
            raise BadFile(f"expected {name} of shape {tuple(v.shape)}, got {held[name].shape}: is it Inception-v3?")
    kept = {name: held[name].astype(np.float32) for name in own}
    counts = {k: torch.zeros((), dtype=torch.long) for k in net.state_dict().keys() - own.keys()}
    net.load_state_dict({k: torch.from_numpy(v) for k, v in kept.items()} | counts, assign=True)
    classes = held["fc.weight"].shape[0] if "fc.weight" in held else None
    return net, digest_of("inception", kept)[:MARK], classes
