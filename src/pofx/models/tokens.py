"""How a model of tokens sees a row: each field as one code, and the layers that read and write such codes.

Field j has sizes[j] = (K_j, M_j): a coarse code (a level, an atom, a bin) and a fine one inside it; its token is
coarse * M_j + fine. A cell's law is P(coarse) P(fine | coarse) P(cell | token), the last one static (fields.Tokens).
"""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..fields import Field
from ..spec import Columns

WAVES = 16  # cosines over the rank of a number's bins
WIDE = 4096  # the largest K M for which each pair has an input row of its own
SHUT = -1e4  # a logit that no softmax lets through


class Codes:
    """The tokens of several fields."""

    def __init__(self, fields: tuple[Field, ...], bins: int, fine: int) -> None:
        self.fields = fields
        self.tokens = [self._resolve(field, bins, fine) for field in fields]
        self.sizes = [t.sizes for t in self.tokens]

    @staticmethod
    def _resolve(field: Field, bins: int, fine: int):  # noqa: ANN205
        """A number has `bins` x `fine` tokens; many levels have as many as there are, in two codes of equal size."""
        levels = len(field.mass)
        if field.dtype == np.int32 and levels > bins * 2:
            side = math.isqrt(levels - 1) + 1
            coarse = np.arange(levels) // side
            tokens = field.tokens(1, whole=True)
            return type(tokens)((int(coarse[-1]) + 1, side), field.left, field.right, field.mass, np.arange(levels))
        return field.tokens(levels if field.dtype == np.int32 else bins, fine)

    def waves(self) -> list[np.ndarray | None]:
        """cos(pi k r_c), k = 1..16, at the mid-rank r_c of each coarse code of a number, (K_j, 16); None for levels."""
        out: list[np.ndarray | None] = []
        for field, tokens in zip(self.fields, self.tokens, strict=True):
            mass = tokens.marginal.sum(1)
            rank = np.cumsum(mass) - mass / 2
            flat = field.kind == "category" or len(mass) < 8
            out.append(None if flat else np.cos(np.pi * np.outer(rank, np.arange(1, WAVES + 1))))
        return out

    def encode(self, x: Columns) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(token, inside, seen), each (n, fields): see Field.encode."""
        parts = [f.encode(x[f.name], t) for f, t in zip(self.fields, self.tokens, strict=True)]
        token, inside, seen = (np.stack(part, 1) for part in zip(*parts, strict=True))
        return token.astype(np.int32), inside, seen


def spread(waves: list[np.ndarray | None], places: list[int], rows: int) -> Tensor:
    """The waves of all fields as one basis, (rows, sum of waves): field j's rows begin at places[j]."""
    some = [(at, w) for at, w in zip(places, waves, strict=True) if w is not None]
    out = np.zeros((rows, WAVES * len(some)), np.float32)
    for i, (at, w) in enumerate(some):
        out[at : at + len(w), WAVES * i : WAVES * (i + 1)] = w
    return torch.from_numpy(out)


class Read(nn.Module):
    """Sums one row per field: (B, F) tokens and which are known -> (B, width).

    e(x, known) = sum_j [known_j] (E_j[coarse_j] + G_j[fine_j]) + [not known_j] U_j

    For numbers E_j = free rows + waves_j C_j: a part of its own for every bin, and one that is smooth in the rank.
    `sees`, (F, width) of zeros and ones, hides fields from parts of the sum.
    """

    def __init__(
        self,
        sizes: list[tuple[int, int]],
        width: int,
        waves: list[np.ndarray | None],
        sees: Tensor | None = None,
    ) -> None:
        super().__init__()
        coarse = [k for k, _ in sizes]
        inner = [k * m if k * m <= WIDE else m for k, m in sizes]
        self.register_buffer("first", torch.tensor([0, *coarse]).cumsum(0)[:-1], persistent=False)
        self.register_buffer("fine", torch.tensor([m for _, m in sizes]), persistent=False)
        self.sizes = sizes
        self.two = [j for j, (_, m) in enumerate(sizes) if m > 1]
        self.joint = torch.tensor([sizes[j][0] * sizes[j][1] <= WIDE for j in self.two])
        self.inner_first = torch.tensor([0, *[inner[j] for j in self.two]]).cumsum(0)[:-1]
        total = sum(coarse)
        self.outer = nn.Parameter(torch.randn(total + len(sizes), width) / math.sqrt(len(sizes)))
        self.inner = nn.Parameter(torch.zeros(sum(inner[j] for j in self.two) + 1, width))
        self.total = total
        basis = spread(waves, self.first.tolist(), total + len(sizes))
        self.register_buffer("basis", basis, persistent=False)
        self.smooth = nn.Parameter(torch.zeros(basis.shape[1], width))
        every = torch.arange(len(sizes))
        owner = torch.cat([every.repeat_interleave(torch.tensor(coarse)), every])
        inner_owner = torch.tensor([j for j in self.two for _ in range(inner[j])] + [0])
        self.register_buffer("mask", sees[owner] if sees is not None else None, persistent=False)
        self.register_buffer("inner_mask", sees[inner_owner] if sees is not None else None, persistent=False)

    def _table(self, at: slice = slice(None)) -> Tensor:
        """Rows E and U, (sum K + F, width), or some of them."""
        rows = self.outer[at] + self.basis[at] @ self.smooth
        return rows if self.mask is None else rows * self.mask[at]

    def _inner(self) -> Tensor:
        """Rows G."""
        return self.inner if self.inner_mask is None else self.inner * self.inner_mask

    def rows(self, token: Tensor, known: Tensor) -> tuple[Tensor, Tensor | None]:
        """The rows of `outer` (B, F) and of `inner` (B, fields of two codes) that are summed."""
        coarse = torch.div(token, self.fine, rounding_mode="floor")
        unknown = self.total + torch.arange(len(self.first), device=token.device)
        outer = torch.where(known, coarse + self.first, unknown)
        if not self.two:
            return outer, None
        part = token[:, self.two]
        index = torch.where(self.joint.to(token.device), part, part - coarse[:, self.two] * self.fine[self.two])
        inner = torch.where(known[:, self.two], index + self.inner_first.to(token.device), len(self.inner) - 1)
        return outer, inner

    def forward(self, token: Tensor, known: Tensor) -> Tensor:
        outer, inner = self.rows(token, known)
        out = F.embedding_bag(outer, self._table(), mode="sum")
        return out if inner is None else out + F.embedding_bag(inner, self._inner(), mode="sum")

    def change(self, j: int, token: Tensor) -> Tensor:
        """What field j adds to the sum when it becomes known, (B, width)."""
        m = int(self.fine[j])
        coarse = torch.div(token, m, rounding_mode="floor")
        at, k = int(self.first[j]), self.sizes[j][0]
        out = (self._table(slice(at, at + k)) - self._table(slice(self.total + j, self.total + j + 1)))[coarse]
        if m > 1:
            i = self.two.index(j)
            index = token if self.joint[i] else token - coarse * m
            out = out + self._inner()[index + self.inner_first[i]]
        return out


