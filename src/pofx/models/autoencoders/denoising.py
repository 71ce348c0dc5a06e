"""denoising: from a spoiled example to the clean one, and with that the slope of log p of spoiled data."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ... import corrupt
from ...errors import SpecError, Unsupported
from ...nn.coders import Block
from ...nn.mixed import Mixed
from ...nn.mlp import MLP
from ...spec import Columns, Given, Spec
from ..model import Batch, Clock, Model, Recipe, Rows
from ..vectors import RowVectors, vectors_of

CORRUPTIONS = ("auto", "gaussian", "mask", "swap", "salt_pepper", "blur")
CHUNK = 1024


class Residual(Mixed):
    """w + g(w) of images: g works on quarter images of four times the channels, 3 x 3 convolutions in blocks.

    Paper: Zhang et al. 2017, Beyond a Gaussian Denoiser (residual learning); 2018, FFDNet (sub-images).
    """

    def __init__(self, channels: int, width: int, depth: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, width, 3, padding=1),
            *[Block(width) for _ in range(depth)], nn.SiLU(), nn.Conv2d(width, 4 * channels, 3, padding=1),
            nn.PixelShuffle(2),
        )  # fmt: skip
        nn.init.zeros_(self.body[-2].weight), nn.init.zeros_(self.body[-2].bias)

    def exact(self, w: Tensor, c: Tensor | None = None) -> Tensor:
        height, width = w.shape[2:]
        even = F.pad(w, (0, width % 2, 0, height % 2), mode="replicate")
        moved = self.body(even.contiguous(memory_format=torch.channels_last))
        return w + moved[:, :, :height, :width]


class ResidualRow(nn.Module):
    """w + g(w) of vectors, g a perceptron."""

    def __init__(self, size: int, width: int, depth: int) -> None:
        super().__init__()
        self.body = MLP(size, size, width, depth, gain=0.0)

    def forward(self, w: Tensor) -> Tensor:
        return w + self.body(w)


class Denoising(Model):
    """min E |v - r(w)|^2, w = C(v) a spoiled v: r(w) = E[v | w], the best there is. r(w) = w + g(w), no bottleneck.

    corruption: `gaussian`, strength its deviation (of standard scores, or of pixels in [0, 1]); `mask`, `swap` and
    `salt_pepper`, strength the share of fields or pixels; `blur`, strength the width in pixels. `auto` is gaussian for
    numbers and swap for categories, and gaussian for images. With `blind` the strength of each example in training is
    chance, up to `strength`: one model for every level of noise.

    `score(v)` = (r(v) - v) / strength^2 is grad log p_strength(v), p_strength the law of data with Gaussian noise of
    that strength (Tweedie's formula); for it the noise is Gaussian, and not blind.

    v: (B, *shape), models/vectors.py. The loss is the squared error of a row, without unit. `remarks`: that of a number
    of v on rows not trained on, beside that of leaving w as it is.

    Papers: Vincent, Larochelle, Bengio, Manzagol 2008, Extracting and Composing Robust Features with Denoising
    Autoencoders; Vincent 2011, A Connection Between Score Matching and Denoising Autoencoders.

        >>> pofx.fit("adult.csv", model="denoising", strength=0.5)  # doctest: +SKIP
    """

    family = "autoencoders"
    images = True
    abilities = frozenset({"restore"})

    def __init__(
        self,
        spec: Spec,
        corruption: str = "auto",
        strength: float = 0.3,
        blind: bool = False,
        width: int = 64,
        depth: int = 4,
    ) -> None:
        super().__init__(spec)
        if corruption not in CORRUPTIONS:
            raise SpecError(f"expected corruption among {', '.join(CORRUPTIONS)}, got {corruption!r}")
        if strength <= 0 or (corruption in ("mask", "swap", "salt_pepper") and strength > 1):
            raise SpecError(f"expected strength above 0, and of a share at most 1, got {strength}")
        self.vectors = vectors_of(spec)
        self.rows = isinstance(self.vectors, RowVectors)
        if self.rows and corruption in ("blur", "salt_pepper"):
            raise SpecError(f"expected images for corruption={corruption!r}, got rows: use gaussian, mask or swap")
        if blind and corruption == "blur":
            raise SpecError("expected blind=False for blur, whose width is one for a batch")
        self.corruption, self.strength, self.blind = corruption, strength, blind
        shape = self.vectors.shape
        self.net = ResidualRow(shape[0], 4 * width, depth // 2) if self.rows else Residual(shape[0], width, depth)

    def recipe(self, rows: int) -> Recipe:
        return Recipe(steps=min(5000, 500 + rows // 5), batch=min(128, max(rows, 1)), rate=2e-3)

    def prepare(self, x: Columns, c: Columns | None = None) -> Batch:
        return (self.vectors.prepare(x),)

    def spoil(self, v: Tensor, generator: torch.Generator) -> Tensor:
        """C(v)."""
        strength: Tensor | float = self.strength
        if self.blind:
            strength = strength * torch.rand(len(v), generator=generator, device=v.device)
        if self.corruption == "blur":
            return corrupt.blur(v, self.strength)
        if self.corruption == "salt_pepper":
            return corrupt.salt_pepper(v, strength, generator)
        if self.corruption in ("mask", "swap"):
            widths = self.vectors.widths if self.rows else None
            return getattr(corrupt, self.corruption)(v, strength, generator, widths)
        noisy = corrupt.gaussian(v, strength, generator)
        if self.corruption == "gaussian" or not isinstance(self.vectors, RowVectors) or not self.vectors.sight.groups:
            return noisy
        count, share = len(self.vectors.sight.numbers), torch.as_tensor(strength).clamp(max=1.0)
        swapped = corrupt.swap(v[:, count:], share, generator, self.vectors.sight.sizes)
        return torch.cat([noisy[:, :count], swapped], 1)

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        v = self.vectors.of(batch[0])
        return (v - self.net(self.spoil(v, generator))).flatten(1).square().sum(1)

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        raise self._cannot("sample")

    def decode(
        self, z: Tensor, c: Columns | None = None, given: Given | None = None, known: Rows | None = None
    ) -> Columns:
        raise self._cannot("sample")

    @torch.no_grad()
    def clean(self, w: Tensor) -> Tensor:
        """r(w), (n, *shape)."""
        like = next(self.net.parameters())
        return torch.cat([self.net(part.to(like)).cpu() for part in w.split(CHUNK)])

    def restore(self, x: Columns, c: Columns | None = None) -> Columns:
        """The clean examples of spoiled ones."""
        return self.vectors.lower(self.clean(self.vectors.of(self.vectors.prepare(x))))

    def score(self, v: Tensor) -> Tensor:
        """grad log p_strength at v, (n, *shape); Unsupported where the noise is not Gaussian of one strength."""
        gaussian = self.corruption == "gaussian" or (self.corruption == "auto" and not self._swaps())
        if self.blind or not gaussian:
            raise Unsupported("the score needs Gaussian noise of one strength: fit with corruption='gaussian'")
        return (self.clean(v) - v) / self.strength**2

    def slopes(self, x: Columns) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """(d/dx log p_strength(v(x)), strength / (dv/dx)) of each number, float64, by its field: the slope in the
        user's units, and the noise's deviation there in the same.

        dv/dx is that of the line between the ends of one deviation of noise about v. NaN where a value is missing, or
        so frequent that both ends are the same.
        """
        vectors = self.vectors
        v = vectors.of(vectors.prepare(x))
        slope = self.score(v).double()
        if not isinstance(vectors, RowVectors):
            each = zip(self.spec.fields, slope.unbind(1), strict=True)
            at = float(self.spec.fields[0].top)  # type: ignore[attr-defined]
            return {f.name: ((part / at).numpy(), np.full(part.shape, self.strength * at)) for f, part in each}
        rest, out = v[:, len(vectors.sight.numbers) :], {}
        ends = [vectors.lower(torch.cat([v[:, : -rest.shape[1] or None] + side * self.strength / 2, rest], 1))
                for side in (-1, 1)]  # fmt: skip
        low, high = (vectors.prepare(end).double() for end in ends)
        for i, j in enumerate(vectors.sight.numbers):
            field = self.spec.fields[j]
            wide = (ends[1][field.name] - ends[0][field.name]).astype(np.float64)
            gone = np.any([field.absent(part[field.name]) for part in (x, *ends)], 0) | (wide <= 0)
            steep = (high - low)[:, i].numpy() / np.where(gone, np.nan, wide)
            out[field.name] = slope[:, i].numpy() * steep, self.strength / steep
        return out

    def _swaps(self) -> bool:
        return isinstance(self.vectors, RowVectors) and bool(self.vectors.sight.groups)

    def remarks(self, x: Columns, c: Columns | None = None) -> dict[str, float]:
        v = self.vectors.of(self.vectors.prepare(x))
        w = self.spoil(v, torch.Generator().manual_seed(0))
        left, before = (v - self.clean(w)).square().mean(), (v - w).square().mean()
        return {"squared error": float(left), "squared error as it came": float(before)}


MODEL = Denoising
