"""Accuracy on each shift with its interval, one dot for each model: where the robustness comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.figures.style import CARD, FAINT, GRID, canvas, distinct, dress, label, legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_shifts(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """One line of dots for each split. rows: split, model, kind, value, low, high (shares); splits and models in the order they appear."""
    splits = list(dict.fromkeys(row["split"] for row in rows))
    models = list(dict.fromkeys(row["model"] for row in rows))
    told = distinct([next(row["kind"] for row in rows if row["model"] == model) for model in models])
    figure, ax = canvas(5.7, 0.95 + 0.47 * len(splits))
    dress(ax, "x")
    for k in range(0, len(splits), 2):
        ax.axhspan(k - 0.5, k + 0.5, color=GRID, alpha=0.4, linewidth=0, zorder=0)
    for m, model in enumerate(models):
        group = [row for row in rows if row["model"] == model]
        colour, marker, size = told[m]
        offset = (m - (len(models) - 1) / 2) * min(0.19, 0.8 / len(models))
        places = [splits.index(row["split"]) + offset for row in group]
        for row, y in zip(group, places, strict=True):
            ax.plot([100 * row["low"], 100 * row["high"]], [y, y], color=colour, linewidth=1.6, alpha=0.5, solid_capstyle="round", zorder=2)
        values, shown = [100 * row["value"] for row in group], min(size, 6.5) + (3.5 if marker == "*" else 0)
        ax.plot(values, places, marker, color=colour, markersize=shown, markeredgecolor=CARD, markeredgewidth=0.7, label=model, zorder=3)
    ax.set_yticks(range(len(splits)), splits, fontsize=9.5, color=FAINT)
    ax.set_ylim(len(splits) - 0.5, -0.5)
    label(ax, "accuracy (%)", "")
    beside = max(1, min(4, 60 // (6 + max(map(len, models)))))  # names that fit into the width
    legend(ax, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=beside, columnspacing=1.1, handletextpad=0.3)
    return figure
