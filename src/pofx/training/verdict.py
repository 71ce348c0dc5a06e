"""From figures to PASS, WARN or FAIL: the limits of each, and the findings in words."""

import math
from dataclasses import dataclass, field
from typing import Any

from .figures import Examination, Skill

PASS, WARN, FAIL = WORDS = ("PASS", "WARN", "FAIL")

# From where a figure is worth a warning, and from where it fails a model. Real examples in the place of samples, a
# hundred draws on four tables and two sets of images, stay on the good side of each (benchmarks/guard.py).
SKILL = 0.5  # half of the way from the trivial examples to training ones
TOLD = 0.9  # AUC of a fresh critic: independent columns give .93 to 1
COVERED = (0.6, 0.3)  # coverage, as a share of what training examples have
SPREAD = (0.6, 0.3)  # distance of a sample to its nearest other one, as a share of that of real examples
REPEATED = (0.05, 0.3)  # share of samples that repeat others, beyond that of real examples
COPIED = (0.05, 0.3)  # share of samples nearer to training examples than 99 % of held-out ones are, beyond theirs
MISSED = (0.01, 0.1)  # share of training examples in clusters that samples miss
CLASS = (0.5, 0.25)  # coverage of a class, as a share of what training examples of it have
LABELS = (0.7, 0.4)  # kappa of labels and what was drawn under them, as a share of that of held-out examples


@dataclass(frozen=True)
class Finding:
    """A reason: what it is called, how grave (0 a remark, 1 a warning, 2 a failure), what was seen and what to do."""

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
    return Verdict([*out, *_skills(found), *_variety(found), *copies(found)], found)


def _skills(found: Examination) -> list[Finding]:
    seen, out = [s for s in found.skill.values() if s.measurable], []
    if found.skill and all(s.loses for s in found.skill.values()):
        told = ", ".join(f"{s.distance:.3g} beside {s.trivial:.3g} in {k}" for k, s in found.skill.items())
        words = f"samples are farther from unseen examples than trivial ones are (distance {told})"
        out.append(Finding("worse than trivial", 2, words + ": train longer, or take another model"))
    elif seen and not any(s.beats for s in seen):
        words = f"samples are no nearer to unseen examples than trivial ones (skill {_listed(seen)}, 0 is trivial)"
        out.append(Finding("no better than trivial", 2, words + ": train longer, or take another model"))
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
    levels = [_level(share + error, COVERED) for share in found.covered] or [2]
    if level := min(levels) or min(max(levels), 1):  # a failure where all spaces say so
        words = f"samples cover {found.coverage:.2f} of what training examples cover"
        out.append(Finding("low coverage", level, words))
    share = sum(c.real for c in found.missed)
    if level := _level(share, MISSED):
        named = "; ".join(
            f"{c.where or c.name} ({c.real:.1%} of the data, {c.fake:.1%} of samples)" for c in found.missed[:4]
        )
        out.append(Finding("missed modes", level, f"hardly a sample falls into {len(found.missed)} groups: {named}"))
    return [*out, *_condition(found)]


def _condition(found: Examination) -> list[Finding]:
    """Whether examples are of the class that they were drawn under."""
    levels = {k: _level(share.value + 3 * share.error, CLASS) for k, share in found.classes.items()}
    out, low = [], [k for k, level in levels.items() if level]
    if low:
        named = ", ".join(f"{k} ({found.classes[k].value:.2f})" for k in low[:6])
        words = f"samples cover hardly what training examples of the same class do, of {named}"
        out.append(Finding("missed classes", max(levels.values()), words))
    if found.labels is not None and (level := _level(found.labels.value + 3 * found.labels.error, LABELS)):
        words = (
            f"samples are of the label that they were drawn under {found.labels.value:.2f} times as surely as unseen"
        )
        out.append(Finding("wrong labels", level, words + " examples (1 as those, 0 as labels drawn alone)"))
    return out


def copies(found: Examination) -> list[Finding]:
    """Whether samples lie nearer to training examples than real others do; of text and music, whether they are such."""
    if found.near is None:
        return []
    error = math.sqrt(max(found.near_floor * (1 - found.near_floor), 0.01) / found.n)
    excess = found.near - found.near_floor - 3 * math.hypot(error, found.near_error or 0.0)
    if level := _level(excess, COPIED):
        if found.near_error is not None:
            words = f"{found.near:.1%} of samples are training examples, {found.near_floor:.1%} would be without memory"
            return [Finding("copies", level, words + ": the model repeats what it learned from")]
        words = f"{found.near:.1%} of samples lie as near to training examples as {found.near_floor:.1%} of real others"
        return [Finding("copies", level, words + ": the model repeats what it learned from")]
    return []
