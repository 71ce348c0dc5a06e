"""Sounds without noise and with high frequencies: codes sought, the verbs, the command line, formats of PyAV."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

soundfile = pytest.importorskip("soundfile", reason="needs the extra audio")
pytest.importorskip("soxr", reason="needs the extra audio")

import pofx  # noqa: E402
from pofx.cli import main  # noqa: E402
from pofx.codecs.audio_io import Sounds, read_sounds, resampled  # noqa: E402
from pofx.errors import CodecError, SpecError  # noqa: E402
from pofx.nn.stft import griffin_lim, spectrum  # noqa: E402
from pofx.restore_audio import noise_power, quietest, stretches  # noqa: E402

RATE = 8000
SMALL = {"width": 64, "depth": 2, "latent": 4, "solver_steps": 2}
SECONDS = 0.5


def bell(pitch: float, seconds: float = SECONDS) -> np.ndarray:
    """A tone and what is five times as high, which fade."""
    t = np.arange(int(seconds * RATE)) / RATE
    whole = np.sin(2 * np.pi * pitch * t) + 0.3 * np.sin(2 * np.pi * 5 * pitch * t)
    return (0.2 * whole * np.exp(-3 * t)).astype(np.float32)


def hiss(bright: bool, seed: int) -> np.ndarray:
    """A burst of noise below 1 kHz and above 2.5 kHz (bright), or from 1 to 2 kHz alone."""
    rng, n = np.random.default_rng(seed), RATE // 2
    f = np.fft.rfftfreq(n, 1 / RATE)
    here = (f < 1000) | (f > 2500) if bright else (f > 1000) & (f < 2000)
    return (0.1 * np.fft.irfft(here * np.fft.rfft(rng.normal(size=n)), n)).astype(np.float32)


@cache
def of_bursts():
    clips = [hiss(i % 2 == 0, i) for i in range(60)]
    return pofx.fit((clips, RATE), steps=300, seed=0, quiet=True, threads=1, split=(0.9, 0.1, 0), **SMALL)


@cache
def fitted():
    rng = np.random.default_rng(0)
    clips = [bell(pitch) for pitch in rng.uniform(450, 650, 60)]
    return pofx.fit((clips, RATE), steps=500, seed=0, quiet=True, threads=1, split=(0.9, 0.1, 0), **SMALL)


def noisy(x: np.ndarray, loud: float = 0.05, seed: int = 1) -> np.ndarray:
    return (x + loud * np.random.default_rng(seed).normal(size=len(x))).astype(np.float32)


def ratio(x: np.ndarray, y: np.ndarray) -> float:
    return float(10 * np.log10(np.sum(x**2) / np.sum((x - y) ** 2)))


def above(x: np.ndarray, hertz: float) -> float:
    """The share of the energy that lies above a frequency."""
    power = np.abs(np.fft.rfft(x)) ** 2
    return float(power[int(hertz * len(x) / RATE) :].sum() / power.sum())


def test_the_power_of_white_noise_is_that_of_its_root_mean_square() -> None:
    codec = fitted().codec
    sound = (0.05 * np.random.default_rng(0).normal(size=20 * RATE)).astype(np.float32)
    told, found = noise_power(codec, 0.05), noise_power(codec, sound)
    assert torch.allclose(told[2:-2], found[2:-2], rtol=0.15)
    read = quietest(spectrum(torch.from_numpy(sound)[None], codec.window)[0].abs().square())
    assert float((read[5:-5] / told[5:-5]).mean()) == pytest.approx(1, abs=0.05)


def test_griffin_lim_leaves_what_is_held() -> None:
    x = torch.from_numpy(bell(500))[: 64 * 60][None]
    s = spectrum(x, 256)
    back = spectrum(griffin_lim(s.abs(), 256, held=s[:, :, :60]), 256)
    free = spectrum(griffin_lim(s.abs(), 256), 256)
    assert (back - s)[:, :, :60].norm() < 0.05 * s.norm() < (free - s)[:, :, :60].norm()


def test_noise_goes_and_the_sound_stays() -> None:
    x = bell(530)
    y = noisy(x)
    alone = Sounds((noisy(np.zeros(RATE, np.float32), seed=9),), RATE)
    for noise in (alone, 0.05):
        made = fitted().denoise(Sounds((y,), RATE), noise=noise, quiet=True).clips[0]
        assert len(made) == len(x) and ratio(x, made) > ratio(x, y) + 5
    x = np.r_[x, np.zeros(RATE // 4, np.float32)]  # without a pause the tone would be read as noise
    y = noisy(x)
    assert ratio(x, fitted().denoise(([y], RATE), quiet=True).clips[0]) > ratio(x, y) + 5
    x = bell(530)
    assert ratio(x, fitted().denoise(([x], RATE), noise=1e-4, quiet=True).clips[0]) > 25


def test_high_frequencies_come_where_sounds_like_it_have_them_and_low_ones_stay() -> None:
    for bright in (True, False):
        x = hiss(bright, 1000)
        few = resampled(Sounds((x,), RATE), RATE // 2)
        plain = resampled(few, RATE).clips[0]
        made = of_bursts().upscale(few, quiet=True).clips[0]
        assert above(plain, 2200) < 1e-3
        share = above(made, 2500)
        assert 0.2 < share < 0.8 if bright else share < 0.01  # 0.59 and none in what was there
        low = [spectrum(torch.from_numpy(v)[None], 256)[0, :, :55] for v in (plain, made)]
        assert float((low[0] - low[1]).norm() / low[0].norm()) < 0.1


def test_long_sounds_are_worked_on_in_stretches_and_silence_stays() -> None:
    long = np.tile(bell(560), 40)
    assert stretches(fitted().codec, long) == 3
    y = noisy(long)
    made = fitted().denoise(([y, np.zeros(900, np.float32)], RATE), noise=0.05, quiet=True)
    assert len(made.clips[0]) == len(long) and ratio(long, made.clips[0]) > ratio(long, y) + 3
    assert not made.clips[1].any() and len(made.clips[1]) == 900


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    sound = ([bell(500)], RATE)
    for noise in (0, 1.5, -1):
        with pytest.raises(SpecError, match="root mean square"):
            fitted().denoise(sound, noise=noise, quiet=True)
    with pytest.raises(CodecError, match="one sound of noise alone"):
        fitted().denoise(sound, noise=([bell(500)[:100]], RATE), quiet=True)
    with pytest.raises(SpecError, match="band above 0 and below 4000"):
        fitted().upscale(sound, quiet=True)
    with pytest.raises(CodecError, match="folder"):
        fitted().denoise(sound, path=tmp_path / "none" / "x.wav", quiet=True)


def test_the_command_line_restores_files_and_folders(tmp_path: Path) -> None:
    model, folder = tmp_path / "m.pofx", tmp_path / "in"
    fitted().save(model)
    folder.mkdir()
    for i in range(2):
        soundfile.write(folder / f"{i}.wav", noisy(bell(500 + 40 * i)), RATE)
    soundfile.write(tmp_path / "noise.wav", noisy(np.zeros(RATE, np.float32)), RATE)
    out = tmp_path / "out"
    out.mkdir()
    words = ["--noise", str(tmp_path / "noise.wav"), "-o", str(out), "--quiet"]
    assert main(["denoise", str(model), str(folder), *words]) == 0
    assert sorted(p.name for p in out.iterdir()) == ["000000.wav", "000001.wav"]
    one = ["denoise", str(model), str(folder / "0.wav"), "--noise", "0.05", "-o", str(tmp_path / "one.flac")]
    assert main([*one, "--quiet"]) == 0 and main([*one, "--sigma", "5"]) == 2
    wide = ["upscale", str(model), str(folder / "0.wav"), "-o", str(tmp_path / "wide.wav"), "--quiet"]
    assert main([*wide, "--band", "2000"]) == 0 and main(wide) == 2 and main([*wide, "--scale", "2"]) == 2
    assert main(["reconstruct", str(model), str(folder), "-o", str(out), "--quiet"]) == 0
    assert main(["anomaly", str(model), str(folder), "-o", str(out), "--quiet"]) == 2


def test_labels_that_were_given_are_found_again(tmp_path: Path) -> None:
    for i in range(20):
        soundfile.write(tmp_path / f"{i:02d}.wav", bell(400 + 20 * i, 0.2), RATE)
    labels = ["low" if i < 10 else "high" for i in range(20)]
    made = pofx.fit(tmp_path, labels=labels, steps=4, quiet=True, **SMALL)
    made.save(tmp_path / "m.pofx")
    parts = pofx.load(tmp_path / "m.pofx").learned_from()
    assert sorted(label for part in parts for label in part.labels) == sorted(labels)
    assert "recognised, samples" in made.evaluate(rows=4, quiet=True).figures


def test_several_rates_and_channels_are_fitted_from_the_command_line(tmp_path: Path) -> None:
    folder = tmp_path / "shots"
    folder.mkdir()
    for i in range(12):
        rate, x = (96_000, 192_000, 44_100)[min(i, 2)], bell(400 + 40 * i, 0.3)
        x = resampled(Sounds((x,), RATE), rate).clips[0]
        soundfile.write(folder / f"{('kick', 'hat')[i % 2]}_{i}.flac", np.stack([x, x], 1) if i > 8 else x, rate)
    sets = [word for k, v in SMALL.items() for word in ("--set", f"{k}={v}")]
    model = tmp_path / "m.pofx"
    words = ["--pattern", "{label}_{index}.flac", "--steps", "4", "--quiet", *sets]
    assert main(["fit", str(folder), "-o", str(model), *words]) == 0
    told = pofx.load(model)
    assert told.codec.rate == 22_050 and set(told.codec.levels) == {"kick", "hat"}
    notes = told.provenance["notes"]
    assert "1 of 192,000 Hz" in notes["rate"] and "3 of 12" in notes["channels"]
    assert main(["reconstruct", str(model), str(folder / "hat_1.flac"), "-o", str(tmp_path / "b.wav"), "--quiet"]) == 0


@pytest.mark.parametrize("kind", ["m4a", "aac", "opus", "webm", "mp4"])
def test_coded_files_are_read_by_pyav(kind: str, tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="needs the extra video")
    rate, path = 48_000, tmp_path / f"a.{kind}"
    t = np.arange(rate) / rate
    x = np.stack([0.3 * np.sin(2 * np.pi * 440 * t), 0 * t]).astype(np.float32)
    with av.open(str(path), "w", format={"m4a": "ipod", "aac": "adts", "opus": "ogg"}.get(kind, kind)) as out:
        stream = out.add_stream("libopus" if kind in ("opus", "webm") else "aac", rate=rate, layout="stereo")
        for at in range(0, rate, 960):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(x[:, at : at + 960]), "fltp", "stereo")
            frame.sample_rate, frame.pts = rate, at
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    sounds, _ = read_sounds(path)
    own = sounds.clips[0]
    assert sounds.rate == 22_050 and abs(len(own) - 22_050) < 2000 and "1 of 1" in sounds.notes["channels"]
    assert np.abs(np.fft.rfft(own, 22_050)).argmax() == pytest.approx(440, abs=2)
    assert np.abs(own[5000:15_000]).max() == pytest.approx(0.15, abs=0.03)
