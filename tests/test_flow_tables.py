"""Flows of tables on what real tables are like: few rows, constant, duplicate and integer columns, one column, gaps."""

import numpy as np
import pandas as pd
import pytest
import torch

import pofx
from pofx.errors import CodecError, SpecError, Unsupported
from pofx.models import load_class, names
from pofx.models.model import who_can
from pofx.split import parts

SMALL = {"steps": 3, "seed": 0, "quiet": True}
FLOWS = [name for name in names() if load_class(name).family == "flows"]


def awkward(rows: int = 14) -> pd.DataFrame:
    """More features than rows; one column is constant, one is another once more, others are integers."""
    random = np.random.default_rng(0)
    table = pd.DataFrame({f"x{j}": random.normal(size=rows).round(3) for j in range(16)})
    return table.assign(same=5.0, again=table["x0"], whole=random.integers(0, 5, rows), big=10**9 + np.arange(rows))


@pytest.mark.parametrize("name", FLOWS)
def test_a_table_with_more_features_than_rows_and_useless_ones(name: str) -> None:
    table = awkward()
    model = pofx.fit(table, model=name, **SMALL)
    drawn = model.sample(30, seed=1)
    assert list(drawn) == list(table) and (drawn["same"] == 5.0).all() and np.isfinite(drawn.to_numpy(float)).all()
    assert np.isfinite(model.log_prob(table)).all()


def test_infinite_values_are_named() -> None:
    with pytest.raises(CodecError, match="column 'x0' holds infinite values, the first in row 2:"):
        pofx.fit(awkward().assign(x0=[0.0, np.inf] * 7), model="nsf", **SMALL)


@pytest.mark.parametrize("as_text", [False, True])
def test_what_cannot_be_read_is_named_by_its_row_in_the_file_whichever_part_it_falls_to(as_text: bool) -> None:
    for row in range(14):
        bad = awkward()
        bad.loc[row, "x1"] = -np.inf
        with pytest.raises(CodecError, match=rf"column 'x1' holds infinite values, the first in row {row + 1}:"):
            pofx.fit(bad.astype(str) if as_text else bad, model="independent", quiet=True)
        bad = awkward().astype(str)
        bad.loc[row, "x1"] = "inf" if as_text else "none of them"
        if row in parts(14, (0.8, 0.1, 0.1), 0)[0]:
            continue  # a label among the rows that are learned from: all of them are labels
        with pytest.raises(CodecError, match=rf" row {row + 1}:"):
            pofx.fit(bad, model="independent", quiet=True)


def test_cells_that_nobody_saw_are_for_models_that_integrate_them_out() -> None:
    random = np.random.default_rng(0)
    a = random.normal(size=2000)
    table = pd.DataFrame({"a": a, "b": 0.98 * a + 0.2 * random.normal(size=2000)}).round(3)
    table.loc[random.random(2000) < 0.5, "b"] = np.nan
    words = {"missing": "unknown", "quiet": True}
    for name in names():
        if "unknown" not in load_class(name).abilities:
            with pytest.raises(Unsupported, match=r"nobody saw, of 'b': these can: any_order, .*missing='state'"):
                pofx.fit(table, model=name, steps=1, **words)
    able = {"any_order", "autoregressive", "vae", "iwae", "hvae", "vq", "independent", "mst", "gaussian_copula", "ppca"}
    assert set(who_can("unknown")) == able
    drawn = [
        pofx.fit(table, model="any_order", size="small", steps=300, **words).sample(2000, seed=0, quiet=True),
        pofx.fit(table, model="gaussian_copula", **words).sample(2000, seed=0, quiet=True),
    ]
    assert all(one.corr().iloc[0, 1] > 0.9 and one.notna().all().all() for one in drawn)
    assert pofx.fit(table.dropna(), model="nsf", steps=1, **words).sample(3, quiet=True).notna().all().all()


def test_one_column_is_for_autoregressive_flows() -> None:
    one = pd.DataFrame({"x": np.random.default_rng(0).normal(size=60)})
    for name in ("nsf", "realnvp", "glow", "nice"):
        with pytest.raises(SpecError, match="two columns or more .* use maf, or nsf with coupling=False"):
            pofx.fit(one, model=name, **SMALL)
    for name, words in (("maf", {}), ("nsf", {"coupling": False})):
        assert len(pofx.fit(one, model=name, **SMALL, **words).sample(5)) == 5


def test_missing_values_are_learned_and_completion_names_who_can() -> None:
    table = awkward(60)
    table.loc[::3, "x1"] = np.nan
    model = pofx.fit(table, model="nsf", **SMALL)
    assert model.sample(200, seed=0)["x1"].isna().any()
    with pytest.raises(Unsupported, match="any_order"):
        model.complete(table)


@pytest.mark.parametrize(("name", "words"), [("ffjord", {"width": 8}), ("flow_matching", {"width": 8, "depth": 1})])
def test_a_score_beyond_64_columns_is_no_estimate(name: str, words: dict[str, int]) -> None:
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(12, 66)).round(3)).rename(columns="x{}".format)
    model = pofx.fit(table, model=name, **SMALL, **words, samples=2)
    for p in model.model.flow.parameters():
        p.data += 0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0))
    once, again = model.log_prob(table), model.log_prob(table)
    assert np.isfinite(once).all() and np.array_equal(once, again)
    assert np.isfinite(model.sample(3, seed=0).to_numpy(float)).all()


