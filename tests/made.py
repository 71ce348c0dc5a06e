"""Small Specs and columns that the laws are examined on."""

import numpy as np

from pofx.field import MISSING
from pofx.fields import Category, Count, Real
from pofx.spec import Columns, Spec


def mixed(n: int = 400, seed: int = 0) -> Columns:
    """Levels, a count with missing cells and an atom at zero, and a real: all depend on the levels."""
    rng = np.random.default_rng(seed)
    a = np.concatenate([np.arange(3), rng.choice(3, n - 3, p=[0.5, 0.3, 0.2])]).astype(np.int32)
    b = np.where(rng.random(n) < 0.4, 0, rng.poisson(20 + 30 * a)).astype(np.int64)
    b[rng.random(n) < 0.1] = MISSING
    c = np.round(rng.normal(a * 3.0, 1.0), 2)
    d = np.concatenate([np.arange(2), (rng.random(n - 2) < 0.2 + 0.3 * a[2:]).astype(int)]).astype(np.int32)
    return {"a": a, "b": b, "c": c, "d": d}


def fields_of(x: Columns) -> dict[str, object]:
    return {
        "a": Category.learn("a", x["a"], ("u", "v", "w")),
        "b": Count.learn("b", x["b"]),
        "c": Real.learn("c", x["c"], 2),
        "d": Category.learn("d", x["d"], ("no", "yes")),
    }


def spec_of(x: Columns, condition: tuple[str, ...] = ()) -> Spec:
    """The Spec of `mixed` columns, some of them moved into the condition."""
    fields = fields_of(x)
    return Spec.table(tuple(f for k, f in fields.items() if k not in condition), tuple(fields[k] for k in condition))


def split(x: Columns, condition: tuple[str, ...]) -> tuple[Columns, Columns | None]:
    own = {k: v for k, v in x.items() if k not in condition}
    return own, ({k: x[k] for k in condition} or None)
