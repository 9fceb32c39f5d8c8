"""What patching on one task changes on every other, as a heat map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.figures.style import CARD, FAINT, canvas, dress

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_broad_transfer(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """A cell for each model and task with the change in points; bold where the interval excludes 0.

    rows: patched (the model, down), task (across), change, change_low, change_high (shares), in the order that they appear.
    """
    from matplotlib.colors import LinearSegmentedColormap

    models, tasks = (list(dict.fromkeys(row[name] for row in rows)) for name in ("patched", "task"))
    cells = [[float("nan")] * len(tasks) for _ in models]
    for row in rows:
        cells[models.index(row["patched"])][tasks.index(row["task"])] = 100 * row["change"]
    most = max(1.0, *(abs(value) for line in cells for value in line if value == value))
    figure, ax = canvas(2.2 + 0.95 * len(tasks), 0.9 + 0.55 * len(models))
    dress(ax)
    ax.grid(False)
    colours = LinearSegmentedColormap.from_list("change", ["#b35806", "#f6f1e7", "#0072b2"])
    ax.pcolormesh(cells, cmap=colours, vmin=-most, vmax=most, edgecolors=CARD, linewidth=1.5)
    ax.invert_yaxis()
    for row in rows:
        x, y = tasks.index(row["task"]) + 0.5, models.index(row["patched"]) + 0.5
        sure, dark = row["change_low"] > 0 or row["change_high"] < 0, abs(100 * row["change"]) > 0.6 * most
        text = f"{100 * row['change']:+.1f}"
        ax.text(x, y, text, ha="center", va="center", fontsize=9, color="#ffffff" if dark else "#1e2732", weight="bold" if sure else "normal")
    ax.set_xticks([i + 0.5 for i in range(len(tasks))], tasks, fontsize=9, color=FAINT, rotation=20 if len(tasks) > 4 else 0)
    ax.set_yticks([i + 0.5 for i in range(len(models))], models, fontsize=9, color=FAINT)
    return figure
