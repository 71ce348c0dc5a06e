"""The checkup before a fit."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_bundle import people

import pofx
from pofx import checkup
from pofx.checkup import _remarks, _same, _span
from pofx.cli import main
from pofx.errors import SpecError
from pofx.training.loop import LOOKS


def test_every_phase_is_tried_and_the_fit_foretold(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit that takes a second for its validations and a sixteenth of one for each step, and is slow while cold."""

    def fit(source: Any, steps: int, **words: Any) -> pofx.Fitted:
        model = pofx.fit(source, steps=steps, **words)
        told = model.provenance["fit"]
        assert 0 < told["step seconds"] < told["seconds"]
        cold = 1.5 if steps == LOOKS else 0.0
        told |= {"steps": steps, "seconds": 1.0 + cold + steps / 16, "step seconds": cold + steps / 16}
        return model

    monkeypatch.setattr(checkup, "fit", fit)
    found = pofx.doctor(people(300), model="vae", width=16, depth=1, latent=2, samples=1)
    assert [name for name, _ in found.phases] == ["fit", "save", "load", "sample"]
    assert found.steps == 500 + 240 // 5 and found.rows == 300
    assert found.step_seconds == pytest.approx(1 / 16)
    around = found.phases[0][1] - (1.0 + 1.5 + LOOKS / 16)
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
    assert found.remarks == [
        "labels: 2, the condition",
        "48 training images are few for a network: look for copies of them in its report (`evaluate`)",
        "6 examples are held out to judge the fit by, 40 are needed: no verdict but from 400 on",
    ]
    assert "MiB, the most that this process held, both short fits included" in str(found)


def test_what_images_say_of_themselves(tmp_path: Path) -> None:
    """Labels of one image, uneven ones, repeated images, nearly repeated ones, and what reading lost."""
    x = np.random.default_rng(0).integers(0, 1000, (400, 6, 6)).astype(np.uint16)
    x[200:210] = x[:10]
    x[210] = 7
    x[300:320] = x[20:40] + 3
    labels = ["cat"] * 380 + ["dog"] * 19 + ["solo"]
    said = pofx.doctor(x, model="vae", labels=labels, width=8, latent=2, samples=2).remarks
    assert "labels: 3, the condition" in said and "values: 0 to 1002 (uint16) are learned as 256 shades" in said
    assert "1 of 3 labels have one image, which cannot be judged: 'solo'" in said
    assert "labels are uneven: 'cat' has 380 images, 'solo' 1" in said
    assert "1 of 400 images are of one shade" in said
    assert "10 of 400 images are repeated: those in two parts of the split flatter what is judged" in said
    near = next(line for line in said if "nearly or wholly training images" in line)
    assert 1 <= int(near.split()[0]) <= 30 and not any("no verdict" in line for line in said)
    learned = pofx.fit(x, model="autoencoder", labels=labels, steps=1, width=8, latent=2, depth=1, quiet=True)
    assert any(line.startswith("labels: 3, left out") for line in _remarks(learned))


def test_a_folder_of_mixed_sizes_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p").mkdir()
    for i in range(40):
        Image.fromarray(np.full((8, 8 + i % 2), 6 * i, np.uint8)).save(tmp_path / "p" / f"{i}.png")
    words = [
        "doctor",
        str(tmp_path / "p"),
        "--model",
        "vae",
        "--set",
        "width=8",
        "--set",
        "samples=2",
        "--kind",
        "image",
    ]
    assert main(words) == 2 and "one size" in capsys.readouterr().err
    assert main([*words, "--pixels", "6x6", "--split", ".5,.5,0", "--size", "small", "--seed", "1"]) == 0
    assert "20 examples are held out to judge the fit by" in capsys.readouterr().out
    assert main([*words, "--missing", "unknown", "--pixels", "6x6"]) == 0


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
