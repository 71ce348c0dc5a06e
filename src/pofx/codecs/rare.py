"""Rare levels merged and extremes blurred, before anything is learned: `fit(rare=K)`.

With K the least number of training rows that may share a value,

    a level of fewer than K rows        becomes the level "other" ("other (merged)", ... where "other" is a level);
                                        missing where cells cannot hold a text; an ordinal level the nearest common one;
    fewer than K of these together      become the most frequent level;
    the K smallest and largest numbers  become the K-th smallest and largest;
    fewer than K missing cells          become the most frequent level, or the median;
    keys                                keep shapes of K rows and more; whole numbers count from 1.

What is learned afterwards (`coarser`, `bare`) has no piece, example or dependency of fewer than K rows. It hides what
singles a row out at first sight; it is no guarantee of privacy: combinations of common values may still be unique.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import SpecError
from ..field import Field
from ..fields import Category
from .columns import ColumnPlan, is_text, single
from .conditions import absent
from .inference import plan_of
from .overrides import asked_of

if TYPE_CHECKING:
    import pyarrow as pa

OTHER = "other"
ANYTHING = {"forms": [{"share": 1.0, "places": ["0123456789abcdefghijklmnopqrstuvwxyz"] * 8}]}


def check_least(least: Any, rows: int | None = None) -> None:
    """Raises SpecError for a K that is no whole number from 2 on, or for fewer than 2 K training rows."""
    if isinstance(least, bool) or not isinstance(least, int) or least < 2:
        raise SpecError(f"expected rare as a number of rows from 2 on, got {least!r}: 5 is usual")
    if rows is not None and rows < 2 * least:
        raise SpecError(
            f"expected at least {2 * least} training rows with rare={least}, got {rows}: give more rows, or a smaller "
            "number"
        )


def merged(table: "pa.Table", least: int, fields: Mapping[str, Any] | None, part: np.ndarray) -> "pa.Table":
    """The table with rare levels merged and extremes blurred, in all rows, as those of a part say.

    Raises SpecError for K below 2 and for too few rows.
    """
    check_least(least, len(part))
    asked = asked_of(fields, table.column_names)
    for at, name in enumerate(table.column_names):
        column = table[name]
        plan, _ = plan_of(name, name, column.take(part), asked.get(name, {}))
        if plan.reading == "levels" and plan.how != "constant":
            column = _levels(plan, column, part, least)
        elif plan.reading in ("number", "moment"):
            column = _numbers(plan, column, part, least)
        table = table.set_column(at, table.schema.field(at).with_type(column.type), column)
    return table


# -- levels ------------------------------------------------------------------------------------------------------------


def _levels(plan: ColumnPlan, column: "pa.ChunkedArray", part: np.ndarray, least: int) -> "pa.ChunkedArray":
    codes = plan.parse(column)  # -1 missing, len(levels) never seen in the part
    size = len(plan.levels)
    count = np.bincount(codes[part] + 1, minlength=size + 2)[: size + 1]  # of missing, then of each level
    rare = (count < least) & (count > 0)
    if plan.how == "ordinal" and (~rare[1:]).any():
        return _nearest(codes, column, rare)
    goes = np.r_[rare, True][codes + 1]  # a level that only other rows have is rare too
    if not goes.any():
        return column
    if count[rare].sum() < least:
        common = int(np.argmax(count)) - 1
        return _spelled(column, goes, int(np.flatnonzero(codes == common)[0]))
    return _named(column, goes, list(plan.levels))


def merged_name(levels: Sequence[str]) -> str:
    """What merged levels are called: no name of a level."""
    tries = (OTHER, f"{OTHER} (merged)", *(f"{OTHER} (merged {k})" for k in range(2, len(levels) + 3)))
    return next(name for name in tries if name not in levels)


def _nearest(codes: np.ndarray, column: "pa.ChunkedArray", rare: np.ndarray) -> "pa.ChunkedArray":
    """Rare levels of an order become the nearest common ones; missing cells, where rare, the middle of these."""
    common = np.flatnonzero(~rare[1:])
    first = {int(code): int(np.flatnonzero(codes == code)[0]) for code in common}
    to = {code: first[int(common[np.argmin(np.abs(common - code))])] for code in range(len(rare))}
    to[-1] = first[int(common[len(common) // 2])]
    goes = np.r_[rare, True][codes + 1]
    rows = np.arange(len(codes))
    rows[goes] = [to[int(code)] for code in codes[goes]]
    return column.take(rows)


def _spelled(column: "pa.ChunkedArray", goes: np.ndarray, row: int) -> "pa.ChunkedArray":
    """The cells under `goes` as that of a row."""
    return column.take(np.where(goes, row, np.arange(len(goes))))


def _named(column: "pa.ChunkedArray", goes: np.ndarray, levels: list[str]) -> "pa.ChunkedArray":
    """The cells under `goes` as the merged level, or missing where cells are no texts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    cells, kind = single(column), column.type
    fill = pa.scalar(merged_name(levels) if is_text(cells.type) else None, cells.type)
    cells = pc.if_else(pa.array(goes), fill, cells)
    if pa.types.is_dictionary(kind):
        coded = cells.dictionary_encode()
        cells = pa.DictionaryArray.from_arrays(coded.indices.cast(pa.int32()), coded.dictionary)
    return pa.chunked_array([cells])


