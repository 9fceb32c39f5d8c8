"""Which nodes must run, which are ready, and which are blocked by what failed: the logic of a run, without input or output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from infra.dag import Plan
from infra.node import Node, children

Members = tuple[int, ...] | None


def survivors(node: Node, missing: set[Node]) -> tuple[Mapping[str, Any], Members] | None:
    """The arguments without the members that are missing, and the indices that remain; None where the node cannot run.

    A list argument is all-or-nothing unless the call said `at_least=k`; a missing index is dropped from every list argument of that length.
    """
    lost: dict[str, set[int]] = {}
    for name, value in node.arguments.items():
        if not any(child in missing for child in children(value)):
            continue
        if node.at_least is None or not isinstance(value, list | tuple):
            return None
        lost[name] = {i for i, item in enumerate(value) if any(child in missing for child in children(item))}
    if not lost:
        return node.arguments, None
    lengths = {len(node.arguments[name]) for name in lost}
    dropped = set().union(*lost.values())
    kept = tuple(i for i in range(min(lengths)) if i not in dropped)
    if len(lengths) > 1 or len(kept) < (node.at_least or 0):
        return None
    length = lengths.pop()
    arguments = {
        name: [value[i] for i in kept] if isinstance(value, list | tuple) and len(value) == length else value
        for name, value in node.arguments.items()
    }
    return arguments, kept


class Schedule:
    """The state of every node that a plan needs: targets first, upwards only where a record is missing."""

    def __init__(self, plan: Plan, done: Callable[[Node], bool]) -> None:
        self.hits: list[Node] = []
        self.state: dict[Node, str] = {}  # hit, pending, running, done, failed, blocked, stopped
        self.waits: dict[Node, set[Node]] = {}
        self.dependants: dict[Node, list[Node]] = {}
        stack = list(plan.targets.values())
        while stack:
            node = stack.pop()
            if node in self.state:
                continue
            if done(node):
                self.state[node] = "hit"
                self.hits.append(node)
                continue
            self.state[node] = "pending"
            above = dict.fromkeys(children(list(node.arguments.values())))
            self.waits[node] = set(above)
            for child in above:
                self.dependants.setdefault(child, []).append(node)
            stack.extend(above)
        self.order = [node for node in plan.nodes() if node in self.state]
        self._ready = {node for node in self.order if self.state[node] == "pending" and not self._open(node)}

    def _open(self, node: Node) -> set[Node]:
        self.waits[node] = {child for child in self.waits[node] if self.state[child] in ("pending", "running")}
        return self.waits[node]

    @property
    def missing(self) -> set[Node]:
        return {node for node, state in self.state.items() if state in ("failed", "blocked", "stopped")}

    def ready(self) -> list[Node]:
        """Nodes that can start now, in the order of the plan; a sweep is ready when all of its members are."""
        waiting = Counter(node.sweep for node in self.order if node.sweep and self.state[node] == "pending" and node not in self._ready)
        return [node for node in self.order if node in self._ready and not (node.sweep and waiting[node.sweep])]

    def start(self, node: Node) -> None:
        self._ready.discard(node)
        self.state[node] = "running"

    def again(self, node: Node) -> None:
        """The node is to be tried once more."""
        self.state[node] = "pending"
        self._ready.add(node)

    def finish(self, node: Node, state: str) -> list[Node]:
        """Record how a node ended; returns the nodes that this blocks, at any distance."""
        self._ready.discard(node)
        self.state[node] = state
        blocked: list[Node] = []
        ended = [node]
        while ended:
            for below in self.dependants.get(ended.pop(), ()):
                if self.state[below] == "pending" and not self._open(below):
                    if survivors(below, self.missing) is None:
                        self.state[below] = "blocked"
                        blocked.append(below)
                        ended.append(below)
                    else:
                        self._ready.add(below)
        return blocked

    def unfinished(self) -> bool:
        return any(state in ("pending", "running") for state in self.state.values())
