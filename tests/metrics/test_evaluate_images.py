"""Evidence on models of images: each figure beside what it is held against, on one page that asks for nothing."""

import json
import math
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import pofx
from pofx.cli import main
from pofx.errors import CodecError, SpecError, Unsupported
from pofx.evaluate_images import ImageEvidence
from pofx.metrics.likelihood import standing
from pofx.models.annealed import sandwich
from pofx.models.pixel_laws import rungs

SMALL = {"latent": 2, "width": 16, "depth": 1, "components": 2, "samples": 16, "network": "mlp", "prior": "normal"}


def bars(n: int = 200, side: int = 6, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    v = rng.integers(0, 30, (n, side, side))
    v[np.arange(n), :, rng.integers(0, side, n)] = rng.integers(150, 255, (n, 1))
    return v.astype(np.uint8)


@pytest.fixture(scope="module")
def model() -> pofx.Fitted:
    return pofx.fit(bars(), model="vae", steps=60, quiet=True, **SMALL)


@pytest.fixture(scope="module")
def evidence(model: pofx.Fitted, tmp_path_factory: pytest.TempPathFactory) -> tuple[ImageEvidence, Path]:
    path = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pofx.evaluate_images.sandwich", partial(sandwich, steps=10))
        found = model.evaluate(train=bars(), report=path / "r.html", json=path / "m.json", sandwich=3, quiet=True)
    return found, path


def test_likelihoods_are_of_the_same_images_in_the_same_units(evidence, model: pofx.Fitted) -> None:
    found, _ = evidence
    assert set(found.likelihood) == {"vae (a bound)", "independent", "gaussian", "ppca", "mixture"}
    assert found.rows == {"train": 160, "unseen": 20}
    took = np.random.default_rng(0).permutation(200)
    parts = [bars()[np.sort(took[a:b])].reshape(b - a, -1) for a, b in ((0, 160), (160, 180), (180, 200))]
    own = model.log_prob(parts[2].reshape(-1, 6, 6))
    row = found.likelihood["vae (a bound)"]
    assert row["nats"] == pytest.approx(own.mean()) and row["nats error"] == pytest.approx(own.std(ddof=1) / 20**0.5)
    assert row["bits"] == pytest.approx(-own.mean() / 36 / math.log(2)) and row["bits error"] > 0
    for name, law in rungs(parts[0], parts[1], 1, 255, 2):
        assert found.likelihood[name]["nats"] == pytest.approx(law(parts[2]).mean()), name
    assert "laws in closed form" in found.words[0] or "law in closed form" in found.words[0]


def test_codes_stand_beside_pca_and_the_mean_and_pictures_are_there(evidence) -> None:
    found, _ = evidence
    assert list(found.rebuilding) == ["vae", "PCA of 2", "mean image"]
    assert found.rebuilding["PCA of 2"]["psnr"] > found.rebuilding["mean image"]["psnr"]
    assert [one.says for one in found.sheets] == ["unseen", "rebuilt", "drawn", "walk", "between"]
    walk = found.sheets[3]
    assert walk.columns == 9 and len(walk.images) == 9 * len(walk.lines) == 18 and walk.images.shape[1:] == (6, 6, 1)
    assert set(found.annealing) == {"lower", "upper", "importance", "gap", "importance short by"}
    assert any(word.startswith("On 3 images that the model drew") for word in found.words)


def test_the_page_is_whole_and_the_figures_plain(evidence) -> None:
    found, path = evidence
    page, told = (path / "r.html").read_text(encoding="utf-8"), json.loads((path / "m.json").read_text())
    assert found.words[0].split(",")[0] in page and "A walk through the code" in page
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(links) == 5 and all(link.startswith("data:image/png;base64,") for link in links)
    assert "<script" not in page and "prefers-color-scheme: dark" in page
    assert told["likelihood"]["gaussian"]["bits"] == pytest.approx(found.likelihood["gaussian"]["bits"])
    assert "sheets" not in told and "vae (a bound)" in found.summary()


def test_grey_pixels_are_refused_by_a_law_of_black_and_white_ones_and_drawn_when_asked() -> None:
    ink = pofx.fit(bars(), model="vae", steps=5, quiet=True, binarise=True, **SMALL)
    with pytest.raises(SpecError, match="expected black and white pixels, got grey ones"):
        ink.evaluate(train=bars(), quiet=True)
    with pytest.raises(SpecError, match="expected black and white pixels, got grey ones"):
        ink.anomaly(bars(5))
    found = ink.evaluate(train=bars(), binarise=True, quiet=True)
    assert all(0 < row["bits"] < 1.05 for row in found.likelihood.values())
    assert found.words[-1].startswith("Pixels were drawn black or white once")


def test_a_denoiser_stands_beside_what_came_and_the_best_blur() -> None:
    model = pofx.fit(bars(), model="denoising", steps=40, quiet=True, width=8, depth=1, strength=0.2)
    found = model.evaluate(train=bars(), quiet=True)
    came, blur, own = found.cleaning
    assert came == "as it came" and blur.startswith("blur of ") and own == "denoising"
    assert 14 < found.cleaning[came]["psnr"] < 17  # -20 log10 .2 is 14, and noise beyond [0, 1] is cut
    assert found.words[0].startswith("Cleaning gains")
    assert [one.says for one in found.sheets] == [came, blur, own, "clean"] and not found.likelihood


def test_an_autoencoder_without_likelihood_is_judged_by_what_it_rebuilds() -> None:
    model = pofx.fit(bars(), model="autoencoder", steps=10, quiet=True, latent=4, width=16, depth=1)
    found = model.evaluate(train=bars(), quiet=True)
    assert list(found.rebuilding) == ["autoencoder", "PCA of 4", "mean image"] and not found.likelihood
    assert found.rebuilding["autoencoder"]["psnr"] == pytest.approx(found.rebuilding["PCA of 4"]["psnr"], abs=0.5)


def test_the_command_line_evaluates_images_and_wrong_words_are_told(model: pofx.Fitted, tmp_path: Path, capsys) -> None:
    np.savez(tmp_path / "x.npz", images=bars())
    model.save(tmp_path / "m.pofx")
    held, data, page = (str(tmp_path / name) for name in ("m.pofx", "x.npz", "r.html"))
    assert main(["evaluate", held, "--data", data, "-o", page, "--json", str(tmp_path / "m.json")]) == 0
    assert "bits a dimension" in capsys.readouterr().out and (tmp_path / "r.html").exists()
    with pytest.raises(CodecError, match="fitted on an array, which a bundle does not keep"):
        model.evaluate(quiet=True)
    with pytest.raises(CodecError, match="is not what the model was fitted on"):
        model.evaluate(train=bars(seed=1), quiet=True)
    with pytest.raises(Unsupported, match="images have no target column"):
        model.evaluate(target="label", quiet=True)
    with pytest.raises(SpecError, match="expected binarise=True for a model fitted with binarise=True alone"):
        model.evaluate(train=bars(), binarise=True, quiet=True)


def test_a_standing_is_paired_and_says_who_loses() -> None:
    v = np.random.default_rng(0).normal(size=200)
    behind = standing({"vae": v - 1, "gaussian": v, "independent": v - 5})
    assert (
        behind.best == "gaussian" and behind.gain == pytest.approx(-1) and behind.error == pytest.approx(0, abs=1e-12)
    )
    said = behind.words("rows", "nats")
    assert said.startswith("The model loses: gaussian, a law in closed form, finds unseen rows likelier by 1 ±")
    assert (
        standing({"vae": v + 2, "ppca": v})
        .words("rows", "nats")
        .startswith("The model finds unseen rows likelier by 2")
    )
    noisy = standing({"vae": v, "ppca": v[::-1]})
    assert "is level with ppca" in noisy.words("rows", "nats")
    assert standing({"ppca": v, "independent": v}).best == "" and standing({"vae": v}).words("rows", "nats") == ""


def test_with_labels_the_likelihood_is_summed_over_them_and_pictures_are_made_under_them() -> None:
    images = bars()
    labels = np.where(images[:, 0].argmax(1) < 3, "left", "right")
    model = pofx.fit((images, labels), model="vae", steps=60, quiet=True, **SMALL)
    found = model.evaluate(train=(images, labels), sandwich=2, quiet=True)
    took = np.sort(np.random.default_rng(0).permutation(200)[180:])
    alone = model.log_prob(images[took])
    assert found.likelihood["vae (a bound)"]["nats"] == pytest.approx(alone.mean())
    both = np.logaddexp(*(model.log_prob((images[took], np.full(20, label))) for label in ("left", "right")))
    np.testing.assert_allclose(alone, both, atol=0.05)  # a label never seen keeps some mass
    assert [one.says for one in found.sheets] == ["unseen", "rebuilt", "drawn", "walk", "between"]
    with pytest.raises(CodecError, match="is not what the model was fitted on"):
        model.evaluate(train=images, quiet=True)
