"""Fits that converge and fits that are hurt, beside the guard: the second half of benchmarks/guard.py.

On small tables `any_order`, `nsf`, `gan` and `wgan` train for a short while (`healthy`: a verdict of FAIL, or a finding
that accuses the fit, is a false alarm); then a `gan` with a critic of a hundred times its rate, with a generator that
stands still, with a weight that is no number from step 37 on; and one of images, as it is and with samples that
augmentation changed. Beside the findings stand the figures that limits are set by: each limit is to lie between those
of healthy fits and those of its failure.
"""

import math
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch

from pofx.metrics import count
from pofx.models import create
from pofx.models.model import Model
from pofx.spec import Columns, Spec
from pofx.training import guard as limits
from pofx.training.guard import Guard, final, watch
from pofx.training.loop import LOOKS, Trainer

ROWS, HELD = 2400, 600
STEPS = {"any_order": 400, "nsf": 600, "gan": 800, "wgan": 800}  # about the recipes' of so many rows
SHORT, SPOILT = 320, 37
DRAWING = 1500  # steps of images: a leak can only be told where samples are good
ACCUSES = (
    "steps too large", "does not move", "diverging", "vanished", "critic memorises", "no number", "went back",
    "average lags", "augmentation leaks", "copies", "not finite",
)  # fmt: skip
LIMITS = {
    "moved most": ("steps too large", limits.HASTY), "moved least": ("does not move", limits.STILL),
    "gradient above": ("diverging", limits.HIGH), "gradient below": ("vanished", limits.LOW),
    "fell": ("went back", limits.BEHIND), "memorised": ("critic memorises", limits.MEMORISED),
    "leaked": ("augmentation leaks", limits.LEAKED),
}  # fmt: skip
WRONG = {
    "critic x 100": "steps too large", "frozen generator": "does not move", "no number": "no number",
    "leaking augmentation": "augmentation leaks",
}  # fmt: skip


class Recorder(Guard):
    """A guard that keeps the figures that its limits are held against, and the look by which each note was made."""

    def __init__(self, other: Guard) -> None:
        super().__init__(other.examiner, other.draws)
        self.figures: dict[str, float] = {}
        self.named: dict[str, int] = {}

    def keep(self, name: str, value: float, most: bool = True) -> None:
        """The most extreme value so far."""
        if math.isfinite(value):
            self.figures[name] = (max if most else min)(self.figures.get(name, value), value)

    def hear(self, player: str, norm: float, step: int) -> None:
        """Notes a gradient's norm beside the running median."""
        pulse = self.pulses.get(player)
        if pulse is not None and pulse.middle > 0:
            self.keep("gradient above", norm / pulse.middle)
            self.keep("gradient below", norm / pulse.middle, most=False)
        super().hear(player, norm, step)

    def moved(self, player: str, share: float, step: int) -> None:
        """Notes how far a step went."""
        self.keep("moved most", share)
        self.keep("moved least", share, most=False)
        super().moved(player, share, step)

    def look(self) -> float:
        """Notes how far skill fell below the best, and what was named by then."""
        best = self.best.skill.value if self.best is not None and self.looks >= limits.WARMING else math.nan
        value = super().look()
        self.keep("fell", best + value)
        for name in self.notes:
            self.named.setdefault(name, self.looks)
        return value

    def leaks(self, altered: Callable[..., Columns | None]) -> list[Any]:
        """Notes by how much more samples look augmented than held-out examples do."""
        heard = self.examiner.leaked

        def leaked(changed: Columns, fake: Columns) -> tuple[float, float]:
            share, floor = heard(changed, fake)
            self.keep("leaked", share - floor)
            return share, floor

        self.examiner.leaked = leaked  # type: ignore[method-assign]
        return super().leaks(altered)


def hurt(kind: str, trainer: Trainer, watched: Guard) -> None:
    """Spoils a fit before it begins."""
    if kind == "critic x 100":
        trainer.players["critic"].scale = 100.0
    elif kind == "frozen generator":
        trainer.players["generator"].scale = 0.0
    elif kind == "no number":
        advance = trainer.advance

        def spoiled(total: int) -> float | None:
            if trainer.step == SPOILT and not trainer.history.culprit:
                trainer.players["generator"].parameters[0].data.view(-1)[0] = math.nan
            return advance(total)

        trainer.advance = spoiled  # type: ignore[method-assign]
    elif kind == "leaking augmentation":
        draws, generator = watched.draws, torch.Generator().manual_seed(0)
        watched.draws = lambda n, seed: trainer.model.altered(draws(n, seed), generator) or draws(n, seed)


