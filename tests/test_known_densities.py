"""Flows recover densities that are known: a Gaussian by hand, a mixture, a law on the torus; and defects stay away."""

import itertools
import math
import warnings

import pytest
import torch
from torch import Tensor

from pofx.errors import SpecError
from pofx.nn import flows
from pofx.nn.flow import Flow
from pofx.nn.linear import LULinear
from pofx.nn.matching import nearest
from pofx.transforms.domain import Above


def fit(flow: Flow, data: Tensor, steps: int, rate: float = 1e-2) -> Flow:
    optimiser = torch.optim.Adam(flow.parameters(), rate)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * (1 - step / steps)
        optimiser.zero_grad()
        (-flow().log_prob(data[torch.randint(len(data), (256,))]).mean()).backward()
        optimiser.step()
    return flow.eval()


@pytest.fixture(autouse=True)
def seeded() -> object:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def test_a_linear_map_of_a_normal_is_the_gaussian_of_that_covariance() -> None:
    layer = LULinear(3).double()
    for p in layer.parameters():
        p.data += 0.3 * torch.randn_like(p)
    flow, x = Flow(layer, 3), torch.randn(20, 3, dtype=torch.float64)
    zero = torch.zeros(1, 3, dtype=torch.float64)
    shift = layer.inverse_and_ladj(zero)[0][0]
    matrix = torch.autograd.functional.jacobian(lambda z: layer.inverse_and_ladj(z)[0], zero).reshape(3, 3)
    law = torch.distributions.MultivariateNormal(shift, matrix @ matrix.T)
    torch.testing.assert_close(flow().log_prob(x), law.log_prob(x))


def test_a_map_by_hand() -> None:
    """x > 0 with softplus^-1(x) = log(e^x - 1) normal: p(1) = N(log(e - 1)) e / (e - 1)."""
    y, ladj = Above().call_and_ladj(torch.ones(1, dtype=torch.float64))
    want = math.log(math.e - 1)
    assert float(y) == pytest.approx(want)
    assert float(ladj) == pytest.approx(math.log(math.e / (math.e - 1)))


def test_a_mixture_is_recovered() -> None:
    law = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.tensor([0.3, 0.7])),
        torch.distributions.MultivariateNormal(torch.tensor([[-2.0, 0.0], [2.0, 1.0]]), 0.25 * torch.eye(2)),
    )
    flow = fit(flows.NSF(2, transforms=3, hidden=(32, 32), coupling=False), law.sample((8000,)), 300)
    x = law.sample((4000,))
    with torch.no_grad():
        gap = law.log_prob(x) - flow().log_prob(x)
    assert -0.01 < float(gap.mean()) < 0.08


def test_a_law_on_the_torus_is_recovered() -> None:
    """p(a, b) = exp(2 cos(a - b)) / (2 pi)^2 I_0(2): a uniform, b - a von Mises."""
    angle = 2 * math.pi * torch.rand(9000)
    turned = angle + torch.distributions.VonMises(torch.tensor(0.0), torch.tensor(2.0)).sample((9000,))
    x = torch.remainder(torch.stack([angle, turned], 1) + math.pi, 2 * math.pi) - math.pi
    flow = fit(flows.NSF(2, transforms=3, hidden=(32, 32), waves=2, circular=True), x[:6000], 300)
    exact = 2 * torch.cos(x[6000:, 0] - x[6000:, 1]) - math.log(
        (2 * math.pi) ** 2 * float(torch.special.i0(torch.tensor(2.0)))
    )
    with torch.no_grad():
        gap = exact - flow().log_prob(x[6000:])
    assert -0.01 < float(gap.mean()) < 0.06


@pytest.mark.parametrize("make", [flows.IAF, flows.MAF, flows.NSF])
def test_a_second_step_through_the_inverse_has_a_graph_of_its_own(make: type[Flow]) -> None:
    """What is computed for one backward pass is not kept for the next (a defect of caches)."""
    flow = make(3, transforms=2, hidden=(8,))
    optimiser = torch.optim.Adam(flow.parameters(), 1e-2)
    for _ in range(3):
        optimiser.zero_grad()
        x, log = flow.draw(16)
        (log + x.square().sum(1)).mean().backward()
        optimiser.step()
    assert all(torch.isfinite(p).all() for p in flow.parameters())


