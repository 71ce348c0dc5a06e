"""What a model has learned, to look at: pairs of columns, a density in the plane, the way from noise to data."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .. import store
from ..codecs.tabular_io import read_table
from ..errors import CodecError, SpecError, Unsupported
from ..field import Field
from ..metrics import is_level, numbers
from ..models.model import who_can
from . import densities
from .columns import CELLS, Column, cells, pairs
from .densities import Heat, Picture
from .pictures import short

if TYPE_CHECKING:
    from ..bundle import Fitted

ENDS = (".html", ".png", ".gif")
MOST = 5  # columns in the matrix of pairs
WALKERS = 400  # points on the way from noise to data


def plot(
    fitted: "Fitted",
    path: str | Path,
    columns: Sequence[str] | None = None,
    *,
    data: Any = None,
    rows: int = 2000,
    seed: int = 0,
) -> None:
    """Writes the pictures of a fitted model to path: a page (.html), an image (.png) or an animation (.gif).

    columns: two to five of the table's columns (default: the first five). data: a file or frame to draw beside the
    samples; without it single columns stand beside the law that they were learned with.
    Raises SpecError for an unknown ending or column, Unsupported for a .gif of a model that has no layers.
    """
    path = Path(path)
    if path.suffix.lower() not in ENDS:
        raise SpecError(f"expected a file name that ends in {', '.join(ENDS)}, got {path.name!r}")
    if rows < 1:
        raise SpecError(f"expected a number of rows of at least 1, got {rows}")
    store.check_folder(path)
    fields = _fields(fitted, columns)
    way = _way(fitted, [f.name for f in fields], seed)
    if path.suffix.lower() == ".gif":
        if way is None:
            raise Unsupported(
                f"model {fitted.model.name!r} of {len(fitted.model.spec.fields)} columns has no layers to animate: "
                f"these have, from two columns on: {', '.join(who_can('check'))}; or write .html or .png"
            )
        return _write(path, way.gif())
    pictures = _pictures(fitted, fields, rows, seed, data)
    steps = [*way.pictures(), _arrived(fitted, way)] if way else []
    if path.suffix.lower() == ".png":
        return _write(path, densities.stack([*pictures, *steps]))
    return _write(path, _page(fitted, pictures, way, steps, data is not None).encode())


def _write(path: Path, content: bytes) -> None:
    part = store.beside(path)
    try:
        part.write_bytes(content)
        os.replace(part, path)
    except OSError as error:
        raise CodecError(f"could not write {str(path)!r}: {error.strerror or error}; nothing was changed") from error
    finally:
        part.unlink(missing_ok=True)


def _fields(fitted: "Fitted", columns: Sequence[str] | None) -> list[Field]:
    every = {f.name: f for f in fitted.codec.whole.fields}
    names = list(columns) if columns else list(every)[:MOST]
    for name in names:
        if name not in every:
            raise SpecError(f"expected columns among {', '.join(map(repr, every))}, got {name!r}")
    if len(names) > MOST or len(set(names)) < len(names):
        raise SpecError(f"expected at most {MOST} columns, each once, got {', '.join(map(repr, names))}")
    return [every[name] for name in names]


def _way(fitted: "Fitted", names: list[str], seed: int) -> densities.Path | None:
    """The path of two columns through a flow's layers, those asked for if they are among the flow's."""
    model, own = fitted.model, [f.name for f in fitted.model.spec.fields]
    if "check" not in model.abilities or len(own) < 2:
        return None
    two = [*dict.fromkeys([*(n for n in names if n in own), *own])][:2]
    z = model.noise(WALKERS, torch.Generator().manual_seed(seed))
    c = fitted.joint.sample(WALKERS, np.random.default_rng(seed)) if fitted.joint else None
    with torch.no_grad():
        way = densities.path_of(model.flow, z, model.see(c, WALKERS), (own.index(two[0]), own.index(two[1])))
    return densities.Path(way.names, way.points, (two[0], two[1]))


def _arrived(fitted: "Fitted", way: densities.Path) -> Picture:
    """Where the points of a path have arrived, in the units of the two columns."""
    own, z = [f.name for f in fitted.model.spec.fields], torch.from_numpy(way.points[-1])
    places = [own.index(name) for name in way.axes]
    every = z.new_zeros(len(z), len(own)).index_copy(1, torch.tensor(places), z)
    u = fitted.model.levels(every)[:, places].numpy()
    fields = [fitted.model.spec.field(name) for name in way.axes]
    columns = [Column(f, {f.name: f.lower(u[:, k])}, None) for k, f in enumerate(fields)]

    def paint(ax: Any) -> None:
        x, y = (column.jittered(column.fake, k) for k, column in enumerate(columns))
        ax.scatter(x, y, s=3, c=way.colours, linewidths=0, rasterized=True)
        for column, axis, limit, label in zip(
            columns, (ax.xaxis, ax.yaxis), (ax.set_xlim, ax.set_ylim), (ax.set_xlabel, ax.set_ylabel), strict=True
        ):
            column.ticks(axis)
            limit(column.span)
            label(short(column.name, 16), parse_math=False)
        ax.tick_params(labelsize=6)
        ax.tick_params("x", rotation=columns[0].turn)

    return Picture("data, in its own units", 2.4, 2.2, paint, small=True)


# -- pictures of columns ----------------------------------------------------------------------------------------------


def _pictures(fitted: "Fitted", fields: list[Field], rows: int, seed: int, data: Any) -> list[Picture]:
    import pyarrow as pa

    codec = fitted.codec
    fake = codec.encode(pa.concat_tables(fitted._draws(rows, None, seed, quiet=True)), derived=True)
    seen = codec.encode(read_table(data)[0].slice(0, rows), derived=True) if data is not None else None
    out, own = [], fitted.model.spec.fields
    if len(own) == 2 and not fitted.joint and "log_prob" in fitted.model.abilities and not any(map(is_level, own)):
        points = np.stack([numbers(f, fake) for f in own], 1)[:1000]
        out.append(_heat(fitted, own).picture("Density", points[np.isfinite(points).all(1)]))
    return [*out, pairs([Column(f, fake, seen) for f in fields])]


def _heat(fitted: "Fitted", fields: tuple[Field, ...]) -> Heat:
    """p(a, b) on a grid, from the columns' own laws and p(a, b) / (p(a) p(b)) at the middle of each cell.

    The middles are values that were seen, so that atoms and gaps between values are no stripes.
    """
    edges, mass, middle = zip(*(cells(f) for f in fields), strict=True)
    up, across = np.meshgrid(np.arange(CELLS), np.arange(CELLS), indexing="ij")
    x = {f.name: v[k.ravel()] for f, v, k in zip(fields, middle, (across, up), strict=True)}
    alone = sum(f.log_prob(x[f.name]) for f in fields)
    ratio = np.exp(np.minimum(fitted.model.log_prob(x) - alone, 50.0)).reshape(CELLS, CELLS)
    each = [m / np.diff(e) for m, e in zip(mass, edges, strict=True)]
    return Heat(edges[0], edges[1], ratio * each[1][:, None] * each[0], (fields[0].name, fields[1].name))


def _page(
    fitted: "Fitted", pictures: list[Picture], way: densities.Path | None, steps: list[Picture], data: bool
) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(__file__).parent
    home = Environment(loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return home.get_template("plot.html").render(
        title=f"{fitted.model.name} on {fitted.provenance['source']}",
        pictures=pictures,
        way=way,
        steps=steps,
        data=data,
        bound="bound" in fitted.model.abilities,
        rows=fitted.provenance["train_rows"],
    )
