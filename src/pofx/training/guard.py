"""The guard of a fit: it watches, goes back to what was good, and ends with PASS, WARN or FAIL and the reasons.

While a game trains (a model of several players), each look examines samples of the averaged weights
(examination.py). States: warming up; healthy; suspect, where skill or coverage fell behind the best look's; after two
suspect looks in a row everything goes back to that look, and exactly one thing changes (CHANGES, in order); after three
such returns the fit stops with the best. The step is never set back. At the end any model that can be sampled gets the
same examination, in full.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch

from ..metrics import count, take
from ..models.model import Model
from ..spec import Columns, Spec
from .examination import LEAST, Examination, Examiner, Protocol, Skill

PASS, WARN, FAIL = WORDS = ("PASS", "WARN", "FAIL")

# From where a figure is worth a warning, and from where it fails a model. Real examples in the place of samples, a
# hundred draws on four tables and two sets of images, stay on the good side of each (benchmarks/guard.py).
SKILL = 0.5  # half of the way from the trivial examples to training ones
TOLD = 0.9  # AUC of a fresh critic: independent columns give .93 to 1
COVERED = (0.6, 0.1)  # coverage, as a share of what training examples have
SPREAD = (0.6, 0.3)  # distance of a sample to its nearest other one, as a share of that of real examples
REPEATED = (0.05, 0.3)  # share of samples that repeat others, beyond that of real examples
COPIED = (0.05, 0.3)  # share of samples nearer to training examples than 99 % of held-out ones are, beyond theirs
MISSED = (0.01, 0.2)  # share of training examples in clusters that samples miss
CLASS = 0.5  # coverage of a class as a share of the mean of all
MEMORISED = 0.5  # (D train - D held-out) / (D train - D samples)
ALTERED = 2000  # training examples that a classifier of augmentation learns from
LEAKED = 0.05  # share of samples that look augmented, beyond that of real examples

WARMING = 3  # looks before anything is held against a fit
BEHIND, COVERAGE_BEHIND = 0.15, 0.8  # skill below the best look's, and share of its coverage, that are suspect
SUSPECT = 2  # looks in a row before a fit goes back
RETURNS = 3
CHANGES = ("half the rates", "four times the penalty", "an average four times as long")

HEARD, HIGH, OFTEN = 200, 20.0, 3  # gradient norms remembered; above HIGH medians OFTEN times in a row: diverging
LOW, LONG = 1e-4, 500  # below LOW medians for LONG steps: vanished
HASTY, STILL = 0.1, 1e-9  # shares of their length that a step moves weights by: too far, and not at all


@dataclass(frozen=True)
class Finding:
    """A reason: what it is called, how grave (1 a warning, 2 a failure), what was seen and what to do."""

    name: str
    level: int
    words: str


@dataclass
class Verdict:
    """PASS, WARN or FAIL, with reasons, the gravest first, and the figures behind them."""

    findings: list[Finding] = field(default_factory=list)
    examination: Examination | None = None

    @property
    def word(self) -> str:
        """The gravest finding as PASS, WARN or FAIL."""
        return WORDS[max((f.level for f in self.findings), default=0)]

    @property
    def refused(self) -> bool:
        """Whether samples are worth nothing: not finite, or worse than the trivial ones."""
        return any(f.name in REFUSED and f.level == 2 for f in self.findings)

    def __str__(self) -> str:
        return "\n".join([f"verdict    {self.word}", *(f"           {f.words}" for f in self.sorted())])

    def sorted(self) -> list[Finding]:
        """The findings, the gravest first."""
        return sorted(self.findings, key=lambda f: -f.level)

    def to_json(self) -> dict[str, Any]:
        """Plain values, as a bundle keeps them."""
        told = [vars(f) for f in self.sorted()]
        figures = self.examination.to_json() if self.examination else {}
        return {"word": self.word, "refused": self.refused, "findings": told, "figures": figures}


REFUSED = ("not finite", "worse than trivial")


def judge(found: Examination, findings: list[Finding] | None = None) -> Verdict:
    """The verdict on an examination, with what was found before it."""
    out = list(findings or [])
    if not found.finite:
        told = Finding("not finite", 2, "samples hold numbers that are not finite: fit again with a lower rate")
        return Verdict([*out, told], found)
    return Verdict([*out, *_skills(found), *_variety(found), *_copies(found)], found)


def _skills(found: Examination) -> list[Finding]:
    seen, out = [s for s in found.skill.values() if s.measurable], []
    if seen and all(s.value < -2 * s.error - 0.05 for s in seen):
        words = f"samples are farther from unseen examples than trivial ones are (skill {_listed(seen)}, 0 is trivial)"
        out.append(Finding("worse than trivial", 2, words + ": train longer, or take another model"))
    elif seen and min(s.value for s in seen) < SKILL:
        words = f"skill {_listed(seen)} in {_spaces(seen)} (1 as training examples, 0 trivial): train longer"
        out.append(Finding("little skill", 1, words))
    if len(seen) > 1 and min(s.value for s in seen) < SKILL <= max(s.value for s in seen) - 0.3:
        out.append(Finding("spaces disagree", 1, f"skill is {_listed(seen)} in {_spaces(seen)}: look at samples"))
    if found.auc is not None and found.auc - 2 * found.auc_error > TOLD:
        out.append(Finding("told apart", 1, f"a fresh critic tells samples from unseen examples, AUC {found.auc:.3f}"))
    return out


def _listed(skills: list[Skill]) -> str:
    return " and ".join(f"{s.value:.2f} ± {s.error:.2f}" for s in skills)


def _spaces(skills: list[Skill]) -> str:
    return " and ".join(s.protocol.space for s in skills)


def _level(value: float, limits: tuple[float, float]) -> int:
    """0, 1 or 2: how many limits a value lies beyond, in the direction in which they go."""
    up = limits[0] < limits[1]
    return sum(value > limit if up else value < limit for limit in limits)


def _variety(found: Examination) -> list[Finding]:
    out, error = [], 3 * math.sqrt(0.25 / found.n)
    excess = found.repeated - found.repeated_floor
    if level := _level(excess - error, REPEATED):
        words = f"{found.repeated:.1%} of samples repeat others ({found.repeated_floor:.1%} of unseen examples do)"
        out.append(Finding("repeats", level, words))
    if level := _level(found.spread, SPREAD):
        words = f"a sample's nearest other one is {found.spread:.2f} times as far as a real example's"
        out.append(Finding("collapse", level, words + ": the generator makes too few different examples"))
    if level := _level(found.coverage + error, COVERED):
        words = f"samples cover {found.coverage:.2f} of what training examples cover"
        out.append(Finding("low coverage", level, words))
    share = sum(c.real for c in found.missed)
    if level := _level(share, MISSED):
        named = ", ".join(f"{c.name} ({c.real:.1%} of the data, {c.fake:.1%} of samples)" for c in found.missed[:4])
        out.append(Finding("missed modes", level, f"hardly a sample falls into {named}"))
    low = [k for k, v in found.classes.items() if v < CLASS * float(np.mean(list(found.classes.values())))]
    if low:
        out.append(Finding("missed classes", 1, f"samples cover {', '.join(low[:6])} far less than other classes"))
    return out


def _copies(found: Examination) -> list[Finding]:
    if found.near is None:
        return []
    excess = (
        found.near - found.near_floor - 3 * math.sqrt(max(found.near_floor * (1 - found.near_floor), 0.01) / found.n)
    )
    if level := _level(excess, COPIED):
        words = f"{found.near:.1%} of samples lie as near to training examples as {found.near_floor:.1%} of unseen ones"
        return [Finding("copies", level, words + ": the model repeats what it learned from")]
    return []


class Pulse:
    """The norms of a player's gradients against their running median."""

    def __init__(self) -> None:
        self.norms: deque[float] = deque(maxlen=HEARD)
        self.middle = 0.0
        self.high = self.low = self.count = 0

    def hear(self, norm: float) -> str:
        """ "", or "diverging", or "vanished"."""
        self.norms.append(norm)
        self.count += 1
        if self.count % 50 == 0:
            self.middle = float(np.median(self.norms)) if self.low == 0 else self.middle
        if self.middle <= 0:
            return ""
        self.high = self.high + 1 if norm > HIGH * self.middle else 0
        self.low = self.low + 1 if norm < LOW * self.middle else 0
        return "diverging" if self.high >= OFTEN else "vanished" if self.low >= LONG else ""


