"""How the continuous models see a row, and what they share.

A field's cell is the interval [lo, lo + width) of its distribution function. With U uniform, u = lo + width U is
uniform over the data, z = Phi^-1(u) standard normal, and the field's `lower(u)` gives the cell back; missing values,
atoms and levels are intervals like the others. A cell that was never seen takes all of [0, 1], which integrates it
out, and its own log-probability in the house measure (`house`).
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import SpecError
from ..field import Field
from ..fields import Category
from ..spec import Columns, Spec
from .model import Batch, Model

LEVELS = 256
EDGE = 1e-7
CHUNK = 4096


def house(fields: tuple[Field, ...], x: Columns) -> np.ndarray:
    """What turns log masses into log-probabilities in the house measure, (n, fields), nats.

    log p(cell) = log M(cell) + house, where log M is zero for a cell that was never seen.
    """
    columns = [np.zeros((len(next(iter(x.values()))), 0))]
    for field in fields:
        strange = field.surprise(x[field.name])
        seen = field.log_seen - field.steps(x[field.name])
        columns.append(np.where(np.isnan(strange), seen, strange)[:, None])
    return np.concatenate(columns, 1)


def intervals(fields: tuple[Field, ...], x: Columns) -> tuple[np.ndarray, np.ndarray]:
    """(lo, width) of each cell, each (n, fields); (0, 1) for a cell that was never seen."""
    n = len(next(iter(x.values())))
    lo, width = np.zeros((n, len(fields))), np.ones((n, len(fields)))
    for j, field in enumerate(fields):
        seen = field.contains(x[field.name])
        below, mass = field.lift(x[field.name])
        lo[seen, j], width[seen, j] = below[seen], mass[seen]
    return lo, width


def to_normal(u: Tensor) -> Tensor:
    """z = Phi^-1(u), u kept EDGE away from 0 and 1."""
    return torch.special.ndtri(u.clamp(EDGE, 1 - EDGE))


def pick(logits: Tensor, u: Tensor) -> Tensor:
    """The index at level u of the law softmax(logits) over the last axis: (..., K) and (...) to (...), int64."""
    rising = torch.softmax(logits.double(), -1).cumsum(-1)
    return (rising < u.unsqueeze(-1) * rising[..., -1:]).sum(-1).clamp(max=logits.shape[-1] - 1)


class Sight:
    """Fields as a continuous model sees them: `numbers` as intervals, `groups` as codes (indices into `fields`).

    A category of up to LEVELS states is a code, its piece in the field's order (missing first if any was seen), -1 if
    never seen; every other field, and with `codes=False` every field, is a number.
    """

    def __init__(self, fields: tuple[Field, ...], codes: bool = True) -> None:
        self.fields = fields
        coded = [codes and isinstance(field, Category) and len(field.mass) <= LEVELS for field in fields]
        self.numbers = [j for j, yes in enumerate(coded) if not yes]
        self.groups = [j for j, yes in enumerate(coded) if yes]
        self.sizes = [len(fields[j].mass) for j in self.groups]

    def see(self, x: Columns) -> Batch:
        """(lo, width, codes): float64 (n, numbers) twice and int64 (n, groups)."""
        lo, width = intervals(tuple(self.fields[j] for j in self.numbers), x)
        codes = [np.zeros((len(lo), 0), np.int64)]
        for j in self.groups:
            piece, seen = self.fields[j].piece(x[self.fields[j].name])
            codes.append(np.where(seen, piece, -1)[:, None])
        return torch.from_numpy(lo), torch.from_numpy(width), torch.from_numpy(np.concatenate(codes, 1))

    def lower(self, u: Tensor, codes: Tensor) -> Columns:
        """Stored columns of levels u, (n, numbers), and codes, (n, groups)."""
        level, code = u.double().cpu().numpy(), codes.cpu().numpy()
        x = {self.fields[j].name: self.fields[j].lower(level[:, i]) for i, j in enumerate(self.numbers)}
        for i, j in enumerate(self.groups):
            middle = np.cumsum(self.fields[j].mass) - self.fields[j].mass / 2
            x[self.fields[j].name] = self.fields[j].lower(middle)[code[:, i]]
        return {field.name: x[field.name] for field in self.fields}


class Reader(nn.Module):
    """A row as one vector: W f(z) + sum_g E_g[code_g], with f(z) = (z, cos(pi k Phi(z)) for k = 1 to `waves`).

    z: (..., numbers), codes: (..., groups) or None, result: (..., width). Code -1 has a row of its own. With a soft
    row `levels`, (..., sum of sizes), in place of the codes the sum is levels @ E.
    """

    def __init__(self, sight: Sight, width: int, waves: int = 8) -> None:
        super().__init__()
        self.sizes = sight.sizes
        count = len(sight.numbers) * (1 + waves)
        self.linear = nn.Linear(count, width) if count else None
        self.table = nn.Embedding(sum(self.sizes) + len(self.sizes), width) if self.sizes else None
        ends = np.cumsum([0, *self.sizes])[:-1].astype(np.int64)
        total = sum(self.sizes)
        self.register_buffer("first", torch.from_numpy(ends), persistent=False)
        self.register_buffer("strange", total + torch.arange(len(self.sizes)), persistent=False)
        self.register_buffer("wave", torch.arange(1, waves + 1) * math.pi, persistent=False)
        if self.table is not None:
            nn.init.normal_(self.table.weight, std=1 / math.sqrt(max(len(self.sizes), 1)))

    def forward(self, z: Tensor, codes: Tensor | None = None, levels: Tensor | None = None) -> Tensor:
        parts = []
        if self.linear is not None:
            waves = torch.cos(torch.special.ndtr(z).unsqueeze(-1) * self.wave)
            parts.append(self.linear(torch.cat([z, waves.flatten(-2)], -1)))
        if self.table is not None and levels is not None:
            parts.append(levels @ self.table.weight[: levels.shape[-1]])
        elif self.table is not None and codes is not None:
            row = torch.where(codes < 0, self.strange, codes + self.first)
            parts.append(nn.functional.embedding_bag(row, self.table.weight, mode="sum"))
        return torch.stack(parts).sum(0)


class Context(nn.Module):
    """The condition as a vector, (n, `width`), width 0 where there is none."""

    def __init__(self, sight: Sight, width: int = 64) -> None:
        super().__init__()
        self.reader = Reader(sight, width) if sight.fields else None
        self.width = width if sight.fields else 0
        self.register_buffer("like", torch.zeros(0), persistent=False)

    def forward(self, lo: Tensor, width: Tensor, codes: Tensor) -> Tensor:
        z = to_normal(lo + width / 2).to(self.like.dtype)
        return self.reader(z, codes) if self.reader else z


class Conditioned(Model):
    """Base of the models that see the condition as a row of its own."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.sight_of_condition = Sight(spec.condition.fields if spec.condition else ())

    def see_condition(self, c: Columns | None, n: int) -> Batch:
        """(lo, width, codes) of the condition, on the model's device; SpecError where it is wanted and not given."""
        if not self.sight_of_condition.fields:
            blank = torch.zeros(n, 0, device=self.device)
            return blank.double(), blank.double(), blank.long()
        if c is None:
            wanted = ", ".join(repr(field.name) for field in self.sight_of_condition.fields)
            raise SpecError(f"expected the condition columns {wanted}, got none: give a value of each for every row")
        return tuple(part.to(self.device) for part in self.sight_of_condition.see(c))

    @property
    def dtype(self) -> torch.dtype:
        """The floating type of the parameters."""
        return next((p.dtype for p in self.parameters()), torch.float64)

    def refuse(self, given: object, known: object) -> None:
        """Raises Unsupported for conditions that the model cannot keep."""
        for what, asked in (("given", given), ("known", known)):
            if asked:
                raise self._cannot(what)


