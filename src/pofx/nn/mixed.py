"""Networks in bfloat16 while they train."""

import torch
from torch import Tensor, nn

WIDE = 2**16  # numbers of a matrix from which its products in bfloat16 repay what it costs to make them


class Mixed(nn.Module):
    """A network, `exact`, that computes in bfloat16 where `mixed` says so, while a gradient is taken in training.

    Weights, and what it gives, keep their dtype; without a gradient, or in evaluation, it is `exact`: scores, draws and
    inverses are those of the weights.
    """

    mixed = False

    @property
    def wide(self) -> bool:
        """Whether products are most of its work, so that bfloat16 repays without compilation."""
        return max((p.numel() for p in self.parameters() if p.ndim > 1), default=0) >= WIDE

    def exact(self, x: Tensor, c: Tensor | None) -> Tensor:
        """What the network gives of an input and the condition's vector, in the precision of its weights."""
        raise NotImplementedError

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        if not (self.mixed and self.training and torch.is_grad_enabled()):
            return self.exact(x, c)
        with torch.autocast(x.device.type, torch.bfloat16):
            out = self.exact(x, c)
        return out.to(x.dtype)


def mix(module: nn.Module, yes: bool = True, narrow: bool = True) -> bool:
    """Whether the networks inside a module, or the wide ones alone, are to train in bfloat16; whether one is."""
    networks = [part for part in module.modules() if isinstance(part, Mixed)]
    for part in networks:
        part.mixed = yes and (narrow or part.wide)
    return any(part.mixed for part in networks)


def repays(device: str) -> bool:
    """Whether a device multiplies matrices of bfloat16 faster than those of float32."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported())
