"""A worker executes one job: inputs from the store, the component, its payload to the store, the record last."""

from __future__ import annotations

import atexit
import contextlib
import functools
import inspect
import os
import platform
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.errors import Stopped, exit_code_of
from infra.identity import name_of, revision_of
from infra.job import Job, Outcome, Ref, Site
from infra.owned import scratch
from infra.store import Record, Store
from infra.store.pins import Pins
from infra.store.record import encode
from infra.store.state import States
from infra.tracking.journal import Journal

STOP = "stop"  # the flag in a run's folder that tells its workers to save their state and end
POLL = 0.5  # seconds between two looks at the flag

Map = Callable[[Callable[..., Any], Sequence[Mapping[str, Any]]], list[Any]]


@dataclass(frozen=True)
class ManifestFile:
    """An entry of a pinned manifest, as `run.manifest` gives it."""

    name: str
    size: int
    digest: str


def in_order(fn: Callable[..., Any], items: Sequence[Mapping[str, Any]]) -> list[Any]:
    """`run.map` where there is one process."""
    return [fn(**item) for item in items]


class WorkerRun:
    """The `run` that a component gets: scratch, the node's cache, logging, pinned manifests and training states."""

    rank, world = 0, 1

    def __init__(self, job: Job, store: Store, journal: Journal, scratch: str, map: Map, parallel: int = 1) -> None:
        self.dir, self.cache, self.cache_limit, self.map, self.parallel = scratch, job.place.cache, job.place.cache_limit, map, parallel
        self._job, self._store, self._journal = job, store, journal
        self._states = States(store.place, job.key, f"{socket.gethostname()}.{os.getpid()}.{int(time.time())}", scratch)
        self._saved = self._looked = time.monotonic()

    def log(self, step: int, **metrics: float) -> None:
        self._journal.write("metric", fingerprint=self._job.fingerprint, step=step, values=metrics)

    def manifest(self, digest: str) -> list[ManifestFile]:
        return manifest(self._store, digest)

    def restore(self) -> str | None:
        found = self._states.restore()
        if found is None:
            return None
        self._journal.write("restored", fingerprint=self._job.fingerprint, step=found[0])
        return found[1]

    def checkpoint(self, step: int, write: Callable[[str], None], force: bool = False) -> None:
        now = time.monotonic()
        stop = False
        if now - self._looked > POLL:
            self._looked, stop = now, os.path.exists(os.path.join(self._job.place.folder, STOP))
        if force or stop or now - self._saved > self._job.place.checkpoint_every:
            self._states.save(step, write)
            self._journal.write("state", fingerprint=self._job.fingerprint, step=step)
            self._saved = time.monotonic()
        if stop:
            raise Stopped(f"stopped at step {step}")

    def done(self) -> None:
        self._states.clear()

    def __reduce__(self) -> tuple[type[Guest], tuple[Site]]:
        return Guest, (self._job.place,)


class Guest:
    """The `run` of an item of `run.map` in another process: that node's cache and the pinned manifests; nothing is logged, mapped or kept."""

    rank, world, parallel = 0, 1, 1

    def __init__(self, place: Site) -> None:
        self.dir, self.cache, self.cache_limit, self._store = lasting(), place.cache, place.cache_limit, place.store

    def log(self, step: int, **metrics: float) -> None:
        pass

    def map(self, fn: Callable[..., Any], items: Sequence[Mapping[str, Any]]) -> list[Any]:
        raise AssertionError("maps do not nest")

    def manifest(self, digest: str) -> list[ManifestFile]:
        return manifest(Store(self._store), digest)

    def restore(self) -> None:
        return None

    def checkpoint(self, step: int, write: Callable[[str], None], force: bool = False) -> None:
        pass


def manifest(store: Store, digest: str) -> list[ManifestFile]:
    """The pinned files of a source."""
    return [ManifestFile(*entry) for entry in Pins(store.place, str).manifest(digest)]


