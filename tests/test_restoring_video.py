"""Videos restored: steadier than frame by frame, as many frames at the same times, and all else as it came."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image
from test_restoring import bicubic, fitted, noisy, photos, psnr, small

import pofx
from pofx.cli import main
from pofx.codecs.video import info
from pofx.errors import SpecError
from pofx.fitted_photos import FittedPhotos
from pofx.models.panned import panned as panned_clips
from pofx.nn.motion import warping_error
from pofx.restore import Carry, How, carrying, denoise
from pofx.restore_video import averaged, steadied

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


# -- what is learned of frames -----------------------------------------------------------------------------------------


def test_windows_that_move_by_whole_pixels_are_of_the_picture() -> None:
    piece = torch.rand(3, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    clips = panned_clips(piece, 4, 16, True, torch.Generator().manual_seed(1))
    assert clips.shape == (3, 4, 1, 16, 16)
    every = piece.unfold(2, 16, 1).unfold(3, 16, 1)[:, 0].reshape(3, -1, 16, 16)
    off = (clips[:, :, 0].unsqueeze(2) - every.unsqueeze(1)).abs()
    least = off.amax((3, 4)).min(2).values
    behind = off.flatten(3).median(3).values.min(2).values  # an ellipse of another piece hides a part of some
    assert (least < 1e-4).any() and (behind < 1e-4).sum() >= 8
    between = panned_clips(piece, 4, 16, False, torch.Generator().manual_seed(1))
    assert not torch.equal(clips, between)


def test_no_room_to_move_gives_frames_that_stand_still() -> None:
    piece = torch.rand(2, 3, 16, 16)
    clips = panned_clips(piece, 3, 16, True, torch.Generator().manual_seed(0))
    assert torch.allclose(clips[:, 0], clips[:, 2], atol=1e-5)


@pytest.fixture(scope="module")
def of_videos() -> FittedPhotos:
    words = {"steps": 60, "texture": False, "video": True, "quiet": True}
    made = pofx.fit(list(photos()), task="upscale", scale=2, width=12, depth=2, **words)
    assert isinstance(made, FittedPhotos)
    return made


def test_what_is_learned_of_frames_is_no_worse_than_their_mixture(of_videos: FittedPhotos) -> None:
    large = panned(4)
    came = [small(frame, 2) for frame in large]

    def alone(frame: np.ndarray) -> np.ndarray:
        made = of_videos.upscale(frame, scale=2, quiet=True)
        assert isinstance(made, np.ndarray)
        return made

    mixture = list(steadied(came, alone, 2))
    learned, tiled = (list(steadied(came, alone, 2, carrying(of_videos.restorer, 2, How(tile=t)))) for t in (512, 48))
    assert not np.array_equal(mixture[1], learned[1])
    gains = [psnr(b, x) - psnr(a, x) for a, b, x in zip(mixture[1:], learned[1:], large[1:], strict=True)]
    assert np.mean(gains) > -0.02
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(learned, tiled, strict=True)) <= 1


def test_of_what_stands_still_nothing_learned_is_told() -> None:
    def ways(came: list[np.ndarray]) -> int:
        """How far a carry that tells much is from one that tells nothing, in shades."""

        def telling(h: float, more: float) -> Carry:
            return lambda y, before, r, last, same: (torch.full_like(r[:, :1], h), torch.full_like(r[:, :1], more))

        both = (list(steadied(came, lambda f: bicubic(f, 2), 2, telling(*told))) for told in ((0.1, 3.0), (0.0, 0.0)))
        return max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(*both, strict=True))

    assert ways([small(panned(1)[0], 2)] * 3) <= 1
    assert ways([small(frame, 2) for frame in panned(3, 4)]) > 4


def test_a_model_of_videos_is_kept_and_used(of_videos: FittedPhotos, clip: Path, tmp_path: Path) -> None:
    of_videos.save(tmp_path / "m.pofx")
    again = pofx.load(tmp_path / "m.pofx")
    assert isinstance(again, FittedPhotos) and carrying(again.restorer, 2, How()) is not None
    assert carrying(again.restorer, 2, How(realism=1.0)) is None
    assert carrying(fitted("upscale").restorer, 2, How()) is None
    again.upscale(clip, scale=2, path=tmp_path / "large.mp4", quiet=True)
    assert info(tmp_path / "large.mp4").height == 128


def test_what_denoises_photos_denoises_videos() -> None:
    with pytest.raises(SpecError, match="expected video with task 'upscale'"):
        pofx.fit(list(photos()), task="denoise", video=True, steps=2, quiet=True)


# -- noise averaged over frames ----------------------------------------------------------------------------------------


def taken(pixels: np.ndarray, share: np.ndarray) -> np.ndarray:
    return pixels


def test_noise_of_a_still_is_that_of_the_mean_of_its_frames() -> None:
    clean, rng = panned(1)[0], np.random.default_rng(0)
    clean = (40 + 0.68 * clean).round().astype(np.uint8)  # away from black and white, where noise is cut off
    loud = [(clean + 4 * rng.normal(size=clean.shape)).round().clip(0, 255).astype(np.uint8) for _ in range(6)]
    counts: list[np.ndarray] = []

    def heard(pixels: np.ndarray, share: np.ndarray) -> np.ndarray:
        counts.append((65535.0 / share) ** 2)
        return pixels

    made = list(averaged(loud, heard, 4.0))
    assert np.array_equal(made[0], loud[0])
    left = [float(np.sqrt(np.mean((x.astype(float) - clean) ** 2))) for x in made]
    assert left[5] < 0.65 * left[0]
    assert 2.0 < np.median(counts[-1]) <= 6.1  # r of the last mean


def test_where_frames_are_not_alike_nothing_is_averaged() -> None:
    one, two = panned(1)[0], load_sample_image("flower.jpg")[100:228, 200:360].copy()
    made = list(averaged([one, two], taken, 4.0))
    assert np.abs(made[1].astype(int) - two).mean() < 1


def test_a_share_of_the_noise_is_that_of_each_pixel() -> None:
    model = fitted("denoise").restorer
    wide = noisy().astype(np.uint16) * 257
    whole = np.full(wide.shape[:2], 65535, np.uint16)
    half = whole // 2
    told = denoise(model, wide, (25.0, 0.0), How())
    assert np.abs(denoise(model, wide, (25.0, 0.0), How(), share=whole).astype(int) - told).max() <= 2
    other = denoise(model, wide, (12.5, 0.0), How())
    assert np.abs(denoise(model, wide, (25.0, 0.0), How(), share=half).astype(int) - other).max() <= 40
    both = whole.copy()
    both[:, : wide.shape[1] // 2] //= 2
    mixed, tiled = (denoise(model, wide, (25.0, 0.0), How(tile=t), share=both) for t in (512, 64))
    assert np.abs(mixed.astype(int) - tiled).max() <= 257
    assert (
        np.abs(mixed[:, -20:].astype(int) - told[:, -20:]).max()
        < np.abs(mixed[:, :20].astype(int) - told[:, :20]).max()
    )


def test_a_noisy_video_is_cleaner_than_its_frames(clip: Path, tmp_path: Path) -> None:
    fitted("denoise").denoise(clip, sigma=10.0, path=tmp_path / "clean.mp4", quiet=True)
    assert info(tmp_path / "clean.mp4").frames == info(clip).frames
    clean, rng = panned(5), np.random.default_rng(0)
    loud = [(x + 25 * rng.normal(size=x.shape)).round().clip(0, 255).astype(np.uint8) for x in clean]
    model = fitted("denoise").restorer
    alone = [denoise(model, y, (25.0, 0.0), How()) for y in loud]
    both = list(averaged(loud, lambda y, share: denoise(model, y, (25.0, 0.0), How(), share=share), 25.0))
    assert psnr(both[-1], clean[-1]) > psnr(alone[-1], clean[-1]) + 0.3
    assert error(both) < error(alone)
