"""What every flow promises once it has learned, where inputs are unusual: tails, edges, no numbers, contexts, files."""

import copy
import functools
import io
import math
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from test_flows import FLOWS, SMALL, moved, randn
from torch import Tensor
from torch.distributions import Independent, biject_to

from pofx.errors import SpecError
from pofx.nn import base, compiling, continuous, flows, residual
from pofx.nn.autoregressive import Autoregressive
from pofx.nn.bumps import PlanarLayer, RadialLayer, SylvesterLayer
from pofx.nn.flow import Flow
from pofx.nn.layer import Permutation
from pofx.nn.normalise import ActNorm, BatchNorm
from pofx.transforms.domain import Above, Interval
from pofx.transforms.monotone import root
from pofx.transforms.spline import Spline

SOLVED: dict[str, Callable[..., Flow]] = {
    "ResidualFlow": lambda d, c: flows.ResidualFlow(d, c, **SMALL),
    "FFJORD": lambda d, c: flows.FFJORD(d, c, hidden=(16, 16), steps=8),
    "TarFlow": lambda d, c: flows.TarFlow(d, c, transforms=2, width=8, heads=2, depth=1),
}


def bounded(features: int, context: int) -> Flow:
    """Splines whose ends are free, of a box that holds the rows."""
    one, two = (Autoregressive(features, context, Spline(6, 12.0, ends="bounded"), (16, 16)) for _ in range(2))
    return Flow([one, Permutation.reverse(features), two], features, context, base.Uniform(features, 12.0))


PLACED: dict[str, Callable[..., Flow]] = {
    "NSF, waves": lambda d, c: flows.NSF(d, c, waves=4, **SMALL),
    "NSF, circular": lambda d, c: flows.NSF(d, c, circular=True, **SMALL),
    "NSF, an angle": lambda d, c: flows.NSF(d, c, circular=(1,), **SMALL),
    "NSF, uniform": lambda d, c: flows.NSF(d, c, bound=12.0, linear=False, base=base.Uniform(d, 12.0), **SMALL),
    "bounded splines": bounded,
    "MAF, on": lambda d, c: flows.MAF(d, c, **SMALL).on([(-60.0, 60.0), "real", (-200.0, math.inf)]),
}
ALL = FLOWS | SOLVED | PLACED
D, C = 3, 2
every = pytest.mark.parametrize("name", list(ALL))
pytestmark = pytest.mark.filterwarnings("ignore:.*outside the splines")


