"""What an attacker who holds the synthetic rows learns of people, beyond what holds of people in general.

Each attack is made on rows that were learned from, on as many control rows that were not, and by a guess that reads no
row as a whole. What it can do on control rows is knowledge of the population; what it can do beyond is a leak:

    risk = (s_train - s_control) / (1 - s_control),    s the share of attacks that succeed.

- singling out: a predicate that exactly one row fulfils. Of one column: below or above all synthetic numbers, or a
  value that one synthetic row has; of several: a synthetic row's levels, and its numbers or beyond, away from the
  median. The guess draws the columns of such a row apart from one another.
- linkability: the columns in two halves; both halves of a row lie among the nearest of one and the same synthetic row.
- inference: one column is taken from the synthetic row that is nearest in all others; right is the same level, or a
  number within 5 %. The guess takes a synthetic row at random.

Intervals are Wilson's, of the risk by propagation. Paper: Giomi, Boenisch, Wehmeyer, Tasnadi 2023, A Unified Framework
for Quantifying Privacy Risk in Synthetic Data.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import Unsupported
from ..field import Field
from ..spec import Columns
from . import codes, count, is_level, numbers, some, take
from .interval import wilson

LEAST = 100
TARGETS, GUESSES = 1000, 2000
FAKE = 10_000
TOGETHER = (2, 8)  # columns of a predicate
NEAREST = 10
SECRETS = 20  # columns that are inferred, at most
NEAR = 0.05  # how far off a number may be, as a share of it
BLOCK = 2**22  # distances in a block, of all columns

Predicate = tuple[tuple[int, str, float], ...]
"""(column, sign, value), all of which hold; the sign is =, < (or equal) or > (or equal)."""


def attacks(
    fields: tuple[Field, ...], fake: Columns, train: Columns, control: Columns, seed: int = 0
) -> dict[str, Any]:
    """The attacks, each with its shares of success and its risk, and what follows in words.

    Raises Unsupported where there are fewer than 100 rows of a kind or one column.
    """
    size = min(count(train), count(control))
    if min(size, count(fake)) < LEAST or len(fields) < 2:
        raise Unsupported(
            f"expected {LEAST} synthetic, training and unseen rows and two columns for attacks, got {count(fake)}, "
            f"{count(train)}, {count(control)} and {len(fields)}: give more"
        )
    rng = np.random.default_rng([seed, 60])
    real = [some(x, size, rng) for x in (train, control)]
    fake = some(fake, FAKE, rng)
    rows = [*_singled(fields, fake, real, rng), *_near(fields, fake, real, rng)]
    return {"rows": rows, "words": _words(rows), "size": size}


def _row(name: str, says: str, good: np.ndarray, trials: int, **more: Any) -> dict[str, Any]:
    """good: successes on training rows, on control rows, and of guesses, of so many trials each."""
    shares = good / max(trials, 1)
    spans = [wilson(s, trials) for s in shares]
    half = [(high - low) / 2 for low, high in spans]
    gap = max(1 - shares[1], 1e-9)
    risk = float((shares[0] - shares[1]) / gap)
    spread = math.hypot(half[0] / gap, half[1] * (1 - shares[0]) / gap**2)
    told = {k: [float(s), *v] for k, s, v in zip(("train", "control", "guess"), shares, spans, strict=True)}
    return {
        "name": name,
        "says": says,
        "trials": trials,
        **told,
        "risk": [risk, float(risk - spread), float(risk + spread)],
        **more,
    }


def _words(rows: list[dict[str, Any]]) -> str:
    leaks = [row["name"] for row in rows if row["risk"][1] > 0]
    idle = [row["name"] for row in rows if row["train"][0] <= row["guess"][2] and row["name"] not in leaks]
    words = (
        f"leaks: {', '.join(leaks)} succeed more often on training rows than on control rows"
        if leaks
        else "no attack succeeds more often on training rows than on control rows, at 95 %"
    )
    weak = f"; {', '.join(idle)} did no better than a guess, and shows little" if idle else ""
    return f"{words}{weak}. This is evidence of what these attacks find, and no guarantee."


# -- singling out ------------------------------------------------------------------------------------------------------


def _singled(
    fields: tuple[Field, ...], fake: Columns, real: list[Columns], rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    stacked = [_stacked(fields, x) for x in (fake, *real)]
    apart = np.stack([rng.permutation(v) for v in stacked[0]])
    flat = [is_level(f) for f in fields]
    for name, says, make in (
        ("singling out by one column", "a value or an end of one column that one row alone has", _of_one),
        ("singling out by several columns", "2 to 8 columns of a synthetic row that one row alone has", _of_many),
    ):
        told, guessed = make(stacked[0], flat, rng), make(apart, flat, rng, guess=True)
        trials = min(len(told), len(guessed))
        if trials:
            good = [_alone(told[:trials], x) for x in stacked[1:]] + [_alone(guessed[:trials], stacked[1])]
            yield _row(name, says, np.array(good, float), trials)


def _stacked(fields: tuple[Field, ...], x: Columns) -> np.ndarray:
    """(F, n) float64: codes of levels, numbers, missing NaN."""
    return np.stack([
        np.where(x[f.name] < 0, np.nan, x[f.name].astype(float)) if is_level(f) else numbers(f, x) for f in fields
    ])  # fmt: skip


def _of_one(x: np.ndarray, flat: list[bool], rng: np.random.Generator, guess: bool = False) -> list[Predicate]:
    out: list[Predicate] = []
    for j, v in enumerate(x):
        v = v[np.isfinite(v)]
        if not len(v):
            continue
        if guess:  # any value, and any sign
            picked = rng.choice(v, min(len(v), GUESSES // len(x) + 1))
            out += [((j, "=" if flat[j] else "=<>"[rng.integers(3)], float(t)),) for t in picked]
            continue
        levels, seen = np.unique(v, return_counts=True)
        out += [((j, "=", float(t)),) for t in levels[seen == 1]]
        out += [] if flat[j] else [((j, "<", float(v.min())),), ((j, ">", float(v.max())),)]
    return [out[i] for i in rng.permutation(len(out))[:GUESSES]]


def _of_many(x: np.ndarray, flat: list[bool], rng: np.random.Generator, guess: bool = False) -> list[Predicate]:
    """Of random rows (`guess`: rows whose columns were drawn apart)."""
    middle = [float(np.median(v[np.isfinite(v)])) if np.isfinite(v).any() else 0.0 for v in x]
    out = []
    for i in rng.integers(0, x.shape[1], GUESSES):
        columns = rng.permutation(len(x))[: rng.integers(TOGETHER[0], TOGETHER[1] + 1)]
        signs = ["=" if flat[j] else ">" if x[j, i] > middle[j] else "<" for j in columns]
        out.append(tuple((int(j), s, float(x[j, i])) for j, s in zip(columns, signs, strict=True)))
    return [p for p in out if all(math.isfinite(v) for _, _, v in p)]


def _alone(predicates: list[Predicate], x: np.ndarray) -> int:
    """How many of the predicates one row alone fulfils."""
    good = 0
    for predicate in predicates:
        holds = np.ones(x.shape[1], bool)
        for j, sign, value in predicate:
            holds &= x[j] == value if sign == "=" else x[j] <= value if sign == "<" else x[j] >= value
        good += int(np.count_nonzero(holds) == 1)
    return good


# -- nearest rows ------------------------------------------------------------------------------------------------------


def _near(
    fields: tuple[Field, ...], fake: Columns, real: list[Columns], rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    targets = [take(x, rng.permutation(count(x))[:TARGETS]) for x in real]
    trials, m = count(targets[0]), count(fake)
    halves = np.array_split(rng.permutation(len(fields)), 2)
    secret = np.sort(rng.permutation(len(fields))[:SECRETS])
    spans = [_span(f, fake) for f in fields]
    linked, found = zip(*(_matched(fields, spans, t, fake, halves, secret) for t in targets), strict=True)
    k = min(NEAREST, m)
    yield _row(
        "linkability", f"two halves of the columns lie among the {k} nearest of one synthetic row",
        np.array([*map(float, linked), trials * -math.expm1(k * math.log1p(-k / m) if k < m else -50.0)]), trials,
    )  # fmt: skip
    any_row = rng.integers(0, m, trials)
    each = []
    for at, j in enumerate(secret):
        good = [_right(fields[j], t, fake, row[:, at]) for t, row in zip(targets, found, strict=True)]
        good.append(_right(fields[j], targets[0], fake, any_row))
        each.append(_row(fields[j].name, "", np.array([g.sum() for g in good], float), trials))
    total = np.array([[row[k][0] * trials for k in ("train", "control", "guess")] for row in each]).sum(0)
    worst = sorted(each, key=lambda row: -row["risk"][1])[:5]
    told = _row("inference", "one column from all others, the mean of columns", total / len(each), trials)
    yield told | {"columns": [{k: row[k] for k in ("name", "train", "control", "guess", "risk")} for row in worst]}


def _span(field: Field, x: Columns) -> float:
    v = numbers(field, x) if not is_level(field) else np.zeros(0)
    v = v[np.isfinite(v)]
    return max(float(np.ptp(v)), 1e-12) if len(v) else 1.0


def _apart(field: Field, span: float, a: Columns, b: Columns) -> np.ndarray:
    """Distances of a column, (n, m) float32: 1 where levels differ, numbers by the range, 1 where one is missing."""
    if is_level(field):
        code, other = (x[field.name].astype(np.int32) for x in (a, b))
        return (code[:, None] != other[None, :]).astype(np.float32)
    u, v = ((numbers(field, x) / span).astype(np.float32) for x in (a, b))
    out = np.abs(u[:, None] - v[None, :])
    gone = np.isnan(u)[:, None] & np.isnan(v)[None, :]
    return np.where(gone, np.float32(0), np.nan_to_num(np.minimum(out, 1.0), nan=1.0))


def _matched(
    fields: tuple[Field, ...], spans: list[float], targets: Columns, fake: Columns, halves: list[np.ndarray],
    secret: np.ndarray,
) -> tuple[int, np.ndarray]:  # fmt: skip
    """(how many targets are linked; for each target and secret column the nearest synthetic row in all others)."""
    n, m, linked, found = count(targets), count(fake), 0, []
    step = max(1, BLOCK // (m * max(len(fields), 1)))
    k = min(NEAREST, m) - 1
    for start in range(0, n, step):
        some_rows = {name: v[start : start + step] for name, v in targets.items()}
        apart = [_apart(f, s, some_rows, fake) for f, s in zip(fields, spans, strict=True)]
        sides = [np.sum([apart[j] for j in half], 0) for half in halves]
        near = [np.argpartition(side, k, 1)[:, : k + 1] for side in sides]
        linked += sum(bool(set(a) & set(b)) for a, b in zip(*map(np.ndarray.tolist, near), strict=True))
        whole = sides[0] + sides[1]
        found.append(np.stack([(whole - apart[j]).argmin(1) for j in secret], 1))
    return linked, np.concatenate(found)


def _right(field: Field, targets: Columns, fake: Columns, row: np.ndarray) -> np.ndarray:
    """Whether the column's cells are those of these synthetic rows, numbers to within 5 %."""
    if is_level(field):
        a, b = codes(field, targets, fake)
        return a == b[row]
    a, b = numbers(field, targets), numbers(field, fake)[row]
    return np.where(np.isnan(a), np.isnan(b), np.abs(a - b) <= NEAR * np.abs(a) + 1e-12)
