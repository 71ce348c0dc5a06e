"""The ways to read a column and to write it back: numbers, moments, levels, keys, and blanks."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import CodecError
from ..field import MISSING
from . import keys, moments
from .columns import INFINITE, UNKNOWN, ColumnPlan, amiss, coded, is_text, keep, single
from .infinite import infinite_cells
from .numerals import Spelling, parse_numbers

if TYPE_CHECKING:
    import pyarrow as pa


def _spread(values: np.ndarray, gone: np.ndarray, codes: np.ndarray, none: Any) -> np.ndarray:
    """One value for each cell from one for each text that is not missing."""
    table = np.full(len(gone) + 1, none, values.dtype)
    table[:-1][~gone] = values
    return table[codes]


def _fail(plan: ColumnPlan, expected: str, texts: "pa.Array", codes: np.ndarray, bad: np.ndarray) -> CodecError:
    first = int(np.flatnonzero(bad)[0])
    row = int(np.flatnonzero(codes == first)[0]) + 1
    return CodecError(
        f"column {plan.name!r}: expected {expected}, got {texts[first].as_py()!r} in row {row}: repair it"
    )


# -- numbers -----------------------------------------------------------------------------------------------------------


def parse_number(plan: ColumnPlan, column: "pa.ChunkedArray") -> np.ndarray:
    """float64, missing NaN; or int64, missing the smallest one."""
    import pyarrow as pa

    if is_text(single(column).type):
        v, gone = _numbers_of_texts(plan, column)
    elif pa.types.is_boolean(column.type):
        v, gone = numbers_of_cells(column.cast(pa.int64()))
    else:
        v, gone = numbers_of_cells(column)
    infinite = np.isinf(v) & ~gone if v.dtype.kind == "f" else np.zeros(len(v), bool)
    if infinite.any():
        raise infinite_cells(plan.name, int(np.flatnonzero(infinite)[0]))
    if plan.how == "angle":
        v = np.where((v < 0) | (v >= 360), np.mod(v, 360.0), v)
    if not plan.whole:
        return np.where(gone, np.nan, v.astype(np.float64))
    if v.dtype.kind == "f":
        broken = ~gone & (v != np.rint(np.where(gone, 0, v)))
        if broken.any():
            row = int(np.flatnonzero(broken)[0])
            raise CodecError(f"column {plan.name!r}: expected whole numbers, got {v[row]} in row {row + 1}: round it")
    return np.where(gone, MISSING, np.where(gone, 0, v).astype(np.int64))


def _numbers_of_texts(plan: ColumnPlan, column: "pa.ChunkedArray") -> tuple[np.ndarray, np.ndarray]:
    texts, codes = coded(column)
    gone = amiss(texts, UNKNOWN)
    v, ok = parse_numbers(keep(texts, ~gone), plan.form.get("spelling", {}).get("comma", False))
    if not ok.all():
        bad = np.zeros(len(texts), bool)
        bad[~gone] = ~ok
        cell = texts[int(np.flatnonzero(bad)[0])].as_py()
        if cell in INFINITE:
            raise infinite_cells(plan.name, int(np.flatnonzero(codes == np.flatnonzero(bad)[0])[0]))
        raise _fail(plan, "numbers", texts, codes, bad)
    return _spread(v, gone, codes, 0), np.r_[gone, True][codes]


def numbers_of_cells(column: "pa.ChunkedArray") -> tuple[np.ndarray, np.ndarray]:
    """(numbers, missing) of a column whose type is a number's: int64 or float64."""
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = single(column)
    if pa.types.is_duration(cells.type):
        cells = cells.cast(pa.int64())
    whole = pa.types.is_integer(cells.type) and cells.type != pa.uint64()
    try:
        cells = cells.cast(pa.int64()) if whole else cells.cast(pa.float64(), safe=False)
    except pa.ArrowException as error:
        raise CodecError(f"expected a column of numbers, got {column.type}: {error}") from error
    gone = pc.is_null(cells, nan_is_null=True).to_numpy(zero_copy_only=False)
    return pc.fill_null(cells, 0).to_numpy(zero_copy_only=False), gone


def render_number(plan: ColumnPlan, stored: np.ndarray, first: int) -> "pa.Array":
    """Numbers in the column's own type."""
    if not is_text(plan.type):
        return _typed_number(plan, stored, plan.type)
    gone = stored == MISSING if plan.whole else np.isnan(stored)
    spelling = Spelling(**plan.form["spelling"])
    return _marked(plan, spelling.render(np.where(gone, 0, stored), plan.decimals), gone)


def _typed_number(plan: ColumnPlan, stored: np.ndarray, kind: "pa.DataType") -> "pa.Array":
    import pyarrow as pa
    import pyarrow.compute as pc

    gone = stored == MISSING if plan.whole else np.isnan(stored)
    v = np.where(gone, 0, stored)
    if pa.types.is_floating(kind) and plan.missing == "NaN":
        return pa.array(np.where(gone, np.nan, v.astype(np.float64))).cast(kind, safe=False)
    if pa.types.is_integer(kind):
        v = np.rint(v).astype(np.int64)
    cells = pa.array(v, mask=gone)
    if pa.types.is_decimal(kind):
        cells = pc.round(cells.cast(pa.float64()), kind.scale)
    return cells.cast(kind, safe=False)


