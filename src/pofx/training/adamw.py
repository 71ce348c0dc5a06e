"""The optimiser of every fit."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

NEAR_ZERO = 1e-8


class AdamW:
    """Adam with decoupled decay, of all parameters in one pass over them.

        m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,  w = (1 - rate decay) w - rate m^ / (sqrt v^ + 1e-8)

    m^, v^: m / (1 - b1^t), v / (1 - b2^t); t counts the steps of a parameter, which is passed over where it has no
    gradient. Only matrices decay, and of these no one with `decays` set to False. This is torch.optim.AdamW(fused=True)
    without what that does around its kernel, which in small networks takes longer than the kernel.

    Papers: Kingma, Ba 2015, Adam; Loshchilov, Hutter 2019, Decoupled Weight Decay Regularization.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], betas: tuple[float, float], decay: float) -> None:
        self.parameters, self.betas = list(parameters), betas
        decays = [p.ndim >= 2 and getattr(p, "decays", True) for p in self.parameters]
        self.parts = [part for part in ([i for i, d in enumerate(decays) if d is yes] for yes in (True, False)) if part]
        self.decays = [decay if decays[part[0]] else 0.0 for part in self.parts]
        self.forget()

    def forget(self) -> None:
        """Starts anew: t, m and v are 0."""
        self.steps = [torch.zeros((), device=p.device) for p in self.parameters]
        self.means, self.squares = ([torch.zeros_like(p) for p in self.parameters] for _ in range(2))

    @torch.no_grad()
    def step(self, rate: float, shrink: float = 1.0) -> None:
        """A step on the gradients divided by `shrink`."""
        for part, decay in zip(self.parts, self.decays, strict=True):
            there = [i for i in part if self.parameters[i].grad is not None]
            if not there:
                continue
            parameters, means, squares, steps = (
                [held[i] for i in there] for held in (self.parameters, self.means, self.squares, self.steps)
            )
            scale = None if shrink == 1.0 else torch.full((), shrink, device=parameters[0].device)
            torch._foreach_add_(steps, 1)
            torch._fused_adamw_(
                parameters, [p.grad for p in parameters], means, squares, [], steps, lr=rate, beta1=self.betas[0],
                beta2=self.betas[1], weight_decay=decay, eps=NEAR_ZERO, amsgrad=False, maximize=False, grad_scale=scale,
            )  # fmt: skip

    def arrays(self) -> dict[str, np.ndarray]:
        """t, m and v of each parameter."""
        held = {"step": self.steps, "exp_avg": self.means, "exp_avg_sq": self.squares}
        return {f"{key}.{i}": t.cpu().numpy().copy() for key, ts in held.items() for i, t in enumerate(ts)}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Sets what `arrays` gave; what is not among them starts anew."""
        self.forget()
        for key, held in (("step", self.steps), ("exp_avg", self.means), ("exp_avg_sq", self.squares)):
            for i, t in enumerate(held):
                if f"{key}.{i}" in arrays:
                    t.copy_(torch.from_numpy(arrays[f"{key}.{i}"]))
