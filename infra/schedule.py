"""Which nodes must run, which are ready, and which are blocked by what failed: the logic of a run, without input or output.

Equal calls are one node here: what a study writes twice is computed once.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from infra.dag import Plan
from infra.node import Node, Sweep, children

Members = tuple[int, ...] | None
OPEN = ("pending", "running")
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
    What a change of one state costs does not grow with the plan.
    """

    def __init__(self, plan: Plan, key: Callable[[Node], str], done: Callable[[Sequence[str]], Collection[str]]) -> None:
        self.plan, self.key, self._done = plan, key, done
        self.nodes: dict[str, Node] = {}  # key -> the first node of that key
        self.state: dict[str, str] = {}
        self.counts: dict[str, Counter[str]] = {}  # function -> how many of its nodes are in each state
        self.waits: dict[str, set[str]] = {}  # a pending node -> its inputs that have not ended
        self.dependants: dict[str, dict[str, None]] = {}
        self.order: list[str] = list(dict.fromkeys(map(key, plan.nodes())))
        self._places = {name: i for i, name in enumerate(self.order)}
        self._ready: list[int] = []  # places of what is ready, in their order
        self._ready_names: set[str] = set()
        self._late: Counter[Sweep] = Counter()  # how many members of a sweep are pending and not ready
        self._settle(self._add(plan.targets.values()))

    def _become(self, name: str, state: str, ready: bool = False) -> None:
        """Every change of a state comes here: what is counted, queued and waited for follows."""
        node, before, was_ready = self.nodes[name], self.state.get(name, ""), name in self._ready_names
        counts = self.counts.setdefault(node.function, Counter())
        if before:
            counts[before] -= 1
        counts[state] += 1
        if node.sweep:
            self._late[node.sweep] += (state == "pending" and not ready) - (before == "pending" and not was_ready)
        if ready and not was_ready:
            self._ready_names.add(name)
            bisect.insort(self._ready, self._place(name))
        elif was_ready and not ready:
            self._ready_names.discard(name)
            del self._ready[bisect.bisect_left(self._ready, self._places[name])]
        self.state[name] = state
        if state not in OPEN:
            for below in self.dependants.get(name, ()):
                if below in self.waits:
                    self.waits[below].discard(name)

    def _place(self, name: str) -> int:
        if name not in self._places:  # of a node that no target needs
            self._places[name] = len(self.order)
            self.order.append(name)
        return self._places[name]

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
            level = []
            for name in fresh:
                if name in there:
                    self._become(name, "hit")
                else:
                    pending.append(name)
                    level += self._pend(name)
        return pending

    def _pend(self, name: str) -> list[Node]:
        """The node waits for all of its inputs, which are returned."""
        self._become(name, "pending")
        above = list(children(list(self.nodes[name].arguments.values())))
        inputs = {self.key(child) for child in above}
        self.waits[name] = {child for child in inputs if self.state.get(child, "pending") in OPEN}
        for child in inputs:
            self.dependants.setdefault(child, {})[name] = None
        return above

    def _settle(self, names: Iterable[str]) -> list[str]:
        """Of these nodes, those whose inputs have all ended become ready or blocked; returns what is blocked, at any distance."""
        blocked: list[str] = []
        left = list(names)
        while left:
            name = left.pop()
            if self.state[name] == "pending" and not self.waits.get(name):
                self.waits.pop(name, None)
                if survivors(self.nodes[name], self.missing) is None:
                    self._become(name, "blocked")
                    blocked.append(name)
                    left.extend(self.dependants.get(name, ()))
                else:
                    self._become(name, "pending", ready=True)
        return blocked

    def missing(self, node: Node) -> bool:
        return self.state.get(self.key(node)) in MISSING

    def ready(self) -> Iterator[Node]:
        """Nodes that can start now, in the order of the plan; a sweep is ready when all of its members are. Nothing may change meanwhile."""
        found = (self.nodes[self.order[place]] for place in self._ready)
        return (node for node in found if not (node.sweep and self._late[node.sweep]))

    def start(self, name: str) -> None:
        self._become(name, "running")

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
                self._pend(below)
        self._settle(pending)
        return pending

    def finish(self, name: str, state: str) -> list[str]:
        """Record how a node ended; returns the keys of the nodes that this blocks, at any distance."""
        self._become(name, state)
        return self._settle(self.dependants.get(name, ()))

    def unfinished(self) -> bool:
        return self.count(*OPEN) > 0

    def count(self, *states: str) -> int:
        return sum(counts[state] for counts in self.counts.values() for state in states)
