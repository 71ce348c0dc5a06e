"""flow_matching: a differential equation learned by regression, without being solved."""

import torch
from torch import Tensor

from ...nn.continuous import Continuous
from ...nn.flow import Flow
from ...spec import Spec
from ..flowing import Flowing
from ..lifted import to_normal
from ..model import Batch, Clock, Recipe


class FlowMatching(Flowing):
    """E |v(t, x_t, c) - (x_1 - x_0)|^2 with x_t = (1 - t) x_0 + t x_1, x_0 data, x_1 normal, t uniform.

    The velocity that attains the minimum carries the data to the normal law, so that log p follows from the
    differential equation as for ffjord: a bound in nats, while the loss is a squared length. What is watched on
    validation rows is that likelihood. See models/flowing.py for how a table's rows become numbers.

    Papers: Lipman et al. 2023, Flow Matching for Generative Modeling; Liu, Gong, Liu 2023, Flow Straight and Fast.

        >>> pofx.fit("numbers.parquet", model="flow_matching")  # doctest: +SKIP
    """

    def __init__(self, spec: Spec, width: int = 128, depth: int = 3, steps: int = 16, samples: int = 16) -> None:
        super().__init__(spec, samples)
        layer = Continuous(self.features, self.context.width, (width,) * depth, steps)
        self.flow = Flow(layer, self.features, self.context.width)

    def recipe(self, rows: int) -> Recipe:
        return Recipe(steps=min(6000, 1500 + rows // 5), batch=min(256, max(rows, 1)), rate=2e-3)

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        lo, width = batch[:2]
        x = to_normal(lo + width * self._uniform(lo, generator)).to(self.dtype)
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        t = self._uniform(x[:, :1], generator)
        moved = self.flow.layers.layers[0].net(t[:, 0], x + t * (noise - x), self._see(batch[4:]))
        return (moved - (noise - x)).square().sum(1)

    def validate(self, batch: Batch, generator: torch.Generator) -> Tensor:
        return super().loss(batch, Clock(1, 1), generator)

    @staticmethod
    def _uniform(like: Tensor, generator: torch.Generator) -> Tensor:
        return torch.rand(like.shape, generator=generator, device=like.device, dtype=like.dtype)


MODEL = FlowMatching
