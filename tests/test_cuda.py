"""Each model on a GPU: it learns there, and its bundle says on a CPU what it said there. Skipped without one."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import pofx
from pofx.models import load_class, names
from pofx.nn import flows

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")

STEPS = 3
PICTURED = [name for name in names() if load_class(name).images]
TEXTS = ["autoregressive", "any_order", "vae", "gan"]
ALOUD = "ignore"  # three steps leave models that warn of themselves


def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    size = rng.normal(size=400)
    return pd.DataFrame(
        {"size": size.round(3), "age": (40 + 9 * size).round().astype(int), "sex": rng.choice(["f", "m"], 400)}
    )


def bars() -> np.ndarray:
    rng = np.random.default_rng(0)
    v = rng.integers(0, 30, (160, 8, 8))
    v[np.arange(160), :, rng.integers(0, 8, 160)] = 255
    return v.astype(np.uint8)


def agree(fitted: Any, x: Any, path: Path, by_orders: bool = False) -> None:
    """What is drawn and scored on the GPU is so on a CPU, to the GPU's rounding."""
    n = 4
    assert fitted.model.device.type == "cpu"  # where a fit leaves it
    fitted.model.to("cuda")
    drawn = fitted.sample(n, seed=1, quiet=True) if "sample" in fitted.model.abilities else None
    score = fitted.log_prob(x) if "log_prob" in fitted.model.abilities else None
    fitted.save(path)
    again = pofx.load(path)
    if drawn is not None:
        assert len(again.sample(n, seed=1, quiet=True)) == len(drawn) == n
    if score is not None:
        assert np.isfinite(score).all()
        both = (again.log_prob(x), score) if not by_orders else (again.log_prob(x).mean(), score.mean())
        rough = 0.1 if by_orders else 0.02
        np.testing.assert_allclose(*both, rtol=rough, atol=rough * np.abs(score).mean())


@pytest.mark.filterwarnings(ALOUD)
@pytest.mark.parametrize("name", names())
def test_rows(name: str, tmp_path: Path) -> None:
    numbers = table()[["size", "age"]] if name in ("mixture", "ppca") else table()
    agree(pofx.fit(numbers, model=name, steps=STEPS, device="cuda", quiet=True), numbers[:20], tmp_path / "m.pofx")


@pytest.mark.filterwarnings(ALOUD)
@pytest.mark.parametrize("name", PICTURED)
def test_images(name: str, tmp_path: Path) -> None:
    agree(pofx.fit(bars(), model=name, steps=STEPS, device="cuda", quiet=True), bars()[:6], tmp_path / "m.pofx")


@pytest.mark.filterwarnings(ALOUD)
@pytest.mark.parametrize("name", TEXTS)
def test_text(name: str, tmp_path: Path) -> None:
    words = ["".join(np.random.default_rng(i).choice(list("abcd"), 5)) for i in range(200)]
    fitted = pofx.fit(words, kind="text", model=name, steps=STEPS, device="cuda", quiet=True)
    agree(fitted, words[:8], tmp_path / "m.pofx", by_orders=name == "any_order")


@pytest.mark.filterwarnings(ALOUD)
@pytest.mark.parametrize("name", ["autoregressive", "any_order"])
def test_music(name: str, tmp_path: Path) -> None:
    (tmp_path / "tunes").mkdir()
    for i in range(40):
        lines = [f"{60 + (i + j) % 3},{48 + j % 2}" for j in range(12)]
        (tmp_path / "tunes" / f"{i}.csv").write_text("\n".join(["note0,note1", *lines, ""]))
    words = {"steps": STEPS, "reading": {"grid": 1}, "width": 16, "heads": 2}
    fitted = pofx.fit(
        tmp_path / "tunes",
        kind="voices" if name == "any_order" else "music",
        model=name,
        device="cuda",
        quiet=True,
        **words,
    )
    agree(fitted, tmp_path / "tunes", tmp_path / "m.pofx", by_orders=name == "any_order")


@pytest.mark.filterwarnings(ALOUD)
def test_sounds(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile", reason="sounds need the extra audio")
    (tmp_path / "sounds").mkdir()
    for i in range(24):
        wave = 0.3 * np.sin(2 * np.pi * (300 + 40 * i) * np.arange(2400) / 8000)
        soundfile.write(tmp_path / "sounds" / f"{i}.wav", wave, 8000)
    words = {"width": 16, "depth": 1, "latent": 4, "solver_steps": 2}
    fitted = pofx.fit(tmp_path / "sounds", steps=6, device="cuda", quiet=True, **words)
    assert len(fitted.sample(3, seed=1, quiet=True)) == 3


@pytest.mark.filterwarnings(ALOUD)
@pytest.mark.parametrize("task", ["denoise", "upscale"])
def test_photos(task: str, tmp_path: Path) -> None:
    photos = [np.random.default_rng(i).integers(0, 256, (64, 72, 3)).astype(np.uint8) for i in range(6)]
    fitted = pofx.fit(photos, task=task, steps=STEPS, device="cuda", quiet=True, width=12, depth=2)
    fitted.save(tmp_path / "m.pofx")
    here, there = (getattr(m, task)(photos[0]) for m in (fitted, pofx.load(tmp_path / "m.pofx")))
    assert np.abs(here.astype(int) - there.astype(int)).max() <= 3


@pytest.mark.guarded
@pytest.mark.filterwarnings(ALOUD)
def test_a_fit_with_its_guard(tmp_path: Path) -> None:
    fitted = pofx.fit(bars(), model="gan", steps=40, device="cuda", quiet=True, guard=True)
    assert fitted.verdict is not None
    agree(fitted, bars()[:6], tmp_path / "m.pofx")


def test_a_killed_fit_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = {"model": "vae", "steps": 30, "device": "cuda", "quiet": True}
    whole = pofx.fit(table(), **words)

    class Killed(Exception):
        pass

    from pofx.training.checkpoint import Checkpoint
    from pofx.training.loop import Trainer

    advance = Trainer.advance

    def until(self: Trainer, total: int) -> float | None:
        if self.step == 5:
            raise Killed
        return advance(self, total)

    monkeypatch.setattr(Checkpoint, "due", lambda self: True)
    monkeypatch.setattr(Trainer, "advance", until)
    with pytest.raises(Killed):
        pofx.fit(table(), checkpoint=tmp_path / "c", **words)
    monkeypatch.setattr(Trainer, "advance", advance)
    again = pofx.fit(table(), checkpoint=tmp_path / "c", resume=True, **words)
    for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.filterwarnings(ALOUD)
@pytest.mark.parametrize("make", [flows.NSF, flows.RealNVP, flows.MAF])
def test_captured_kernels_are_the_flow(make: Any) -> None:
    torch.manual_seed(0)
    flow = make(4, transforms=2, hidden=(32, 32)).cuda()
    x = torch.randn(256, 4, device="cuda")
    for p in flow.parameters():
        p.data += 0.1 * torch.randn_like(p)
    quick = flow.compiled()
    found = []
    for law in (flow.log_prob, quick, quick):
        flow.zero_grad()
        value = law(x)
        value.mean().backward()
        found.append([value.detach(), *(p.grad.clone() for p in flow.parameters())])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)
