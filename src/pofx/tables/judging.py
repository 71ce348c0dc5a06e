"""Evidence on a model of several tables: children a parent, parents with their children, and keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..codecs.relations import Relations, doubles, is_key, places, values_of
from ..field import Field
from ..fields import Category
from ..metrics.two_sample import run
from ..progress import bar
from ..spec import Columns
from .household import TEST, TRAIN, Household, child_name, counted
from .law import Law

if TYPE_CHECKING:
    import pyarrow as pa

LEAST, MOST = 60, 3000  # entities of each side of a two-sample test
TURNS = 3  # choices of their rows


@dataclass
class TablesEvidence:
    """children: by foreign key, how far the numbers of children a parent are from those of held-out parents; pairs: by
    table, how well a judge tells its rows with their parent and earlier sibling from held-out ones; keys: how many
    rows break each key; rows: of the sample; counts: by foreign key, how many held-out and how many drawn parents have
    0, 1, ... children.
    """

    children: dict[str, dict[str, float]] = field(default_factory=dict)
    pairs: dict[str, dict[str, float]] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    counts: dict[str, tuple[list[int], list[int]]] = field(default_factory=dict)

    def summary(self) -> str:
        """Lines for a terminal."""
        lines = [f"sample     {', '.join(f'{n:,} {name}' for name, n in self.rows.items())}"]
        lines.append("children a parent: largest difference of distribution functions (floor; thrown at random)")
        for name, told in self.children.items():
            lines.append(
                f"  {name:<30} {told['distance']:.3f} ({told['floor']:.3f}; {told['trivial']:.3f}), mean "
                f"{told['mean']:.2f} of {told['real mean']:.2f}, most {told['most']:.0f} of {told['real most']:.0f}"
            )
        lines.append("rows with parent and earlier sibling: AUC of a judge (floor; context shuffled), .5 is a coin")
        for name, told in self.pairs.items():
            lines.append(
                f"  {name:<30} {told['auc']:.3f} ({told['floor']:.3f}; {told['trivial']:.3f}) at {told['n']:.0f}"
            )
        wrong = {name: n for name, n in self.keys.items() if n}
        broken = ", ".join(f"{name}: {n:,} rows" for name, n in wrong.items())
        return "\n".join([*lines, f"keys       {broken or f'all of {len(self.keys)} hold in every row'}"])

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"children": self.children, "pairs": self.pairs, "keys": self.keys, "rows": self.rows}


def judged(
    relations: Relations, laws: Mapping[str, Law], real: Household, part: Mapping[str, np.ndarray], fake: Household,
    made: "Mapping[str, pa.Table]", seed: int, quiet: bool,
) -> TablesEvidence:  # fmt: skip
    """The evidence on drawn rows (as columns, and as the tables made of them) against the held-out part of real ones.

    A table that is only referred to has no held-out rows: its figures are of halves of all of its rows.
    """
    out = TablesEvidence(keys=broken(relations, made), rows=dict(fake.rows))
    rng = np.random.default_rng(seed)
    drawn = counted(relations, fake.parent, fake.rows)
    for member in relations:
        for link in member.links:
            name = child_name(member.name, link)
            counts, mine = real.children[link.parent][name], part[link.parent]
            halves = [counts[mine == TRAIN], counts[mine == TEST]]
            if member.context != link or not len(halves[1]):
                halves = np.array_split(rng.permutation(counts), 2)
            fakes = drawn[link.parent][name]
            out.children[name] = _children(fakes, halves[0], halves[1], rng)
            out.counts[name] = (np.bincount(halves[1]).tolist(), np.bincount(fakes).tolist())
    shown = Household(fake.x, drawn, fake.parent, fake.rows)
    codecs = {name: law.codec for name, law in laws.items()}
    with bar("judging", len(laws), "table", quiet) as tick:
        for name, law in laws.items():
            x, y = (_seen(law, relations, codecs, house) for house in (real, shown))
            tops = [top(relations, house, name) for house in (real, shown)]
            figures = _pair(law, x, y, part[name], tops, seed)
            out.pairs |= {name: figures} if figures else {}
            tick()
    return out


def broken(relations: Relations, tables: "Mapping[str, pa.Table]") -> dict[str, int]:
    """How many rows break each key: rows of a value that another has, and rows without a parent."""
    out = {}
    for member in relations:
        table = tables[member.name]
        for key in dict.fromkeys([*relations.made(member.name), *(member.key if len(member.key) == 1 else ())]):
            values = values_of(table[key])
            out[f"{member.name}.{key}"] = 0 if is_key(values) else len(values) - len(values.unique())
        if len(member.key) > 1 and relations.sure(member.name):
            out[f"{member.name} ({', '.join(member.key)})"] = doubles(table, member.key)
        for link in member.links:
            at = places(values_of(table[link.column]), values_of(tables[link.parent][link.target]))
            out[f"{member.name}.{link.column} -> {link.parent}"] = int((at == -2).sum())
    return out


def _children(fake: np.ndarray, train: np.ndarray, test: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    thrown = np.bincount(rng.integers(0, len(train), int(train.sum())), minlength=len(train))
    return {
        "distance": apart(fake, test), "floor": apart(train, test), "trivial": apart(thrown, test),
        "mean": float(fake.mean()), "real mean": float(test.mean()),
        "most": float(fake.max()), "real most": float(max(train.max(), test.max())),
    }  # fmt: skip


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """sup |F_a - F_b|, the distance of Kolmogorov and Smirnov."""
    at = np.unique(np.r_[a, b])
    f, g = (np.searchsorted(np.sort(v), at, side="right") / len(v) for v in (a, b))
    return float(np.abs(f - g).max())


def top(relations: Relations, house: Household, name: str) -> np.ndarray:
    """The number of the row at the top of each row's contexts; one of its own for each row without a parent."""
    link = relations[name].context
    if link is None:
        return np.arange(house.rows[name])
    at, above = house.parent[name, link.column], top(relations, house, link.parent)
    alone = above.max(initial=0) + 1 + np.arange(len(at))
    return np.where(at >= 0, above[at] if len(above) else -1, alone)


