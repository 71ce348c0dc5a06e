"""Objectives against closed forms."""

import math

import pytest
import torch

from pofx import objectives as o

A = torch.tensor([3.0, -4.0, 12.0], dtype=torch.float64)


def rows(n: int = 7, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_slopes_of_a_linear_critic_are_the_norm_of_its_weights() -> None:
    x, y, mix = rows(), rows(seed=1), torch.rand(7, dtype=torch.float64)
    torch.testing.assert_close(o.r1(lambda v: v @ A, x), torch.full((7,), 169.0, dtype=torch.float64))
    torch.testing.assert_close(o.r2(lambda v: v @ A + 5, y), torch.full((7,), 169.0, dtype=torch.float64))
    torch.testing.assert_close(o.gradient_penalty(lambda v: v @ A, x, y, mix), torch.full((7,), 144.0).double())


def test_slopes_of_a_quadratic_critic_follow_the_point() -> None:
    x, y = rows(), rows(seed=1)
    mix = torch.tensor([0.0, 1.0, 0.5, 0.25, 0.1, 0.9, 0.3], dtype=torch.float64)

    def critic(v: torch.Tensor) -> torch.Tensor:
        return 0.5 * v.square().sum(1)

    torch.testing.assert_close(o.r1(critic, x), x.square().sum(1))
    middle = mix[:, None] * x + (1 - mix[:, None]) * y
    torch.testing.assert_close(o.gradient_penalty(critic, x, y, mix), (middle.norm(dim=1) - 1).square())


def test_the_penalty_teaches_the_critic() -> None:
    weight = torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64, requires_grad=True)
    o.r1(lambda v: v @ weight, rows()).mean().backward()
    torch.testing.assert_close(weight.grad, torch.full((3,), 2.0, dtype=torch.float64))


def test_adversarial_losses_at_a_tie_and_exchanged() -> None:
    real, fake = rows()[:, 0], rows()[:, 1]
    zero = torch.zeros(1)
    assert o.relativistic(zero, zero).item() == pytest.approx(math.log(2))
    assert o.minimax(zero, zero).item() == pytest.approx(2 * math.log(2))
    torch.testing.assert_close(o.wasserstein(real, fake), -o.wasserstein(fake, real))
    torch.testing.assert_close(o.relativistic(real, fake) - o.relativistic(fake, real), fake - real)
    torch.testing.assert_close(o.relativistic(real + 3, fake + 3), o.relativistic(real, fake))


def test_wasserstein_between_shifted_gaussians_is_the_shift() -> None:
    """The best 1-Lipschitz critic of N(0, I) and N(a, I) is linear along a; its loss is minus the shift |a| = 13."""
    x = rows(50_000)
    assert -o.wasserstein((x + A) @ (A / 13), x @ (A / 13)).mean().item() == pytest.approx(13.0)


def test_sliced_distance_of_a_shift_is_its_mean_length_along_the_directions() -> None:
    x, directions = rows(500), torch.eye(3, dtype=torch.float64)
    assert o.sliced_distance(x, x.flip(0) + A, directions).item() == pytest.approx(19 / 3)
    assert o.sliced_distance(x, x.flip(0), directions).item() == 0.0


def test_normal_kl_agrees_with_torch_and_is_zero_at_the_prior() -> None:
    from torch.distributions import Normal, kl_divergence

    mean, log_scale = rows(), rows(seed=2)
    wanted = kl_divergence(Normal(mean, log_scale.exp()), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(o.normal_kl(mean, log_scale), wanted)
    assert o.normal_kl(torch.zeros(2, 3), torch.zeros(2, 3)).tolist() == [0.0, 0.0]
    torch.testing.assert_close(o.normal_log_prob(mean), Normal(0.0, 1.0).log_prob(mean).sum(1))


def test_the_bounds_are_tight_at_the_exact_posterior() -> None:
    """p(z) = N(0,1), p(x|z) = N(z,1): q = N(x/2, 1/2) makes every importance weight p(x) = N(x; 0, 2)."""
    from torch.distributions import Normal

    x = torch.linspace(-3, 3, 9, dtype=torch.float64)
    z = x / 2 + math.sqrt(0.5) * rows(5)[:, :1]
    prior, posterior = Normal(0.0, 1.0), Normal(x / 2, math.sqrt(0.5))
    weights = Normal(z, 1.0).log_prob(x) + prior.log_prob(z) - posterior.log_prob(z)
    exact = Normal(0.0, math.sqrt(2)).log_prob(x)
    torch.testing.assert_close(o.iwae(weights), exact)
    likelihood = Normal(x / 2, 1.0).log_prob(x) - 0.25
    kl = o.normal_kl((x / 2)[:, None], torch.full((9, 1), math.log(0.5) / 2, dtype=torch.float64))
    torch.testing.assert_close(o.elbo(likelihood, kl), exact)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logistic_cells_sum_to_one(dtype: torch.dtype) -> None:
    inner = torch.linspace(-8, 8, 41, dtype=torch.float64)
    ends = torch.cat([torch.tensor([-1e4]), inner, torch.tensor([1e4])]).double()
    low, high, gap = (v.to(dtype)[:, None] for v in (ends[:-1], ends[1:], ends.diff()))
    location, log_scale = torch.tensor([-3.0, 0.0, 7.0], dtype=dtype), torch.tensor([-2.0, 0.0, 1.5], dtype=dtype)
    mass = o.logistic_mass(low, high, gap, location, log_scale)
    torch.testing.assert_close(mass.exp().sum(0), torch.ones(3, dtype=dtype))


def test_a_tiny_logistic_cell_is_density_times_width_and_its_slopes_are_finite() -> None:
    at, log_scale = torch.tensor(2.0), torch.tensor(-1.0, requires_grad=True)
    location = torch.tensor(0.5, requires_grad=True)
    got = o.logistic_mass(at, at, torch.tensor(1e-9), location, log_scale)
    t = 1.5 * math.e
    assert got.item() == pytest.approx(math.log(1e-9) + 1 - t - 2 * math.log1p(math.exp(-t)), rel=1e-5)
    whole = o.logistic_mass(torch.tensor(-1e4), torch.tensor(1e4), torch.tensor(2e4), location, log_scale)
    assert whole.item() == 0.0
    (got + whole).backward()
    assert math.isfinite(location.grad.item()) and math.isfinite(log_scale.grad.item())
