"""How a model of tokens sees a row: each field as one code, and the layers that read and write such codes.

Field j has sizes[j] = (K_j, M_j): a coarse code (a level, an atom, a bin) and a fine one inside it; its token is
coarse * M_j + fine. A cell's law is P(coarse) P(fine | coarse) P(cell | token), the last one static (fields.Tokens).
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..field import Field, Tokens
from ..nn.stairs import hidden, stairs
from ..spec import Columns

READ_WAVES, WRITE_WAVES = 32, 16  # cosines over the rank of a number's tokens and bins
HIDDEN = 32  # units between a coarse code and the fine one inside it
SHUT = -1e4  # a logit that no softmax lets through

Parts = Sequence[tuple[int, Sequence[int]]]
"""The next so many rows, and for each field the number of units, from the first on, that it is read from."""


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
    mid-rank r_j, so that near values say nearly the same. The first `ends[j]` units do not see field j: to them it is
    as one not known.
    """

    def __init__(self, codes: Codes, width: int) -> None:
        super().__init__()
        sizes = self.sizes = codes.sizes
        every = range(len(sizes))
        coarse = torch.tensor([k for k, _ in sizes])
        self.total = int(coarse.sum())
        self.register_buffer("first", coarse.cumsum(0) - coarse, persistent=False)
        self.register_buffer("fine", torch.tensor([m for _, m in sizes]), persistent=False)
        waves = codes.waves(READ_WAVES, whole=True)
        self.wavy = [j for j in every if waves[j] is not None]
        self.two = [j for j, (_, m) in enumerate(sizes) if m > 1 and j not in self.wavy]
        rows = torch.tensor([len(w) for w in waves if w is not None], dtype=torch.long)
        basis = np.concatenate([np.zeros((0, READ_WAVES)), *(w for w in waves if w is not None)])
        self.register_buffer("basis", torch.from_numpy(basis).float(), persistent=False)
        self.register_buffer("wave_first", rows.cumsum(0) - rows, persistent=False)
        inner = torch.tensor([sizes[j][1] for j in self.two], dtype=torch.long)
        self.register_buffer("inner_first", inner.cumsum(0) - inner, persistent=False)
        # the field that each run of rows in a table belongs to
        self.outer_rows = _runs([*((j, k) for j, (k, _) in enumerate(sizes)), *((j, 1) for j in every)])
        self.inner_rows = _runs([(j, sizes[j][1]) for j in self.two])
        self.smooth_rows = _runs([(j, READ_WAVES) for j in self.wavy])
        scale = 1 / math.sqrt(len(sizes))
        outer = torch.randn(self.total + len(sizes), width) * scale
        for j in self.wavy:
            outer[self.first[j] : self.first[j] + sizes[j][0]] *= 0.1
        self.outer = nn.Parameter(outer)
        self.inner = nn.Parameter(torch.zeros(int(inner.sum()), width))
        fall = torch.arange(1, READ_WAVES + 1).repeat(len(self.wavy))[:, None]
        self.smooth = nn.Parameter(torch.randn(len(self.wavy) * READ_WAVES, width) * scale / fall)

    def forward(self, token: Tensor, known: Tensor, parts: Parts) -> Tensor:
        def table(whole: Tensor, runs: list[tuple[int, slice]]) -> Tensor:
            return hidden(whole, [[(rows, ends[j]) for j, rows in runs] for _, ends in parts])

        sizes = torch.tensor([n for n, _ in parts])
        part = torch.arange(len(parts)).repeat_interleave(sizes)[:, None].to(token.device)
        unseen = torch.arange(self.outer.shape[1]) < torch.tensor([ends for _, ends in parts])[:, :, None]
        blind = (self.outer[self.total :] * unseen.to(self.outer)).sum(1)
        coarse = torch.div(token, self.fine, rounding_mode="floor")
        code = torch.where(known, coarse + self.first, self.total + torch.arange(len(self.sizes), device=token.device))
        outer = table(self.outer, self.outer_rows)
        out = torch.cat([b.expand(n, -1) for b, (n, _) in zip(blind, parts, strict=True)])
        out = out + F.embedding_bag(code + part * len(self.outer), outer, mode="sum")
        if self.wavy:
            waves = (self.basis[token[:, self.wavy] + self.wave_first] * known[:, self.wavy, None]).flatten(1)
            smooth = table(self.smooth, self.smooth_rows).split(len(self.smooth))
            out = out + torch.cat([w @ s for w, s in zip(waves.split(sizes.tolist()), smooth, strict=True)])
        if self.two:
            code = torch.where(known, token - coarse * self.fine, 0)[:, self.two] + self.inner_first
            inner = table(self.inner, self.inner_rows)
            seen = known[:, self.two].to(inner)
            out = out + F.embedding_bag(code + part * len(self.inner), inner, mode="sum", per_sample_weights=seen)
        return out

    def blocks(self, j: int) -> list[Tensor]:
        """The weights of field j: of its coarse codes, of its being unknown, and what it has of the others."""
        (k, m), at = self.sizes[j], int(self.first[j])
        out = [self.outer[at : at + k], self.outer[self.total + j : self.total + j + 1]]
        if j in self.wavy:
            start = self.wavy.index(j) * READ_WAVES
            out.append(self.smooth[start : start + READ_WAVES])
        elif j in self.two:
            start = int(self.inner_first[self.two.index(j)])
            out.append(self.inner[start : start + m])
        return out

    def adopt(self, other: "Read") -> None:
        """The weights of a table of the same fields with fewer levels; a new level is read as the mean of these."""
        for j in _grown(self.sizes, other.sizes):
            for mine, theirs in zip(self.blocks(j), other.blocks(j), strict=True):
                mine[: len(theirs)], mine[len(theirs) :] = theirs, theirs.mean(0)

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
    """(B, width) -> -log P of each field's token, by a head for each group of fields of like size.

    Field j is read from the first `ends[j]` units; the methods for one field take these alone.
    """

    def __init__(self, codes: Codes, width: int) -> None:
        super().__init__()
        waves = codes.waves(WRITE_WAVES)
        alike: dict[tuple[int, int, bool], list[int]] = {}
        for j, (k, m) in enumerate(codes.sizes):
            alike.setdefault((_padded(k), _padded(m), waves[j] is not None), []).append(j)
        self.heads = nn.ModuleList(Head(codes, members, waves, width) for members in alike.values())
        self.place = {j: (head, i) for head in self.heads for i, j in enumerate(head.members)}
        self.fine = [m for _, m in codes.sizes]
        order = torch.tensor([j for head in self.heads for j in head.members])
        self.register_buffer("back", order.argsort(), persistent=False)

    def forward(self, h: Tensor, token: Tensor, parts: Parts) -> Tensor:
        """-log P(token_j) of every field, (B, F), nats. `parts`: the next so many rows, and their `ends`."""
        return torch.cat([head(h, token[:, head.members], parts) for head in self.heads], 1)[:, self.back]

    def adopt(self, other: "Write") -> None:
        """The weights of a table of the same fields with fewer levels; a new level has its marginal share at first."""
        sizes = [[head.sizes[i] for _, (head, i) in sorted(write.place.items())] for write in (self, other)]
        for j in _grown(*sizes):
            (head, i), (before, k) = self.place[j], other.place[j]
            for mine, theirs in zip(head.blocks(i), before.blocks(k), strict=True):
                mine[: len(theirs)], mine[len(theirs) :] = theirs, 0

    def coarse_logits(self, j: int, h: Tensor) -> Tensor:
        """Logits of field j's coarse code, (B, K_j)."""
        head, i = self.place[j]
        return head.coarse_logits(i, h)

    def fine_logits(self, j: int, h: Tensor, coarse: Tensor) -> Tensor:
        """Logits of field j's fine code given the coarse one, (B, M_j)."""
        head, i = self.place[j]
        return head.fine_logits(i, h, coarse)

    def nll_of(self, j: int, h: Tensor, token: Tensor) -> Tensor:
        """-log P(token) of field j alone, (B,)."""
        coarse = torch.div(token, self.fine[j], rounding_mode="floor")
        nll = F.cross_entropy(self.coarse_logits(j, h), coarse, reduction="none")
        if self.fine[j] == 1:
            return nll
        fine = token - coarse * self.fine[j]
        return nll + F.cross_entropy(self.fine_logits(j, h, coarse), fine, reduction="none")


