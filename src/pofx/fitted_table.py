"""`FittedTable`: a model of the rows of a table, and the verbs on files and frames."""

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import store
from .bundle import Fitted
from .codecs.columns import amiss, as_texts
from .codecs.gleaning import sample_of
from .codecs.places import TYPED, Place, again, place_of
from .codecs.spool import Spool, counted_from, in_memory, read_rows, spooled, streams
from .codecs.table import TableCodec
from .codecs.tabular_io import TEXT, container, read_table, to_frame, with_column
from .codecs.writing import check_path, write_table
from .completion import centre, filled
from .editing import Examples
from .errors import CodecError, SpecError, Unsupported
from .evaluate import Evidence, of_codes
from .field import Field
from .judging import judged, publish
from .models import create
from .models.model import who_can
from .progress import bar
from .rebuilding import rebuilding
from .spec import Columns, Given
from .split import fingerprint, parts_of, private_parts

if TYPE_CHECKING:
    import pyarrow as pa

GUESSES = 20  # draws behind one best completion
JUDGED = 100_000  # rows of each part of a table that stays on disk, which its model is judged by
UNCOVERED = (
    "the model was fitted with privacy, and what is judged here reads its training rows without noise: its guarantee "
    "does not cover these figures; keep them to yourself, or leave them out"
)
MANY = 200  # columns beyond which a mixture of full covariances would cost minutes


def _with(rows: "pa.Table", told: Mapping[str, Any]) -> "pa.Table":
    """The rows with further columns."""
    import pyarrow as pa

    for name, values in told.items():
        rows = with_column(rows, name, pa.array(values))
    return rows


