"""The law of sequences in any order: what `any_order` is over the sites of text and music."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..errors import SpecError
from ..nn.sequence import Transformer
from ..spec import Columns, Given, Spec
from .coded import Bound
from .model import Batch, Clock, Recipe, Rows
from .sequential import Drawing, Labelled, batch_of, by_size, codes_of, grained, recipe, rows_of, shift_of, token_of

DRAWS = 8  # orders that a bound is the mean of
ROUNDS = 128  # at most, in which a sequence is drawn


class Infilling(Labelled, Drawing):
    """A masked discrete flow over sequences: any symbols given any others.

    x: codes (n, T) of one `Token` field, of which the L before the END count; all T, where sequences have none. A site
    is masked at time t with probability t, and a transformer that sees all sites (nn/sequence.py) says what stood at
    the masked ones. log p(x) = log p(L) + log p(x | L), where p(L) are the frequencies of training, and

        log p(x | L) >= E_k L / k sum_{masked t} log p(x_t | the others),   k masked sites of L, k uniform in 1..L

    which is log p averaged over all orders of the sites, and the bound of the flow from masks to symbols. Training
    counts each masked site alike, without that weight of L / k. Rows of a document overlap by half, as those of
    models/sequential.py: log p is of the second half given the first, and half of each step trains that.

    width, heads, depth, dropout: of the transformer. Noise is uniform, (n, 2 T + 1): a length, an order, and for each
    site the quantile of its law. At most `rounds` rounds reveal the sites in that order; the sites of a round are drawn
    side by side, as if independent. Raises SpecError for what is no sequence of tokens.

    Austin et al. 2021, D3PM; Hoogeboom et al. 2022; Gat et al. 2024, Discrete Flow Matching; Sahoo et al. 2024, MDLM.
    """

    family = "flow"
    abilities = frozenset({"sample", "log_prob", "bound", "known", "condition"})

    def __init__(
        self, spec: Spec, width: int = 128, heads: int = 2, depth: int = 4, dropout: float = 0.0, rounds: int = ROUNDS
    ) -> None:
        super().__init__(spec)
        self.field, self.length = token_of(spec, width, heads)
        self.symbols, self.rounds = len(self.field.levels), rounds
        self.net = Transformer(self.symbols + 1, self.symbols, width, heads, depth, False, self.labels, dropout)
        self.register_buffer("sizes", torch.ones(self.length + 1, dtype=torch.float64))

    @property
    def ends(self) -> bool:
        """Whether sequences end of themselves."""
        return self.field.ends

    @property
    def span(self) -> int:
        return rows_of(self.length)

    @property
    def labour(self) -> float:
        sites = min(2 / float(self.field.mass[0]), self.length) if self.ends else self.length  # of rows side by side
        return float(self.weights) * sites * min(self.rounds, sites)

    def prepare(self, x: Columns, c: Columns | None = None) -> Batch:
        return codes_of(self.field, x), *self.label_codes(len(x[self.field.name]), c)

    def recipe(self, rows: int) -> Recipe:
        """Steps of some 4,000 symbols, forty epochs or 2,000 steps: a step learns half of the symbols that it sees, and
        its gradient is noisier than that of `autoregressive`.
        """
        size = 1 / float(self.field.mass[0]) if self.ends else 0.75 * self.length
        batch = 2 * batch_of(size)
        return recipe(batch, size, max(2000, 40 * rows // batch))

    def start(self, batch: Batch) -> None:
        """Every symbol and every length as frequent as it is."""
        mass = torch.from_numpy(self.field.mass).float().clamp_min(1e-9)
        if self.ends:
            mass[0] = 1e-9  # no site before the END is one
        counts = torch.bincount(self._sizes(batch[0].long()).cpu(), minlength=self.length + 1).double()
        with torch.no_grad():
            self.net.last[1].bias.copy_(mass.log())
            self.sizes.copy_((counts + 1 / len(counts)) / (counts.sum() + 1))

    def _sizes(self, x: Tensor) -> Tensor:
        """L of each row."""
        if not self.ends:
            return x.new_full((len(x),), x.shape[1])
        return torch.where((x == 0).any(1), (x == 0).long().argmax(1), x.shape[1])

    def _law(self, x: Tensor, hidden: Tensor, sizes: Tensor, c: Tensor | None) -> Tensor:
        """Logits of every site, (B, T, V), where the hidden ones are not seen; END stands where a sequence is over."""
        seen = torch.where(hidden, self.symbols, x)
        logits = self.net(seen, c, sizes=(sizes + self.ends).clamp(max=x.shape[1]) if self.ends else None)
        if not self.ends:
            return logits
        return torch.cat([logits.new_full((*logits.shape[:2], 1), -1e9), logits[:, :, 1:]], 2)

    def _cut(self, x: Tensor, sizes: Tensor) -> Tensor:
        return x[:, : grained(int(sizes.max()) + 1)]

    def _missed(self, x: Tensor, hidden: Tensor, sizes: Tensor, c: Tensor | None) -> Tensor:
        """The sum of -log p over the hidden sites, (B,)."""
        hidden = hidden[:, : x.shape[1]]
        miss = cross_entropy(self._law(x, hidden, sizes, c).transpose(1, 2), x, reduction="none")
        return torch.where(hidden, miss, 0.0).sum(1)

    def _missed_by_size(self, x: Tensor, hidden: Tensor, sizes: Tensor, c: Tensor | None) -> Tensor:
        if not self.ends:
            return self._missed(x, hidden, sizes, c)
        return by_size(self._missed, (sizes + 1).clamp(max=x.shape[1]), x, hidden, sizes, c)

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        x, c = batch[0].long(), self.told(batch[1:], generator if self.training else None)
        n, device = len(x), x.device
        sizes = self._sizes(x)
        first = torch.zeros(n, dtype=torch.long, device=device)
        if self.ends:
            x = self._cut(x, sizes)
        else:
            shift = shift_of(self.length, generator)
            x, sizes = x[:, shift:], sizes - shift
            first[: n // 2] = self.length // 2
            first = first.clamp(max=x.shape[1] // 2)
        u = (torch.arange(n, device=device) + torch.rand((), generator=generator, device=device)) / n
        share = u[torch.randperm(n, generator=generator, device=device)]
        rank = self._ranks(x, first, sizes, generator)
        room = sizes - first
        hidden = rank < (share * room).floor().long()[:, None] + 1
        hidden &= rank < room[:, None]
        return 2 * self._missed_by_size(x, hidden, sizes, c) / room.clamp(min=1) * sizes

    def _ranks(self, x: Tensor, first: Tensor, sizes: Tensor, generator: torch.Generator) -> Tensor:
        """A random order of the sites from `first` on, before `sizes`: their ranks, (B, T); others come after all."""
        u = torch.rand(x.shape, generator=generator, device=x.device)
        site = torch.arange(x.shape[1], device=x.device)
        u = torch.where((site >= first[:, None]) & (site < sizes[:, None]), u, 2.0)
        return u.argsort(1).argsort(1)

    def validate(self, batch: Batch, generator: torch.Generator) -> Tensor:
        return -self._bounds(batch[0].long(), self.told(batch[1:]), 2, generator).mean(0)

    def _bounds(self, x: Tensor, c: Tensor | None, draws: int, generator: torch.Generator) -> Tensor:
        """Unbiased estimates of the bound, (draws, B), of k spread evenly over 1..L, each of an order of its own."""
        sizes = self._sizes(x)
        length = self.sizes[sizes].log() if self.ends else torch.zeros(len(x), device=x.device, dtype=torch.float64)
        x = self._cut(x, sizes)
        first = torch.full_like(sizes, 0 if self.ends else self.length // 2)
        room = sizes - first
        out = []
        start = torch.rand(len(x), generator=generator, device=x.device)
        for i in range(draws):
            share = (start + i / draws) % 1
            count = torch.minimum((share * room).long() + 1, room)
            hidden = self._ranks(x, first, sizes, generator) < count[:, None]
            out.append(length - self._missed_by_size(x, hidden, sizes, c).double() * room / count.clamp(min=1))
        return torch.stack(out)

    @torch.no_grad()
    def bound(
        self, x: Columns, c: Columns | None = None, draws: int | None = None, known: np.ndarray | None = None
    ) -> Bound:
        """The bound of each row: the mean of `draws` orders (8), and its standard error."""
        generator = torch.Generator(self.device).manual_seed(0)
        draws = draws or DRAWS
        if draws < 1:
            raise SpecError(f"expected at least one draw, got {draws}")
        parts = [
            self._bounds(part[0].to(self.device).long(), self.told(part[1:]), draws, generator).cpu()
            for part in zip(*(tensor.split(self.span) for tensor in self.prepare(x, c)), strict=True)
        ]
        told = torch.cat(parts, 1).numpy() if parts else np.zeros((draws, 0))
        error = told.std(0, ddof=1) / np.sqrt(draws) if draws > 1 else np.full(told.shape[1], np.nan)
        return Bound(told.mean(0), error, np.full(told.shape[1], float(draws)), draws)

    def log_prob(self, x: Columns, c: Columns | None = None) -> np.ndarray:
        """The bound of 8 orders, nats."""
        return self.bound(x, c).value

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.rand(n, 2 * self.length + 1, generator=generator, device=generator.device)

    @torch.no_grad()
    def decode(
        self, z: Tensor, c: Columns | None = None, given: Given | None = None, known: Rows | None = None
    ) -> Columns:
        """known: codes (n, T) and which of them are known, (n, T), of sequences whose ends are known (`sizes`)."""
        z, at, out, told = z.to(self.device), 0, [], self.told(self.label_codes(len(z), c))
        for part in z.split(self.span):
            if known is None:
                total = self.sizes.cumsum(0)
                sizes = (total < part[:, :1].double() * total[-1]).sum(1) if self.ends else None
                sizes = part.new_full((len(part),), self.length, dtype=torch.long) if sizes is None else sizes
                x, seen = torch.zeros(len(part), self.length, dtype=torch.long), None
            else:
                rows = slice(at, at + len(part))
                x = torch.from_numpy(known[0][self.field.name][rows].astype(np.int64)).to(self.device)
                seen = torch.from_numpy(known[1][rows]).to(self.device)
                sizes = self._sizes(torch.where(seen, x, 1))
            own = None if told is None else told[at : at + len(part)]
            out.append(self.filled(x, sizes, part[:, 1:], seen, own))
            at += len(part)
        return {self.field.name: torch.cat(out).numpy().astype(np.int32)}

    @torch.no_grad()
    def filled(
        self, x: Tensor, sizes: Tensor, u: Tensor, seen: Tensor | None = None, c: Tensor | None = None
    ) -> Tensor:
        """The sites of x, (B, T), that are not seen, drawn with the uniform numbers u, (B, 2 T'), T' >= T."""
        x, sizes, u = (part.to(self.device) for part in (x, sizes, u))
        half = u.shape[1] // 2
        site = torch.arange(x.shape[1], device=x.device)
        hidden = site < sizes[:, None]
        if seen is not None:
            hidden &= ~seen.to(self.device)
        x = torch.where(site < sizes[:, None], x, 0)
        rank = torch.where(hidden, u[:, : x.shape[1]], 2.0).argsort(1).argsort(1)
        count = hidden.sum(1)
        rounds = min(int(count.max()) if len(count) else 0, self.rounds)
        for i in range(rounds):
            until = (count * (i + 1) + rounds - 1) // rounds
            now = hidden & (rank < until[:, None])
            if bool(now.any()):
                law = self._law(x, hidden, sizes, c)
                rows, sites = now.nonzero(as_tuple=True)
                x[rows, sites] = self.drawn(law[rows, sites], u[rows, half + sites])
                hidden &= ~now
        return x.cpu()
