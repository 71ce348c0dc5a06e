"""`FittedImages`: a model of images, and the verbs on arrays, files and folders of them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import store
from .bundle import Fitted
from .codecs.image import ImageCodec, fingerprint, read_images, write_images
from .codecs.tabular_io import to_frame
from .codecs.writing import write_table
from .compression import Compressor
from .errors import CodecError, SpecError, Unsupported
from .models.variational import Variational
from .spec import Columns, Given
from .split import parts

COMPRESSED = "compressed"


class FittedImages(Fitted):
    """A fitted model of images.

    What comes out is an array, uint8 (n, H, W), or (n, H, W, 3) in colour, or goes to .npz, .npy, a sheet (.png) or a
    folder.
    """

    codec: ImageCodec

    def _shape(self) -> str:
        height, width, channels = self.codec.shape
        return f"images of {height} x {width} x {channels}"

    def _given(self, given: Sequence[str] | str | Mapping[str, Any] | None) -> Given | None:
        if given:
            raise Unsupported("images are not sampled under conditions: leave given out")
        return None

    def _made(self, x: Columns, first: int, plain: bool = False) -> np.ndarray:
        return self.codec.decode(x)

    def _joined(self, rows: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(rows)

    def _written(self, rows: Iterable[np.ndarray], path: str | Path) -> int:
        return write_images(self._joined(list(rows)), Path(path), self._top)

    def _out(self, rows: np.ndarray, kind: str) -> np.ndarray:
        return rows[..., 0] if rows.shape[-1] == 1 else rows

    @property
    def _top(self) -> int:
        return int(getattr(self.codec.spec.fields[0], "top", 255))

    def _read(self, source: Any) -> tuple[np.ndarray, str, Columns, None]:
        size = self.provenance["reading"].get("size")
        images, kind = read_images(source, tuple(size) if size else None)
        if images.shape[-1] == 1 and self.codec.shape[-1] == 3:
            images = images.repeat(3, -1)
        return images, kind, self.codec.encode(images), None

    def learned_from(self, data: Any = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        source = data if data is not None else self.provenance["path"]
        if source is None:
            raise CodecError("the model was fitted on an array, which a bundle does not keep: give it again (--data)")
        size = self.provenance["reading"].get("size")
        images, _ = read_images(source, tuple(size) if size else None)
        if fingerprint(images) != self.provenance["fingerprint"]:
            raise CodecError("the images are not those that the model was fitted on: give those (--data)")
        took = parts(len(images), self.provenance["split"], self.provenance["seed"])
        return images[took[0]], images[took[1]], images[took[2]]

    def _extra(self, rows: np.ndarray, c: Columns | None) -> float:
        return 0.0

    def _beside(self, rows: np.ndarray, kind: str, told: dict[str, np.ndarray], path: str | Path | None) -> Any:
        import pyarrow as pa

        table = pa.table({"image": np.arange(len(rows))} | told)
        return write_table([table], path, like=None) if path is not None else to_frame(table, "pandas")

    def log_prob(self, source: Any, *, detail: bool = False, draws: int | None = None) -> Any:
        """log p of each image, float64 (n,), nats: a lower bound where the model only has one.

        detail: a frame with bits a dimension too (-log p / (D ln 2), D = H W C) and, for a bound of `draws` draws, its
        standard error and effective sample size. Raises Unsupported where the model has no likelihood, SpecError for
        grey pixels where the model has a law of black and white ones.
        """
        if "log_prob" not in self.model.abilities:
            raise self.model._cannot("log_prob")
        images, _, x, _ = self._read(source)
        more: dict[str, np.ndarray] = {}
        if isinstance(self.model, Variational):
            bound = self.model.bound(x, draws=draws)
            value = bound.value
            more = {"error": bound.error, "effective_size": bound.size, "draws": np.full(len(value), bound.draws)}
        else:
            value = self.model.log_prob(x)
        if not detail:
            return value
        bits = -value / (np.prod(self.codec.shape) * np.log(2))
        return self._beside(images, "array", {"log_prob": value, "bits_per_dim": bits} | more, None)

    def compress(self, source: Any, path: str | Path) -> float:
        """Writes the images to a file as short as the model's bound says; bits a dimension of the file.

        Raises Unsupported where the model does not compress (compression.py), SpecError for grey pixels under a law of
        black and white ones.
        """
        store.check_folder(Path(path))
        images, _, x, _ = self._read(source)
        words = Compressor(self.model).compress(x)
        store.write(path, COMPRESSED, {"shape": list(self.codec.shape)}, {"words": words})
        return 8 * Path(path).stat().st_size / images.size

    def decompress(self, path: str | Path, *, out: str | Path | None = None) -> Any:
        """The images of a file that `compress` of the same model wrote, exactly.

        Raises BadFile for another file, SpecError for one of images of another size.
        """
        header, arrays = store.read(path, COMPRESSED)
        if tuple(header["shape"]) != self.codec.shape:
            raise SpecError(f"expected a file of images of {self.codec.shape}, got {tuple(header['shape'])}")
        images = self.codec.decode(Compressor(self.model).decompress(arrays["words"]))
        return self._written([images], out) if out is not None else self._out(images, "array")

    def score(self, source: Any, *, path: str | Path | None = None) -> Any:
        """The figures of `log_prob(detail=True)`, as a frame or a file."""
        told = self.log_prob(source, detail=True)
        return write_table([_arrow(told)], path, like=None) if path is not None else told


def _arrow(frame: Any) -> Any:
    import pyarrow as pa

    return pa.Table.from_pandas(frame, preserve_index=False)
