"""Samples in which the values of a column have shares that are asked for: what `sample(balance=...)` draws."""

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .codecs.conditions import about, both, empty
from .errors import SpecError
from .field import Field
from .fields import Category
from .spec import Given

Sets = Callable[[Any], Given | None]
WORDS = 'income, or {"income": {">50K": 0.3}}, or {"age": {"< 30": 0.5, ">= 30": 0.5}}'


@dataclass(frozen=True)
class Part:
    """A part of a sample: its share of the rows, and the sets in which they lie."""

    share: float
    sets: Given


def parts_of(
    asked: str | Mapping[str, Any], fields: Mapping[str, Field], sets: Sets, given: Given | None
) -> list[Part]:
    """The parts of a sample that is balanced as asked, within the conditions `given`.

    asked: a column, whose levels get equal shares, or for columns the shares of their values, by level or by a
    condition without the column's name; levels that are not named share the rest as they did in the data. Several
    columns are independent of each other. Raises SpecError for shares that are not from 0 to 1 or do not sum to 1,
    values that overlap, a column without levels that is to be balanced, and one that `given` names too; CodecError for
    conditions that cannot hold.
    """
    if isinstance(asked, str):
        asked = {asked: None}
    each: list[list[Part]] = []
    for name, shares in asked.items():
        field = fields.get(name)
        if field is None:
            sets({name: 0})  # says which columns there are
            raise SpecError(f"expected a column that is learned, got {name!r}: it follows from others, or is made anew")
        if given and name in given:
            raise SpecError(f"expected {name!r} among the conditions or balanced, got both: leave one out")
        made = _parts_of_column(name, field, shares, sets)
        held = {root for part in made for root in part.sets}
        if held & {*(given or ()), *(root for other in each for part in other for root in part.sets)}:
            raise SpecError(f"expected {name!r} to be free, got it beside a column that one constraint holds with it: "
                            "leave one out")  # fmt: skip
        each.append(made)
    return [
        Part(math.prod(part.share for part in row), {k: v for part in row for k, v in part.sets.items()})
        for row in itertools.product(*each)
    ]


def _parts_of_column(name: str, field: Field, shares: Mapping[Any, float] | None, sets: Sets) -> list[Part]:
    levels = list(field.levels) if isinstance(field, Category) else []
    if shares is None:
        if not levels:
            raise SpecError(f"expected shares of the values of {name!r}, which has no levels, got none: write {WORDS}")
        shares = {level: 1 / len(levels) for level in levels}
    if not isinstance(shares, Mapping) or not all(_is_share(v) for v in shares.values()):
        raise SpecError(f"expected shares from 0 to 1 of values of {name!r}, got {shares!r}: write {WORDS}")
    made = [Part(share, sets(about(name, key, levels)) or {}) for key, share in shares.items() if share > 0]
    for a, b in itertools.combinations([one for part in made for one in part.sets.values()], 2):
        if not empty(both(a, b)):
            raise SpecError(
                f"expected values of {name!r} that exclude each other, got some that overlap: write {WORDS}"
            )
    total = math.fsum(shares.values())
    named = {str(key) for key in shares}
    rest = [level for level in levels if level not in named]
    if total > 1 + 1e-9 or (total < 1 - 1e-9 and not (rest and named <= set(levels))):
        raise SpecError(f"expected shares of {name!r} that sum to 1, got {total:g}: write {WORDS}")
    if total < 1 - 1e-9:
        made.append(Part(1 - total, sets({name: rest}) or {}))
    return made


def _is_share(v: Any) -> bool:
    return isinstance(v, int | float) and not isinstance(v, bool) and 0 <= v <= 1


def read_balance(words: str) -> str | Mapping[str, Any]:
    """What a command line asked for: a column, or shares as JSON. Raises SpecError for JSON that is no object."""
    if not words.lstrip().startswith("{"):
        return words
    try:
        return dict(json.loads(words))
    except (ValueError, TypeError) as error:
        raise SpecError(f"expected a column or JSON, {WORDS}, got {words!r}") from error


def dealt(parts: Sequence[Part], rows: int, rng: np.random.Generator) -> np.ndarray:
    """The part of each of so many rows, in random order: shares to within a row, whose part is drawn."""
    exact = np.array([part.share for part in parts]) * rows
    counts = np.floor(exact + 1e-9).astype(int)
    left = rows - counts.sum()
    if left > 0:
        over = np.maximum(exact - counts, 1e-12)
        counts[rng.choice(len(parts), left, replace=False, p=over / over.sum())] += 1
    return rng.permutation(np.repeat(np.arange(len(parts)), counts))
