"""Several models on several sets, a line of dots for each set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.figures.style import CARD, FAINT, GRID, INK, KINDS, SPARE, canvas, dress, label, legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_accuracies(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """rows: set, model, accuracy, accuracy_low, accuracy_high (shares); sets and models in the order they appear, the first model is the base.

    A set that is named `first: second` is kin of the set `first` and stands under it.
    """
    sets, models = (list(dict.fromkeys(row[name] for row in rows)) for name in ("set", "model"))
    marks = [KINDS["zero_shot"], *((colour, marker, size) for (colour, _, size), marker in zip(SPARE, "vPs<>dph", strict=False))]
    figure, ax = canvas(6.6, 1.2 + 0.52 * len(sets))
    dress(ax, "x")
    for k in range(0, len(sets), 2):
        ax.axhspan(k - 0.5, k + 0.5, color=GRID, alpha=0.4, linewidth=0, zorder=0)
    for m, model in enumerate(models):
        colour, marker, size = marks[m % len(marks)]
        own = [row for row in rows if row["model"] == model]
        places = [sets.index(row["set"]) + (m - (len(models) - 1) / 2) * min(0.19, 0.8 / len(models)) for row in own]
        for row, y in zip(own, places, strict=True):
            ends = [100 * row["accuracy_low"], 100 * row["accuracy_high"]]
            ax.plot(ends, [y, y], color=colour, linewidth=1.5, alpha=0.45, solid_capstyle="round", zorder=2)
        values = [100 * row["accuracy"] for row in own]
        ax.plot(values, places, marker, color=colour, markersize=min(size, 6.5), markeredgecolor=CARD, markeredgewidth=0.7, label=model, zorder=3)
    kin = [name.partition(": ")[2] for name in sets]
    ax.set_yticks(range(len(sets)), [second or first for first, second in zip(sets, kin, strict=True)], fontsize=9.5)
    for text, second in zip(ax.get_yticklabels(), kin, strict=True):
        text.set_color(FAINT if second else INK)
    ax.set_ylim(len(sets) - 0.5, -0.5)
    label(ax, "accuracy (%)", "")
    legend(ax, loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=3, columnspacing=1.2, handletextpad=0.3)
    return figure
