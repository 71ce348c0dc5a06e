"""What the variational autoencoders have in common as models: bounds, their gradients, draws, cells integrated out."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import SpecError, Unsupported
from ..nn.coders import decoder, encoder
from ..nn.compiling import isolated
from ..nn.heads import which
from ..nn.latents import Latents
from ..objectives import ESTIMATORS, elbo, importance
from ..spec import Columns, Given, Spec
from .coded import Bound, Coded, Law, rows_of, turned, weighed
from .collapse import LIVE, can_live, diagnosis, forecast, information
from .lens import Lens, RowLens
from .lifted import house, sobol, to_normal
from .model import ABILITIES, Batch, Clock, Rows, spans

GUESSES = 64  # proposals of a completion
LOOKED = 1000  # rows that remarks are of
PAIRED = 300  # of them, for remarks of each pair of rows, and of each number
SPAN = 1024  # rows that are drawn together


CodeLaw = Callable[[Tensor], Tensor]
"""log p of codes of rows that it knows the condition of, (K, B, latent) to (K, B)."""


def law_given(law: Law | None, c: Columns | None) -> CodeLaw | None:
    """The law of the codes of rows of the condition c."""
    return None if law is None else lambda z: law(z, c)


def _weight(value: float) -> Tensor:
    """A number that changes from step to step as a tensor, for which no graph is compiled anew."""
    return torch.tensor(value, dtype=torch.float64)


@dataclass(frozen=True)
class Walked:
    """What annealing reads: the networks `of` a model, the codes that its noise stands for, given c, (n, latent), and
    the law of codes, where it is not the networks' own prior.
    """

    of: "Variational"
    codes: Callable[[Tensor, Columns | None], Tensor]
    law: Law | None


class Variational(Coded):
    """log p(x|c) >= E_q log p(x|z,c) - KL(q(z|x,c) || p(z|c)), with a lens, latent numbers and two networks.

    A class c that is not known is summed over (classes.py). beta, warmup, free_bits, estimator, draws, groups, doubly,
    samples, masked: as `vae` says.
    """

    abilities = frozenset(
        {"sample", "log_prob", "bound", "encode", "express", "interpolate", "condition", "known", "unknown"}
        | {"posterior"}
    )
    sums = True
    quick: Callable[..., Tensor] | None = None  # the compiled bound, in training alone

    def __init__(
        self,
        spec: Spec,
        lens: Lens,
        latents: Callable[["Variational"], Latents],
        network: str,
        width: int,
        depth: int,
        beta: float = 1.0,
        warmup: float = 0.1,
        free_bits: float = 0.0,
        estimator: str = "elbo",
        draws: int = 1,
        groups: int = 1,
        doubly: bool = True,
        samples: int = 64,
        masked: float = 0.1,
    ) -> None:
        if estimator not in ESTIMATORS:
            raise SpecError(f"expected estimator among {', '.join(ESTIMATORS)}, got {estimator!r}")
        super().__init__(spec, lens)
        self.beta, self.warmup, self.free_bits = beta, warmup, free_bits
        self.compiles = estimator == "elbo"
        self.estimator, self.draws, self.groups, self.doubly = estimator, draws, groups, doubly
        self.samples, self.masked = samples, masked
        made = latents(self)
        self.encoder = encoder(lens.shape, made.size, self.context.width, network, width, depth)
        self.decoder = decoder(made.width, lens.told, self.context.width, network, width, depth)
        self.latents = made
        if not made.normal:
            self.abilities = self.abilities - {"posterior"}

    @torch.no_grad()
    def start(self, batch: Batch) -> None:
        self.decoder.bias_(self.lens.marginal(batch[: self.lens.parts]).to(self.device, self.dtype))

    # -- training ----------------------------------------------------------------------------------------------------

    def say(self, code: Tensor, c: Tensor) -> Tensor:
        """What the decoder says of codes, (K, B, width) to (K, B, *told)."""
        k, b = code.shape[:2]
        many = c.expand(k, b, -1).reshape(k * b, -1) if k > 1 else c
        return self.decoder(code.flatten(0, 1), many).view(k, b, *self.lens.told)

    def hidden(self, own: Batch, generator: torch.Generator) -> Batch:
        """The rows of a step, of some of them a random part integrated out."""
        if not self.masked or not isinstance(self.lens, RowLens):
            return own
        n, how = len(own[0]), {"generator": generator, "device": own[0].device}
        some = torch.rand(n, 1, **how) < self.masked
        return self.lens.hide(own, some & (torch.rand(n, len(self.spec.fields), **how) < torch.rand(n, 1, **how)))

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        own, (extra, lo, width, codes) = batch[: self.lens.parts], batch[self.lens.parts :]
        own = self.lens.fresh(own, generator)
        own = self.hidden(own, generator) if self.training else own
        warm = min(1.0, clock.progress / self.warmup) if self.warmup else 1.0
        if len(gone := self.classes.gone(codes)):
            codes, price = self._supposed(own, codes, gone, warm, generator)
            extra = extra.index_add(0, gone, price)
        bound_of = self.quick if self.quick and self.training else self._bound
        noise = self._draws(len(own[0]), generator)
        bound = bound_of(own, self.context(lo, width, codes), _weight(self.beta * warm), noise)
        return -(bound + extra.to(bound.dtype))

    def _draws(self, rows: int, generator: torch.Generator) -> Tensor:
        """The noise of a step."""
        return self._noise(self.draws if self.estimator == "elbo" else self.groups * self.draws, rows, generator)

    def quicken(self, yes: bool = True) -> None:
        self.quick = isolated(self._bound, dynamic=False) if yes else None

    def _bound(self, own: Batch, c: Tensor, weight: Tensor, noise: Tensor) -> Tensor:
        """The bound of log p(x|c), (B,), by the estimator of the model."""
        bound = self._elbo if self.estimator == "elbo" else self._weighted
        return bound(self.encoder(self.lens.see(own), c), own, c, weight, noise)

    @torch.no_grad()
    def _supposed(
        self, own: Batch, codes: Tensor, gone: Tensor, warm: float, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """The codes with a class drawn for each row that has none, and log p(c) - log r_c of these, (U,)."""
        some, bounds = tuple(part[gone] for part in own), torch.zeros(self.classes.count, len(gone), device=self.device)
        if warm >= 1:
            each, whole = self._each(len(gone)), _weight(self.beta)
            bounds = torch.stack([self._bound(some, c, whole, self._draws(len(gone), generator)) for c in each])
        chosen, price = self.classes.draw(bounds, generator)
        return codes.index_copy(0, gone, chosen.unsqueeze(1)), price

    def _each(self, n: int) -> Iterator[Tensor]:
        """The condition's vector of each class in turn, (n, width)."""
        blank = torch.zeros(n, 0, dtype=torch.float64, device=self.device)
        for k in range(self.classes.count):
            yield self.context(blank, blank, torch.full((n, 1), k, device=self.device))

    def _noise(self, draws: int, rows: int, generator: torch.Generator) -> Tensor:
        how = {"generator": generator, "device": self.device, "dtype": self.dtype}
        return torch.randn(draws, rows, self.latents.count, **how)

    def _elbo(self, told: Tensor, own: Batch, c: Tensor, weight: Tensor, noise: Tensor) -> Tensor:
        """The bound of one draw, (B,); the divergence in closed form where it has one."""
        exact = self.latents.divergence(told)
        _, code, excess = self.latents.infer(told, noise, self.doubly and exact is None, c)
        kl = excess.mean(0) if exact is None else exact
        if self.free_bits:
            kl = kl + (self.free_bits * self.latents.count - kl.mean()).clamp(min=0.0)
        return elbo(self.lens.log_mass(self.say(code, c), own).mean(0), kl, weight)

    def _weighted(self, told: Tensor, own: Batch, c: Tensor, weight: Tensor, noise: Tensor) -> Tensor:
        """The bound of several draws, (B,), with the gradients of its estimator.

        The encoder's share is put upon what the encoder told, or, where log q is cut, upon z, which alone leads to it.
        """
        many, rows = self.groups * self.draws, len(told)
        told = told.repeat(many, 1)
        _, code, excess = self.latents.infer(told, noise.flatten(0, 1).unsqueeze(0), self.doubly, c.repeat(many, 1))
        log_w = self.lens.log_mass(self.say(code.view(many, rows, -1), c), own) - weight * excess.view(many, rows)
        shares = importance(log_w.view(self.groups, self.draws, rows), self.estimator, doubly=self.doubly)
        if told.requires_grad:
            share = shares.encoder.reshape(-1, 1)  # the hook must not hold what leads back to `told`: it would not die
            told.register_hook(lambda gradient: gradient * share)
        surrogate = (shares.decoder.view(many, rows) * log_w).sum(0)
        return shares.bound.detach() + surrogate - surrogate.detach()

    # -- draws -------------------------------------------------------------------------------------------------------

    @property
    def span(self) -> int:
        return super().span or self.together(SPAN)

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        how = {"generator": generator, "device": generator.device, "dtype": torch.float64}
        return torch.cat([torch.randn(n, self.latents.count, **how), torch.rand(n, 1 + self.lens.draws, **how)], 1)

    @torch.no_grad()
    def decode(
        self,
        z: Tensor,
        c: Columns | None = None,
        given: Given | None = None,
        known: Rows | None = None,
        law: Law | None = None,
    ) -> Columns:
        """As `Model.decode` says; law: another law of the codes in place of the prior, where cells are known."""
        there = {f.name: f.present() for f in self.spec.fields if f.has_missing and len(f.mass) > 1}
        without = known is not None and bool(given) and given == there
        self.refuse(given and not without, None)
        context, parts = self.context(*self.see_condition(c, len(z))), []
        for at in spans(len(z), self.span):
            normal, u, uniform = z[at].to(self.device).split([self.latents.count, 1, self.lens.draws], 1)
            if known is None:
                pushed = self.latents.push(normal.to(self.dtype), u[:, 0].to(self.dtype), context[at])
                code = self.latents.unfold(pushed, context[at])
            else:
                own = self._known_of({k: v[at] for k, v in known[0].items()}, known[1][at])
                code = self._pick(normal, u, context[at], own, law_given(law, rows_of(c, at)))
            parts.append(self.lens.draw(self.say(code[None], context[at])[0], uniform, without))
        made = {f.name: np.concatenate([part[f.name] for part in parts]) for f in self.spec.fields}
        if known is None:
            return made
        fields = enumerate(self.spec.fields)
        return {f.name: np.where(known[1][:, j], known[0][f.name], made[f.name]) for j, f in fields}

    def _pick(self, normal: Tensor, u: Tensor, context: Tensor, own: Batch, law: CodeLaw | None) -> Tensor:
        """A code for each row, of GUESSES from q(z | known cells), drawn by their weights."""
        points = sobol(self.latents.count, GUESSES).unsqueeze(1).to(normal)
        noise = to_normal((torch.special.ndtr(normal) + points).remainder(1.0))
        told = self.encoder(self.lens.see(own), context)
        code, log_w = self._weights(told, noise, own, context, law)
        chosen = which(log_w.T, u[:, 0])
        return code[chosen, torch.arange(len(chosen), device=chosen.device)]

    def _known_of(self, x: Columns, known: np.ndarray) -> Batch:
        if not isinstance(self.lens, RowLens):
            raise Unsupported(f"model {self.name!r} does not complete images: give rows of a table")
        own = self.lens.hide(self.lens.prepare(x)[0], torch.from_numpy(~known))
        return tuple(part.to(self.device) for part in own)

    # -- codes -------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, x: Columns, c: Columns | None = None) -> Tensor:
        """The middle of q(z|x,c), (n, latent); of the likeliest class where it is not known."""
        out, c = [torch.zeros(0, self.latents.count)], self.settled(x, c)
        for batch in self.chunks(x, c):
            own, _, context = self.opened(batch)
            out.append(self.latents.middle(self.encoder(self.lens.see(own), context), context).cpu())
        return torch.cat(out)

    @torch.no_grad()
    def code_draws(self, x: Columns, generator: torch.Generator, c: Columns | None = None) -> Tensor:
        """A draw of q(z|x, c) for each row, (n, latent)."""
        out = [torch.zeros(0, self.latents.count)]
        for batch in self.chunks(x, c):
            own, _, context = self.opened(batch)
            told = self.encoder(self.lens.see(own), context)
            noise = torch.randn(1, len(told), self.latents.count, generator=generator).to(told)
            out.append(self.latents.infer(told, noise, c=context)[0][0].cpu())
        return torch.cat(out)

    @property
    def code_size(self) -> int:
        return self.latents.count

    def theta(self, z: Tensor, c: Tensor) -> Tensor:
        return self.say(self.latents.unfold(z.to(self.dtype), c)[None], c)[0]

    def code_of(self, e: Tensor, c: Tensor) -> Tensor:
        return self.latents.push(e.to(self.dtype), e.new_zeros(len(e)), c)

    @torch.no_grad()
    def noise_of(self, x: Columns, c: Columns | None = None) -> Tensor:
        z = self.encode(x, c).to(self.device, self.dtype)
        return self.latents.pull(z, self.context(*self.see_condition(self.settled(x, c), len(z)))).cpu()

    def _cannot(self, what: str) -> Unsupported:
        if what == "posterior" and not self.latents.normal:
            return Unsupported(
                f"model {self.name!r} cannot {ABILITIES[what]} with a prior of components: fit it with prior='realnvp' "
                "or 'normal'"
            )
        return super()._cannot(what)

    # -- likelihood --------------------------------------------------------------------------------------------------

    @property
    def weighs(self) -> bool:
        return True

    @torch.no_grad()
    def bound(
        self,
        x: Columns,
        c: Columns | None = None,
        draws: int | None = None,
        known: np.ndarray | None = None,
        law: Law | None = None,
    ) -> Bound:
        """The importance-weighted bound of each row, of its known cells alone where `known`, (n, fields), is given.

        Of a row whose class is not known: log sum_c p(c) e^bound(x|c). law: another law of the codes
        in place of the prior. Raises SpecError for draws below 1.
        """
        if draws is not None and draws < 1:
            raise SpecError(f"expected draws of at least 1, got {draws}")
        draws, at, parts = draws or self.samples, 0, [(torch.zeros(0, dtype=torch.float64),) * 3]
        for batch in self.chunks(x, c):
            own, extra, _ = self.opened(batch)
            rows, at = slice(at, at + len(extra)), at + len(extra)
            self.lens.strict(own)
            if known is not None:
                some = {k: v[rows] for k, v in x.items()}
                own = self._known_of(some, known[rows])
                extra = torch.from_numpy((house(self.spec.fields, some) * known[rows]).sum(1))
            value, error, size = self._weighed(own, batch[self.lens.parts + 1 :], draws, law, rows_of(c, rows))
            parts.append((value + extra.cpu(), error, size))
        value, error, size = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
        return Bound(value, error, size, draws)

    def _weighed(
        self, own: Batch, condition: Batch, draws: int, law: Law | None, told: Columns | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What `_weigh` gives, summed over the classes of the rows whose class is not known; told: the condition."""
        c, gone = self.context(*condition), self.classes.gone(condition[2])
        if not len(gone):
            return self._weigh(own, c, draws, law_given(law, told))
        out = torch.zeros(3, len(c), dtype=torch.float64)
        if len(there := torch.nonzero(condition[2][:, 0] >= 0)[:, 0]):
            some, of = tuple(part[there] for part in own), law_given(law, rows_of(told, there.cpu().numpy()))
            out[:, there.cpu()] = torch.stack(self._weigh(some, c[there], draws, of))
        each = self._of_classes(tuple(part[gone] for part in own), draws, law)
        out[:, gone.cpu()] = torch.stack(self.classes.summed(*each))
        return out[0], out[1], out[2]

    def _of_classes(self, own: Batch, draws: int, law: Law | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """What `_weigh` gives for each class, (count, B) each."""
        n = len(own[0])
        laws = [law_given(law, self._class(k, n)) for k in range(self.classes.count)]
        found = (self._weigh(own, c, draws, of) for c, of in zip(self._each(n), laws, strict=True))
        value, error, size = zip(*found, strict=True)
        return torch.stack(value), torch.stack(error), torch.stack(size)

    def _class(self, k: int, n: int) -> Columns:
        """The condition of n rows of class k."""
        return self.sight_of_condition.lower(torch.zeros(n, 0), torch.full((n, 1), k))

    @property
    def settles(self) -> bool:
        return self.classes.count > 0

    @torch.no_grad()
    def settled(
        self, x: Columns, c: Columns | None = None, known: np.ndarray | None = None, law: Law | None = None
    ) -> Columns | None:
        """The condition with the class of each row of which it is not known as what p(c|x) says is likeliest."""
        if not c or not self.classes.count:
            return c
        field, codes, at = self.sight_of_condition.fields[0], self.sight_of_condition.see(c)[2], 0
        if known is not None:
            codes = torch.where(torch.from_numpy(field.absent(c[field.name])).unsqueeze(1), -1, codes)
        if not len(gone := self.classes.gone(codes)):
            return c
        some, best = {k: v[gone.numpy()] for k, v in x.items()}, [torch.zeros(0, dtype=torch.int64)]
        for batch in self.chunks(some, {field.name: c[field.name][gone.numpy()]}):
            own = self.opened(batch)[0]
            rows, at = slice(at, at + len(own[0])), at + len(own[0])
            if known is not None:
                own = self._known_of({k: v[rows] for k, v in some.items()}, known[gone.numpy()][rows])
            value = self._of_classes(own, self.samples, law)[0] + self.classes.log_p.cpu().unsqueeze(1)
            if known is not None and field.has_missing and len(value) > 1:
                value[0] = -math.inf
            best.append(value.argmax(0))
        full = codes.index_copy(0, gone, torch.cat(best).unsqueeze(1))
        return self.sight_of_condition.lower(torch.zeros(len(full), 0), full)

    def _weights(
        self, told: Tensor, noise: Tensor, own: Batch, c: Tensor, law: CodeLaw | None
    ) -> tuple[Tensor, Tensor]:
        """(codes, log p(x, z|c) - log q(z|x, c)), (K, B, width) and (K, B), of noise (K, B, count)."""
        z, code, excess = self.latents.infer(told, noise.to(told), c=c)
        log_w = self.lens.log_mass(self.say(code, c), own) - excess
        return code, log_w if law is None else log_w - self.latents.log_prob(z, c) + law(z)

    def _weigh(self, own: Batch, c: Tensor, draws: int, law: CodeLaw | None) -> tuple[Tensor, Tensor, Tensor]:
        """(bound, error, effective size) of log masses, (B,) each: the rows are encoded once for all draws."""
        told = self.encoder(self.lens.see(own), c)

        def log_weight(noise: Tensor) -> Tensor:
            return self._weights(told, noise, own, c, law)[1]

        return weighed(log_weight, turned(self.lens.trace(own), self.latents.count), draws, self.lens.room)

    def log_prob(self, x: Columns, c: Columns | None = None) -> np.ndarray:
        return self.bound(x, c).value

    def log_prob_under(self, law: Law, x: Columns, c: Columns | None = None) -> np.ndarray:
        return self.bound(x, c, law=law).value

    def walked(self) -> Walked:
        def codes(noise: Tensor, c: Columns | None) -> Tensor:
            normal, u = (noise[:, at].to(self.device, self.dtype) for at in (slice(count), count))
            return self.latents.push(normal, u, self.context(*self.see_condition(c, len(noise)))).detach()

        count = self.latents.count
        return Walked(self, codes, None)

    def marginal(self, rows: Rows, c: Columns | None = None) -> np.ndarray:
        return self.bound(rows[0], c, known=rows[1]).value

    # -- what there is to say of a fit -------------------------------------------------------------------------------

    @torch.no_grad()
    def remarks(self, x: Columns, c: Columns | None = None) -> dict[str, Any]:
        """On at most LOOKED rows: the bound of one draw, the same with the codes of other rows, the divergence, how
        much of it tells one row from others, the numbers in use, and how many can live (collapse.py); and of each
        number, the costly ones first, its cost (`Latents.each`) and what log p(x|z) loses with that of another row.
        """
        some, at = ({k: v[:LOOKED] for k, v in part.items()} if part else None for part in (x, c))
        batch = tuple(part.to(self.device) for part in self.prepare(some or {}, self.settled(some or {}, at)))
        generator = torch.Generator(self.device).manual_seed(0)
        own, extra, context = self.opened(batch)
        own = self.lens.fresh(own, generator)
        told = self.encoder(self.lens.see(own), context)
        z, code, excess = self.latents.infer(told, self._noise(1, len(told), generator), c=context)
        other = code[:, torch.arange(len(extra)).roll(1)]
        like, turned_ = (self._like(part, context, own) for part in (code, other))
        mean = self.latents.middle(told, context)
        said = {
            "bound": like - excess[0] + extra,
            "bound with codes of other rows": turned_ - excess[0] + extra,
            "divergence": excess[0],
        }
        return (
            {k: float(v.double().mean()) for k, v in said.items()}
            | {
                "numbers": float(self.latents.count),
                "numbers in use": float((mean.var(0, correction=0) > LIVE * z[0].var(0, correction=0)).sum()),
                "numbers that can live": float(can_live(self.lens.plain(own), self.latents.count, self.beta)),
                "information": information(self.latents, told[:PAIRED], z[0, :PAIRED], context[:PAIRED]),
                "information at most": math.log(max(min(PAIRED, len(told)), 1)),
            }
            | self._of_numbers(own, context, told, z)
        )

    def _like(self, code: Tensor, c: Tensor, own: Batch) -> Tensor:
        """log p(x|z, c), (B,), of codes (1, B, width)."""
        size = self.together(max(len(c), 1))
        parts = zip(code.split(size, 1), c.split(size), *(part.split(size) for part in own), strict=True)
        return torch.cat([self.lens.log_mass(self.say(z, of), tuple(some))[0] for z, of, *some in parts])

    def _of_numbers(self, own: Batch, c: Tensor, told: Tensor, z: Tensor) -> dict[str, list[float]]:
        """What each number costs and what is lost without it, nats; the costly or, without costs, the missed first."""
        cost = self.latents.each(told, z, c)
        some, c, z = tuple(part[:PAIRED] for part in own), c[:PAIRED], z[:, :PAIRED]
        like, lost = self._like(self.latents.unfold(z, c), c, some).mean(), []
        for j in range(self.latents.count):
            other = z.clone()
            other[..., j] = z[..., j].roll(1, 1)
            lost.append(like - self._like(self.latents.unfold(other, c), c, some).mean())
        missed = torch.stack(lost)
        order = (missed if cost is None else cost).argsort(descending=True)
        costs = {} if cost is None else {"nats of each number": cost[order].tolist()}
        return costs | {"nats lost without it": missed[order].tolist(), "its place in the code": order.tolist()}

    def forecast(self, batch: Batch) -> str:
        own = tuple(part[:LOOKED] for part in batch[: self.lens.parts])
        own = self.lens.fresh(own, torch.Generator(own[0].device).manual_seed(0))
        return forecast(self.lens.plain(own), self.latents.count, self.beta)

    def words(self, said: dict[str, Any]) -> str:
        return diagnosis(said)
