"""Which columns of a table are not modelled, since they follow from others."""

from typing import TYPE_CHECKING

import numpy as np

from ..fields import Category, Datetime
from ..spec import Columns
from .columns import ColumnPlan
from .dependencies import Coded, Dependency, find

if TYPE_CHECKING:
    import pyarrow as pa


def keep_one(plans: list[ColumnPlan], stored: Columns, table: "pa.Table") -> None:
    """Makes the first constant column a field where there would be none."""
    if stored:
        return
    for plan in plans:
        if plan.how == "constant" and plan.share < 1.0:
            codes = np.zeros(table.num_rows, np.int32)
            plan.field = Category.learn(plan.name, codes, tuple(plan.form["levels"]))
            plan.how, plan.why, stored[plan.name] = "category", "one value, kept as there is nothing else", codes
            return


def derive(
    plans: list[ColumnPlan], stored: Columns, fixed: set[str], condition: set[str], least: int = 0
) -> list[Dependency]:
    """Finds duplicates, and dependencies of values of `least` rows each; marks plans that derive from others."""
    columns = []
    for i, plan in enumerate(plans):
        if plan.reading in ("levels", "number") and plan.name in stored and stored[plan.name].dtype.kind == "i":
            rank = (plan.name not in condition, plan.name not in fixed, plan.reading != "levels", i)
            columns.append(Coded.of(plan.name, stored[plan.name], tuple(map(int, rank)), plan.name not in fixed))
    rules = find([column for column in columns if column is not None and column.counts.min() >= least])
    by_name = {plan.name: plan for plan in plans}
    for rule in rules:
        plan = by_name[rule.target]
        plan.how, plan.source = "derived", rule.source
        plan.why = f"a function of {rule.source}; {plan.why}"
    _duplicates([plan for plan in plans if plan.modelled], stored, fixed)
    return rules


def _duplicates(plans: list[ColumnPlan], stored: Columns, fixed: set[str]) -> None:
    seen: dict[tuple[str, bytes], ColumnPlan] = {}
    for plan in sorted(plans, key=lambda plan: plan.name not in fixed):
        x = stored[plan.name]
        if plan.reading not in ("number", "moment") or len(x) < 50:
            continue
        unit = plan.field.unit if isinstance(plan.field, Datetime) else ""
        key = (f"{plan.reading}{x.dtype}{unit}", x[:4096].tobytes())
        twin = seen.setdefault(key, plan)
        same = twin is not plan and plan.name not in fixed and len(np.unique(x)) >= 20
        if same and np.array_equal(x, stored[twin.name], equal_nan=x.dtype.kind == "f"):
            plan.how, plan.source, plan.why = "duplicate", twin.name, f"equal to {twin.name} in every row"
