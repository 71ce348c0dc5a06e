"""A made table with a category that decides a number, correlated numbers, a rare level and missing cells."""

import numpy as np

from pofx.fields import Category, Integer, Real
from pofx.spec import Columns, Spec

LEVELS = ("a", "b", "c", "rare")


def rows(n: int, seed: int) -> Columns:
    rng = np.random.default_rng(seed)
    kind = rng.choice(4, n, p=[0.5, 0.3, 0.194, 0.006]).astype(np.int32)
    x = np.round(rng.normal(kind, 1.0), 3)
    y = np.round(0.8 * x + 0.6 * rng.normal(size=n), 3)
    gap = np.where(rng.random(n) < 0.1, np.nan, np.round(rng.exponential(1.0, n), 2))
    label = (rng.random(n) < 1 / (1 + np.exp(-2 * y))).astype(np.int32)
    return {"kind": kind, "twice": 2 * kind.astype(np.int64) + 1, "x": x, "y": y, "gap": gap, "label": label}


def spec_of(x: Columns) -> Spec:
    fields = (
        Category.learn("kind", x["kind"], LEVELS),
        Integer.learn("twice", x["twice"]),
        Real.learn("x", x["x"], 3),
        Real.learn("y", x["y"], 3),
        Real.learn("gap", x["gap"], 2),
        Category.learn("label", x["label"], ("no", "yes")),
    )
    return Spec.table(fields)


def noisy(x: Columns, share: float, seed: int) -> Columns:
    """Each cell replaced with probability `share` by independent noise, uniform over the range."""
    rng, out = np.random.default_rng(seed), {}
    for name, v in x.items():
        hit, n = rng.random(len(v)) < share, len(v)
        if v.dtype.kind == "f":
            noise = np.round(rng.uniform(np.nanmin(v), np.nanmax(v), n), 2)
        else:
            noise = rng.integers(v.min(), v.max() + 1, n).astype(v.dtype)
        out[name] = np.where(hit, noise, v).astype(v.dtype)
    return out
