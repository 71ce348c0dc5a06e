"""The norm of each row's own gradient, and the sum of clipped ones, without a gradient for each row.

With a the input and g the gradient at the output of a linear map, for one row, the gradient of its weight is g a', of
norm |g| |a|; of a table of which rows are summed it is g in each of these. So one backward pass for the activations of
`Made` (made.py) gives the squared norm of every row's gradient over all parameters (Goodfellow 2015), and a second one,
of the losses weighted by min(1, C / norm), the sum of the clipped gradients.

Shapes: tokens (B, F), losses and norms (B,). Dropout must be 0, and fields have one code (fine=1).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import Unsupported
from ..nn.stairs import stairs
from .made import Made, Triangular
from .tokens import Head

TINY = 1e-12
ROUNDING = 1 + 1e-4  # more than float32 errs in a norm


class Ghost:
    """Clipped sums of the gradients of a network of tokens.

    Raises Unsupported for one with fine codes or dropout.
    """

    def __init__(self, net: Made, before: int = 0) -> None:
        if net.dropout or any(m > 1 for _, m in net.codes.sizes):
            raise Unsupported("expected no dropout and fine=1 with privacy: leave dropout and fine out")
        self.net, self.before = net, before
        self.parameters = [p for p in net.parameters() if p.requires_grad and p.numel()]
        self._seen: dict[nn.Module, tuple[Tensor, Tensor | None]] = {}

    def clipped(self, token: Tensor, seen: Tensor, order: Sequence[int], bound: float) -> tuple[list[Tensor], Tensor]:
        """(the sum over rows of their gradients, each cut to norm `bound`; the norms before that, (B,))."""
        if not len(token):
            return [torch.zeros_like(p) for p in self.parameters], torch.zeros(0)
        losses, norms = self._passes(token, seen, order)
        weight = (bound / (norms * ROUNDING + TINY)).clamp(max=1.0)
        found = torch.autograd.grad((losses * weight).sum(), self.parameters, allow_unused=True)
        return [torch.zeros_like(p) if g is None else g for p, g in zip(self.parameters, found, strict=True)], norms

    def _passes(self, token: Tensor, seen: Tensor, order: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(-log p of each row, the norms of their gradients); the graph of the first is kept."""
        handles = [m.register_forward_hook(self._keep) for m in self.net.modules() if isinstance(m, Triangular)]
        handles.append(self.net.read.register_forward_hook(self._keep))
        handles += [head.register_forward_pre_hook(self._keep_input) for head in self.net.write.heads]
        try:
            losses = (self.net(token, seen, [(len(token), order)]) * seen)[:, self.before :].sum(1)
        finally:
            for handle in handles:
                handle.remove()
        inner = [m for m, (_, out) in self._seen.items() if out is not None]
        gradients = torch.autograd.grad(losses.sum(), [self._seen[m][1] for m in inner], retain_graph=True)
        with torch.no_grad():
            ends = self.net._ends(order)
            square = sum(self._of_head(head, token, seen, ends) for head in self.net.write.heads)
            for module, g in zip(inner, gradients, strict=True):
                of = self._of_map if isinstance(module, Triangular) else self._of_read
                square = square + of(module, g, token, seen, ends)
        self._seen.clear()
        return losses, square.sqrt()

    def _keep(self, module: nn.Module, inputs: Any, out: Tensor) -> None:
        self._seen[module] = (inputs[0].detach(), out)

    def _keep_input(self, module: nn.Module, inputs: Any) -> None:
        self._seen[module] = (inputs[0].detach(), None)

    def _of_map(self, module: Any, g: Tensor, token: Tensor, seen: Tensor, ends: list[int]) -> Tensor:
        """|dW|^2 + |db|^2 of a masked linear map, unit o reading units of degree at most its own."""
        a = self._seen[module][0].square()
        return (g.square() * (a @ module.mask.T + 1.0)).sum(1)

    def _of_read(self, module: Any, g: Tensor, token: Tensor, seen: Tensor, ends: list[int]) -> Tensor:
        """A field's row of the table, its row for `unknown` in the units that do not see it, and its cosines."""
        square = len(ends) * g.square().sum(1)
        if not module.wavy:
            return square
        upto = F.pad(g.square().cumsum(1), (1, 0))
        for at, j in enumerate(module.wavy):
            waves = module.basis[token[:, j] + module.wave_first[at]].square().sum(1)
            square = square + seen[:, j] * waves * (upto[:, -1] - upto[:, ends[j]])
        return square

    def _of_head(self, head: Head, token: Tensor, seen: Tensor, ends: list[int]) -> Tensor:
        """|dW_j|^2 + |dV_j|^2 of the head's fields: |p - 1[token]|^2 and its projection on the cosines, times |h|^2."""
        h = self._seen[head][0]
        steps = [(slice(i * head.block, (i + 1) * head.block), ends[j]) for i, j in enumerate(head.members)]
        y = stairs(h, head.weight, [(len(h), steps)]).view(len(h), len(head.members), head.block)
        logits = y[..., : head.k] + head.bias
        if head.waves:
            logits = logits + torch.einsum("btw,tkw->btk", y[..., head.k :], head.basis)
        g = logits.softmax(2) - F.one_hot(token[:, head.members], head.k)
        square = g.square().sum(2)
        if head.waves:
            square = square + torch.einsum("btk,tkw->btw", g, head.basis).square().sum(2)
        upto = F.pad(h.square().cumsum(1), (1, 0))[:, [ends[j] for j in head.members]]
        counted = seen[:, head.members] & (torch.tensor(head.members) >= self.before)
        return (square * upto * counted).sum(1)
