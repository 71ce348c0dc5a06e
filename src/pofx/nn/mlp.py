"""A residual multilayer perceptron."""

import torch
from torch import Tensor, nn

from .mixed import Linear


class MLP(nn.Module):
    """h_0 = W x,  h_{i+1} = h_i + B_i silu(A_i norm(h_i)),  y = V silu(norm(h_depth)).

    x: (..., inputs), h: (..., width), y: (..., outputs). norm is LayerNorm, or nothing with `norm=False`. `thin` blocks
    have one matrix in place of two, h_{i+1} = h_i + B_i silu(norm(h_i)). B_i starts at zero, so that every block starts
    as the identity; V starts at `gain` times its usual scale.

    Paper: He, Zhang, Ren, Sun 2016, Identity Mappings in Deep Residual Networks (blocks that normalise first).

        >>> MLP(3, 2, width=16)(torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int = 128,
        depth: int = 2,
        *,
        norm: bool = True,
        gain: float = 1.0,
        thin: bool = False,
    ) -> None:
        super().__init__()

        def normal() -> nn.Module:
            return nn.LayerNorm(width) if norm else nn.Identity()

        def block() -> nn.Module:
            inner = [] if thin else [Linear(width, width)]
            return nn.Sequential(normal(), *inner, nn.SiLU(), Linear(width, width))

        self.first = Linear(inputs, width) if inputs else Constant(width)
        self.blocks = nn.ModuleList(block() for _ in range(depth))
        self.last = nn.Sequential(normal(), nn.SiLU(), Linear(width, outputs))
        with torch.no_grad():
            for part in self.blocks:
                part[-1].weight.zero_(), part[-1].bias.zero_()
            self.last[-1].weight.mul_(gain), self.last[-1].bias.mul_(gain)

    @property
    def bias(self) -> nn.Parameter:
        """The bias of the outputs, (outputs,)."""
        return self.last[-1].bias

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for block in self.blocks:
            h = h + block(h)
        return self.last(h)


class Constant(nn.Module):
    """A learned vector for inputs of no width, (..., 0) to (..., width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.vector.expand(*x.shape[:-1], -1)
