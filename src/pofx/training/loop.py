"""The one loop that trains every model.

A fit is N steps: N is given, or follows from the model's recipe, or from minutes (measured once, then stored). The
schedule, the validation and the stopping depend on the step alone, so that the same seed, N, threads, torch and device
give the same weights, whether the fit was interrupted or not.
"""

import contextlib
import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import SpecError
from ..models.model import Batch, Clock, Model, Recipe
from ..nn.mixed import mix, repays
from ..progress import Tick, silent
from .adamw import AdamW
from .checkpoint import Checkpoint
from .culprit import culprit, spoiled
from .guard import CHANGES, Guard
from .muon import Muon
from .pool import Pool, PoolFeed

PROBES = 25  # steps that are timed to turn minutes into N; enough to be within a few percent
CLOSE = 0.02  # of N, by which a plan may be off
LOOKS = 16  # validations in a fit: often enough to stop in time, about 3 % of the work
REPAID = 300.0  # seconds of training ahead that a compilation of some 20 s is worth
EVERY = 4  # steps between those whose weights enter the average, where that has many
WARM = 0.5  # of the rates, where a fit goes on from another
LOST = 10  # steps with a loss that is no number before the fit goes back to its average with half the rate
HOPELESS = 5  # times that it goes back without one good step between before it ends
MEASURED = 20  # steps between those whose way is measured, for the guard; in short fits once a look
ATTENDED, ATTENDS = 512, 64  # examples that a model's critic is heard on, and how often in a fit


@dataclass
class History:
    """What a fit did: its length, why it ended, and a line for each look at the validation rows."""

    steps: int = 0
    planned: int = 0
    best_step: int = 0
    best: float | None = None
    stopped: str = "planned"
    skipped: int = 0
    culprit: str = ""  # what was the first to be no number: weights, their moments, average or gradient, or a loss
    retreats: int = 0
    returns: list[str] = field(default_factory=list)  # what changed each time the guard went back
    heard: dict[str, float] = field(default_factory=dict)  # what the critic said last (Model.attend)
    seconds: float = 0.0
    step_seconds: float = 0.0  # of these, in steps: the rest are looks
    cpu_seconds: float = 0.0
    looks: list[dict[str, float]] = field(default_factory=list)


class Feed:
    """Batches of rows in a fresh random order each epoch."""

    def __init__(self, data: Batch, batch: int, generator: torch.Generator) -> None:
        self.data, self.generator, self.rows = data, generator, len(data[0])
        self.batch = min(batch, self.rows)
        self.order, self.at = self._shuffled(), 0

    def _shuffled(self) -> Tensor:
        return torch.randperm(self.rows, generator=self.generator)

    def next(self) -> Batch:
        """The next batch; a rest too small for one is left to the next epochs."""
        if self.at + self.batch > self.rows:
            self.order, self.at = self._shuffled(), 0
        self.at += self.batch
        rows = self.order[self.at - self.batch : self.at].to(self.data[0].device)
        return tuple(t.index_select(0, rows) for t in self.data)

    def restore(self, order: Tensor, at: int) -> None:
        """Goes on where another stood."""
        self.order, self.at = order, at


class Player:
    """One player's parameters, their optimiser, and their average."""

    def __init__(self, parameters: list[torch.nn.Parameter], recipe: Recipe) -> None:
        self.parameters, self.recipe, self.scale, self.longer = parameters, recipe, 1.0, 1.0
        self.norm = 0.0  # of the last gradient
        own = parameters, recipe.betas, recipe.decay
        self.optimiser = Muon(*own, recipe.muon) if recipe.muon else AdamW(*own)
        self.mean = [p.detach().clone() for p in parameters]

    def step(self, loss: Tensor, clock: Clock) -> bool:
        """One optimiser step on a loss; False, and no step, where the loss or its gradient is no number."""
        for p in self.parameters:
            p.grad = None
        loss.backward(inputs=self.parameters)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = self.norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))))
        if not math.isfinite(norm + float(loss.detach())):
            return False
        self.optimiser.step(self.scale * rate(self.recipe, clock), shrink=max(norm / self.recipe.clip, 1.0))
        half = max(self.recipe.average * self.longer * clock.total, 1.0)
        every = max(1, min(EVERY, int(half / EVERY)))  # a pass over all weights that few steps need
        if clock.step % every == 0:
            keep = min(0.5 ** (every / half), (clock.step + every) / (clock.step + 10 * every))
            with torch.no_grad():
                torch._foreach_lerp_(self.mean, self.parameters, 1.0 - keep)
        return True

    def swap(self) -> None:
        """Exchanges the weights and their average."""
        with torch.no_grad():
            for p, mean in zip(self.parameters, self.mean, strict=True):
                held = p.detach().clone()
                p.copy_(mean)
                mean.copy_(held)


