"""Pictures of a density in the plane, and of the way that a flow takes from noise to data: SVG, image, animation."""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import SpecError
from ..nn.certificate import leaves, name_of
from ..nn.flow import Flow
from ..nn.layer import Inverse, Layer, Permutation
from .pictures import FAKE, MARK, REAL, STYLE, draw, short

STAGES = 9  # of a path that are shown, noise and data included
REACH = 4.0


@dataclass(frozen=True)
class Picture:
    """What `paint` puts on the axes of a figure of this size, in inches; `small` ones stand in a row."""

    title: str
    width: float
    height: float
    paint: Callable[[Any], None]
    grid: tuple[int, int] = (1, 1)
    small: bool = False
    words: str = ""

    @property
    def svg(self) -> str:
        """An element of a page, which needs no names of name spaces."""
        svg = draw(self.width, self.height, self.paint, self.title, self.grid)
        return re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg)

    def image(self, dpi: int = 150) -> Any:
        """A picture of pixels, with its title."""
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from PIL import Image

        with matplotlib.rc_context(STYLE):
            figure = Figure(figsize=(self.width, self.height + 0.3), layout="constrained", facecolor="white")
            figure.suptitle(self.title, fontsize=10, parse_math=False)
            axes = figure.subplots(*self.grid, squeeze=False).ravel()
            self.paint(axes[0] if len(axes) == 1 else axes)
            figure.set_dpi(dpi)
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
        return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


@dataclass(frozen=True)
class Heat:
    """A density on a grid: edges across, (K + 1,), and up, (L + 1,), values (L, K)."""

    across: np.ndarray
    up: np.ndarray
    values: np.ndarray
    names: tuple[str, str] = ("x1", "x2")

    def picture(self, title: str, points: np.ndarray | None = None) -> Picture:
        """The heat map, colours by the square root of the density, with points, (n, 2), on it."""
        from matplotlib.colors import PowerNorm

        def paint(ax: Any) -> None:
            mesh = ax.pcolormesh(self.across, self.up, self.values, cmap="cividis", norm=PowerNorm(0.5, 0))
            mesh.set_rasterized(True)
            if points is not None:
                ax.scatter(*points.T, s=6, color=FAKE, alpha=0.7, linewidths=0, rasterized=True)
            ax.set_xlim(self.across[[0, -1]])
            ax.set_ylim(self.up[[0, -1]])
            ax.set_xlabel(self.names[0], parse_math=False)
            ax.set_ylabel(self.names[1], parse_math=False)
            ax.figure.colorbar(mesh, ax=ax, shrink=0.8, label="density")

        return Picture(title, 5.6, 4.4, paint)


@dataclass(frozen=True)
class Path:
    """The same points at each stage from noise to data, (S, n, 2), and what each stage comes after."""

    names: list[str]
    points: np.ndarray
    axes: tuple[str, str] = ("x1", "x2")

    @property
    def colours(self) -> list[str]:
        """A colour for each point, by its first coordinate as noise."""
        from matplotlib.colors import LinearSegmentedColormap, to_hex

        ranks = self.points[0, :, 0].argsort().argsort() / max(self.points.shape[1] - 1, 1)
        return [to_hex(rgb) for rgb in LinearSegmentedColormap.from_list("way", [REAL, "#b9a7b0", FAKE])(ranks)]

    def paint(self, ax: Any, points: np.ndarray, size: float) -> None:
        """The points on axes."""
        ax.scatter(*points.T, s=size, c=self.colours, linewidths=0, rasterized=True)
        ax.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), aspect="equal", xticks=[-3, 0, 3], yticks=[-3, 0, 3])
        ax.set_xlabel(short(self.axes[0], 16), parse_math=False)
        ax.set_ylabel(short(self.axes[1], 16), parse_math=False)
        ax.grid(color=MARK, alpha=0.2)

    def picture(self, name: str, points: np.ndarray, side: float = 2.2) -> Picture:
        """A small picture of the points."""
        return Picture(name, side, side, lambda ax: self.paint(ax, points, 1.4 * side), small=True)

    def pictures(self) -> list[Picture]:
        """A small picture of each stage."""
        return [self.picture(name, at) for name, at in zip(self.names, self.points, strict=True)]

    def frames(self, between: int = 8, rest: int = 4) -> list[tuple[str, np.ndarray]]:
        """Stages and what lies on the straight lines between them, slow at both ends; each stage rests a little."""
        out = []
        for name, a, b in zip(self.names[1:], self.points, self.points[1:], strict=False):
            shares = [s * s * (3 - 2 * s) for s in np.linspace(0, 1, between + 1)]
            out += [(name, a + s * (b - a)) for s in shares] + [(name, b)] * rest
        return [(self.names[0], self.points[0])] * rest + out + [(self.names[-1], self.points[-1])] * 2 * rest

    def gif(self) -> bytes:
        """The animation, as a GIF that begins again at its end."""
        frames = self.frames()
        made = {id(at): self.picture(name, at, 3.4).image(dpi=110) for name, at in frames}
        images = [made[id(at)] for _, at in frames]
        file = io.BytesIO()
        images[0].save(file, "GIF", save_all=True, append_images=images[1:], duration=80, loop=0)
        return file.getvalue()

    def to_json(self) -> dict[str, Any]:
        """What the script of a page needs to move the points."""
        points = [[round(float(v), 2) for v in stage.ravel()] for stage in self.points]
        axes = [short(name) for name in self.axes]
        return {"names": self.names, "points": points, "colours": self.colours, "reach": REACH, "axes": axes}


