"""Relatives: what the records of a function say of a call that is not recorded: why it is not, how long it takes and how much it keeps."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from infra.errors import IntegrityError
from infra.node import Node, children
from infra.store.record import Record
from infra.store.store import Store

MOST = 200  # records of one function that are looked at


@dataclass(frozen=True)
class Difference:
    """An argument of a call against the same one of a record; "" stands for the default. `input`: both are results of other nodes."""

    path: str
    old: Any
    new: Any
    input: bool = False


def differences(old: Any, new: Any, path: str = "") -> Iterator[Difference]:
    """Where two canonical values (`infra.identity.Canon`) differ, by dotted path."""
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        if "node" in old and "node" in new:
            yield Difference(path, old["node"], new["node"], input=True)
            return
        if old.get("is") == new.get("is") and ("map" in old) == ("map" in new):
            before, after = (dict(value["map"]) if "map" in value else value for value in (old, new))
            for key in {**before, **after}:
                yield from differences(before.get(key, ""), after.get(key, ""), f"{path}.{key}" if path else key)
            return
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from differences(one, other, f"{path}[{i}]")
        return
    yield Difference(path, brief(old), brief(new))


def brief(value: Any) -> Any:
    """A canonical value in a word: the class of an object, the length of a list."""
    if isinstance(value, Mapping):
        return "a result" if "node" in value else str(value.get("is", "a mapping")).split("@")[0]
    return f"{len(value)} items" if isinstance(value, list) else value


class Relatives:
    """The records of a store by function, each read once; what cannot be read is passed over."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._keys: dict[str, list[str]] | None = None
        self._records: dict[str, Record | None] = {}
        self._roots: dict[str, frozenset[str]] = {}
        self._alike: dict[tuple[str, frozenset[str]], list[Record]] = {}
        self._hosts: dict[tuple[str, frozenset[str]], list[str]] = {}
        self._sizes: dict[tuple[str, frozenset[str]], int | None] = {}
        self._seconds: dict[tuple[str, frozenset[str], int | None], float | None] = {}

    def record(self, key: str) -> Record | None:
        if key not in self._records:
            self._records[key] = None
            with contextlib.suppress(IntegrityError):
                self._records[key] = self.store.record(key)
        return self._records[key]

    def of(self, function: str) -> list[Record]:
        """The records of a function, at most `MOST`."""
        if self._keys is None:
            self._keys = {}
            for key in self.store.keys():  # noqa: SIM118 (a method of the store)
                self._keys.setdefault(key.rsplit("-", 1)[0], []).append(key)
        found = (self.record(key) for key in self._keys.get(function, ())[:MOST])
        return [record for record in found if record is not None]

    def nearest(self, function: str, arguments: Mapping[str, Any]) -> tuple[Record, list[Difference]] | None:
        """The record of the same function whose arguments differ least, and how; the newest of several. None where there is none."""
        compared = [(record, list(differences({"is": 0, **record.arguments}, {"is": 0, **arguments}))) for record in self.of(function)]
        return min(compared, key=lambda pair: (len(pair[1]), -pair[0].started), default=None)

    def roots(self, record: Record) -> frozenset[str]:
        """The nodes without inputs from which a record descends: its base model, for one."""
        known = self._roots.get(record.key)
        if known is None:
            above = [self.roots(found) if (found := self.record(key)) else frozenset({key}) for key in record.inputs]
            known = self._roots[record.key] = frozenset().union(*above) if above else frozenset({record.key})
        return known

    def alike(self, function: str, roots: frozenset[str]) -> list[Record]:
        """Records of the function that descend from the same roots: of models of the same size."""
        if (function, roots) not in self._alike:
            self._alike[function, roots] = [record for record in self.of(function) if self.roots(record) == roots]
        return self._alike[function, roots]

    def seconds(self, function: str, roots: frozenset[str], steps: Any = None) -> float | None:
        """What such a call takes: the median of its relatives, by step where they have steps. None where nothing is known."""
        asked = function, roots, steps if isinstance(steps, int) else None
        if asked not in self._seconds:
            self._seconds[asked] = self._taken(self.alike(function, roots), asked[-1])
        return self._seconds[asked]

    def _taken(self, alike: list[Record], steps: int | None) -> float | None:
        """Where relatives have several numbers of steps, a line through the fewest and the most: a start costs what many steps do."""
        plain: list[float] = []
        by: dict[int, list[float]] = {}
        for record in alike:
            before = record.arguments.get("steps")
            (by.setdefault(before, []) if steps is not None and isinstance(before, int) and before > 0 else plain).append(record.seconds)
        if steps is None or not by:
            return statistics.median(plain) if plain else None
        few, many = min(by), max(by)
        slope = (statistics.median(by[many]) - statistics.median(by[few])) / (many - few) if few < many else 0.0
        if slope > 0:
            return max(0.0, statistics.median(by[few]) + slope * (steps - few))
        return statistics.median([*plain, *(taken / before * steps for before, several in by.items() for taken in several)])

    def hosts(self, function: str, roots: frozenset[str]) -> list[str]:
        """The machines on which its relatives ran."""
        if (function, roots) not in self._hosts:
            self._hosts[function, roots] = sorted({record.host for record in self.alike(function, roots) if record.host})
        return self._hosts[function, roots]

    def size(self, function: str, roots: frozenset[str]) -> int | None:
        """The bytes that such a call keeps. None where nothing is known."""
        if (function, roots) not in self._sizes:
            sizes = [record.size for record in self.alike(function, roots)]
            self._sizes[function, roots] = int(statistics.median(sizes)) if sizes else None
        return self._sizes[function, roots]


class Ancestors:
    """The roots of the nodes of a plan, by the keys that they would have."""

    def __init__(self, key: Callable[[Node], str]) -> None:
        self.key = key
        self._known: dict[Node, frozenset[str]] = {}

    def roots(self, node: Node) -> frozenset[str]:
        if node not in self._known:
            above = [self.roots(child) for child in children(list(node.arguments.values()))]
            self._known[node] = frozenset().union(*above) if above else frozenset({self.key(node)})
        return self._known[node]
