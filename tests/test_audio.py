"""Sounds: reading, spectra and back, the codec, the model of two fits, its verbs and evidence."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

soundfile = pytest.importorskip("soundfile", reason="needs the extra audio")
pytest.importorskip("soxr", reason="needs the extra audio")

import pofx  # noqa: E402
from pofx.cli import main  # noqa: E402
from pofx.codecs.audio import LEVEL, AudioCodec, opened_sounds  # noqa: E402
from pofx.codecs.audio_io import Sounds, bytes_of, holds_audio, read_sounds, write_sounds  # noqa: E402
from pofx.errors import CodecError, SpecError, Unsupported  # noqa: E402
from pofx.evaluate_audio import spectral_distance  # noqa: E402
from pofx.fitted_audio import joined  # noqa: E402
from pofx.metrics import hearing  # noqa: E402
from pofx.metrics.hearing import Recogniser  # noqa: E402
from pofx.models import create  # noqa: E402
from pofx.nn.convnext import along  # noqa: E402
from pofx.nn.stft import griffin_lim, sound_of, spectrum, window_of  # noqa: E402

RATE = 8000
SMALL = {"width": 64, "depth": 2, "latent": 4, "solver_steps": 3}


def tone(pitch: float, seconds: float = 0.3, rate: int = RATE, loud: float = 0.3) -> np.ndarray:
    t = np.arange(int(seconds * rate)) / rate
    return (loud * np.sin(2 * np.pi * pitch * t) * np.hanning(len(t))).astype(np.float32)


def chirp(seconds: float, rate: int = RATE) -> np.ndarray:
    t = np.arange(int(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * (300 * t + 400 * t**2 / seconds))).astype(np.float32)


PITCHES = {"low": 400, "high": 1600}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    for label, pitch in PITCHES.items():
        (home / label).mkdir()
        for i in range(20):
            soundfile.write(home / label / f"{label}_{i}.wav", tone(pitch * rng.uniform(0.9, 1.1)), RATE)
    return home


@pytest.fixture(scope="module")
def fitted(folder):
    return pofx.fit(folder, steps=400, seed=1, quiet=True, threads=1, split=(0.6, 0.2, 0.2), **SMALL)


# -- spectra -----------------------------------------------------------------------------------------------------------


def test_a_sine_of_amplitude_one_has_magnitude_one_at_its_frequency() -> None:
    window = window_of(RATE)
    assert window == 256 and window_of(22_050) == 1024
    t = torch.arange(4096) / RATE
    found = spectrum(torch.sin(2 * torch.pi * RATE / window * 20 * t)[None], window)[0].abs()
    assert found[32].argmax() == 20 and found[32, 20] == pytest.approx(1, abs=1e-3)


def test_a_spectrum_gives_its_sound_back() -> None:
    x = torch.randn(2, 64 * 20, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(sound_of(spectrum(x, 256), 256), x, atol=1e-5)


def test_fast_griffin_lim_beats_the_slow_one_and_no_rounds() -> None:
    x = torch.from_numpy(np.stack([chirp(0.5), tone(700, 0.5)]))[:, : 64 * 60]
    m = spectrum(x, 256).abs()

    def off(**words) -> float:
        return float((spectrum(griffin_lim(m, 256, **words), 256).abs() - m).norm() / m.norm())

    fast, slow, none = off(), off(alpha=0.0), off(rounds=0)
    assert fast < slow < none and fast < 0.1


def test_each_sound_depends_on_its_own_magnitudes_alone() -> None:
    m = torch.rand(3, 20, 129, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(griffin_lim(m, 256)[1:2], griffin_lim(m[1:2], 256), atol=1e-5)


def test_channels_are_convolved_alone() -> None:
    x, kernel = torch.randn(2, 9, 3), torch.randn(5, 3)
    want = torch.stack([torch.nn.functional.conv1d(x[..., i][:, None], kernel[:, i].view(1, 1, 5), padding=2)[:, 0]
                        for i in range(3)], 2)  # fmt: skip
    assert torch.allclose(along(x, kernel), want, atol=1e-5)


# -- reading -----------------------------------------------------------------------------------------------------------


def test_labels_are_sub_folders_or_of_a_pattern(folder, tmp_path) -> None:
    assert holds_audio(folder)
    sounds, _ = read_sounds(folder)
    assert len(sounds) == 40 and set(sounds.labels) == set(PITCHES)
    named = tmp_path / "named.zip"
    with zipfile.ZipFile(named, "w") as archive:
        for i in range(4):
            archive.writestr(f"{i % 2}_anna_{i}.wav", bytes_of(tone(500), RATE))
    read, _ = read_sounds(named, pattern="{label}_{speaker}_{index}.wav")
    assert read.labels.tolist() == [0, 0, 1, 1] and read_sounds(named)[0].labels is None
    with pytest.raises(CodecError, match="none fits"):
        opened_sounds(named, {"pattern": "x-{label}.wav"})
    with pytest.raises(SpecError, match="{label} once"):
        read_sounds(named, pattern="{speaker}.wav")


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3"])
def test_files_of_every_kind_are_read(kind, tmp_path) -> None:
    path = tmp_path / f"a.{kind}"
    soundfile.write(path, tone(440, 0.5, 16_000), 16_000, format=kind.upper())
    sounds, _ = read_sounds(path)
    assert sounds.rate == 16_000 and abs(len(sounds.clips[0]) - 8000) < 2500
    assert np.abs(sounds.clips[0]).max() == pytest.approx(0.3, abs=0.05)


def test_rates_and_channels_are_brought_together_and_said(tmp_path) -> None:
    for i in range(3):
        soundfile.write(tmp_path / f"{i}.wav", tone(440), RATE)
    soundfile.write(tmp_path / "studio.wav", tone(440, rate=192_000), 192_000, subtype="PCM_24")
    soundfile.write(tmp_path / "two.wav", np.stack([tone(440), 0 * tone(440)], 1), RATE)
    soundfile.write(tmp_path / "eight.wav", tone(440), RATE, subtype="PCM_U8")
    soundfile.write(tmp_path / "still.wav", np.zeros(900), RATE)
    soundfile.write(tmp_path / "one.wav", np.ones(1), RATE)
    soundfile.write(tmp_path / "hard.wav", np.sign(tone(440)), RATE)
    sounds, _ = read_sounds(tmp_path)
    assert sounds.rate == RATE and "1 of 192,000 Hz" in sounds.notes["rate"] and "1 of 9" in sounds.notes["channels"]
    assert "1 of 9" in sounds.notes["silent"] and "2 of 9" in sounds.notes["clipped"]
    studio = sounds.clips[sounds.names.index("studio.wav")]
    assert np.abs(studio[:2400] - tone(440)[: len(studio)]).max() < 0.01
    codec = AudioCodec.learn(sounds)
    assert codec.encode(sounds)[LEVEL].shape == (9, *codec.shape)


def test_what_cannot_be_read_is_an_error_or_left_out(tmp_path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(440), RATE)
    (tmp_path / "b.wav").write_bytes(b"RIFF but no more")
    with pytest.raises(CodecError, match=r"b\.wav.*--broken skip"):
        read_sounds(tmp_path)
    sounds, _ = read_sounds(tmp_path, broken="skip")
    assert len(sounds) == 1 and "b.wav" in sounds.notes["left out"]
    with pytest.raises(CodecError, match="found nothing"):
        read_sounds(tmp_path / "none.wav")
    for bad, words in ((np.array([[1, 2]]), "whole numbers"), (np.full((1, 9), np.nan), "finite")):
        with pytest.raises(CodecError, match=words):
            read_sounds((bad, RATE))
    with pytest.raises(CodecError, match="silence alone"):
        AudioCodec.learn(Sounds((np.zeros(800, np.float32),), RATE))


def test_without_the_extra_its_name_is_said(folder, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    with pytest.raises(Unsupported, match=r"pofx\[audio\]"):
        read_sounds(folder)


# -- the codec ---------------------------------------------------------------------------------------------------------


def test_levels_give_a_sound_back_near_in_spectrum_and_as_loud() -> None:
    sounds = Sounds((tone(440, 0.5), tone(900, 0.3), chirp(0.4)), RATE)
    codec = AudioCodec.learn(sounds, seconds=0.5)
    back = codec.decode(codec.encode(sounds))
    for a, b in zip(sounds.clips, back.clips, strict=True):
        n = min(len(a), len(b))
        assert np.sqrt(np.mean(b**2)) == pytest.approx(codec.loudness, rel=0.02)
        assert n > 0.7 * len(a)
        assert spectral_distance(a[:n], b[:n] * np.std(a[:n]) / np.std(b[:n]), 256) < 0.6
    meta, arrays = codec.to_json()
    again = AudioCodec.from_json(meta, arrays)
    assert np.array_equal(again.encode(sounds)[LEVEL], codec.encode(sounds)[LEVEL])


def test_a_louder_sound_has_the_same_levels() -> None:
    sounds = Sounds((tone(440, loud=0.1), tone(440, loud=0.8)), RATE)
    a, b = AudioCodec.learn(sounds).encode(sounds)[LEVEL].astype(int)
    assert np.abs(a - b).max() <= 1


def test_a_long_recording_gives_pieces_and_windows() -> None:
    sounds, _ = opened_sounds(([chirp(30.0)], RATE), {"seconds": 0.5})
    assert len(sounds) >= 10 and sum(map(len, sounds.clips)) <= 30 * RATE
    codec = AudioCodec.learn(sounds, seconds=0.5)
    assert codec.windows and len(codec.encode(sounds)[LEVEL]) > 3 * len(sounds)
    assert "windows of long recordings" in codec.words(sounds)["example"]


def test_a_model_of_a_long_recording_draws_and_goes_on_for_as_long_as_asked(tmp_path: Path) -> None:
    own = {"reading": {"seconds": 0.5}, "steps": 60, "seed": 1, "threads": 1, "quiet": True}
    made = pofx.fit(([chirp(30.0)], RATE), kind="audio", **own, **SMALL)
    words = {"quiet": True, "allow_failed": True}
    usual, size = made.sample(2, seed=3, **words), made.codec.samples
    assert all(size <= len(clip) <= size + made.codec.window for clip in usual.clips)
    for seconds in (0.1, 0.5, 3.21):
        one, many = (made.sample(n, seconds=seconds, seed=3, **words).clips for n in (1, 3))
        assert [len(clip) for clip in many] == [round(seconds * RATE)] * 3 and np.array_equal(one[0], many[0])
        assert all(np.isfinite(clip).all() for clip in many) and not np.array_equal(many[0], many[1])
    assert np.abs(many[0][-RATE:]).max() > 0.01 and made.model.lasts == 0
    prompt = chirp(1.0)
    on = made.continue_(([prompt], RATE), seconds=2.0, seed=0, **words).clips[0]
    assert len(on) == 3 * RATE and np.array_equal(on[: RATE - 256], prompt[: RATE - 256])
    for odd in (0.0, -1.0, float("nan"), 3601.0):
        with pytest.raises(SpecError, match="expected seconds above 0"):
            made.sample(1, seconds=odd, **words)
    made.save(tmp_path / "m.pofx")
    assert main(["sample", str(tmp_path / "m.pofx"), "-n", "1", "--seconds", "1.5", "-o", str(tmp_path / "s.wav"),
                 "--quiet", "--allow-failed"]) == 0  # fmt: skip
    assert soundfile.info(tmp_path / "s.wav").duration == 1.5


def test_examples_of_one_code_are_gone_on_with() -> None:
    own = {"reading": {"seconds": 0.05}, "steps": 4, "quiet": True, "guard": False}
    made = pofx.fit(([chirp(5.0, 11_025)], 11_025), kind="audio", **own, **SMALL)
    assert made.model.frames == 1
    assert len(made.sample(1, seconds=0.4, seed=0, quiet=True).clips[0]) == 4410


def test_one_sound_alone_cannot_be_learned() -> None:
    for one in (tone(400), np.array([0.1], np.float32)):
        with pytest.raises(CodecError, match="expected two sounds or more, or a long recording, got one"):
            pofx.fit(([one], RATE), kind="audio", steps=2, quiet=True)


# -- the model and its verbs -------------------------------------------------------------------------------------------


def test_both_fits_learn(fitted) -> None:
    told = fitted.provenance["fit"]
    assert told["autoencoder"]["steps"] == 180 and told["steps"] == 220
    assert told["validation"] < 1.6  # 2 of a flow that says nothing
    assert fitted.model.misfit(fitted.codec.encode(fitted.learned_from()[0])).mean() < 12


def test_samples_have_the_pitch_that_was_asked_for(fitted, tmp_path) -> None:
    for label, pitch in PITCHES.items():
        made = fitted.sample(6, {"label": label}, guidance=2.0, seed=0, quiet=True)
        assert made.labels.tolist() == [label] * 6
        peaks = [np.abs(np.fft.rfft(c, RATE)).argmax() for c in made.clips]
        assert np.median(peaks) == pytest.approx(pitch, rel=0.25)
    one, many = (fitted.sample(n, seed=3, quiet=True) for n in (2, 5))
    assert all(np.array_equal(a, b) for a, b in zip(one.clips, many.clips, strict=False))
    assert fitted.sample(2, seed=3, path=tmp_path / "out", quiet=True) == 2
    assert sorted(p.name[:7] for p in (tmp_path / "out").iterdir()) == ["000000_", "000001_"]


def test_a_bundle_gives_the_same_sounds(fitted, tmp_path) -> None:
    fitted.save(tmp_path / "m.pofx")
    again = pofx.load(tmp_path / "m.pofx")
    a, b = (model.sample(2, seed=5, quiet=True) for model in (fitted, again))
    assert all(np.array_equal(x, y) for x, y in zip(a.clips, b.clips, strict=True))
    assert "sounds of" in again.info()


def test_a_killed_fit_goes_on_in_either_stage(folder, tmp_path, monkeypatch) -> None:
    from pofx.training import checkpoint, loop

    words = {"steps": 40, "quiet": True, "threads": 1, "split": (0.6, 0.2, 0.2), **SMALL, "width": 16}
    whole = pofx.fit(folder, **words)
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)
    step, place = loop.Trainer.advance, tmp_path / "c"
    for end in (10, 15):
        left = iter(range(end))

        def counted(self, total, left=left):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return step(self, total)

        monkeypatch.setattr(loop.Trainer, "advance", counted)
        with pytest.raises(KeyboardInterrupt):
            pofx.fit(folder, checkpoint=place, resume=True, **words)
    monkeypatch.setattr(loop.Trainer, "advance", step)
    again = pofx.fit(folder, checkpoint=place, resume=True, **words)
    assert not list(tmp_path.glob("c*"))
    for a, b in zip(whole.model.state_dict().values(), again.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_sounds_are_rebuilt_gone_between_and_gone_on_with(fitted, folder, tmp_path) -> None:
    unseen = fitted.learned_from()[2]
    back = fitted.reconstruct(unseen)
    assert [len(c) for c in back.clips] == [len(c) for c in unseen.clips]
    long = Sounds((np.tile(tone(400), 4),), RATE)
    assert len(fitted.reconstruct(long).clips[0]) == len(long.clips[0])
    ends = [unseen.take([i]) for i in (0, 1)]
    assert len(fitted.interpolate(*ends, steps=5)) == 5
    with pytest.raises(SpecError, match="two steps"):
        fitted.interpolate(*ends, steps=1)
    prompt = Sounds((tone(400)[:1200],), RATE)
    on = fitted.continue_(prompt, seed=0, quiet=True).clips[0]
    assert len(on) >= 1200 and np.array_equal(on[: 1200 - 256], prompt.clips[0][: 1200 - 256])
    with pytest.raises(CodecError, match="as examples last"):
        fitted.continue_(long, quiet=True)
    for verb in (fitted.sample, fitted.continue_):
        with pytest.raises(SpecError, match="which models of long recordings take, got 2"):
            verb(prompt if verb == fitted.continue_ else 1, seconds=2, quiet=True)
    with pytest.raises(CodecError, match="expected a folder for 8"):
        fitted.reconstruct(unseen, path=tmp_path / "one.wav")


def test_codes_are_a_table_and_come_back(fitted) -> None:
    unseen = fitted.learned_from()[2]
    codes = fitted.encode(unseen)
    assert codes.shape == (8, fitted.model.code_size + 1) and set(codes["label"]) <= set(PITCHES)
    back = fitted.decode(codes)
    assert back.labels.tolist() == codes["label"].tolist()
    whole = fitted.codec.decode(fitted.model.express(fitted.model.encode(fitted.codec.encode(unseen))))
    assert all(np.allclose(a, b, atol=1e-4) for a, b in zip(back.clips, whole.clips, strict=True))


def test_strange_sounds_are_found(fitted) -> None:
    usual = fitted.learned_from()[1]
    rng = np.random.default_rng(0)
    odd = Sounds(tuple(rng.normal(0, 0.1, 2400).astype(np.float32) for _ in range(4)), RATE)
    assert fitted.anomaly(odd)["anomaly"].min() > fitted.anomaly(usual)["anomaly"].max()
    assert (fitted.anomaly(odd)["p_value"] == 1 / 9).all()


def test_what_cannot_be_done_is_said(fitted, folder) -> None:
    for verb in ("log_prob", "score", "complete", "plot", "edit", "with_prior", "check"):
        with pytest.raises(Unsupported):
            getattr(fitted, verb)(folder)
    with pytest.raises(SpecError, match="does not learn sounds: these do: flow_matching"):
        pofx.fit(folder, model="vae", quiet=True)
    with pytest.raises(SpecError, match="guidance of 0 or more"):
        fitted.sample(1, guidance=-1.0, quiet=True)
    with pytest.raises(SpecError, match="guidance of 0 or more"):
        create("flow_matching", fitted.codec.spec, guidance=-1.0)
    with pytest.raises(CodecError, match="none fits"):
        opened_sounds(folder, {"pattern": "{label}-x"})


def test_the_evidence_tells_samples_from_noise(fitted, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(hearing, "FEW", 10)
    found = fitted.evaluate(rows=8, report=tmp_path / "r.html", json=tmp_path / "r.json", quiet=True)
    for told in found.distances.values():
        assert told["samples"] < told["noise (trivial)"]
    floor = found.figures["spectral distance, true magnitudes (floor)"]
    assert floor < found.figures["spectral distance, rebuilt"] < found.figures["spectral distance, noise (trivial)"]
    page = (tmp_path / "r.html").read_text()
    assert page.count("<audio") >= 8 and page.count("data:image/png") >= 8 and "http" not in page


def test_a_recogniser_learns_labels(folder, monkeypatch) -> None:
    monkeypatch.setattr(hearing, "FEW", 15)
    sounds, _ = read_sounds(folder)
    codec = AudioCodec.learn(sounds)
    x = codec.encode(sounds)
    net = Recogniser.learn(x[LEVEL], x["label"])
    assert (net.labels(x[LEVEL]) == x["label"]).mean() > 0.9


def test_old_and_new_change_places_over_the_fade() -> None:
    out = joined(np.ones(10, np.float32), np.zeros(14, np.float32), 4)
    assert out[:7].tolist() == [1] * 7 and out[9:].tolist() == [0] * 5 and 0 < out[8] < 1


def test_the_command_line_fits_draws_and_goes_on(folder, tmp_path) -> None:
    model, out = tmp_path / "m.pofx", tmp_path / "out"
    sets = [word for k, v in SMALL.items() for word in ("--set", f"{k}={v}")]
    assert main(["fit", str(folder), "-o", str(model), "--steps", "8", "--quiet", *sets]) == 0
    words = ["--given", "label = low", "--guidance", "1", "-o", str(out), "--quiet"]
    assert main(["sample", str(model), "-n", "3", *words]) == 0
    assert sorted(p.name for p in out.iterdir()) == [f"{i:06d}_low.wav" for i in range(3)]
    assert main(["reconstruct", str(model), str(folder), "-o", str(tmp_path / "back"), "--quiet"]) == 0
    half = tmp_path / "half.wav"
    soundfile.write(half, tone(400)[:1200], RATE)
    assert main(["continue", str(model), str(half), "-o", str(tmp_path / "on.wav"), "--quiet"]) == 0
    assert main(["anomaly", str(model), str(half), "-o", str(tmp_path / "a.csv"), "--quiet"]) == 0
    assert main(["sample", str(model), "-n", "1", "--temperature", "2", "-o", str(out), "--quiet"]) == 2


def test_one_sound_is_written_as_one_file(tmp_path) -> None:
    for ending in ("wav", "flac", "ogg"):
        assert write_sounds(Sounds((tone(440),), RATE), tmp_path / f"a.{ending}") == 1
        assert soundfile.info(tmp_path / f"a.{ending}").samplerate == RATE
    with pytest.raises(CodecError, match="ends in"):
        write_sounds(Sounds((tone(440),), RATE), tmp_path / "a.xyz")
