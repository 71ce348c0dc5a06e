"""`fit`: a table in, a fitted model out."""

import math
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .bundle import Fitted, fitted_class
from .choosing import FEW, choose
from .codecs.gleaning import sample_of
from .codecs.picture_io import labels_of
from .codecs.places import Place, located, named
from .codecs.spool import Spool, counted_from
from .codecs.table import TableCodec
from .coding import CALIBRATION, strangeness
from .compose import Joint, Latent
from .errors import SpecError, Unsupported
from .fields import Category
from .going_on import adopted, begun, reopened
from .models import create, load_class, sized
from .models.model import Model, who_can
from .opening import AUTO, KINDS, OPENERS, UNNAMED, Opened, kind_of
from .progress import Tick, bar, say
from .rebuilding import squared_errors
from .spec import Columns, Spec
from .split import fingerprint
from .training.checkpoint import Checkpoint
from .training.course import Course, only
from .training.guard import final, watch
from .training.pool import Pool
from .version import __version__

if TYPE_CHECKING:
    import pyarrow as pa

SPLIT = (0.8, 0.1, 0.1)
TELLING = 0.01  # a cell is called unlikely below this quantile of its column on held-out rows
TELLING_CELLS = 10_000  # held-out cells that set the quantiles, in at least 100 rows: seconds even for 1,000 columns
LOOKED, SCORED = 2_000_000, 4_000_000  # numbers of images that are looked back on, at most 1,000 images, and scored
SPARE = (2.0, 0.04)  # of --minutes, kept for what follows the steps: so many seconds, and this share


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Torch on so many threads and with a random state of its own, for a while."""
    before = torch.get_num_threads()
    if count is not None and count < 1:
        raise SpecError(f"expected at least one thread, got {count}")
    torch.set_num_threads(count or before)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(before)


def pick_device(name: str) -> str:
    """`auto` is a GPU where there is one.

    Raises SpecError for a device that does not work here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise SpecError(f"expected a device that works here (auto, cpu, cuda), got {name!r}") from error
    return name


