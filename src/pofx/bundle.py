"""`Fitted`: a model, its codec and its provenance, and the verbs that tables and images share; `load`."""

import math
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from . import store
from .balance import Part, dealt, parts_of
from .codecs.writing import check_path
from .compose import Joint, Latent
from .editing import Editing
from .errors import BadFile, Failed, PofxError, SpecError, Unsupported
from .field import Field
from .models import create
from .models.annealed import Sandwich, sandwich
from .models.model import Model
from .progress import bar
from .spec import Columns, Given, Spec

if TYPE_CHECKING:
    from .nn.certificate import Certificate

KIND = "model"
BLOCK = 4096  # rows of one block of noise: (seed, block) decides them
LISTED = 16  # numbers of a list that `info` shows
STRETCH = 8  # blocks written at a time

Rows = Any
"""Rows as a codec has them: an Arrow table, or `Pictures` (codecs/picture_io.py)."""


class Fitted(Editing):
    """A fitted model with its codec: `FittedTable` (fitted_table.py) or `FittedImages` (fitted_images.py).

    provenance: where the data came from, how it was split, what was fitted and with which versions.
    into_folders: verbs whose output may be a folder that is there; many: whether it is of several tables.
    """

    into_folders: frozenset[str] = frozenset()
    many: bool = False

    def __init__(
        self,
        model: Model,
        codec: Any,
        provenance: dict[str, Any],
        joint: Joint | None = None,
        typical: dict[str, float] | None = None,
        usual: np.ndarray | None = None,
    ) -> None:
        self.model, self.codec, self.provenance, self.joint = model, codec, provenance, joint
        self.typical = typical or {}
        self.usual = np.zeros(0) if usual is None else usual

    def __repr__(self) -> str:
        return f"<pofx {self.model.name} of {self._shape()}, learned from {self.provenance['rows']} rows>"

    # -- what a kind of data fills in --------------------------------------------------------------------------------

    def _shape(self) -> str:
        """The shape of an example, in words."""
        raise NotImplementedError

    def _given(self, given: Sequence[str] | str | Mapping[str, Any] | None) -> Given | None:
        """Conditions as sets."""
        raise NotImplementedError

    def _made(self, x: Columns, first: int, plain: bool = False) -> Rows:
        """Rows of stored columns; `first` is the number of their first one."""
        raise NotImplementedError

    def _joined(self, rows: list[Rows]) -> Rows:
        raise NotImplementedError

    def _written(self, rows: Iterable[Rows], path: str | Path) -> int:
        """Writes rows to a file as they come; how many."""
        raise NotImplementedError

    def _plain(self, path: Any) -> bool:
        """Whether a file wants numbers and dates in place of texts that stand for them."""
        return False

    def log_prob(self, source: Any, *args: Any, **words: Any) -> Any:
        """log p of each example."""
        raise NotImplementedError

    def score(self, source: Any, *args: Any, **words: Any) -> Any:
        """The examples, or their numbers, with log p beside them."""
        raise NotImplementedError

    def complete(self, source: Any, *args: Any, **words: Any) -> Any:
        """Missing cells filled; of tables."""
        raise self._of_tables("complete")

    def compared(self, rows: Any, took: Sequence[np.ndarray], seed: int = 0) -> str:
        """What is said at the end of a fit of laws that likelihood learned, beside a model that gives none, of the rows
        and their numbers in each part; "" where nothing is.
        """
        return ""

    def evaluate(self, *args: Any, **words: Any) -> Any:
        """The evidence on the model and its samples."""
        raise NotImplementedError

    def plot(self, path: str | Path, *args: Any, **words: Any) -> None:
        """Pictures of what was learned; of tables."""
        raise self._of_tables("plot")

    def _of_tables(self, verb: str) -> Unsupported:
        return Unsupported(
            f"{verb} is for tables, this is a model of {self._shape()}: use sample, score, evaluate or reconstruct"
        )

    # -- sample ------------------------------------------------------------------------------------------------------

    def _block(self, first: int, rows: int, parts: Sequence[Part], seed: int, plain: bool, truncation: float) -> Rows:
        """The rows from `first` on of one block, decided by (seed, block) alone."""
        key = [seed & (2**63 - 1), first // BLOCK]
        if len(parts) == 1:
            return self._made(self._some(rows, parts[0].sets, np.random.default_rng(key), truncation), first, plain)
        which = dealt(parts, BLOCK, np.random.default_rng(key))[:rows]
        x: Columns = {}
        for i in np.unique(which):
            there = np.flatnonzero(which == i)
            own = self._some(len(there), parts[i].sets, np.random.default_rng([*key, i]), truncation)
            for name, v in own.items():
                x.setdefault(name, np.empty((rows, *v.shape[1:]), v.dtype))[there] = v
        return self._made(x, first, plain)

    def _some(self, rows: int, sets: Given, rng: np.random.Generator, truncation: float) -> Columns:
        """Stored columns of rows that lie in sets."""
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        span = self.model.span or BLOCK
        enough = min(BLOCK, -(-rows // span) * span)  # those that are decoded together with the ones asked for
        c = {k: v[:enough] for k, v in self.joint.sample(BLOCK, rng, sets).items()} if self.joint else None
        own = {k: v for k, v in sets.items() if not c or k not in c}
        with torch.inference_mode():
            z = self.model.noise(BLOCK, generator)[:enough]
            z = z if truncation == 1 else cast(Any, self.model).truncated(z, truncation)
            x = self.model.decode(z, c, own or None) | (c or {})
        return {k: v[:rows] for k, v in x.items()}

    def draws(
        self,
        n: int,
        given: Sequence[str] | str | Mapping[str, Any] | None = None,
        seed: int = 0,
        *,
        balance: str | Mapping[str, Any] | None = None,
        plain: bool = False,
        truncation: float = 1.0,
        solver_steps: int | None = None,
        quiet: bool = False,
        allow_failed: bool = False,
    ) -> Iterator[Rows]:
        """n new rows (Arrow tables, arrays of images), a stretch at a time; a worker draws blocks on one torch thread.

        `plain` turns texts of a file that stand for numbers, dates and truth values into such. Raises what `sample`
        does.
        """
        self._trust(allow_failed)
        return self._draws(
            n, given, seed, balance=balance, plain=plain, truncation=truncation, solver_steps=solver_steps, quiet=quiet
        )

    def _draws(
        self,
        n: int,
        given: Sequence[str] | str | Mapping[str, Any] | None = None,
        seed: int = 0,
        *,
        balance: str | Mapping[str, Any] | None = None,
        plain: bool = False,
        truncation: float = 1.0,
        solver_steps: int | None = None,
        quiet: bool = False,
    ) -> Iterator[Rows]:
        """`draws` of any model, as evidence asks for."""
        if n < 1:
            raise SpecError(f"expected a number of rows of at least 1, got {n}")
        if "sample" not in self.model.abilities:
            raise self.model._cannot("sample")
        if not 0 < truncation <= 1:
            raise SpecError(f"expected a truncation above 0 and up to 1, got {truncation}: 1 draws from the whole law")
        if truncation != 1 and "truncate" not in self.model.abilities:
            raise self.model._cannot("truncate")
        if solver_steps is not None and "solver_steps" not in self.model.abilities:
            raise self.model._cannot("solver_steps")
        sets = self._given(given) or {}
        parts = [Part(1.0, sets)]
        if balance:
            parts = [Part(p.share, sets | p.sets) for p in parts_of(balance, self._fields(), self._given, sets)]
        self.model.effective = math.inf
        firsts = iter(range(0, n, BLOCK))
        workers = torch.get_num_threads()
        with (
            cast(Any, self.model).solved(solver_steps) if solver_steps is not None else nullcontext(),
            bar("sampling", n, "row", quiet) as tick,
            ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool,
        ):

            def more(count: int) -> Iterator[Future[Rows]]:
                for first in islice(firsts, count):
                    yield pool.submit(self._block, first, min(BLOCK, n - first), parts, seed, plain, truncation)

            ahead, held = deque(more(2 * workers)), []
            while ahead:
                held.append(ahead.popleft().result())
                ahead.extend(more(1))
                tick(len(held[-1]))
                if len(held) == STRETCH or not ahead:
                    yield self._joined(held)
                    held = []

    def sample(
        self,
        n: int,
        given: Sequence[str] | str | Mapping[str, Any] | None = None,
        *,
        balance: str | Mapping[str, Any] | None = None,
        truncation: float = 1.0,
        solver_steps: int | None = None,
        seed: int | None = None,
        path: str | Path | None = None,
        quiet: bool = False,
        allow_failed: bool = False,
    ) -> Any:
        """n new rows, in the kind of container that was learned from; with `path`, written there in a stream.

        given: conditions, "age in [20,30]" or {"age": pofx.between(20, 30)}; they hold exactly. A sample of 10 is the
        beginning of a sample of a million of the same seed; without a seed, one is drawn and kept in `last_seed`.
        balance: a column whose levels get equal shares, or shares of values, {"income": {">50K": 0.3}} (balance.py),
        which the other columns follow.
        truncation: from above 0 to 1, of adversarial networks; less draws nearer to the middle, better and less varied.
        solver_steps: of a flow of a differential equation (ffjord, flow_matching), for these rows alone.
        Raises SpecError for n < 1, CodecError for a condition that cannot hold, Unsupported where the model cannot;
        Failed, unless `allow_failed`, where the fit failed and samples are not finite or worse than trivial ones.
        """
        seed, plain = self._seed(seed), path is not None and self._plain(path)
        if path is not None:
            check_path(path)
        rows = self.draws(
            n, given, seed, balance=balance, plain=plain, truncation=truncation, solver_steps=solver_steps,
            quiet=quiet, allow_failed=allow_failed,
        )  # fmt: skip
        if path is not None:
            return self._written(rows, path)
        return self._out(self._joined(list(rows)), self.provenance["container"])

    @property
    def verdict(self) -> str:
        """PASS, WARN or FAIL, as the fit ended; empty where it was not judged."""
        return str(self.provenance.get("verdict", {}).get("word", ""))

    def reasons(self) -> list[str]:
        """Why: the findings of the guard, the gravest first."""
        return [f["words"] for f in self.provenance.get("verdict", {}).get("findings", [])]

    def _trust(self, allow_failed: bool) -> None:
        """Refuses to show what a model makes that failed, or warns: what every verb that does so asks first."""
        if self.verdict != "FAIL":
            return
        told = f"the fit of this model failed: {'; '.join(self.reasons()[:2])}"
        if self.provenance["verdict"]["refused"] and not allow_failed:
            raise Failed(f"{told}; allow_failed=True (--allow-failed) goes on all the same")
        warnings.warn(told, stacklevel=4)

    def _fields(self) -> dict[str, Field]:
        """What the model learns or is told, by name."""
        told = self.model.spec.condition
        return {f.name: f for f in (*self.model.spec.fields, *(told.fields if told else ()))}

    def _seed(self, seed: int | None) -> int:
        self.last_seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else int(seed)
        return self.last_seed

    def remarks(self) -> str:
        """What is to be said of the last sample."""
        size = self.model.effective
        return f"; effective sample size of the joint condition {size:,.0f} a block" if math.isfinite(size) else ""

    # -- check -------------------------------------------------------------------------------------------------------

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

    def sandwich(
        self,
        n: int = 100,
        *,
        steps: int = 200,
        chains: int = 4,
        draws: int | None = None,
        start: str = "posterior",
        seed: int = 0,
    ) -> Sandwich:
        """How far the bound of n rows that the model draws is from their log p, nats: print() it (models/annealed.py).

        Annealing in `steps` temperatures gives log p from below and from above; the bound by importance of `draws`
        stands beside. start: "posterior" or "prior". Raises Unsupported for a model without a law of codes.
        """
        c = self.joint.sample(max(n, 1), np.random.default_rng(seed)) if self.joint else None
        return sandwich(self.model, n, c, steps=steps, chains=chains, draws=draws, start=start, seed=seed)

    # -- another law of codes ----------------------------------------------------------------------------------------

    def with_prior(
        self,
        prior: str = "mixture",
        *,
        data: Any = None,
        minutes: float | None = None,
        steps: int | None = None,
        seed: int = 0,
        device: str = "auto",
        threads: int | None = None,
        precision: str = "auto",
        quiet: bool = False,
        guard: bool = True,
        **config: Any,
    ) -> "Fitted":
        """This model with another law of its codes: any model that can be sampled, fitted to the codes of the rows that
        this one learned from (compose.Latent). A deterministic autoencoder can then be sampled, and a variational one
        has two stages.

        data: the file, frame or images that was fitted, if it is no longer where it was; minutes, steps, seed, device,
        threads, precision, guard and further arguments are those of the fit of the prior, as in `fit`. Raises
        Unsupported for a model without codes or a prior without samples, CodecError where the rows cannot be found.
        """
        from .learn import fit_prior

        return fit_prior(self, prior, data, minutes, steps, seed, device, threads, precision, quiet, guard, config)

    def learned_from(self, data: Any = None) -> tuple[Rows, Rows, Rows]:
        """The rows of training, validation and test, from where they were or from `data`, which must be the same."""
        raise NotImplementedError

    # -- keep --------------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Writes the bundle: weights in float32, codec and provenance as JSON; nothing in it can run code."""
        meta, arrays = self.codec.to_json()
        own = self.model.autoencoder if isinstance(self.model, Latent) else self.model
        header = {
            "model": own.name,
            "config": own.config,
            "codec": meta,
            "typical": self.typical,
            "provenance": self.provenance,
        }
        held = {f"codec.{k}": v for k, v in arrays.items()}
        held |= {f"weight.{k}": v.detach().cpu().numpy() for k, v in self.model.state_dict().items()}
        held |= {f"joint.{k}": v for k, v in self.joint.to_arrays().items()} if self.joint else {}
        held |= {"usual.scores": self.usual} if len(self.usual) else {}
        if isinstance(self.model, Latent):
            prior = self.model.prior
            spec, pieces = prior.spec.split()
            header["prior"] = {"model": prior.name, "config": prior.config, "spec": spec}
            held |= {f"prior.{k}": v for k, v in pieces.items()}
        store.write(path, KIND, header, held)

    def info(self) -> str:
        """What the model is, in lines for a terminal."""
        p, m = self.provenance, self.model
        count = sum(v.numel() for v in m.parameters())
        config = {k: getattr(m, k, None) if v is None else v for k, v in m.config.items()}  # None: what is in force
        config = {k: v for k, v in config.items() if v is not None}
        how = "a permutation" if "privacy" not in p else "a hash of each row's own cells, numbers of rows noisy"
        lines = [
            f"model      {m.name} ({m.family}), {count:,} parameters, {_words(config)}",
            f"learned    {p['source']}, {p['train_rows']:,} of {p['rows']:,} rows, {self._shape()}",
            f"split      {'/'.join(map(str, p['split']))} train/validation/test by {how}, seed {p['seed']}",
            f"can        {', '.join(sorted(m.abilities))}",
            f"fields     {', '.join(f'{f.name} ({f.kind})' for f in m.spec.fields)}",
        ]
        if self.joint:
            lines.append(f"condition  {', '.join(f.name for f in self.joint.fields)}")
        lines += [f"{k:<10} {v}" for k, v in p.get("notes", {}).items()]
        lines += [f"privacy    {p['privacy']['words']}"] if "privacy" in p else []
        if self.verdict:
            lines.append(f"verdict    {self.verdict}{_figures(p['verdict']['figures'])}")
            lines += [f"           {reason}" for reason in self.reasons()]
        lines += [f"{k:<10} {told}" for k, v in p["fit"].items() if k != "looks" and (told := _words(v))]
        lines += [f"prior      {_words({k: v for k, v in p['prior'].items() if k != 'looks'})}"] if "prior" in p else []
        meaning = m.words(p["fit"])
        lines += [f"means      {meaning}"] if meaning else []
        return "\n".join([*lines, f"versions   {_words(p['versions'])}"])


def _figures(told: Mapping[str, Any]) -> str:
    """The main figures behind a verdict."""
    if not told.get("skill"):
        return ""
    skills = ", ".join(
        f"{s['value']:.2f} ({k})" if s["measurable"] else f"not measurable ({k})" for k, s in told["skill"].items()
    )
    rates = ", ".join(f"{r['coverage']:.2f} of {told['floors'][k]['coverage']:.2f}" for k, r in told["rates"].items())
    critic = f"; fresh critic AUC {told['auc']:.3f}" if told["auc"] is not None else ""
    return f": skill {skills}; coverage {rates}{critic}; on {told['n']:,} unseen examples"


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_words(v)}" for k, v in value.items())
    if isinstance(value, list):
        return " ".join(v if isinstance(v, str) else f"{v:.3g}" for v in value[:LISTED]) + (
            f" ... ({len(value)})" if len(value) > LISTED else ""
        )
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def fitted_class(kind: str) -> tuple[type[Fitted], Any]:
    """(the class of a kind of data, its codec)."""
    if kind == "photo":
        from .codecs.photos import PhotoCodec
        from .fitted_photos import FittedPhotos

        return FittedPhotos, PhotoCodec
    if kind == "music":
        from .codecs.music import MusicCodec
        from .fitted_music import FittedMusic

        return FittedMusic, MusicCodec
    if kind == "audio":
        from .codecs.audio import AudioCodec
        from .fitted_audio import FittedAudio

        return FittedAudio, AudioCodec
    if kind == "voices":
        from .codecs.voices import VoicesCodec
        from .fitted_voices import FittedVoices

        return FittedVoices, VoicesCodec
    if kind == "text":
        from .codecs.text import TextCodec
        from .fitted_text import FittedText

        return FittedText, TextCodec
    if kind == "image":
        from .codecs.image import ImageCodec
        from .fitted_images import FittedImages

        return FittedImages, ImageCodec
    from .codecs.table import TableCodec
    from .fitted_table import FittedTable

    return FittedTable, TableCodec


def load(path: str | Path) -> Fitted:
    """The bundle at path. Raises BadFile, saying what is wrong, for anything else."""
    header, arrays = store.read(path, KIND)
    try:
        if header["codec"].get("kind") == "tables":
            from .tables.fitted import FittedTables

            return FittedTables.opened(header, arrays)
        own: dict[str, dict[str, np.ndarray]] = {"codec": {}, "weight": {}, "joint": {}, "usual": {}, "prior": {}}
        for key, value in arrays.items():
            part, name = key.split(".", 1)
            own[part][name] = value
        made, codecs = fitted_class(header["codec"].get("kind", "table"))
        codec = codecs.from_json(header["codec"], own["codec"])
        model = create(header["model"], codec.spec, **header["config"])
        if (of := header.get("prior")) is not None:
            model = Latent(model, create(of["model"], Spec.join(of["spec"], own["prior"]), **of["config"]))
        model.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in own["weight"].items()})
        joint = Joint.from_arrays(codec.spec.condition.fields, own["joint"]) if codec.spec.condition else None
        usual = own["usual"].get("scores")
        return made(model.eval(), codec, header["provenance"], joint, header["typical"], usual)
    except (KeyError, RuntimeError, TypeError, ValueError, AttributeError, PofxError) as error:
        raise BadFile(f"{str(path)!r} does not hold what a model file holds ({error}): write it again") from error
