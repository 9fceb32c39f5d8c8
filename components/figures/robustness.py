"""Effective robustness of each model: over the mean of the shifts with its interval, and on each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.figures.style import BLUE, CARD, FAINT, GREY, canvas, dress, label, legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_robustness(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """A line for each model. rows: split (the first is their mean), model, rho, rho_low, rho_high (shares); drawn in points."""
    models, mean = list(dict.fromkeys(row["model"] for row in rows)), rows[0]["split"]
    figure, ax = canvas(6.4, 1.2 + 0.36 * len(models))
    dress(ax, "x")
    ax.axvline(0, color=FAINT, linewidth=1.1, linestyle=(0, (5, 3)), zorder=1)
    each = [row for row in rows if row["split"] != mean]
    x, y = [100 * row["rho"] for row in each], [models.index(row["model"]) for row in each]
    ax.plot(x, y, "|", color=GREY, markersize=8, markeredgewidth=1.2, zorder=2, label="each shift")
    averaged = [row for row in rows if row["split"] == mean]
    for k, row in enumerate(averaged):
        ax.plot([100 * row["rho_low"], 100 * row["rho_high"]], [k, k], color=BLUE, linewidth=2, solid_capstyle="round", zorder=3)
    x = [100 * row["rho"] for row in averaged]
    ax.plot(x, range(len(x)), "o", color=BLUE, markersize=7, markeredgecolor=CARD, markeredgewidth=0.8, zorder=4, label=mean)
    ax.set_yticks(range(len(models)), models, fontsize=9.5, color=FAINT)
    ax.set_ylim(len(models) - 0.5, -0.5)
    label(ax, "effective robustness (points)", "")
    legend(ax, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, columnspacing=1.1, handletextpad=0.3)
    return figure
