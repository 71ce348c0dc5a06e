"""The guard of a fit: it watches, goes back to what was good, and ends with PASS, WARN or FAIL and the reasons.

While a game trains (a model of several players), each look examines samples of the averaged weights
(examination.py). States: warming up; healthy; suspect, where skill or coverage fell behind the best look's; after two
suspect looks in a row everything goes back to that look, and exactly one thing changes (CHANGES, in order); after three
such returns the fit stops with the best. The step is never set back. At the end any model that can be sampled gets the
same examination, in full.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from ..metrics import count, take
from ..models.model import Model
from ..spec import Columns, Spec
from .examination import ALONE, LEAST, Examiner
from .figures import Examination, Figure, Protocol, Skill
from .verdict import WORDS, Finding, Verdict, copies, judge

MEMORISED = 0.5  # (D train - D held-out) / (D train - D samples), by two errors
ALTERED = 2000  # training examples that a classifier of augmentation learns from
LEAKED = 0.05  # share of samples that look augmented, beyond that of real examples

WARMING = 3  # looks before anything is held against a fit
BEHIND, COVERAGE_BEHIND = 0.15, 0.8  # skill below the best look's, and share of its coverage, that are suspect
SUSPECT = 2  # looks in a row before a fit goes back
RETURNS = 3
CHANGES = ("half the rates", "four times the penalty", "an average four times as long")

HEARD, HIGH, OFTEN = 200, 20.0, 3  # gradient norms remembered; above HIGH medians OFTEN times in a row: diverging
LOW, LONG = 1e-4, 500  # below LOW medians for LONG steps: vanished
# Shares of their length that a step moves weights by: too far (healthy fits, however short, move them by up to .12, a
# critic of a hundred times its rate by .66 and more), and not at all.
HASTY, STILL = 0.25, 1e-9


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
    coverage: Figure

    @classmethod
    def of(cls, found: Examination) -> "Standing":
        """Of samples that are finite; where no skill can be measured minus the Fréchet distance stands for it."""
        if (skill := found.lowest) is None:
            one = next(iter(found.skill.values()))
            other = replace(one.protocol, space=f"distance in {one.protocol.space}")
            skill = replace(one, value=-one.distance / max(one.floor, 1e-12), error=1.0, protocol=other)
        protocol = Protocol.of_lowest(s.protocol for s in found.skill.values())
        return cls(skill, Figure(found.coverage, math.sqrt(0.25 / found.n), protocol))

    def behind(self, best: "Standing") -> bool:
        """Whether this one is worse than the best by more than chance."""
        error = 3 * math.hypot(self.coverage.error, best.coverage.error)
        fewer = (1 - COVERAGE_BEHIND) * best.coverage.value + error
        return self.skill.worse(best.skill, BEHIND) or self.coverage.worse(best.coverage, fewer)


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
        here = Standing.of(found) if found.finite else None
        if here is not None and (self.best is None or here.skill.over(self.best.skill) > 0):
            self.best = here
        behind = here is None or (self.best is not None and here.behind(self.best))
        self.suspect = self.suspect + 1 if self.looks > WARMING and behind else 0
        self.state = self.state if self.state == "going back" else self._next()
        return -here.skill.value if here is not None else math.inf

    def leaks(self, altered: Callable[[Columns, torch.Generator], Columns | None]) -> list[Finding]:
        """Whether samples look like training examples that augmentation has changed."""
        examiner = self.examiner
        some = {k: v[:ALTERED] for k, v in examiner.train.items()}
        changed = altered(some, torch.Generator().manual_seed(examiner.seed))
        if changed is None:
            return []
        drawn = self.draws(examiner.n, examiner.seed)
        share, floor = examiner.leaked(changed, drawn)
        beyond = share - floor - 3 * math.sqrt(max(floor * (1 - floor), 0.01) / examiner.n)
        if beyond <= LEAKED or not examiner.explains(changed, drawn, share):
            return []
        words = f"{share:.1%} of samples look augmented ({floor:.1%} of unseen examples do): take a lower augment"
        return [Finding("augmentation leaks", 1, words)]

    def raw(self) -> None:
        """Notes where the weights themselves are better than their average, which they are set to."""
        found = self.examiner.examine(self.draws(self.examiner.n, self.examiner.seed))
        if self.best is None or not found.finite:
            return
        here = Standing.of(found).skill
        if self.best.skill.worse(here, BEHIND):
            words = f"the last weights have skill {here.value:.2f}, their average {self.best.skill.value:.2f}"
            self.notes.setdefault("average lags", words + ": train longer, or average less")

    def _next(self) -> str:
        if self.looks <= WARMING:
            return "warming up"
        if self.suspect < SUSPECT:
            return "suspect" if self.suspect else "healthy"
        return "stopped" if self.returns >= RETURNS else "going back"

    def lost(self) -> None:
        """What to do where losses are no numbers any more: the same as after looks that fell behind."""
        self.state = "stopped" if self.returns >= RETURNS else "going back"

    def gone_back(self, changes: Sequence[str] = CHANGES) -> str:
        """Counts a return; the one thing that is to change, of those that do something in this model."""
        self.suspect, self.state = 0, "healthy"
        self.returns += 1
        return changes[(self.returns - 1) % len(changes)]

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
            skill, coverage = (best[k] | {"protocol": Protocol(**best[k]["protocol"])} for k in ("skill", "coverage"))
            self.best = Standing(Skill(**skill), Figure(**coverage))


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
    examiner = Examiner(model.spec, both[0], both[1], seed, labour=model.labour)
    return Guard(examiner, sampler(model, both[0]))


def alike(spec: Spec, train: Columns) -> list[Finding]:
    """What the training examples alone say: nothing to learn, or nothing to condition on."""
    out = []
    if all(_constant(train[f.name]) for f in spec.fields):
        out.append(Finding("all alike", 2, "all training examples are alike: there is nothing to learn"))
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
    if told.get("culprit"):
        words = f"{told.get('skipped', 0)} steps were left out; the first to be no number was {told['culprit']}"
        findings.append(Finding("no number", 1, words))
    if told.get("stopped") == "losses were no numbers":
        findings.append(Finding("not finite", 2, f"losses were no numbers to the end: {told.get('culprit')}"))
    if gone := [name for name, v in model.named_parameters() if not bool(torch.isfinite(v).all())]:
        findings.append(Finding("not finite", 2, f"weights are no numbers: {gone[0]}: fit again with a lower rate"))
        return Verdict(findings)
    if told.get("returns"):
        words = f"the fit went back {len(told['returns'])} times: {', '.join(told['returns'])}"
        findings.append(Finding("went back", 1, words))
    if not examiner.enough:
        words = f"{examiner.n} examples were held out: too few to judge by, {LEAST} at least; nothing was watched"
        findings.append(Finding("too few to judge", 1, words + ", and only copies were looked for"))
        return few(guard, findings)
    n, seed = examiner.n, examiner.seed
    findings += guard.leaks(model.altered)
    more = guard.draws(examiner.again, seed + 1) if examiner.again else take(examiner.train, np.arange(0))
    verdict = judge(examiner.examine(guard.draws(n, seed), more), findings)
    verdict.findings += memorised(told.get("critic", {}), verdict)
    return verdict


def memorised(heard: dict[str, float], verdict: Verdict) -> list[Finding]:
    """Whether the critic knows training examples from held-out ones: a warning where samples are found wanting too, and
    a remark where they are not.
    """
    gap = heard.get("gap", math.nan)
    if not gap - 2 * heard.get("gap error", 0.0) > MEMORISED:
        return []
    words = f"the critic holds training examples for real {gap:.0%} more than held-out ones, of the way to samples"
    if verdict.word == WORDS[0]:
        return [Finding("critic memorises", 0, words + "; samples do not show it")]
    return [Finding("critic memorises", 1, words + ": take more data, augmentation or a stronger penalty")]


def few(guard: Guard, findings: list[Finding]) -> Verdict:
    """The verdict where too few examples are held out: whether samples are numbers, and copies of training ones.

    Copies are a warning: a small table of few values has its rows drawn again by any model.
    """
    n = count(guard.examiner.train)
    if n < ALONE:
        return Verdict(findings)
    found = guard.examiner.copied(guard.draws(n, guard.examiner.seed))
    return Verdict([*findings, *(replace(finding, level=1) for finding in copies(found))], found)
