"""Missing cells of several tables, drawn given what is known of their row and of those above and before it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from ..codecs.relations import Relations
from ..completion import filled
from ..models.model import Model
from ..progress import Tick, silent
from ..spec import Given
from .household import Household
from .law import Law

if TYPE_CHECKING:
    import pyarrow as pa

Gone = dict[str, np.ndarray]


def filled_tables(
    relations: Relations, laws: Mapping[str, Law], house: Household, tables: "Mapping[str, pa.Table]", seed: int,
    tick: Tick = silent,
) -> "dict[str, pa.Table]":  # fmt: skip
    """The tables with one draw of each missing cell: parents first, then children in the order of their ranks, so that
    what was drawn is known to those below and behind. `house` takes what is drawn.

    What children say of a missing cell above them is not asked. Keys and foreign keys stay as they are.
    """
    out = dict(tables)
    for place, member in enumerate(relations):
        law, name = laws[member.name], member.name
        if law.codec is None or law.model is None:
            tick(house.rows[name])
            continue
        told = law.codec.told(tables[name])
        gone = {f.name: f.absent(house.x[name][f.name]) for f in law.codec.spec.fields}
        for hidden, rows in told.unsure().items():
            gone[hidden] = gone[hidden] | rows if hidden in gone else rows
        some = np.any(list(gone.values()), 0) if gone else np.zeros(0, bool)
        if some.any():
            sets, rank = told.sets(gone), law.siblings(house).rank
            for k in np.unique(rank[some]):
                _fill(relations, laws, house, name, np.flatnonzero(some & (rank == k)), gone, sets, seed + place)
            out[name] = law.codec.filled(tables[name], told.settled(house.x[name], gone), told)
        tick(house.rows[name])
    return out


@torch.inference_mode()
def _fill(
    relations: Relations, laws: Mapping[str, Law], house: Household, name: str, rows: np.ndarray, gone: Gone,
    sets: list[tuple[np.ndarray, Given]], seed: int,
) -> None:  # fmt: skip
    """Draws the cells of some rows that are gone."""
    law = laws[name]
    base = law.base(relations, {key: one.codec for key, one in laws.items()}, house)
    x = law.encode(house, base)
    c = law.context(house) | law.remembered(x, law.siblings(house).before)
    known = np.ones((len(rows), len(law.fields)), bool)
    idle = law.idle(base)[rows]
    for j, f in enumerate(law.fields):
        word, _, column = f.name.partition(":")
        if word in ("own", "after", "at"):
            known[:, j] = ~gone[column][rows] | idle[:, j]
    asked = [(part[rows], {f"own:{k}": v for k, v in one.items() if k in law.plain}) for part, one in sets]
    own, above = {f.name: x[f.name][rows] for f in law.fields}, {k: v[rows] for k, v in c.items()}
    drawn = filled(cast(Model, law.model), own, known, above or None, seed, silent, asked)
    for column, v in law.decode(drawn, base[rows]).items():
        house.x[name][column][rows] = np.where(gone[column][rows], v, house.x[name][column][rows])
