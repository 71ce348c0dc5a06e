"""Text from end to end: fit, keep, sample, go on, score, judge; by the verbs and by the command line."""

import json

import numpy as np
import pytest

import pofx
from pofx.cli import main
from pofx.errors import CodecError, SpecError, Unsupported

NAMES = [f"{a}{b}{c}" for a in ("an", "be", "ca", "do") for b in ("na", "la", "ri") for c in ("", "s", "th", "bel")]
DOCUMENT = "the cat sat on the mat.\nthe dog sat on the log.\n\n" * 40


@pytest.fixture(scope="module")
def names():
    return pofx.fit(NAMES * 6, steps=400, quiet=True, split=(0.8, 0.1, 0.1), width=32, depth=2, heads=2)


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "rhyme.txt"
    path.write_text(DOCUMENT)
    words = {"width": 32, "depth": 2, "heads": 2, "reading": {"length": 32}}
    return pofx.fit(path, steps=150, quiet=True, **words), path


def test_a_list_of_strings_is_text(names):
    assert names.model.name == "autoregressive"
    drawn = names.sample(20, seed=1, quiet=True)
    assert len(drawn) == 20 and all(isinstance(line, str) for line in drawn)
    assert np.mean([line in NAMES for line in drawn]) > 0.3


def test_a_seed_is_enough_and_a_small_sample_begins_a_large_one(names):
    assert names.sample(30, seed=5, quiet=True)[:4] == names.sample(4, seed=5, quiet=True)


def test_a_saved_model_says_the_same(names, tmp_path):
    names.save(tmp_path / "n.pofx")
    again = pofx.load(tmp_path / "n.pofx")
    assert again.sample(5, seed=2, quiet=True) == names.sample(5, seed=2, quiet=True)
    assert np.array_equal(again.log_prob(NAMES), names.log_prob(NAMES))


def test_what_was_learned_is_likelier_than_other_text(names):
    assert names.log_prob(NAMES).mean() > names.log_prob(["xqzw", "hhhh", "tttttt"]).max()
    told = names.log_prob(["anna", "berith"], detail=True)
    assert told["symbols"].tolist() == [5, 7]
    assert np.allclose(told["nats_a_symbol"] * told["symbols"], -told["log_prob"])


def test_it_goes_on_from_a_prompt(names):
    made = names.continue_(["an", "be"], seed=0, quiet=True)
    assert [text[:2] for text in made] == ["an", "be"]
    assert names.continue_("an", seed=0, quiet=True) == made[0]
    many = names.continue_(["an"] * 40, seed=1, temperature=3.0, quiet=True)
    assert max(map(len, many)) <= names.codec.sites  # where an end was learned, and no farther


def test_a_prompt_of_unknown_characters_is_named(names):
    with pytest.raises(CodecError, match="expected characters of the training text, got 'X'"):
        names.continue_("Xa")


def test_what_text_cannot_do_is_said(names):
    with pytest.raises(Unsupported, match="learned without labels"):
        names.sample(2, given="a = 1")
    with pytest.raises(SpecError, match="expected at least one symbol, got 0"):
        names.continue_("an", symbols=0)
    with pytest.raises(Unsupported, match="expected no target for a model of text"):
        names.evaluate(target="x")
    with pytest.raises(SpecError, match="expected column and label of a table alone"):
        pofx.fit(NAMES, condition="x", steps=1)
    with pytest.raises(SpecError, match="does not learn text or music: these do: any_order, autoregressive, vae, gan"):
        pofx.fit(NAMES, model="wgan", steps=1, quiet=True)
    with pytest.raises(SpecError, match="expected reading of text with"):
        pofx.fit(NAMES, steps=1, reading={"delimiter": ","})


def test_strange_lines_are_told_from_usual_ones(names):
    told = names.anomaly(["anna", "xqzw"])
    assert told["text"].tolist() == ["anna", "xqzw"]
    assert told.iloc[1, 1] > told.iloc[0, 1]


def test_holes_are_refused_in_words(names):
    with pytest.raises(Unsupported, match="fills no holes in text: any_order does"):
        names.complete(NAMES)


def test_the_evidence_stands_beside_an_n_gram(names, tmp_path):
    evidence = names.evaluate(
        train=NAMES * 6, rows=50, report=tmp_path / "r.html", json=tmp_path / "m.json", quiet=True
    )
    nats = evidence.nats
    assert nats["5-gram, Kneser-Ney"][0] < nats["frequencies of symbols"][0]
    assert nats["the model"][0] < nats["frequencies of symbols"][0]
    assert evidence.repetition["unseen (floor)"]["new"] == 0
    assert "5-gram" in evidence.summary() and "<table>" in (tmp_path / "r.html").read_text()
    assert json.loads((tmp_path / "m.json").read_text())["rows"]["drawn"] == 50


def test_other_text_than_was_fitted_is_refused(names):
    with pytest.raises(CodecError, match="expected the text that the model was fitted on"):
        names.evaluate(train=NAMES, quiet=True)
    with pytest.raises(CodecError, match="fitted on a list"):
        names.evaluate(quiet=True)


def test_a_document_is_learned_and_gone_on_with(document):
    model, _ = document
    assert "a document, seen 64 symbols at a time" in model.info()
    made = model.continue_("the cat ", symbols=100, seed=0, temperature=0.5, quiet=True)
    assert len(made) == 108 and "sat on the" in made
    assert len(model.sample(3, seed=0, quiet=True)[0]) == 64


def test_a_document_is_judged_where_it_lies(document):
    model, _ = document
    evidence = model.evaluate(rows=20, quiet=True)
    assert evidence.nats["the model"][0] < evidence.nats["frequencies of symbols"][0]
    assert "unseen (floor)" not in evidence.repetition


def test_the_command_line(tmp_path, capsys):
    (tmp_path / "names.txt").write_text("\n".join(NAMES * 3))
    model, out = str(tmp_path / "n.pofx"), tmp_path / "out.txt"
    words = ["--steps", "5", "--quiet", "--set", "width=16", "--set", "depth=1", "--set", "heads=2"]
    assert main(["fit", str(tmp_path / "names.txt"), "-o", model, *words]) == 0
    assert main(["sample", model, "-n", "7", "-o", str(out), "--temperature", "0.9", "--top-p", "0.9", "--quiet"]) == 0
    assert len(out.read_text().split("\n")) == 8
    assert main(["continue", model, "--text", "an", "--symbols", "3"]) == 0
    assert "an" in capsys.readouterr().out
    assert main(["score", model, str(tmp_path / "names.txt"), "-o", str(tmp_path / "s.csv"), "--quiet"]) == 0
    assert (tmp_path / "s.csv").read_text().startswith("text,log_prob,symbols")
    assert main(["continue", model, "--quiet"]) == 2
    assert main(["sample", model, "-n", "2", "-o", str(out), "--truncation", "0.5"]) == 2


def test_a_text_in_columns_is_a_table(tmp_path):
    from pofx.codecs.text_io import holds_text

    (tmp_path / "a.txt").write_text("a\tb\n1\t2\n3\t4\n")
    (tmp_path / "b.txt").write_text("one, two\nthree\n")
    assert not holds_text(tmp_path / "a.txt") and holds_text(tmp_path / "b.txt")


def test_profile_says_what_a_text_holds(tmp_path, capsys):
    path = tmp_path / "names.txt"
    path.write_text("ab\n" * 30 + "a\n" * 10)
    assert main(["profile", str(path)]) == 0
    told = capsys.readouterr().out
    assert "characters: 4 symbols, lines of at most 2 tokens" in told
    assert "frequent: 'a' 'b'" in told
