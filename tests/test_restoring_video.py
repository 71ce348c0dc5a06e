"""Videos restored: steadier than frame by frame, as many frames at the same times, and all else as it came."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image
from test_restoring import bicubic, fitted, psnr, small

from pofx.cli import main
from pofx.codecs.video import info
from pofx.errors import SpecError
from pofx.nn.motion import warping_error
from pofx.restore_video import steadied

av = pytest.importorskip("av", reason="PyAV, extra `video`, is not installed")


def panned(count: int = 5, step: int = 1) -> list[np.ndarray]:
    """A part of a photo that moves by whole pixels of the large picture, and so by halves of the small one."""
    photo = load_sample_image("china.jpg")
    return [photo[60:188, 300 + step * k : 460 + step * k].copy() for k in range(count)]


def error(frames: list[np.ndarray]) -> float:
    return warping_error(torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255)


def test_what_moves_smoothly_is_enlarged_better_with_the_frame_before() -> None:
    large = panned()
    low = [small(frame, 2) for frame in large]

    def alone(frame: np.ndarray) -> np.ndarray:
        return bicubic(frame, 2)

    one, both = [alone(frame) for frame in low], list(steadied(low, alone, 2))
    assert np.array_equal(one[0], both[0])
    gains = [psnr(b, x) - psnr(a, x) for a, b, x in zip(one[1:], both[1:], large[1:], strict=True)]
    assert min(gains) > 0.1
    came = [np.abs(small(b, 2).astype(int) - y).mean() for b, y in zip(both, low, strict=True)]
    assert max(came) < 1


def test_noise_is_averaged_over_time() -> None:
    clean, rng = panned(), np.random.default_rng(0)
    loud = [(x + 4 * rng.normal(size=x.shape)).round().clip(0, 255).astype(np.uint8) for x in clean]
    both = list(steadied(loud, lambda frame: frame))
    assert psnr(both[-1], clean[-1]) > psnr(loud[-1], clean[-1]) + 0.3
    assert error(both) < error(loud)


def test_a_cut_begins_anew() -> None:
    one, two = panned(1)[0], load_sample_image("flower.jpg")[100:228, 200:360].copy()
    made = list(steadied([one, two], lambda frame: frame))
    assert np.abs(made[1].astype(int) - two).mean() < 1


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as out:
        video, audio = out.add_stream("libx264", rate=10), out.add_stream("aac", rate=16000)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        for frame in panned(4, 2):
            out.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:64, :96]), "rgb24")))
        out.mux(video.encode())
        tone = (0.3 * np.sin(np.arange(6400) / 8)).astype(np.float32)[None]
        sound = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        sound.rate = 16000
        out.mux(audio.encode(sound)), out.mux(audio.encode())
    return path


def test_a_video_is_enlarged_with_its_sound(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fitted("upscale").save(tmp_path / "m.pofx")
    out = tmp_path / "large.mp4"
    assert main(["upscale", str(tmp_path / "m.pofx"), str(clip), "-o", str(out), "--quiet"]) == 0
    came, made = info(clip), info(out)
    assert (made.height, made.width, made.frames, made.rate) == (128, 192, came.frames, Fraction(10))
    assert made.seconds == pytest.approx(came.seconds) and any("aac" in words for words in made.streams)
    with pytest.raises(SpecError, match="a path to write the video to"):
        fitted("upscale").upscale(clip)
    assert main(["upscale", str(tmp_path / "m.pofx"), str(clip), "-o", str(clip), "--quiet"]) == 2
    assert "another name than that of the input" in capsys.readouterr().err
