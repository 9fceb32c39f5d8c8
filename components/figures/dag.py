"""The DAG of a run: one box for each stage in the layer where it could run, coloured by state; alike stages are one stack with a count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.figures.style import BLUE, CARD, FAINT, GREEN, GREY, INK, ORANGE, RED, canvas, dress

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STATES = {"ran": (GREEN, "ran"), "hit": (BLUE, "cache hit"), "failed": (RED, "failed"), "blocked": (ORANGE, "blocked"), "waiting": (GREY, "waiting")}
WIDTH, HEIGHT, GAP_X, GAP_Y = 1.55, 0.56, 0.62, 0.26  # of a box and between boxes, in inches


def draw_dag(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Boxes from left to right. rows: id, label, function, state (a key of `STATES`), seconds or None, inputs (ids).

    Stages of one function in one layer whose inputs and consumers are of the same functions are drawn as one stack.
    """
    groups = _groups(rows)
    layers: dict[int, list[int]] = {}
    for g, group in enumerate(groups):
        layers.setdefault(group["layer"], []).append(g)
    tallest = max(len(members) for members in layers.values())
    width, height = len(layers) * (WIDTH + GAP_X), tallest * (HEIGHT + GAP_Y) + 0.5
    figure, ax = canvas(max(7.6, width), max(2.2, height))
    dress(ax)
    ax.set_axis_off()
    places = _places(groups, layers, tallest)
    for g, group in enumerate(groups):
        for source in group["inputs"]:
            _arrow(ax, places[source], places[g])
    for g, group in enumerate(groups):
        _box(ax, places[g], group)
    shown = [state for state in STATES if any(state in group["states"] for group in groups)]
    for k, state in enumerate(shown):
        ax.text(0.14 + 1.15 * k, -0.42, STATES[state][1], fontsize=9, color=INK, va="center")
        ax.plot([0.04 + 1.15 * k], [-0.42], "s", color=STATES[state][0], markersize=7)
    ax.set_xlim(-0.08, len(layers) * (WIDTH + GAP_X) - GAP_X + 0.16)
    ax.set_ylim(tallest * (HEIGHT + GAP_Y), -0.62)
    return figure


def _groups(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The stacks: layer, label, states with counts, seconds in total, and the stacks that feed each."""
    by_id = {row["id"]: row for row in rows}
    layer: dict[str, int] = {}

    def depth(name: str) -> int:
        if name not in layer:
            layer[name] = 1 + max((depth(i) for i in by_id[name]["inputs"] if i in by_id), default=-1)
        return layer[name]

    consumers: dict[str, set[str]] = {name: set() for name in by_id}
    for row in rows:
        for source in row["inputs"]:
            if source in consumers:
                consumers[source].add(row["function"])
    keys: dict[tuple[Any, ...], list[str]] = {}
    for row in rows:
        sources = tuple(sorted({by_id[i]["function"] for i in row["inputs"] if i in by_id}))
        keys.setdefault((depth(row["id"]), row["function"], sources, tuple(sorted(consumers[row["id"]]))), []).append(row["id"])
    home = {name: g for g, members in enumerate(keys.values()) for name in members}
    groups = []
    for (level, function, *_), members in keys.items():
        seconds = [by_id[m]["seconds"] for m in members if by_id[m]["seconds"] is not None]
        feeds = sorted({home[i] for m in members for i in by_id[m]["inputs"] if i in home})
        name = by_id[members[0]]["label"] if len(members) == 1 else function
        states = Counter(by_id[m]["state"] for m in members)
        groups.append({"layer": level, "label": name, "count": len(members), "states": states, "seconds": seconds, "inputs": feeds})
    return groups


def _places(groups: Sequence[Mapping[str, Any]], layers: Mapping[int, list[int]], tallest: int) -> dict[int, tuple[float, float]]:
    """Left upper corners; in each layer the stacks are ordered by the mean height of what feeds them, so that few arrows cross."""
    places: dict[int, tuple[float, float]] = {}
    for level in sorted(layers):

        def pull(g: int) -> float:
            heights = [places[i][1] for i in groups[g]["inputs"] if i in places]
            return sum(heights) / len(heights) if heights else 0.0

        members = sorted(layers[level], key=lambda g: (pull(g), g))
        top = (tallest - len(members)) * (HEIGHT + GAP_Y) / 2
        for k, g in enumerate(members):
            places[g] = (level * (WIDTH + GAP_X), top + k * (HEIGHT + GAP_Y))
    return places


def _arrow(ax: Axes, source: tuple[float, float], target: tuple[float, float]) -> None:
    from matplotlib.path import Path
    from matplotlib.patches import PathPatch

    x0, y0, x1, y1 = source[0] + WIDTH, source[1] + HEIGHT / 2, target[0], target[1] + HEIGHT / 2
    bend = min(0.5 * (x1 - x0), 0.5)
    path = Path([(x0, y0), (x0 + bend, y0), (x1 - bend, y1), (x1, y1)], [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4])
    ax.add_patch(PathPatch(path, facecolor="none", edgecolor=GREY, linewidth=1.1, alpha=0.75, zorder=1))


def _box(ax: Axes, place: tuple[float, float], group: Mapping[str, Any]) -> None:
    from matplotlib.patches import FancyBboxPatch

    x, y = place
    state = next(s for s in ("failed", "blocked", "waiting", "ran", "hit") if group["states"].get(s))
    colour = STATES[state][0]
    for back in range(min(group["count"], 3) - 1, -1, -1):
        shift = 0.055 * back
        box = FancyBboxPatch(
            (x + shift, y - shift), WIDTH, HEIGHT, boxstyle="round,pad=0,rounding_size=0.09", facecolor=CARD, edgecolor=colour, linewidth=1.5, zorder=3
        )
        ax.add_patch(box)
    ax.add_patch(FancyBboxPatch((x + 0.05, y + 0.12), 0.05, HEIGHT - 0.24, boxstyle="round,pad=0,rounding_size=0.02", color=colour, zorder=4))
    count = f"{group['count']} × " if group["count"] > 1 else ""
    name = group["label"] if len(group["label"]) <= 18 else group["label"][:17] + "…"
    ax.text(x + 0.17, y + 0.2, count + name, fontsize=8.8, color=INK, va="center", zorder=5)
    counts = ", ".join(f"{n} {STATES[s][1]}" if group["count"] > 1 else STATES[s][1] for s, n in group["states"].items())
    spent = f" · {_duration(sum(group['seconds']))}" if group["seconds"] else ""
    ax.text(x + 0.17, y + 0.4, counts + spent, fontsize=7.4, color=FAINT, va="center", zorder=5)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
