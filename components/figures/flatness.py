"""The soup against the ensemble along the line between two models: measured, and what flatness and confidence predict (arXiv:2203.05482)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.figures.style import BLUE, CARD, FAINT, GREEN, INK, ORANGE, canvas, dress, label, legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINES: dict[str, tuple[str, Any, str]] = {
    "flatness": (ORANGE, (0, (4, 2)), "flatness"),
    "confidence": (GREEN, (0, (4, 2)), "confidence"),
    "predicted": (BLUE, "-", "predicted"),
}


def draw_flatness(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """The loss difference against alpha, and beside it the two terms of the prediction.

    rows: alpha in (0, 1), measured, measured_se or None, predicted, flatness, confidence; at the ends all are 0.
    """
    figure, (left, right) = canvas(8.4, 3.9, columns=2)
    x, inner = [0.0, *(row["alpha"] for row in rows), 1.0], [row["alpha"] for row in rows]
    for ax, names in ((left, ("predicted",)), (right, ("flatness", "confidence", "predicted"))):
        dress(ax)
        ax.axhline(0, color=FAINT, linewidth=1, zorder=1)
        ax.set_xlim(-0.03, 1.03)
        for name in names:
            colour, dash, words = LINES[name]
            ax.plot(x, [0.0, *(row[name] for row in rows), 0.0], color=colour, linewidth=1.8, linestyle=dash, zorder=3, label=words)
    bars = [1.96 * (row.get("measured_se") or 0.0) for row in rows]
    measured = [row["measured"] for row in rows]
    left.errorbar(inner, measured, bars, fmt="none", ecolor=INK, elinewidth=1, alpha=0.5, zorder=4)
    left.plot(x, [0.0, *measured, 0.0], "o", color=INK, markersize=6, markeredgecolor=CARD, markeredgewidth=0.9, zorder=5, label="measured")
    for ax, words in ((left, "loss of the soup less loss of the ensemble"), (right, "the terms of the prediction")):
        label(ax, "\N{GREEK SMALL LETTER ALPHA}: from the one model (0) to the other (1)", words)
        legend(ax, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, columnspacing=1.0, handlelength=1.6, handletextpad=0.5)
    return figure
