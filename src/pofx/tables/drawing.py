"""New tables: roots first, then children round by round of their rank, then what further foreign keys lead to."""

from collections.abc import Mapping

import numpy as np
import torch

from ..codecs.relations import Link, Relations
from ..field import MISSING
from ..progress import Tick, silent
from ..spec import Columns, Given
from .household import Household, child_name, followed, late
from .law import Law
from .matching import matched, unlike

SEEDS = 2**63 - 1  # of which a seed takes the bits


def drawn(
    relations: Relations, laws: Mapping[str, Law], numbers: Mapping[str, int], alone: Mapping[str, int], seed: int,
    tick: Tick = silent, given: Mapping[str, Given] | None = None,
) -> tuple[Household, dict[str, np.ndarray]]:  # fmt: skip
    """New rows of all tables, and the rank of each row among its siblings.

    numbers: of rows of each root; alone: of rows without a parent of each other table; given: what is asked of roots
    (Law.asked). Row i + 1 of a parent is drawn
    given row i, for all parents that have as many, at once.
    """
    house = Household({}, {}, {}, {})
    features: dict[str, Columns] = {}
    ranks: dict[str, np.ndarray] = {}
    for place, member in enumerate(relations):
        law, name = laws[member.name], member.name
        generator = torch.Generator().manual_seed(
            int(np.random.SeedSequence([seed & SEEDS, place]).generate_state(1)[0])
        )
        if member.context is None:
            n = numbers[name]
            base = np.full(n, MISSING)
            found, at, rank = (
                law.draw(n, {}, base, generator, (given or {}).get(name)),
                np.zeros(0, np.int64),
                np.zeros(n, np.int64),
            )
            x = law.decode(found, base)
            tick(n)
        else:
            found, x, at, rank = _children(
                relations, laws, house, name, member.context, alone.get(name, 0), generator, tick
            )
            house.parent[name, member.context.column] = at
        house.rows[name], house.x[name], ranks[name], features[name] = len(rank), x, rank, found
        house.children[name] = {
            child_name(child.name, link): found[f"children:{child_name(child.name, link)}"]
            for child, link in relations.children(name)
        }
    rng = np.random.default_rng([seed & SEEDS, len(ranks)])
    _refer(relations, laws, house, features, rng)
    house, ranks = _kept(relations, house, ranks)
    for name, law in laws.items():
        if law.timely and law.time is not None:
            order = np.argsort(late(house.x[name][law.time]), kind="stable")
            house.put(relations, name, order)
            ranks[name] = ranks[name][order]
    return house, ranks


def _children(
    relations: Relations, laws: Mapping[str, Law], house: Household, name: str, link: Link, alone: int,
    generator: torch.Generator, tick: Tick,
) -> tuple[Columns, Columns, np.ndarray, np.ndarray]:  # fmt: skip
    """(drawn columns, stored columns, the parent's row, the rank) of the rows of a table, sorted by parent and rank."""
    law = laws[name]
    codecs = {key: one.codec for key, one in laws.items()}
    count = house.children[link.parent][child_name(name, link)]
    parents = np.r_[np.repeat(np.int64(-1), alone), np.flatnonzero(count > 0)]
    left = np.r_[np.ones(alone, np.int64), count[count > 0]]
    up = law.parents_time(relations, codecs, house.x[link.parent], parents)
    above = law.above(house, parents)
    rounds: list[tuple[Columns, Columns, np.ndarray, int]] = []
    lags: list[Columns] = []
    time, going, rank = up, np.arange(len(parents)), 0
    while len(going):
        c = {k: v[going] for k, v in above.items()} | {"rank": np.full(len(going), rank)}
        c |= law.earlier([(x, going) for x in lags], len(going))
        base = time[going]
        found = law.draw(len(going), c, base, generator)
        x = law.decode(found, base)
        rounds.append((found, x, going, rank))
        if law.time is not None:
            own = x[law.time]
            time = time.copy()
            time[going] = np.where(own == MISSING, base, own)
        lags = [{k: _spread(v, going, len(parents)) for k, v in found.items()}, *lags][: law.memory]
        tick(len(going))
        rank += 1
        going = np.flatnonzero(left > rank)
    who = np.concatenate([r[2] for r in rounds]) if rounds else np.zeros(0, np.int64)
    ranks = np.concatenate([np.full(len(r[2]), r[3]) for r in rounds]) if rounds else np.zeros(0, np.int64)
    order = np.lexsort((ranks, who))
    both = [_joined([r[0] for r in rounds], order), _joined([r[1] for r in rounds], order)]
    if not rounds:
        both = [law.draw(0, {}, np.zeros(0, np.int64), generator)]
        both.append(law.decode(both[0], np.zeros(0, np.int64)))
    return both[0], both[1], parents[who[order]], ranks[order]


def _spread(v: np.ndarray, at: np.ndarray, n: int) -> np.ndarray:
    out = np.zeros(n, v.dtype)
    out[at] = v
    return out


def _joined(parts: list[Columns], order: np.ndarray) -> Columns:
    return {k: np.concatenate([p[k] for p in parts])[order] for k in parts[0]} if parts else {}


def _refer(
    relations: Relations, laws: Mapping[str, Law], house: Household, features: Mapping[str, Columns],
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Enters the rows that further foreign keys lead to."""
    for member in relations:
        law, found = laws[member.name], features[member.name]
        for link in member.others:
            there = law.referred[link.column]
            x, often = house.x[link.parent], house.children[link.parent][child_name(member.name, link)]
            wanted = {f.name: found[f"to:{link.column}:{f.name}"] for f in there}
            n, size = house.rows[member.name], house.rows[link.parent]
            at = matched(there, n, wanted, x, often, rng) if n and size else np.full(n, -1)
            if (none := found.get(f"to:{link.column}")) is not None:
                at = np.where(none == 1, -1, at)
            house.parent[member.name, link.column] = at


def _kept(
    relations: Relations, house: Household, ranks: dict[str, np.ndarray]
) -> tuple[Household, dict[str, np.ndarray]]:
    """The tables, pairs of foreign keys that are a key made different; rows that have no other pair left are gone."""
    kept = {name: np.ones(n, bool) for name, n in house.rows.items()}
    for member in relations:
        other = next((link for link in member.others if link.column in member.key), None)
        if other is None or member.context is None or set(member.key) != {member.context.column, other.column}:
            continue
        at, to = (house.parent[member.name, link.column] for link in (member.context, other))
        new = unlike(at, to, house.rows[other.parent], np.random.default_rng(0))
        house.parent[member.name, other.column], kept[member.name] = new, new >= 0
    if all(mask.all() for mask in kept.values()):
        return house, ranks
    before = -1
    while before != (before := sum(int(mask.sum()) for mask in kept.values())):
        for member in relations:  # what leads to rows that are gone goes with them
            for link in member.links:
                kept[member.name] &= followed(kept[link.parent], house.parent[member.name, link.column], True)
    return house.take(relations, kept), {name: rank[kept[name]] for name, rank in ranks.items()}
