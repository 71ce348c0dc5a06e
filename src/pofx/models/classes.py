"""The class of a row where nobody said it: what it may be, and the sum over what it may be."""

import torch
from torch import Tensor, nn

from .lifted import Sight, pick

CLASSES = 64  # more states of a condition than this are not summed over: each costs a pass of the networks


class Classes(nn.Module):
    """p(c) of a condition that is one category of at most CLASSES states; of any other condition, none: `count` is 0.

    For rows of unknown class, log p(x) = log sum_c p(c) p(x|c). With any law r of the class,

        log p(x) >= sum_c r_c (bound(x|c) + log p(c) - log r_c),    equal to log sum_c p(c) e^bound at its best,
                                                                    r_c = p(c) e^bound(x|c) / sum_b p(b) e^bound(x|b).

    A step of training draws c from that r, found without a gradient and with noise of its own, and learns from (x, c):
    its mean is the sum, and its gradient that of the sum at fixed r, whatever the estimator of bound(x|c). While the
    divergence's weight grows, r is p(c): few labels must have told the classes apart before many rows take sides.

    Paper: Kingma, Rezende, Mohamed, Welling 2014, Semi-Supervised Learning with Deep Generative Models (M2), whose r is
    a network of its own; here r is the model's posterior, which is nearer and needs none.
    """

    log_p: Tensor

    def __init__(self, sight: Sight) -> None:
        super().__init__()
        one = len(sight.fields) == 1 and len(sight.groups) == 1 and sight.sizes[0] <= CLASSES
        mass = torch.from_numpy(sight.fields[0].mass) if one else torch.zeros(0, dtype=torch.float64)
        self.count = len(mass)
        self.register_buffer("log_p", mass.log(), persistent=False)

    def gone(self, codes: Tensor) -> Tensor:
        """The numbers of the rows whose class is not known, (U,), of codes (B, groups)."""
        return torch.nonzero(codes[:, 0] < 0)[:, 0] if self.count else codes.new_zeros(0)

    def draw(self, bounds: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(c, log p(c) - log r_c), (U,) each, c from r, of bounds (count, U)."""
        log_p = self.log_p.unsqueeze(1)
        law = (bounds.double() + log_p).log_softmax(0)
        u = torch.rand(law.shape[1], generator=generator, device=law.device, dtype=law.dtype)
        chosen = pick(law.T, u)
        return chosen, (log_p - law).gather(0, chosen.unsqueeze(0))[0]

    def summed(self, value: Tensor, error: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(log sum_c p(c) e^value_c, its error, effective size), (U,) each, of those of each class, (count, U)."""
        joint = value + self.log_p.to(value.device).unsqueeze(1)
        share = joint.softmax(0)
        return joint.logsumexp(0), (share * error).square().sum(0).sqrt(), 1 / (share.square() / size).sum(0)
