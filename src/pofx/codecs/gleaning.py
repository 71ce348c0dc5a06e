"""The codec of a table too large for memory: learned from a sample of its rows, then held against every row.

A uniform sample of m = 2^18 rows gives every quantile and every share of a column to within

    e = sqrt(log(2 / d) / (2 m)) = 0.0038 with probability 1 - d = 0.999

(Dvoretzky, Kiefer, Wolfowitz 1956; Massart 1990). What a sample cannot tell, one pass over all rows does: a cell that
contradicts a plan (a text among numbers, a missing cell in a column without one, a level, a number beyond the extremes,
a dependency that is broken) brings its row into the sample, and the codec is learned again; the shares of levels are
counted over all rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import CodecError
from ..fields import Category
from ..progress import Tick, silent
from .columns import ColumnPlan
from .rules import all_breaks
from .spool import Spool, read_rows
from .table import TableCodec
from .tabular_io import notes_of

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE = 2**18
ROUNDS = 5  # times that the codec is learned: a text among numbers makes levels of these, which are then looked for
FOUND = 100_000  # rows that one round brings into the sample


@dataclass
class Seen:
    """What a pass over the rows found: rows that contradict, the counts of levels, the rows of the extremes."""

    rows: set[int] = field(default_factory=set)
    counts: dict[str, np.ndarray] = field(default_factory=dict)  # of each code from -1 on
    ends: dict[str, list[tuple[float, int]]] = field(default_factory=dict)  # (coordinate, row) of least and greatest

    def extreme(self, name: str, t: np.ndarray, rows: np.ndarray, sample: tuple[float, float]) -> None:
        """Notes the least and the greatest of a block where they lie beyond the sample's."""
        low, high = self.ends.setdefault(name, [(sample[0], -1), (sample[1], -1)])
        i, j = int(t.argmin()), int(t.argmax())
        self.ends[name] = [
            (t[i], int(rows[i])) if t[i] < low[0] else low,
            (t[j], int(rows[j])) if t[j] > high[0] else high,
        ]

    def found(self) -> np.ndarray:
        """The numbers of the rows to add to the sample."""
        ends = {row for pair in self.ends.values() for _, row in pair if row >= 0}
        return np.array(sorted(self.rows)[:FOUND] + sorted(ends - self.rows), np.int64)


def sample_of(part: np.ndarray, seed: int, most: int | None = None) -> np.ndarray:
    """At most so many (SAMPLE) of the row numbers of a part, drawn without replacement, in rising order."""
    return np.sort(np.random.default_rng(seed).choice(part, min(most or SAMPLE, len(part)), replace=False))


def glean(
    spool: Spool,
    part: np.ndarray,
    sample: np.ndarray,
    *,
    fields: Mapping[str, Any] | None = None,
    condition: Sequence[str] = (),
    missing: str = "state",
    constraints: Sequence[str] | str | None = "found",
    dirty: str = "clean",
    masks: bool = False,
    tick: Tick = silent,
) -> TableCodec:
    """The codec of the rows of a part, from a sample of them, both by their rising numbers; with the words of
    `TableCodec.learn`. `tick` hears of every row that was looked at.
    """
    for _ in range(ROUNDS):
        codec = TableCodec.learn(
            spool.take(sample), fields=fields, condition=condition, like=spool.kind, missing=missing,
            constraints=constraints, dirty=dirty, masks=masks,
        )  # fmt: skip
        seen = _held_against(codec, spool, part, tick)
        more = np.setdiff1d(seen.found(), sample)
        if not len(more):
            break
        sample = np.union1d(sample, more)
    return _weighed(codec, seen, len(part))


def surveyed(
    source: Any, reading: Mapping[str, Any], fields: Mapping[str, Any] | None
) -> tuple[TableCodec, dict[str, str]]:
    """(the codec of all rows of a source, what there is to say of how it was read)."""
    rows, container = read_rows(source, reading)
    if isinstance(rows, Spool):
        every = np.arange(len(rows))
        return glean(rows, every, sample_of(every, 0), fields=fields), {}
    return TableCodec.learn(rows, fields=fields, like=container), notes_of(rows)


