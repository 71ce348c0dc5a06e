"""flow_matching: a differential equation learned by regression, without being solved."""

import torch
from torch import Tensor

from ...errors import SpecError
from ...nn import flows
from ...spec import Spec
from ..flowing import Solved
from ..lifted import to_normal
from ..model import Batch, Clock, Recipe


class FlowMatching(Solved):
    """E |v(t, x_t, c) - (x_1 - x_0)|^2 with x_t = (1 - t) x_0 + t x_1, x_0 data, x_1 normal, t uniform.

    The velocity that attains the minimum carries the data to the normal law, so that log p follows from the
    differential equation as for ffjord: a bound in nats, while the loss is a squared length. What is watched on
    validation rows is that likelihood. path="transport" pairs each batch with its noise at the least total distance;
    `solver_steps` can then be fewer. See models/flowing.py for how a table's rows become numbers.

    Papers: Lipman et al. 2023, Flow Matching for Generative Modeling; Liu, Gong, Liu 2023, Flow Straight and Fast; Tong
    et al. 2024, Improving and Generalizing Flow-Based Generative Models with Minibatch Optimal Transport.
    Raises SpecError for another path, and for transport with a condition.

        >>> pofx.fit("numbers.parquet", model="flow_matching")  # doctest: +SKIP
    """

    def __init__(
        self,
        spec: Spec,
        width: int = 128,
        depth: int = 3,
        solver_steps: int = 16,
        path: str = "rectified",
        samples: int = 16,
    ) -> None:
        super().__init__(spec, samples, solver_steps)
        if path not in flows.PATHS:
            raise SpecError(f"expected path among {', '.join(flows.PATHS)}, got {path!r}")
        if path == "transport" and self.context.width:
            raise SpecError("expected no condition with path='transport', got one: use path='rectified'")
        self.path = path
        wide = (width,) * depth
        self.flow = flows.FFJORD(
            self.features, self.context.width, hidden=wide, steps=solver_steps, exact=self.features
        )

    def recipe(self, rows: int) -> Recipe:
        return Recipe(steps=min(6000, 1500 + rows // 5), batch=min(256, max(rows, 1)), rate=2e-3)

    def start(self, batch: Batch) -> None:
        """Nothing starts from data: the base is what the regression leads to, the normal law."""

    def loss(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Tensor:
        lo, width = batch[:2]
        x = to_normal(lo + width * self._uniform(lo, generator)).to(self.dtype)
        return flows.flow_matching(self.flow, x, self._see(batch[4:]), self.path, generator)

    def validate(self, batch: Batch, generator: torch.Generator) -> Tensor:
        return super().loss(batch, Clock(1, 1), generator)

    @staticmethod
    def _uniform(like: Tensor, generator: torch.Generator) -> Tensor:
        return torch.rand(like.shape, generator=generator, device=like.device, dtype=like.dtype)


MODEL = FlowMatching
