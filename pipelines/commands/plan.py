"""`stockpot plan STUDY [PRESET]`: what a run would compute, why it is not there yet, and what it would cost. Nothing is computed."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from components.weights.digests import digests_of
from infra.dag import Fingerprints, Plan, children
from infra.errors import StoreError
from infra.identity import Resolved
from infra.node import Node
from infra.schedule import Schedule
from infra.secrets import redact
from infra.store import Store
from infra.store.found import resolve
from infra.store.pins import Pins, sources
from infra.store.relatives import Ancestors, Difference, Relatives
from pipelines.commands.session import open_store
from pipelines.commands.studies import Where, chosen, option
from pipelines.commands.text import clock, columns, counted, size

REASONS = 3  # told for one function


@dataclass(frozen=True)
class Options(Where):
    """How to look at a plan."""

    cpus: int | None = option(None, "CPUs that the estimate counts on (default: all)")
    json: bool = option(False, "the plan as JSON")


@dataclass
class Stages:
    """The nodes of one function. seconds and bytes: of those to run, None where no relative tells."""

    function: str
    total: int = 0
    cached: int = 0
    to_run: int = 0
    seconds: float | None = 0.0
    bytes: int | None = 0
    why: list[str] = field(default_factory=list)


class Outlook:
    """A plan against a store."""

    def __init__(self, store: Store, plan: Plan) -> None:
        self.store, self.plan = store, plan
        self.notes: list[str] = []
        self.fingerprints = Fingerprints(self._pins())
        self.relatives, self.ancestors = Relatives(store), Ancestors(self.fingerprints.key)
        self.schedule = Schedule(plan, self.fingerprints.key, store.done)
        self.nodes = {self.fingerprints.key(node): node for node in reversed(plan.nodes())}

    def _pins(self) -> Resolved:
        """Digests of the sources, and what queries find; what cannot be read is noted, and everything that reads it counts as not cached."""
        pins, found = Pins(self.store.place, digests_of), Resolved()
        for address in dict.fromkeys(address for node in self.plan.nodes() for address in sources(list(node.arguments.values())) if address):
            try:
                found[address] = pins.pin(address).pin
            except (ValueError, OSError, StoreError) as error:
                self.notes.append(redact(f"data is not here: {error}"))
        try:
            resolve(self.store, self.plan, found)
        except (ValueError, StoreError) as error:
            self.notes.append(redact(str(error)))
        self.notes += found.told
        return found

    def stages(self) -> list[Stages]:
        """The functions of the plan in the order in which they come."""
        found: dict[str, Stages] = {}
        keys = [self.fingerprints.key(node) for node in self.plan.nodes()]
        done = self.store.done(keys)
        for key in keys:
            if (node := self.nodes.pop(key, None)) is None:
                continue
            row = found.setdefault(node.function, Stages(node.function))
            row.total += 1
            row.cached += key in done
            if self.schedule.state.get(key) == "pending":
                row.to_run += 1
                self._cost(row, node)
                if len(row.why) < REASONS and (why := self.why(node)) not in row.why:
                    row.why.append(why)
        return list(found.values())

    def _cost(self, row: Stages, node: Node) -> None:
        roots = self.ancestors.roots(node)
        seconds = self.relatives.seconds(node.function, roots, node.arguments.get("steps"))
        kept = self.relatives.size(node.function, roots)
        row.seconds = None if seconds is None or row.seconds is None else row.seconds + seconds
        row.bytes = None if kept is None or row.bytes is None else row.bytes + kept

    def why(self, node: Node) -> str:
        """Why a node is not cached: what differs from its nearest recorded relative."""
        found = self.relatives.nearest(node.function, self.fingerprints.arguments(node))
        if found is None:
            return "never computed in this store"
        record, different = found
        fresh = {self.fingerprints.of(child): child for child in children(list(node.arguments.values()))}
        own = list(dict.fromkeys(self._told(difference, fresh) for difference in different if not difference.input))
        inputs = list(dict.fromkeys(self._told(difference, fresh) for difference in different if difference.input))
        revision = getattr(node.fn, "__revision__", record.revision)
        changed = [f"revision {record.revision} -> {revision}"] if revision != record.revision else []
        told = [*changed, *own, *inputs]
        return "; ".join(told[:REASONS]) + (f"; and {len(told) - REASONS} more" if len(told) > REASONS else "") if told else "its record is gone"

    def _told(self, difference: Difference, fresh: dict[str, Node]) -> str:
        if difference.input:
            child = fresh.get(difference.new)
            waits = child is not None and self.schedule.state.get(self.fingerprints.key(child)) == "pending"
            name = child.function if child else "result"
            return f"{re.split(r'[.[]', difference.path)[0]}: a {name} that {'is to run first' if waits else 'is another one'}"
        if difference.path.endswith("content"):
            return f"{difference.path.removesuffix('.content')}: the data is not the same"
        values = ("default" if value == "" else value for value in (difference.old, difference.new))
        path = re.split(r"[.[]", difference.path)[0] if str(difference.new).endswith(" items") else difference.path
        return f"{path}: {' -> '.join(map(str, values))}"


def total(values: Sequence[float | None]) -> float | None:
    return None if None in values else sum(value for value in values if value is not None)


def main(argv: Sequence[str]) -> int:
    asked = chosen(argv, "plan", Options)
    options: Options = asked.options
    outlook = Outlook(open_store(options, create=False, optional=True), asked.study.plan())
    stages = outlook.stages()
    trials = [node for node in outlook.schedule.nodes.values() if node.sweep]
    facts: dict[str, Any] = {
        "study": asked.name, "preset": asked.preset, "store": outlook.store.url, "stages": [dataclasses.asdict(row) for row in stages],
        "to_run": sum(row.to_run for row in stages), "trials": len({node for node in asked.study.plan().nodes() if node.sweep}),
        "trials_to_run": sum(outlook.schedule.state[outlook.fingerprints.key(node)] == "pending" for node in trials),
        "cpus": options.cpus or os.cpu_count() or 1, "seconds": total([row.seconds for row in stages]), "bytes": total([row.bytes for row in stages]),
        "notes": outlook.notes,
    }  # fmt: skip
    print(json.dumps(facts, indent=1) if options.json else told(facts))
    return 0


def told(facts: dict[str, Any]) -> str:
    """The plan for a person."""
    rows = [["stage", "all", "cached", "to run", "work", "keeps", "why it is not cached"]]
    for row in facts["stages"]:
        missing = row["to_run"]
        rows.append([
            row["function"], str(row["total"]), str(row["cached"]), str(missing or "-"), (clock(row["seconds"]) if missing else ""),
            (size(row["bytes"]) if missing else ""), (row["why"] or [""])[0],
        ])  # fmt: skip
        rows += [["", "", "", "", "", "", why] for why in row["why"][1:]]
    lines = [f"{facts['study']} {facts['preset']} in {facts['store']}", "", *columns(rows, right=(1, 2, 3, 4, 5)), "", *facts["notes"]]
    if not facts["to_run"]:
        return "\n".join([*lines, "every stage is there: a run answers from the store"])
    work = "unknown time, for want of records of like stages; run the preset smoke to have some"
    if facts["seconds"] is not None:
        work = f"about {clock(facts['seconds'])} of work, {clock(facts['seconds'] / facts['cpus'])} on {facts['cpus']} CPUs"
    kept = f", {size(facts['bytes'])} to keep" if facts["bytes"] is not None else ""
    return "\n".join([*lines, f"{counted(facts['to_run'], 'stage')} to run, {facts['trials_to_run']} of {facts['trials']} trials: {work}{kept}"])
