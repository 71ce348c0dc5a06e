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
from ..coded import Coded, Law, rows_of, stem_of
from ..lens import PixelLens, lens_of
from ..model import Batch, Clock, Rows, spans

SETTLED = 0.5  # of a fit: from here on symbols no longer change
QUANTISERS = ("vq", "residual", "fsq")
FSQ_SIZES = {2: (2,), 4: (2, 2), 16: (4, 4), 64: (8, 8), 256: (8, 6, 5), 1024: (8, 5, 5, 5), 4096: (7, 5, 5, 5, 5)}


class VQAutoencoder(Coded):
    """z = e(x, c), (groups, width); k(z) its nearest symbols; p(x|k, c) the law of a lens; p(k|c) autoregressive.

    log p(x|c) >= log p(x|k(z), c) + log p(k(z)|c): x has one k, so the bound has no entropy. quantiser: `vq` (moving
    averages, no dead symbol), `residual` (`levels` of them), or `fsq` (rounding, `codes` about 2, 4, 16, 64, 256, 1024
    or 4096). p(k|c) is the model `autoregressive` over the symbols as categories, trained along with the rest and
    without a gradient to it; from half of the fit on the symbols stay as they are, and it and the decoder alone learn.
    `remarks`: share of symbols used, and their perplexity.

    x: rows or images of `spec`; codes: (B, groups levels). The loss is the negative bound, and the quantiser's
    commitment. Noise: uniform numbers, one for each symbol, and those of the lens. `encode` gives the symbols.

    Papers: van den Oord, Vinyals, Kavukcuoglu 2017, Neural Discrete Representation Learning; Zeghidour et al. 2021
    (residual); Mentzer et al. 2024 (FSQ).

        >>> pofx.fit("adult.csv", model="vq", quantiser="fsq")  # doctest: +SKIP
    """

    abilities = frozenset({"sample", "log_prob", "bound", "encode", "express", "condition", "unknown"})
    rate = 4e-3

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
        if codes < 2:
            raise SpecError(f"expected two codes or more, got {codes}")
        self.quantiser = self._quantiser(quantiser, codes, size, levels)
        self.groups = groups
        self.size = len(self.quantiser.sizes) if isinstance(self.quantiser, FSQ) else size
        wide = self.context.width
        self.encoder = encoder(self.lens.shape, groups * self.size, wide, network, width, depth)
        self.decoder = decoder(groups * self.size, self.lens.told, wide, network, width, depth)
        count, symbols = self.quantiser.count, groups * self.quantiser.levels
        # a constant, where nothing else comes first, lets the law of the first symbol be learned: it would be even
        before = spec.condition.fields if spec.condition else (_symbol("one", 1),)
        stem = stem_of("k", before)
        places = Spec.table(tuple(_symbol(f"{stem}{i}", count) for i in range(symbols)), before)
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

    @torch.no_grad()
    def start(self, batch: Batch) -> None:
        self.decoder.bias_(self.lens.marginal(batch[: self.lens.parts]).to(self.device, self.dtype))

    def prepare(self, x: Columns, c: Columns | None = None) -> Batch:
        batch = super().prepare(x, c)
        return *batch, *self.before(c, len(batch[0]))

    def before(self, c: Columns | None, n: int) -> Batch:
        """(tokens, which were seen) of the condition of p(k|c), with places for the symbols after them."""
        blank = {f.name: np.zeros(n, np.int32) for f in self.law.spec.fields}
        return self.law.prepare(blank, self.first(c, n))

    def first(self, c: Columns | None, n: int) -> Columns:
        """The condition of p(k|c): c, or a constant; SpecError where c is wanted and not given."""
        self.see_condition(c, n)
        return c if c else {"one": np.zeros(n, np.int32)}

    def told(self, own: Batch, c: Tensor) -> Tensor:
        """e(x), (B, groups, size)."""
        return self.encoder(self.lens.see(own), c).view(-1, self.groups, self.size)

    def parts_of(self, own: Batch, c: Tensor, before: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(log p(x|k, c), log p(k|c), commitment, codes)."""
        near, codes, commitment = self.quantiser(self.told(own, c))
        like = self.lens.log_mass(self.decoder(near.flatten(1), c)[None], own)[0]
        return like, self.law_of(codes, before), commitment, codes

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        own, extra, c = self.opened(batch)
        own, before = self.lens.fresh(own, generator), batch[-2:]
        if not self.training or clock.progress < SETTLED:
            like, law, commitment, _ = self.parts_of(own, c, before)
            return commitment * self.training - like - law - extra.to(like.dtype)
        self.quantiser.eval()
        with torch.no_grad():
            codes = self.quantiser(self.told(own, c))[1]
        self.quantiser.train()
        near = self.quantiser.look_up(codes).flatten(1).to(self.dtype)
        like = self.lens.log_mass(self.decoder(near, c)[None], own)[0]
        return -like - self.law_of(codes, before) - extra.to(like.dtype)

    def law_of(self, codes: Tensor, before: Batch) -> Tensor:
        """log p(k|c), (B,)."""
        count = codes.shape[1]
        token = torch.cat([before[0][:, :-count], codes], 1)
        return -self.law.loss((token, before[1]), Clock(0, 1), torch.Generator())

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        count = self.groups * self.quantiser.levels + self.lens.draws
        return torch.rand(n, count, generator=generator, device=generator.device, dtype=torch.float64)

    @torch.no_grad()
    def decode(
        self, z: Tensor, c: Columns | None = None, given: Given | None = None, known: Rows | None = None
    ) -> Columns:
        self.refuse(given, known)
        symbols, uniform = z.split([self.groups * self.quantiser.levels, self.lens.draws], 1)
        before, codes, size = self.first(c, len(z)), [], self.span or max(len(z), 1)
        for at in spans(len(z), size):
            drawn = self.law.decode(symbols[at].cpu(), rows_of(before, at))
            codes.append(torch.from_numpy(np.stack([drawn[f.name] for f in self.law.spec.fields], 1)).long())
        return self.utter(torch.cat(codes), uniform, c)

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
        def own(codes: Tensor, of: Columns | None) -> Tensor:
            return self.law_of(codes, tuple(part.to(self.device) for part in self.before(of, len(codes))))

        return self.log_prob_under(own, x, c)

    @torch.no_grad()
    def log_prob_under(self, law: Law, x: Columns, c: Columns | None = None) -> np.ndarray:
        out, at = [torch.zeros(0, dtype=torch.float64)], 0
        for batch in self.chunks(x, c):
            own, extra, context = self.opened(batch)
            rows, at = slice(at, at + len(extra)), at + len(extra)
            if isinstance(self.lens, PixelLens):
                self.lens.strict(own)
            codes = self.quantiser(self.told(own, context))[1]
            like = self.lens.log_mass(self.theta(codes.flatten(1), context)[None], own)[0]
            found = law(codes, rows_of(c, rows)).double().to(like.device)
            out.append((like.double() + found + extra).cpu())
        return torch.cat(out).numpy()

    def remarks(self, x: Columns, c: Columns | None = None) -> dict[str, float]:
        share, perplexity = usage(self.encode(x, c), self.quantiser.count)
        return {"share of symbols used": share, "perplexity of symbols": perplexity}


def _symbol(name: str, count: int) -> Category:
    """A category of `count` levels, all as likely."""
    at = np.arange(count, dtype=np.float64)
    return Category(name=name, rows=10**9, has_missing=False, left=at - 0.5, right=at + 0.5,
                    mass=np.full(count, 1 / count), levels=tuple(map(str, range(count))))  # fmt: skip


MODEL = VQAutoencoder
