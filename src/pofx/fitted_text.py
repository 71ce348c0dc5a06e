"""`FittedText`: a model of text, and the verbs on lines and documents."""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import store
from .codecs.places import again
from .codecs.tabular_io import to_frame
from .codecs.text import UNKNOWN, TextCodec
from .codecs.text_io import Texts, holds_text, read_texts, write_texts
from .codecs.text_table import opened_texts
from .codecs.writing import write_table
from .errors import CodecError, SpecError, Unsupported
from .evaluate_text import TextEvidence, evaluate_text, figures_of, laws_of, nearer, spelled
from .fitted_by_label import FittedByLabel
from .judging import check_asked, write_evidence
from .models import create
from .models.infilling import Infilling
from .models.model import Batch, Model
from .models.sequence_gan import SequenceGAN
from .models.sequence_vae import CodedSequence
from .models.sequential import Drawing, Labelled, Sequential
from .progress import bar
from .spec import Columns
from .split import parts
from .training.loop import Trainer

FRAMES = ("pandas", "polars", "arrow")
HOLE = "_"  # a symbol that is not known
COMPARED, FEW = 500, 20  # lines that are drawn to be compared; lines kept aside that say something


class FittedText(FittedByLabel):
    """A fitted model of text: of lines, each an example, or of one document.

    What comes out is a list of str, or a text file with a line each. log p is in nats a line with its end; of a
    document, of all but its first stretch, which is what the rest is told from.
    """

    examples = "text was"
    codec: TextCodec

    def _shape(self) -> str:
        block = self.codec.spec.blocks[0]
        what = "a document, seen {} symbols at a time" if not self.codec.ends else "lines of at most {} symbols"
        return what.format(block.sites[0]) + f" among {len(self._field().levels):,}"

    def _field(self) -> Any:
        return self.codec.spec.fields[0]

    def _made(self, x: Columns, first: int, plain: bool = False) -> Texts:
        name = self.codec.label
        labels = self.codec.labels(x[name]) if self.joint and name in x else None
        lines = tuple(self.codec.text(row) for row in x[self._field().name])
        return Texts(lines, False, labels=labels, column=self.codec.column, label=name)

    def _joined(self, rows: list[Texts]) -> Texts:
        labels = [part.labels for part in rows if part.labels is not None]
        lines = tuple(line for part in rows for line in part.lines)
        return replace(rows[0], lines=lines, labels=np.concatenate(labels) if labels else None)

    def _written(self, rows: Iterable[Texts], path: str | Path) -> int:
        texts = self._joined(list(rows))
        if not holds_text(path):
            return write_table([texts.table()], path, like=None)
        return write_texts(texts.bare(), path)

    def _out(self, rows: Texts, kind: str) -> Any:
        """Lines; with labels, or where a table was learned, a frame of both."""
        if rows.labels is None and rows.column is None:
            return list(rows.lines)
        return to_frame(rows.table(), kind if kind in FRAMES else "pandas")

    def _texts(self, source: Any, labels: Any = None) -> Texts:
        if isinstance(source, Texts):
            return source
        document = "no" if self.codec.ends else "yes"
        words: dict[str, Any] = {"encoding": self.provenance["reading"].get("encoding"), "document": document}
        if not holds_text(source):
            words |= {"column": self.codec.column, "label": self.codec.label if self.joint else None}
        return opened_texts(source, labels=labels, least=1, **words)[0]

    def _read(self, source: Any) -> tuple[Texts, str, Columns, Columns | None]:
        """source: as was learned; a pair (lines, labels) gives labels of lines."""
        pair = isinstance(source, tuple) and len(source) == 2 and not isinstance(source[0], str)
        texts = self._texts(*source) if pair else self._texts(source)
        x = self.codec.encode(texts)
        return texts, "list", x, {self.codec.label: x[self.codec.label]} if self.joint else None

    def prompts(self, path: str | Path) -> list[str]:
        """The prompts of a file: its lines, or, of a model of a document, all of it."""
        document = "no" if self.codec.ends else "yes"
        return list(read_texts(path, document=document, least=1)[0].lines)

    def _tempered(self, temperature: float, top_p: float) -> Any:
        if temperature == 1 and top_p == 1:
            return nullcontext()
        if not isinstance(self.model, Drawing):
            raise Unsupported(f"model {self.model.name!r} has no temperature: any_order and autoregressive have")
        return self.model.tempered(temperature, top_p)

    def sample(  # type: ignore[override]
        self,
        n: int,
        given: Any = None,
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int | None = None,
        path: str | Path | None = None,
        quiet: bool = False,
        allow_failed: bool = False,
    ) -> Any:
        """`Fitted.sample`, of p^(1 / temperature) and of the likeliest symbols that hold `top_p` of it."""
        with self._tempered(temperature, top_p):
            return super().sample(n, given, seed=seed, path=path, quiet=quiet, allow_failed=allow_failed)

    def continue_(
        self,
        prompt: str | Sequence[str],
        *,
        symbols: int | None = None,
        given: Any = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int | None = None,
        path: str | Path | None = None,
        quiet: bool = False,
        allow_failed: bool = False,
    ) -> Any:
        """Each prompt, and what follows it: up to its end, or `symbols` symbols: by default 500 of a document, and of a
        line as many as make it as long as the longest that is told, beyond which no end was learned.

        given: the label that they are of. A prompt longer than what the model sees is told from its last part alone.
        Raises SpecError for symbols below 1, CodecError for characters that were never seen, Unsupported for a model
        that does not go from left to right.
        """
        if not isinstance(self.model, Sequential) or isinstance(self.model, CodedSequence):
            raise Unsupported(f"model {self.model.name!r} does not go on from a prompt: autoregressive does")
        if symbols is not None and symbols < 1:
            raise SpecError(f"expected at least one symbol, got {symbols}")
        self._trust(allow_failed)
        if path is not None:
            store.check_folder(Path(path))
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        made = []
        with (
            self._tempered(temperature, top_p),
            torch.inference_mode(),
            bar("writing", len(prompts), "text", quiet) as tick,
        ):
            generator = torch.Generator().manual_seed(self._seed(seed))
            for text, told in zip(prompts, self._told(self.model, given, len(prompts)), strict=True):
                ids = torch.from_numpy(self._known(text).astype(np.int64))[None]
                room = max(1, self.model.length - ids.shape[1]) if self.codec.ends else 500
                more = self.model.continued(ids, torch.rand(1, symbols or room, generator=generator), told)[0]
                made.append(text + self.codec.text(more.numpy()))
                tick(1)
        if path is not None:
            return self._written([Texts(tuple(made), False)], path)
        return made[0] if isinstance(prompt, str) else made

    def complete(
        self,
        source: str | Path | Sequence[str],
        *,
        hole: str = HOLE,
        draws: int | None = None,
        given: Any = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int | None = 0,
        path: str | Path | None = None,
        quiet: bool = False,
        allow_failed: bool = False,
    ) -> Any:
        """Texts with their holes filled: each character `hole` stands for one symbol that is drawn given all others.

        source: a text with holes, several, or a text file (a Path, or a path with an ending) with one in each line.
        draws: several completions of each, one after the other. Of a text longer than the T symbols that the model sees
        at a time, holes are filled from left to right, each from the T symbols around it. Raises SpecError for a hole
        that is no single character, CodecError for characters that were never seen and lines longer than any
        of training, Unsupported for a model that cannot fill.
        """
        if not isinstance(self.model, Infilling):
            raise Unsupported(
                f"model {self.model.name!r} fills no holes in text: any_order does (fit --model any_order)"
            )
        if len(hole) != 1 or (draws is not None and draws < 1):
            raise SpecError(f"expected a hole of one character and a draw or more, got {hole!r} and {draws}")
        self._trust(allow_failed)
        if path is not None:
            store.check_folder(Path(path))
        is_file = isinstance(source, Path) or (isinstance(source, str) and hole not in source)
        alone = isinstance(source, str) and not is_file and draws is None
        texts = self.prompts(source) if is_file else [source] if isinstance(source, str) else list(source)  # type: ignore[arg-type]
        made = []
        with self._tempered(temperature, top_p), bar("filling", len(texts), "text", quiet) as tick:
            generator = torch.Generator().manual_seed(self._seed(seed))
            for text, told in zip(texts, self._told(self.model, given, len(texts)), strict=True):
                made += [self._filled(self.model, text, hole, generator, told) for _ in range(draws or 1)]
                tick(1)
        if path is not None:
            return self._written([Texts(tuple(made), False)], path)
        return made[0] if alone else made

    def _told(self, model: Labelled, given: Any, n: int) -> list[Any]:
        """What the model sees of a label for each of n texts: the same for all, drawn of p(c | given)."""
        sets = self._given(given)
        if not self.joint:
            return [None] * n
        c = self.joint.sample(1, np.random.default_rng(self.last_seed), sets) if sets else None
        return [model.told(model.label_codes(1, c))] * n

    def _filled(self, model: Infilling, text: str, hole: str, generator: torch.Generator, c: Any) -> str:
        """One text, its holes drawn."""
        size = self.codec.sites
        pieces = [(part, part[0] == hole) for part in re.findall(f"{re.escape(hole)}+|[^{re.escape(hole)}]+", text)]
        codes = [np.zeros(len(part), np.int64) if gap else self._known(part).astype(np.int64) for part, gap in pieces]
        x = torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *codes]))
        hidden = torch.from_numpy(np.repeat([gap for _, gap in pieces], [len(part) for part in codes]).astype(bool))
        if self.codec.ends and len(x) > size:
            raise CodecError(f"expected a line of at most {size} symbols, got {len(x)}: shorten it")
        while bool(hidden.any()):
            first = min(max(int(hidden.long().argmax()) - size // 2, 0), max(len(x) - size, 0))
            part = slice(first, first + size)
            own, gone = x[part], hidden[part]
            sizes = torch.tensor([len(own)])
            if self.codec.ends and len(own) < size:
                own, gone = torch.cat([own, own.new_zeros(1)]), torch.cat([gone, gone.new_zeros(1)])
            u = torch.rand(1, 2 * size, generator=generator)
            x[part] = model.filled(own[None], sizes, u, ~gone[None], c)[0, : int(sizes)]
            hidden[part] = False
        return self.codec.text(x.numpy())

    def _beside(self, rows: Texts, kind: str, told: dict[str, np.ndarray], path: str | Path | None) -> Any:
        import pyarrow as pa

        own = rows.table() if self.codec.ends else pa.table({})
        table = pa.table(dict(zip(own.column_names, own.columns, strict=True)) | told)
        return write_table([table], path, like=None) if path is not None else to_frame(table, "pandas")

    def _known(self, text: str) -> np.ndarray:
        """The codes of a text; CodecError names characters that were never seen."""
        ids, levels = self.codec.ids(text), self.codec.symbols
        if levels[-1] == UNKNOWN and (ids == len(levels) - 1).any():
            new = sorted(set(text) - set(levels[:-1]))
            raise CodecError(f"expected characters of the training text, got {', '.join(map(repr, new[:8]))}")
        return ids

    def log_prob(self, source: Any, *, detail: bool = False) -> Any:
        """log p of each line, float64 (n,), nats; of a document of each stretch of half of what the model sees.

        detail: a frame with `symbols`, how many each has with its end, and nats a symbol. Characters that were never
        seen count as the one unknown symbol, which is unlikely. Raises Unsupported where the model has no likelihood.
        """
        texts, _, x, c = self._read(source)
        value = self.model.log_prob(self._own(x), c) + self._extra(texts, c)
        if not detail:
            return value
        told = {"log_prob": value, "symbols": self._counts(x), "nats_a_symbol": -value / self._counts(x)}
        return self._beside(texts, "list", told, None)

    def _counts(self, x: Columns) -> np.ndarray:
        """The symbols that log p is of."""
        codes = x[self._field().name]
        if not self.codec.ends:
            return np.full(len(codes), codes.shape[1] // 2)
        return np.minimum((codes != 0).sum(1) + 1, codes.shape[1])

    def score(self, source: Any, *, path: str | Path | None = None) -> Any:
        """The figures of `log_prob(detail=True)`, as a frame or a file."""
        told = self.log_prob(source, detail=True)
        if path is None:
            return told
        import pyarrow as pa

        return write_table([pa.Table.from_pandas(told, preserve_index=False)], path, like=None)

    def evaluate(
        self,
        holdout: Any = None,
        target: str | None = None,
        *,
        train: Any = None,
        report: str | Path | None = None,
        json: str | Path | None = None,
        seed: int = 0,
        rows: int = COMPARED,
        beside: str | None = None,
        quiet: bool = False,
        **no: Any,
    ) -> TextEvidence:
        """The evidence: nats a symbol of unseen text beside an n-gram and frequencies, and how `rows` samples repeat
        one another and what was learned, and how far they are from unseen lines (evaluate_text.py).

        beside: a model that learns by likelihood, of the same size, which is trained for as long and judged alike.

        holdout: text never learned from (by default the test part of the stored split of the stored path); train: what
        was fitted, if it is no longer where it was. Raises CodecError where there is none, Unsupported for a target.
        """
        check_asked("text", {"target": target, **no}, report, json)
        learned, watched, unseen = self.learned_from(train)
        unseen = unseen if holdout is None else self._texts(holdout)
        if not len(unseen):
            raise CodecError("expected text that was never learned from, the split left none: give some (holdout)")
        lines = self.codec.ends
        others = {} if beside is None else {f"{beside}, as long": self._twin(beside, learned, watched, seed, quiet)}
        with bar("judging", 3, "part", quiet) as tick:
            _, _, x, c = self._read(unseen)
            nats = {k: -v for k, v in self._laws(x, c, others).items()}
            tick(1)
            drawn = {"the model": list(self._joined(list(self._draws(rows, seed=seed, quiet=True))).lines)}
            for name, other in others.items():
                drawn[name] = list(self._joined(list(other._draws(rows, seed=seed, quiet=True))).lines)
            tick(1)
            texts = {"learned": list(learned.lines) if lines else [], "unseen": list(unseen.lines) if lines else []}
            known, aside = ([self._whole(line) for line in part.lines] for part in (learned, unseen))
            symbols = len(self._field().levels)
            evidence = evaluate_text(nats, self._counts(x), known, aside, symbols, texts, drawn, self.codec.text, seed)
            tick(1)
        title = f"{self.model.name} on {self.provenance['source']}"
        write_evidence(title, evidence, self.provenance, evidence.html, report, json)
        return evidence

    def _laws(self, x: Columns, c: Columns | None, others: Mapping[str, "FittedText"]) -> dict[str, np.ndarray]:
        """log p of each row under every model that says one, by name; of a gan that of its generator."""
        models = {"the model": self.model} | {name: other.model for name, other in others.items()}
        told = {k: m.log_prob(self._own(x), c) for k, m in models.items() if "log_prob" in m.abilities}
        return (
            {"its generator": self.model.law(self._own(x), c), **told} if isinstance(self.model, SequenceGAN) else told
        )

    def _twin(self, name: str, learned: Texts, watched: Texts, seed: int, quiet: bool) -> "FittedText":
        """Another model of the same text and size, trained for as many seconds as this one, on the same device."""
        words = {k: v for k, v in self.model.config.items() if k in ("width", "heads", "depth")}
        fit = self.provenance["fit"]
        device = fit.get("device", "cpu") if torch.cuda.is_available() else "cpu"
        model = create(name, self.codec.spec, seed, **words)
        if "log_prob" not in model.abilities:
            raise Unsupported(
                f"expected a model that learns by likelihood beside this one, got {name!r}: autoregressive"
            )
        train, valid = (self._batch(model, part) for part in (learned, watched))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            trainer = Trainer(model, train, valid, seed, device)
            until = time.monotonic() + fit["seconds"]
            total = trainer.plan(None, until)
            with bar(f"training {name} beside it", total, "step", quiet) as tick:
                trainer.run(total, None, tick, until)
        return type(self)(model.to("cpu"), self.codec, self.provenance, self.joint)

    def _batch(self, model: Model, texts: Texts) -> Batch:
        x = self.codec.encode(texts)
        return model.prepare(self._own(x), {self.codec.label: x[self.codec.label]} if self.joint else None)

    def compared(self, rows: Texts, took: Sequence[np.ndarray], seed: int = 0) -> str:
        """How far as many draws as lines are watched, 500 at most, are from these, and draws of laws by counting."""
        if "log_prob" in self.model.abilities:
            return ""
        learned, watched = (rows.take(part) for part in took[:2])
        n = min(len(watched), COMPARED)
        if not self.codec.ends or n < FEW:
            return f"{n} lines were kept aside: too few to say how far draws are from those of an n-gram"
        laws = laws_of([self._whole(line) for line in learned.lines], len(self._field().levels))
        own = list(self._joined(list(self._draws(n, seed=seed, quiet=True))).lines)
        drawn = {"the model": own, **spelled(laws, n, self.codec.sites, self.codec.text, seed)}
        said = nearer(figures_of(drawn, list(learned.lines), list(watched.lines), seed))
        return f"{said} evaluate with beside='autoregressive' (--beside) trains that for as long and judges both."

    def _whole(self, line: str) -> np.ndarray:
        """The codes of a line with its END, cut as lines are."""
        codes = self.codec.ids(line)
        if not self.codec.ends:
            return codes
        return np.append(codes, 0)[: self.codec.sites].astype(np.int32)

    def learned_from(self, data: Any = None) -> tuple[Texts, Texts, Texts]:
        source = data if data is not None else self.provenance["path"]
        if source is None:
            raise CodecError("the model was fitted on a list, which a bundle does not keep: give it again (data=)")
        texts = self._texts(again(self.provenance["path"], self.provenance["reading"], data)[0])
        if texts.fingerprint() != self.provenance["fingerprint"]:
            raise CodecError("expected the text that the model was fitted on, got another: give that (--data)")
        learned, watched, unseen = parts_of(texts, self.provenance["split"], self.provenance["seed"])
        return texts.take(learned), texts.take(watched), texts.take(unseen)


def parts_of(texts: Texts, split: Sequence[float], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which lines are for training, validation and test; of a document its beginning, what follows, and its end."""
    if not texts.document:
        return parts(len(texts), split, seed)
    sizes = [len(part) for part in parts(len(texts), split, seed)]
    ends = np.cumsum([0, *sizes])
    learned, watched, unseen = (np.arange(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True))
    return learned, watched, unseen
