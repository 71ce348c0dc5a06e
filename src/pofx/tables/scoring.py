"""log p of rows given their parents and earlier siblings, and of each root with all below it."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..codecs.relations import Relations
from .household import Household
from .law import Law

if TYPE_CHECKING:
    import pyarrow as pa


def scored(
    relations: Relations, laws: Mapping[str, Law], house: Household, tables: "Mapping[str, pa.Table]",
    seen: Mapping[str, int],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:  # fmt: skip
    """(log p of each row of each table, nats, (n,); the sum of those of each row of a root and of all below it).

        log p(row, n_1, ..., n_C | columns and numbers of its parent, its rank, earlier siblings)

    Of a further foreign key it is that of the columns of the row that it leads to, not of which of such rows. A broken
    dependency or constraint counts 1 / (n + 1), of n rows that were `seen`. Rows without a parent are below no root.
    """
    codecs = {name: law.codec for name, law in laws.items()}
    each, top, total = {}, {}, {}
    for member in relations:
        law, name, n = laws[member.name], member.name, house.rows[member.name]
        each[name] = law.log_prob(relations, codecs, house)
        if law.codec is not None:
            each[name] -= law.codec.broken(tables[name]) * math.log(seen[name] + 1.0)
            each[name] += law.codec.log_steps(tables[name])
        if member.context is None:
            top[name], total[name] = np.arange(n), each[name].copy()
            continue
        at = house.parent[name, member.context.column]
        top[name] = np.where(at >= 0, top[member.context.parent][at], -1)
        below = top[name] >= 0
        np.add.at(total[relations.root(name)], top[name][below], each[name][below])
    return each, total
