"""Flows of images: round trips, Jacobians, masses that sum to one, labels, files; velocities and their draws."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

import pofx
from pofx.errors import SpecError, Unsupported
from pofx.fields import Category, Pixel
from pofx.models import create
from pofx.models.flows.flow_matching import PixelFlowMatching
from pofx.models.model import Clock, Model
from pofx.models.pixel_flows import PixelFlow
from pofx.nn.scales import Smear, halvings, squeezed
from pofx.nn.unet import Velocity
from pofx.spec import Block, Columns, Spec
from pofx.training.loop import Trainer

FLOWS = ("realnvp", "glow")
SMALL = {"width": 16, "depth": 1}


def data(sides: tuple[int, int], channels: int, top: int, n: int = 96, label: bool = False) -> tuple[Columns, Spec]:
    """Images that are brighter for a higher label, and the label, of three, as a condition."""
    rng = np.random.default_rng(0)
    place = rng.integers(0, 3, n).astype(np.int32)
    share = (place[:, None, None] + rng.random((n, *sides))) / 3
    x: Columns = {f"c{i}": np.round(share**1.5 * top).astype(np.uint8) for i in range(channels)}
    block = Block("image", tuple(Pixel.learn(k, v, top=top) for k, v in x.items()), sides)
    c = Spec((Block("label", (Category.learn("label", place, ("a", "b", "c")),)),))
    return x | {"label": place}, Spec((block,), c if label else None)


def apart(x: Columns) -> tuple[Columns, Columns]:
    return {k: v for k, v in x.items() if k != "label"}, {"label": x["label"]}


def learned(name: str, x: Columns, spec: Spec, steps: int = 40, **words: object) -> Model:
    own, c = apart(x)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = create(name, spec, **SMALL | words)
        batch = model.prepare(own, c if spec.condition else None)
        Trainer(model, batch, batch, 0, "cpu", "float32").run(steps)
    return model


def stirred(model: PixelFlow) -> PixelFlow:
    """A model whose weights are none that it starts with, in float64."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.double().parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return model.eval()


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("label", [False, True])
def test_a_flow_comes_back_and_its_log_determinant_is_that_of_the_jacobian(name: str, label: bool) -> None:
    x, spec = data((8, 16), 1, 255, label=label)
    small, spec_small = data((3, 4), 2, 255, label=label)
    for _, its in ((x, spec), (small, spec_small)):
        model = stirred(create(name, its, transforms=5, **SMALL))
        z = torch.randn(3, model.shades.features, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        c = model.see(model.see_condition({"label": np.arange(3, dtype=np.int32)}, 3)) if label else None
        y, ladj = model.flow.layers.call_and_ladj(z, c)
        back, other = model.flow.layers.inverse_and_ladj(y, c)
        torch.testing.assert_close(back, z, atol=1e-9, rtol=1e-9)
        torch.testing.assert_close(other, -ladj, atol=1e-9, rtol=1e-9)
        one = c[1:2] if c is not None else None
        jacobian = torch.autograd.functional.jacobian(
            lambda v, one=one, m=model: m.flow.layers.call_and_ladj(v[None], one)[0][0], z[1]
        )
        torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], ladj[1], atol=1e-8, rtol=1e-8)


def test_several_scales_are_there_and_a_squeeze_comes_back() -> None:
    assert [halvings((s, s)) for s in (1, 7, 8, 16, 28, 32, 64)] == [1, 1, 1, 2, 2, 3, 4]
    x = torch.arange(40.0)[None]
    there, back = squeezed((2, 4, 4), 40), squeezed((2, 4, 4), 40, back=True)
    assert torch.equal(back.call_and_ladj(there.call_and_ladj(x)[0])[0], x)


