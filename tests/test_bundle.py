"""The verbs in Python: what goes in comes out alike, conditions hold, bundles are whole, fits repeat."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pofx
from pofx import store


def people(n: int = 300, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    school = rng.choice(["primary", "secondary", "university"], n, p=[0.2, 0.5, 0.3])
    years = pd.Series(school).map({"primary": 6, "secondary": 12, "university": 16}).to_numpy()
    return pd.DataFrame(
        {
            "id": np.arange(1, n + 1),
            "age": rng.integers(18, 90, n),
            "school": school,
            "years": years,
            "pay": np.round(rng.lognormal(7 + years / 20, 0.5), 2),
            "bonus": np.where(rng.random(n) < 0.7, 0.0, np.round(rng.lognormal(5, 1, n), 2)),
            "seen": pd.to_datetime("2024-01-01") + pd.to_timedelta(rng.integers(0, 365, n), "D"),
            "gap": pd.array(np.where(rng.random(n) < 0.2, pd.NA, rng.integers(0, 5, n)), dtype="Int64"),
            "member": rng.random(n) < 0.4,
        }
    )


@pytest.fixture(scope="module")
def model() -> pofx.Fitted:
    return pofx.fit(people(), steps=40, seed=0)


def test_a_sample_looks_like_what_came(model: pofx.Fitted) -> None:
    drawn, frame = model.sample(500, seed=1), people()
    assert drawn.columns.tolist() == frame.columns.tolist()
    assert (drawn.dtypes == frame.dtypes).all()
    assert drawn["id"].is_unique
    assert drawn["age"].between(18, 89).all()
    assert set(drawn["school"]) <= set(frame["school"])
    assert (drawn["pay"].round(2) == drawn["pay"]).all()
    assert 0.5 < (drawn["bonus"] == 0).mean() < 0.9
    assert drawn["gap"].isna().any()


def test_dependencies_hold_by_construction(model: pofx.Fitted) -> None:
    drawn = model.sample(2000, seed=2)
    assert (drawn["school"].map({"primary": 6, "secondary": 12, "university": 16}) == drawn["years"]).all()


def test_a_sample_of_ten_begins_a_sample_of_many(model: pofx.Fitted) -> None:
    pd.testing.assert_frame_equal(model.sample(10, seed=3), model.sample(5000, seed=3).head(10))


def test_seeds(model: pofx.Fitted) -> None:
    assert model.sample(5, seed=4).equals(model.sample(5, seed=4))
    model.sample(5)
    first = model.last_seed
    model.sample(5)
    assert first != model.last_seed


def test_conditions_in_words_and_in_python(model: pofx.Fitted) -> None:
    drawn = model.sample(200, given=["age in [20, 30)", "school in {primary, university}", "gap is missing"], seed=0)
    assert drawn["age"].between(20, 29).all()
    assert set(drawn["school"]) == {"primary", "university"}
    assert drawn["gap"].isna().all()
    drawn = model.sample(200, given={"years": 12, "bonus": pofx.between(1, 500), "member": True}, seed=0)
    assert (drawn["school"] == "secondary").all()
    assert drawn["bonus"].between(1, 500).all()
    assert drawn["member"].all()


def test_scores(model: pofx.Fitted) -> None:
    frame = people(50, 1)
    frame.loc[0, ["age", "pay"]] = [500, 1e9]
    frame.loc[1, "years"] = 6 if frame.loc[1, "years"] != 6 else 12
    scored = model.score(frame)
    assert scored.columns.tolist()[-2:] == ["log_prob", "unlikely"]
    assert scored["log_prob"].idxmin() in (0, 1)
    assert "age" in scored.loc[0, "unlikely"]
    assert "pay" in scored.loc[0, "unlikely"]
    assert "a broken dependency" in scored.loc[1, "unlikely"]
    assert np.allclose(model.log_prob(frame), scored["log_prob"])
    detail = model.log_prob(frame, detail=True)
    cells = detail.filter(like="log_prob.").sum(axis=1).to_numpy()
    broken = scored["unlikely"].str.contains("dependency").to_numpy()
    assert np.allclose(cells[~broken], detail["log_prob"][~broken])


def test_missing_cells_can_be_integrated_out(model: pofx.Fitted) -> None:
    frame = people(60, 5)
    whole = frame["gap"].notna().to_numpy()
    state, unknown = model.log_prob(frame), model.log_prob(frame, missing="unknown")
    assert np.allclose(state[whole], unknown[whole], atol=1e-6)
    assert (unknown[~whole] > state[~whole]).all()
    with pytest.raises(pofx.SpecError, match='"state" or "unknown"'):
        model.log_prob(frame, missing="what")


def test_completion_keeps_what_is_known(model: pofx.Fitted) -> None:
    frame = people(40, 2)
    holes = frame.copy()
    holes["age"] = holes["age"].astype("Int64")
    holes.loc[::2, "age"] = pd.NA
    holes.loc[::3, "school"] = None
    holes.loc[::3, "years"] = 0
    full = model.complete(holes)
    assert full["age"].notna().all()
    assert full["school"].notna().all()
    assert full["gap"].notna().all()
    assert (full["age"][1::2] == frame["age"][1::2]).all()
    assert (full["id"] == frame["id"]).all()
    several = model.complete(holes, draws=3)
    assert several["draw"].tolist() == [1] * 40 + [2] * 40 + [3] * 40
    assert several[several["draw"] == 1]["age"].tolist() != several[several["draw"] == 2]["age"].tolist()


def test_a_bundle_says_and_does_the_same(model: pofx.Fitted, tmp_path: Path) -> None:
    model.save(tmp_path / "m.pofx")
    again = pofx.load(tmp_path / "m.pofx")
    assert again.sample(20, seed=5).equals(model.sample(20, seed=5))
    assert np.array_equal(again.log_prob(people(30, 3)), model.log_prob(people(30, 3)))
    assert again.info() == model.info()


def test_a_bundle_holds_no_rows(model: pofx.Fitted, tmp_path: Path) -> None:
    model.save(tmp_path / "m.pofx")
    header, _ = store.read(tmp_path / "m.pofx", "model")
    assert "path" in header["provenance"]
    assert header["provenance"]["path"] is None


def test_a_bundle_with_another_inside_is_named(tmp_path: Path, model: pofx.Fitted) -> None:
    model.save(tmp_path / "m.pofx")
    header, arrays = store.read(tmp_path / "m.pofx", "model")
    for change in ({"model": "os.system"}, {"model": "vae"}, {"config": {"size": "huge"}}, {"codec": {}}):
        store.write(tmp_path / "n.pofx", "model", header | change, arrays)
        with pytest.raises(pofx.BadFile, match="does not hold what a model file holds"):
            pofx.load(tmp_path / "n.pofx")


def test_the_same_seed_gives_the_same_bundle(tmp_path: Path) -> None:
    for name in ("a", "b"):
        pofx.fit(people(), steps=5, seed=7).save(tmp_path / name)
    one, two = (store.read(tmp_path / name, "model")[1] for name in ("a", "b"))
    assert all(np.array_equal(one[k], two[k]) for k in one)


def test_polars_comes_back_as_polars() -> None:
    frame = pl.from_pandas(people(100).drop(columns="gap"))
    drawn = pofx.fit(frame, steps=3).sample(7, seed=0)
    assert isinstance(drawn, pl.DataFrame)
    assert drawn.schema == frame.schema


def test_csv_comes_back_as_csv(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n" + "\n".join(f"{'xy'[i % 2]},{i % 7}.50" for i in range(60)) + "\n")
    model = pofx.fit(tmp_path / "x.csv", steps=3)
    assert model.sample(20, seed=0, path=tmp_path / "y.csv") == 20
    lines = (tmp_path / "y.csv").read_text().splitlines()
    assert lines[0] == "a,b"
    assert all(line.endswith(".50") for line in lines[1:])


@pytest.mark.parametrize("kind", ["any_order", "autoregressive", "vae", "gan", "realnvp"])
def test_conditional_models_draw_whole_rows(kind: str) -> None:
    model = pofx.fit(people(), model=kind, condition=["school"], steps=5)
    drawn = model.sample(300, seed=0)
    assert drawn.columns.tolist() == people().columns.tolist()
    assert set(drawn["school"]) == {"primary", "secondary", "university"}
    only = model.sample(50, given="school = primary", seed=0)
    assert set(only["school"]) == {"primary"}
    if kind != "gan":
        assert np.isfinite(model.log_prob(people(20, 4))).all()


def test_what_a_model_cannot() -> None:
    model = pofx.fit(people(), model="gan", steps=2)
    with pytest.raises(pofx.Unsupported, match="cannot give a likelihood: these can: any_order"):
        model.log_prob(people(5))
    with pytest.raises(pofx.Unsupported, match="cannot sample under conditions on age: these can: any_order"):
        model.sample(5, given="age > 30")
    with pytest.raises(pofx.Unsupported, match="cannot complete missing cells"):
        model.complete(people(5))
    with pytest.raises(pofx.Unsupported, match="cannot learn"):
        pofx.fit(people(), model="gaussian_copula", condition=["school"])


@pytest.mark.parametrize(
    ("words", "error", "text"),
    [
        ({"steps": 0}, pofx.SpecError, "at least one step"),
        ({"minutes": -1}, pofx.SpecError, "above zero"),
        ({"steps": 1, "minutes": 1}, pofx.SpecError, "got both"),
        ({"model": "magic"}, pofx.SpecError, "expected a model among"),
        ({"size": "huge"}, pofx.SpecError, "expected a size among"),
        ({"device": "abacus"}, pofx.SpecError, "expected a device"),
        ({"threads": 0}, pofx.SpecError, "at least one thread"),
        ({"split": (0.5, 0.1, 0.1)}, pofx.SpecError, "sum to one"),
        ({"condition": "colour"}, pofx.SpecError, "'colour'"),
        ({"condition": "pay"}, pofx.SpecError, "joint cells|expected"),
        ({"fields": {"colour": "real"}}, pofx.SpecError, "colour"),
    ],
)
def test_wrong_calls(words: dict[str, object], error: type[Exception], text: str) -> None:
    if words == {"condition": "pay"}:
        words = {"condition": ["pay", "bonus", "age", "seen"]}
        with pytest.raises(error, match=text):
            pofx.fit(people(6000), **({"steps": 1} | words))
        return
    with pytest.raises(error, match=text):
        pofx.fit(people(), **({"steps": 1} | words if "minutes" not in words else words))


@pytest.mark.parametrize("n", [0, -3])
def test_no_rows_asked_for(model: pofx.Fitted, n: int) -> None:
    with pytest.raises(pofx.SpecError, match="at least 1"):
        model.sample(n)


def test_a_model_of_other_columns(model: pofx.Fitted) -> None:
    with pytest.raises(pofx.CodecError, match="'age'"):
        model.log_prob(people(5).drop(columns="age"))


def test_evidence(tmp_path: Path) -> None:
    people(400).to_csv(tmp_path / "p.csv", index=False)
    model = pofx.fit(tmp_path / "p.csv", steps=30)
    evidence = model.evaluate(target="member", report=tmp_path / "r.html", json=tmp_path / "m.json")
    assert "shape" in evidence
    assert evidence["log_prob"].n == 40
    assert (tmp_path / "r.html").read_text().count("<svg") > 3
    assert '"verdict"' in (tmp_path / "m.json").read_text()
    people(401).to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(pofx.CodecError, match="not what the model was fitted on"):
        model.evaluate()


def test_a_frame_is_not_kept(model: pofx.Fitted) -> None:
    with pytest.raises(pofx.CodecError, match="give it again"):
        model.evaluate()


cells = st.one_of(st.integers(-5, 5), st.floats(-1e6, 1e6, width=32), st.text(max_size=3), st.booleans(), st.none())


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    rows = draw(st.integers(2, 12))
    kinds = [
        st.integers(-100, 100),
        st.floats(-1e6, 1e6, width=32),
        st.sampled_from(["a", "b", "c,d", 'e"f', "é"]),
        st.booleans(),
        st.one_of(st.none(), st.integers(0, 3)),
        cells,
    ]
    columns = {}
    for j in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(kinds))
        columns[f"c{j}"] = draw(st.lists(kind, min_size=rows, max_size=rows))
    return pd.DataFrame(columns)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(frames())
def test_any_small_frame_goes_all_the_way(frame: pd.DataFrame) -> None:
    if all(frame[name].map(lambda cell: cell is None or cell != cell or cell == "").all() for name in frame):
        with pytest.raises(pofx.CodecError, match="missing"):
            pofx.fit(frame, steps=2)
        return
    model = pofx.fit(frame, steps=2, size="small", split=(1.0, 0.0, 0.0))
    again = _through_a_file(model)
    drawn = again.sample(9, seed=0)
    assert drawn.columns.tolist() == frame.columns.tolist()
    assert [str(a) for a in drawn.dtypes] == [str(a) for a in frame.dtypes]
    assert np.isfinite(again.log_prob(frame)).all()
    fields = {field.name: field for field in model.model.spec.fields}
    for name in frame.select_dtypes("number"):
        if frame[name].notna().any() and drawn[name].notna().any():
            half = 0.5 * 10.0 ** -getattr(fields.get(name), "decimals", 15)  # of a step of the grid that was seen
            assert drawn[name].min() >= frame[name].min() - max(half, 1e-6 * abs(frame[name].min()))
            assert drawn[name].max() <= frame[name].max() + max(half, 1e-6 * abs(frame[name].max()))


def _through_a_file(model: pofx.Fitted) -> pofx.Fitted:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "m")
        return pofx.load(Path(folder) / "m")


def test_repr(model: pofx.Fitted) -> None:
    assert repr(model) == "<pofx any_order of 9 columns, learned from 300 rows>"
    assert io.StringIO(model.info()).readline().startswith("model      any_order (flows)")
