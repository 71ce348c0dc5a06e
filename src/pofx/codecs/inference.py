"""How a column is read: decided from its type and its cells, or as the user says."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import CodecError
from ..field import MISSING
from ..fields import KINDS, Bounded, Category, Datetime, Ordinal
from . import keys, moments
from .columns import UNKNOWN, ColumnPlan, as_texts, keep, single
from .draft import Draft
from .numerals import Spelling, decimals_of, read_numbers
from .readings import numbers_of_cells, ticks

if TYPE_CHECKING:
    import pyarrow as pa

FEW = 50
WORDS = ({"true", "false"}, {"yes", "no"}, {"t", "f"}, {"y", "n"})
_NAMED_ANGLE = re.compile(
    r"(^|[^a-z])(angle|azimuth|bearing|heading|direction|wind_?dir|degrees?|deg)([^a-z]|$)", re.IGNORECASE
)
_NAMED_KEY = re.compile(r"[a-z](Id|ID)$|(^|[^A-Za-z])((?i:id|uuid|guid|key|index|rowid))$|^Unnamed: 0$")


def plan_of(
    name: str, title: Any, column: "pa.ChunkedArray", asked: Mapping[str, Any]
) -> tuple[ColumnPlan, np.ndarray | None]:
    """The plan of a column and its stored values, None where it is no field."""
    draft = Draft(name, title, column, asked)
    draft.mark(draft.gone())
    plan = draft.plan
    if draft.kind == "drop":
        return _blank(draft, "as asked"), None
    if not (~draft.gone()).any() and draft.kind is None:
        return _constant(draft, draft.gone(), "every cell is missing"), None
    if draft.kind:
        from .overrides import as_asked

        as_asked(draft)
        plan.why = "as asked" + ("; " + plan.why if plan.why else "")
    else:
        _as_found(draft)
    if plan.how in ("constant", "dropped"):
        return plan, None
    return plan, _stored(draft)


def _stored(draft: Draft) -> np.ndarray | None:
    plan = draft.plan
    stored = plan.parse(draft.column)
    if plan.reading == "key":
        if (stored >= 0).all():
            return None
        plan.field = Category.learn(plan.name, stored, ("present",) if (stored >= 0).any() else ())
    elif plan.reading == "number":
        plan.field = _number_field(plan, stored)
    elif plan.reading == "moment":
        plan.field = Datetime.learn(plan.name, stored, unit=plan.form["unit"])
    return stored


def _number_field(plan: ColumnPlan, stored: np.ndarray) -> Any:
    kind: Any = KINDS[plan.how]
    form = plan.form
    ends = {"low": form["low"], "high": form["high"]} if kind is Bounded else {}
    some = stored[~np.isnan(stored)] if stored.dtype.kind == "f" else stored[stored != MISSING]
    if kind is Bounded and len(some) and (some.min() < ends["low"] or some.max() > ends["high"]):
        raise CodecError(
            f"column {plan.name!r}: expected values in [{ends['low']}, {ends['high']}], "
            f"got {some.min()} to {some.max()}: widen them"
        )
    return kind.learn(plan.name, stored, form["decimals"], **ends)


# -- as found ----------------------------------------------------------------------------------------------------------


def _as_found(draft: Draft) -> None:
    import pyarrow as pa

    kind = single(draft.column).type
    if draft.dictionary:
        levels(draft, draft.gone(), "a categorical column", ordinal=bool(draft.column.type.ordered))
    elif draft.text:
        _text(draft)
    elif pa.types.is_boolean(kind):
        levels(draft, draft.gone(), "truth values")
        draft.plan.how = "boolean" if draft.plan.how == "category" else draft.plan.how
    elif pa.types.is_temporal(kind) and not pa.types.is_duration(kind):
        typed_moment(draft)
    elif pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        _blank(draft, f"cells of type {kind} are no values of a table; written as missing")
    elif draft.text or pa.types.is_null(kind):
        _constant(draft, draft.gone(), "every cell is missing")
    else:
        _typed_number(draft)


def _text(draft: Draft) -> None:
    for more in ((), UNKNOWN):
        gone = draft.gone(more)
        if more and gone.sum() == draft.gone().sum():
            break
        present = keep(draft.texts, ~gone)
        if not len(present):
            continue
        form = moments.find_form(present)
        if form is not None:
            return text_moment(draft, gone, form)
        numbers = read_numbers(present)
        if numbers is not None:
            return _text_number(draft, gone, *numbers)
    return _labels(draft)


def text_moment(draft: Draft, gone: np.ndarray, form: moments.Form) -> None:
    draft.mark(gone)
    if (~gone).sum() == 1 and not draft.plan.share:
        _constant(draft, gone, "one value")
        return
    steps, _ = moments.parse(keep(draft.texts, ~gone), form, form.unit)
    unit = moments.coarsest(steps, form.unit)[1]
    draft.plan.reading, draft.plan.how = "moment", "datetime"
    draft.plan.form = {"unit": unit, "form": form.meta()}
    draft.plan.why = f"every text is a moment of the form {form.words()}"
    if form.zones:
        draft.plan.why += f"; offsets differ, written with {form.zone}"


def _text_number(draft: Draft, gone: np.ndarray, v: np.ndarray, comma: bool) -> None:
    draft.mark(gone)
    if len(v) == 1 and not draft.plan.share:
        _constant(draft, gone, "one value")
        return
    whole = is_whole(v)
    if whole is None:
        _labels(draft, "whole numbers too far apart to count with; ")
        return
    decimals = 0 if whole else decimals_of(v)
    stored = v.astype(np.int64) if whole else v.astype(np.float64)
    spelling = Spelling.learn(keep(draft.texts, ~gone), stored, decimals, comma)
    number(draft, stored, draft.counts[~gone], decimals, {"spelling": spelling.meta()})


def is_whole(v: np.ndarray) -> bool | None:
    """Whether all numbers are whole; None where they are whole but span more than float64 can count."""
    if v.dtype.kind == "f" and not (v == np.rint(v)).all():
        return False
    if float(v.max()) - float(v.min()) < 2.0**53 and np.abs(v.astype(np.float64)).max() < 2.0**62:
        return True if v.dtype.kind == "i" else bool(np.abs(v).max() < 2.0**53)
    return None if v.dtype.kind == "i" else False


def number(draft: Draft, v: np.ndarray, counts: np.ndarray, decimals: int, form: dict[str, Any]) -> None:
    """The plan of a column of numbers, v its different values."""
    plan, whole = draft.plan, v.dtype.kind == "i"
    plan.reading = "number"
    plan.form = {"whole": whole, "decimals": decimals, **form}
    if whole and draft.kind is None and _is_key(plan.name, v, counts):
        plan.how, plan.reading, plan.form = "key", "key", keys.shape_of_numbers(v)
        plan.why = (
            "whole numbers, each of them once; counted on"
            if plan.form["count"]
            else "numbers, each of them once, named like an identifier; made anew"
        )
        return
    low, high = v.min(), v.max()
    if whole:
        plan.how, plan.why = ("count", "whole numbers from zero up") if low >= 0 else ("integer", "whole numbers")
    elif decimals > 0 and len(v) >= FEW and 0 <= low <= 0.02 and 0.98 <= high <= 1:
        plan.how, plan.why = "bounded", f"numbers that fill [0, 1], {decimals} decimals"
        plan.form |= {"low": 0.0, "high": 1.0}
    elif len(v) >= FEW and 0 <= low <= 4 and 356 <= high < 360 and _NAMED_ANGLE.search(plan.name):
        plan.how, plan.why = "angle", f"numbers that fill [0, 360), named like an angle, {decimals} decimals"
    else:
        plan.how = "positive" if low > 0 else "real"
        plan.why = f"numbers{' above zero' if low > 0 else ''}, {decimals} decimals"


def _is_key(name: str, v: np.ndarray, counts: np.ndarray) -> bool:
    if len(v) < FEW or counts.max() > 1:
        return False
    consecutive = int(v.max()) - int(v.min()) + 1 == len(v)
    return consecutive or bool(_NAMED_KEY.search(name))


def _labels(draft: Draft, why: str = "") -> None:
    plan, gone = draft.plan, draft.gone()
    if draft.nulls:
        gone = np.zeros(len(gone), bool)
    elif gone.any():
        texts = draft.texts.to_pylist()
        marker = "" if "" in texts else texts[int(np.where(gone, draft.counts, -1).argmax())]
        gone = np.array([text == marker for text in texts])
    draft.mark(gone)
    cells, different = int(draft.counts[~gone].sum()), int((~gone).sum())
    if cells >= FEW and cells < 2 * different:
        as_key(draft, gone)
        return
    levels(draft, gone, why + "labels")
    lower = {text.lower() for text in plan.examples}
    if plan.how == "category" and different == 2 and lower in WORDS:
        plan.how, plan.why = "boolean", "two words, yes and no"


def as_key(draft: Draft, gone: np.ndarray) -> None:
    plan = draft.plan
    texts = keep(draft.texts, ~gone).to_pylist()
    forms = {keys.skeleton(text) for text in texts[:2000]}
    words = sum(len(text.split()) for text in texts[:2000]) / len(texts[:2000])
    if draft.kind != "key" and words >= 3 and len(forms) > len(texts[:2000]) / 4:
        _blank(draft, "free text, nearly all different: not learned, written as missing")
        return
    plan.how, plan.reading, plan.form = "key", "key", keys.shape_of_texts(texts)
    plan.why = f"texts, nearly all different, of {len(forms)} shape(s); made anew in the same shapes"


def levels(draft: Draft, gone: np.ndarray, why: str, ordinal: bool = False) -> None:
    """The plan of a column of levels: learns its field at once."""

    plan = draft.plan
    draft.mark(gone)
    if (~gone).sum() <= 1 and not plan.share:
        _constant(draft, gone, "one value")
        return
    texts, counts = draft.texts.to_pylist(), draft.counts
    some = [int(i) for i in np.flatnonzero(~gone & (counts > 0))]
    order = sorted(some, key=(lambda i: texts[i]) if not ordinal else lambda i: i)
    if not ordinal:
        order.sort(key=lambda i: -counts[i])
    plan.reading, plan.how, plan.why = "levels", "ordinal" if ordinal else "category", why
    keep_values(draft, order)
    if ordinal and draft.dictionary:
        order = [order[i] for i in np.argsort(plan.form["where"], kind="stable")]
        keep_values(draft, order)
    plan.form["levels"] = []
    code = np.full(len(texts) + 1, -1, np.int32)
    code[order] = np.arange(len(order), dtype=np.int32)
    plan.field = (Ordinal if ordinal else Category).learn(plan.name, code[draft.codes], tuple(texts[i] for i in order))


def keep_values(draft: Draft, order: list[int]) -> None:
    """The levels in the column's own type, in this order of the different texts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    plan = draft.plan
    if draft.dictionary:
        chunks = draft.column.unify_dictionaries().chunks
        plan.values = chunks[0].dictionary if chunks else pa.array([], draft.column.type.value_type)
        found = pc.index_in(draft.texts.take(pa.array(order, pa.int64())), as_texts(plan.values))
        plan.form["where"] = found.to_pylist()
        return
    if draft.text:
        plan.values = draft.texts.take(pa.array(order, pa.int64()))
        return
    first = np.full(len(draft.texts) + 1, 0, np.int64)
    first[draft.codes[::-1]] = np.arange(draft.rows)[::-1]
    plan.values = single(draft.column).take(pa.array(first[order]))


