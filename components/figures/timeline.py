"""When each stage ran, and where: one lane for each worker; a second attempt is marked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.figures.style import BLUE, CARD, FAINT, GREEN, INK, ON, ORANGE, PINK, RED, SKY, SLATE, VIOLET, canvas, dress, label, legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PALETTE = (GREEN, BLUE, ORANGE, VIOLET, SKY, PINK)


def draw_timeline(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """A bar from start to end of each stage; the functions that took longest have their own colour.

    rows: function, label, worker, started and seconds, attempts, state.
    """
    workers = list(dict.fromkeys(row["worker"] for row in sorted(rows, key=lambda row: row["started"])))
    spent = Counter[str]()
    for row in rows:
        spent[row["function"]] += row["seconds"]
    colours = {function: colour for (function, _), colour in zip(spent.most_common(), PALETTE, strict=False)}
    end = max(row["started"] + row["seconds"] for row in rows)
    figure, ax = canvas(7.6, 1.05 + 0.42 * len(workers))
    dress(ax, "x")
    named: set[str] = set()
    for row in rows:
        failed = row["state"] == "failed"
        name = "failed" if failed else row["function"] if row["function"] in colours else "other"
        colour = RED if failed else colours.get(row["function"], SLATE)
        shown = {"label": name} if name not in named else {}
        named.add(name)
        edge = 0.6 if row["seconds"] > 0.01 * end else 0
        y = workers.index(row["worker"])
        ax.barh(y, row["seconds"], left=row["started"], height=0.62, color=colour, edgecolor=CARD, linewidth=edge, zorder=2, **shown)
        if row["attempts"] > 1:
            ax.text(
                row["started"] + row["seconds"] / 2, y, f"↻{row['attempts'] - 1}", ha="center", va="center", fontsize=8, color=ON, zorder=3
            )
    ax.set_yticks(range(len(workers)), workers, fontsize=9, color=FAINT)
    ax.set_xlim(left=0)
    ax.set_ylim(len(workers) - 0.5, -0.5)
    ax.tick_params(axis="y", labelcolor=INK)
    label(ax, "seconds since the run began", "")
    legend(
        ax, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(8, len(named)), columnspacing=1.1, handlelength=1, handletextpad=0.5
    )
    return figure
