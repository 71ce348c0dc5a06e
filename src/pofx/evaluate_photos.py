"""Evidence on a model that restores photos: PSNR of unseen ones at both ends of realism, beside doing little."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from . import corrupt
from .evaluate_images import BLURS, ImageEvidence, Sheet
from .metrics.likelihood import mean_error
from .models.restorer import Restorer
from .restore import How, denoise, upscale

LEVELS = (15, 25, 50)  # of the noise that is put on clean photos
SIDE = 192  # of the middle of each photo that is looked at
SHOWN = 4  # photos of a sheet
Spoiled = tuple[str, np.ndarray, Callable[[How], np.ndarray], dict[str, np.ndarray]]
"""What was done, what came, the restoration, and what stands beside it by name."""


def evaluate_photos(
    model: Restorer, photos: Sequence[np.ndarray], texture: bool, seed: int, hear: Callable[[int], None]
) -> ImageEvidence:
    """PSNR, in decibels, of the middles of clean photos (H, W, C) that were scaled down, or got noise whose level the
    model is told, and were restored; beside bicubic, or the photo as it came and the best Gaussian blur of it.

    With texture at realism 0, the least error, and 1, a draw of what clean photos look like. `hear` is told of each
    photo that is done.
    """
    errors: dict[str, list[float]] = {}
    rough: dict[str, list[float]] = {}
    sheets: dict[str, list[np.ndarray]] = {}
    ends = {"realism 0": How(0.0, seed), "realism 1": How(1.0, seed)} if texture else {"restored": How(0.0, seed)}
    for number, photo in enumerate(photos):
        x = _middle(photo, model)
        for what, came, restored, beside in _spoilings(model, x, seed + number):
            made = beside | {end: restored(how) for end, how in ends.items()}
            for name, picture in made.items():
                errors.setdefault(f"{what}, {name}", []).append(float(np.mean((picture.astype(float) - x) ** 2)))
                rough.setdefault(name, []).append(_roughness(picture) / max(_roughness(x), 1e-9))
            if number < SHOWN:
                for name, picture in ({"clean": x, "as it came": _large(came, x)} | _only(made, ends)).items():
                    sheets.setdefault(f"{what}: {name}", []).append(picture)
        hear(1)
    evidence = ImageEvidence([], rows={"unseen": len(photos)})
    evidence.cleaning = {name: _row(np.array(own)) for name, own in errors.items()}
    evidence.words = _words(errors, rough, ends)
    evidence.sheets = [Sheet(name, _stacked(own), SHOWN) for name, own in sheets.items()]
    return evidence


def _only(made: dict[str, np.ndarray], ends: dict[str, How]) -> dict[str, np.ndarray]:
    return {name: made[name] for name in ends}


def _middle(photo: np.ndarray, model: Restorer) -> np.ndarray:
    """The middle of a photo, at most SIDE pixels a side, cut to what the scales divide."""
    unit = int(np.lcm.reduce(list(model.scales)))
    sides = [min(side, SIDE) // unit * unit for side in photo.shape[:2]]
    i, j = ((whole - side) // 2 for whole, side in zip(photo.shape[:2], sides, strict=True))
    return photo[i : i + sides[0], j : j + sides[1]]


def _spoilings(model: Restorer, x: np.ndarray, seed: int) -> Iterator[Spoiled]:
    v = torch.from_numpy(x.astype(np.float32) / 255).permute(2, 0, 1)[None]
    if model.name == "upscaler":
        for scale in model.scales:
            y = _shades(corrupt.downsample(v, scale))
            large = _shades(corrupt.upsample(corrupt.downsample(v, scale), scale))
            yield f"x{scale}", y, lambda how, y=y, s=scale: upscale(model, y, s, how), {"bicubic": large}  # type: ignore[misc]
        return
    for level in LEVELS:
        rng = np.random.default_rng([seed, level])
        y = np.clip(np.rint(x + level * rng.normal(size=x.shape)), 0, 255).astype(np.uint8)
        w = torch.from_numpy(y.astype(np.float32) / 255).permute(2, 0, 1)[None]
        best = min(BLURS, key=lambda width, w=w: float((corrupt.blur(w, width) - v).square().mean()))  # type: ignore[misc]
        beside = {"as it came": y, "best blur": _shades(corrupt.blur(w, best))}
        yield f"noise {level}", y, lambda how, y=y, s=level: denoise(model, y, (float(s), 0.0), how), beside  # type: ignore[misc]


def _shades(v: torch.Tensor) -> np.ndarray:
    return (v[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def _large(came: np.ndarray, x: np.ndarray) -> np.ndarray:
    """What came, each pixel as large as it is in x."""
    times = x.shape[0] // came.shape[0]
    return came.repeat(times, 0).repeat(times, 1)


def _roughness(picture: np.ndarray) -> float:
    """The mean square of differences of neighbours."""
    p = picture.astype(float)
    return float(np.square(np.diff(p, axis=0)).mean() + np.square(np.diff(p, axis=1)).mean())


def _row(mse: np.ndarray) -> dict[str, float]:
    psnr, own = 10 * np.log10(255**2 / np.maximum(mse, 1e-6)), mse / 255**2
    return {"psnr": float(psnr.mean()), "psnr error": mean_error(psnr), "mse": float(own.mean()),
            "mse error": mean_error(own)}  # fmt: skip


def _words(errors: dict[str, list[float]], rough: dict[str, list[float]], ends: dict[str, How]) -> list[str]:
    least = next(iter(ends))
    whats = dict.fromkeys(name.partition(",")[0] for name in errors)
    gains = {}
    for what in whats:
        others = [name for name in errors if name.startswith(f"{what},") and name.partition(", ")[2] not in ends]
        best = max(_row(np.array(errors[name]))["psnr"] for name in others)
        gains[what] = _row(np.array(errors[f"{what}, {least}"]))["psnr"] - best
    verb = "beats" if min(gains.values()) > 0 else "loses to"
    shown = ", ".join(f"{gain:+.2f} dB ({what})" for what, gain in gains.items())
    words = [f"The model {verb} the simple ways on unseen photos: {shown}."]
    if len(ends) > 1:
        shares = {name: float(np.mean(rough[name])) for name in ends}
        told = ", ".join(f"{share:.0%} at {name}" for name, share in shares.items())
        words.append(
            f"Of the differences between neighbouring pixels that clean photos have, restored ones have {told}."
        )
    return words


def _stacked(pictures: list[np.ndarray]) -> np.ndarray:
    """Pictures of several sizes, cut to the least, (n, H, W, C)."""
    height, width = (min(p.shape[k] for p in pictures) for k in (0, 1))
    return np.stack([p[:height, :width] for p in pictures])
