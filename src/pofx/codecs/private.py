"""How a table is read, learned with privacy: from a made table that noisy counts describe, never from the rows.

Names and types of columns are taken as public. What is bought, column by column, with an even part of a budget:

    of texts that nobody declared   how many cells are numbers, of how many decimals, how many are missing: a histogram
    levels                          those whose noisy count exceeds a threshold (privacy.Budget.vocabulary), and counts
                                    of them, of all others together, and of missing cells
    numbers                         a tree of intervals: powers of two away from zero, then those of many rows cut in
                                    eight, three times; each layer is a histogram
    moments                         the same, of days since 1970, or of seconds where a column's type has them

What the user declares is public and costs nothing: "levels" of a category, "low" and "high" of a number, "decimals" (or
"step"), a kind. A table is then made with such counts, and the ordinary codec learned from that: all that a model file
holds of a column follows from what was bought or declared.

Papers: Korolova et al. 2009 (thresholds); Zhang et al. 2016, PrivTree (trees of intervals).
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import SpecError, Unsupported
from ..privacy import Budget, deviation, onto_simplex
from .columns import UNKNOWN, amiss, coded, is_text, keep, single
from .infinite import refuse_infinite
from .numerals import parse_numbers
from .overrides import asked_of
from .rare import merged_name
from .readings import numbers_of_cells
from .table import TableCodec
from .tabular_io import KEY, look

if TYPE_CHECKING:
    import pyarrow as pa

VOTES = 10  # missing, text, then 0 to 7 decimals
SURE = 4.0  # deviations beyond which a count is believed not to be noise
SURER = 5.0  # of a hundred powers of two, most of them empty
NUMBERS = 0.98  # share of the cells that are numbers in a column that is read as such, and of those on its grid
LAYERS, CUT = 3, 8
WIDEST = 2.0**52
LEVELS = 120  # the most frequent ones are kept, in a code of their own each
NUMERIC = ("real", "positive", "bounded", "angle", "integer", "count")
LEVELLED = ("category", "boolean", "ordinal")
WHOLE = ("integer", "count")


@dataclass
class Made:
    """A column of the made table: its cells, how it is to be read, and how real cells are brought to what it holds."""

    asked: dict[str, Any]
    cells: "pa.Array"
    levels: list[str] | None = None  # a category's, the merged one last where there is one
    other: str | None = None
    grid: tuple[int, float, float] | None = None  # of numbers: decimals, and the ends in units of the last of them
    unit: str | None = None  # of moments: D or s, whose number the grid is of
    public: list[str] = field(default_factory=list)


def learn_private(
    table: "pa.Table", fields: Mapping[str, Any] | None, budget: Budget, rho: float, delta: float, like: str
) -> tuple[TableCodec, "pa.Table", dict[str, list[str]]]:
    """(the codec; the rows brought to what it can say, row by row; what was taken as public of each column).

    Raises SpecError for declarations that cannot be read and for too few rows for the budget, Unsupported for columns
    of times of day and of durations, which are to be declared otherwise or dropped.
    """
    import pyarrow as pa

    asked = asked_of(fields, table.column_names)
    for name in table.column_names:
        one, kind = asked.get(name, {}), single(table[name]).type
        unit = _unit(table[name], one)
        timed = pa.types.is_temporal(kind) and one.get("kind") not in ("drop", "key")
        if unit is None and (timed or one.get("kind") == "datetime"):
            raise Unsupported(
                f"column {name!r}: expected dates, or moments of a type of their own, to learn with privacy, got "
                f"{kind}: drop it"
            )
        if name in asked:
            asked[name] = one | _ends_of_moments(name, one, unit)
            _check_declared(name, asked[name])
    refuse_infinite(table, asked)
    columns = [name for name in table.column_names if asked.get(name, {}).get("kind") not in ("drop", "key")]
    if not columns:
        raise SpecError("expected a column to learn, got none but what is dropped or a key")
    each, part = rho / (len(columns) + 1), delta / len(columns)
    n = round(float(budget.histogram(np.array([table.num_rows]), each, "number of rows")[0]))
    if n < 10 * SURE * deviation(each):
        raise SpecError(
            f"expected more rows for so small an epsilon: {max(n, 0):,} or so, in {len(columns)} columns, drown in the "
            "noise; give more rows, fewer columns or a larger epsilon"
        )
    made = {name: _made(name, table[name], asked.get(name, {}), n, budget, each, part) for name in table.column_names}
    if all(one.asked["kind"] == "drop" for one in made.values()):
        raise SpecError("expected a column with a value that many rows share, got none: give a larger epsilon")
    meta = {k: v for k, v in look(table).items() if k in ("kind", "titles", "dialect")}
    columns_made = [pa.chunked_array([made[name].cells]) for name in table.column_names]
    plain = pa.table(columns_made, table.column_names).replace_schema_metadata({KEY: json.dumps(meta).encode()})
    asked = {name: one.asked for name, one in made.items()}
    codec = TableCodec.learn(plain, fields=asked, like=like, constraints="none")
    for at, name in enumerate(table.column_names):
        table = table.set_column(at, name, _brought(made[name], table[name]))
    return codec, table, {name: one.public for name, one in made.items() if one.public}


def _check_declared(name: str, one: Mapping[str, Any]) -> None:
    low, high = one.get("low"), one.get("high")
    if (low is None) != (high is None) or (low is not None and not _finite(low, high)):
        raise SpecError(f"field {name!r}: expected low and high, two finite numbers in order, got {low!r} and {high!r}")
    levels = one.get("levels")
    if levels is not None and (isinstance(levels, str) or not all(isinstance(v, str) for v in levels) or not levels):
        raise SpecError(f'field {name!r}: expected levels as texts, ["a", "b"], got {levels!r}')
    if "step" in one and not _step(one["step"]):
        raise SpecError(f"field {name!r}: expected a step of 1, 0.1, 0.01, ..., got {one['step']!r}")
    decimals = one.get("decimals", 0)
    if isinstance(decimals, bool) or not isinstance(decimals, int) or not 0 <= decimals <= 12:
        raise SpecError(f"field {name!r}: expected decimals from 0 to 12, got {decimals!r}")


def _finite(low: Any, high: Any) -> bool:
    return all(isinstance(v, int | float) and abs(v) < WIDEST for v in (low, high)) and low < high


def _step(step: Any) -> bool:
    return isinstance(step, int | float) and 1e-12 <= step <= 1 and math.isclose(10 ** round(math.log10(step)), step)


def _made(
    name: str, column: "pa.ChunkedArray", asked: dict[str, Any], n: int, budget: Budget, rho: float, delta: float
) -> Made:
    import pyarrow as pa

    kind, cells = asked.get("kind"), single(column)
    if kind == "drop":
        return _dropped(column, n)
    if kind == "key":
        return Made({"kind": "key"}, pa.array(range(1, n + 1)).cast(pa.large_string()).cast(cells.type))
    if (unit := _unit(column, asked)) is not None:
        return _moments(name, column, asked, unit, n, budget, rho)
    if pa.types.is_nested(cells.type) or pa.types.is_binary(cells.type) or pa.types.is_null(cells.type):
        return _dropped(column, n)
    kind = kind or ("category" if "levels" in asked or pa.types.is_dictionary(column.type) else None)
    numeric = kind in NUMERIC if kind else "low" in asked or _typed_number(cells.type)
    decimals = 0 if kind in WHOLE or pa.types.is_integer(cells.type) else _declared(asked)
    if decimals is None and kind not in LEVELLED and not pa.types.is_boolean(cells.type):
        votes = budget.histogram(_votes(column), rho / 5, f"reading of {name}")
        rho *= 4 / 5
        decimals, is_number = _counted(votes, deviation(rho / 4))
        numeric = numeric or is_number
    if numeric:
        return _number(name, column, asked, decimals or 0, n, budget, rho)
    return _levels(name, column, asked, n, budget, rho, delta)


def _dropped(column: "pa.ChunkedArray", n: int) -> Made:
    import pyarrow as pa

    kind = single(column).type
    return Made({"kind": "drop"}, pa.array([""] * n, kind) if is_text(kind) else pa.nulls(n, kind))


def _typed_number(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _declared(asked: Mapping[str, Any]) -> int | None:
    return asked.get("decimals", round(-math.log10(asked["step"])) if "step" in asked else None)


# -- what cells are ----------------------------------------------------------------------------------------------------


def _read(column: "pa.ChunkedArray") -> tuple[np.ndarray, np.ndarray]:
    """(numbers float64, state: 0 missing, 1 no number, 2 a number) of each cell."""
    if not is_text(single(column).type):
        v, gone = numbers_of_cells(column)
        return v.astype(np.float64), np.where(gone, 0, 2)
    texts, codes = coded(column)
    gone = amiss(texts, UNKNOWN)
    v, ok = parse_numbers(texts, False)
    full, good = np.zeros(len(texts) + 1), np.zeros(len(texts) + 1, np.int64)
    full[:-1][ok], good[:-1] = v[ok] if len(v) == len(ok) else v, np.where(gone, 0, np.where(ok, 2, 1))
    return full[codes], good[codes]


def _votes(column: "pa.ChunkedArray") -> np.ndarray:
    """How many cells are missing, no numbers, and numbers of 0, 1, ..., 7 decimals: the fewest that give the number."""
    v, state = _read(column)
    out = np.bincount(state, minlength=3)[:2].tolist()
    v = v[state == 2]
    need = np.full(len(v), VOTES - 3)
    for d in reversed(range(VOTES - 3)):
        need[np.round(v, d) == v] = d
    return np.array([*out, *np.bincount(need, minlength=VOTES - 2)])


def _counted(votes: np.ndarray, sigma: float) -> tuple[int, bool]:
    """(decimals, whether the column holds numbers) that noisy votes speak for."""
    text, numbers = votes[1], np.maximum(votes[2:], 0.0)
    total = float(numbers.sum())
    upto = np.cumsum(numbers)
    decimals = int(np.argmax(upto >= min(NUMBERS * total, total - SURE * sigma)))
    is_number = total > SURE * sigma and text < max(SURE * sigma, (1 - NUMBERS) * total)
    return decimals, bool(is_number)


# -- levels ------------------------------------------------------------------------------------------------------------


def _levels(
    name: str, column: "pa.ChunkedArray", asked: dict[str, Any], n: int, budget: Budget, rho: float, delta: float
) -> Made:
    import pyarrow as pa

    cells = single(column)
    texts, codes = coded(column)
    gone = amiss(texts) if is_text(cells.type) else np.zeros(len(texts), bool)
    seen = np.bincount(codes[codes >= 0], minlength=len(texts))
    found = dict(zip(keep(texts, ~gone).to_pylist(), seen[~gone].tolist(), strict=True))
    public = asked.get("levels") or (["True", "False"] if pa.types.is_boolean(cells.type) else None)
    if public is None:
        rho /= 2
        held = np.array(list(found.values()), float)
        bought = budget.vocabulary(list(found), held, rho, delta, f"levels of {name}")
        kept = [(v, t) for v, t in zip(bought, found, strict=True) if not math.isnan(v)]
        names = [t for _, t in sorted(kept, reverse=True)[:LEVELS]]
    else:
        names = list(dict.fromkeys(public))[:LEVELS]
    if not names:
        return _dropped(column, n)
    exact = np.array([*(found.get(t, 0) for t in names), 0, 0], float)
    exact[-1] = len(codes) - seen[~gone].sum()
    exact[-2] = len(codes) - exact.sum()
    counts, sigma = budget.histogram(exact, rho, f"counts of {name}"), deviation(rho)
    counts[-2:] = np.where(counts[-2:] > SURE * sigma, counts[-2:], 0.0)
    merged = merged_name(names)
    if not is_text(cells.type) and counts[-2]:
        counts[-1], counts[-2] = counts[-1] + counts[-2], 0.0
    law = _shares(counts, n)
    law = np.maximum(law, np.r_[np.full(len(names), 1.0 / n), 0.0, 0.0])  # each level at least one row
    which = _dealt(law, n, least=len(names))
    levels = [*names, merged] if law[-2] else names
    words = [*names, merged if law[-2] else None, None]
    kind = asked.get("kind") or "category"
    order = {"levels": [t for t in public if t in names] + levels[len(names) :]} if kind == "ordinal" and public else {}
    made = pa.array([words[k] for k in which], pa.large_string())
    made = made.fill_null("") if is_text(cells.type) else made
    made = made.cast(cells.type)
    if pa.types.is_dictionary(column.type):
        coded_ = made.dictionary_encode()
        made = pa.DictionaryArray.from_arrays(coded_.indices.cast(pa.int32()), coded_.dictionary)
    told = {"kind": kind, "derived": False, **order}
    return Made(told, made, levels, merged if law[-2] else None, public=["levels"] if public else [])


def _shares(counts: np.ndarray, n: int) -> np.ndarray:
    """The law of noisy counts, 0 where they are 0: counts beyond n are taken for noise that clipping left."""
    out, there = np.zeros(len(counts)), counts != 0
    out[there] = onto_simplex(counts[there], min(float(n), max(float(counts.sum()), 1.0)))
    return out / out.sum()


def _dealt(law: np.ndarray, n: int, least: int = 0) -> np.ndarray:
    """n numbers of states in shares as near to a law as n rows can be, each of the first `least` at least once."""
    upto = np.cumsum(law) / law.sum()
    which = np.minimum(np.searchsorted(upto, (np.arange(n) + 0.5) / n), len(law) - 1)
    gone = np.setdiff1d(np.arange(least), which)
    if len(gone):
        which[np.argsort(-np.bincount(which)[which], kind="stable")[: len(gone)]] = gone
    return which


# -- numbers -----------------------------------------------------------------------------------------------------------


def _number(
    name: str, column: "pa.ChunkedArray", asked: dict[str, Any], decimals: int, n: int, budget: Budget, rho: float
) -> Made:
    v, state = _read(column)
    scale, kind = 10.0**decimals, asked.get("kind")
    ends = {"bounded": (0.0, 1.0), "angle": (0.0, 360.0 - 1 / scale)}.get(str(kind))
    ends = (asked["low"], asked["high"]) if "low" in asked else ends
    low, high = (round(end * scale) for end in ends) if ends else (-WIDEST, WIDEST)
    low = max(low, {"count": 0, "positive": 1}.get(str(kind), low))
    t = _on_grid(v[state == 2], decimals, low, high)
    leaves, gone, sigma = _tree(t, int((state != 2).sum()), (low, high), ends is not None, budget, rho, name)
    gone = gone if gone > SURE * sigma else 0.0
    if not len(leaves) or leaves[:, 2].sum() <= SURE * sigma:
        return _dropped(column, n)
    law = _shares(np.r_[leaves[:, 2], gone], n)
    which = _dealt(law, n)
    inside = np.zeros(n)
    for k in np.unique(which):  # spread evenly over the interval
        mine = np.flatnonzero(which == k)
        inside[mine] = (np.arange(len(mine)) + 0.5) / len(mine)
    absent = which == len(leaves)
    some = leaves[np.where(absent, 0, which)]
    whole = np.floor(some[:, 0] + inside * (some[:, 1] - some[:, 0])).astype(np.int64)
    cells = _spelled(whole, absent, decimals, single(column).type)
    told = {"kind": kind or ("integer" if decimals == 0 else "real"), "derived": False}
    told["kind"] = "count" if told["kind"] == "integer" and not kind and whole[~absent].min() >= 0 else told["kind"]
    told |= {} if told["kind"] in WHOLE else {"decimals": decimals}
    told |= {"low": ends[0], "high": ends[1]} if kind == "bounded" and ends else {}
    declared = ["range"] if ends else []
    declared += ["decimals"] if _declared(asked) is not None else []
    return Made(told, cells, grid=(decimals, low, high), public=declared)


def _on_grid(v: np.ndarray, decimals: int, low: float, high: float) -> np.ndarray:
    """Numbers as whole numbers of the last decimal, int64, those beyond the ends at these."""
    return np.clip(np.rint(v * 10.0**decimals), low, high).astype(np.int64)


def _spelled(t: np.ndarray, absent: np.ndarray, decimals: int, kind: "pa.DataType") -> "pa.Array":
    import pyarrow as pa

    if is_text(kind):
        sign, size, unit = np.where(t < 0, "-", ""), np.abs(t), 10**decimals
        texts = [
            "" if gone else f"{s}{v // unit}.{v % unit:0{decimals}d}" if decimals else f"{s}{v}"
            for s, v, gone in zip(sign, size.tolist(), absent.tolist(), strict=True)
        ]
        return pa.array(texts, kind)
    if decimals or pa.types.is_floating(kind):
        return pa.array(t / 10.0**decimals, mask=absent).cast(kind, safe=False)
    return pa.array(t, mask=absent).cast(kind, safe=False)


def _tree(
    t: np.ndarray, gone: int, ends: tuple[float, float], declared: bool, budget: Budget, rho: float, name: str
) -> tuple[np.ndarray, float, float]:
    """(leaves (L, 3): left, right (not in it), noisy count; missing cells; s): a histogram a layer.

    The first layer has the missing cells too. An interval of more than SURE^2 deviations is cut, and its parts take
    its count: noise of light parts is taken away by the simplex.
    """
    layers = LAYERS + 1
    sigma = deviation(rho / layers)
    edges = _powers(*ends) if not declared else np.unique(np.floor(np.linspace(ends[0], ends[1] + 1, CUT * 4 + 1)))
    counts = np.histogram(t, edges)[0]
    noisy = budget.histogram(np.r_[counts, gone], rho / layers, f"intervals of {name}")
    missing = float(noisy[-1])
    held = np.where(noisy[:-1] > (0.0 if declared else SURER * sigma), noisy[:-1], 0.0)
    leaves = np.stack([edges[:-1], edges[1:], held], 1)
    for _ in range(LAYERS):
        cut = (leaves[:, 2] > SURE**2 * sigma) & (leaves[:, 1] - leaves[:, 0] > 1)
        parts = [_cut(leaf) if c else leaf[None, :2] for leaf, c in zip(leaves, cut, strict=True)]
        edges_of = np.concatenate(parts)
        counts = np.array([((t >= a) & (t < b)).sum() for a, b in edges_of], float)
        noisy = budget.histogram(counts, rho / layers, f"intervals of {name}")
        size = np.cumsum([0, *(len(p) for p in parts)])
        for k, (leaf, c) in enumerate(zip(leaves, cut, strict=True)):
            own = slice(size[k], size[k + 1])
            noisy[own] = onto_simplex(noisy[own], leaf[2]) if c else leaf[2]
        leaves = np.c_[edges_of, noisy]
    return leaves[leaves[:, 2] > 0], missing, sigma


def _powers(low: float, high: float) -> np.ndarray:
    up = 2.0 ** np.arange(0, 53)
    edges = np.r_[-up[::-1] + 1, up]  # ..., [-3, -1), [-1, 0), [0, 1), [1, 2), [2, 4), ...
    edges = np.unique(np.r_[edges, 0.0])
    return edges[(edges >= min(low, 0.0) - 1) & (edges <= max(high, 1.0) + 1)]


def _cut(leaf: np.ndarray) -> np.ndarray:
    """An interval in eight, at whole numbers."""
    edges = np.unique(np.floor(np.linspace(leaf[0], leaf[1], CUT + 1)))
    return np.stack([edges[:-1], edges[1:]], 1)


# -- moments -----------------------------------------------------------------------------------------------------------


def _unit(column: "pa.ChunkedArray", asked: Mapping[str, Any]) -> str | None:
    """D of dates, and of texts that are declared to be such; s of moments of a type of their own; None of others."""
    import pyarrow as pa

    kind, declared = single(column).type, asked.get("kind")
    if declared not in (None, "datetime"):
        return None
    if pa.types.is_date(kind) or (is_text(kind) and declared == "datetime"):
        return "D"
    return "s" if pa.types.is_timestamp(kind) else None


def _ends_of_moments(name: str, one: Mapping[str, Any], unit: str | None) -> dict[str, int]:
    """Declared ends as numbers of a unit."""
    out = {}
    for word in ("low", "high") if unit is not None else ():
        if word in one:
            try:
                out[word] = int(np.datetime64(str(one[word])).astype(f"M8[{unit}]").astype(np.int64))
            except ValueError as error:
                raise SpecError(f"field {name!r}: expected {word} as a date, 2020-01-31, got {one[word]!r}") from error
    return out


def _moments(
    name: str, column: "pa.ChunkedArray", asked: Mapping[str, Any], unit: str, n: int, budget: Budget, rho: float
) -> Made:
    ends = {word: asked[word] for word in ("low", "high") if word in asked}
    made = _number(name, _since(column, unit), {"kind": "integer", **ends}, 0, n, budget, rho)
    if made.grid is None:
        return _dropped(column, n)
    made.asked = {"kind": "datetime", "derived": False}
    made.cells, made.unit = _dated(made.cells, unit, single(column).type), unit
    return made


def _since(column: "pa.ChunkedArray", unit: str) -> "pa.ChunkedArray":
    """Days or seconds since 1970; of a text those of the date that it begins with, missing where it does not."""
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = single(column)
    if is_text(cells.type):
        first = pc.utf8_slice_codeunits(cells, 0, 10)
        cells = pc.strptime(first, format="%Y-%m-%d", unit="s", error_is_null=True).cast(pa.date32())
    if unit == "D":
        return pa.chunked_array([cells.cast(pa.date32()).cast(pa.int32()).cast(pa.int64())])
    return pa.chunked_array([cells.cast(pa.timestamp("s", cells.type.tz), safe=False).cast(pa.int64())])


def _dated(since: "pa.Array", unit: str, kind: "pa.DataType") -> "pa.Array":
    """What `_since` counted, as cells of a type."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if unit == "s":
        return since.cast(pa.timestamp("s", kind.tz)).cast(kind)
    days = since.cast(pa.int32()).cast(pa.date32())
    return pc.fill_null(pc.strftime(days, format="%Y-%m-%d"), "").cast(kind) if is_text(kind) else days.cast(kind)


