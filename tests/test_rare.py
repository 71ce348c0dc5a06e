"""rare=K: nothing that fewer than K rows share is in the model file, nor in what it draws."""

import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made import mixed, spec_of

import pofx
from pofx.codecs.rare import coarser
from pofx.errors import PofxError

K = 5


def frame(n: int = 600) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    land = rng.choice(["France", "Spain", "other"], n).astype(object)
    land[:3], land[10:13], land[20:22] = "Tuvalu", "Nauru", "Palau"
    pay = np.round(rng.normal(2000, 300, n), 2)
    pay[[1, 2, 3]] = [987654.25, 876543.75, -76543.5]
    steps = rng.integers(0, 40, n)
    steps[5] = 31337
    grade = rng.choice(["low", "mid", "high"], n).astype(object)
    grade[[7, 8]] = "peerless"
    name = [f"zz{i:04d}" for i in range(n)]
    name[4] = "Q-unique-7"
    single = np.where(rng.random(n) < 0.5, 1.5, 2.5)
    single[9] = 77.125
    return pd.DataFrame({"land": land, "pay": pay, "steps": steps, "grade": grade, "name": name, "two": single,
                         "copy": pd.Series(land).map(lambda v: f"code {v}")})  # fmt: skip


TEXTS = ("Tuvalu", "Nauru", "Palau", "peerless", "Q-unique-7")
NUMBERS = (987654.25, 876543.75, -76543.5, 31337.0, 77.125)


def as_bytes(value: float) -> list[bytes]:
    """How a number may stand in a file: as text, as float64 and int64, in units of the column or of its last place."""
    out = [str(value).encode(), f"{value:g}".encode()]
    for scale in (1, 10, 100, 1000):
        out.append(struct.pack("<d", value * scale))
        out += [struct.pack("<q", int(value * scale))] if value * scale == int(value * scale) else []
    return out


@pytest.mark.parametrize("model", ["any_order", "independent", "gaussian_copula"])
@pytest.mark.parametrize("ending", ["frame", "csv"])
def test_no_rare_level_or_extreme_is_kept(tmp_path: Path, model: str, ending: str) -> None:
    source: object = frame()
    if ending == "csv":
        frame().to_csv(tmp_path / "t.csv", index=False)
        source = str(tmp_path / "t.csv")
    words = {"steps": 3} if model == "any_order" else {}
    fields = {"grade": {"kind": "ordinal", "levels": ["low", "mid", "high", "peerless"]}}
    made = pofx.fit(source, model=model, rare=K, split=(1, 0, 0), fields=fields, quiet=True, **words)
    made.save(tmp_path / "m.pofx")
    data = (tmp_path / "m.pofx").read_bytes()
    assert b"France" in data and b"other (merged)" in data
    for text in TEXTS:
        assert text.encode() not in data, text
    for value in NUMBERS:
        assert not [form for form in as_bytes(value) if form in data], value
    drawn = pofx.load(tmp_path / "m.pofx").sample(3000, seed=1, quiet=True)
    assert not (set(TEXTS) & set(drawn.to_numpy().astype(str).ravel()))
    kept = np.sort(frame().pay)
    assert drawn.pay.min() >= kept[K - 1] and drawn.pay.max() <= kept[-K]
    assert {"other", "other (merged)"} < set(drawn.land) and drawn.steps.max() < 40


def test_every_piece_of_the_field_holds_enough_rows() -> None:
    made = pofx.fit(frame(), model="independent", rare=40, split=(1, 0, 0), quiet=True)
    for field in made.model.spec.fields:
        assert (field.mass * 600).min() > 39.9, field.name
    field = spec_of(mixed()).field("c")
    same = coarser(field, 30)
    assert same.mass.sum() == pytest.approx(1) and (same.mass * field.rows).min() > 29.9
    assert same.left[0] == field.left[0] and same.right[-1] == field.right[-1] and len(same.mass) < len(field.mass)


def test_rows_that_were_learned_from_are_found_again(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "t.csv", index=False)
    made = pofx.fit(str(tmp_path / "t.csv"), model="independent", rare=K, quiet=True)
    assert len(made.learned_from()[0]) == 480
    assert np.isfinite(made.log_prob(frame())).all()
    assert "rare" in made.info()
    assert np.isfinite(made.evaluate(quiet=True)["shape"].value)


def test_few_missing_cells_and_typed_levels_are_merged_too() -> None:
    rng = np.random.default_rng(1)
    rows = pd.DataFrame({"a": rng.normal(size=200).round(2), "b": rng.choice([3, 4], 200), "c": rng.random(200) < 0.5})
    rows.loc[:1, "a"] = np.nan
    rows.loc[5:11, "b"] = np.arange(7)  # 7 codes, once each but for 3 and 4
    rows["d"] = pd.Series(["x"] * 197 + ["y"] * 3)
    made = pofx.fit(rows, model="independent", rare=K, split=(1, 0, 0), fields={"b": "category"}, quiet=True)
    assert not made.codec.plan("a").field.has_missing
    assert set(made.codec.plan("b").levels) == {"3", "4"} and made.codec.plan("b").field.has_missing
    assert made.codec.plan("d").how == "constant"


@pytest.mark.parametrize("rare", [0, 1, -3, 2.5, True, 400])
def test_bad_numbers_are_told(rare: object) -> None:
    with pytest.raises(PofxError, match="expected"):
        pofx.fit(frame(), model="independent", rare=rare, quiet=True)


def test_other_kinds_of_data_are_refused() -> None:
    with pytest.raises(PofxError, match="tables alone"):
        pofx.fit(np.zeros((20, 4, 4), np.uint8), rare=3, steps=1, quiet=True)


def test_what_stands_for_a_constraint_has_no_piece_of_few_rows() -> None:
    rng = np.random.default_rng(0)
    low = rng.integers(0, 50, 900)
    rows = pd.DataFrame({"low": low, "high": low + rng.geometric(0.1, 900), "kind": rng.choice(["a", "b"], 900)})
    made = pofx.fit(rows, model="independent", rare=20, constraints=["low < high"], quiet=True)
    hidden = [f for f in made.codec.spec.fields if f.name not in rows]
    assert len(hidden) == 1 and (hidden[0].mass * hidden[0].rows >= 20 - 1e-6).all()
