"""Damage: what the store lost or spoiled of finished nodes. It is noticed before or while it is used, withdrawn, and computed again, once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from infra.dag import Fingerprints
from infra.job import Outcome
from infra.node import Node
from infra.schedule import Schedule
from infra.store import Store
from infra.store.payload import damaged

Tell = Callable[..., None]  # tell("damaged", node, reason=...)


class Damage:
    """The damaged nodes of one run."""

    def __init__(self, store: Store, fingerprints: Fingerprints, schedule: Schedule, tell: Tell) -> None:
        self.store, self.fingerprints, self.schedule, self.tell = store, fingerprints, schedule, tell
        self.found: dict[str, str] = {}  # key whose record is not to be trusted -> the attempt that it names, "" where there was no record
        self.retired: set[str] = set()  # keys that this run computes again
        self._looked: set[str] = set()

    def look(self, kept: Sequence[Node] = ()) -> None:
        """Ask for the files of all hits, which are targets or inputs of what is to run, and of results that the plan hands over.

        A node that lacks one is to be computed again; what that needs is looked at in turn.
        """
        nodes = {self.schedule.key(node): node for node in kept}
        while names := [name for name in dict.fromkeys([*self._hits(), *nodes]) if name not in self._looked]:
            nodes |= {name: self.schedule.nodes[name] for name in self._hits()}
            self._looked.update(names)
            lacking = damaged(self.store, [name for name in names if self.schedule.state.get(name, "hit") == "hit"])
            self._reopen({name: nodes[name] for name in lacking}, lacking)

    def _hits(self) -> list[str]:
        return [name for name, state in self.schedule.state.items() if state == "hit"]

    def _reopen(self, nodes: Mapping[str, Node], lacking: Mapping[str, tuple[str, str]]) -> None:
        for key, (attempt, reason) in lacking.items():
            self.found[key] = attempt
            self.tell("damaged", nodes[key], reason=reason)
        if nodes:
            self.schedule.reopen(list(nodes.values()))

    def of(self, outcome: Outcome, inputs: Mapping[str, Node]) -> str:
        """Take in what a job found damaged among its inputs, {key: node}; returns why that cannot be helped, or ""."""
        self.store.forget(key for key, _, _ in outcome.damaged)
        lacking: dict[str, tuple[str, str]] = {}
        search = next((key for key, node in inputs.items() if node.search), "")
        for found, attempt, reason in outcome.damaged:
            key, record = found if found in inputs or not search else search, self.store.record(found)
            if record is not None and record.result.get("attempt") != attempt:
                continue  # computed again meanwhile
            if key not in inputs:
                return f"{reason}; a query found it in the store, and this plan cannot compute it again: exclude {key}, or run again what made it"
            under_way = self.schedule.state[self.fingerprints.name(inputs[key])] in ("pending", "running")
            if found in self.retired and (not under_way if key == found else record is not None):
                return f"{reason}, after it was computed again in this run; check the store with: stockpot verify"
            if key != found and self.store.retire(found, attempt):  # what a search found is made again by it: itself a value, it has no attempt
                self.retired.add(found)
            if under_way:
                continue
            lacking[key] = (attempt if key == found else "", reason)
        self._reopen({key: inputs[key] for key in lacking}, lacking)
        self.look()
        return ""

    def settle(self, keys: Iterable[str]) -> None:
        """Trust nodes again that another driver has computed meanwhile."""
        suspects = [key for key in keys if key in self.found]
        self.store.forget(suspects)
        self.store.fetch(suspects)
        for key in suspects:
            record = self.store.record(key)
            if record is not None and record.result.get("attempt", "") != self.found[key]:
                del self.found[key]

    def retire(self, keys: Iterable[str]) -> None:
        """Withdraw the damaged ones of these records, whose leases are ours."""
        for key in [key for key in keys if key in self.found]:
            if self.store.retire(key, self.found.pop(key)):
                self.retired.add(key)
