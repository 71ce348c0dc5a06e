"""Constraints that the rows suggest, believed if they hold in every row and are no accident.

The accident is measured in nats, I = -log P(it holds in all rows | it is none), and must exceed 50 beside the logarithm
of the number of candidates:

    one of    columns of 0 and 1, three or more. One with k ones in n rows, put there at random, would fill exactly the
              rows that the others leave with probability 1 / C(n, k): I = log C(n, k), of every member.
    sum       total = a + b + ...: I = - sum log p(total), p its marginal law, over the rows in which a part and another
              one are not zero; of every part.
    order     a <= b of numbers, or of moments. Were they drawn apart from each other, a share q of the rows would break
              it: I = - n log(1 - q); and q must be a tenth or more, as only ranges that overlap make an order a rule.
              It is strict where ties, were they drawn apart, would be expected likewise.
    fixed     two columns of labels, neither a function of the other. Were they drawn apart, the combinations never seen
              would be absent with I = n * their mass; half of all combinations or more must be, and each that was seen
              must have been seen ten times: with none seen once, Good and Turing's estimate of what is unseen is zero.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import combinations

import numpy as np

from ..errors import SpecError
from ..fields import Datetime
from ..orders import NANOSECONDS, Order, connected
from ..spec import Columns
from . import rules as words
from .columns import ColumnPlan
from .dependencies import EVIDENCE, LEVELS, SAMPLE
from .rules import Rule

Plans = Mapping[str, ColumnPlan]
COLUMNS, SWITCHES = 60, 400  # numbers, or labels, and columns of 0 and 1 that rules are sought among
ROWS = 100  # with all cells there, that an order or a sum needs
APART = 0.1  # share of rows that must break an order, were its columns drawn apart
OFTEN = 10  # times that a fixed combination is seen
LONGEST = 60  # parts of a sum


def look_for(plans: Plans, x: Columns, fixed: set[str]) -> list[Rule]:
    """The rules that hold in every row and are no accident; none of columns that are `fixed`, as given rules, the
    condition and the user's words about fields make them.
    """
    free = [name for name, plan in plans.items() if plan.modelled and plan.reading != "key" and name not in fixed]
    out: list[Rule] = []
    for search in (_groups, _sums, _pairs):
        out += search(plans, x, free)
        free = [name for name in free if not any(name in _decided(rule) for rule in out)]
    return out + _orders(plans, x, free)


def _decided(rule: Rule) -> tuple[str, ...]:
    return rule.names if rule.kind in ("one", "fixed") else rule.names[:1] if rule.kind == "sum" else ()


# -- one-hot groups ----------------------------------------------------------------------------------------------------


def _groups(plans: Plans, x: Columns, free: Sequence[str]) -> list[Rule]:
    two = [name for name in free if _is_switch(plans[name], x[name])][:SWITCHES]
    if len(two) < 3:
        return []
    hot = np.stack([words.is_hot(plans[name], x[name]) for name in two], 1)
    some, n, counts = hot[_spread(len(hot))], len(hot), hot.sum(0)
    used: set[int] = set()
    out, need = [], EVIDENCE + 2 * math.log(len(two))
    for i in range(len(two)):
        group, covered = [i], some[:, i].copy()
        for j in range(i + 1, len(two)):
            if not {i, j} & used and not (covered & some[:, j]).any():
                group.append(j)
                covered |= some[:, j]
        if len(group) < 3 or not covered.all() or not all(_choices(n, int(counts[j])) >= need for j in group):
            continue
        if (hot[:, group].sum(1) == 1).all():
            out.append(Rule("one", tuple(two[j] for j in group)))
            used |= set(group)
    return out


def _spread(n: int) -> np.ndarray:
    """The numbers of SAMPLE rows among n, or of all."""
    return np.linspace(0, n - 1, min(n, SAMPLE)).astype(np.int64)


def _is_switch(plan: ColumnPlan, v: np.ndarray) -> bool:
    if words.gaps(plan, v).any() or plan.reading not in ("levels", "number"):
        return False
    return words.two_valued(plan, v) and 0 < words.is_hot(plan, v).sum() < len(v)


def _choices(n: int, k: int) -> float:
    """log C(n, k)."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


