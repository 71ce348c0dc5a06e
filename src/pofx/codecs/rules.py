"""Constraints as users write them, and which rows break one.

    start <= end        net < gross         a >= b      orders of numbers, or of moments
    total = net + tax                                   sums of numbers
    unique id                                           each value once
    fixed country, city                                 only combinations that were seen
    one of is_red, is_green, is_blue                    exactly one of them is 1 (true, yes)
    age in [0, 120]     age >= 0                        ranges of numbers, or of moments

Names with odd characters stand in backticks. A cell that is missing breaks no rule.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import CodecError, SpecError
from ..field import MISSING
from ..fields import Number
from ..orders import Line, Order, connected, sorted_names
from ..spec import Columns
from . import conditions
from .columns import ColumnPlan

HELP = "a <= b, a < b, total = a + b, unique a, fixed a, b, one of a, b, c, a in [x, y]"
YES = ("true", "yes", "t", "y", "1", "1.0")
MOST = 0.05  # share of rows that may break a rule which is learned from the others
_PLAIN = re.compile(r"[^\W\d]\w*")
_COMPARED = re.compile(r"\s*(<=|>=|<|>|=)\s*(.*)", re.S)


@dataclass(frozen=True)
class Rule:
    """One constraint: its kind (order, sum, unique, fixed, one, range), its columns and its words.

    names: of an order the lower and the higher column, of a sum the total and its parts. text, term: of a range, what
    the user wrote and the condition that it is.
    """

    kind: str
    names: tuple[str, ...]
    strict: bool = False
    text: str = ""
    term: conditions.Term | None = field(default=None, compare=False)

    @property
    def words(self) -> str:
        """The rule as a user would write it."""
        names = [quoted(name) for name in self.names]
        if self.kind == "order":
            return f"{names[0]} {'<' if self.strict else '<='} {names[1]}"
        if self.kind == "sum":
            return f"{names[0]} = {' + '.join(names[1:])}"
        if self.kind == "range":
            return self.text
        return f"{'one of' if self.kind == 'one' else self.kind} {', '.join(names)}"

    @property
    def order(self) -> Order:
        """The order that it is."""
        return Order(self.names[0], self.names[1], self.strict)


def quoted(name: str) -> str:
    """The name as it stands in a rule."""
    return name if _PLAIN.fullmatch(name) else conditions.ticks(name)


def read_rules(texts: str | Sequence[str] | None, names: Sequence[str]) -> tuple[list[Rule], bool]:
    """(rules, whether others are looked for): of "found", "none", one text or several, "found" perhaps among them.

    Raises CodecError for columns that do not exist, SpecError for texts that cannot be read and for rules that
    contradict one another.
    """
    if texts is None or texts == "none":
        return [], False
    texts = [texts] if isinstance(texts, str) else list(texts)
    if odd := [text for text in texts if not isinstance(text, str)]:
        raise SpecError(f"expected constraints as texts, {HELP}; got {odd[0]!r}")
    rules = list(dict.fromkeys(_rule(text, names) for text in texts if text.strip() != "found"))
    _agree(rules)
    return rules, "found" in [text.strip() for text in texts]


def _rule(text: str, names: Sequence[str]) -> Rule:
    for word, kind, least in (("unique", "unique", 1), ("fixed", "fixed", 2), ("one of", "one", 2)):
        head = re.match(rf"\s*{word}\s+(?=\S)", text)
        if head and not any(text.strip() == name for name in names):
            found = _names(text[head.end() :], ",", text, names)
            if len(set(found)) < max(least, len(found)) or (kind == "unique" and len(found) > 1):
                wanted = "one column" if kind == "unique" else "two different columns or more"
                raise SpecError(f"expected {wanted} in the constraint {text!r}, got {', '.join(map(repr, found))}")
            return Rule(kind, tuple(found))
    name, rest = _name(text, text, names)
    if re.match(r"\s*in\b", rest):
        return Rule("range", (name,), text=text.strip(), term=conditions.terms([text], names)[0])
    compared = _COMPARED.fullmatch(rest)
    if compared is None:
        raise SpecError(f"the constraint {text!r} cannot be read: write {HELP}")
    operator, right = compared.groups()
    if operator == "=":
        parts = _names(right, "+", text, names)
        if len(parts) < 2 or len({name, *parts}) <= len(parts):
            raise SpecError(f"expected a total and two other columns or more in the constraint {text!r}: {HELP}")
        return Rule("sum", (name, *parts))
    if re.match(r"[-+.\d\"']", right) and not any(right.startswith(other) for other in names):
        return Rule("range", (name,), text=text.strip(), term=conditions.terms([text], names)[0])
    other, left = _name(right, text, names)
    if left.strip() or other == name:
        raise SpecError(f"the constraint {text!r} cannot be read: write {HELP}")
    pair = (name, other) if operator[0] == "<" else (other, name)
    return Rule("order", pair, strict=len(operator) == 1)


def _names(text: str, between: str, whole: str, names: Sequence[str]) -> list[str]:
    found, rest = [], text
    while True:
        name, rest = _name(rest, whole, names)
        found.append(name)
        rest = rest.strip()
        if not rest:
            return found
        if not rest.startswith(between):
            raise SpecError(f"the constraint {whole!r} cannot be read: write {HELP}")
        rest = rest[1:]


def _name(text: str, whole: str, names: Sequence[str]) -> tuple[str, str]:
    """(the column that the text begins with, what follows)."""
    if in_ticks := conditions.ticked(text):
        if in_ticks[0] not in names:
            raise conditions.unknown(in_ticks[0], names, f"constraint {whole!r}")
        return in_ticks
    bare = text.strip()
    for name in sorted(names, key=len, reverse=True):
        rest = bare[len(name) :]
        if bare.startswith(name) and (not rest or rest[0].isspace() or rest[0] in ",+<>="):
            return name, rest
    guess = re.match(r"[^<>=,+]*", bare)
    word = guess[0].strip() if guess else ""
    raise conditions.unknown(re.split(r"\s+in\b", word)[0], names, f"constraint {whole!r}")


def _agree(rules: Sequence[Rule]) -> None:
    """Raises SpecError for rules that contradict one another, and for a column that one decides and another names."""
    sorted_names(rule.order for rule in rules if rule.kind == "order")
    sums_in_order(rules)
    for rule in rules:
        decided = (
            rule.names[:1] if rule.kind == "sum" else rule.names if rule.kind in ("one", "fixed", "unique") else ()
        )
        for other in rules:
            nested = rule.kind == other.kind == "sum"
            both = [name for name in decided if name in (other.names[:1] if nested else other.names)]
            if other is not rule and both:
                raise SpecError(
                    f"expected {both[0]!r} in one of {rule.words!r} and {other.words!r}, since the first decides it: "
                    "leave one out"
                )


def sums_in_order(rules: Iterable[Rule]) -> list[Rule]:
    """The sums among rules, each behind those whose totals are parts of it; SpecError where they go in a circle."""
    sums = {rule.names[0]: rule for rule in rules if rule.kind == "sum"}
    pairs = [Order(part, total) for total, rule in sums.items() for part in rule.names[1:]]
    return [sums[name] for name in sorted_names(pairs) if name in sums]


def connections(rules: Iterable[Rule]) -> list[list[Order]]:
    """The orders among rules, those that share columns together."""
    orders = [rule.order for rule in rules if rule.kind == "order"]
    return [[order for order in orders if order.low in part] for part in connected(orders)]


def line_of(rules: Iterable[Rule], plans: Mapping[str, ColumnPlan]) -> Line:
    """The orders among rules, and the fields that they are between."""
    orders = [rule.order for rule in rules if rule.kind == "order"]
    return Line(orders, {name: _field(plans[name]) for order in orders for name in (order.low, order.high)})


# -- which rows break a rule -------------------------------------------------------------------------------------------


def breaks(rule: Rule, plans: Mapping[str, ColumnPlan], x: Columns) -> np.ndarray:
    """The rows, bool (n,), that break a rule; x: stored values of its columns."""
    if rule.kind == "order":
        return line_of([rule], plans).broken(x)
    if rule.kind == "sum":
        rest, whole, there = left_over(rule, plans, x)
        return whole & there & (rest != 0)
    if rule.kind == "range" and rule.term is not None:
        plan = plans[rule.names[0]]
        allowed = conditions.allowed_by(plan, rule.term)
        v = x[plan.name]
        return ~conditions.holds(plan, allowed, v) & ~conditions.absent(v)
    if rule.kind == "one":
        hot = sum(is_hot(plans[name], x[name]).astype(np.int64) for name in rule.names)
        gone = np.any([gaps(plans[name], x[name]) for name in rule.names], 0)
        return np.asarray((hot > 1) | ((hot == 0) & ~gone))
    return np.zeros(len(x[rule.names[0]]), bool)


def left_over(rule: Rule, plans: Mapping[str, ColumnPlan], x: Columns) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(total - the sum of the parts that are there, in steps of the finest grid; no part is missing; the total is
    there), int64 and bool (n,).
    """
    scale = finest(rule.names, plans)
    cells = {name: in_steps(plans[name], x[name], scale) for name in rule.names}
    gone = {name: gaps(plans[name], x[name]) for name in rule.names}
    total, *parts = rule.names
    rest = cells[total] - sum(cells[name] for name in parts)
    return rest, ~np.any([gone[name] for name in parts], 0), ~gone[total]


