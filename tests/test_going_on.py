"""A fit that goes on from a fitted model of a table: more steps, other rows, levels that are new."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pofx import CodecError, SpecError, Unsupported, fit, load
from pofx.cli import main
from pofx.models import create

WORDS = {"quiet": True, "guard": False}


def shop(n: int, kinds: int = 3, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, kinds, n)
    return pd.DataFrame(
        {
            "kind": np.array(["book", "pen", "cup", "hat", "bag", "shoe"])[kind],
            "shelf": np.array(["A", "B", "A", "C", "B", "D"])[kind],
            "price": np.exp(rng.normal(1 + kind, 0.3)).round(2),
            "size": pd.Categorical(np.array(["S", "M", "L"])[rng.integers(0, min(kinds, 3), n)]),
            "seen": rng.random(n) < 0.5,
        }
    )


@pytest.fixture(scope="module")
def old():
    return fit(shop(600), steps=40, **WORDS)


@pytest.mark.parametrize("model", ["any_order", "autoregressive", "nsf", "vae", "gan", "wgan", "vq"])
def test_more_steps_on_the_same_rows_begin_where_the_fit_ended(model):
    first = fit(shop(300), model=model, steps=6, seed=3, **WORDS)
    held = {k: v.clone() for k, v in first.model.state_dict().items()}
    more = fit(shop(300), start=first, steps=1, **WORDS)
    assert more.provenance["seed"] == 3 and "the same rows" in more.info()
    assert more.provenance["fingerprint"] == first.provenance["fingerprint"]
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, held[name]), "the old model was changed"
    change = [float((v.detach() - held[k]).abs().max()) for k, v in more.model.named_parameters() if v.numel()]
    assert max(change) < 0.05  # one step of half the warmed-up rate, not new weights
    assert all(a.equals(b) for a, b in zip(first.learned_from(shop(300)), more.learned_from(shop(300)), strict=True))


def test_it_ends_no_worse_on_the_validation_rows_than_it_began(old):
    began = fit(shop(600), start=old, steps=1, **WORDS).provenance["fit"]["validation"]
    assert fit(shop(600), start=old, steps=60, **WORDS).provenance["fit"]["validation"] <= began + 1e-9


def test_other_rows_that_may_have_been_learned_from_do_not_choose_the_weights(old):
    more = fit(pd.concat([shop(60, seed=1), shop(600)], ignore_index=True), start=old, steps=150, **WORDS)
    assert "stretches" not in more.provenance and "other rows than the 600 before" in more.info()
    told = more.provenance["fit"]
    assert (told["steps"], told["best step"], told["stopped"]) == (150, 150, "planned")
    looks = [look["valid"] for look in told["looks"]]
    assert len(looks) > 5 and told["validation"] == looks[-1] > min(looks), "a fit whose last look is not its best"


def test_rows_that_are_appended_leave_the_others_in_their_parts(old, tmp_path: Path):
    june, july = (shop(n, seed=i).astype({"size": str}) for i, n in enumerate((600, 90)))
    files = [tmp_path / name for name in ("june.csv", "july.csv", "august.csv")]
    for file, months in zip(files, ([june], [june, july], [june, july, july]), strict=True):
        pd.concat(months).to_csv(file, index=False)
    first = fit(files[0], model="any_order", steps=5, seed=3, **WORDS)
    second = fit(files[1], start=first, steps=5, **WORDS)
    third = fit(files[2], start=second, steps=5, **WORDS)
    assert second.provenance["stretches"] == [600, 690] and third.provenance["stretches"] == [600, 690, 780]
    assert "the same rows and 90 that follow them" in second.info() and third.provenance["seed"] == 3
    for ends, made in ((1, first), (2, second), (3, third)):
        for i, share in enumerate((0.8, 0.1, 0.1)):
            part = made.learned_from(files[ends - 1])[i]
            assert part.num_rows == round(sum([600, 90, 90][:ends]) * share)
            assert part.slice(0, round(600 * share)).equals(first.learned_from(files[0])[i])
    again = fit(files[1], start=second, steps=2, **WORDS)
    assert again.provenance["stretches"] == [600, 690] and "on the same rows\n" in again.info()


def test_a_part_of_a_frame_is_known_again_by_its_cells_alone():
    frame = shop(90).assign(text=["a", None, "long words"] * 30)
    first = fit(frame[:60], steps=2, **WORDS)
    assert [part.num_rows for part in first.learned_from(frame[:60].copy())] == [48, 6, 6]
    assert fit(frame, start=first, steps=2, **WORDS).provenance["stretches"] == [60, 90]


def test_levels_that_are_new_are_learned(old):
    rows = shop(600, kinds=6, seed=1)
    more = fit(rows, start=old, steps=150, **WORDS)
    assert "kind: " in more.info() and "'shoe'" in more.info()
    made = more.sample(4000, seed=0, quiet=True)
    share = made["kind"].value_counts(normalize=True)
    assert (abs(share.reindex(rows["kind"].unique()) - 1 / 6) < 0.06).all()
    assert (made.groupby("kind")["shelf"].nunique() == 1).all()  # the dependency learned the new levels too
    assert set(made.loc[made["kind"] == "shoe", "shelf"]) == {"D"}
    assert made["size"].dtype == rows["size"].dtype or set(made["size"]) <= {"S", "M", "L"}
    unseen = shop(400, kinds=6, seed=2)
    assert more.log_prob(unseen).mean() > old.log_prob(unseen).mean() + 1


def test_what_was_known_is_said_as_before(old):
    """A model that took new levels gives old rows the law that it had, but for the share of what is new."""
    codes = old.model.codes
    from pofx.codecs.growing import grown
    from pofx.codecs.tabular_io import read_table

    rows = read_table(shop(600, kinds=4, seed=1))[0]
    codec, told = grown(old.codec, lambda: [rows])
    assert told["new levels"] == "kind: 'hat'; shelf: 'C'"
    names = [codes.fields[j].name for j in old.model.order]
    made = create("any_order", codec.spec, 1, **(old.model.config | {"stored_order": names}))
    made.adopt(old.model)
    x = old.codec.encode(shop(200, seed=5))
    before, after = old.model.cells(x), made.eval().cells(x)
    share = 1 - codec.plan("kind").field.mass[3]
    at = [f.name for f in codec.spec.fields].index("kind")
    np.testing.assert_allclose(np.delete(after, at, 1), np.delete(before, at, 1), atol=1e-5)
    np.testing.assert_allclose(np.exp(after - before)[:, at], share, atol=0.15)
    assert codec.plan("shelf").source == "kind"


def test_a_frame_and_a_file_go_on_with_files_and_frames(old, tmp_path: Path):
    old.save(tmp_path / "old.pofx")
    shop(500, kinds=4, seed=2).to_csv(tmp_path / "more.csv", index=False)
    words = ["fit", str(tmp_path / "more.csv"), "--from", str(tmp_path / "old.pofx"), "--steps", "3", "--quiet"]
    assert main([*words, "-o", str(tmp_path / "new.pofx")]) in (0, 1)
    new = load(tmp_path / "new.pofx")
    assert set(new.sample(500, seed=0, quiet=True, allow_failed=True).columns) == set(shop(2).columns)
    again = fit(tmp_path / "more.csv", start=new, steps=2, reading={"stream": "yes"}, **WORDS)
    assert "from 400 training rows" in again.info()


def test_constraints_go_on_and_take_new_combinations():
    first = fit(shop(600), steps=30, constraints=["fixed kind, size", "price >= 0.5"], **WORDS)
    rows = shop(900, kinds=4, seed=3)
    rows.loc[:20, "price"] = 0.01
    more = fit(rows, start=first, steps=120, **WORDS)
    assert more.provenance["train_rows"] < 720  # what breaks a constraint is not learned from
    made = more.sample(3000, seed=0, quiet=True)
    seen = set(zip(rows["kind"], rows["size"].astype(str), strict=True)) | set(
        zip(shop(600)["kind"], shop(600)["size"].astype(str), strict=True)
    )
    drawn = pd.Series(list(zip(made["kind"], made["size"].astype(str), strict=True)))
    assert set(drawn) <= seen and drawn.map(lambda pair: pair[0] == "hat").mean() > 0.1
    assert made["price"].min() >= 0.5


def test_one_of_a_group_stays_one():
    rows = pd.get_dummies(shop(600)["kind"]).astype(int).assign(price=shop(600)["price"])
    first = fit(rows, steps=5, **WORDS)
    assert "one of book, cup, pen" in first.info()
    rows.loc[:50, ["book", "cup", "pen"]] = 1
    made = fit(rows, start=first, steps=40, **WORDS).sample(2000, seed=0, quiet=True)
    assert (made[["book", "cup", "pen"]].sum(axis=1) == 1).all()


def test_many_levels_that_need_other_codes_start_from_nothing():
    rng = np.random.default_rng(0)
    few = pd.DataFrame({"city": rng.integers(0, 300, 4000).astype(str), "x": rng.normal(size=4000).round(2)})
    few["city"] = "c" + few["city"]
    many = pd.concat([few, few.assign(city="d" + few["city"])])
    first = fit(few, steps=5, **WORDS)
    assert first.model.codes.sizes != [(1, 1)]
    more = fit(many, start=first, steps=5, **WORDS)
    assert len(more.codec.plan("city").field.levels) == 600
    assert np.isfinite(more.log_prob(many[:100])).all()


def test_the_stored_order_is_an_argument():
    x = shop(200)
    made = fit(x, steps=2, stored_order=["price", "seen", "size", "kind"], **WORDS)
    assert [made.model.codes.fields[j].name for j in made.model.order] == ["price", "seen", "size", "kind"]
    with pytest.raises(SpecError, match="expected an order of all fields"):
        fit(x, steps=2, stored_order=["price"], **WORDS)


def test_bad_input(old):
    rows = shop(300, kinds=4)
    with pytest.raises(SpecError, match="expected the model that the fit begins from, 'any_order', got 'nsf'"):
        fit(rows, start=old, model="nsf", steps=1, **WORDS)
    with pytest.raises(SpecError, match="condition was settled when 'any_order' was fitted"):
        fit(rows, start=old, condition="kind", steps=1, **WORDS)
    with pytest.raises(SpecError, match="dropout was settled"):
        fit(rows, start=old, dropout=0.2, steps=1, **WORDS)
    with pytest.raises(CodecError, match="lacks the column"):
        fit(rows.drop(columns="price"), start=old, steps=1, **WORDS)
    with pytest.raises(CodecError, match="expected numbers, got 'dear'"):
        fit(rows.astype({"price": object}).replace({"price": {rows["price"][5]: "dear"}}), start=old, steps=1, **WORDS)
    closed = fit(shop(300), model="independent", **WORDS)
    with pytest.raises(Unsupported, match="in closed form"):
        fit(rows, start=closed, **WORDS)
    vae = fit(shop(300), model="vae", steps=2, **WORDS)
    with pytest.raises(Unsupported, match="cannot take levels that it never saw: any_order"):
        fit(rows, start=vae, steps=1, **WORDS)
    pictures = fit(np.random.default_rng(0).integers(0, 255, (60, 8, 8), np.uint8), model="vae", steps=2, **WORDS)
    with pytest.raises(Unsupported, match="expected a model of a table to go on from, got one of image"):
        fit(rows, start=pictures, steps=1, **WORDS)
