"""Laws of integers: masses sum to one, draws follow them, gradients live, and known laws are found."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pofx.errors import SpecError
from pofx.nn import flows
from pofx.nn.dequantise import CdfDifference, Dequantised, Integers
from pofx.transforms.spline import Spline

SMALL = {"hidden": (16, 16), "transforms": 2}
DIFFERENCES: dict[str, Callable[..., Integers]] = {
    "affine": lambda d, levels, c=0: CdfDifference(d, levels, c, (16, 16)),
    "affine, logistic": lambda d, levels, c=0: CdfDifference(d, levels, c, (16, 16), base="logistic"),
    "spline": lambda d, levels, c=0: CdfDifference(d, levels, c, (16, 16), Spline(6)),
}
BOUNDS: dict[str, Callable[..., Integers]] = {
    "uniform": lambda d, levels, c=0: Dequantised(flows.MAF(d, c, **SMALL), levels),
    "variational": lambda d, levels, c=0: Dequantised(flows.MAF(d, c, **SMALL), levels, "variational", (16,)),
}
ALL = DIFFERENCES | BOUNDS


def moved(make: Callable[[], Integers], seed: int = 0, by: float = 0.3) -> Integers:
    """A law of float64 whose weights are no longer where they started."""
    torch.manual_seed(seed)
    law = make().double()
    for p in law.parameters():
        p.data += by * torch.randn_like(p)
    return law.eval()


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def grid(*levels: int) -> Tensor:
    return torch.cartesian_prod(*(torch.arange(n) for n in levels)).reshape(-1, len(levels))


def fitted(law: Integers, k: Tensor, p: Tensor, steps: int, rate: float = 1e-2) -> Integers:
    """The law after steps down sum_k p(k) (-log P(k))."""
    optimiser = torch.optim.Adam(law.parameters(), rate)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * (1 - step / steps)
        loss = -(p * law.log_prob(k)).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return law.eval()


def correlated() -> tuple[Tensor, Tensor]:
    """A Poisson law of 3 cut at 9, and a binomial one of 6 whose chance rises with it: cells and masses."""
    k = grid(10, 7)
    a, b = k.double().T
    first = torch.distributions.Poisson(3.0).log_prob(a)
    second = torch.distributions.Binomial(6, (a + 0.5) / 10).log_prob(b)
    return k, (first + second).softmax(0)


# -- masses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(DIFFERENCES))
@pytest.mark.parametrize(("by", "dtype"), [(0.3, torch.float64), (5.0, torch.float64), (0.3, torch.float32)])
def test_masses_of_differences_sum_to_one(name: str, by: float, dtype: torch.dtype) -> None:
    law = moved(lambda: DIFFERENCES[name](3, (5, 1, 6), 2), by=by).to(dtype)
    c = torch.randn(2, 2, dtype=dtype)
    with torch.no_grad():
        for one in c:
            got = law.log_prob(grid(5, 1, 6), one.expand(30, -1))
            assert got.dtype == dtype
            assert float(got.exp().sum()) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("name", list(BOUNDS))
def test_masses_of_bounds_sum_to_one_within_their_error_and_more_draws_give_more(name: str) -> None:
    law, k = moved(lambda: BOUNDS[name](2, (4, 3), 1), by=0.2), grid(4, 3)
    c = torch.ones(12, 1, dtype=torch.float64)
    with torch.no_grad():
        runs = torch.stack([law.log_prob(k, c, samples=1000) for _ in range(8)]).exp().sum(1)
        assert abs(float(runs.mean()) - 1) < 4 * float(runs.std()) / 8**0.5 + 1e-3
        assert float(runs.std()) < 0.05
        one = law.log_prob(k.repeat(500, 1), c.repeat(500, 1)).view(500, 12)
        many = law.log_prob(k, c, samples=3000)
        assert (one.mean(0) <= many + 0.05).all() and one.mean() < many.mean()


@pytest.mark.parametrize("name", list(BOUNDS))
def test_a_bound_of_an_affine_flow_tends_to_its_mass(name: str) -> None:
    """One affine map of logit(x): P(k) = Phi(f(logit (k + 1) / L)) - Phi(f(logit k / L))."""
    noise = {"noise": name, "hidden": (8,)}
    law = moved(lambda: Dequantised(flows.MAF(1, transforms=1, hidden=(8,)), 6, **noise))
    ends = torch.logit(torch.arange(1, 6, dtype=torch.float64) / 6)[:, None]
    with torch.no_grad():
        inner = torch.special.ndtr(law.flow.layers.call_and_ladj(ends)[0][:, 0])
        want = torch.cat([torch.zeros(1), inner, torch.ones(1)]).diff()
        torch.testing.assert_close(law.log_prob(grid(6), samples=5000).exp(), want, atol=1e-2, rtol=3e-2)


def test_a_mass_is_the_difference_of_two_values_of_the_distribution_function() -> None:
    for base, cdf in (("normal", torch.special.ndtr), ("logistic", torch.sigmoid)):
        law = CdfDifference(1, 3, base=base)
        low = torch.tensor([-3.0, -0.2, 0.0, 1.0], dtype=torch.float64)
        high = low + torch.tensor([0.1, 1e-3, 4.0, 2.0], dtype=torch.float64)
        torch.testing.assert_close(law.log_mass(low, high).exp(), cdf(high) - cdf(low), atol=1e-14, rtol=1e-10)
        torch.testing.assert_close(law.log_mass(-high, -low), law.log_mass(low, high), atol=0, rtol=0)
    far = CdfDifference(1, 3).log_mass(torch.tensor([40.0]).double(), torch.tensor([41.0]).double())
    assert float(far) == pytest.approx(-804.608442, abs=1e-5)  # log Phi(-40), of which Phi(-41) is nothing


@pytest.mark.parametrize("name", list(ALL))
def test_frequencies_of_draws_follow_the_masses(name: str) -> None:
    law, k, n = moved(lambda: ALL[name](2, (3, 4), 1), by=0.2), grid(3, 4), 6000
    c = torch.full((12, 1), 0.5, dtype=torch.float64)
    more = {"samples": 8000} if name in BOUNDS else {}
    with torch.no_grad():
        p = law.log_prob(k, c, **more).exp()
        draws = law.sample(n, c[0])
    assert draws.dtype == torch.int64 and draws.shape == (n, 2)
    seen = torch.bincount(draws[:, 0] * 4 + draws[:, 1], minlength=12).double()
    chi = ((seen - n * p).square() / (n * p)).sum()
    assert float(chi) < 11 + 4 * math.sqrt(2 * 11)


# -- rows, dtypes, gradients -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(ALL))
def test_outside_the_levels_is_minus_infinity_and_rows_are_strangers(name: str) -> None:
    law = moved(lambda: ALL[name](2, (3, 256), 1))
    k = torch.tensor([[0, 0], [2, 255], [3, 0], [-1, 4], [1, 256], [1, 100]])
    c = torch.randn(6, 1, dtype=torch.float64)
    inside = torch.tensor([True, True, False, False, False, True])
    other = torch.where(inside[:, None], k, 1)
    torch.manual_seed(1)
    got = law.log_prob(k, c)
    torch.manual_seed(1)
    want = law.log_prob(other, c)
    assert torch.equal(got[inside], want[inside]) and got[inside].isfinite().all()
    assert (got[~inside] == -math.inf).all()
    got[inside].sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in law.parameters() if p.grad is not None)
    if name in DIFFERENCES:
        torch.testing.assert_close(law.log_prob(k[1:2], c[1:2]), want[1:2])
    wild = torch.tensor([[math.inf, 0], [1, -math.inf], [1e30, 1]])
    assert (law.log_prob(wild, c[:3]) == -math.inf).all()


@pytest.mark.parametrize("name", list(ALL))
@pytest.mark.parametrize("features", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batches_dtypes_and_shapes(name: str, features: int, dtype: torch.dtype) -> None:
    law = moved(lambda: ALL[name](features, 5, 2)).to(dtype)
    for n in (0, 1, 4):
        c = torch.randn(n, 2, dtype=dtype)
        for kind in (torch.uint8, torch.uint16, torch.int64, torch.float16, torch.float64):
            got = law.log_prob(torch.full((n, features), 4).to(kind), c)
            assert got.shape == (n,) and got.dtype == dtype and got.isfinite().all()
        draws = law.sample(7, c)
        assert draws.shape == (7, n, features) and ((draws >= 0) & (draws < 5)).all()
        assert law.draw(n, c).shape == (n, features)
    assert law.sample(2, torch.zeros(3, 4, 2, dtype=dtype)).shape == (2, 3, 4, features)
    assert law.sample(0, torch.zeros(2, dtype=dtype)).shape == (0, features)
    plain = ALL[name](features, 5)
    assert plain.sample(3).shape == (3, features)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.uint16])
def test_a_coarse_dtype_loses_no_level(kind: torch.dtype) -> None:
    """257 and 2049 levels are rounded in these dtypes, and their last level is not."""
    for levels in (257, 2049):
        last = torch.tensor([[levels - 1]])
        law = CdfDifference(1, levels, hidden=(8,))
        assert torch.equal(law.log_prob(last.to(kind)), law.log_prob(last))


def test_bits_are_nats_over_features_and_log_two() -> None:
    law, k = moved(lambda: DIFFERENCES["spline"](3, 4)), torch.tensor([[0, 1, 2], [3, 3, 3]])
    torch.testing.assert_close(law.bits(k), -law.log_prob(k) / (3 * math.log(2)))
    even = Dequantised(flows.MAF(2, **SMALL), 4)
    assert even.bits(k[:, :2], samples=50).shape == (2,)


@pytest.mark.parametrize("name", list(ALL))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("by", [1.0, 10.0])
def test_values_and_gradients_are_finite_whatever_the_weights(name: str, dtype: torch.dtype, by: float) -> None:
    law = moved(lambda: ALL[name](2, (3, 256)), by=by).to(dtype)
    k = torch.cat([grid(3, 2), torch.tensor([[0, 255], [1, 254], [2, 100]])]).repeat(50, 1)
    log = law.log_prob(k)
    assert log.isfinite().all() and (name in BOUNDS or (log <= 1e-6).all())
    log.mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in law.parameters() if p.grad is not None)


@pytest.mark.parametrize("base", ["normal", "logistic"])
def test_a_difference_in_a_saturated_tail_is_no_nan(base: str) -> None:
    law = CdfDifference(1, 5, base=base)
    for place in (1e2, 1e4, 1e7, 1e12):
        low = torch.tensor([place, -place, 0.0, -1e6], dtype=torch.float64).clamp(-1e6, 1e6).requires_grad_()
        high = (low + torch.tensor([1.0, 1e-9, 1e-18, 2e6], dtype=torch.float64)).clamp(-1e6, 1e6)
        log = law.log_mass(low, high)
        log.sum().backward()
        assert log.isfinite().all() and (log <= 0).all() and low.grad.isfinite().all()


# -- learning --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["affine", "affine, logistic", "spline"])
def test_differences_find_two_correlated_integers(name: str) -> None:
    k, p = correlated()
    law = fitted(DIFFERENCES[name](2, (10, 7)), k, p, 200, 2e-2)
    with torch.no_grad():
        assert float((p * (p.log() - law.log_prob(k))).sum()) < {"affine": 0.08, "spline": 0.04}.get(name, 0.06)


def test_a_difference_puts_all_mass_on_one_of_many_levels() -> None:
    law = fitted(CdfDifference(1, 256, hidden=(8,)), torch.tensor([[77]]), torch.ones(1), 150, 5e-2)
    with torch.no_grad():
        assert float(law.log_prob(torch.tensor([[77]]))) > -0.1


def test_a_learned_noise_gives_a_tighter_bound_than_a_uniform_one() -> None:
    """Two integers of eight levels, nearly equal: their law is peaked, and a smooth flow cannot follow its steps."""
    k = grid(8, 8)
    p = (-4.0 * (k[:, 0] - k[:, 1]).abs() - 0.5 * (k[:, 0] - 3.0).abs()).double().softmax(0)
    entropy = -float((p * p.log()).sum())
    bound = {}
    for noise in ("uniform", "variational"):
        torch.manual_seed(0)
        flow = flows.NSF(2, transforms=1, hidden=(32, 32), coupling=False)
        law = fitted(Dequantised(flow, 8, noise, (32,)), k.repeat(4, 1), p.repeat(4) / 4, 200)
        with torch.no_grad():
            one = law.log_prob(k.repeat(50, 1)).view(50, -1).mean(0)
            bound[noise] = -float((p * one).sum())
            assert entropy - 0.02 < -float((p * law.log_prob(k, samples=50)).sum()) < bound[noise]
    assert bound["variational"] < bound["uniform"] - 0.1


# -- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(ALL))
def test_what_is_wrong_is_said(name: str) -> None:
    law = ALL[name](2, 4, 1)
    k, c = torch.zeros(3, 2), torch.zeros(3, 1)
    with pytest.raises(SpecError, match="expected whole numbers, got 0.5: round them"):
        law.log_prob(k + 0.5, c)
    with pytest.raises(SpecError, match="whole numbers, got nan"):
        law.log_prob(k * math.nan, c)
    with pytest.raises(SpecError, match=r"k of shape \(rows, 2\), got \(3, 1\)"):
        law.log_prob(k[:, :1], c)
    with pytest.raises(SpecError, match=r"context of shape \(3, 1\), got none"):
        law.log_prob(k)
    with pytest.raises(SpecError, match=r"context of shape \(4, 1\), got \(3, 1\)"):
        law.draw(4, c)
    for levels in ((4, 4, 4), (4, 0), 0, ()):
        with pytest.raises(SpecError, match="levels of at least 1, one number for all or 2"):
            ALL[name](2, levels)


def test_what_else_is_wrong_is_said() -> None:
    flow = flows.MAF(2, **SMALL)
    with pytest.raises(SpecError, match="'uniform' or 'variational', got 'normal'"):
        Dequantised(flow, 4, "normal")
    with pytest.raises(SpecError, match="samples of at least 1, got 0"):
        Dequantised(flow, 4).log_prob(torch.zeros(1, 2), samples=0)
    with pytest.raises(SpecError, match="'normal' or 'logistic', got 'cauchy'"):
        CdfDifference(2, 4, base="cauchy")
