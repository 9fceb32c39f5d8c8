"""What patches gain and cost along their lines: the picture of PAINT (arXiv:2208.05592)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.figures.style import BLUE, CARD, GREEN, INK, RED, canvas, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_frontiers(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """One panel a task: the accuracy on supported tasks across, that on the task up, one mark an alpha, a star at the chosen one.

    rows: task, alpha, supported, patching (shares) with their `_low` and `_high`, chosen (`yes` or empty); panels in the order of the tasks.
    """
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    columns = min(3, len(tasks))
    lines = -(-len(tasks) // columns)
    figure, axes = canvas(max(4.4, 3.1 * columns), 3.7 * lines, columns=columns, lines=lines)
    panels = [axes] if columns * lines == 1 else list(axes)
    for ax in panels[len(tasks) :]:
        ax.set_axis_off()
    for k, (ax, task) in enumerate(zip(panels, tasks, strict=False)):
        line = sorted((row for row in rows if row["task"] == task), key=lambda row: row["alpha"])
        _panel(ax, line)
        ax.set_title(task, fontsize=10.5, color=INK, loc="left", pad=8)
        label(ax, "supported (%)", "patching (%)" if k % columns == 0 else "")
    return figure


def _panel(ax: Axes, line: Sequence[Mapping[str, Any]]) -> None:
    x, y = ([100 * row[name] for row in line] for name in ("supported", "patching"))
    ax.plot(x, y, "-", color=BLUE, linewidth=1.6, alpha=0.6, zorder=2)
    for row, a, b in zip(line, x, y, strict=True):
        ax.plot([100 * row["supported_low"], 100 * row["supported_high"]], [b, b], color=BLUE, linewidth=1, alpha=0.25, zorder=1)
        ax.plot([a, a], [100 * row["patching_low"], 100 * row["patching_high"]], color=BLUE, linewidth=1, alpha=0.25, zorder=1)
        end, chosen = row["alpha"] in (0, 1), bool(row["chosen"])
        marker, size, colour = ("*", 17, GREEN) if chosen else ("X", 9, INK) if row["alpha"] == 0 else ("D", 7, RED) if end else ("o", 5, BLUE)
        ax.plot([a], [b], marker, color=colour, markersize=size, markeredgecolor=CARD, markeredgewidth=0.8, zorder=5 if chosen else 4 if end else 3)
        if end or chosen:
            right = a < (min(x) + max(x)) / 2
            place = (9, 5) if right else (-9, -14)  # beside the line, which falls from the upper left to the lower right
            text = f"\N{GREEK SMALL LETTER ALPHA} = {row['alpha']:g}"
            told: dict[str, Any] = {"ha": "left" if right else "right", "weight": "bold" if chosen else "normal"}
            ax.annotate(text, (a, b), place, textcoords="offset points", fontsize=8.5, color=INK, zorder=7, **told)
    ax.margins(0.14)
