"""Text with labels, in a column of a table or beside a list; and the codes of lines that a vae finds."""

import numpy as np
import pandas as pd
import pytest

import pofx
from pofx.cli import main
from pofx.codecs.text_table import opened_texts
from pofx.errors import CodecError, SpecError, Unsupported

SMALL = {"width": 32, "depth": 2, "heads": 2}
MESSAGES = pd.DataFrame(
    {"kind": ["ham", "spam"] * 60, "n": range(120), "message": ["see you at home", "win a free prize"] * 60}
)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "messages.csv"
    MESSAGES.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def model(table):
    return pofx.fit(table, kind="text", condition="kind", steps=300, quiet=True, width=64, depth=2)


def test_the_longest_column_of_strings_is_the_text(model, table):
    assert (model.codec.column, model.codec.label, model.codec.levels) == ("message", "kind", ("ham", "spam"))
    texts, _ = opened_texts(table, column="kind")
    assert set(texts.lines) == {"ham", "spam"} and texts.labels is None


def test_a_condition_says_what_is_drawn(model, tmp_path):
    spam = model.sample(20, given="kind = spam", seed=1, quiet=True)
    assert spam.columns.tolist() == ["message", "kind"]
    assert set(spam["kind"]) == {"spam"}
    assert spam["message"].str.startswith("win").mean() > 0.8
    assert model.sample(5, seed=1, path=tmp_path / "drawn.csv", quiet=True) == 5
    assert pd.read_csv(tmp_path / "drawn.csv").columns.tolist() == ["message", "kind"]
    assert model.continue_("s", given="kind = ham", seed=1, quiet=True) == "see you at home"


def test_a_line_under_another_label_is_unlikely(model, tmp_path):
    own, other = (
        model.log_prob(pd.DataFrame({"message": ["win a free prize"], "kind": [kind]}))[0] for kind in ("spam", "ham")
    )
    assert own > other + 2
    assert own < np.log(0.6)  # log p(text | label) + log p(label)
    model.save(tmp_path / "m.pofx")
    again = pofx.load(tmp_path / "m.pofx")
    assert again.log_prob(MESSAGES[:3]).tolist() == model.log_prob(MESSAGES[:3]).tolist()
    evidence = model.evaluate(rows=20, quiet=True)
    assert evidence.nats["the model"][0] < evidence.nats["frequencies of symbols"][0]


def test_labels_of_a_list(tmp_path):
    lines, labels = MESSAGES["message"].tolist(), MESSAGES["kind"].tolist()
    made = pofx.fit(lines, labels=labels, model="any_order", steps=30, quiet=True, **SMALL)
    assert made.codec.levels == ("ham", "spam")
    drawn = made.sample(4, given="label = ham", seed=1, quiet=True)
    assert drawn.columns.tolist() == ["text", "label"]
    assert made.log_prob((lines[:4], labels[:4])).shape == (4,)
    assert len(made.complete("see you at ____", given="label = ham", quiet=True)) == 15


