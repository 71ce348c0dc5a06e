"""Laws of every layer and every flow, after their weights have been moved: they are bijections, and densities."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pofx.errors import SpecError
from pofx.nn import base, flows
from pofx.nn.autoregressive import Autoregressive
from pofx.nn.bumps import PlanarLayer, RadialLayer, SylvesterLayer
from pofx.nn.continuous import Continuous
from pofx.nn.coupling import Coupling
from pofx.nn.flow import Flow
from pofx.nn.layer import Chain, Inverse, Layer, Permutation
from pofx.nn.linear import Conv1x1, Householder, LULinear, Rotation, Turn
from pofx.nn.normalise import ActNorm, BatchNorm
from pofx.nn.residual import Residual
from pofx.nn.sites import Haar, Sites, Squeeze
from pofx.nn.support import Support
from pofx.nn.tarflow import Tokenwise
from pofx.transforms.affine import Additive, Affine, soft_limit
from pofx.transforms.spline import Spline

KEEP = torch.tensor([True, False, True])
LAYERS: dict[str, Callable[[], Layer]] = {
    "planar": lambda: PlanarLayer(3, 2),
    "radial": lambda: RadialLayer(3, 2),
    "sylvester": lambda: SylvesterLayer(3, 2, 2),
    "additive coupling": lambda: Coupling(KEEP, 2, Additive(), (16, 16)),
    "affine coupling": lambda: Coupling(KEEP, 2, Affine(), (16, 16)),
    "spline coupling": lambda: Coupling(KEEP, 2, Spline(6), (16, 16)),
    "affine autoregressive": lambda: Autoregressive(3, 2, Affine(), (16, 16)),
    "spline autoregressive": lambda: Autoregressive(3, 2, Spline(6), (16, 16)),
    "inverse autoregressive": lambda: Inverse(Autoregressive(3, 2, Affine(), (16, 16))),
    "lu": lambda: LULinear(3),
    "rotation": lambda: Rotation(3),
    "householder": lambda: Householder(3, 2),
    "permutation": lambda: Permutation.random(3),
    "actnorm": lambda: ActNorm(3),
    "batch norm": lambda: BatchNorm(3),
    "residual": lambda: Residual(3, 2, (16, 16)),
    "continuous": lambda: Continuous(3, 2, (16, 16)),
    "turn": lambda: Turn(3),
    "support": lambda: Support(["unit", "real", (-math.inf, 2.0)]),
    "convolution": lambda: Conv1x1(3),
    "sites": lambda: Chain([Sites((3, 1, 1)), Conv1x1(3), Inverse(Sites((3, 1, 1)))]),
    "tokenwise": lambda: Tokenwise(3, 2, width=8, heads=2),
    "planar, of a network": lambda: PlanarLayer(3, 2, (8,)),
    "chain": lambda: Chain([LULinear(3), Coupling(KEEP, 2, Spline(4), (16,)), ActNorm(3)]),
}


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moved(make: Callable[[], torch.nn.Module], seed: int = 0, by: float = 0.4) -> torch.nn.Module:
    """A module whose weights are no longer where they started."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = make().double()
        for p in module.parameters():
            p.data += by * torch.randn_like(p)
        for name, buffer in module.named_buffers():
            if name.endswith(("mean", "var")):
                buffer += 0.3 * torch.rand_like(buffer)
    return module.eval()


@pytest.fixture(params=list(LAYERS))
def layer(request: pytest.FixtureRequest) -> Layer:
    return moved(LAYERS[request.param])


C = randn(40, 2, seed=9)


def inside(layer: Layer, x: Tensor) -> Tensor:
    """Points where a layer is a bijection: of the circle, of a support."""
    if isinstance(layer, Turn):
        return 3.1 * torch.tanh(x / 5)
    return layer.inverse(100 * torch.tanh(x / 100)) if isinstance(layer, Support) else x


POINTS = {"usual": randn(40, 3), "tails": 10 * randn(40, 3, seed=1), "edges": 5 * randn(40, 3, seed=2).sign()}


