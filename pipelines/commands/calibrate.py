"""Calibration: a few steps of one trial, measured on this machine in a store of their own, so that records tell what a plan takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from infra.dag import Plan
from infra.identity import drawn
from infra.node import Node
from infra.store import Store
from infra.store.pins import Memory, sources
from pipelines.commands.session import Session
from pipelines.commands.studies import Options

FEW, MANY = 4, 20  # steps: what a start costs is told from what a step does by two lengths
TRIALS = 3  # trainings, short ones too, that a stage may need to be measured: a merge of many is not


def measured(store: Store) -> Store:
    """The store of the calibrations, inside of the other: its models are in no listing, and found by no query."""
    return Store(store.place.at("calibration"))


class Short:
    """Nodes with no more than so many steps, and so everything that they descend from."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self._known: dict[Node, Node] = {}

    def __call__(self, node: Node) -> Node:
        if node not in self._known:
            arguments = {name: self._value(value) for name, value in node.arguments.items()}
            if isinstance(steps := arguments.get("steps"), int):
                arguments["steps"] = min(steps, self.steps)
            self._known[node] = dataclasses.replace(node, arguments=arguments, sweep=None)
        return self._known[node]

    def _value(self, value: Any) -> Any:
        if isinstance(value, Node):
            return self(value)
        if isinstance(value, list | tuple):
            return type(value)(map(self._value, value))
        return {name: self._value(item) for name, item in value.items()} if isinstance(value, dict) else value


def stepped(node: Node) -> int:
    """How many nodes with steps there are among the node and what it descends from."""
    return sum(above.calls for above in Plan({"": node}).nodes() if "steps" in above.arguments)


def measure(store: Store, plan: Plan, nodes: Sequence[Node]) -> None:
    """Compute short ones of these nodes of a plan, those that need no more than `TRIALS` trainings, one after another in one process.

    Raises ValueError where one draws a model from the store, or fails.
    """
    few, many = Short(FEW), Short(MANY)
    chosen = [node for node in nodes if stepped(node) <= TRIALS]
    trials = [node for node in chosen if "steps" in node.arguments]
    if any(drawn(above.fn) for node in chosen for above in Plan({"": node}).nodes()):
        raise ValueError("--calibrate: this plan draws models from the store, which a calibration has not got; run the preset smoke to have records")
    warm = [Short(1)(node) for node in trials[:1]]  # imports, and the first decoding of the data, are no part of a trial
    targets = [*(short(node) for node in trials for short in (few, many)), *map(few, chosen)]
    if not targets:
        return
    own = measured(store)
    own.prepare()
    remembered(store, own, plan)
    session = Session(own, Options(store=own.url, ray="none", tracking="none", quiet=True), "stockpot plan --calibrate")
    status = "killed"
    try:
        finished = session.run(numbered([*warm, *targets]), study="calibration", preset="", params={})
        status = "finished" if finished.complete else "failed"
    finally:
        session.close(status)
    if finished.failures:
        raise ValueError(f"--calibrate: {next(iter(finished.failures.values())).error}")
    kept = set(map(finished.fingerprints.key, numbered(targets).nodes()))
    for key in map(finished.fingerprints.key, numbered(warm).nodes()):
        if key not in kept:
            own.place.remove(f"{key}/record.json")


def numbered(nodes: Sequence[Node]) -> Plan:
    return Plan({str(i): node for i, node in enumerate(nodes)})


def remembered(store: Store, own: Store, plan: Plan) -> None:
    """What the store knows of the sources' bytes, for the other one: they are not hashed twice."""
    for address in dict.fromkeys(address for node in plan.nodes() for address in sources(list(node.arguments.values())) if address):
        memory = Memory(store.place, address)
        for part in memory.parts:
            if (rows := store.place.read(f"{memory.folder}/{part}")) is not None:
                own.place.write(f"{memory.folder}/{part}", rows)
