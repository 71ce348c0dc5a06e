"""The course of a fit: the stages of a model one after the other, each trained by the one loop and kept in a file."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..models.model import Model
from ..progress import bar, say
from ..spec import Columns, Spec
from .checkpoint import Checkpoint
from .guard import Guard
from .loop import Trainer
from .pool import Pool

TOLD = ("steps", "planned", "validation", "batch", "seconds", "step seconds", "cpu seconds")  # of an earlier stage


@dataclass(frozen=True)
class Course:
    """How a model is trained on stored columns of `spec`.

    steps, or until, a moment of time.monotonic(), bound it; with checkpoint its state is kept, and with resume it goes
    on there, as far as was planned. pool: rows on disk that steps take in the place of the training rows; warm: the
    model was trained already, blind: from what may be validation rows now (loop.Trainer); name: what is trained, for
    the bar.
    """

    spec: Spec
    seed: int
    device: str
    precision: str
    steps: int | None = None
    until: float | None = None
    checkpoint: Checkpoint | None = None
    resume: bool = False
    quiet: bool = False
    guard: Guard | None = None
    pool: Pool | None = None
    warm: bool = False
    blind: bool = False
    name: str = ""

    def run(self, model: Model, train: Columns, valid: Columns) -> dict[str, Any]:
        """Fits the model; what happened, in plain values."""
        c = self.spec.condition.fields if self.spec.condition else ()
        if not model.trained:
            model.fit_closed(only(self.spec.fields, train), only(c, train) if c else None)
            return {"steps": 0, "stopped": "closed form"}
        stages, done, left = model.stages(), {}, 1.0
        for name, stage, share in stages[:-1]:
            now, until = time.monotonic(), self.until
            ends = until and now + (until - now) * share / left
            place = self.checkpoint.stage(name) if self.checkpoint is not None else None
            part = replace(self, steps=self._share(share), until=ends, checkpoint=place, guard=None)
            told = part._stage(stage, name, train, valid)
            done[name] = {k: told[k] for k in TOLD}
            left -= share
        _, stage, share = stages[-1]
        return replace(self, steps=self._share(share))._stage(stage, "", train, valid) | done

    def _share(self, share: float) -> int | None:
        return self.steps and max(1, round(self.steps * share))

    def _stage(self, model: Model, name: str, train: Columns, valid: Columns) -> dict[str, Any]:
        """One of the fits that follow one another; `name` of those before the last, whose end is kept too."""
        c, place = self.spec.condition.fields if self.spec.condition else (), self.checkpoint
        learned, watched = (
            model.prepare(only(self.spec.fields, part), only(c, part) if c else None) for part in (train, valid)
        )
        torch.manual_seed(self.seed)
        enough = self.guard if self.guard is not None and self.guard.examiner.enough else None
        trainer = Trainer(
            model, learned, watched, self.seed, self.device, self.precision, enough, self.pool, self.warm, self.blind
        )
        held = place.read() if place is not None and self.resume else None
        if held is not None:
            trainer.restore(held[0], held[1])
        say(model.forecast(learned), self.quiet or held is not None)
        total = held[2] if held is not None else trainer.plan(self.steps, self.until)
        if place is not None and held is None:
            place.write(*trainer.state(), total)
        with bar(f"training {name or self.name}".strip(), total, "step", self.quiet) as tick:
            tick(trainer.step)
            anew = held is None and self.steps is None
            history = trainer.run(total, place, tick, self.until if anew else None)
        if place is not None and name:
            place.write(*trainer.state(), history.planned)
        model.to("cpu")
        return {
            "steps": history.steps, "planned": history.planned, "best step": history.best_step,
            "stopped": history.stopped, "validation": history.best,
            "skipped": history.skipped, "culprit": history.culprit,
            **({"validation is": "minus the skill of samples"} if trainer.guard is not None else {}),
            "retreats": history.retreats, "returns": history.returns, "critic": history.heard,
            "batch": trainer.recipe.batch, "seconds": history.seconds,
            "step seconds": history.step_seconds, "cpu seconds": history.cpu_seconds, "device": self.device,
            "precision": "bfloat16 in wide networks" if trainer.mixed else "float32",
            "threads": torch.get_num_threads(), "looks": history.looks,
        }  # fmt: skip


def only(fields: Sequence[Any], x: Columns) -> Columns:
    """The columns of these fields."""
    return {f.name: x[f.name] for f in fields}
