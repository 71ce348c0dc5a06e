"""Linear maps whose outputs read only the first so many inputs, without the work on what they do not read."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Step = tuple[slice, int]
"""Some rows of a weight, and how many of its columns, from the first on, they use (or do not use: `hidden`)."""


def stairs(h: Tensor, weight: Tensor, parts: Sequence[tuple[int, Sequence[Step]]]) -> Tensor:
    """y[b, rows] = weight[rows, :end] h[b, :end] for each step (rows, end). h: (B, I), weight: (O, I), y: (B, O).

    `parts`: the next so many rows of h, and their steps, which together cover the rows of the weight once. Where the
    ends fall evenly between 0 and I it costs half of a product with a masked weight, and no mask is made.

        >>> h, w = torch.ones(2, 3), torch.ones(2, 3)
        >>> stairs(h, w, [(2, [(slice(0, 1), 1), (slice(1, 2), 3)])])
        tensor([[1., 3.],
                [1., 3.]])
    """
    return _Stairs.apply(h, weight, parts)


def hidden(table: Tensor, parts: Sequence[Sequence[Step]]) -> Tensor:
    """Copies of the table (R, I), one for each part, with zeros in the first `end` columns of its steps' rows.

    A part's steps cover the rows once. (R, I) -> (parts * R, I).
    """
    return _Hidden.apply(table, parts)


class _Stairs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor, parts: Sequence[tuple[int, Sequence[Step]]]) -> Tensor:
        ctx.save_for_backward(h, weight)
        ctx.parts = parts
        y = h.new_empty(len(h), len(weight))
        for inputs, outputs, steps in _split(parts, h, y):
            for rows, end in steps:
                torch.mm(inputs[:, :end], weight[rows, :end].T, out=outputs[:, rows])
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        h, weight = ctx.saved_tensors
        dh, dweight = torch.zeros_like(h), torch.zeros_like(weight)
        for inputs, outputs, change, steps in _split(ctx.parts, h, gradient, dh):
            for rows, end in steps:
                change[:, :end].addmm_(outputs[:, rows], weight[rows, :end])
                dweight[rows, :end].addmm_(outputs[:, rows].T, inputs[:, :end])
        return dh, dweight, None


class _Hidden(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, parts: Sequence[Sequence[Step]]) -> Tensor:
        ctx.parts, out = parts, table.new_empty(len(parts), *table.shape)
        for copy, steps in zip(out, parts, strict=True):
            for rows, end in steps:
                copy[rows, :end] = 0.0
                copy[rows, end:] = table[rows, end:]
        return out.flatten(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        copies = gradient.view(len(ctx.parts), -1, gradient.shape[1])
        out = torch.zeros_like(copies[0])
        for copy, steps in zip(copies, ctx.parts, strict=True):
            for rows, end in steps:
                out[rows, end:] += copy[rows, end:]
        return out, None


def _split(parts: Sequence[tuple[int, Sequence[Step]]], *tensors: Tensor) -> Any:
    sizes = [n for n, _ in parts]
    return zip(*(t.split(sizes) for t in tensors), [steps for _, steps in parts], strict=True)