@dataclass(frozen=True)
class Standing:
    """Where a look stands: the lower skill of the spaces and the coverage."""

    skill: Skill
    coverage: float

    def behind(self, best: "Standing") -> bool:
        """Whether this one is worse than the best by more than chance."""
        error = 3 * math.sqrt(0.5 / best.skill.protocol.n)
        worse = self.skill.protocol == best.skill.protocol and self.skill.worse(best.skill, BEHIND)
        return worse or self.coverage < COVERAGE_BEHIND * best.coverage - error


def _figure(found: Examination) -> Skill:
    """The lower skill, or where none can be measured minus the Fréchet distance."""
    if (lowest := found.lowest) is not None:
        return lowest
    one = next(iter(found.skill.values()))
    return replace(one, value=-one.distance / max(one.floor, 1e-12), error=1.0)


class Guard:
    """Watches one fit. `look` is called on averaged weights, `hear` on each gradient, `final` at the end.

    draws(n, seed): n samples of the model, with their condition.
    """

    def __init__(self, examiner: Examiner, draws: Callable[[int, int], Columns]) -> None:
        self.examiner, self.draws = examiner, draws
        self.best: Standing | None = None
        self.looks = self.suspect = self.returns = 0
        self.state = "warming up"
        self.notes: dict[str, str] = {}
        self.pulses: dict[str, Pulse] = {}
        self.still: dict[str, int] = {}  # times in a row that a player had not moved

    def hear(self, player: str, norm: float, step: int) -> None:
        """Notes a gradient's norm."""
        told = self.pulses.setdefault(player, Pulse()).hear(norm)
        if told == "diverging":
            words = f"the gradient of {player!r} was {HIGH:g} times its median {OFTEN} times in a row, at step {step}"
            self.notes.setdefault("diverging", words)
        elif told == "vanished":
            self.notes.setdefault("vanished", f"the gradient of {player!r} had vanished by step {step}")

    def moved(self, player: str, share: float, step: int) -> None:
        """Notes how far a step took a player's weights, as a share of their length."""
        if share > HASTY:
            words = f"a step moved the weights of {player!r} by {share:.0%} of their length, at step {step}"
            self.notes.setdefault("steps too large", words + ": lower its rate")
        self.still[player] = self.still.get(player, 0) + 1 if share < STILL else 0
        if self.still[player] >= OFTEN:
            self.notes.setdefault("does not move", f"the weights of {player!r} stood still up to step {step}")

    def look(self) -> float:
        """Examines samples; what is to be as low as possible. `state` says what to do next."""
        found = self.examiner.examine(self.draws(self.examiner.n, self.examiner.seed))
        self.looks += 1
        here = None if not found.finite else Standing(_figure(found), found.coverage)
        if here is not None and (self.best is None or here.skill.value > self.best.skill.value):
            self.best = here
        behind = here is None or (self.best is not None and here.behind(self.best))
        self.suspect = self.suspect + 1 if self.looks > WARMING and behind else 0
        self.state = self._next()
        return -here.skill.value if here is not None else math.inf

    def leaks(self, altered: Callable[[Columns, torch.Generator], Columns | None]) -> list[Finding]:
        """Whether samples look like training examples that augmentation has changed."""
        examiner = self.examiner
        some = {k: v[:ALTERED] for k, v in examiner.train.items()}
        changed = altered(some, torch.Generator().manual_seed(examiner.seed))
        if changed is None:
            return []
        share, floor = examiner.leaked(changed, self.draws(examiner.n, examiner.seed))
        if share - floor - 3 * math.sqrt(max(floor * (1 - floor), 0.01) / examiner.n) <= LEAKED:
            return []
        words = f"{share:.1%} of samples look augmented ({floor:.1%} of unseen examples do): take a lower augment"
        return [Finding("augmentation leaks", 1, words)]

    def raw(self) -> None:
        """Notes where the weights themselves are better than their average, which they are set to."""
        found = self.examiner.examine(self.draws(self.examiner.n, self.examiner.seed))
        if self.best is None or not found.finite:
            return
        here = _figure(found)
        if here.protocol == self.best.skill.protocol and self.best.skill.worse(here, BEHIND):
            words = f"the last weights have skill {here.value:.2f}, their average {self.best.skill.value:.2f}"
            self.notes.setdefault("average lags", words + ": train longer, or average less")

    def _next(self) -> str:
        if self.looks <= WARMING:
            return "warming up"
        if self.suspect < SUSPECT:
            return "suspect" if self.suspect else "healthy"
        return "stopped" if self.returns >= RETURNS else "going back"

    def gone_back(self) -> str:
        """Counts a return; the one thing that is to change."""
        self.suspect, self.state = 0, "healthy"
        self.returns += 1
        return CHANGES[(self.returns - 1) % len(CHANGES)]

    def plain(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        held = {"looks": self.looks, "suspect": self.suspect, "returns": self.returns, "notes": dict(self.notes)}
        return held | {"best": asdict(self.best) if self.best is not None else None}

    def restore(self, held: dict[str, Any]) -> None:
        """Sets what `plain` gave; norms of gradients are heard anew."""
        self.looks, self.suspect, self.returns = (held[k] for k in ("looks", "suspect", "returns"))
        self.notes, best = dict(held["notes"]), held["best"]
        self.best, self.pulses, self.still = None, {}, {}
        if best is not None:
            protocol = Protocol(**best["skill"]["protocol"])
            self.best = Standing(Skill(**(best["skill"] | {"protocol": protocol})), best["coverage"])


# -- the end of a fit --------------------------------------------------------------------------------------------------


def sampler(model: Model, train: Columns) -> Callable[[int, int], Columns]:
    """draws(n, seed) of a model, under conditions of training examples."""
    c = model.spec.condition.fields if model.spec.condition else ()

    def draws(n: int, seed: int) -> Columns:
        generator = torch.Generator().manual_seed(seed)
        rows = np.random.default_rng([seed, 9]).integers(0, count(train), n)
        under = {f.name: train[f.name][rows] for f in c}
        with torch.inference_mode():
            return model.decode(model.noise(n, generator), under or None) | under

    return draws


def known_rows(spec: Spec, x: Columns) -> Columns:
    """The rows none of whose cells is unknown."""
    gone = [f for f in spec.fields if f.unknown]
    if not gone:
        return x
    return take(x, np.flatnonzero(~np.stack([f.absent(x[f.name]) for f in gone], 1).any(1)))


def watch(model: Model, train: Columns, held: Columns, seed: int) -> Guard | None:
    """The guard of a model that can be sampled; None of others."""
    if "sample" not in model.abilities:
        return None
    both = [model.fair(known_rows(model.spec, part), seed) for part in (train, held)]
    examiner = Examiner(model.spec, both[0], both[1], seed)
    return Guard(examiner, sampler(model, both[0]))


def alike(spec: Spec, train: Columns) -> list[Finding]:
    """What the training examples alone say: nothing to learn, or nothing to condition on."""
    out = []
    if all(_constant(train[f.name]) for f in spec.fields):
        out.append(Finding("all alike", 1, "all training examples are alike: there is nothing to learn"))
    for f in spec.condition.fields if spec.condition else ():
        if _constant(train[f.name]):
            words = f"the condition {f.name!r} has one value in training examples: nothing can be learned of it"
            out.append(Finding("constant condition", 1, words))
    return out


def _constant(v: np.ndarray) -> bool:
    return len(v) > 0 and (v == v[:1]).all()


def final(guard: Guard, model: Model, train: Columns, told: dict[str, Any]) -> Verdict:
    """The verdict at the end of a fit; `told` is what the loop says of it."""
    examiner = guard.examiner
    findings = alike(examiner.spec, train)
    if any(f.name == "all alike" for f in findings):
        return Verdict(findings)
    findings += [Finding(name, 1, words) for name, words in guard.notes.items()]
    if told.get("skipped"):
        words = f"{told['skipped']} steps were left out; the last to be no number was {told.get('culprit')}"
        findings.append(Finding("no number", 1, words))
    if told.get("stopped") == "losses were no numbers":
        findings.append(Finding("not finite", 2, f"losses were no numbers to the end: {told.get('culprit')}"))
    if told.get("returns"):
        words = f"the fit went back {len(told['returns'])} times: {', '.join(told['returns'])}"
        findings.append(Finding("went back", 1, words))
    if not examiner.enough:
        words = f"{examiner.n} examples were held out: too few to judge by, {LEAST} at least"
        return Verdict([*findings, Finding("too few to judge", 1, words)])
    gap = told.get("critic", {}).get("gap", math.nan)
    if gap > MEMORISED:
        words = f"the critic holds training examples for real {gap:.0%} more than held-out ones, of the way to samples"
        findings.append(Finding("critic memorises", 1, words + ": take more data, augmentation or a stronger penalty"))
    n, seed = examiner.n, examiner.seed
    findings += guard.leaks(model.altered)
    return judge(examiner.examine(guard.draws(n, seed), guard.draws(2 * n, seed + 1)), findings)
