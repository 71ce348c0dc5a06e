"""What the command line does with codes of examples: compress, decompress, interpolate."""

import argparse
from typing import Any

from .cli_places import target_at, written
from .errors import PofxError


def compress(told: argparse.Namespace) -> str:
    """pofx compress"""
    from .bundle import load

    length = _images_of(load(told.model)).compress(told.input, told.output)
    return f"wrote {told.output}: {length}"


def decompress(told: argparse.Namespace) -> str:
    """pofx decompress"""
    from .bundle import load

    images = _images_of(load(told.model)).decompress(told.input, out=told.output)
    return f"wrote {images:,} images to {told.output}"


def _images_of(fitted: Any) -> Any:
    if not hasattr(fitted, "compress"):
        raise PofxError("expected a model of images, got one of a table: only images are compressed")
    return fitted


def interpolate(told: argparse.Namespace) -> str:
    """pofx interpolate"""
    from .bundle import load

    words = {"steps": told.steps, "allow_failed": told.allow_failed}
    rows = load(told.model).interpolate(told.first, told.second, path=target_at(told), **words)
    return f"wrote {rows:,} rows to {written(told)}"
