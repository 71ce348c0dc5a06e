"""The law of sequences one symbol after the other: what `autoregressive` is over the sites of text and music."""

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from ..errors import SpecError
from ..fields import Category, Token
from ..nn.sequence import Memory, Transformer
from ..spec import Columns, Given, Spec
from .model import Batch, Clock, Model, Recipe, Rows

SYMBOLS = 2048  # of a step
MUON = 8.0  # times the rate
UNTOLD = 0.1  # of the labels that a step reads are not told
TOGETHER = 4096  # symbols that are drawn side by side, in rows of 16 to 256
GRAIN = 8  # sizes of rows are multiples of it: a CPU keeps what it prepared for each size that it sees
PARTS = 4  # of rows of about one size, in which a CPU does the work of rows that end


def token_of(spec: Spec, width: int, heads: int) -> tuple[Token, int]:
    """The field of a sequence and T. Raises SpecError for other fields, and a width that heads do not divide."""
    if width % (2 * heads):
        raise SpecError(f"expected a width that {heads} heads divide into even parts, got {width}")
    field = spec.fields[0]
    if not isinstance(field, Token):
        raise SpecError(f"expected a sequence of tokens, got {type(field).__name__}: text and music are such")
    return field, int(spec.blocks[0].sites[0] or 0)


def codes_of(field: Token, x: Columns) -> Tensor:
    """The codes (n, T) in the smallest dtype that holds them."""
    return torch.from_numpy(x[field.name].astype(np.int16 if len(field.levels) < 2**15 else np.int32))


class Labelled(Model):
    """A model of x given one label, which it sees as a vector of ones and zeros; -1, or a label never seen, as itself.

    A tenth of the labels that a step reads are taken for missing. Raises SpecError for another condition.
    """

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        told = spec.condition.fields if spec.condition else ()
        if len(told) > 1 or not all(isinstance(field, Category) for field in told):
            raise SpecError("expected one label as the condition of a sequence: give one column of categories")
        self.label = told[0] if told else None
        self.labels = len(self.label.mass) + 1 if self.label else 0

    def label_codes(self, n: int, c: Columns | None) -> Batch:
        """The labels of n examples, int64, as a part of a batch; none without labels."""
        if self.label is None:
            return ()
        codes = c[self.label.name] if c else np.full(n, -1)
        return (torch.from_numpy(np.where((codes < 0) | (codes >= self.labels), self.labels - 1, codes)).long(),)

    def told(self, labels: Batch, generator: torch.Generator | None = None) -> Tensor | None:
        """The vector of labels, (B, labels); generator: of those that are taken for missing."""
        if not labels:
            return None
        code = labels[0].to(self.device)
        if generator is not None:
            gone = torch.rand(code.shape, generator=generator, device=generator.device) < UNTOLD
            code = torch.where(gone, self.labels - 1, code)
        return one_hot(code, self.labels).float()


def batch_of(size: float) -> int:
    """How many sequences of a mean size hold SYMBOLS."""
    return int(min(max(SYMBOLS / size, 8), 256))


def recipe(batch: int, size: float, steps: int) -> Recipe:
    """How transformers learn sequences whose losses are sums over some `size` symbols."""
    return Recipe(
        steps=steps, batch=batch, warmup=100, clip=size, decay=0.01, muon=MUON, watch=4 * batch, patience=8
    )  # fmt: skip


