"""One job at a time in one child process: debugging, tests, and machines without Ray."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from infra import notice, settings
from infra.backends.child import STOP, Child
from infra.course import conduct
from infra.job import Job, Outcome
from infra.worker import execute, source_root


def serve(pipe: Connection, options: dict[str, Any]) -> None:
    """Execute jobs in the order they come; a reader thread ends the process when the driver is gone."""
    settings.for_children(source_root(), OMP_NUM_THREADS="1")
    notice.heed()
    jobs: queue.Queue[Job | None] = queue.Queue()

    def read() -> None:
        try:
            while (message := pipe.recv())[0] != "stop":
                jobs.put(message[1])
            jobs.put(None)
        except (EOFError, OSError):
            os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    pipe.send(("ready", {"cpus": 1, "gpus": 0}))
    while (job := jobs.get()) is not None:
        pipe.send(("outcome", conduct(job) if job.search else execute(job)))


class Local(Child):
    """The local backend: a child that dies takes one attempt with it, and a new child goes on with the rest."""

    def __init__(self, log: str = "") -> None:
        super().__init__(serve, {"log": log})
        self._queue: list[Job] = []

    def submit(self, job: Job) -> None:
        self._queue.append(job)
        if len(self._queue) == 1:
            super().submit(job)

    def submit_sweep(self, jobs: Sequence[Job], pack: int) -> None:
        for job in jobs:
            self.submit(job)

    def next(self, timeout: float) -> tuple[str, Any] | None:
        """The next event, or None after `timeout` seconds."""
        try:
            event = self.events.get(timeout=timeout)
        except queue.Empty:
            return None
        if event[0] == "lost" and self._queue:
            self.process.join()
            event = ("outcome", Outcome(self._queue[0].key, "lost", f"its process ended with {self.process.exitcode}"))
            self._messages.put(STOP)
            self.start()
        if event[0] == "outcome":
            self._queue.pop(0)
            if self._queue:
                super().submit(self._queue[0])
        return event
