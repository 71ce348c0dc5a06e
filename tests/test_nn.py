"""The residual perceptron."""

import torch

from pofx.nn.mlp import MLP


def test_blocks_start_as_the_identity_and_the_output_at_its_gain() -> None:
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    deep = MLP(4, 3, width=16, depth=3)
    h = deep.first(x)
    torch.testing.assert_close(deep(x), deep.last(h))
    assert torch.equal(MLP(4, 3, width=16, gain=0.0)(x), torch.zeros(6, 3))


def test_every_parameter_learns_after_one_step() -> None:
    net = MLP(4, 3, width=16, depth=2)
    x = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    for _ in range(2):
        optimiser.zero_grad()
        net(x).square().sum().backward()
        optimiser.step()
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())


def test_rows_do_not_see_each_other_and_leading_axes_are_free() -> None:
    x = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for norm in (True, False):
        net = MLP(4, 3, width=8, norm=norm).double()
        torch.testing.assert_close(net(x)[1, 2], net(x[1, 2]))


def test_no_inputs_give_one_learned_answer() -> None:
    net = MLP(0, 2, width=8)
    assert net(torch.zeros(5, 0)).shape == (5, 2)
    assert torch.equal(net(torch.zeros(5, 0))[0], net(torch.zeros(5, 0))[4])
    assert net.bias.shape == (2,)
