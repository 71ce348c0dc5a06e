"""The coupling is a bijection, and its log-determinant is that of the Jacobian."""

import pytest
import torch

from pofx.transforms.affine import AffineCoupling, soft_limit


def coupling(keep: list[bool], seed: int = 0) -> AffineCoupling:
    d, generator = len(keep), torch.Generator().manual_seed(seed)
    first = torch.randn(d, 16, generator=generator, dtype=torch.float64)
    last = torch.randn(16, 2 * d, generator=generator, dtype=torch.float64)
    return AffineCoupling(torch.tensor(keep), lambda x: torch.tanh(x @ first + 0.3) @ last, limit=2.0)


CASES = [[True, False, True, False], [False, False, True], [False], [True, True]]


@pytest.mark.parametrize("keep", CASES)
def test_inverse_of_call_is_the_identity(keep: list[bool]) -> None:
    x = torch.randn(50, len(keep), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    bijection = coupling(keep)
    y, ladj = bijection.call_and_ladj(x)
    again, back = bijection.inverse_and_ladj(y)
    torch.testing.assert_close(again, x, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(back, -ladj, atol=1e-12, rtol=1e-12)
    assert torch.equal(y[:, torch.tensor(keep)], x[:, torch.tensor(keep)])
    assert ladj.shape == (50,) and (ladj.abs() <= 2.0 * keep.count(False)).all()


@pytest.mark.parametrize("keep", CASES)
def test_ladj_is_the_log_determinant_of_the_jacobian(keep: list[bool]) -> None:
    bijection = coupling(keep)
    for x in torch.randn(5, len(keep), generator=torch.Generator().manual_seed(2), dtype=torch.float64):
        jacobian = torch.autograd.functional.jacobian(lambda v: bijection.call_and_ladj(v)[0], x)
        torch.testing.assert_close(bijection.call_and_ladj(x)[1], torch.linalg.slogdet(jacobian)[1])


def test_soft_limit_is_the_identity_at_zero_and_stays_inside() -> None:
    x = torch.tensor([-1e6, 0.0, 1e6], dtype=torch.float64, requires_grad=True)
    y = soft_limit(x, 3.0)
    torch.testing.assert_close(y.detach(), torch.tensor([-3.0, 0.0, 3.0], dtype=torch.float64))
    y.sum().backward()
    assert x.grad[1] == 1.0
