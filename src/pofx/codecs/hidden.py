"""The columns that stand hidden in the Spec for columns that follow from a constraint: groups, sums, gaps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import SpecError
from ..field import Field
from ..fields import Category, Datetime, Integer, Number, Real
from ..orders import HIGHEST, UNKNOWN, Line
from ..spec import Columns
from . import rules as words
from .columns import ColumnPlan
from .dependencies import Dependency
from .rules import Rule

MOST = 10_000  # combinations of a group
Plans = Mapping[str, ColumnPlan]


@dataclass
class Group:
    """Columns of which only some combinations occur: member = image[code], `hidden` the category of the codes."""

    hidden: ColumnPlan
    images: dict[str, np.ndarray]

    @classmethod
    def learn(cls, rule: Rule, plans: Plans, x: Columns, name: str, unknown: bool) -> "Group":
        """Raises SpecError where there are more than MOST combinations."""
        columns = [_codes(x[m], x[m]) for m in rule.names]
        rows, first, codes, counts = np.unique(
            np.stack(columns, 1), axis=0, return_index=True, return_inverse=True, return_counts=True
        )
        gone = np.any([words.gaps(plans[m], x[m]) for m in rule.names], 0)
        keep = np.flatnonzero(~gone[first]) if unknown else np.arange(len(rows))
        order = keep[np.argsort(-counts[keep], kind="stable")]
        if len(order) > MOST:
            raise SpecError(
                f"the constraint {rule.words!r} has {len(order):,} combinations, more than {MOST:,}: leave it out"
            )
        code = np.full(len(rows), -1, np.int32)
        code[order] = np.arange(len(order), dtype=np.int32)
        images = {m: x[m][first[order]] for m in rule.names}
        levels = _unique([_level(rule, plans, images, i) for i in range(len(order))])
        made = Category.learn(name, code[codes.reshape(-1)], tuple(levels))
        return cls(hidden_plan(made.seen_alone() if unknown and made.has_missing else made, "category", rule), images)

    def encode(self, x: Columns) -> np.ndarray:
        """The code of each row; that after the last for a combination that was not seen."""
        known = np.zeros(len(next(iter(self.images.values()))), np.int64)
        code = np.zeros(len(x[next(iter(self.images))]), np.int64)
        for name, image in self.images.items():
            own, here = _codes(image, image), _codes(x[name], image)
            size = int(own.max()) + 2
            seen, known = np.unique(known * size + own, return_inverse=True)
            at = np.clip(np.searchsorted(seen, code * size + here), 0, len(seen) - 1)
            code = np.where((here >= 0) & (code >= 0) & (seen[at] == code * size + here), at, -1)
        order = np.argsort(known)
        return np.where(code < 0, len(known), order[np.maximum(code, 0)]).astype(np.int32)

    @property
    def links(self) -> list[Dependency]:
        """Its members as functions of its code."""
        codes = np.arange(len(next(iter(self.images.values()))))
        return [Dependency(self.hidden.name, name, codes, image) for name, image in self.images.items()]


@dataclass
class Sum:
    """total = the parts that are there + rest; without a hidden rest, the total is missing where a part is."""

    rule: Rule
    hidden: ColumnPlan | None
    free: bool

    @classmethod
    def learn(cls, rule: Rule, plans: Plans, x: Columns, name: str, unknown: bool, keep: bool) -> "Sum":
        rest, whole, there = words.left_over(rule, plans, x)
        free = keep and bool((rest[whole & there] != 0).any())
        if unknown or (not free and np.array_equal(whole, there)):
            return cls(rule, None, False)
        decimals = words.finest(rule.names, plans)
        made = (Real if decimals else Integer).learn(name, words.number(rest, decimals, there), decimals)
        return cls(rule, hidden_plan(made, made.kind, rule), free)

    def encode(self, plans: Plans, x: Columns) -> np.ndarray:
        rest, _, there = words.left_over(self.rule, plans, x)
        return words.number(rest, words.finest(self.rule.names, plans), there)

    def decode(self, plans: Plans, x: Columns) -> np.ndarray:
        """The total, in its stored form."""
        scale, plan = words.finest(self.rule.names, plans), plans[self.rule.names[0]]
        gone = np.stack([words.gaps(plans[name], x[name]) for name in self.rule.names[1:]], 1).any(1)
        total = np.sum([words.in_steps(plans[name], x[name], scale) for name in self.rule.names[1:]], 0)
        if self.hidden is not None:
            rest = x[self.hidden.name]
            lost = words.gaps(self.hidden, rest)
            own = words.in_steps(self.hidden, rest, scale)
            total, gone = total + np.where(gone | self.free, own, 0), lost
        there = np.logical_not(gone)
        return words.number(total, plan.decimals, there, plan.whole)


@dataclass
class Gaps:
    """The fields of some orders, of which all that have others below them (or, `down`, above) are learned as gaps.

    anchors: of each such field, the place from which it counts where nothing is below it; ends: the places of the last
    value seen at the other side, which no draw passes. free: whether gaps below zero are kept; unknown: whether a
    missing cell is one that nobody saw, and so is then the gap beside it.
    """

    line: Line
    down: bool
    free: bool
    unknown: bool
    anchors: dict[str, int]
    ends: dict[str, int]
    hidden: dict[str, ColumnPlan] = field(default_factory=dict)

    @classmethod
    def learn(
        cls,
        rules: Sequence[Rule],
        plans: Plans,
        x: Columns,
        told: set[str],
        free: bool,
        taken: set[str],
        unknown: bool = False,
    ) -> "Gaps":
        """Raises SpecError where a condition stands between columns that are not told."""
        line = words.line_of(rules, plans)
        above = {o.high for o in line.orders}
        below = {o.low for o in line.orders}
        down = bool(told & above)
        if told & (below if down else above):
            names = ", ".join(sorted(told))
            raise SpecError(f"expected the condition {names} at one end of its orders: leave the constraint out")
        places = line.places(x)
        made = cls(line, down, free, unknown, {}, {})
        for name in made.follow:
            own = places[name][places[name] != UNKNOWN]
            ends = (int(own.min()), int(own.max())) if len(own) else (0, 0)
            made.anchors[name], made.ends[name] = ends[::-1] if down else ends
        for name, gap in made.encode(x).items():
            title = " and ".join(made.beside(name))
            hidden = free_name(f"{title} - {name}" if down else f"{name} - {title}", taken)
            whole, decimals = gap.dtype.kind == "i", plans[name].decimals
            one = (Integer if whole else Real).learn(hidden, gap, decimals)
            one = one.seen_alone() if unknown and one.has_missing else one
            made.hidden[name] = hidden_plan(one, one.kind, rules[0])
        return made

    @property
    def follow(self) -> list[str]:
        """The fields that are learned as gaps, each behind those that it is counted from."""
        if self.down:
            return [name for name in reversed(self.line.names) if any(o.low == name for o in self.line.orders)]
        return [name for name in self.line.names if any(o.high == name for o in self.line.orders)]

    def beside(self, name: str) -> list[str]:
        """The fields right below one that is learned as a gap (or, `down`, above)."""
        if self.down:
            return [o.high for o in self.line.orders if o.low == name]
        return [o.low for o in self.line.orders if o.high == name]

    def _from(self, name: str, places: Columns) -> np.ndarray:
        """The place that a gap is counted from."""
        bound = (self.line.upper if self.down else self.line.lower)(places)[name]
        return np.where(np.abs(bound) >= HIGHEST, self.anchors[name], bound)

    def encode(self, x: Columns) -> Columns:
        """The gaps, by the columns that they stand for, in steps of their grids."""
        places, out = self.line.places(x), {}
        for name in self.follow:
            gap = (places[name] - self._from(name, places)) // self.line.steps[name] * (-1 if self.down else 1)
            there, own = places[name] != UNKNOWN, self.line.fields[name]
            if self.unknown:
                there = there & np.all([places[other] != UNKNOWN for other in self.beside(name)], 0)
            decimals = own.decimals if isinstance(own, Number) else 0
            out[name] = words.number(np.where(there, gap, 0), decimals, there, own.dtype.kind == "i")
        return out

    def decode(self, x: Columns) -> Columns:
        """The columns that were learned as gaps."""
        places, sign = self.line.places({k: v for k, v in x.items() if k not in self.hidden}), -1 if self.down else 1
        for name in self.follow:
            plan = self.hidden[name]
            gap = x[plan.name]
            there = ~words.gaps(plan, gap)
            steps = words.in_steps(plan, gap, plan.decimals)
            start = self._from(name, places)
            room = np.maximum(sign * (self.ends[name] - start) // self.line.steps[name], 0)
            steps = np.minimum(steps if self.free else np.maximum(steps, 0), room)
            places[name] = np.where(there, start + sign * steps * self.line.steps[name], UNKNOWN)
        return {name: self.line.stored(name, places[name]) for name in self.follow}


# -- small things ------------------------------------------------------------------------------------------------------


def hidden_plan(made: Field, how: str, rule: Rule) -> ColumnPlan:
    """The plan of a hidden column."""
    reading = "levels" if isinstance(made, Category) else "number"
    form = {"whole": made.dtype.kind == "i", "decimals": made.decimals} if isinstance(made, Number) else {}
    plan = ColumnPlan(made.name, made.name, how, f"holds {rule.words}", pa.large_string(), reading=reading, form=form)
    plan.field, plan.values = made, pa.array(made.levels if isinstance(made, Category) else (), pa.large_string())
    return plan


def free_name(name: str, taken: set[str]) -> str:
    """The name, or one like it that is not taken, which it then is."""
    while name in taken:
        name += "'"
    taken.add(name)
    return name


def _codes(v: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Each stored value as its number among the different ones of `among`, -1 where it is none of them."""
    if v.dtype.kind == "f":
        v, among = (np.where(np.isnan(one), -np.inf, one) for one in (v, among))
    levels = np.unique(among)
    at = np.clip(np.searchsorted(levels, v), 0, len(levels) - 1)
    return np.where(levels[at] == v, at, -1)


def _level(rule: Rule, plans: Plans, images: Columns, i: int) -> str:
    """The name of a combination."""
    one = {name: image[i : i + 1] for name, image in images.items()}
    if rule.kind == "one":
        hot = [name for name, v in one.items() if words.is_hot(plans[name], v)[0]]
        if len(hot) == 1 and not any(words.gaps(plans[name], v)[0] for name, v in one.items()):
            return hot[0]
    return ", ".join("" if words.gaps(plans[n], v)[0] else _text(plans[n], v[0]) for n, v in one.items())


def _text(plan: ColumnPlan, v: Any) -> str:
    if plan.reading == "levels":
        return str(plan.levels[v]) if v < len(plan.levels) else "?"
    if isinstance(plan.field, Datetime):
        return str(np.array([v]).astype(f"datetime64[{plan.field.unit}]")[0])
    return f"{v}"


def _unique(texts: list[str]) -> list[str]:
    taken: set[str] = set()
    return [free_name(text, taken) for text in texts]
