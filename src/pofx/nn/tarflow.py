"""Autoregressive flows whose parameters come from a causal transformer over tokens of features."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import SpecError
from ..transforms.affine import Affine
from ..transforms.sizes import sizes
from .base import Base
from .coupling import PLAIN, Elementwise, View
from .flow import Flow
from .layer import Layer, Permutation, spread

AFFINE = Affine()
FAR = 1e4  # where the size of a number ends to count for attention: beyond, gradients through its norms are lost


class Past:
    """Keys and values of the tokens so far, (2, B, heads, tokens, width / heads), of which `count` are final.

    They are written in place into room for `length` tokens, or joined where a gradient is wanted.
    """

    def __init__(self, length: int) -> None:
        self.length, self.count = length, 0
        self.held: Tensor | None = None

    def see(self, new: Tensor) -> Tensor:
        """The final ones and behind them the new ones, which stay only if `count` comes to include them."""
        end = self.count + new.shape[3]
        if torch.is_grad_enabled():
            self.held = new if self.held is None else torch.cat([self.held[:, :, :, : self.count], new], 3)
            return self.held
        if self.held is None:
            self.held = new.new_empty(*new.shape[:3], self.length, new.shape[4])
        self.held[:, :, :, self.count : end] = new
        return self.held[:, :, :, :end]


class AttentionBlock(nn.Module):
    """h + O attention(norm(h)), then h + B silu(A norm(h)): (B, T, width) to the same; token t sees tokens 1..t.

    Keys have no bias, to which attention is blind.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.read = nn.Linear(width, 3 * width, bias=False)
        self.write = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width)
        )

    def forward(self, h: Tensor, past: Past | None = None) -> Tensor:
        parts = self.read(self.norm(h)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, seen = parts[0], parts[1:] if past is None else past.see(parts[1:])
        new, old = h.shape[1], seen.shape[3] - h.shape[1]
        mask = torch.ones(new, old + new, dtype=torch.bool, device=h.device).tril(old) if old and new > 1 else None
        got = F.scaled_dot_product_attention(query, seen[0], seen[1], mask, is_causal=not old and new > 1)
        h = h + self.write(got.transpose(1, 2).flatten(2))
        return h + self.mlp(h)


class CausalConditioner(nn.Module):
    """theta_t(x_1..x_{t-1}, c): (B, T, P) and (B, C) -> (B, size, T P), a transformer over tokens of P features.

    h_t = p_t + W x_{t-1} + C c with x_0 = 0, x held within +-FAR, then `depth` attention blocks, then theta_t = V
    norm(h_t). The positions p_t are learned. V starts at zero, so that every map starts at theta = 0.
    """

    def __init__(
        self, length: int, patch: int, context: int, size: int, width: int, heads: int, depth: int, view: View
    ) -> None:
        super().__init__()
        self.length, self.patch, self.size, self.view = length, patch, size, view
        self.token = nn.Linear(patch * view.size, width, bias=False)
        self.aside = nn.Linear(context, width, bias=False) if context else None
        self.position = nn.Parameter(0.5 * torch.randn(length, width))
        self.blocks = nn.ModuleList(AttentionBlock(width, heads) for _ in range(depth))
        self.last = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, size * patch))
        nn.init.zeros_(self.last[1].weight)
        nn.init.zeros_(self.last[1].bias)

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return self.read(F.pad(x, (0, 0, 1, -1)), self.aim(c, len(x)), [None] * len(self.blocks))

    def aim(self, c: Tensor | None, n: int) -> Tensor | None:
        """What the context of n rows adds to every token: (n, 1, W) or (1, 1, W)."""
        return None if self.aside is None or c is None else spread(self.aside(c), n)[:, None]

    def pasts(self) -> list[Past]:
        """Room for what each block remembers of tokens."""
        return [Past(self.length) for _ in self.blocks]

    def read(self, ahead: Tensor, aim: Tensor | None, pasts: list[Past] | list[None]) -> Tensor:
        """theta of the tokens that come next, (B, size, L P), from the token ahead of each, (B, L, P), and the past."""
        start = pasts[0].count if pasts[0] is not None else 0
        h = self.token(self.view(ahead.clamp(-FAR, FAR))) + self.position[start : start + ahead.shape[1]]
        h = h if aim is None else h + aim
        for block, past in zip(self.blocks, pasts, strict=True):
            h = block(h, past)
        return self.last(h).unflatten(2, (self.size, self.patch)).transpose(1, 2).flatten(2)


