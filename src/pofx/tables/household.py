"""Several tables as stored columns: what each row's parent, earlier sibling, children and referred rows are."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..codecs.moments import convert
from ..codecs.relations import Link, Relations, rows_of
from ..codecs.table import TableCodec
from ..errors import CodecError, PofxError
from ..field import MISSING, Field
from ..fields import Datetime, Integer
from ..spec import Columns
from ..split import parts

if TYPE_CHECKING:
    import pyarrow as pa

WHOLE = 1000  # rows below which a table that is only referred to is learned whole: a split would lose its entries
TRAIN, VALID, TEST = range(3)


@dataclass(frozen=True)
class Siblings:
    """Where rows stand among those of their parent: `rank` from 0 on, `before` the row of the earlier one, or -1."""

    rank: np.ndarray
    before: np.ndarray

    @classmethod
    def of(cls, at: np.ndarray, time: np.ndarray | None) -> "Siblings":
        """Of the parent's row of each row, -1 for those without, which are alone; in order of time, then of rows."""
        n = len(at)
        alone = np.where(at < 0, at.max(initial=0) + 1 + np.arange(n), at)
        order = np.lexsort((np.arange(n), np.zeros(n) if time is None else late(time), alone))
        first = np.r_[True, alone[order][1:] != alone[order][:-1]] if n else np.zeros(0, bool)
        start = np.maximum.accumulate(np.where(first, np.arange(n), 0)) if n else np.zeros(0, np.int64)
        rank, before = np.empty(n, np.int64), np.empty(n, np.int64)
        rank[order] = np.arange(n) - start
        before[order] = np.where(first, -1, np.r_[-1, order[:-1]])
        return cls(rank, before)


@dataclass
class Household:
    """The rows of several tables: stored columns `x`, numbers of `children`, the `parent` row by foreign key."""

    x: dict[str, Columns]
    children: dict[str, dict[str, np.ndarray]]
    parent: dict[tuple[str, str], np.ndarray]
    rows: dict[str, int]

    @classmethod
    def read(
        cls, tables: "Mapping[str, pa.Table]", relations: Relations, codecs: Mapping[str, TableCodec | None],
        parent: dict[tuple[str, str], np.ndarray] | None = None,
    ) -> "Household":  # fmt: skip
        """Of tables as they were read."""
        parent = rows_of(relations, tables) if parent is None else parent
        rows = {name: table.num_rows for name, table in tables.items()}
        x = {name: codec.encode(tables[name]) if codec else {} for name, codec in codecs.items()}
        return cls(x, counted(relations, parent, rows), parent, rows)

    def time(self, table: str, column: str | None) -> np.ndarray | None:
        """The moments that order the rows of a table, if a column has them."""
        return self.x[table][column] if column is not None else None

    def take(self, relations: Relations, kept: Mapping[str, np.ndarray]) -> "Household":
        """The rows under masks; what they refer to outside of these is lost (-1)."""
        new = {name: np.where(mask, np.cumsum(mask) - 1, -1) for name, mask in kept.items()}
        parent = {}
        for member in relations:
            for link in member.links:
                at = self.parent[member.name, link.column][kept[member.name]]
                parent[member.name, link.column] = followed(new[link.parent], at)
        return Household(
            {name: {k: v[kept[name]] for k, v in x.items()} for name, x in self.x.items()},
            {name: {k: v[kept[name]] for k, v in x.items()} for name, x in self.children.items()},
            parent,
            {name: int(mask.sum()) for name, mask in kept.items()},
        )

    def put(self, relations: Relations, name: str, order: np.ndarray) -> None:
        """Puts the rows of a table in an order."""
        new = np.empty(len(order), np.int64)
        new[order] = np.arange(len(order))
        self.x[name] = {k: v[order] for k, v in self.x[name].items()}
        self.children[name] = {k: v[order] for k, v in self.children[name].items()}
        for link in relations[name].links:
            self.parent[name, link.column] = self.parent[name, link.column][order]
        for child, link in relations.children(name):
            self.parent[child.name, link.column] = followed(new, self.parent[child.name, link.column])


def child_name(table: str, link: Link) -> str:
    """What the number of children by a foreign key is called."""
    return f"{table}.{link.column}"


def counted(
    relations: Relations, parent: Mapping[tuple[str, str], np.ndarray], rows: Mapping[str, int]
) -> dict[str, dict[str, np.ndarray]]:
    """The number of rows that refer to each row, by table and foreign key."""
    return {
        name: {
            child_name(member.name, link): np.bincount(at[at >= 0], minlength=rows[name]).astype(np.int64)
            for member, link in relations.children(name)
            for at in (parent[member.name, link.column],)
        }
        for name in rows
    }


