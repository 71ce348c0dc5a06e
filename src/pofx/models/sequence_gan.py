"""The adversarial network of sequences: what `gan` is over the sites of text."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad, softplus

from ..errors import SpecError, Unsupported
from ..nn.sequence import Transformer
from ..objectives import critic_gap
from ..spec import Columns, Spec
from .model import Batch, Clock, Recipe
from .sequential import Sequential, batch_of

GRAMS = 4  # the longest runs of symbols that validation compares


class SequenceGAN(Sequential):
    """G draws sequences symbol by symbol; D says of every symbol that may come next whether data would go on so.

    G is the causal transformer of `autoregressive`, q(v | x_<t). D is another, of one number for each symbol v after
    each beginning; x data, y draws of G under the same labels, sums up to and with the END:

        D minimises  E_x sum_t -log s(D(x_t | x_<t)) + E_y sum_t -log s(-D(y_t | y_<t)) + weight E sum_t D^2
        G ascends    E_y sum_t sum_v q(v | y_<t) D(v | y_<t),   the beginnings y_<t held fixed

    s is the logistic function. The best D is log p(x_1..x_t) / q(x_1..x_t), of which what is before t is the same for
    all v: G descends on sum_t KL(q(. | y_<t) || p(. | y_<t)), whose only end is q = p. This is a policy gradient with a
    reward at each symbol, which sums over the symbols that could have been drawn in place of weighing the one that was:
    no baseline, and none of the noise of a drawn reward. G never sees a line of the data.

    width, heads, depth: of both; dropout: of D. Noise is uniform, (n, T), as in `autoregressive`. Losses are nats a
    symbol; `validate` is the mean total variation distance of runs of 1 to 4 symbols, of a batch and as many draws.
    Raises SpecError for documents, whose rows have no END. There is no `log_prob`: q is what D made of it, far from
    the likeliest law of its size; `law` says it for evidence.

    Papers: Goodfellow et al. 2014; Yu et al. 2017, SeqGAN; de Masson d'Autume et al. 2019, Training Language GANs from
    Scratch (a reward at each symbol); Asadi et al. 2017, Mean Actor Critic (the sum over symbols); Caccia et al. 2020,
    Language GANs Falling Short.
    """

    family = "gans"
    abilities = frozenset({"sample", "condition"})

    def __init__(
        self, spec: Spec, width: int = 128, heads: int = 2, depth: int = 2, dropout: float = 0.1, weight: float = 0.01
    ) -> None:
        super().__init__(spec, width, heads, depth)
        if not self.ends:
            raise SpecError("expected lines, each drawn to its end, got a document: autoregressive learns that")
        if not weight >= 0:
            raise SpecError(f"expected a weight of 0 or above, got {weight}")
        self.weight = weight
        self.critic = Transformer(self.symbols + 1, self.symbols, width, heads, depth, True, self.labels, dropout)

    @property
    def size(self) -> float:
        """The mean length of a sequence with its END."""
        return 1 / float(self.field.mass[0])

    def recipe(self, rows: int) -> Recipe:
        """Twenty epochs, or 4,000 steps, of half as many symbols as those of likelihood: fresh draws count for more."""
        batch = min(max(batch_of(self.size) // 2, 8), max(rows, 1))
        return Recipe(
            steps=max(4000, 20 * rows // batch), batch=batch, rate=3e-3, warmup=100, decay=0.0, average=0.1,
            betas=(0.0, 0.99), watch=512,
        )  # fmt: skip

    def players(self) -> dict[str, list[nn.Parameter]]:
        return {"critic": list(self.critic.parameters()), "generator": list(self.net.parameters())}

    # -- the game ----------------------------------------------------------------------------------------------------

    def fake(self, n: int, length: int, c: Tensor | None, generator: torch.Generator) -> Tensor:
        """n draws of G under c, (n, up to length)."""
        none = torch.zeros(n, 0, dtype=torch.long)
        u = torch.rand(n, length, generator=generator, device=generator.device)
        return self._cut(self.continued(none, u, c).to(self.device))

    def _ahead(self, x: Tensor) -> Tensor:
        """What is seen at each site: the symbols before, from the beginning on."""
        return pad(x[:, :-1], (1, 0), value=self.symbols)

    def scored(self, x: Tensor, c: Tensor | None) -> Tensor:
        """D(v | x_<t), (B, T, V)."""
        return self.critic(self._ahead(x), c)

    def turns(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        x, c = self._cut(batch[0].long()), self.told(batch[1:], generator)
        y = self.fake(len(x), self.length, c, generator)
        yield "critic", self.critic_loss(x, y, c)
        self.critic.eval()  # rewards without dropout
        with torch.no_grad():
            score = self.scored(y, c)
        self.critic.train(self.training)
        yield "generator", -self.gain(self.net(self._ahead(y), c), score, y)

    def critic_loss(self, x: Tensor, y: Tensor, c: Tensor | None) -> Tensor:
        """What D minimises, (B,)."""
        wide = max(x.shape[1], y.shape[1])
        both = torch.cat([pad(part, (0, wide - part.shape[1])) for part in (x, y)])
        told = self.scored(both, None if c is None else torch.cat([c, c])).gather(2, both[:, :, None])[:, :, 0]
        (real, fake), (of_real, of_fake) = told.chunk(2), live(both).chunk(2)
        real_cost = softplus(-real) + self.weight * real.square()
        fake_cost = softplus(fake) + self.weight * fake.square()
        return (torch.where(of_real, real_cost, 0.0) + torch.where(of_fake, fake_cost, 0.0)).sum(1) / self.size

    def gain(self, logits: Tensor, score: Tensor, y: Tensor) -> Tensor:
        """sum_t sum_v q(v | y_<t) D(v | y_<t) of draws y, (B,), a symbol; logits and score (B, T, V)."""
        each = (logits.softmax(2) * score).sum(2)
        return torch.where(live(y), each, 0.0).sum(1) / self.size

    @torch.no_grad()
    def attend(self, train: Batch, valid: Batch | None, generator: torch.Generator) -> dict[str, float]:
        """What D says of symbols of training rows, of held-out ones and of draws: means, and the gap between them, as
        that of models/gans/gan.py, with its standard error.
        """

        def told(batch: Batch, made: bool = False) -> Tensor:
            c = self.told(batch[1:])
            x = self.fake(len(batch[0]), self.length, c, generator) if made else self._cut(batch[0].long())
            score = self.scored(x, c).gather(2, x[:, :, None])[:, :, 0].double()
            return torch.where(live(x), score, 0.0).sum(1) / live(x).sum(1)

        own, made = told(train), told(train, made=True)
        return critic_gap(own, made, told(valid) if valid and len(valid[0]) else None)

    @torch.no_grad()
    def validate(self, batch: Batch, generator: torch.Generator) -> Tensor:
        x, c = batch[0].long(), self.told(batch[1:])
        y = self.fake(len(x), self.length, c, generator)
        far = [variation(runs(x, n, self.symbols), runs(y, n, self.symbols)) for n in range(1, GRAMS + 1)]
        return x.new_full((len(x),), sum(far) / GRAMS, dtype=torch.float32)

    # -- what the contract asks --------------------------------------------------------------------------------------

    def log_prob(self, x: Columns, c: Columns | None = None) -> np.ndarray:
        raise Unsupported(
            f"model {self.name!r} of text gives no likelihood: its generator learned from a critic alone; "
            "autoregressive does (fit --model autoregressive)"
        )

    def law(self, x: Columns, c: Columns | None = None) -> np.ndarray:
        """log q(x | c) of the generator, nats, (n,): what a likelihood-trained law of its size is held against."""
        return super().log_prob(x, c)


def live(x: Tensor) -> Tensor:
    """Which sites of codes count, (B, T): those up to and with the first END."""
    return pad((x[:, :-1] == 0).long(), (1, 0)).cumsum(1) == 0


def runs(x: Tensor, n: int, symbols: int) -> Tensor:
    """A number for each run of n symbols of codes (B, T), from the beginning (a symbol of its own) to the END."""
    begun, there = x + 1, live(x)
    if n > 1:
        begun, there = pad(begun, (1, 0)), pad(there, (1, 0), value=True)
    if begun.shape[1] < n:
        return x.new_zeros(0)
    place = (symbols + 1) ** torch.arange(n, device=x.device)
    return (begun.unfold(1, n, 1) * place).sum(2)[there.unfold(1, n, 1).all(2)]


def variation(a: Tensor, b: Tensor) -> float:
    """The total variation distance of the frequencies of two lists of numbers; 1 where one is empty."""
    if not len(a) or not len(b):
        return 1.0
    _, which = torch.cat([a, b]).unique(return_inverse=True)
    one, other = (torch.bincount(part, minlength=int(which.max()) + 1) for part in which.split([len(a), len(b)]))
    return float((one / len(a) - other / len(b)).abs().sum() / 2)