class FittedTable(Fitted):
    """A fitted model of a table: sample it, score with it, complete with it, judge it, save it."""

    codec: TableCodec

    def _given(self, given: Sequence[str] | str | Mapping[str, Any] | None) -> Given | None:
        if not given:
            return None
        sets = self.codec.given([given] if isinstance(given, str) else given)
        own = {f.name for f in self.model.spec.fields} & set(sets)
        if own and "given" not in self.model.abilities:
            columns = sorted(name for one in own for name in self.codec.held.columns_of(one))
            raise Unsupported(
                f"model {self.model.name!r} cannot sample under conditions on {', '.join(columns)}: "
                f"these can: {', '.join(who_can('given'))}; or fit with condition={columns}"
            )
        return sets

    def _shape(self) -> str:
        return f"{len(self.codec.plans)} columns"

    def _fields(self) -> dict[str, Field]:
        return super()._fields() | {link.target: self.codec.whole.field(link.target) for link in self.codec.held.links}

    def info(self) -> str:
        """What the model is, in lines for a terminal; the constraints that it keeps."""
        return "\n".join([super().info(), *(self.codec.held.lines() if self.codec.held.rules else [])])

    def _made(self, x: Columns, first: int, plain: bool = False) -> "pa.Table":
        return self.codec.table(x, first, plain=plain)

    def _joined(self, rows: "list[pa.Table]") -> "pa.Table":
        import pyarrow as pa

        return pa.concat_tables(rows).combine_chunks()

    def _written(self, rows: "Iterable[pa.Table]", path: str | Path) -> int:
        return write_table(rows, path, like=self.codec)

    def _beside(self, rows: "pa.Table", kind: str, told: dict[str, np.ndarray], path: str | Path | None) -> Any:
        rows = _with(rows, told)
        return write_table([rows], path, like=None) if path is not None else self._out(rows, kind)

    def _plain(self, path: Any) -> bool:
        if self.codec.like in TYPED:
            return False
        return place_of(path) is not None or container(Path(path))[0] not in TEXT

    def _out(self, table: "pa.Table", kind: str) -> Any:
        """The table as what came in; texts of a file that stand for numbers or dates become such."""
        return to_frame(table if kind in ("pandas", "polars", "arrow") else self.codec.typed(table), kind)

    def _read(self, source: Any) -> tuple["pa.Table", str, Columns, Columns | None]:
        table, kind = read_table(source)
        x = self.codec.encode(table)
        c = {f.name: x[f.name] for f in self.joint.fields} if self.joint else None
        return table, kind, x, c

    def _cells_of(self, c: Columns) -> dict[str, Any]:
        return {name: self.codec.plan(name).render(stored) for name, stored in c.items()}

    def _condition_of(self, cells: dict[str, Any]) -> Columns:
        return {name: self.codec.plan(name).parse(column) for name, column in cells.items()}

    # -- edit --------------------------------------------------------------------------------------------------------

    def _label_named(self, by: str | None) -> str:
        if by is not None:
            return by
        if self.joint is None or len(self.joint.fields) > 1:
            raise SpecError("expected by (--by), the column of labels, got none: name it")
        return self.joint.fields[0].name

    def _examples(self, labels: Any, name: str) -> Examples:
        table, _, x, c = self._read(self.learned_from()[0] if labels is None else labels)
        if name not in table.column_names:
            raise CodecError(
                f"expected a column {name!r} of labels, got {', '.join(table.column_names[:8])}: give another by (--by)"
            )
        texts = as_texts(table[name])
        names = np.array(texts.to_pylist(), object)
        names[amiss(texts)] = None
        return names, x, c

    # -- score -------------------------------------------------------------------------------------------------------

    def log_prob(self, source: Any, *, detail: bool = False, missing: str = "state", draws: int | None = None) -> Any:
        """log p of each row, float64, in nats per row of the user's units (see docs/measure.md); never -inf.

        A lower bound where the model only has one (`pofx models`); by importance, of `draws` draws, in `vae`, `iwae`,
        `hvae`. missing: "state", a missing cell is a state with a probability of its own, as it was learned; "unknown",
        it is integrated out, and the figure is that of the cells that are there. detail: a frame with the row's figure,
        of a bound by importance its standard error, effective sample size and draws, and, where the model says as much
        of cells, each column's share and the columns that made the row unlikely. Raises Unsupported for draws of a
        model without them.
        """
        table, kind, x, c = self._read(source)
        told, cells = self._scored(table, x, c, missing, draws)
        if not detail:
            return told["log_prob"]
        import pyarrow as pa

        for j, f in enumerate(self.model.spec.fields):
            told |= {f"log_prob.{f.name}": cells[:, j]} if cells is not None else {}
        return to_frame(pa.table(told), kind)

    def _scored(
        self, table: "pa.Table", x: Columns, c: Columns | None, missing: str, draws: int | None
    ) -> tuple[dict[str, Any], np.ndarray | None]:
        """(what there is to say of each row, by name; log p of its cells where the model tells them)."""
        if missing not in ("state", "unknown"):
            raise SpecError(f'expected missing to be "state" or "unknown", got {missing!r}')
        known = None if missing == "state" else ~self.model.spec.absent(x)
        extra = self._extra(table, c)
        more: dict[str, np.ndarray] = {}
        cells = self.model.cells(x, c) if known is None and "cells" in self.model.abilities and draws is None else None
        if cells is not None:
            value = cells.sum(1)
        else:
            value, more = self._bound(x, c, draws, known)
        rules = self.codec.dependencies or self.codec.held.rules
        why = self._unlikely(table, cells) if cells is not None or rules else None
        return {"log_prob": value + extra, **more, **({"unlikely": why} if why is not None else {})}, cells

    def _extra(self, table: "pa.Table", c: Columns | None) -> np.ndarray:
        """log p(c) where there is a condition, 1/(n+1) for each dependency or constraint that a row breaks, and the
        grids of columns that follow from constraints.
        """
        broken = self.codec.broken(table)
        out = broken * -math.log(self.provenance["train_rows"] + 1.0) + self.codec.log_steps(table)
        return out + (self.joint.log_prob(c) if self.joint and c else 0.0)

    def _unlikely(self, table: "pa.Table", cells: np.ndarray | None) -> list[str]:
        """The columns, at most three, whose cells fell furthest below what is usual for them; a dependency broken."""
        broken = self.codec.broken(table)
        out = [""] * len(broken) if cells is None else self._deep(cells)
        rule = "a broken dependency or constraint" if self.codec.held.rules else "a broken dependency"
        return [", ".join(filter(None, (o, rule if b else ""))) for o, b in zip(out, broken, strict=True)]

    def _deep(self, cells: np.ndarray) -> list[str]:
        names = [f.name for f in self.model.spec.fields]
        usual = np.array([self.typical.get(name, -np.inf) for name in names])
        with np.errstate(invalid="ignore"):
            depth = np.where(np.isfinite(usual), usual - cells, -1.0)
        order = np.argsort(-depth, 1)[:, :3]
        return [", ".join(names[j] for j in row if depth[i, j] > 0) for i, row in enumerate(order)]

    def score(self, source: Any, *, draws: int | None = None, path: str | Path | None = None) -> Any:
        """The rows with what `log_prob(detail=True)` says of each but the shares of columns: log_prob first."""
        if path is not None:
            check_path(path)
            if streams(source, {}):
                return write_table(self._scores_of(spooled(source), draws), path)
        table, kind, x, c = self._read(source)
        return self._beside(table, kind, self._scored(table, x, c, "state", draws)[0], path)

    def _scores_of(self, rows: Spool, draws: int | None) -> "Iterator[pa.Table]":
        for first, some in rows.blocks():
            with counted_from(first):
                table, _, x, c = self._read(some)
            yield _with(table, self._scored(table, x, c, "state", draws)[0])

    # -- complete ----------------------------------------------------------------------------------------------------

    def complete(
        self,
        source: Any,
        *,
        draws: int | None = None,
        seed: int | None = 0,
        path: str | Path | None = None,
        quiet: bool = False,
        allow_failed: bool = False,
    ) -> Any:
        """The rows with their missing cells filled from p(missing | known); known cells are kept as they are.

        One best completion by default: the mode of levels, the median of numbers, over 20 draws. With `draws`, that
        many rows for each row, told apart by a column `draw`. A missing condition becomes the likeliest given what is
        known of the row, where the model sums over it. A level that was never seen tells nothing, and is kept. Raises
        Unsupported where the model cannot, Failed where `sample` would.
        """
        import pyarrow as pa

        self._makes("known", allow_failed)
        if draws is not None and draws < 1:
            raise SpecError(f"expected draws of at least 1, got {draws}")
        if path is not None:
            check_path(path)
        table, kind, x, c = self._read(source)
        seed = self._seed(seed)
        known, told = ~self.model.spec.absent(x), self.codec.told(table)
        names = [f.name for f in self.model.spec.fields]
        for name, rows in told.unsure().items():
            if name in names:
                known[rows, names.index(name)] = False
        unknown = {name: ~known[:, j] for j, name in enumerate(names)}
        sets = told.sets(unknown)
        likely = self.model.settled(self._own(x), c, known)
        kept = {}
        if self.joint and c and likely:
            fields = self.joint.fields
            kept = {f.name: np.where(f.absent(c[f.name]), likely[f.name], c[f.name]) for f in fields}
        with bar("completing", (draws or GUESSES) * len(known), "row", quiet) as tick:
            made = [filled(self.model, x, known, likely, seed + k, tick, sets) for k in range(draws or GUESSES)]
        made = made if draws else [centre(self.model.spec, made, known)]
        tables = [self.codec.filled(table, told.settled(m | kept, unknown), told) for m in made]
        if draws:
            tables = [with_column(t, "draw", pa.array(np.full(len(known), k + 1))) for k, t in enumerate(tables)]
        if path is not None:
            return write_table(tables, path, like=self.codec if not draws else None)
        return self._out(pa.concat_tables(tables), kind)

    # -- evaluate ----------------------------------------------------------------------------------------------------

    def evaluate(
        self,
        holdout: Any = None,
        target: str | None = None,
        *,
        train: Any = None,
        report: str | Path | None = None,
        json: str | Path | None = None,
        seed: int = 0,
        sandwich: int = 0,
        quiet: bool = False,
        privacy: bool = False,
    ) -> Evidence:
        """The evidence: fidelity, use, likelihood and privacy of a sample as large as the training rows.

        holdout: rows never trained on (by default the test rows of the stored split of the stored path); train: the
        file or frame that was fitted, if it is no longer where it was. sandwich: of how many drawn rows log p is found
        from both sides (`sandwich`). privacy: attacks on training rows beside unseen ones (metrics/attacks.py). A model
        with codes is judged by what it rebuilds too, and one that draws no rows
        by that alone. Raises CodecError where rows cannot be found, Unsupported for a model with neither.
        """
        for path in (report, json):
            if path is not None:
                store.check_folder(Path(path))
        if "privacy" in self.provenance:
            warnings.warn(UNCOVERED, stacklevel=2)
        learned, _, unseen = self.learned_from(train)
        unseen = unseen if holdout is None else read_table(holdout)[0]
        unseen = unseen if unseen.num_rows else None
        if {"sample", "express"} & self.model.abilities == {"express"}:
            evidence = self._of_codes(learned, unseen, target)
        else:
            drawn = self._joined(list(self._draws(learned.num_rows, None, seed, quiet=quiet)))
            evidence = judged(self.codec, drawn, learned, unseen, target, self._ladder(learned, unseen), seed, quiet,
                              privacy)  # fmt: skip
            evidence.tables |= {"rebuilding": found} if (found := self._rebuilding(learned, unseen)) else {}
        evidence.tables |= {"annealing": self.sandwich(sandwich, seed=seed).figures()} if sandwich else {}
        publish(
            evidence,
            report,
            json,
            title=f"{self.model.name} on {self.provenance['source']}",
            provenance=self.provenance,
        )
        return evidence

    def _rebuilding(self, learned: "pa.Table", unseen: "pa.Table | None") -> dict[str, Any]:
        """What codes of unseen rows tell; nothing where there are no codes or no such rows."""
        if unseen is None or not self.model.abilities >= {"encode", "express"}:
            return {}
        _, _, x, c = self._read(unseen)
        own = self._own(x)
        return rebuilding(self.model, self._own(self.codec.encode(learned)), own, self.model.settled(own, c))

    def _of_codes(self, learned: "pa.Table", unseen: "pa.Table | None", target: str | None) -> Evidence:
        if target is not None:
            raise Unsupported(
                f"model {self.model.name!r} draws no rows, which a target is predicted from: leave target out, or give "
                "the model a law of its codes (with_prior, pofx prior)"
            )
        if unseen is None:
            raise CodecError("expected rows that were never learned from, the split left none: give some (holdout)")
        return of_codes(self._rebuilding(learned, unseen), learned.num_rows, unseen.num_rows)

    def learned_from(self, data: Any = None) -> tuple["pa.Table", "pa.Table", "pa.Table"]:
        source = data if data is not None else self.provenance["path"]
        if source is None:
            raise CodecError(
                "the model was fitted on a frame, which a bundle does not keep: give it again (train=, labels=, --data)"
            )
        source, reading = again(self.provenance["path"], self.provenance.get("reading", {}), data)
        reading = {"stream": "no"} | reading  # as it was fitted, however much memory there is
        if (terms := self.provenance.get("privacy")) is not None:  # no fingerprint was kept
            rows = read_table(source, **in_memory(reading, "tables under privacy"))[0]
            of = private_parts(rows, self.provenance["split"], self.provenance["seed"], terms["unit"])
            return of[0], rows.slice(0, 0), of[1]
        table = read_rows(source, reading)[0]
        if fingerprint(table) != self.provenance["fingerprint"]:
            what = str(source) if isinstance(source, str | Place) else "the frame"
            raise CodecError(
                f"{what!r} is not what the model was fitted on: its rows differ; give that file (train=, --data)"
            )
        ends = self.provenance.get("stretches", [table.num_rows])
        took = parts_of(ends, self.provenance["split"], self.provenance["seed"])
        if isinstance(table, Spool):
            learned, aside, unseen = (table.take(sample_of(part, self.provenance["seed"], JUDGED)) for part in took)
        else:
            learned, aside, unseen = (table.take(part) for part in took)
        clean = (some.take(self.codec.clean(some, np.arange(some.num_rows))) for some in (learned, aside))
        return *clean, unseen

    def _ladder(self, learned: "pa.Table", unseen: "pa.Table | None") -> dict[str, np.ndarray]:
        """Held-out log p of this model and of the baselines, by name."""
        if unseen is None:
            return {}
        x, known = self.codec.encode(unseen), self.codec.encode(learned)
        own = {f.name: x[f.name] for f in self.joint.fields} if self.joint else None
        extra, out = self._extra(unseen, own), {}
        if "log_prob" in self.model.abilities:
            out["model"] = self.model.log_prob(x, own) + extra
        for name in ("independent", "ppca", "gaussian_copula", "mixture"):
            if name != self.model.name and (name != "mixture" or len(self.model.spec.fields) <= MANY):
                rung = create(name, self.model.spec)
                rung.fit_closed(known)
                out[name] = rung.log_prob(x) + extra
        return out

    def plot(
        self,
        path: str | Path,
        columns: Sequence[str] | None = None,
        *,
        data: Any = None,
        rows: int = 2000,
        seed: int = 0,
        allow_failed: bool = False,
    ) -> None:
        """Writes pictures of what was learned: .html (a page), .png, or .gif (a flow's way from noise to data).

        columns: at most five; data: real rows to draw beside the samples. Raises SpecError for an unknown ending or
        column, Unsupported for a .gif of a model that has no layers, Failed where `sample` would.
        """
        from .report.plot import plot

        self._trust(allow_failed)
        plot(self, path, columns, data=data, rows=rows, seed=seed)