def _constant(draft: Draft, gone: np.ndarray, why: str) -> ColumnPlan:
    draft.mark(gone)
    plan = draft.plan
    plan.reading, plan.how, plan.why, plan.field = "levels", "constant", why, None
    order = [int(i) for i in np.flatnonzero(~gone)]
    keep_values(draft, order)
    plan.form["levels"] = [draft.texts[i].as_py() for i in order]
    return plan


def _blank(draft: Draft, why: str) -> ColumnPlan:
    draft.plan.how, draft.plan.reading, draft.plan.why = "dropped", "blank", why
    draft.plan.form = {}
    return draft.plan


# -- columns with a type of their own ----------------------------------------------------------------------------------


def typed_moment(draft: Draft) -> None:
    steps, unit, gone = ticks(draft.plan.name, single(draft.column))
    if len(np.unique(steps[~gone])) == 1 and not gone.any():
        _constant(draft, draft.gone(), "one value")
        return
    draft.plan.form = {"unit": moments.coarsest(steps[~gone], unit)[1]}
    draft.plan.reading, draft.plan.how = "moment", "datetime"
    draft.plan.why = f"a column of type {draft.column.type}"


def _typed_number(draft: Draft) -> None:
    import pyarrow as pa

    plan, kind = draft.plan, single(draft.column).type
    v, gone = numbers_of_cells(draft.column)
    plan.share = float(gone.mean()) if len(gone) else 0.0
    if pa.types.is_floating(kind) and not draft.column.null_count and gone.any():
        plan.missing = "NaN"
    v, counts = np.unique(v[~gone], return_counts=True)
    if len(v) < 2 and (not gone.any() or not len(v)):
        _constant(draft, draft.gone(), "one value" if len(v) else "every cell is missing")
        return
    whole = is_whole(v)
    if whole is None or (kind == pa.uint64() and float(v.max()) >= 2.0**53):
        _labels(draft, "whole numbers too far apart to count with; ")
        return
    if whole and v.dtype.kind == "i" and 19000101 <= v.min() and v.max() <= 21001231:
        form = moments.find_form(pa.array(v).cast(pa.large_string()))
        if form is not None:
            text_moment(draft, draft.gone(), form)
            return
    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        decimals = _narrow_decimals(v, pa.array(v).cast(kind))
    else:
        decimals = kind.scale if pa.types.is_decimal(kind) else 0 if whole else decimals_of(v)
    number(draft, v.astype(np.int64) if whole else v.astype(np.float64), counts, decimals, {})


def _narrow_decimals(v: np.ndarray, cells: "pa.Array") -> int:
    """Decimals that give back nearly all numbers of a narrow float type."""
    import pyarrow as pa

    for decimals in range(8):
        back = pa.array(np.round(v, decimals)).cast(cells.type, safe=False).cast(pa.float64()).to_numpy()
        if (back == v).mean() >= 0.999:
            return decimals
    return decimals_of(v)
