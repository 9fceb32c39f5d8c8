"""The DAG: a pipeline returns inert nodes; a node is a call that is bound, checked and identified, and not yet made."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.hygiene import check
from infra.identity import Canon, Json, digest, name_of, parameters, revision_of
from infra.node import CPU, GPU, Node, Resources, Sweep, children
from infra.search import ASHA, Optuna, Random, Search, nth_best
from infra.space import Point, Space, draw, grid, place

__all__ = [
    "ASHA", "CPU", "GPU", "Fingerprints", "Node", "Optuna", "Plan", "Random", "Resources", "Space", "call", "children", "draw", "grid", "search",
    "sweep", "top", "trial",
]  # fmt: skip

_groups = itertools.count()
_checked = Canon(node=lambda value: "" if isinstance(value, Node) else None)  # refuses, early, what has no identity


def call(fn: Callable[..., Any], *, on: Resources = CPU, at_least: int | None = None, label: str = "", **arguments: Any) -> Node:
    """A node that will call `fn(**arguments)`; nodes among the arguments, or in lists among them, are computed first.

    A list argument is all-or-nothing unless `at_least=k`: then members that failed are left out while k remain.
    Raises ValueError for an unknown or a missing argument, in milliseconds and before anything runs.
    """
    name_of(fn)
    revision_of(fn)
    known = parameters(fn)
    for name in arguments:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; it takes {', '.join(known)}"
            raise ValueError(f"{fn.__name__}() has no argument {name!r}{hint}")
    missing = [name for name, p in known.items() if p.default is p.empty and name not in arguments]
    if missing:
        raise ValueError(f"{fn.__name__}() needs {', '.join(missing)}")
    _checked.arguments(fn, arguments)
    return Node(fn, arguments, on, at_least, label)


def sweep(fn: Callable[..., Any], *, over: Sequence[Point], on: Resources = CPU, pack: int = 1, label: str = "", **arguments: Any) -> list[Node]:
    """One node for each point of `over`, launched together as one Tuner.

    A point maps dotted paths (`update.lr`, `init`) to values, which may be nodes; `pack` points run in one trial, for trials of seconds.
    """
    group = Sweep(next(_groups), pack)
    first = call(fn, on=on, label=label, **place(arguments, over[0])) if over else None
    if first is None:
        raise ValueError("a sweep over no points; give at least one")
    return [Node(fn, place(arguments, point), on, None, f"{label or fn.__name__} {i}", group, point) for i, point in enumerate(over)]


def search(
    fn: Callable[..., Any],
    *,
    over: Space,
    n: int,
    monitor: Any,
    scheduler: ASHA | None = None,
    searcher: Random | Optuna = Random(),  # noqa: B008
    on: Resources = CPU,
    label: str = "",
    **arguments: Any,
) -> Node:
    """One node that makes `n` trials `fn(**arguments, monitor=monitor)` at points of a space and records every one, stopped early or not.

    `fn` tells `run.enough` what its `monitor` sees. A trial that was not stopped is the call that a sweep would make, and found where one did.
    """
    if "monitor" not in parameters(fn):
        raise ValueError(f"{fn.__name__}() has no monitor by which a search could choose; search a component that takes one")
    if n < 1 or not over or monitor is None:
        raise ValueError(f"a search of {n} trials over {len(over)} knobs by {monitor}: give at least one of each, and a monitor")
    given = {**arguments, "monitor": monitor}
    what = Search(dict(over), n, scheduler, searcher)
    _checked(what)
    made = Node(fn, given, on, None, label, search=what)
    call(fn, on=on, **trial(made).arguments)
    return made


def trial(found: Node) -> Node:
    """A trial of a search, at the first random point of its searcher's seed. Any other node is returned as it is."""
    if found.search is None:
        return found
    (point,) = draw(found.search.over, 1, seed=found.search.searcher.seed)
    return Node(found.fn, place(found.arguments, point), found.on, None, found.label)


def top(found: Node, k: int, *, stopped: bool = False) -> list[Node]:
    """What the `k` best trials of a search gave, by what its monitor saw, the best first and of equals the earlier; each is a copy of its own.

    stopped: also trials that were stopped early.
    """
    if found.search is None or not 1 <= k <= found.search.n:
        raise ValueError(f"top {k} of {found.title}: give a search, and 1 to as many as it has trials")
    return [call(nth_best, found=found, place=i, stopped=stopped, label=f"{found.title} best {i + 1}") for i in range(k)]


class Fingerprints:
    """The identity of nodes, given what the sources' addresses were pinned to.

    Where members of a list are missing, a node computes another call: it then has the identity of the call over those that remain, and so has
    everything downstream. `name` tells the nodes of a plan apart whatever is missing; `key` is where a result lies.
    """

    def __init__(self, pins: Mapping[str, str] | None = None) -> None:
        self.canon = Canon(pins, lambda value: self.whole(value) if isinstance(value, Node) else None)
        self._present = Canon(pins, lambda value: self.of(value) if isinstance(value, Node) else None)
        self._known: dict[Node, str] = {}
        self._reduced: dict[str, str] = {}

    def whole(self, node: Node) -> str:
        """sha256 of (function, revision, canonical arguments), 80 bits in hex, nothing missing."""
        found = self._known.get(node)
        if found is None:
            found = self._known[node] = digest([node.function, revision_of(node.fn), self.arguments(node)])
        return found

    def of(self, node: Node) -> str:
        """The fingerprint of what a node computes, members that are missing left out."""
        whole = self.whole(node)
        return self._reduced.get(whole, whole)

    def reduce(self, node: Node, arguments: Mapping[str, Any]) -> None:
        """From now on the node computes the call with these arguments, whose nodes were reduced before."""
        above = children(list(arguments.values()))
        if arguments is not node.arguments or any(self.of(child) != self.whole(child) for child in above):
            present = self._searched(node, self._present.arguments(node.fn, arguments))
            self._reduced[self.whole(node)] = digest([node.function, revision_of(node.fn), present])

    def arguments(self, node: Node) -> dict[str, Json]:
        return self._searched(node, self.canon.arguments(node.fn, node.arguments))

    def _searched(self, node: Node, arguments: dict[str, Json]) -> dict[str, Json]:
        """Of a search, also what it calls and how it chooses."""
        return {"of": node.fn.__name__, **arguments, "search": self.canon(node.search)} if node.search else arguments

    def name(self, node: Node) -> str:
        return f"{node.function}-{self.whole(node)}"

    def key(self, node: Node) -> str:
        """The node's folder in a store: `{function}-{fingerprint}`."""
        return f"{node.function}-{self.of(node)}"


@dataclass(frozen=True)
class Plan:
    """What a study wants: named target nodes, and what its report needs to know (`about`, opaque here).

    keeps: nodes whose results it hands over; where their bytes are damaged they are computed again, although no target needs them.
    beside: targets without which the result still stands.
    Raises ValueError where the plan would report on data that it trained or selected on.
    """

    targets: Mapping[str, Node]
    about: Any = None
    keeps: Sequence[Node] = ()
    beside: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        check(self.nodes())

    def nodes(self) -> list[Node]:
        """Every node, dependencies before dependants, in the order of first mention."""
        seen: dict[Node, None] = {}
        stack: list[tuple[Node, Iterator[Node]]] = []
        for target in self.targets.values():
            stack.append((target, children(list(target.arguments.values()))))
            while stack:
                node, rest = stack[-1]
                following = next((child for child in rest if child not in seen), None)
                if following is None:
                    seen.setdefault(node)
                    stack.pop()
                else:
                    stack.append((following, children(list(following.arguments.values()))))
        return list(seen)