# -- sums --------------------------------------------------------------------------------------------------------------


def _sums(plans: Plans, x: Columns, free: Sequence[str]) -> list[Rule]:
    names = [n for n in free if plans[n].reading == "number" and plans[n].how != "angle" and not _thin(plans[n], x[n])]
    names = names[:COLUMNS]
    scale = words.finest(names, plans) if len(names) >= 3 else 0
    names = [n for n in names if words.reach(plans[n]) * 10.0 ** (scale - plans[n].decimals) < 2.0**53]
    if len(names) < 3:
        return []
    some = {name: x[name][_spread(len(x[name]))] for name in names}
    there = ~np.any([words.gaps(plans[name], some[name]) for name in names], 0)
    if there.sum() < ROWS:
        return []
    cells = {name: words.in_steps(plans[name], some[name], scale)[there] for name in names}
    out: list[Rule] = []
    for total, parts in sorted(_candidates(cells), key=lambda pair: len(pair[1])):
        rule = Rule("sum", (total, *sorted(parts, key=names.index)))
        coarse = plans[total].decimals < words.finest(parts, plans)
        if coarse or total in {rule.names[0] for rule in out} or _closes(rule, out):
            continue
        if not words.breaks(rule, plans, x).any() and _sum_holds(plans, x, rule, len(names)):
            out.append(rule)
    return words.sums_in_order(out)


def _thin(plan: ColumnPlan, v: np.ndarray) -> bool:
    return bool(words.gaps(plan, v).mean() > 0.2)


def _candidates(cells: Columns) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(total, parts) that agree in a random linear hash of some rows: two to four parts, or neighbours in a row."""
    weight = np.random.default_rng(0).integers(-(2**62), 2**62, len(next(iter(cells.values()))))
    names = list(cells)
    with np.errstate(over="ignore"):
        hash_of = {name: int((cells[name] * weight).sum()) % 2**64 for name in names}
    by_hash = {h: name for name, h in hash_of.items()}
    pairs = {(hash_of[a] + hash_of[b]) % 2**64: (a, b) for a, b in combinations(names, 2)}
    for total in names:
        left = {(hash_of[total] - h) % 2**64: parts for h, parts in pairs.items() if total not in parts}
        for h, parts in left.items():
            if h == 0:
                yield total, parts
            elif h in by_hash and by_hash[h] not in (total, *parts):
                yield total, (*parts, by_hash[h])
            elif h in pairs and not {total, *parts} & set(pairs[h]):
                yield total, (*parts, *pairs[h])
    for i in range(len(names)):
        run = 0
        for j in range(i, min(len(names), i + LONGEST)):
            run = (run + hash_of[names[j]]) % 2**64
            if j - i >= 4 and run in by_hash and by_hash[run] not in names[i : j + 1]:
                yield by_hash[run], tuple(names[i : j + 1])


def _closes(rule: Rule, others: Sequence[Rule]) -> bool:
    """Whether the rule says what others say the other way round: its columns are those of one of them."""
    return any(set(rule.names) <= set(other.names) or set(other.names) <= set(rule.names) for other in others)


def _sum_holds(plans: Plans, x: Columns, rule: Rule, count: int) -> bool:
    total, *parts = rule.names
    there = ~np.any([words.gaps(plans[name], x[name]) for name in rule.names], 0)
    values, at, counts = np.unique(x[total][there], return_inverse=True, return_counts=True)
    surprise = -np.log(counts / counts.sum())[at]
    some = np.stack([x[name][there] != 0 for name in parts], 1)
    together = some & (some.sum(1) >= 2)[:, None]
    need = EVIDENCE + 4 * math.log(count)
    return len(values) > 2 and bool((surprise @ together >= need).all())


# -- fixed combinations ------------------------------------------------------------------------------------------------


def _pairs(plans: Plans, x: Columns, free: Sequence[str]) -> list[Rule]:
    labels: dict[str, np.ndarray] = {}
    for name in free:
        if plans[name].reading == "levels" and 3 <= len(plans[name].levels) <= LEVELS and len(labels) < COLUMNS:
            labels[name] = x[name] + 1
    need = EVIDENCE + 2 * math.log(max(len(labels), 1))
    out: list[Rule] = []
    for a, b in combinations(labels, 2):
        if any({a, b} & set(rule.names) for rule in out):
            continue
        rows = _spread(len(labels[a]))
        if (_table(labels[a][rows], labels[b][rows]) == 0).mean() < 0.5:  # all rows fill more of it than some do
            continue
        counts = _table(labels[a], labels[b])
        blank, apart = counts == 0, counts.sum(1)[:, None] * counts.sum(0)[None] / counts.sum()
        if blank.mean() >= 0.5 and counts[~blank].min() >= OFTEN and apart[blank].sum() >= need:
            out.append(Rule("fixed", (a, b)))
    return out


def _table(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How often each pair of codes occurs, those that occur at all."""
    size = int(b.max()) + 1
    counts = np.bincount(a.astype(np.int64) * size + b, minlength=(int(a.max()) + 1) * size).reshape(-1, size)
    return counts[counts.any(1)][:, counts.any(0)]


