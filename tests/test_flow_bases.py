"""Bases of the flows of tables: what is drawn has the law that is stated, and their words are those of torch."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

import pofx
from pofx.cli import main
from pofx.errors import SpecError
from pofx.fields import Angle, Category
from pofx.models import create
from pofx.models.flowing import Flowing
from pofx.nn import flows
from pofx.spec import Columns, Spec

SMALL = {"width": 8, "depth": 1, "transforms": 2, "waves": 2}
CASES = [
    ("planar", "student", {"transforms": 4}),
    ("glow", "student", SMALL),
    ("iaf", "student", SMALL),
    ("maf", "mixture", SMALL),
    ("nsf", "student", SMALL),
    ("nsf", "mixture", SMALL),
    ("nsf", "uniform", SMALL),
]


def small(angle: bool = False) -> tuple[Columns, Spec]:
    """Columns of three and two levels, or of eight directions and two levels."""
    random = np.random.default_rng(0)
    b = np.resize(np.arange(2), 400).astype(np.int32)
    if angle:
        a = random.choice(np.arange(8) * 45.0, 400)
        return {"a": a, "b": b}, Spec.table((Angle.learn("a", a, 0), Category.learn("b", b, ("no", "yes"))))
    a = random.choice(3, 400, p=[0.5, 0.3, 0.2]).astype(np.int32)
    return {"a": a, "b": b}, Spec.table(
        (Category.learn("a", a, ("u", "v", "w")), Category.learn("b", b, ("no", "yes")))
    )


def stirred(name: str, spec: Spec, base: str, **words: object) -> Flowing:
    """A model with other weights than those it starts with, and with heavy tails where they are learned."""
    model = create(name, spec, seed=0, base=base, samples=64, **words)
    generator = torch.Generator().manual_seed(1)
    for p in model.parameters():
        p.data += 0.1 * torch.randn(p.shape, generator=generator)
    for part in model.modules():
        if isinstance(part, flows.StudentT):
            part.raw.data.fill_(0.0)
    return model.eval()


def masses(model: Flowing, cells: int) -> np.ndarray:
    """The probability of each cell of two columns: its density over a grid of places, close where there are many."""
    t = torch.linspace(-1, 1, 241, dtype=torch.float64)[:-1] + 1 / 240
    axes, weights = zip(
        *(
            (np.pi * t, torch.full_like(t, np.pi)) if even else ((6 * t).sinh(), 6 * (6 * t).cosh())
            for even in model.even
        ),
        strict=True,
    )
    z = torch.cartesian_prod(*axes)
    with torch.no_grad():
        p = model.flow.double().density(z, None).exp() * torch.outer(*weights).flatten() * (2 / 240) ** 2
    model.flow.float()
    return np.bincount(codes(model.sight.lower(model.levels(z), torch.zeros(len(z), 0))), p.numpy(), cells)


def codes(x: Columns) -> np.ndarray:
    """The number of each row's cell, 2 a + b, directions by eighths."""
    a, b = x["a"], x["b"]
    return (2 * (a / 45 if a.dtype == np.float64 else a) + b).astype(np.int64)


def agrees(model: Flowing, x: Columns) -> None:
    """Whether shares of draws are the masses of the density, and the likelihood is near to them."""
    rows = {k: v[np.unique(codes(x), return_index=True)[1]] for k, v in x.items()}
    n, p = 10_000, masses(model, len(rows["a"]))
    assert p.sum() == pytest.approx(1.0, abs=5e-3)
    counts = np.bincount(codes(model.decode(model.noise(n, torch.Generator().manual_seed(2)))), minlength=len(p))
    assert (np.abs(counts / n - p) < 4 * np.sqrt(p * (1 - p) / n) + 8e-3).all()
    if model.even.all():  # weights are bounded; heavier tails than the normal law's have rare and great ones
        stated = np.exp(model.log_prob(rows) - sum(f.log_seen for f in model.spec.fields))
        assert np.abs(stated - p).max() < 0.02
    alone = np.exp(sum(f.log_prob(rows[f.name]) for f in model.spec.fields))
    assert np.abs(p - alone).max() > 0.01  # it has a law of its own
    again = model.decode(model.encode(rows).double())
    assert all(np.array_equal(again[k], rows[k]) for k in rows)