def finest(names: Iterable[str], plans: Mapping[str, ColumnPlan]) -> int:
    """The decimals of the finest grid among columns."""
    return max(plans[name].decimals for name in names)


def reach(plan: ColumnPlan) -> float:
    """The largest size of a number that was seen, in steps of its grid."""
    field = _field(plan)
    return float(
        max(abs(field.left[-1] + field.base), abs(field.left[0] + field.base), abs(field.right[-1] + field.base))
    )


def in_steps(plan: ColumnPlan, v: np.ndarray, decimals: int) -> np.ndarray:
    """Stored numbers as steps of 10^-decimals, int64; zero where missing."""
    v = np.where(gaps(plan, v), 0, v)
    if v.dtype.kind == "f":
        v = np.round(v * 10.0**plan.decimals).astype(np.int64)
    return v * np.int64(10 ** (decimals - plan.decimals))


def number(cells: np.ndarray, decimals: int, there: np.ndarray, whole: bool | None = None) -> np.ndarray:
    """Steps of 10^-decimals as stored numbers."""
    if whole if whole is not None else not decimals:
        return np.where(there, cells, MISSING).astype(np.int64)
    return np.where(there, cells / 10.0**decimals, np.nan)


def gaps(plan: ColumnPlan, v: np.ndarray) -> np.ndarray:
    """Which stored values are missing."""
    return v < 0 if plan.reading in ("levels", "key") else conditions.absent(v)


