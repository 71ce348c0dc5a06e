"""Small SVG pictures of the evidence, drawn without a display; text stays text and takes the colour of the page."""

import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

REAL, FAKE, MARK = "#4f8fc4", "#e0803a", "#8a8a8a"
# A colour that nothing else uses: it becomes `currentColor`, so that text is legible in a light and in a dark page.
INK = "#010203"
STYLE = {
    "svg.fonttype": "none",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MARK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


def short(name: Any, most: int = 22) -> str:
    """A name that fits beside an axis."""
    plain = "".join(c if c.isprintable() else " " for c in str(name)).strip()
    return plain if len(plain) <= most else plain[: most - 1] + "…"


def draw(width: float, height: float, paint: Callable[[Any], None], salt: str, grid: tuple[int, int] = (1, 1)) -> str:
    """The inline SVG of what `paint` puts on the axes of a new figure of this size, in inches."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context(STYLE | {"svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        canvas = Canvas(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(canvas)
        axes = canvas.subplots(*grid, squeeze=False).ravel()
        paint(axes[0] if len(axes) == 1 else axes)
        file = io.StringIO()
        canvas.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return inline(file.getvalue())


def inline(svg: str) -> str:
    """An SVG document as an element of a page: no prologue, no fixed size, no font or ink of its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r'\1 role="img"', svg, count=1)
    svg = re.sub(r"""font: ([0-9.]+px)[^;"]*""", r"font: \1 system-ui, sans-serif", svg)
    return svg.replace(INK, "currentColor")


def marginal(view: dict[str, Any]) -> str:
    """A column: real shares filled, synthetic ones as a line, heights as square roots; or bars side by side."""

    def paint(ax: Any) -> None:
        if view["edges"] is None:
            _bars(ax, view)
        else:
            edges, bins = np.array(view["edges"]), len(view["edges"]) - 1
            ax.stairs(view["real"][:bins], edges, fill=True, color=REAL, alpha=0.55)
            ax.stairs(view["fake"][:bins], edges, color=FAKE, linewidth=1.4)
            ax.set_yscale("function", functions=(np.sqrt, np.square))
            ax.set_ylim(bottom=0)
            _dates(ax, view, edges)
            ax.set_yticks([])
            ax.spines["left"].set_visible(False)

    rows = len(view["labels"]) if view["edges"] is None else 7
    return draw(3.4, 0.6 + 0.2 * max(rows, 7), paint, f"marginal {view['name']}")


def _bars(ax: Any, view: dict[str, Any]) -> None:
    place = np.arange(len(view["labels"]))
    ax.barh(place - 0.2, view["real"], 0.4, color=REAL, alpha=0.7)
    ax.barh(place + 0.2, view["fake"], 0.4, color=FAKE, alpha=0.9)
    ax.set_yticks(place, [short(label) for label in view["labels"]], parse_math=False)
    ax.invert_yaxis()
    ax.xaxis.set_major_formatter(lambda v, _: f"{v:.0%}")
    ax.locator_params(axis="x", nbins=4)


def _dates(ax: Any, view: dict[str, Any], edges: np.ndarray) -> None:
    if view["kind"] == "datetime":
        at = [0, len(edges) // 2, len(edges) - 2]
        ax.set_xticks(edges[at], [short(view["labels"][k], 10) for k in at])
    else:
        ax.locator_params(axis="x", nbins=5)


def pairs(names: Sequence[str], matrix: Sequence[Sequence[float]]) -> str:
    """The Trend of each pair of columns as a heat map."""
    values = np.array(matrix, np.float64)
    low = min(float(np.nanmin(values)), 0.9) if np.isfinite(values).any() else 0.9

    def paint(ax: Any) -> None:
        mesh = ax.pcolormesh(np.ma.masked_invalid(values), vmin=low, vmax=1, cmap="cividis", edgecolors="none")
        place = np.arange(len(names)) + 0.5
        labels = [short(name, 16) for name in names]
        ax.set_xticks(place, labels, rotation=90, parse_math=False)
        ax.set_yticks(place, labels, parse_math=False)
        ax.invert_yaxis()
        ax.set_aspect("equal")
        ax.figure.colorbar(mesh, ax=ax, shrink=0.7, label="1 = the same in both")

    size = min(2.6 + 0.24 * len(names), 9.0)
    return draw(size + 0.8, size, paint, "pairs")


def joint(view: dict[str, Any]) -> str:
    """A pair of columns, real beside synthetic and the difference."""
    real, fake = np.array(view["real"]), np.array(view["fake"])
    top = max(float(real.max()), float(fake.max()), 1e-9)
    gap = max(float(np.abs(fake - real).max()), 1e-9)

    def paint(axes: Any) -> None:
        for ax, values, title in zip(axes, (real, fake), ("real", "synthetic"), strict=False):
            ax.pcolormesh(values, vmin=0, vmax=top, cmap="cividis")
            ax.set_title(title)
        axes[2].pcolormesh(fake - real, vmin=-gap, vmax=gap, cmap="PuOr_r")
        axes[2].set_title(f"difference (± {gap:.1%})")
        for ax in axes:
            _ticks(ax, view, ax is axes[0])

    return draw(6.6, 1.5 + 0.19 * len(real), paint, f"joint {view['a']} {view['b']}", (1, 3))


def _ticks(ax: Any, view: dict[str, Any], first: bool) -> None:
    down, across = view["a_labels"], view["b_labels"]
    ax.set_xticks(np.arange(len(across)) + 0.5, [short(c, 12) for c in across], rotation=90, parse_math=False)
    ax.set_yticks(np.arange(len(down)) + 0.5, [short(c, 16) for c in down] if first else [], parse_math=False)
    ax.invert_yaxis()


def intervals(rows: Sequence[tuple[str, Any]], chance: float = 0.5) -> str:
    """Areas under the curve with their intervals, beside real rows in their place, and the floor of a coin."""

    def paint(ax: Any) -> None:
        for y, (_, figure) in enumerate(rows):
            if figure.low is not None:
                ax.plot([figure.low, figure.high], [y, y], color=FAKE, linewidth=4, alpha=0.4, solid_capstyle="round")
            for value, colour, mark in ((figure.baseline, MARK, "x"), (figure.ceiling, REAL, "D")):
                if value is not None:
                    ax.plot(value, y, mark, color=colour, markersize=5)
            ax.plot(figure.value, y, "o", color=FAKE, markersize=6)
        ax.axvline(chance, color=MARK, linewidth=1, linestyle=":")
        ax.set_yticks(range(len(rows)), [name for name, _ in rows])
        ax.set_xlim(min(0.45, *(f.value - 0.02 for _, f in rows)), 1.01)
        ax.set_ylim(len(rows) - 0.5, -0.5)

    return draw(4.8, 0.6 + 0.28 * len(rows), paint, "intervals")


def bars(rows: Sequence[tuple[str, float]]) -> str:
    """How much the judge leaned on each column."""

    def paint(ax: Any) -> None:
        place = np.arange(len(rows))
        ax.barh(place, [max(v, 0.0) for _, v in rows], 0.6, color=FAKE)
        ax.set_yticks(place, [short(name) for name, _ in rows], parse_math=False)
        ax.invert_yaxis()
        ax.set_xlabel("AUC lost when the column is shuffled")

    return draw(5.0, 0.9 + 0.22 * len(rows), paint, "bars")
