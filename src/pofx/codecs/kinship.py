"""Keys of several tables as a user gives them, or as names and values tell them."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import SpecError
from .columns import single
from .relations import Link, Member, Relations, is_key, places, rows_of, values_of, whole_numbers

if TYPE_CHECKING:
    import pyarrow as pa

GENERIC = ("id", "key", "uuid", "guid", "no", "nr", "number", "code", "pk")  # names of keys that say nothing else
WORDS = ("key", "time")  # of --keys, beside foreign keys
CLOSE = 0.5  # a column of a key's name of which so many values are that key's is a foreign key; all must be


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

    A key is a column of its own value in each row that is called id, or by the table's name and id, or else the first
    such whose name ends in id and is not that of another table's key. A foreign key is a column that is called like the
    key of another table, or by its name and its key's (customer_id for the id of customers, also behind further words,
    buyer_customer_id), and has its values alone. Raises CodecError where more than half of a column's values, but not
    all, are that key's: rows without a parent.
    """
    keys = {name: _own_key(name, table) for name, table in tables.items()}
    for name in sorted(tables, key=lambda name: -tables[name].num_rows):
        keys[name] = keys[name] or _any_key(tables[name], keys)
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
        key = keys[name] or (_counting(table, tables[links[0].parent], links[0]) if links else ())
        members.append(Member(name, key, tuple(links)))
    return Relations(members)


def _counting(table: "pa.Table", parent: "pa.Table", link: Link) -> tuple[str, ...]:
    """The key of a parent's column and one that counts its rows, from the same number on; () without."""
    at = places(values_of(table[link.column]), values_of(parent[link.target]))
    if (at < 0).any():
        return ()
    for column in table.column_names:
        v = whole_numbers(table[column])
        if column == link.column or v is None:
            continue
        order = np.lexsort((v, at))
        first = np.r_[True, at[order][1:] != at[order][:-1]]
        rank = np.arange(len(v)) - np.maximum.accumulate(np.where(first, np.arange(len(v)), 0))
        if (v[order] == v.min() + rank).all() and (rank > 0).any():
            return (link.column, column)
    return ()


def feasible(relations: Relations, tables: "Mapping[str, pa.Table]") -> tuple[Relations, dict[str, str]]:
    """The relations without the keys of several columns that cannot be made anew, and which those are."""
    notes, members = {}, []
    for member in relations:
        counted = relations.counted(member.name)
        told = counted is None or whole_numbers(tables[member.name][counted]) is not None
        if member.key and not (relations.sure(member.name) and told):
            notes[f"{member.name}, key"] = (
                f"{', '.join(member.key)}, not kept: of several columns only two foreign keys, or one and a whole "
                "number that counts, can be made anew"
            )
            member = replace(member, key=())
        members.append(member)
    return Relations(members), notes


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


def _any_key(table: "pa.Table", keys: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The first column of its own value in each row whose name ends in id, and is that of no other table's key."""
    for column in table.column_names:
        if not _plain(column).endswith("id") or any(key and _alike(column, name, key[0]) for name, key in keys.items()):
            continue
        if _may_count(table[column]) and is_key(values_of(table[column])):
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
