"""How much a restoration gives back: PSNR of enlarged and cleaned pictures, beside bicubic, BM3D and published rows.

    make bench-restore
    python benchmarks/restore.py --runs "x2" "noise" --minutes 60 --seeds 0

x2, x4: Set5 from its luma scaled down by 2 or 4, a network of 130,000 parameters learned from Train400 and T91 (`x2,
ten pictures`: from the first ten of Train400). Protocol: BT.601 luma in double precision, sides cut to multiples of the
scale, scaled down by Pillow's bicubic in float and rounded; PSNR of rounded luma, as many pixels as the scale cut off
at each side. noise: Set12 with Gaussian noise of deviation 15, 25 and 50 (one draw, not clipped), one network for all
levels that is told the level, learned from Train400; `noise, noisy alone`: from Train400 with noise of 25, never a
clean picture. PSNR of whole pictures, cut to [0, 255]. Beside: bicubic, and BM3D and non-local means (scikit-image) of
the same noisy pictures with the same level. minutes are CPU-minutes of the fit.

general: the models that come with pofx, on all of these. video: 24 frames of three clips, scaled down by 2 and enlarged
by bicubic, by the general model frame by frame, mixed with the frame before, and with what was learned of it; and with
noise of 25 put on them, cleaned frame by frame and averaged over frames: PSNR of luma, and the warping error in shades,
the root of the mean square (the frames themselves have one too). The whole of the first clip, scaled down and enlarged
as files, must keep frames, seconds and the bytes of its sound. 100 megapixels: a photo of 10,000 x 10,000 pixels
without its noise, in a process of its own: its peak memory.
"""

import hashlib
import io
import itertools
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from autoencoders import HERE, fit_batches
from pofx.codecs.photos import PhotoCodec, Photos
from pofx.codecs.video import frames, info, rewrite
from pofx.fitted_photos import general
from pofx.models import create
from pofx.models.restorer import Restorer
from pofx.nn.motion import warping_error
from pofx.restore import How, carrying, denoise
from pofx.restore_video import averaged, steadied
from pofx.restoring import luma_of
from record import asking, measure
from splits import data_root

LEVELS = (15, 25, 50)
RUNS: dict[str, dict[str, Any]] = {
    "x2": {"model": "upscaler", "scale": 2},
    "x4": {"model": "upscaler", "scale": 4},
    "x2, ten pictures": {"model": "upscaler", "scale": 2},
    "noise": {"model": "denoiser"},
    "noise, 150,000 parameters": {"model": "denoiser", "width": 16},
    "noise, noisy alone": {"model": "denoiser", "known": "gaussian"},
}
BESIDE = ("bicubic", "BM3D", "non-local means")
USED = ("general", "video", "100 megapixels")
CLIPS, FIRST, FRAMES = ("bigbuckbunny", "car-detection", "bottle-detection"), 40, 24
VIDEO_NOISE = 25.0
SIDE, NOISE = 10_000, 10.0
PUBLISHED = {  # PSNR, as printed by their authors or in the README of DnCNN
    "x2": {"SRCNN": 36.66, "FSRCNN": 37.00, "VDSR": 37.53},
    "x4": {"SRCNN": 30.48, "FSRCNN": 30.71, "VDSR": 31.35},
    "noise 25": {"BM3D": 29.97, "DnCNN, blind": 30.36},
}
PACKAGES = ("torch", "pillow", "bm3d", "scikit-image")


def zipped(path: Path) -> list[np.ndarray]:
    """The pictures of a zip, (H, W, C)."""
    with zipfile.ZipFile(path) as held:
        names = sorted(n for n in held.namelist() if n.lower().endswith((".png", ".bmp")))
        pictures = [np.asarray(Image.open(io.BytesIO(held.read(name)))) for name in names]
    return [p if p.ndim == 3 else p[..., None] for p in pictures]


def folder(path: Path) -> list[np.ndarray]:
    pictures = [np.asarray(Image.open(file)) for file in sorted(path.glob("*.png"))]
    return [p if p.ndim == 3 else p[..., None] for p in pictures]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


def luma(picture: np.ndarray) -> np.ndarray:
    """BT.601 luma (H, W) in double precision."""
    v = picture.astype(float)
    return 16 + (v @ np.array([65.481, 128.553, 24.966]) if v.shape[2] == 3 else 219 * v[..., 0]) / 255