def _held_against(codec: TableCodec, spool: Spool, part: np.ndarray, tick: Tick) -> Seen:
    seen = Seen()
    for first, table in spool.blocks(part):
        at = np.searchsorted(part, first)
        rows = part[at : at + table.num_rows]
        stored: dict[str, np.ndarray] = {}
        for plan in codec.plans:
            if plan.reading in ("key", "blank"):
                continue
            try:
                x = stored[plan.name] = plan.parse(table[plan.name])
            except CodecError:
                seen.rows.add(int(rows[_first_bad(plan, table[plan.name])]))
                continue
            _look(seen, plan, x, table, rows)
        for rule in codec.dependencies:
            if rule.source in stored and rule.target in stored:
                x, y = stored[rule.source], stored[rule.target]
                known = rule.known(x)
                seen.rows.update(rows[np.flatnonzero(known & (rule.apply(x) != y))[:1]].tolist())
                seen.rows.update(rows[_first_of_each(x, ~known)].tolist())
        for plan in codec.plans:
            if plan.how == "duplicate" and {plan.name, plan.source} <= stored.keys():
                apart = stored[plan.name] != stored[str(plan.source)]
                both = codec.whole.field(plan.name)
                apart &= ~(both.absent(stored[plan.name]) & both.absent(stored[str(plan.source)]))
                seen.rows.update(rows[np.flatnonzero(apart)[:1]].tolist())
        _constrained(seen, codec, stored, rows)
        tick(table.num_rows)
    return seen


def _constrained(seen: Seen, codec: TableCodec, stored: dict[str, np.ndarray], rows: np.ndarray) -> None:
    """Rows that break a constraint which the sample suggests, and combinations of a group that it lacks."""
    held = codec.held
    if not held.members <= stored.keys():
        return
    found = [rule for rule in held.found if rule.kind != "unique"]
    if found:
        seen.rows.update(rows[np.flatnonzero(all_breaks(found, held.plans, stored))[:1]].tolist())
    hidden = held.encode(stored) if held.groups else {}
    for group in held.groups:
        strange = np.flatnonzero(hidden[group.hidden.name] == len(group.hidden.levels))
        members = np.stack([stored[name][strange] for name in group.images], 1)
        first = np.unique(members, axis=0, return_index=True)[1] if len(strange) else strange
        seen.rows.update(rows[strange[first]].tolist())


def _look(seen: Seen, plan: ColumnPlan, x: np.ndarray, table: "pa.Table", rows: np.ndarray) -> None:
    """One block of one column."""
    if plan.reading == "levels":
        some = len(plan.levels)
        counts = np.bincount(x + 1, minlength=some + 2)
        seen.counts[plan.name] = seen.counts.get(plan.name, 0) + counts
        gone = x < 0
        if counts[some + 1]:
            strange = np.flatnonzero(x == some)
            texts = table[plan.name].take(strange).to_pylist()
            seen.rows.update(
                int(rows[strange[i]]) for i in {text: i for i, text in reversed([*enumerate(texts)])}.values()
            )
    elif plan.field is not None:
        gone = plan.field.absent(x)
        if not gone.all():
            first = int(plan.field.has_missing)
            t = plan.field.cell(x[~gone])
            seen.extreme(plan.name, t, rows[~gone], (plan.field.left[first], plan.field.right[-1]))
    unseen = gone & (plan.share == 0.0)
    seen.rows.update(rows[np.flatnonzero(unseen)[:1]].tolist())


def _first_of_each(x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Where the values under the mask occur first."""
    where = np.flatnonzero(mask)
    return where[np.unique(x[where], return_index=True)[1]]


def _first_bad(plan: ColumnPlan, column: Any) -> int:
    """The first cell that cannot be read, of a column that has one."""

    def reads(count: int) -> bool:
        try:
            plan.parse(column.slice(0, count))
        except CodecError:
            return False
        return True

    return _least(lambda count: not reads(count), len(column)) - 1


def _least(holds: Callable[[int], bool], high: int) -> int:
    """The least count from 1 to high of which it holds, as it does of all above."""
    low = 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _weighed(codec: TableCodec, seen: Seen, rows: int) -> TableCodec:
    """The codec with the shares of levels as counted, and the number of rows that they are of."""
    for plan in codec.plans:
        counts = seen.counts.get(plan.name)
        if counts is not None:
            plan.share = float(counts[0]) / rows
        if plan.field is None:
            continue
        new: dict[str, Any] = {"rows": rows}
        if isinstance(plan.field, Category) and counts is not None and len(counts) == len(plan.field.levels) + 2:
            of = counts[0 if plan.field.has_missing else 1 : -1]
            new = {"rows": rows if not plan.field.unknown else int(of.sum()), "mass": of / max(of.sum(), 1)}
        plan.field = replace(plan.field, **new)
    return TableCodec(codec.plans, codec.dependencies, codec.schema, rows, codec.condition, codec.like, codec.held)