def plain_number(plan: ColumnPlan, stored: np.ndarray, first: int) -> "pa.Array":
    """int64 or double."""
    import pyarrow as pa

    return _typed_number(plan, stored, pa.int64() if plan.whole else pa.float64())


def _marked(plan: ColumnPlan, texts: "pa.Array", gone: np.ndarray) -> "pa.Array":
    import pyarrow as pa
    import pyarrow.compute as pc

    if gone.any():
        texts = pc.if_else(pa.array(gone), pa.scalar(plan.missing, pa.large_string()), texts)
    return texts.cast(plan.type)


# -- moments -----------------------------------------------------------------------------------------------------------


def parse_moment(plan: ColumnPlan, column: "pa.ChunkedArray") -> np.ndarray:
    """int64 steps of the plan's unit, missing the smallest one."""
    cells = single(column)
    unit, form = plan.form["unit"], plan.form.get("form")
    if not form or not (is_text(cells.type) or str(cells.type).startswith(("int", "uint"))):
        steps, own, gone = ticks(plan.name, cells)
        return np.where(gone, MISSING, moments.convert(steps, own, unit))
    texts, codes = coded(column)
    gone = amiss(texts, UNKNOWN)
    steps, ok = moments.parse(keep(texts, ~gone), moments.Form(**form), unit)
    if not ok.all():
        bad = np.zeros(len(texts), bool)
        bad[~gone] = ~ok
        raise _fail(plan, f"moments such as {moments.Form(**form).words()}", texts, codes, bad)
    return _spread(steps, gone, codes, MISSING)


def ticks(name: str, cells: "pa.Array") -> tuple[np.ndarray, str, np.ndarray]:
    """(steps, unit, missing) of a column of dates, timestamps, times or texts of ISO 8601."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if is_text(cells.type):
        cells = _iso(name, cells)
    kind = cells.type
    gone = pc.is_null(cells).to_numpy(zero_copy_only=False)
    unit = "D" if pa.types.is_date32(kind) else "ms" if pa.types.is_date64(kind) else getattr(kind, "unit", None)
    if unit is None:
        raise CodecError(f"column {name!r}: expected dates or times, got {kind}")
    cells = cells.cast(pa.int32() if kind.bit_width == 32 else pa.int64())
    steps = pc.fill_null(cells, 0).to_numpy(zero_copy_only=False).astype(np.int64)
    return steps, unit, gone


def _iso(name: str, cells: "pa.Array") -> "pa.Array":
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return pc.if_else(pa.array(amiss(cells.cast(pa.large_string()))), None, cells).cast(pa.timestamp("us"))
    except pa.ArrowException as error:
        raise CodecError(f"column {name!r}: expected moments such as 2020-05-31 12:00:00: {error}") from error


def render_moment(plan: ColumnPlan, stored: np.ndarray, first: int) -> "pa.Array":
    """Moments in the column's own type."""
    import pyarrow as pa

    gone, unit = stored == MISSING, plan.form["unit"]
    if plan.form.get("form"):
        texts = moments.render(np.where(gone, 0, stored), moments.Form(**plan.form["form"]), unit)
        return (
            _marked(plan, texts, gone) if is_text(plan.type) else _nulled(texts.cast(pa.int64()), gone).cast(plan.type)
        )
    own = "D" if pa.types.is_date32(plan.type) else "ms" if pa.types.is_date64(plan.type) else plan.type.unit
    steps = moments.convert(np.where(gone, 0, stored), unit, own)
    narrow = plan.type.bit_width == 32
    return pa.array(steps, mask=gone).cast(pa.int32() if narrow else pa.int64()).cast(plan.type)


def _nulled(cells: "pa.Array", gone: np.ndarray) -> "pa.Array":
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(pa.array(gone), None, cells)


def plain_moment(plan: ColumnPlan, stored: np.ndarray, first: int) -> "pa.Array":
    """date32, time64 or a timestamp."""
    import pyarrow as pa

    gone, unit, form = stored == MISSING, plan.form["unit"], plan.form.get("form")
    if not form:
        return render_moment(plan, stored, first)
    steps = np.where(gone, 0, stored)
    if not form["order"]:
        return pa.array(moments.convert(steps, unit, "us"), mask=gone).cast(pa.time64("us"))
    if unit == "D" and not form["time"]:
        return pa.array(steps.astype(np.int32), mask=gone).cast(pa.date32())
    to = unit if unit in ("s", "ms", "us", "ns") else "s"
    shift = moments.offset(form["zone"]) if form["zone"] else 0
    steps = moments.convert(steps, unit, to) - moments.convert(np.array([shift]), "s", to)
    return pa.array(steps, mask=gone).cast(pa.timestamp(to, tz="UTC" if form["zone"] else None))


# -- levels ------------------------------------------------------------------------------------------------------------


