"""Scores a synthetic table with pofx's own metrics: one codec a table, learned from its training rows, for all alike.

Columns that depend on others are read like the rest, so that a broken dependency counts.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from pofx.codecs.table import TableCodec
from pofx.metrics import Case, Skip, count, registry, take
from pofx.spec import Columns

CEILING = "real unseen rows"
TARGETS = {
    "adult": "income",
    "adult_peers": "income",
    "default_credit": "has_default",
    "bank_marketing": "y",
    "california_housing": "median_house_value",
}
METRICS = ("shape", "trend", "two_sample", "alpha_beta", "usefulness", "closer", "dependencies")


@dataclass(frozen=True)
class Judge:
    """The real rows of a table and what reads others like them."""

    table: str
    codec: TableCodec
    train: Columns
    unseen: Columns

    @classmethod
    def of(cls, table: str, splits: Path) -> Self:
        """The judge of a table of benchmarks/cache/splits."""
        kinds = json.loads(Path(__file__).with_name("fields.json").read_text())[table.removesuffix("_peers")]
        train, test = (splits / f"{table}-{part}.csv" for part in ("train", "test"))
        codec = TableCodec.learn(train, fields=kinds)
        return cls(table, codec, codec.encode(train, derived=True), codec.encode(test, derived=True))

    def score(self, path: Path | None) -> dict[str, Any]:
        """Every figure of a synthetic table in a CSV file; of the ceiling where there is none."""
        fake = None if path is None else self.codec.encode(path, derived=True)
        out: dict[str, Any] = {}
        for name in METRICS:
            metric = registry()[name]
            try:
                answers = metric(self.ceiling(metric.stand_in) if fake is None else self.case(fake))
            except Skip:
                continue
            out |= {figure: answer.value for figure, answer in answers.items()}
        return out | {"use": out.get("use_auc", out.get("use_rmse"))}

    def case(self, fake: Columns, **change: Any) -> Case:
        """What the metrics read: synthetic rows beside the real ones."""
        whole = {"train": self.train, "unseen": self.unseen} | change
        return Case(spec=self.codec.whole, fake=fake, target=TARGETS[self.table], **whole)

    def ceiling(self, stand_in: str) -> Case:
        """Real rows in the place of the synthetic ones: the unseen, half of them against the other half, or train."""
        if stand_in == "half":
            rows = np.random.default_rng(0).permutation(count(self.unseen))
            cut = len(rows) // 2
            return self.case(take(self.unseen, rows[:cut]), unseen=take(self.unseen, rows[cut:]))
        return self.case(self.train if stand_in == "train" else self.unseen)