def _seen(law: Law, relations: Relations, codecs: Mapping[str, Any], house: Household) -> Columns:
    """The columns of the law, of all rows with their context; numbers of a referred row by the fifth of its table.

    Of few referred rows the very values would tell a judge which table it sees, whatever the law of who refers to whom.
    """
    x = law.encode(house, law.base(relations, codecs, house))
    x |= law.context(house) | law.remembered(x, law.siblings(house).before)
    for link in law.member.others:
        own = house.x[link.parent]
        for one in (f for f in law.referred[link.column] if not isinstance(f, Category)):
            edges = np.quantile(own[one.name][~one.absent(own[one.name])], (0.2, 0.4, 0.6, 0.8))
            for key in (k for k in x if k.endswith(f"to:{link.column}:{one.name}")):
                fifth = np.searchsorted(edges, x[key])
                x[key] = np.where(one.absent(x[key]), one.none(1), fifth.astype(one.dtype))
    return x


def _pair(
    law: Law, real: Columns, fake: Columns, part: np.ndarray, tops: Sequence[np.ndarray], seed: int
) -> dict[str, float]:
    """The mean AUC over some choices of a row for each entity, with its context; nothing where there are too few.

    Several rows of one entity share what its parents are, by which a judge would know it again.
    """
    before = law.spec.condition.fields if law.spec and law.spec.condition else ()
    fields = (*law.fields, *before)
    if not fields or not fake:
        return {}
    rng = np.random.default_rng(seed)
    train, test = np.flatnonzero(part == TRAIN), np.flatnonzero(part == TEST)
    if not len(test):
        train, test = np.array_split(rng.permutation(len(part)), 2)
    sides = [(real, train, tops[0]), (real, test, tops[0]), (fake, np.arange(len(tops[1])), tops[1])]
    n = min(MOST, *(len(np.unique(of[rows])) for _, rows, of in sides))
    if n < LEAST:
        return {}
    out = {"auc": 0.0, "floor": 0.0, "trivial": 0.0}
    for turn in range(TURNS):
        known, unseen, shown = (_some(fields, x, rows, of, n, rng) for x, rows, of in sides)
        order = rng.permutation(n)
        alike = before or fields  # of a table without a context, every column by itself
        mixed = known | {f.name: known[f.name][order if before else rng.permutation(n)] for f in alike}
        for name, x in (("auc", shown), ("floor", known), ("trivial", mixed)):
            out[name] += run(fields, x, unseen, seed + turn).auc() / TURNS
    return out | {"n": float(n)}


def _some(
    fields: Sequence[Field], x: Columns, rows: np.ndarray, of: np.ndarray, n: int, rng: np.random.Generator
) -> Columns:
    """n rows of different entities."""
    mixed = rng.permutation(rows)
    _, first = np.unique(of[mixed], return_index=True)
    pick = mixed[rng.permutation(first)[:n]]
    return {f.name: x[f.name][pick] for f in fields}
