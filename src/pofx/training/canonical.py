"""FID and KID of samples, in the features of an Inception network whose weights are the user's.

With n samples x, n unseen images y and n training images t, features in R^2048: FID = F(x, y), the Fréchet distance of
normal laws with the mean and the unbiased covariance of each, and its floor F(t, y), in float64; KID likewise with the
cubic kernel's discrepancy, without bias. FID of n examples is too high by about 1 / n, so that those of another n are
not comparable: n, split, seed, data and a digest of the weights are its protocol.

Papers: Heusel et al. 2017; Bińkowski et al. 2018, Demystifying MMD GANs (KID, the bias of FID).
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import SpecError, Unsupported
from ..metrics import count, take
from ..metrics.prdc import frechet, kernel_distance
from ..models.model import Model
from ..nn.inception import BATCH, CLASSES, FEATURES, load_inception
from ..spec import Columns
from .examination import digest
from .figures import Figure, Protocol


@dataclass(frozen=True)
class Canonical:
    """FID and KID, lower is better, with what real images have in the place of samples; classes: of the classifier in
    the file of weights, if any.
    """

    fid: Figure
    kid: Figure
    fid_floor: Figure
    kid_floor: Figure
    classes: int | None = None

    def words(self) -> list[str]:
        """The figures in a sentence, and what is to be known of them."""
        p = self.fid.protocol
        said = [
            f"FID {self.fid.value:.4g} (training images {self.fid_floor.value:.4g}), KID {self.kid.value:.4g} "
            f"(training images {self.kid_floor.value:.4g}); {p.n} samples and {p.n} unseen images, space {p.space}, "
            f"weights {p.extractor}, split {p.split}, seed {p.seed}."
        ]
        if p.n < FEATURES:
            said.append(
                f"FID of {p.n} images is too high: {FEATURES} numbers want {FEATURES} images at least (more rows); "
                "KID has no such bias."
            )
        if self.classes not in (None, CLASSES):
            said.append(
                f"The weights come with a classifier of {self.classes} classes, those of published figures with "
                f"{CLASSES}: this is no published FID."
            )
        return said

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "FID": self.fid.value, "FID floor": self.fid_floor.value, "KID": self.kid.value,
            "KID floor": self.kid_floor.value, "protocol": asdict(self.fid.protocol),
        }  # fmt: skip


def canonical(
    weights: str | Path,
    model: Model,
    train: Columns,
    unseen: Columns,
    top: int,
    drawn: Callable[[int], Columns | None],
    *,
    split: str = "test",
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Canonical:
    """The figures of as many samples as there are unseen images, or training ones where these are fewer.

    top: the brightest shade of an image; drawn(n): n conditions, where the model has some. `progress` hears shares.
    Raises Unsupported for a model that draws none, BadFile for weights that are none, SpecError for fewer than two
    images and for other channels than 1 or 3.
    """
    if "sample" not in model.abilities:
        raise Unsupported(f"{model.name} draws no images, which FID is of: leave inception out")
    names = [f.name for f in model.spec.fields]
    if len(names) not in (1, 3):
        raise SpecError(f"expected images of 1 or 3 channels for Inception, got {len(names)}: leave it out")
    n = min(count(train), count(unseen))
    if n < 2:
        raise SpecError(f"expected two unseen and two training images at least for FID, got {n}: give more (holdout)")
    net, mark, classes = load_inception(weights)
    order = np.random.default_rng([seed, 7]).permutation(count(train))[:n]
    sets = (_parts(unseen, np.arange(n)), _parts(train, order), _draws(model, drawn(n), n, seed))
    told, done = [], 0
    for parts in sets:
        made = []
        for x in parts:
            bright = np.stack([x[name] for name in names], 1) * np.uint8(255 // top)
            made.append(net.of(bright))
            done += len(bright)
            if progress:
                progress(done / (3 * n))
        told.append(np.concatenate(made))
    real, floor, fake = told
    protocol = Protocol("inception-v3 of 2015, bilinear 299", n, split, seed, digest(train, unseen), mark)
    fid, fid_floor = (Figure(frechet(v, real, ddof=1), 0.0, protocol) for v in (fake, floor))
    kid, kid_floor = (Figure(kernel_distance(v, real), 0.0, protocol) for v in (fake, floor))
    return Canonical(fid, kid, fid_floor, kid_floor, classes)


def _parts(x: Columns, rows: np.ndarray) -> Iterator[Columns]:
    """Some of the images, BATCH at a time."""
    for start in range(0, len(rows), BATCH):
        yield take(x, rows[start : start + BATCH])


def _draws(model: Model, c: Columns | None, n: int, seed: int) -> Iterator[Columns]:
    """n samples, BATCH at a time."""
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, n, BATCH):
        rows = slice(start, min(start + BATCH, n))
        with torch.inference_mode():
            z = model.noise(rows.stop - start, generator)
            yield model.decode(z, {k: v[rows] for k, v in c.items()} if c else None)
