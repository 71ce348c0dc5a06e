"""How a column is read where the user says so: `fields={"zip": "category"}`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import CodecError, SpecError
from ..fields import KINDS, Bounded, Ordinal
from . import keys, moments
from .columns import UNKNOWN, keep, single
from .draft import Draft
from .inference import as_key, is_whole, keep_values, levels, number, text_moment, typed_moment
from .numerals import Spelling, decimals_of, parse_numbers, read_numbers
from .readings import numbers_of_cells

OVERRIDES = (*(kind for kind in KINDS if kind not in ("pixel", "token")), "boolean", "key", "drop")


def asked_of(fields: Mapping[str, Any] | None, names: list[str]) -> dict[str, dict[str, Any]]:
    """The overrides by column; SpecError for a column or a kind that does not exist."""
    out: dict[str, dict[str, Any]] = {}
    for name, asked in (fields or {}).items():
        if name not in names:
            raise SpecError(f"expected fields among the columns {', '.join(map(repr, names))}, got {name!r}")
        out[name] = {"kind": asked} if isinstance(asked, str) else dict(asked)
        kind = out[name].get("kind")
        if kind not in (None, *OVERRIDES):
            raise SpecError(f"field {name!r}: expected a kind among {', '.join(OVERRIDES)}, got {kind!r}")
    return out


def as_asked(draft: Draft) -> None:
    kind = draft.kind
    if kind in ("category", "boolean", "ordinal"):
        _asked_levels(draft)
    elif kind == "key":
        _asked_key(draft)
    elif kind == "datetime":
        _asked_moment(draft)
    else:
        _asked_number(draft)


def _asked_levels(draft: Draft) -> None:
    gone, plan = draft.gone(), draft.plan
    if draft.text and draft.nulls:
        gone = np.zeros(len(gone), bool)
    levels(draft, gone, "labels", ordinal=False)
    wanted = draft.asked.get("levels")
    if draft.kind == "ordinal" and plan.field is not None:
        _reorder(draft, gone, None if wanted is None else [str(level) for level in wanted])
    elif plan.how == "category":
        plan.how = str(draft.kind)


def _reorder(draft: Draft, gone: np.ndarray, wanted: list[str] | None) -> None:
    plan, texts = draft.plan, draft.texts.to_pylist()
    seen = [int(i) for i in np.flatnonzero(~gone)]
    if wanted is None:
        order = sorted(seen, key=lambda i: _natural(texts[i]))
    else:
        strange = sorted({texts[i] for i in seen} - set(wanted))
        if strange:
            raise CodecError(f"column {plan.name!r}: expected the levels {wanted}, got also {strange[:5]}: add them")
        order = sorted(seen, key=lambda i: wanted.index(texts[i]))
    keep_values(draft, order)
    code = np.full(len(texts) + 1, -1, np.int32)
    code[order] = np.arange(len(order), dtype=np.int32)
    plan.field = Ordinal.learn(plan.name, code[draft.codes], tuple(texts[i] for i in order))
    plan.how = "ordinal"


def _natural(text: str) -> tuple[float, str]:
    try:
        return float(text), text
    except ValueError:
        return float("inf"), text


def _asked_key(draft: Draft) -> None:
    gone, plan = draft.gone(), draft.plan
    draft.mark(gone)
    present = keep(draft.texts, ~gone)
    numbers = None if draft.text and not len(present) else read_numbers(present)
    if numbers is not None and numbers[0].dtype.kind == "i" and not draft.text:
        plan.how, plan.reading, plan.form = "key", "key", keys.shape_of_numbers(numbers[0])
        plan.form["count"] = plan.form["count"] and len(numbers[0]) > 1
    else:
        as_key(draft, gone)


def _asked_moment(draft: Draft) -> None:
    import pyarrow as pa

    plan = draft.plan
    if not draft.text and pa.types.is_temporal(single(draft.column).type):
        typed_moment(draft)
        return
    gone = draft.gone(UNKNOWN)
    present = keep(draft.texts, ~gone)
    form = moments.form_of(draft.asked["format"]) if "format" in draft.asked else moments.find_form(present)
    if form is None:
        raise CodecError(
            f"column {plan.name!r} was asked to be read as datetime, but its texts, such as {plan.examples[:1]}, are "
            'moments of no form or of two: say which, {"kind": "datetime", "format": "%d/%m/%Y"}'
        )
    text_moment(draft, gone, form)


def _asked_number(draft: Draft) -> None:
    import pyarrow as pa

    plan, kind, asked = draft.plan, KINDS[str(draft.kind)], draft.asked
    if draft.text:
        gone = draft.gone(UNKNOWN)
        present = keep(draft.texts, ~gone)
        comma = any("," in text for text in present[:100].to_pylist())
        v, ok = parse_numbers(present, comma)
        if not ok.all():
            raise CodecError(
                f"column {plan.name!r} was asked to be read as {draft.kind}, expected numbers, "
                f"got {keep(present, ~ok)[0].as_py()!r}: make it a category"
            )
        counts = draft.counts[~gone]
    else:
        cells, absent = numbers_of_cells(draft.column)
        v, counts = np.unique(cells[~absent], return_counts=True)
        plan.missing = "NaN" if pa.types.is_floating(draft.column.type) and not draft.column.null_count else None
    whole = kind.dtype.kind == "i"
    if whole and not is_whole(v):
        raise CodecError(f"column {plan.name!r} was asked to be read as {draft.kind}, but not all numbers are whole")
    decimals = 0 if whole else asked.get("decimals", decimals_of(v.astype(np.float64)))
    v = v.astype(kind.dtype)
    form = {"spelling": Spelling.learn(present, v, decimals, comma).meta()} if draft.text else {}
    if draft.text:
        draft.mark(gone)
    number(draft, v, counts, decimals, form)
    plan.how, plan.why = str(draft.kind), f"{decimals} decimals" if decimals else ""
    if kind is Bounded:
        plan.form |= {"low": float(asked.get("low", 0.0)), "high": float(asked.get("high", 1.0))}
    if draft.kind == "positive" and len(v) and v.min() <= 0:
        raise CodecError(f"column {plan.name!r} was asked to be read as positive, got {v.min()}: make it real")
    if draft.kind == "count" and len(v) and v.min() < 0:
        raise CodecError(f"column {plan.name!r} was asked to be read as count, got {v.min()}: make it integer")
