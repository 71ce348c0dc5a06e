"""The figures of a set of samples: what each belongs to, its error, and what stands beside it (examination.py)."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from ..errors import SpecError

MISSED, EXPECTED = 0.1, 12.0  # a cluster is missed below a tenth of its share, where so many samples belong there
LOST = 0.25  # beyond its error, the share of their distance by which samples are farther than trivial ones, to lose


class Share(NamedTuple):
    """A share beside that of real examples, and its standard error."""

    value: float
    error: float


@dataclass(frozen=True)
class Protocol:
    """What a figure belongs to: figures of other spaces, numbers of examples, splits, seeds, data (a digest of the
    training and held-out examples) or extractors (of what the space is made by) are not comparable.
    """

    space: str
    n: int
    split: str
    seed: int
    data: str = ""
    extractor: str = ""

    def same(self, other: "Protocol") -> None:
        """Raises SpecError where figures of the two are not to be compared."""
        if self != other:
            mine, theirs = asdict(self), asdict(other)
            words = "; ".join(f"{k} {v!r} and {theirs[k]!r}" for k, v in mine.items() if v != theirs[k])
            raise SpecError(f"expected figures of one protocol, got {words}: measure both in the same way")

    @staticmethod
    def of_lowest(parts: Iterable["Protocol"]) -> "Protocol":
        """That of the lowest of figures that differ in their space alone."""
        every = list(parts)
        space, extractor = (" or ".join(getattr(p, name) for p in every) for name in ("space", "extractor"))
        return replace(every[0], space=space, extractor=extractor)


@dataclass(frozen=True)
class Figure:
    """A number of a protocol, with its standard error. `over` is the one way to hold two of them against each other."""

    value: float
    error: float
    protocol: Protocol

    def over(self, other: "Figure") -> float:
        """This value minus the other's.

        Raises SpecError where the two do not belong to one protocol.
        """
        self.protocol.same(other.protocol)
        return self.value - other.value

    def worse(self, other: "Figure", by: float = 0.0) -> bool:
        """Whether this one is lower by more than `by` and three standard errors; raises SpecError as `over`."""
        return self.over(other) < -max(by, 3 * float(np.hypot(self.error, other.error)))


@dataclass(frozen=True)
class Skill(Figure):
    """Skill with its standard error, and whether the trivial examples are far enough off to measure it; `beside` is
    the error of distance - trivial, which needs no floor.
    """

    measurable: bool
    distance: float = 0.0
    floor: float = 0.0
    trivial: float = 0.0
    beside: float = 0.0

    @property
    def beats(self) -> bool:
        """Whether samples are nearer to held-out examples than trivial ones are, by two errors."""
        return self.value > 2 * self.error

    @property
    def loses(self) -> bool:
        """Whether they are farther: F(X) > (1 + LOST) F(Z) by three errors."""
        return self.distance > (1 + LOST) * self.trivial + 3 * self.beside


@dataclass
class Cluster:
    """A group of training examples: its share of them and of samples, and the numbers of the nearest to its middle;
    of rows `where` says by which columns it is told from others.
    """

    name: str
    real: float
    fake: float
    examples: list[int]
    where: str = ""


@dataclass
class Examination:
    """The figures of one set of samples. `rates` of each space; `auc` and `near` only where asked for in full.

    protocols: of each space; `auc` is of both together, `near` of the first. classes: coverage of each class beside
    that of training examples; labels: kappa beside that of held-out examples. Of text and music `near` counts exact
    copies and `near_floor` those of a law without memory, whose error is near_error. gaps: 10, 50 and 90 % of the
    distances to the nearest training example.
    """

    n: int
    finite: bool = True
    protocols: dict[str, Protocol] = field(default_factory=dict)
    skill: dict[str, Skill] = field(default_factory=dict)
    rates: dict[str, dict[str, float]] = field(default_factory=dict)
    floors: dict[str, dict[str, float]] = field(default_factory=dict)
    repeated: float = 0.0
    repeated_floor: float = 0.0
    spread: float = 1.0
    clusters: list[Cluster] = field(default_factory=list)
    classes: dict[str, Share] = field(default_factory=dict)
    labels: Share | None = None
    auc: float | None = None
    auc_error: float = 0.0
    near: float | None = None
    near_floor: float = 0.0
    near_error: float | None = None
    gaps: dict[str, list[float]] = field(default_factory=dict)

    @property
    def lowest(self) -> Skill | None:
        """The lower skill of the two spaces, of those that can be measured; its protocol names all of these."""
        seen = [s for s in self.skill.values() if s.measurable]
        if not seen:
            return None
        return replace(min(seen, key=lambda s: s.value), protocol=Protocol.of_lowest(s.protocol for s in seen))

    @property
    def covered(self) -> list[float]:
        """The coverage of each space, beside what training examples have there."""
        return [r["coverage"] / max(self.floors[k]["coverage"], 0.05) for k, r in self.rates.items()]

    @property
    def coverage(self) -> float:
        """The lower coverage of the two spaces, beside what training examples have there."""
        return min(self.covered, default=0.0)

    @property
    def missed(self) -> list[Cluster]:
        """Clusters that hardly a sample falls into."""
        return [c for c in self.clusters if c.fake < MISSED * c.real and c.real * self.n >= EXPECTED]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "n": self.n, "finite": self.finite,
            "protocols": {k: asdict(p) for k, p in self.protocols.items()},
            "skill": {k: {"value": s.value if s.measurable else None, "error": s.error if s.measurable else None,
                          "measurable": s.measurable, "distance": s.distance, "floor": s.floor, "trivial": s.trivial,
                          "split": s.protocol.split, "seed": s.protocol.seed} for k, s in self.skill.items()},
            "rates": self.rates, "floors": self.floors, "repeated": self.repeated,
            "repeated floor": self.repeated_floor, "spread": self.spread, "auc": self.auc, "auc error": self.auc_error,
            "near": self.near, "near floor": self.near_floor, "near error": self.near_error,
            "labels": self.labels and self.labels.value,
            "gaps": self.gaps,
            "classes": {k: share.value for k, share in self.classes.items()},
            "missed": [vars(c) for c in self.missed],
        }  # fmt: skip
