"""What the deterministic autoencoders have in common as models: vectors in, codes, vectors out, and the PCA beside."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..nn.mirror import principal
from ..spec import Columns, Given, Spec
from .model import Batch, Model, Recipe, Rows
from .vectors import vectors_of

STARTED = 20_000  # rows that principal components are found from
CHUNK = 4096


class Reconstructing(Model):
    """Base of the models that rebuild v, (B, *shape), from a code z, (B, latent): v^ = d(e(v)).

    A model writes `code` (e), `rebuild` (d) and its `loss`. `remarks` gives the squared error of a number of v on rows
    not trained on, beside that of as many principal components, which are the best linear autoencoder. A batch is what
    `vectors` made. None of them has a law of the data, so nothing is sampled or scored: `Latent` (compose.py) adds one.
    """

    family = "autoencoders"
    images = True
    abilities = frozenset({"encode", "express", "interpolate"})

    def __init__(self, spec: Spec, latent: int, fits: bool = False) -> None:
        super().__init__(spec)
        self.vectors = vectors_of(spec)
        self.size = math.prod(self.vectors.shape)
        self.latent = latent = min(latent, self.size) if fits else latent
        count = min(latent, self.size)
        self.register_buffer("middle", torch.zeros(self.size))
        self.register_buffer("axes", torch.zeros(count, self.size))

    def code(self, v: Tensor) -> Tensor:
        """e(v), (B, latent)."""
        raise NotImplementedError

    def rebuild(self, z: Tensor) -> Tensor:
        """d(z), (B, *shape)."""
        raise NotImplementedError

    def recipe(self, rows: int) -> Recipe:
        return Recipe(steps=min(5000, 500 + rows // 5), batch=min(256, max(rows, 1)), rate=1e-3)

    def prepare(self, x: Columns, c: Columns | None = None) -> Batch:
        return (self.vectors.prepare(x),)

    @torch.no_grad()
    def start(self, batch: Batch) -> None:
        flat = self.vectors.of(batch[0][:STARTED]).flatten(1).double()
        self.middle.copy_(flat.mean(0))
        axes = principal(flat - flat.mean(0), len(self.axes))
        self.axes.zero_()[: len(axes)] = axes.to(self.axes)

    @staticmethod
    def error(v: Tensor, other: Tensor) -> Tensor:
        """|v - v'|^2 of each row, (B,)."""
        return (v - other).flatten(1).square().sum(1)

    def _parts(self, x: Columns) -> Iterator[Tensor]:
        """v of the examples, CHUNK at a time, where the model is and in its precision."""
        for part in self.vectors.prepare(x).split(CHUNK):
            yield self.vectors.of(part.to(self.device)).to(self.middle)

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        raise self._cannot("sample")

    def decode(
        self, z: Tensor, c: Columns | None = None, given: Given | None = None, known: Rows | None = None
    ) -> Columns:
        raise self._cannot("sample")

    @torch.no_grad()
    def encode(self, x: Columns, c: Columns | None = None) -> Tensor:
        """e(v), (n, latent)."""
        return torch.cat([self.code(v).cpu() for v in self._parts(x)])

    @property
    def code_size(self) -> int:
        return self.latent

    @torch.no_grad()
    def express(self, z: Tensor, c: Columns | None = None) -> Columns:
        """d(z) as stored columns, of codes (n, at most latent); numbers that are not given are zero."""
        full = torch.cat([z, z.new_zeros(len(z), self.latent - z.shape[1])], 1)
        return self.vectors.lower(self.rebuild(full.to(self.middle)))

    @torch.no_grad()
    def misfit(self, x: Columns, c: Columns | None = None) -> np.ndarray:
        """|v - d(e(v))|^2, (n,)."""
        return torch.cat([self.error(v, self.rebuild(self.code(v))).cpu() for v in self._parts(x)]).double().numpy()

    @torch.no_grad()
    def remarks(self, x: Columns, c: Columns | None = None) -> dict[str, Any]:
        """The squared error of a number of v on these rows, and that of as many components as a code tells numbers."""
        v = next(self._parts(x))
        off = v.flatten(1) - self.middle
        z = self.code(v)
        axes = self.axes[: self.numbers_told(z)]
        own = self.error(v, self.rebuild(z)).mean() / self.size
        return {"squared error": float(own), f"squared error of PCA of {len(axes)}": self._linear(off, axes)}

    @staticmethod
    def _linear(off: Tensor, axes: Tensor) -> float:
        """The squared error of a number of vectors, (n, D) about the mean, left by axes, (k, D)."""
        return float((off - off @ axes.T @ axes).square().mean())