class Lifted(Conditioned):
    """Base of the models that see rows this way; it does the book-keeping.

    A batch is (lo, width, codes, house summed over the row, and lo, width, codes of the condition).
    """

    def __init__(self, spec: Spec, codes: bool = True) -> None:
        super().__init__(spec)
        self.sight = Sight(spec.fields, codes)

    def prepare(self, x: Columns, c: Columns | None = None) -> Batch:
        seen = self.sight.see(x)
        extra = torch.from_numpy(house(self.spec.fields, x).sum(1))
        return *seen, extra, *self.see_condition(c, len(extra))

    @torch.no_grad()
    def importance(
        self,
        x: Columns,
        c: Columns | None,
        draws: int,
        width: int,
        weigh: Callable[[Batch], Callable[[Tensor], Tensor]],
    ) -> np.ndarray:
        """log (1/k) sum_j w_j of each row, float64 (n,), summed as it goes.

        `weigh(batch)` gives the function from uniform numbers (n, width) to log w, (n,). Row r uses the points
        s_j + h(r) mod 1: s a scrambled Sobol sequence with a seed of its own, h a hash of the row alone, so that
        neither the call nor the company of a row changes its figure.
        """
        batch = self.prepare(x, c)
        points = sobol(width, draws)
        columns = batch[0].shape[1] + batch[2].shape[1]
        turn = torch.rand(columns, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        out = [np.zeros(0)]
        for part in zip(*(tensor.split(CHUNK) for tensor in batch), strict=True):
            own = torch.cat([part[0], part[2].double() / LEVELS], 1).cpu() @ turn * 1e3
            log_weight = weigh(tuple(tensor.to(self.device) for tensor in part))
            total = torch.full((len(own),), -math.inf, dtype=torch.float64)
            for point in points:
                total = torch.logaddexp(total, log_weight((own + point).remainder(1.0).to(self.device)).double().cpu())
            out.append(total.numpy() - math.log(draws))
        return np.concatenate(out)


def sobol(width: int, draws: int) -> Tensor:
    """`draws` points of a scrambled Sobol sequence, float64 (draws, width); plain random ones beyond its dimensions."""
    if width > torch.quasirandom.SobolEngine.MAXDIM:
        return torch.rand(draws, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    engine = torch.quasirandom.SobolEngine(max(width, 1), scramble=True, seed=0)
    return engine.draw(draws, dtype=torch.float64)[:, :width]
