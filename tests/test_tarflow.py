"""Laws of the flow by a causal transformer: a bijection, inverted token by token, by sweeps and by passes."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from made import mixed, spec_of
from torch import Tensor

from pofx.errors import SpecError
from pofx.models import create
from pofx.nn.coupling import View
from pofx.nn.layer import Layer
from pofx.nn.tarflow import CausalConditioner, TarFlow, Tokenwise
from pofx.training.loop import Trainer
from pofx.transforms.affine import Affine
from pofx.transforms.spline import Spline

D, C = 4, 2
SIZES = {"width": 8, "heads": 2, "depth": 2}
LAYERS: dict[str, Callable[[], Tokenwise]] = {
    "affine": lambda: Tokenwise(D, C, **SIZES),
    "spline": lambda: Tokenwise(D, C, Spline(6), **SIZES),
    "patches": lambda: Tokenwise(D, C, patch=2, **SIZES),
    "one patch": lambda: Tokenwise(D, C, patch=D, **SIZES),
    "waves": lambda: Tokenwise(D, C, view=View(4), **SIZES),
    "sweeps": lambda: Tokenwise(D, C, block=3, **SIZES),
}


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moved(make: Callable[[], torch.nn.Module], by: float = 0.3) -> torch.nn.Module:
    """A module in float64 whose weights are no longer where they started."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = make().double()
        for p in module.parameters():
            p.data += by * torch.randn_like(p)
    return module.eval()


@pytest.fixture(params=list(LAYERS))
def layer(request: pytest.FixtureRequest) -> Tokenwise:
    return moved(LAYERS[request.param])


CONTEXT = randn(40, C, seed=9)
POINTS = {"usual": randn(40, D), "tails": 10 * randn(40, D, seed=1), "edges": 5 * randn(40, D, seed=2).sign()}


