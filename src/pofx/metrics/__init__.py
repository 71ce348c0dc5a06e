"""Metrics by name: functions of a `Case`, on named arrays and the Spec, never on frames.

A file of this folder holds one metric, or one means that several metrics share (`distance`, `learner`, `interval`).
A metric answers with named `Answer`s, or raises `Skip` with the reason why it has none. Its rows come in an order of
their own (by hash), so that no answer depends on the order of a file, and every random choice follows `case.seed`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Self, TypeGuard, cast

import numpy as np

from ..errors import SpecError, Unsupported
from ..field import Field
from ..fields import Category
from ..spec import Columns, Spec

Better = Literal["higher", "lower", "one"]
Group = Literal["fidelity", "use", "likelihood", "privacy"]
StandIn = Literal["unseen", "half", "train", ""]


class Skip(Unsupported):
    """A metric has no answer for these data; the message is the reason."""


@dataclass(frozen=True)
class Case:
    """What a metric reads: synthetic rows `fake`, the rows a model learned from, and rows that it never saw.

    `log_probs` holds log p of each held-out row, in nats, by the name of the model. `draws` is the number of
    bootstrap draws behind an interval, none by default; `limit` bounds the rows a side of the slow metrics. `rules`
    gives, for each constraint of the table in words, the rows that break it.
    """

    spec: Spec
    fake: Columns
    train: Columns
    unseen: Columns | None = None
    target: str | None = None
    log_probs: Mapping[str, np.ndarray] | None = None
    seed: int = 0
    draws: int = 0
    limit: int | None = None
    rules: Mapping[str, Callable[[Columns], np.ndarray]] | None = None

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields of the rows, those of the condition last."""
        return (*self.spec.fields, *(self.spec.condition.fields if self.spec.condition else ()))

    @property
    def held_out(self) -> Columns:
        """The unseen rows of a case that has some."""
        return cast(Columns, self.unseen)

    def generator(self, key: int) -> np.random.Generator:
        """The random stream of this number."""
        return np.random.default_rng([self.seed, key])

    def at_most(self, n: int) -> int:
        """n, or the limit where that is less."""
        return min(n, self.limit or n)

    def ordered(self) -> Self:
        """The same case, its tables in the order of their rows' hashes."""
        sort = {name: _sorted(self.fields, getattr(self, name)) for name in ("fake", "train", "unseen")}
        return replace(self, **cast(Any, sort))


@dataclass(frozen=True)
class Answer:
    """One figure: its value, the standard error behind its interval where it has one, the rows it used, what it saw.

    `low` and `high` are the interval where it does not come from an error, `ceiling` the ceiling where it is known
    without unseen rows.
    """

    value: float
    error: float | None = None
    n: int = 0
    detail: dict[str, Any] = field(default_factory=dict)
    low: float | None = None
    high: float | None = None
    ceiling: float | None = None


Answers = dict[str, Answer]


@dataclass(frozen=True)
class Metric:
    """A metric and what evaluate needs to know of it.

    `kinds`: the kinds of field of which it needs at least one; `needs`: what a case must hold; `better`: by figure,
    which way is better; `says`: by figure, what it is in words; `stand_in`: the real rows that take the place of the
    synthetic ones to give the ceiling (the unseen rows, half of them with the other half as the unseen ones, the
    training rows, or none); `matched`: whether its value depends on the number of rows.
    """

    name: str
    function: Callable[[Case], Answers]
    group: Group
    kinds: tuple[str, ...]
    needs: tuple[str, ...]
    better: dict[str, Better]
    says: dict[str, str]
    stand_in: StandIn
    matched: bool
    unit: str

    @property
    def doc(self) -> str:
        """What the metric measures, in its own words."""
        return self.function.__doc__ or ""

    def __call__(self, case: Case) -> Answers:
        """The figures of a case.

        Raises Skip where the case lacks what the metric needs.
        """
        if not count(case.fake) or not count(case.train):
            raise Skip("there are no rows")
        if self.kinds and not any(f.kind in self.kinds for f in case.fields):
            raise Skip(f"no column is of a kind in {', '.join(self.kinds)}")
        for need in self.needs:
            if getattr(case, need) is None or (need == "unseen" and not count(case.unseen)):
                raise Skip(MISSING_WORDS[need])
        return self.function(case.ordered())


