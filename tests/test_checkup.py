"""The checkup before a fit."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_bundle import people

import pofx
from pofx import checkup
from pofx.checkup import _same, _span
from pofx.cli import main
from pofx.errors import SpecError
from pofx.training.loop import LOOKS


def test_every_phase_is_tried_and_the_fit_foretold(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit that takes a second for its validations and a sixteenth of one for each step."""

    def fit(source: Any, steps: int, **words: Any) -> pofx.Fitted:
        model = pofx.fit(source, steps=steps, **words)
        model.provenance["fit"]["seconds"] = 1.0 + steps / 16
        return model

    monkeypatch.setattr(checkup, "fit", fit)
    found = pofx.doctor(people(300), model="vae", width=16, depth=1, latent=2, samples=1)
    assert [name for name, _ in found.phases] == ["fit", "save", "load", "sample"]
    assert found.steps == 500 + 240 // 5 and found.rows == 300
    assert found.step_seconds == pytest.approx(1 / 16)
    around = found.phases[0][1] - (1.0 + LOOKS / 16)
    assert found.seconds == pytest.approx(around + 1.0 + found.steps / 16)
    assert "548 steps by its recipe, 62 ms a step" in str(found) and "sample     works" in str(found)


def test_a_closed_form_has_no_steps() -> None:
    found = pofx.doctor(people(300), model="independent")
    assert found.steps == 0 and "in closed form" in str(found)


def test_remarks_name_columns() -> None:
    frame = people(400).assign(still=1, gone=np.where(np.arange(400) < 390, None, "x"))
    found = pofx.doctor(frame, model="independent")
    assert any("'gone' is missing in 9" in line for line in found.remarks)
    assert "still   constant" in str(found)
    assert any("training rows are few" in line for line in pofx.doctor(people(100), model="independent").remarks)


def test_images_and_labels() -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8)).astype(np.uint8)
    found = pofx.doctor(images, model="gan", labels=np.arange(60) % 2, width=16)
    assert found.steps == 1000 + 48 // 12 and len(found.phases) == 4


def test_words_that_it_does_not_take() -> None:
    for word in ("steps", "minutes"):
        with pytest.raises(SpecError, match="expected no minutes and no steps"):
            pofx.doctor(people(100), **{word: LOOKS})
    with pytest.raises(SpecError, match="expected a model among"):
        pofx.doctor(people(100), model="oracle")


def test_samples_are_compared_whatever_they_are_in() -> None:
    a = np.arange(6).reshape(2, 3)
    assert _same(a, a.copy()) and not _same(a, a + 1)
    assert _same((a, a), (a, a)) and not _same((a, a), (a, a + 1))
    assert _same(pd.DataFrame(a), pd.DataFrame(a)) and not _same(pd.DataFrame(a), pd.DataFrame(a + 1))
    assert [_span(s) for s in (5, 600, 7300)] == ["5 s", "10 min", "2.0 h"]


def test_on_the_command_line(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    people(200).to_csv(tmp_path / "people.csv", index=False)
    assert main(["doctor", str(tmp_path / "people.csv"), "--model", "ppca"]) == 0
    assert "the fit" in capsys.readouterr().out
    assert main(["doctor", str(tmp_path / "none.csv")]) == 2