def fit(
    source: Any,
    *,
    model: str = "auto",
    minutes: float | None = None,
    steps: int | None = None,
    size: str | None = None,
    seed: int = 0,
    fields: Mapping[str, Any] | None = None,
    condition: Sequence[str] | str | None = None,
    device: str = "auto",
    threads: int | None = None,
    split: Sequence[float] = SPLIT,
    quiet: bool = False,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    reading: Mapping[str, Any] | None = None,
    kind: str = "auto",
    missing: str = "state",
    precision: str = "auto",
    labels: Any = None,
    guard: bool = True,
    task: str | None = None,
    start: "Fitted | str | Path | None" = None,
    rare: int | None = None,
    epsilon: float | None = None,
    delta: float | None = None,
    unit: str = "rows",
    constraints: Sequence[str] | Mapping[str, Any] | str | None = "found",
    dirty: str = "clean",
    tables: Sequence[str] | str | None = None,
    keys: Mapping[str, Any] | None = None,
    **config: Any,
) -> Fitted:
    """Learns p(x) of the rows of a file or frame, of images, text, music or sounds.

    source: a path (CSV, TSV, Parquet, Feather, JSON Lines), a database (SQLite, DuckDB, postgresql://) or workbook
    (.xlsx), or a pandas, Polars or Arrow frame; for images an array (n, H, W) or (n, H, W, 3), a .npy, .npz or IDX
    file, or a folder, zip or glob of pictures. labels: of images, one each, None where missing; a .npz (array
    `labels`), the labels file beside an IDX file, labels.csv and class sub-folders bring theirs. kind: table, image,
    text, music, voices or audio, where that is not plain. model: a name of `pofx models`; auto is vae of images,
    autoregressive of text and music, flow_matching of sounds, any_order of tables and voices; of tables of fewer than
    1,000 training rows, unless steps, a size or an argument of a model are given, the simplest that is not worse on
    held-out rows (choosing.py). minutes or steps bound the work (by default the model's recipe does); minutes count
    from the call. size: small, base or large, half, once or twice the width a network has by default. fields: how
    columns are to be read, where inference errs.
    condition: columns c of p(x | c); of images "label", which is also what is done where nothing is said and labels are
    found ("none" or () leaves them out). missing: "state", a missing cell is a state with a probability of its own;
    "unknown", it is integrated out by models that can, and samples have none. precision: "auto", wide networks train in
    bfloat16 where the device repays it (what is drawn and scored is float32 all the same); "float32", never. split:
    shares of rows for training, validation and test. checkpoint: a file for the state of the fit; with resume, a fit
    killed there goes on and ends with the weights of an unbroken one. reading: delimiter, encoding, header of a text
    file; table or query of a database, sheet of a workbook (or give a `Place`); of pictures size (height, width),
    broken ("refuse" or "skip" files that cannot be read) and largest (pixels of one). task: "denoise" or "upscale"
    learns from photos of any sizes to restore such (restoring.py says with which further arguments). start: a fitted
    model of a table, or its file, that the fit goes on from: how columns are read, the model and its arguments are
    that one's, levels that are new are added (docs/tables.md). rare: of a table, levels and outermost numbers of fewer
    training rows than this are merged first (codecs/rare.py). epsilon: of a table, differential privacy
    (private_fit.py) with delta (1e-6 by default) of a unit: "rows", or a key column, whose entities are protected.
    constraints: of a table, what holds in every row made: texts such as "start <= end", "total = net + tax", "unique
    id", "fixed country, city", "one of red, green, blue", "age in [0, 120]"; "found", those that the rows suggest
    (perhaps beside texts); "none"; of several tables {"orders": [...]}. dirty: rows that break one are left out
    ("clean", at most 5 %) or made as often as seen ("keep").
    tables: "all" or names of a database, a folder of files or a mapping of frames, which are learned together, and
    keys: what holds them together (tables/fitting.py); of a folder kind="tables" will do. Further arguments go to the
    model.

    Raises CodecError for a file that cannot be read, SpecError for arguments that do not fit, Unsupported where the
    model cannot do what was asked.

        >>> import pandas as pd
        >>> import pofx
        >>> frame = pd.DataFrame({"sex": ["f", "m"] * 50, "age": range(100)})
        >>> pofx.fit(frame, steps=2).sample(3, seed=1).columns.tolist()
        ['sex', 'age']
    """
    _check(steps, minutes)
    _check_words(kind, missing, precision)
    laws = {
        "constraints": None if constraints in ("found", "none") else constraints,
        "dirty": None if dirty == "clean" else dirty,
    }
    if tables is not None or keys is not None or kind == "tables" or isinstance(source, Mapping):
        from .tables.fitting import fit_tables, refuse

        refuse(
            model=model not in ("auto", "any_order"), condition=condition, missing=missing != "state", task=task,
            labels=labels is not None, resume=resume, checkpoint=checkpoint, start=start, rare=rare,
            epsilon=epsilon, delta=delta, unit=unit != "rows",
        )  # fmt: skip
        config |= {"size": size} if size else {}
        return fit_tables(
            source, tables=tables, keys=keys, minutes=minutes, steps=steps, seed=seed, fields=fields, device=device,
            threads=threads, split=split, quiet=quiet, reading=reading, precision=precision,
            constraints=constraints, dirty=dirty, guard=guard, **config,
        )  # fmt: skip
    if task is not None:
        _check_rules("photo", constraints, dirty)
        from .restoring import fit_restorer

        with torch_threads(threads):
            return fit_restorer(
                source, task, minutes=minutes, steps=steps, size=size, seed=seed, split=split,
                device=pick_device(device), precision=precision, checkpoint=checkpoint, resume=resume, quiet=quiet,
                reading=reading, **config,
            )  # fmt: skip
    if epsilon is not None or delta is not None or unit != "rows":
        from .private_fit import asked_privately

        odd = {"condition": condition, "labels": labels, "resume": resume, "rare": rare, "start": start} | laws
        with torch_threads(threads):
            return asked_privately(
                source, kind, odd, missing, epsilon=epsilon, delta=delta, unit=unit, model=model, minutes=minutes,
                steps=steps, size=size, seed=seed, fields=fields, split=split, quiet=quiet, reading=reading,
                config=config,
            )  # fmt: skip
    return _fit_one(
        source, laws, model=model, minutes=minutes, steps=steps, size=size, seed=seed, fields=fields,
        condition=condition, device=device, threads=threads, split=split, quiet=quiet, checkpoint=checkpoint,
        resume=resume, reading=reading, kind=kind, missing=missing, precision=precision, labels=labels, guard=guard,
        start=start, rare=rare, constraints=constraints, dirty=dirty, config=config,
    )  # fmt: skip


