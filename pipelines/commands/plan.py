"""`stockpot plan STUDY [PRESET]`: what a run would compute, why it is not there yet, and what it would cost. Nothing is computed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from components.weights.digests import digests_of
from infra.dag import Fingerprints, Plan, children, trial
from infra.errors import StoreError
from infra.identity import Resolved
from infra.node import GPU, Node, Resources, placed
from infra.owned import scratch
from infra.schedule import Schedule
from infra.secrets import redact
from infra.store import Store
from infra.store.found import resolve
from infra.store.pins import Pins, sources
from infra.store.place import Place
from infra.store.relatives import Ancestors, Difference, Relatives
from pipelines.commands.calibrate import measure, measured
from pipelines.commands.cost import Cost, Prices, prices
from pipelines.commands.cost import told as cost_told
from pipelines.commands.session import open_store
from pipelines.commands.studies import Where, chosen, option
from pipelines.commands.text import clock, columns, counted, size

REASONS = 3  # told for one function


@dataclass(frozen=True)
class Options(Where):
    """How to look at a plan."""

    on: Resources = option(GPU, "what stages that like a GPU get (default: one, or CPUs where there is none)")
    cpus: int | None = option(None, "CPUs that the estimate counts on (default: all)")
    prices: str = option("", "YAML with the price of an hour of a gpu and of a cpu node (default: $STOCKPOT_PRICES)")
    calibrate: bool = option(False, "first measure a few steps of one trial on this machine, where records of like stages are missing")
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

    def __init__(self, store: Store, plan: Plan, rates: Prices | None = None, on: Resources = GPU) -> None:
        self.store, self.plan, self.on = store, plan, on
        self.notes: list[str] = []
        self.sources = {node: list(sources(list(node.arguments.values()))) for node in plan.nodes()}
        self.below: dict[str, int] = {}  # address of a source -> its bytes
        self.fingerprints = Fingerprints(self._pins())
        self.relatives, self.ancestors = Relatives(store), Ancestors(self.fingerprints.key)
        self.calibrated, self.cost = Relatives(measured(store)), Cost(rates or {})
        self._sizes: dict[str, int] = {}
        self.schedule = Schedule(plan, self.fingerprints.key, store.done)
        self.nodes = {self.fingerprints.key(node): node for node in reversed(plan.nodes())}

    def _pins(self) -> Resolved:
        """Digests of the sources, and what queries find; what cannot be read is noted, and everything that reads it counts as not cached."""
        found = Resolved()
        with contextlib.ExitStack() as stack:
            there = self.store.place.read("store.json") is not None  # else nothing is left where there is no store, which may be a slip
            pins = Pins(self.store.place if there else Place(stack.enter_context(scratch())), digests_of)
            for address in dict.fromkeys(address for addresses in self.sources.values() for address in addresses if address):
                try:
                    known = pins.pin(address)
                    found[address], self.below[address] = known.pin, known.bytes
                except (ValueError, OSError, StoreError) as error:
                    self.notes.append(redact(f"data is not here: {error}"))
        try:
            resolve(self.store, self.plan, found)
        except (ValueError, StoreError) as error:
            self.notes.append(redact(str(error)))
        self.notes += found.told
        return found

    def stages(self) -> list[Stages]:
        """The functions of the plan in the order in which they come; what they cost is in `cost` afterwards. Once."""
        found: dict[str, Stages] = {}
        keys = [self.fingerprints.key(node) for node in self.plan.nodes()]
        done = self.store.done(keys)
        read: dict[str, None] = {}
        for key in keys:
            if (node := self.nodes.pop(key, None)) is None:
                continue
            row = found.setdefault(node.function, Stages(node.function))
            row.total += 1
            row.cached += key in done
            if self.schedule.state.get(key) == "pending":
                row.to_run += 1
                self._cost(row, node)
                read |= dict.fromkeys(self.sources[node])
                if len(row.why) < REASONS and (why := self.why(node)) not in row.why:
                    row.why.append(why)
        self.cost.read += sum(self.below.get(address, 0) for address in read)  # once: a machine keeps what it decoded
        if any(node.search and self.schedule.state[key] == "pending" for key, node in self.schedule.nodes.items()):
            self.notes.append("a search counts with all of its trials, each to its end: at most that, and less where it stops some or finds them")
        return list(found.values())

    def _cost(self, row: Stages, node: Node) -> None:
        seconds, hosts = self.seconds(node)
        kept = self.size(node)
        row.seconds = None if seconds is None or row.seconds is None else row.seconds + seconds
        row.bytes = None if kept is None or row.bytes is None else row.bytes + kept
        self.cost.add(node.function, placed(node, self.on), seconds, hosts)
        self.cost.written += kept or 0
        for child in dict.fromkeys(children(list(node.arguments.values()))):
            self.cost.read += self._input(child)

    def seconds(self, node: Node) -> tuple[float | None, list[str]]:
        """What a stage takes, and where its relatives ran; those of a calibration where the store has none."""
        one = trial(node)
        roots, steps = self.ancestors.roots(one), one.arguments.get("steps")
        for relatives in (self.relatives, self.calibrated):
            if (seconds := relatives.seconds(one.function, roots, steps)) is not None:
                return node.calls * seconds, relatives.hosts(one.function, roots)
        return None, []

    def unknown(self) -> list[Node]:
        """Stages to run of which no record tells the time, one of each kind."""
        found: dict[tuple[str, frozenset[str]], Node] = {}
        for key, node in self.schedule.nodes.items():
            if self.schedule.state[key] == "pending" and node.function in self.cost.unknown and self.seconds(node)[0] is None:
                found.setdefault((node.function, self.ancestors.roots(node)), trial(node))
        return list(found.values())

    def size(self, node: Node) -> int | None:
        """The bytes that a stage is going to keep."""
        one = trial(node)
        roots = self.ancestors.roots(one)
        kept = self.relatives.size(one.function, roots)
        kept = self.calibrated.size(one.function, roots) if kept is None else kept
        return None if kept is None else node.calls * kept

    def _input(self, node: Node) -> int:
        """The bytes that a stage reads which takes this node, of a search one trial; 0 where they are not known."""
        node = trial(node)
        key = self.fingerprints.key(node)
        if key not in self._sizes:
            record = self.relatives.record(key) if self.schedule.state.get(key) == "hit" else None
            self._sizes[key] = record.size if record else self.size(node) or 0
        return self._sizes[key]

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
    rates, plan = prices(options.prices), asked.study.plan()
    store = open_store(options, create=options.calibrate, optional=True)
    outlook = Outlook(store, plan, rates, options.on)
    stages = outlook.stages()
    if options.calibrate and outlook.cost.unknown:
        measure(store, plan, outlook.unknown())
        outlook = Outlook(store, plan, rates, options.on)
        stages = outlook.stages()
    trials = {key: node.calls for key, node in outlook.schedule.nodes.items() if node.sweep or node.search}
    facts: dict[str, Any] = {
        "study": asked.name, "preset": asked.preset, "store": outlook.store.url, "stages": [dataclasses.asdict(row) for row in stages],
        "to_run": sum(row.to_run for row in stages), "trials": sum(node.calls for node in plan.nodes() if node.sweep or node.search),
        "trials_to_run": sum(count for key, count in trials.items() if outlook.schedule.state[key] == "pending"), "cost": outlook.cost.facts(),
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
    lines.append(f"{counted(facts['to_run'], 'stage')} to run, {facts['trials_to_run']} of {facts['trials']} trials: {work}{kept}")
    return "\n".join([*lines, *cost_told(facts["cost"])])
