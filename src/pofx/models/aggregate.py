"""What wae and aae have in common as models: codes without noise, whose law as a whole is bound to the noise's."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ..nn.coders import decoder, encoder
from ..spec import Columns, Given, Spec
from .coded import Coded
from .lens import lens_of
from .model import Batch, Rows

STARTED = 1024  # rows whose codes start with mean zero and scale one


class Aggregate(Coded):
    """x -> z = e(x, c) -> the law p(x|z, c) of a lens. z of N(0, I) gives new rows, where the codes have that law."""

    abilities = frozenset({"sample", "encode", "express", "interpolate", "condition", "posterior"})
    rate = 4e-3

    def __init__(
        self,
        spec: Spec,
        latent: int,
        network: str,
        width: int,
        depth: int,
        likelihood: str | Mapping[str, str],
        components: int,
        binarise: bool,
    ) -> None:
        super().__init__(spec, lens_of(spec, width, likelihood, components, binarise))
        self.latent = latent
        wide = self.context.width
        self.encoder = encoder(self.lens.shape, latent, wide, network, width, depth)
        self.decoder = decoder(latent, self.lens.told, wide, network, width, depth)

    @torch.no_grad()
    def start(self, batch: Batch) -> None:
        self.decoder.bias_(self.lens.marginal(batch[: self.lens.parts]).to(self.device, self.dtype))
        own, _, c = self.opened(tuple(part[:STARTED] for part in batch))
        z = self.encoder(self.lens.see(own), c)
        self.encoder.standardise_(z.mean(0), z.std(0, correction=0).clamp(min=1e-3))

    def rebuilt(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(z, -log p(x|z, c)) of a batch, (B, latent) and (B,)."""
        own, extra, c = self.opened(batch)
        own = self.lens.fresh(own, generator)
        z = self.encoder(self.lens.see(own), c)
        return z, -(self.lens.log_mass(self.decoder(z, c)[None], own)[0] + extra.to(z.dtype))

    def prior(self, n: int, generator: torch.Generator) -> Tensor:
        """n draws of N(0, I)."""
        return torch.randn(n, self.latent, generator=generator, device=self.device, dtype=self.dtype)

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        how = {"generator": generator, "device": generator.device, "dtype": torch.float64}
        return torch.cat([torch.randn(n, self.latent, **how), torch.rand(n, self.lens.draws, **how)], 1)

    @torch.no_grad()
    def decode(
        self, z: Tensor, c: Columns | None = None, given: Given | None = None, known: Rows | None = None
    ) -> Columns:
        self.refuse(given, known)
        code, uniform = z.split([self.latent, self.lens.draws], 1)
        return self.utter(code, uniform, c)

    @torch.no_grad()
    def encode(self, x: Columns, c: Columns | None = None) -> Tensor:
        """e(x, c), (n, latent)."""
        out = [torch.zeros(0, self.latent)]
        for batch in self.chunks(x, c):
            own, _, context = self.opened(batch)
            out.append(self.encoder(self.lens.see(own), context).cpu())
        return torch.cat(out)

    @property
    def code_size(self) -> int:
        return self.latent

    def theta(self, z: Tensor, c: Tensor) -> Tensor:
        return self.decoder(z.to(self.dtype), c)

    @torch.no_grad()
    def misfit(self, x: Columns, c: Columns | None = None) -> np.ndarray:
        """-log p(x|e(x, c), c), (n,), nats."""
        out = [torch.zeros(0, dtype=torch.float64)]
        for batch in self.chunks(x, c):
            own, extra, context = self.opened(batch)
            theta = self.decoder(self.encoder(self.lens.see(own), context), context)
            out.append(-(self.lens.log_mass(theta[None], own)[0].double() + extra).cpu())
        return torch.cat(out).numpy()
