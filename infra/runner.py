"""The runner: demand-driven, one driver, any backend. A hit needs its own record only; a failure blocks what depends on it and no more."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from infra.dag import Fingerprints, Plan
from infra.errors import BackendLost
from infra.hygiene import Uses
from infra.job import Job, Outcome, Place, Ref
from infra.node import Node
from infra.schedule import Schedule, survivors
from infra.store import Record, Store
from infra.store.lease import Driver
from infra.store.pins import pinned
from infra.tracking.journal import Journal
from infra.worker import STOP

RETRIES = 2  # of a component's input and output errors
LOSSES = 5  # of a task's process; pre-emption and node loss are not its failure
GRACE = 20.0  # seconds that workers get to save their state when the run is stopped
IN_FLIGHT = 512  # tasks handed to the backend at once

Watch = Callable[..., None]  # watch(event, node or None, **facts)


class Backend(Protocol):
    """Where jobs run; `retries_sweeps` where it tries the lost trials of a sweep again by itself."""

    retries_sweeps: bool

    def start(self) -> None: ...
    def submit(self, job: Job) -> None: ...
    def submit_sweep(self, jobs: list[Job], pack: int) -> None: ...
    def next(self, timeout: float) -> tuple[str, Any] | None: ...
    def stop(self, patience: float = ...) -> None: ...


@dataclass
class Finished:
    """What a run leaves: the state of every node that was needed, and how the others failed."""

    plan: Plan
    store: Store
    fingerprints: Fingerprints
    state: dict[Node, str]
    failures: dict[Node, Outcome] = field(default_factory=dict)
    retries: dict[Node, int] = field(default_factory=dict)
    seconds: float = 0.0

    def record(self, node: Node) -> Record | None:
        return self.store.record(self.fingerprints.key(node))

    def value(self, node: Node) -> Any:
        return self.store.load(self.fingerprints.key(node))

    @property
    def complete(self) -> bool:
        return all(self.state[node] in ("hit", "done") for node in self.plan.targets.values())

    @property
    def exit_code(self) -> int:
        """0; 3 where every target stands although a node failed; else the code of the first failure."""
        if self.complete:
            return 3 if self.failures else 0
        return next((outcome.code or 4 for outcome in self.failures.values()), 4)


class Runner:
    """Runs plans on a backend, which is started when the first job needs it."""

    def __init__(self, store: Store, backend: Backend, place: Place, pins: dict[str, str], watch: Watch) -> None:
        self.store, self.backend, self.place, self.pins, self.watch = store, backend, place, pins, watch
        self.fingerprints = Fingerprints(pins)
        self.nodes: dict[str, Node] = {}  # key -> running node
        self.tries: dict[Node, int] = {}
        self.losses: dict[Node, int] = {}
        self.failures: dict[Node, Outcome] = {}
        self.later: list[tuple[float, Node]] = []  # retries that wait for their back-off

    def run(self, plan: Plan) -> Finished:
        """Compute what is missing. Raises BackendLost (exit 4) or KeyboardInterrupt; what finished by then is recorded."""
        started = time.monotonic()
        self.schedule = Schedule(plan, lambda node: self.store.has(self.fingerprints.key(node)))
        self.watch("plan", None, schedule=self.schedule, plan=plan)
        if self.schedule.unfinished():
            self._run(plan)
        return Finished(plan, self.store, self.fingerprints, self.schedule.state, self.failures, self.tries, time.monotonic() - started)

    def _run(self, plan: Plan) -> None:
        self.uses = Uses(self.fingerprints.canon)
        for node in plan.nodes():
            self.uses.add(node)
        self.driver = Driver(self.store.place)
        self.driver.start()
        journal = Journal(self.place.folder, f"driver-{os.getpid()}")
        self.journal = journal
        try:
            self.backend.start()
            self._loop()
        except KeyboardInterrupt:
            self._interrupt()
            raise
        finally:
            self.backend.stop()
            self.driver.stop()
            journal.close()

    def _loop(self) -> None:
        while self.schedule.unfinished():
            waiting = self._launch()
            event = self.backend.next(0.5 if waiting else 0.2)
            if event is not None:
                self._handle(*event)
            self.watch("tick", None)
            now = time.monotonic()
            for when, node in [entry for entry in self.later if entry[0] <= now]:
                self.later.remove((when, node))
                self.schedule.again(node)

    def _launch(self) -> bool:
        """Submit what is ready and whose lease is ours; True where something waits for another driver."""
        sweeps: dict[Any, list[Job]] = {}
        waiting = False
        for node in self.schedule.ready():
            if len(self.nodes) >= IN_FLIGHT and not node.sweep:
                continue
            key = self.fingerprints.key(node)
            if self.store.has(key):  # another driver, or a worker that outlived its own
                self._finish(node, "done")
            elif holder := self.driver.acquire(key):
                waiting = True
                self.watch("waiting", node, holder=holder)
            else:
                self._start(node, key, sweeps)
        for sweep, jobs in sweeps.items():
            self.backend.submit_sweep(jobs, sweep.pack)
        return waiting

    def _start(self, node: Node, key: str, sweeps: dict[Any, list[Job]]) -> None:
        job = self._job(node, key)
        self.schedule.start(node)
        self.nodes[key] = node
        self.watch("queued", node)
        if node.sweep and not self.losses.get(node) and not self.tries.get(node):
            sweeps.setdefault(node.sweep, []).append(job)
        else:
            self.backend.submit(job)

    def _job(self, node: Node, key: str) -> Job:
        found = survivors(node, self.schedule.missing)
        assert found is not None, f"{key} was ready although it is blocked"
        arguments, members = found
        ready = {name: self._refer(pinned(value, self.pins)) for name, value in arguments.items()}
        data = tuple(sorted([mark, *part] for mark, part in self.uses.marked[node]))
        tries = self.tries.get(node, 0) + self.losses.get(node, 0)
        canonical = self.fingerprints.arguments(node)
        return Job(key, self.fingerprints.of(node), node.fn, ready, canonical, node.on, self.place, node.title, node.point, data, members, tries + 1)

    def _refer(self, value: Any) -> Any:
        if isinstance(value, Node):
            return Ref(self.fingerprints.key(value))
        if isinstance(value, list | tuple):
            return type(value)(self._refer(item) for item in value)
        if isinstance(value, dict):
            return {name: self._refer(item) for name, item in value.items()}
        return value

    def _handle(self, kind: str, value: Any) -> None:
        if kind == "lost":
            raise BackendLost("the Ray head or the process that executes jobs went away; what was finished is recorded: run the same command to go on")
        if kind != "outcome":
            self.watch(kind, None, value=value)
            return
        node = self.nodes.pop(value.key, None)
        if node is None:
            return
        if value.state == "done":
            self._finish(node, "done", seconds=value.seconds)
        elif not self._retry(node, value):
            self._fail(node, value)

    def _retry(self, node: Node, outcome: Outcome) -> bool:
        counts, limit = (self.losses, 0 if node.sweep and self.backend.retries_sweeps else LOSSES) if outcome.state == "lost" else (self.tries, RETRIES if outcome.retry else 0)
        counts[node] = counts.get(node, 0) + 1
        if counts[node] > limit:
            return False
        self.watch("retry", node, reason=outcome.error)
        delay = 0.0 if outcome.state == "lost" else random.uniform(0.5, 1.0) * 2 ** counts[node]
        self.later.append((time.monotonic() + delay, node))
        return True

    def _fail(self, node: Node, outcome: Outcome) -> None:
        self.failures[node] = outcome
        if outcome.state != "stopped":
            facts = {"error": outcome.error, "kind": outcome.kind or outcome.state, "traceback": outcome.traceback, "time": time.time()}
            with contextlib.suppress(Exception):  # a store that is full must not hide why
                self.store.fail(outcome.key, facts)
        self._finish(node, outcome.state if outcome.state == "stopped" else "failed", error=outcome.error, failure=outcome.kind or outcome.state)

    def _finish(self, node: Node, state: str, **facts: Any) -> None:
        blocked = self.schedule.finish(node, state)
        self._tell(node, state, **facts)
        for below in blocked:
            self._tell(below, "blocked")

    def _tell(self, node: Node, state: str, **facts: Any) -> None:
        record = self.store.record(self.fingerprints.key(node)) if state == "done" else None
        seconds = record.seconds if record else 0.0
        self.watch(state, node, **{**facts, "seconds": seconds})
        made = record is not None and str(record.result.get("type", "")).startswith("components.weights")
        if made or (state == "failed" and node.sweep):
            self.journal.write(
                "node", fingerprint=self.fingerprints.of(node), function=node.function, label=node.title, state=state, params=dict(node.point),
                uri=self.store.payload(record) if made and record else "", digest=record.digest if record else "", is_checkpoint=made,
                duration=seconds, error=facts.get("error", ""),
            )  # fmt: skip

    def _interrupt(self) -> None:
        """Tell the workers to save their state, and give them a moment to do so."""
        with contextlib.suppress(OSError):
            open(os.path.join(self.place.folder, STOP), "x").close()
        until = time.monotonic() + GRACE
        while self.nodes and time.monotonic() < until and (event := self.backend.next(0.5)) != ("lost", None):
            if event and event[0] == "outcome":
                self.nodes.pop(event[1].key, None)
