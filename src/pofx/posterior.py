"""x given y = A(x) + noise, by a model of x that was not trained for it: hidden pixels, noise, blur, fewer pixels.

The law is that of a decoder's picture m(e) of normal noise e, of what the decoder leaves over, and of the noise of y,

    e ~ N(0, I),   x = m(e) + t n,   y = A x + sigma n',   so that   y | e ~ N(A m(e), s^2 I),   s^2 = sigma^2 + t^2

(A A' taken for I). t is what makes y likeliest, found for each image, s^2 = |y - A m(e)|^2 / (M - g), M numbers in y, g
the number of e that y decides: g = tr(I - H^-1). A decoder leaves over much at a few pixels, edges, and nothing
elsewhere: y then tells less than M normal numbers do, and log p(y|e) has the weight that the kurtosis of what is left
says, w = 3 (sum r^2)^2 / (M sum r^4), at most 1, r = y - A m(e). With J = d A m / de and H = w J'J / s^2 + I:

1. Chains start at draws of e, and at the encoder's where there is one, and climb log p(y, e) by Levenberg's steps
   (H + k diag H)^-1 (w J' (y - A m) / s^2 - e), s falling from what they start with.
2. Near the end e_j of each chain p(e|y) is about N(e_j, H_j^-1). A draw picks a chain with the weight
   p(y, e_j) / sum_i N(e_j; e_i, H_i^-1), so that chains of one mode share what it is worth, draws from its Gaussian,
   and goes on by Hamiltonian moves, which leave p(e|y) as it is.
3. Given e and y, x is m(e) + (t / s)^2 A^(y - A m(e)), A^ a rough inverse of A (`lift`): pixels that are known without
   noise come out as they came. Nothing of t n is drawn where y says nothing.

So draws are of p(e|y): exactly for a linear decoder; else from the modes that chains found, each as it is, in shares
that are as good as its Gaussian.

Papers: MacKay 1992, Bayesian Interpolation (s and g); Tierney, Kadane 1986 (Laplace); Neal 2011 (Hamiltonian moves).
"""

import math
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import torch
from torch import Tensor

from . import corrupt
from .errors import SpecError
from .models.annealed import WANTED, move
from .models.lifted import Conditioned
from .models.model import RESIDENT, Batch, Model
from .progress import Tick, silent
from .spec import Columns

CHAINS = 8
STEPS = 15  # of Levenberg's
MOVES = 12  # Hamiltonian ones
DRAWS = 16  # whose mean is E[x|y]
NEAR = 0.02  # distance of finite differences
FLOOR = 1e-3  # of s: a quarter of a shade
EACH = 4096  # pictures that are made together


class Operator(Protocol):
    """A: what became of pictures (n, C, H, W) in [0, 1]; of several pictures for each y, those of one y lie B apart."""

    def apply(self, x: Tensor) -> Tensor:
        """A x, differentiable."""
        ...

    def lift(self, r: Tensor) -> Tensor:
        """A picture whose A is about r."""
        ...

    def seen(self, y: Tensor) -> Tensor:
        """How many numbers of each y are known, (B,)."""
        ...

    def some(self, at: slice) -> Self:
        """That of some of the pictures."""
        ...


class Noisy:
    """The picture itself."""

    def apply(self, x: Tensor) -> Tensor:
        return x

    def lift(self, r: Tensor) -> Tensor:
        return r

    def seen(self, y: Tensor) -> Tensor:
        return torch.full((len(y),), y[0].numel(), device=y.device)

    def some(self, at: slice) -> Self:
        return self


class Hidden(Noisy):
    """The picture with zero in place of some pixels: mask (H, W), or (B, H, W) one for each, true where hidden."""

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask.bool().view(-1, 1, *mask.shape[-2:])

    def apply(self, x: Tensor) -> Tensor:
        mask = self.mask.to(x.device)
        return torch.where(mask, 0.0, x.unflatten(0, (-1, len(mask)))).flatten(0, 1)

    def seen(self, y: Tensor) -> Tensor:
        return y.shape[1] * (~self.mask).flatten(1).sum(1).expand(len(y)).to(y.device)

    def some(self, at: slice) -> Self:
        return self if len(self.mask) == 1 else type(self)(self.mask[at, 0])


