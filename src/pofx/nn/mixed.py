"""Products of matrices in bfloat16 while a model trains: in whole networks, or in wide linear maps alone."""

import contextlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDE = 2**16  # numbers of a matrix from which its products in bfloat16 repay what it costs to make them
TOLD = hasattr(getattr(torch.backends.mkldnn, "matmul", None), "fp32_precision")  # whether torch rounds when told to
FILTERS = 2**11  # and of a convolution, which uses each number at many sites


class Mixed(nn.Module):
    """A network, `exact`, that computes in bfloat16 where `mixed` says so, while a gradient is taken in training.

    Weights, and what it gives, keep their dtype; without a gradient, or in evaluation, it is `exact`: scores, draws and
    inverses are those of the weights.
    """

    mixed = False

    @property
    def wide(self) -> bool:
        """Whether products are most of its work, so that bfloat16 repays without compilation."""
        return any(p.numel() >= (WIDE if p.ndim == 2 else FILTERS) for p in self.parameters() if p.ndim > 1)

    def exact(self, x: Tensor, c: Tensor | None, *more: Any) -> Tensor:
        """What the network gives of an input and the condition's vector, in the precision of its weights."""
        raise NotImplementedError

    def forward(self, x: Tensor, c: Tensor | None = None, *more: Any) -> Tensor:
        if not (self.mixed and self.training and torch.is_grad_enabled()):
            return self.exact(x, c, *more)
        with torch.autocast(x.device.type, torch.bfloat16):
            out = self.exact(x, c, *more)
        return out.to(x.dtype if x.is_floating_point() else torch.float32)


class Linear(nn.Linear):
    """W x + b; where `mixed` says so, and a gradient is taken in training, the factors of its products, forward and
    back, are rounded to bfloat16 and the sums are in float32: less work than `Mixed`, which rounds what it gives too.
    """

    mixed = False

    @property
    def wide(self) -> bool:
        return self.weight.numel() >= WIDE

    def forward(self, x: Tensor) -> Tensor:
        if not (self.mixed and self.training and torch.is_grad_enabled() and x.dtype == torch.float32):
            return super().forward(x)
        if torch.compiler.is_compiling() or not (TOLD and (x.is_cuda or heeded())):  # casts are fused, or the only way
            return F.linear(x.bfloat16(), self.weight.bfloat16(), self.bias.bfloat16()).float()
        return _Rounded.apply(x, self.weight, self.bias)


@cache
def heeded() -> bool:
    """Whether this processor rounds the factors of float32 products when it is told to: some silently do not."""
    x = torch.full((64, 64), 1 + 2**-12)
    exact = F.linear(x, x, x[0])
    with _rounding():
        return not torch.equal(F.linear(x, x, x[0]), exact)


class _Rounded(torch.autograd.Function):
    """F.linear with rounded factors."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        with _rounding():
            return F.linear(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), needs = ctx.saved_tensors, ctx.needs_input_grad
        flat = g.flatten(0, -2)
        with _rounding():
            back = g @ weight if needs[0] else None
            return back, flat.T @ x.flatten(0, -2) if needs[1] else None, flat.sum(0) if needs[2] else None


@contextlib.contextmanager
def _rounding() -> Iterator[None]:
    """Products of float32 matrices, on a CPU with their factors in bfloat16, on a GPU in tf32."""
    kinds = ((torch.backends.mkldnn.matmul, "bf16"), (torch.backends.cuda.matmul, "tf32"))
    held = [kind.fp32_precision for kind, _ in kinds]
    for kind, precision in kinds:
        kind.fp32_precision = precision
    try:
        yield
    finally:
        for (kind, _), precision in zip(kinds, held, strict=True):
            kind.fp32_precision = precision


def mix(module: nn.Module, yes: bool = True, narrow: bool = True) -> bool:
    """Whether the networks inside a module, or the wide ones alone, are to train in bfloat16; whether one is."""
    networks = [part for part in module.modules() if isinstance(part, Mixed | Linear)]
    for part in networks:
        part.mixed = yes and (narrow or part.wide)
    return any(part.mixed for part in networks)


def repays(device: str) -> bool:
    """Whether a device multiplies matrices of bfloat16 faster than those of float32."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported())