def test_learned_noise_has_the_density_that_it_says() -> None:
    x, spec = data((2, 4), 1, 255)
    model = stirred(create("realnvp", spec, dequantise="variational", **SMALL))
    assert isinstance(model.smear, Smear)
    k = model.shades.image(model.prepare(apart(x)[0])[0][:1], model.flow.like)
    e = torch.randn(1, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    v, price = model.smear(e, k)
    jacobian = torch.autograd.functional.jacobian(lambda e: model.smear(e[None], k)[0][0], e[0])
    expected = 0.5 * (v.square() - e.square()).sum() - torch.linalg.slogdet(jacobian)[1]
    torch.testing.assert_close(price[0], expected)


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("dequantise", ["uniform", "variational"])
@pytest.mark.parametrize(("sides", "top"), [((1, 2), 3), ((3, 1), 1)])
def test_masses_of_all_images_sum_to_one(name: str, dequantise: str, sides: tuple[int, int], top: int) -> None:
    x, spec = data(sides, 1, top)
    model = learned(name, x, spec, steps=30, dequantise=dequantise, transforms=2)
    every = np.array(list(itertools.product(range(top + 1), repeat=sides[0] * sides[1])), np.uint8)
    masses = np.exp(model.bound({"c0": every.reshape(-1, *sides)}, draws=512).value)
    assert abs(masses.sum() - 1) < 2e-3
    assert model.log_prob(apart(x)[0]).mean() > -sides[0] * sides[1] * np.log(top + 1)
    assert (np.exp(model.bound({"c0": every.reshape(-1, *sides)}, draws=1).value)).sum() < 1.2


@pytest.mark.parametrize("name", FLOWS)
def test_rows_do_not_see_each_other_and_more_draws_tighten(name: str) -> None:
    x, spec = data((5, 7), 3, 255, label=True)
    model = learned(name, x, spec, dequantise="variational")
    own, c = apart(x)
    whole, some = (
        model.log_prob(own, c),
        model.log_prob({k: v[5:9] for k, v in own.items()}, {"label": c["label"][5:9]}),
    )
    np.testing.assert_allclose(whole[5:9], some, rtol=1e-5)
    one, many = model.bound(own, c, draws=1), model.bound(own, c, draws=32)
    assert one.value.mean() <= many.value.mean() + 0.01 and (many.size >= 1).all() and (many.error >= 0).all()
    codes = model.encode(own, c)
    assert codes.shape == (96, 3 * 6 * 8)  # padded to even sides
    assert all((v == own[k]).mean() > 0.99 for k, v in model.express(codes, c).items())
    drawn = model.decode(model.noise(70, torch.Generator().manual_seed(0)), {"label": c["label"][:70]})
    assert drawn["c0"].shape == (70, 5, 7) and drawn["c0"].dtype == np.uint8
    assert model.check(16, torch.Generator().manual_seed(0), own, c).ok
    assert model.check(16, torch.Generator().manual_seed(0), None, {"label": c["label"][:16]}).ok


def test_a_missing_label_is_summed_over_and_the_likeliest_is_told() -> None:
    x, spec = data((4, 4), 1, 255, n=200, label=True)
    model = learned("glow", x, spec, steps=80)
    own, c = apart(x)
    none = {"label": np.full(200, -1, np.int32)}
    each = [model.log_prob(own, {"label": np.full(200, k, np.int32)}) for k in range(3)]
    shares = spec.condition.fields[0].mass if spec.condition else np.zeros(3)
    summed = np.logaddexp.reduce([log + np.log(p) for log, p in zip(each, shares, strict=True)])
    np.testing.assert_allclose(model.log_prob(own, none), summed, rtol=1e-6)
    settled = model.settled(own, none)
    assert settled and (settled["label"] == c["label"]).mean() > 0.9
    kept = model.settled(own, c)
    assert kept and np.array_equal(kept["label"], c["label"])


def test_what_a_flow_of_images_cannot_take() -> None:
    _, spec = data((4, 4), 1, 255, label=True)
    with pytest.raises(SpecError, match="expected dequantise among uniform, variational, got 'none'"):
        create("glow", spec, dequantise="none")
    with pytest.raises(SpecError, match="has no argument waves: it has transforms, width"):
        create("realnvp", spec, waves=2)
    with pytest.raises(SpecError, match="no condition with path='transport'"):
        create("flow_matching", spec, path="transport")
    with pytest.raises(SpecError, match="expected path among rectified, transport, got 'straight'"):
        create("flow_matching", spec, path="straight")
    x, spec = data((4, 4), 1, 255)
    with pytest.raises(Unsupported, match="flow_matching of images cannot give a likelihood: realnvp, glow"):
        create("flow_matching", spec, **SMALL).log_prob(apart(x)[0])
    with pytest.raises(SpecError, match="expected draws of at least 1, got 0"):
        create("glow", spec, **SMALL).bound(apart(x)[0], draws=0)


# -- velocities --------------------------------------------------------------------------------------------------------


def test_a_velocity_depends_on_the_time_and_the_condition_and_on_no_other_image() -> None:
    net = Velocity(2, 3, 4, 1)
    with torch.no_grad():
        for p in net.parameters():
            p.normal_(0, 0.2)
    x, t, c = torch.randn(4, 2, 5, 6), torch.rand(4), torch.randn(4, 3)
    v = net.velocity(t, x, c)
    assert v.shape == x.shape
    torch.testing.assert_close(net.velocity(t[1:2], x[1:2], c[1:2])[0], v[1], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(net.velocity(t + 0.3, x, c), v) and not torch.allclose(net.velocity(t, x, -c), v)
    cycled = net.velocity(t, x, c[:2])
    torch.testing.assert_close(cycled[2:], net.velocity(t[2:], x[2:], c[:2]), atol=1e-5, rtol=1e-4)


def test_the_regression_is_that_of_straight_ways_and_starts_at_their_length() -> None:
    x, spec = data((6, 5), 1, 255)
    model = create("flow_matching", spec, **SMALL)
    assert isinstance(model, PixelFlowMatching)
    batch = model.prepare(apart(x)[0])
    loss = model.loss(batch, Clock(0, 1), torch.Generator().manual_seed(0))
    scaled = 2 * (apart(x)[0]["c0"] + 0.5) / 256 - 1
    assert (
        abs(float(loss.detach().mean()) - float((1 + np.square(scaled)).sum((1, 2)).mean())) < 3
    )  # E |x_1 - x_0|^2, v = 0


@pytest.mark.parametrize("path", ["rectified", "transport"])
def test_draws_of_a_velocity_have_the_brightness_of_the_data(path: str) -> None:
    x, spec = data((4, 4), 1, 255)
    model = learned("flow_matching", x, spec, steps=120, path=path, width=48)
    own = apart(x)[0]
    z = model.noise(200, torch.Generator().manual_seed(0))
    drawn = model.decode(z)["c0"].astype(float)
    assert abs(drawn.mean() - own["c0"].mean()) < 20
    apart_ = own["c0"].astype(float).std() / 4
    assert drawn.mean((1, 2)).std() > 1.5 * apart_  # pixels of an image are bright together
    with model.solved(1):
        assert not np.array_equal(model.decode(z[:64])["c0"], drawn[:64])
    with pytest.raises(SpecError, match="solver_steps of at least 1, got 0"), model.solved(0):
        pass
    codes = model.encode(own)
    assert np.abs(model.express(codes)["c0"].astype(float) - own["c0"]).mean() < 6


# -- the verbs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*FLOWS, "flow_matching"])
def test_the_verbs_of_images(name: str, tmp_path: Path) -> None:
    x, _ = data((6, 6), 1, 255, n=120)
    images, labels = x["c0"], np.array(list("abc"))[x["label"]]
    made = pofx.fit((images, labels), model=name, steps=30, quiet=True, guard=False, **SMALL)
    drawn = made.sample(5, seed=1, quiet=True)
    few = made.sample(2, given="label = b", seed=1, quiet=True)
    assert drawn[0].shape == (5, 6, 6) and set(few[1]) == {"b"}
    more = made.sample(70, seed=1, quiet=True)
    assert np.array_equal(more[0][:5], drawn[0])
    made.save(tmp_path / "m.pofx")
    again = pofx.load(tmp_path / "m.pofx")
    assert np.array_equal(again.sample(5, seed=1, quiet=True)[0], drawn[0])
    assert made.encode((images[:3], labels[:3])).shape == (3, 37)
    between = made.interpolate((images[:2], labels[:2]), (images[2:4], labels[2:4]), steps=3)
    assert between.shape == (6, 6, 6)
    if name == "flow_matching":
        assert made.sample(3, seed=1, solver_steps=2, quiet=True)[0].shape == (3, 6, 6)
        with pytest.raises(Unsupported, match="cannot give a likelihood"):
            made.log_prob((images, labels))
        return
    told = made.score((images[:4], labels[:4]), draws=4)
    assert (told["draws"] == 4).all() and np.isfinite(told["bits_per_dim"]).all()
    np.testing.assert_array_equal(again.log_prob(images[:4]), made.log_prob(images[:4]))
    assert made.complete(images[:4])[1].shape == (4,)
    assert made.check((images[:16], labels[:16])).ok and made.check(rows=8).ok


@pytest.mark.parametrize("name", [*FLOWS, "flow_matching"])
def test_a_fit_that_goes_on_ends_with_the_same_bytes(name: str) -> None:
    x, spec = data((4, 6), 1, 255, label=True)
    own, c = apart(x)

    def begun() -> Trainer:
        torch.manual_seed(0)
        model = create(name, spec, **SMALL)
        return Trainer(model, model.prepare(own, c), model.prepare(own, c), 0, "cpu")

    whole, half = begun(), begun()
    whole.model.train(), half.model.train()
    for _ in range(4):
        whole.advance(8)
    for _ in range(2):
        half.advance(8)
    held, other = half.state(), begun()
    other.restore(*held)
    other.model.train()
    for _ in range(2):
        other.advance(8)
    for a, b in zip(whole.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_flow_matching_is_a_prior_of_the_codes_of_images() -> None:
    x, _ = data((6, 6), 1, 255, n=120)
    made = pofx.fit(x["c0"], model="vae", steps=30, quiet=True, guard=False, latent=3, samples=2, **SMALL)
    two = made.with_prior("flow_matching", data=x["c0"], steps=30, quiet=True, guard=False, width=16)
    assert two.sample(5, seed=0, quiet=True).shape == (5, 6, 6)
    assert np.isfinite(two.log_prob(x["c0"][:3])).all()
