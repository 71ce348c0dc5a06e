"""fit(epsilon=...): what the file holds, what is refused, and the steps of DP-SGD."""

import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from made import mixed, spec_of

import pofx
from pofx import store
from pofx.cli import main
from pofx.errors import PofxError
from pofx.evaluate import Evidence
from pofx.models import create
from pofx.models.ghost import Ghost
from pofx.models.model import Clock, Recipe
from pofx.privacy import Randomness, epsilon_of, rho_of
from pofx.private_fit import fit_private
from pofx.spec import Columns, Spec
from pofx.split import private_parts
from pofx.training.private import ORDERS, Descent, cost, least_noise

SECRETS = ("Tuvalu", "Q-unique-7", "person-0003", "98765")


def frame(n: int = 6000, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    land = rng.choice(["France", "Spain", "Peru"], n, p=[0.5, 0.3, 0.2]).astype(object)
    rich = rng.random(n) < np.where(land == "France", 0.8, 0.2)
    pay = np.round(rng.normal(2000 + 800 * rich, 200), 1)
    age = rng.integers(18, 80, n)
    land[3], pay[4], age[5] = "Tuvalu", 98765.5, 31337
    note = np.array([f"note {i}" for i in range(n)], object)
    note[6] = "Q-unique-7"
    return pd.DataFrame({"who": [f"person-{i // 2:04d}" for i in range(n)], "land": land, "rich": rich, "pay": pay,
                         "age": age, "note": note})  # fmt: skip


def fit(source: object = None, **words: object) -> pofx.Fitted:
    return pofx.fit(frame() if source is None else source, quiet=True, **({"epsilon": 5.0, "unit": "who"} | words))


@pytest.fixture(scope="module")
def model() -> pofx.Fitted:
    return fit()


@pytest.mark.parametrize("ending", ["frame", "csv", "parquet"])
def test_nothing_of_the_rows_is_in_the_file(ending: str, tmp_path: Path) -> None:
    source: object = frame()
    if ending == "csv":
        frame().to_csv(tmp_path / "t.csv", index=False)
        source = str(tmp_path / "t.csv")
    elif ending == "parquet":
        frame().to_parquet(tmp_path / "t.parquet")
        source = str(tmp_path / "t.parquet")
    made = fit(source, unit="rows", split=(1, 0, 0), fields={"who": "drop"})
    made.save(tmp_path / "m.pofx")
    data = (tmp_path / "m.pofx").read_bytes()
    assert b"France" in data
    for secret in SECRETS:
        assert secret.encode() not in data, secret
    header, arrays = store.read(tmp_path / "m.pofx", "model")
    assert header["provenance"]["fingerprint"] is None and header["typical"] == {} and "usual.scores" not in arrays
    assert "number of rows" in header["provenance"]["privacy"]["spent, rho"] and not header["codec"]["rules"]
    assert not any((a == 31337).any() or (a == 987655).any() for a in arrays.values() if a.dtype.kind in "if")
    drawn = pofx.load(tmp_path / "m.pofx").sample(4000, seed=0, quiet=True)
    assert not (set(SECRETS) & set(drawn.astype(str).to_numpy().ravel()))
    assert drawn.pay.max() < 40_000 and drawn.age.max() < 10_000
    share = [drawn[drawn.land == name].rich.astype(str).eq("True").mean() for name in ("France", "Spain")]
    assert share[0] > 0.6 and share[1] < 0.4  # and the pair is learned all the same


def test_the_guarantee_is_told(model: pofx.Fitted) -> None:
    terms = model.provenance["privacy"]
    assert terms["epsilon"] == 5.0 and terms["delta"] == 1e-6 and terms["unit"] == "who"
    assert terms["epsilon spent"] == pytest.approx(5.0) and terms["epsilon spent"] <= 5.0
    assert sum(terms["spent, rho"].values()) <= rho_of(5.0, 5e-7) * (1 + 1e-9)
    assert "epsilon 5" in model.info() and "zCDP" in model.info() and "who" in model.info()
    assert "system" in terms["noise"]


def test_a_known_seed_of_noise_takes_the_guarantee_away() -> None:
    words = dict(delta=None, unit="rows", model="mst", minutes=None, steps=None, size=None, seed=0,
                 fields={"who": "drop"}, split=(1, 0, 0), quiet=True, reading=None, config={})  # fmt: skip
    one, two = (fit_private(frame(), epsilon=3.0, noise_seed=1, **words) for _ in range(2))
    assert "no guarantee" in one.info()
    assert torch.equal(one.model.table, two.model.table)
    fresh = [fit(epsilon=3.0).model.table for _ in range(2)]
    assert fresh[0].shape != fresh[1].shape or not torch.equal(*fresh)


def test_each_entity_has_one_row_and_stays_in_its_part() -> None:
    from pofx.codecs.tabular_io import read_table

    table, _ = read_table(frame())
    train, test = private_parts(table, (0.6, 0.2, 0.2), 0, "who")
    names = [part["who"].to_pylist() for part in (train, test)]
    assert len(set(names[0])) == len(names[0]) and not set(names[0]) & set(names[1])
    assert len(names[0]) + len(names[1]) == 3000 and 450 < len(names[1]) < 750
    less, _ = private_parts(table.slice(1), (0.6, 0.2, 0.2), 0, "rows")
    more, _ = private_parts(table, (0.6, 0.2, 0.2), 0, "rows")
    assert 0 <= len(more) - len(less) <= 1 and less.slice(5) in (more.slice(5), more.slice(6))


def test_declared_columns_cost_nothing_and_are_named() -> None:
    fields = {
        "land": {"kind": "category", "levels": ["Peru", "Spain", "France", "Chile"]},
        "age": {"kind": "count", "low": 18, "high": 79},
        "pay": {"low": 0, "high": 5000, "step": 0.1},
    }
    made = fit(fields=fields)
    terms = made.provenance["privacy"]
    assert set(terms["public"]) >= {"land", "age", "pay"} and "levels of land" not in terms["spent, rho"]
    assert "declared of land, rich, pay, age" in made.info()
    drawn = made.sample(2000, seed=0, quiet=True)
    assert drawn.age.between(18, 79).all() and set(drawn.land) <= {"Peru", "Spain", "France", "Chile", "other"}
    assert made.codec.plan("pay").decimals == 1


def test_cells_that_are_not_like_the_others_are_brought_to_what_is_said() -> None:
    """A few words among numbers, fractions among whole numbers, and numbers out of a declared range."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"a": rng.integers(0, 50, 3000).astype(str), "b": rng.integers(0, 50, 3000).astype(float)})
    rows["c"] = rng.normal(size=3000)
    rows.loc[:3, "a"] = ["oops", "1e300", "12.5", "-7"]
    rows.loc[:2, "b"] = [0.5, 1e18, -1e18]
    fields = {"b": {"kind": "count", "low": 0, "high": 49}, "c": {"kind": "real", "low": -5, "high": 5, "step": 0.01}}
    made = fit(rows, unit="rows", epsilon=5.0, fields=fields)
    drawn = made.sample(500, seed=0, quiet=True)
    assert drawn.b.between(0, 49).all() and drawn.c.between(-5, 5).all()
    assert drawn.a.astype(float).between(-100, 200).all()


@pytest.mark.parametrize("kind", ["int8", "uint64", "float32", "decimal", "bool", "dictionary", "string"])
def test_every_type_of_column_comes_back(kind: str) -> None:
    rng = np.random.default_rng(0)
    codes = pa.array(rng.integers(0, 5, 2500))
    if kind == "dictionary":
        column = codes.cast(pa.string()).dictionary_encode()
    elif kind == "bool":
        column = pc.greater(codes, 2)
    else:
        column = codes.cast(pa.decimal128(21, 2) if kind == "decimal" else pa.type_for_alias(kind))
    table = pa.table({"a": column, "b": codes.cast(pa.string())})
    made = fit(table, unit="rows", epsilon=8.0)
    drawn = made.sample(400, seed=0, quiet=True)
    assert drawn.schema.field("a").type == column.type and len(set(drawn["a"].to_pylist())) >= 2
    assert np.isfinite(made.log_prob(table)).all()


def test_evaluation_warns_and_finds_unseen_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bare(spec: Spec, fake: Columns, train: Columns, unseen: Columns, **_: object) -> Evidence:
        rows = {k: len(x["land"]) for k, x in (("synthetic", fake), ("train", train), ("holdout", unseen))}
        return Evidence([], "judged", "Judged.", [], "", {}, rows, {"marginals": []})

    monkeypatch.setattr("pofx.judging.evaluate", bare)
    frame(2500).drop(columns=["note", "who"]).to_csv(tmp_path / "t.csv", index=False)
    made = fit(str(tmp_path / "t.csv"), unit="rows", epsilon=8.0)
    with pytest.warns(UserWarning, match="does not cover these figures"):
        evidence = made.evaluate(quiet=True, report=tmp_path / "r.html")
    assert evidence.rows["holdout"] > 180 and "epsilon 8" in (tmp_path / "r.html").read_text()


def test_the_words_of_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame(3000).to_csv(tmp_path / "t.csv", index=False)
    out = str(tmp_path / "m.pofx")
    asked = ["fit", str(tmp_path / "t.csv"), "-o", out, "--epsilon", "4", "--delta", "1e-7", "--unit", "who"]
    assert main([*asked, "--model", "mst"]) == 0
    assert "epsilon 4, delta 1e-07, unit who" in capsys.readouterr().out
    assert main(["polish", out, "--margins", str(tmp_path / "none.json"), "-o", str(tmp_path / "p.csv")]) == 2
    assert "guarantee" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"epsilon": 0}, "epsilon above 0"),
        ({"epsilon": -1.0}, "epsilon above 0"),
        ({"epsilon": math.nan}, "epsilon above 0"),
        ({"epsilon": "much"}, "as a number"),
        ({"delta": 0.0}, "delta between 0 and 1"),
        ({"delta": 1.0}, "delta between 0 and 1"),
        ({"unit": "nobody"}, "among the columns 'who', 'land'"),
        ({"epsilon": None}, "epsilon beside delta or unit"),
        ({"model": "gan"}, "no private training: these have: mst, any_order"),
        ({"condition": "land"}, "leave condition out"),
        ({"constraints": ["age >= 0"]}, "leave constraints out"),
        ({"dirty": "keep"}, "leave dirty out"),
        ({"start": "old.pofx"}, "leave start"),
        ({"rare": 5}, "leave rare out"),
        ({"missing": "unknown"}, "missing='state'"),
        ({"split": (1, 1, 1)}, "sum to one"),
        ({"fields": {"age": {"low": 5}}}, "low and high"),
        ({"fields": {"age": {"low": 5, "high": 1}}}, "low and high"),
        ({"fields": {"pay": {"step": 0.3}}}, "a step of 1, 0.1"),
        ({"fields": {"pay": {"kind": "real", "decimals": "two"}}}, "decimals from 0 to 12"),
        ({"fields": {"land": {"levels": "abc"}}}, "levels as texts"),
        ({"fields": {"land": {"kind": "datetime", "low": "soon", "high": "later"}}}, "low as a date, 2020-01-31"),
        ({"fields": {"age": "datetime"}}, "expected dates, or moments of a type of their own"),
        ({"epsilon": 0.001}, "more rows for so small an epsilon"),
    ],
)
def test_bad_input_is_told(words: dict[str, object], says: str) -> None:
    with pytest.raises(PofxError, match=says):
        fit(frame(400), **words)


@pytest.mark.parametrize("kind", ["date32", "timestamp", "zoned", "text"])
def test_moments_are_learned_within_what_is_declared(kind: str) -> None:
    n, rng = 3000, np.random.default_rng(0)
    days = rng.choice([30, 200], n, p=[0.8, 0.2]) + rng.integers(0, 20, n)
    moments = np.datetime64("2021-01-01", "s") + (days * 86400 + 3600).astype("m8[s]")
    cells = {
        "date32": pa.array(moments.astype("M8[D]")), "timestamp": pa.array(moments.astype("M8[us]")),
        "zoned": pa.array(moments.astype("M8[us]")).cast(pa.timestamp("us", "UTC")),
        "text": pa.array([str(d) for d in moments.astype("M8[D]")]),
    }[kind]  # fmt: skip
    cells = pc.if_else(pa.array(rng.random(n) < 0.1), "" if kind == "text" else None, cells)
    table = pa.table({"day": cells, "late": pa.array(np.where(days > 100, "yes", "no"))})
    ends = {"kind": "datetime", "low": "2021-01-01", "high": "2021-12-31"}
    made = pofx.fit(table, epsilon=5.0, model="mst", fields={"day": ends}, quiet=True).sample(2000, seed=0)
    assert made.schema.field("day").type == (pa.string() if kind == "text" else cells.type)
    frame = made.to_pandas()
    day = pd.to_datetime(frame["day"].replace("", None), utc=True)
    assert 0.05 < day.isna().mean() < 0.15
    assert day.min() >= pd.Timestamp("2021-01-01", tz="UTC") and day.max() <= pd.Timestamp("2022-01-01", tz="UTC")
    after = (day > pd.Timestamp("2021-05-01", tz="UTC"))[day.notna()]
    assert after.mean() == pytest.approx(0.2, abs=0.12)  # noise of empty intervals counts as well
    late = (frame["late"] == "yes")[day.notna()]
    assert (after == late).mean() > 0.9


def test_other_data_are_refused() -> None:
    with pytest.raises(PofxError, match="tables alone"):
        pofx.fit(np.zeros((30, 4, 4), np.uint8), epsilon=1.0, quiet=True)


# -- steps -------------------------------------------------------------------------------------------------------------


def net() -> tuple[Ghost, torch.Tensor, torch.Tensor, list[int]]:
    x = mixed(40)
    made = create("any_order", spec_of(x), size="small", bins=16, fine=1, dropout=0.0).double()
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0)).double())
    token, seen = made.prepare(x)
    seen = seen.clone()
    seen[5, 1] = False
    return Ghost(made.net), token, seen, made.order


def own_gradient(ghost: Ghost, token: torch.Tensor, seen: torch.Tensor, order: list[int], i: int) -> list[torch.Tensor]:
    loss = (ghost.net(token[i : i + 1], seen[i : i + 1], [(1, order)]) * seen[i : i + 1]).sum()
    found = torch.autograd.grad(loss, ghost.parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(ghost.parameters, found, strict=True)]


def norm(parts: list[torch.Tensor]) -> float:
    return float(torch.sqrt(sum(g.square().sum() for g in parts)))


@pytest.mark.parametrize("moved", [False, True])
def test_ghost_norms_are_those_of_each_rows_gradient_and_each_is_cut(moved: bool) -> None:
    ghost, token, seen, order = net()
    order = [2, 0, 3, 1] if moved else order
    each = [own_gradient(ghost, token, seen, order, i) for i in range(len(token))]
    norms = torch.tensor([norm(g) for g in each])
    bound = float(norms.median())
    total, told = ghost.clipped(token, seen, order, bound)
    assert torch.allclose(told, norms.double(), rtol=1e-6)
    sums = [
        sum(g[k] * min(1.0, bound / n) for g, n in zip(each, norms.tolist(), strict=True)) for k in range(len(total))
    ]
    assert all(torch.allclose(a, b, rtol=1e-3, atol=0.02) for a, b in zip(total, sums, strict=True))
    for i in range(len(token)):  # one row more or less moves the sum by at most the bound
        cut, _ = ghost.clipped(token[i : i + 1], seen[i : i + 1], order, bound)
        assert norm(cut) <= bound
    less, _ = ghost.clipped(token[1:], seen[1:], order, bound)
    assert norm([a - b for a, b in zip(total, less, strict=True)]) <= bound * (1 + 1e-9)
    empty, _ = ghost.clipped(token[:0], seen[:0], order, bound)
    assert norm(empty) == 0.0


def test_no_row_exceeds_the_bound_in_single_precision() -> None:
    ghost, token, seen, order = net()
    ghost.net.float()
    for bound in (1e-3, 1.0, 30.0):
        for i in range(len(token)):
            cut, _ = ghost.clipped(token[i : i + 1], seen[i : i + 1], order, bound)
            assert norm([g.double() for g in cut]) <= bound


def test_the_noise_of_a_step_has_the_scale_that_is_accounted() -> None:
    ghost, token, seen, order = net()
    sigma, clip, expected = 3.0, 0.7, 10.0
    walk = Descent(ghost, expected, sigma, clip, Recipe(steps=1, batch=1, rate=0.0), Randomness(0))
    walk.step(token[:0], seen[:0], order, Clock(0, 1))
    drawn = torch.cat([p.grad.flatten() for p in ghost.parameters])
    assert float(drawn.std()) == pytest.approx(sigma * clip / expected, rel=0.01)


def test_opacus_agrees_with_the_closed_form_of_whole_batches() -> None:
    """q = 1: T steps of noise s are T / (2 s^2)-zCDP."""
    rdp = pytest.importorskip("opacus.accountants.analysis.rdp", reason="the extra `private` is not installed")
    sigma, steps, delta = 5.0, 10, 1e-6
    rho = steps / (2 * sigma**2)
    told = cost(rdp, 1.0, sigma, steps, 0.1, delta)
    assert told == pytest.approx(epsilon_of(rho + 0.1, delta, np.array(ORDERS, float)), rel=1e-6)
    found = least_noise(rdp, 0.05, 100, 0.1, 3.0, delta)
    assert 2.95 < cost(rdp, 0.05, found, 100, 0.1, delta) <= 3.0
    assert cost(rdp, 0.05, found * 0.99, 100, 0.1, delta) > 2.95


def test_any_order_is_trained_with_privacy(tmp_path: Path) -> None:
    pytest.importorskip("opacus", reason="the extra `private` is not installed")
    rows = frame(3000).assign(zip=np.random.default_rng(0).integers(0, 90, 3000).astype(str))
    fields = {"who": "drop", "zip": {"kind": "category", "levels": [str(k) for k in range(90)]}}
    made = fit(rows, model="any_order", unit="rows", epsilon=8.0, steps=12, fields=fields)
    terms = made.provenance["privacy"]
    assert (
        terms["epsilon spent"] <= 8.0 and "Opacus" in terms["accountant"] and "Poisson" in str(made.provenance["fit"])
    )
    made.save(tmp_path / "m.pofx")
    back = pofx.load(tmp_path / "m.pofx")
    assert len(back.sample(50, given="land = France", seed=0, quiet=True)) == 50
    assert np.isfinite(back.log_prob(rows[:100])).all()


def test_without_opacus_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opacus.accountants.analysis", None)
    with pytest.raises(PofxError, match=r"pofx\[private\]"):
        fit(frame(400), model="any_order")
