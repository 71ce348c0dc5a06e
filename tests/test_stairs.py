"""Linear maps by stairs: what a masked product gives, and its gradients."""

import torch

from pofx.nn.stairs import hidden, stairs

STEPS = ([(slice(0, 2), 0), (slice(2, 3), 4), (slice(3, 5), 6)], [(slice(0, 2), 3), (slice(2, 3), 0), (slice(3, 5), 5)])


def mask(steps: list[tuple[slice, int]]) -> torch.Tensor:
    out = torch.zeros(5, 6, dtype=torch.float64)
    for rows, end in steps:
        out[rows, :end] = 1.0
    return out


def randn(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()


def test_stairs_are_a_product_with_a_masked_weight() -> None:
    h, w = randn(7, 6), randn(5, 6)
    parts = [(3, STEPS[0]), (4, STEPS[1])]
    want = torch.cat([h[:3] @ (w * mask(STEPS[0])).T, h[3:] @ (w * mask(STEPS[1])).T])
    torch.testing.assert_close(stairs(h, w, parts), want)
    assert torch.autograd.gradcheck(lambda h, w: stairs(h, w, parts), (h, w))


def test_hidden_columns_are_zero_in_each_copy() -> None:
    table = randn(5, 6)
    want = torch.cat([table * (1 - mask(steps)) for steps in STEPS])
    torch.testing.assert_close(hidden(table, STEPS), want)
    assert torch.autograd.gradcheck(lambda t: hidden(t, STEPS), (table,))