class Head(nn.Module):
    """The laws of T fields with up to K coarse and M fine codes:

        log P_j(coarse)        = log softmax(W_j h + S_j (V_j h) + b_j)
        log P_j(fine | coarse) = log softmax(T_j (silu(A_j h + c_j[coarse]) - silu(c_j[coarse])) + d_j[coarse])

    b and d are the log-marginals and stay so: h = 0 gives exactly the marginal laws. S_j are cosines over the rank of
    the bins (of numbers alone), so that near bins have a share in common.
    """

    def __init__(self, codes: Codes, members: list[int], waves: list[np.ndarray | None], width: int) -> None:
        super().__init__()
        sizes = [codes.sizes[j] for j in members]
        count, self.k, self.m = len(members), max(k for k, _ in sizes), max(m for _, m in sizes)
        self.members, self.sizes = members, sizes
        self.waves = WRITE_WAVES if waves[members[0]] is not None else 0
        self.deep = HIDDEN if self.m > 1 else 0
        self.block = self.k + self.waves + self.deep  # rows of the weight for a field: W_j, V_j, A_j
        weight = torch.zeros(count, self.block, width)
        weight[:, : self.k] = torch.randn(count, self.k, width) * 0.1 / math.sqrt(width)
        weight[:, self.k + self.waves :] = torch.randn(count, self.deep, width) / math.sqrt(3 * width)
        self.weight = nn.Parameter(weight.flatten(0, 1))
        bias, basis = torch.full((count, self.k), SHUT), torch.zeros(count, self.k, self.waves)
        offset = torch.full((count, self.k, self.m), SHUT)
        for i, (j, (k, m)) in enumerate(zip(members, sizes, strict=True)):
            mass = codes.tokens[j].marginal
            bias[i, :k] = _log(mass.sum(1))
            offset[i, :k, :m] = (_log(mass) - _log(mass.sum(1))[:, None]).clamp(min=SHUT)
            if self.waves:
                basis[i, :k] = torch.from_numpy(waves[j])
        self.register_buffer("bias", bias, persistent=False)
        self.register_buffer("basis", basis, persistent=False)
        self.register_buffer("fine", torch.tensor([m for _, m in sizes]), persistent=False)
        if self.deep:
            self.register_buffer("offset", offset.flatten(0, 1), persistent=False)
            self.register_buffer("first", self.k * torch.arange(count), persistent=False)
            self.centre = nn.Parameter(torch.randn(count * self.k, HIDDEN) * 0.5)
            self.tip = nn.Parameter(torch.randn(count, HIDDEN, self.m) * 0.1 / math.sqrt(HIDDEN))

    def forward(self, h: Tensor, token: Tensor, parts: Parts) -> Tensor:
        """-log P(token) of the head's fields, (B, T)."""
        runs = _runs([(j, self.block) for j in self.members])
        steps = [(n, [(rows, ends[j]) for j, rows in runs]) for n, ends in parts]
        y = stairs(h, self.weight, steps).view(len(h), len(self.members), self.block).transpose(0, 1)  # (T, B, block)
        coarse = torch.div(token, self.fine, rounding_mode="floor")
        said, smooth, side = y.split([self.k, self.waves, self.deep], 2)
        logits = said + self.bias[:, None]
        if self.waves:
            logits = torch.baddbmm(logits, smooth, self.basis.transpose(1, 2))
        nll = _nll(logits, coarse)
        if not self.deep:
            return nll
        at = coarse + self.first
        centre = F.embedding(at.T, torch.cat([self.centre, F.silu(self.centre)], 1))  # (T, B, 2 HIDDEN)
        change = F.silu(side + centre[..., :HIDDEN]) - centre[..., HIDDEN:]
        inner = torch.baddbmm(F.embedding(at.T, self.offset), change, self.tip)
        return nll + _nll(inner, token - coarse * self.fine)

    def blocks(self, i: int) -> list[Tensor]:
        """The weights of the head's field i: of its coarse codes, and the rest."""
        k, start = self.sizes[i][0], i * self.block
        out = [self.weight[start : start + k], self.weight[start + self.k : start + self.block]]
        return (
            [*out, self.centre[i * self.k : i * self.k + k], self.tip[i, :, : self.sizes[i][1]]] if self.deep else out
        )

    def coarse_logits(self, i: int, h: Tensor) -> Tensor:
        k, start, seen = self.sizes[i][0], i * self.block, h.shape[1]
        rows = self.weight[start : start + k, :seen]
        if self.waves:
            at = start + self.k
            rows = rows + self.basis[i, :k] @ self.weight[at : at + self.waves, :seen]
        return F.linear(h, rows, self.bias[i, :k])

    def fine_logits(self, i: int, h: Tensor, coarse: Tensor) -> Tensor:
        m, at = self.sizes[i][1], coarse + i * self.k
        side = F.linear(h, self.weight[(i + 1) * self.block - self.deep : (i + 1) * self.block, : h.shape[1]])
        change = F.silu(side + self.centre[at]) - F.silu(self.centre)[at]
        return change @ self.tip[i, :, :m] + self.offset[at, :m]


def _nll(logits: Tensor, target: Tensor) -> Tensor:
    """-log softmax(logits)[target]: (T, B, K) and (B, T) -> (B, T)."""
    flat = F.cross_entropy(logits.flatten(0, 1), target.T.flatten(), reduction="none")
    return flat.view(len(logits), -1).T


def _grown(sizes: Sequence[tuple[int, int]], before: Sequence[tuple[int, int]]) -> list[int]:
    """The fields whose codes are what they were, or those and further levels of one code."""
    pairs = enumerate(zip(sizes, before, strict=True))
    return [j for j, (new, old) in pairs if new == old or (new[1] == old[1] == 1 and new[0] >= old[0])]


def _padded(size: int) -> int:
    """The next of 1, 2, 3, 4, 6, 8, 12, ...: sizes alike enough to share a head."""
    return min(p for e in range(32) for p in (2**e, 3 * 2**e // 2) if p >= size)


def _runs(sizes: Sequence[tuple[int, int]]) -> list[tuple[int, slice]]:
    """(field, size) one after the other -> (field, its rows)."""
    ends = np.cumsum([0, *(size for _, size in sizes)]).tolist()
    return [(j, slice(a, b)) for (j, _), a, b in zip(sizes, ends, ends[1:], strict=False)]


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
