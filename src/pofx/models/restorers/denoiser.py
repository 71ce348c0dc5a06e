"""denoiser: noise of any level, and the marks of JPEG, out of a picture; one network for all."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ... import corrupt
from ...errors import SpecError
from ...nn.restoring import Pyramid
from ...spec import Spec
from ..model import Batch
from ..restorer import Restorer, Spoiled, maps

LOUDEST = 55 / 255  # deviation of the noise that is learned
QUALITIES = (5, 95)  # of JPEG
FROM = ("clean", "pairs", "gaussian", "blind")
AGAIN = (0.3, 1.2)  # how much noise a noisy picture gets once more, of what it has
HIDDEN = 0.03  # share of the pixels that are hidden from the network, and what it says of them is learned from
NEAR = 2  # pixels away from which another takes the place of a hidden one


class Denoiser(Restorer):
    """r(y, s, q) = y + g(y, s, q): y = x + s n, n standard normal, s up to LOUDEST, by chance for each piece.

    A share `jpeg` of pieces is instead what a JPEG file of a quality up to 95 leaves, q = 1 - quality / 100; where both
    are zero nothing is to be done. g works on quarter pictures of four times the channels, and on three sizes. Of
    coloured pictures a quarter are learned as grey ones, of three equal channels and the same noise in each.

    known: what pictures are learned from. "clean" ones; "pairs" of noisy and clean ones, s the deviation of what lies
    between. Noisy ones alone, "gaussian", their noise normal, of the deviation s that comes with them: y + a s n'
    against y - s n' / a, whose noises are independent, so that the least error is at E[x | y + a s n'], of a level
    s sqrt(1 + a^2); a by chance. "blind": noise of which it is known only that that of a pixel says nothing of others:
    some pixels are hidden behind neighbours and said from what is around them; s is not known, and 0.

    Papers: Zhang, Zuo, Zhang 2018, FFDNet (one network for all levels, sub-images); Ronneberger et al. 2015, U-Net;
    Pang, Zheng, Quan, Ji 2021, Recorrupted-to-Recorrupted; Krull, Buchholz, Jug 2019, Noise2Void.
    """

    grid, batch, patch = 8, 16, 64

    def __init__(self, spec: Spec, width: int = 48, depth: int = 2, jpeg: float = 0.0, known: str = "clean") -> None:
        super().__init__(spec)
        if known not in FROM:
            raise SpecError(f"expected known among {', '.join(FROM)}, got {known!r}")
        if not 0 <= jpeg <= 1 or (jpeg and known != "clean"):
            raise SpecError(f"expected a share jpeg from 0 to 1, and with clean pictures alone, got {jpeg}")
        self.channels, self.jpeg, self.known = len(spec.fields), jpeg, known
        c = 4 * self.channels
        self.means["1"] = Pyramid(c + 2, c, width, depth)
        self.fields["1"] = Pyramid(2 * c + 3, c, width, depth)
        self.reach = 2 * self.means["1"].reach

    def spoiled(self, batch: Batch, scale: int, generator: torch.Generator) -> Spoiled:
        if self.known == "clean":
            return self._made_noisy(batch[0], generator)
        y = batch[0]
        if self.known == "pairs":
            return batch[1], y, _levels((y - batch[1]).flatten(1).std(1)), None
        if self.known == "gaussian":
            s = batch[1].flatten(1)[:, 0]
            how = {"generator": generator, "device": y.device}
            a = AGAIN[0] + (AGAIN[1] - AGAIN[0]) * torch.rand(len(y), **how)
            n = s.view(-1, 1, 1, 1) * torch.randn(y.shape, **how)
            more = a.view(-1, 1, 1, 1)
            return y - n / more, y + n * more, _levels(s * (1 + a.square()).sqrt()), None
        return self._hidden(y, generator)

    def _made_noisy(self, x: Tensor, generator: torch.Generator) -> Spoiled:
        how = {"generator": generator, "device": x.device}
        grey = torch.rand(len(x), 1, 1, 1, **how) < 0.25 * (self.channels == 3)
        level = _levels(torch.rand(len(x), **how) * LOUDEST)
        x, noise = torch.where(grey, x.mean(1, keepdim=True), x), torch.randn(x.shape, **how)
        y = x + level[:, :1, None, None] * torch.where(grey, noise[:, :1], noise)
        for i in (torch.rand(len(x), **how) < self.jpeg).nonzero().flatten().tolist():
            quality = int(torch.randint(*QUALITIES, (), **how))
            y[i], level[i] = corrupt.jpeg(x[i : i + 1], quality)[0], level.new_tensor([0.0, 1 - quality / 100])
        return x, y, level, None

    def _hidden(self, y: Tensor, generator: torch.Generator) -> Spoiled:
        how = {"generator": generator, "device": y.device}
        hidden = torch.rand(len(y), 1, *y.shape[2:], **how) < HIDDEN
        moves = [k for k in range(-NEAR, NEAR + 1) if k]
        i, j = (moves[int(k)] for k in torch.randint(len(moves), (2,), **how))
        return y, torch.where(hidden, y.roll((i, j), (2, 3)), y), _levels(y.new_zeros(len(y))), hidden.to(y.dtype)

    def mean(self, y: Tensor, level: Tensor, scale: int = 1) -> Tensor:
        held = F.pixel_unshuffle(y, 2)
        return y + F.pixel_shuffle(self.means["1"](torch.cat([held, maps(level, held)], 1)), 2)

    def field(self, xt: Tensor, t: Tensor, r: Tensor, level: Tensor, scale: int = 1) -> Tensor:
        held = F.pixel_unshuffle(torch.cat([xt, r], 1), 2)
        known = torch.cat([held, maps(t.unsqueeze(1), held), maps(level, held)], 1)
        return F.pixel_shuffle(self.fields["1"](known), 2)


def _levels(s: Tensor) -> Tensor:
    """Deviations s, (B,), as levels of noise without marks of JPEG, (B, 2)."""
    return torch.stack([s, torch.zeros_like(s)], 1)


MODEL = Denoiser