@dataclass
class Material:
    """What a fit learns from: rows as they were opened (opening.py), and the stored columns of two parts of them;
    pool: of the first part where rows stay on disk, `train` then being a sample of it.
    """

    codec: Any
    rows: Any
    container: str
    took: tuple[np.ndarray, np.ndarray, np.ndarray]
    notes: dict[str, str]
    train: Columns
    valid: Columns
    pool: Pool | None = None

    @classmethod
    def encoded(cls, opened: Opened, kind: str, seed: int, tick: Tick) -> "Material":
        """The stored columns of what was opened."""
        codec, rows, container, took, notes = opened
        pool = None
        if isinstance(rows, Spool):
            train, valid = (_encoded(codec, rows.take(sample_of(part, seed))) for part in took[:2])
            pool = _pooled(codec, rows, took[0], seed, tick)
        elif kind in ("text", "audio"):  # long ones are encoded part by part: their rows overlap
            train, valid = (codec.encode(rows.take(part)) for part in took[:2])
        else:  # all at once: a cell that cannot be read is named by its row
            train, valid = _parts(codec.encode(rows), took[:2])
        return cls(codec, rows, container, took, notes, train, valid, pool)


def _fit_one(
    source: Any,
    laws: Mapping[str, Any],
    *,
    model: str,
    minutes: float | None,
    steps: int | None,
    size: str | None,
    seed: int,
    condition: Sequence[str] | str | None,
    device: str,
    threads: int | None,
    split: Sequence[float],
    quiet: bool,
    checkpoint: str | Path | None,
    resume: bool,
    reading: Mapping[str, Any] | None,
    kind: str,
    missing: str,
    precision: str,
    guard: bool,
    start: "Fitted | str | Path | None",
    config: dict[str, Any],
    **asked: Any,
) -> Fitted:
    """`fit` of what one codec reads, one table among it. laws: the constraints and dirty rows that were asked for."""
    began = time.monotonic()
    source, words = located(source, reading)
    kind = kind if kind != "auto" else kind_of(source)
    _check_rules(kind, asked["constraints"], asked["dirty"])
    old, dealt = None, None
    if start is not None:
        settled = {name: asked[name] for name in ("fields", "labels", "rare")} | {"condition": condition, "size": size}
        old = begun(start, model, {**settled, **laws}, config)
        model = old.provenance["model"]
    if asked["rare"] is not None and kind != "table":
        raise Unsupported(f"rare values are merged in tables alone, got {kind}: leave rare out")
    chosen = model == "auto" and steps is None and size is None and not config and kind == "table"
    model = AUTO.get(kind, "any_order") if model == "auto" else model
    cls = load_class(model)
    condition = [condition] if isinstance(condition, str) else condition
    condition = [] if kind in ("image", "audio") and condition and list(condition) == ["none"] else condition
    if condition and "condition" not in cls.abilities:
        raise Unsupported(f"model {model!r} cannot learn p(x | c): these can: {', '.join(who_can('condition'))}")
    with bar("reading", None, "row", quiet) as tick:
        if old is not None:
            opened, dealt = reopened(old, source, words, split, seed)
            split, seed = dealt.shares, dealt.seed
        else:
            told = asked | {"condition": condition, "missing": missing, "cls": cls, "tick": tick}
            opened = OPENERS[kind](source, words, split, seed, **told)
        _check_unknown(model, cls, opened[0].spec)
        data = Material.encoded(opened, kind, seed, tick)
        tick(len(data.rows))
    if chosen and len(data.took[0]) < FEW:
        half = None if minutes is None else began + 30 * minutes
        with torch_threads(threads):
            choice = choose(data.codec.spec, data.train, seed, half, missing == "unknown", quiet)
        if choice is not None:
            model, config, data.notes = choice.model, choice.config, data.notes | {"chosen": str(choice)}
    say("\n".join(f"{k}: {v}" for k, v in data.notes.items()), quiet)
    made = _made(model, config, size, kind, data.codec, seed) if old is None else adopted(old, data.codec, seed)
    own = _own(made, kind, data, seed, split) | ({"stretches": dealt.ends} if dealt and len(dealt.ends) > 1 else {})
    until = None if minutes is None else began + 60 * minutes * (1 - SPARE[1]) - SPARE[0]
    place = Checkpoint(Path(checkpoint), own) if checkpoint is not None else None
    course = Course(
        data.codec.spec, seed, pick_device(device), precision, steps, until, place, resume, quiet, pool=data.pool,
        warm=old is not None, blind=dealt is not None and not dealt.known,
    )  # fmt: skip
    words |= (source.words if isinstance(source, Place) else {}) | ({"stream": "yes"} if data.pool else {})
    origin = named(source, UNNAMED.get(kind, f"a {data.container} frame")) | {"reading": words}
    if kind == "audio" and asked["labels"] is not None:  # files do not have them
        origin["labels"] = labels_of(asked["labels"], len(asked["labels"])).tolist()
    with torch_threads(threads):
        fitted = _learned(made, kind, data, course, own | origin, guard)
    fitted.provenance["fit"]["fit seconds"] = time.monotonic() - began
    if said_beside := fitted.compared(data.rows, data.took, seed):
        fitted.provenance["fit"]["beside likelihood"] = said_beside
        say(said_beside, quiet)
    return fitted