def is_hot(plan: ColumnPlan, v: np.ndarray) -> np.ndarray:
    """Which stored values of a column of a one-hot group say yes."""
    if plan.reading == "levels":
        return np.isin(v, [i for i, level in enumerate(plan.levels) if level.lower() in YES])
    return v == 1


def check_columns(rules: Iterable[Rule], plans: Mapping[str, ColumnPlan], x: Columns) -> None:
    """Raises SpecError for a rule whose columns have no such rule: an order of labels, a column that is not learned."""
    for rule in rules:
        for name in rule.names if rule.kind != "unique" else ():
            plan = plans[name]
            if name not in x and plan.how != "constant":
                raise SpecError(
                    f"the constraint {rule.words!r} needs {name!r}, which is not learned ({plan.why}): leave it out, "
                    "or say how the column is read (fields)"
                )
            if name not in x:
                raise SpecError(
                    f"the constraint {rule.words!r} needs values, {name!r} is always the same: leave it out"
                )
            wanted = {"order": ("number", "moment"), "range": ("number", "moment"), "sum": ("number",)}.get(rule.kind)
            if (wanted and plan.reading not in wanted) or plan.reading == "key":
                what = " or ".join({"number": "numbers", "moment": "dates"}[w] for w in wanted or ("number",))
                raise SpecError(
                    f"the constraint {rule.words!r} needs columns of {what}, {name!r} is read as {plan.how}: leave it "
                    "out, or say how the column is read (fields)"
                )
            if rule.kind == "one" and not two_valued(plan, x[name]):
                raise SpecError(
                    f"the constraint {rule.words!r} needs columns of 0 and 1, or of true and false, {name!r} is none"
                )
        if rule.kind == "sum":
            scale = finest(rule.names, plans)
            if plans[rule.names[0]].decimals < scale:
                raise SpecError(
                    f"the constraint {rule.words!r} needs a total on the grid of its parts, {rule.names[0]!r} has "
                    "fewer decimals: leave it out, or say how many it has (fields)"
                )
            if far := [n for n in rule.names if reach(plans[n]) * 10.0 ** (scale - plans[n].decimals) > 2.0**60]:
                raise SpecError(f"the constraint {rule.words!r} is on grids too far apart: {far[0]!r} is too coarse")
        if rule.kind == "order":
            zones = {getattr(plans[name].type, "tz", None) for name in rule.names}
            if len(zones) > 1:
                raise SpecError(f"the constraint {rule.words!r} needs moments of one time zone, got {zones}")
    line_of(rules, plans)


def two_valued(plan: ColumnPlan, v: np.ndarray) -> bool:
    """Whether a column is of 0 and 1, or of two words of which one says yes."""
    if plan.reading == "levels":
        return len(plan.levels) == 2 and sum(level.lower() in YES for level in plan.levels) == 1
    return bool(np.isin(v[~gaps(plan, v)], (0, 1)).all())


def _field(plan: ColumnPlan) -> Number:
    if not isinstance(plan.field, Number):
        raise CodecError(f"expected numbers or moments in {plan.name!r}, got {plan.how}")
    return plan.field


def all_breaks(rules: Sequence[Rule], plans: Mapping[str, ColumnPlan], x: Columns) -> np.ndarray:
    """The rows that break one of the rules, or an order that follows from several."""
    n = len(next(iter(x.values())))
    out = np.zeros(n, bool)
    for rule in rules:
        out |= breaks(rule, plans, x) if rule.kind != "unique" else False
    line = line_of(rules, plans)
    return out | line.broken(x) if line.orders else out
