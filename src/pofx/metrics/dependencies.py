"""Broken dependencies: rules of the form "a decides b" that hold in every training row."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import Answer, Answers, Case, Skip, codes, count, is_level, metric
from .interval import wilson
from .two_sample import level_name

COLUMNS = 200
PROBE = 1000
CHECKS = 20.0


@dataclass(frozen=True)
class Dependency:
    """a decides b in the training rows: `image[code of a]` is the code of b, -1 where that a was not seen."""

    a: str
    b: str
    image: np.ndarray


def find(real: dict[str, np.ndarray]) -> list[Dependency]:
    """The dependencies between columns of codes from 0 that hold in every row and could have failed.

    Kept where a repeats (at most one value for ten rows), b varies, and, were they independent, twenty rows or more
    would have broken the rule: (n - distinct a) (1 - sum p_b^2) >= 20.
    """
    sizes = {name: len(np.unique(v)) for name, v in real.items()}
    n = len(next(iter(real.values())))
    names = [name for name in real if 1 < sizes[name] <= n / 10][:COLUMNS]
    spread = {name: 1 - float(((np.bincount(real[name]) / n) ** 2).sum()) for name in names}
    out = []
    for a in names:
        for b in names:
            if a != b and sizes[b] <= sizes[a] and (n - sizes[a]) * spread[b] >= CHECKS:
                if _holds(real[a][:PROBE], real[b][:PROBE]) and _holds(real[a], real[b]):
                    out.append(Dependency(a, b, _image(real[a], real[b])))
    return out


def _image(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    out = np.full(int(a.max()) + 1, -1, np.int64)
    out[a] = b
    return out


def _holds(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((_image(a, b)[a] == b).all())


def broken(rule: Dependency, fake: dict[str, np.ndarray]) -> np.ndarray:
    """The rows whose b is not the one that goes with their a; an a never seen breaks nothing."""
    a, b = fake[rule.a], fake[rule.b]
    known = (a >= 0) & (a < len(rule.image))
    image = np.where(known, rule.image[np.where(known, a, 0)], -1)
    return (image >= 0) & (image != b)


@metric(
    group="fidelity",
    better={"broken_dependencies": "lower"},
    says={"broken_dependencies": "share of rows that break a rule which every training row keeps"},
)
def dependencies(case: Case) -> Answers:
    """The share of rows that break at least one functional dependency "a decides b" of the training rows.

    Missing is a value like another. The detail lists each rule with its share and one example.
    """
    pairs = {f.name: [code + 1 for code in codes(f, case.train, case.fake)] for f in case.fields}
    real, fake = ({name: pair[i] for name, pair in pairs.items()} for i in (0, 1))
    rules = find(real)
    if not rules:
        raise Skip("no column decides another in the training rows")
    listed: list[dict[str, Any]] = []
    bad, n = np.zeros(count(case.fake), bool), count(case.fake)
    for rule in rules:
        rows = broken(rule, fake)
        bad |= rows
        listed.append({"a": rule.a, "b": rule.b, "share": float(rows.mean()), "example": _example(case, rule, rows)})
    share = float(bad.mean())
    low, high = wilson(share, n)
    listed.sort(key=lambda r: -r["share"])
    return {"broken_dependencies": Answer(share, None, n, {"rules": listed}, low, high)}


def _example(case: Case, rule: Dependency, rows: np.ndarray) -> str:
    at = np.flatnonzero(rows)
    return " with ".join(f"{name} = {_shown(case, name, at[0])}" for name in (rule.a, rule.b)) if len(at) else ""


def _shown(case: Case, name: str, row: int) -> Any:
    f = next(f for f in case.fields if f.name == name)
    v = case.fake[name][row]
    return level_name(f, int(v)) if is_level(f) else ("missing" if f.absent(np.array([v]))[0] else v.item())
