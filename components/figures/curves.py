"""Interpolation lines on each shift: the picture of WiSE-FT (arXiv:2109.01903), one panel a shift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.figures.style import BLUE, CARD, FAINT, GREEN, GREY, INK, RED, VIOLET, canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

Rows = Sequence[Mapping[str, Any]]
COLOURS = (RED, BLUE, GREEN, VIOLET)
ACROSS = 3  # panels side by side


def draw_curves(rows: Rows) -> Figure:
    """A panel for each split: across the accuracy in distribution, up that on the split, in percent.

    rows: split, line, alpha (None: a baseline), chosen (1 where held-out data stops), in_distribution, shifted, predicted (shares). Alphas are
    written beside the first line; its ends, 0.5 and the chosen point of each line are marked. Baselines are dots, `predicted` a dashed line.
    """
    splits = list(dict.fromkeys(row["split"] for row in rows))
    lines = list(dict.fromkeys(row["line"] for row in rows if row["alpha"] is not None))
    down = -(-len(splits) // ACROSS)
    figure, panels = canvas(8.6, 0.75 + 2.75 * down, columns=min(ACROSS, len(splits)), lines=down)
    for ax, split in zip(panels, splits, strict=False):
        _panel(ax, [row for row in rows if row["split"] == split], lines)
        ax.set_title(split, fontsize=10, color=INK)
    for ax in panels[len(splits) :]:
        ax.set_visible(False)
    figure.legend(handles=_signs(lines), loc="outside upper center", ncols=4, frameon=False, fontsize=9, labelcolor=INK)
    figure.supxlabel("accuracy in distribution (%)", fontsize=10, color=INK)
    figure.supylabel("accuracy under shift (%)", fontsize=10, color=INK)
    return figure


def _panel(ax: Axes, rows: Rows, lines: Sequence[str]) -> None:
    """One split: the baselines and their line behind, the interpolation lines over them."""
    known = [row for row in rows if row["alpha"] is None]
    fitted = sorted((100 * row["in_distribution"], 100 * row["predicted"]) for row in rows)
    low, high = min(x for x, _ in _pairs(known)), max(x for x, _ in _pairs(known))
    within = [pair for pair in fitted if low <= pair[0] <= high]
    ax.plot(*zip(*fitted, strict=True), color=FAINT, linewidth=1, linestyle=(0, (1, 3)), zorder=1)
    ax.plot(*zip(*within, strict=True), color=FAINT, linewidth=1.2, linestyle=(0, (5, 3)), zorder=1)
    _marks(ax, known, "o", 4.5, GREY, zorder=2)
    for name, colour in zip(lines, COLOURS, strict=False):
        points = [row for row in rows if row["line"] == name]
        x, y = zip(*_pairs(points), strict=True)
        ax.plot(x, y, "-o", color=colour, linewidth=1.6, markersize=3.2, markeredgecolor=CARD, markeredgewidth=0.5, zorder=4)
        _marks(ax, [row for row in points if row["alpha"] == 1], "D", 6, colour, zorder=5)
        _marks(ax, [row for row in points if row["alpha"] == 0.5], "o", 9, "none", zorder=5, edge=colour)
        _marks(ax, [row for row in points if row["chosen"]], "*", 12, colour, zorder=6)
    _marks(ax, [row for row in rows if row["alpha"] == 0][:1], "X", 8, INK, zorder=7)
    _alphas(ax, [row for row in rows if row["line"] in lines[:1]])
    ax.margins(0.09)


def _signs(lines: Sequence[str]) -> list[Line2D]:
    """What the legend explains, once for all panels."""
    from matplotlib.lines import Line2D

    def sign(name: str, colour: str = INK, marker: str = "", size: float = 0, line: Any = "none", **more: Any) -> Line2D:
        return Line2D([], [], color=colour, marker=marker, markersize=size, linestyle=line, label=name, **more)

    own = [sign(name, colour, "o", 3.2, "-") for name, colour in zip(lines, COLOURS, strict=False)]
    ends = [sign("zero-shot", marker="X", size=8), sign("fine-tuned", marker="D", size=6)]
    marks = [sign("alpha 0.5", marker="o", size=9, markerfacecolor="none"), sign("held-out optimum", marker="*", size=12)]
    return [*own, *ends, *marks, sign("baselines", GREY, "o", 4.5), sign("their line", FAINT, line=(0, (5, 3)))]


def _pairs(rows: Rows) -> list[tuple[float, float]]:
    """Places in percent."""
    return [(100 * row["in_distribution"], 100 * row["shifted"]) for row in rows]


def _marks(ax: Axes, rows: Rows, marker: str, size: float, colour: str, *, zorder: int, edge: str = CARD) -> None:
    width = 0.8 if edge == CARD else 1.5
    for x, y in _pairs(rows):
        ax.plot(x, y, marker, color=colour, markersize=size, markeredgecolor=edge, markeredgewidth=width, zorder=zorder)


def _alphas(ax: Axes, rows: Rows) -> None:
    """The alphas beside the points of a line, where none is near."""
    ax.autoscale_view()
    taken: list[tuple[float, float]] = []
    for row in rows:
        ((x, y),) = _pairs([row])
        here = tuple(ax.transData.transform((x, y)))
        if all((here[0] - a) ** 2 + (here[1] - b) ** 2 > 26**2 for a, b in taken):
            taken.append(here)
            ax.annotate(f"{row['alpha']:.2g}", (x, y), (-4, 4), textcoords="offset points", ha="right", fontsize=7.5, color=INK, zorder=8)
