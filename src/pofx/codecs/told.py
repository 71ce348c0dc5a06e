"""Rows with missing cells: what their known cells say of hidden columns, and how a completion keeps both them and the
constraints.

    a root (a group, or a determinant)   lies in the set of its values whose members, or derived columns, are as known
    a rest or a gap                      is not known unless all that it is counted from is
    a sum with its total known           the drawn parts are brought to what the known ones leave, in proportion
    an order                             a drawn cell is brought into what the known ones leave; where the model keeps
                                         orders by itself it is there already
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ..field import Allowed
from ..orders import UNKNOWN
from ..spec import Columns, Given
from . import conditions
from . import rules as words
from .columns import ColumnPlan
from .constraints import Held
from .dependencies import Dependency
from .hidden import Sum


class Told:
    """own: the stored columns of a user's rows, of members of constraints and of columns that follow from others."""

    def __init__(
        self, held: Held, dependencies: Sequence[Dependency], own: Columns, roots: Mapping[str, ColumnPlan]
    ) -> None:
        self.held, self.own, self.roots = held, own, roots
        self.plans = held.plans
        self.links: dict[str, list[Dependency]] = {}
        for link in (*held.links, *dependencies):
            self.links.setdefault(link.source, []).append(link)
        self.gone = {name: words.gaps(self.plans[name], v) for name, v in own.items()}
        levels = {name: len(plan.levels) for name, plan in self.plans.items() if plan.reading == "levels"}
        self.strange = {name: own[name] >= count for name, count in levels.items() if name in own}

    def unsure(self) -> dict[str, np.ndarray]:
        """The rows, by hidden column, in which it is not known."""
        out = {g.hidden.name: np.any([self.gone[name] for name in g.images], 0) for g in self.held.groups}
        for one in self.held.sums:
            if one.hidden is not None:
                out[one.hidden.name] = np.any([self.gone[name] for name in one.rule.names], 0)
        for gaps in self.held.gaps:
            for name in gaps.follow:
                out[gaps.hidden[name].name] = np.any([self.gone[n] for n in (name, *gaps.beside(name))], 0)
        return out

    def sets(self, unknown: Mapping[str, np.ndarray]) -> list[tuple[np.ndarray, Given]]:
        """(rows, the sets of values that their known cells leave the fields not known there), rows bool (n,)."""
        n = len(next(iter(self.gone.values()))) if self.gone else 0
        key, given = np.zeros(n, np.int64), [Given()]
        for name, links in self.links.items():
            if name not in unknown or name not in self.roots:
                continue
            which, allowed = self._of_root(name, links, unknown[name])
            pairs, key = np.unique(key * len(allowed) + which, return_inverse=True)
            split = [divmod(int(pair), len(allowed)) for pair in pairs]
            given = [given[a] | ({} if (one := allowed[b]) is None else {name: one}) for a, b in split]
        return [(key == i, one) for i, one in enumerate(given) if one]

    def _of_root(
        self, name: str, links: Sequence[Dependency], unknown: np.ndarray
    ) -> tuple[np.ndarray, list[Allowed | None]]:
        """(which set each row has, the sets; None: all values)."""
        values, key = links[0].values, np.zeros(len(unknown), np.int64)
        fits, some = [np.ones(len(values), bool)], np.zeros(len(values), bool)
        for link in (link for link in links if link.target in self.own):
            own, gone = self.own[link.target], self.gone[link.target]
            image, absent = link.images, words.gaps(self.plans[link.target], link.images)
            some |= absent
            levels, code = np.unique(np.where(gone, image[0], own), return_inverse=True)
            code = np.where(gone | ~unknown, len(levels), code)
            pairs, key = np.unique(key * (len(levels) + 1) + code, return_inverse=True)
            split = [divmod(int(pair), len(levels) + 1) for pair in pairs]
            fits = [fits[a] & ((image == levels[b]) & ~absent if b < len(levels) else True) for a, b in split]
        out: list[Allowed | None] = []
        for fit in fits:
            full = fit & ~some if (fit & ~some).any() else fit
            free = full.all() or not full.any()
            out.append(None if free else conditions.set_of(self.roots[name], values[full]))
        return key, out

    # -- a completion --------------------------------------------------------------------------------------------------

    def settled(self, x: Columns, unknown: Mapping[str, np.ndarray]) -> Columns:
        """Drawn fields, of which those with a set that the model could not keep are brought into it."""
        out = dict(x)
        for rows, given in self.sets(unknown):
            for name, allowed in given.items():
                wrong = np.flatnonzero(rows & unknown[name] & ~conditions.holds(self.roots[name], allowed, out[name]))
                field = self.roots[name].field
                if len(wrong) and field is not None:
                    cut = field.allow(field.tokens(1, 1, whole=True), allowed)
                    level = np.random.default_rng(len(wrong)).random(len(wrong))
                    out[name] = out[name].copy()
                    out[name][wrong] = field.decode(np.zeros(len(wrong), np.int64), level, cut)
        return out

    def kept(self, full: Columns) -> Columns:
        """The columns of completed rows, their known cells as they were, sums and orders as they must be."""
        out = {name: np.where(self.gone[name], full[name], v) for name, v in self.own.items()}
        free = {name: gone.copy() for name, gone in self.gone.items()}
        for one in reversed(self.held.sums):
            self._share_out(one, out, free)
        for one in self.held.sums:
            total, *parts = one.rule.names
            every = ~np.any([words.gaps(self.plans[name], out[name]) for name in parts], 0)
            made = Sum(one.rule, None, False).decode(self.plans, out)
            out[total] = np.where(self.gone[total] & every, made, out[total])
        line = words.line_of(self.held.rules, self.plans)
        if line.orders and not self.held.keep:
            places = line.places(out)
            sure = {name: np.where(self.gone[name], UNKNOWN, at) for name, at in places.items()}
            upper = line.upper(sure)
            for name in line.names:
                inside = np.maximum(np.minimum(places[name], upper[name]), line.lower(sure)[name])
                moved = self.gone[name] & (places[name] != UNKNOWN)
                sure[name] = np.where(moved, inside, sure[name])
                out[name] = np.where(moved & (inside != places[name]), line.stored(name, inside), out[name])
        return full | out | {name: np.where(new, -1, out[name]) for name, new in self.strange.items()}

    def _share_out(self, one: Sum, out: Columns, free: dict[str, np.ndarray]) -> None:
        """Brings the parts that are free to what a known total leaves them, in proportion to what was drawn."""
        total, *parts = one.rule.names
        scale = words.finest(one.rule.names, self.plans)
        parts = sorted(parts, key=lambda name: self.plans[name].decimals)
        rows = ~free[total] & np.any([free[name] for name in parts], 0)
        if not rows.any() or self.held.keep:
            return
        cells = {name: words.in_steps(self.plans[name], out[name], scale) for name in one.rule.names}
        left = cells[total] - sum(np.where(free[name], 0, cells[name]) for name in parts)
        for i, name in enumerate(parts):
            later = sum(np.where(free[n], cells[n], 0) for n in parts[i:])
            count = sum(free[n].astype(np.int64) for n in parts[i:])
            with np.errstate(divide="ignore", invalid="ignore"):
                share = np.where(later == 0, 1 / np.maximum(count, 1), cells[name] / later)
            grid = 10 ** (scale - self.plans[name].decimals)
            mine = np.where(count == 1, left, np.round(left * share)).astype(np.int64) // grid * grid
            moved = rows & free[name]
            left = left - np.where(moved, mine, 0)
            plan = self.plans[name]
            v = words.number(mine // grid, plan.decimals, np.ones(len(mine), bool), plan.whole)
            out[name] = np.where(moved, v, out[name])
            free[name] = free[name] & ~moved