def naive(layer: Tokenwise, y: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
    """The inverse by as many whole passes as there are tokens."""
    x = torch.zeros_like(y)
    for _ in range(y.shape[1] // layer.patch):
        theta = layer.net(x.unflatten(1, (-1, layer.patch)), c)
        x, ladj = layer.elementwise.inverse_and_ladj(y, theta)
    return x, ladj.sum(1)


@pytest.mark.parametrize("where", list(POINTS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_inverse_of_a_call_is_the_identity(layer: Layer, where: str, dtype: torch.dtype) -> None:
    layer, x, c = layer.to(dtype), POINTS[where].to(dtype), CONTEXT.to(dtype)
    with torch.no_grad():
        y, forward = layer.call_and_ladj(x, c)
        again, back = layer.inverse_and_ladj(y, c)
    assert y.dtype == forward.dtype == again.dtype == back.dtype == dtype
    assert ((again - x).abs() / x.abs().clamp(min=1)).max() <= layer.tolerance[dtype is torch.float64]
    assert (forward + back).abs().max() <= 1e-3


def test_ladj_is_the_log_determinant_of_the_jacobian_and_no_token_sees_what_follows(layer: Tokenwise) -> None:
    for x, c in zip(POINTS["usual"][:5], CONTEXT, strict=False):
        jacobian = torch.autograd.functional.jacobian(lambda v, c=c: layer.call_and_ladj(v[None], c[None])[0][0], x)
        want = float(torch.linalg.slogdet(jacobian)[1])
        assert float(layer.call_and_ladj(x[None], c[None])[1][0].detach()) == pytest.approx(want, abs=1e-9)
        token = torch.arange(D) // layer.patch
        later = (token[:, None] <= token) & ~torch.eye(D, dtype=torch.bool)
        assert (jacobian[later] == 0).all() and (jacobian.diagonal() > 0).all()
        earlier = jacobian[token[:, None] > token]
        assert (earlier != 0).all() or isinstance(layer.elementwise, Spline)


def test_rows_are_strangers(layer: Layer) -> None:
    x = POINTS["usual"].clone()
    with torch.no_grad():
        want, ladj = layer.call_and_ladj(x, CONTEXT)
        y = want.clone()
        x[3], y[3, 1] = math.nan, math.nan
        clean = torch.arange(len(x)) != 3
        for (got, log), right in ((layer.call_and_ladj(x, CONTEXT), want), (layer.inverse_and_ladj(y, CONTEXT), x)):
            torch.testing.assert_close(got[clean], right[clean])
            torch.testing.assert_close(log[clean].abs(), ladj[clean].abs())
            assert got[3].isnan().any() and log[3].isnan() == log.isnan().any()
        torch.testing.assert_close(layer.call_and_ladj(x[:1], CONTEXT[:1])[0], want[:1])
        for n in (0, 1):
            assert layer.call_and_ladj(x[:n], CONTEXT[:n])[0].shape == (n, D)
            assert layer.inverse_and_ladj(want[:n], CONTEXT[:n])[1].shape == (n,)


@pytest.mark.parametrize("size", [1.0, 1e4])
@pytest.mark.parametrize("way", ["call_and_ladj", "inverse_and_ladj"])
def test_gradients_are_finite(layer: Layer, size: float, way: str) -> None:
    x = (size * POINTS["usual"]).requires_grad_()
    y, ladj = getattr(layer, way)(x, CONTEXT)
    ((y / size).square().mean() + ladj.mean()).backward()
    found = [p.grad for p in layer.parameters() if p.grad is not None] + [x.grad]
    assert len(found) > 10 and all(torch.isfinite(g).all() for g in found)


def test_the_inverse_carries_gradients(layer: Layer) -> None:
    """d inverse / d y is the inverse of d call / d x."""
    x, c = POINTS["usual"][:1], CONTEXT[:1]
    y = layer.call_and_ladj(x, c)[0].detach()
    there = torch.autograd.functional.jacobian(lambda v: layer.call_and_ladj(v, c)[0], x).reshape(D, D)
    back = torch.autograd.functional.jacobian(lambda v: layer.inverse_and_ladj(v, c)[0], y).reshape(D, D)
    torch.testing.assert_close(back @ there, torch.eye(D, dtype=torch.float64), atol=1e-9, rtol=0)


@pytest.mark.parametrize("block", [1, 2, 3, 5, 9, 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sweeps_steps_and_whole_passes_give_the_same(block: int, dtype: torch.dtype) -> None:
    layer = moved(lambda: Tokenwise(18, C, patch=2, **SIZES), by=0.5).to(dtype)
    y, c = 2 * randn(40, 18).to(dtype), CONTEXT.to(dtype)
    layer.block = block
    with torch.no_grad():
        x, ladj = layer.inverse_and_ladj(y, c)
        want, log = naive(layer, y, c)
    loose = 1e-10 if dtype == torch.float64 else 1e-3
    torch.testing.assert_close(x, want, atol=loose, rtol=loose)
    torch.testing.assert_close(ladj, log, atol=loose, rtol=loose)
    with_gradient, _ = layer.inverse_and_ladj(y, c)
    torch.testing.assert_close(with_gradient.detach(), want, atol=loose, rtol=loose)


def test_a_sweep_ends_one_token_at_the_least_and_all_where_none_depends(monkeypatch: pytest.MonkeyPatch) -> None:
    """17 tokens: 17 steps one by one, 17 sweeps at most, fewer of a gentle layer, one a block of one at its start."""
    sweeps, read = [], CausalConditioner.read
    monkeypatch.setattr(CausalConditioner, "read", lambda *given: (sweeps.append(1), read(*given))[1])
    for by, block, low, high in ((0.5, 1, 17, 17), (0.5, 6, 3, 17), (0.05, 17, 2, 12), (0.0, 6, 3, 3)):
        layer = moved(lambda: Tokenwise(17, **SIZES), by).float()
        layer.block = block
        sweeps.clear()
        with torch.no_grad():
            layer.inverse_and_ladj(randn(20, 17).float())
        assert low <= len(sweeps) <= high


def test_a_layer_starts_as_the_identity() -> None:
    x = randn(5, D)
    for elementwise in (Affine(), Spline(4)):
        y, ladj = Tokenwise(D, 0, elementwise, **SIZES).double().call_and_ladj(x)
        torch.testing.assert_close(y, x)
        torch.testing.assert_close(ladj, torch.zeros(5, dtype=torch.float64))


def test_weights_come_back_as_they_were(layer: Layer) -> None:
    held = {k: v.clone() for k, v in layer.state_dict().items()}
    want = layer.call_and_ladj(POINTS["usual"], CONTEXT)[0]
    for p in layer.parameters():
        p.data.zero_()
    layer.load_state_dict(held)
    assert torch.equal(layer.call_and_ladj(POINTS["usual"], CONTEXT)[0], want)


# -- the flow --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("patch", [1, 2])
def test_a_density_integrates_to_one_in_two_dimensions(patch: int) -> None:
    flow = moved(lambda: TarFlow(2, 1, transforms=2, patch=patch, **SIZES), by=0.2)
    steps = torch.linspace(-12, 12, 161, dtype=torch.float64)
    with torch.no_grad():
        law = flow(torch.ones(1, dtype=torch.float64))
        total = law.log_prob(torch.cartesian_prod(steps, steps)).exp().sum() * (steps[1] - steps[0]) ** 2
    assert float(total) == pytest.approx(1.0, abs=1e-3)


def test_a_density_integrates_to_one_in_one_dimension() -> None:
    flow = moved(lambda: TarFlow(1, transforms=2, **SIZES), by=0.2)
    steps = torch.linspace(-40, 40, 8001, dtype=torch.float64)
    with torch.no_grad():
        total = flow().log_prob(steps[:, None]).exp().sum() * (steps[1] - steps[0])
    assert float(total) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("block", [1, 3])
def test_a_draw_comes_with_its_density(block: int) -> None:
    flow = moved(lambda: TarFlow(4, C, transforms=3, block=block, **SIZES))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        law = flow(CONTEXT[:5])
        x, log = law.rsample_and_log_prob((7,))
        assert x.shape == (7, 5, 4) and log.shape == (7, 5)
        torch.testing.assert_close(law.log_prob(x), log, atol=1e-8, rtol=1e-8)
        with torch.no_grad():
            x, log = law.rsample_and_log_prob((7,))
            torch.testing.assert_close(law.log_prob(x), log, atol=1e-8, rtol=1e-8)
        assert flow(CONTEXT[0]).sample((0,)).shape == (0, 4)


def test_a_context_matters_to_every_token() -> None:
    flow = moved(lambda: TarFlow(4, C, transforms=1, **SIZES))
    z = randn(1, 4)
    one, other = (flow.layers.call_and_ladj(z, CONTEXT[i : i + 1])[0] for i in (0, 1))
    assert ((one - other).abs() > 1e-3).all()
    assert flow(CONTEXT[0]).log_prob(z) != flow(CONTEXT[1]).log_prob(z)


def moons(n: int) -> Tensor:
    """Two half circles, noise 0.1 about them."""
    turn, side = torch.rand(n) * math.pi, (torch.rand(n) < 0.5).float()
    x = torch.stack([torch.cos(turn) * (1 - 2 * side) + side, torch.sin(turn) * (1 - 2 * side) + side / 2], 1)
    return x + 0.1 * torch.randn(n, 2)


def test_it_learns_two_moons_better_than_a_gaussian() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        data, held = moons(3000), moons(2000)
        flow = TarFlow(2, transforms=3, width=16, heads=2, depth=1, waves=2)
        optimiser = torch.optim.Adam(flow.parameters(), 1e-2)
        for step in range(120):
            optimiser.param_groups[0]["lr"] = 1e-2 * (1 - step / 120)
            loss = -flow().log_prob(data[torch.randint(3000, (128,))]).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    gauss = torch.distributions.MultivariateNormal(data.mean(0), data.T.cov())
    with torch.no_grad():
        assert flow().log_prob(held).mean() > gauss.log_prob(held).mean() + 0.3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"patch": 4}, "expected a patch that divides the 6 features, got 4"),
        ({"heads": 3}, "expected heads that divide the width of 128, got 3"),
        ({"transforms": 0}, "expected transforms of at least 1, got 0"),
        ({"depth": 0}, "expected depth of at least 1, got 0"),
        ({"block": 0}, "expected block of at least 1, got 0"),
        ({"features": 0}, "expected features of at least 1, got 0"),
    ],
)
def test_what_is_wrong_is_said(words: dict[str, int], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        TarFlow(**{"features": 6} | words)


# -- the model of tables ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bins", [0, 4])
def test_a_table_is_learned_in_a_few_steps(bins: int) -> None:
    x = mixed(400)
    model = create("tarflow", spec_of(x), transforms=2, width=16, heads=2, bins=bins, samples=8)
    before = model.log_prob(x).mean()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Trainer(model, model.prepare(x), None, 0, "cpu", batch=64).run(90)
    score = model.eval().log_prob(x)
    assert np.isfinite(score).all() and score.mean() > before + 0.2
    drawn = model.decode(model.noise(2000, torch.Generator().manual_seed(0)))
    assert all(field.contains(drawn[field.name]).all() for field in model.spec.fields)
    z = model.encode(x)
    back = model.decode(z)
    assert np.mean([np.mean(back[k] == x[k]) for k in ("a", "b", "d")]) > 0.999
