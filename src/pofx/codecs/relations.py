"""How several tables hang together: the key of each, and its foreign keys, declared, given or found."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..errors import CodecError, SpecError
from .columns import amiss, as_texts, single

if TYPE_CHECKING:
    import pyarrow as pa

GENERIC = ("id", "key", "uuid", "guid", "no", "nr", "number", "code", "pk")  # names of keys that say nothing else
WORDS = ("key", "time")  # of --keys, beside foreign keys
CLOSE = 0.5  # a column of a key's name of which so many values are that key's is a foreign key; all must be


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


def _check_several(member: Member, table: "pa.Table") -> None:
    names = list(member.key)
    if table.select(names).group_by(names).aggregate([]).num_rows < table.num_rows:
        raise CodecError(
            f"expected values of their own in each row of the key {', '.join(names)} of {member.name}, got rows that "
            "share them: take the doubles away, or leave the key out (keys=, --keys)"
        )


# -- given -------------------------------------------------------------------------------------------------------------


def given(keys: Mapping[str, Any], tables: "Mapping[str, pa.Table]") -> Relations:
    """The relations that a user names: {"orders": {"key": "id", "customer_id": "customers"}}.

    "key" is a column or a list of them, "time" the column that orders siblings, every other word a column that leads
    to a table, "customers", or to a column of it, "customers.id"; the first of them is the context. Raises SpecError
    for tables and columns that do not exist.
    """
    for name in keys:
        _known(name, tables, "a table of keys")
    own = {name: _key_of(name, keys.get(name, {}), table) for name, table in tables.items()}
    members = []
    for name, table in tables.items():
        told = keys.get(name, {})
        time = told.get("time")
        if time is not None:
            _column(name, time, table)
        links = []
        for column, where in told.items():
            if column not in WORDS:
                _column(name, column, table)
                links.append(_link(name, column, where, tables, own))
        members.append(Member(name, own[name], tuple(links), time))
    return Relations(members)


def _key_of(name: str, told: Any, table: "pa.Table") -> tuple[str, ...]:
    if not isinstance(told, Mapping):
        raise SpecError(f'expected keys of {name!r} as {{"key": column, column: table}}, got {told!r}')
    if "key" not in told:
        return _own_key(name, table)
    key = told["key"]
    key = [key] if isinstance(key, str) else list(key or [])
    for column in key:
        _column(name, column, table)
    return tuple(key)


def _link(
    name: str, column: str, where: Any, tables: "Mapping[str, pa.Table]", own: Mapping[str, tuple[str, ...]]
) -> Link:
    if not isinstance(where, str):
        raise SpecError(f"expected the table that {name}.{column} leads to, got {where!r}")
    if where in tables:
        if len(own[where]) != 1:
            raise SpecError(
                f"expected a key of one column in {where!r}, which {name}.{column} leads to, got "
                f"{', '.join(own[where]) or 'none'}: name the column, {where}.column"
            )
        return Link(column, where, own[where][0])
    parent, _, target = where.rpartition(".")
    _known(parent or where, tables, f"the table that {name}.{column} leads to")
    _column(parent, target, tables[parent])
    return Link(column, parent, target)


def _known(name: str, tables: "Mapping[str, pa.Table]", what: str) -> None:
    if name not in tables:
        raise SpecError(f"expected {what} among {', '.join(map(repr, tables))}, got {name!r}")


def _column(name: str, column: str, table: "pa.Table") -> None:
    if column not in table.column_names:
        raise SpecError(
            f"expected a column of {name!r} as a key, among {', '.join(map(repr, table.column_names[:20]))}, got "
            f"{column!r}"
        )


# -- found -------------------------------------------------------------------------------------------------------------


def found(tables: "Mapping[str, pa.Table]") -> Relations:
    """The relations that names and values tell.

    A key is a column of its own value in each row that is called id, or by the table's name and id. A foreign key is
    a column that is called like the key of another table, or by its name and its key's (customer_id for the id of
    customers, also behind further words, buyer_customer_id), and has its values alone. Raises CodecError where more
    than half of a column's values, but not all, are that key's: rows without a parent.
    """
    keys = {name: _own_key(name, table) for name, table in tables.items()}
    members = []
    for name, table in tables.items():
        links = []
        for column in table.column_names:
            if column in keys[name]:
                continue
            for parent, key in keys.items():
                if parent == name or not key or not _alike(column, parent, key[0]):
                    continue
                child = values_of(table[column])
                at = places(child, values_of(tables[parent][key[0]]))
                there = (at != -2).mean()
                if there == 1.0 and (at >= 0).any():
                    links.append(Link(column, parent, key[0]))
                    break
                if there >= CLOSE:
                    lone = Relations([Member(parent, key), Member(name, (), (Link(column, parent, key[0]),))])
                    rows_of(lone, tables)
        members.append(Member(name, keys[name], tuple(links)))
    return Relations(members)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _stems(table: str) -> list[str]:
    """What one row of a table may be called: customers, customer."""
    name = _plain(table.rpartition(".")[2])
    out = [name]
    for ending, one in (("ies", "y"), ("es", ""), ("s", "")):
        if name.endswith(ending) and len(name) > len(ending) + 1:
            out.append(name.removesuffix(ending) + one)
    return out


def _own_key(name: str, table: "pa.Table") -> tuple[str, ...]:
    """The column that is a table's key by its name and values."""
    named = [f"{stem}{word}" for stem in _stems(name) for word in GENERIC]
    for column in table.column_names:
        if _plain(column) in (*GENERIC, *named) and _may_count(table[column]) and is_key(values_of(table[column])):
            return (column,)
    return ()


def _may_count(column: "pa.ChunkedArray") -> bool:
    import pyarrow as pa

    kind = single(column).type
    return not (pa.types.is_floating(kind) or pa.types.is_boolean(kind) or pa.types.is_temporal(kind))


def _alike(column: str, parent: str, key: str) -> bool:
    own, at = _plain(column), _plain(key)
    calls = [stem + at for stem in _stems(parent)] if at in GENERIC else [at]
    return any(own == call or (own.endswith(call) and len(call) > 3) for call in calls)
