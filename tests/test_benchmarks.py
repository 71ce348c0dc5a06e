"""The benchmark's book-keeping: what it prints is the median and half the range, and every table is described."""

import json
from pathlib import Path

import pytest

pytest.importorskip("xgboost", reason="the benchmark's judge is XGBoost")
import readme
import scores
import tables

FIELDS = json.loads((Path(tables.__file__).parent / "fields.json").read_text())


@pytest.mark.parametrize("table", tables.TABLES)
def test_every_table_has_its_target_among_its_fields(table: str) -> None:
    assert scores.TARGETS[table] in FIELDS[table.removesuffix("_peers")]


def test_a_figure_is_the_median_and_half_the_range() -> None:
    assert tables.cell([0.5, 0.9, 0.6], "{:.2f}") == "0.60 ± 0.20"
    assert tables.cell([0.5], "{:.2f}") == "0.50"
    assert tables.cell([], "{:.2f}") == ""


def test_the_ceiling_comes_first_then_the_best_score() -> None:
    row = {"table": "adult", "seed": 0}
    rows = [
        row | {"model": "weak", "by": "pofx", "minutes": 1.0, "score_train": 0.1},
        row | {"model": "strong", "by": "pofx", "minutes": 1.0, "score_train": 0.9},
        row | {"model": scores.CEILING, "by": "data", "score_train": 0.99},
        row | {"model": "lost", "by": "pofx", "error": "no memory"},
    ]
    text = tables.printed(rows, "adult")
    names = [line.split(" |")[0] for line in text.splitlines() if line.startswith("| ")][1:]
    assert names == [f"| {scores.CEILING}", "| strong, 1 min", "| weak, 1 min"]
    assert text.endswith("lost, seed 0: failed, no memory")


def test_paces_and_seeds_are_different_rows() -> None:
    row = {"table": "adult", "model": "any_order", "minutes": 1.0, "seed": 0}
    assert len({tables.key(row), tables.key(row | {"minutes": 3.0}), tables.key(row | {"seed": 1})}) == 3


def test_the_readme_quotes_the_results() -> None:
    text = readme.README.read_text()
    assert readme.filled(text) == text and readme.page() == readme.PAGE.read_text()
