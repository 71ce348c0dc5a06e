"""Plots: a page that needs no network, an image, an animation; wrong words say why."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from test_flows import moved

import pofx
from pofx.cli import main
from pofx.errors import SpecError
from pofx.nn import flows
from pofx.nn.continuous import Continuous
from pofx.nn.flow import Flow
from pofx.report import densities
from pofx.report.plot import _heat


def plane(n: int = 400, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    a = rng.normal(size=n)
    return pd.DataFrame({"a": a.round(3), "b <m>": (0.8 * a + 0.6 * rng.normal(size=n)).round(3)})


def mixed(n: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "age": pd.array(np.where(rng.random(n) < 0.2, pd.NA, rng.integers(18, 80, n)), dtype="Int64"),
            "city": rng.choice([f"$city {k}" for k in range(14)], n),
            "pay": rng.lognormal(7, 1, n).round(2),
            "seen": pd.to_datetime("2024-01-01") + pd.to_timedelta(rng.integers(0, 365, n), "D"),
            "member": rng.random(n) < 0.3,
            "score": rng.normal(size=n).round(3),
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plot")
    plane().to_csv(folder / "plane.csv", index=False)
    words = ["--model", "nsf", "--steps", "30", "--quiet", "--set", "transforms=2", "--set", "width=16", "--seed", "0"]
    assert main(["fit", str(folder / "plane.csv"), "-o", str(folder / "m.pofx"), *words]) == 0
    return folder


@pytest.fixture(scope="module")
def wide() -> pofx.Fitted:
    return pofx.fit(mixed(), model="independent", quiet=True)


def test_a_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plot", folder / "m.pofx", "-o", folder / "p.html", "--rows", 200, "--data", folder / "plane.csv"]
    assert main([str(w) for w in words]) == 0
    assert "wrote" in capsys.readouterr().out
    text = (folder / "p.html").read_text()
    assert "http" not in text
    assert text.count("<svg") == 2 + 6  # density, pairs; noise, three layers, data, data in its own units
    assert text.count("<canvas") == 1
    assert "given rows above it" in text
    assert "b <m>" not in text
    assert "NaN" not in text.split("const way")[1]


def test_an_image_and_an_animation(folder: Path) -> None:
    model = pofx.load(folder / "m.pofx")
    model.plot(folder / "p.png", rows=100)
    with Image.open(folder / "p.png") as image:
        assert min(image.size) > 400
    model.plot(folder / "p.gif")
    with Image.open(folder / "p.gif") as image:
        assert image.n_frames > 12


def test_any_model_of_a_table(wide: pofx.Fitted, tmp_path: Path) -> None:
    wide.plot(tmp_path / "all.html", rows=100)
    text = (tmp_path / "all.html").read_text()
    assert text.count("<svg") == 1
    assert "<canvas" not in text
    assert "score" not in text.split("<body>")[1].split("<style")[0]
    wide.plot(tmp_path / "two.html", ["score", "city"], rows=100, data=mixed())
    text = (tmp_path / "two.html").read_text()
    assert "$city" in text
    assert "score" in text


def test_a_flow_with_a_condition(tmp_path: Path) -> None:
    more = {"steps": 5, "quiet": True, "transforms": 12, "condition": ["city"]}
    pofx.fit(mixed(), model="planar", **more).plot(tmp_path / "c.html", ["pay", "age"], rows=100)
    text = (tmp_path / "c.html").read_text()
    assert text.count("<svg") == 1 + densities.STAGES + 1
    assert '"axes": ["pay", "age"]' in text


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["-o", "p.svg"], "ends in .html, .png, .gif, got 'p.svg'"),
        (["-o", "p.html", "--columns", "a", "colour"], "expected columns among 'a', 'b <m>', got 'colour'"),
        (["-o", "p.html", "--columns", "a", "a"], "each once"),
        (["-o", "p.html", "--rows", "0"], "at least 1"),
        (["-o", "nowhere/p.html"], "create it first"),
        (["-o", "p.html", "--data", "no.csv"], "no.csv"),
    ],
)
def test_wrong_calls(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], text: str
) -> None:
    monkeypatch.chdir(folder)
    assert main(["plot", "m.pofx", *words]) == 2
    assert text in capsys.readouterr().err
    assert not (folder / "p.svg").exists()


def test_a_model_without_layers_has_no_animation(wide: pofx.Fitted, tmp_path: Path) -> None:
    with pytest.raises(pofx.Unsupported, match=r"'independent' .* no layers to animate: these have.*nsf"):
        wide.plot(tmp_path / "p.gif")


def test_a_density_of_columns_integrates_to_one_and_has_their_correlation(folder: Path) -> None:
    fitted = pofx.fit(plane(2000), model="gaussian_copula", quiet=True)
    heat = _heat(fitted, fitted.model.spec.fields)
    cell = np.outer(np.diff(heat.up), np.diff(heat.across))
    mass = heat.values * cell
    assert mass.sum() == pytest.approx(1, abs=0.03)
    x, y = ((e[1:] + e[:-1]) / 2 for e in (heat.across, heat.up))
    mean = mass.sum(0) @ x, mass.sum(1) @ y
    both = (y - mean[1]) @ mass @ (x - mean[0])
    scale = np.sqrt((mass.sum(0) @ (x - mean[0]) ** 2) * (mass.sum(1) @ (y - mean[1]) ** 2))
    assert both / scale == pytest.approx(0.8, abs=0.05)


# -- flows in torch ---------------------------------------------------------------------------------------------------


def test_the_density_of_a_flow() -> None:
    heat = densities.heat_of(moved(lambda: flows.NSF(2, 3, 2, (8,))), torch.ones(3), reach=8.0, bins=160)
    assert heat.values.sum() * (16 / 160) ** 2 == pytest.approx(1, abs=0.01)
    picture = heat.picture("p", np.zeros((3, 2)))
    assert picture.svg.startswith("<svg")
    assert picture.image().size[0] == 840
    with pytest.raises(SpecError, match="2 features"):
        densities.heat_of(flows.NSF(3))


def test_the_path_of_a_flow_ends_at_its_draws() -> None:
    flow = moved(lambda: flows.NSF(3, transforms=3, hidden=(8,), linear=False))
    z = torch.randn(20, 3, dtype=torch.float64)
    way = densities.path_of(flow, z, features=(2, 0))
    assert way.names == ["noise", "layer 3, Coupling, Spline", "layer 2, Coupling, Spline", "data"]
    with torch.no_grad():
        want = flow.layers.inverse_and_ladj(z)[0][:, [2, 0]]
    np.testing.assert_allclose(way.points[-1], want)
    frames = way.frames(between=4, rest=1)
    np.testing.assert_allclose(frames[0][1], way.points[0])
    np.testing.assert_allclose(frames[-1][1], way.points[-1])


@pytest.mark.parametrize("make", [flows.MAF, flows.IAF])
def test_features_are_followed_through_permutations(make: Callable[..., Flow]) -> None:
    flow, z = make(3, transforms=4, hidden=(8,)), torch.randn(20, 3)
    way = densities.path_of(flow, z, features=(2, 0))
    assert len(way.names) == 5
    for stage in way.points:  # layers start as the identity
        np.testing.assert_allclose(stage, way.points[0], atol=1e-6)
    with torch.no_grad():
        np.testing.assert_allclose(way.points[-1], flow.layers.inverse_and_ladj(z)[0][:, [2, 0]], atol=1e-6)


def test_a_differential_equation_is_shown_on_its_way() -> None:
    flow = Flow(moved(lambda: Continuous(2, hidden=(8,))), 2)
    z = torch.randn(10, 2, dtype=torch.float64)
    way = densities.path_of(flow, z)
    assert way.names[1] == "layer 1, Continuous, 1/8"
    with torch.no_grad():
        np.testing.assert_allclose(way.points[-1], flow.layers.inverse_and_ladj(z)[0], atol=1e-3)
