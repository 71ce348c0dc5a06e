"""How a model of tokens sees a row: each field as one code, and the layers that read and write such codes.

Field j has sizes[j] = (K_j, M_j): a coarse code (a level, an atom, a bin) and a fine one inside it; its token is
coarse * M_j + fine. A cell's law is P(coarse) P(fine | coarse) P(cell | token), the last one static (fields.Tokens).
"""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..field import Field, Tokens
from ..spec import Columns

READ_WAVES, WRITE_WAVES = 32, 16  # cosines over the rank of a number's tokens and bins
SHUT = -1e4  # a logit that no softmax lets through


class Codes:
    """The tokens of several fields."""

    def __init__(self, fields: tuple[Field, ...], bins: int, fine: int) -> None:
        self.fields = fields
        self.tokens = [self._resolve(field, bins, fine) for field in fields]
        self.sizes = [t.sizes for t in self.tokens]

    @staticmethod
    def _resolve(field: Field, bins: int, fine: int) -> Tokens:
        """A number has `bins` x `fine` tokens; many levels have as many as there are, in two codes of equal size."""
        levels = len(field.mass)
        if field.dtype == np.int32 and levels > bins * 2:
            side = math.isqrt(levels - 1) + 1
            coarse = np.arange(levels) // side
            return Tokens((int(coarse[-1]) + 1, side), field.left, field.right, field.mass, np.arange(levels))
        return field.tokens(levels if field.dtype == np.int32 else bins, fine)

    def waves(self, count: int, *, whole: bool = False) -> list[np.ndarray | None]:
        """cos(pi k r), k = 1..count, at the mid-rank r of each coarse code of a number (`whole`: of each token)."""
        out: list[np.ndarray | None] = []
        for field, tokens in zip(self.fields, self.tokens, strict=True):
            mass = tokens.marginal.reshape(-1) if whole else tokens.marginal.sum(1)
            rank = np.cumsum(mass) - mass / 2
            flat = field.kind == "category" or tokens.sizes[0] < 8
            out.append(None if flat else np.cos(np.pi * np.outer(rank, np.arange(1, count + 1))))
        return out

    def encode(self, x: Columns) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(token, inside, seen), each (n, fields): see Field.encode."""
        parts = [f.encode(x[f.name], t) for f, t in zip(self.fields, self.tokens, strict=True)]
        token, inside, seen = (np.stack(part, 1) for part in zip(*parts, strict=True))
        return token.astype(np.int32), inside, seen


class Read(nn.Module):
    """Sums what each field says: (B, F) tokens and which are known -> (B, width).

    e(x, known) = sum_j [known_j] (E_j[coarse_j] + G_j[fine_j] + C_j w(r_j)) + [not known_j] U_j

    E_j has a row for each coarse code. A number adds a smooth part instead of fine rows: the cosines w of its token's
    mid-rank r_j, so that near values say nearly the same. `sees`, (F, width) of zeros and ones, hides fields from
    parts of the sum: there, a field is as one not known.
    """

    def __init__(self, codes: Codes, width: int) -> None:
        super().__init__()
        sizes = self.sizes = codes.sizes
        coarse = torch.tensor([k for k, _ in sizes])
        self.total = int(coarse.sum())
        self.register_buffer("first", coarse.cumsum(0) - coarse, persistent=False)
        self.register_buffer("fine", torch.tensor([m for _, m in sizes]), persistent=False)
        waves = codes.waves(READ_WAVES, whole=True)
        self.wavy = [j for j, w in enumerate(waves) if w is not None]
        self.two = [j for j, (_, m) in enumerate(sizes) if m > 1 and j not in self.wavy]
        rows = torch.tensor([len(w) for w in waves if w is not None], dtype=torch.long)
        basis = np.concatenate([np.zeros((0, READ_WAVES)), *(w for w in waves if w is not None)])
        self.register_buffer("basis", torch.from_numpy(basis).float(), persistent=False)
        self.register_buffer("wave_first", rows.cumsum(0) - rows, persistent=False)
        inner = torch.tensor([sizes[j][1] for j in self.two], dtype=torch.long)
        self.register_buffer("inner_first", inner.cumsum(0) - inner, persistent=False)
        scale = 1 / math.sqrt(len(sizes))
        outer = torch.randn(self.total + len(sizes), width) * scale
        for j in self.wavy:
            outer[self.first[j] : self.first[j] + sizes[j][0]] *= 0.1
        self.outer = nn.Parameter(outer)
        self.inner = nn.Parameter(torch.zeros(int(inner.sum()) + bool(self.two), width))
        fall = torch.arange(1, READ_WAVES + 1).repeat(len(self.wavy))[:, None]
        self.smooth = nn.Parameter(torch.randn(len(self.wavy) * READ_WAVES, width) * scale / fall)
        every = torch.arange(len(sizes))
        owner = torch.cat([every.repeat_interleave(coarse), every])
        inner_owner = torch.tensor([*(j for j in self.two for _ in range(sizes[j][1])), *[0] * bool(self.two)]).long()
        wave_owner = torch.tensor([j for j in self.wavy for _ in range(READ_WAVES)]).long()
        for name, own in (("owner", owner), ("inner_owner", inner_owner), ("wave_owner", wave_owner)):
            self.register_buffer(name, own, persistent=False)

    def forward(self, token: Tensor, known: Tensor, sees: Tensor | None = None) -> Tensor:
        outer, inner, smooth = self.outer, self.inner, self.smooth
        if sees is not None:
            outer, inner, smooth = (
                outer * sees[self.owner],
                inner * sees[self.inner_owner],
                smooth * sees[self.wave_owner],
            )
        coarse = torch.div(token, self.fine, rounding_mode="floor")
        unknown = self.total + torch.arange(len(self.sizes), device=token.device)
        out = F.embedding_bag(torch.where(known, coarse + self.first, unknown), outer, mode="sum")
        if sees is not None:
            out = out + ((1 - sees) * self.outer[self.total :]).sum(0)
        if self.wavy:
            waves = self.basis[token[:, self.wavy] + self.wave_first] * known[:, self.wavy, None]
            out = out + waves.flatten(1) @ smooth
        if self.two:
            none = len(self.inner) - 1
            part = (token - coarse * self.fine)[:, self.two] + self.inner_first
            out = out + F.embedding_bag(
                torch.where(known[:, self.two], part, none), inner, mode="sum", padding_idx=none
            )
        return out

    def blank(self) -> Tensor:
        """The sum where nothing is known, (1, width)."""
        return self.outer[self.total :].sum(0, keepdim=True)

    def change(self, j: int, token: Tensor, since: int = 0) -> Tensor:
        """What field j adds to the sum, from unit `since` on, when it becomes known, (B, width - since)."""
        (k, m), at = self.sizes[j], int(self.first[j])
        coarse = torch.div(token, m, rounding_mode="floor")
        out = (self.outer[at : at + k, since:] - self.outer[self.total + j, since:])[coarse]
        if j in self.wavy:
            i = self.wavy.index(j)
            part = slice(i * READ_WAVES, (i + 1) * READ_WAVES)
            out = out + self.basis[token + self.wave_first[i]] @ self.smooth[part, since:]
        elif j in self.two:
            out = out + self.inner[token - coarse * m + self.inner_first[self.two.index(j)], since:]
        return out


class Write(nn.Module):
    """(B, width) -> log P of codes: log P_j(coarse) = log softmax(h W_j + b_j), and with it the fine one,

        log P_j(fine | coarse) = log softmax((silu(h A_j + C_j[coarse]) - silu(C_j[coarse])) V_j + d_j[coarse]).

    b and d are the log-marginals and stay so: h = 0 gives exactly the marginal laws.

    Fields are laid out by size class, so that one softmax serves all fields of a class. The rows of W_j of a
    number have a part that is smooth in the rank of its bins. `reads`, (F, width) of zeros and ones, hides
    parts of h from the fields; the methods for one field take the part of h that it may read, from the first unit on.
    """

    def __init__(self, codes: Codes, width: int, hidden: int = 32) -> None:
        super().__init__()
        sizes = self.sizes = codes.sizes
        self.classes = self._classes([k for k, _ in sizes])
        self.two = [j for j, (_, m) in enumerate(sizes) if m > 1]
        start, self.place = 0, {}
        for size, members in self.classes:
            for j in members:
                self.place[j] = start
                start += size
        self.weight = nn.Parameter(torch.randn(start, width) * 0.1 / math.sqrt(width))
        self.register_buffer("bias", torch.zeros(start), persistent=False)
        waves = {j: w for j, w in enumerate(codes.waves(WRITE_WAVES)) if w is not None}
        self.wavy = list(waves)
        deep = max((len(w) for w in waves.values()), default=0)
        basis = [np.pad(w, ((0, deep - len(w)), (0, 0))) for w in waves.values()]
        self.register_buffer(
            "basis", torch.from_numpy(np.array(basis)).float().view(len(waves), deep, WRITE_WAVES), persistent=False
        )
        self.smooth = nn.Parameter(torch.zeros(len(waves) * WRITE_WAVES, width))
        at = [self.place[j] + k for j, w in waves.items() for k in range(len(w))]
        real = [i * deep + k for i, w in enumerate(waves.values()) for k in range(len(w))]
        self.register_buffer("smooth_at", torch.tensor(at, dtype=torch.long), persistent=False)
        self.register_buffer("smooth_real", torch.tensor(real, dtype=torch.long), persistent=False)
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
        self.side = nn.Parameter(torch.randn(hidden * len(self.two), width) / math.sqrt(3 * width))
        owner = torch.zeros(start, dtype=torch.long)
        for j, (k, _) in enumerate(sizes):
            owner[self.place[j] : self.place[j] + k] = j
        self.register_buffer("owner", owner, persistent=False)
        self.register_buffer("side_owner", torch.tensor(self.two).repeat_interleave(hidden).long(), persistent=False)
        self.centre = nn.ParameterList(nn.Parameter(torch.randn(sizes[j][0], hidden) * 0.5) for j in self.two)
        self.tip = nn.ParameterList(
            nn.Parameter(torch.randn(hidden, sizes[j][1]) * 0.1 / math.sqrt(hidden)) for j in self.two
        )
        self._start([t.marginal for t in codes.tokens])

    @staticmethod
    def _classes(sizes: list[int]) -> list[tuple[int, list[int]]]:
        """Fields grouped by size, padded by at most a third: [(padded size, members)]."""
        padded = [min(p for e in range(24) for p in (2**e, 3 * 2**e // 2) if p >= k and p > 0) for k in sizes]
        groups = {p: [j for j, q in enumerate(padded) if q == p] for p in sorted(set(padded))}
        return [(max(sizes[j] for j in members), members) for members in groups.values()]

    def _start(self, marginals: list[np.ndarray]) -> None:
        """Fixed offsets at the log-marginals: h = 0 gives the marginal laws."""
        for j, mass in enumerate(marginals):
            k = self.sizes[j][0]
            self.bias[self.place[j] : self.place[j] + k] = _log(mass.sum(1))
        for i, j in enumerate(self.two):
            inner = _log(marginals[j]) - _log(marginals[j].sum(1))[:, None]
            self.register_buffer(f"offset_{i}", inner.clamp(min=SHUT), persistent=False)

    def rows(self) -> Tensor:
        """W: a free part, and for numbers one that is smooth in the rank."""
        if not self.wavy:
            return self.weight
        smooth = torch.bmm(self.basis, self.smooth.view(len(self.wavy), WRITE_WAVES, -1)).flatten(0, 1)
        return self.weight.index_add(0, self.smooth_at, smooth[self.smooth_real])

    def nll(self, h: Tensor, token: Tensor, reads: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
        """-log P(token_j) of every field given h, (B, F); `rows` saves making them anew."""
        rows, side = self.rows() if rows is None else rows, self.side
        if reads is not None:
            rows, side = rows * reads[self.owner], side * reads[self.side_owner]
        coarse = torch.div(token, self.fine, rounding_mode="floor")
        targets = coarse[:, self.order].split([len(members) for _, members in self.classes], 1)
        logits = F.linear(h, rows, self.bias + self.shut)
        parts = logits.split([size * len(members) for size, members in self.classes], 1)
        out = []
        for (size, members), part, target in zip(self.classes, parts, targets, strict=True):
            part = part.view(len(h), len(members), size)
            out.append(torch.logsumexp(part, -1) - part.gather(-1, target[..., None])[..., 0])
        nll = torch.cat(out, 1)[:, self.back]
        if not self.two:
            return nll
        sides = F.linear(h, side).view(len(h), len(self.two), self.hidden).unbind(1)
        inner = token - coarse * self.fine
        fine = [
            F.cross_entropy(self._fine(i, sides[i], coarse[:, j]), inner[:, j], reduction="none")
            for i, j in enumerate(self.two)
        ]
        return nll.index_add(1, self.at_two, torch.stack(fine, 1))

    def _fine(self, i: int, side: Tensor, coarse: Tensor) -> Tensor:
        centre = self.centre[i]
        change = F.silu(side + centre[coarse]) - F.silu(centre)[coarse]
        return change @ self.tip[i] + self.get_buffer(f"offset_{i}")[coarse]

    def nll_of(self, j: int, h: Tensor, token: Tensor) -> Tensor:
        """-log P(token) of field j alone, (B,)."""
        m = self.sizes[j][1]
        coarse = torch.div(token, m, rounding_mode="floor")
        nll = F.cross_entropy(self.coarse_logits(j, h), coarse, reduction="none")
        if m == 1:
            return nll
        return nll + F.cross_entropy(self.fine_logits(j, h, coarse), token - coarse * m, reduction="none")

    def coarse_logits(self, j: int, h: Tensor) -> Tensor:
        """Logits of field j's coarse code, (B, K_j)."""
        at = slice(self.place[j], self.place[j] + self.sizes[j][0])
        rows = self.weight[at, : h.shape[1]]
        if j in self.wavy:
            i = self.wavy.index(j)
            smooth = self.smooth[WRITE_WAVES * i : WRITE_WAVES * (i + 1), : h.shape[1]]
            rows = rows + self.basis[i, : len(rows)] @ smooth
        return F.linear(h, rows, self.bias[at])

    def fine_logits(self, j: int, h: Tensor, coarse: Tensor) -> Tensor:
        """Logits of field j's fine code given the coarse one, (B, M_j)."""
        i = self.two.index(j)
        side = self.side[i * self.hidden : (i + 1) * self.hidden, : h.shape[1]]
        return self._fine(i, F.linear(h, side), coarse)


def _log(mass: np.ndarray) -> Tensor:
    return torch.from_numpy(np.log(np.maximum(mass, 1e-12))).float()


def invert(law: Tensor, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The inverse distribution function of discrete laws: (index, level inside it), u and level in [0, 1).

    law: (n, K) weights, or (1, K) where all share one; u: (n,).
    """
    total = law.double().cumsum(1).expand(len(u), -1).contiguous()
    level = torch.from_numpy(u)[:, None] * total[:, -1:]
    index = torch.searchsorted(total, level, right=True).clamp_(max=law.shape[1] - 1)
    above = total.gather(1, index)
    below = torch.where(index > 0, total.gather(1, (index - 1).clamp(min=0)), 0.0)
    inside = ((level - below) / (above - below).clamp(min=1e-300)).clamp(0.0, 1.0 - 1e-12)
    return index[:, 0].numpy(), inside[:, 0].numpy()
