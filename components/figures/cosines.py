"""How alike the ingredients are: cosines between their moves from the common start, as a heat map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.figures.style import CARD, FAINT, INK, ON, canvas, dress

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_cosines(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """A square of cells. rows: one for each ordered pair: first, second (names), cosine in [-1, 1]."""
    from matplotlib.colors import LinearSegmentedColormap

    names = list(dict.fromkeys(row["first"] for row in rows))
    place = {name: i for i, name in enumerate(names)}
    cells = [[float("nan")] * len(names) for _ in names]
    for row in rows:
        cells[place[row["first"]]][place[row["second"]]] = float(row["cosine"])
    side = min(7.0, max(3.6, 0.55 * len(names) + 1.2))
    figure, ax = canvas(side + 0.5, side)
    dress(ax)
    ax.grid(False)
    lowest = min((float(row["cosine"]) for row in rows), default=0.0)
    scale = ["#b35806", "#f6f1e7", "#0072b2"] if lowest < 0 else ["#f3f6f9", "#4aa8dc", "#004f7d"]
    colours = LinearSegmentedColormap.from_list("cosine", scale)
    low = -1.0 if lowest < 0 else 0.0
    image = ax.pcolormesh(cells, cmap=colours, vmin=low, vmax=1, edgecolors=CARD, linewidth=1.5)
    ax.set_aspect("equal")
    ax.invert_yaxis()
    if len(names) <= 16:
        for i, line in enumerate(cells):
            for j, value in enumerate(line):
                dark = value > 0.62 or value < -0.75
                ax.text(j + 0.5, i + 0.5, f"{value:.2f}", ha="center", va="center", fontsize=8, color=ON if dark else "#1e2732")
    middles = [i + 0.5 for i in range(len(names))]
    ax.set_xticks(middles, names, fontsize=8.5, color=FAINT, rotation=90 if len(names) > 9 else 0)
    ax.set_yticks(middles, names, fontsize=8.5, color=FAINT)
    if len(names) <= 16:
        return figure
    bar = figure.colorbar(image, ax=ax, shrink=0.8, aspect=30, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=8.5, labelcolor=FAINT)
    bar.set_label("cosine", fontsize=9.5, color=INK)
    return figure


def draw_task_cosines(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """The same of a table that is square already: one row for each `task`, with a column for each."""
    names = [row["task"] for row in rows]
    return draw_cosines([{"first": row["task"], "second": name, "cosine": row[name]} for row in rows for name in names])
