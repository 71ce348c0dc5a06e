"""Rows of anybody's synthetic table brought to known margins, such as those of a census: what `pofx polish` does."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import store
from .codecs import conditions
from .codecs.columns import ColumnPlan
from .codecs.table import TableCodec
from .codecs.tabular_io import read_table, to_frame, with_column
from .codecs.writing import write_table
from .errors import CodecError, SpecError
from .progress import bar

if TYPE_CHECKING:
    import pyarrow as pa

ROUNDS = 1000  # of raking, at most
CLOSE = 1e-9  # a share that differs by less is met
SAID = 1e-3  # and one that differs by more, once rounds are over, is said
WORDS = '{"sex": {"f": 0.51, "m": 0.49}, "age": {"< 30": 41200, ">= 30": 58800}}'


@dataclass
class Margin:
    """Shares of disjoint sets of rows, `cells`; `which`: the cell of each row, -1 for none."""

    name: str
    cells: list[str]
    target: np.ndarray
    which: np.ndarray

    def shares(self, weight: np.ndarray) -> np.ndarray:
        """The share of each cell under weights of rows."""
        held = np.bincount(self.which[self.which >= 0], weight[self.which >= 0], len(self.cells))
        return held / max(float(weight.sum()), 1e-300)


@dataclass
class Polished:
    """rows: the frame, or how many were written; before, after: each cell's share, beside `target`.

    effective: (sum w)^2 / sum w^2 of the weights of raking: how many unweighted rows the weighted ones are worth.
    """

    rows: Any
    number: int
    cells: list[str]
    target: np.ndarray
    before: np.ndarray
    after: np.ndarray
    effective: float
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        off = [float(np.abs(found - self.target).max()) for found in (self.before, self.after)]
        worst = self.cells[int(np.abs(self.after - self.target).argmax())]
        lines = [
            f"{self.number:,} rows; the margins were off by {off[0]:.4f} at most, now by {off[1]:.4f} ({worst})",
            f"effective sample size {self.effective:,.0f}",
        ]
        return "\n".join(lines + self.notes)


def polish(
    source: Any,
    margins: Mapping[str, Any] | str | Path,
    *,
    rows: int | None = None,
    repeat: bool = False,
    weights: str | None = None,
    seed: int = 0,
    path: str | Path | None = None,
    quiet: bool = False,
) -> Polished:
    """Rows of a table chosen so that they have known margins, and are otherwise alike.

    Raking (Deming, Stephan 1940) finds the weights nearest to even ones, in relative entropy, under which each margin
    holds: p(others | margins) stays as far as they leave it free. Rows are then drawn by systematic sampling within the
    cells, so that a margin is met to about a row a cell.

    source: a file or frame; margins: of columns the shares of values, a level or a condition without the column's
    name, or the numbers of people, {"sex": {"f": 0.5, "m": 0.5}}; {"sex": {"f": {"region": {"north": 0.1}}}} are shares
    of both together; a path to JSON of it. Shares that sum to less than 1 leave the rest as it is. rows: how many to
    draw, by default as many as no row is needed twice for; more take rows several times, if `repeat` says so. weights:
    the name of a column; all rows are kept, with their weights, of mean 1. path: a file to write.

    Raises SpecError for margins that cannot be read, values that overlap, shares that sum to more than 1, a cell that
    no row lies in, and more rows than there are without `repeat`; CodecError for columns and values that are not there.
    """
    import pyarrow as pa

    _refuse_model(source)
    table, kind = read_table(source)
    asked = _read_margins(margins)
    columns = _Columns(table)
    found = [_margin(name, cells, columns) for name, cells in asked.items()]
    even = np.ones(table.num_rows)
    with bar("raking", ROUNDS, "round", quiet) as tick:
        weight, notes = _raked(found, tick)
    effective = float(weight.sum() ** 2 / np.square(weight).sum())
    if weights is not None:
        if weights in table.column_names:
            raise SpecError(
                f"expected a new column for the weights, got {weights!r}, which is there: take another name"
            )
        made, kept = with_column(table, weights, pa.array(weight / weight.mean())), weight
    else:
        count = _count(weight, rows, repeat)
        taken = _drawn(weight, count, found, np.random.default_rng(seed))
        made, kept = table.take(taken), np.bincount(taken, minlength=table.num_rows).astype(float)
    out = write_table([made], path) if path is not None else to_frame(made, kind)
    before, after = (np.concatenate([m.shares(w) for m in found]) for w in (even, kept))
    cells = [f"{m.name}: {cell}" for m in found for cell in m.cells]
    target = np.concatenate([m.target for m in found])
    return Polished(out, made.num_rows, cells, target, before, after, effective, notes)


def _refuse_model(source: Any) -> None:
    """Raises SpecError where a model file came in place of a table."""
    if not isinstance(source, str | Path) or Path(source).suffix != ".pofx" or not Path(source).is_file():
        return
    header, _ = store.read(source, "model")
    words = "; of a model with a privacy guarantee the margins must come from elsewhere than the rows it learned from"
    raise SpecError(
        f"expected a synthetic table to polish, got the model {str(source)!r}: sample it first"
        + (words if "privacy" in header["provenance"] else "")
    )


# -- margins -----------------------------------------------------------------------------------------------------------


def _read_margins(margins: Mapping[str, Any] | str | Path) -> Mapping[str, Any]:
    if isinstance(margins, str | Path):
        try:
            margins = json.loads(Path(margins).read_text())
        except OSError as error:
            raise SpecError(f"expected a file of margins, got {str(margins)!r}: {error.strerror}") from error
        except ValueError as error:
            raise SpecError(f"expected JSON such as {WORDS} in {str(margins)!r}: {error}") from error
    if (
        not isinstance(margins, Mapping)
        or not margins
        or not all(isinstance(v, Mapping) and v for v in margins.values())
    ):
        raise SpecError(f"expected margins such as {WORDS}, got {str(margins)[:80]!r}")
    return margins


def _leaves(name: str, cells: Mapping[Any, Any], so_far: tuple[tuple[str, Any], ...] = ()) -> Iterator[Any]:
    """(the conditions, the number) of each cell."""
    for key, value in cells.items():
        if isinstance(value, Mapping):
            for other, below in value.items():
                if not isinstance(below, Mapping):
                    raise SpecError(
                        f"expected shares of values of {other!r} within {name!r}, got {below!r}: as {WORDS}"
                    )
                yield from _leaves(other, below, (*so_far, (name, key)))
        elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise SpecError(f"expected a share or a number of 0 or more for {name} {key}, got {value!r}")
        else:
            yield (*so_far, (name, key)), float(value)


def _margin(name: str, cells: Mapping[Any, Any], columns: "_Columns") -> Margin:
    held = list(_leaves(name, cells))
    inside = [np.logical_and.reduce([columns.lies(column, key) for column, key in keys]) for keys, _ in held]
    words = [" & ".join(f"{column} {key}" if keys[1:] else str(key) for column, key in keys) for keys, _ in held]
    numbers = np.array([number for _, number in held])
    total = float(numbers.sum())
    if np.sum(inside, 0).max(initial=0) > 1:
        raise SpecError(
            f"expected values of {name!r} that exclude each other, got some that overlap: make them disjoint"
        )
    which = np.where(np.any(inside, 0), np.argmax(inside, 0), -1)
    if total > 1 + 1e-6 and ((numbers > 0) & (numbers < 1)).any():
        raise SpecError(f"expected shares of {name!r} that sum to 1, or numbers of people, got shares of {total:g}")
    if total > 1 + 1e-6:  # numbers of people
        numbers = numbers / total
    elif total < 1 - 1e-6:
        if not (which < 0).any():
            raise SpecError(f"expected shares of {name!r} that sum to 1, since no row has another value: got {total:g}")
        which, words, numbers = (
            np.where(which < 0, len(words), which),
            [*words, "others"],
            np.append(numbers, 1 - total),
        )
    count = np.bincount(which[which >= 0], minlength=len(words))
    if gone := [word for word, n, share in zip(words, count, numbers, strict=True) if not n and share > 0]:
        raise SpecError(
            f"expected a row for each part of {name!r}, got none for {', '.join(gone[:5])}: draw more rows, or under "
            "that condition"
        )
    return Margin(name, words, numbers, which)


class _Columns:
    """A table's columns, each read once."""

    def __init__(self, table: "pa.Table") -> None:
        self.table = table
        self.read: dict[str, tuple[ColumnPlan, np.ndarray]] = {}

    def lies(self, name: str, key: Any) -> np.ndarray:
        """Which rows have a value of a column, or fulfil a condition without its name."""
        if name not in self.read:
            self.read[name] = self._read(name)
        plan, stored = self.read[name]
        levels = plan.levels if plan.reading == "levels" else ()
        term = conditions.terms(conditions.about(name, key, levels), [name])[0]
        return conditions.holds(plan, conditions.allowed_by(plan, term), stored)

    def _read(self, name: str) -> tuple[ColumnPlan, np.ndarray]:
        import pyarrow as pa

        if name not in self.table.column_names:
            raise conditions.unknown(name, self.table.column_names)
        column = self.table[name]
        try:
            plan = TableCodec.learn(pa.Table.from_arrays([column], [name])).plan(name)
        except CodecError as error:
            raise CodecError(f"expected a column of values, got {name!r}: {error}") from error
        return plan, plan.parse(column)