def _made(model: str, config: dict[str, Any], size: str | None, kind: str, codec: Any, seed: int) -> Model:
    """A new model, with the arguments that were asked for, or suit so many rows."""
    advised = load_class(model).advised(codec.spec) if kind == "table" else {}
    return create(model, codec.spec, seed, **(advised | (sized(model, size) if size is not None else {}) | config))


def _own(made: Model, kind: str, data: Material, seed: int, split: Sequence[float]) -> dict[str, Any]:
    """What a fit is told by: a checkpoint is of no other."""
    rows, codec = data.rows, data.codec
    own = {
        "model": made.name, "config": made.config, "seed": seed, "split": list(split), "rows": len(rows),
        "train_rows": len(data.took[0]),
        "fingerprint": (codec.origin or fingerprint(rows)) if kind == "table" else rows.fingerprint(),
    }  # fmt: skip
    held = [rule.words for rule in codec.held.rules] if kind == "table" else []
    return own | ({"constraints": held} if held else {})


def _learned(made: Model, kind: str, data: Material, course: Course, own: Mapping[str, Any], guard: bool) -> Fitted:
    """The model after its course, judged and looked back on."""
    c, aside = course.spec.condition, len(data.took[1]) > 0
    joint = Joint.learn(c.fields, only(c.fields, data.train)) if c else None
    with bar("guard", None, "row", course.quiet or not guard) as tick:
        watched = watch(made, data.train, data.valid, course.seed) if guard else None
        tick(len(data.rows))
    done = replace(course, guard=watched).run(made, data.train, data.valid)
    said = final(watched, made, data.train, done) if watched is not None else None
    say("" if said is None else str(said), course.quiet)
    typical, remarks = _look_back(made, data.codec, data.train, data.valid if aside else data.train)
    usual = _scores(made, data.valid, joint) if aside else np.zeros(0)
    if remarks:
        remarks["remarks on"] = "validation rows" if aside else "training rows, none were kept aside"
    if course.checkpoint is not None:
        course.checkpoint.remove()
    provenance = {
        **own, "container": data.container, "notes": data.notes, "fit": done | remarks,
        "versions": {"pofx": __version__, "torch": torch.__version__, "python": platform.python_version()},
    } | ({"verdict": said.to_json()} if said is not None else {})  # fmt: skip
    return fitted_class(getattr(data.codec, "kind", kind))[0](made, data.codec, provenance, joint, typical, usual)