def small(y: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """(luma cut to multiples of the scale, the same scaled down and rounded)."""
    height, width = (side // scale * scale for side in y.shape)
    y = y[:height, :width]
    low = Image.fromarray(y.astype(np.float32), mode="F").resize((width // scale, height // scale), Image.BICUBIC)
    return y, np.asarray(low).round().clip(0, 255)


def enlarged(large: Any, scale: int) -> dict[str, float]:
    """PSNR on Set5 and seconds a megapixel of what `large` makes of small luma."""
    out, spent, pixels = [], 0.0, 0
    for picture in folder(data_root() / "sr_set5"):
        y, low = small(luma(picture), scale)
        began = time.process_time()
        x = large(low)
        spent, pixels = spent + time.process_time() - began, pixels + x.size
        inner = (slice(scale, -scale), slice(scale, -scale))
        out.append(psnr(x.round().clip(0, 255)[inner], y[inner]))
    return {"psnr": statistics.mean(out), "megapixels_a_second": pixels / 1e6 / spent}


def cleaned(clean: Any, level: int, seed: int) -> dict[str, float]:
    """PSNR on Set12 and seconds a picture of what `clean` makes of noisy pictures."""
    out, spent, count = [], 0.0, 0
    for i, picture in enumerate(folder(data_root() / "denoise_set12")):
        x = picture[..., 0].astype(float)
        y = x + level * np.random.default_rng([seed, level, i]).normal(size=x.shape)
        began = time.process_time()
        out.append(psnr(clean(y, level).clip(0, 255), x))
        spent, count = spent + time.process_time() - began, count + 1
    return {"psnr": statistics.mean(out), "seconds_a_picture": spent / count}


def learned(words: str, seed: int, minutes: float) -> tuple[Restorer, dict[str, Any]]:
    config = dict(RUNS[words])
    name = config.pop("model")
    grey = zipped(data_root() / "denoise_train400" / "Train400.zip")
    more: list[list[np.ndarray]] = []
    if name == "upscaler":
        grey = grey[:10] if "ten" in words else grey + zipped(data_root() / "sr_t91" / "yang91.zip")
        grey = [luma_of(p) for p in grey]
    elif "alone" in words:
        rng = np.random.default_rng(1000 + seed)
        grey = [(p + 25 * rng.normal(size=p.shape)).astype(np.float32) for p in grey]
        more = [[np.full_like(p, 25.0) for p in grey]]
    codec = PhotoCodec.learn(Photos(tuple(np.clip(p, 0, 255).astype(np.uint8) for p in grey), (), "array"))
    model = create(name, codec.spec, seed, **config)
    assert isinstance(model, Restorer)
    few = max(1, len(grey) // 20)  # pictures that a fit is watched on, and stops by where it only overfits
    pieces, aside = (model.pieces(*(own[part] for own in (grey, *more))) for part in (slice(few, None), slice(few)))
    watched = tuple(t[:: max(1, len(t) // 32)][:32] for t in aside)
    told = fit_batches(model, pieces, watched, minutes, seed)
    count = sum(p.numel() for p in model.means.parameters())
    return model, told | {"parameters": count}


def beside(words: str, seed: int) -> list[dict[str, Any]]:
    if words == "bicubic":
        rows = []
        for scale in (2, 4):

            def large(low: np.ndarray, scale: int = scale) -> np.ndarray:
                sides = (low.shape[1] * scale, low.shape[0] * scale)
                return np.asarray(Image.fromarray(low.astype(np.float32), mode="F").resize(sides, Image.BICUBIC))

            rows.append({"figure": f"x{scale}"} | enlarged(large, scale))
        return rows
    if words == "BM3D":
        from bm3d import bm3d

        return [{"figure": f"noise {s}"} | cleaned(lambda y, s: bm3d(y, s), s, seed) for s in LEVELS]
    from skimage.restoration import denoise_nl_means

    def nl(y: np.ndarray, s: int) -> np.ndarray:
        return denoise_nl_means(y, patch_size=5, patch_distance=11, h=0.6 * s, sigma=s, fast_mode=True)

    return [{"figure": f"noise {s}"} | cleaned(nl, s, seed) for s in LEVELS]


def enlarging(model: Restorer, scale: int, turned: bool = False) -> list[dict[str, Any]]:
    def large(low: np.ndarray) -> np.ndarray:
        y = torch.from_numpy(low.astype(np.float32) / 255)[None, None]
        return model.restored(y, y.new_zeros(1, 0), scale, turned=turned)[0, 0].numpy() * 255

    return [{"figure": f"x{scale}" + ", eight ways" * turned} | enlarged(large, scale)]


def cleaning(model: Restorer, levels: Sequence[int], seed: int) -> list[dict[str, Any]]:
    def clean(y: np.ndarray, s: int) -> np.ndarray:
        v = torch.from_numpy(y.astype(np.float32) / 255)[None, None].expand(-1, model.channels, -1, -1)
        return model.restored(v, torch.tensor([[s / 255, 0.0]]))[0].mean(0).numpy() * 255

    return [{"figure": f"noise {s}"} | cleaned(clean, s, seed) for s in levels]


def video() -> list[dict[str, Any]]:
    up, clean = general("upscale"), general("denoise")
    rows = [row for clip in CLIPS for row in one_clip(up, clean, clip)]
    return [*rows, whole_clip(up, data_root() / "video_clips" / f"{CLIPS[0]}.mp4")]


def one_clip(up: Any, clean: Any, clip: str) -> list[dict[str, Any]]:
    """Some frames of a clip made small, or noisy, and restored."""
    path = data_root() / "video_clips" / f"{clip}.mp4"
    large = [
        f[: f.shape[0] // 2 * 2, : f.shape[1] // 2 * 2] for f in itertools.islice(frames(path), FIRST, FIRST + FRAMES)
    ]
    small_ones, rng = [resized(frame, 0.5) for frame in large], np.random.default_rng(0)
    loud = [(x + VIDEO_NOISE * rng.normal(size=x.shape)).round().clip(0, 255).astype(np.uint8) for x in large]
    how, level = How(), (VIDEO_NOISE, 0.0)

    def enlarge(frame: np.ndarray) -> np.ndarray:
        return up.upscale(frame, scale=2, quiet=True)

    def steady(carry: Any) -> Any:
        return lambda came: steadied(came, enlarge, 2, carry)

    def average(came: Any) -> Any:
        return averaged(came, lambda y, share: denoise(clean.restorer, y, level, how, share=share), VIDEO_NOISE)

    made = restored_frames(
        f"{clip} x2", large, small_ones,
        {
            "bicubic": lambda came: (resized(frame, 2) for frame in came),
            "frame by frame": lambda came: map(enlarge, came),
            "mixed with the frame before": steady(None),
            "with what is learned of it": steady(carrying(up.restorer, 2, how)),
        },
    )  # fmt: skip
    return made + restored_frames(
        f"{clip} noise {VIDEO_NOISE:g}", large, loud,
        {
            "frame by frame": lambda came: (clean.denoise(frame, sigma=VIDEO_NOISE, quiet=True) for frame in came),
            "averaged over frames": average,
        },
    )  # fmt: skip


def restored_frames(
    figure: str, large: list[np.ndarray], came: list[np.ndarray], ways: dict[str, Any]
) -> list[dict[str, Any]]:
    """PSNR of all frames but the first, warping errors and seconds of ways to restore frames."""
    rows = []
    for name, way in {"the frames themselves": None, **ways}.items():
        began = time.process_time()
        own = large if way is None else list(way(came))
        seconds = (time.process_time() - began) / len(came)
        errors = (
            [psnr(luma(a).round(), luma(b)) for a, b in zip(own[1:], large[1:], strict=True)] if way else [math.nan]
        )
        tensor = torch.from_numpy(np.stack(own)).permute(0, 3, 1, 2).float() / 255
        row = {"figure": f"{figure}, {name}", "psnr": statistics.mean(errors), "seconds_a_picture": seconds}
        rows.append(row | {"warping": 255 * math.sqrt(warping_error(tensor))})
    return rows


def whole_clip(model: Any, path: Path) -> dict[str, Any]:
    """The clip as files: scaled down, enlarged again; what stayed."""
    with tempfile.TemporaryDirectory() as folder:
        small_clip, again = Path(folder) / "small.mp4", Path(folder) / "again.mp4"
        rewrite(path, small_clip, lambda own: (resized(frame, 0.5) for frame in own), quiet=True)
        began = time.process_time()
        model.upscale(small_clip, scale=2, path=again, quiet=True)
        came, made = info(path), info(again)
        same = sound(path) == sound(again)
        return {"figure": "video x2, whole clip", "psnr": math.nan, "frames": [came.frames, made.frames],
                "seconds": [came.seconds, made.seconds], "same sound": same,
                "seconds_a_picture": (time.process_time() - began) / made.frames}  # fmt: skip


def sound(path: Path) -> str:
    import av

    with av.open(str(path)) as clip:
        return hashlib.sha256(b"".join(bytes(p) for p in clip.demux(clip.streams.audio[0]) if p.size)).hexdigest()


def resized(frame: np.ndarray, times: float) -> np.ndarray:
    sides = (round(frame.shape[1] * times), round(frame.shape[0] * times))
    return np.asarray(Image.fromarray(frame).resize(sides, Image.BICUBIC))


def large_photo() -> dict[str, Any]:
    """A photo of 100 megapixels denoised by the command line, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        came, made = Path(folder) / "large.png", Path(folder) / "clean.png"
        tile = folder_of_kodak()
        times = [-(-SIDE // side) for side in tile.shape[:2]]
        photo = np.tile(tile, (*times, 1))[:SIDE, :SIDE]
        Image.fromarray(photo).save(came, compress_level=1)
        del photo
        code = (
            "import sys, resource\nfrom pofx.cli import main\nfrom record import peak_mib\n"
            f"rc = main(['denoise', {str(came)!r}, '-o', {str(made)!r}, '--sigma', '{NOISE}', '--quiet'])\n"
            "print(rc, peak_mib(), resource.getrusage(resource.RUSAGE_SELF).ru_utime)"
        )
        words = [sys.executable, "-c", code]
        path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
        told = subprocess.run(words, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": path})
        rc, mib, seconds = (float(word) for word in told.stdout.split())
        assert rc == 0
        return {"figure": "100 megapixels", "psnr": math.nan, "peak_mib": mib, "megapixels_a_second": 100 / seconds}


def folder_of_kodak() -> np.ndarray:
    return folder(data_root() / "kodak")[0]


def run(words: str, seed: int, minutes: float) -> dict[str, Any]:
    row: dict[str, Any] = {"run": words, "seed": seed, "minutes": minutes}
    if words in BESIDE:
        return row | {"figures": beside(words, seed)}
    if words == "general":
        up, clean = general("upscale").restorer, general("denoise").restorer
        figures = [f for scale in (2, 4) for f in enlarging(up, scale)] + cleaning(clean, LEVELS, seed)
        return row | {"figures": figures}
    if words in USED:
        return row | {"figures": video() if words == "video" else [large_photo()]}
    model, told = learned(words, seed, minutes)
    levels = (25,) if "alone" in words else LEVELS
    if model.name == "upscaler":
        figures = [f for turned in (False, True) for f in enlarging(model, model.scales[0], turned)]
    else:
        figures = cleaning(model, levels, seed)
    return row | told | {"figures": figures}


def printed(rows: list[dict[str, Any]]) -> str:
    """A line a figure and run: PSNR, medians over seeds; published rows below."""
    lines = ["| figure | by | seeds | parameters | CPU s | PSNR, dB | speed |", "|---" * 7 + "|"]
    names = dict.fromkeys(f["figure"] for row in rows for f in row["figures"])
    for name in names:
        for words in dict.fromkeys(row["run"] for row in rows):
            own = [(row, f) for row in rows if row["run"] == words for f in row["figures"] if f["figure"] == name]
            if not own:
                continue
            row, values = own[0][0], [f["psnr"] for _, f in own]
            first = own[0][1]
            speed = (
                f"{first['megapixels_a_second']:.2f} MP/s" if "megapixels_a_second" in first
                else f"{first['seconds_a_picture']:.2f} s a picture"
            )  # fmt: skip
            speed += f", {first['peak_mib']:,.0f} MiB" if "peak_mib" in first else ""
            speed += f", warping error {first['warping']:.2f}" if "warping" in first else ""
            if "same sound" in first:
                kept = "kept" if first["same sound"] else "LOST"
                speed += f", frames {first['frames']}, seconds {first['seconds']}, sound {kept}"
            by = words if words in BESIDE else f"pofx, {words}"
            count = f"{row['parameters']:,}" if "parameters" in row else ""
            spent = f"{row['cpu_seconds']:.0f}" if "cpu_seconds" in row else ""
            spread = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
            middle = "" if math.isnan(values[0]) else f"{statistics.median(values):.2f}{spread}"
            lines.append(f"| {name} | {by} | {len(own)} | {count} | {spent} | {middle} | {speed} |")
        for who, value in PUBLISHED.get(name, {}).items():
            lines.append(f"| {name} | published: {who} | | | | {value:.2f} | |")
    return "\n".join(lines)


def main() -> None:
    ask = asking(__doc__, HERE / "results" / "restore.json")
    ask.set_defaults(seeds=[0])
    ask.add_argument("--runs", nargs="+", default=[*BESIDE, *RUNS, *USED], choices=[*BESIDE, *RUNS, *USED])
    ask.add_argument("--minutes", type=float, default=60.0)
    told = ask.parse_args()
    torch.set_num_threads(told.threads)
    jobs = ((words, seed, told.minutes if words in RUNS else 0.0) for seed in told.seeds for words in told.runs)
    measure(told, ("run", "seed", "minutes"), jobs, run, printed, PACKAGES)


if __name__ == "__main__":
    main()
