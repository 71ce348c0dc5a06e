"""What samples of a model look like beside examples that it never saw: figures with their floor and trivial baseline.

In each of two spaces of features (metrics/features.py), X samples, Y held-out examples, T training ones, Z trivial ones
(columns drawn alone; for images a normal law of the pixels), all of the same number n:

    skill = (F(Z, Y) - F(X, Y)) / (F(Z, Y) - F(T, Y)),   F the Fréchet distance:

1 as good as training examples, 0 as the trivial ones, less than 0 worse. Beside it precision, recall, density and
coverage; a fresh critic's AUC; exact repetitions; how near samples lie to training examples; and the clusters of
training examples that samples miss.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import SpecError
from ..metrics import count, take
from ..metrics.features import LEARNED, pixels, spaces
from ..metrics.fresh_critic import fresh_critic, logits
from ..metrics.prdc import NEIGHBOURS, distances, frechet, nearest, prdc
from ..spec import Columns, Spec

ROWS = 1000  # examples a side
TRAINED = 20_000  # training examples that copies are looked for among
DRAWN, HELD, LAW = 8_000_000, 200_000_000, 40_000_000  # numbers of large images: drawn, looked among, and of their law
FEW = 200  # of them at least
CLUSTERS, A_CLUSTER = 20, 50  # clusters at most, and training examples for each at least
DRAWS = 20  # bootstrap draws behind an error
A_NUMBER = 8  # examples for each axis of a space at least: fewer would make Fréchet distances noise
LEAST = 40  # held-out examples below which nothing is judged
A_CLASS = 20  # held-out examples of a class for a coverage of its own
NEAR = 0.01  # a sample is near a training example where so few held-out ones are nearer


@dataclass(frozen=True)
class Protocol:
    """What a figure belongs to: figures of other spaces, numbers of examples, splits or seeds are not comparable."""

    space: str
    n: int
    split: str
    seed: int


@dataclass(frozen=True)
class Skill:
    """Skill with its standard error, and whether the trivial examples are far enough off to measure it."""

    value: float
    error: float
    measurable: bool
    protocol: Protocol
    distance: float = 0.0
    floor: float = 0.0
    trivial: float = 0.0

    def worse(self, other: "Skill", by: float = 0.0) -> bool:
        """Whether this one is lower by more than `by` and three standard errors.

        Raises SpecError where the two do not belong to one protocol.
        """
        if self.protocol != other.protocol:
            raise SpecError(f"expected figures of one protocol, got {self.protocol} and {other.protocol}")
        return self.value < other.value - max(by, 3 * float(np.hypot(self.error, other.error)))


@dataclass
class Cluster:
    """A group of training examples: its share of them and of samples, and the numbers of the nearest to its middle."""

    name: str
    real: float
    fake: float
    examples: list[int]


@dataclass
class Examination:
    """The figures of one set of samples. `rates` of each space; `auc` and `near` only where asked for in full."""

    n: int
    finite: bool = True
    skill: dict[str, Skill] = field(default_factory=dict)
    rates: dict[str, dict[str, float]] = field(default_factory=dict)
    floors: dict[str, dict[str, float]] = field(default_factory=dict)
    repeated: float = 0.0
    repeated_floor: float = 0.0
    spread: float = 1.0
    clusters: list[Cluster] = field(default_factory=list)
    classes: dict[str, float] = field(default_factory=dict)
    auc: float | None = None
    auc_error: float = 0.0
    near: float | None = None
    near_floor: float = 0.0

    @property
    def lowest(self) -> Skill | None:
        """The lower skill of the two spaces, of those that can be measured."""
        return min((s for s in self.skill.values() if s.measurable), key=lambda s: s.value, default=None)

    @property
    def coverage(self) -> float:
        """The lower coverage of the two spaces, beside what training examples have there."""
        shares = [r["coverage"] / max(self.floors[k]["coverage"], 0.05) for k, r in self.rates.items()]
        return min(shares, default=0.0)

    @property
    def missed(self) -> list[Cluster]:
        """Clusters that hardly a sample falls into."""
        return [c for c in self.clusters if c.fake < MISSED * c.real and c.real * self.n >= EXPECTED]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "n": self.n, "finite": self.finite,
            "skill": {k: {"value": s.value, "error": s.error, "measurable": s.measurable, "distance": s.distance,
                          "floor": s.floor, "trivial": s.trivial, "split": s.protocol.split, "seed": s.protocol.seed}
                      for k, s in self.skill.items()},
            "rates": self.rates, "floors": self.floors, "repeated": self.repeated,
            "repeated floor": self.repeated_floor, "spread": self.spread, "auc": self.auc, "auc error": self.auc_error,
            "near": self.near, "near floor": self.near_floor, "classes": self.classes,
            "missed": [vars(c) for c in self.missed],
        }  # fmt: skip


MISSED, EXPECTED = 0.1, 12.0  # a cluster is missed below a tenth of its share, where so many samples belong there


class Examiner:
    """Held-out and training examples, turned into features once; `examine` holds samples against them.

    Raises nothing for few examples: `enough` says whether there are any to judge by.
    """

    def __init__(self, spec: Spec, train: Columns, held: Columns, seed: int = 0, split: str = "validation") -> None:
        self.spec, self.seed, self.split = spec, seed, split
        rng = np.random.default_rng([seed, 7])
        size = math.prod(train[spec.fields[0].name].shape[1:]) * len(spec.fields) if spec.blocks[0].sites else 1
        self.n = min(ROWS, max(FEW, DRAWN // size), count(held), count(train))
        self.enough = self.n >= LEAST
        if not self.enough:
            return
        self.held = take(held, rng.permutation(count(held))[: self.n])
        order = rng.permutation(count(train))
        self.order = order[: min(TRAINED, max(ROWS, HELD // size))]
        self.train = take(train, self.order)
        same = take(train, order[-self.n :])
        self.spaces = spaces(spec, self.train, seed)
        self.axes = max(2, min(32, self.n // A_NUMBER))
        self.real = {s.name: s.of(self.held) for s in self.spaces}
        self.known = {s.name: s.of(self.train) for s in self.spaces}
        empty = trivial(spec, self.train, self.n, rng)
        self.floor = {s.name: s.of(same) for s in self.spaces}
        self.poor = {s.name: s.of(empty) for s in self.spaces}
        self.rates = {k: prdc(v, self.real[k]) for k, v in self.floor.items()}
        self.middle, self.member = self._clusters()
        first = self.spaces[0].name
        self.reach = float(nearest(self.real[first], self.real[first], 2).mean())
        self.gap = nearest(self.real[first], self.known[first])
        self.repeated = repeated(self.spec, self.held)

    def examine(self, fake: Columns, more: Columns | None = None) -> Examination:
        """The figures of n samples; with `more` of them also a fresh critic's AUC and how near training ones lie."""
        found = Examination(self.n)
        found.finite = all(np.isfinite(v).all() for v in self._numbers(fake))
        if not found.finite:
            return found
        told = {s.name: s.of(fake) for s in self.spaces}
        found.floors = self.rates
        for name, x in told.items():
            found.rates[name] = prdc(x, self.real[name])
            found.skill[name] = self._skill(name, x)
        first = self.spaces[0].name
        found.repeated, found.repeated_floor = repeated(self.spec, fake), self.repeated
        if self.reach > 1e-6:
            found.spread = float(nearest(told[first], told[first], 2).mean()) / self.reach
        found.clusters = self._shares(told[first])
        found.classes = self._classes(fake, told[self.spaces[-1].name])
        if more is not None:
            self._in_full(found, told, more)
        return found

    def leaked(self, altered: Columns, fake: Columns) -> tuple[float, float]:
        """The shares of samples and of held-out examples that look altered to a classifier of altered training ones."""
        known, asked = ({k: v[: count(altered)] for k, v in self.train.items()}, (fake, self.held))
        both = [self._joined(x) for x in (altered | {k: v for k, v in known.items() if k not in altered}, known)]
        told = logits(both[0], both[1], [self._joined(x) for x in asked], self.seed)
        return float((told[0] > 0).mean()), float((told[1] > 0).mean())

    def _joined(self, x: Columns) -> np.ndarray:
        return np.concatenate([s.of(x) for s in self.spaces], 1)

    def nearest(self, fake: Columns) -> np.ndarray:
        """The numbers of the training examples nearest to samples, in the learned space, (n,)."""
        last = self.spaces[-1]
        return self.order[distances(last.of(fake), self.known[last.name]).argmin(1)]

    def _numbers(self, x: Columns) -> list[np.ndarray]:
        """The cells of numbers that are there."""
        kept = []
        for f in self.spec.fields:
            v = x[f.name]
            if v.dtype.kind == "f":
                kept.append(v[~f.absent(v)] if f.has_missing or f.unknown else v)
        return kept

    def _skill(self, name: str, x: np.ndarray) -> Skill:
        sets = [v[:, : self.axes] for v in (x, self.floor[name], self.poor[name])]
        real = self.real[name][:, : self.axes]
        fake, floor, poor = (frechet(v, real) for v in sets)
        rng = np.random.default_rng([self.seed, 8])
        drawn = []
        for _ in range(DRAWS):
            rows = [rng.integers(0, self.n, self.n) for _ in range(4)]
            drawn.append([frechet(v[r], real[rows[3]]) for v, r in zip(sets, rows[:3], strict=True)])
        a, b, c = np.array(drawn).T
        gap = poor - floor
        measurable = gap > 3 * float((c - b).std())
        error = float((c - a).std()) / max(gap, 1e-12)
        protocol = Protocol(name, self.n, self.split, self.seed)
        return Skill((poor - fake) / max(gap, 1e-12), error, bool(measurable), protocol, fake, floor, poor)

    def _clusters(self) -> tuple[np.ndarray, np.ndarray]:
        from sklearn.cluster import KMeans

        v = self.known[self.spaces[0].name]
        k = min(CLUSTERS, max(1, len(v) // A_CLUSTER))
        made = KMeans(k, n_init=2, random_state=self.seed).fit(v)
        return made.cluster_centers_.astype(np.float32), made.labels_

    def _shares(self, x: np.ndarray) -> list[Cluster]:
        known, k = self.known[self.spaces[0].name], len(self.middle)
        real = np.bincount(self.member, minlength=k) / len(self.member)
        fake = np.bincount(distances(x, self.middle).argmin(1), minlength=k) / len(x)
        near = distances(self.middle, known).argsort(1)[:, :3]
        return [Cluster(f"cluster {j}", float(real[j]), float(fake[j]), self.order[near[j]].tolist()) for j in range(k)]

    def _classes(self, fake: Columns, x: np.ndarray) -> dict[str, float]:
        """The coverage of each class of the condition's only level."""
        own = self.spec.condition.fields if self.spec.condition else ()
        if len(own) != 1 or not hasattr(own[0], "levels") or own[0].name not in fake:
            return {}
        y, told, code = self.real[self.spaces[-1].name], fake[own[0].name], self.held[own[0].name]
        out = {}
        for level, word in enumerate(own[0].levels):
            mine, theirs = y[code == level], x[told == level]
            if len(mine) >= A_CLASS and len(theirs) > NEIGHBOURS:
                out[str(word)] = prdc(theirs, mine)["coverage"]
        return out

    def _in_full(self, found: Examination, told: dict[str, np.ndarray], more: Columns) -> None:
        aside = [np.concatenate([part[s.name] for s in self.spaces], 1) for part in (told, self.real, self.known)]
        found.auc, found.auc_error = fresh_critic(self._joined(more), aside[2], aside[0], aside[1], self.seed)
        first = self.spaces[0].name
        bar = float(np.quantile(self.gap, NEAR)) * (1 + 1e-6) + 1e-6
        found.near = float((nearest(told[first], self.known[first]) <= bar).mean())
        found.near_floor = float((self.gap <= bar).mean())


def repeated(spec: Spec, x: Columns) -> float:
    """The share of examples that equal an earlier one of the same set."""
    rows = np.stack([np.ascontiguousarray(x[f.name]).reshape(count(x), -1).astype(np.float64) for f in spec.fields], 1)
    flat = np.nan_to_num(rows.reshape(count(x), -1), nan=-1e300)
    return 1 - len(np.unique(flat, axis=0)) / max(len(flat), 1)


def trivial(spec: Spec, train: Columns, n: int, rng: np.random.Generator) -> Columns:
    """n examples of what knows least: columns drawn alone beside a true condition, or a normal law of all pixels."""
    c = spec.condition.fields if spec.condition else ()
    rows = rng.integers(0, count(train), n)
    if not spec.blocks[0].sites:
        alone = {f.name: train[f.name][rng.integers(0, count(train), n)] for f in spec.fields}
        return alone | {f.name: train[f.name][rows] for f in c}
    size = math.prod(train[spec.fields[0].name].shape[1:]) * len(spec.fields)
    v = pixels(spec, {k: part[: min(LEARNED, max(FEW, LAW // size))] for k, part in train.items()})
    flat = v.reshape(len(v), -1)
    draws = rng.normal(size=(n, len(flat))).astype(np.float32)
    made = flat.mean(0) + draws @ (flat - flat.mean(0)) / np.float32(np.sqrt(len(flat)))
    top = float(getattr(spec.fields[0], "top", 255))
    shades = np.rint((made.reshape(n, *v.shape[1:]) + 1) / 2 * top).clip(0, top).astype(np.uint8)
    return {f.name: shades[:, i] for i, f in enumerate(spec.fields)} | {f.name: train[f.name][rows] for f in c}
