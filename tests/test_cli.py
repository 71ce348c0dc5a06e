"""The command line: the words of the README work, wrong calls say why, a killed fit goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from inspect import signature
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made import mixed, spec_of
from test_bundle import people

import pofx
from pofx import store
from pofx.bundle import Fitted
from pofx.cli import main
from pofx.errors import SpecError
from pofx.models import create, load_class, names


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    people(500).to_csv(folder / "people.csv", index=False)
    people(100, 1).to_csv(folder / "new.csv", index=False)
    assert main(["fit", str(folder / "people.csv"), "-o", str(folder / "m.pofx"), "--steps", "30", "--quiet"]) == 0
    return folder


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(w) for w in words])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_sample(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sample", folder / "m.pofx", "-n", 300, "-o", folder / "s.parquet", "--seed", 1]
    code, out, _ = run(capsys, *words, "--given", "age in [20,30]", "--given", "school = university")
    assert code == 0
    assert "wrote 300 rows" in out
    assert "(seed 1)" in out
    drawn = pd.read_parquet(folder / "s.parquet")
    assert drawn["age"].between(20, 30).all()
    assert set(drawn["school"]) == {"university"}
    assert drawn["age"].dtype == np.int64


def test_a_seed_that_was_drawn_is_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "sample", folder / "m.pofx", "-n", 5, "-o", folder / "a.csv")
    seed = out.split("(seed ")[1].split(")")[0]
    run(capsys, "sample", folder / "m.pofx", "-n", 5, "-o", folder / "b.csv", "--seed", seed)
    assert (folder / "a.csv").read_text() == (folder / "b.csv").read_text()


def test_score_and_complete(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "score", folder / "m.pofx", folder / "new.csv", "-o", folder / "scored.csv")[0] == 0
    scored = pd.read_csv(folder / "scored.csv")
    assert np.isfinite(scored["log_prob"]).all()
    assert "unlikely" in scored
    holes = people(20, 2).astype({"age": "Int64"})
    holes.loc[::2, "age"] = pd.NA
    holes.to_csv(folder / "holes.csv", index=False)
    assert run(capsys, "complete", folder / "m.pofx", folder / "holes.csv", "-o", folder / "full.csv")[0] == 0
    assert pd.read_csv(folder / "full.csv")["age"].notna().all()
    words = ["complete", folder / "m.pofx", folder / "holes.csv", "-o", folder / "five.csv", "--draws", 5]
    assert run(capsys, *words)[0] == 0
    assert pd.read_csv(folder / "five.csv")["draw"].value_counts().tolist() == [20] * 5


def test_evaluate(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", folder / "m.pofx", "--target", "member", "-o", folder / "r.html", "--json", folder / "m.json"]
    code, out, _ = run(capsys, *words, "--quiet")
    assert code == 0
    assert out == ""
    assert "<html" in (folder / "r.html").read_text()
    assert json.loads((folder / "m.json").read_text())["verdict"] in ("good", "usable with care", "do not trust")


def test_evaluate_anybodys_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "--synthetic", folder / "new.csv", "--train", folder / "people.csv", "-o", folder / "any.html"]
    code, out, _ = run(capsys, *words, "--quiet")
    assert code == 0
    assert (folder / "any.html").exists()


def test_profile_info_models(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "profile", folder / "people.csv")[1]
    assert "school" in out
    assert "years" in out
    assert "derived" in out
    assert "any_order (flows)" in run(capsys, "info", folder / "m.pofx")[1]
    out = run(capsys, "models")[1]
    assert all(name in out for name in ("any_order", "vae", "gan", "realnvp", "independent", "gaussian_copula"))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["fit", "no.csv", "-o", "x.pofx"], "no.csv"),
        (["fit", "people.csv", "-o", "nowhere/x.pofx"], "create it first"),
        (["fit", "people.csv", "-o", "x.pofx", "--split", "a,b"], "expected --split"),
        (["fit", "people.csv", "-o", "x.pofx", "--fields", "no.json"], "no.json"),
        (["fit", "people.csv", "-o", "x.pofx", "--set", "depth=3"], "has no argument depth"),
        (["fit", "people.csv", "-o", "x.pofx", "--set", "steps=1"], "argument of the model, got 'steps'"),
        (["doctor", "people.csv", "--set", "model=nsf"], "argument of the model, got 'model'"),
        (["prior", "m.pofx", "-o", "x.pofx", "--set", "seed=1"], "argument of the model, got 'seed'"),
        (["sample", "m.pofx", "-n", "5", "-o", "s.csv", "--solver-steps", "5"], "these can: ffjord, flow_matching"),
        (["sample", "people.csv", "-n", "5", "-o", "s.csv"], "not a pofx file"),
        (["sample", "m.pofx", "-n", "0", "-o", "s.csv"], "at least 1"),
        (["sample", "m.pofx", "-n", "-4", "-o", "s.csv"], "at least 1"),
        (["sample", "m.pofx", "-n", "5", "-o", "s.docx"], "ends in"),
        (["sample", "m.pofx", "-n", "5", "-o", "s.csv", "--given", "colour = red"], "colour"),
        (["sample", "m.pofx", "-n", "5", "-o", "s.csv", "--given", "age < 20", "--given", "age > 30"], "contradict"),
        (["sample", "m.pofx", "-n", "5", "-o", "s.csv", "--given", "age > 300"], "outside what was seen"),
        (["evaluate"], "expected a model file"),
        (["evaluate", "--synthetic", "new.csv"], "--train"),
        (["evaluate", "m.pofx", "--target", "colour"], "colour"),
    ],
)
def test_wrong_calls(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], text: str
) -> None:
    monkeypatch.chdir(folder)
    code, _, err = run(capsys, *words, "--quiet")
    assert code == 2
    assert text in err
    assert err.startswith(f"pofx {words[0]}: ")


def test_a_full_disk(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    (folder / "old.csv").write_text("kept")
    code, _, err = run(capsys, "sample", folder / "m.pofx", "-n", 5, "-o", folder / "old.csv", "--quiet")
    assert code == 2
    assert "No space left" in err
    assert (folder / "old.csv").read_text() == "kept"


KILLED = """
import sys, pofx.training.checkpoint as c
c.EVERY = 0.0
from pofx.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_after_kill_9_the_same_command_ends_with_the_same_weights(folder: Path, tmp_path: Path) -> None:
    words = ["fit", str(folder / "people.csv"), "--steps", "200", "--size", "small", "--threads", "1", "--quiet"]
    whole, cut = tmp_path / "whole.pofx", tmp_path / "cut.pofx"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", KILLED, *words, "-o", str(whole)], env=env, check=True)
    place = tmp_path / "cut.pofx.checkpoint"
    first = subprocess.Popen([sys.executable, "-c", KILLED, *words, "-o", str(cut)], env=env)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if place.exists() and store.read(place, "checkpoint")[0]["state"]["step"] > 20:
            break
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    assert place.exists()
    assert not cut.exists()
    subprocess.run([sys.executable, "-c", KILLED, *words, "-o", str(cut), "--resume"], env=env, check=True)
    one, two = store.read(whole, "model")[1], store.read(cut, "model")[1]
    assert all(np.array_equal(one[k], two[k]) for k in one)
    assert not place.exists()


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--help"], ["--version"], ["fit", "--help"]):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 0
    assert "examples:" in capsys.readouterr().out


