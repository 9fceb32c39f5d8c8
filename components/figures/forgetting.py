"""What forgetting costs: accuracy on the target beside accuracy on the control, a line for each method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.figures.style import CARD, FAINT, GRID, INK, canvas, distinct, dress, label, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_forgetting(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Two panels, target and control, with a dot for each target and a bar at the mean of their dots.

    rows: target, method, target_accuracy, control_accuracy (shares) with _low and _high; those of a mean over targets are left out, since
    the bar shows it. Targets and methods in the order in which they appear.
    """
    named = [row for row in rows if not str(row["target"]).startswith("mean of")]
    targets, methods = (list(dict.fromkeys(row[key] for row in named)) for key in ("target", "method"))
    marks = distinct(["greedy", "best", "uniform", "ensemble", *["other"] * len(targets)])[: len(targets)]
    figure, axes = canvas(7.2, 1.3 + 0.62 * len(methods), columns=2, sharey=True)
    for ax, side, title in zip(axes, ("target", "control"), ("target: less is better", "control: to be kept"), strict=True):
        dress(ax, "x")
        for k in range(0, len(methods), 2):
            ax.axhspan(k - 0.5, k + 0.5, color=GRID, alpha=0.4, linewidth=0, zorder=0)
        for t, (target, (colour, marker, size)) in enumerate(zip(targets, marks, strict=True)):
            group = [row for row in named if row["target"] == target]
            places = [methods.index(row["method"]) + (t - (len(targets) - 1) / 2) * min(0.2, 0.7 / len(targets)) for row in group]
            for row, y in zip(group, places, strict=True):
                ends = [100 * row[f"{side}_accuracy_low"], 100 * row[f"{side}_accuracy_high"]]
                ax.plot(ends, [y, y], color=colour, linewidth=1.6, alpha=0.5, solid_capstyle="round", zorder=2)
            shown = min(size, 6.5) + (3.5 if marker == "*" else 0)
            values = [100 * row[f"{side}_accuracy"] for row in group]
            ax.plot(values, places, marker, color=colour, markersize=shown, markeredgecolor=CARD, markeredgewidth=0.7, label=target, zorder=3)
        for k, method in enumerate(methods):
            values = [row[f"{side}_accuracy"] for row in named if row["method"] == method]
            middle = sum(values) / len(values)
            ax.plot([100 * middle] * 2, [k - 0.3, k + 0.38], color=INK, linewidth=1.4, solid_capstyle="butt", zorder=1)
            ax.annotate(percent(middle), (100 * middle, k - 0.3), (0, 2), textcoords="offset points", ha="center", fontsize=8, color=FAINT)
        ax.set_xlim(-3, 103)
        ax.set_yticks(range(len(methods)), methods, fontsize=9.5, color=INK)
        ax.set_ylim(len(methods) - 0.45, -0.62)
        label(ax, "accuracy (%)", "")
        ax.set_title(title, fontsize=10, color=INK, loc="left")
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper right", ncols=4, frameon=False, fontsize=9, labelcolor=INK, columnspacing=1.1, handletextpad=0.3)
    return figure
