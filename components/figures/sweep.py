"""The sweep as parallel coordinates: a line for each trial through its knobs to its held-out accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import log10
from typing import TYPE_CHECKING, Any

from components.figures.style import CARD, FAINT, GREY, INK, canvas, dress

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


ROOM = 0.035  # of the height of an axis, for a name


def draw_sweep(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """One axis for each knob that varies, logarithmic where its values span more than a decade, and one for the outcome.

    rows: trial (its number, or None for no name), value (a share, or None where there is none), stopped (whether early, optional), and a
    column for each knob: a number, text or None.
    """
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    knobs = [key for key in dict.fromkeys(k for row in rows for k in row) if key not in ("trial", "value", "stopped")]
    knobs = [knob for knob in knobs if len({str(row.get(knob)) for row in rows}) > 1]
    figure, ax = canvas(max(7.6, 1.5 * (len(knobs) + 1)), 4.2)
    dress(ax)
    ax.grid(False)
    ax.set_axis_off()
    scores = [100 * row["value"] for row in rows if row["value"] is not None]
    low, high = (min(scores), max(scores)) if scores else (0.0, 1.0)
    colours = LinearSegmentedColormap.from_list("score", ["#d9a514", "#6fae5f", "#0a8a80", "#2a5fa5"])
    shade = Normalize(low, high if high > low else low + 1)
    columns = [_axis(ax, x, name, [row.get(knob) for row in rows]) for x, (knob, name) in enumerate(zip(knobs, _short(knobs), strict=True))]
    columns.append(_axis(ax, len(knobs), "held-out (%)", [None if row["value"] is None else 100 * row["value"] for row in rows], log=False))
    order = sorted(range(len(rows)), key=lambda i: -1.0 if rows[i]["value"] is None else rows[i]["value"])
    named = _apart(columns[-1], [i for i in order[::-1] if rows[i]["trial"] is not None])
    for i in order:
        value = rows[i]["value"]
        places = [column[i] for column in columns]
        x, y = _smooth([(k, p) for k, p in enumerate(places) if p is not None])
        colour = GREY if value is None else colours(shade(100 * value))
        style = (0, (3, 2)) if value is None or rows[i].get("stopped") else "solid"
        ax.plot(
            x, y, color=colour, linewidth=2.2 if value is not None else 1.4, alpha=0.9, linestyle=style, solid_capstyle="round", zorder=3
        )
        if i in named:
            ax.annotate(
                f"trial {rows[i]['trial']}",
                (len(knobs), places[-1]),
                (9, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
                color=colour,
            )
    ax.set_xlim(-0.35, len(knobs) + 0.45)
    ax.set_ylim(-0.06, 1.17)
    return figure


def _apart(heights: Sequence[float | None], order: Sequence[int]) -> set[int]:
    """Which lines have room for their name beside the last axis; of those too near to each other the first in this order."""
    taken: dict[int, float] = {}
    for i in order:
        if (height := heights[i]) is not None and all(abs(height - other) > ROOM for other in taken.values()):
            taken[i] = height
    return set(taken)


def _axis(ax: Axes, x: int, name: str, values: Sequence[Any], log: bool = True) -> list[float | None]:
    """Draw one vertical axis with its ticks, and return the height of each value on it."""
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values if v is not None)
    if numeric:
        numbers = sorted({float(v) for v in values if v is not None}) or [0.0]
        curved = log and numbers[0] > 0 and numbers[-1] / numbers[0] > 10
        low, high = (log10(numbers[0]), log10(numbers[-1])) if curved else (numbers[0], numbers[-1])
        span = high - low or 1.0
        heights = [None if v is None else ((log10(float(v)) if curved else float(v)) - low) / span for v in values]
        marks = numbers if len(numbers) < 4 else [10 ** (low + f * span) if curved else low + f * span for f in (0, 0.25, 0.5, 0.75, 1)]
        ticks = [(((log10(v) if curved else v) - low) / span, f"{v:.2g}" if curved else f"{v:.4g}" if log else f"{v:.1f}") for v in marks]
        name = f"{name}\nlog scale" if curved else f"{name}\n"
    else:
        words = list(dict.fromkeys(str(v) for v in values))
        heights = [words.index(str(v)) / max(1, len(words) - 1) for v in values]
        ticks = [(i / max(1, len(words) - 1), word) for i, word in enumerate(words)]
        name = f"{name}\n"
    ax.plot([x, x], [0, 1], color=FAINT, linewidth=1, zorder=2)
    behind = {"boxstyle": "round,pad=0.15", "facecolor": CARD, "edgecolor": "none", "alpha": 0.85}
    for height, text in ticks:
        ax.annotate(
            text,
            (x, height),
            (-5, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=8.5,
            color=FAINT,
            bbox=behind,
            zorder=4,
        )
    title, small = name.split("\n")
    ax.annotate(title, (x, 1), (0, 26), textcoords="offset points", ha="center", fontsize=10, color=INK)
    ax.annotate(small, (x, 1), (0, 14), textcoords="offset points", ha="center", fontsize=8, color=FAINT)
    return heights


def _short(knobs: Sequence[str]) -> list[str]:
    """The last part of each path, where that alone tells the knobs apart."""
    last = [knob.rpartition(".")[2] for knob in knobs]
    return [short if last.count(short) == 1 else knob for knob, short in zip(knobs, last, strict=True)]


def _smooth(points: Sequence[tuple[int, float]]) -> tuple[list[float], list[float]]:
    """The points joined by flat-ended curves, which the eye follows through an axis better than corners."""
    xs, ys = [float(points[0][0])], [points[0][1]]
    for (x0, y0), (x1, y1) in pairwise(points):
        for step in range(1, 25):
            t = step / 24
            xs.append(x0 + (x1 - x0) * t)
            ys.append(y0 + (y1 - y0) * t * t * (3 - 2 * t))
    return xs, ys
