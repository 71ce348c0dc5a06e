"""A model whose fit failed shows nothing of what it makes unless asked, and never without a warning."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pofx
from pofx.cli import main
from pofx.errors import Failed

FRAME = pd.DataFrame({"a": np.random.default_rng(0).normal(size=80).round(2), "b": ["x", "y"] * 40})
SAID = "the fit of this model failed: samples are worse than trivial ones"


def failed(name: str, refused: bool, **words: object) -> pofx.Fitted:
    """A model with the verdict that a guard would give it."""
    model = pofx.fit(FRAME, model=name, steps=2, quiet=True, guard=False, **words)
    finding = {"name": "worse than trivial", "level": 2, "words": "samples are worse than trivial ones"}
    model.provenance["verdict"] = {"word": "FAIL", "refused": refused, "findings": [finding], "figures": {}}
    return model


@pytest.fixture(scope="module")
def models() -> dict[bool, tuple[pofx.Fitted, pofx.Fitted]]:
    gan = {"width": 8, "latent": 2, "encoder": True}
    return {refused: (failed("gan", refused, **gan), failed("independent", refused)) for refused in (True, False)}


def verbs(models: tuple[pofx.Fitted, pofx.Fitted], folder: Path) -> dict[str, Callable[..., object]]:
    gan, known = models
    codes = gan.encode(FRAME)
    return {
        "sample": lambda **how: gan.sample(3, quiet=True, **how),
        "draws": lambda **how: list(gan.draws(3, quiet=True, **how)),
        "plot": lambda **how: gan.plot(folder / "p.png", rows=20, **how),
        "decode": lambda **how: gan.decode(codes, **how),
        "reconstruct": lambda **how: gan.reconstruct(FRAME, **how),
        "interpolate": lambda **how: gan.interpolate(FRAME, FRAME, steps=2, **how),
        "edit": lambda **how: gan.edit(FRAME, FRAME, toward="x", by="b", **how),
        "complete": lambda **how: known.complete(FRAME, quiet=True, **how),
    }


VERBS = ("sample", "draws", "plot", "decode", "reconstruct", "interpolate", "edit", "complete")


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_worth_nothing_is_refused_and_else_warned_of(verb: str, models: dict, tmp_path: Path) -> None:
    call = verbs(models[True], tmp_path)[verb]
    with pytest.raises(Failed, match=f"{SAID}; allow_failed=True .--allow-failed. goes on"):
        call()
    with pytest.warns(UserWarning, match=SAID):
        call(allow_failed=True)
    with pytest.warns(UserWarning, match=SAID):
        verbs(models[False], tmp_path)[verb]()


def test_verbs_that_show_nothing_of_its_own_say_nothing(models: dict) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        models[True][0].encode(FRAME)
        models[True][1].log_prob(FRAME)
        list(models[True][0]._draws(3, quiet=True))  # what evidence is of


@pytest.mark.filterwarnings("default")
def test_the_command_line_asks_for_a_word(models: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    FRAME.to_csv(tmp_path / "x.csv", index=False)
    gan, known = models[True]
    gan.save(tmp_path / "gan.pofx")
    known.save(tmp_path / "known.pofx")
    gan.encode(FRAME, path=tmp_path / "codes.csv")
    data, codes = str(tmp_path / "x.csv"), str(tmp_path / "codes.csv")
    for verb, name, *inputs in (
        ("sample", "gan", "-n", "3"), ("decode", "gan", codes), ("reconstruct", "gan", data),
        ("interpolate", "gan", data, data), ("edit", "gan", data, "--labels", data, "--by", "b", "--toward", "x"),
        ("complete", "known", data), ("plot", "gan", "--rows", "20"),
    ):  # fmt: skip
        out = tmp_path / ("out.png" if verb == "plot" else "out.csv")
        told = [verb, str(tmp_path / f"{name}.pofx"), *inputs, "-o", str(out)]
        assert main(told) == 1 and SAID in capsys.readouterr().err
        assert main([*told, "--allow-failed"]) == 0 and f"pofx {verb}: warning: {SAID}" in capsys.readouterr().err
