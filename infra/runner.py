"""The runner: demand-driven, one driver, any backend. A hit needs its own record only; a failure blocks what depends on it and no more."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from infra.attempts import Attempts
from infra.claims import Claims
from infra.courier import tell_to_stop
from infra.course import chosen
from infra.dag import Fingerprints, Plan
from infra.damage import Damage
from infra.errors import BAD_INPUT, INTEGRITY, BackendLost, StoreError
from infra.finished import Finished
from infra.hygiene import check
from infra.identity import digest, drawn
from infra.job import Job, Outcome, Ref, Site, refer
from infra.node import Node, children, placed
from infra.schedule import Schedule, survivors
from infra.store import Store, manifest
from infra.store.lease import Driver
from infra.store.pins import pinned
from infra.store.state import reached
from infra.tracking.journal import Journal

GRACE = 20.0  # seconds that workers get to save their state when the run is stopped
AWAY = ("Away", "Refused")  # what a worker meets when the store stays away, or lets nobody in
IN_FLIGHT = 512  # tasks handed to the backend at once

Watch = Callable[..., None]  # watch(event, node or None, **facts)


class Backend(Protocol):
    """Where jobs run."""

    def start(self) -> None: ...
    def submit(self, job: Job) -> None: ...
    def submit_sweep(self, jobs: list[Job], pack: int) -> None: ...
    def next(self, timeout: float) -> tuple[str, Any] | None: ...
    def lost(self, reason: str) -> BackendLost: ...
    def stop(self, patience: float = ...) -> None: ...


class Runner:
    """Runs plans on a backend, which is started when the first job needs it."""

    def __init__(self, store: Store, backend: Backend, place: Site, pins: dict[str, str], watch: Watch) -> None:
        self.store, self.backend, self.place, self.pins, self.watch = store, backend, place, pins, watch
        self.fingerprints = Fingerprints(pins)
        self.flying: dict[str, str] = {}  # key handed to the backend -> name in the schedule
        self.attempts = Attempts()
        self.retried: Counter[str] = Counter()  # requests to object storage that workers tried again, by kind of failure
        self.failures: dict[str, Outcome] = {}
        self.later: list[tuple[float, str]] = []  # retries that wait for their back-off
        self.started = False

    def run(self, plan: Plan) -> Finished:
        """Compute what is missing. Raises BackendLost (exit 4) or KeyboardInterrupt; what finished by then is recorded."""
        started = time.monotonic()
        self.schedule = Schedule(plan, self.fingerprints.name, self.store.done)
        self.damage = Damage(self.store, self.fingerprints, self.schedule, self.watch)
        self.damage.look(plan.keeps)
        if self.schedule.unfinished():
            self.uses = check(plan.nodes(), self.fingerprints.canon)  # again, now that the same bytes at two addresses are known to be one
        self.watch("plan", None, schedule=self.schedule, plan=plan)
        if self.schedule.unfinished():
            self._run()
        retries = max(0, self.attempts.total() - len(self.failures))
        return Finished(plan, self.store, self.fingerprints, self.schedule.state, self.failures, retries, time.monotonic() - started)

    def _run(self) -> None:
        targets, state = [self.fingerprints.name(node) for node in self.schedule.plan.targets.values()], self.schedule.state
        driver = Driver(self.store.place, os.path.basename(self.place.folder), digest(sorted(targets)))
        self.driver, self.journal = driver, Journal(self.place.folder, f"driver-{os.getpid()}")
        driver.start()
        try:
            manifest.held(self.store.place, self.pins.values())
            self.claims = Claims(self.store, driver, self.damage)
            pending = [name for name in [*targets, *state] if state[name] == "pending"]
            if leader := self.claims.attach(pending[: max(1, len(targets))]):
                self.watch("attached", None, leader=leader)
            self._loop()
        except KeyboardInterrupt:
            if self.flying:
                self.watch("stopping", None)
            self._interrupt(GRACE)
            raise
        except StoreError:  # workers of other machines meet what we met, and stop by themselves, a little later
            self._interrupt(2 * GRACE)
            raise
        finally:
            if self.started:
                self.backend.stop()
            driver.stop()
            self.journal.close()

    def _loop(self) -> None:
        lapsed = False
        while self.schedule.unfinished():
            if lapsed and not self.driver.lapsed:
                self._reclaim()
            elif self.driver.lapsed and not lapsed:
                self.watch("lapsed", None)
            if self.driver.problem and not self.store.place.local:
                raise self.driver.problem
            moved = not (lapsed := self.driver.lapsed) and self._launch()
            if moved and not self.flying:
                continue
            event = self.backend.next(0.2 if self.flying else 0.5)
            while event is not None:
                self._handle(*event)
                event = self.backend.next(0)
            self.watch("tick", None)
            now = time.monotonic()
            for when, name in [entry for entry in self.later if entry[0] <= now]:
                self.later.remove((when, name))
                self._again(name)

    def _reclaim(self) -> None:
        """The store takes our heartbeats again: what others have taken over meanwhile is theirs, and waited for."""
        for key, holder in self.driver.acquire(list(self.flying)).items():
            if holder:
                self._again(self.flying.pop(key))

    def _again(self, name: str) -> None:
        self._block(self.schedule.again(name))

    def _candidates(self) -> dict[str, tuple[Node, str, Job]]:
        """Ready nodes that the store is to be asked about now, by the key of their jobs, as many as the backend has room for."""
        found: dict[str, tuple[Node, str, Job]] = {}
        self.claims.follow()
        for node in self.schedule.ready():
            if len(self.flying) + len(found) >= IN_FLIGHT and not node.sweep:
                break
            name = self.fingerprints.name(node)
            if self.claims.due(self.fingerprints.key(node)) and (job := self._job(node)).key not in found and job.key not in self.flying:
                found[job.key] = (node, name, job)
        return found

    def _launch(self) -> bool:
        """Submit what is ready and whose lease is ours; whether any node's state changed."""
        sweeps: dict[Any, list[Job]] = {}
        if not (candidates := self._candidates()):
            return False
        found = self.claims.sort(list(candidates))
        for key, (node, name, job) in candidates.items():
            if key in found.done:  # another driver, or a worker that outlived its own
                self._finish(name, "done")
            elif failure := found.failed.get(key):
                self._fail(name, Outcome(key, "failed", str(failure["error"]), str(failure["kind"]), BAD_INPUT))
            elif holder := found.held.get(key):
                self.watch("waiting", node, holder=holder)
            elif reason := self._unlike(node):
                self._fail(name, Outcome(key, "failed", reason, "members", INTEGRITY))
            else:
                self._start(node, name, job, sweeps)
        for sweep, jobs in sweeps.items():
            self.backend.submit_sweep(jobs, sweep.pack)
        return len(found.held) < len(candidates)

    def _start(self, node: Node, name: str, job: Job, sweeps: dict[Any, list[Job]]) -> None:
        if not self.started:
            self.started = True
            self.backend.start()
        self.schedule.start(name)
        self.flying[job.key] = name
        self.watch("queued", node)
        self._note(node, "queued")
        if node.sweep and job.attempt == 1:
            sweeps.setdefault(node.sweep, []).append(job)
        else:
            self.backend.submit(job)

    def _job(self, node: Node) -> Job:
        """What is to run: the call over the members that are there, whose identity it takes."""
        found = survivors(node, self.schedule.missing)
        name = self.fingerprints.name(node)
        assert found is not None, f"{name} was ready although it is blocked"
        arguments, members = found
        self.fingerprints.reduce(node, arguments)
        if (one := self.fingerprints.canon.member(node.fn, arguments)) is not None:
            arguments = {**arguments, drawn(node.fn): Ref(one.key)}
        arguments = {**arguments, **chosen(node, self.store, self.fingerprints.key)}
        ready = {field: refer(value if node.search else pinned(value, self.pins), self.fingerprints.key) for field, value in arguments.items()}
        data = tuple(sorted([mark, *part] for mark, part in self.uses.marked[node]))
        canonical, attempt = self.fingerprints.arguments(node), 1 + self.attempts.count(name)
        key, fingerprint = self.fingerprints.key(node), self.fingerprints.of(node)
        own = (node.title, node.point, data, members, attempt, node.search, dict(self.pins) if node.search else {})
        return Job(key, fingerprint, node.fn, ready, canonical, placed(node, self.place.on), self.place, *own)

    def _unlike(self, node: Node) -> str:
        """Why a call over a list may not use what another call chose from it: that one chose from other members, and its indices mean others."""
        if node.at_least is None:
            return ""
        found = survivors(node, self.schedule.missing)
        for child in (value for value in node.arguments.values() if isinstance(value, Node) and value.at_least is not None):
            record = self.store.record(self.fingerprints.key(child))
            if found and record and "value" in record.result and record.members != found[1]:
                theirs, own = ("all" if of is None else str(list(of)) for of in (record.members, found[1]))
                return f"{record.key} chose from the members {theirs}, here {own} are there; remove its folder from the store and run again"
        return ""

    def _handle(self, kind: str, value: Any) -> None:
        if kind == "lost":
            raise self.backend.lost(str(value))
        if kind == "unreached":
            raise BackendLost(f"{value}: what was finished is kept, the same command goes on")
        if kind != "outcome":
            self.watch(kind, None, value=value)
            return
        self.retried.update(value.retried)
        if name := self.flying.pop(value.key, ""):
            if value.state == "done":
                self._finish(name, "done")
            elif value.damaged:
                self._repair(name, value)
            elif not self.store.place.local and (value.state == "stopped" or value.kind in AWAY):
                raise StoreError(f"{value.error}; nothing more is begun: run the same command to go on")
            elif not self._retry(name, value):
                self._fail(name, value)

    def _repair(self, name: str, outcome: Outcome) -> None:
        """Inputs of a job are damaged: they are computed again before it is."""
        node = self.schedule.nodes[name]
        inputs = {self.fingerprints.key(child): child for child in children(list(node.arguments.values()))}
        if reason := self.damage.of(outcome, inputs):
            self._fail(name, replace(outcome, error=reason))
        else:
            self._again(name)

    def _retry(self, name: str, outcome: Outcome) -> bool:
        delay = self.attempts.again(name, outcome, lambda: reached(self.store.place, outcome.key))
        if delay is None:
            return False
        self.watch("retry", self.schedule.nodes[name], reason=outcome.error)
        self.later.append((time.monotonic() + delay, name))
        return True

    def _fail(self, name: str, outcome: Outcome) -> None:
        self.failures[outcome.key] = outcome
        if outcome.state != "stopped":
            facts = {"error": outcome.error, "kind": outcome.kind or outcome.state, "traceback": outcome.traceback, "time": time.time()}
            with contextlib.suppress(Exception):  # a store that is full must not hide why
                self.store.fail(outcome.key, facts)
        self._finish(name, outcome.state if outcome.state == "stopped" else "failed", error=outcome.error, cause=outcome.kind or outcome.state)

    def _finish(self, name: str, state: str, **facts: Any) -> None:
        blocked = self.schedule.finish(name, state)
        self._let_go([name] if state != "done" else [])
        self._tell(name, state, **facts)
        self._block(blocked)

    def _block(self, names: Sequence[str]) -> None:
        self._let_go(names)
        for name in names:
            self._tell(name, "blocked")

    def _let_go(self, names: Sequence[str]) -> None:
        """Nodes that this run will not finish are anybody's: two drivers that wait for what the other one failed at would wait for ever."""
        with contextlib.suppress(StoreError):
            self.driver.release(self.fingerprints.key(self.schedule.nodes[name]) for name in names)

    def _tell(self, name: str, state: str, **facts: Any) -> None:
        node = self.schedule.nodes[name]
        record = self.store.record(self.fingerprints.key(node)) if state == "done" else None
        self.watch(state, node, **{**facts, "seconds": record.seconds if record else 0.0})
        if record and "attempt" in record.result:
            self._note(node, state, uri=self.store.payload(record), digest=record.digest, duration=record.seconds)
        elif state == "failed":
            self._note(node, state, reason=facts["error"])

    def _note(self, node: Node, state: str, **facts: Any) -> None:
        """Tell the journal about a node that makes a checkpoint, as its annotation says."""
        if node.makes_checkpoint:
            params = {path: value.title if isinstance(value, Node) else value for path, value in node.point.items()}
            of = {"fingerprint": self.fingerprints.of(node), "function": node.function, "label": node.title, "params": params}
            self.journal.write("node", **of, state=state, is_checkpoint=True, **facts)

    def _interrupt(self, seconds: float) -> None:
        """Tell the workers to save their state, and give them a moment to do so."""
        tell_to_stop(self.place.folder)
        until = time.monotonic() + seconds
        while self.flying and time.monotonic() < until:
            event = self.backend.next(0.5)
            if event and event[0] == "lost":
                return
            if event and event[0] == "outcome":
                self.flying.pop(event[1].key, None)
