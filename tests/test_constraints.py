"""Constraints of tables: no row made breaks one, known cells stay, all comes back, and bad input is told."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

import pofx
from pofx import split
from pofx.bundle import Fitted
from pofx.cli import main
from pofx.codecs.table import TableCodec, read_table
from pofx.errors import CodecError, PofxError, SpecError
from pofx.field import MISSING, Allowed
from pofx.fields import Datetime, Integer, Real
from pofx.models import create
from pofx.orders import HIGHEST, LOWEST, Line, Order
from pofx.spec import Spec

RULES = [
    "total = net + tax",
    "start < middle",
    "middle <= end",
    "low < high",
    "one of red, green, blue",
    "fixed country, city",
    "age in [18, 65]",
    "unique id",
]
MODELS = {"any_order": {"size": "small"}, "nsf": {}, "vae": {}, "gan": {}}
MEMBERS = [
    "net",
    "tax",
    "total",
    "start",
    "middle",
    "end",
    "low",
    "high",
    "red",
    "green",
    "blue",
    "country",
    "city",
    "age",
]


def shop(n: int = 240, seed: int = 0, gaps: float = 0.05) -> pd.DataFrame:
    """A table in which RULES hold, cells of tax, total and middle missing now and then."""
    rng = np.random.default_rng(seed)
    net, tax, low = np.round(rng.gamma(2, 30, n), 2), np.round(rng.gamma(2, 5, n), 2), np.round(rng.normal(0, 1, n), 2)
    start = np.datetime64("2024-01-01") + rng.integers(0, 200, n)
    middle = start + rng.integers(1, 20, n)
    colour, place = rng.integers(0, 3, n), rng.integers(0, 4, n)
    frame = pd.DataFrame(
        {
            "id": [f"o{i:05d}" for i in rng.permutation(n)],
            "net": net,
            "tax": tax,
            "total": np.round(net + tax, 2),
            "start": start.astype("datetime64[s]"),
            "middle": middle.astype("datetime64[s]"),
            "end": (middle + rng.integers(0, 20, n)).astype("datetime64[s]"),
            "low": low,
            "high": np.round(low + rng.choice([0.01, 0.02, 0.5, 1.5], n), 2),
            **{name: (colour == i).astype(int) for i, name in enumerate(("red", "green", "blue"))},
            "country": np.array(["DE", "DE", "FR", "FR"])[place],
            "city": np.array(["Ulm", "Bonn", "Bonn", "Lyon"])[place],
            "age": rng.integers(18, 66, n),
        }
    )
    for name in ("tax", "total", "middle"):
        frame.loc[rng.random(n) < gaps, name] = np.nan if name != "middle" else pd.NaT
    return frame


SHOP = shop()


def broken(frame: pd.DataFrame) -> dict[str, int]:
    """How many rows of a frame break each of RULES, counted here on what was written."""
    net, tax, total = (np.round(frame[name].astype(float) * 100) for name in ("net", "tax", "total"))
    hot = frame[["red", "green", "blue"]].astype(int).sum(axis=1)
    pairs = set(zip(SHOP.country, SHOP.city, strict=True))
    found = {
        "sum": ((net + tax != total) & net.notna() & tax.notna() & total.notna()).sum(),
        "start < middle": (frame.start >= frame.middle).sum(),
        "middle <= end": (frame.middle > frame.end).sum(),
        "start < end": (frame.start >= frame.end).sum(),
        "low < high": (np.round(frame.low * 100) >= np.round(frame.high * 100)).sum(),
        "one of": (hot != 1).sum(),
        "fixed": sum(pair not in pairs for pair in zip(frame.country, frame.city, strict=True)),
        "range": ((frame.age < 18) | (frame.age > 65)).sum(),
        "unique": len(frame) - frame.id.nunique(),
    }
    return {name: int(count) for name, count in found.items() if count}


@pytest.fixture(scope="module", params=MODELS)
def fitted(request: pytest.FixtureRequest) -> Fitted:
    words = {"steps": 3, "guard": False, "quiet": True, "constraints": RULES}
    return pofx.fit(SHOP, model=request.param, **words, **MODELS[request.param])


def test_the_counts_of_this_file_see_broken_rows() -> None:
    assert broken(SHOP) == {}
    rng = np.random.default_rng(1)
    mixed = pd.DataFrame({name: SHOP[name].to_numpy()[rng.permutation(len(SHOP))] for name in SHOP})
    mixed.loc[0, ["age", "id"]] = [99, SHOP.id[1]]
    assert len(broken(mixed)) == 9


def test_no_row_made_breaks_a_constraint(fitted: Fitted) -> None:
    made = fitted.sample(1500, seed=1, quiet=True)
    assert broken(made) == {}
    assert made.middle.isna().any() or fitted.model.name == "gan"


def test_saved_and_loaded_it_makes_the_same_rows(fitted: Fitted, tmp_path: Path) -> None:
    fitted.save(tmp_path / "a.pofx")
    again = pofx.load(tmp_path / "a.pofx")
    assert again.sample(60, seed=1, quiet=True).equals(fitted.sample(60, seed=1, quiet=True))
    assert all(rule in again.info() for rule in RULES)
    x = fitted.codec.encode(SHOP)
    assert {k: v.tolist() for k, v in again.codec.encode(SHOP).items()}.keys() == x.keys()


def test_rows_come_back(fitted: Fitted) -> None:
    table = read_table(SHOP)[0]
    codec = TableCodec.learn(table, constraints=RULES, masks=fitted.model.name == "any_order")
    meta, arrays = codec.to_json()
    for one in (codec, TableCodec.from_json(json.loads(json.dumps(meta)), arrays)):
        back = one.table(one.encode(table))
        assert all(back[name].to_pylist() == table[name].to_pylist() for name in MEMBERS)


@pytest.mark.parametrize("name", MEMBERS)
def test_a_known_cell_stays_and_the_others_fit_it(fitted: Fitted, name: str) -> None:
    if "known" not in fitted.model.abilities:
        with pytest.raises(PofxError, match="complete missing cells"):
            fitted.complete(SHOP)
        return
    rows = SHOP[SHOP[name].notna()].head(30).reset_index(drop=True)
    asked = rows.copy()
    for other in MEMBERS:
        if other != name:
            asked.loc[1:, other] = None
    made = fitted.complete(asked, draws=1, quiet=True)
    assert made[name].astype(str).tolist() == rows[name].astype(str).tolist()
    assert broken(made) == {}
    assert not made.loc[1:, MEMBERS].isna().any().any()


def test_a_known_cell_beyond_what_was_seen_bounds_the_others(fitted: Fitted) -> None:
    if "known" not in fitted.model.abilities:
        pytest.skip("the model completes no rows")
    rows = SHOP.dropna().head(4).reset_index(drop=True)
    rows.loc[0, ["low", "high"]] = 50.0, np.nan
    rows.loc[1, ["low", "high"]] = np.nan, -50.0
    rows.loc[2, ["start", "middle", "end"]] = pd.Timestamp("2030-01-01"), pd.NaT, pd.NaT
    made = fitted.complete(rows, draws=1, quiet=True)
    assert broken(made) == {}
    assert made.high[0] == 50.01
    assert made.low[1] == -50.01
    assert made.middle[2] == made.end[2] == pd.Timestamp("2030-01-02")


def test_one_missing_part_is_what_a_sum_leaves() -> None:
    model = pofx.fit(SHOP, model="independent", constraints=RULES, quiet=True, guard=False)
    rows = SHOP.dropna().head(40).reset_index(drop=True)
    asked = rows.copy()
    asked.loc[:19, "net"] = np.nan
    asked.loc[20:, "red"] = np.nan
    made = model.complete(asked, quiet=True)
    assert np.round(made.net * 100).tolist() == np.round(rows.net * 100).tolist()
    assert made.red.astype(int).tolist() == rows.red.tolist()


CONDITIONS = {
    "net": "net > 60", "tax": "tax < 10", "start": "start < 2024-03-01", "middle": "middle > 2024-06-01",
    "end": "end < 2024-02-15", "low": "low > 0.5", "high": "high < 0", "red": "red = 1", "green": "green = 0",
    "country": "country = DE", "city": "city = Bonn", "age": "age >= 60",
}  # fmt: skip


@pytest.mark.parametrize("name", CONDITIONS)
def test_conditions_on_members_hold_with_the_constraints(fitted: Fitted, name: str) -> None:
    if "given" not in fitted.model.abilities:
        with pytest.raises(PofxError, match=r"any_order"):
            fitted.sample(10, CONDITIONS[name], quiet=True)
        return
    made = fitted.sample(200, CONDITIONS[name], seed=2, quiet=True)
    assert broken(made) == {}
    column, operator, value = CONDITIONS[name].split()
    wanted = {"<": "__lt__", ">": "__gt__", "=": "__eq__", ">=": "__ge__"}[operator]
    kind = type(SHOP[column][0])
    assert getattr(made[column], wanted)(kind(value)).all()


def test_conditions_at_both_ends_of_an_order_hold() -> None:
    words = {"steps": 3, "guard": False, "quiet": True, "constraints": RULES, "size": "small"}
    model = pofx.fit(SHOP, **words)
    made = model.sample(300, ["start > 2024-03-01", "end < 2024-04-01"], seed=3, quiet=True)
    assert broken(made) == {}
    assert (made.start > pd.Timestamp("2024-03-01")).all()
    assert (made.end < pd.Timestamp("2024-04-01")).all()
    with pytest.raises(SpecError, match="leave"):
        model.sample(5, ["start > 2024-07-01", "end < 2024-02-01"], quiet=True)
    with pytest.raises(CodecError, match="on a sum"):
        model.sample(5, "total > 10", quiet=True)


def test_a_condition_on_a_gap_is_a_clear_error() -> None:
    model = pofx.fit(SHOP, model="independent", constraints=RULES, quiet=True, guard=False)
    assert broken(model.sample(500, "low > 0", seed=1, quiet=True)) == {}
    with pytest.raises(CodecError, match="learned as the gap 'high - low'"):
        model.sample(5, "high > 0", quiet=True)


def test_members_of_a_group_can_be_balanced() -> None:
    model = pofx.fit(SHOP, model="independent", constraints=RULES, quiet=True, guard=False)
    made = model.sample(4096, balance={"city": {"Lyon": 0.5}}, seed=1, quiet=True)
    assert broken(made) == {}
    assert (made.city == "Lyon").mean() == pytest.approx(0.5, abs=0.001)
    with pytest.raises(SpecError, match="one constraint holds with it"):
        model.sample(10, balance={"city": None, "country": None}, quiet=True)
    with pytest.raises(SpecError, match="one constraint holds with it"):
        model.sample(10, "city = Ulm", balance="country", quiet=True)


def test_columns_of_a_condition_keep_orders_and_groups() -> None:
    for model, condition in (("any_order", ["start", "red", "green", "blue"]), ("vae", ["end", "low"])):
        words = {"steps": 3, "guard": False, "quiet": True, "constraints": RULES}
        fitted = pofx.fit(SHOP, model=model, condition=condition, **words)
        assert broken(fitted.sample(400, seed=1, quiet=True)) == {}
    with pytest.raises(SpecError, match="in the condition, or none"):
        pofx.fit(SHOP, model="vae", condition=["red"], **words)
    with pytest.raises(SpecError, match="decides the condition"):
        pofx.fit(SHOP, model="vae", condition=["total"], **words)
    with pytest.raises(SpecError, match="one end of its orders"):
        pofx.fit(SHOP, model="vae", condition=["middle"], **words)


@pytest.mark.parametrize("model", ["any_order", "vae"])
def test_cells_that_nobody_saw_are_made_within_the_constraints(model: str) -> None:
    words = {"steps": 3, "guard": False, "quiet": True, "constraints": RULES, "missing": "unknown"}
    frame = SHOP.copy()
    frame.loc[::9, "red"] = np.nan
    made = pofx.fit(frame, model=model, **words).sample(300, seed=1, quiet=True)
    assert broken(made) == {}
    assert not made.isna().any().any()


@pytest.mark.parametrize("model", ["any_order", "vae", "independent"])
def test_missing_members_of_a_group_are_completed(model: str) -> None:
    frame = SHOP[["red", "green", "blue", "country", "city", "age"]].astype({"red": float}).copy()
    frame.loc[::4, "red"], frame.loc[1::9, "city"] = np.nan, None
    words = {"steps": 3} if model != "independent" else {}
    rules = ["one of red, green, blue", "fixed country, city"]
    fitted = pofx.fit(frame, model=model, guard=False, quiet=True, constraints=rules, **words)
    table = read_table(frame)[0]
    back = fitted.codec.table(fitted.codec.encode(table))
    assert all(back[name].to_pylist() == table[name].to_pylist() for name in ("red", "green", "country", "city"))
    made = fitted.complete(frame, draws=1, quiet=True)
    assert not made.isna().any().any()
    assert made[["green", "blue", "country", "age"]].equals(SHOP[["green", "blue", "country", "age"]])
    assert (made[["red", "green", "blue"]].sum(axis=1) == 1).all()
    drawn = fitted.sample(400, seed=1, quiet=True)
    assert drawn.red.isna().any()
    assert (drawn[["red", "green", "blue"]].sum(axis=1)[drawn.red.notna()] == 1).all()
    assert set(made.city) == {"Ulm", "Bonn", "Lyon"}


# -- the law of a model that masks -------------------------------------------------------------------------------------


def test_the_masked_law_is_a_law() -> None:
    """Two small integers a <= b: log p sums to one over the pairs that hold, and draws follow it."""
    rng = np.random.default_rng(0)
    a = rng.integers(0, 4, 400)
    frame = pd.DataFrame({"a": a, "b": a + rng.integers(0, 3, 400), "k": ["u", "v"] * 200})
    model = pofx.fit(frame, steps=20, guard=False, quiet=True, constraints=["a <= b"], size="small")
    cells = pd.MultiIndex.from_product([range(4), range(6), ["u", "v"]], names=["a", "b", "k"]).to_frame(index=False)
    mass = np.exp(model.log_prob(cells) - model.model.spec.fields[0].log_seen * 3)
    held = (cells.a <= cells.b).to_numpy()
    assert mass[held].sum() == pytest.approx(1.0, abs=0.02)
    assert mass[~held].max() < 1 / 300
    drawn = model.sample(8000, seed=1, quiet=True).groupby(["a", "b", "k"]).size()
    seen = cells[held].apply(lambda row: drawn.get((row.a, row.b, row.k), 0), axis=1).to_numpy() / 8000
    assert np.abs(seen - mass[held]).max() < 0.02


def test_a_total_counts_in_the_measure_of_its_grid() -> None:
    """In cents the same rows are log 100 less likely a column, whether it is drawn or follows."""
    frame = shop(200, gaps=0.0)[["net", "tax", "total"]]
    cents = pd.DataFrame({name: np.round(frame[name] * 100).astype(int) for name in frame})
    words = {"model": "independent", "guard": False, "quiet": True, "constraints": ["total = net + tax"]}
    apart = pofx.fit(frame, **words).log_prob(frame) - pofx.fit(cents, **words).log_prob(cents)
    assert apart == pytest.approx(3 * np.log(100), abs=1e-6)


def test_a_cell_beyond_what_was_seen_is_unlikely_where_bounds_leave_no_mass() -> None:
    a = np.random.default_rng(0).integers(0, 50, 300)
    model = pofx.fit(pd.DataFrame({"a": a, "b": a + 1}), steps=3, guard=False, quiet=True, constraints=["a < b"])
    beyond = model.log_prob(pd.DataFrame({"a": [49, 60, 60], "b": [50, 61, 59]}))
    assert beyond[0] > beyond[1] > -25
    assert beyond[1] > beyond[2] + 4


def test_what_is_known_counts_before_what_was_seen() -> None:
    """The model alone, without what a completion repairs."""
    v = np.arange(100)
    gone = np.where(v % 10 == 0, MISSING, v + 3)
    spec = Spec.table((Integer.learn("a", v), Integer.learn("b", gone)), orders=(Order("a", "b", True),))
    model = create("any_order", spec, size="small")
    rows = {"a": np.array([500, 7, 0]), "b": np.array([0, 0, -40])}
    known = np.array([[True, False], [True, False], [False, True]])
    given = {"b": Allowed(intervals=((-np.inf, np.inf),))}
    made = model.decode(model.noise(3, torch.Generator().manual_seed(0)), None, given, (rows, known))
    assert made["b"][0] == 501
    assert made["b"][1] > 7
    assert made["a"].tolist() == [500, 7, -41]


def test_bounds_follow_along_a_chain() -> None:
    v = np.arange(100)
    fields = {"a": Real.learn("a", v / 10, 1), "b": Integer.learn("b", v), "c": Real.learn("c", v / 100, 2)}
    line = Line([Order("a", "b", True), Order("b", "c")], fields)
    known = {"a": line.place("a", np.array([2.5, 3.0, np.nan])), "b": np.full(3, MISSING), "c": np.full(3, MISSING)}
    lower = line.lower(known)
    assert lower["b"].tolist() == [300, 400, LOWEST]
    assert lower["c"].tolist() == [300, 400, LOWEST]
    upper = line.upper({"a": np.full(2, MISSING), "b": np.full(2, MISSING), "c": line.place("c", np.array([2.5, 2.0]))})
    assert upper["b"].tolist() == [200, 200]
    assert upper["a"].tolist() == [190, 190]
    assert line.upper({"c": np.full(1, MISSING)})["a"].tolist() == [HIGHEST]
    assert line.stored("a", np.array([190, MISSING]))[0] == 1.9
    day, second = Datetime.learn("d", v, unit="D"), Datetime.learn("s", v * 43200, unit="s")
    moments = Line([Order("d", "s", True)], {"d": day, "s": second})
    assert moments.lower({"d": moments.place("d", np.array([1]))})["s"].tolist() == [86401]
    assert moments.upper({"s": moments.place("s", np.array([86400, 86401]))})["d"].tolist() == [0, 86400]


# -- dirty rows --------------------------------------------------------------------------------------------------------


def dirty(share: float, n: int = 400) -> pd.DataFrame:
    frame, rows = shop(n, gaps=0.0), slice(0, int(share * n))
    at = frame.index[rows]
    frame.loc[at, "total"] = np.round(frame.total[at] + 5, 2)
    low, high = frame.low[at].copy(), frame.high[at].copy()
    frame.loc[at, "low"], frame.loc[at, "high"] = high, low
    frame.loc[at, ["red", "green", "blue"]] = 1
    frame.loc[at, "age"] = 90
    return frame.sample(frac=1, random_state=1).reset_index(drop=True)


DIRTY = ["total = net + tax", "low < high", "one of red, green, blue", "age in [18, 65]"]
FEW = {"sum", "low < high", "one of", "range"}


@pytest.mark.parametrize("model", ["any_order", "nsf", "independent"])
def test_dirty_rows_are_left_out_or_made_as_often_as_seen(model: str) -> None:
    words = {"model": model, "guard": False, "quiet": True, "constraints": DIRTY}
    words |= {"steps": 3} if model != "independent" else {}
    clean = pofx.fit(dirty(0.04), **words)
    assert not FEW & broken(clean.sample(1000, seed=1, quiet=True)).keys()
    assert "rows that break" in clean.provenance["notes"]["dirty"]
    kept = pofx.fit(dirty(0.04), dirty="keep", **words)
    count = broken(kept.sample(4000, seed=1, quiet=True))
    assert all(60 < count[name] < 300 for name in FEW), count


@pytest.mark.parametrize("masks", [True, False])
def test_dirty_rows_that_are_kept_come_back(masks: bool) -> None:
    table = read_table(dirty(0.04))[0]
    codec = TableCodec.learn(table, constraints=DIRTY, dirty="keep", masks=masks)
    back = codec.table(codec.encode(table))
    assert all(back[name].to_pylist() == table[name].to_pylist() for name in MEMBERS)


def test_more_dirty_rows_are_an_error_unless_they_are_kept() -> None:
    with pytest.raises(SpecError, match=r"total = net \+ tax.*of 320 break it, such as total = .*--dirty keep"):
        pofx.fit(dirty(0.2), steps=3, quiet=True, constraints=["total = net + tax"])
    pofx.fit(dirty(0.2), model="independent", quiet=True, guard=False, constraints=DIRTY, dirty="keep")


# -- found -------------------------------------------------------------------------------------------------------------


def test_what_holds_is_found_and_can_be_given_back() -> None:
    frame = shop(600, gaps=0.0)
    frame["code"] = (np.arange(600) % 6).astype(str)
    frame["group"] = ((np.arange(600) % 6 * 7 + np.arange(600) // 6 % 2 * 3) % 6).astype(str)
    frame[["code", "group"]] = "k" + frame[["code", "group"]]
    codec = TableCodec.learn(frame)
    found = [rule.words for rule in codec.held.rules]
    wanted = {"total = net + tax", "one of red, green, blue", "fixed code, group", "start <= middle", "middle <= end"}
    assert set(found) == wanted | {"low <= high"}
    assert all(f"  {rule}" in codec.profile() for rule in found)
    again = TableCodec.learn(frame, constraints=found)
    assert [rule.words for rule in again.held.rules] == found
    assert TableCodec.learn(frame, constraints="none").held.rules == []
    both = TableCodec.learn(frame, constraints=["found", "low < high"])
    assert {rule.words for rule in both.held.rules} == wanted | {"low < high"}


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_found_where_nothing_is(seed: int) -> None:
    rng, n = np.random.default_rng(seed), 1000
    frame = pd.DataFrame(
        {f"n{i}": np.round(rng.normal(3 * i, 1 + i, n), 2) for i in range(5)}
        | {f"c{i}": rng.poisson(2 + i, n) for i in range(5)}
        | {f"s{i}": (rng.random(n) < 0.05 * (i + 1)).astype(int) for i in range(5)}
        | {f"l{i}": rng.choice(list("abcdef"), n, p=[0.6, 0.3, 0.05, 0.03, 0.01, 0.01]) for i in range(3)}
    )
    assert TableCodec.learn(frame).held.rules == []


def test_rows_aside_that_break_what_was_found_stay_aside() -> None:
    """They are evidence against it, and counted as such."""
    frame = shop(600, gaps=0.0)[["net", "tax", "total"]]
    frame.loc[split.parts(600, (0.8, 0.1, 0.1), 0)[2][:6], "total"] += 1.0
    model = pofx.fit(frame, model="independent", quiet=True, guard=False)
    assert [rule.words for rule in model.codec.held.found] == ["total = net + tax"]
    assert "dirty" not in model.provenance["notes"]
    figure = model.evaluate(train=frame, quiet=True)["broken_constraints"]
    assert figure.value == 0.0
    assert figure.ceiling == pytest.approx(0.1)


def test_a_year_is_the_sum_of_its_months() -> None:
    frame = pd.DataFrame({f"m{i}": np.random.default_rng(i).poisson(30, 300) for i in range(12)})
    frame["year"] = frame.sum(axis=1)
    found = TableCodec.learn(frame).held.rules
    assert [rule.words for rule in found] == ["year = " + " + ".join(f"m{i}" for i in range(12))]


# -- evidence, words and bad input -------------------------------------------------------------------------------------


def test_evidence_counts_broken_constraints() -> None:
    model = pofx.fit(SHOP, model="independent", constraints=RULES, quiet=True, guard=False)
    figure = model.evaluate(train=SHOP, quiet=True)["broken_constraints"]
    assert figure.value == figure.ceiling == 0.0
    assert figure.baseline > 0.5
    assert {rule["rule"] for rule in figure.detail["rules"]} == set(RULES) - {"unique id"}


def test_a_row_that_breaks_a_constraint_is_unlikely(fitted: Fitted) -> None:
    if "log_prob" not in fitted.model.abilities:
        pytest.skip("the model has no likelihood")
    rows = SHOP.dropna().head(20)
    wrong = rows.assign(total=rows.total + 1)
    assert (fitted.log_prob(wrong) < fitted.log_prob(rows) - 4).all()


def test_the_command_line_fits_and_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    SHOP.to_csv(tmp_path / "shop.csv", index=False)
    (tmp_path / "rules.json").write_text(json.dumps(RULES))
    words = ["--model", "independent", "--no-guard", "--quiet"]
    source, rules, model, out = (str(tmp_path / name) for name in ("shop.csv", "rules.json", "m.pofx", "out.csv"))
    assert main(["fit", source, "-o", model, "--constraints", rules, *words]) == 0
    assert main(["sample", model, "-n", "300", "-o", out, "--seed", "1", "--quiet"]) == 0
    made = pd.read_csv(out, parse_dates=["start", "middle", "end"])
    assert broken(made) == {}
    assert main(["profile", source]) == 0
    assert "total = net + tax" in capsys.readouterr().out
    assert main(["fit", source, "-o", model, "--constraints", source, *words]) == 2
    assert "found, none or a JSON file" in capsys.readouterr().err


BAD = {
    "totl = net + tax": "names the column 'totl'.*'total'",
    "net <= nothing": "names the column 'nothing'",
    "`no such` < net": "names the column 'no such'",
    "net ~ tax": "cannot be read|names the column",
    "net": "cannot be read",
    "net < net": "cannot be read",
    "total = net": "two other columns",
    "fixed country": "two different columns",
    "unique id, net": "one column",
    "country <= city": "needs columns of numbers or dates, 'country'",
    "net <= start": "numbers, or moments",
    "age = net + country": "needs columns of numbers",
    "one of age, red": "0 and 1",
    "age = net + tax": "on the grid of its parts",
    "age in [200, 300]": "no row meets it",
    "high < low": "no row meets it",
    "age in [40, 65]": "of 192 break it",
    "id <= net": "'id', which is not learned.*fields",
    "net in [a, b]": "compares 'net', a number",
}


@pytest.mark.parametrize("rule", BAD)
def test_bad_constraints_are_told(rule: str) -> None:
    with pytest.raises(PofxError, match=BAD[rule]):
        pofx.fit(SHOP, model="independent", constraints=[rule], quiet=True)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (["net <= tax", "tax < net"], "can hold together"),
        (["low <= high", "high <= low"], "can hold together"),
        (["fixed country, city", "fixed city, red"], "decides it"),
        (["total = net + tax", "total <= age"], "decides it"),
        (["total = net + tax", "net = total + age"], "can hold together"),
        ([3], "as texts"),
    ],
)
def test_constraints_that_contradict_are_told(rules: list[str], words: str) -> None:
    with pytest.raises(PofxError, match=words):
        pofx.fit(SHOP, model="independent", constraints=rules, quiet=True)


def test_words_of_constraints_are_checked() -> None:
    with pytest.raises(SpecError, match="dirty among clean, keep"):
        pofx.fit(SHOP, model="independent", dirty="wash", quiet=True)
    with pytest.raises(SpecError, match="makes 'id' a key"):
        pofx.fit(SHOP, model="independent", constraints=["unique id"], fields={"id": "category"}, quiet=True)
    twice = pd.concat([SHOP, SHOP])
    with pytest.raises(SpecError, match="unique id"):
        pofx.fit(twice, model="independent", constraints=["unique id"], quiet=True)
    with pytest.raises(PofxError, match="of tables"):
        pofx.fit(np.zeros((20, 4, 4)), model="vae", constraints=["a <= b"], quiet=True)


def test_names_with_odd_characters_stand_in_backticks() -> None:
    frame = pd.DataFrame({"a + b": np.arange(100) % 30, "c`d": np.arange(100) % 30 + 5, "e": ["u", "v"] * 50})
    codec = TableCodec.learn(pa.Table.from_pandas(frame), constraints=["`a + b` < `c``d`"])
    assert [rule.words for rule in codec.held.rules] == ["`a + b` < `c``d`"]
