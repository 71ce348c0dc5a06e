"""Rows for training that lie on disk: dealt into buckets at random, of which one at a time is in memory.

Each row goes to one bucket of K, drawn once; an epoch takes the buckets in a fresh random order, and the rows of each
in a fresh random order. A bucket is some 65,536 rows, so that what stands in memory does not grow with the table.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..models.model import Batch, Model
from ..spec import Columns, Spec

BUCKET = 65_536  # rows, about


class Pool:
    """Stored columns of `rows` rows to come, on disk in buckets; `add` takes them, `read` gives a bucket's."""

    def __init__(self, folder: Path, spec: Spec, rows: int, seed: int) -> None:
        self.rows, self.count = 0, max(1, round(rows / BUCKET))
        self.own, self.of = spec.fields, spec.condition.fields if spec.condition else ()
        self.dtype = np.dtype([(f.name, f.dtype) for f in (*self.own, *self.of)])
        self.paths = [folder / f"bucket.{i}" for i in range(self.count)]
        self.rng = np.random.default_rng(seed)

    def add(self, x: Columns) -> None:
        """Deals rows into the buckets."""
        n = len(next(iter(x.values())))
        rows = np.empty(n, self.dtype)
        for name in self.dtype.names or ():
            rows[name] = x[name]
        to = self.rng.integers(0, self.count, n)
        order = np.argsort(to, kind="stable")
        ends = np.searchsorted(to[order], np.arange(self.count + 1))
        for path, start, stop in zip(self.paths, ends[:-1], ends[1:], strict=True):
            if stop > start:
                with path.open("ab") as file:
                    rows[order[start:stop]].tofile(file)
        self.rows += n

    def read(self, bucket: int) -> Columns:
        """The rows of a bucket."""
        path = self.paths[bucket]
        rows = np.fromfile(path, self.dtype) if path.exists() else np.empty(0, self.dtype)
        return {name: np.ascontiguousarray(rows[name]) for name in self.dtype.names or ()}


class PoolFeed:
    """Batches of a pool, as `loop.Feed` gives those of tensors; a rest of a bucket too small for a batch is left to
    the next epochs.

    The state is the order of the buckets, with a number that seeds the orders of their rows, and how many batches of
    the epoch were given.
    """

    def __init__(self, pool: Pool, model: Model, batch: int, generator: torch.Generator, device: torch.device) -> None:
        self.pool, self.model, self.generator, self.device = pool, model, generator, device
        self.batch = min(batch, pool.rows)
        self.order, self.at = self._shuffled(), 0
        self.ahead = self._from(0)

    def _shuffled(self) -> Tensor:
        salt = torch.randint(2**31, (1,), generator=self.generator)
        return torch.cat([torch.randperm(self.pool.count, generator=self.generator), salt])

    def _from(self, skip: int) -> Iterator[Batch]:
        """The batches of this epoch but the first `skip`."""
        for bucket in self.order[:-1].tolist():
            x = self.pool.read(bucket)
            count = len(next(iter(x.values()))) // self.batch
            if skip >= count:
                skip -= count
                continue
            shuffle = torch.Generator().manual_seed(int(self.order[-1]) + bucket)
            rows = torch.randperm(len(next(iter(x.values()))), generator=shuffle)[: count * self.batch]
            yield from self._batches(x, rows, skip)
            skip = 0

    def _batches(self, x: Columns, rows: Tensor, skip: int) -> Iterator[Batch]:
        own, c = ({f.name: x[f.name] for f in fields} for fields in (self.pool.own, self.pool.of))
        ready = tuple(t.to(self.device) for t in self.model.prepare(own, c or None))
        for some in rows.split(self.batch)[skip:]:
            yield tuple(t.index_select(0, some.to(self.device)) for t in ready)

    def next(self) -> Batch:
        """The next batch."""
        batch = next(self.ahead, None)
        while batch is None:
            self.order, self.at = self._shuffled(), 0
            self.ahead = self._from(0)
            batch = next(self.ahead, None)
        self.at += 1
        return batch

    def restore(self, order: Tensor, at: int) -> None:
        """Goes on where another stood."""
        self.order, self.at = order, at
        self.ahead = self._from(at)