class Write(nn.Module):
    """(B, width) -> log P of codes: log P_j(coarse) = log softmax(h W_j + b_j), and with it the fine one,

        log P_j(fine | coarse) = log softmax(silu(h A_j + C_j[coarse]) V_j + d_j[coarse]).

    Fields are laid out by size class, so that one softmax serves all fields of a class. Like the rows of Read, those
    of W_j have a part that is smooth in the rank of a number's bins. `sees`, (F, width) of zeros and ones, hides
    parts of h from the fields.
    """

    def __init__(
        self,
        sizes: list[tuple[int, int]],
        width: int,
        waves: list[np.ndarray | None],
        sees: Tensor | None = None,
        hidden: int = 32,
    ) -> None:
        super().__init__()
        self.sizes = sizes
        self.classes = self._classes([k for k, _ in sizes])
        self.two = [j for j, (_, m) in enumerate(sizes) if m > 1]
        start, self.place = 0, {}
        for size, members in self.classes:
            for j in members:
                self.place[j] = start
                start += size
        self.weight = nn.Parameter(torch.randn(start, width) * 0.1 / math.sqrt(width))
        self.bias = nn.Parameter(torch.zeros(start))
        basis = spread(waves, [self.place[j] for j in range(len(sizes))], start)
        self.register_buffer("basis", basis, persistent=False)
        self.smooth = nn.Parameter(torch.zeros(basis.shape[1], width))
        shut = torch.full((start,), SHUT)
        for j, (k, _) in enumerate(sizes):
            shut[self.place[j] : self.place[j] + k] = 0.0
        self.register_buffer("shut", shut, persistent=False)
        order = torch.tensor([j for _, members in self.classes for j in members])
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("back", order.argsort(), persistent=False)
        self.register_buffer("fine", torch.tensor([m for _, m in sizes]), persistent=False)
        self.register_buffer("at_two", torch.tensor(self.two, dtype=torch.long), persistent=False)
        self.hidden = hidden
        self.side = nn.Linear(width, hidden * len(self.two))
        owner = torch.zeros(start, dtype=torch.long)
        for j, (k, _) in enumerate(sizes):
            owner[self.place[j] : self.place[j] + k] = j
        self.register_buffer("mask", sees[owner] if sees is not None else None, persistent=False)
        side = sees[self.two].repeat_interleave(hidden, 0) if sees is not None else None
        self.register_buffer("side_mask", side, persistent=False)
        self.centre = nn.ParameterList(nn.Parameter(torch.randn(sizes[j][0], hidden) * 0.5) for j in self.two)
        self.tip = nn.ParameterList(
            nn.Parameter(torch.randn(hidden, sizes[j][1]) * 0.1 / math.sqrt(hidden)) for j in self.two
        )
        self.offset = nn.ParameterList(nn.Parameter(torch.zeros(sizes[j])) for j in self.two)

    def _rows(self, at: slice = slice(None)) -> Tensor:
        """The rows of W that lie at some places."""
        rows = self.weight[at] + self.basis[at] @ self.smooth
        return rows if self.mask is None else rows * self.mask[at]

    def _sides(self, h: Tensor, at: slice = slice(None)) -> Tensor:
        """h A_j of the fields of two codes, (B, hidden each)."""
        rows = self.side.weight[at]
        rows = rows if self.side_mask is None else rows * self.side_mask[at]
        return F.linear(h, rows, self.side.bias[at])

    @staticmethod
    def _classes(sizes: list[int]) -> list[tuple[int, list[int]]]:
        """Fields grouped by size, padded by at most a third: [(padded size, members)]."""
        padded = [min(p for e in range(24) for p in (2**e, 3 * 2**e // 2) if p >= k and p > 0) for k in sizes]
        groups = {p: [j for j, q in enumerate(padded) if q == p] for p in sorted(set(padded))}
        return [(max(sizes[j] for j in members), members) for members in groups.values()]

    def start(self, marginals: list[np.ndarray]) -> None:
        """Biases at the log-marginals, so that an untrained model has the marginal laws."""
        with torch.no_grad():
            for j, mass in enumerate(marginals):
                k = self.sizes[j][0]
                self.bias[self.place[j] : self.place[j] + k] = torch.from_numpy(
                    np.log(np.maximum(mass.sum(1), 1e-12))
                ).float()
            for i, j in enumerate(self.two):
                inner = (
                    np.log(np.maximum(marginals[j], 1e-12)) - np.log(np.maximum(marginals[j].sum(1), 1e-12))[:, None]
                )
                self.offset[i].copy_(torch.from_numpy(np.maximum(inner, SHUT / 1e2)).float())

    def nll(self, h: Tensor, token: Tensor) -> Tensor:
        """-log P(token_j) of every field given h, (B, F)."""
        coarse = torch.div(token, self.fine, rounding_mode="floor")
        targets = coarse[:, self.order].split([len(members) for _, members in self.classes], 1)
        logits = F.linear(h, self._rows(), self.bias + self.shut)
        parts = logits.split([size * len(members) for size, members in self.classes], 1)
        out = []
        for (size, members), part, target in zip(self.classes, parts, targets, strict=True):
            part = part.view(len(h), len(members), size)
            out.append(torch.logsumexp(part, -1) - part.gather(-1, target[..., None])[..., 0])
        nll = torch.cat(out, 1)[:, self.back]
        if not self.two:
            return nll
        sides = self._sides(h).view(len(h), len(self.two), self.hidden).unbind(1)
        inner = token - coarse * self.fine
        fine = [
            F.cross_entropy(self._fine(i, sides[i], coarse[:, j]), inner[:, j], reduction="none")
            for i, j in enumerate(self.two)
        ]
        return nll.index_add(1, self.at_two, torch.stack(fine, 1))

    def _fine(self, i: int, side: Tensor, coarse: Tensor) -> Tensor:
        return F.silu(side + self.centre[i][coarse]) @ self.tip[i] + self.offset[i][coarse]

    def nll_of(self, j: int, h: Tensor, token: Tensor, rows: Tensor | None = None) -> Tensor:
        """-log P(token) of field j alone, (B,); `rows` says which row of h each token has."""
        m = self.sizes[j][1]
        coarse = torch.div(token, m, rounding_mode="floor")
        law = self.coarse_logits(j, h).log_softmax(1)
        law = law[rows, coarse] if rows is not None else law.gather(1, coarse[:, None])[:, 0]
        if m == 1:
            return -law
        fine = self.fine_logits(j, h if rows is None else h[rows], coarse)
        return F.cross_entropy(fine, token - coarse * m, reduction="none") - law

    def coarse_logits(self, j: int, h: Tensor) -> Tensor:
        """Logits of field j's coarse code, (B, K_j)."""
        at, k = self.place[j], self.sizes[j][0]
        return F.linear(h, self._rows(slice(at, at + k)), self.bias[at : at + k])

    def fine_logits(self, j: int, h: Tensor, coarse: Tensor) -> Tensor:
        """Logits of field j's fine code given the coarse one, (B, M_j)."""
        i = self.two.index(j)
        part = slice(i * self.hidden, (i + 1) * self.hidden)
        return self._fine(i, self._sides(h, part), coarse)


def invert(law: Tensor, u: np.ndarray, rows: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The inverse distribution function of discrete laws: (index, level inside it), u and level in [0, 1).

    law: (G, K) weights; u: (n,); rows: which law each u has (by default its own).
    """
    total = law.cumsum(1)
    total = (total / total[:, -1:]).numpy()
    mine = total if rows is None else total[rows]
    index = np.minimum((mine <= u[:, None]).sum(1), law.shape[1] - 1)
    below = np.where(index > 0, np.take_along_axis(mine, np.maximum(index - 1, 0)[:, None], 1)[:, 0], 0.0)
    above = np.take_along_axis(mine, index[:, None], 1)[:, 0]
    return index, np.clip((u - below) / np.maximum(above - below, 1e-300), 0.0, 1.0 - 1e-12)