@pytest.mark.parametrize("where", list(POINTS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_inverse_of_a_call_is_the_identity(layer: Layer, where: str, dtype: torch.dtype) -> None:
    layer, c = layer.to(dtype), C.to(dtype)
    x = inside(layer, POINTS[where].to(dtype))
    with torch.no_grad():
        y, forward = layer.call_and_ladj(x, c)
        again, back = layer.inverse_and_ladj(y, c)
    assert y.dtype == forward.dtype == again.dtype == dtype
    error = ((again - x).abs() / x.abs().clamp(min=1)).max()
    assert error <= layer.tolerance[dtype is torch.float64]
    assert (forward + back).abs().max() <= 1e-3


def test_ladj_is_the_log_determinant_of_the_jacobian(layer: Layer) -> None:
    for x, c in zip(inside(layer, POINTS["usual"][:6]), C, strict=False):
        jacobian = torch.autograd.functional.jacobian(lambda v, c=c: layer.call_and_ladj(v[None], c[None])[0][0], x)
        want = torch.linalg.slogdet(jacobian)[1]
        loose = 2e-4 if isinstance(layer, Continuous) else 1e-7
        assert float(layer.call_and_ladj(x[None], c[None])[1][0].detach()) == pytest.approx(float(want), abs=loose)


def test_rows_are_strangers(layer: Layer) -> None:
    x = inside(layer, POINTS["usual"]).clone()
    held = x[:1].clone()
    with torch.no_grad():
        want, ladj = layer.call_and_ladj(x, C)
        x[3] = math.nan
        got, log = layer.call_and_ladj(x, C)
        clean = torch.arange(len(x)) != 3
        torch.testing.assert_close(got[clean], want[clean])
        torch.testing.assert_close(log[clean], ladj[clean])
        assert got[3].isnan().any()
        one = layer.call_and_ladj(held, C[:1])
        torch.testing.assert_close(one[0], want[:1])
        for n in (0, 1):
            assert layer.call_and_ladj(x[:n], C[:n])[0].shape == (n, 3)
            assert layer.inverse_and_ladj(want[:n], C[:n])[1].shape == (n,)


@pytest.mark.parametrize("size", [1.0, 1e4])
def test_gradients_are_finite(layer: Layer, size: float) -> None:
    x = inside(layer, size * randn(40, 3)).requires_grad_()
    y, ladj = layer.call_and_ladj(x, C)
    (y.square().mean() + ladj.mean()).backward()
    found = [p.grad for p in layer.parameters() if p.grad is not None] + [x.grad]
    assert all(torch.isfinite(g).all() for g in found)


def test_contexts_in_turn_are_what_they_are_row_by_row(layer: Layer) -> None:
    """12 rows that go three times through four contexts."""
    x = inside(layer, POINTS["usual"][:12])
    with torch.no_grad():
        for way in (layer.call_and_ladj, layer.inverse_and_ladj):
            for got, want in zip(way(x, C[:4]), way(x, C[:4].repeat(3, 1)), strict=True):
                torch.testing.assert_close(got, want)


def test_the_inverse_carries_gradients(layer: Layer) -> None:
    """d inverse / d y is the inverse of d call / d x."""
    c = C[:1]
    x = inside(layer, POINTS["usual"][:1])
    y = layer.call_and_ladj(x, c)[0].detach()
    there = torch.autograd.functional.jacobian(lambda v: layer.call_and_ladj(v, c)[0], x).reshape(3, 3)
    back = torch.autograd.functional.jacobian(lambda v: layer.inverse_and_ladj(v, c)[0], y).reshape(3, 3)
    loose = 1e-3 if isinstance(layer, Continuous) else 1e-6
    torch.testing.assert_close(back @ there, torch.eye(3, dtype=torch.float64), atol=loose, rtol=0)


def test_weights_come_back_as_they_were(layer: Layer) -> None:
    held = {k: v.clone() for k, v in layer.state_dict().items()}
    want = layer.call_and_ladj(POINTS["usual"], C)[0]
    for p in layer.parameters():
        p.data.zero_()
    layer.load_state_dict(held)
    assert torch.equal(layer.call_and_ladj(POINTS["usual"], C)[0], want)


def test_actnorm_starts_once_and_a_row_of_nan_does_not_count() -> None:
    norm, x = ActNorm(3).double(), 3 * randn(200, 3) + 5
    x[:, 2] = 1.0
    x[0, 0] = math.nan
    y = norm.train().call_and_ladj(x)[0][1:]
    torch.testing.assert_close(y[:, :2].mean(0), torch.zeros(2, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(y[:, :2].std(0), torch.ones(2, dtype=torch.float64), atol=1e-6, rtol=0)
    assert (y[:, 2] == 0).all()
    other = ActNorm(3).double()
    other.load_state_dict(norm.state_dict())
    want = other.eval().call_and_ladj(x)[0]
    other.train().call_and_ladj(randn(50, 3))
    assert torch.equal(other.eval().call_and_ladj(x)[0].nan_to_num(), want.nan_to_num())


def test_a_convolution_of_one_site_is_a_layer_at_every_site() -> None:
    layer, x = moved(lambda: Conv1x1(3)), randn(2, 3, 2, 2)
    y, ladj = layer.call_and_ladj(x)
    again, back = layer.inverse_and_ladj(y)
    torch.testing.assert_close(again, x)
    torch.testing.assert_close(ladj, -back)
    jacobian = torch.autograd.functional.jacobian(lambda v: layer.call_and_ladj(v[None])[0][0], x[0]).reshape(12, 12)
    assert float(ladj[0].detach()) == pytest.approx(float(torch.linalg.slogdet(jacobian)[1]))


def test_squeezed_sites_are_layers_of_a_chain() -> None:
    chain = [Sites((1, 4, 4)), Squeeze(), Conv1x1(4), Inverse(Haar()), Inverse(Sites((1, 4, 4)))]
    flow, x = moved(lambda: Flow(chain, 16)), randn(5, 16)
    y, ladj = flow.layers.call_and_ladj(x)
    torch.testing.assert_close(flow.layers.inverse(y), x)
    jacobian = torch.autograd.functional.jacobian(lambda v: flow.layers.call_and_ladj(v[None])[0][0], x[0])
    assert float(ladj[0].detach()) == pytest.approx(float(torch.linalg.slogdet(jacobian)[1]))
    with pytest.raises(SpecError, match=r"rows of \(1, 4, 4\) numbers, got \(5, 12\)"):
        chain[0].call_and_ladj(x[:, :12])


def test_the_series_of_a_residual_layer_is_unbiased_within_its_error() -> None:
    layer, x, c = moved(LAYERS["residual"]), POINTS["usual"][:20], C[:20]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        mean, error = layer.estimate(x, c, draws=300)
    off = ((mean - layer.log_det(x, c)) / error).detach()
    assert (error > 0).all() and off.abs().max() < 4 and off.square().mean() < 2


# -- splines ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", ["linear", "circular", "bounded"])
@pytest.mark.parametrize("spread", [1.0, 5.0, 20.0])
def test_a_spline_can_be_inverted_in_float32_whatever_its_parameters(ends: str, spread: float) -> None:
    spline = Spline(8, ends=ends)
    theta = (spread * randn(500, spline.size, 4)).float()
    x = (2 * torch.rand(500, 4, generator=torch.Generator().manual_seed(0)) - 1) * 4.99
    y, forward = spline.call_and_ladj(x, theta)
    again, back = spline.inverse_and_ladj(y, theta)
    assert torch.isfinite(y).all() and torch.isfinite(again).all()
    assert (again - x).abs().max() < 1e-3
    assert (forward + back).abs().max() < 1e-2
    low, high = spline.slopes
    assert math.log(low) <= forward.min() and forward.max() <= math.log(high)


def test_a_circular_spline_is_smooth_where_the_circle_closes() -> None:
    spline = Spline(5, ends="circular")
    theta = randn(1, spline.size, 1)
    ends = torch.tensor([[-5.0], [5.0]], dtype=torch.float64)
    y, ladj = spline.call_and_ladj(ends, theta.expand(2, -1, -1))
    torch.testing.assert_close(y, ends)
    torch.testing.assert_close(ladj[0], ladj[1])


# -- flows -----------------------------------------------------------------------------------------------------------

SMALL = {"hidden": (16, 16), "transforms": 2}
FLOWS: dict[str, Callable[..., Flow]] = {
    "Planar": lambda d, c: flows.Planar(d, c, 4),
    "Radial": lambda d, c: flows.Radial(d, c, 4),
    "Sylvester": lambda d, c: flows.Sylvester(d, c, 3),
    "NICE": lambda d, c: flows.NICE(d, c, **SMALL),
    "RealNVP": lambda d, c: flows.RealNVP(d, c, **SMALL),
    "Glow": lambda d, c: flows.Glow(d, c, **SMALL),
    "MAF": lambda d, c: flows.MAF(d, c, **SMALL),
    "IAF": lambda d, c: flows.IAF(d, c, **SMALL),
    "NSF": lambda d, c: flows.NSF(d, c, **SMALL),
    "NSF, plain": lambda d, c: flows.NSF(d, c, linear=False, norm=False, **SMALL),
    "NSF, autoregressive": lambda d, c: flows.NSF(d, c, coupling=False, **SMALL),
    "MAF, Student": lambda d, c: flows.MAF(d, c, base=base.StudentT(d, 30.0), **SMALL),
    "MAF, conditional": lambda d, c: flows.MAF(d, c, base=base.Conditional(d, c), **SMALL),
    "MAF, mixture": lambda d, c: flows.MAF(d, c, base=base.Mixture(d, 3), **SMALL),
}
COUPLED = ("NICE", "RealNVP", "Glow", "NSF", "NSF, plain")
ONE = [name for name in FLOWS if name not in (*COUPLED, "MAF, conditional")]


@pytest.mark.filterwarnings("ignore:.*outside the splines")
@pytest.mark.parametrize("name", list(FLOWS))
def test_a_density_integrates_to_one_in_two_dimensions(name: str) -> None:
    flow = moved(lambda: FLOWS[name](2, 1), by=0.2)
    width = 60.0 if "Student" in name or name == "IAF" else 40.0
    steps = torch.linspace(-width / 2, width / 2, 801, dtype=torch.float64)
    grid = torch.cartesian_prod(steps, steps)
    with torch.no_grad():
        total = flow(torch.ones(1, dtype=torch.float64)).log_prob(grid).exp().sum() * (steps[1] - steps[0]) ** 2
    assert float(total) == pytest.approx(1.0, abs=3e-3 if "Student" in name else 1e-3)


@pytest.mark.filterwarnings("ignore:.*outside the splines")
@pytest.mark.parametrize("name", ONE)
def test_a_density_integrates_to_one_in_one_dimension(name: str) -> None:
    flow = moved(lambda: FLOWS[name](1, 0), by=0.2)
    steps = torch.linspace(-100, 100, 40_001, dtype=torch.float64)
    with torch.no_grad():
        total = flow().log_prob(steps[:, None]).exp().sum() * (steps[1] - steps[0])
    assert float(total) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.filterwarnings("ignore:.*outside the splines")
@pytest.mark.parametrize("name", list(FLOWS))
def test_a_draw_comes_with_its_density(name: str) -> None:
    flow = moved(lambda: FLOWS[name](3, 2))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        law = flow(C[:5])
        x, log = law.rsample_and_log_prob((7,))
        assert x.shape == (7, 5, 3) and log.shape == (7, 5) and law.batch_shape == (5,) and law.event_shape == (3,)
        torch.testing.assert_close(law.log_prob(x), log, atol=1e-6, rtol=1e-6)
        assert flow(C[0]).sample((0,)).shape == (0, 3)
        assert flow(C[0]).sample().shape == (3,)


@pytest.mark.parametrize("make", [flows.ResidualFlow, flows.FFJORD])
def test_flows_that_are_solved_draw_with_their_density(make: type[Flow]) -> None:
    flow = moved(lambda: make(3, 2, transforms=2, hidden=(16, 16)), by=0.2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x, log = flow(C[:5]).rsample_and_log_prob((7,))
    torch.testing.assert_close(flow(C[:5]).log_prob(x), log, atol=1e-4, rtol=0)


def test_a_flow_recovers_a_law_of_known_entropy() -> None:
    """A banana: x ~ N(0, 1), y = x^2 / 2 + N(0, 0.5^2)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x = torch.randn(4000)
        data = torch.stack([x, x.square() / 2 + 0.5 * torch.randn(4000)], 1)
        flow = flows.NSF(2, transforms=3, hidden=(32, 32), coupling=False)
        optimiser = torch.optim.Adam(flow.parameters(), 5e-3)
        for step in range(250):
            rows = data[torch.randint(3000, (256,))]
            loss = -flow().log_prob(rows).mean()
            optimiser.param_groups[0]["lr"] = 5e-3 * (1 - step / 250)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        entropy = math.log(2 * math.pi * math.e) + math.log(0.5)
        with torch.no_grad():
            assert -float(flow().log_prob(data[3000:]).mean()) == pytest.approx(entropy, abs=0.12)


def test_a_mixture_starts_from_rows() -> None:
    centre = torch.tensor([[-4.0, 0.0], [4.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
    law = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)),
        torch.distributions.MultivariateNormal(
            centre, torch.tensor([[1.0, 0.6], [0.6, 0.5]], dtype=torch.float64).expand(3, 2, 2)
        ),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x, rows = law.sample((4000,)), law.sample((6000,))
        rows[0, 0] = math.nan
        flow = flows.NSF(2, bound=12.0, base=flows.Mixture(2, 3), **SMALL).double()
        assert not flow.eval().start(rows).training
        drawn = flow().sample((4000,))
    gap = law.log_prob(x) - flow().log_prob(x)
    assert -0.01 < float(gap.mean().detach()) < 0.01
    torch.testing.assert_close(drawn.mean(0), law.mean, atol=0.2, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), x.T.cov(), atol=0.5, rtol=0)
    with pytest.raises(SpecError, match="expected at least 3 rows"):
        flow.start(rows[:2])


def test_a_start_sets_actnorm_too() -> None:
    flow = flows.Glow(3, **SMALL).eval()
    flow.start(5 + 2 * torch.randn(500, 3, generator=torch.Generator().manual_seed(0)))
    z = flow.layers.layers[0].call_and_ladj(torch.full((1, 3), 5.0))[0]
    torch.testing.assert_close(z, torch.zeros(1, 3), atol=0.2, rtol=0)


def test_reverse_kl_finds_a_gaussian() -> None:
    target = torch.distributions.MultivariateNormal(torch.tensor([1.0, -2.0]), torch.tensor([[1.0, 0.6], [0.6, 0.5]]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        flow = flows.MAF(2, transforms=1, hidden=(32,))
        optimiser = torch.optim.Adam(flow.parameters(), 3e-2)
        for step in range(300):
            optimiser.param_groups[0]["lr"] = 3e-2 * (1 - step / 300)
            optimiser.zero_grad()
            flows.reverse_kl(flow, target.log_prob, 128).mean().backward()
            optimiser.step()
        with torch.no_grad():
            assert float(flows.reverse_kl(flow, target.log_prob, 2000).mean()) == pytest.approx(0.0, abs=0.02)
            assert float(flows.alpha_divergence(flow, target.log_prob, 2000)) == pytest.approx(0.0, abs=0.02)


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(SpecError, match="use an autoregressive flow"):
        flows.NSF(1)
    with pytest.raises(SpecError, match=r"context of shape \(\.\.\., 2\), got one of shape \(4, 3\)"):
        flows.MAF(3, 2)(torch.zeros(4, 3))
    with pytest.raises(SpecError, match="expected x of shape"):
        flows.MAF(3)().log_prob(torch.zeros(4, 2))
    with pytest.raises(SpecError, match="expected transforms of at least 1"):
        flows.MAF(3, transforms=0)


@pytest.mark.parametrize("coupling", [True, False])
def test_an_angle_beside_a_number_closes_and_integrates_to_one(coupling: bool) -> None:
    flow = moved(lambda: flows.NSF(2, coupling=coupling, circular=(1,), **SMALL))
    turn = torch.linspace(-math.pi, math.pi, 201, dtype=torch.float64)
    line = torch.linspace(-30, 30, 3001, dtype=torch.float64)
    with torch.no_grad():
        law = flow().log_prob(torch.cartesian_prod(line, (turn[1:] + turn[:-1]) / 2)).exp()
        assert float(law.sum()) * (2 * math.pi / 200) * 0.02 == pytest.approx(1.0, abs=1e-3)
        ends = [torch.stack([line, torch.full_like(line, end)], 1) for end in (math.pi - 1e-9, 1e-9 - math.pi)]
        torch.testing.assert_close(*(flow().log_prob(end) for end in ends), atol=1e-5, rtol=0)
        x, log = flow().rsample_and_log_prob((300,))
        torch.testing.assert_close(flow().log_prob(x), log, atol=1e-6, rtol=1e-6)
    assert (x[:, 1].abs() <= math.pi).all() and (x[:, 0].abs() > math.pi).any()
    assert flow.check(x).ok
    for bad in ((), (0, 1), (2,)):
        with pytest.raises(SpecError, match="expected circular as numbers of some of the 2 features"):
            flows.NSF(2, circular=bad)
    with pytest.raises(SpecError, match="support of its own"):
        flow.on(["real", "real"])


@pytest.mark.parametrize("coupling", [True, False])
def test_a_density_on_the_torus_closes_and_integrates_to_one(coupling: bool) -> None:
    flow = moved(lambda: flows.NSF(2, coupling=coupling, circular=True, **SMALL))
    steps = torch.linspace(-math.pi, math.pi, 401, dtype=torch.float64)
    middle = (steps[1:] + steps[:-1]) / 2
    with torch.no_grad():
        total = flow().log_prob(torch.cartesian_prod(middle, middle)).exp().mean() * (2 * math.pi) ** 2
        assert float(total) == pytest.approx(1.0, abs=1e-3)
        seam = torch.stack([torch.full_like(steps, math.pi - 1e-9), steps], 1)
        other = torch.stack([torch.full_like(steps, 1e-9 - math.pi), steps], 1)
        torch.testing.assert_close(flow().log_prob(seam), flow().log_prob(other), atol=1e-5, rtol=0)
        torch.testing.assert_close(flow().log_prob(seam.flip(1)), flow().log_prob(other.flip(1)), atol=1e-5, rtol=0)
        x, log = flow().rsample_and_log_prob((300,))
        torch.testing.assert_close(flow().log_prob(x), log, atol=1e-6, rtol=1e-6)
        assert (x.abs() <= math.pi).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_support_is_carried_to_the_line_and_back(dtype: torch.dtype) -> None:
    layer = Support(["unit", "real", "positive"])
    x = torch.stack([torch.linspace(1e-3, 1 - 1e-3, 50), torch.linspace(-9, 9, 50), torch.linspace(1e-3, 50, 50)], 1)
    x = x.to(dtype)
    y, forward = layer.call_and_ladj(x)
    again, back = layer.inverse_and_ladj(y)
    assert (again - x).abs().max() <= layer.tolerance[dtype is torch.float64]
    assert (forward + back).abs().max() <= 1e-3
    for row in x[::12].double():
        jacobian = torch.autograd.functional.jacobian(lambda v: layer.call_and_ladj(v[None])[0][0], row)
        assert float(layer.call_and_ladj(row[None])[1]) == pytest.approx(float(jacobian.diagonal().log().sum()))


def test_a_flow_on_a_support_has_all_its_mass_there() -> None:
    flow = moved(lambda: flows.NSF(2, coupling=False, **SMALL).on(["positive", (2.0, 5.0)]), by=0.2)
    a = torch.linspace(0, 20, 801, dtype=torch.float64)
    b = torch.linspace(2, 5, 301, dtype=torch.float64)
    a, b = (a[1:] + a[:-1]) / 2, (b[1:] + b[:-1]) / 2
    with torch.no_grad():
        with pytest.warns(UserWarning, match="outside the splines' box"):  # of the numbers far above zero
            total = flow().log_prob(torch.cartesian_prod(a, b)).exp().sum() * 0.025 * 0.01
        assert float(total) == pytest.approx(1.0, abs=2e-3)
        x, log = flow().rsample_and_log_prob((500,))
        torch.testing.assert_close(flow().log_prob(x), log, atol=1e-6, rtol=1e-6)
    assert (x[:, 0] > 0).all() and (x[:, 1] > 2).all() and (x[:, 1] < 5).all()
    strange = torch.tensor([[-1.0, 3.0], [1.0, 6.0], [1.0, 5.0], [0.0, 3.0], [math.nan, 3.0]], dtype=torch.float64)
    strange.requires_grad_()
    got = flow().log_prob(strange)
    assert (got[:4] == -math.inf).all() and got[4].isnan()
    with pytest.raises(SpecError, match="low < high, got \\(3, 1\\)"):
        flows.MAF(1, **SMALL).on([(3, 1)])
    with pytest.raises(SpecError, match="a kind for each of 2 features, got 1"):
        flows.MAF(2, **SMALL).on(["unit"])


def test_outside_a_bounded_support_there_is_no_density_and_no_nan() -> None:
    law = base.Uniform(2, 1.0)
    got = law.log_prob(torch.tensor([[0.0, 0.0], [2.0, 0.0], [math.nan, 0.0]]))
    assert got[0] == pytest.approx(-2 * math.log(2)) and got[1] == -math.inf and got[2].isnan()


def test_soft_limit_is_the_identity_at_zero_and_stays_inside() -> None:
    x = torch.tensor([-1e6, 0.0, 1e6], dtype=torch.float64, requires_grad=True)
    y = soft_limit(x, 3.0)
    torch.testing.assert_close(y.detach(), torch.tensor([-3.0, 0.0, 3.0], dtype=torch.float64))
    y.sum().backward()
    assert x.grad[1] == 1.0
