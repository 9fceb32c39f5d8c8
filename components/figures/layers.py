"""A layered drawing of a directed acyclic graph: in which column each stage stands, what is stacked, and which way the lines run.

Sugiyama's scheme in small: every stage stands as late as its consumers allow, a long edge gets a lane in each column it crosses, and the
columns are ordered by the mean height of their neighbours until few lines cross.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Slot = tuple[int, int]  # (stack, column): a stack in its own column, or the lane of its outgoing edge in a later one


@dataclass(frozen=True)
class Stack:
    """Stages of one function that share a column and the functions that they read from and feed."""

    column: int
    label: str
    count: int
    states: Mapping[str, int]
    seconds: float | None
    inputs: tuple[int, ...]  # stacks


def stacks(rows: Sequence[Mapping[str, Any]]) -> list[Stack]:
    """Stack the stages. rows: id, label, function, state, seconds or None, inputs (ids; those of no row are left out)."""
    by_id = {row["id"]: row for row in rows}
    inputs = {name: [i for i in row["inputs"] if i in by_id] for name, row in by_id.items()}
    consumers: dict[str, list[str]] = {name: [] for name in by_id}
    for name, sources in inputs.items():
        for source in sources:
            consumers[source].append(name)
    column = _columns(inputs, consumers)
    members: dict[tuple[Any, ...], list[str]] = {}
    for name, row in by_id.items():
        around = (tuple(sorted({by_id[i]["function"] for i in side})) for side in (inputs[name], consumers[name]))
        members.setdefault((column[name], row["function"], *around), []).append(name)
    home = {name: s for s, names in enumerate(members.values()) for name in names}
    made = []
    for (place, function, *_), names in members.items():
        seconds = [by_id[name]["seconds"] for name in names if by_id[name]["seconds"] is not None]
        label = by_id[names[0]]["label"] if len(names) == 1 else function
        feeds = tuple(sorted({home[i] for name in names for i in inputs[name]}))
        made.append(Stack(place, label, len(names), Counter(by_id[n]["state"] for n in names), sum(seconds) if seconds else None, feeds))
    return made


def _columns(inputs: Mapping[str, Sequence[str]], consumers: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The longest way from a source, then as late as the consumers allow; ValueError for a cycle."""
    column: dict[str, int] = {}
    waiting = {name: len(sources) for name, sources in inputs.items()}
    ready = [name for name, n in waiting.items() if n == 0]
    for name in ready:  # grows while it is walked
        column[name] = 1 + max((column[i] for i in inputs[name]), default=-1)
        for consumer in consumers[name]:
            waiting[consumer] -= 1
            if waiting[consumer] == 0:
                ready.append(consumer)
    if len(ready) < len(inputs):
        raise ValueError(f"{len(inputs) - len(ready)} stages wait for each other in a cycle: a DAG has none")
    for name in reversed(ready):
        if consumers[name]:
            column[name] = min(column[c] for c in consumers[name]) - 1
    return column


def arrange(graph: Sequence[Stack], box: float = 1.0, lane: float = 0.35) -> dict[Slot, float]:
    """The height of the middle of every stack and lane, growing downwards; neighbours in a column are at least their sizes apart."""
    columns: dict[int, list[Slot]] = {}
    links: dict[Slot, list[Slot]] = {(s, stack.column): [] for s, stack in enumerate(graph)}
    for s, stack in enumerate(graph):
        for source in stack.inputs:
            path = [(source, k) for k in range(graph[source].column, stack.column)] + [(s, stack.column)]
            for a, b in pairwise(path):
                links.setdefault(a, []).append(b)
                links.setdefault(b, []).append(a)
    for slot in links:
        columns.setdefault(slot[1], []).append(slot)
    sizes = {slot: box if slot[1] == graph[slot[0]].column else lane for slot in links}
    heights: dict[Slot, float] = {}
    for members in columns.values():
        heights |= _spread(members, sizes, {})
    for sweep in range(12):
        for k in sorted(columns, reverse=sweep % 2 == 1):
            pull = {slot: _mean([heights[other] for other in links[slot]], heights[slot]) for slot in columns[k]}
            columns[k].sort(key=lambda slot: (pull[slot], slot))
            heights |= _spread(columns[k], sizes, pull)
    return heights


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _spread(members: Sequence[Slot], sizes: Mapping[Slot, float], pull: Mapping[Slot, float]) -> dict[Slot, float]:
    """Heights in the given order, close together, the column centred on where its neighbours pull it."""
    places, at = {}, 0.0
    for slot in members:
        places[slot] = at + sizes[slot] / 2
        at += sizes[slot]
    shift = _mean([pull[slot] - places[slot] for slot in members], 0.0) if pull else -at / 2
    return {slot: y + shift for slot, y in places.items()}
