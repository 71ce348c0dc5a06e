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

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..errors import CodecError, SpecError
from ..field import Field
from ..orders import Line, Order
from ..spec import Columns, Spec
from . import rules as words
from .columns import ColumnPlan
from .dependencies import Dependency
from .hidden import Gaps, Group, Plans, Sum, free_name, hidden_plan
from .rules import Rule


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
                name = free_name(" + ".join(rule.names), taken)
                self.groups.append(Group.learn(rule, self.plans, x, name, self.unknown))
                self.told |= {name} if told else set()
        for rule in words.sums_in_order(self.rules):
            if rule.names[0] in condition:
                raise SpecError(f"the constraint {rule.words!r} decides the condition {rule.names[0]!r}: leave one out")
            name = free_name(f"rest of {rule.names[0]}", taken)
            self.sums.append(Sum.learn(rule, self.plans, x, name, self.unknown, self.keep))
        for part in words.connections(self.rules):
            own = [rule for rule in self.rules if rule.kind == "order" and rule.order in part]
            free = self.keep and bool(words.all_breaks(own, self.plans, x).any())
            if masks and not free:
                self.orders += tuple(part)
            else:
                self.gaps.append(Gaps.learn(own, self.plans, x, condition, free, taken, self.unknown))
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
    def read(self) -> set[str]:
        """The columns that the hidden ones are made of."""
        sums = {name for one in self.sums if one.hidden is not None for name in one.rule.names}
        return sums | {n for group in self.groups for n in group.images} | {n for g in self.gaps for n in g.line.names}

    @property
    def members(self) -> set[str]:
        """The columns that some rule names, but for unique ones."""
        return {name for rule in self.rules if rule.kind != "unique" for name in rule.names}

    def columns_of(self, name: str) -> list[str]:
        """The members of a group by the name of its category; other names as they are."""
        return next((list(group.images) for group in self.groups if group.hidden.name == name), [name])

    @property
    def links(self) -> list[Dependency]:
        """The members of groups as functions of their codes."""
        return [link for group in self.groups for link in group.links]

    def encode(self, x: Columns) -> Columns:
        """The hidden columns of stored columns."""
        out = {}
        for group in self.groups:
            gone = np.any([words.gaps(self.plans[name], x[name]) for name in group.images], 0)
            out[group.hidden.name] = np.where(gone & self.unknown, -1, group.encode(x)).astype(np.int32)
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

    def checks(self) -> dict[str, Callable[[Columns], np.ndarray]]:
        """For each rule that is no key, in words, the function of stored columns that says which rows break it."""
        return {rule.words: partial(self._breaks, rule) for rule in self.rules if rule.kind != "unique"}

    def unscored(self, x: Columns, n: int) -> np.ndarray:
        """How many rules each row breaks, int64 (n,), of those that the fields of the Spec do not tell."""
        untold = {one.rule for one in self.sums if not one.free}
        untold |= {rule for rule in self.rules if rule.kind == "order" and rule.order in self.orders}
        return sum((self._breaks(rule, x).astype(np.int64) for rule in untold), np.zeros(n, np.int64))

    def log_steps(self, x: Columns, n: int) -> np.ndarray:
        """What the cells that follow add to log p in the house measure, (n,): their mass is one, so - log h of each
        that is there, less that of the hidden column in their place.
        """
        out = np.zeros(n)
        for one in self.sums:
            total = one.rule.names[0]
            rest = 0.0 if one.hidden is None else _field(one.hidden).log_step
            out -= np.where(words.gaps(self.plans[total], x[total]), 0.0, _field(self.plans[total]).log_step - rest)
        for group in self.groups:
            for name in group.images:
                out -= np.where(words.gaps(self.plans[name], x[name]), 0.0, _field(self.plans[name]).log_step)
        return out

    def _breaks(self, rule: Rule, x: Columns) -> np.ndarray:
        if rule.kind != "fixed":
            return words.breaks(rule, self.plans, x)
        group = next(group for group in self.groups if set(group.images) == set(rule.names))
        gone = np.any([words.gaps(self.plans[name], x[name]) for name in rule.names], 0)
        return (group.encode(x) >= len(group.hidden.levels)) & ~gone

    def lines(self) -> list[str]:
        """The rules in words that can be given back, for a terminal: those given, then those found."""
        how = "constraints, kept by construction" if not self.keep else "constraints, broken as often as seen"
        given = [f"  {rule.words}" for rule in self.rules if rule not in self.found]
        found = [f"  {rule.words}" for rule in self.rules if rule in self.found]
        return [*([f"{how}:", *given] if given else []), *([f"{how}, found in the rows:", *found] if found else [])]

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
            out.groups.append(Group(hidden_plan(fields[one["hidden"]], "category", rule), images))
        for one in meta["sums"]:
            rule, made = by_words[one["rule"]], fields.get(one["hidden"])
            out.sums.append(Sum(rule, hidden_plan(made, made.kind, rule) if made else None, one["free"]))
        for one in meta["gaps"]:
            orders = [Order(*pair) for pair in one["orders"]]
            line = Line(orders, {n: _field(plans[n]) for o in orders for n in (o.low, o.high)})
            rule = next(r for r in rules if r.kind == "order" and r.order in orders)
            hidden = {name: hidden_plan(fields[h], fields[h].kind, rule) for name, h in one["hidden"].items()}
            out.gaps.append(Gaps(line, one["down"], one["free"], out.unknown, one["anchors"], one["ends"], hidden))
        return out


def _field(plan: ColumnPlan) -> Field:
    if plan.field is None:
        raise CodecError(f"expected a column that is learned, got {plan.name!r}")
    return plan.field
