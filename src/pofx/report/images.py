"""One HTML page of the evidence on a model of images: what it says, tables, pictures; it needs no network."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..codecs.picture_io import sheet
from ..evaluate_images import ImageEvidence, Sheet

TITLES = {
    "unseen": "Unseen images",
    "rebuilt": "The same, rebuilt from their codes",
    "drawn": "Drawn by the model",
    "nearest": "The training image nearest to each of those",
    "missed": "Training images that samples miss",
    "walk": "A walk through the code",
    "between": "From one unseen image to another",
    "as it came": "As they came",
    "clean": "Clean",
}
WIDE = ("walk", "between", "missed")


def png(images: np.ndarray, columns: int) -> str:
    """Images side by side as a PNG in a data address."""
    from PIL import Image

    made = sheet(images, columns)
    if made.shape[-1] not in (1, 3):  # the first three of other channels, black where there are two
        made = np.pad(made[..., :3], ((0, 0), (0, 0), (0, 3 - min(made.shape[-1], 3))))
    file = io.BytesIO()
    Image.fromarray(made[..., 0] if made.shape[-1] == 1 else made).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _shown(one: Sheet) -> dict[str, Any]:
    lines = -(-len(one.images) // one.columns)
    return {
        "says": one.says, "title": TITLES.get(one.says, one.says[0].upper() + one.says[1:]), "lines": one.lines,
        "source": png(one.images, one.columns), "wide": one.says in WIDE,
        "across": min(one.columns, len(one.images)) * (one.images.shape[2] + 1) - 1,
        "down": lines * (one.images.shape[1] + 1) - 1,
    }  # fmt: skip


def render_images(evidence: ImageEvidence, *, title: str, provenance: Mapping[str, Any]) -> str:
    """The page as text; `provenance` is printed as it is."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = FileSystemLoader(Path(__file__).parent)
    home = Environment(loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    best = {
        "likelihood": max((row["nats"] for row in evidence.likelihood.values()), default=0.0),
        "rebuilding": max((row["psnr"] for row in evidence.rebuilding.values()), default=0.0),
        "cleaning": max((row["psnr"] for row in evidence.cleaning.values()), default=0.0),
    }
    facts = [(k.replace("_", " "), v) for k, v in provenance.items() if v is not None and k not in ("fit", "verdict")]
    return home.get_template("images.html").render(
        title=title,
        evidence=evidence,
        fit=provenance.get("verdict"),
        best=best,
        sheets=[_shown(one) for one in evidence.sheets],
        costs=_numbers(evidence.remarks),
        remarks=[(k, v) for k, v in evidence.remarks.items() if not isinstance(v, list)],
        provenance=facts,
    )


def _numbers(remarks: Mapping[str, Any]) -> list[tuple[str, float | None, float]]:
    """(number, what it costs, what is lost without it) of each number of a code, the costly first."""
    places = remarks.get("its place in the code", [])
    costs = remarks.get("nats of each number", [None] * len(places))
    return [
        (f"z{j}", cost, lost)
        for j, cost, lost in zip(places, costs, remarks.get("nats lost without it", []), strict=True)
    ]
