"""How an autoencoder sees an example and gives it back: what its encoder reads, and the law its decoder speaks of.

A lens makes tensors of stored columns (`prepare`), the input of a network of them (`see`), their log mass under what a
decoder said (`log_mass`), and stored columns of what a decoder said and uniform numbers (`draw`), or of the centre of
its law (`centre`). `RowLens` is for the rows of a table, `PixelLens` for images; `lens_of(spec)` picks.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import SpecError
from ..nn.heads import CELLS, Bernoulli, CellHead, LogisticMixture
from ..spec import Columns, Spec
from .laws import FAR, laws_of
from .lifted import Reader, Sight, house, to_normal
from .model import Batch
from .vectors import PixelVectors

FEW = 5  # rows of a level below which chance decides what it goes along with


class Lens(nn.Module):
    """How an example is seen and given back.

    shape: of what `see` gives; told: of what a decoder gives; draws: uniform numbers of a draw; parts: tensors of an
    example in a batch; room: numbers that the log mass of an example works on.
    """

    shape: tuple[int, ...]
    told: tuple[int, ...]
    draws: int
    parts: int
    room: int

    def prepare(self, x: Columns) -> tuple[Batch, Tensor]:
        """The tensors of stored columns, and what is added to their log mass to be log p in the house measure, (n,)."""
        raise NotImplementedError

    def fresh(self, own: Batch, generator: torch.Generator) -> Batch:
        """The tensors as one step of training sees them."""
        return own

    def strict(self, own: Batch) -> None:
        """SpecError for examples of which the law is no likelihood."""

    def fair(self, x: Columns, seed: int) -> Columns:
        """Examples of which it is one: these, or drawn from them."""
        return x

    def see(self, own: Batch) -> Tensor:
        """What an encoder reads, (B, *shape)."""
        raise NotImplementedError

    def log_mass(self, theta: Tensor, own: Batch) -> Tensor:
        """log p(x|z), (K, B), of theta (K, B, *told) and B examples."""
        raise NotImplementedError

    def draw(self, theta: Tensor, u: Tensor, there: bool = False) -> Columns:
        """Stored columns of a draw, theta (B, *told), u (B, draws); `there`: without missing cells."""
        raise NotImplementedError

    def centre(self, theta: Tensor) -> Columns:
        """Stored columns of the centre of the law, theta (B, *told)."""
        raise NotImplementedError

    def marginal(self, own: Batch) -> Tensor:
        """A theta, (*told,), from which a decoder may start: the law of the data without any relation."""
        raise NotImplementedError

    def trace(self, own: Batch) -> Tensor:
        """Numbers in float64, (B, any), that tell examples apart."""
        raise NotImplementedError

    def plain(self, own: Batch) -> Tensor:
        """Examples as vectors of one scale, (B, any), whose covariance says what can be learned."""
        raise NotImplementedError


def lens_of(
    spec: Spec,
    width: int = 128,
    likelihood: str | Mapping[str, str] = "mixture",
    components: int = 6,
    binarise: bool = False,
    blanks: bool = False,
) -> Lens:
    """The lens of a Spec; `blanks`: encoders are told which cells are not known. SpecError where it cannot be.

    likelihood: a head for all numbers, or heads by column (models/laws.py); of images, one for all shades.
    """
    if not any(block.sites for block in spec.blocks):
        if binarise:
            raise SpecError("expected images for binarise, got rows of a table: leave it out")
        return RowLens(spec, likelihood, components, width, blanks)
    if not isinstance(likelihood, str) or likelihood not in CELLS:
        raise SpecError(f"expected likelihood among {', '.join(CELLS)} for images, got {likelihood!r}")
    return PixelLens(spec, LogisticMixture(components) if likelihood == "mixture" else CELLS[likelihood], binarise)


# -- rows --------------------------------------------------------------------------------------------------------------


class RowLens(Lens):
    """Rows of a table: the product over their fields of the laws of models/laws.py.

    own: (lo, width, codes) of `Sight`. A cell that is integrated out has width 1 or code -1, and log mass 0; an encoder
    sees it as such.
    """

    parts = 3

    def __init__(
        self, spec: Spec, likelihood: str | Mapping[str, str], components: int, width: int, blanks: bool
    ) -> None:
        super().__init__()
        self.fields, self.sight = spec.fields, Sight(spec.fields)
        self.reader = Reader(self.sight, width)
        numbers = len(self.sight.numbers)
        self.blank = nn.Linear(numbers, width, bias=False) if numbers and blanks else None
        laws = laws_of(self.sight, likelihood, components)
        self.laws = nn.ModuleList(laws)
        self.sizes, self.drawn = [law.size for law in laws], [law.draws for law in laws]
        self.shape, self.told, self.draws = (width,), (sum(self.sizes),), sum(self.drawn)
        self.room = sum(law.room for law in laws)
        self.place = np.argsort([j for law in laws for j in law.of])
        if self.blank is not None:
            nn.init.zeros_(self.blank.weight)

    def prepare(self, x: Columns) -> tuple[Batch, Tensor]:
        return self.sight.see(x), torch.from_numpy(house(self.fields, x).sum(1))

    def see(self, own: Batch) -> Tensor:
        lo, width, codes = own
        dtype = next(self.reader.parameters()).dtype
        read = self.reader(to_normal(lo + width / 2).to(dtype), codes)
        return read if self.blank is None else read + self.blank((width >= 1).to(dtype))

    def hide(self, own: Batch, hidden: Tensor) -> Batch:
        """The rows with some cells integrated out, hidden (B, fields) in the order of the fields."""
        lo, width, codes = own
        away, code = hidden[:, self.sight.numbers], hidden[:, self.sight.groups]
        return torch.where(away, 0.0, lo), torch.where(away, 1.0, width), torch.where(code, -1, codes)

    def log_mass(self, theta: Tensor, own: Batch) -> Tensor:
        parts = zip(self.laws, theta.split(self.sizes, -1), strict=True)
        return torch.stack([law.log_mass(part, own) for law, part in parts]).sum(0)

    def _lower(self, levels: list[Tensor]) -> Columns:
        level = torch.cat([part.cpu() for part in levels], 1).numpy()[:, self.place]
        return {field.name: field.lower(level[:, j]) for j, field in enumerate(self.fields)}

    def draw(self, theta: Tensor, u: Tensor, there: bool = False) -> Columns:
        parts = zip(self.laws, theta.split(self.sizes, -1), u.split(self.drawn, -1), strict=True)
        return self._lower([law.draw(part, uniform, there) for law, part, uniform in parts])

    def centre(self, theta: Tensor) -> Columns:
        return self._lower([law.centre(part) for law, part in zip(self.laws, theta.split(self.sizes, -1), strict=True)])

    def marginal(self, own: Batch) -> Tensor:
        return torch.cat([law.marginal() for law in self.laws])

    def trace(self, own: Batch) -> Tensor:
        return torch.cat([own[0], own[2].double() / 256], 1)

    def plain(self, own: Batch) -> Tensor:
        """Numbers of variance one, and each category in so many columns, uncorrelated, as it has levels less one."""
        v = to_normal(own[0] + own[1] / 2)
        v = v - v.mean(0)
        parts = [v / v.square().mean(0).sqrt().clamp(min=1e-6)]
        return torch.cat(parts + [_contrasts(own[2][:, j], size) for j, size in enumerate(self.sight.sizes)], 1)


def _contrasts(code: Tensor, size: int) -> Tensor:
    """A category as K - 1 columns of covariance I, (n, K - 1), K the levels that FEW rows or more have, of masses p:
    the ones and zeros over sqrt(p), in a basis of the complement of sqrt(p), along which they do not vary. Rows of
    other levels, or of none, lie in the middle: zero.
    """
    seen = torch.bincount(code + 1, minlength=size + 1)[1:].double()
    kept = torch.nonzero(seen >= FEW)[:, 0]
    p = seen[kept] / seen[kept].sum()
    basis = torch.linalg.qr(torch.cat([p.sqrt().unsqueeze(1), torch.eye(len(p)).to(p)], 1))[0][:, 1 : len(p)]
    rows = torch.zeros(size + 1, max(len(p) - 1, 0), dtype=p.dtype, device=p.device)
    rows[kept + 1] = basis / p.sqrt().unsqueeze(1)
    return rows[code + 1]


# -- images ------------------------------------------------------------------------------------------------------------


class PixelLens(Lens):
    """Images of C channels, (C, H, W), stored as 8-bit numbers. Pixels of two states have a Bernoulli law; others have
    a law of cells of width 2 / top on [-1, 1], whose first cell begins at -infinity and whose last has no end.

    Colours go together: the law of channel i of such a pixel is moved by sum_(j < i) a_ij v_j, of the pixel's channels
    before it, v on [-1, 1], so that p(v|z) is the product of p(v_i | v_<i, z); a decoder says the a_ij too.

    With `binarise` the stored numbers, over `top`, are probabilities of ink: each step of training draws black and
    white pixels anew. A likelihood is then that of black and white pixels alone: grey ones are refused. own: (pixels,).

    Papers: Salakhutdinov, Murray 2008, On the Quantitative Analysis of Deep Belief Networks (drawing pixels anew);
    Salimans et al. 2017, PixelCNN++ (colours).
    """

    parts = 1

    def __init__(self, spec: Spec, head: CellHead, binarise: bool) -> None:
        super().__init__()
        self.vectors = PixelVectors(spec)
        self.fields, self.top, self.shape = spec.fields, self.vectors.top, self.vectors.shape
        self.binarise = binarise
        self.head: CellHead | Bernoulli = Bernoulli() if binarise or self.top == 1 else head
        channels = 1 if isinstance(self.head, Bernoulli) else self.shape[0]
        self.pairs = [(i, j) for i in range(channels) for j in range(i)]
        self.told = (self.head.size * self.shape[0] + len(self.pairs), *self.shape[1:])
        self.draws, self.room = self.head.draws * math.prod(self.shape), math.prod(self.told)
        self.register_buffer("like", torch.zeros(0), persistent=False)
        after, before = torch.tensor(self.pairs).reshape(-1, 2).long().unbind(1)
        self.register_buffer("after", after, persistent=False)
        self.register_buffer("before", before, persistent=False)

    def prepare(self, x: Columns) -> tuple[Batch, Tensor]:
        pixels = self.vectors.prepare(x)
        return (pixels,), torch.zeros(len(pixels), dtype=torch.float64)

    def fresh(self, own: Batch, generator: torch.Generator) -> Batch:
        if not self.binarise:
            return own
        u = torch.rand(own[0].shape, generator=generator, device=own[0].device) * self.top
        return ((u < own[0]).to(torch.uint8) * self.top,)

    def strict(self, own: Batch) -> None:
        """SpecError for grey pixels where the law is that of black and white ones."""
        if self.binarise and ((own[0] != 0) & (own[0] != self.top)).any():
            raise SpecError(
                "expected black and white pixels, got grey ones: a Bernoulli law is no likelihood of them; draw "
                "them once (binarise), or fit without binarise, which gives 256 levels a law of their own"
            )

    def fair(self, x: Columns, seed: int) -> Columns:
        """Pixels drawn black or white once, where the law is of such."""
        if not self.binarise:
            return x
        rng, ink = np.random.default_rng(seed), np.uint8(self.top)
        return {
            f.name: (rng.random(x[f.name].shape) * self.top < x[f.name]).astype(np.uint8) * ink for f in self.fields
        }

    def see(self, own: Batch) -> Tensor:
        return own[0].to(self.like.dtype) * (2 / self.top) - 1

    def ends(self, shade: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The ends of shades' cells on [-1, 1] and their distance, each of the shape of `shade`."""
        middle = shade.to(self.like.dtype)
        low = torch.where(shade == 0, -FAR, (middle - 0.5) * (2 / self.top) - 1)
        high = torch.where(shade == self.top, FAR, (middle + 0.5) * (2 / self.top) - 1)
        return low, high, torch.where((shade == 0) | (shade == self.top), FAR, 2 / self.top)

    def laws(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """What `told` says, (B, *told), as laws of pixels, (B, size, C, H, W), and as a_ij, (B, pairs, H, W)."""
        own, tied = theta.split([self.head.size * self.shape[0], len(self.pairs)], 1)
        return own.reshape(len(theta), self.head.size, *self.shape), tied

    def moved(self, tied: Tensor, before: list[Tensor]) -> Tensor | float:
        """sum_(j < i) a_ij v_j of the channel i after those of `before`, (B, H, W) each."""
        of = ((a, j) for a, (i, j) in enumerate(self.pairs) if i == len(before))
        return sum((tied[:, a] * before[j] for a, j in of), 0.0)

    def log_mass(self, theta: Tensor, own: Batch) -> Tensor:
        k, b = theta.shape[:2]
        laws, tied = self.laws(theta.flatten(0, 1))
        if isinstance(self.head, Bernoulli):
            ink = (own[0].to(theta.dtype) / self.top).expand(k, *own[0].shape).reshape(k * b, *self.shape)
            return self.head.log_mass(ink, laws).flatten(1).sum(1).view(k, b)
        low, high, gap = (end.expand(k, *own[0].shape).reshape(k * b, *self.shape) for end in self.ends(own[0]))
        if self.pairs:
            v = self.see(own).expand(k, *own[0].shape).reshape(k * b, *self.shape)
            shift = torch.zeros_like(v).index_add(1, self.after, tied * v[:, self.before])
            low, high = low - shift, high - shift
        return self.head.log_mass(low, high, gap, laws).flatten(1).sum(1).view(k, b)

    def _columns(self, place: Tensor) -> Columns:
        pixels = place.clamp(0, self.top).round().to(torch.uint8).cpu().numpy()
        return {f.name: pixels[:, i] for i, f in enumerate(self.fields)}

    def _scaled(self, place: Tensor) -> Columns:
        return self._columns(place * self.top if isinstance(self.head, Bernoulli) else (place + 1) * (self.top / 2))

    def mean(self, theta: Tensor) -> Tensor:
        """The mean of each pixel over `top`, (B, C, H, W) in [0, 1], theta (B, *told)."""
        laws, tied = self.laws(theta)
        if isinstance(self.head, Bernoulli):
            return torch.sigmoid(laws[:, 0])
        out: list[Tensor] = []
        for own in self.head.centre(laws).unbind(1):
            out.append((own + self.moved(tied, out)).clamp(-1, 1))
        return (torch.stack(out, 1) + 1) / 2

    def draw(self, theta: Tensor, u: Tensor, there: bool = False) -> Columns:
        laws, tied = (part.double() for part in self.laws(theta))
        out: list[Tensor] = []
        for own in self.head.draw(laws, u.view(-1, self.head.draws, *self.shape)).unbind(1):
            out.append(self.on_grid(own + self.moved(tied, out)) if self.pairs else own)
        return self._scaled(torch.stack(out, 1))

    def on_grid(self, place: Tensor) -> Tensor:
        """Places on [-1, 1] as those of the shades whose cells they are in."""
        return ((place + 1) * (self.top / 2)).clamp(0, self.top).round() * (2 / self.top) - 1

    def centre(self, theta: Tensor) -> Columns:
        """Means: of black and white pixels too, as shades."""
        return self._columns(self.mean(theta) * self.top)

    def marginal(self, own: Batch) -> Tensor:
        """One law for each pixel: its mean, and its deviation where the law has a scale."""
        some = own[0][:4096].cpu().double()
        if isinstance(self.head, Bernoulli):
            return torch.logit((some.mean(0) * (len(some) / self.top) + 0.5) / (len(some) + 1))
        theta = torch.zeros(self.head.size, *self.shape, dtype=torch.float64)
        centre, dev, tied = self._tied(some * (2 / self.top) - 1)
        scale = dev.clamp(min=2 / self.top)
        if isinstance(self.head, LogisticMixture):
            m = self.head.components
            spread = torch.linspace(-1.0, 1.0, m, dtype=torch.float64).view(m, 1, 1, 1) if m > 1 else 0.0
            theta[m : 2 * m] = centre + spread * scale
            theta[2 * m :] = (scale / max(m, 1)).log()
        else:
            theta[0], theta[1] = centre, scale.log()
        return torch.cat([theta.flatten(0, 1), tied])

    def _tied(self, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(m, s, a) of v_i = m_i + sum_(j < i) a_ij v_j + s_i e at each pixel, least squares: (C, H, W) twice, and
        (pairs, H, W).
        """
        mean, tied = v.mean(0), v.new_zeros(len(self.pairs), *self.shape[1:])
        if not self.pairs:
            return mean, v.std(0, correction=0), tied
        off = (v - mean).permute(2, 3, 1, 0)  # (H, W, C, n)
        cover = off @ off.mT / len(v) + (2 / self.top) ** 2 * torch.eye(len(mean), dtype=v.dtype)
        centre, left = mean.clone(), torch.linalg.cholesky(cover).diagonal(dim1=-2, dim2=-1).permute(2, 0, 1)
        for i in range(1, len(mean)):
            a = torch.linalg.solve(cover[..., :i, :i], cover[..., :i, i : i + 1])[..., 0].permute(2, 0, 1)
            tied[[p for p, pair in enumerate(self.pairs) if pair[0] == i]] = a
            centre[i] -= (a * mean[:i]).sum(0)
        return centre, left, tied

    def trace(self, own: Batch) -> Tensor:
        return own[0].flatten(1).double() / 256

    def plain(self, own: Batch) -> Tensor:
        return own[0].flatten(1).double() / self.top
