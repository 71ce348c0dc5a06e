"""The convolutional networks of images of any sides: how often they halve them, and the way back."""

import math

import numpy as np
import pytest
import torch
from test_images import bars

from pofx.fields import Pixel
from pofx.models import create
from pofx.nn.coders import SMALL, decoder, encoder, halvings, padding, plan
from pofx.spec import Block, Spec
from pofx.training.loop import Trainer

SIDES = [(1, 1), (5, 3), (9, 13), (28, 28), (32, 32), (33, 20), (45, 70), (64, 64), (100, 128), (4, 90), (200, 17)]


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_every_shape_goes_in_and_comes_back(sides: tuple[int, int], depth: int) -> None:
    shape = (3, *sides)
    e, d = encoder(shape, 7, 2, "conv", 16, depth), decoder(5, shape, 2, "conv", 16, depth)
    x, c = torch.randn(2, *shape), torch.randn(2, 2)
    code, made = e(x, c), d(torch.randn(2, 5), c)
    assert code.shape == (2, 7) and made.shape == x.shape
    (code.sum() + made.sum()).backward()
    assert all(p.grad is not None for p in (*e.parameters(), *d.parameters()))
    assert e.body(torch.nn.functional.pad(x, padding(shape))).shape[2:] == tuple(plan(shape, 4)[0])


@pytest.mark.parametrize("sides", SIDES)
def test_halvings_end_at_eight_and_no_sooner_than_two(sides: tuple[int, int]) -> None:
    small, wide = plan((1, *sides), 4)
    count = halvings((1, *sides))
    assert count == len(wide) >= 2 and wide[:2] == [4, 8] and set(wide[2:]) <= {16}
    short = 2 ** (count + 1) > min(sides)  # it cannot be halved once more
    assert max(small) <= SMALL or short
    assert count == 2 or math.ceil(max(sides) / 2 ** (count - 1)) > SMALL


def test_small_images_keep_the_networks_that_they_had() -> None:
    """28 x 28 and 32 x 32: two halvings, to 7 x 7 and 8 x 8; the names and shapes that files of models hold."""
    for side, small in ((28, 49), (32, 64)):
        e, d = encoder((1, side, side), 7, 0, "conv", 64, 2), decoder(5, (1, side, side), 0, "conv", 64, 2)
        down = {k: tuple(v.shape) for k, v in e.state_dict().items() if k.endswith("weight")}
        assert down == {
            "body.0.weight": (16, 1, 4, 4), "body.1.a.weight": (16, 16, 3, 3), "body.1.b.weight": (16, 16, 3, 3),
            "body.3.weight": (32, 16, 4, 4), "body.4.a.weight": (32, 32, 3, 3), "body.4.b.weight": (32, 32, 3, 3),
            "body.5.a.weight": (32, 32, 3, 3), "body.5.b.weight": (32, 32, 3, 3), "last.weight": (7, 32 * small),
        }  # fmt: skip
        up = {k: tuple(v.shape) for k, v in d.state_dict().items() if k.endswith("weight")}
        assert up == {
            "first.weight": (32 * small, 5), "body.0.a.weight": (32, 32, 3, 3), "body.0.b.weight": (32, 32, 3, 3),
            "body.1.a.weight": (32, 32, 3, 3), "body.1.b.weight": (32, 32, 3, 3), "body.3.weight": (64, 32, 3, 3),
            "body.5.a.weight": (16, 16, 3, 3), "body.5.b.weight": (16, 16, 3, 3), "body.7.weight": (4, 16, 3, 3),
        }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "words"),
    [("gan", {"depth": 1}), ("vae", {"depth": 1, "samples": 2}), ("autoencoder", {"depth": 3, "conv": True})],
)
def test_images_of_64_x_64_are_learned_in_few_steps(name: str, words: dict) -> None:
    x = {"red": bars(16, side=64), "blue": 255 - bars(16, side=64)}
    spec = Spec((Block("image", tuple(Pixel.learn(k, v) for k, v in x.items()), (64, 64)),))
    model = create(name, spec, latent=4, width=16, **words)
    data = model.prepare(x)
    before = [p.clone() for p in model.parameters()]
    Trainer(model, data, None, 0, "cpu", batch=8).run(3)
    assert any(not torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))
    y = model.express(model.encode(x)) if name == "autoencoder" else model.decode(model.noise(2, torch.Generator()))
    assert all(y[k].shape[1:] == (64, 64) and y[k].dtype == np.uint8 for k in x)