def test_a_batch_wholly_outside_the_box_still_trains() -> None:
    flow = flows.NSF(2, transforms=2, hidden=(8,))
    (-flow().log_prob(torch.full((5, 2), 100.0)).mean()).backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in flow.parameters())


def test_a_batch_that_leaves_the_box_is_said_once() -> None:
    flow = flows.NSF(2, transforms=2, hidden=(8,))
    with pytest.warns(UserWarning, match="50% of the values lie outside the splines' box, .*standardise"):
        flow().log_prob(torch.tensor([[0.0, 50.0]]).expand(200, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flow().log_prob(torch.full((200, 2), 50.0))
        flows.NSF(2, transforms=2, hidden=(8,))().log_prob(torch.randn(500, 2))
        flows.MAF(2, transforms=2, hidden=(8,))().log_prob(torch.full((200, 2), 50.0))


def test_a_number_outside_the_box_is_not_lost_beside_one_inside() -> None:
    """x = (0.5, 10): the second stays as it is, in the map and in the density."""
    flow = flows.NSF(2, transforms=1, hidden=(8,), linear=False)
    for p in flow.parameters():
        p.data += 0.3 * torch.randn_like(p)
    x = torch.tensor([[0.5, 10.0]])
    z, ladj = flow.layers.call_and_ladj(x)
    torch.testing.assert_close(flow.layers.inverse_and_ladj(z)[0], x)
    assert float(z[0, 1].detach()) == 10.0
    assert float(flow().log_prob(x).detach()) < -40


def test_transport_pairs_a_batch_with_its_noise_at_the_least_total_distance() -> None:
    x, y = torch.randn(5, 2), torch.randn(5, 2)
    order = nearest(x, y)
    assert sorted(order.tolist()) == list(range(5))
    each = [float((x - y[list(p)]).square().sum()) for p in itertools.permutations(range(5))]
    assert float((x - y[order]).square().sum()) == pytest.approx(min(each))


def test_flow_matching_learns_a_law_and_transport_needs_fewer_steps() -> None:
    data = torch.randn(4000, 2) * 0.2 + torch.tensor([2.0, 0.0]) * (torch.randint(0, 2, (4000, 1)) * 2 - 1)
    bent = {}
    for path in flows.PATHS:
        flow = flows.FFJORD(2, hidden=(64, 64), steps=16)
        optimiser = torch.optim.Adam(flow.parameters(), 5e-3)
        for step in range(600):
            optimiser.param_groups[0]["lr"] = 5e-3 * (1 - step / 600)
            optimiser.zero_grad()
            flows.flow_matching(flow, data[torch.randint(4000, (128,))], path=path).mean().backward()
            optimiser.step()
        z = torch.randn(1000, 2)
        with torch.no_grad():
            assert float(flow().log_prob(data[:1000]).mean()) > -1.4  # entropy 2 log(.2 sqrt(2 pi e)) + log 2 = .31
            fine, layer = flow.layers.inverse_and_ladj(z)[0], flow.layers.layers[0]
            layer.steps = 1
            bent[path] = float((flow.layers.inverse_and_ladj(z)[0] - fine).norm(dim=1).mean())
    assert bent["transport"] < 0.7 * bent["rectified"]


def test_what_flow_matching_cannot_do_is_said() -> None:
    x, c = torch.randn(4, 2), torch.zeros(4, 1)
    with pytest.raises(SpecError, match="expected path among rectified, transport, got 'straight'"):
        flows.flow_matching(flows.FFJORD(2), x, path="straight")
    with pytest.raises(SpecError, match="expected no context with path='transport'"):
        flows.flow_matching(flows.FFJORD(2, 1), x, c, path="transport")
    with pytest.raises(SpecError, match="FFJORD with transforms=1"):
        flows.flow_matching(flows.MAF(2), x)
