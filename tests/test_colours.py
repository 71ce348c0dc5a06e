"""The law of a pixel's colours, each given those before it: masses, draws, means and codes agree."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

import pofx
from pofx.fields import Pixel
from pofx.models.lens import PixelLens, lens_of
from pofx.spec import Block, Columns, Spec

TOP = 4
EVERY = np.array(list(itertools.product(range(TOP + 1), repeat=3)), np.uint8)  # all colours


def columns(colours: np.ndarray) -> Columns:
    """Images of one pixel, of colours (n, 3)."""
    return {f"c{i}": np.ascontiguousarray(colours[:, i]).reshape(-1, 1, 1) for i in range(colours.shape[1])}


def lens(likelihood: str, shades: np.ndarray = EVERY) -> PixelLens:
    fields = tuple(Pixel.learn(k, v, top=TOP) for k, v in columns(shades).items())
    made = lens_of(Spec((Block("image", fields, (1, 1)),)), likelihood=likelihood, components=2)
    assert isinstance(made, PixelLens)
    return made


def tied(of: PixelLens) -> torch.Tensor:
    theta = torch.randn(1, *of.told, generator=torch.Generator().manual_seed(3))
    theta[:, -3:] = torch.tensor([0.9, -0.7, 1.2])[:, None, None]
    return theta


def masses(of: PixelLens, theta: torch.Tensor) -> np.ndarray:
    own, _ = of.prepare(columns(EVERY))
    return of.log_mass(theta.expand(1, len(EVERY), *of.told), own)[0].exp().numpy()


@pytest.mark.parametrize("likelihood", ["mixture", "normal", "student"])
def test_masses_of_all_colours_sum_to_one_and_draws_have_them(likelihood: str) -> None:
    of = lens(likelihood)
    theta, n = tied(of), 40_000
    mass = masses(of, theta)
    assert mass.sum() == pytest.approx(1.0, abs=1e-4)
    u = torch.rand(n, of.draws, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = of.draw(theta.expand(n, -1, -1, -1), u)
    code = sum(drawn[f"c{i}"].ravel().astype(int) * (TOP + 1) ** (2 - i) for i in range(3))
    seen = np.bincount(code, minlength=len(EVERY)) / n
    assert np.abs(seen - mass).sum() < 0.06
    untied = theta.clone()
    untied[:, -3:] = 0
    assert np.abs(masses(of, untied) - mass).sum() > 0.3


def test_a_decoder_starts_from_colours_that_go_together() -> None:
    rng = np.random.default_rng(0)
    grey = rng.integers(0, TOP + 1, (4000, 1))
    alike = (grey + rng.integers(-1, 2, (4000, 3)) * (rng.random((4000, 3)) < 0.2)).clip(0, TOP).astype(np.uint8)
    of = lens("mixture", alike)
    own, _ = of.prepare(columns(alike))
    theta = of.marginal(own).float()[None]
    nats = -of.log_mass(theta.expand(1, len(alike), *of.told), own).mean()
    apart = 3 * np.log(TOP + 1)
    assert nats < apart - 0.4
    assert of.mean(theta).flatten().tolist() == pytest.approx(list(alike.mean(0) / TOP), abs=0.02)


def test_colours_are_compressed_exactly(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (40, 5, 4, 1))
    images = (grey + rng.integers(-3, 4, (40, 5, 4, 3))).clip(0, 255).astype(np.uint8)
    model = pofx.fit(
        images, model="vae", steps=40, latent=2, width=16, depth=1, components=2, network="mlp", quiet=True
    )
    length = model.compress(images, tmp_path / "x.pofz")
    assert np.array_equal(model.decompress(tmp_path / "x.pofz"), images)
    assert 0 < length.bits - length.bound < 8 * 700 / images.size
    assert length.bits < 7.5  # a colour alone has 8
