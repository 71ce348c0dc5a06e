"""The codec of images: pictures to channels of pixels and the code of a label, and back.

Images are one uint8 array (n, H, W, C); which files and arrays become what is in docs/images.md.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from ..errors import CodecError, SpecError
from ..fields import Category, Pixel
from ..spec import Block, Columns, Given, Spec
from . import conditions
from .columns import ColumnPlan
from .picture_io import Pictures
from .shades import Depth

NAMES = {1: ("grey",), 3: ("red", "green", "blue")}
LABEL = "label"


def _names(channels: int) -> tuple[str, ...]:
    return NAMES.get(channels) or tuple(f"channel {i + 1}" for i in range(channels))


class Labelling:
    """A codec whose examples may have a label, the condition named `label`; whole: whether labels are whole numbers."""

    spec: Spec
    whole: bool
    label = LABEL

    @property
    def levels(self) -> tuple[str, ...]:
        """The labels that were learned; none where they are no condition."""
        field = self.spec.condition.fields[0] if self.spec.condition else None
        return field.levels if isinstance(field, Category) else ()

    def kept(self, labels: np.ndarray | None) -> np.ndarray | None:
        """Labels, (n,), None in place of those that were not learned."""
        known = set(self.levels)
        return labels if labels is None else np.array([v if str(v) in known else None for v in labels], object)

    def codes(self, labels: Sequence[Any], *, strict: bool = False) -> np.ndarray:
        """The codes of labels, int32 (n,), as `encode` gives them."""
        code = {level: i for i, level in enumerate(self.levels)}
        new = sorted({str(label) for label in labels if label is not None} - set(code))
        if new and strict:
            shown = ", ".join(map(repr, self.levels[:20])) + (", ..." if len(self.levels) > 20 else "")
            raise CodecError(f"expected labels among {shown}, got {', '.join(map(repr, new[:8]))}: leave these out")
        return np.array([-1 if label is None else code.get(str(label), len(code)) for label in labels], np.int32)

    def labels(self, codes: np.ndarray) -> np.ndarray:
        """The labels of codes, object (n,): int or str, None where missing."""
        named = [int(level) if self.whole else level for level in self.levels]
        labels = np.empty(len(codes), object)
        labels[:] = [named[code] if 0 <= code < len(named) else None for code in codes]
        return labels

    def given(self, asked: Sequence[str] | Mapping[str, Any]) -> Given:
        """The set of labels that conditions mean, "label = 3" or {"label": [3, 5]}; several intersect.

        Raises CodecError for a label that was never seen, and where none is left.
        """
        import pyarrow as pa

        field = self.spec.condition.fields[0] if self.spec.condition else None
        plan = ColumnPlan(self.label, self.label, "category", "", pa.large_string(), field=field)
        out: Given = {}
        for term in conditions.terms(asked, [self.label]):
            allowed = conditions.allowed_by(plan, term)
            out[self.label] = conditions.both(out[self.label], allowed) if out else allowed
        if field is not None and out:
            try:
                field.allow(field.tokens(1, 1, whole=True), out[self.label])
            except SpecError as error:
                raise CodecError(str(error)) from error
        return out


class ImageCodec(Labelling):
    """How images become a block of pixels, their labels a condition, and back.

    spec: channels over H x W, and the field `label` where it is the condition; like: the kind of what was read; whole:
    whole numbers; deep: whether grey ones have an axis of one channel; depth: which values the shades stand for, if
    others than they are.
    """

    kind = "image"

    def __init__(
        self, spec: Spec, like: str = "array", whole: bool = False, deep: bool = False, depth: Depth | None = None
    ) -> None:
        self.spec, self.like, self.whole, self.deep, self.depth = spec, like, whole, deep, depth

    @classmethod
    def learn(cls, pictures: Pictures, like: str = "array") -> Self:
        """The codec of pictures: of two shades where there are no others, else of 256; their labels are the condition.

        Raises CodecError for fewer than two images, or where all labels are missing.
        """
        images = pictures.images
        if len(images) < 2:
            raise CodecError(f"expected two images or more to learn from, got {len(images)}")
        top = 1 if pictures.depth is None and images.max() <= 1 else 255
        channels = (np.ascontiguousarray(images[..., i]) for i in range(images.shape[3]))
        fields = tuple(Pixel.learn(name, v, top=top) for name, v in zip(_names(images.shape[3]), channels, strict=True))
        block = Block("image", fields, images.shape[1:3])
        if pictures.labels is None:
            return cls(Spec((block,)), like, deep=pictures.deep, depth=pictures.depth)
        label = Spec((Block(LABEL, (label_field(pictures.labels),)),))
        whole = all(isinstance(value, int) for value in pictures.labels if value is not None)
        return cls(Spec((block,), label), like, whole, pictures.deep, pictures.depth)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        height, width = (side or 0 for side in self.spec.blocks[0].sites)
        return height, width, len(self.spec.fields)

    def encode(self, pictures: Pictures, *, strict: bool = False) -> Columns:
        """Channels by name, uint8 (n, H, W), and the codes of labels, int32 (n,), -1 where missing.

        A label never seen gets the code after the last one, or with `strict` raises CodecError, as do images of another
        size, number of channels or depth.
        """
        images = pictures.images
        if pictures.depth not in (None, self.depth):
            low, high, dtype = pictures.depth
            raise CodecError(
                f"expected shades of 8 bits, as were learned, got {low:g} to {high:g} ({dtype}): scale them"
            )
        if images.shape[1:] != self.shape:
            raise CodecError(f"expected images of {self.shape} (height, width, channels), got {images.shape[1:]}")
        x = {f.name: np.ascontiguousarray(images[..., i]) for i, f in enumerate(self.spec.fields)}
        if not self.levels:
            return x
        labels = [None] * len(images) if pictures.labels is None else pictures.labels.tolist()
        return x | {LABEL: self.codes(labels, strict=strict)}

    def decode(self, x: Columns) -> Pictures:
        """Pictures of channels by name, and of codes of labels where there are such."""
        images = np.stack([x[f.name] for f in self.spec.fields], -1)
        return Pictures(images, self.labels(x[LABEL]) if LABEL in x else None, self.deep, self.depth)

    def to_json(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Plain values and arrays that rebuild the codec."""
        header, arrays = self.spec.split()
        meta = {"kind": self.kind, "spec": header, "like": self.like, "whole": self.whole, "deep": self.deep}
        return meta | ({"depth": list(self.depth)} if self.depth else {}), arrays

    @classmethod
    def from_json(cls, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """What `to_json` gave."""
        depth = Depth(*meta["depth"]) if "depth" in meta else None
        whole, deep = meta.get("whole", False), meta.get("deep", False)
        return cls(Spec.join(meta["spec"], arrays), meta["like"], whole, deep, depth)


def label_field(labels: np.ndarray, name: str = LABEL) -> Category:
    """The field of labels, the frequent ones first; a missing one is a label that nobody saw."""
    counts = Counter(str(label) for label in labels if label is not None)
    if not counts:
        raise CodecError("expected some training examples with a label, got none: label more of them, or leave it out")
    levels = tuple(sorted(counts, key=lambda level: (-counts[level], level)))
    code = {level: i for i, level in enumerate(levels)}
    codes = np.array([-1 if label is None else code[str(label)] for label in labels], np.int32)
    return Category.learn(name, codes, levels).seen_alone()
