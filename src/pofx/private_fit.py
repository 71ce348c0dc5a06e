"""`fit(epsilon=...)`: a table learned under differential privacy; all that its file holds is bought or declared public.

    1. each row goes to training or to test by a hash of its own cells (or of its entity's key), so that one more row
       moves no other; of an entity one row is kept, the one of the smallest hash;
    2. a fifth of the budget buys how columns are read (codecs/private.py);
    3. the rest buys the model: counts of `mst` (models/baselines/mst.py), or the steps of `any_order`
       (training/private.py), whose number is settled before they begin.

Nothing else reads the rows: no guard, verdict, validation, early stopping, remarks, dependencies or fingerprint. Half
of delta goes to vocabularies, half to the conversion of rho. Numbers of rows in the file are noisy ones.
"""

import math
import platform
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from .codecs.places import Place, located, named
from .codecs.private import learn_private
from .codecs.spool import in_memory
from .codecs.tabular_io import read_table
from .errors import SpecError, Unsupported
from .fields import Category
from .fitted_table import FittedTable
from .models import create, sized
from .models.baselines.mst import MST, SHARES
from .models.model import Model
from .opening import kind_of
from .privacy import KNOWN, Budget, Randomness, check_terms, deviation, epsilon_of, rho_of
from .progress import bar, say
from .spec import Columns
from .split import private_parts
from .training.private import accountant, fit_steps
from .version import __version__

PRIVATE = ("mst", "any_order")
DELTA = 1e-6
READING = 0.2  # of rho, for how columns are read
WIDE = 0.3  # noise of a pair's cells, summed, as a share of the rows, that bins are chosen for
BINS = 32  # of a number
PRIVATE_ORDER = {"size": "small", "fine": 1, "dropout": 0.0}
NOTHING_ELSE = "no guard, verdict, validation, early stopping, remarks, dependencies or fingerprint"
WHY_NOT = {
    "condition": "the law of a condition is learned without noise: leave condition out",
    "labels": "labels are of images: leave them out",
    "resume": "a private fit is not resumed, since its noise is drawn anew: leave resume out",
    "start": "the weights of a model that was fitted without noise tell of its rows: leave start (--from) out",
    "constraints": "what holds in every row is learned from the rows without noise: leave constraints out",
    "dirty": "rows that break constraints are told by the rows: leave dirty out",
    "rare": "the noisy threshold merges rare levels already: leave rare out",
}


def asked_privately(
    source: Any, kind: str, odd: Mapping[str, Any], missing: str, epsilon: float | None, **words: Any
) -> FittedTable:
    """`fit_private` of what `fit` was asked.

    Raises SpecError where delta or a unit came without epsilon, Unsupported for what has no private form.
    """
    if epsilon is None:
        raise SpecError("expected epsilon beside delta or unit, got none: give it, 1 is strict, 10 is loose")
    check_terms(epsilon, DELTA if words["delta"] is None else words["delta"], words["unit"])
    if (kind if kind != "auto" else kind_of(located(source, words["reading"])[0])) != "table":
        raise Unsupported("expected a table with epsilon, got other data: private training is of tables alone")
    for name, value in odd.items():
        if value is not None and value is not False and value != () and value != []:
            raise Unsupported(f"expected no {name} with epsilon: {WHY_NOT[name]}")
    if missing != "state":
        raise Unsupported("expected missing='state' with epsilon: missing cells are counted as a state")
    return fit_private(source, epsilon=epsilon, **words)


