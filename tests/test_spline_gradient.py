"""The closed gradient of a spline is that of the plain map, of first and second order, whatever asks for it."""

import pytest
import torch
from torch import Tensor

from pofx.transforms.spline import Spline

ENDS = ("linear", "circular", "bounded")


def points(ends: str, rows: int = 40, dtype: torch.dtype = torch.float64) -> tuple[Spline, Tensor, Tensor]:
    """A spline, places of which some of a linear one are outside its box, and bent parameters."""
    random = torch.Generator().manual_seed(0)
    spline = Spline(5, 2.0, ends=ends)
    x = (torch.rand(rows, 3, generator=random, dtype=dtype) * 2 - 1) * (3 if ends == "linear" else 2)
    theta = 2 * torch.randn(rows, spline.size, 3, generator=random, dtype=dtype)
    return spline, x.requires_grad_(), theta.requires_grad_()


@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize("reads", [(True, True), (True, False), (False, True)])
def test_values_and_gradients_are_those_of_the_plain_map(ends: str, reads: tuple[bool, bool]) -> None:
    spline, x, theta = points(ends)
    closed, plain = spline.call_and_ladj(x, theta), spline.plain_call_and_ladj(x, theta)
    torch.testing.assert_close(closed, plain, atol=1e-12, rtol=1e-12)
    pulls = [torch.randn_like(x) if read else None for read in reads]
    got, want = (
        torch.autograd.grad([v for v, p in zip(of, pulls, strict=True) if p is not None], (x, theta),
                            [p for p in pulls if p is not None])
        for of in (closed, plain)
    )  # fmt: skip
    torch.testing.assert_close(got, want, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("ends", ENDS)
def test_gradients_in_float32_are_those_of_float64(ends: str) -> None:
    spline, x, theta = points(ends, 2000)
    single = [v.detach().float().requires_grad_() for v in (x, theta)]
    for of in ((x, theta), single):
        y, ladj = spline.call_and_ladj(*of)
        (y.sum() + ladj.sum()).backward()
    for exact, rough in zip((x.grad, theta.grad), (single[0].grad, single[1].grad), strict=True):
        off = (rough.double() - exact).abs() / (1 + exact.abs())
        assert off.quantile(0.999) < 1e-3


@pytest.mark.parametrize("ends", ENDS)
def test_second_gradients_are_those_of_the_plain_map(ends: str) -> None:
    spline, x, theta = points(ends, 4)
    assert torch.autograd.gradgradcheck(spline.call_and_ladj, (x, theta))


def test_vectorised_gradients_are_those_of_each_row() -> None:
    spline, x, theta = points("linear", 6)
    x, theta = x.detach(), theta.detach()

    def ladj(u: Tensor, t: Tensor) -> Tensor:
        return spline.call_and_ladj(u[None], t[None])[1].sum()

    each = torch.func.vmap(torch.func.grad(ladj, argnums=(0, 1)))(x, theta)
    for i in range(len(x)):
        own = [v[i].clone().requires_grad_() for v in (x, theta)]
        for got, want in zip(each, torch.autograd.grad(ladj(*own), own), strict=True):
            torch.testing.assert_close(got[i], want)
    shared = torch.func.vmap(lambda u: spline.call_and_ladj(u, theta)[0])(torch.stack([x, 2 * x]))
    torch.testing.assert_close(shared[1], spline.call_and_ladj(2 * x, theta)[0])


@pytest.mark.parametrize("part", [0, 1])
def test_a_jacobian_by_batched_gradients_is_that_of_single_ones(part: int) -> None:
    spline, x, theta = points("bounded", 2)

    def summed(u: Tensor) -> Tensor:
        return spline.call_and_ladj(u, theta)[part].sum(1)

    got, want = (torch.autograd.functional.jacobian(summed, x, vectorize=v) for v in (True, False))
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("ends", ENDS)
def test_a_row_of_nan_spoils_its_own_gradient_alone(ends: str) -> None:
    spline, x, theta = points(ends)
    want = torch.autograd.grad(sum(v.sum() for v in spline.call_and_ladj(x, theta)), (x, theta))
    spoilt = x.detach().clone()
    spoilt[3] = torch.nan
    got = torch.autograd.grad(
        sum(v.sum() for v in spline.call_and_ladj(spoilt.requires_grad_(), theta)), (spoilt, theta)
    )
    rows = torch.arange(len(x)) != 3
    for a, b in zip(got, want, strict=True):
        assert torch.equal(a[rows], b[rows])
