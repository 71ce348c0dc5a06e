"""`doctor`: before a long fit, what the data look like, whether every phase works, and how long it would take.

Two short fits with the words of the long one: the first is cold, as the long one will be, and tells A, what is around
the steps; the second warm, and tells s, what a step costs, and L, what LOOKS validations do. N steps take A + L + N s.
"""

import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from .bundle import Fitted, load
from .codecs.picture_io import Pictures
from .errors import SpecError, Unsupported
from .fitted_images import FittedImages
from .learn import fit
from .training.examination import LEAST
from .training.loop import LOOKS

SHORT, LONG = LOOKS, 3 * LOOKS  # steps of the two fits
FEW = 200  # training rows below which a network has little to learn from
GONE, ALIKE = 0.9, 0.999  # shares of a column's cells that are missing, or alike, from which it is named
TRIED = 20  # rows that are drawn
UNEVEN = 10  # times as many images of the commonest label as of the rarest, from which they are named
NEAR = 0.1  # of the usual distance to the nearest training image, below which an image is nearly one of those
LOOKED, ALONG, SHOWN = (1000, 5000), 16, 8  # held-out and training images compared, in so many pixels a side; names
T = TypeVar("T")


@dataclass
class Checkup:
    """What `doctor` found: `remarks` on the data, (phase, seconds) of what was tried, and the long fit foretold."""

    rows: int = 0
    profile: str = ""  # how each column of a table is read, and why
    remarks: list[str] = field(default_factory=list)
    phases: list[tuple[str, float]] = field(default_factory=list)
    steps: int = 0
    step_seconds: float = 0.0
    seconds: float = 0.0
    peak_mib: float | None = None

    def __str__(self) -> str:
        lines = [self.profile + "\n"] if self.profile else []
        lines += [f"data       {remark}" for remark in self.remarks or ["nothing to remark"]]
        lines += [f"{name:<10} works, {seconds:.1f} s" for name, seconds in self.phases]
        if self.steps:
            each = f"{1e3 * self.step_seconds:,.0f} ms a step"
            lines.append(f"the fit    {self.steps:,} steps by its recipe, {each}: about {_span(self.seconds)}")
        else:
            lines.append(f"the fit    in closed form: about {_span(self.seconds)}")
        if self.peak_mib:
            lines.append(
                f"memory     {self.peak_mib:,.0f} MiB, the most that this process held, both short fits included"
            )
        return "\n".join(lines)


def doctor(source: Any, **words: Any) -> Checkup:
    """Tries a fit of `source` with the words of `pofx.fit`, and everything after it, on a few steps.

    Raises what the fit itself would: CodecError, SpecError, Unsupported; and SpecError for minutes or steps, which the
    recipe decides here.

        >>> import pandas as pd
        >>> checkup = doctor(pd.DataFrame({"age": range(100)}), model="independent")
        >>> checkup.steps
        0
    """
    if words.keys() & {"minutes", "steps"}:
        raise SpecError("expected no minutes and no steps: a checkup tells how long the recipe takes")
    found, words = Checkup(), {"quiet": True, **words}
    model, first = _timed(found, "fit", lambda: fit(source, steps=SHORT, **words))
    if model.many:
        raise Unsupported(
            "expected one table to be tried, got several: leave --kind tables out, or fit them (--steps 2)"
        )
    found.rows, found.remarks = int(model.provenance["rows"]), list(_remarks(model))
    if isinstance(model, FittedImages):
        labels = words.get("labels")
        found.remarks += _of_images(*model.learned_from(source if labels is None else (source, labels)))
    around = first - float(model.provenance["fit"].get("seconds", 0.0))
    found.profile = model.codec.profile() if hasattr(model.codec, "profile") else ""
    if model.model.trained:
        told = fit(source, steps=LONG, **words).provenance["fit"]
        rows, stages = int(model.provenance["train_rows"]), model.model.stages()
        fits = [(stage.recipe(rows).steps, told.get(name, told)) for name, stage, _ in stages]
        found.steps = sum(steps for steps, _ in fits)
        found.step_seconds = sum(n * own["step seconds"] / own["steps"] for n, own in fits) / found.steps
        looks = sum(own["seconds"] - own["step seconds"] for _, own in fits)
        found.seconds = around + looks + found.steps * found.step_seconds
    else:
        found.seconds = first
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "model.pofx"
        _timed(found, "save", lambda: model.save(place))
        held, _ = _timed(found, "load", lambda: load(place))
    if "sample" in model.model.abilities:
        drawn, _ = _timed(found, "sample", lambda: _draw(model))
        if not _same(drawn, _draw(held)):
            found.remarks.append("a model that was saved and loaded draws other rows: report this as a defect")
    found.peak_mib = _peak()
    return found


