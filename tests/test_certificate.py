"""The certificate of a flow: a healthy one passes, a damaged one fails, and the layer and the row are named."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from test_flows import LAYERS, inside, moved, randn
from torch import Tensor

import pofx
from pofx.cli import main
from pofx.errors import SpecError, Unsupported
from pofx.models import load_class, names
from pofx.nn import flows
from pofx.nn.certificate import Certificate, certify
from pofx.nn.coupling import Coupling
from pofx.nn.flow import Flow
from pofx.nn.layer import Layer
from pofx.nn.normalise import ActNorm
from pofx.nn.residual import Residual
from pofx.transforms.affine import Affine
from pofx.transforms.spline import Spline

X = randn(64, 3, seed=3)
KEEP = torch.tensor([True, False, True])


class Off(Layer):
    """The identity with an inverse that is off by 1e-2 where x is above a place."""

    def __init__(self, above: float) -> None:
        super().__init__()
        self.above = above

    def call_and_ladj(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x, x.new_zeros(len(x))

    def inverse_and_ladj(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return y + 1e-2 * (y[:, :1] > self.above), y.new_zeros(len(y))


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_passes(name: str) -> None:
    layer = moved(LAYERS[name])
    flow = Flow(layer, 3, 2).double()
    x = X.to(flow.like)
    found = certify(flow, inside(layer, x), randn(64, 2, seed=4), inside(layer, 10 * x))
    assert found.ok, str(found)
    assert found.rows == found.tails == 64
    assert all(layer.slope[0] <= layer.slope[1] for layer in found.layers)


@pytest.mark.parametrize("make", [flows.NSF, flows.RealNVP, flows.Glow, flows.MAF, flows.IAF, flows.Planar])
def test_a_healthy_flow_passes_in_float32_and_is_left_as_it_was(make: Callable[..., Flow]) -> None:
    flow = moved(lambda: make(3), by=0.03).float().train()
    found = flow.check(X)
    assert found.ok, str(found)
    assert flow.training
    assert str(found).startswith("ok: ")
    assert len(str(found).splitlines()) == len(found.layers) + 3 + len(found.warnings)


def test_slopes_of_an_elementwise_layer_are_those_of_its_jacobian() -> None:
    layer = moved(LAYERS["affine coupling"])
    found = certify(Flow(layer, 3, 2), X, randn(64, 2, seed=4)).layers[0]
    with torch.no_grad():
        scale = layer.elementwise.call_and_ladj(*layer.moves(X, randn(64, 2, seed=4)))[1]
    assert found.slope == (pytest.approx(float(scale.min())), pytest.approx(float(scale.max())))


def test_singular_values_of_a_layer_that_is_not() -> None:
    layer = ActNorm(3).double()
    layer.log_scale.data = torch.tensor([-2.0, 0.0, 1.5], dtype=torch.float64)
    assert certify(Flow(layer, 3), X).layers[0].slope == (pytest.approx(-2.0), pytest.approx(1.5))


def broken(damaged: Layer, place: int = 2) -> Flow:
    layers = [moved(lambda: Coupling(KEEP, 0, Spline(4), (8,)), by=0.1) for _ in range(4)]
    layers[place] = damaged
    return Flow(layers, 3).double()


def fails(found: Certificate, layer: int, measure: str) -> None:
    assert not found.ok, str(found)
    assert found.worst_layer == layer
    assert found.layers[layer].worst.name == measure
    assert f"fails: layer {layer + 1} (" in str(found)
    assert str(found).startswith("not ok: ")


def test_an_inverse_that_is_off() -> None:
    flow = broken(Off(2.0), 0)
    x = 0.1 * X
    x[17, 0] = 3.0
    found = flow.check(x)
    fails(found, 0, "round trip")
    assert found.worst_row == 17
    assert "row 17: x - inverse(call(x)) is 1.0e-02, promised 1e-09" in str(found)
    assert found.whole >= 3e-3


def test_a_tail_row_is_named_as_such() -> None:
    found = certify(broken(Off(4.0)), 0.1 * X, None, torch.tensor([[0.0, 0.0, 0.0], [30.0, 0.0, 0.0]]))
    fails(found, 2, "round trip")
    assert found.worst_row == 65
    assert "tail row 1:" in str(found)


def test_an_exploding_scale() -> None:
    norm = ActNorm(3)
    norm.log_scale.data[1] = 30.0
    fails(broken(norm).check(X), 2, "slope")
    norm.log_scale.data[1] = 800.0
    found = broken(norm).check(X)
    fails(found, 2, "lost")
    assert len(found.layers) == 3
    assert "100.0% of the rows are no longer finite" in str(found)


def test_scales_at_their_limit() -> None:
    layer = Coupling(KEEP, 0, Affine(), (8,))
    layer.net.last.bias.data[0] = 50.0
    fails(broken(layer, 1).check(X), 1, "saturated")


def test_half_of_the_rows_outside_the_box() -> None:
    x = 0.1 * X
    x[:32] += 9.0
    x[5] += 1.0
    found = broken(Coupling(KEEP, 0, Spline(4), (8,))).check(x)
    fails(found, 0, "outside")
    assert found.layers[0].measures["outside"].value == 0.5
    assert found.worst_row < 32
    few = 0.1 * X
    few[3] += 9.0
    found = broken(Coupling(KEEP, 0, Spline(4), (8,))).check(few)
    assert found.ok
    assert found.warnings[0] == "layer 1: 1.6% of the values lie outside the box of its splines"


def test_rows_that_are_lost() -> None:
    x = X.clone()
    x[9] = -1.0
    found = flows.RealNVP(3).double().on(["positive", "real", "real"]).check(x.abs() * x.sign())
    fails(found, 0, "lost")
    x = X.abs()
    x[4, 1] = math.nan
    found = flows.RealNVP(3).double().on(["positive", "real", "real"]).check(x)
    assert found.ok
    assert found.ignored == 1
    assert "1 rows were not finite" in str(found)


def test_an_inverse_that_does_not_converge(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = moved(LAYERS["residual"])

    def refuse(*_: object) -> None:
        raise SpecError("no fixed point")

    monkeypatch.setattr(Residual, "inverse_and_ladj", refuse)
    found = Flow(layer, 3, 2).check(X, randn(64, 2))
    fails(found, 0, "round trip")
    assert found.whole == math.inf


def test_rows_that_cannot_be_checked() -> None:
    with pytest.raises(SpecError, match=r"expected rows of shape \(B, 3\), got \(64, 2\)"):
        flows.NSF(3).check(X[:, :2])
    with pytest.raises(SpecError, match="at least one finite row"):
        flows.NSF(3).check(X * math.nan)


# -- of tables --------------------------------------------------------------------------------------------------------


def table(n: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    a = rng.normal(size=n).round(3)
    return pd.DataFrame({"a": a, "b": (a**2 + rng.normal(size=n)).round(3), "kind": rng.choice(["u", "v"], n)})


@pytest.fixture(scope="module")
def model() -> pofx.Fitted:
    return pofx.fit(table(), model="nsf", steps=10, quiet=True, condition=["kind"], width=16, transforms=2)


def test_a_model_of_a_table(model: pofx.Fitted) -> None:
    own, given = model.check(rows=100), model.check(table(50))
    assert own.ok, str(own)
    assert given.ok, str(given)
    assert (own.rows, own.tails, given.rows, given.tails) == (100, 100, 50, 0)
    assert str(own) == str(model.check(rows=100))
    with pytest.raises(SpecError, match="at least 1"):
        model.check(rows=0)


def test_who_can() -> None:
    can = [name for name in names() if "check" in load_class(name).abilities]
    assert {"nsf", "realnvp", "glow", "maf", "ffjord"} <= set(can)
    with pytest.raises(Unsupported, match=r"'independent' cannot certify its layers: these can: .*nsf"):
        pofx.fit(table(), model="independent", quiet=True).check()


def test_the_command_line(
    model: pofx.Fitted, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path_factory.mktemp("check")
    model.save(folder / "m.pofx")
    table(30).to_csv(folder / "new.csv", index=False)
    assert main(["check", str(folder / "m.pofx"), "--rows", "50"]) == 0
    assert capsys.readouterr().out.startswith("ok: 4 layers, 50 rows and 50 in the tails")
    assert main(["check", str(folder / "m.pofx"), str(folder / "new.csv")]) == 0
    assert capsys.readouterr().out.startswith("ok: 4 layers, 30 rows;")
    damaged = pofx.load(folder / "m.pofx")
    damaged.model.flow.layers.layers[2].net.last.bias.data += 40.0
    damaged.save(folder / "bad.pofx")
    assert main(["check", str(folder / "bad.pofx")]) == 1
    out = capsys.readouterr().out
    assert out.startswith("not ok: ")
    assert "fails: layer 3 (Coupling, Spline)" in out
