"""`fit(..., start=old)`: a fit that begins from a fitted model of the same table, with other rows or more time."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .bundle import Fitted, load
from .codecs.growing import grown
from .codecs.spool import Spool, read_rows
from .codecs.table import TableCodec
from .compose import Latent
from .errors import SpecError, Unsupported
from .models import create
from .models.flows.any_order import AnyOrder
from .models.model import Model
from .opening import Opened, cleaned
from .split import fingerprint, parts_of

if TYPE_CHECKING:
    import pyarrow as pa


def begun(start: "Fitted | str | Path", model: str, asked: Mapping[str, Any], config: Mapping[str, Any]) -> Fitted:
    """The fitted model that a fit begins from.

    Raises SpecError for words that it has settled already, Unsupported for what cannot be gone on with.
    """
    old = start if isinstance(start, Fitted) else load(start)
    name = old.provenance["model"]
    if old.codec.kind != "table":
        raise Unsupported(f"expected a model of a table to go on from, got one of {old.codec.kind}: fit anew")
    if isinstance(old.model, Latent):
        raise Unsupported("a model with a prior of its own is not gone on with: go on with its autoencoder, then prior")
    if not old.model.trained:
        raise Unsupported(f"model {name!r} is fitted in closed form, there is nothing to go on from: fit anew")
    if model not in ("auto", name):
        raise SpecError(f"expected the model that the fit begins from, {name!r}, got {model!r}: leave it out")
    odd = [word for word, value in {**asked, **config}.items() if value is not None]
    if odd:
        raise SpecError(f"{odd[0]} was settled when {name!r} was fitted, which the fit begins from: leave it out")
    return old


class Dealt(NamedTuple):
    """How rows are split: shares, seed, and the ends of the stretches that are split by themselves (split.parts_of).

    known: whether rows that the old model was fitted on are in the parts that they were in.
    """

    shares: Sequence[float]
    seed: int
    ends: list[int]
    known: bool


def _dealt(old: Fitted, rows: "pa.Table | Spool", shares: Sequence[float], seed: int) -> Dealt:
    """The rows that the model was fitted on are split as they were, also where others follow them."""
    told, n = old.provenance, rows.num_rows
    before, ends = told["rows"], told.get("stretches", [told["rows"]])
    if fingerprint(rows) == told["fingerprint"]:
        return Dealt(told["split"], told["seed"], ends, True)
    if not isinstance(rows, Spool) and n > before and fingerprint(rows.slice(0, before)) == told["fingerprint"]:
        return Dealt(told["split"], told["seed"], [*ends, n], True)
    return Dealt(shares, seed, [n], False)


def reopened(
    old: Fitted, source: Any, reading: Mapping[str, Any], split: Sequence[float], seed: int
) -> tuple[Opened, Dealt]:
    """(the codec with what is new in the rows, the rows and so on; how they are split)."""
    rows, kind = read_rows(source, reading)
    dealt = _dealt(old, rows, split, seed)
    took = parts_of(dealt.ends, dealt.shares, dealt.seed)

    def learned() -> "Iterator[pa.Table]":
        yield from (some for _, some in rows.blocks(took[0])) if isinstance(rows, Spool) else [rows.take(took[0])]

    codec, notes = grown(old.codec, learned)
    clean, dirty = (took, {}) if isinstance(rows, Spool) else cleaned(codec, rows, took)
    more = rows.num_rows - old.provenance["rows"]
    words = f"other rows than the {old.provenance['rows']:,} before; rows of both may be among the test rows of either"
    if dealt.known:
        words = f"the same rows and {more:,} that follow them" if more else "the same rows"
    notes = {"goes on": f"from {old.provenance['train_rows']:,} training rows, on {words}"} | notes | dirty
    return (codec, rows, kind, clean, notes), dealt


def adopted(old: Fitted, codec: TableCodec, seed: int) -> Model:
    """A model of the codec's fields with the weights of the old one."""
    config = dict(old.model.config)
    if isinstance(old.model, AnyOrder):
        config["stored_order"] = [old.model.codes.fields[j].name for j in old.model.order[old.model.before :]]
    made = create(old.provenance["model"], codec.spec, seed, **config)
    made.adopt(old.model)
    return made
