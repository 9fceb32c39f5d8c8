"""A task analogy: accuracy on the fourth task of the result and of what it was made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.figures.style import CARD, GREEN, INK, SLATE, canvas, dress, label, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_analogies(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """One bar for each model. rows: model, accuracy (a share) with _low and _high; those with a coefficient are the analogy's."""
    figure, ax = canvas(5.7, 0.8 + 0.42 * len(rows))
    dress(ax, "x")
    for k, row in enumerate(rows):
        colour = GREEN if row.get("coefficient") is not None else SLATE
        ax.barh(k, 100 * row["accuracy"], height=0.62, color=colour, alpha=0.85, edgecolor=CARD, zorder=2)
        ax.plot([100 * row["accuracy_low"], 100 * row["accuracy_high"]], [k, k], color=INK, linewidth=1.4, zorder=3)
        ax.text(100 * row["accuracy_high"] + 1, k, percent(row["accuracy"]), va="center", fontsize=9, color=INK)
    ax.set_yticks(range(len(rows)), [row["model"] for row in rows], fontsize=9.5, color=INK)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlim(0, 108)
    label(ax, "accuracy (%)", "")
    return figure
