"""Missing cells filled from p(missing | known): draws, and their centre."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from .models.model import Model, Rows
from .spec import Columns, Given, Spec


def filled(
    model: Model,
    x: Columns,
    known: np.ndarray,
    c: Columns | None,
    seed: int,
    tick: Callable[[int], None],
    sets: Sequence[tuple[np.ndarray, Given]] = (),
) -> Columns:
    """One draw of the cells of x that are not known, (n, fields); no draw is missing where a field has other values.

    sets: (rows, bool (n,), and the sets that their cells lie in), of a model that can keep them.
    """
    rows = np.flatnonzero(~known.all(1))
    out = {f.name: x[f.name].copy() for f in model.spec.fields}
    if len(rows):
        present = {f.name: f.present() for f in model.spec.fields if f.has_missing and len(f.mass) > 1}
        z = model.noise(len(rows), torch.Generator().manual_seed(seed))
        apart = sets if "given" in model.abilities else ()
        other = ~np.any([part for part, _ in apart], 0) if apart else np.ones(len(known), bool)
        for part, given in (*apart, (other, {})):
            at = np.flatnonzero(part[rows])
            if len(at):
                mine = rows[at]
                held: Rows = ({k: v[mine] for k, v in x.items() if k in out}, known[mine])
                some = {k: v[mine] for k, v in c.items()} if c else None
                for name, v in model.decode(z[at], some, present | given or None, held).items():
                    out[name][mine] = v
    tick(len(known))
    return out


def centre(spec: Spec, draws: list[Columns], known: np.ndarray) -> Columns:
    """One best value for each cell that is not known: the mode of levels, the median of numbers."""
    out = {}
    for j, field in enumerate(spec.fields):
        all_of = np.stack([m[field.name] for m in draws])
        best = all_of[0].copy()
        gaps = np.flatnonzero(~known[:, j])
        if len(gaps) and field.dtype == np.int32:
            best[gaps] = [np.bincount(v + 1).argmax() - 1 for v in all_of[:, gaps].T]
        elif len(gaps):
            best[gaps] = np.sort(all_of[:, gaps], 0)[len(draws) // 2]
        out[field.name] = best
    return out
