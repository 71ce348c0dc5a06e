"""Conditions as users write them, `age in [20, 30)` or {"age": between(20, 30)}, and the sets that they mean."""

import math
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import CodecError
from ..field import MISSING, Allowed
from ..fields import Ordinal
from . import moments
from .columns import ColumnPlan

CLOSED = {"both": (True, True), "left": (True, False), "right": (False, True), "neither": (False, False)}
HELP = "a = v, a != v, a < v, a <= v, a in [x, y), a in {u, v}, a is missing, a is not missing"
_TICKED = re.compile(r"\s*`((?:[^`]|``)+)`")
_REST = re.compile(r"\s*(?:(!=|<=|>=|==|=|<|>)\s*(.*)|(?:in)\s*([\[({].*)|is\s+(not\s+)?missing\s*)", re.S)


@dataclass
class Between:
    """The values from low to high; `closed` says which ends belong: both, left, right or neither."""

    low: Any
    high: Any
    closed: str = "both"

    def __post_init__(self) -> None:
        if self.closed not in CLOSED:
            raise CodecError(f"expected closed to be one of {', '.join(CLOSED)}, got {self.closed!r}")


def between(low: Any, high: Any, closed: str = "both") -> Between:
    """A condition on a range of values: {"age": between(20, 30)}."""
    return Between(low, high, closed)


@dataclass(frozen=True)
class Term:
    """One condition: a column, an operator (=, !=, <, <=, >, >=, in, set, missing, present), what it compares to."""

    name: str
    operator: str
    value: Any
    words: str


def terms(conditions: Sequence[str] | Mapping[str, Any] | str, names: Sequence[str]) -> list[Term]:
    """The conditions of strings, or of a mapping from column to value, set, Between or None (missing).

    Raises CodecError for one that cannot be read or whose column does not exist.
    """
    if isinstance(conditions, str):
        conditions = [conditions]
    if isinstance(conditions, Mapping):
        return [_of_value(name, value, names) for name, value in conditions.items()]
    return [_of_text(text, names) for text in conditions]


def ticks(name: str) -> str:
    """A name in backticks, as any name can stand in a condition or a constraint."""
    return "`" + name.replace("`", "``") + "`"


def ticked(text: str) -> tuple[str, str] | None:
    """(the name in backticks that a text begins with, what follows)."""
    found = _TICKED.match(text)
    return (found[1].replace("``", "`"), text[found.end() :]) if found else None


def about(name: str, key: Any, levels: Sequence[str]) -> dict[str, Any] | list[str]:
    """The condition that a column has a value, or fulfils a condition written without its name."""
    if isinstance(key, str) and key not in levels and _REST.fullmatch(key):
        return [f"{ticks(name)} {key}"]
    return {name: key}


def _of_value(name: str, value: Any, names: Sequence[str]) -> Term:
    if name not in names:
        raise unknown(name, names)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return Term(name, "missing", None, f"{name} is missing")
    if isinstance(value, Between):
        return Term(name, "in", value, f"{name} between {value.low} and {value.high}")
    if isinstance(value, AbstractSet | list | tuple | np.ndarray):
        return Term(name, "set", tuple(value), f"{name} in {{{', '.join(map(str, value))}}}")
    return Term(name, "=", value, f"{name} = {value}")


def unknown(name: str, names: Sequence[str], what: str = "condition") -> CodecError:
    """The error for a column that does not exist, with the nearest names first."""
    from difflib import get_close_matches

    near = get_close_matches(name, names, 3, 0.5)
    rest = [other for other in names if other not in near]
    shown = ", ".join(map(repr, [*near, *rest][:20]))
    return CodecError(f"the {what} names the column {name!r}, expected one of {shown}")


def _of_text(text: str, names: Sequence[str]) -> Term:
    name, match = _head(text, names)
    words = text.strip()
    operator, value, braced, negated = match.groups()
    if operator:
        return Term(name, "=" if operator == "==" else operator, value.strip(), words)
    if braced is None:
        return Term(name, "present" if negated else "missing", None, words)
    return _of_brackets(name, braced.strip(), words)


