"""Laws of every likelihood head: masses sum to one, draws have them, gradients are finite far out."""

import math

import pytest
import torch
from torch import Tensor

from pofx.nn import heads as h

CELLS = {"mixture": h.LogisticMixture(3), "normal": h.Normal(), "student": h.StudentT()}
CODES = {
    "bernoulli": (h.Bernoulli(), 2),
    "categorical": (h.Categorical(5), 5),
    "ordinal": (h.Ordinal(6), 6),
    "negative_binomial": (h.NegativeBinomial(), 2000),
}


def theta_of(head: object, rows: int = 4, features: int = 3, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(rows, head.size, features, generator=torch.Generator().manual_seed(0), dtype=dtype)


def masses(head: h.CellHead, ends: Tensor, theta: Tensor) -> Tensor:
    """log P of each cell between neighbouring ends, (cells, B, F)."""
    shape = (theta.shape[0], theta.shape[2])
    return torch.stack([
        head.log_mass(a.expand(shape), b.expand(shape), (b - a).expand(shape), theta)
        for a, b in zip(ends[:-1], ends[1:], strict=True)
    ])  # fmt: skip


@pytest.mark.parametrize("name", CELLS)
def test_masses_of_cells_that_tile_the_line_sum_to_one(name: str) -> None:
    ends = torch.cat([torch.tensor([-1e4]), torch.linspace(-12, 12, 97), torch.tensor([1e4])]).double()
    total = masses(CELLS[name], ends, theta_of(CELLS[name])).exp().sum(0)
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-7, rtol=0)


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_has_the_sum_of_its_parts_and_float32_is_enough(name: str) -> None:
    head, theta = CELLS[name], theta_of(CELLS[name])
    for middle in (-30.0, -2.0, 0.3, 9.0):
        for width in (2.0, 0.1, 1e-3, 1e-5):
            ends = torch.tensor([middle, middle + width / 2, middle + width], dtype=torch.float64)
            low, high, gap = (end.expand(4, 3) for end in (ends[0], ends[2], torch.tensor(width).double()))
            whole = head.log_mass(low, high, gap, theta)
            torch.testing.assert_close(whole, torch.logsumexp(masses(head, ends, theta), 0), atol=1e-5, rtol=1e-5)
            single = head.log_mass(low.float(), high.float(), gap.float(), theta.float())
            torch.testing.assert_close(single.double(), whole, atol=2e-2, rtol=1e-3)


def test_student_is_the_law_of_four_degrees_of_freedom() -> None:
    t = torch.linspace(-6, 6, 25, dtype=torch.float64)
    width = 1e-4
    cell = h.StudentT().log_mass((t - width / 2)[None], (t + width / 2)[None], torch.full((1, 25), width).double(),
                                 torch.zeros(1, 2, 25).double())  # fmt: skip
    density = torch.distributions.StudentT(4.0).log_prob(t)
    torch.testing.assert_close(cell[0] - math.log(width), density, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", CELLS)
def test_draws_of_cells_have_their_masses(name: str) -> None:
    head = CELLS[name]
    theta = theta_of(head, 1, 2).expand(100_000, -1, -1)
    u = torch.rand(100_000, head.draws, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = head.draw(theta, u)
    for a, b in ((-1.0, 0.5), (0.5, 2.0), (-8.0, -1.0)):
        ends = torch.tensor([a, b], dtype=torch.float64)
        wanted = masses(head, ends, theta[:1])[0, 0].exp()
        share = ((x >= a) & (x < b)).double().mean(0)
        assert ((share - wanted).abs() < 4 * (wanted * (1 - wanted) / 1e5).sqrt() + 1e-6).all()


@pytest.mark.parametrize("name", CELLS)
def test_gradients_of_cells_are_finite_wherever_the_cell_lies(name: str) -> None:
    theta = theta_of(CELLS[name], 1, 1, dtype=torch.float32)
    for low, high in ((-1e4, -5.0), (-1e4, 1e4), (5.0, 1e4), (0.0, 1e-6), (400.0, 400.1), (-1e4, -9e3)):
        leaf = theta.clone().requires_grad_(True)
        ends = torch.tensor([[low]]), torch.tensor([[high]]), torch.tensor([[high - low]])
        value = CELLS[name].log_mass(*ends, leaf)
        value.sum().backward()
        assert value.isfinite().all() and leaf.grad.isfinite().all(), (low, high)


@pytest.mark.parametrize("name", CODES)
def test_masses_of_codes_sum_to_one_and_draws_have_them(name: str) -> None:
    head, count = CODES[name]
    theta = theta_of(head, 3, 2)
    every = torch.stack([head.log_mass(torch.full((3, 2), k), theta) for k in range(count)]).exp()
    torch.testing.assert_close(every.sum(0), torch.ones(3, 2).double(), atol=1e-6, rtol=0)
    many = theta[:1].expand(20_000, -1, -1) if name != "negative_binomial" else theta[:1].expand(2000, -1, -1)
    u = torch.rand(len(many), 1, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    drawn = head.draw(many, u)
    for k in range(min(count, 4)):
        wanted = every[k, 0]
        share = (drawn == k).double().mean(0)
        assert ((share - wanted).abs() < 4 * (wanted * (1 - wanted) / len(many)).sqrt() + 1e-4).all()
    centre = every.gather(0, head.centre(theta)[None])[0]
    assert (every.max(0).values - centre < 1e-3).all()


def test_an_ordinal_law_moves_up_with_its_location() -> None:
    head, theta = h.Ordinal(5), torch.zeros(1, 6, 1).double()
    k = torch.arange(5).double()[:, None, None]

    def mean(m: float) -> float:
        moved = theta.clone()
        moved[:, 0] = m
        every = torch.stack([head.log_mass(torch.full((1, 1), j), moved) for j in range(5)]).exp()
        return float((k * every).sum())

    assert mean(-2.0) < mean(0.0) < mean(2.0)


def test_a_wider_ordinal_law_is_flatter_and_its_thresholds_are_logits() -> None:
    head = h.Ordinal(3)
    theta = torch.tensor([0.5, 0.0, -1.0, math.log(math.expm1(2.0))]).double().view(1, 4, 1)
    below = head.log_masses(theta).exp().cumsum(1)[0, :2, 0]
    torch.testing.assert_close(below, torch.sigmoid(torch.tensor([-1.5, 0.5]).double()))
    theta[:, 1] = math.log(2.0)
    below = head.log_masses(theta).exp().cumsum(1)[0, :2, 0]
    torch.testing.assert_close(below, torch.sigmoid(torch.tensor([-0.75, 0.25]).double()), atol=2e-2, rtol=0)


def test_the_normal_law_has_the_right_slope_however_far_below_zero() -> None:
    t = torch.tensor([-1e6, -1e4, -300.0, -31.0, -29.0, -5.0, 0.0, 3.0], dtype=torch.float64)
    exact = torch.special.log_ndtr(t)
    slope = torch.exp(-0.5 * t.square() - 0.5 * math.log(2 * math.pi) - exact)
    slope[:4] = -t[:4] * (1 + 1 / t[:4].square())  # phi / Phi, whose factors are no numbers there
    for dtype, near in ((torch.float64, 1e-5), (torch.float32, 1e-4)):
        leaf = t.to(dtype, copy=True).requires_grad_()
        value = h.log_normal_cdf(leaf)
        value.sum().backward()
        torch.testing.assert_close(value.detach().double(), exact, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(leaf.grad.double(), slope, rtol=near, atol=1e-6)