MISSING_WORDS = {
    "unseen": "no real rows were given that the model never saw: give a hold-out",
    "target": "no target column was named",
    "log_probs": "no likelihoods were given",
    "rules": "no constraint was given or found",
}
REGISTRY: dict[str, Metric] = {}


def metric(
    *,
    group: Group,
    better: dict[str, Better],
    says: dict[str, str],
    kinds: tuple[str, ...] = (),
    needs: tuple[str, ...] = (),
    stand_in: StandIn = "unseen",
    matched: bool = False,
    unit: str = "",
) -> Callable[[Callable[[Case], Answers]], Metric]:
    """Enters a function of a `Case` into the registry, under its own name."""

    def enter(function: Callable[[Case], Answers]) -> Metric:
        entry = Metric(function.__name__, function, group, kinds, needs, better, says, stand_in, matched, unit)
        return REGISTRY.setdefault(entry.name, entry)

    return enter


@cache
def _load() -> None:
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        import_module(f".{path.stem}", __name__)


def registry() -> dict[str, Metric]:
    """Every metric by name."""
    _load()
    return dict(REGISTRY)


# -- rows ------------------------------------------------------------------------------------------------------------


def count(x: Columns | None) -> int:
    """The number of rows."""
    return len(next(iter(x.values()))) if x else 0


def take(x: Columns, rows: np.ndarray) -> Columns:
    """These rows."""
    return {name: v[rows] for name, v in x.items()}


def some(x: Columns, n: int, generator: np.random.Generator) -> Columns:
    """n rows without replacement, or all in a new order where there are fewer."""
    return take(x, generator.permutation(count(x))[:n])


def is_level(field: Field) -> TypeGuard[Category]:
    """Whether a field holds one of several levels."""
    return isinstance(field, Category)


def codes(field: Field, *tables: Columns) -> list[np.ndarray]:
    """Integer codes from 0 of each table's column, the same value the same code; missing is -1; numbers in order."""
    columns = [x[field.name] for x in tables]
    if is_level(field):
        return [v.astype(np.int64) for v in columns]
    gone = [field.absent(v) for v in columns]
    _, inverse = np.unique(np.concatenate([v[~m] for v, m in zip(columns, gone, strict=True)]), return_inverse=True)
    parts = np.split(inverse, np.cumsum([int((~m).sum()) for m in gone])[:-1])
    out = [np.full(len(m), -1, np.int64) for m in gone]
    for code, part, m in zip(out, parts, gone, strict=True):
        code[~m] = part
    return out


def numbers(field: Field, x: Columns) -> np.ndarray:
    """A number's column as float64, missing NaN."""
    v = x[field.name]
    return np.where(field.absent(v), np.nan, v.astype(np.float64))


def hashes(fields: tuple[Field, ...], x: Columns) -> np.ndarray:
    """A 64-bit hash of each row."""
    out = np.zeros(count(x), np.uint64)
    for f in fields:
        v = x[f.name]
        v = np.where(np.isnan(v), np.nan, v + 0.0) if v.dtype.kind == "f" else v.astype(np.int64)
        out = _mix(out ^ _mix(np.ascontiguousarray(v).view(np.uint64)))
    return out


def _mix(a: np.ndarray) -> np.ndarray:
    a = (a + np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xBF58476D1CE4E5B9)
    a = (a ^ (a >> np.uint64(29))) * np.uint64(0x94D049BB133111EB)
    return a ^ (a >> np.uint64(32))


def _sorted(fields: tuple[Field, ...], x: Columns | None) -> Columns | None:
    return None if x is None else take(x, np.argsort(hashes(fields, x), kind="stable"))


def check(spec: Spec, **tables: Columns) -> None:
    """Raises SpecError where a table lacks a column of the Spec."""
    both = (*spec.fields, *(spec.condition.fields if spec.condition else ()))
    for name, x in tables.items():
        lacking = [f.name for f in both if f.name not in x]
        if lacking:
            raise SpecError(f"the {name} rows lack the columns {', '.join(map(repr, lacking))}: give the same columns")


def pairs_of(names: list[str]) -> Iterator[tuple[int, int]]:
    """All unordered pairs of positions."""
    return ((i, j) for i in range(len(names)) for j in range(i + 1, len(names)))
