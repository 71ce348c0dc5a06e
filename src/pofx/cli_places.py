"""The words of the command line for tables in databases and workbooks: which one is read, and which one is written."""

import argparse
from typing import Any

from .codecs.places import IF_EXISTS, WORDS, Place, place_of
from .errors import PofxError


def ask_where(verb: argparse.ArgumentParser) -> None:
    """What verbs ask of a source that has several tables."""
    of = verb.add_mutually_exclusive_group()
    of.add_argument("--table", help="of a database: which one (needed where there are several)")
    of.add_argument("--query", metavar="SELECT", help="of a database: rows of a query in place of a table")
    of.add_argument("--sheet", help="of a workbook: which one (needed where there are several)")


def words_of_where(told: argparse.Namespace) -> dict[str, Any]:
    """What was said of that."""
    return {name: getattr(told, name) for name in WORDS if getattr(told, name) is not None}


def source_at(told: argparse.Namespace) -> Any:
    """The input of a verb, with the table, query or sheet that was asked for."""
    words = words_of_where(told)
    return place_of(told.input, **words) if words else told.input


def ask_where_to(verb: argparse.ArgumentParser, *also: str) -> None:
    """What verbs ask of an output that is a table of a database; also: other names of the option."""
    verb.add_argument(
        "--to-table",
        *also,
        dest="to_table",
        metavar="NAME",
        help="of a database or workbook: the table that is written",
    )
    verb.add_argument(
        "--if-exists", choices=IF_EXISTS, default="refuse", help="of a table that is there already (default: refuse)"
    )


def written(told: argparse.Namespace) -> str:
    """The output in words, without a password."""
    place = place_of(told.output)
    if place is None:
        return str(told.output)
    return str(Place(place.shown, told.to_table or place.table or place.sheet))


def target_at(told: argparse.Namespace) -> Any:
    """The output of a verb, with the table that was asked for.

    Raises PofxError where a table cannot be written there, before any work, and for such words of a plain file.
    """
    from .codecs.writing import check_path

    if told.output is None:
        return None
    place = place_of(told.output)
    if place is None:
        if told.to_table is not None or told.if_exists != "refuse":
            raise PofxError(
                "expected --to-table and --if-exists with a database or workbook as the output, got a file: leave "
                "them out"
            )
        return told.output
    target = Place(place.where, told.to_table or place.table or place.sheet, if_exists=told.if_exists)
    check_path(target)
    return target