# -- orders ------------------------------------------------------------------------------------------------------------


def _orders(plans: Plans, x: Columns, free: Sequence[str]) -> list[Rule]:
    out: list[Order] = []
    for kind in ("number", "moment"):
        names = [n for n in free if plans[n].reading == kind and plans[n].how != "angle"][:COLUMNS]
        line = {name: _on_line(plans[name], x[name]) for name in names}
        for a, b in combinations(names, 2):
            if getattr(plans[a].type, "tz", None) == getattr(plans[b].type, "tz", None):
                order = _order(line, a, b) or _order(line, b, a)
                out += [order] if order is not None else []
    rules: list[Rule] = []
    for one in _reduced(out):
        rule = Rule("order", (one.low, one.high), one.strict)
        with suppress(SpecError):  # grids that cannot be compared
            words.line_of([*rules, rule], plans)
            rules.append(rule)
    return rules


def _order(line: Columns, low: str, high: str) -> Order | None:
    a, b = line[low], line[high]
    rows = _spread(len(a))
    if (a[rows] > b[rows]).any() or (a > b).any():
        return None
    there = ~(np.isnan(a) | np.isnan(b))
    a, b = a[there], np.sort(b[there])
    if len(a) < ROWS:
        return None
    broken = float(np.searchsorted(b, a, side="left").mean() / len(b))
    ties = float(np.searchsorted(b, a, side="right").mean() / len(b)) - broken
    need = EVIDENCE + 2 * math.log(len(line))
    if broken < APART or -len(a) * math.log1p(-min(broken, 1 - 1e-9)) < need:
        return None
    apart = -len(a) * math.log1p(-min(ties, 1 - 1e-9)) >= need
    return Order(low, high, strict=apart and not (line[low] == line[high]).any())


def _on_line(plan: ColumnPlan, v: np.ndarray) -> np.ndarray:
    """Numbers as they are, moments in nanoseconds, float64; NaN where missing."""
    step = NANOSECONDS[plan.field.unit] if isinstance(plan.field, Datetime) else 1
    return np.where(words.gaps(plan, v), np.nan, v.astype(np.float64) * step)


def _reduced(orders: Sequence[Order]) -> list[Order]:
    """The orders that do not follow from the others."""
    out = list(orders)
    for order in orders:
        rest = [other for other in out if other != order]
        if _follows(order, rest):
            out = rest
    return out


def _follows(order: Order, others: Sequence[Order]) -> bool:
    if not any({order.low, order.high} <= part for part in connected(others)):
        return False
    best = {order.low: False}  # the fields at or above the lower one, and whether strictly
    for _ in others:
        for other in others:
            if other.low in best:
                best[other.high] = best.get(other.high, False) or best[other.low] or other.strict
    return order.high in best and (best[order.high] or not order.strict)
