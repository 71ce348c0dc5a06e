"""How several tables hang together: the key of each, and its foreign keys, and which row each value names."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..errors import CodecError, SpecError
from .columns import amiss, as_texts, single

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Link:
    """A foreign key: `column` of a table holds values of `target`, a column of the table `parent`."""

    column: str
    parent: str
    target: str


@dataclass(frozen=True)
class Member:
    """One table: its primary key (columns; none), its foreign keys, and the column of its time, if one was named.

    The first foreign key that is no self reference leads to the context: the parent whose children its rows are.
    """

    name: str
    key: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()
    time: str | None = None

    @property
    def context(self) -> Link | None:
        """The foreign key whose parent a row is drawn under."""
        return next((link for link in self.links if link.parent != self.name), None)

    @property
    def others(self) -> tuple[Link, ...]:
        """The further foreign keys, whose rows are matched."""
        return tuple(link for link in self.links if link != self.context)


class Relations:
    """The tables by name, parents before their children; `made`: the columns of a table that are made anew.

    Raises SpecError where parents go round in a circle.
    """

    def __init__(self, members: Iterable[Member]) -> None:
        self.members = {member.name: member for member in _ordered({m.name: m for m in members})}

    def __iter__(self) -> Any:
        return iter(self.members.values())

    def __getitem__(self, name: str) -> Member:
        return self.members[name]

    def children(self, name: str) -> list[tuple[Member, Link]]:
        """Every foreign key that leads to a table, with the table that has it."""
        return [(member, link) for member in self for link in member.links if link.parent == name]

    def root(self, name: str) -> str:
        """The table at the top of a table's contexts."""
        link = self[name].context
        return name if link is None else self.root(link.parent)

    def made(self, name: str) -> list[str]:
        """The columns whose values count the rows: a key of one column, and what foreign keys lead to."""
        own = self[name]
        linked = {link.column for link in own.links}
        keys = [*(own.key if len(own.key) == 1 else ()), *(link.target for _, link in self.children(name))]
        return [key for key in dict.fromkeys(keys) if key not in linked]

    def counted(self, name: str) -> str | None:
        """Of a key of the context's column and one more, the one that counts the rows of a parent, if it may."""
        own = self[name]
        rest = [c for c in own.key if c not in {link.column for link in own.links}]
        inside = own.context is not None and own.context.column in own.key
        return rest[0] if inside and len(rest) == 1 and len(own.key) == 2 else None

    def sure(self, name: str) -> bool:
        """Whether the rows that are made have keys of their own: one column, one that counts, or two foreign keys."""
        own = self[name]
        links = {link.column for link in own.links}
        paired = (
            len(own.key) == 2 and set(own.key) <= links and own.context is not None and own.context.column in own.key
        )
        return len(own.key) == 1 or self.counted(name) is not None or paired

    def apart(self, name: str) -> list[str]:
        """All columns that no law is learned of."""
        links = [link.column for link in self[name].links]
        counted = self.counted(name)
        return list(dict.fromkeys([*self.made(name), *links, *([counted] if counted else [])]))

    def tree(self, rows: Mapping[str, int] | None = None) -> str:
        """The tables as a tree of contexts, a line each, with keys and further foreign keys."""

        def line(member: Member, depth: int) -> list[str]:
            count = f", {rows[member.name]:,} rows" if rows else ""
            key = f", key {', '.join(member.key)}" if member.key else ""
            under = f", by {member.context.column}" if member.context else ""
            also = "".join(
                f", {link.column} -> {link.parent}.{link.target}" + (" (itself)" * (link.parent == member.name))
                for link in member.others
            )
            own = "  " * depth + member.name + count + key + under + also
            below = [m for m in self if m.context is not None and m.context.parent == member.name]
            return [own, *(text for m in below for text in line(m, depth + 1))]

        return "\n".join(text for m in self if m.context is None for text in line(m, 0))

    def to_json(self) -> list[dict[str, Any]]:
        """Plain values that rebuild it."""
        return [
            {"name": m.name, "key": list(m.key), "time": m.time,
             "links": [[link.column, link.parent, link.target] for link in m.links]}
            for m in self
        ]  # fmt: skip

    @classmethod
    def from_json(cls, told: list[dict[str, Any]]) -> Self:
        """What `to_json` gave."""
        return cls(
            Member(one["name"], tuple(one["key"]), tuple(Link(*link) for link in one["links"]), one["time"])
            for one in told
        )


