"""The DAG of a run: one box for each stage in the column where it runs, coloured by state; alike stages are one stack with a count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.figures.layers import Slot, Stack, arrange, stacks
from components.figures.style import BLUE, CARD, FAINT, GREEN, GREY, INK, ORANGE, RED, canvas, dress

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STATES = {
    "ran": (GREEN, "ran"),
    "hit": (BLUE, "cache hit"),
    "failed": (RED, "failed"),
    "blocked": (ORANGE, "blocked"),
    "waiting": (GREY, "waiting"),
}
WIDTH, HEIGHT, GAP = 1.32, 0.56, 0.34  # of a box, and between columns, in inches
ROW, LANE = 0.84, 0.26  # what a box and a lane take of a column's height


def draw_dag(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Boxes from left to right. rows: id, label, function, state (a key of `STATES`), seconds or None, inputs (ids)."""
    graph = stacks(rows)
    heights = arrange(graph, ROW, LANE)
    top, bottom = min(heights.values()) - 0.85, max(heights.values()) + 0.45
    wide = (max(stack.column for stack in graph) + 1) * (WIDTH + GAP) - GAP + 0.2
    figure, ax = canvas(max(7.6, wide), max(2.0, bottom - top))
    dress(ax)
    ax.grid(False)
    ax.set_axis_off()
    for s, stack in enumerate(graph):
        for source in stack.inputs:
            _edge(ax, heights, source, graph[source].column, (s, stack.column))
    for s, stack in enumerate(graph):
        _box(ax, stack.column * (WIDTH + GAP), heights[s, stack.column] - HEIGHT / 2, stack)
    shown = [state for state in STATES if any(state in stack.states for stack in graph)]
    for k, state in enumerate(shown):
        ax.plot([0.06 + 1.0 * k], [top + 0.15], "s", color=STATES[state][0], markersize=7)
        ax.text(0.17 + 1.0 * k, top + 0.15, STATES[state][1], fontsize=9, color=INK, va="center")
    ax.set_xlim(-0.05, max(7.6, wide) - 0.05)
    ax.set_ylim(bottom, top)
    return figure


def _edge(ax: Axes, heights: Mapping[Slot, float], source: int, column: int, target: Slot) -> None:
    """One line from a box to a box: level across columns, bent between them."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    x, y = column * (WIDTH + GAP) + WIDTH, heights[source, column]
    points, codes = [(x, y)], [Path.MOVETO]
    for k in range(column + 1, target[1] + 1):
        slot = target if k == target[1] else (source, k)
        into = k * (WIDTH + GAP)
        points += [(x + 0.6 * GAP, y), (into - 0.6 * GAP, heights[slot]), (into, heights[slot])]
        codes += [Path.CURVE4] * 3
        if k < target[1]:
            points.append((into + WIDTH, heights[slot]))
            codes.append(Path.LINETO)
        x, y = into + WIDTH, heights[slot]
    ax.add_patch(PathPatch(Path(points, codes), facecolor="none", edgecolor=GREY, linewidth=1.1, zorder=1))


def _box(ax: Axes, x: float, y: float, stack: Stack) -> None:
    from matplotlib.patches import FancyBboxPatch

    state = next(s for s in ("failed", "blocked", "waiting", "ran", "hit") if stack.states.get(s))
    colour = STATES[state][0]
    for back in range(min(stack.count, 3) - 1, -1, -1):
        corner, shape = (x + 0.05 * back, y - 0.05 * back), "round,pad=0,rounding_size=0.08"
        ax.add_patch(FancyBboxPatch(corner, WIDTH, HEIGHT, boxstyle=shape, facecolor=CARD, edgecolor=colour, linewidth=1.4, zorder=3))
    ax.add_patch(
        FancyBboxPatch((x + 0.05, y + 0.12), 0.045, HEIGHT - 0.24, boxstyle="round,pad=0,rounding_size=0.02", color=colour, zorder=4)
    )
    name = f"{stack.count} \N{MULTIPLICATION SIGN} {stack.label}" if stack.count > 1 else stack.label
    name = name if len(name) <= 16 else name[:15] + "…"
    counts = ", ".join(f"{n} {STATES[s][1]}" if stack.count > 1 else STATES[s][1] for s, n in stack.states.items())
    spent = f" · {_duration(stack.seconds)}" if stack.seconds is not None and set(stack.states) != {"hit"} else ""
    ax.text(x + 0.16, y + 0.2, name, fontsize=9, color=INK, va="center", zorder=5)
    ax.text(x + 0.16, y + 0.4, counts + spent, fontsize=7.6, color=FAINT, va="center", zorder=5)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
