"""vq: a variational autoencoder whose code is a row of symbols, with a law of them that is learned."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ...errors import SpecError
from ...fields import Category
from ...nn.coders import decoder, encoder
from ...nn.quantise import FSQ, VQ, Quantiser, ResidualVQ, usage
from ...spec import Columns, Given, Spec
from .. import create
from ..coded import Coded, Law
from ..lens import PixelLens, lens_of
from ..model import Batch, Clock, Recipe, Rows

SETTLED = 0.5  # of a fit: from here on symbols no longer change
QUANTISERS = ("vq", "residual", "fsq")
FSQ_SIZES = {2: (2,), 4: (2, 2), 16: (4, 4), 64: (8, 8), 256: (8, 6, 5), 1024: (8, 5, 5, 5), 4096: (7, 5, 5, 5, 5)}


class VQAutoencoder(Coded):
    """z = e(x, c), (groups, width); k(z) its nearest symbols; p(x|k, c) the law of a lens; p(k) autoregressive.

    log p(x|c) >= log p(x|k(z), c) + log p(k(z)): x has one k, so the bound has no entropy. quantiser: `vq` (moving
    averages, no dead symbol), `residual` (`levels` of them), or `fsq` (rounding, `codes` about 2, 4, 16, 64, 256, 1024
    or 4096). p(k) is the model `autoregressive` over the symbols as categories, trained along with the rest and without
    a gradient to it; from half of the fit on the symbols stay as they are, and p(k) and the decoder alone learn.
    `remarks`: share of symbols used, and their perplexity.

    x: rows or images of `spec`; codes: (B, groups levels). The loss is the negative bound, and the quantiser's
    commitment. Noise: uniform numbers, one for each symbol, and those of the lens. `encode` gives the symbols.

    Papers: van den Oord, Vinyals, Kavukcuoglu 2017, Neural Discrete Representation Learning; Zeghidour et al. 2021
    (residual); Mentzer et al. 2024 (FSQ).

        >>> pofx.fit("adult.csv", model="vq", quantiser="fsq")  # doctest: +SKIP
    """

    abilities = frozenset({"sample", "log_prob", "bound", "encode", "express", "unknown"})

    def __init__(
        self,
        spec: Spec,
        quantiser: str = "vq",
        codes: int = 64,
        groups: int = 8,
        levels: int = 2,
        size: int = 4,
        network: str = "auto",
        width: int = 128,
        depth: int = 2,
        likelihood: str | Mapping[str, str] = "mixture",
        components: int = 6,
        binarise: bool = False,
    ) -> None:
        super().__init__(spec, lens_of(spec, width, likelihood, components, binarise))
        if codes < 2 or groups < 1:
            raise SpecError(f"expected two codes or more and at least one group, got {codes} and {groups}")
        self.quantiser = self._quantiser(quantiser, codes, size, levels)
        self.groups = groups
        self.size = len(self.quantiser.sizes) if isinstance(self.quantiser, FSQ) else size
        self.encoder = encoder(self.lens.shape, groups * self.size, 0, network, width, depth)
        self.decoder = decoder(groups * self.size, self.lens.told, 0, network, width, depth)
        count, symbols = self.quantiser.count, groups * self.quantiser.levels
        # the constant that comes first lets the law of the first symbol be learned: without, it would be even
        places = Spec.table(tuple(_symbol(f"k{i}", count) for i in range(symbols)), (_symbol("one", 1),))
        seed = int(torch.randint(2**31, ()))
        self.law = create("autoregressive", places, seed, size="small", bins=max(count, 128))

    @staticmethod
    def _quantiser(name: str, codes: int, size: int, levels: int) -> Quantiser:
        if name == "vq":
            return VQ(codes, size)
        if name == "residual":
            return ResidualVQ(codes, size, levels)
        if name != "fsq":
            raise SpecError(f"expected quantiser among {', '.join(QUANTISERS)}, got {name!r}")
        if codes not in FSQ_SIZES:
            raise SpecError(f"expected codes among {', '.join(map(str, FSQ_SIZES))} for fsq, got {codes}")
        return FSQ(FSQ_SIZES[codes])

    def recipe(self, rows: int) -> Recipe:
        return Recipe(steps=min(5000, 500 + rows // 5), batch=min(256, max(rows, 1)), rate=4e-3)

    @torch.no_grad()
    def start(self, batch: Batch) -> None:
        self.decoder.bias_(self.lens.marginal(batch[: self.lens.parts]).to(self.device, self.dtype))

    def told(self, own: Batch, c: Tensor) -> Tensor:
        """e(x), (B, groups, size)."""
        return self.encoder(self.lens.see(own), c).view(-1, self.groups, self.size)

    def parts_of(self, own: Batch, c: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(log p(x|k), log p(k), commitment, codes)."""
        near, codes, commitment = self.quantiser(self.told(own, c))
        like = self.lens.log_mass(self.decoder(near.flatten(1), c)[None], own)[0]
        return like, self.law_of(codes), commitment, codes

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        own, extra, c = self.opened(batch)
        own = self.lens.fresh(own, generator)
        if not self.training or clock.progress < SETTLED:
            like, law, commitment, _ = self.parts_of(own, c)
            return commitment * self.training - like - law - extra.to(like.dtype)
        self.quantiser.eval()
        with torch.no_grad():
            codes = self.quantiser(self.told(own, c))[1]
        self.quantiser.train()
        like, law = self.given_codes(codes, own, c)
        return -like - law - extra.to(like.dtype)

    def given_codes(self, codes: Tensor, own: Batch, c: Tensor) -> tuple[Tensor, Tensor]:
        """(log p(x|k), log p(k)) of symbols, (B,) each."""
        near = self.quantiser.look_up(codes).flatten(1).to(self.dtype)
        return self.lens.log_mass(self.decoder(near, c)[None], own)[0], self.law_of(codes)

    def law_of(self, codes: Tensor) -> Tensor:
        """log p(k), (B,)."""
        token = torch.cat([torch.zeros_like(codes[:, :1]), codes], 1)
        return -self.law.loss((token, torch.ones_like(token, dtype=torch.bool)), Clock(0, 1), torch.Generator())

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        count = self.groups * self.quantiser.levels + self.lens.draws
        return torch.rand(n, count, generator=generator, device=generator.device, dtype=torch.float64)

    @torch.no_grad()
    def decode(
        self, z: Tensor, c: Columns | None = None, given: Given | None = None, known: Rows | None = None
    ) -> Columns:
        self.refuse(given, known)
        symbols, uniform = z.split([self.groups * self.quantiser.levels, self.lens.draws], 1)
        drawn = self.law.decode(symbols.cpu(), {"one": np.zeros(len(z), np.int32)})
        codes = torch.from_numpy(np.stack([drawn[f.name] for f in self.law.spec.fields], 1)).long()
        return self.utter(codes, uniform)

    def theta(self, z: Tensor, c: Tensor) -> Tensor:
        return self.decoder(self.quantiser.look_up(z.long()).flatten(1).to(self.dtype), c)

    @property
    def code_size(self) -> int:
        return self.groups * self.quantiser.levels

    def own_code(self, z: Tensor) -> None:
        super().own_code(z)
        if (z != z.round()).any() or ((z < 0) | (z >= self.quantiser.count)).any():
            raise SpecError(f"expected symbols, whole numbers from 0 to {self.quantiser.count - 1}, got others")

    @torch.no_grad()
    def encode(self, x: Columns, c: Columns | None = None) -> Tensor:
        """The symbols, (n, groups levels), int64."""
        out = [torch.zeros(0, self.groups * self.quantiser.levels, dtype=torch.int64)]
        for batch in self.chunks(x, c):
            own, _, context = self.opened(batch)
            out.append(self.quantiser(self.told(own, context))[1].cpu())
        return torch.cat(out)

    def log_prob(self, x: Columns, c: Columns | None = None) -> np.ndarray:
        return self.log_prob_under(self.law_of, x)

    @torch.no_grad()
    def log_prob_under(self, law: Law, x: Columns) -> np.ndarray:
        out = [torch.zeros(0, dtype=torch.float64)]
        for batch in self.chunks(x):
            own, extra, context = self.opened(batch)
            if isinstance(self.lens, PixelLens):
                self.lens.strict(own)
            codes = self.quantiser(self.told(own, context))[1]
            like = self.lens.log_mass(self.theta(codes.flatten(1), context)[None], own)[0]
            out.append((like.double() + law(codes).double().to(like.device) + extra).cpu())
        return torch.cat(out).numpy()

    def remarks(self, x: Columns, c: Columns | None = None) -> dict[str, float]:
        share, perplexity = usage(self.encode(x), self.quantiser.count)
        return {"share of symbols used": share, "perplexity of symbols": perplexity}


def _symbol(name: str, count: int) -> Category:
    """A category of `count` levels, all as likely."""
    at = np.arange(count, dtype=np.float64)
    return Category(name=name, rows=10**9, has_missing=False, left=at - 0.5, right=at + 0.5,
                    mass=np.full(count, 1 / count), levels=tuple(map(str, range(count))))  # fmt: skip


MODEL = VQAutoencoder
