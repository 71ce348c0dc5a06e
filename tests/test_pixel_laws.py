"""The rungs below a model of images: proper masses, near the densities that they stand for, in one unit."""

import itertools
import math

import numpy as np
import pytest
import torch

from pofx.models.pixel_laws import gaussian, independent, rungs


def drawn(n: int, top: int, seed: int = 0) -> np.ndarray:
    """Two related pixels, many of them at the ends."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 1)) + 0.3 * rng.normal(size=(n, 2))
    return np.clip(np.round(top * (0.5 + 0.4 * z)), 0, top).astype(np.uint8)


@pytest.mark.parametrize("top", [1, 15])
def test_masses_of_all_images_of_two_pixels_sum_to_one(top: int) -> None:
    every = np.array(list(itertools.product(range(top + 1), repeat=2)), np.uint8)
    found = dict(rungs(drawn(500, top), drawn(200, top, 1), 1, top, 1))
    assert list(found) == ["independent", "gaussian", "ppca", "mixture"]
    for name, law in found.items():
        assert np.exp(law(every)).sum() == pytest.approx(1.0, abs=1e-6), name


def test_of_smooth_shades_the_mass_is_the_density() -> None:
    rng = np.random.default_rng(0)
    cover = torch.tensor([[400.0, 300.0, 0.0], [300.0, 500.0, 100.0], [0.0, 100.0, 300.0]]).double()
    mean = torch.full((3,), 128.0).double()
    v = np.round(rng.multivariate_normal(mean, cover, 500)).clip(1, 254).astype(np.uint8)
    exact = torch.distributions.MultivariateNormal(mean, cover).log_prob(torch.from_numpy(v).double()).numpy()
    np.testing.assert_allclose(gaussian(mean, cover, 255, 1e-9)(v), exact, atol=0.02)


def test_each_rung_of_related_pixels_is_above_independence_and_is_the_laws_own_entropy() -> None:
    """20 pixels of 3 factors: the Gaussian rungs reach the entropy of the law that made them, in nats and bits."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(3, 20)) * 15

    def rows(n: int) -> np.ndarray:
        return np.round(128 + rng.normal(size=(n, 3)) @ w + 6 * rng.normal(size=(n, 20))).clip(0, 255).astype(np.uint8)

    train, valid, test = rows(4000), rows(400), rows(1000)
    got = {name: law(test).mean() for name, law in rungs(train, valid, 1, 255, 3)}
    entropy = 0.5 * np.linalg.slogdet(2 * math.pi * math.e * (w.T @ w + (36 + 1 / 12) * np.eye(20)))[1]
    for name in ("gaussian", "ppca", "mixture"):
        assert got[name] == pytest.approx(-entropy, abs=0.6), name
        assert got[name] > got["independent"] + 10
    exact = -0.5 * np.log(2 * math.pi * math.e * (np.diag(w.T @ w) + 36)).sum()
    assert got["independent"] == pytest.approx(exact, abs=1.5)


def test_a_mixture_sees_what_one_gaussian_cannot() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[40, 40, 200, 200], [200, 200, 40, 40], [40, 200, 40, 200]])

    def rows(n: int) -> np.ndarray:
        return np.round(centres[rng.integers(3, size=n)] + 5 * rng.normal(size=(n, 4))).astype(np.uint8)

    got = {name: law(rows(1000)).mean() for name, law in rungs(rows(3000), rows(300), 1, 255, 3)}
    wanted = -math.log(3) - 4 * 0.5 * math.log(2 * math.pi * math.e * 25)
    assert got["mixture"] == pytest.approx(wanted, abs=1.2) and got["gaussian"] < got["mixture"] - 3


def test_a_constant_pixel_costs_next_to_nothing_and_a_new_shade_is_finite() -> None:
    v = np.concatenate([drawn(400, 255), np.zeros((400, 3), np.uint8)], 1)
    for name, law in rungs(v, v[:50], 1, 255, 2):
        alone = dict(rungs(v[:, :2], v[:50, :2], 1, 255, 1))[name](v[:50, :2]).mean()
        assert law(v[:50]).mean() == pytest.approx(alone, abs=0.5), name
        strange = v[:1].copy()
        strange[:, 3] = 200
        assert np.isfinite(law(strange)).all() and law(strange)[0] < law(v[:1])[0] - 5


def test_channels_smooth_their_own_pixels() -> None:
    v = np.array([[0, 3], [1, 3], [0, 3], [1, 3]], np.uint8)
    law = independent(v, 2, 3, 4.0)
    assert law(np.array([[0, 3]], np.uint8))[0] > law(np.array([[3, 0]], np.uint8))[0] + 2
    assert law(np.array([[0, 3]], np.uint8))[0] == pytest.approx(
        math.log(0.5 * (4 + 4 * 4.25 / 5) / 8 * (2 + 4 * 2.25 / 5) / 4), abs=1
    )
