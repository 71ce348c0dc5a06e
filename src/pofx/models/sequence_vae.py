"""Variational autoencoders of sequences: what `vae` is over the sites of text, and what that of music shares."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from ..errors import SpecError
from ..nn.sequence import Transformer
from ..spec import Columns, Given, Spec
from .coded import Bound
from .model import Batch, Clock, Recipe, Rows
from .sequential import Sequential

DRAWS = 16  # of q, that a bound is weighed from
LOOKED = 200  # rows that remarks are of


class CodedSequence(Sequential):
    """log p(x) >= E_q log p(x | z) - KL(q(z | x) || N(0, 1)), nats a sequence; p(x | z) goes from left to right.

    A fit hides a part `blank` of what came before from p(x | z), so that z has to tell it (Bowman et al. 2016). KL
    counts from `free_bits` nats a number on, and by a weight that rises from 0 to 1 over the first `warmup` of a fit
    (Kingma et al. 2016). Noise: `latent` normal numbers, T uniform ones. `express` writes the likeliest symbol at each
    site. A model says what `_q` and `_terms_of` are. Raises SpecError for documents, which have no code, and for shares
    outside [0, 1).
    """

    family = "autoencoders"
    abilities = frozenset({"sample", "log_prob", "bound", "encode", "express", "interpolate", "condition"})

    def _coded_by(self, latent: int, blank: float, free_bits: float, warmup: float) -> None:
        if not self.ends:
            raise SpecError("expected lines, each of which has a code, got a document: autoregressive learns that")
        if not 0 <= blank < 1 or not 0 <= warmup < 1:
            raise SpecError(f"expected blank and warmup from 0 to below 1, got {blank} and {warmup}")
        self.latent, self.blank, self.free_bits, self.warmup = latent, blank, free_bits, warmup

    def recipe(self, rows: int) -> Recipe:
        """That of `autoregressive`, for twice as long."""
        own = super().recipe(rows)
        return Recipe(**(own.__dict__ | {"steps": 2 * own.steps}))

    # -- the law -----------------------------------------------------------------------------------------------------

    def _q(self, x: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """Means and log deviations of the codes of rows, (B, latent) each."""
        raise NotImplementedError

    def _terms_of(self, x: Tensor, z: Tensor, c: Tensor | None, hide: torch.Generator | None = None) -> Tensor:
        """log p(x_t | x_<t, z), (B, T); hide: of what is not seen of those before."""
        raise NotImplementedError

    def _varied(self, x: Tensor, clock: Clock, generator: torch.Generator) -> Tensor:
        """What a step of the fit learns in place of these rows."""
        return x

    def _beside(self, z: Tensor, c: Tensor | None) -> Tensor:
        """What the decoder reads at each site."""
        return z if c is None else torch.cat([c, z], 1)

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        training = self.training
        x, c = self._cut(batch[0].long()), self.told(batch[1:], generator if training else None)
        x = self._varied(x, clock, generator) if training else x
        mean, log_deviation = self._q(x, c)
        z = mean + log_deviation.exp() * torch.randn(mean.shape, generator=generator, device=x.device)
        like = self._terms_of(x, z, c, generator if training and self.blank else None).sum(1)
        each = 0.5 * (mean.square() + (2 * log_deviation).exp() - 1) - log_deviation
        if not training:
            return each.sum(1) - like
        warm = min(1.0, clock.progress / self.warmup) if self.warmup else 1.0
        return warm * each.mean(0).clamp(min=self.free_bits).sum() - like

    def validate(self, batch: Batch, generator: torch.Generator) -> Tensor:
        return self.loss(batch, Clock(1, 1), generator)

    @torch.no_grad()
    def bound(
        self, x: Columns, c: Columns | None = None, draws: int | None = None, known: np.ndarray | None = None
    ) -> Bound:
        """The bound by importance of each line, log (1/k) sum_j p(x, z_j) / q(z_j | x), k `draws` (16)."""
        return self._weighed(None, x, c, draws or DRAWS)

    @torch.no_grad()
    def _weighed(self, law: Callable[..., Tensor] | None, x: Columns, c: Columns | None, draws: int) -> Bound:
        """`bound`, under another law of the codes, (K, B, latent) of rows of c to (K, B)."""
        if draws < 1:
            raise SpecError(f"expected at least one draw, got {draws}")
        generator = torch.Generator(self.device).manual_seed(0)
        logs, at = [], 0
        for part in zip(*(tensor.split(self.span) for tensor in self.prepare(x, c)), strict=True):
            codes, told = self._cut(part[0].to(self.device).long()), self.told(part[1:])
            mean, log_deviation = self._q(codes, told)
            noise = torch.randn(draws, *mean.shape, generator=generator, device=mean.device)
            z = mean + log_deviation.exp() * noise
            like = torch.stack([self._terms_of(codes, one, told).sum(1) for one in z])
            rows = {k: v[at : at + len(codes)] for k, v in c.items()} if c else None
            prior = -0.5 * (z.square() + math.log(2 * math.pi)).sum(2) if law is None else law(z, rows)
            q = (-0.5 * (noise.square() + math.log(2 * math.pi)) - log_deviation).sum(2)
            logs.append((like.double() + prior.double() - q.double()).cpu())
            at += len(codes)
        log_w = torch.cat(logs, 1) if logs else torch.zeros(draws, 0, dtype=torch.float64)
        value = log_w.logsumexp(0) - math.log(draws)
        share = log_w.softmax(0)
        size = 1 / share.square().sum(0)
        error = ((share * draws).std(0, correction=1 if draws > 1 else 0) / draws**0.5).numpy()
        return Bound(value.numpy(), error, size.numpy(), draws)

    def log_prob(self, x: Columns, c: Columns | None = None) -> np.ndarray:
        return self.bound(x, c).value

    def log_prob_under(self, law: Callable[..., Tensor], x: Columns, c: Columns | None = None) -> np.ndarray:
        """The bound under another law of the codes."""
        return self._weighed(law, x, c, DRAWS).value

    # -- codes -------------------------------------------------------------------------------------------------------

    @property
    def code_size(self) -> int:
        return self.latent

    @property
    def uttered(self) -> int:
        return self.length

    @torch.no_grad()
    def encode(self, x: Columns, c: Columns | None = None) -> Tensor:
        """The mean of q(z | x), (n, latent)."""
        return self._coded(x, c)[0]

    def _coded(self, x: Columns, c: Columns | None) -> tuple[Tensor, Tensor]:
        out = [(torch.zeros(0, self.latent), torch.zeros(0, self.latent))]
        for part in zip(*(tensor.split(self.span) for tensor in self.prepare(x, c)), strict=True):
            mean, rest = self._q(self._cut(part[0].to(self.device).long()), self.told(part[1:]))
            out.append((mean.cpu(), rest.cpu()))
        means, rests = zip(*out, strict=True)
        return torch.cat(means), torch.cat(rests)

    @torch.no_grad()
    def code_draws(self, x: Columns, generator: torch.Generator, c: Columns | None = None) -> Tensor:
        """A draw of q(z | x) for each row, (n, latent)."""
        mean, log_deviation = self._coded(x, c)
        return mean + log_deviation.exp() * torch.randn(mean.shape, generator=generator)

    @torch.no_grad()
    def express(self, z: Tensor, c: Columns | None = None) -> Columns:
        """The likeliest symbol after those before, at each site."""
        with self.tempered(1e-4):
            return self.utter(z, torch.full((len(z), self.length), 0.5), c)

    @torch.no_grad()
    def utter(self, z: Tensor, u: Tensor, c: Columns | None = None) -> Columns:
        """Draws of p(x | z) by uniform numbers, (n, T)."""
        told, out = self.told(self.label_codes(len(z), c)), []
        for at in range(0, max(len(z), 1), self.span):
            some = slice(at, at + self.span)
            code = z[some].float().to(self.device)
            none = torch.zeros(len(code), 0, dtype=torch.long)
            beside = self._beside(code, None if told is None else told[some])
            out.append(self.continued(none, u[some], beside))
        return {self.field.name: torch.cat(out).numpy().astype(np.int32)}

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        normal = torch.randn(n, self.latent, generator=generator, device=generator.device)
        return torch.cat([normal, torch.rand(n, self.length, generator=generator, device=generator.device)], 1)

    def decode(
        self, z: Tensor, c: Columns | None = None, given: Given | None = None, known: Rows | None = None
    ) -> Columns:
        return self.utter(z[:, : self.latent], z[:, self.latent :], c)

    @torch.no_grad()
    def remarks(self, x: Columns, c: Columns | None = None) -> dict[str, float]:
        """KL of q from the prior, nats, how many numbers tell something, and what the codes of other rows cost."""
        some = {k: v[:LOOKED] for k, v in x.items()}
        part = {k: v[:LOOKED] for k, v in c.items()} if c else None
        (codes, *labels), (mean, log_deviation) = self.prepare(some, part), self._coded(some, part)
        each = 0.5 * (mean.square() + (2 * log_deviation).exp() - 1) - log_deviation
        rows, told = self._cut(codes.long()), self.told(tuple(labels))
        like, other = (self._terms_of(rows, z, told).sum(1).mean() for z in (mean, mean.roll(1, 0)))
        return {
            "divergence": float(each.sum(1).mean()), "numbers in use": float((mean.var(0) > 0.01).sum()),
            "cost of other codes": float(like - other),
        }  # fmt: skip


class SequenceVAE(CodedSequence):
    """`CodedSequence` of the codes (n, T) of one `Token` field of sequences that end.

    q: the mean over the sites of a transformer that sees them all gives means and log deviations of `latent` numbers.
    p(x | z): a causal transformer that reads z at each site, and the symbols before, of which a fit hides some.
    """

    def __init__(
        self, spec: Spec, latent: int = 32, width: int = 128, heads: int = 2, depth: int = 3, dropout: float = 0.0,
        blank: float = 0.3, free_bits: float = 0.25, warmup: float = 0.2,
    ) -> None:  # fmt: skip
        super().__init__(spec, width, heads, depth, dropout)
        self._coded_by(latent, blank, free_bits, warmup)
        self.encoder = Transformer(self.symbols, 2 * latent, width, heads, depth, False, self.labels, dropout)
        self.net = Transformer(self.symbols + 2, self.symbols, width, heads, depth, True, self.labels + latent, dropout)

    def _q(self, x: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        sizes = ((x != 0).sum(1) + 1).clamp(max=x.shape[1])
        told = self.encoder(x, c, sizes=sizes)
        inside = torch.arange(x.shape[1], device=x.device) < sizes[:, None]
        mean, rest = ((told * inside[:, :, None]).sum(1) / sizes[:, None].sqrt()).chunk(2, 1)
        return mean, rest.clamp(-8, 4)

    def _terms_of(self, x: Tensor, z: Tensor, c: Tensor | None, hide: torch.Generator | None = None) -> Tensor:
        ahead = pad(x[:, :-1], (1, 0), value=self.symbols)
        if hide is not None:
            gone = torch.rand(x.shape, generator=hide, device=x.device) < self.blank
            ahead = torch.where(pad(gone[:, :-1], (1, 0)), self.symbols + 1, ahead)
        logits = self.net(ahead, self._beside(z, c)).transpose(1, 2)
        told = -cross_entropy(logits, x, reduction="none")
        over = pad((x[:, :-1] == 0).long(), (1, 0)).cumsum(1)
        return torch.where(over > 0, 0.0, told)