def _timed(found: Checkup, name: str, what: Callable[[], T]) -> tuple[T, float]:
    """What came of a phase, and its seconds, which are noted."""
    began = monotonic()
    got = what()
    found.phases.append((name, monotonic() - began))
    return got, found.phases[-1][1]


def _draw(model: Fitted) -> Any:
    """Some rows, however bad: so few steps make a good model of nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.sample(TRIED, seed=0, quiet=True, allow_failed=True)


def _remarks(model: Fitted) -> Iterator[str]:
    """What the columns, or the shades, say before a fit."""
    told, rows = model.provenance, int(model.provenance["train_rows"])
    yield from (f"{name}: {words}" for name, words in told["notes"].items())
    if rows < FEW and isinstance(model, FittedImages):
        yield f"{rows:,} training images are few for a network: look for copies of them in its report (`evaluate`)"
    elif rows < FEW:
        yield f"{rows:,} training rows are few for a network: compare with `mixture` and `gaussian_copula`"
    held = int(told["rows"] * told["split"][1])
    if held < LEAST and "sample" in model.model.abilities:
        enough = f"from {LEAST / told['split'][1]:,.0f} on" if told["split"][1] else "with a share for validation"
        yield f"{held:,} examples are held out to judge the fit by, {LEAST} are needed: no verdict but {enough}"
    for one in model.model.spec.fields:
        if one.has_missing and one.mass[0] > GONE:
            yield f"{one.name!r} is missing in {one.mass[0]:.0%} of the rows"
        elif len(one.mass) and one.mass.max() > ALIKE:
            yield f"{one.name!r} has one value in {one.mass.max():.1%} of its cells: it says next to nothing"


def _of_images(*parts: Pictures) -> Iterator[str]:
    """What images of training, validation and test say of their labels and of each other."""
    labels = [v for part in parts if part.labels is not None for v in part.labels.tolist() if v is not None]
    counts = Counter(labels).most_common()
    alone = [repr(label) for label, count in counts if count == 1]
    if alone:
        shown = ", ".join(alone[:SHOWN])
        yield f"{len(alone):,} of {len(counts):,} labels have one image, which cannot be judged: {shown}"
    if counts and counts[0][1] > UNEVEN * counts[-1][1]:
        (most, many), (least, few) = counts[0], counts[-1]
        yield f"labels are uneven: {most!r} has {many:,} images, {least!r} {few:,}"
    images = np.concatenate([part.images for part in parts])
    flat = images.reshape(len(images), -1)
    same = int((flat.min(1) == flat.max(1)).sum())
    if same:
        yield f"{same:,} of {len(images):,} images are of one shade"
    keys = [image.tobytes() for image in images]
    again = len(keys) - len(set(keys))
    if again:
        yield f"{again:,} of {len(keys):,} images are repeated: those in two parts of the split flatter what is judged"
    train, held = parts[0].images, np.concatenate([part.images for part in parts[1:]])
    if near := _near(train[: LOOKED[1]], held[: LOOKED[0]]):
        yield f"{near:,} of {min(len(held), LOOKED[0]):,} images held out are nearly or wholly training images"


def _near(train: np.ndarray, held: np.ndarray) -> int:
    """How many images held out are NEAR a training image, by the distance of their pixels, averaged to ALONG a side."""

    def seen(images: np.ndarray) -> Tensor:
        v = torch.from_numpy(images).permute(0, 3, 1, 2).float()
        return adaptive_avg_pool2d(v, [min(side, ALONG) for side in v.shape[2:]]).flatten(1)

    if not len(held):
        return 0
    off = torch.cdist(seen(held), seen(train), compute_mode="donot_use_mm_for_euclid_dist").amin(1)
    return int((off <= NEAR * off.median()).sum()) if off.median() > 0 else len(held)


def _same(a: Any, b: Any) -> bool:
    """Whether two samples are alike: frames, or arrays and tuples of them."""
    if isinstance(a, tuple):
        return all(_same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a.equals(b)) if hasattr(a, "equals") else np.array_equal(a, b)


def _peak() -> float | None:
    """The most memory that this process has held, MiB, where the system says."""
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def _span(seconds: float) -> str:
    """Seconds in words."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