def _head(text: str, names: Sequence[str]) -> tuple[str, re.Match[str]]:
    if quoted := ticked(text):
        name, match = quoted[0], _REST.fullmatch(quoted[1].rstrip())
        if match is None:
            raise CodecError(f"the condition {text!r} cannot be read: write {HELP}")
        if name not in names:
            raise unknown(name, names)
        return name, match
    bare = text.strip()
    for name in sorted(names, key=len, reverse=True):
        rest = bare[len(name) :]
        if bare.startswith(name) and (rest[:1].isspace() or rest[:1] in "!<>=") and (match := _REST.fullmatch(rest)):
            return name, match
    guess = re.match(r"(.+?)\s*(!=|<=|>=|=|<|>|\s(in|is)\s)", bare)
    if guess and guess[1].strip() not in names:
        raise unknown(guess[1].strip(), names)
    raise CodecError(f"the condition {text!r} cannot be read: write {HELP}")


def _of_brackets(name: str, text: str, words: str) -> Term:
    parts = _comma_parts(text[1:-1])
    if text[0] == "{" and text[-1] == "}":
        return Term(name, "set", tuple(parts), words)
    if text[0] in "[(" and text[-1] in ")]" and len(parts) == 2:
        closed = {(True, True): "both", (True, False): "left", (False, True): "right"}.get(
            (text[0] == "[", text[-1] == "]"), "neither"
        )
        return Term(name, "in", Between(parts[0], parts[1], closed), words)
    raise CodecError(f"the condition {words!r} cannot be read: write {name} in [x, y), or {name} in {{u, v}}")


def _comma_parts(text: str) -> list[str]:
    found = re.findall(r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^,]*?)\s*(?:,|$)""", text)
    return found[:-1] if len(found) > 1 and found[-1] == "" and not text.rstrip().endswith(",") else found


def bare(value: Any) -> str:
    """A label as the user means it: quotes around it taken off."""
    text = str(value).strip() if isinstance(value, str) else str(value)
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text


# -- terms to sets -----------------------------------------------------------------------------------------------------


def allowed_by(plan: ColumnPlan, term: Term) -> Allowed:
    """The stored values of a column that fulfil a condition; comparisons never hold for missing cells.

    Raises CodecError for a value that the column cannot have, and for an order where there is none.
    """
    if term.operator == "missing":
        return Allowed(missing=True)
    if plan.reading not in ("levels", "number", "moment"):
        what = "made anew" if plan.reading == "key" else "not kept"
        if term.operator == "present" and plan.reading == "key":
            return Allowed(codes=frozenset({0}))
        raise CodecError(f"the condition {term.words!r} is not possible: {plan.name!r} is {what} in every row")
    if plan.reading == "levels":
        return Allowed(codes=frozenset(_codes(plan, term)))
    if term.operator == "present":
        return Allowed(((-math.inf, math.inf),))
    return Allowed(tuple(_intervals(plan, term)))


def _codes(plan: ColumnPlan, term: Term) -> set[int]:
    levels = plan.levels
    every = set(range(len(levels)))
    if term.operator == "present":
        return every
    if term.operator in ("=", "!="):
        code = {_code(plan, term.value, levels, term)}
        return code if term.operator == "=" else every - code
    if term.operator == "set":
        return {_code(plan, value, levels, term) for value in term.value}
    if not isinstance(plan.field, Ordinal):
        raise CodecError(
            f"the condition {term.words!r} needs an order, {plan.name!r} has labels: use =, != or in {{u, v}}"
        )
    low, high, (left, right) = 0, len(levels) - 1, (True, True)
    if term.operator == "in":
        low, high = _code(plan, term.value.low, levels, term), _code(plan, term.value.high, levels, term)
        left, right = CLOSED[term.value.closed]
    elif term.operator[0] == "<":
        high, right = _code(plan, term.value, levels, term), term.operator == "<="
    else:
        low, left = _code(plan, term.value, levels, term), term.operator == ">="
    return set(range(low + (not left), high + right))


def _code(plan: ColumnPlan, value: Any, levels: Sequence[str], term: Term) -> int:
    tries = [str(value), bare(value)]
    if isinstance(value, float) and value.is_integer():
        tries.append(str(int(value)))
    for text in tries:
        if text in levels:
            return levels.index(text)
    if plan.how == "boolean":
        folded = [level.lower() for level in levels]
        if tries[1].lower() in folded:
            return folded.index(tries[1].lower())
    from difflib import get_close_matches

    shown = [*get_close_matches(tries[1], levels, 3, 0.5), *levels][:8]
    raise CodecError(
        f"the condition {term.words!r} names {tries[1]!r}, which was never seen in {plan.name!r}: "
        f"expected one of {', '.join(map(repr, dict.fromkeys(shown)))}" + (", ..." if len(levels) > 8 else "")
    )


def _intervals(plan: ColumnPlan, term: Term) -> list[tuple[float, float]]:
    inf = math.inf
    if term.operator == "set":
        return join([_point(plan, value, term) for value in term.value])
    if term.operator == "in":
        (a, b), (c, d) = _point(plan, term.value.low, term), _point(plan, term.value.high, term)
        left, right = CLOSED[term.value.closed]
        return join([(a if left else _step(plan, b, 1), d if right else _step(plan, c, -1))])
    a, b = _point(plan, term.value, term)
    below, above = (-inf, _step(plan, a, -1)), (_step(plan, b, 1), inf)
    return {"=": [(a, b)], "!=": [below, above], "<": [below], "<=": [(-inf, b)], ">": [above], ">=": [(a, inf)]}[
        term.operator
    ]


def _point(plan: ColumnPlan, value: Any, term: Term) -> tuple[float, float]:
    text = bare(value)
    if text.lower() in ("inf", "+inf", "-inf"):
        return float(text), float(text)
    if plan.reading == "moment":
        form, zone = plan.form.get("form"), getattr(plan.type, "tz", None)
        known = moments.Form(**form) if form else None
        value = text if isinstance(value, str) else value
        low, high = moments.literal(value, known, plan.form["unit"], plan.name, zone)
        return float(low), float(high)
    try:
        number = float(text)
    except ValueError:
        raise CodecError(f"the condition {term.words!r} compares {plan.name!r}, a number, with {text!r}") from None
    return number, number


def _step(plan: ColumnPlan, v: float, direction: int) -> float:
    """The next value of the column's grid strictly above or below v."""
    if not math.isfinite(v):
        return v
    scale = 10.0**plan.decimals
    t = v * scale
    near = round(t) if abs(t - round(t)) < 1e-6 else math.floor(t) if direction > 0 else math.ceil(t)
    return (near + direction) / scale