def fit_prior(
    fitted: Fitted,
    prior: str,
    data: Any,
    minutes: float | None,
    steps: int | None,
    seed: int,
    device: str,
    threads: int | None,
    precision: str,
    quiet: bool,
    guard: bool,
    config: Mapping[str, Any],
) -> Fitted:
    """`Fitted.with_prior`."""
    began = time.monotonic()
    _check(steps, minutes)
    with bar("encoding", None, "row", quiet) as tick:
        rows = fitted.learned_from(data)[:2]
        train, valid = (fitted.codec.encode(part) for part in rows)
        tick(len(rows[0]))
    until = None if minutes is None else began + 60 * minutes * (1 - SPARE[1]) - SPARE[0]
    with torch_threads(threads):
        own, c = zip(*(_apart(fitted.model, part) for part in (train, valid)), strict=True)
        made, codes = Latent.over(fitted.model, own[0], prior, c[0], seed=seed, **config)
        aside = made.table(made.autoencoder.code_draws(own[1], torch.Generator().manual_seed(seed + 1), c[1]))
        course = Course(made.prior.spec, seed, pick_device(device), precision, steps, until, quiet=quiet)
        done = course.run(made.prior, codes | (c[0] or {}), aside | (c[1] or {}))
        usual = _scores(made.eval(), valid, fitted.joint) if len(rows[1]) else np.zeros(0)
        watched = watch(made, train, valid, seed) if guard else None
        said = final(watched, made, train, done) if watched is not None else None
        say("" if said is None else str(said), quiet)
    told = {"model": prior, "seed": seed, **done, "fit seconds": time.monotonic() - began}
    judged = {"verdict": said.to_json()} if said is not None else {}
    provenance = {k: v for k, v in fitted.provenance.items() if k != "verdict"} | {"prior": told} | judged
    return type(fitted)(made, fitted.codec, provenance, fitted.joint, None, usual)


def _apart(model: Model, x: Columns) -> tuple[Columns, Columns | None]:
    """(the example, its condition, the likeliest where it is missing)."""
    own = only(model.spec.fields, x)
    return own, model.settled(own, only(model.spec.condition.fields, x)) if model.spec.condition else None


def _check(steps: int | None, minutes: float | None) -> None:
    if steps is not None and minutes is not None:
        raise SpecError("expected steps or minutes, got both: give one")
    if steps is not None and steps < 1:
        raise SpecError(f"expected at least one step, got {steps}")
    if minutes is not None and not minutes > 0:
        raise SpecError(f"expected minutes above zero, got {minutes}")


def _check_words(kind: str, missing: str, precision: str) -> None:
    for name, word, among in (
        ("kind", kind, KINDS),
        ("missing", missing, ("state", "unknown")),
        ("precision", precision, ("auto", "float32")),
    ):
        if word not in among:
            raise SpecError(f"expected {name} among {', '.join(among)}, got {word!r}")