def test_the_command_line_learns_a_text_column(table, tmp_path, capsys):
    out = str(tmp_path / "m.pofx")
    words = ["--set", "width=32", "--set", "depth=1", "--steps", "5", "--quiet"]
    assert main(["fit", str(table), "--kind", "text", "--condition", "kind", "-o", out, *words]) == 0
    drawn = tmp_path / "drawn.csv"
    assert main(["sample", out, "-n", "3", "--given", "kind = ham", "-o", str(drawn), "--quiet"]) == 0
    assert set(pd.read_csv(drawn)["kind"]) == {"ham"}
    capsys.readouterr()
    assert main(["sample", out, "-n", "3", "--given", "kind = ham", "--seed", "1", "--quiet"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("message,kind\n") and "(seed 1)" in said


def test_lines_are_printed_where_no_output_is_named(tmp_path, capsys):
    pofx.fit(["anna", "bella", "carla", "dora"] * 5, steps=3, quiet=True, **SMALL).save(tmp_path / "n.pofx")
    words = ["sample", str(tmp_path / "n.pofx"), "-n", "4", "--seed", "2", "--quiet"]
    assert main([*words, "-o", str(tmp_path / "new.txt")]) == 0
    capsys.readouterr()
    assert main(words) == 0
    said = capsys.readouterr().out
    assert said.startswith((tmp_path / "new.txt").read_text()) and said.endswith("(seed 2)\n")
    pofx.fit(pd.DataFrame({"n": range(40)}), model="independent", quiet=True).save(tmp_path / "t.pofx")
    assert main(["sample", str(tmp_path / "t.pofx"), "-n", "4"]) == 2
    assert "expected an output (-o)" in capsys.readouterr().err


def test_what_is_no_text_or_label_is_refused(table):
    with pytest.raises(CodecError, match="expected a column among 'kind', 'n', 'message', got 'x'"):
        pofx.fit(table, kind="text", condition="x", steps=1, quiet=True)
    with pytest.raises(CodecError, match="expected strings in column 'n'"):
        pofx.fit(MESSAGES, kind="text", reading={"column": "n"}, steps=1, quiet=True)
    with pytest.raises(CodecError, match="expected a column of text"):
        pofx.fit(pd.DataFrame({"n": range(9)}), kind="text", steps=1, quiet=True)
    with pytest.raises(SpecError, match="expected column and label of a table alone"):
        pofx.fit(["a", "b"], condition="x", steps=1, quiet=True)
    with pytest.raises(CodecError, match="expected 2 labels"):
        pofx.fit(["a", "b"], labels=[1], steps=1, quiet=True)


NAMES = [f"{a}{b}{c}" for a in ("an", "be", "ca", "do") for b in ("na", "la", "ri") for c in ("", "s", "th", "bel")]


@pytest.fixture(scope="module")
def coded():
    return pofx.fit(NAMES * 6, model="vae", steps=250, quiet=True, latent=8, **SMALL)


def test_codes_tell_lines_and_do_not_collapse(coded, tmp_path):
    told = coded.provenance["fit"]
    assert told["divergence"] > 0.8 and told["cost of other codes"] > 1
    some = ["anna", "bela", "dorith"]
    codes = coded.encode(some)
    assert codes.shape == (3, 8)
    assert coded.decode(codes) == coded.reconstruct(some)
    between = coded.interpolate(["anna"], ["dorith"], steps=5)
    assert len(between) == 5
    assert coded.log_prob(["anna"])[0] > coded.log_prob(["zzxq"])[0] + 3
    coded.save(tmp_path / "m.pofx")
    assert pofx.load(tmp_path / "m.pofx").sample(3, seed=1, quiet=True) == coded.sample(3, seed=1, quiet=True)


def test_the_bound_rises_with_draws_to_a_law(coded):
    x = coded.codec.encode(opened_texts(NAMES)[0])
    one, many = coded.model.bound(x, draws=1).value.mean(), coded.model.bound(x, draws=64).value.mean()
    assert one < many <= 0
    assert np.exp(coded.model.bound(x, draws=64).value).sum() < 1.05


def test_a_law_of_codes_is_learned(coded):
    both = coded.with_prior("mixture", data=NAMES * 6, quiet=True)
    drawn = both.sample(20, seed=1, quiet=True)
    assert len(set(drawn)) > 3 and len(set(drawn) & set(NAMES)) > 5
    assert np.isfinite(both.log_prob(NAMES[:5])).all()


def test_documents_have_no_code(tmp_path):
    path = tmp_path / "d.txt"
    path.write_text("the cat sat on the mat.\n\n" * 60)
    with pytest.raises(SpecError, match="expected lines, each of which has a code, got a document"):
        pofx.fit(path, model="vae", steps=1, quiet=True, reading={"length": 16, "document": "yes"})
    with pytest.raises(Unsupported, match="does not go on from a prompt|goes"):
        pofx.fit(NAMES, model="any_order", steps=1, quiet=True, **SMALL).continue_("a")
