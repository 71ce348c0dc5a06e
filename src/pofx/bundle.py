"""`Fitted`: a model, its codec and its provenance, and the verbs on files and frames."""

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from . import store
from .codecs.table import TableCodec
from .codecs.tabular_io import TEXT, container, read_table, to_frame, with_column
from .codecs.writing import write_table
from .completion import centre, filled
from .compose import Joint
from .errors import BadFile, CodecError, PofxError, SpecError, Unsupported
from .evaluate import Evidence
from .judging import judged, publish
from .models import create
from .models.model import Model, who_can
from .progress import bar
from .spec import Columns, Given
from .split import fingerprint, parts

if TYPE_CHECKING:
    import pyarrow as pa

    from .nn.certificate import Certificate

KIND = "model"
BLOCK = 4096  # rows of one block of noise: (seed, block) decides them
STRETCH = 8  # blocks written at a time
GUESSES = 20  # draws behind one best completion


class Fitted:
    """A fitted model with its codec: sample it, score with it, complete with it, judge it, save it.

    provenance: where the data came from, how it was split, what was fitted and with which versions.
    """

    def __init__(
        self,
        model: Model,
        codec: TableCodec,
        provenance: dict[str, Any],
        joint: Joint | None = None,
        typical: dict[str, float] | None = None,
    ) -> None:
        self.model, self.codec, self.provenance, self.joint = model, codec, provenance, joint
        self.typical = typical or {}

    def __repr__(self) -> str:
        return (
            f"<pofx {self.model.name} of {len(self.codec.plans)} columns, learned from {self.provenance['rows']} rows>"
        )

    # -- sample ------------------------------------------------------------------------------------------------------

    def _given(self, given: Sequence[str] | str | Mapping[str, Any] | None) -> Given | None:
        if not given:
            return None
        sets = self.codec.given([given] if isinstance(given, str) else given)
        own = {f.name for f in self.model.spec.fields} & set(sets)
        if own and "given" not in self.model.abilities:
            raise Unsupported(
                f"model {self.model.name!r} cannot sample under conditions on {', '.join(sorted(own))}: "
                f"these can: {', '.join(who_can('given'))}; or fit with condition={sorted(own)}"
            )
        return sets

    def _block(self, first: int, rows: int, sets: Given | None, seed: int, plain: bool) -> "pa.Table":
        """The rows from `first` on of one block, decided by (seed, block) alone."""
        rng = np.random.default_rng([seed & (2**63 - 1), first // BLOCK])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        c = self.joint.sample(BLOCK, rng, sets) if self.joint else None
        own = {k: v for k, v in (sets or {}).items() if not c or k not in c}
        with torch.inference_mode():
            x = self.model.decode(self.model.noise(BLOCK, generator), c, own or None) | (c or {})
        return self.codec.table({k: v[:rows] for k, v in x.items()}, first, plain=plain)

    def tables(
        self,
        n: int,
        given: Sequence[str] | str | Mapping[str, Any] | None = None,
        seed: int = 0,
        *,
        plain: bool = False,
        quiet: bool = False,
    ) -> Iterator["pa.Table"]:
        """n new rows as Arrow tables, a stretch at a time; each worker draws whole blocks on one torch thread.

        `plain` turns texts of a file that stand for numbers, dates and truth values into such.
        """
        import pyarrow as pa

        if n < 1:
            raise SpecError(f"expected a number of rows of at least 1, got {n}")
        sets = self._given(given)
        self.model.effective = math.inf
        firsts = iter(range(0, n, BLOCK))
        workers = torch.get_num_threads()
        with (
            bar("sampling", n, "row", quiet) as tick,
            ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool,
        ):

            def more(count: int) -> Iterator[Future["pa.Table"]]:
                for first in islice(firsts, count):
                    yield pool.submit(self._block, first, min(BLOCK, n - first), sets, seed, plain)

            ahead, held = deque(more(2 * workers)), []
            while ahead:
                held.append(ahead.popleft().result())
                ahead.extend(more(1))
                tick(held[-1].num_rows)
                if len(held) == STRETCH or not ahead:
                    yield pa.concat_tables(held).combine_chunks()
                    held = []

    def sample(
        self,
        n: int,
        given: Sequence[str] | str | Mapping[str, Any] | None = None,
        *,
        seed: int | None = None,
        path: str | Path | None = None,
        quiet: bool = False,
    ) -> Any:
        """n new rows, in the kind of container that was learned from; with `path`, written there in a stream.

        given: conditions, "age in [20,30]" or {"age": pofx.between(20, 30)}; they hold exactly. A sample of 10 is the
        beginning of a sample of a million of the same seed; without a seed, one is drawn and kept in `last_seed`.
        Raises SpecError for n < 1, CodecError for a condition that cannot hold, Unsupported where the model cannot.
        """
        import pyarrow as pa

        seed = self._seed(seed)
        if path is not None:
            store.check_folder(Path(path))
            plain = container(Path(path))[0] not in TEXT
            return write_table(self.tables(n, given, seed, plain=plain, quiet=quiet), path, like=self.codec)
        tables = list(self.tables(n, given, seed, quiet=quiet))
        return self._frame(pa.concat_tables(tables), self.provenance["container"])

    def _frame(self, table: "pa.Table", kind: str) -> Any:
        """The table as what came in; texts of a file that stand for numbers or dates become such."""
        return to_frame(table if kind in ("pandas", "polars", "arrow") else self.codec.typed(table), kind)

    def _seed(self, seed: int | None) -> int:
        self.last_seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else int(seed)
        return self.last_seed

    def remarks(self) -> str:
        """What is to be said of the last sample."""
        size = self.model.effective
        return f"; effective sample size of the joint condition {size:,.0f} a block" if math.isfinite(size) else ""

    # -- score -------------------------------------------------------------------------------------------------------

    def _read(self, source: Any) -> tuple["pa.Table", str, Columns, Columns | None]:
        table, kind = read_table(source)
        x = self.codec.encode(table)
        c = {f.name: x[f.name] for f in self.joint.fields} if self.joint else None
        return table, kind, x, c

    def log_prob(self, source: Any, *, detail: bool = False, missing: str = "state") -> Any:
        """log p of each row, float64, in nats per row of the user's units (see docs/measure.md); never -inf.

        A lower bound where the model only has one (`pofx models`). missing: "state", a missing cell is a state with a
        probability of its own, as it was learned; "unknown", it is integrated out, and the figure is that of the cells
        that are there. detail: a frame with the row's figure, each column's share, and the columns that made the row
        unlikely.
        """
        table, kind, x, c = self._read(source)
        if missing == "unknown":
            return self._marginal(x, c) + self._extra(table, c)
        if missing != "state":
            raise SpecError(f'expected missing to be "state" or "unknown", got {missing!r}')
        cells = self._cells(x, c)
        extra = self._extra(table, c)
        total = (cells.sum(1) if cells is not None else self._row_log_prob(x, c)) + extra
        if not detail:
            return total
        import pyarrow as pa

        out = {"log_prob": total, "unlikely": self._unlikely(table, cells, extra, len(total))}
        for j, f in enumerate(self.model.spec.fields):
            out |= {f"log_prob.{f.name}": cells[:, j]} if cells is not None else {}
        return to_frame(pa.table(out), kind)

    def _marginal(self, x: Columns, c: Columns | None) -> np.ndarray:
        if "known" not in self.model.abilities:
            raise self.model._cannot("known")
        return self.model.marginal((x, ~self.model.spec.absent(x)), c)

    def _extra(self, table: "pa.Table", c: Columns | None) -> np.ndarray:
        """log p(c) where there is a condition, and 1/(n+1) for each dependency that a row breaks."""
        broken = self.codec.broken(table)
        out = broken * -math.log(self.provenance["train_rows"] + 1.0)
        return out + (self.joint.log_prob(c) if self.joint and c else 0.0)

    def _can_score(self) -> None:
        if "log_prob" not in self.model.abilities:
            raise self.model._cannot("log_prob")

    def _cells(self, x: Columns, c: Columns | None) -> np.ndarray | None:
        self._can_score()
        return self.model.cells(x, c) if "cells" in self.model.abilities else None

    def _row_log_prob(self, x: Columns, c: Columns | None) -> np.ndarray:
        self._can_score()
        return self.model.log_prob(x, c)

    def _unlikely(self, table: "pa.Table", cells: np.ndarray | None, extra: np.ndarray, n: int) -> list[str]:
        """The columns, at most three, whose cells fell furthest below what is usual for them."""
        if cells is None:
            return [""] * n
        names = [f.name for f in self.model.spec.fields]
        usual = np.array([self.typical.get(name, -np.inf) for name in names])
        with np.errstate(invalid="ignore"):
            depth = np.where(np.isfinite(usual), usual - cells, -1.0)
        order = np.argsort(-depth, 1)[:, :3]
        out = [", ".join(names[j] for j in row if depth[i, j] > 0) for i, row in enumerate(order)]
        broken = self.codec.broken(table)
        return [
            ", ".join(filter(None, (o, "a broken dependency" if b else ""))) for o, b in zip(out, broken, strict=True)
        ]

    def score(self, source: Any, *, path: str | Path | None = None) -> Any:
        """The rows with two columns more: log_prob, and `unlikely`, the columns that made a row unlikely."""
        import pyarrow as pa

        table, kind, x, c = self._read(source)
        cells, extra = self._cells(x, c), self._extra(table, c)
        total = (cells.sum(1) if cells is not None else self._row_log_prob(x, c)) + extra
        told = with_column(table, "log_prob", pa.array(total))
        told = with_column(told, "unlikely", pa.array(self._unlikely(table, cells, extra, len(total))))
        return write_table([told], path, like=None) if path is not None else self._frame(told, kind)

    # -- complete ----------------------------------------------------------------------------------------------------

    def complete(
        self,
        source: Any,
        *,
        draws: int | None = None,
        seed: int | None = 0,
        path: str | Path | None = None,
        quiet: bool = False,
    ) -> Any:
        """The rows with their missing cells filled from p(missing | known); known cells are kept as they are.

        One best completion by default: the mode of levels, the median of numbers, over 20 draws. With `draws`, that
        many rows for each row, told apart by a column `draw`. Raises Unsupported where the model cannot.
        """
        import pyarrow as pa

        if "known" not in self.model.abilities:
            raise self.model._cannot("known")
        if draws is not None and draws < 1:
            raise SpecError(f"expected draws of at least 1, got {draws}")
        table, kind, x, c = self._read(source)
        seed = self._seed(seed)
        known = ~self.model.spec.absent(x)
        with bar("completing", (draws or GUESSES) * len(known), "row", quiet) as tick:
            made = [filled(self.model, x, known, c, seed + k, tick) for k in range(draws or GUESSES)]
        made = made if draws else [centre(self.model.spec, made, known)]
        tables = [self._filled(table, m | (c or {})) for m in made]
        if draws:
            tables = [with_column(t, "draw", pa.array(np.full(len(known), k + 1))) for k, t in enumerate(tables)]
        if path is not None:
            return write_table(tables, path, like=self.codec if not draws else None)
        return self._frame(pa.concat_tables(tables), kind)

    def _filled(self, table: "pa.Table", x: Columns) -> "pa.Table":
        """The table with the columns that the model knows taken from x, and keys and texts as they were."""
        full = self.codec.table(x)
        for plan in self.codec.plans:
            if plan.how in ("key", "dropped"):
                at = full.column_names.index(plan.name)
                full = full.set_column(at, plan.name, table.column(plan.name))
        return full

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
        quiet: bool = False,
    ) -> Evidence:
        """The evidence: fidelity, use, likelihood and privacy of a sample as large as the training rows.

        holdout: rows never trained on (by default the test rows of the stored split of the stored path); train: the
        file or frame that was fitted, if it is no longer where it was. Raises CodecError where they cannot be found.
        """
        import pyarrow as pa

        for path in (report, json):
            if path is not None:
                store.check_folder(Path(path))
        learned, unseen = self._own_rows(train, holdout)
        drawn = pa.concat_tables(self.tables(learned.num_rows, None, seed, quiet=quiet))
        evidence = judged(self.codec, drawn, learned, unseen, target, self._ladder(learned, unseen), seed, quiet)
        publish(
            evidence,
            report,
            json,
            title=f"{self.model.name} on {self.provenance['source']}",
            provenance=self.provenance,
        )
        return evidence

    def _own_rows(self, train: Any, holdout: Any) -> tuple["pa.Table", "pa.Table | None"]:
        source = train if train is not None else self.provenance["path"]
        if source is None:
            raise CodecError(
                "the model was fitted on a frame, which a bundle does not keep: give it again (train=, --data)"
            )
        table, _ = read_table(source, **self.provenance.get("reading", {}))
        if fingerprint(table) != self.provenance["fingerprint"]:
            raise CodecError(
                f"{source if isinstance(source, str) else 'the frame'!r} is not what the model was fitted on: "
                "its rows differ; give that file (train=, --data)"
            )
        took = parts(table.num_rows, self.provenance["split"], self.provenance["seed"])
        unseen = table.take(took[2]) if holdout is None else read_table(holdout)[0]
        return table.take(took[0]), unseen if unseen.num_rows else None

    def _ladder(self, learned: "pa.Table", unseen: "pa.Table | None") -> dict[str, np.ndarray]:
        """Held-out log p of this model and of the baselines, by name."""
        if unseen is None:
            return {}
        x, known = self.codec.encode(unseen), self.codec.encode(learned)
        own = {f.name: x[f.name] for f in self.joint.fields} if self.joint else None
        extra, out = self._extra(unseen, own), {}
        if "log_prob" in self.model.abilities:
            out["model"] = self.model.log_prob(x, own) + extra
        for name in ("independent", "gaussian_copula"):
            if name != self.model.name:
                rung = create(name, self.model.spec)
                rung.fit_closed(known)
                out[name] = rung.log_prob(x) + extra
        return out

    def check(self, source: Any = None, *, rows: int = 2048, seed: int = 0) -> "Certificate":
        """Whether every layer of a flow keeps its promises: inverses, slopes, boxes and limits. print() it.

        On the first `rows` rows of a file or frame, or on as many of the model's own draws and as many far out in the
        tails. Raises Unsupported for a model that has no such layers, SpecError for rows < 1.
        """
        if "check" not in self.model.abilities:
            raise self.model._cannot("check")
        if rows < 1:
            raise SpecError(f"expected a number of rows of at least 1, got {rows}")
        generator = torch.Generator().manual_seed(seed)
        if source is not None:
            return self.model.check(rows, generator, *self._read(source)[2:])
        c = self.joint.sample(rows, np.random.default_rng(seed)) if self.joint else None
        return self.model.check(rows, generator, None, c)

    def plot(
        self,
        path: str | Path,
        columns: Sequence[str] | None = None,
        *,
        data: Any = None,
        rows: int = 2000,
        seed: int = 0,
    ) -> None:
        """Writes pictures of what was learned: .html (a page), .png, or .gif (a flow's way from noise to data).

        columns: at most five; data: real rows to draw beside the samples. Raises SpecError for an unknown ending or
        column, Unsupported for a .gif of a model that has no layers.
        """
        from .report.plot import plot

        plot(self, path, columns, data=data, rows=rows, seed=seed)

    # -- keep --------------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Writes the bundle: weights in float32, codec and provenance as JSON; nothing in it can run code."""
        meta, arrays = self.codec.to_json()
        header = {
            "model": self.model.name,
            "config": self.model.config,
            "codec": meta,
            "typical": self.typical,
            "provenance": self.provenance,
        }
        held = {f"codec.{k}": v for k, v in arrays.items()}
        held |= {f"weight.{k}": v.detach().cpu().numpy() for k, v in self.model.state_dict().items()}
        held |= {f"joint.{k}": v for k, v in self.joint.to_arrays().items()} if self.joint else {}
        store.write(path, KIND, header, held)

    def info(self) -> str:
        """What the model is, in lines for a terminal."""
        p, m = self.provenance, self.model
        count = sum(v.numel() for v in m.parameters())
        lines = [
            f"model      {m.name} ({m.family}), {count:,} parameters, {_words(m.config)}",
            f"learned    {p['source']}, {p['train_rows']:,} of {p['rows']:,} rows, {len(self.codec.plans)} columns",
            f"split      {'/'.join(map(str, p['split']))} train/validation/test by a permutation, seed {p['seed']}",
            f"can        {', '.join(sorted(m.abilities))}",
            f"fields     {', '.join(f'{f.name} ({f.kind})' for f in m.spec.fields)}",
        ]
        if self.joint:
            lines.append(f"condition  {', '.join(f.name for f in self.joint.fields)}")
        lines += [f"{k:<10} {_words(v)}" for k, v in p["fit"].items() if k != "looks"]
        return "\n".join([*lines, f"versions   {_words(p['versions'])}"])


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_words(v)}" for k, v in value.items())
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def load(path: str | Path) -> Fitted:
    """The bundle at path. Raises BadFile, saying what is wrong, for anything else."""
    header, arrays = store.read(path, KIND)
    try:
        own: dict[str, dict[str, np.ndarray]] = {"codec": {}, "weight": {}, "joint": {}}
        for key, value in arrays.items():
            part, name = key.split(".", 1)
            own[part][name] = value
        codec = TableCodec.from_json(header["codec"], own["codec"])
        model = create(header["model"], codec.spec, **header["config"])
        model.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in own["weight"].items()})
        joint = Joint.from_arrays(codec.spec.condition.fields, own["joint"]) if codec.spec.condition else None
        return Fitted(model.eval(), codec, header["provenance"], joint, header["typical"])
    except (KeyError, RuntimeError, TypeError, ValueError, AttributeError, PofxError) as error:
        raise BadFile(f"{str(path)!r} does not hold what a model file holds ({error}): write it again") from error