def shared(
    relations: Relations, parent: Mapping[tuple[str, str], np.ndarray], rows: Mapping[str, int],
    shares: Iterable[float], seed: int,
) -> dict[str, np.ndarray]:  # fmt: skip
    """The part (TRAIN, VALID, TEST) of each row: that of the row at the top of its contexts.

    Rows without a parent are entities of their own. A table that is only referred to, of fewer than WHOLE rows, is
    learned whole.
    """
    out: dict[str, np.ndarray] = {}
    for member in relations:
        name, n = member.name, rows[member.name]
        own = np.zeros(n, np.int8)
        below = any(other.context == link for other, link in relations.children(name))
        if member.context is not None or below or not relations.children(name) or n >= WHOLE:
            for part, some in enumerate(parts(n, list(shares), seed)):
                own[some] = part
        if member.context is not None:
            at = parent[name, member.context.column]
            own = np.where(at >= 0, out[member.context.parent][at], own).astype(np.int8)
        out[name] = own
    return out


def late(time: np.ndarray) -> np.ndarray:
    """Moments that can be put in order: missing ones are the last."""
    return np.where(time == MISSING, np.iinfo(np.int64).max, time)


def followed(values: np.ndarray, at: np.ndarray, otherwise: Any = -1) -> np.ndarray:
    """The values of rows by number, or else where that is -1."""
    out = np.full(len(at), otherwise, values.dtype)
    out[at >= 0] = values[at[at >= 0]]
    return out


def gathered(fields: Iterable[Field], x: Columns, at: np.ndarray) -> Columns:
    """The values of rows by number, missing where that is -1."""
    out = {}
    for field in fields:
        v = field.none(len(at))
        v[at >= 0] = x[field.name][at[at >= 0]]
        out[field.name] = v
    return out


def learned(
    tables: "Mapping[str, pa.Table]", relations: Relations, part: Mapping[str, np.ndarray],
    fields: Mapping[str, Any] | None, constraints: Mapping[str, Any] | str | None = "found", dirty: str = "clean",
) -> dict[str, TableCodec | None]:  # fmt: skip
    """How the columns of each table are read, learned from its training rows; None of a table of keys alone.

    constraints: "found", "none", or of tables by name what TableCodec.learn takes; those that are found are of other
    columns than moments, which are learned as what passed. Raises CodecError for rows that break a given one, unless
    `dirty` is "keep": rows of several tables hang together, and none is left out.
    """
    out: dict[str, TableCodec | None] = {}
    for name, table in tables.items():
        apart = relations.apart(name)
        if set(table.column_names) <= set(apart):
            out[name] = None
            continue
        asked = dict((fields or {}).get(name, {})) | dict.fromkeys(apart, "drop")
        own = constraints.get(name, "found") if isinstance(constraints, Mapping) else constraints
        try:
            made = TableCodec.learn(
                table, fields=asked, like=_kind(table), part=np.flatnonzero(part[name] == TRAIN), constraints=own,
                dirty=dirty, apart={relations[name].time or ""},
            )  # fmt: skip
            _check(made, table)
            out[name] = made
        except PofxError as error:
            raise type(error)(f"table {name!r}: {error}") from error
    return out


def _check(codec: TableCodec, table: "pa.Table") -> None:
    whole = np.arange(table.num_rows)
    if lost := table.num_rows - len(codec.clean(table, whole)):
        raise CodecError(
            f"expected rows that keep the given constraints, {lost:,} of {table.num_rows:,} do not: say that they are "
            "to be made as often (dirty='keep', --dirty keep), or mend them"
        )


def _kind(table: "pa.Table") -> str:
    from ..codecs.tabular_io import look

    return str(look(table).get("kind", "arrow"))


def in_unit(v: np.ndarray, unit: str, to: str) -> np.ndarray:
    """Moments in another unit, rounded down; missing ones stay missing."""
    return np.where(v == MISSING, MISSING, convert(np.where(v == MISSING, 0, v), unit, to))


def clock_of(codec: TableCodec | None, named: str | None = None) -> Integer | None:
    """The field that orders rows: the first one of moments, or the named one, of moments or whole numbers."""
    found = [f for f in codec.spec.fields if isinstance(f, Integer)] if codec else []
    return next((f for f in found if f.name == named or (named is None and isinstance(f, Datetime))), None)


def with_missing(field: Field, share: float = 1e-3) -> Field:
    """The field with a missing state."""
    if field.has_missing or not len(field.left):
        return field
    low = field.left[0] - 2.0
    return replace(
        field, has_missing=True, left=np.r_[low, field.left], right=np.r_[low + 1.0, field.right],
        mass=np.r_[share, field.mass * (1 - share)],
    )  # fmt: skip