# -- real cells --------------------------------------------------------------------------------------------------------


def _brought(made: Made, column: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """The cells as the codec can say them, each by itself: others merged, numbers on the grid, else missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = single(column)
    if made.grid is not None and made.unit is not None:
        v, gone = numbers_of_cells(_since(column, made.unit))
        since = _spelled(_on_grid(v, *made.grid), gone, 0, pa.int64())
        return pa.chunked_array([_dated(since, made.unit, cells.type)])
    if made.grid is not None:
        (v, state), (decimals, low, high) = _read(column), made.grid
        return pa.chunked_array([_spelled(_on_grid(v, decimals, low, high), state != 2, decimals, cells.type)])
    if made.levels is None:
        return column
    texts, codes = coded(column)
    gone = amiss(texts) if is_text(cells.type) else np.zeros(len(texts), bool)
    known = pc.is_in(texts, pa.array(made.levels, pa.large_string())).to_numpy(zero_copy_only=False)
    state = np.r_[np.where(gone, 0, np.where(known, 2, 1)), 0][codes]  # missing, other, a level
    text = is_text(cells.type)
    blank = pa.scalar("" if text else None, cells.type)
    other = pa.scalar(made.other, cells.type) if made.other is not None and text else blank
    out = pc.if_else(pa.array(state == 2), cells, pc.if_else(pa.array(state == 1), other, blank))
    if pa.types.is_dictionary(column.type):
        found = out.dictionary_encode()
        out = pa.DictionaryArray.from_arrays(found.indices.cast(pa.int32()), found.dictionary)
    return pa.chunked_array([out])