def fitted(spec: Spec, train: Columns, held: Columns, name: str, seed: int, steps: int, kind: str) -> dict[str, Any]:
    """What a fit ends with: verdict, findings, figures, and by which look each note was made."""
    images = bool(spec.blocks[0].sites)
    began = time.process_time()
    model: Model = create(name, spec, seed, **({"augment": 0.3, "width": 32} if images else {}))
    own = watch(model, train, held, seed)
    if own is None:
        raise ValueError(f"expected a model that can be sampled, got {name!r}")
    seen = Recorder(own)
    c = spec.condition.fields if spec.condition else ()
    batches = [
        model.prepare({f.name: x[f.name] for f in spec.fields}, {f.name: x[f.name] for f in c} if c else None)
        for x in (train, held)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        trainer = Trainer(model, batches[0], batches[1], seed, "cpu", guard=seen)
        hurt(kind, trainer, seen)
        history = trainer.run(steps)
        told = {k: getattr(history, k) for k in ("skipped", "culprit", "stopped", "returns")}
        verdict = final(seen, model, train, told | {"critic": history.heard})
    if "gap" in history.heard:
        seen.keep("memorised", history.heard["gap"] - 2 * history.heard.get("gap error", 0.0))
    lowest = verdict.examination.lowest if verdict.examination else None
    return {
        "word": verdict.word, "findings": {f.name: f.level for f in verdict.findings}, "figures": seen.figures,
        "named by look": seen.named, "culprit": history.culprit, "skill": lowest and lowest.value,
        "cpu_seconds": time.process_time() - began,
    }  # fmt: skip


def run(spec: Spec, train: Columns, held: Columns, seed: int, only: Sequence[str] | None = None) -> dict[str, Any]:
    """The fits of one set of data, or those alone that are named: of rows `healthy` ones and hurt ones, of images the
    leak and the same without.
    """
    part, few = ({k: v[:n] for k, v in x.items()} for x, n in ((train, ROWS), (held, HELD)))
    if count(few) < HELD:
        raise ValueError(f"expected {HELD} held-out examples, got {count(few)}")
    if spec.blocks[0].sites:
        fits = [("gan", DRAWING, "healthy"), ("gan", DRAWING, "leaking augmentation")]
    else:
        fits = [(name, steps, "healthy") for name, steps in STEPS.items()]
        fits += [("gan", SHORT, kind) for kind in WRONG if kind != "leaking augmentation"]
    return {
        key: fitted(spec, part, few, name, seed, steps, kind)
        for name, steps, kind in fits
        if (key := f"{kind}, {name}") in (only or [key])
    }


def printed(rows: list[dict[str, Any]]) -> str:
    """A line a fit and set: false alarms or how often it was named, by which look, and the range of each figure."""
    head = ["fit", "data", "as expected", "verdicts", "other findings", f"named by look (of {LOOKS})"]
    head += [f"{name} (limit {limit:g})" for name, (_, limit) in LIMITS.items()]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    fits = dict.fromkeys((key, row["data"]) for row in rows for key in row["fits"])
    for key, data in fits:
        own = [row["fits"][key] for row in rows if row["data"] == data and key in row["fits"]]
        kind = key.split(", ")[0]
        name = WRONG.get(kind)
        if name is None:
            clean = [
                one
                for one in own
                if one["word"] != "FAIL" and not set(ACCUSES) & {f for f, n in one["findings"].items() if n}
            ]
            hit = f"not accused in {len(clean)} of {len(own)}"
        else:
            hit = f"named in {sum(name in one['findings'] for one in own)} of {len(own)}"
        words = ", ".join(f"{w} {n}" for w in ("PASS", "WARN", "FAIL") if (n := sum(o["word"] == w for o in own)))
        other = ", ".join(
            sorted({f if n else f"{f} (a remark)" for one in own for f, n in one["findings"].items()} - {name})
        )
        looks = [one["named by look"][name] for one in own if name in one["named by look"]]
        spans = [_span([one["figures"].get(k) for one in own]) for k in LIMITS]
        cells = [key, data.replace("_", " "), hit, words, other, f"{max(looks)}" if looks else "", *spans]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _span(values: list[float | None]) -> str:
    kept = [v for v in values if v is not None]
    return f"{min(kept):.2g} to {max(kept):.2g}" if kept else ""