@pytest.fixture(autouse=True)
def _seeded() -> object:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def rows(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two modes, a parabola, a scale that the context moves."""
    z, c = randn(n, D, seed=seed).float(), randn(n, C, seed=seed + 100).float()
    a = (torch.arange(n) % 2 * 2.0 - 1) + 0.25 * z[:, 0] + 0.3 * c[:, 0]
    b = 0.5 * a.square() - 0.6 + 0.3 * z[:, 1]
    return torch.stack([a, b, 0.8 * b + 0.6 * z[:, 2] * torch.exp(0.3 * c[:, 1])], 1), c


def learn(flow: Flow, optimiser: torch.optim.Optimizer, steps: range) -> None:
    x, c = rows(600)
    flow.train()
    for step in steps:
        some = torch.randint(600, (128,), generator=torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        (-flow.log_prob(x[some], c[some]).mean()).backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
        optimiser.step()


@functools.cache
def _trained(name: str) -> Flow:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        flow = ALL[name](D, C)
        learn(flow, torch.optim.Adam(flow.parameters(), 1e-2), range(60))
    return flow.eval()


def around(flow: Flow, x: Tensor) -> Tensor:
    """Angles as those of [-pi, pi); other numbers as they are."""
    period = torch.as_tensor(flow.layers.period, dtype=x.dtype)
    return torch.where(period.isinf(), x, torch.remainder(x + period / 2, period) - period / 2)


def trained(name: str) -> Flow:
    return copy.deepcopy(_trained(name))


# -- after training --------------------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_there_and_back_once_it_has_learned(name: str, dtype: torch.dtype) -> None:
    flow, (x, c), (held, _) = trained(name).to(dtype), rows(200), rows(200, 7)
    c = c.to(dtype)
    with torch.no_grad():
        own, log = flow(c).rsample_and_log_prob()
        assert own.dtype == log.dtype == dtype
        torch.testing.assert_close(flow(c).log_prob(own), log, atol=1e-3, rtol=1e-4)
        for at in (x, held, 10 * held, own):
            at = around(flow, at.to(dtype))
            y, forward = flow.layers.call_and_ladj(at, c)
            again, back = flow.layers.inverse_and_ladj(y, c)
            assert y.dtype == forward.dtype == again.dtype == back.dtype == dtype
            error = (around(flow, again - at).abs() / at.abs().clamp(min=1)).max()
            assert error <= flow.layers.tolerance[dtype is torch.float64]
            assert (forward + back).abs().max() <= (3e-3 if name in PLACED else 1e-3)
            torch.testing.assert_close(around(flow, flow.layers.inverse(y, c)), around(flow, again))
    found = flow.check(held.to(dtype), c)
    limits = {m.name for layer in found.layers for m in layer.measures.values() if m.score > 1}
    assert limits <= ({"saturated"} if name in PLACED else set())  # boxes of other sizes than the rows


@every
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 3e38])
def test_a_row_that_is_no_number_spoils_itself_alone(name: str, bad: float) -> None:
    flow, (x, c) = trained(name), rows(20)
    others = torch.arange(20) != 3
    with torch.no_grad():
        z, ladj = flow.layers.call_and_ladj(x, c)
        for part, whole in ((x, flow.log_prob), (c, flow.log_prob), (z, flow.layers.inverse_and_ladj)):
            want = whole(z if part is z else x, c)
            held, part[3, 1] = float(part[3, 1]), bad
            got = whole(z if part is z else x, c)
            part[3, 1] = held
            pairs = [*zip(got, want, strict=True)] if part is z else [(got, want)]
            for a, b in pairs:
                torch.testing.assert_close(a[others], b[others], atol=1e-4, rtol=1e-4)
            if math.isnan(bad) and part is not c:
                assert pairs[0][0][3].isnan().any()


@every
@pytest.mark.parametrize(("size", "by"), [(1.0, 8.0), (1e8, 0.4), (1e12, 0.4), (1e15, 0.4)])
def test_a_density_that_is_finite_has_a_finite_gradient_in_float32(name: str, size: float, by: float) -> None:
    """With parameters at their limits, and far out."""
    flow, c = moved(lambda: ALL[name](D, C), by=by).float(), rows(20)[1]
    x = (size * randn(20, D)).float().requires_grad_()
    log = flow.log_prob(x, c)
    log[log.isfinite()].sum().backward()
    found = {"x": x.grad} | {k: p.grad for k, p in flow.named_parameters() if p.grad is not None}
    assert not [k for k, g in found.items() if not g.isfinite().all()]


@every
def test_training_goes_on_bit_for_bit_from_a_file(name: str) -> None:
    whole = ALL[name](D, C)
    first = torch.optim.Adam(whole.parameters(), 1e-2)
    learn(whole, first, range(4))
    file = io.BytesIO()
    torch.save({"flow": whole.state_dict(), "optimiser": first.state_dict()}, file)
    learn(whole, first, range(4, 8))
    file.seek(0)
    state = torch.load(file, weights_only=True)
    torch.manual_seed(99)
    again = ALL[name](D, C)  # random permutations and starts of its own
    second = torch.optim.Adam(again.parameters(), 1e-2)
    again.load_state_dict(state["flow"])
    second.load_state_dict(state["optimiser"])
    learn(again, second, range(4, 8))
    for key, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    x, c = rows(50)
    assert torch.equal(whole.eval().log_prob(x, c), again.eval().log_prob(x, c))
    torch.save(whole, file := io.BytesIO())
    file.seek(0)
    for other in (copy.deepcopy(whole), torch.load(file, weights_only=False)):
        assert torch.equal(whole.log_prob(x, c), other.log_prob(x, c))


@every
def test_one_graph_gives_what_eager_gives(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Captured whole, values and gradients; what is made of the graph is for tests/test_compiled.py."""
    monkeypatch.setattr(compiling.torch, "compile", partial(torch.compile, backend="aot_eager"))
    flow, (x, c), found = trained(name).train(), rows(16), []
    with pytest.warns(UserWarning, match="stays uncompiled") if name == "IAF" else nullcontext():
        compiled_law = flow.compiled()
    for law in (compiled_law, flow.log_prob):
        flow.zero_grad()
        value = law(x, c)
        value.mean().backward()
        found.append([value.detach(), *(p.grad.clone() for p in flow.parameters() if p.grad is not None)])
    for compiled, eager in zip(*found, strict=True):
        torch.testing.assert_close(compiled, eager, atol=1e-4, rtol=1e-4)


def test_a_flow_that_has_not_started_is_not_compiled() -> None:
    with pytest.raises(SpecError, match=r"actnorms have started, .* flow.start\(x\) first"):
        flows.Glow(3, **SMALL).compiled()
    flows.Glow(3, **SMALL).start(rows(9)[0]).compiled()


# -- contexts and batch shapes ---------------------------------------------------------------------------------------


@every
def test_a_context_is_one_for_each_row_or_one_for_all(name: str) -> None:
    flow, (x, c) = trained(name), rows(20)
    with torch.no_grad():
        want = flow.log_prob(x, c[:1].repeat(20, 1))
        assert (want - flow.log_prob(x, c[1:2].repeat(20, 1))).abs().max() > 1e-2
        for got in (flow.log_prob(x, c[:1]), flow.log_prob(x, c[0]), flow(c[0]).log_prob(x), flow(c[:1]).log_prob(x)):
            torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(flow(c[:4, None]).log_prob(x)[0], want, atol=1e-4, rtol=1e-4)
        for one in (c[0], c[:1]):
            drawn, log = flow.draw(7, one)
            assert drawn.shape == (7, D)
            torch.testing.assert_close(flow.log_prob(drawn, one), log, atol=1e-3, rtol=1e-4)


@every
def test_batch_shapes_are_those_of_torch(name: str) -> None:
    flow, (x, c) = trained(name), rows(20)
    with torch.no_grad():
        law = flow(c.view(4, 5, C))
        assert law.batch_shape == (4, 5) and law.event_shape == (D,)
        assert law.log_prob(x.view(4, 5, D)).shape == (4, 5)
        torch.testing.assert_close(law.log_prob(x.view(4, 5, D)).flatten(), flow(c).log_prob(x), atol=1e-4, rtol=1e-4)
        wide = flow(c[0]).expand((4, 5))
        drawn, log = wide.rsample_and_log_prob((2,))
        assert drawn.shape == (2, 4, 5, D) and log.shape == (2, 4, 5) and wide.log_prob(x[0]).shape == (4, 5)
        assert law.expand((3, 4, 5)).sample().shape == (3, 4, 5, D)
        both = Independent(law, 2, validate_args=True)
        torch.testing.assert_close(both.log_prob(x.view(4, 5, D)), flow(c).log_prob(x).sum(), atol=1e-3, rtol=1e-4)
        assert both.expand((3,)).sample((2,)).shape == (2, 3, 4, 5, D)
        for n in (0, 1):
            assert flow(c[:n]).log_prob(x[:n]).shape == (n,)
            assert flow(c[:n]).sample((2,)).shape == (2, n, D)
            assert flow.draw(n, c[0])[1].shape == (n,)


@every
def test_a_context_that_does_not_fit_is_said(name: str) -> None:
    flow, (x, c) = ALL[name](D, C), rows(6)
    wrong = [
        lambda: flow.log_prob(x),
        lambda: flow.log_prob(x, c[:4]),
        lambda: flow.log_prob(x, torch.zeros(6, C + 1)),
        lambda: flow.draw(6),
        lambda: flow.draw(6, c[:4]),
        lambda: flow.start(x),
        lambda: flow.check(x),
        lambda: flow(),
        lambda: flow(torch.zeros(6, C + 1)),
        lambda: flows.reverse_kl(flow, lambda v: v.sum(1), 6),
    ]
    for call in wrong:
        with pytest.raises(SpecError, match=f"expected a context of shape .* this flow has context={C}"):
            call()
    with pytest.raises(SpecError, match=r"goes with a batch of \(4,\) contexts, got \(6, 3\): .* flow\(c\[:, None\]\)"):
        flow(c[:4]).log_prob(x)
    if name != "MAF, conditional":
        with pytest.raises(SpecError, match="expected a context of shape none, got one of shape"):
            ALL[name](D, 0).log_prob(x, c)


def test_a_base_of_another_size_is_said() -> None:
    with pytest.raises(SpecError, match="expected a base of 3 features, got one of 2"):
        flows.MAF(3, base=flows.Mixture(2), **SMALL)


# -- densities -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(SOLVED))
@pytest.mark.parametrize("features", [1, 2])
def test_densities_of_what_is_solved_integrate_to_one(name: str, features: int) -> None:
    flow = moved(lambda: SOLVED[name](features, 0), by=0.2)
    steps = torch.linspace(-16, 16, 201 if features == 2 else 2001, dtype=torch.float64)
    with torch.no_grad():
        log = flow().log_prob(torch.cartesian_prod(*[steps] * features).reshape(-1, features))
    assert float(log.exp().sum() * (steps[1] - steps[0]) ** features) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("features", [1, 2])
def test_bounded_densities_integrate_to_one_and_have_nothing_outside(features: int) -> None:
    """Splines that keep their box and a base that is uniform on it; a flow on the unit interval."""
    box = moved(
        lambda: flows.NSF(features, coupling=False, linear=False, base=flows.Uniform(features, 5.0), **SMALL), by=0.5
    )
    unit = moved(lambda: flows.NSF(features, coupling=False, **SMALL).on(["unit"] * features), by=0.1)
    for flow, low, high in ((box, -5.0, 5.0), (unit, 0.0, 1.0)):
        n = 600 if features == 2 else 20_000
        middle = low + (high - low) * (torch.arange(n, dtype=torch.float64) + 0.5) / n
        grid = torch.cartesian_prod(*[middle] * features).reshape(-1, features)
        with torch.no_grad():
            total = flow().log_prob(grid).exp().mean() * (high - low) ** features
            assert float(total) == pytest.approx(1.0, abs=1e-3)
            for place in (high + 1e-6, low - 1e-6, 1e6, -1e6, math.inf, -math.inf):
                assert (flow().log_prob(torch.full((3, features), place, dtype=torch.float64)) == -math.inf).all()


def test_a_density_on_the_circle_integrates_to_one() -> None:
    flow = moved(lambda: flows.NSF(1, coupling=False, circular=True, **SMALL))
    turn = math.pi * (2 * (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000 - 1)
    with torch.no_grad():
        assert float(flow().log_prob(turn[:, None]).exp().mean() * 2 * math.pi) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("ends", ["linear", "circular", "bounded"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_there_and_back_at_the_ends_of_a_box(ends: str, dtype: torch.dtype) -> None:
    """Exactly on an end, some roundings inside, and outside where there is an outside; whatever the parameters."""
    spline = Spline(8, math.pi if ends == "circular" else 5.0, ends=ends)
    end = torch.tensor(spline.bound, dtype=dtype)
    places = [end]
    for _ in range(3):
        places += [torch.nextafter(places[-1], torch.zeros_like(end))]
    if ends == "linear":
        places += [torch.nextafter(end, 2 * end)]
    for spread in (1.0, 5.0, 20.0):
        theta = (spread * randn(500, spline.size, 1)).to(dtype)
        for place in (*places, *(-p for p in places)):
            x = place.expand(500, 1)
            y, forward = spline.call_and_ladj(x, theta)
            again, back = spline.inverse_and_ladj(y, theta)
            assert ((again - x).abs() <= (1e-4 if dtype == torch.float32 else 1e-9)).all()
            assert ((forward + back).abs() <= 1e-2).all()
            assert ends == "linear" or (y.abs() <= end).all()


@pytest.mark.parametrize(
    "map_", [Interval(0.0, 1.0), Interval(-1000.0, 1e-3), Interval(2.0, 5.0), Above(0.0), Above(3.0)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_draw_never_falls_on_the_end_of_its_support(map_: Interval | Above, dtype: torch.dtype) -> None:
    y = torch.tensor([-1e4, -900.0, -120.0, -40.0, 0.0, 40.0, 120.0, 900.0, 1e4], dtype=dtype, requires_grad=True)
    x, ladj = map_.inverse_and_ladj(y)
    assert map_.constraint.check(x).all() and x.dtype == dtype
    back, log = map_.call_and_ladj(x)
    assert back.isfinite().all() and log.isfinite().all() and ladj.isfinite().all()
    (x.sum() + ladj.sum() + back.sum() + log.sum()).backward()
    assert y.grad.isfinite().all()


def test_the_support_of_a_flow_is_said_as_torch_says_it() -> None:
    law = flows.MAF(3, **SMALL).on(["positive", (2.0, 5.0), "real"])()
    x = torch.tensor([[1.0, 3.0, -9.0], [-1.0, 3.0, 0.0], [1.0, 6.0, 0.0]])
    assert law.support.check(x).tolist() == [True, False, False]
    assert law.support.check(biject_to(law.support)(torch.randn(50, 3))).all()
    assert law.log_prob(x).isfinite().tolist() == [True, False, False]
    assert flows.MAF(3, **SMALL)().support.check(x).all()
    with pytest.raises(SpecError, match=r"low < high, got \(-inf, inf\)"):
        flows.MAF(1, **SMALL).on([(-math.inf, math.inf)])


# -- damaged weights, batches, estimates -----------------------------------------------------------------------------


@pytest.mark.parametrize("make", [PlanarLayer, RadialLayer, SylvesterLayer])
@pytest.mark.parametrize("by", [1.0, 20.0])
def test_a_bump_can_be_undone_whatever_its_weights(make: Callable[..., torch.nn.Module], by: float) -> None:
    x = torch.cat([torch.zeros(1, D), 3 * randn(30, D)])
    for seed in range(20):
        layer = moved(lambda: make(D), seed, by)
        y, forward = layer.call_and_ladj(x)
        again, back = layer.inverse_and_ladj(y)
        assert ((again - x).abs() <= 1e-6 * x.abs().clamp(min=1)).all()
        assert ((forward + back).abs() <= 1e-3).all()
        at, layer = x.float().requires_grad_(), layer.float()
        y, forward = layer.call_and_ladj(at)
        assert forward.isfinite().all() and layer.inverse_and_ladj(y)[1].isfinite().all()
        found = torch.autograd.grad((y.sum() + forward.sum()), (at, *layer.parameters()), allow_unused=True)
        assert all(g is None or g.isfinite().all() for g in found)


def test_a_root_is_found_where_newton_goes_round_in_circles() -> None:
    for rise in (2.0, 12.7, 300.0):
        target = torch.linspace(-rise, rise, 2001, dtype=torch.float64)
        x = root(
            lambda a, rise=rise, target=target: (a + rise * torch.tanh(a) - target, 1 + rise / torch.cosh(a).square()),
            target - rise - 1,
            target + rise + 1,
        )
        torch.testing.assert_close(x + rise * torch.tanh(x), target, atol=1e-10, rtol=0)


def test_a_row_of_nan_does_not_spoil_a_batch_that_is_normalised() -> None:
    norm, x = BatchNorm(2).train(), torch.randn(50, 2) + 3
    x[0, 0], x[1, 1] = math.nan, math.inf
    y, ladj = norm.call_and_ladj(x)
    torch.testing.assert_close(y[2:].mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(y[2:].std(0, unbiased=False), torch.ones(2), atol=1e-4, rtol=0)
    assert ladj.isfinite().all() and norm.var.isfinite().all()
    torch.testing.assert_close(norm.mean, 0.1 * x[2:].mean(0))
    held = norm.mean.clone()
    for n in (0, 1):
        assert norm.call_and_ladj(x[2 : 2 + n])[0].isfinite().all()
    assert torch.equal(norm.mean, held)


def test_actnorm_starts_again_with_weights_that_had_not_started() -> None:
    norm, x = ActNorm(2).train(), 3 * torch.randn(200, 2) + 5
    fresh = copy.deepcopy(norm.state_dict())
    norm.call_and_ladj(torch.randn(50, 2))
    norm.load_state_dict(fresh)
    torch.testing.assert_close(norm.call_and_ladj(x)[0].mean(0), torch.zeros(2), atol=1e-5, rtol=0)


@pytest.mark.parametrize("make", [flows.ResidualFlow, flows.FFJORD])
@pytest.mark.filterwarnings("error")
def test_beyond_64_features_a_density_is_an_estimate_with_its_error(
    make: type[Flow], monkeypatch: pytest.MonkeyPatch
) -> None:
    flow, x = moved(lambda: make(70, transforms=1, hidden=(16,)), by=0.3), randn(6, 70)
    with torch.no_grad():
        mean, error = flow.estimate(x, draws=200)
        assert (error > 0).all() and not flow.log_prob(x).requires_grad
        monkeypatch.setattr(residual, "EXACT", 100)
        monkeypatch.setattr(continuous, "EXACT", 100)
        exact, none = flow.estimate(x, draws=3)
    assert (none == 0).all()
    assert ((mean - exact).abs() < 3 * error).all()
    assert float(error.mean()) < 1.0


def test_the_trace_of_a_differential_equation_is_exact_where_it_is_asked_for() -> None:
    flow, x = moved(lambda: flows.FFJORD(70, hidden=(16,), exact=70), by=0.3), randn(3, 70)
    with torch.no_grad():
        assert (flow.estimate(x)[1] == 0).all()
        assert (flow.train().estimate(x)[1] > 0).all()


def test_series_of_a_steep_contraction_stay_within_three_of_their_errors() -> None:
    """J = 0.9 I nearly: a number of terms that fell by halves gave estimates of no variance."""
    layer = residual.Residual(70, 0, (70,), bound=0.9).double()
    with torch.no_grad():
        layer.net.layers[0].weight.copy_(10 * torch.eye(70))
        layer.net.layers[1].weight.copy_(10 * torch.eye(70))
        layer.net.layers[0].bias.fill_(30.0)
        x = randn(1, 70)
        exact = float(layer.log_det(x))
        assert exact > 40.0
        off = [float((mean - exact) / error) for mean, error in (layer.estimate(x, draws=50) for _ in range(20))]
    assert max(map(abs, off)) < 3.5 and sum(v * v for v in off) / len(off) < 2


# -- objectives ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["reverse", "alpha"])
def test_an_unnormalised_density_is_found_for_each_context_and_its_constant_too(objective: str) -> None:
    """p~(x | c) = 7 exp(-|x - (c, -c)|^2): the constant is 7 pi."""

    def learned(n: int) -> Tensor:
        c = torch.randn(n, 1)
        target = lambda x: math.log(7.0) - (x - torch.cat([c, -c], 1)).square().sum(1)  # noqa: E731
        if objective == "reverse":
            return flows.reverse_kl(flow, target, n, c)
        return flows.alpha_divergence(flow, target, n, 0.5, c)

    flow = flows.MAF(2, 1, transforms=1, hidden=(16,))
    optimiser = torch.optim.Adam(flow.parameters(), 3e-2)
    for step in range(200):
        optimiser.param_groups[0]["lr"] = 3e-2 * (1 - step / 200)
        optimiser.zero_grad()
        learned(128).mean().backward()
        optimiser.step()
    with torch.no_grad():
        assert float(learned(2000).mean()) == pytest.approx(-math.log(7 * math.pi), abs=0.03)


# -- the splines' box ------------------------------------------------------------------------------------------------


def test_scores_that_leave_the_box_are_said_after_a_training_that_did_not() -> None:
    flow = flows.NSF(2, **SMALL)
    flow().log_prob(torch.randn(200, 2)).mean().backward()
    with torch.no_grad(), pytest.warns(UserWarning, match="100% of the values lie outside the splines' box"):
        flow().log_prob(torch.full((60, 2), 50.0))
    with pytest.warns(UserWarning, match="50% of the values"):
        flows.NSF(2, **SMALL).on(["positive", (0.0, 1.0)])().log_prob(torch.tensor([[50.0, 0.5]]).expand(200, 2))


def test_a_uniform_base_has_a_flow_whose_draws_stay_inside() -> None:
    flow = moved(lambda: flows.NSF(2, linear=False, base=base.Uniform(2, 5.0), **SMALL))
    with torch.no_grad():
        x, log = flow().rsample_and_log_prob((500,))
        assert (x.abs() <= 5).all()
        torch.testing.assert_close(flow().log_prob(x), log)