# -- numbers -----------------------------------------------------------------------------------------------------------


def _numbers(plan: ColumnPlan, column: "pa.ChunkedArray", part: np.ndarray, least: int) -> "pa.ChunkedArray":
    import pyarrow as pa

    stored = plan.parse(column)
    gone = absent(stored)
    own = np.zeros(len(stored), bool)
    own[part] = True
    at = np.flatnonzero(own & ~gone)
    if len(at) < least:  # nothing that enough rows have
        if is_text(single(column).type):
            return pa.chunked_array([pa.array([plan.missing] * len(stored), single(column).type)])
        return pa.chunked_array([pa.nulls(len(stored), column.type)])
    at = at[np.argsort(stored[at], kind="stable")]
    low, high, middle = at[least - 1], at[-least], at[len(at) // 2]
    low, high = (low, high) if least <= len(at) - least else (middle, middle)
    rows = np.arange(len(stored))
    with np.errstate(invalid="ignore"):
        rows = np.where(~gone & (stored < stored[low]), low, np.where(~gone & (stored > stored[high]), high, rows))
    if 0 < (gone & own).sum() < least or not (gone & own).any():
        rows = np.where(gone, middle, rows)
    return column.take(rows)


# -- what was learned --------------------------------------------------------------------------------------------------


def coarser(field: Field, least: int) -> Field:
    """The field with pieces of `least` rows or more: lighter ones are joined to those beside them.

    Levels stand alone, and so does missing; the last piece takes what is left over.
    """
    if isinstance(field, Category):
        return field
    first, need = int(field.has_missing), (least - 1e-6) / max(field.rows, 1)
    left, right, mass = [list(a[:first]) for a in (field.left, field.right, field.mass)]
    open_ = False
    for a, b, m in zip(field.left[first:], field.right[first:], field.mass[first:], strict=True):
        if open_:
            right[-1], mass[-1] = b, mass[-1] + m
        else:
            left.append(a)
            right.append(b)
            mass.append(m)
        open_ = mass[-1] < need
    if open_ and len(mass) > first + 1:
        right[-2], mass[-2] = right[-1], mass[-2] + mass[-1]
        left, right, mass = left[:-1], right[:-1], mass[:-1]
    return replace(field, left=np.array(left), right=np.array(right), mass=np.array(mass))


def bare(plan: ColumnPlan, least: int, rows: int) -> None:
    """Takes out of a plan what fewer than `least` rows told: examples, shapes of keys, and pieces of its field."""
    if plan.reading != "levels":
        plan.examples = ()
    if plan.reading == "key" and "forms" in plan.form:
        some = [form for form in plan.form["forms"] if form["share"] * rows * (1 - plan.share) >= least - 1e-6]
        total = sum(form["share"] for form in some)
        plan.form = {"forms": [form | {"share": form["share"] / total} for form in some]} if some else ANYTHING
    elif plan.reading == "key":
        plan.form = {"count": True, "low": 1, "high": rows}
    if plan.field is not None:
        plan.field = coarser(plan.field, least)