# -- weights and rows --------------------------------------------------------------------------------------------------


def _raked(margins: Sequence[Margin], tick: Any) -> tuple[np.ndarray, list[str]]:
    """The weights of rows under which all margins hold, and what there is to say."""
    weight = np.ones(len(margins[0].which))
    off = math.inf
    for margin in margins:
        weight[margin.which < 0] = 0.0
    notes = (
        [f"{gone:,} rows lie in no part of the margins and are left out"] if (gone := int((weight == 0).sum())) else []
    )
    for _ in range(ROUNDS):
        for margin in margins:
            held = margin.shares(weight)
            if empty := [c for c, h, t in zip(margin.cells, held, margin.target, strict=True) if h <= 0 < t]:
                raise SpecError(
                    f"expected rows for all margins together, got none left for {margin.name!r}: "
                    f"{', '.join(empty[:5])}; shares of 0 elsewhere take them away: draw more rows"
                )
            ratio = np.divide(margin.target, held, out=np.zeros_like(held), where=held > 0)
            weight *= np.where(margin.which >= 0, ratio[margin.which], 0.0)
        tick(1)
        off = max(float(np.abs(margin.shares(weight) - margin.target).max()) for margin in margins)
        if off < CLOSE:
            break
    if off > SAID:
        notes.append(f"the margins contradict each other or the rows: they cannot hold to better than {off:.4f}")
    return weight, notes


def _count(weight: np.ndarray, rows: int | None, repeat: bool) -> int:
    """How many rows are drawn."""
    most = max(1, int(weight.sum() / weight.max() + 1e-9))
    if rows is not None and rows < 1:
        raise SpecError(f"expected a number of rows of at least 1, got {rows}")
    if rows is not None and rows > most and not repeat:
        raise SpecError(
            f"expected at most {most:,} rows, since more would take some twice, got {rows:,}: polish a larger table, "
            "or take rows several times (repeat)"
        )
    return rows if rows is not None else len(weight) if repeat else most


def _drawn(weight: np.ndarray, count: int, margins: Sequence[Margin], rng: np.random.Generator) -> np.ndarray:
    """Row numbers, as often as weights say, in their order in the table: systematic sampling along the cells."""
    order = np.lexsort([rng.random(len(weight)), *(margin.which for margin in margins)])
    upto = np.floor(np.cumsum(weight[order]) / weight.sum() * count + rng.random() * (1 - 1e-9))
    upto[-1] = count
    times = np.zeros(len(weight), int)
    times[order] = np.diff(upto, prepend=0).astype(int)
    return np.repeat(np.arange(len(weight)), times)
