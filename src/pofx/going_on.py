"""`fit(..., start=old)`: a fit that begins from a fitted model of the same table, with other rows or more time."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from .split import fingerprint, parts

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


def reopened(
    old: Fitted, source: Any, reading: Mapping[str, Any], split: Sequence[float], seed: int
) -> tuple[Opened, tuple[Sequence[float], int], bool]:
    """(the codec with what is new in the rows, the rows and so on; the split, and its seed; whether the rows are those
    that the model was fitted on).

    The rows that the model was fitted on are split as they were, so that its test rows stay unseen.
    """
    rows, kind = read_rows(source, reading)
    same = fingerprint(rows) == old.provenance["fingerprint"]
    if same:
        split, seed = old.provenance["split"], old.provenance["seed"]
    took = parts(rows.num_rows, split, seed)

    def learned() -> "Iterator[pa.Table]":
        yield from (some for _, some in rows.blocks(took[0])) if isinstance(rows, Spool) else [rows.take(took[0])]

    codec, notes = grown(old.codec, learned)
    clean, dirty = (took, {}) if isinstance(rows, Spool) else cleaned(codec, rows, took)
    words = "the same rows" if same else f"other rows than the {old.provenance['rows']:,} before"
    seen = "" if same else "; rows of both may be among the test rows of either"
    notes = {"goes on": f"from {old.provenance['train_rows']:,} training rows, on {words}{seen}"} | notes | dirty
    return (codec, rows, kind, clean, notes), (split, seed), same


def adopted(old: Fitted, codec: TableCodec, seed: int) -> Model:
    """A model of the codec's fields with the weights of the old one."""
    config = dict(old.model.config)
    if isinstance(old.model, AnyOrder):
        config["stored_order"] = [old.model.codes.fields[j].name for j in old.model.order[old.model.before :]]
    made = create(old.provenance["model"], codec.spec, seed, **config)
    made.adopt(old.model)
    return made
