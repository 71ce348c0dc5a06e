"""`fit` of several tables: read them, learn how each is read, train the law of each."""

import platform
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..codecs.places import named
from ..codecs.relations import rows_of
from ..codecs.several import read_several
from ..codecs.spool import in_memory
from ..errors import SpecError, Unsupported
from ..learn import SPARE, SPLIT, pick_device, torch_threads
from ..progress import bar, say
from ..spec import Columns
from ..split import fingerprint
from ..training.course import Course
from ..version import __version__
from .fitted import FittedTables
from .household import TEST, TRAIN, VALID, Household, learned, shared
from .law import Law
from .verdict import verdict

DEFAULTS = {"size": "small", "bins": 32, "dropout": 0.2}  # of any_order: contexts tell much of few rows, by heart
LEAST = 0.03  # of all cells, that a table counts beside its own when minutes are shared


def fit_tables(
    source: Any,
    *,
    tables: Sequence[str] | str | None = None,
    keys: Mapping[str, Any] | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    fields: Mapping[str, Any] | None = None,
    constraints: Mapping[str, Any] | Sequence[str] | str | None = "found",
    dirty: str = "clean",
    device: str = "auto",
    threads: int | None = None,
    split: Sequence[float] = SPLIT,
    quiet: bool = False,
    reading: Mapping[str, Any] | None = None,
    precision: str = "auto",
    memory: int = 1,
    guard: bool = True,
    **config: Any,
) -> FittedTables:
    """Learns the tables of a database, of a folder of files, or of a mapping from names to frames.

    tables: "all" or names; keys: {"orders": {"key": "id", "customer_id": "customers"}} in place of those that are
    declared or found; fields: of each table, {"orders": {"zip": "category"}}; minutes are shared among the tables by
    their cells, steps are for each; constraints: of each table, {"orders": ["net <= total"]}, or "found" or "none" for
    all of them (household.learned). The other arguments are those of `fit`, further ones go to any_order, whose size is
    small unless said (DEFAULTS). memory: how many earlier siblings a row is drawn given. guard: at the end tables are
    drawn and judged by the validation rows, where there are some, with a verdict (verdict.py).

    Raises what `read_several` does; Unsupported for arguments that are of one table alone.
    """
    began = time.monotonic()
    if memory < 1:
        raise SpecError(f"expected a memory of one earlier sibling or more, got {memory}")
    words = in_memory(reading, "several tables")
    with bar("reading", None, "row", quiet) as tick:
        found, relations, container, notes = read_several(source, tables or "all", keys, **words)
        tick(sum(table.num_rows for table in found.values()))
        if odd := set(fields or {}) - set(found):
            raise SpecError(f"expected fields of the tables {', '.join(map(repr, found))}, got {sorted(odd)[0]!r}")
        parent = rows_of(relations, found)
        rows = {name: table.num_rows for name, table in found.items()}
        part = shared(relations, parent, rows, split, seed)
        codecs = learned(found, relations, part, fields, _rules(constraints, found), dirty)
        house = Household.read(found, relations, codecs, parent)
    notes |= {
        f"{name}, constraints": "; ".join(rule.words for rule in codec.held.rules)
        for name, codec in codecs.items()
        if codec is not None and codec.held.rules
    }
    say("\n".join(f"{k}: {v}" for k, v in notes.items()) + f"\n{relations.tree(rows)}", quiet)
    laws: dict[str, tuple[Law, Columns]] = {}
    for member in relations:
        train = part[member.name] == TRAIN
        if not train.any():
            raise SpecError(f"expected rows of {member.name!r} to learn from, got none: another split, or more roots")
        laws[member.name] = Law.look(member, relations, codecs, house, train, memory, seed, DEFAULTS | config)
    done = _train(laws, part, minutes, began, steps, seed, device, threads, precision, quiet)
    alone = {
        m.name: int((parent[m.name, m.context.column] < 0).sum()) for m in relations if m.context is not None
    }  # fmt: skip
    provenance: dict[str, Any] = named(source, "frames") | {
        "container": container, "notes": notes, "rows": rows, "alone": alone, "seed": seed, "split": list(split),
        "fingerprint": {name: fingerprint(table) for name, table in found.items()},
        "reading": words, "keys": notes["keys"], "fit": done,
        "fit seconds": time.monotonic() - began,
        "versions": {"pofx": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }  # fmt: skip
    made = FittedTables.of(relations, {k: law for k, (law, _) in laws.items()}, found, provenance)
    if guard and (part[made.main] == VALID).any():
        with torch_threads(threads):
            evidence = made.judged(house, _validated(part), seed, quiet)
        told = verdict(evidence)
        provenance["verdict"] = told.to_json()
        say(str(told), quiet)
    return made


def _validated(part: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The parts with validation rows in the place of the test rows, which stay unseen."""
    return {name: np.where(of == VALID, TEST, np.where(of == TEST, VALID, of)) for name, of in part.items()}


def _rules(constraints: Any, tables: Mapping[str, Any]) -> Mapping[str, Any] | str | None:
    """Raises SpecError for constraints that are of no table by its name."""
    if constraints in ("found", "none", None):
        return constraints
    if not isinstance(constraints, Mapping):
        raise SpecError(f'expected constraints by table, {{"orders": ["net <= total"]}}, got {constraints!r}')
    if odd := set(constraints) - set(tables):
        raise SpecError(f"expected constraints of the tables {', '.join(map(repr, tables))}, got {sorted(odd)[0]!r}")
    return constraints


def _train(
    laws: Mapping[str, tuple[Law, Columns]], part: Mapping[str, np.ndarray], minutes: float | None, began: float,
    steps: int | None, seed: int, device: str, threads: int | None, precision: str, quiet: bool,
) -> dict[str, Any]:  # fmt: skip
    """Trains each law; what happened, in plain values."""
    where, out = pick_device(device), {}
    until = None if minutes is None else began + 60 * minutes * (1 - SPARE[1])
    own = {k: len(part[k]) * len(law.fields) for k, (law, _) in laws.items() if law.model is not None}
    cells = {k: n + LEAST * sum(own.values()) for k, n in own.items()}  # a small table has steps to learn from too
    left = float(sum(cells.values()))
    for name in cells:
        law, x = laws[name]
        now = time.monotonic()
        ends = until and now + (until - now) * cells[name] / left
        left -= cells[name]
        with torch_threads(threads):
            out[name] = _trained(name, law, x, part[name], ends, steps, seed, where, precision, quiet)
    return out


def _trained(
    name: str, law: Law, x: Columns, part: np.ndarray, until: float | None, steps: int | None, seed: int, device: str,
    precision: str, quiet: bool,
) -> dict[str, Any]:  # fmt: skip
    """Trains one law."""
    if law.model is None or law.spec is None:
        raise Unsupported(f"the table {name!r} has nothing to learn")
    train, valid = ({k: v[part == kind] for k, v in x.items()} for kind in (TRAIN, VALID))
    return Course(law.spec, seed, device, precision, steps, until, quiet=quiet, name=name).run(law.model, train, valid)


def refuse(**asked: Any) -> None:
    """Raises Unsupported for arguments that are of one table alone."""
    if odd := [name for name, value in asked.items() if value]:
        raise Unsupported(
            f"expected no {odd[0]} with several tables, which any_order learns: leave it out, or fit one table"
        )