@pytest.mark.parametrize(("name", "base", "words"), CASES)
def test_noise_decodes_to_the_law_that_is_stated(name: str, base: str, words: dict[str, int]) -> None:
    x, spec = small()
    agrees(stirred(name, spec, base, **words), x)


@pytest.mark.parametrize("base", ["student", "uniform"])
def test_angles_keep_their_circle_and_the_base_is_that_of_the_others(base: str) -> None:
    x, spec = small(angle=True)
    model = stirred("nsf", spec, base, **SMALL)
    assert model.flow.base.torus.bound == np.pi and model.even.tolist() == [True, base == "uniform"]
    agrees(model, x)


def test_the_noise_of_a_student_base_has_its_degrees_of_freedom() -> None:
    base = flows.StudentT(1, 3.0)
    with torch.no_grad():
        z = base.draw(20_000, None, torch.zeros(0, dtype=torch.float64), torch.Generator().manual_seed(0))
    assert stats.kstest(z[:, 0].numpy(), stats.t(3.0).cdf).pvalue > 0.01
    z = base.draw(100, None, torch.zeros(0))
    assert z.dtype == torch.float32 and torch.autograd.grad(z.square().mean(), base.raw)[0].abs() > 0


def test_a_mixture_starts_from_the_rows_of_a_fit() -> None:
    random = np.random.default_rng(0)
    side = random.choice([-2.0, 2.0], 600)
    table = pd.DataFrame({"a": side + random.normal(0, 0.3, 600), "b": side + random.normal(0, 0.3, 600)}).round(2)
    words = {"steps": 1, "seed": 0, "quiet": True, "width": 8, "depth": 1, "samples": 4}
    plain, mixed = (
        pofx.fit(table, model="maf", base=base, **words).log_prob(table).mean() for base in ("normal", "mixture")
    )
    assert mixed > plain + 0.3
    with pytest.raises(SpecError, match="expected at least 32 rows, one a component, got 16: give more"):
        pofx.fit(table[:20], model="maf", base="mixture", **words)


def test_words_for_bases_are_those_of_torch() -> None:
    for word, kind in (("normal", flows.Normal), ("student", flows.StudentT), ("mixture", flows.Mixture)):
        assert isinstance(flows.MAF(2, base=word).base, kind)
    flow = flows.NSF(2, bound=2.0, base="uniform", transforms=2, hidden=(8,))
    assert isinstance(flow.base, flows.Uniform) and flow.layers.keeps(2.0)
    x, spec = small()
    for name in ("planar", "nice", "realnvp", "glow", "maf", "iaf", "ffjord", "tarflow"):
        with pytest.raises(
            SpecError, match=r"base among normal, student, mixture, and uniform of splines \(nsf\).*'uniform'"
        ):
            create(name, spec, base="uniform")
    with pytest.raises(SpecError, match="base among normal, student, mixture.* got 'cauchy'"):
        create("nsf", spec, base="cauchy")
    angles = Spec.table(tuple(Angle.learn(k, np.arange(360.0), 0) for k in "ab"))
    create("nsf", angles), create("nsf", angles, base="uniform")
    with pytest.raises(SpecError, match="circular=True, got student: a base of angles is a law of the circle"):
        create("nsf", angles, base="student")


def test_a_base_is_a_word_of_the_command_line_and_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame({"a": random.standard_t(3, 200), "b": random.normal(size=200)}).round(3)
    table.to_csv(tmp_path / "t.csv", index=False)
    fit = [
        "fit",
        str(tmp_path / "t.csv"),
        "-o",
        str(tmp_path / "m.pofx"),
        "--steps",
        "3",
        "--quiet",
        "--no-guard",
        "--size",
        "small",
    ]
    assert main([*fit, "--model", "nsf", "--base", "student"]) == 0
    capsys.readouterr()
    assert main(["info", str(tmp_path / "m.pofx")]) == 0
    assert "base student" in capsys.readouterr().out
    model = pofx.load(tmp_path / "m.pofx")
    assert isinstance(model.model.flow.base, flows.StudentT)
    assert model.sample(50, seed=0, quiet=True).equals(pofx.load(tmp_path / "m.pofx").sample(50, seed=0, quiet=True))
    assert main([*fit[:-2], "--base", "student"]) == 2
    assert "model 'any_order' has no argument base" in capsys.readouterr().err
