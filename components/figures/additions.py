"""What a sum of task vectors keeps: normalised accuracy for each set of tasks, beside that before fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.figures.style import CARD, GREEN, GRID, INK, KINDS, canvas, dress, label, legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_additions(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """One line for each sum. rows: tasks, normalised and zero_shot (shares) with _low and _high, in the order of the lines."""
    figure, ax = canvas(5.7, 1.15 + 0.34 * len(rows))
    dress(ax, "x")
    for k in range(0, len(rows), 2):
        ax.axhspan(k - 0.5, k + 0.5, color=GRID, alpha=0.4, linewidth=0, zorder=0)
    ax.axvline(100, color=INK, linewidth=1, linestyle=(0, (5, 3)), zorder=1, label="each task's own model")
    for name, colour, marker, size, said in (("zero_shot", *KINDS["zero_shot"], "zero-shot"), ("normalised", GREEN, "o", 7.5, "task vectors added")):
        for k, row in enumerate(rows):
            ax.plot([100 * row[f"{name}_low"], 100 * row[f"{name}_high"]], [k, k], color=colour, linewidth=1.6, alpha=0.5, zorder=2)
        values, edge = [100 * row[name] for row in rows], {"markeredgecolor": CARD, "markeredgewidth": 0.7}
        ax.plot(values, range(len(rows)), marker, color=colour, markersize=min(size, 7.5), label=said, zorder=3, **edge)
    ax.set_yticks(range(len(rows)), [row["tasks"] for row in rows], fontsize=9.5, color=INK)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    label(ax, "normalised accuracy (%)", "")
    legend(ax, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, columnspacing=1.1, handletextpad=0.3)
    return figure