class Blurred(Noisy):
    """The picture under a Gaussian of deviation `width` pixels (corrupt.blur)."""

    def __init__(self, width: float) -> None:
        self.width = width

    def apply(self, x: Tensor) -> Tensor:
        return corrupt.blur(x, self.width)

    def lift(self, r: Tensor) -> Tensor:
        return corrupt.blur(r, self.width)


class Shrunk(Noisy):
    """The picture `scale` times smaller (corrupt.downsample)."""

    def __init__(self, scale: int) -> None:
        self.scale = scale

    def apply(self, x: Tensor) -> Tensor:
        return corrupt.downsample(x, self.scale)

    def lift(self, r: Tensor) -> Tensor:
        return corrupt.upsample(r, self.scale)


@dataclass(frozen=True)
class Restored:
    """Draws of x given y, (draws, n, C, H, W) in [0, 1]; the chain of each, (draws, n); the log of the weight of each
    chain, (chains, n); and s, (n,). `mean` is E[x|y].
    """

    draws: Tensor
    chain: Tensor
    log_weight: Tensor
    deviation: Tensor

    @property
    def mean(self) -> Tensor:
        return self.draws.mean(0)


def restored(
    model: Model,
    y: Tensor,
    operator: Operator,
    sigma: float = 0.0,
    draws: int = DRAWS,
    *,
    chains: int = CHAINS,
    steps: int = STEPS,
    slack: bool = True,
    c: Columns | None = None,
    seed: int = 0,
    tick: Tick = silent,
) -> Restored:
    """Draws of p(x | y = A(x) + noise of deviation sigma) of y (n, C, h, w), where x is in [0, 1].

    c: the condition of each chain of each y, chains after one another, (chains n) rows; chains of the same condition
    share a mode, those of others never do, and how many have it is how likely it is beforehand. slack: whether the
    decoder may leave something over (t); without, t = 0 and w = 1. Raises Unsupported where the model has no pictures
    of normal noise, naming those that have, SpecError for a sigma below zero, or of zero without slack, for draws below
    one and for no images.
    """
    if "posterior" not in model.abilities or not isinstance(model, Conditioned):
        raise model._cannot("posterior")
    if not sigma >= 0 or (sigma == 0 and not slack):
        raise SpecError(f"expected a sigma of 0 or more, above 0 without slack, got {sigma}")
    if not len(y):
        raise SpecError("expected images to restore, got none")
    if draws < 1:
        raise SpecError(f"expected draws of at least 1, got {draws}")
    generator = torch.Generator(model.device).manual_seed(seed)
    how = {"generator": generator, "device": model.device, "dtype": model.dtype}
    n, count = len(y), model.code_size
    start = torch.randn(chains, n, count, **how)
    see = tuple(part.unflatten(0, (chains, n)) for part in model.see_condition(c, chains * n))
    size = math.prod(y.shape[1:])
    span = max(1, min(RESIDENT // (chains * count * size), RESIDENT // (draws * max(model.room, 4 * size)), 256))
    parts = []
    for at in (slice(i, i + span) for i in range(0, n, span)):
        own = tuple(part[:, at] for part in see)
        some = _Chains(model, y[at].to(start), operator.some(at), own, sigma, slack)
        first = start[:, at]
        if (told := _told(model, some.y, c, at, n)) is not None:
            first = torch.cat([told.to(first)[None], first[1:]])
        parts.append(some.drawn(some.climbed(first, steps), draws, generator))
        tick(len(y[at]))
    return Restored(*(torch.cat(part, -1 if part[0].dim() < 3 else 1) for part in zip(*parts, strict=True)))


def _told(model: Model, y: Tensor, c: Columns | None, at: slice, n: int) -> Tensor | None:
    """Where an encoder would start, (B, count), if y is as large as x."""
    spec = model.spec
    if y.shape[2:] != tuple(spec.blocks[0].sites):
        return None
    top = getattr(spec.fields[0], "top", 255)
    shades = (y * top).round().clamp(0, top).to(torch.uint8).cpu().numpy()
    x = {field.name: np.ascontiguousarray(shades[:, i]) for i, field in enumerate(spec.fields)}
    return model.noise_of(x, {k: v[:n][at] for k, v in c.items()} if c else None)


@dataclass
class _Ends:
    """Where chains ended: e (K, B, D), H^-1 = R R' with R (K, B, D, D), log weights (K, B), s^2 (B,)."""

    e: Tensor
    root: Tensor
    log_weight: Tensor
    var: Tensor


class _Chains:
    """log p(y, e) of some images y, and its chains; arrays are (K, B, ...)."""

    def __init__(self, model: Conditioned, y: Tensor, operator: Operator, c: Batch, sigma: float, slack: bool) -> None:
        self.model, self.operator, self.c, self.sigma, self.slack = model, operator, c, sigma, slack
        self.y = operator.apply(y) if isinstance(operator, Hidden) else y
        self.known = operator.seen(y)
        self.worth = torch.ones(len(y), dtype=torch.float64, device=y.device)

    def pictures(self, e: Tensor, c: Batch) -> Tensor:
        """m(e), (K, B, C, H, W)."""
        flat, many = e.flatten(0, 1), tuple(part.flatten(0, 1) for part in c)
        size = self.model.together(EACH)
        parts = zip(flat.split(size), *(part.split(size) for part in many), strict=True)
        return torch.cat([self.model.picture(some, tuple(own)) for some, *own in parts]).unflatten(0, e.shape[:2])

    def off(self, e: Tensor, c: Batch) -> Tensor:
        """y - A m(e), (K, B, M)."""
        told = self.operator.apply(self.pictures(e, c).flatten(0, 1)).unflatten(0, e.shape[:2])
        return (self.y - told).flatten(2)

    def log_prob(self, off: Tensor, e: Tensor, var: Tensor) -> Tensor:
        """log p(y, e) up to a constant, (K, B), float64."""
        like = off.double().square().sum(-1) / var + self.known * var.log()
        return -0.5 * (self.worth * like + e.double().square().sum(-1))

    def slopes(self, e: Tensor, off: Tensor) -> Tensor:
        """J = d A m / de by differences, (K, B, M, D)."""
        out = e.new_empty(*off.shape, e.shape[-1])
        for j in range(e.shape[-1]):
            near = e.clone()
            near[..., j] += NEAR
            out[..., j] = (off - self.off(near, self.c)) / NEAR
        return out

    def bent(self, slopes: Tensor, var: Tensor) -> Tensor:
        """H, (K, B, D, D), float64."""
        product = (slopes.mT @ slopes).double()
        return product * (self.worth / var)[:, None, None] + torch.eye(slopes.shape[-1]).to(product)

    def settled(self, off: Tensor, slopes: Tensor, var: Tensor) -> Tensor:
        """s^2 that makes y likeliest, (B,): that of the chain which leaves least; and what its numbers are worth."""
        if not self.slack:
            return var
        inverse = torch.linalg.inv(self.bent(slopes, var)).diagonal(dim1=-2, dim2=-1).sum(-1)
        free = (self.known - (slopes.shape[-1] - inverse)).clamp(min=1.0)
        left, best = (off.double().square().sum(-1) / free).min(0)
        square = off[best, torch.arange(len(best))].double().square()
        peaked = self.known * square.square().sum(-1) / square.sum(-1).square().clamp(min=1e-300)
        self.worth = 3 / peaked.clamp(min=3.0)
        return left.clamp(min=max(self.sigma, FLOOR) ** 2)

    @torch.no_grad()
    def climbed(self, e: Tensor, steps: int) -> _Ends:
        off = self.off(e, self.c)
        var = torch.full((e.shape[1],), self.sigma**2, dtype=torch.float64, device=e.device)
        if self.slack:
            free = self.known.clamp(min=1)
            var = (off.double().square().sum(-1).mean(0) / free).clamp(min=max(self.sigma, FLOOR) ** 2)
        damp = e.new_ones(*e.shape[:2], 1, dtype=torch.float64)
        slopes = self.slopes(e, off)
        for _ in range(steps):
            bent = self.bent(slopes, var)
            up = (slopes.mT @ off.unsqueeze(-1)).squeeze(-1) * (self.worth / var).unsqueeze(-1) - e
            there = e + torch.linalg.solve(bent + torch.diag_embed(damp * bent.diagonal(dim1=-2, dim2=-1)), up).to(e)
            beyond = self.off(there, self.c)
            better = (self.log_prob(beyond, there, var) > self.log_prob(off, e, var)).unsqueeze(-1)
            e, off = torch.where(better, there, e), torch.where(better, beyond, off)
            damp = torch.where(better, damp / 4, damp * 4)
            slopes = self.slopes(e, off)
            var = self.settled(off, slopes, var)
        lower = torch.linalg.cholesky(self.bent(slopes, var))
        unit = torch.eye(e.shape[-1]).to(lower)
        root = torch.linalg.solve_triangular(lower.mT, unit.expand_as(lower), upper=True)
        return _Ends(e, root.to(e), self.weights(e, lower, self.log_prob(off, e, var)), var)

    def weights(self, e: Tensor, lower: Tensor, log_prob: Tensor) -> Tensor:
        """log p(y, e_j) - log mean_i N(e_j; e_i, H_i^-1), i the chains of the condition of j, (K, B)."""
        apart = (e[:, None] - e[None]).double()  # (j, i, B, D)
        far = (lower.mT @ apart.unsqueeze(-1)).squeeze(-1).square().sum(-1)
        each = lower.diagonal(dim1=-2, dim2=-1).log().sum(-1) - 0.5 * far
        like = torch.stack([(part[:, None] == part[None]).all(-1) for part in self.c]).all(0)
        each = torch.where(like, each, -math.inf)
        return log_prob - (each.logsumexp(1) - like.sum(1).log())

    @torch.no_grad()
    def drawn(self, ends: _Ends, draws: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(x, chain, log weight, s) of `draws` draws."""
        chain = _picked(ends.log_weight, draws, generator)
        middle, root, *c = (_of(part, chain) for part in (ends.e, ends.root, *self.c))

        def place(w: Tensor) -> Tensor:
            return middle + (root @ w.unsqueeze(-1)).squeeze(-1)

        def law(w: Tensor) -> tuple[Tensor, Tensor]:
            value = self.log_prob(self.off(place(w), tuple(c)), place(w), ends.var)
            return value, torch.zeros_like(value)

        how = {"generator": generator, "device": middle.device, "dtype": middle.dtype}
        w, log_size = torch.randn(middle.shape, **how), middle.new_full((middle.shape[1],), math.log(0.5))
        for _ in range(MOVES):
            w, chance = move(law, w, 1.0, log_size.exp(), generator)
            log_size = log_size + 0.3 * (chance.mean(0) - WANTED)
        e = place(w)
        m, share = self.pictures(e, tuple(c)), (1 - self.sigma**2 / ends.var).to(e).view(-1, 1, 1, 1)
        left = self.off(e, tuple(c)).view(-1, *self.y.shape[1:])
        x = (m + share * self.operator.lift(left).view_as(m)).clamp(0, 1)
        return x, chain, ends.log_weight, ends.var.sqrt()


def _picked(log_weight: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """Chains, (draws, B), each as often as its weight, (K, B), says, up to one."""
    level = torch.rand(1, log_weight.shape[1], generator=generator, device=log_weight.device, dtype=torch.float64)
    level = (torch.arange(draws).to(level)[:, None] + level) / draws
    rising = log_weight.softmax(0).cumsum(0)
    return (rising[:-1, None] < level * rising[-1:, None]).sum(0)


def _of(part: Tensor, chain: Tensor) -> Tensor:
    """Of what belongs to chains, (K, B, ...), that of those picked, (draws, B, ...)."""
    return part[chain, torch.arange(chain.shape[1], device=chain.device)]
