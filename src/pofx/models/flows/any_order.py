"""any_order: a flow over mixed fields, any of them given any others."""

import math
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor

from ...errors import SpecError
from ...orders import Line
from ...spec import Columns, Given, Spec
from ..bounded import CHUNK, Bounded, Cut, Cuts
from ..infilling import Infilling
from ..made import Made, Pass
from ..masks import Keeper
from ..model import Batch, Clock, Model, Recipe, Rows
from ..tokens import Codes, invert
from ..voiced import Voiced

SIZES = {"small": (256, 1), "base": (512, 2), "large": (1024, 3)}
JOINT = 4096  # joint cells of a condition that are enumerated
BINS = 128  # coarse codes of a number; fewer where a table has more than a hundred columns
ENOUGH = 10_000  # training rows for codes as fine as the defaults
GROUPS = 4  # orders that the validation rows are seen in, beside the stored one


class AnyOrder(Bounded):
    """Any-order autoregressive flow over tokens; a discrete flow with a mask source.

    A row x has fields 1..F, each one or two codes (tokens.py). For an order o of the fields one pass of one network
    (made.py) gives all terms of

        log p(x) = sum_i log p(x_{o(i)} | x_{o(1)}, ..., x_{o(i-1)}).

    The model's law is that of the stored order (`stored_order`; by default fields of few tokens first). It draws,
    scores and integrates.
    x = decode(z): z is uniform on (0, 1)^F, and each field is the inverse distribution function of its conditional at
    z_j: levels and atoms exactly, numbers by bin, sub-bin, and uniformly inside.

    For any set S of known fields the order that begins with S gives p(x_j | x_S). Training takes the stored order for
    three batches of four; for the fourth it moves a random set of fields, of random size, to the front. Both are
    unbiased estimates of a negative log-likelihood: of the stored order, and averaged over the others.
    Shapes: tokens (B, F) -> hidden (B, width) -> terms (B, F), nats.

    Orders between fields (Spec.orders) are kept in every row: what is drawn earlier bounds what is drawn later
    (masks.py), and log p is of the law so cut. Conditions on several fields of one order hold, each drawn by its own
    law inside the bounds.

    With nothing known a field has exactly its marginal law. Conditions (`given`) on sets hold in every row:
    constrained fields come first, their joint cells are enumerated up to 4,096, and beyond that as many are kept by
    weight. Known cells come first too. Such draws, completions and marginal likelihoods are those of the orders that
    begin so; how far orders disagree on a row is among the `remarks`.

    Uria et al. 2014, A Deep and Tractable Density Estimator; Germain et al. 2015, MADE; Hoogeboom et al. 2022,
    Autoregressive Diffusion Models.

        model = create("any_order", spec, size="base", seed=0)
    """

    family = "flows"
    abilities = frozenset({"sample", "log_prob", "cells", "given", "known", "condition", "unknown", "orders"})
    sequenced: ClassVar[type[Model] | None] = Infilling
    voiced: ClassVar[type[Model] | None] = Voiced
    others = 4  # one batch in so many is seen in another order than the stored one; 0: none

    def __init__(
        self,
        spec: Spec,
        *,
        size: str = "base",
        bins: int | None = None,
        fine: int = 16,
        dropout: float = 0.1,
        stored_order: list[str] | None = None,
    ) -> None:
        super().__init__(spec)
        if size not in SIZES:
            raise SpecError(f"expected a size among {', '.join(SIZES)}, got {size!r}")
        if not 0 <= dropout < 1:
            raise SpecError(f"expected a dropout from 0 to below 1, got {dropout}")
        before = spec.condition.fields if spec.condition else ()
        self.before = len(before)
        fields = (*before, *spec.fields)
        self.codes = Codes(fields, bins or min(BINS, max(16, 100 * BINS // len(fields))), fine)
        own = range(self.before, len(self.codes.sizes))
        names = [field.name for field in fields]
        if stored_order is not None and sorted(stored_order) != sorted(names[self.before :]):
            raise SpecError(f"expected an order of all fields, {', '.join(names[self.before :])}, got {stored_order}")
        stored = (
            sorted(own, key=lambda j: math.prod(self.codes.sizes[j]))
            if stored_order is None
            else map(names.index, stored_order)
        )
        self.order = [*range(self.before), *stored]
        self.net = Made(self.codes, self.before, *SIZES[size], dropout)
        self.line = Line(spec.orders, {field.name: field for field in fields}) if spec.orders else None

    @classmethod
    def advised(cls, spec: Spec) -> dict[str, Any]:
        """Fewer codes of a number, so that each is learned from enough of n rows: about sqrt(n) / 2 coarse ones."""
        rows, columns = max(f.rows for f in spec.fields), len(spec.fields)
        if rows >= ENOUGH:
            return {}
        bins = min(max(16, int(math.sqrt(rows) / 2)), max(16, 100 * BINS // columns), BINS)
        return {"bins": bins, "fine": 4, "dropout": 0.3}

    # -- training ----------------------------------------------------------------------------------------------------

    def prepare(self, x: Columns, c: Columns | None = None) -> Batch:
        token, _, seen = self.codes.encode(x | (c or {}))
        return torch.from_numpy(token.astype(np.int64)), torch.from_numpy(seen)

    def recipe(self, rows: int) -> Recipe:
        batch = int(min(256, max(32, 2 ** math.ceil(math.log2(max(rows, 2) / 16)))))
        steps = int(min(20_000, max(300, 8 * rows / batch)))
        return Recipe(steps=steps, batch=batch, rate=2e-3, decay=1e-2, most=steps)

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        return self._in_orders(batch, [(len(batch[0]), self._order_of(clock.step, generator))])

    def validate(self, batch: Batch, generator: torch.Generator) -> Tensor:
        sizes = [len(part) for part in torch.arange(len(batch[0])).chunk(GROUPS * self.others or 1)]
        return self._in_orders(batch, [(n, self._order_of(i, generator)) for i, n in enumerate(sizes)])

    def _order_of(self, turn: int, generator: torch.Generator) -> list[int]:
        """The stored order, and for the last of `others` turns another one."""
        return self._beginning(generator) if self.others and (turn + 1) % self.others == 0 else self.order

    def _in_orders(self, batch: Batch, orders: list[tuple[int, list[int]]]) -> Tensor:
        """-log p of each row, (B,): the next so many rows in an order."""
        token, seen = batch
        return (self.net(token, seen, orders) * seen)[:, self.before :].sum(1)

    def _beginning(self, generator: torch.Generator) -> list[int]:
        """The stored order with a random set of fields, of random size, moved to its front."""
        own = len(self.order) - self.before
        draw = torch.rand(own + 1, generator=generator, device=generator.device).tolist()
        size = int(draw[-1] * own)
        front = set(np.argsort(draw[:-1])[:size] + self.before)
        return sorted(self.order, key=lambda j: (j >= self.before, j not in front))

    def adopt(self, other: Model) -> None:
        """The weights of a model of fewer levels, in the same order; a level that is new starts from its marginal
        share, and a field whose levels need other codes from nothing.
        """
        before = cast(AnyOrder, other).net
        alike = dict(before.named_parameters())
        with torch.no_grad():
            for name, p in self.net.named_parameters():
                if not name.startswith(("read.", "write.")):
                    p.copy_(alike[name])
            self.net.read.adopt(before.read)
            self.net.write.adopt(before.write)

    # -- drawing -----------------------------------------------------------------------------------------------------

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.rand(n, len(self.spec.fields), generator=generator, dtype=torch.float64)

    @torch.inference_mode()
    def decode(
        self, z: Tensor, c: Columns | None = None, given: Given | None = None, known: Rows | None = None
    ) -> Columns:
        parts = []
        for start in range(0, len(z), CHUNK):
            at = slice(start, start + CHUNK)
            some = {k: v[at] for k, v in c.items()} if c else {}
            held = ({k: v[at] for k, v in known[0].items()}, known[1][at]) if known else None
            parts.append(self._decode(z[at].numpy(), some, given or {}, held))
        return {f.name: np.concatenate([p[f.name] for p in parts]) for f in self.spec.fields} if parts else {}

    def _decode(self, z: np.ndarray, c: Columns, given: Given, known: Rows | None) -> Columns:
        n, start = len(z), self.before
        u = np.concatenate([np.zeros((n, start)), z], 1)
        token, seen, fixed = np.zeros(u.shape, np.int64), np.ones(u.shape, bool), np.zeros(u.shape, bool)
        fixed[:, :start] = True
        values = c
        if known:
            fixed[:, start:], values = known[1], c | known[0]
        for j in np.flatnonzero(fixed.any(0)).tolist():
            field, tokens = self.codes.fields[j], self.codes.tokens[j]
            code, _, got = field.encode(values[field.name], tokens)
            token[:, j], seen[:, j] = code, got | ~fixed[:, j]  # a cell never seen is kept, and tells nothing
        cuts = {j: self._cut(j, given) for j, f in enumerate(self.codes.fields) if f.name in given}
        keeper = self._keeper(n, cuts, values, fixed)
        drawn = (~fixed).astype(np.int8) * 2
        if cuts and not known:  # they come first, and all but the last from their joint law
            ordered = [j for j in self.order if keeper and j in cuts and j in keeper.slots]
            first = [j for j in self.order if j in cuts and not (len(ordered) > 1 and j in ordered)]
            if len(first) > 1:
                self._joint(first, cuts, token, seen, u)
            fixed[:, first[:-1]] = True
            drawn[:, ordered], drawn[:, first] = 1, 0
            for j in set(first[:-1]) & set(ordered):
                cast(Keeper, keeper).learn(
                    j, np.arange(n), self.codes.fields[j].decode(token[:, j], u[:, j], cuts[j].tokens)
                )
        self._walk(self._orders(drawn), token, seen, u, fixed, cuts, keeper)
        out = {}
        for j, field in enumerate(self.codes.fields[start:], start):
            inside = cuts[j].tokens if j in cuts else self.codes.tokens[j]
            kept = known is not None and fixed[:, j]
            if keeper and j in keeper.slots:
                v = keeper.values[j]
            else:
                v = field.none(n) if np.all(kept) else field.decode(token[:, j], u[:, j], inside)
            out[field.name] = np.where(kept, known[0][field.name], v) if known else v
        return out

    def _orders(self, later: np.ndarray) -> np.ndarray:
        """The stored order for each row, the fields of higher `later` (n, F) moved behind the others."""
        order = np.array(self.order)
        return order[np.argsort(later[:, order], axis=1, kind="stable")]

    def _walk(
        self,
        orders: np.ndarray,
        token: np.ndarray,
        seen: np.ndarray,
        u: np.ndarray,
        fixed: np.ndarray,
        cuts: Cuts,
        keeper: Keeper | None = None,
    ) -> None:
        """Enters the tokens that are not fixed, in each row's order, from u; u becomes the level inside each token."""
        rows, walk = np.arange(len(token)), Pass(self.net, len(token))
        for i in range(orders.shape[1]):
            field = orders[:, i]
            for j in np.unique(field):
                mine = np.flatnonzero((field == j) & ~fixed[:, j])
                if len(mine):
                    h = walk.hidden if len(mine) == len(rows) else walk.hidden[torch.from_numpy(mine)]
                    if keeper and j in keeper.slots:
                        token[mine, j] = self._draw_inside(keeper, int(j), h, mine, u[mine, j], cuts.get(int(j)))
                    else:
                        token[mine, j], u[mine, j] = self._draw(int(j), h, u[mine, j], cuts.get(int(j)))
            if i + 1 < orders.shape[1]:
                walk.learn(field, token[rows, field], seen[rows, field])

    def _draw(self, j: int, h: Tensor, u: np.ndarray, cut: Cut | None) -> tuple[np.ndarray, np.ndarray]:
        coarse, level = invert(self._coarse_law(j, h, cut), u)
        m = self.codes.sizes[j][1]
        if m == 1:
            return coarse, level
        fine, level = invert(self._fine_law(j, h, torch.from_numpy(coarse), cut), level)
        return coarse * m + fine, level

    # -- conditions --------------------------------------------------------------------------------------------------

    def _joint(self, first: list[int], cuts: Cuts, token: np.ndarray, seen: np.ndarray, u: np.ndarray) -> None:
        """Draws all but the last of several constrained fields from their joint law given that all hold."""
        start = np.where(seen, token, -1)[:, : self.before]
        _, at, group = np.unique(start, axis=0, return_index=True, return_inverse=True)
        for g, row in enumerate(at):
            walk = Pass(self.net, 1)
            for j in range(self.before):
                walk.learn(np.array([j]), token[row : row + 1, j], seen[row : row + 1, j])
            mine = np.flatnonzero(group.reshape(-1) == g)
            tokens, weight, exact = self._beginnings(walk, first, cuts, float(u[row, first[0]]))
            if not exact:
                self.effective = min(self.effective, float(weight.sum() ** 2 / (weight**2).sum()))
            chosen, u[mine, first[0]] = invert(torch.from_numpy(weight)[None], u[mine, first[0]])
            token[mine[:, None], first[:-1]] = tokens[chosen]

    def _beginnings(
        self, walk: Pass, first: list[int], cuts: Cuts, offset: float
    ) -> tuple[np.ndarray, np.ndarray, bool]:
        """Joint tokens (P, fields - 1) of the constrained fields but the last, their weights (P,), whether all.

        All of them where they are at most 4,096; else as many, kept at each field by systematic resampling.
        """
        tokens, weight, exact = np.zeros((1, 0), np.int64), np.ones(1), True
        for j in first[:-1]:
            law, codes = self._allowed(j, walk.hidden, cuts[j])
            joint = (weight[:, None] * law).reshape(-1)
            keep = np.flatnonzero(joint > 0)
            weight = joint[keep]
            if len(keep) > JOINT:
                at = (np.arange(JOINT) + offset) / JOINT * weight.sum()
                keep = keep[np.minimum(np.searchsorted(np.cumsum(weight), at), len(keep) - 1)]
                weight, exact = np.full(JOINT, weight.sum() / JOINT), False
            parent, code = np.divmod(keep, len(codes))
            tokens = np.concatenate([tokens[parent], codes[code][:, None]], 1)
            walk = walk.take(parent)
            walk.learn(np.full(len(parent), j), codes[code], np.ones(len(parent), bool))
        left = self._coarse_law(first[-1], walk.hidden, cuts[first[-1]]).sum(1)
        return tokens, weight * left.numpy(), exact

    def _allowed(self, j: int, h: Tensor, cut: Cut) -> tuple[np.ndarray, np.ndarray]:
        """(P(token, allowed), token) of field j's allowed tokens: (groups, A) and (A,)."""
        coarse = self.net.write.coarse_logits(j, h).cpu().double().softmax(1)
        k, m = self.codes.sizes[j]
        if m == 1:
            law = coarse * cut.share[:, 0]
        else:
            fine = torch.stack([self._fine_law(j, h, torch.full((len(h),), int(c)), cut) for c in cut.coarse], 1)
            law = torch.zeros(len(h), k, m, dtype=torch.float64)
            law[:, cut.coarse] = coarse[:, cut.coarse, None] * fine
            law = law.reshape(len(h), k * m)
        codes = np.flatnonzero(cut.share.reshape(-1).numpy() > 0)
        return law[:, torch.from_numpy(codes)].numpy(), codes

    # -- scoring -----------------------------------------------------------------------------------------------------

    def cells(self, x: Columns, c: Columns | None = None) -> np.ndarray:
        return self._cells(x, c, self.order)

    @torch.inference_mode()
    def _cells(self, x: Columns, c: Columns | None, order: list[int]) -> np.ndarray:
        token, inside, seen = self.codes.encode(x | (c or {}))
        nll = np.zeros(inside.shape)
        for start in range(0, len(token), CHUNK):
            at = slice(start, start + CHUNK)
            some = torch.from_numpy(token[at].astype(np.int64)).to(self.device)
            known = torch.from_numpy(seen[at]).to(self.device)
            nll[at] = self.net(some, known, [(len(some), order)]).cpu().double().numpy()
        out = inside - np.where(seen, nll, 0.0)
        if self.line is not None:
            every = np.ones(token.shape, bool)
            out -= self._room(x | (c or {}), np.tile(order, (len(token), 1)), every, token.astype(np.int64), seen)
        return out[:, self.before :]

    @torch.inference_mode()
    def marginal(self, rows: Rows, c: Columns | None = None) -> np.ndarray:
        token, inside, seen = self.codes.encode(rows[0] | (c or {}))
        token, start = token.astype(np.int64), self.before
        mask = np.concatenate([np.ones((len(token), start), bool), rows[1]], 1)
        total = np.where(mask, inside, 0.0)[:, start:].sum(1)
        for at in range(0, len(token), CHUNK):
            part = slice(at, at + CHUNK)
            total[part] -= self._nll_first(mask[part], token[part], seen[part])
        if self.line is not None:
            total -= self._room(rows[0] | (c or {}), self._orders(~mask), mask, token, seen).sum(1)
        return total

    def _nll_first(self, mask: np.ndarray, token: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """-log P of the tokens under `mask`, which come first in each row's order, (n,)."""
        rows, walk, out = np.arange(len(token)), Pass(self.net, len(token)), np.zeros(len(token))
        orders, known = self._orders(~mask), mask & seen
        for i in range(int(mask.sum(1).max())):
            field = orders[:, i]
            for j in np.unique(field[known[rows, field]]) if i >= self.before else ():
                mine = torch.from_numpy(np.flatnonzero((field == j) & known[:, j]))
                nll = self.net.write.nll_of(int(j), walk.hidden[mine], torch.from_numpy(token[mine, j]).to(self.device))
                out[mine] += nll.cpu().double().numpy()
            if i + 1 < orders.shape[1]:
                walk.learn(field, token[rows, field], known[rows, field])
        return out

    def remarks(self, x: Columns, c: Columns | None = None) -> dict[str, float]:
        if not self.others or len(self.order) - self.before < 2:
            return {}
        generator = torch.Generator().manual_seed(0)
        orders = [self.order, *(self._beginning(generator) for _ in range(GROUPS))]
        rows = np.stack([self._cells(x, c, order).sum(1) for order in orders])
        return {"orders disagree by, nats": float(rows.std(0).mean())}


MODEL = AnyOrder
