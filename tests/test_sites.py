"""Rearrangements of sites: orthonormal, and undone by their inverses."""

import pytest
import torch

from pofx.errors import SpecError
from pofx.transforms.haar import haar, unhaar
from pofx.transforms.squeeze import squeeze, unsqueeze

X = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(("there", "back"), [(squeeze, unsqueeze), (haar, unhaar)])
def test_sites_come_back_and_lengths_are_kept(there, back) -> None:  # type: ignore[no-untyped-def]
    y = there(X)
    assert y.shape == (2, 12, 2, 3)
    torch.testing.assert_close(back(y), X)
    jacobian = torch.autograd.functional.jacobian(lambda v: there(v[None])[0], X[0]).reshape(72, 72)
    torch.testing.assert_close(jacobian @ jacobian.T, torch.eye(72, dtype=torch.float64))


def test_haar_starts_with_the_means_and_a_flat_image_has_nothing_else() -> None:
    y = haar(torch.full((1, 2, 4, 4), 3.0))
    assert (y[:, :2] == 6.0).all() and (y[:, 2:] == 0.0).all()


def test_an_odd_image_is_refused() -> None:
    with pytest.raises(SpecError, match=r"even height and width, got \(4, 5\)"):
        squeeze(torch.zeros(1, 1, 4, 5))
