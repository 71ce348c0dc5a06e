"""autoencoder: a code of few numbers, and the way back."""

from typing import Any

import torch
from torch import Tensor

from ...errors import SpecError
from ...nn.mirror import Mirror
from ...spec import Columns, Spec
from ..model import Batch, Clock
from ..reconstructing import Reconstructing

DEFAULT = 8


class Autoencoder(Reconstructing):
    """min E |v - d(e(v))|^2, e: R^D to R^latent, d back; v the example as a vector (models/vectors.py).

    The network starts as the principal components of that many axes (nn/mirror.py). width, depth: of the hidden layers,
    halved from one to the next, or channels, doubled, where `conv`; decoder_width, decoder_depth: of the way back,
    where it is not to mirror the encoder; tied: the decoder has the encoder's matrices, transposed. nested: the code is
    ordered, since in training only its first numbers, as many as chance says, are kept: `express(z[:, :k])` serves
    every k. latent: DEFAULT numbers, or as many as a row has where those are fewer.

    v: (B, *shape); z: (B, latent). The loss is the squared error of a row, summed over D, without unit.

    Papers: Bourlard, Kamp 1988, Auto-Association by Multilayer Perceptrons and Singular Value Decomposition; Hinton,
    Salakhutdinov 2006, Reducing the Dimensionality of Data with Neural Networks; Rippel, Gelbart, Adams 2014, Learning
    Ordered Representations with Nested Dropout.

        >>> pofx.fit("adult.csv", model="autoencoder", latent=8)  # doctest: +SKIP
    """

    def __init__(
        self,
        spec: Spec,
        latent: int | None = None,
        width: int = 256,
        depth: int = 2,
        tied: bool = False,
        conv: bool = False,
        nested: bool = False,
        decoder_width: int | None = None,
        decoder_depth: int | None = None,
    ) -> None:
        super().__init__(spec, DEFAULT if latent is None else latent, fits=latent is None)
        latent, shape = self.latent, self.vectors.shape
        if tied and (decoder_width, decoder_depth) != (None, None):
            raise SpecError(
                "expected no decoder_width and decoder_depth with tied=True, whose decoder has the encoder's matrices"
            )
        back = (width if decoder_width is None else decoder_width, depth if decoder_depth is None else decoder_depth)
        halved = 2 ** max(depth, back[1])
        if conv and (len(shape) != 3 or any(side % halved for side in shape[1:])):
            raise SpecError(
                f"expected images whose sides divide by {halved} for conv of depth {max(depth, back[1])}, got {shape}"
            )
        if latent > self.size:
            raise SpecError(f"expected a code of at most {self.size} numbers, as a row has, got {latent}: see `sparse`")
        hidden, away = (
            [max(8, wide * 2**i // 4) if conv else max(8, wide // 2**i) for i in range(deep)]
            for wide, deep in ((width, depth), back)
        )
        self.net, self.nested = Mirror(shape, latent, hidden, tied, conv, away), nested

    def start(self, batch: Batch) -> None:
        super().start(batch)
        self.net.start(self.middle, self.axes)

    def code(self, v: Tensor) -> Tensor:
        return self.net.encode(v)

    def rebuild(self, z: Tensor) -> Tensor:
        return self.net.decode(z)

    def own_code(self, z: Tensor) -> None:
        short = self.nested and z.shape[1] < self.latent
        super().own_code(torch.cat([z, z.new_zeros(len(z), self.latent - z.shape[1])], 1) if short else z)

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        v = self.vectors.of(batch[0])
        z = self.code(v)
        if self.nested and self.training:
            kept = torch.randint(1, self.latent + 1, (len(z), 1), generator=generator, device=z.device)
            z = z * (torch.arange(self.latent, device=z.device) < kept)
        return self.error(v, self.rebuild(z))

    @torch.no_grad()
    def remarks(self, x: Columns, c: Columns | None = None) -> dict[str, Any]:
        """Of a nested code also the errors of its first 1, 2, ... numbers, beside those of as many components."""
        said = super().remarks(x, c)
        if not self.nested:
            return said
        v = next(self._parts(x))
        z, off, sizes = self.code(v), v.flatten(1) - self.middle, range(1, self.latent + 1)
        cut = (z * (torch.arange(self.latent, device=z.device) < k) for k in sizes)
        return said | {
            "squared error by size": [float(self.error(v, self.rebuild(part)).mean() / self.size) for part in cut],
            "that of PCA by size": [self._linear(off, self.axes[:k]) for k in sizes],
        }


MODEL = Autoencoder