@pytest.mark.parametrize("name", ["ffjord", "flow_matching"])
def test_the_steps_of_a_solver_are_no_steps_of_the_fit_and_a_draw_may_take_others(name: str) -> None:
    table = awkward(40)
    words = {"steps": 2, "seed": 0, "quiet": True, "width": 8, "depth": 1, "samples": 2}
    model = pofx.fit(table, model=name, solver_steps=1, **words)
    assert model.model.config["solver_steps"] == 1 and model.provenance["fit"]["steps"] == 2
    for p in model.model.flow.parameters():
        p.data += 0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0))
    coarse, fine, again = (model.sample(20, seed=0, quiet=True, solver_steps=k) for k in (None, 50, None))
    assert coarse.equals(again) and not coarse.equals(fine) and np.isfinite(fine.to_numpy(float)).all()
    assert pofx.fit(table, model=name, solver_steps=50, **words).sample(3, seed=0, quiet=True).notna().all().all()
    with pytest.raises(SpecError, match="expected solver_steps of at least 1, got 0"):
        pofx.fit(table, model=name, solver_steps=0, **words)
    with pytest.raises(SpecError, match="expected solver_steps of at least 1, got -1"):
        model.sample(3, solver_steps=-1, quiet=True)
    with pytest.raises(Unsupported, match="in so many steps of a solver: these can: ffjord, flow_matching"):
        pofx.fit(table, model="independent", quiet=True).sample(3, solver_steps=5, quiet=True)


def test_a_token_of_tarflow_may_hold_several_columns() -> None:
    table = awkward(30)[[f"x{j}" for j in range(4)]]
    words = {"width": 8, "heads": 2, "transforms": 2, "samples": 2}
    assert np.isfinite(pofx.fit(table, model="tarflow", patch=2, **SMALL, **words).log_prob(table)).all()
    with pytest.raises(SpecError, match="expected a patch that divides the 4 features, got 3"):
        pofx.fit(table, model="tarflow", patch=3, **SMALL, **words)


def test_an_angle_of_a_table_closes_where_it_was_cut() -> None:
    random = np.random.default_rng(0)
    turn = random.normal(0, 40, 1500)
    table = pd.DataFrame({"wind_dir": (turn % 360).round(1), "east": (np.sin(np.deg2rad(turn)) * 3).round(3)})
    table["east"] += random.normal(0, 0.3, 1500).round(3)
    model = pofx.fit(table, model="nsf", fields={"wind_dir": "angle"}, steps=200, width=32,
                     seed=0, quiet=True)  # fmt: skip
    assert model.model.even.tolist() == [True, False]
    ends = torch.tensor([[1e-7, 0.5], [1 - 1e-7, 0.5]], dtype=torch.float64)
    with torch.no_grad():
        first, last = model.model.log_ratio(model.model._raised(ends), None)
    assert float(first) == pytest.approx(float(last), abs=1e-3)
    drawn = model.sample(2000, seed=1)
    assert drawn["wind_dir"].between(0, 360, inclusive="left").all()
    near = np.corrcoef(np.sin(np.deg2rad(drawn["wind_dir"])), drawn["east"])[0, 1]
    assert near > 0.9  # of the rows .98
    again = pofx.fit(table, model="realnvp", fields={"wind_dir": "angle"}, steps=5, width=8, seed=0, quiet=True)
    assert not again.model.even.any()
    z = model.model.noise(64, torch.Generator().manual_seed(0))
    x = model.model.decode(z)
    back = model.model.decode(model.model.encode(x).double())
    assert np.abs(back["wind_dir"] - x["wind_dir"]).max() <= 0.2 and np.abs(back["east"] - x["east"]).max() <= 0.01


def test_supports_hold_by_construction_and_a_row_outside_has_a_finite_likelihood() -> None:
    random = np.random.default_rng(0)
    heaps = random.choice([0.0, 100.0, np.nan], 400, p=[0.3, 0.2, 0.5])
    table = pd.DataFrame(
        {
            "dose": random.lognormal(0, 1.5, 400).round(3) + 0.001,
            "share": np.append(random.beta(0.3, 0.3, 398), [0.0, 1.0]).round(3),
            "score": np.where(np.isnan(heaps), random.uniform(0, 100, 400), heaps).round(1),
            "wind_dir": np.append(random.uniform(0, 359.9, 398), [0.0, 359.0]).round(1),
        }
    )
    words = {"fields": {"score": {"kind": "bounded", "low": 0, "high": 100}}, "width": 8, "depth": 1, "samples": 8}
    model = pofx.fit(table, model="nsf", **SMALL, **words)
    assert [f.kind for f in model.model.spec.fields] == ["positive", "bounded", "bounded", "angle"]
    usual = model.log_prob(table).mean()
    for name, value in (("dose", 1e6), ("dose", -1.0), ("share", 1.5), ("score", 101.0), ("wind_dir", 400.0)):
        strange = model.log_prob(table[:20].assign(**{name: value}))
        assert np.isfinite(strange).all(), name  # the mass of what was never seen
        assert value < 1e6 or strange.mean() < usual - 3
    for p in model.model.flow.parameters():
        p.data += 0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0))
    drawn = model.sample(2000, seed=0)
    for name, (low, high) in {"dose": (0.0, np.inf), "share": (0, 1), "score": (0, 100), "wind_dir": (0, 360)}.items():
        assert drawn[name].between(low, high, inclusive="neither" if name == "dose" else "both").all(), name
        assert drawn[name].between(table[name].min(), table[name].max()).all()
    assert (drawn["wind_dir"] < 360).all() and {0.0, 100.0} <= set(drawn["score"])