def parse_levels(plan: ColumnPlan, column: "pa.ChunkedArray") -> np.ndarray:
    """int32 codes; missing -1, a level never seen the number of levels."""
    import pyarrow as pa
    import pyarrow.compute as pc

    levels = plan.levels
    texts, codes = coded(column)
    known = pa.array(levels, pa.large_string())
    found = pc.index_in(texts, known)
    if plan.how == "boolean":
        folded = pc.index_in(pc.utf8_lower(texts), pc.utf8_lower(known))
        found = pc.coalesce(found, folded)
    table = np.r_[pc.fill_null(found, len(levels)).to_numpy(zero_copy_only=False), -1].astype(np.int32)
    marker = (
        texts.to_pylist().index(plan.missing)
        if plan.missing is not None and pc.any(pc.equal(texts, plan.missing)).as_py()
        else None
    )
    if marker is not None:
        table[marker] = -1
    if not is_text(plan.type) or plan.missing is None:
        strange = (table[:-1] == len(levels)) & amiss(texts)
        table[:-1][strange] = -1
    return table[codes]


def render_levels(plan: ColumnPlan, stored: np.ndarray, first: int) -> "pa.Array":
    """Levels in the column's own type."""
    import pyarrow as pa

    gone = stored < 0
    values = plan.values
    if pa.types.is_dictionary(plan.type):
        where = np.array([*plan.form["where"], 0])[np.where(gone, -1, stored)]
        indices = pa.array(where, mask=gone).cast(plan.type.index_type)
        return pa.DictionaryArray.from_arrays(indices, values, ordered=plan.type.ordered)
    cells = values.take(pa.array(stored, mask=gone)) if len(values) else pa.nulls(len(stored), values.type)
    if gone.any() and plan.missing is not None and is_text(plan.type):
        cells = cells.fill_null(pa.scalar(plan.missing, cells.type))
    return cells.cast(plan.type)


def plain_levels(plan: ColumnPlan, stored: np.ndarray, first: int) -> "pa.Array":
    """Texts, or truth values where they are spelled so."""
    import pyarrow as pa

    if not is_text(plan.type):
        return render_levels(plan, stored, first)
    levels = plan.values.to_pylist()
    if plan.how == "boolean" and {level.lower() for level in levels} <= {"true", "false"}:
        table = np.array([level.lower() == "true" for level in levels] + [False])
        return pa.array(table[np.where(stored < 0, -1, stored)], mask=stored < 0)
    if not len(levels):
        return pa.nulls(len(stored), pa.string())
    return plan.values.take(pa.array(stored, mask=stored < 0)).cast(pa.string())


# -- keys, and columns that are not kept -------------------------------------------------------------------------------


def parse_present(plan: ColumnPlan, column: "pa.ChunkedArray") -> np.ndarray:
    """0 where there is a cell, -1 where it is missing."""
    texts, codes = coded(column)
    return np.where(np.r_[amiss(texts), True][codes], -1, 0).astype(np.int32)


def render_key(plan: ColumnPlan, stored: np.ndarray, first: int) -> "pa.Array":
    """New keys of the same shape, one for each row."""
    import pyarrow as pa

    gone, n = stored < 0, len(stored)
    if is_text(plan.type) or "forms" in plan.form:
        if "forms" in plan.form:
            texts = keys.texts(plan.form, first, n)
        else:
            texts = pa.array(keys.numbers(plan.form, first, n)).cast(pa.large_string())
        return _marked(plan, texts, gone) if plan.missing is not None else _nulled(texts, gone).cast(plan.type)
    return pa.array(keys.numbers(plan.form, first, n), mask=gone).cast(plan.type, safe=False)


def plain_key(plan: ColumnPlan, stored: np.ndarray, first: int) -> "pa.Array":
    """Keys as texts or whole numbers."""
    import pyarrow as pa

    gone, n = stored < 0, len(stored)
    if "forms" in plan.form:
        return _nulled(keys.texts(plan.form, first, n), gone).cast(pa.string())
    return pa.array(keys.numbers(plan.form, first, n), mask=gone)


def render_blank(plan: ColumnPlan, stored: np.ndarray, first: int) -> "pa.Array":
    """Missing cells."""
    import pyarrow as pa

    if is_text(plan.type) and plan.missing is not None:
        return pa.array([plan.missing] * len(stored), plan.type)
    return pa.nulls(len(stored), plan.type)


def plain_blank(plan: ColumnPlan, stored: np.ndarray, first: int) -> "pa.Array":
    """Missing cells."""
    import pyarrow as pa

    return pa.nulls(len(stored), pa.string() if is_text(plan.type) else plan.type)


Parse = Callable[[ColumnPlan, "pa.ChunkedArray"], np.ndarray]
Render = Callable[[ColumnPlan, np.ndarray, int], "pa.Array"]

READINGS: dict[str, tuple[Parse, Render, Render]] = {
    "number": (parse_number, render_number, plain_number),
    "moment": (parse_moment, render_moment, plain_moment),
    "levels": (parse_levels, render_levels, plain_levels),
    "key": (parse_present, render_key, plain_key),
    "blank": (parse_present, render_blank, plain_blank),
}
