"""Checkpoints: the state of a fit, written now and then, so that a killed fit goes on where it was."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from .. import store
from ..errors import BadFile

KIND = "checkpoint"
EVERY = 20.0  # seconds between checkpoints: little is lost, and writing one takes a tenth of a second


class Checkpoint:
    """A place for the state of one fit; `identity` says what fit it is, so that no other is resumed from it."""

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self.path, self.identity, self.stages = path, identity, list[Checkpoint]()
        self.last = time.monotonic()

    def stage(self, name: str) -> "Checkpoint":
        """A place beside for a fit before the last of several; `remove` takes it away too."""
        self.stages.append(Checkpoint(self.path.with_name(f"{self.path.name}.{name}"), self.identity))
        return self.stages[-1]

    def due(self) -> bool:
        """Whether EVERY seconds have passed since the last one."""
        return time.monotonic() - self.last >= EVERY

    def write(self, plain: dict[str, Any], arrays: dict[str, np.ndarray], total: int) -> None:
        """Writes the state, whole or not at all."""
        store.write(self.path, KIND, {"identity": self.identity, "state": plain, "total": total}, arrays)
        self.last = time.monotonic()

    def read(self) -> tuple[dict[str, Any], dict[str, np.ndarray], int] | None:
        """The state and N, or None where there is no checkpoint.

        Raises BadFile where it belongs to another fit, naming what differs.
        """
        if not self.path.exists():
            return None
        header, arrays = store.read(self.path, KIND)
        held = header["identity"]
        differ = [k for k in {*held, *self.identity} if held.get(k) != self.identity.get(k)]
        if differ:
            raise BadFile(
                f"{str(self.path)!r} belongs to another fit: {', '.join(sorted(differ))} differ; "
                "repeat the first command, or fit without --resume"
            )
        return header["state"], arrays, header["total"]

    def remove(self) -> None:
        """Takes the checkpoint away once the fit is whole."""
        for place in (self, *self.stages):
            place.path.unlink(missing_ok=True)
