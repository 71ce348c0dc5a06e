"""Autoregressive layers: each feature is moved as those before it say; the inverse costs one pass, not D."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .compiling import isolated
from .coupling import PLAIN, Elementwise, View, told
from .layer import Layer, beside, spread
from .mixed import Mixed


class MaskedConditioner(Mixed):
    """theta_i(x_1..x_{i-1}, c): (B, D) and (B, C) -> (B, size, D), with hidden units sorted by degree.

    A unit of degree d sees x_1..x_d and the context, and units of degree at most d; theta_i is read from units of
    degree below i. Degrees run from 0 (the context alone; from 1 without one) to D - 1, the same in all hidden layers,
    so that "degree at most d" is a first part of each layer.

    Paper: Germain et al. 2015, MADE: Masked Autoencoder for Distribution Estimation.
    """

    def __init__(self, features: int, context: int, size: int, hidden: Sequence[int], view: View = PLAIN) -> None:
        super().__init__()
        self.features, self.size, self.view = features, size, view
        low = 0 if context or features == 1 else 1
        self.degrees = [low + torch.arange(width) * max(features - low, 1) // width for width in hidden]
        # ends[layer][i]: units of degree at most i, those that theta of feature i (from 0) may read
        self.ends = [torch.searchsorted(d, torch.arange(features), right=True).tolist() for d in self.degrees]
        inputs = torch.arange(features)
        masks = [self.degrees[0][:, None] > inputs.repeat_interleave(view.size)]
        masks += [b[:, None] >= a for a, b in zip(self.degrees, self.degrees[1:], strict=False)]
        masks += [(inputs.repeat(size)[:, None] >= self.degrees[-1])]
        widths = [features * view.size, *hidden]
        layers = [nn.Linear(a, b) for a, b in zip(widths, hidden, strict=False)]
        self.layers = nn.ModuleList([*layers, nn.Linear(widths[-1], size * features)])
        self.aside = nn.Linear(context, hidden[0], bias=False) if context else None
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)
        for i, (layer, mask) in enumerate(zip(self.layers, masks, strict=True)):
            self.register_buffer(f"mask_{i}", mask, persistent=False)
            seen = mask.sum(1, keepdim=True).clamp(min=1)
            with torch.no_grad():
                layer.weight.mul_(mask).mul_((mask.shape[1] / seen).sqrt())

    def exact(self, x: Tensor, c: Tensor | None) -> Tensor:
        h = beside(self._linear(0, self.view(x)), self.aside, c)
        for i in range(1, len(self.layers) - 1):
            h = self._linear(i, F.relu(h))
        return told(F.relu(h), *self._masked(len(self.layers) - 1), self.size, self.features)

    def _linear(self, i: int, h: Tensor) -> Tensor:
        return F.linear(h, *self._masked(i))

    def _masked(self, i: int) -> tuple[Tensor, Tensor]:
        layer = self.layers[i]
        return torch.where(self.get_buffer(f"mask_{i}"), layer.weight, 0.0), layer.bias

    def walk(self, like: Tensor, c: Tensor | None, value: Callable[[int, Tensor], Tensor]) -> None:
        """Feature by feature: value(i, theta_i) tells x_i, (B,), from theta_i(x_1..x_{i-1}, c), (size, B).

        At step i only the hidden units of degree i are computed: altogether one pass, with the features ahead of the
        rows in memory. `like`: (B, ...), the rows' number, dtype and device.
        """
        rows = like.new_ones(1, len(like))  # a row of ones, which biases are the weights of
        weights = [torch.cat([layer.bias[:, None], layer.weight], 1) for layer in self.layers]
        first = None if self.aside is None or c is None else spread(self.aside(c), len(like)).T
        more = [first, *[None] * len(self.degrees)]  # what the context adds to the units of each layer
        out = weights.pop().view(self.size, self.features, -1).transpose(0, 1).contiguous()
        layers = [Growing(like, 1 + len(d)) for d in self.degrees]
        for layer in layers:
            layer.add(rows[:1])
        seen = Growing(like, 1 + self.features * self.view.size)
        seen.add(rows)
        for i in range(self.features):
            below = seen
            for weight, ends, layer, aside in zip(weights, self.ends, layers, more, strict=False):
                if ends[i] >= layer.count:  # units of degree i, now that x_0..x_{i-1} are known
                    new = slice(layer.count - 1, ends[i])
                    layer.add_units(weight[new, : below.count], below.known, None if aside is None else aside[new])
                below = layer
            found = value(i, out[i, :, : below.count] @ below.known)
            seen.add(self.view(found[:, None]).T)


class Autoregressive(Layer):
    """y_i = g(x_i; theta_i(x_1..x_{i-1}, c)), log|det| = sum_i log g'_i. x, y: (B, D).

    Data to noise is one pass. Noise to data goes feature by feature, and costs one pass as well (`walk`).

    Papers: Papamakarios, Pavlakou, Murray 2017, Masked Autoregressive Flow; Kingma et al. 2016, Improved Variational
    Inference with Inverse Autoregressive Flow (`Inverse` of this layer).
    """

    def __init__(
        self, features: int, context: int, elementwise: Elementwise, hidden: Sequence[int], view: View = PLAIN
    ) -> None:
        super().__init__()
        self.elementwise, self.solve = elementwise, elementwise.inverse_and_ladj
        self.net = MaskedConditioner(features, context, elementwise.size, hidden, view)

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, ladj = self.elementwise.call_and_ladj(x, self.net(x, c))
        return y, ladj.sum(1)

    def quicken(self, yes: bool = True) -> None:
        """Whether the inverse of one feature, which a draw takes D times, is compiled; affine ones gain nothing."""
        solve = self.elementwise.inverse_and_ladj
        self.solve = isolated(solve) if yes and self.elementwise.size > 2 else solve

    def moves(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The numbers that are moved, all of them, and the parameters that move them, (B, D) and (B, size, D)."""
        return x, self.net(x, c)

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        target, found = y.T.contiguous(), []

        def value(i: int, theta: Tensor) -> Tensor:
            found.append(self.solve(target[i][None], theta[None]))
            return found[-1][0][0]

        self.net.walk(y, c, value)
        x, ladj = (torch.cat(part) for part in zip(*found, strict=True))
        return x.T.contiguous(), ladj.sum(0)


class Growing:
    """Rows of one length that come one after the other: written in place, or joined where a gradient is wanted."""

    def __init__(self, like: Tensor, count: int) -> None:
        self.joins = torch.is_grad_enabled()
        self.held = like.new_empty(0 if self.joins else count, len(like))
        self.count = 0

    @property
    def known(self) -> Tensor:
        """The rows so far, (count, B)."""
        return self.held[: self.count]

    def add(self, rows: Tensor) -> None:
        if self.joins:
            self.held = torch.cat([self.held, rows])
        else:
            self.held[self.count : self.count + len(rows)] = rows
        self.count += len(rows)

    def add_units(self, weight: Tensor, below: Tensor, aside: Tensor | None = None) -> None:
        """Adds relu(weight @ below + aside), aside of one number for each unit, or for each unit and row."""
        if self.joins:
            made = weight @ below
            self.add(F.relu(made if aside is None else made + aside))
            return
        room = self.held[self.count : self.count + len(weight)]
        made = torch.mm(weight, below, out=room) if aside is None else torch.addmm(aside, weight, below, out=room)
        made.relu_()
        self.count += len(weight)