# -- sets of sets ------------------------------------------------------------------------------------------------------


def join(intervals: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The intervals that are not empty, in order, those that overlap made one."""
    out: list[tuple[float, float]] = []
    for low, high in sorted(interval for interval in intervals if interval[0] <= interval[1]):
        if out and low <= out[-1][1]:
            out[-1] = (out[-1][0], max(high, out[-1][1]))
        else:
            out.append((low, high))
    return out


def both(a: Allowed, b: Allowed) -> Allowed:
    """The intersection of two sets."""
    pairs = [(max(p, r), min(q, s)) for p, q in a.intervals for r, s in b.intervals]
    return Allowed(tuple(join(pairs)), a.codes & b.codes, a.missing and b.missing)


def empty(allowed: Allowed) -> bool:
    """Whether the set holds nothing."""
    return not (allowed.intervals or allowed.codes or allowed.missing)


def absent(stored: np.ndarray) -> np.ndarray:
    """Which stored numbers or moments are missing."""
    return stored == MISSING if stored.dtype.kind == "i" else np.isnan(stored)


def holds(plan: ColumnPlan, allowed: Allowed, stored: np.ndarray) -> np.ndarray:
    """Which stored values of a column lie in the set."""
    if plan.reading in ("levels", "key"):
        return np.isin(stored, list(allowed.codes)) | ((stored < 0) & allowed.missing)
    gone = absent(stored)
    inside = np.zeros(len(stored), bool)
    slack = 1e-6 / 10.0**plan.decimals
    for low, high in allowed.intervals:
        inside |= (stored >= low - slack) & (stored <= high + slack)
    return np.where(gone, allowed.missing, inside)


def set_of(plan: ColumnPlan, stored: np.ndarray) -> Allowed:
    """The set of some stored values of a column."""
    if plan.reading == "levels":
        return Allowed(codes=frozenset(int(v) for v in stored if v >= 0), missing=bool((stored < 0).any()))
    gone = absent(stored)
    return Allowed(tuple(join([(float(v), float(v)) for v in stored[~gone]])), missing=bool(gone.any()))