def rows_of(length: int) -> int:
    """How many sequences of a length are drawn or scored at a time."""
    return max(16, min(256, TOGETHER // length))


def shift_of(length: int, generator: torch.Generator) -> int:
    """Where in the first half of the rows of a document a step begins to read: at a multiple of GRAIN."""
    return GRAIN * int(torch.randint(max(length // 2 // GRAIN, 1), (), generator=generator, device=generator.device))


def grained(size: int) -> int:
    """The next multiple of GRAIN."""
    return GRAIN * math.ceil(size / GRAIN)


def by_size(work: Callable[..., Tensor], sizes: Tensor, x: Tensor, *more: Tensor | None) -> Tensor:
    """work(x, *more), a number for each row, of rows (B, T) of so many symbols; more: (B, ...) each, or nothing.

    Done on a CPU in parts of rows of about one size, cut to the longest of them, so that it reads little that is behind
    an END: half of what it would, of messages. On a GPU in one part.
    """
    parts = PARTS if x.device.type == "cpu" else 1
    order = sizes.argsort()
    out = []
    for rows in order.chunk(parts):
        longest = grained(int(sizes[rows].max()) if len(rows) else 1)
        out.append(work(x[rows, :longest], *(None if part is None else part[rows] for part in more)))
    return torch.cat(out)[order.argsort()]


class Drawing:
    """How symbols are drawn from their laws: a temperature, and the likeliest alone."""

    temperature, top_p = 1.0, 1.0

    @contextmanager
    def tempered(self, temperature: float = 1.0, top_p: float = 1.0) -> Iterator[None]:
        """Draws of p^(1 / temperature), of the likeliest symbols that hold `top_p` of it, for a while.

        Raises SpecError for a temperature of 0 or below, or a share outside (0, 1].
        """
        if not temperature > 0 or not 0 < top_p <= 1:
            raise SpecError(f"expected a temperature above 0 and top_p in (0, 1], got {temperature} and {top_p}")
        before = self.temperature, self.top_p
        self.temperature, self.top_p = temperature, top_p
        try:
            yield
        finally:
            self.temperature, self.top_p = before

    def drawn(self, logits: Tensor, u: Tensor) -> Tensor:
        """The symbol at the quantile u, (B,), of its law, (B, V)."""
        p = (logits.double() / self.temperature).softmax(1)
        if self.top_p < 1:
            high, order = p.sort(1, descending=True)
            high = torch.where(high.cumsum(1) - high < self.top_p, high, 0.0)
            p = torch.zeros_like(p).scatter(1, order, high)
        total = p.cumsum(1)
        return (total <= u.double()[:, None] * total[:, -1:]).sum(1).clamp(max=logits.shape[1] - 1)


class Sequential(Labelled, Drawing):
    """log p(x) = sum_t log p(x_t | x_1..x_{t-1}), nats a sequence: a causal transformer (nn/sequence.py).

    x: codes (n, T) of one `Token` field. Where sequences end, the sum goes up to and with the first END, and nothing
    that follows it counts; one of T symbols has none. Rows of a document (`Token.ends` is False) overlap by half: a fit
    reads them from a random site of the first half on, and log p is of the second half given the first, so that the
    rows of a document sum to its log-likelihood but for its first half row.

    width, heads, depth: of the transformer; dropout: share of its numbers that a step leaves out. Noise is uniform,
    (n, T): each symbol is the quantile of its law. Raises SpecError for a width that heads do not divide into even
    parts. Vaswani et al. 2017; Su et al. 2021.
    """

    family = "flow"
    abilities = frozenset({"sample", "log_prob", "condition"})

    def __init__(self, spec: Spec, width: int = 128, heads: int = 2, depth: int = 4, dropout: float = 0.0) -> None:
        super().__init__(spec)
        self.field, self.length = token_of(spec, width, heads)
        self.symbols = len(self.field.levels)
        self.net = Transformer(self.symbols + 1, self.symbols, width, heads, depth, True, self.labels, dropout)

    @property
    def ends(self) -> bool:
        """Whether sequences end of themselves."""
        return self.field.ends

    @property
    def span(self) -> int:
        return rows_of(self.length)

    @property
    def labour(self) -> float:
        return float(self.weights) * self.length

    def prepare(self, x: Columns, c: Columns | None = None) -> Batch:
        return codes_of(self.field, x), *self.label_codes(len(x[self.field.name]), c)

    def recipe(self, rows: int) -> Recipe:
        """Steps of some 2,000 symbols, twenty epochs or 2,000 steps. A row's loss is the sum over its symbols, and the
        bound of its gradient grows with them.
        """
        size = 1 / float(self.field.mass[0]) if self.ends else 0.75 * self.length
        batch = batch_of(size)
        return recipe(batch, size, max(2000, 20 * rows // batch))

    def start(self, batch: Batch) -> None:
        """Every symbol as frequent as it is."""
        count = torch.from_numpy(self.field.mass).float()
        with torch.no_grad():
            self.net.last[1].bias.copy_(count.clamp_min(1e-9).log())

    def _terms(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """log p(x_t | x_<t, c), 0 behind the END: codes (B, T) to (B, T), nats."""
        ahead = torch.cat([x.new_full((len(x), 1), self.symbols), x[:, :-1]], 1)
        told = -cross_entropy(self.net(ahead, c).transpose(1, 2), x, reduction="none")
        if not self.ends:
            return told
        over = torch.cat([torch.zeros_like(x[:, :1]), (x[:, :-1] == 0).long()], 1).cumsum(1)
        return torch.where(over > 0, 0.0, told)

    def _cut(self, x: Tensor) -> Tensor:
        """Codes up to where the longest of these rows ends, or little more."""
        return x[:, : grained(int((x != 0).sum(1).max()) + 1)] if self.ends else x

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        x, c = batch[0].long(), self.told(batch[1:], generator if self.training else None)
        if self.ends:
            return -self._log_prob(x, c)
        if not self.training:
            return -self._terms(x, c).sum(1)
        return -self._terms(x[:, shift_of(self.length, generator) :], c).mean(1) * self.length

    def validate(self, batch: Batch, generator: torch.Generator) -> Tensor:
        return -self._log_prob(batch[0].long(), self.told(batch[1:]))

    def _log_prob(self, x: Tensor, c: Tensor | None) -> Tensor:
        if self.ends:
            sizes = ((x != 0).sum(1) + 1).clamp(max=x.shape[1])
            return by_size(lambda x, c: self._terms(x, c).sum(1), sizes, x, c)
        return self._terms(x, c)[:, self.length // 2 :].sum(1)

    @torch.no_grad()
    def log_prob(self, x: Columns, c: Columns | None = None) -> np.ndarray:
        batch = self.prepare(x, c)
        parts = [
            self._log_prob(part[0].to(self.device).long(), self.told(part[1:])).double().cpu()
            for part in zip(*(tensor.split(self.span) for tensor in batch), strict=True)
        ]
        return torch.cat(parts).numpy() if parts else np.zeros(0)

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.rand(n, self.length, generator=generator, device=generator.device)

    @torch.no_grad()
    def continued(self, prompt: Tensor, u: Tensor, c: Tensor | None = None) -> Tensor:
        """What follows prompts (B, P), given c, one symbol for each of the uniform numbers u, (B, L): codes (B, L).

        Behind an END all are END. Where prompt and symbols grow beyond T, the last half of T is what is seen.
        """
        prompt, u = prompt.to(self.device), u.to(self.device)
        begin = prompt.new_full((len(prompt), 1), self.symbols)
        seen = torch.cat([begin, prompt], 1)[:, -self.length :]
        memories, out, feed = self._memories(), [], seen
        over = torch.zeros(len(prompt), dtype=torch.bool, device=prompt.device)
        for t in range(u.shape[1]):
            new = self.drawn(self.net(feed, c, memories)[:, -1], u[:, t])
            new = torch.where(over, 0, new) if self.ends else new
            over = over | (new == 0) if self.ends else over
            out.append(new)
            if self.ends and bool(over.all()):
                rest = new.new_zeros(len(new), u.shape[1] - t - 1)
                return torch.cat([torch.stack(out, 1), rest], 1).cpu()
            seen, feed = torch.cat([seen, new[:, None]], 1), new[:, None]
            if seen.shape[1] > self.length:
                seen = seen[:, -(self.length // 2) :]
                memories, feed = self._memories(), seen
        return torch.stack(out, 1).cpu()

    def _memories(self) -> list[Memory]:
        return [Memory() for _ in self.net.blocks]

    def decode(
        self, z: Tensor, c: Columns | None = None, given: Given | None = None, known: Rows | None = None
    ) -> Columns:
        none = torch.zeros(0, dtype=torch.long)
        told = self.told(self.label_codes(len(z), c))
        each = told.split(self.span) if told is not None else itertools.repeat(None)
        parts = [
            self.continued(none.expand(len(part), 0), part, own)
            for part, own in zip(z.split(self.span), each, strict=False)
        ]
        return {self.field.name: torch.cat(parts).numpy().astype(np.int32)}
