"""One look for all pictures: light, quiet, safe for colour-blind readers, and drawn without pyplot so that threads may draw at once."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from io import StringIO
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, GRID, CARD = "#1f2733", "#667085", "#e4e7ec", "#ffffff"  # the four colours that dark mode replaces
BLUE, ORANGE, GREEN, PINK, SKY, RED, VIOLET, GREY = "#0072b2", "#e08a00", "#009e73", "#cc6fa5", "#4aa8dc", "#d55e00", "#7a5cc2", "#98a2b3"
SLATE, ON = "#7d8899", "#fdfdfd"  # a grey that carries text, and the text on any colour
KINDS: dict[str, tuple[str, str, float]] = {  # kind -> colour, marker, size in points
    "single": (GREY, "o", 6.5),
    "zero_shot": (INK, "X", 10),
    "best": (ORANGE, "D", 9),
    "uniform": (BLUE, "o", 12),
    "greedy": (GREEN, "*", 19),
    "ensemble": (PINK, "s", 9),
    "greedy_ensemble": (VIOLET, "^", 10),
    "wise": (RED, "o", 4.5),
    "other": (SKY, "v", 9),
}
SPARE = tuple((colour, marker, 9.0) for marker in "vPh<d" for colour in (SKY, VIOLET, PINK, BLUE, RED, GREEN, ORANGE))
_saving = Lock()  # the options of the SVG writer are global to matplotlib


def distinct(kinds: Sequence[str]) -> list[tuple[str, str, float]]:
    """A colour, marker and size for each model; of several of one kind the first has the kind's own, the others what is left."""
    found: list[tuple[str, str, float]] = []
    for kind in kinds:
        left = [KINDS[kind], *(mark for mark in SPARE if mark not in found), KINDS["other"]]
        found.append(next((mark for mark in left if mark not in found), left[0]))
    return found


def canvas(width: float, height: float, *, columns: int = 1, lines: int = 1, **grid: Any) -> tuple[Figure, Any]:
    """A figure of that size in inches with one or several styled axes, laid out without overlap."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor=CARD, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(lines, columns, squeeze=False, **grid).ravel()
    for ax in axes:
        dress(ax)
    return figure, axes[0] if len(axes) == 1 else axes


def dress(ax: Axes, grid: str = "both") -> None:
    """The quiet frame: no box, a faint grid behind, small grey ticks."""
    ax.set_facecolor(CARD)
    for side in ("top", "right", "left", "bottom"):
        ax.spines[side].set_visible(False)
    ax.grid(False)
    ax.grid(True, axis=grid, color=GRID, linewidth=0.8)  # type: ignore[arg-type]
    ax.set_axisbelow(True)
    ax.tick_params(length=0, labelsize=9, labelcolor=FAINT)


def label(ax: Axes, x: str, y: str) -> None:
    """Axis labels in the common size and colour."""
    ax.set_xlabel(x, fontsize=10, color=INK, labelpad=6)
    ax.set_ylabel(y, fontsize=10, color=INK, labelpad=6)


def legend(ax: Axes, **options: Any) -> None:
    """A frameless legend in the common size."""
    ax.legend(frameon=False, fontsize=9, labelcolor=INK, **options)


def percent(value: float, digits: int = 1) -> str:
    """0.9689 as `96.9`; the unit stands in the axis label."""
    return f"{100 * value:.{digits}f}"


def png(figure: Figure) -> bytes:
    """The picture at twice the screen's resolution."""
    from io import BytesIO

    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=200, facecolor=CARD)
    return buffer.getvalue()


def svg(figure: Figure, name: str) -> str:
    """The picture as SVG with real text, the same bytes each time; ids carry the name so that pictures can share one page."""
    from matplotlib import rc_context

    buffer = StringIO()
    with _saving, rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", facecolor=CARD, metadata={"Date": None, "Creator": None})
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", buffer.getvalue())
    return text.replace("'DejaVu Sans'", "system-ui, 'Segoe UI', Helvetica, Arial, 'DejaVu Sans'")


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows behind a picture as CSV; the columns are the keys in the order they first appear."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    buffer = StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
