"""When each stage ran, and where: one lane for each worker; a second attempt is marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.figures.style import BLUE, CARD, FAINT, GREEN, INK, ORANGE, PINK, RED, SKY, VIOLET, canvas, dress, label, legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PALETTE = (GREEN, BLUE, ORANGE, PINK, VIOLET, SKY)


def draw_timeline(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """A bar from start to end of each stage. rows: function, label, worker, started, seconds, attempts, state; functions share a colour."""
    workers = list(dict.fromkeys(row["worker"] for row in sorted(rows, key=lambda row: row["started"])))
    functions = list(dict.fromkeys(row["function"] for row in sorted(rows, key=lambda row: row["started"])))
    figure, ax = canvas(7.6, 0.95 + 0.42 * len(workers))
    dress(ax, "x")
    named: set[str] = set()
    for row in rows:
        colour = RED if row["state"] == "failed" else PALETTE[functions.index(row["function"]) % len(PALETTE)]
        name = row["function"] if row["function"] not in named and row["state"] != "failed" else None
        named |= {row["function"]} if name else set()
        y = workers.index(row["worker"])
        ax.barh(y, row["seconds"], left=row["started"], height=0.62, color=colour, edgecolor=CARD, linewidth=1, label=name, zorder=2)
        if row["attempts"] > 1:
            ax.text(row["started"] + row["seconds"] / 2, y, f"↻{row['attempts'] - 1}", ha="center", va="center", fontsize=8, color="white", zorder=3)
    ax.set_yticks(range(len(workers)), workers, fontsize=9, color=FAINT)
    ax.set_ylim(len(workers) - 0.5, -0.5)
    ax.tick_params(axis="y", labelcolor=INK)
    label(ax, "seconds since the run began", "")
    legend(ax, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(6, len(named)), columnspacing=1.4, handlelength=1, handletextpad=0.5)
    return figure