def fit_private(
    source: Any,
    *,
    epsilon: float,
    delta: float | None,
    unit: str,
    model: str,
    minutes: float | None,
    steps: int | None,
    size: str | None,
    seed: int,
    fields: Mapping[str, Any] | None,
    split: Sequence[float],
    quiet: bool,
    reading: Mapping[str, Any] | None,
    config: Mapping[str, Any],
    noise_seed: int | None = None,
) -> FittedTable:
    """The model of a table under (epsilon, delta)-privacy of a unit, "rows" or the entities of a key column.

    noise_seed is for tests: noise of a known seed hides nothing, and the bundle then says so. Raises SpecError for
    terms that are none and for too few rows, Unsupported for models and words that have no private form.
    """
    began = time.monotonic()
    delta = DELTA if delta is None else delta
    check_terms(epsilon, delta, unit)
    model = "mst" if model == "auto" else model
    if model not in PRIVATE:
        raise Unsupported(f"model {model!r} has no private training: these have: {', '.join(PRIVATE)}")
    if model == "any_order":
        accountant()
    source, words = located(source, in_memory(reading, "tables under privacy"))
    with bar("reading", None, "row", quiet) as tick:
        rows, container = read_table(source, **words)
        if unit != "rows" and unit not in rows.column_names:
            raise SpecError(
                f'expected unit as "rows" or among the columns {", ".join(map(repr, rows.column_names))}, got {unit!r}'
            )
        train, _ = private_parts(rows, split, seed, unit)
        tick(len(rows))
    declared = dict(fields or {}) | ({unit: "drop"} if unit != "rows" else {})
    noise, rho = Randomness(noise_seed), rho_of(epsilon, delta / 2)
    budget = Budget(rho, delta / 2, noise)
    codec, rows, public = learn_private(train, declared, budget, READING * rho, delta / 2, container)
    x, told = codec.encode(rows), (sized(model, size) if size is not None else {}) | dict(config)
    if model == "mst":
        made, done = _counted(codec, x, budget, (1 - READING) * rho, told)
        cost = epsilon_of(rho, delta / 2)
    else:
        levels = max((len(f.mass) for f in codec.spec.fields if isinstance(f, Category)), default=0)
        bins = max(BINS, levels // 2 + 1)  # so that each level has one code
        made = create(model, codec.spec, seed, **(PRIVATE_ORDER | {"bins": bins} | told))
        done, cost = fit_steps(
            made, x, noise, READING * rho, epsilon, delta / 2, codec.rows, steps, minutes, seed, quiet
        )
    terms = _terms(epsilon, delta, cost, unit, done.pop("accountant"), budget, public)
    say(terms["words"], quiet)
    provenance: dict[str, Any] = named(source, f"a {container} frame") | {
        "model": model, "config": made.config, "seed": seed, "split": list(split), "rows": codec.rows,
        "train_rows": codec.rows, "fingerprint": None, "container": container, "notes": {}, "privacy": terms,
        "reading": words | (source.words if isinstance(source, Place) else {}),
        "fit": done | {"fit seconds": time.monotonic() - began},
        "versions": {"pofx": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }  # fmt: skip
    return FittedTable(made.eval(), codec, provenance)


def _terms(
    epsilon: float, delta: float, cost: float, unit: str, accountant: str, budget: Budget,
    public: Mapping[str, list[str]],
) -> dict[str, Any]:  # fmt: skip
    """The guarantee, what it cost and what it does not cover, as a bundle keeps them."""
    terms = {
        "epsilon": float(epsilon), "delta": float(delta), "epsilon spent": cost, "unit": unit,
        "neighbours": "one row more or less" if unit == "rows" else f"one {unit} more or less, one row of each kept",
        "accountant": accountant, "noise": "of the system" if budget.noise.seed is None else KNOWN,
        "spent, rho": dict(budget.spent), "public": {**public, "all columns": ["name", "type"]},
        "left out": NOTHING_ELSE,
    }  # fmt: skip
    return terms | {"words": words_of(terms)}


def _counted(
    codec: Any, x: Columns, budget: Budget, rho: float, told: Mapping[str, Any]
) -> tuple[Model, dict[str, Any]]:
    """`mst` with as many bins as the noise leaves room for."""
    pairs = max(len(codec.spec.fields) - 1, 1)
    room = math.sqrt(WIDE * codec.rows / max(deviation(SHARES[2] * rho / pairs), 1e-9))
    made = create("mst", codec.spec, **({"bins": int(np.clip(room, 4, 32))} | dict(told)))
    if isinstance(made, MST):
        made.fit_noised({f.name: x[f.name] for f in codec.spec.fields}, budget, rho)
    return made, {"steps": 0, "stopped": "closed form", "accountant": "zCDP (Bun, Steinke 2016; privacy.py)"}


def words_of(terms: Mapping[str, Any]) -> str:
    """The guarantee in a sentence."""
    named_public = [name for name in terms["public"] if name != "all columns"]
    return (
        f"epsilon {terms['epsilon']:g}, delta {terms['delta']:g}, unit {terms['unit']} ({terms['neighbours']}), by "
        f"{terms['accountant']}, noise {terms['noise']}; public: names and types of columns"
        + (f", and what was declared of {', '.join(named_public)}" if named_public else "")
        + f"; {terms['left out']}"
    )
