"""Which nodes must run, which are ready, and which are blocked by what failed: the logic of a run, without input or output.

Equal calls are one node here: what a study writes twice is computed once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from infra.dag import Plan
from infra.node import Node, children

Members = tuple[int, ...] | None
ENDED_WELL = ("hit", "done")
MISSING = ("failed", "blocked", "stopped")


def survivors(node: Node, missing: Callable[[Node], bool]) -> tuple[Mapping[str, Any], Members] | None:
    """The arguments without the members that are missing, and the indices that remain; None where the node cannot run.

    A list or mapping of nodes is all-or-nothing unless the call said `at_least=k`; a missing member is dropped, by its index, from every
    list and mapping of nodes that the call takes.
    """
    collections = {name: _items(value) for name, value in node.arguments.items() if isinstance(value, list | tuple | dict)}
    collections = {name: items for name, items in collections.items() if any(True for _ in children(items))}
    single = [value for name, value in node.arguments.items() if name not in collections]
    if any(missing(child) for child in children(single)):
        return None
    dropped = {i for items in collections.values() for i, item in enumerate(items) if any(missing(child) for child in children(item))}
    if not dropped:
        return node.arguments, None
    lengths = {len(items) for items in collections.values()}
    if node.at_least is None or len(lengths) > 1:
        return None
    kept = tuple(i for i in range(lengths.pop()) if i not in dropped)
    if len(kept) < node.at_least:
        return None
    return {name: _keep(value, kept) if name in collections else value for name, value in node.arguments.items()}, kept


def _items(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else list(value)


def _keep(value: Any, kept: tuple[int, ...]) -> Any:
    if isinstance(value, dict):
        return {key: item for i, (key, item) in enumerate(value.items()) if i in kept}
    return [value[i] for i in kept]


class Schedule:
    """The state of every node that a plan needs: targets first, upwards only where a record is missing.

    States: hit, pending, running, done, failed, blocked, stopped.
    """

    def __init__(self, plan: Plan, key: Callable[[Node], str], done: Callable[[str], bool]) -> None:
        self.key = key
        self.nodes: dict[str, Node] = {}  # key -> the first node of that key
        self.state: dict[str, str] = {}
        self.waits: dict[str, set[str]] = {}
        self.dependants: dict[str, list[str]] = {}
        self.ready_keys: set[str] = set()
        stack = list(plan.targets.values())
        while stack:
            node = stack.pop()
            name = key(node)
            if name in self.state:
                continue
            self.nodes[name] = node
            self.state[name] = "hit" if done(name) else "pending"
            if self.state[name] == "pending":
                above = list(children(list(node.arguments.values())))
                self.waits[name] = {key(child) for child in above}
                for child in self.waits[name]:
                    self.dependants.setdefault(child, []).append(name)
                stack.extend(above)
        self.order = [name for name in dict.fromkeys(key(node) for node in plan.nodes()) if name in self.state]
        self.ready_keys = {name for name in self.order if self.state[name] == "pending" and not self._open(name)}

    def _open(self, name: str) -> set[str]:
        self.waits[name] = {child for child in self.waits[name] if self.state[child] in ("pending", "running")}
        return self.waits[name]

    def missing(self, node: Node) -> bool:
        return self.state.get(self.key(node)) in MISSING

    def ready(self) -> list[Node]:
        """Nodes that can start now, in the order of the plan; a sweep is ready when all of its members are."""
        if not self.ready_keys:
            return []
        late = (self.nodes[name].sweep for name in self.order if self.state[name] == "pending" and name not in self.ready_keys)
        waiting = Counter(sweep for sweep in late if sweep)
        found = [self.nodes[name] for name in self.order if name in self.ready_keys]
        return [node for node in found if not (node.sweep and waiting[node.sweep])]

    def start(self, name: str) -> None:
        self.ready_keys.discard(name)
        self.state[name] = "running"

    def again(self, name: str) -> None:
        """The node is to be tried once more."""
        self.state[name] = "pending"
        self.ready_keys.add(name)

    def finish(self, name: str, state: str) -> list[str]:
        """Record how a node ended; returns the keys of the nodes that this blocks, at any distance."""
        self.ready_keys.discard(name)
        self.state[name] = state
        blocked: list[str] = []
        ended = [name]
        while ended:
            for below in self.dependants.get(ended.pop(), ()):
                if self.state[below] == "pending" and not self._open(below):
                    if survivors(self.nodes[below], self.missing) is None:
                        self.state[below] = "blocked"
                        blocked.append(below)
                        ended.append(below)
                    else:
                        self.ready_keys.add(below)
        return blocked

    def unfinished(self) -> bool:
        return any(state in ("pending", "running") for state in self.state.values())

    def count(self, *states: str) -> int:
        return sum(state in states for state in self.state.values())
