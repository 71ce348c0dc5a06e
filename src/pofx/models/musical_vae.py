"""The variational autoencoder of music: what `vae` is over segments of a few bars."""

import torch
from torch import Tensor, nn

from ..nn.mixed import Linear
from ..nn.sequence import Block
from ..spec import Spec
from .model import Clock
from .musical import PHASES, Musical, Net, Place
from .sequence_vae import CodedSequence


class Ear(nn.Module):
    """The means and log deviations of codes of rolls (B, S, kinds, P) whose first `sizes` steps count, (B, 2 latent):
    the mean over steps of a transformer that hears them all.
    """

    def __init__(self, cells: int, latent: int, width: int, heads: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.heard, self.phase = nn.Linear(cells, width), nn.Embedding(PHASES, width)
        nn.init.normal_(self.phase.weight, std=0.3)
        self.blocks = nn.ModuleList(Block(width, heads, False, dropout) for _ in range(depth))
        self.last = nn.Sequential(nn.LayerNorm(width), Linear(width, 2 * latent))

    def forward(self, rolls: Tensor, sizes: Tensor) -> Tensor:
        steps = torch.arange(rolls.shape[1], device=rolls.device)
        inside = steps < sizes[:, None]
        h = self.heard(rolls.flatten(2)) + self.phase(steps % PHASES)
        for block in self.blocks:
            h = block(h, None, inside[:, None, None])
        return (self.last(h) * inside[:, :, None]).sum(1) / sizes[:, None].sqrt()


class MusicalVAE(CodedSequence, Musical):
    """`CodedSequence` of segments of music, codes (n, T) of one `Note` field, among legal codes alone.

    q: the mean over the steps of a transformer that hears them all gives means and log deviations of `latent` numbers.
    p(x | z): that of `autoregressive` (models/musical.py), which reads z at each step; a fit makes it deaf to a part
    `blank` of the steps before, so that z has to tell them. A fit moves segments as that of `autoregressive` does.

    Paper: Roberts, Engel, Raffel, Hawthorne, Eck 2018, A Hierarchical Latent Vector Model for Learning Long-Term
    Structure in Music (MusicVAE).
    """

    def __init__(
        self, spec: Spec, latent: int = 64, width: int = 128, heads: int = 4, depth: int = 2, layers: int = 1,
        dropout: float = 0.1, transpose: int = 6, context: int = 512, blank: float = 0.7, free_bits: float = 0.5,
        warmup: float = 0.2,
    ) -> None:  # fmt: skip
        Musical.__init__(self, spec, width, heads, depth, layers, dropout, transpose, context)
        self._coded_by(latent, blank, free_bits, warmup)
        self.encoder = Ear(self.kinds * self.pitches, latent, width, heads, depth, dropout)
        self.net = Net(self.symbols, self.pitches, self.kinds, width, heads, depth, layers, dropout, latent)

    def _q(self, x: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        rolls = Place(x, self.pitches, self.kinds).rolls(self.pitches, self.kinds)
        mean, rest = self.encoder(rolls, (x == 1).sum(1).clamp(1, rolls.shape[1])).chunk(2, 1)
        return mean, rest.clamp(-8, 4)

    def _terms_of(self, x: Tensor, z: Tensor, c: Tensor | None, hide: torch.Generator | None = None) -> Tensor:
        if hide is None:
            return self._terms(x, z)

        def deaf(rolls: Tensor) -> Tensor:
            gone = torch.rand(*rolls.shape[:2], 1, 1, generator=hide, device=rolls.device) < self.blank
            return torch.where(gone, 0.0, rolls)

        return self._terms(x, z, deaf)

    def _varied(self, x: Tensor, clock: Clock, generator: torch.Generator) -> Tensor:
        return Musical._varied(self, x, clock, generator)
