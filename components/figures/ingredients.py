"""How the greedy soup was cooked: each candidate's own score, whether it went in, and the soup's score as it grew (arXiv:2203.05482)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.figures.style import FAINT, GREEN, INK, ON, SLATE, canvas, dress, label, legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_ingredients(rows: Sequence[Mapping[str, Any]], n: int | None = None) -> Figure:
    """Bars in the order of the search. rows: trial, accepted, value, soup (score of the soup with this candidate, or None), shares."""
    figure, ax = canvas(6.8, 3.7)
    dress(ax, "y")
    for accepted, colour, name in ((True, GREEN, "accepted"), (False, SLATE, "rejected")):
        group = [(i, 100 * row["value"]) for i, row in enumerate(rows) if row["accepted"] is accepted]
        if group:
            ax.bar([i for i, _ in group], [v for _, v in group], width=0.66, color=colour, label=name, zorder=2)
    best, running = 0.0, []
    for row in rows:
        best = 100 * (row["soup"] if row["soup"] is not None else row["value"]) if row["accepted"] else best
        running.append(best)
    ends = [i - 0.5 for i in range(len(rows) + 1)]
    ax.step(ends, [*running, running[-1]], where="post", color=INK, linewidth=1.8, label="the soup so far", zorder=4)
    tried = [(i, 100 * row["soup"]) for i, row in enumerate(rows) if row["soup"] is not None and not row["accepted"]]
    if tried:
        ax.plot([i for i, _ in tried], [v for _, v in tried], "x", color=INK, markersize=7, label="with the rejected one", zorder=5)
    heights = [100 * row["value"] for row in rows] + running + [v for _, v in tried]
    low, high = min(heights), max(heights)
    ax.set_ylim(max(0.0, low - max(1.0, 0.35 * (high - low))), min(100.5, high + max(0.6, 0.12 * (high - low))))
    for i, row in enumerate(rows):
        ax.annotate(
            f"{100 * row['value']:.1f}", (i, 100 * row["value"]), (0, -13), textcoords="offset points", ha="center", fontsize=9, color=ON
        )
    ax.set_xticks(
        range(len(rows)), [f"trial {row['trial']}" for row in rows], fontsize=9, color=FAINT, rotation=0 if len(rows) < 11 else 90
    )
    label(ax, "candidates, best first", f"held-out accuracy (%){f', n = {n}' if n else ''}")
    legend(ax, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, columnspacing=1.4, handletextpad=0.5)
    return figure