def test_no_argument_of_a_model_is_a_word_of_the_fit() -> None:
    """But for the size, which the fit hands on, and the prior of a prior, which has its default."""
    for name in names():
        own = set(signature(load_class(name).__init__).parameters) - {"self", "spec"}
        assert own & set(signature(pofx.fit).parameters) <= {"size"}, name
        assert own & set(signature(Fitted.with_prior).parameters) <= {"prior"}, name


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_bad_arguments_of_any_model_are_a_spec_error_of_one_line() -> None:
    """Every argument, of a wrong type, and where it counts something far below its least."""
    x = mixed(40)
    spec = spec_of(x)
    for name in names():
        for word, own in signature(load_class(name).__init__).parameters.items():
            for bad in ([1], *((-1,) if type(own.default) is int else ())) if word not in ("self", "spec") else ():
                with pytest.raises(SpecError) as told:
                    create(name, spec, 0, **{word: bad})
                assert "expected" in str(told.value) and "\n" not in str(told.value), (name, word)


@pytest.mark.parametrize(
    ("model", "words", "text"),
    [
        ("maf", "samples=0", "model 'maf': expected samples of at least 1, got 0"),
        ("nsf", "bins=0", "expected bins of at least 1, got 0"),
        ("realnvp", "width=wide", "model 'realnvp': expected width of type int, got 'wide'"),
        ("tarflow", "heads=3", "expected heads that divide the width of 64, got 3"),
        ("any_order", "dropout=2", "expected a dropout from 0 to below 1, got 2"),
        ("ffjord", "solver_steps=0", "solver_steps of at least 1, got 0"),
        ("any_order", "size=tiny", "expected a size among small, base, large, got 'tiny'"),
    ],
)
def test_arguments_that_a_model_cannot_take_are_a_line(
    folder: Path, capsys: pytest.CaptureFixture[str], model: str, words: str, text: str
) -> None:
    call = ["fit", folder / "people.csv", "-o", folder / "x.pofx", "--model", model, "--quiet", "--steps", "1"]
    code, _, err = run(capsys, *call, "--set", words)
    assert code == 2 and text in err and err.count("\n") == 1


def test_a_reader_that_has_enough_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    told = subprocess.run([sys.executable, "-m", "pofx.cli", "models"], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (told.returncode, told.stderr) == (0, "")