@torch.no_grad()
def heat_of(flow: Flow, c: Tensor | None = None, reach: float = REACH, bins: int = 120) -> Heat:
    """p(x | c) of a flow of two features on [-reach, reach]^2; c: (C,), one context.

    Raises SpecError for another number of features.
    """
    if flow.features != 2:
        raise SpecError(f"expected a flow of 2 features to draw its density, got {flow.features}")
    edges = np.linspace(-reach, reach, bins + 1)
    middle = torch.from_numpy((edges[1:] + edges[:-1]) / 2).to(flow.like)
    up, across = torch.meshgrid(middle, middle, indexing="ij")
    x = torch.stack([across.flatten(), up.flatten()], 1)
    c = flow.known(None if c is None else c.to(x), len(x))
    log = flow.density(x, c)
    return Heat(edges, edges, log.exp().nan_to_num(0.0).view(bins, bins).double().cpu().numpy())


@torch.no_grad()
def path_of(flow: Flow, z: Tensor, c: Tensor | None = None, features: tuple[int, int] = (0, 1)) -> Path:
    """Two features of noise z, (n, D), on its way through the layers to data; c: (n, C).

    The features are followed through permutations, which are no stages of their own. A layer that is itself a path,
    such as a differential equation, is shown at several times. Of more than 9 stages some are left out, evenly.
    """
    layers, place = leaves(flow.layers), [torch.tensor(features)]
    for layer in layers:
        went = _order(layer)
        place.append(place[-1] if went is None else went.cpu()[place[-1]])
    x, names, points = z.to(flow.like), ["noise"], [z.to(flow.like)[:, place[-1]]]
    for k, layer in zip(range(len(layers), 0, -1), reversed(layers), strict=True):
        along = layer.path(x, c) if hasattr(layer, "path") else [layer.inverse_and_ladj(x, c)[0]]
        x = along[-1]
        if _order(layer) is None:
            points += [at[:, place[k - 1]] for at in along]
            whole = f"layer {k}, {name_of(layer)}"
            names += [f"{whole}, {i}/{len(along)}" for i in range(1, len(along))] + [whole]
    keep = np.unique(np.linspace(0, len(points) - 1, min(STAGES, len(points))).round().astype(int))
    names[-1] = "data"
    return Path([names[k] for k in keep], torch.stack([points[k] for k in keep]).double().cpu().numpy())


def _order(layer: Layer) -> Tensor | None:
    """Where a permutation puts each feature; None for any other layer."""
    if isinstance(layer, Inverse) and isinstance(layer.layer, Permutation):
        return layer.layer.order
    return layer.back if isinstance(layer, Permutation) else None


def stack(pictures: Sequence[Picture]) -> bytes:
    """A PNG of pictures below one another, small ones in rows of four."""
    from PIL import Image

    rows: list[list[Any]] = []
    for before, one in zip([None, *pictures], pictures, strict=False):
        if not (rows and one.small and before and before.small and len(rows[-1]) < 4):
            rows.append([])
        rows[-1].append(one.image())
    sizes = [(sum(i.width for i in row), max(i.height for i in row)) for row in rows]
    page = Image.new("RGB", (max(w for w, _ in sizes), sum(h for _, h in sizes)), "white")
    y = 0
    for row, (_, height) in zip(rows, sizes, strict=True):
        x = 0
        for image in row:
            page.paste(image, (x, y))
            x += image.width
        y += height
    file = io.BytesIO()
    page.save(file, "PNG")
    return file.getvalue()
