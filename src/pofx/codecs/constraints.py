"""Constraints that hold by construction: what of a table is learned in their place, and how its columns follow.

    group    one hidden category of the combinations of its members that were seen
    sum      total = the parts that are there + rest; the rest is 0 where no part is missing, and learned only where
             a total stands beside a missing part, or is missing beside all of them
    order    masked: the model keeps it while it draws (models/masks.py); else b is learned as the gap
             b - L(b) >= 0 above the places below it (orders.py), or a as the gap under those above it where only those
             are told (a condition); where these are missing, as the distance to the least (greatest) b seen
    range    the rows that were learned from lie in it, and so does all that is drawn
    unique   read as a key

The hidden columns are fields of the Spec in place of those that follow. All of it is undone without loss.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import CodecError, SpecError
from ..field import Field
from ..fields import Category, Datetime, Integer, Number, Real
from ..orders import HIGHEST, UNKNOWN, Line, Order
from ..spec import Columns, Spec
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
        return cls(_hidden(made.seen_alone() if unknown and made.has_missing else made, "category", rule), images)

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
        return cls(rule, _hidden(made, made.kind, rule), free)

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
        total = total // 10 ** (scale - plan.decimals)
        return words.number(total, plan.decimals, there, plan.whole)


@dataclass
class Gaps:
    """The fields of some orders, of which all that have others below them (or, `down`, above) are learned as gaps.

    anchors: of each such field, the place from which it counts where nothing is below it; ends: the places of the last
    value seen at the other side, which no draw passes.
    """

    line: Line
    down: bool
    free: bool
    anchors: dict[str, int]
    ends: dict[str, int]
    hidden: dict[str, ColumnPlan] = field(default_factory=dict)

    @classmethod
    def learn(
        cls, rules: Sequence[Rule], plans: Plans, x: Columns, told: set[str], free: bool, taken: set[str]
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
        made = cls(line, down, free, {}, {})
        for name in made.follow:
            own = places[name][places[name] != UNKNOWN]
            ends = (int(own.min()), int(own.max())) if len(own) else (0, 0)
            made.anchors[name], made.ends[name] = ends[::-1] if down else ends
        for name, gap in made.encode(x).items():
            beside = [o for o in line.orders if (o.low if down else o.high) == name]
            title = " and ".join(o.high if down else o.low for o in beside)
            hidden = _free(f"{title} - {name}" if down else f"{name} - {title}", taken)
            whole, decimals = gap.dtype.kind == "i", plans[name].decimals
            one = (Integer if whole else Real).learn(hidden, gap, decimals)
            made.hidden[name] = _hidden(one, one.kind, rules[0])
        return made

    @property
    def follow(self) -> list[str]:
        """The fields that are learned as gaps, each behind those that it is counted from."""
        if self.down:
            return [name for name in reversed(self.line.names) if any(o.low == name for o in self.line.orders)]
        return [name for name in self.line.names if any(o.high == name for o in self.line.orders)]

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


class Held:
    """The constraints of a table, and the hidden columns that stand for what follows from them.

    rules: all of them; found: those that the data suggested, the others were given; keep: whether rows that break one
    are learned too; orders: those that the model keeps.
    """

    def __init__(
        self, rules: Sequence[Rule], plans: Plans, keep: bool = False, found: Iterable[Rule] = (), unknown: bool = False
    ) -> None:
        self.rules, self.plans, self.keep, self.found, self.unknown = list(rules), plans, keep, set(found), unknown
        self.groups: list[Group] = []
        self.sums: list[Sum] = []
        self.gaps: list[Gaps] = []
        self.orders: tuple[Order, ...] = ()
        self.told: set[str] = set()

    def learn(self, x: Columns, condition: set[str], masks: bool) -> "Held":
        """Fills in what the rules need; x: stored columns. SpecError for rules that cannot hold beside a condition."""
        taken = set(self.plans)
        for rule in self.rules:
            told = condition.intersection(rule.names)
            if rule.kind in ("one", "fixed"):
                if told and len(told) < len(rule.names):
                    raise SpecError(
                        f"expected all columns of {rule.words!r} in the condition, or none: got {sorted(told)}"
                    )
                name = _free(" + ".join(rule.names), taken)
                self.groups.append(Group.learn(rule, self.plans, x, name, self.unknown))
                self.told |= {name} if told else set()
        for rule in words.sums_in_order(self.rules):
            if rule.names[0] in condition:
                raise SpecError(f"the constraint {rule.words!r} decides the condition {rule.names[0]!r}: leave one out")
            name = _free(f"rest of {rule.names[0]}", taken)
            self.sums.append(Sum.learn(rule, self.plans, x, name, self.unknown, self.keep))
        for part in words.connections(self.rules):
            own = [rule for rule in self.rules if rule.kind == "order" and rule.order in part]
            free = self.keep and bool(words.all_breaks(own, self.plans, x).any())
            if masks and not free:
                self.orders += tuple(part)
            else:
                self.gaps.append(Gaps.learn(own, self.plans, x, condition, free, taken))
        self._mark()
        return self

    def _mark(self) -> None:
        """Marks the plans of columns that follow."""
        for group in self.groups:
            for name in group.images:
                self.plans[name].source = group.hidden.name
        for one in self.sums:
            self.plans[one.rule.names[0]].source = one.rule.names[1]
        for gaps in self.gaps:
            for name in gaps.follow:
                self.plans[name].source = gaps.hidden[name].name

    # -- what follows --------------------------------------------------------------------------------------------------

    @property
    def hidden(self) -> list[ColumnPlan]:
        """The plans of the hidden columns."""
        sums = [one.hidden for one in self.sums if one.hidden is not None]
        return [
            *(group.hidden for group in self.groups),
            *sums,
            *(p for gaps in self.gaps for p in gaps.hidden.values()),
        ]

    @property
    def members(self) -> set[str]:
        """The columns that some rule names, but for unique ones."""
        return {name for rule in self.rules if rule.kind != "unique" for name in rule.names}

    @property
    def links(self) -> list[Dependency]:
        """The members of groups as functions of their codes."""
        return [link for group in self.groups for link in group.links]

    def encode(self, x: Columns) -> Columns:
        """The hidden columns of stored columns."""
        out = {group.hidden.name: group.encode(x) for group in self.groups}
        out |= {one.hidden.name: one.encode(self.plans, x) for one in self.sums if one.hidden is not None}
        for gaps in self.gaps:
            out |= {gaps.hidden[name].name: v for name, v in gaps.encode(x).items()}
        return out

    def decode(self, x: Columns) -> Columns:
        """The columns that follow from the fields of the Spec, together with these."""
        out = dict(x)
        for link in self.links:
            out[link.target] = link.apply(out[link.source])
        for gaps in self.gaps:
            out |= gaps.decode(out)
        for one in self.sums:
            out[one.rule.names[0]] = one.decode(self.plans, out)
        return {k: v for k, v in out.items() if k in self.plans or k in x}

    def refuse(self, name: str, asked: str) -> None:
        """Raises CodecError for a condition on a column that follows from others which the model draws."""
        for one in self.sums:
            if name == one.rule.names[0]:
                parts = ", ".join(map(repr, one.rule.names[1:]))
                raise CodecError(f"the condition {asked!r} is on a sum, {one.rule.words}: give conditions on {parts}")
        for gaps in self.gaps:
            if name in gaps.hidden:
                plan = gaps.hidden[name]
                raise CodecError(
                    f"the condition {asked!r} is on a column that was learned as the gap {plan.name!r}: fit any_order "
                    "without dirty rows, which keeps orders while it draws, or give a condition on another column"
                )

    # -- which rows break them -----------------------------------------------------------------------------------------

    def broken(self, x: Columns, *, unscored: bool = False) -> dict[str, np.ndarray]:
        """For each rule that is no key, in words, the rows that break it; `unscored`: of those alone that the fields of
        the Spec do not tell.
        """
        out = {}
        untold = {one.rule for one in self.sums if not one.free}
        untold |= {rule for rule in self.rules if rule.kind == "order" and rule.order in self.orders}
        for rule in self.rules:
            if rule.kind == "unique" or (unscored and rule not in untold):
                continue
            out[rule.words] = words.breaks(rule, self.plans, x)
            if rule.kind == "fixed":
                group = next(group for group in self.groups if set(group.images) == set(rule.names))
                out[rule.words] = group.encode(x) >= len(group.hidden.levels)
        return out

    def lines(self) -> list[str]:
        """The rules in words that can be given back, for a terminal."""
        told = [f"  {rule.words}{'' if rule not in self.found else '  (found)'}" for rule in self.rules]
        return [
            "constraints, kept by construction:" if not self.keep else "constraints, broken as often as seen:",
            *told,
        ]

    # -- kept ----------------------------------------------------------------------------------------------------------

    def to_json(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Plain values and arrays that rebuild them (`from_json`)."""
        header, arrays = Spec.table(tuple(_field(p) for p in self.hidden)).split() if self.hidden else ([], {})
        for i, group in enumerate(self.groups):
            arrays |= {f"image.{i}.{j}": image for j, image in enumerate(group.images.values())}
        meta = {
            "rules": [rule.words for rule in self.rules],
            "found": [rule.words for rule in self.rules if rule in self.found],
            "keep": self.keep,
            "unknown": self.unknown,
            "told": sorted(self.told),
            "orders": [[o.low, o.high, o.strict] for o in self.orders],
            "hidden": header,
            "groups": [{"hidden": group.hidden.name, "names": list(group.images)} for group in self.groups],
            "sums": [{"rule": s.rule.words, "hidden": s.hidden and s.hidden.name, "free": s.free} for s in self.sums],
            "gaps": [
                {
                    "orders": [[o.low, o.high, o.strict] for o in g.line.orders],
                    "hidden": {name: plan.name for name, plan in g.hidden.items()},
                    **{k: getattr(g, k) for k in ("down", "free", "anchors", "ends")},
                }
                for g in self.gaps
            ],
        }
        return meta, arrays

    @classmethod
    def from_json(cls, meta: dict[str, Any], arrays: dict[str, np.ndarray], plans: Plans) -> "Held":
        """The constraints that `to_json` took apart."""
        rules, _ = words.read_rules(meta["rules"], list(plans))
        by_words = {rule.words: rule for rule in rules}
        out = cls(rules, plans, meta["keep"], [by_words[text] for text in meta["found"]], meta["unknown"])
        fields = {f.name: f for f in Spec.join(meta["hidden"], arrays).fields} if meta["hidden"] else {}
        out.told, out.orders = set(meta["told"]), tuple(Order(*one) for one in meta["orders"])
        for i, one in enumerate(meta["groups"]):
            rule = next(r for r in rules if r.kind in ("one", "fixed") and list(r.names) == one["names"])
            images = {name: arrays[f"image.{i}.{j}"] for j, name in enumerate(one["names"])}
            out.groups.append(Group(_hidden(fields[one["hidden"]], "category", rule), images))
        for one in meta["sums"]:
            rule, made = by_words[one["rule"]], fields.get(one["hidden"])
            out.sums.append(Sum(rule, _hidden(made, made.kind, rule) if made else None, one["free"]))
        for one in meta["gaps"]:
            orders = [Order(*pair) for pair in one["orders"]]
            line = Line(orders, {n: _field(plans[n]) for o in orders for n in (o.low, o.high)})
            rule = next(r for r in rules if r.kind == "order" and r.order in orders)
            hidden = {name: _hidden(fields[h], fields[h].kind, rule) for name, h in one["hidden"].items()}
            out.gaps.append(Gaps(line, one["down"], one["free"], one["anchors"], one["ends"], hidden))
        return out


# -- small things ------------------------------------------------------------------------------------------------------


def _hidden(made: Field, how: str, rule: Rule) -> ColumnPlan:
    reading = "levels" if isinstance(made, Category) else "number"
    form = {"whole": made.dtype.kind == "i", "decimals": made.decimals} if isinstance(made, Number) else {}
    plan = ColumnPlan(made.name, made.name, how, f"holds {rule.words}", pa.large_string(), reading=reading, form=form)
    plan.field = made
    return plan


def _field(plan: ColumnPlan) -> Field:
    if plan.field is None:
        raise CodecError(f"expected a column that is learned, got {plan.name!r}")
    return plan.field


def _free(name: str, taken: set[str]) -> str:
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
    return [_free(text, taken) for text in texts]
