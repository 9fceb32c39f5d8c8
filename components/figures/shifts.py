"""Accuracy on each shift with its interval, one dot for each model: where the robustness comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.figures.style import FAINT, GRID, KINDS, canvas, dress, label, legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_shifts(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """One line of dots for each split. rows: split, model, kind, value, low, high (shares); splits and models in the order they appear."""
    splits = list(dict.fromkeys(row["split"] for row in rows))
    models = list(dict.fromkeys(row["model"] for row in rows))
    figure, ax = canvas(7.6, 0.9 + 0.52 * len(splits))
    dress(ax, "x")
    for y in range(len(splits)):
        ax.axhline(y, color=GRID, linewidth=0.8, zorder=0)
    for m, model in enumerate(models):
        group = [row for row in rows if row["model"] == model]
        colour, marker, size = KINDS[group[0]["kind"]]
        offset = (m - (len(models) - 1) / 2) * 0.17
        places = [splits.index(row["split"]) + offset for row in group]
        for row, y in zip(group, places, strict=True):
            ax.plot([100 * row["low"], 100 * row["high"]], [y, y], color=colour, linewidth=1.6, alpha=0.5, solid_capstyle="round", zorder=2)
        values, shown = [100 * row["value"] for row in group], min(size, 8) + (3 if marker == "*" else 0)
        ax.plot(values, places, marker, color=colour, markersize=shown, markeredgecolor="white", markeredgewidth=0.7, label=model, zorder=3)
    ax.set_yticks(range(len(splits)), splits, fontsize=9.5, color=FAINT)
    ax.set_ylim(len(splits) - 0.45, -0.55)
    label(ax, "accuracy (%)", "")
    legend(ax, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(models), columnspacing=1.6, handletextpad=0.3)
    return figure