def resolve(value: Any, store: Store, inputs: dict[str, str]) -> Any:
    """The argument with every `Ref` replaced by what the store holds for it; `inputs` collects {key: digest}."""
    if isinstance(value, Ref):
        record = store.finished(value.key)
        inputs[value.key] = record.digest
        return store.open(record)
    if isinstance(value, list | tuple):
        return type(value)(resolve(item, store, inputs) for item in value)
    if isinstance(value, Mapping):
        return {key: resolve(item, store, inputs) for key, item in value.items()}
    return value


def environment() -> dict[str, str]:
    """What a record says of the place it was made; torch is named only where it was used."""
    versions = {name: getattr(sys.modules[name], "__version__", "") for name in ("torch", "open_clip", "numpy") if name in sys.modules}
    found = {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    return found | {name: str(version) for name, version in versions.items()}


def compute(job: Job, store: Store, run: WorkerRun, map: Map, started: float) -> Record:
    """Call the component and write its payload; the record is returned, not yet published."""
    inputs: dict[str, str] = {}
    arguments = {name: resolve(value, store, inputs) for name, value in job.arguments.items()}
    if takes_run(job.fn):
        arguments["run"] = run
    value = job.fn(**arguments)
    result: dict[str, Any]
    if hasattr(value, "save"):
        attempt, url = store.attempt(job.key)
        files = [{"name": file.name, "size": file.size, "digest": file.digest} for file in value.save(url, map)]
        result = {"type": name_of(type(value)), "attempt": attempt, "files": files}
    else:
        result = {"value": encode(value, job.title)}
    summary = encode(value.summary(), job.title) if hasattr(value, "summary") else {}
    return Record(
        key=job.key, function=name_of(job.fn), fingerprint=job.fingerprint, revision=revision_of(job.fn), arguments=job.canonical, inputs=inputs,
        result=result, summary=summary, data=job.data, members=job.members, environment=environment(), host=socket.gethostname(), started=started,
        seconds=round(time.time() - started, 3), attempts=job.attempt,
    )  # fmt: skip


def execute(job: Job, map: Map = in_order, parallel: int = 1) -> Outcome:
    """Run a job to its record, its `run.map` on `parallel` items at once.

    Every exception of the component becomes an outcome; only the death of the process does not.
    """
    started = time.time()
    writer = f"{socket.gethostname()}.{os.getpid()}.{threading.get_ident()}"
    try:
        store = Store(job.place.store)
        if store.has(job.key):
            return Outcome(job.key, "done")
        if os.path.exists(os.path.join(job.place.folder, STOP)):
            return Outcome(job.key, "stopped", "the run was stopped")
        with scratch() as folder, contextlib.closing(Journal(job.place.folder, writer)) as journal:
            journal.write("running", fingerprint=job.fingerprint, key=job.key, pid=os.getpid(), host=socket.gethostname(), attempt=job.attempt)
            run = WorkerRun(job, store, journal, folder, map, parallel)
            store.publish(compute(job, store, run, map, started))
            run.done()
    except Stopped as stopped:
        return Outcome(job.key, "stopped", str(stopped))
    except Exception as error:
        with contextlib.suppress(Exception):  # a record that stands is not undone by what came after it
            if Store(job.place.store).has(job.key):
                return Outcome(job.key, "done", seconds=time.time() - started)
        return failed(job, error, time.time() - started)
    return Outcome(job.key, "done", seconds=time.time() - started)


def failed(job: Job, error: Exception, seconds: float) -> Outcome:
    """The outcome of an exception: its first line, its class and whether another try can help (input and output only)."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    retry = getattr(error, "retry", isinstance(error, OSError))
    trace = "".join(traceback.format_exception(error))
    kind = "oom" if isinstance(error, MemoryError) else type(error).__name__
    return Outcome(job.key, "failed", text, kind, exit_code_of(error), retry, trace, seconds)


@functools.cache
def lasting() -> str:
    """A scratch folder for as long as this process lives: its items share what they opened."""
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(scratch())


def takes_run(fn: Callable[..., Any]) -> bool:
    return "run" in inspect.signature(fn).parameters


def source_root() -> str:
    """The folder that holds the packages, for the import path of workers."""
    return str(Path(__file__).resolve().parent.parent)
