"""What codes of a table's rows tell: figures beside PCA and the trivial answer, rows to look at, one page."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from made import mixed, spec_of
from torch import Tensor

import pofx
from pofx.cli import main
from pofx.errors import CodecError, Unsupported
from pofx.fields import Category, Count, Real
from pofx.models.model import Model
from pofx.rebuilding import STOPS, questions, rebuilding
from pofx.report import render
from pofx.spec import Columns, Spec

SMALL = {"latent": 2, "width": 16, "depth": 1}
NASTY = "<script>a</script>"


class Told(Model):
    """A code is the row as it stands, of which `express` gives `kept` columns back, and zero for the others."""

    name = "told"

    def __init__(self, spec: Spec, kept: tuple[str, ...] = (), size: int | None = None) -> None:
        super().__init__(spec)
        self.kept, self.size = kept, size

    def encode(self, x: Columns, c: Columns | None = None) -> Tensor:
        return torch.from_numpy(np.stack([x[f.name].astype(float) for f in self.spec.fields], 1))[:, : self.size]

    def express(self, z: Tensor, c: Columns | None = None) -> Columns:
        v = z.numpy()
        kept = {f.name: j for j, f in enumerate(self.spec.fields) if f.name in self.kept}
        return {
            f.name: (v[:, kept[f.name]] if f.name in kept else 0 * v[:, 0]).astype(f.dtype) for f in self.spec.fields
        }


def line(n: int, seed: int) -> Columns:
    """y = 2 x exactly; a level that says whether x is positive."""
    x = np.round(np.random.default_rng(seed).normal(size=n), 3)
    return {"x": x, "y": 2 * x, "up": (x > 0).astype(np.int32)}


def line_spec(x: Columns) -> Spec:
    up = Category.learn("up", x["up"], ("no", "yes"))
    return Spec.table((Real.learn("x", x["x"], 3), Real.learn("y", x["y"], 3), up))


def test_a_model_that_keeps_everything_and_one_that_keeps_nothing() -> None:
    train, unseen = line(300, 0), line(200, 1)
    spec = line_spec(train)
    full = rebuilding(Told(spec, ("x", "y", "up")), train, unseen)
    by_name = {row["name"]: row for row in full["columns"]}
    assert by_name["x"]["own"] == {"r2": 1.0, "error": 0.0} and by_name["up"]["own"] == {"right": 1.0}
    assert by_name["up"]["trivial"]["right"] == pytest.approx((unseen["up"] == (train["up"].mean() > 0.5)).mean())
    off = unseen["x"] - train["x"].mean()
    assert by_name["x"]["trivial"]["error"] == pytest.approx(np.abs(off).mean())
    assert by_name["x"]["trivial"]["r2"] == pytest.approx(1 - np.square(off).mean() / unseen["x"].var())
    assert full["level"] == 0 and full["stands"] == "better than PCA"
    assert full["words"].startswith("3 numbers rebuild unseen rows: R² 1.00 of numbers (PCA 1.00)")
    none = rebuilding(Told(spec), train, unseen)
    assert none["level"] == 2 and none["words"].endswith(": the model loses on numbers and levels.")
    assert rebuilding(Told(spec, ("up",)), train, unseen)["words"].endswith(": the model loses on numbers.")
    assert none["stands"] == "worse than PCA"


def test_one_component_finds_a_line_and_its_sign() -> None:
    train, unseen = line(400, 0), line(300, 1)
    asked = questions(line_spec(train).fields, train)
    assert [question.width for question in asked] == [1, 1, 2]
    features = np.concatenate([question.features(train) for question in asked], 1)
    assert np.allclose(features.mean(0), 0) and np.allclose(features[:, :2].var(0), 1)
    assert features[:, 2:].var(0).sum() == pytest.approx(1)
    assert all(np.allclose(question.answer(question.features(train)), question.truth(train)) for question in asked)
    row = rebuilding(Told(line_spec(train), size=1), train, unseen)["columns"]
    assert row[0]["linear"]["r2"] > 0.9 and row[1]["linear"]["r2"] == pytest.approx(row[0]["linear"]["r2"], abs=1e-6)
    assert row[2]["linear"]["right"] > 0.9


@pytest.mark.parametrize("unknown", [False, True])
def test_missing_cells_are_a_question_of_their_own_unless_nobody_saw_them(unknown: bool) -> None:
    x = mixed(300)
    fields = spec_of(x).fields
    fields = tuple(field.seen_alone() if unknown and field.has_missing else field for field in fields)
    names = [question.name for question in questions(fields, x)]
    assert names == ["a", "b", *(() if unknown else ("b, missing or not",)), "c", "d"]
    asked = {question.name: question for question in questions(fields, x)}
    gone = fields[1].absent(x["b"])
    assert np.array_equal(np.isnan(asked["b"].truth(x)), gone) and asked["b"].trivial == pytest.approx(
        x["b"][~gone].mean()
    )
    if not unknown:
        assert np.array_equal(asked["b, missing or not"].answer(asked["b, missing or not"].features(x)), gone)


def test_columns_of_one_value_or_none_have_no_figure() -> None:
    v = {"x": np.full(20, 0.1), "n": np.full(20, 3), "k": np.zeros(20, np.int32)}
    spec = Spec.table((Real.learn("x", v["x"], 1), Count.learn("n", v["n"]), Category.learn("k", v["k"], ("one",))))
    found = rebuilding(Told(spec), v, v)
    assert found["columns"][0]["own"]["r2"] is None and found["columns"][2]["own"]["right"] == 1.0
    assert (
        found["level"] == 1 and found["words"] == "3 numbers rebuild unseen rows: 100.0% of levels right (PCA 100.0%)."
    )


def people(n: int = 240) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    a = rng.choice(["u", "v", "w"], n, p=[0.5, 0.3, 0.2])
    b = np.round(rng.normal(3.0 * (a == "u"), 1.0), 2)
    return pd.DataFrame({"a": a, NASTY: b, "c": np.where(rng.random(n) < 0.1, np.nan, np.round(b * 2, 1))})


@cache
def learned(name: str, **words: object) -> pofx.Fitted:
    own = {
        "vq": {"width": 16, "depth": 1},
        "any_order": {},
        "denoising": {"width": 16},
        "sparse": {"latent": 8, "active": 2},
    }.get(name, SMALL)
    return pofx.fit(people(), model=name, steps=8, quiet=True, **own, **words)


def test_the_evidence_on_a_model_with_codes_and_samples(tmp_path: Path) -> None:
    found = learned("vae", samples=4).evaluate(train=people(), report=tmp_path / "r.html", json=tmp_path / "m.json")
    page, told = (
        (tmp_path / "r.html").read_text(),
        json.loads((tmp_path / "m.json").read_text())["tables"]["rebuilding"],
    )
    assert told["words"] in found.summary() and told["judged"] == 24 and told["codes"] == told["components"] == 2
    assert [row["name"] for row in told["columns"]] == ["a", NASTY, "c", "c, missing or not"]
    assert "What codes tell of unseen rows" in page and "A walk through the code" in page and "All figures" in page
    assert NASTY not in page and "&lt;script&gt;" in page
    walk = told["walk"]
    assert len(walk["lines"]) == len(walk["numbers"]) == 2 and walk["stops"] == [-2, -1, 0, 1, 2]
    assert all(len(line) == STOPS and all(len(cells) == 3 for cells in line) for line in walk["lines"])


@pytest.mark.parametrize("name", ["autoencoder", "sparse", "contractive"])
def test_a_model_that_draws_no_rows_is_judged_by_its_codes(name: str, tmp_path: Path) -> None:
    found = learned(name).evaluate(train=people(), report=tmp_path / "r.html", json=tmp_path / "m.json", quiet=True)
    page = (tmp_path / "r.html").read_text()
    assert "PCA" in found.verdict and not found.figures and set(found.skipped) >= {"fidelity", "privacy"}
    assert "Evidence on a model of a table" in page and "Each column, the worst first" not in page
    assert "All figures" not in page and "the model draws no rows" in page
    assert found.summary().startswith(found.tables["rebuilding"]["words"]) and "ceiling" not in found.summary()
    assert json.loads((tmp_path / "m.json").read_text())["rows"] == {"synthetic": 0, "train": 192, "holdout": 24}


def test_what_it_cannot_be_judged_by_is_told() -> None:
    model = learned("autoencoder")
    with pytest.raises(
        Unsupported, match="'autoencoder' draws no rows, which a target is predicted from: leave target"
    ):
        model.evaluate(train=people(), target="a", quiet=True)
    with pytest.raises(Unsupported, match="cannot draw new examples"):
        learned("denoising").evaluate(train=people(), quiet=True)
    whole = pofx.fit(people(), model="autoencoder", steps=2, split=(0.9, 0.1, 0.0), quiet=True, **SMALL)
    with pytest.raises(CodecError, match="the split left none: give some \\(holdout\\)"):
        whole.evaluate(train=people(), quiet=True)
    assert whole.evaluate(people(30), train=people(), quiet=True).rows["holdout"] == 30


def test_symbols_have_no_walk_and_models_without_codes_no_section() -> None:
    found = learned("vq").evaluate(train=people(), quiet=True)
    told = found.tables["rebuilding"]
    assert "symbols rebuild unseen rows" in told["words"] and told["walk"] == {}
    assert told["stands"] == "no PCA is comparable" and "a symbol a few bits" in told["words"]
    page = render(found, title="t", provenance={})
    assert "What codes tell" in page and "A walk through" not in page
    assert "rebuilding" not in learned("any_order").evaluate(train=people(), quiet=True).tables


def test_a_sparse_code_stands_beside_as_many_components_as_it_has_active_units() -> None:
    model = learned("sparse")
    told = model.evaluate(train=people(), quiet=True).tables["rebuilding"]
    assert told["components"] <= 2 < told["codes"] == 8 and "of them active in a row" in told["words"]
    assert any(k in model.provenance["fit"] for k in ("squared error of PCA of 1", "squared error of PCA of 2"))


@pytest.mark.parametrize("name", ["wae", "aae", "vae"])
def test_info_shows_an_error_of_rebuilding_beside_pcas(name: str) -> None:
    said = learned(name, **({"samples": 4} if name == "vae" else {})).provenance["fit"]
    assert 0 < said["squared error of PCA of 2"] < 1 and said["squared error"] > 0


def test_a_nested_code_is_told_by_size() -> None:
    model = pofx.fit(people(), model="autoencoder", steps=8, quiet=True, nested=True, latent=4, width=16, depth=1)
    said = model.provenance["fit"]
    own, linear = said["squared error by size"], said["that of PCA by size"]
    assert len(own) == len(linear) == 4 and linear == sorted(linear, reverse=True)
    assert own[-1] == pytest.approx(said["squared error"], rel=1e-5)
    assert linear[-1] == pytest.approx(said["squared error of PCA of 4"], rel=1e-5)
    assert "squared error by size" in model.info()
    words = model.evaluate(train=people(), quiet=True).tables["rebuilding"]["words"]
    assert "Its first numbers alone: 1: " in words and ", 2: " in words and "(PCA " in words


def test_codes_under_a_condition_and_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = learned("vae", condition="a", samples=4).evaluate(train=people(), quiet=True).tables["rebuilding"]
    assert [row["name"] for row in told["columns"]] == [NASTY, "c", "c, missing or not"]
    people().to_csv(tmp_path / "p.csv", index=False)
    pofx.fit(tmp_path / "p.csv", model="autoencoder", steps=4, quiet=True, **SMALL).save(tmp_path / "m.pofx")
    assert main(["evaluate", str(tmp_path / "m.pofx"), "-o", str(tmp_path / "r.html")]) == 0
    assert "2 numbers rebuild unseen rows" in capsys.readouterr().out
    assert main(["evaluate", str(tmp_path / "m.pofx"), "--sandwich", "2", "--quiet"]) == 2
