"""Which nodes must run, which are ready, and which are blocked by what failed: the logic of a run, without input or output.

Equal calls are one node here: what a study writes twice is computed once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
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

    `done(keys)` says which of many nodes have a record: it is asked level by level. States: hit, pending, running, done, failed, blocked, stopped.
    """

    def __init__(self, plan: Plan, key: Callable[[Node], str], done: Callable[[Sequence[str]], Collection[str]]) -> None:
        self.plan, self.key, self._done = plan, key, done
        self.nodes: dict[str, Node] = {}  # key -> the first node of that key
        self.state: dict[str, str] = {}
        self.waits: dict[str, set[str]] = {}
        self.dependants: dict[str, dict[str, None]] = {}
        self.ready_keys: set[str] = set()
        self._settle(self._add(plan.targets.values()))

    def _add(self, nodes: Iterable[Node]) -> list[str]:
        """Take in nodes, and upwards what they need where their record is missing; returns those that are to run."""
        pending: list[str] = []
        level = list(nodes)
        while level:
            fresh: dict[str, Node] = {}
            for node in level:
                if (name := self.key(node)) not in self.state:
                    fresh.setdefault(name, node)
            self.nodes |= fresh
            there = self._done(list(fresh)) if fresh else ()
            self.state |= {name: "hit" for name in fresh if name in there}
            missing = [name for name in fresh if name not in there]
            level = [child for name in missing for child in self._pend(name)]
            pending += missing
        self.order = [name for name in dict.fromkeys(self.key(node) for node in self.plan.nodes()) if name in self.state]
        return pending

    def _pend(self, name: str) -> list[Node]:
        """The node waits for all of its inputs, which are returned."""
        self.state[name] = "pending"
        above = list(children(list(self.nodes[name].arguments.values())))
        self.waits[name] = {self.key(child) for child in above}
        for child in self.waits[name]:
            self.dependants.setdefault(child, {})[name] = None
        return above

    def _open(self, name: str) -> set[str]:
        self.waits[name] = {child for child in self.waits[name] if self.state[child] in ("pending", "running")}
        return self.waits[name]

    def _settle(self, names: Iterable[str]) -> list[str]:
        """Of these nodes, those whose inputs have all ended become ready or blocked; returns what is blocked, at any distance."""
        blocked: list[str] = []
        left = list(names)
        while left:
            name = left.pop()
            if self.state[name] == "pending" and not self._open(name):
                if survivors(self.nodes[name], self.missing) is None:
                    self.state[name] = "blocked"
                    blocked.append(name)
                    left.extend(self.dependants.get(name, ()))
                else:
                    self.ready_keys.add(name)
        return blocked

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

    def again(self, name: str) -> list[str]:
        """The node is to be tried once more, when all of its inputs are there; returns what is blocked, where one is not to be had."""
        self._pend(name)
        return self._settle([name])

    def reopen(self, nodes: Sequence[Node]) -> list[str]:
        """Nodes that were done are to be computed again, and what else that needs; returns the keys of those that are to run now."""
        names = list(dict.fromkeys(self.key(node) for node in nodes))
        self.nodes = {**{self.key(node): node for node in nodes}, **self.nodes}
        above = [child for name in names for child in self._pend(name)]
        pending = [*self._add(above), *names]
        for below in [below for name in names for below in self.dependants.get(name, ())]:
            if self.state[below] == "pending":
                self.ready_keys.discard(below)
                self._pend(below)
        self._settle(pending)
        return pending

    def finish(self, name: str, state: str) -> list[str]:
        """Record how a node ended; returns the keys of the nodes that this blocks, at any distance."""
        self.ready_keys.discard(name)
        self.state[name] = state
        return self._settle(self.dependants.get(name, ()))

    def unfinished(self) -> bool:
        return any(state in ("pending", "running") for state in self.state.values())

    def count(self, *states: str) -> int:
        return sum(state in states for state in self.state.values())
