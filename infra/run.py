"""What the place of execution gives a component as `run`: in a worker, and for an item of `run.map` in another process."""

from __future__ import annotations

import atexit
import contextlib
import functools
import math
import os
import socket
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from infra import notice, settings
from infra.courier import told_to_stop
from infra.errors import Left, Stopped
from infra.job import Job, Site
from infra.owned import scratch
from infra.store import Store, manifest
from infra.store.manifest import Manifest
from infra.store.place import Place
from infra.store.state import States, beside
from infra.tracking.journal import Journal
from infra.watchdog import Watchdog

POLL = 0.5  # seconds between two looks at the flag

Map = Callable[[Callable[..., Any], Sequence[Mapping[str, Any]]], list[Any]]
Judge = Callable[[int, float], bool]  # whether a trial that would give this value at this step is to stop


def in_order(fn: Callable[..., Any], items: Sequence[Mapping[str, Any]]) -> list[Any]:
    """`run.map` where there is one process."""
    return [fn(**item) for item in items]


class WorkerRun:
    """The `run` that a component gets: scratch, the node's cache, logging, pinned manifests and training states."""

    rank = 0

    def __init__(
        self, job: Job, store: Store, journal: Journal, scratch: str, map: Map, parallel: int = 1, judge: Judge | None = None
    ) -> None:  # fmt: skip
        self.cache = job.place.cache or settings.cache_folder()
        self.dir, self.cache_limit, self.map, self.parallel = scratch, job.place.cache_limit, map, parallel
        self.world = job.world
        self._job, self._store, self._journal = job, store, journal
        attempt = f"{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:8]}"  # nobody else writes what is named so
        self._states = States(store.place, job.key, attempt, scratch, beside(self.cache, store.place))
        self._states.failed = self._unsaved
        self._saved = self._looked = time.monotonic()
        self.looks: list[tuple[int, float]] = []  # what `enough` was told
        self.stopped = 0  # the step at which it said so
        self._judge = judge or (lambda step, value: False)
        self._step = 0
        self._watchdog = Watchdog(job.place.hung_after, self._hung)

    def log(self, step: int, **metrics: float) -> None:
        self._journal.write("metric", fingerprint=self._job.fingerprint, step=step, values=metrics)

    def alive(self) -> None:
        self._watchdog.alive()

    def enough(self, step: int, steps: int, value: float) -> bool:
        if not math.isfinite(value):
            raise ValueError(f"the monitor saw {value} at step {step}, by which no trial can be chosen; give it another metric")
        self._watchdog.beat()
        self.looks.append((step, value))
        self.stopped = step if self._judge(step, value) and step < steps else 0
        return self.stopped > 0

    def manifest(self, digest: str) -> Manifest:
        return manifest.read(self._store.place, digest)

    def restore(self) -> str | None:
        found = self._states.restore()
        if found is None:
            return None
        self._journal.write("restored", fingerprint=self._job.fingerprint, step=found[0], passed=self._states.passed)
        return found[1]

    def checkpoint(self, step: int, write: Callable[[str], None], force: bool = False) -> None:
        now, self._step = time.monotonic(), step
        self._watchdog.beat()
        stop, leave = False, notice.given()
        if now - self._looked > POLL:
            self._looked, stop = now, told_to_stop(self._job.place.folder)
        if force or stop or leave or now - self._saved > self._job.place.checkpoint_every:
            self._states.save(step, write)
            self._journal.write("state", fingerprint=self._job.fingerprint, step=step)
            self._saved = time.monotonic()
        kept = not (force or stop or leave) or self._states.settle()
        if stop:
            only = "" if kept else f"; its state is on the disk of {socket.gethostname()} only, for the store did not take it"
            raise Stopped(f"stopped at step {step}{only}")
        if leave:
            self._journal.write("left", fingerprint=self._job.fingerprint, step=step, host=socket.gethostname(), kept=kept)
            raise Left

    def rest(self) -> None:
        """The component has returned: there are no more steps to wait for."""
        self._watchdog.close()

    def done(self) -> None:
        """The record stands: nobody needs a state any more."""
        self._states.clear()

    def close(self) -> None:
        """The job has ended: a moment for the newest state to be where another node finds it."""
        self.rest()
        self._states.settle()

    def _hung(self, seconds: float) -> None:
        of = {"fingerprint": self._job.fingerprint, "step": self._step}
        self._journal.write("hung", **of, seconds=round(seconds), host=socket.gethostname())
        self._journal.close()

    def _unsaved(self, name: str, reason: str) -> None:
        step = int(name.split("-", 1)[0])
        self._journal.write("unsaved", fingerprint=self._job.fingerprint, step=step, reason=reason, host=socket.gethostname())

    def __reduce__(self) -> tuple[type[Guest], tuple[Site]]:
        return Guest, (self._job.place,)


class Guest:
    """The `run` of an item of `run.map` in another process: that node's cache and the pinned manifests; nothing is logged, mapped or kept."""

    rank, world, parallel = 0, 1, 1

    def __init__(self, place: Site) -> None:
        settings.configure(worker=True)
        self.dir, self.cache, self.cache_limit, self._store = lasting(), place.cache or settings.cache_folder(), place.cache_limit, place.store

    def log(self, step: int, **metrics: float) -> None:
        pass

    def alive(self) -> None:
        pass

    def enough(self, step: int, steps: int, value: float) -> bool:
        return False

    def map(self, fn: Callable[..., Any], items: Sequence[Mapping[str, Any]]) -> list[Any]:
        raise AssertionError("maps do not nest")

    def manifest(self, digest: str) -> Manifest:
        return manifest.read(Place(self._store), digest)

    def restore(self) -> None:
        return None

    def checkpoint(self, step: int, write: Callable[[str], None], force: bool = False) -> None:
        pass


@functools.cache
def lasting() -> str:
    """A scratch folder for as long as this process lives: its items share what they opened."""
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(scratch())