def _check_rules(kind: str, constraints: Sequence[str] | Mapping[str, Any] | str | None, dirty: str) -> None:
    if isinstance(constraints, Mapping):
        raise SpecError(
            f"expected constraints of one table as texts, got {dict(constraints)!r}: those by table need tables="
        )
    if kind != "table" and (constraints not in ("found", "none", None) or dirty != "clean"):
        raise Unsupported(f"constraints and dirty rows are of tables, got a source of kind {kind}: leave them out")


def _parts(x: Columns, took: Sequence[np.ndarray]) -> list[Columns]:
    """The rows of each part, by their numbers."""
    return [{k: v[part] for k, v in x.items()} for part in took]


def _encoded(codec: TableCodec, rows: "pa.Table") -> Columns:
    """The stored columns of those rows that are learned from."""
    return codec.encode(rows.take(codec.clean(rows, np.arange(rows.num_rows))))


def _pooled(codec: Any, rows: Spool, part: np.ndarray, seed: int, tick: Tick) -> Pool:
    """The rows of a part, by their rising numbers, in buckets on disk."""
    pool = Pool(rows.folder, codec.spec, len(part), seed)
    for first, some in rows.blocks(part):
        with counted_from(first):
            pool.add(_encoded(codec, some))
        tick(some.num_rows)
    return pool


def _check_unknown(model: str, cls: type[Model], spec: Spec) -> None:
    """Raises Unsupported for cells that nobody saw, of a model that cannot integrate them out, but for levels of the
    condition: those have a vector of their own.
    """
    told = [f for f in spec.condition.fields if not isinstance(f, Category)] if spec.condition else []
    blank = [f.name for f in (*spec.fields, *told) if f.unknown]
    if blank and "unknown" not in cls.abilities:
        raise Unsupported(
            f"model {model!r} cannot learn from cells that nobody saw, of {', '.join(map(repr, blank[:8]))}: these "
            f"can: {', '.join(who_can('unknown'))}; or fit with missing='state' (--missing state)"
        )


def _pixels(spec: Spec) -> int:
    """The numbers of an image; none of a row."""
    block = spec.blocks[0]
    return len(block.fields) * math.prod(side or 1 for side in block.sites) if block.sites else 0


def _look_back(model: Model, codec: Any, train: Columns, x: Columns) -> tuple[dict[str, float], dict[str, Any]]:
    """For each column, the log-probability under which only one held-out cell in a hundred falls; and the remarks."""
    spec = codec.spec
    rows = max(100, min(1000, LOOKED // size) if (size := _pixels(spec)) else TELLING_CELLS // len(spec.fields))
    some = {k: v[:rows] for k, v in x.items()}
    own, c = only(spec.fields, some), only(spec.condition.fields, some) if spec.condition else None
    said = model.remarks(own, c)
    if model.abilities >= {"encode", "express"} and "squared error" not in said and len(spec.blocks[0].sites) != 1:
        said |= squared_errors(model, only(spec.fields, train), own, model.settled(own, c))
    if "cells" not in model.abilities:
        return {}, said
    low = np.quantile(model.cells(own, c), TELLING, axis=0)
    return {f.name: float(q) for f, q in zip(spec.fields, low, strict=True)}, said


def _scores(model: Model, x: Columns, joint: Joint | None) -> np.ndarray:
    """How strange rows that were not trained on are, rising, at most CALIBRATION of them; none where nothing says."""
    if not model.abilities & {"log_prob", "express"}:
        return np.zeros(0)
    rows = max(100, SCORED // size) if (size := _pixels(model.spec)) else CALIBRATION
    some = {k: v[: min(rows, CALIBRATION)] for k, v in x.items()}
    c = only(joint.fields, some) if joint else None
    score = strangeness(model, model.fair(only(model.spec.fields, some), 0), c)
    if joint and c and "log_prob" in model.abilities:
        score = score - joint.log_prob(c)
    return np.sort(score)
