"""Selection hygiene: a plan may not report on examples that it trained or selected on.

Parameters and fields carry marks (`Annotated[..., "trains"]`, "selects", "reports"; "describes" for what takes names only). From a marked argument
the walk goes upstream: datasets on the way belong to that mark, unless a mark of their own says otherwise. What a dataset draws from is
`parts()`: ranges of hash(example id) of a root, so that disjointness is arithmetic. What a query found in the store brings what its record says.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

from infra.errors import IntegrityError
from infra.identity import Canon, is_knob, marks
from infra.node import Node, children

Part = tuple[str, float, float]  # canonical root, low, high
Use = tuple[str, Part]  # mark, part
Answered = tuple[Set[Part], Set[Use], Set[Use]]  # reported, used and own of one answer
AVOIDED = "avoids"  # the mark of data that is named only so that nothing has seen it
RECYCLED = "recycled"  # the mark of what descends from a member of a query; its part is the member's key


def parts(dataset: Any, canon: Canon) -> Iterator[Part]:
    """The ranges of roots that a dataset draws from."""
    for root, low, high in dataset.parts():
        yield json.dumps(canon(root)), float(low), float(high)


def datasets(value: Any, mark: str) -> Iterator[tuple[str, Any]]:
    """(mark, dataset) in an argument, fields of dataclasses included; a field's own mark wins."""
    if isinstance(value, Node):
        return
    if is_knob(value):
        if callable(getattr(value, "parts", None)):
            yield mark, value
            return
        own = marks(type(value))
        for field in dataclasses.fields(value):
            yield from datasets(getattr(value, field.name), own.get(field.name, mark))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from datasets(item, mark)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from datasets(item, mark)


class Uses:
    """For each node of a plan: which data it and its ancestors read unmarked, and which they trained, selected or reported on."""

    def __init__(self, canon: Canon | None = None) -> None:
        self.canon = canon or Canon()
        self.plain: dict[Node, frozenset[Part]] = {}
        self.own: dict[Node, frozenset[Use]] = {}  # what the plan itself did with data
        self.marked: dict[Node, frozenset[Use]] = {}  # and what had been done with it before, as records say
        self.brought: dict[Use, str] = {}  # by which record of the store, found by a query
        self._sets: dict[frozenset[Any], frozenset[Any]] = {}
        self.answers: dict[Node, list[Answered]] = {}  # of a node that reports: (reported, used, own) of each answer

    def add(self, node: Node) -> None:
        """Record a node whose dependencies were added before."""
        names = marks(node.fn)
        plain: set[Part] = set()
        own: set[Use] = set()
        marked: set[Use] = self._brought(node)
        answers: list[Node] = []
        for name, value in node.arguments.items():
            mark = names.get(name, "")
            found = {(m, part) for m, data in datasets(value, mark) for part in parts(data, self.canon)}
            answers += children(value) if mark == "reports" else ()
            for child in children(value) if mark != "reports" else ():
                found |= {(mark, part) for part in self.plain[child]}
                own |= self.own[child]
                marked |= self.marked[child]
            plain |= {part for m, part in found if not m}
            own |= {(m, part) for m, part in found if m not in ("", AVOIDED)}
        marked |= own
        if "reports" in names.values():
            # a table may hold answers of many models, each on a domain that it never met and others did: one is not held against the other
            each: list[Answered] = [(self.plain[answer], marked | self.marked[answer], own | self.own[answer]) for answer in answers]
            reported = {part for m, part in marked if m == "reports"}
            used, done = marked.union(*(used for _, used, _ in each)), own.union(*(done for *_, done in each))
            self.answers[node] = [(reported, used, done), *each]
            told = {("reports", part) for answered, *_ in each for part in answered}
            own, marked = done | told, used | told
        self.plain[node], self.own[node], self.marked[node] = self._shared(plain), self._shared(own), self._shared(marked)

    def _shared(self, found: Set[Any]) -> frozenset[Any]:
        """The one set that is equal to this: thousands of trials use the same data."""
        return self._sets.setdefault(one := frozenset(found), one)

    def _brought(self, node: Node) -> set[Use]:
        """What trained or selected a model that this plan did not make: a member of a query, so marked as `RECYCLED`, or a knob that has `uses()`."""
        knobs = [value for value in node.arguments.values() if is_knob(value) and callable(getattr(value, "uses", None))]
        brought = [(node.title, knob.uses()) for knob in knobs]
        member = self.canon.member(node.fn, node.arguments)
        if member is not None:
            brought.append((member.key, [*member.data, (RECYCLED, member.key, 0.0, 1.0)]))
        for name, data in brought:
            self.brought |= {(mark, (root, float(low), float(high))): name for mark, root, low, high in data if mark != "reports"}
        return {(mark, (root, float(low), float(high))) for _, data in brought for mark, root, low, high in data if mark != "reports"}


def overlap(a: Part, b: Part) -> bool:
    return a[0] == b[0] and max(a[1], b[1]) < min(a[2], b[2])


def check(nodes: Sequence[Node], canon: Canon | None = None) -> Uses:
    """What the nodes use; ValueError where one reports on what trained or selected one of its ancestors.

    With the `canon` of a run's pins the same bytes are the same data, whatever their address: found by content alone, it is an IntegrityError.
    """
    uses = Uses(canon)
    for node in nodes:
        uses.add(node)
        if "reports" in marks(node.fn).values():
            _refuse(node, uses, IntegrityError if canon else ValueError)
    return uses


def _refuse(node: Node, uses: Uses, error: type[Exception]) -> None:
    for reported, marked, own in uses.answers[node]:
        for mark, used in sorted(marked, key=lambda use: (use not in own, use)):
            if mark not in ("trains", "selects"):
                continue
            for part in sorted(reported):
                if overlap(part, used):
                    verb = "trained" if mark == "trains" else "selected"
                    whose = "" if (mark, used) in own else uses.brought.get((mark, used))
                    by = f"that {whose}, as its record says, was" if whose else "that were"
                    remedy = "let the query avoid this data, or exclude it" if whose else "give it a split of its own"
                    raise error(
                        f"{node.function} would report on examples {by} {verb} on: {part[0]} hashes [{part[1]:g}, {part[2]:g}) "
                        f"against [{used[1]:g}, {used[2]:g}); {remedy}"
                    )
