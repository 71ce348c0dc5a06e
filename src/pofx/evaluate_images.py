"""Evidence on a model of images: its likelihood among simpler laws, its codes beside PCA's, its cleaning beside a blur.

A figure has its standard error over unseen images, and what it is held against was learned from the same training
images and measured on the same unseen ones.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import corrupt
from .evaluate import plain
from .metrics.likelihood import mean_error, standing
from .models.annealed import Sandwich, sandwich
from .models.autoencoders.denoising import Denoising
from .models.model import Model
from .models.pixel_laws import MOST, rungs
from .nn.mirror import principal
from .spec import Columns, Spec
from .training.canonical import Canonical, canonical
from .training.examination import Examiner
from .training.verdict import Verdict, judge

RANK = 32  # of the linear laws beside a model without codes
SHOWN = 40  # images of a sheet
WALKED, STOPS, REACH = 8, 9, 2.0  # numbers that a walk shows, images of each, deviations to either side
PAIRS = 6  # of images to go between
FITTED = 5_000  # training images that principal components are found from
BLURS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.25, 1.5, 2.0)  # widths, in pixels, of which validation picks
Hear = Callable[[float, str], None]


@dataclass(frozen=True)
class Sheet:
    """Images to look at, uint8 (n, H, W, C) up to 255, `columns` side by side, and what each line of them is."""

    says: str
    images: np.ndarray
    columns: int
    lines: tuple[str, ...] = ()


@dataclass
class ImageEvidence:
    """What is known of a model of images: figures with standard errors, what they say in words, and pictures.

    likelihood: nats an image and bits a dimension by name; rebuilding, cleaning: PSNR in decibels, mean over images,
    and mean squared error, by name. All on `rows["unseen"]` images that were never learned from.
    """

    words: list[str]
    likelihood: dict[str, dict[str, float]] = field(default_factory=dict)
    rebuilding: dict[str, dict[str, float]] = field(default_factory=dict)
    cleaning: dict[str, dict[str, float]] = field(default_factory=dict)
    annealing: dict[str, dict[str, float]] = field(default_factory=dict)
    fidelity: dict[str, dict[str, float]] = field(default_factory=dict)
    verdict: Verdict | None = None
    canonical: Canonical | None = None
    remarks: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    sheets: list[Sheet] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The evidence as plain JSON, without the pictures."""
        told = {k: v for k, v in vars(self).items() if k not in ("sheets", "verdict", "canonical")}
        both = {"verdict": self.verdict, "canonical": self.canonical}
        return plain(told | {k: v.to_json() for k, v in both.items() if v is not None})

    def summary(self) -> str:
        """Sentences and tables, for a terminal."""
        lines = [*self.words, ""]
        if self.likelihood:
            lines.append(f"{'likelihood':16}{'nats an image':>22}{'bits a dimension':>22}")
            lines += [f"{name:16}{_pm(row, 'nats'):>22}{_pm(row, 'bits'):>22}" for name, row in self.likelihood.items()]
        for title, table in (("rebuilding", self.rebuilding), ("cleaning", self.cleaning)):
            lines += [f"{title:16}{'PSNR, dB':>22}{'squared error':>22}"] if table else []
            lines += [f"{name:16}{_pm(row, 'psnr'):>22}{_pm(row, 'mse'):>22}" for name, row in table.items()]
        if self.fidelity:
            names = list(next(iter(self.fidelity.values())))
            lines.append(f"{'samples':32}" + "".join(f"{name:>12}" for name in names))
            lines += [f"{k:32}" + "".join(f"{row[n]:>12.3g}" for n in names) for k, row in self.fidelity.items()]
        lines += [
            f"annealing: {name} {row['mean']:.2f} ± {row['error']:.2f} nats" for name, row in self.annealing.items()
        ]
        return "\n".join(lines)


def _pm(row: dict[str, float], what: str) -> str:
    return f"{row[what]:.4g} ± {row[f'{what} error']:.2g}"


