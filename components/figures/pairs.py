"""What two models gain from being averaged, against how unlike they are (model soups, arXiv:2203.05482)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from components.figures.style import BLUE, CARD, FAINT, GREEN, INK, ORANGE, VIOLET, canvas, dress, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEASURES = {
    "angle": "angle between the moves (degrees)",
    "ratio_error": "unshared / shared errors",
    "q_statistic": "Q statistic of the successes",
    "cka": "CKA of the features",
}
MARKS = ((BLUE, "o"), (ORANGE, "D"), (GREEN, "s"), (VIOLET, "^"))


def draw_pairs(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """A panel for each of the first two measures that vary, with the least-squares line and Spearman's rank correlation over all pairs.

    rows: advantage (a share), angle, ratio_error, q_statistic, cka (numbers or None) and, optionally, group.
    """
    groups = list(dict.fromkeys(row.get("group", "") for row in rows))
    shown = [name for name in MEASURES if len({row[name] for row in rows if row.get(name) is not None}) > 1][:2] or ["angle"]
    figure, axes = canvas(4.1 * len(shown) + (1.2 if len(shown) == 1 else 0.2), 4.1, columns=len(shown), sharey=True)
    for k, (ax, measure) in enumerate(zip(axes if len(shown) > 1 else [axes], shown, strict=True)):
        _panel(ax, [row for row in rows if row.get(measure) is not None], measure, groups)
        label(ax, MEASURES[measure], "" if k else "advantage of the mean (points)")
    if len(groups) > 1:
        handles, names = (axes[0] if len(shown) > 1 else axes).get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=len(groups), frameon=False, fontsize=9, labelcolor=INK)
    return figure


def _panel(ax: Axes, rows: Sequence[Mapping[str, Any]], measure: str, groups: Sequence[str]) -> None:
    dress(ax)
    ax.axhline(0, color=FAINT, linewidth=1, zorder=1)
    for i, group in enumerate(groups):
        own = [row for row in rows if row.get("group", "") == group]
        colour, marker = MARKS[i % len(MARKS)]
        points = [row[measure] for row in own], [100 * row["advantage"] for row in own]
        ax.plot(*points, marker, color=colour, markersize=7, markeredgecolor=CARD, markeredgewidth=0.8, alpha=0.9, zorder=3, label=group or None)
    x, y = np.array([row[measure] for row in rows], float), np.array([100 * row["advantage"] for row in rows], float)
    if len(set(x)) < 2:
        return
    ends = np.array([x.min(), x.max()])
    ax.plot(ends, np.polyval(np.polyfit(x, y, 1), ends), color=FAINT, linewidth=1.4, linestyle=(0, (5, 3)), zorder=2)
    known = rank_correlation(x, y)
    told = f"rank correlation {known:+.2f}, {len(x)} pairs" if known is not None else f"{len(x)} pairs"
    ax.set_title(told, fontsize=9, color=FAINT, loc="right", pad=6)


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float | None:
    """Spearman's: the correlation of the ranks, ties at their mean rank; None where one of the two does not vary."""
    first, second = (_ranks(each) for each in (x, y))
    scale = float(np.sqrt((first @ first) * (second @ second)))
    return float(first @ second) / scale if scale else None


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks less their mean."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return np.asarray(ranks - ranks.mean())
