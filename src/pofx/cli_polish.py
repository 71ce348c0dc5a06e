"""`pofx polish`."""

import argparse


def ask_to_polish(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("input", help="a synthetic table, of pofx or anybody")
    verb.add_argument("--margins", required=True, metavar="JSON", help='a file: {"sex": {"f": 0.51, "m": 0.49}}')
    verb.add_argument("-o", "--output", required=True)
    verb.add_argument("-n", "--rows", type=int, help="how many (default: as many as no row is needed twice for)")
    verb.add_argument("--repeat", action="store_true", help="rows may be taken several times")
    verb.add_argument("--weights", metavar="COLUMN", help="keep all rows, and add their weights in such a column")
    verb.add_argument("--seed", type=int, default=0)


def run_polish(told: argparse.Namespace) -> str:
    """pofx polish"""
    from .polish import polish

    made = polish(told.input, told.margins, rows=told.rows, repeat=told.repeat, weights=told.weights, seed=told.seed,
                  path=told.output, quiet=told.quiet)  # fmt: skip
    return f"wrote {told.output}: {made}"
