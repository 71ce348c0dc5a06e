"""The words of the command line for several tables."""

import argparse
from typing import Any

from .cli_fitting import json_of, words_of_fitting, words_of_reading
from .errors import PofxError

ALONE = ("table", "query", "sheet", "task", "resume", "start")


def ask_for_tables(verb: argparse.ArgumentParser) -> None:
    """What verbs ask that read several tables."""
    verb.add_argument(
        "--tables", metavar="NAMES", help="several tables of a database or folder together: all, or customers,orders"
    )
    verb.add_argument(
        "--keys",
        metavar="JSON",
        help='what holds them together, if not declared or found: {"orders": {"customer_id": "customers"}}',
    )


def ask_how_many(verb: argparse.ArgumentParser) -> None:
    """What `sample` asks: of one table a number of rows, of several a scale or a number of roots."""
    verb.add_argument("-n", "--rows", type=int, help="how many; of several tables, of the one at the top of most")
    verb.add_argument("--scale", type=float, help="of several tables: as many as were learned from, times this")


def wants_tables(told: argparse.Namespace) -> bool:
    """Whether the words are of several tables."""
    return told.tables is not None or told.keys is not None or getattr(told, "kind", "") == "tables"


def fit_several(told: argparse.Namespace) -> Any:
    """pofx fit, of several tables"""
    from .learn import fit

    if odd := [name for name in ALONE if getattr(told, name, None)]:
        word = {"start": "from"}.get(odd[0], odd[0])
        raise PofxError(f"expected several tables or one, got --{word} with --tables, --keys or --kind tables")
    words = words_of_fitting(told) | {"reading": words_of_reading(told)}
    return fit(
        told.input, minutes=told.minutes, steps=told.steps, quiet=told.quiet, tables=told.tables,
        keys=json_of(told.keys), guard=not told.no_guard, **words,
    )  # fmt: skip


def sample_several(told: argparse.Namespace, model: Any) -> str:
    """pofx sample, of several tables"""
    odd = ("balance", "to_table")
    if given := [name for name in odd if getattr(told, name, None)]:
        raise PofxError(f"expected no --{given[0].replace('_', '-')} for several tables: leave it out")
    rows = model.sample(
        told.scale, roots=told.rows, given=told.given, seed=told.seed, path=told.output, if_exists=told.if_exists,
        quiet=told.quiet,
    )  # fmt: skip
    return f"wrote {rows:,} rows of {len(model.laws)} tables to {told.output} (seed {model.last_seed})"


def score_several(told: argparse.Namespace, model: Any) -> str:
    """pofx score, of several tables"""
    if told.draws is not None or getattr(told, "to_table", None):
        raise PofxError("expected no --draws and no --to-table for several tables: leave them out")
    rows = model.score(told.input, path=told.output, if_exists=told.if_exists)
    return f"wrote {rows:,} rows of {len(model.laws)} tables with log_prob in nats to {told.output}"


def complete_several(told: argparse.Namespace, model: Any) -> str:
    """pofx complete, of several tables"""
    for name in ("draws", "hidden", "to_table"):
        if getattr(told, name, None) is not None:
            raise PofxError(f"expected no --{name.replace('_', '-')} for several tables: leave it out")
    if told.output is None:
        raise PofxError("expected a folder or a database to write several tables to, got none: give -o")
    rows = model.complete(
        told.input, seed=told.seed, path=told.output, if_exists=told.if_exists, quiet=told.quiet
    )  # fmt: skip
    return f"wrote {rows:,} rows of {len(model.laws)} tables to {told.output}"


def evaluate_several(told: argparse.Namespace, model: Any) -> str:
    """pofx evaluate, of several tables"""
    from .tables.verdict import verdict

    for name in ("holdout", "target", "sandwich", "privacy"):
        if getattr(told, name):
            raise PofxError(f"expected no --{name} for several tables: leave it out")
    words = {"seed": told.seed, "report": told.output, "json": told.json, "quiet": told.quiet}
    evidence = model.evaluate(told.train, **words)
    said = [evidence.summary(), str(verdict(evidence))]
    return "\n".join([*said, *(f"wrote {place}" for place in (told.output, told.json) if place)])


def profile_several(told: argparse.Namespace) -> str:
    """pofx profile, of several tables"""
    from .codecs.relations import rows_of
    from .codecs.several import read_several
    from .codecs.spool import in_memory

    words = in_memory(words_of_reading(told), "several tables")
    tables, relations, _, notes = read_several(told.input, told.tables or "all", json_of(told.keys), **words)
    rows_of(relations, tables)
    lines = [f"{k}: {v}" for k, v in notes.items()]
    return "\n".join([*lines, "", relations.tree({name: table.num_rows for name, table in tables.items()})])