def _flat(parameters: list[torch.nn.Parameter]) -> Tensor:
    return torch.cat([p.detach().flatten() for p in parameters])


def rate(recipe: Recipe, clock: Clock) -> float:
    """The learning rate: linear warm-up, then half a cosine down to `floor` of the peak."""
    warm = min(1.0, (clock.step + 1) / max(recipe.warmup, 1))
    fall = recipe.floor + (1 - recipe.floor) * 0.5 * (1 + math.cos(math.pi * min(clock.progress, 1.0)))
    return recipe.rate * warm * fall


class Trainer:
    """A model, its players and its data: `run` trains it.

    warm: the model was trained already: nothing starts from data, rates are WARM of the recipe's, and what it is at
    first counts as its best look. blind: it may have learned from the validation rows before, which then tell nothing:
    the last averaged weights are left, after all steps, unless a guard looks. pool: rows on disk that the steps take in
    the place of `train`, now a sample of it. precision: `auto` lets wide networks compute in bfloat16 while they train,
    where the device repays it (nn/mixed.py), `float32` does not. Raises SpecError where there is not a single row to
    learn from.
    """

    def __init__(
        self,
        model: Model,
        train: Batch,
        valid: Batch | None,
        seed: int,
        device: str,
        precision: str = "auto",
        guard: Guard | None = None,
        pool: Pool | None = None,
        warm: bool = False,
        blind: bool = False,
        **recipe: Any,
    ) -> None:
        if len(train[0]) == 0:
            raise SpecError("expected at least one training row, got none: give more rows or another split")
        self.model, self.device = model.to(device), torch.device(device)
        self.train = tuple(t.to(device) for t in train)
        base = model.recipe(pool.rows if pool is not None else len(train[0]))
        self.recipe = Recipe(**(base.__dict__ | {k: v for k, v in recipe.items() if v is not None}))
        few = self.recipe.watch
        self.valid = tuple(t[:few].to(device) for t in valid) if valid and len(valid[0]) else None
        self.generator = torch.Generator(device).manual_seed(seed)
        order = torch.Generator().manual_seed(seed)
        self.feed: Feed | PoolFeed = (
            PoolFeed(pool, model, self.recipe.batch, order, self.device)
            if pool is not None
            else Feed(self.train, self.recipe.batch, order)
        )
        if not warm:
            self.model.start(self.train)
        self.mixed = mix(self.model, precision == "auto" and repays(device), narrow=False)
        self.players = {name: Player(ps, self.recipe) for name, ps in model.players().items()}
        for player in self.players.values() if warm else ():
            player.scale = WARM
        self.best: list[np.ndarray] = []
        self.history = History()
        self.step = self.bad = self.lost = 0
        self.since = (0, 0.0)  # the step and the progress at which N was planned
        self.sound = self._kept()
        self.quick = False  # whether the model is compiled
        self.guard = guard if len(self.players) > 1 else None
        self.warm, self.blind = warm, blind and self.guard is None
        self.firm = 0  # times that the guard made the penalty firmer
        self.kept: tuple[dict[str, Any], dict[str, np.ndarray]] | None = None  # the state at the guard's best look

    # -- one step ----------------------------------------------------------------------------------------------------

    def advance(self, total: int) -> float | None:
        """One step of every player; the first player's loss if it was a number."""
        clock = Clock(self.step, total, self.since)
        batch = self.feed.next()
        shown: float | Tensor | None = None
        good, measured = True, self.guard is not None and self.step % max(1, min(MEASURED, total // LOOKS)) == 0
        before = {k: _flat(player.parameters) for k, player in self.players.items()} if measured else {}
        for player, loss in self.model.turns(batch, clock, self.generator):
            mean = loss.mean()
            shown = mean.detach() if shown is None else shown
            sound = self.players[player].step(mean, clock)
            if not sound:
                self.history.culprit = self.history.culprit or culprit(self.model, self.players, player, mean)
            elif self.guard is not None:
                self.guard.hear(player, self.players[player].norm, self.step)
            good &= sound
        if self.guard is not None:
            for name, held in before.items():
                share = float((_flat(self.players[name].parameters) - held).norm() / held.norm().clamp(min=1e-12))
                self.guard.moved(name, share, self.step)
        self.step += 1
        self.bad, self.lost = (0, 0) if good else (self.bad + 1, self.lost)
        self.history.skipped += not good
        if self.bad >= LOST and self.guard is not None and self.kept is not None:
            self.guard.lost()
        elif self.bad >= LOST:
            self._retreat()
        return float(shown) if shown is not None and self.step % 50 == 0 else None

    def _retreat(self) -> None:
        """Back to the average of the weights, with half the rate and forgotten momenta, and says so."""
        self.bad, self.lost = 0, self.lost + 1
        self.history.retreats += 1
        warnings.warn(
            f"step {self.step}: {LOST} losses in a row were no numbers; the fit goes back to its last good average "
            f"with half the rate (time {self.history.retreats}); first: {self.history.culprit}", stacklevel=2,
        )  # fmt: skip
        with torch.no_grad():
            for key, held in self._buffers().items():
                held.copy_(self.sound[key])
        for player in self.players.values():
            player.scale /= 2
            with torch.no_grad():
                for p, mean in zip(player.parameters, player.mean, strict=True):
                    p.copy_(mean)
            player.optimiser.forget()

    # -- validation --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The model with its averaged weights, in evaluation mode."""
        for player in self.players.values():
            player.swap()
        self.model.eval()
        try:
            yield
        finally:
            self.model.train()
            for player in self.players.values():
                player.swap()

    def look(self) -> float | None:
        """Averaged weights on the validation rows; the best ones are kept."""
        with self.averaged(), torch.inference_mode():
            value = None
            if self.guard is not None:
                value = self.guard.look()
            elif self.valid is not None:
                value = self._watched(self.valid)
            better = value is None or self.history.best is None or value < self.history.best or self.blind
            if better and (value is None or math.isfinite(value)):
                self.history.best, self.history.best_step = value, self.step
                self._take()
            if all(torch.isfinite(held).all() for held in self._buffers().values()):
                self.sound = self._kept()
        if value is not None and not math.isfinite(value):
            self.history.culprit = self.history.culprit or spoiled(self.model, self.players)
        if self.guard is not None and self.history.best_step == self.step:
            self.kept = self.state(kept=False)
        return value

    def _watched(self, valid: Batch) -> float | None:
        """The mean of what the model watches, as many rows at a time as `together` says."""
        generator = torch.Generator(self.device).manual_seed(0)
        size = self.model.together(self.recipe.watch)
        parts = zip(*(t.split(size) for t in valid), strict=True)
        got = [part for some in parts if (part := self.model.validate(some, generator)) is not None]
        return float(torch.cat([part.reshape(-1) for part in got]).double().mean()) if got else None

    def _go_back(self) -> None:
        """Everything as it was at the guard's best look, but the step, and one change."""
        if self.guard is None or self.kept is None:
            return
        step, since, history, firm, scales, kept = (
            self.step, self.since, self.history, self.firm, self._scales(), self.kept
        )  # fmt: skip
        change = self.guard.gone_back([c for c in CHANGES if c != CHANGES[1] or self.model.firmer(self.firm)])
        held = self.guard.plain()
        self.restore(*kept)
        self.step, self.since, self.history, self.firm, self.kept = step, since, history, firm, kept
        self.guard.restore(held)
        for name, scale in scales.items():
            self.players[name].scale, self.players[name].longer = scale
        self.history.returns.append(f"step {step} to {history.best_step}, {change}")
        for player in self.players.values():
            if change == CHANGES[0]:
                player.scale /= 2
            elif change == CHANGES[2]:
                player.longer *= 4
        self.firm += change == CHANGES[1]
        self.model.firmer(self.firm)
        warnings.warn(f"the guard goes back: {self.history.returns[-1]}", stacklevel=2)

    def _attend(self) -> None:
        """Lets the model hear its critic on examples that it learns from and on others."""
        with torch.no_grad():
            own = tuple(t[:ATTENDED] for t in self.train)
            other = tuple(t[:ATTENDED] for t in self.valid) if self.valid is not None else None
            heard = self.model.attend(own, other, self.generator)
            self.history.heard = {k: v for k, v in heard.items() if math.isfinite(v)} or self.history.heard

    def _take(self) -> None:
        self.best = [p.detach().cpu().numpy().copy() for p in self._held()]

    def _kept(self) -> dict[str, Tensor]:
        return {k: v.detach().clone() for k, v in self._buffers().items()}

    def _held(self) -> list[Tensor]:
        """What a fit leaves in the model: the weights of all players, and what else is saved with it."""
        return [p for player in self.players.values() for p in player.parameters] + list(self._buffers().values())

    # -- the whole fit -----------------------------------------------------------------------------------------------

    def plan(self, steps: int | None, until: float | None) -> int:
        """N: as given, or the recipe's, or what fits until a moment of time.monotonic() and is of use."""
        if steps is not None or until is None:
            return steps if steps is not None else self.recipe.steps
        saved = self.state()
        each = self.timed()
        if self.model.compiles and until - time.monotonic() > REPAID:
            each = self.quickened(each)
        began = time.monotonic()
        self.look()
        looks = LOOKS * (time.monotonic() - began)
        self.restore(*saved)
        fits = max(10, int((until - time.monotonic() - looks) * 0.98 / each))
        return fits if self.recipe.most is None else min(fits, self.recipe.most)

    def timed(self) -> float:
        """Seconds a step: the median of some, after a few."""
        for _ in range(3):
            self.advance(10**6)
        ends = [time.monotonic()]
        for _ in range(PROBES):
            self.advance(10**6)
            ends.append(time.monotonic())
        return float(np.median(np.diff(ends)))

    def quickened(self, eager: float) -> float:
        """Seconds a step with the model compiled, where that works and is faster; else it is as before."""
        try:
            self.model.quicken()
            each = self.timed()
        except Exception as error:  # a compiler that is missing or fails must not end a fit
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            warnings.warn(f"the model could not be compiled and trains without: {reason}", stacklevel=2)
            each = math.inf
        self.quick = each < eager
        if not self.quick:
            self.model.quicken(False)
        return min(each, eager)

    def _again(self, total: int, until: float, now: float, each: float, looks: float) -> int:
        """N anew, where steps that take `each` and looks that take `looks` seconds in all do not end at `until`."""
        fits = self.step + max(0, int((until - now - looks) / max(each, 1e-9)))
        fits = fits if self.recipe.most is None else min(fits, self.recipe.most)
        if abs(fits - total) <= CLOSE * total:
            return total
        self.since = self.step, Clock(self.step, total, self.since).progress
        return fits

    def run(
        self,
        total: int,
        checkpoint: Checkpoint | None = None,
        tick: Tick = silent,
        until: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> History:
        """Trains up to step `total` and leaves the best averaged weights in the model.

        until: a moment of `clock` at which the fit is to end: at each look N is planned anew by what steps took since
        the look before, since a machine may get other work, or be rid of it.
        """
        began, cpu, mark = time.monotonic(), time.process_time(), (self.step, clock())
        every = max(1, total // LOOKS)
        self.model.train()
        self.history.planned = total
        if self.warm and self.step == 0:
            self.look()
        while self.step < total:
            started = time.monotonic()
            loss = self.advance(total)
            self.history.step_seconds += time.monotonic() - started
            tick(1, f"loss {loss:.3f}" + self._shown() if loss is not None else "")
            if self.step % every == 0 or self.step == total:
                ended = clock()
                value = self.look()
                self.history.looks.append({"step": self.step, "valid": math.nan if value is None else value})
                if self._overfits():
                    self.history.stopped = "no better on validation rows"
                    break
                if until is not None and self.step < total:
                    now, each = clock(), (ended - mark[1]) / (self.step - mark[0])
                    total = self._again(total, until, now, each, (now - ended) * -(-(total - self.step) // every))
                    tick(0, total=total)
                    self.history.planned, mark = total, (self.step, now)
            if self._guarded():
                break
            if self.step % max(1, total // ATTENDS) == 0:
                self._attend()
            if self.lost >= HOPELESS:
                self.history.stopped = "losses were no numbers"
                break
            if checkpoint is not None and checkpoint.due():
                checkpoint.write(*self.state(), total)
        if self.step and self.history.skipped == self.step:
            raise SpecError(
                f"none of {self.step} steps had a loss that is a number (first: {self.history.culprit}): look for huge "
                "numbers in the data, or take other arguments of the model"
            )
        if not self.best:
            self.look()
        if not self.best:
            warnings.warn("the loss of the validation rows is no number: the last average is kept", stacklevel=2)
            with self.averaged():
                self._take()
        if self.guard is not None:
            self.model.eval()
            self.guard.raw()
        self.history.steps = self.step
        self.history.seconds += time.monotonic() - began
        self.history.cpu_seconds += time.process_time() - cpu
        with torch.no_grad():
            for p, best in zip(self._held(), self.best, strict=True):
                p.copy_(torch.from_numpy(best))
        self.model.quicken(False)
        self.model.eval()
        return self.history

    def _guarded(self) -> bool:
        """Does what the guard's state asks for; whether the fit ends."""
        if self.guard is None:
            return False
        if self.guard.state == "going back":
            self._go_back()
        if self.guard.state == "stopped":
            self.history.stopped = "behind its best after three returns"
        return self.guard.state == "stopped"

    def _shown(self) -> str:
        return f", valid {self.history.best:.3f}" if self.history.best is not None else ""

    def _overfits(self) -> bool:
        behind = [look["valid"] for look in self.history.looks if look["step"] > self.history.best_step]
        alone = len(self.players) == 1  # a game's figure wanders before it settles: only its best average is kept
        patience = self.recipe.patience
        return alone and bool(patience) and self.history.best is not None and len(behind) >= patience

    # -- state, for checkpoints --------------------------------------------------------------------------------------

    def _buffers(self) -> dict[str, Tensor]:
        """What the model saves beside its parameters."""
        own = {name for name, _ in self.model.named_parameters(remove_duplicate=False)}
        return {k: v for k, v in self.model.state_dict().items() if k not in own}

    def _scales(self) -> dict[str, list[float]]:
        return {name: [player.scale, player.longer] for name, player in self.players.items()}

    def state(self, kept: bool = True) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Everything that the rest of the fit depends on, as plain values and arrays."""
        arrays: dict[str, np.ndarray] = {
            "feed.order": self.feed.order.numpy().copy(),
            "feed.rng": self.feed.generator.get_state().numpy().copy(),
            "rng": self.generator.get_state().cpu().numpy().copy(),
            "global.rng": torch.get_rng_state().numpy().copy(),
        }
        for name, player in self.players.items():
            for i, (p, mean) in enumerate(zip(player.parameters, player.mean, strict=True)):
                arrays[f"{name}.weight.{i}"] = p.detach().cpu().numpy().copy()
                arrays[f"{name}.mean.{i}"] = mean.cpu().numpy().copy()
            arrays |= {f"{name}.{key}": held for key, held in player.optimiser.arrays().items()}
        arrays |= {f"buffer.{k}": v.detach().cpu().numpy().copy() for k, v in self._buffers().items()}
        arrays |= {f"sound.{k}": v.cpu().numpy().copy() for k, v in self.sound.items()}
        arrays |= {f"best.{i}": best for i, best in enumerate(self.best)}
        plain = {
            "step": self.step,
            "since": list(self.since),
            "bad": self.bad,
            "lost": self.lost,
            "quick": self.quick,
            "at": self.feed.at,
            "scale": self._scales(),
            "firm": self.firm,
            "guard": self.guard.plain() if self.guard is not None else {},
            "kept": None,
            "history": {**self.history.__dict__, "looks": list(self.history.looks)},
        }
        if kept and self.kept is not None:
            plain["kept"] = self.kept[0]
            arrays |= {f"kept.{k}": v for k, v in self.kept[1].items()}
        return plain, arrays

    def restore(self, plain: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Sets what `state` gave."""
        self.step, self.bad, self.lost = (plain[k] for k in ("step", "bad", "lost"))
        self.since = tuple(plain.get("since", (0, 0.0)))
        if plain["quick"] and not self.quick:
            self.quick = True
            self.model.quicken()
        self.feed.restore(torch.from_numpy(arrays["feed.order"].copy()), plain["at"])
        self.feed.generator.set_state(torch.from_numpy(arrays["feed.rng"].copy()))
        self.generator.set_state(torch.from_numpy(arrays["rng"].copy()))
        torch.set_rng_state(torch.from_numpy(arrays["global.rng"].copy()))
        self.history = History(**{**plain["history"], "looks": list(plain["history"]["looks"])})
        self.firm = plain["firm"]
        self.model.firmer(self.firm)
        kept = {k[5:]: v for k, v in arrays.items() if k.startswith("kept.")}
        self.kept = None if plain["kept"] is None else (plain["kept"], kept)
        if self.guard is not None and plain["guard"]:
            self.guard.restore(plain["guard"])
        self.best = [arrays[f"best.{i}"] for i in range(sum(k.startswith("best.") for k in arrays))]
        with torch.no_grad():
            for key, held in self._buffers().items():
                held.copy_(torch.from_numpy(arrays[f"buffer.{key}"].copy()))
                self.sound[key] = torch.from_numpy(arrays[f"sound.{key}"].copy()).to(held)
            for name, player in self.players.items():
                player.scale, player.longer = plain["scale"][name]
                there = {k: f"{name}.{k}" for k in player.optimiser.arrays() if f"{name}.{k}" in arrays}
                player.optimiser.restore({k: arrays[key] for k, key in there.items()})
                for i, (p, mean) in enumerate(zip(player.parameters, player.mean, strict=True)):
                    p.copy_(torch.from_numpy(arrays[f"{name}.weight.{i}"]))
                    mean.copy_(torch.from_numpy(arrays[f"{name}.mean.{i}"]))