def _ordered(members: Mapping[str, Member]) -> list[Member]:
    """Members, each after its context."""
    out: list[Member] = []
    left = dict(members)
    while left:
        ready = [m for m in left.values() if m.context is None or m.context.parent not in left]
        if not ready:
            circle = _circle(left)
            raise SpecError(
                f"expected tables without a circle of parents, got {' -> '.join(circle)}: list another foreign key "
                "of one of them first, or leave that one out (keys=, --keys)"
            )
        out += ready
        left = {name: m for name, m in left.items() if m not in ready}
    return out


def _circle(left: Mapping[str, Member]) -> list[str]:
    way = [next(iter(left))]
    while (link := left[way[-1]].context) is not None and link.parent not in way:
        way.append(link.parent)
    end = link.parent if link is not None else way[0]
    return [*way[way.index(end) :], end]


# -- values of keys ----------------------------------------------------------------------------------------------------


def values_of(column: "pa.ChunkedArray") -> "pa.Array":
    """The cells of a key as texts, null where missing; whole numbers alike whatever their type."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = as_texts(column)
    plain = pa.types.is_integer(single(column).type) or pa.types.is_floating(single(column).type)
    return texts if plain else pc.if_else(pa.array(amiss(texts)), None, texts)


def is_key(values: "pa.Array") -> bool:
    """Whether every row has a value of its own."""
    import pyarrow.compute as pc

    return values.null_count == 0 and pc.count_distinct(values).as_py() == len(values)


def places(child: "pa.Array", parent: "pa.Array") -> np.ndarray:
    """The row of the parent that each value of a child names, int64; -1 where it is missing, -2 where none has it."""
    import pyarrow.compute as pc

    at = pc.fill_null(pc.index_in(child, value_set=parent), -2).to_numpy(zero_copy_only=False).astype(np.int64)
    return np.where(pc.is_null(child).to_numpy(zero_copy_only=False), -1, at)


def whole_numbers(column: "pa.ChunkedArray") -> np.ndarray | None:
    """The cells as int64, where all of them are whole numbers and none is missing."""
    import pyarrow as pa

    values = values_of(column)
    try:
        return None if values.null_count else values.cast(pa.int64()).to_numpy(zero_copy_only=False)
    except pa.ArrowException:
        return None


def rows_of(relations: Relations, tables: "Mapping[str, pa.Table]") -> dict[tuple[str, str], np.ndarray]:
    """The parent's row of each row, by (table, column) of each foreign key.

    Raises CodecError for keys of which two rows have the same, and for rows whose parent is not there.
    """
    for member in relations:
        for key in dict.fromkeys([*relations.made(member.name), *(member.key if len(member.key) == 1 else ())]):
            _check_key(member.name, key, values_of(tables[member.name][key]))
        if len(member.key) > 1:
            _check_several(member, tables[member.name])
    out = {}
    for member in relations:
        for link in member.links:
            child, parent = values_of(tables[member.name][link.column]), tables[link.parent][link.target]
            at = places(child, values_of(parent))
            if (lost := np.flatnonzero(at == -2)).size:
                some = ", ".join(repr(child[int(i)].as_py()) for i in lost[:3])
                raise CodecError(
                    f"expected in {member.name}.{link.column} values of {link.parent}.{link.target}, got {lost.size:,} "
                    f"of {len(at):,} rows whose parent is not there ({some}): add those parents, take these rows away, "
                    "or leave the key out (keys=, --keys)"
                )
            out[member.name, link.column] = at
    return out


def _check_key(table: str, key: str, values: "pa.Array") -> None:
    import pyarrow.compute as pc

    if values.null_count:
        raise CodecError(f"expected a value in each row of the key {table}.{key}, got {values.null_count:,} missing")
    counts = pc.value_counts(values)
    twice = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(twice):
        some = ", ".join(repr(one["values"]) for one in twice[:3].to_pylist())
        raise CodecError(
            f"expected a value of its own in each row of the key {table}.{key}, got {len(twice):,} values that several "
            f"rows have ({some}): take the doubles away, or name another key (keys=, --keys)"
        )


def doubles(table: "pa.Table", names: Sequence[str]) -> int:
    """How many rows share the values of some columns with an earlier one."""
    return table.num_rows - table.select(list(names)).group_by(list(names)).aggregate([]).num_rows


def _check_several(member: Member, table: "pa.Table") -> None:
    if doubles(table, member.key):
        raise CodecError(
            f"expected values of their own in each row of the key {', '.join(member.key)} of {member.name}, got rows "
            "that share them: take the doubles away, or leave the key out (keys=, --keys)"
        )