@dataclass(frozen=True)
class Splits:
    """Stored channels of training, validation and unseen images, and the range of their shades; the condition of the
    unseen ones, all of it known, that of the training ones, and draws of p(c), where the model has one.
    """

    train: Columns
    valid: Columns
    unseen: Columns
    top: int
    condition: Columns | None = None
    drawn: Callable[[int], Columns] | None = None
    learned: Columns | None = None

    def under(self, index: Any) -> Columns | None:
        """The condition of some of the unseen images."""
        return {k: v[index] for k, v in self.condition.items()} if self.condition else None

    def draw(self, n: int) -> Columns | None:
        """n conditions from p(c)."""
        return self.drawn(n) if self.drawn else None

    def flat(self, x: Columns) -> np.ndarray:
        """(n, C H W), uint8."""
        return np.stack(list(x.values()), 1).reshape(len(next(iter(x.values()))), -1)

    def bright(self, x: Columns) -> np.ndarray:
        """(n, H, W, C), uint8 up to 255."""
        return np.stack(list(x.values()), -1) * np.uint8(255 // self.top)


def evaluate_images(
    model: Model,
    train: Columns,
    valid: Columns,
    unseen: Columns,
    *,
    top: int = 255,
    condition: Columns | None = None,
    drawn: Callable[[int], Columns] | None = None,
    learned: Columns | None = None,
    annealed: int = 0,
    inception: str | Path | None = None,
    seed: int = 0,
    progress: Hear | None = None,
) -> ImageEvidence:
    """The evidence on a model of images; `annealed`: of how many drawn rows log p is found from both sides.

    condition: of the unseen images, `learned` of the training ones, `drawn` draws of it, where the model has one. Their
    likelihood is then summed over the classes that they may have, so that it stands beside laws that know none.

    inception: weights of an Inception network in whose features FID and KID are measured (nn/inception.py).

    Raises SpecError for grey pixels where the model has a law of black and white ones; as `canonical` does.
    """
    hear = progress or (lambda share, what: None)
    splits, codes = Splits(train, valid, unseen, top, condition, drawn, learned), None
    count = len(next(iter(unseen.values())))
    evidence = ImageEvidence([], rows={"train": len(next(iter(train.values()))), "unseen": count})
    if inception is not None:
        evidence.canonical = canonical(
            inception, model, train, unseen, top, splits.draw,
            seed=seed, progress=lambda share: hear(share / 4, "Inception"),
        )  # fmt: skip
        evidence.words += evidence.canonical.words()
    if "log_prob" in model.abilities:
        hear(0.25 if inception is not None else 0.0, "likelihood")
        _likelihood(model, splits, evidence, hear)
    if annealed:
        hear(0.6, "annealing")
        _annealed(sandwich(model, annealed, splits.draw(annealed), seed=seed), evidence)
    if "express" in model.abilities:
        hear(0.8, "rebuilding")
        codes = model.encode(unseen, condition)
        _rebuilding(model, splits, codes, evidence)
    if isinstance(model, Denoising):
        _cleaning(model, splits, evidence, seed)
    if "sample" in model.abilities:
        hear(0.85, "samples")
        _samples(model, splits, evidence, seed)
    hear(0.9, "pictures")
    evidence.sheets = _sheets(model, splits, codes, seed, evidence.sheets) + evidence.sheets
    evidence.words = evidence.words or [
        "No figure could be given: the model has neither likelihood, codes nor cleaning."
    ]
    hear(1.0, "done")
    return evidence


# -- likelihood --------------------------------------------------------------------------------------------------------


def _likelihood(model: Model, splits: Splits, evidence: ImageEvidence, hear: Hear) -> None:
    c, summed = splits.condition, model.settles
    hidden = {k: np.full_like(v, -1) for k, v in c.items()} if c and summed else c
    found = {"model": model.log_prob(splits.unseen, hidden)}
    if c and not summed:
        evidence.words.append("The model's likelihood is given the label of each image, which the others do not know.")
    test, channels = splits.flat(splits.unseen), len(splits.unseen)
    one = {k: v[:1] for k, v in splits.unseen.items()}
    rank = model.encode(one, splits.under(slice(1))).shape[1] if "express" in model.abilities else RANK
    parts, top = [splits.flat(splits.train), splits.flat(splits.valid), test], splits.top
    if all(np.isin(part, (0, top)).all() for part in parts):  # black and white: of two shades, not of 256
        parts, top = [part // np.uint8(top) for part in parts], 1
    for name, law in rungs(parts[0], parts[1], channels, top, rank):
        hear(0.3, name)
        found[name] = law(parts[2])
    bits = -1 / (test.shape[1] * math.log(2))
    stand = standing(found)
    for name, row in sorted(stand.models.items(), key=lambda item: -item[1]["mean"]):
        shown = f"{model.name} (a bound)" if name == "model" and "bound" in model.abilities else name
        shown = model.name if shown == "model" else shown
        evidence.likelihood[shown] = {
            "nats": row["mean"], "nats error": row["error"],
            "bits": row["mean"] * bits, "bits error": -row["error"] * bits,
        }  # fmt: skip
    evidence.words.append(stand.words("images", "bits a dimension", -bits))
    if test.shape[1] > MOST:
        evidence.words.append(f"The Gaussian laws were left out: images have more than {MOST:,} numbers.")


def _annealed(found: Sandwich, evidence: ImageEvidence) -> None:
    evidence.annealing = found.figures()
    short, within = evidence.annealing["importance short by"], abs(found.gap)
    evidence.words.append(
        f"On {len(found.lower)} images that the model drew, annealing finds log p within {within:.2f} nats; the "
        f"bound by importance is short of it by at most {short['mean']:.2f} ± {short['error']:.2f}."
    )


# -- codes and cleaning ------------------------------------------------------------------------------------------------


def _errors(v: np.ndarray, other: np.ndarray) -> dict[str, np.ndarray]:
    """Squared error of a number in [0, 1], and PSNR in decibels, of each image, (n,)."""
    squared = np.square(v - other).reshape(len(v), -1).mean(1)
    return {"mse": squared, "psnr": -10 * np.log10(np.maximum(squared, 1e-10))}


def _row(errors: dict[str, np.ndarray]) -> dict[str, float]:
    return {k: float(v.mean()) for k, v in errors.items()} | {f"{k} error": mean_error(v) for k, v in errors.items()}


def _rebuilding(model: Model, splits: Splits, codes: Tensor, evidence: ImageEvidence) -> None:
    learned = splits.flat(splits.train)[:FITTED] / splits.top
    test, made = (splits.flat(x) / splits.top for x in (splits.unseen, model.express(codes, splits.condition)))
    mean = learned.mean(0)
    told = model.numbers_told(codes)
    axes = principal(torch.from_numpy(learned - mean), min(told or codes.shape[1], *learned.shape)).numpy()
    linear = (mean + (test - mean) @ axes.T @ axes).clip(0, 1)
    name = f"PCA of {len(axes)}"
    found = {
        model.name: _errors(test, made),
        name: _errors(test, np.round(linear * splits.top) / splits.top),
        "mean image": _errors(test, np.broadcast_to(np.round(mean * splits.top) / splits.top, test.shape)),
    }
    for k in (2**i for i in range(codes.shape[1].bit_length()) if getattr(model, "nested", False)):
        if k < codes.shape[1]:
            few = (mean + (test - mean) @ axes[:k].T @ axes[:k]).clip(0, 1)
            short = splits.flat(model.express(codes[:, :k], splits.condition)) / splits.top
            found[f"{model.name}, first {k}"] = _errors(test, short)
            found[f"PCA of {k}"] = _errors(test, np.round(few * splits.top) / splits.top)
    evidence.rebuilding = {k: _row(v) for k, v in found.items()}
    gain = found[name]["mse"] - found[model.name]["mse"]
    loses = gain.mean() < -2 * mean_error(gain)
    own, other = (evidence.rebuilding[k]["psnr"] for k in (model.name, name))
    if told is None:
        evidence.words.append(
            f"{codes.shape[1]} symbols rebuild unseen images with {own:.2f} dB; a component of PCA is a real number "
            "and a symbol a few bits, so that PCA is no measure here."
        )
        return
    active = f", {told} of them active in an image," if told < codes.shape[1] else ""
    evidence.words.append(
        f"{codes.shape[1]} numbers{active} rebuild unseen images with {own:.2f} dB, {name} with {other:.2f}"
        + (": the model loses." if loses else ".")
    )


def _cleaning(model: Denoising, splits: Splits, evidence: ImageEvidence, seed: int) -> None:
    def spoiled(x: Columns, key: int) -> tuple[Tensor, Tensor]:
        v = model.vectors.of(model.vectors.prepare(x))
        return v, model.spoil(v, torch.Generator().manual_seed(seed + key))

    watched = splits.valid if len(next(iter(splits.valid.values()))) else splits.train
    v, w = spoiled({k: part[:FITTED] for k, part in watched.items()}, 1)
    width = min(BLURS, key=lambda b: float((corrupt.blur(w, b) - v).square().mean()))
    v, w = spoiled(splits.unseen, 0)
    shown = {"as it came": w, f"blur of {width:g}": corrupt.blur(w, width), model.name: model.clean(w)}
    found = {name: _errors(v.numpy(), part.clamp(0, 1).numpy()) for name, part in shown.items()}
    evidence.cleaning = {name: _row(errors) for name, errors in found.items()}
    gains = [found[model.name]["psnr"] - found[name]["psnr"] for name in list(shown)[:2]]
    told = [f"{g.mean():.2f} ± {mean_error(g):.2f} dB" for g in gains]
    loses = gains[1].mean() < -2 * mean_error(gains[1])
    evidence.words.append(
        f"Cleaning gains {told[0]} over what came, and {told[1]} over the best Gaussian blur ({width:g} pixels)"
        + (": the model loses." if loses else ".")
    )
    for name, part in [*shown.items(), ("clean", v)]:
        pixels = (part[:SHOWN].clamp(0, 1) * 255).round().to(torch.uint8).movedim(1, -1).numpy()
        evidence.sheets.append(Sheet(name, pixels, 8))


# -- samples -----------------------------------------------------------------------------------------------------------


def _samples(model: Model, splits: Splits, evidence: ImageEvidence, seed: int) -> None:
    """Samples beside unseen images, with training images and a normal law of pixels in their place; the verdict."""
    both = splits.learned is not None and splits.condition is not None and splits.drawn is not None
    spec = model.spec if both else Spec(model.spec.blocks)
    train, unseen = (
        model.fair(x, seed) | (c if both and c else {})
        for x, c in ((splits.train, splits.learned), (splits.unseen, splits.condition))
    )
    examiner = Examiner(spec, train, unseen, seed, "test")
    if not examiner.enough:
        evidence.words.append(f"{examiner.n} unseen images are too few to judge samples by.")
        return

    def draw(n: int, key: int) -> Columns:
        c = splits.draw(n)
        with torch.inference_mode():
            return model.decode(model.noise(n, torch.Generator().manual_seed(key)), c) | (c or {})

    drawn = draw(examiner.n, seed)
    found = examiner.examine(drawn, draw(2 * examiner.n, seed + 1))
    evidence.verdict = judge(found)
    evidence.words.append(
        "; ".join([f"Samples: {evidence.verdict.word}", *(f.words for f in evidence.verdict.sorted())])
    )
    for name, rates in found.rates.items():
        s, floor = found.skill[name], found.floors[name]
        evidence.fidelity[f"{name}: drawn"] = {
            "skill": s.value if s.measurable else math.nan,
            "distance": s.distance,
        } | rates
        evidence.fidelity[f"{name}: training images"] = {"skill": 1.0, "distance": s.floor} | floor
    near = examiner.nearest({k: v[:SHOWN] for k, v in drawn.items()})
    pair: dict[str, tuple[Columns, Any]] = {"drawn": (drawn, slice(SHOWN)), "nearest": (train, near)}
    for says, (x, index) in pair.items():
        evidence.sheets.append(Sheet(says, splits.bright({f.name: x[f.name][index] for f in spec.fields}), 8))
    if missed := found.missed[:8]:
        shown = {f.name: train[f.name][[i for c in missed for i in c.examples]] for f in spec.fields}
        lines = tuple(f"{c.real:.1%} / {c.fake:.1%}" for c in missed)
        evidence.sheets.append(Sheet("missed", splits.bright(shown), len(missed[0].examples), lines))


# -- pictures ----------------------------------------------------------------------------------------------------------


def _sheets(model: Model, splits: Splits, codes: Tensor | None, seed: int, shown: list[Sheet]) -> list[Sheet]:
    some, out = {k: v[:SHOWN] for k, v in splits.unseen.items()}, []
    if codes is not None:
        out += [
            Sheet("unseen", splits.bright(some), 8),
            Sheet("rebuilt", splits.bright(model.express(codes[:SHOWN], splits.under(slice(SHOWN)))), 8),
        ]
    elif "sample" in model.abilities:
        out.append(Sheet("unseen", splits.bright(some), 8))
    if "sample" in model.abilities and not any(one.says == "drawn" for one in shown):
        drawn = model.decode(model.noise(SHOWN, torch.Generator().manual_seed(seed)), splits.draw(SHOWN))
        out.append(Sheet("drawn", splits.bright(drawn), 8))
    if codes is not None and codes.is_floating_point() and len(codes) > 1:
        out += [_walk(model, splits, codes), _between(model, splits, codes)]
    return out


def _walk(model: Model, splits: Splits, codes: Tensor) -> Sheet:
    """From the code of one image, each of the numbers that move the picture most from -REACH to REACH deviations."""
    mean, deviation = codes.mean(0), codes.std(0, correction=0)
    few = min(PAIRS, len(codes))
    moved = []
    for j in range(codes.shape[1]):
        ends = [codes[:few].clone() for _ in range(2)]
        for sign, end in zip((-1, 1), ends, strict=True):
            end[:, j] = mean[j] + sign * deviation[j]
        low, high = (splits.flat(model.express(end, splits.under(slice(few)))).astype(np.float32) for end in ends)
        moved.append(float(np.square(high - low).mean()))
    order = np.argsort(moved)[::-1][:WALKED]
    stops = torch.linspace(-REACH, REACH, STOPS, dtype=codes.dtype)
    line = codes[:1].repeat(len(order) * STOPS, 1)
    for i, j in enumerate(order):
        line[i * STOPS : (i + 1) * STOPS, j] = mean[j] + stops * deviation[j]
    made = model.express(line, splits.under([0] * len(line)))
    return Sheet("walk", splits.bright(made), STOPS, tuple(f"z{j}" for j in order))


def _between(model: Model, splits: Splits, codes: Tensor) -> Sheet:
    """Lines of images on the way from one unseen image to another, under the condition of the nearer end."""
    few = min(PAIRS, len(codes) // 2)
    share = torch.linspace(0, 1, STOPS, dtype=codes.dtype).view(1, -1, 1)
    line = codes[:few, None] * (1 - share) + codes[few : 2 * few, None] * share
    near = [i + few * (2 * j >= STOPS) for i in range(few) for j in range(STOPS)]
    return Sheet("between", splits.bright(model.express(line.flatten(0, 1), splits.under(near))), STOPS)
