"""`FittedImages`: a model of images, and the verbs on arrays, files and folders of them."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from json import dumps as to_json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import store
from .codecs.image import LABEL, ImageCodec
from .codecs.picture_io import Pictures, read_images, words_of, write_images
from .codecs.tabular_io import to_frame
from .codecs.writing import write_table
from .compression import Compressed, Compressor
from .editing import Examples
from .errors import BadFile, CodecError, SpecError, Unsupported
from .evaluate_images import ImageEvidence, evaluate_images
from .fitted_by_label import FittedByLabel
from .judging import publish
from .models.coded import Coded
from .progress import bar
from .spec import Columns
from .split import parts
from .spoiled import Spoiled

COMPRESSED = "compressed"
MARK = 16  # hexadecimal digits
MARKS = {"shape": "(height, width, channels)", "spec": "fields", "weights": "weights"}


class FittedImages(FittedByLabel, Spoiled):
    """A fitted model of images.

    What comes out is an array, uint8 (n, H, W) or (n, H, W, C), as what was learned, or goes to .npz, .npy, a sheet
    (.png) or a folder; values of more than 8 bits come back as they were (docs/images.md). A model with the condition
    `label` takes and gives pairs (images, labels): in a .npz the array `labels`, in a folder a sub-folder for each, on
    a sheet rows of its own. Where a label is missing, likelihoods sum over it, and codes and what is made of them take
    the likeliest.
    """

    examples = "these images were"
    codec: ImageCodec

    def _shape(self) -> str:
        height, width, channels = self.codec.shape
        return f"images of {height} x {width} x {channels}"

    def _made(self, x: Columns, first: int, plain: bool = False) -> Pictures:
        return self.codec.decode(x)

    def _joined(self, rows: list[Pictures]) -> Pictures:
        labels = [part.labels for part in rows if part.labels is not None]
        images = np.concatenate([part.images for part in rows])
        return replace(rows[0], images=images, labels=np.concatenate(labels) if labels else None)

    def _written(self, rows: Iterable[Pictures], path: str | Path) -> int:
        return write_images(self._joined(list(rows)), Path(path), self._top)

    def _out(self, rows: Pictures, kind: str) -> Any:
        return rows.plain()

    def _read(self, source: Any) -> tuple[Pictures, str, Columns, Columns | None]:
        words = words_of(self.provenance["reading"]) | {"broken": "refuse"}  # a figure belongs to each file
        rows, kind = read_images(source, depth=self.codec.depth, **words)
        if rows.images.shape[-1] == 1 and self.codec.shape[-1] == 3:
            rows = replace(rows, images=rows.images.repeat(3, -1))
        x = self.codec.encode(rows, strict=True)
        return rows, kind, x, {LABEL: x[LABEL]} if self.joint else None

    def _beside(self, rows: Pictures, kind: str, told: dict[str, np.ndarray], path: str | Path | None) -> Any:
        import pyarrow as pa

        table = pa.table({"image": np.arange(len(rows))} | told)
        return write_table([table], path, like=None) if path is not None else to_frame(table, "pandas")

    def log_prob(self, source: Any, *, detail: bool = False, draws: int | None = None) -> Any:
        """log p of each image, float64 (n,), nats: a lower bound where the model only has one.

        With labels it is log p(x, c) of an image x with its label c, and log p(x) = log sum_c p(x, c) of one without.
        detail: a frame with `log_prob.label`, log p(c), and `log_prob.image`, log p(x|c), whose sum it is; bits a
        dimension of the image (-log p(x|c) / (D ln 2), D = H W C); and, for a bound of `draws` draws, its standard
        error and effective sample size. Raises Unsupported where the model has no likelihood, or one without draws and
        some are asked, SpecError for grey pixels where the model has a law of black and white ones.
        """
        rows, _, x, c = self._read(source)
        value, more = self._bound(x, c, draws)
        extra = self._extra(rows, c)
        if not detail:
            return value + extra
        told = {"log_prob": value + extra, "bits_per_dim": -value / (np.prod(self.codec.shape) * np.log(2))} | more
        told |= {"log_prob.image": value, "log_prob.label": np.asarray(extra)} if self.joint else {}
        return self._beside(rows, "array", told, None)

    def interpolate(
        self, a: Any, b: Any, *, steps: int = 8, path: str | Path | None = None, allow_failed: bool = False
    ) -> Any:
        """From each image of a to the image of b beside it, in this order: `steps` images whose codes lie evenly on the
        line between theirs, made under the label of the nearer end, and given without.
        """
        self._makes("interpolate", allow_failed)
        x, _, kind = self._between(a, b, steps)
        return self._given_out(x, kind, path)

    def complete(
        self,
        source: Any,
        *,
        hidden: Any = None,
        draws: int | None = None,
        seed: int | None = 0,
        path: str | Path | None = None,
        quiet: bool = False,
        allow_failed: bool = False,
    ) -> Any:
        """The images with their missing labels filled by the likeliest, argmax p(c|x); the others as they are.

        hidden: with their hidden pixels filled, and labels by what is known: a mask, true where hidden, bool (H, W) or
        (n, H, W); the half `lower`, `upper`, `left` or `right`; or the path of a picture, bright where hidden. What
        lies there is not read; what is known comes out as it came. E[x|y], or `draws` draws of p(x|y) of each image,
        all images after one another for each draw (posterior.py). Raises Unsupported where the model cannot, or several
        `draws` of labels are asked, CodecError for a mask of another size, SpecError where it hides all or for draws
        below 1, Failed where the fit did.
        """
        if hidden is not None:
            return self._hidden(source, hidden, draws, seed, path, quiet, allow_failed)
        if not self.model.settles or draws is not None:
            raise Unsupported(
                "of images only missing labels are filled, once, by vae, iwae, hvae, realnvp or glow with labels"
            )
        _, kind, x, c = self._read(source)
        return self._given_out(x | (self.model.settled(self._own(x), c) or {}), kind, path)

    def compress(self, source: Any, path: str | Path) -> Compressed:
        """Writes the images, with their labels, to a file about as short as the model's bound says; how long it is.

        The file keeps which model wrote it, and a checksum of the images. Raises Unsupported where the model does not
        compress (compression.py), SpecError for grey pixels under a law of black and white ones.
        """
        store.check_folder(Path(path))
        rows, _, x, c = self._read(source)
        words, bound = Compressor(self.model).compress(x, c)
        header = {"shape": list(self.codec.shape), **self._marks(), "pixels": _mark(self.codec.decode(x))}
        store.write(path, COMPRESSED, header, {"words": words})
        return Compressed(8 * Path(path).stat().st_size / rows.images.size, bound / rows.images.size)

    def decompress(self, path: str | Path, *, out: str | Path | None = None) -> Any:
        """The images of a file that `compress` of the same model wrote, exactly.

        Raises BadFile for another file, for one of another model, saying what differs, and where the images that come
        out are not those that went in.
        """
        header, arrays = store.read(path, COMPRESSED)
        own = {"shape": list(self.codec.shape), **self._marks()}
        for name, value in own.items():
            if header.get(name) != value:
                raise BadFile(
                    f"{str(path)!r} was written by another model, of other {MARKS[name]}: expected {value}, got "
                    f"{header.get(name)}; give the model that wrote it"
                )
        try:
            images = self.codec.decode(Compressor(self.model).decompress(arrays["words"]))
        except ValueError:
            images = None
        if images is None or _mark(images) != header.get("pixels"):
            raise BadFile(
                f"{str(path)!r} does not come out as the pixels that went in: this machine, or torch "
                f"{torch.__version__}, rounds otherwise than where it was written; decompress it there"
            )
        return self._written([images], out) if out is not None else self._out(images, "array")

    def _marks(self) -> dict[str, str]:
        """What tells this model from others: a mark of its Spec, and one of its weights."""
        header, arrays = self.codec.spec.split()
        weights = {name: v.detach().cpu().numpy() for name, v in self.model.state_dict().items()}
        spec = store.digest_of(to_json(header), arrays)
        return {"spec": spec[:MARK], "weights": store.digest_of(self.model.name, weights)[:MARK]}

    def evaluate(
        self,
        holdout: Any = None,
        target: str | None = None,
        *,
        train: Any = None,
        report: str | Path | None = None,
        json: str | Path | None = None,
        seed: int = 0,
        rows: int = 1000,
        binarise: bool = False,
        sandwich: int = 0,
        inception: str | Path | None = None,
        quiet: bool = False,
    ) -> ImageEvidence:
        """The evidence: likelihood, codes and cleaning on unseen images, beside simpler laws of the same split.

        holdout: images never trained on (by default the test images of the stored split of the stored path), the first
        `rows` of them; train: what was fitted, if it is no longer where it was. binarise: every pixel is drawn black or
        white once, its shade the chance of ink, as a law of black and white ones needs; without it grey pixels are a
        SpecError there. sandwich: of how many drawn images log p is found from both sides (`sandwich`).
        inception: a .safetensors file of Inception's weights, for FID and KID beside what training images have.
        Raises CodecError where images cannot be found, Unsupported for a target, BadFile for weights that are none.
        """
        if target is not None:
            raise Unsupported("images have no target column: leave target out")
        if binarise and not (isinstance(self.model, Coded) and getattr(self.model.lens, "binarise", False)):
            raise SpecError("expected binarise=True for a model fitted with binarise=True alone: leave it out")
        for path in (report, json):
            if path is not None:
                store.check_folder(Path(path))
        learned, watched, unseen = self.learned_from(train)
        unseen = unseen if holdout is None else self._read(holdout)[0]
        if not len(unseen):
            raise CodecError("expected images that were never learned from, the split left none: give some (holdout)")
        unseen = unseen.take(np.arange(min(rows, len(unseen))))
        held = [self.codec.encode(part) for part in (learned, watched, unseen)]
        columns = [self._own(part) for part in held]
        if binarise:
            columns = [self.model.fair(part, seed) for part in columns]
        condition = {LABEL: held[-1][LABEL]} if self.joint else None
        condition = self.model.settled(columns[-1], condition)
        with bar("judging", 100, "%", quiet) as tick:
            done = 0

            def hear(share: float, what: str) -> None:
                nonlocal done
                tick(int(share * 100) - done, what)
                done = int(share * 100)

            evidence = evaluate_images(
                self.model, *columns, top=self._top, condition=condition, drawn=self._labels(seed),
                learned={LABEL: held[0][LABEL]} if self.joint else None, annealed=sandwich, inception=inception,
                seed=seed, progress=hear,
            )  # fmt: skip
        evidence.remarks = {k: v for k, v in self.provenance["fit"].items() if k != "looks"}
        evidence.words += (
            [self.model.words(evidence.remarks).capitalize()] if self.model.words(evidence.remarks) else []
        )
        if binarise:
            evidence.words.append(
                "Pixels were drawn black or white once: nats and bits are of those, not of grey ones."
            )
        publish(evidence, report, json, f"{self.model.name} on {self.provenance['source']}", self.provenance)
        return evidence

    def _label_named(self, by: str | None) -> str:
        if by not in (None, LABEL):
            raise SpecError(f"expected by of a table alone, got {by!r}: images have one label each, leave it out")
        return LABEL

    def _examples(self, labels: Any, name: str) -> Examples:
        pictures = self._parts(None)[0] if labels is None else self._read(labels)[0]
        found = [None] * len(pictures) if pictures.labels is None else pictures.labels.tolist()
        names = [None if label is None else str(label) for label in found]
        return np.array(names, object), self.codec.encode(pictures.bare()), None

    def _labels(self, seed: int) -> Callable[[int], Columns] | None:
        """Draws of p(c), where there are labels."""
        joint = self.joint
        return (lambda n: joint.sample(n, np.random.default_rng(seed))) if joint else None

    def learned_from(self, data: Any = None) -> tuple[Pictures, Pictures, Pictures]:
        learned, watched, unseen = (part if self.joint else part.bare() for part in self._parts(data))
        return learned, watched, unseen

    def _parts(self, data: Any) -> tuple[Pictures, Pictures, Pictures]:
        """`learned_from`, with the labels that lie beside images which were learned without."""
        source = data if data is not None else self.provenance["path"]
        if source is None:
            raise CodecError(
                "the model was fitted on an array, which a bundle does not keep: give it again (train=, data=, "
                "labels=, --data)"
            )
        images = read_images(source, **words_of(self.provenance["reading"]))[0]
        if (images if self.joint else images.bare()).fingerprint() != self.provenance["fingerprint"]:
            raise CodecError(
                f"{source if isinstance(source, str) else 'the array'!r} is not what the model was fitted on: "
                "its images differ; give those (train=, data=, --data)"
            )
        kept = self.codec.kept(images.labels) if self.joint else None
        learned, watched, unseen = parts(len(images), self.provenance["split"], self.provenance["seed"], kept)
        return images.take(learned), images.take(watched), images.take(unseen)

    def score(self, source: Any, *, draws: int | None = None, path: str | Path | None = None) -> Any:
        """The figures of `log_prob(detail=True)`, as a frame or a file."""
        told = self.log_prob(source, detail=True, draws=draws)
        return write_table([_arrow(told)], path, like=None) if path is not None else told


def _mark(pictures: Pictures) -> str:
    return pictures.fingerprint()[:MARK]


def _arrow(frame: Any) -> Any:
    import pyarrow as pa

    return pa.Table.from_pandas(frame, preserve_index=False)