class Tokenwise(Layer):
    """y_t = g(x_t; theta_t(x_1..x_{t-1}, c)), log|det| = sum of log g', for T tokens of `patch` features each.

    x, y: (B, D), D = T patch, token t the t-th run of `patch` features; c: (B, C); theta by a causal transformer of
    `depth` attention blocks, `width` numbers a token. g is affine, y_t = x_t exp(s_t) + m_t, or any `elementwise` map.

    Data to noise is one pass over all tokens. Noise to data goes token by token with keys and values kept, so that a
    step costs one token. With `block` > 1 (and no gradient wanted) so many tokens are tried at once by Jacobi sweeps,
    x_t <- g^-1(y_t; theta_t(x)). In a sweep every token up to the first that moved, that one included, was computed
    from tokens that stood still: it is final, and the next sweep starts behind it. So a sweep ends one token at the
    least, all where none moved by more than 64 roundings, and the result is that of the token by token one. Sweeps do
    more arithmetic in fewer steps: they are for devices on which a step costs its start, seldom for a CPU.

    Papers: Zhai et al. 2024, Normalizing Flows are Capable Generative Models; Song, Meng, Liao, Ermon 2021,
    Accelerating Feedforward Computation via Parallel Nonlinear Equation Solving (Jacobi sweeps).

    Raises SpecError for sizes below 1, a patch that does not divide the features or heads that do not divide the width.
    """

    def __init__(
        self,
        features: int,
        context: int = 0,
        elementwise: Elementwise = AFFINE,
        width: int = 128,
        heads: int = 4,
        depth: int = 2,
        patch: int = 1,
        view: View = PLAIN,
        block: int = 1,
    ) -> None:
        super().__init__()
        sizes(features=features, width=width, heads=heads, depth=depth, patch=patch, block=block)
        sizes(least=0, context=context)
        if features % patch:
            raise SpecError(f"expected a patch that divides the {features} features, got {patch}")
        if width % heads:
            raise SpecError(f"expected heads that divide the width of {width}, got {heads}")
        self.elementwise, self.patch, self.block = elementwise, patch, block
        self.net = CausalConditioner(features // patch, patch, context, elementwise.size, width, heads, depth, view)

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, ladj = self.elementwise.call_and_ladj(x, self.net(self._tokens(x), c))
        return y, ladj.sum(1)

    def moves(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The numbers that are moved, all of them, and the parameters that move them, (B, D) and (B, size, D)."""
        return x, self.net(self._tokens(x), c)

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        block = 1 if torch.is_grad_enabled() else self.block
        pasts, target, total, done = self.net.pasts(), self._tokens(y), y.new_zeros(len(y)), 0
        aim = self.net.aim(c, len(y))
        guess, parts = target.detach().clone(), [torch.zeros_like(target[:, :1])]
        while done < self.net.length:
            window = target[:, done : done + block]
            ahead = torch.cat([parts[-1][:, -1:], guess[:, done : done + window.shape[1] - 1]], 1)
            x, ladj = self.elementwise.inverse_and_ladj(window.flatten(1), self.net.read(ahead, aim, pasts))
            x = self._tokens(x)
            final = self._final(x, guess[:, done : done + block])
            guess[:, done + final : done + block] = x[:, final:].detach()
            parts.append(x[:, :final])
            total = total + ladj[:, : final * self.patch].sum(1)
            done += final
            for past in pasts:
                past.count = done
        return torch.cat(parts[1:], 1).flatten(1), total

    @staticmethod
    def _final(new: Tensor, old: Tensor) -> int:
        """How many tokens of a sweep are final: those up to the first that moved, that one included."""
        if new.shape[1] == 1:
            return 1
        room = 64 * torch.finfo(new.dtype).eps * old.abs().clamp(min=1.0)
        still = ((new - old).abs() > room).any(2).any(0).cumsum(0) == 0
        return min(int(still.sum()) + 1, new.shape[1])

    def _tokens(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (-1, self.patch))


class TarFlow(Flow):
    """Affine maps (or `elementwise` ones) by causal transformers, the order of the features reversed between them.

    `width` numbers a token, `heads` and `depth` attention blocks in each, `patch` features a token; `block` tokens are
    tried at once in a draw (`Tokenwise`). Density in one pass; a draw takes D / patch steps of one token in each.

    Zhai et al. 2024, Normalizing Flows are Capable Generative Models. Raises SpecError as `Tokenwise` does.

        >>> TarFlow(4, transforms=2, width=8, heads=2)().log_prob(torch.zeros(4)).round(decimals=4)
        tensor(-3.6758, grad_fn=<RoundBackward1>)
    """

    def __init__(
        self,
        features: int,
        context: int = 0,
        transforms: int = 4,
        width: int = 128,
        heads: int = 4,
        depth: int = 2,
        patch: int = 1,
        waves: int = 0,
        block: int = 1,
        elementwise: Elementwise = AFFINE,
        base: Base | str | None = None,
    ) -> None:
        sizes(transforms=transforms)
        layers: list[Layer] = []
        for i in range(transforms):
            layers += [Permutation.reverse(features)] * (i > 0)
            layers.append(Tokenwise(features, context, elementwise, width, heads, depth, patch, View(waves), block))
        super().__init__(layers, features, context, base)
