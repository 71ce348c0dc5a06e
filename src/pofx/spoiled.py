"""Verbs of a model of images on spoiled ones: complete hidden pixels, take noise off, enlarge (posterior.py)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import store
from .bundle import Fitted
from .codecs.image import ImageCodec
from .codecs.picture_io import Pictures, read_images, words_of
from .errors import CodecError, SpecError
from .posterior import CHAINS, DRAWS, Hidden, Noisy, Operator, Restored, Shrunk, restored
from .progress import bar
from .spec import Columns

HALVES = ("lower", "upper", "left", "right")
SHADES = 255
MANY = 32  # chains at most where labels are missing: two for each label


class Spoiled(Fitted):
    """What `FittedImages` can do with images of which something was lost."""

    codec: ImageCodec

    @property
    def _top(self) -> int:
        return int(getattr(self.codec.spec.fields[0], "top", SHADES))

    def _hidden(
        self, source: Any, hidden: Any, draws: int | None, seed: int | None, path: Any, quiet: bool, allow_failed: bool
    ) -> Any:
        """The images with their hidden pixels filled: `complete`."""
        pictures, kind, y = self._spoiled(source, 1)
        if pictures.images.max(initial=0) > self._top:
            raise SpecError(f"expected pixels from 0 to {self._top}, got {pictures.images.max()}: draw grey ones once")
        mask = masked(hidden, self.codec.shape[:2], len(pictures))
        return self._made_of(pictures, kind, y, Hidden(torch.from_numpy(mask)), 0.0, draws, seed, path, quiet,
                             allow_failed)  # fmt: skip

    def denoise(
        self,
        source: Any,
        *,
        sigma: float | None = None,
        draws: int | None = None,
        seed: int | None = 0,
        path: str | Path | None = None,
        quiet: bool = False,
        allow_failed: bool = False,
    ) -> Any:
        """The images without Gaussian noise of deviation `sigma`, shades of 255: E[x|y], or `draws` draws of p(x|y) of
        each, all images after one another for each draw.

        Without sigma, what a model that was trained to denoise (`denoising`) makes of them. Raises Unsupported for a
        model that can do neither, SpecError for a sigma that is not above 0 or draws below 1, Failed where the fit did.
        """
        if sigma is None and ("restore" in self.model.abilities or "posterior" not in self.model.abilities):
            return super().denoise(source, path=path)
        if not (isinstance(sigma, int | float) and 0 < sigma < float("inf")):
            raise SpecError(f"expected a sigma above 0, the deviation of the noise in shades of 255, got {sigma}")
        pictures, kind, y = self._spoiled(source, 1)
        return self._made_of(pictures, kind, y, Noisy(), sigma / SHADES, draws, seed, path, quiet, allow_failed)

    def upscale(
        self,
        source: Any,
        *,
        scale: int = 2,
        draws: int | None = None,
        seed: int | None = 0,
        path: str | Path | None = None,
        quiet: bool = False,
        allow_failed: bool = False,
    ) -> Any:
        """The images, `scale` times smaller than those that were learned, in their size; see `denoise`.

        Raises SpecError where the sides that were learned are no multiples of `scale`, CodecError for images of another
        size.
        """
        height, width, _ = self.codec.shape
        if scale < 2 or height % scale or width % scale:
            raise SpecError(f"expected a scale of 2 or more that divides {height} and {width}, got {scale}")
        pictures, kind, y = self._spoiled(source, scale)
        return self._made_of(pictures, kind, y, Shrunk(scale), 0.0, draws, seed, path, quiet, allow_failed)

    def _spoiled(self, source: Any, scale: int) -> tuple[Pictures, str, torch.Tensor]:
        """(pictures, kind of container, shades over their top (n, C, h, w)) of images `scale` times smaller.

        Of a model of black and white images, grey ones are shades of 255.
        """
        if "posterior" not in self.model.abilities:
            raise self.model._cannot("posterior")
        words = words_of(self.provenance["reading"]) | {"broken": "refuse"} | ({"size": None} if scale > 1 else {})
        pictures, kind = read_images(source, depth=self.codec.depth, **words)
        height, width, channels = self.codec.shape
        if pictures.images.shape[-1] == 1 and channels == 3:
            pictures = replace(pictures, images=pictures.images.repeat(3, -1))
        if pictures.images.shape[1:] != (shape := (height // scale, width // scale, channels)):
            small = f", {scale} times smaller than was learned" if scale > 1 else ""
            raise CodecError(
                f"expected images of {shape} (height, width, channels){small}, got {pictures.images.shape[1:]}"
            )
        top = self._top if pictures.images.max(initial=0) <= self._top else SHADES
        return pictures, kind, torch.from_numpy(pictures.images).permute(0, 3, 1, 2) / top

    def _made_of(
        self, pictures: Pictures, kind: str, y: torch.Tensor, operator: Operator, sigma: float, draws: int | None,
        seed: int | None, path: str | Path | None, quiet: bool, allow_failed: bool,
    ) -> Any:  # fmt: skip
        """Draws of p(x|y), or without `draws` their mean, as images or in a file."""
        self._trust(allow_failed)
        if path is not None:
            store.check_folder(Path(path))
        c, chains = self._labels_of_chains(pictures, self._seed(seed))
        with bar("restoring", len(y), "image", quiet) as tick:
            found = restored(
                self.model, y, operator, sigma, DRAWS if draws is None else draws, chains=chains, c=c,
                seed=self.last_seed, tick=tick,
            )  # fmt: skip
        made = [found.mean] if draws is None else list(found.draws)
        x = self._stored(torch.cat(made)) | (_likeliest(found, c, draws) if c else {})
        return self._given_out(x, kind, path)

    def _stored(self, x: torch.Tensor) -> Columns:
        shades = (x * self._top).round().to(torch.uint8).cpu().numpy()
        return {f.name: np.ascontiguousarray(shades[:, i]) for i, f in enumerate(self.codec.spec.fields)}

    def _labels_of_chains(self, pictures: Pictures, seed: int) -> tuple[dict[str, np.ndarray] | None, int]:
        """The label of each chain of each image, (chains n,), drawn from p(c) where it is missing; and how many chains.

        The draws of an image are spread evenly, so that likely labels have a chain at least.
        """
        if not self.joint:
            return None, CHAINS
        n, levels = len(pictures), len(self.codec.levels)
        labels = [None] * n if pictures.labels is None else pictures.labels.tolist()
        codes = self.codec.codes(labels, strict=True)
        chains = CHAINS if (codes >= 0).all() else max(CHAINS, min(2 * levels, MANY))
        field, rng = self.joint.fields[0], np.random.default_rng(seed)
        rising = np.cumsum(field.mass[:levels])
        spread = (np.arange(chains)[:, None] + rng.random((chains, n))) / chains
        drawn = np.searchsorted(rising / rising[-1], spread).clip(max=levels - 1)
        return {field.name: np.where(codes < 0, drawn, codes).astype(np.int32).ravel()}, chains


def masked(hidden: Any, sides: tuple[int, int], n: int) -> np.ndarray:
    """Which pixels are hidden, bool (H, W) or (n, H, W), of such an array, of `lower`, `upper`, `left` or `right`, the
    half that is hidden, or of a picture, whose bright pixels are.

    Raises CodecError for another size or no truth values, SpecError for another word and where nothing is known.
    """
    height, width = sides
    if isinstance(hidden, str) and hidden in HALVES:
        mask, tall = np.zeros(sides, bool), hidden in ("lower", "upper")
        part = {"lower": slice(height // 2, None), "upper": slice(0, (height + 1) // 2),
                "left": slice(0, (width + 1) // 2), "right": slice(width // 2, None)}[hidden]  # fmt: skip
        mask[(part, slice(None)) if tall else (slice(None), part)] = True
        return mask
    if isinstance(hidden, str | Path):
        mask = _picture(Path(hidden))
    else:
        mask = np.asarray(hidden)
    if mask.dtype != np.bool_:
        raise CodecError(f"expected a mask of truth values, true where hidden, got {mask.dtype}: give mask > 0")
    if mask.shape not in (sides, (n, *sides)):
        raise CodecError(f"expected a mask of {sides} or {(n, *sides)}, got {mask.shape}: one of the images' size")
    if mask.all(axis=(-2, -1)).any():
        raise SpecError("expected some pixels that are known of each image, got a mask that hides all: use sample")
    return mask


def _picture(path: Path) -> np.ndarray:
    """The bright pixels of a picture."""
    from PIL import Image, UnidentifiedImageError

    if not path.exists():
        raise SpecError(f"expected hidden among {', '.join(HALVES)} or a picture, got {str(path)!r}: check the path")
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("L")) > SHADES // 2
    except (OSError, UnidentifiedImageError) as error:
        raise CodecError(f"could not read a mask from {str(path)!r}: {error}") from error


def _likeliest(found: Restored, c: dict[str, np.ndarray], draws: int | None) -> dict[str, np.ndarray]:
    """The label of each draw, (draws n,), or the label of each image that weighs most in all, (n,)."""
    chains, n = found.log_weight.shape
    out = {}
    for name, codes in c.items():
        codes = codes.reshape(chains, n)
        if draws is not None:
            out[name] = np.take_along_axis(codes, found.chain.cpu().numpy(), 0).ravel()
            continue
        weight = np.zeros((codes.max() + 1, n))
        np.add.at(weight, (codes, np.arange(n)), found.log_weight.softmax(0).cpu().numpy())
        out[name] = weight.argmax(0).astype(np.int32)
    return out
