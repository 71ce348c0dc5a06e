"""Columns planned from the rows that keep the constraints, and what is said of rows that do not."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import SpecError
from ..fields import Number
from ..spec import Columns
from .columns import ColumnPlan, amiss, coded
from .conditions import allowed_by
from .inference import plan_of
from .rules import MOST, Rule, all_breaks, breaks, check_columns

if TYPE_CHECKING:
    import pyarrow as pa

DIRTY = ("clean", "keep")


def with_keys(
    asked: Mapping[str, dict[str, Any]], rules: Sequence[Rule], table: "pa.Table", keep: bool
) -> dict[str, dict[str, Any]]:
    """How columns are to be read, the unique ones as keys; with `keep`, those that repeat as they are found.

    Raises SpecError where they are to be read in another way, and where too many repeat.
    """
    out = dict(asked)
    for rule in (rule for rule in rules if rule.kind == "unique"):
        name = rule.names[0]
        kind = asked.get(name, {}).get("kind")
        if kind not in (None, "key"):
            raise SpecError(f"the constraint {rule.words!r} makes {name!r} a key, fields says {kind!r}: leave one out")
        again = _repeated(table[name])
        _judge(rule, again, table, keep)
        if not (keep and again.any()):
            out[name] = {"kind": "key"}
    return out


def planned(
    table: "pa.Table", titles: Sequence[Any], asked: Mapping[str, dict[str, Any]]
) -> tuple[list[ColumnPlan], Columns]:
    """The plans of all columns, and the stored columns of those that have a field."""
    names = table.column_names
    pairs = [plan_of(name, title, table[name], asked.get(name, {})) for name, title in zip(names, titles, strict=True)]
    return [plan for plan, _ in pairs], {plan.name: x for plan, x in pairs if x is not None}


def kept(
    table: "pa.Table", titles: Sequence[Any], asked: Mapping[str, dict[str, Any]], rules: Sequence[Rule], keep: bool
) -> "tuple[pa.Table, list[ColumnPlan], Columns]":
    """(the rows that break no rule, or with `keep` all; the plans of their columns; their stored columns).

    Raises SpecError for a rule that no row meets, or that more than MOST of them break unless they are kept.
    """
    import pyarrow as pa

    plans, stored = planned(table, titles, asked)
    by_name = {plan.name: plan for plan in plans}
    check_columns(rules, by_name, stored)
    if not any(rule.kind != "unique" for rule in rules):
        return table, plans, stored
    for rule in rules:
        if rule.kind != "unique":
            _judge(rule, breaks(rule, by_name, stored), table, keep)
    broken = all_breaks(rules, by_name, stored)
    if broken.all():
        raise SpecError("expected constraints that hold together in some rows, no row meets all: leave some out")
    if keep:
        return table, plans, stored
    if broken.any():
        table = table.filter(pa.array(~broken))
        plans, stored = planned(table, titles, asked)
        check_columns(rules, {plan.name: plan for plan in plans}, stored)
    for rule in rules:
        plan = next(plan for plan in plans if plan.name == rule.names[0])
        if rule.term is not None and isinstance(plan.field, Number):
            low, high = _ends(plan.field.spans(allowed_by(plan, rule.term)))
            low, high = max(plan.field.lowest, low), min(plan.field.highest, high)
            plan.field = replace(plan.field, lowest=low, highest=high)
    return table, plans, stored


def _ends(spans: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The first and the last cell of what is allowed."""
    return spans[0][0] + 0.5, spans[-1][1] - 0.5


def _judge(rule: Rule, broken: np.ndarray, table: "pa.Table", keep: bool) -> None:
    if not broken.any():
        return
    row = {name: table[name][int(np.flatnonzero(broken)[0])].as_py() for name in rule.names}
    shown = ", ".join(f"{name} = {value}" for name, value in row.items())
    if broken.all():
        raise SpecError(f"expected the constraint {rule.words!r} to hold in some rows, no row meets it, as {shown}")
    if not keep and broken.mean() > MOST:
        raise SpecError(
            f"expected the constraint {rule.words!r} to hold but for {MOST:.0%} of the rows, {broken.sum():,} of "
            f"{len(broken):,} break it, such as {shown}: leave it out, repair them, or learn them too (dirty='keep', "
            "--dirty keep)"
        )


def _repeated(column: "pa.ChunkedArray") -> np.ndarray:
    """Which cells say what one before them said."""
    texts, codes = coded(column)
    first = np.unique(codes, return_index=True)[1]
    again = np.ones(len(codes), bool)
    again[first] = False
    return again & ~np.r_[amiss(texts), True][codes]
