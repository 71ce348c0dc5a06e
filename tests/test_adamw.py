"""The optimiser against torch's."""

import copy

import pytest
import torch
from torch import nn

from pofx.training.adamw import AdamW


def made() -> nn.ParameterList:
    torch.manual_seed(0)
    return nn.ParameterList([torch.randn(3, 4), torch.randn(4), torch.randn(2, 2), torch.randn(5)])


@pytest.mark.parametrize("shrink", [1.0, 2.5])
def test_steps_are_those_of_torch_with_a_decay_of_matrices_alone(shrink: float) -> None:
    own, other = made(), made()
    own[2].decays = other[2].decays = False
    optimiser = AdamW(list(own), (0.8, 0.9), 0.1)
    groups = [{"params": [other[0]], "weight_decay": 0.1}, {"params": list(other[1:]), "weight_decay": 0.0}]
    theirs = torch.optim.AdamW(groups, lr=1.0, betas=(0.8, 0.9))
    for step in range(20):
        for i, (p, q) in enumerate(zip(own, other, strict=True)):
            gradient = torch.randn_like(p) if i != 3 or step % 3 == 2 else None  # one is seldom given a gradient
            p.grad = None if gradient is None else gradient * shrink
            q.grad = gradient
        for group in theirs.param_groups:
            group["lr"] = 0.1 / (1 + step)
        optimiser.step(0.1 / (1 + step), shrink)
        theirs.step()
    for p, q in zip(own, other, strict=True):
        torch.testing.assert_close(p, q)


def test_what_was_saved_goes_on_to_the_bit() -> None:
    own, again = made(), made()
    one, two = AdamW(list(own), (0.9, 0.99), 0.1), AdamW(list(again), (0.9, 0.99), 0.1)

    def advance(parameters: nn.ParameterList, optimiser: AdamW, steps: range) -> None:
        for step in steps:
            for p in parameters:
                p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(step))
            optimiser.step(0.01)

    advance(own, one, range(5))
    two.restore(copy.deepcopy(one.arrays()))
    with torch.no_grad():
        for p, q in zip(again, own, strict=True):
            p.copy_(q)
    advance(own, one, range(5, 9))
    advance(again, two, range(5, 9))
    assert all(torch.equal(p, q) for p, q in zip(again, own, strict=True))


def test_what_was_not_saved_starts_anew() -> None:
    own = made()
    optimiser = AdamW(list(own), (0.9, 0.99), 0.0)
    for p in own:
        p.grad = torch.ones_like(p)
    optimiser.step(0.01)
    held = {k: v for k, v in optimiser.arrays().items() if k.endswith(".0")}
    optimiser.restore(held)
    assert all((v != 0).any() == (k in held) for k, v in optimiser.arrays().items())


def test_forgetting_starts_anew() -> None:
    own = made()
    optimiser = AdamW(list(own), (0.9, 0.99), 0.0)
    before = {k: v.copy() for k, v in optimiser.arrays().items()}
    for p in own:
        p.grad = torch.ones_like(p)
    optimiser.step(0.01)
    assert any((v != before[k]).any() for k, v in optimiser.arrays().items())
    optimiser.forget()
    assert all((v == before[k]).all() for k, v in optimiser.arrays().items())
