"""A codec that goes on to other rows of its table: levels that are new are appended, all else stays what it was."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..fields import Category
from ..spec import Columns
from .columns import ColumnPlan, as_texts
from .constraints import Held
from .dependencies import Dependency
from .hidden import Group
from .rules import all_breaks
from .table import TableCodec

if TYPE_CHECKING:
    import pyarrow as pa

NAMED = 3  # new levels that are told by name


def grown(codec: TableCodec, tables: "Callable[[], Iterable[pa.Table]]") -> tuple[TableCodec, dict[str, str]]:
    """(the codec with the new levels of the rows appended to its categories, what there is to say of that).

    A category with levels of masses p, learned from n rows, and new levels that stand in k of m further rows, gets the
    masses (n p, k) / (n + sum k). Other values outside what was learned (numbers beyond the extremes, a missing cell
    where none was, a new level of an ordinal) stay outside: a model learns nothing from such cells. Raises CodecError
    for columns that are gone, and for cells that cannot be read. `tables` gives the rows anew each time.
    """
    codec = TableCodec.from_json(*codec.to_json())  # a copy
    rows = 0
    new = {plan.name: Counter[str]() for plan in codec.plans if type(plan.field) is Category}
    for table in tables():
        x, rows = codec.encode(table, derived=True), rows + table.num_rows
        for name, found in new.items():
            strange = np.flatnonzero(x[name] == len(codec.plan(name).levels))
            found.update(as_texts(table[name].take(strange)).to_pylist())
    for name, found in new.items():
        if found:
            _append(codec.plan(name), found)
    for group in codec.held.groups:
        _combine(group, codec.held, (codec.encode(table, derived=True) for table in tables()))
    broken, outside = Counter[str](), Counter[str]()
    rules = list(codec.dependencies)
    for table in tables():
        x = codec.encode(table, derived=True)
        rules = [_learned(rule, x) for rule in rules]
        broken.update({rule.target: int((rule.apply(x[rule.source]) != x[rule.target]).sum()) for rule in rules})
        outside.update({plan.name: _outside(plan, x[plan.name]) for plan in codec.plans if plan.field is not None})
    told = {
        "new levels": [f"{name}: {_named(list(found))}" for name, found in new.items() if found],
        "not learned": [f"{n:,} cells of {name!r} outside what it held" for name, n in outside.items() if n],
        "dependencies": [f"{n:,} cells of {name!r} break its own" for name, n in broken.items() if n],
    }
    whole = TableCodec(codec.plans, rules, codec.schema, rows, codec.condition, codec.like, codec.held)
    return whole, {name: "; ".join(words) for name, words in told.items() if words}


def _append(plan: ColumnPlan, found: Counter[str]) -> None:
    """Gives a category further levels, the most frequent first."""
    import pyarrow as pa

    texts = [text for text, _ in sorted(found.items(), key=lambda item: (-item[1], item[0]))]
    _extend(plan, texts, [found[text] for text in texts])
    if "where" in plan.form:
        plan.form["where"] = [*plan.form["where"], *range(len(plan.values), len(plan.values) + len(texts))]
    plan.values = pa.concat_arrays([plan.values, pa.array(texts).cast(plan.values.type)])


def _extend(plan: ColumnPlan, texts: Sequence[str], found: Sequence[int]) -> None:
    """Gives the field of a category further levels, each seen so often."""
    field, counts = cast(Category, plan.field), np.array(found, np.float64)
    code = len(field.levels) + np.arange(len(texts), dtype=np.float64)
    mass = np.r_[field.mass * field.rows, counts]
    plan.field = replace(
        field, levels=(*field.levels, *texts), left=np.r_[field.left, code - 0.5], right=np.r_[field.right, code + 0.5],
        mass=mass / mass.sum(), rows=field.rows + int(counts.sum()),
    )  # fmt: skip


def _combine(group: Group, held: Held, parts: Iterable[Columns]) -> None:
    """Gives a group of columns the combinations that rows have beside those that it knows; of a group of which one is 1
    those alone that keep to that.
    """
    rules = [rule for rule in held.rules if rule.kind == "one" and set(rule.names) == set(group.images)]
    found = Counter[tuple[Any, ...]]()
    for x in parts:
        strange = group.encode(x) == len(group.hidden.levels)
        strange = np.flatnonzero(strange & ~all_breaks(rules, held.plans, x) if rules else strange)
        found.update(zip(*(x[name][strange].tolist() for name in group.images), strict=True))
    if found:
        told = [t for t, _ in found.most_common()]
        for at, (name, image) in enumerate(group.images.items()):
            group.images[name] = np.concatenate([image, np.array([t[at] for t in told], image.dtype)])
        _extend(group.hidden, [f"{group.hidden.name} {t}" for t in told], [found[t] for t in told])


def _learned(rule: Dependency, x: dict[str, np.ndarray]) -> Dependency:
    """The rule with the images of what its source holds for the first time."""
    strange = np.flatnonzero(~rule.known(x[rule.source]))
    values, first = np.unique(x[rule.source][strange], return_index=True)
    images = x[rule.target][strange][first]
    order = np.argsort(both := np.r_[rule.values, values], kind="stable")
    return replace(rule, values=both[order], images=np.r_[rule.images, images][order])


def _outside(plan: ColumnPlan, x: np.ndarray) -> int:
    return 0 if plan.field is None or plan.field.unknown else int((~plan.field.contains(x)).sum())


def _named(levels: Sequence[str]) -> str:
    shown = ", ".join(map(repr, levels[:NAMED]))
    return shown if len(levels) <= NAMED else f"{shown} and {len(levels) - NAMED:,} more"
