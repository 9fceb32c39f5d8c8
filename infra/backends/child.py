"""A child process that executes jobs and reports events over a pipe; when the driver dies the pipe ends, and so does the child.

Driver to child: ("job", Job), ("sweep", [Job], pack), ("stop",).
Child to driver: ("ready", facts), ("outcome", Outcome), ("lost", reason), ("unreached", reason).
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from typing import Any

from infra import settings
from infra.errors import BackendLost, Unreached
from infra.job import Job
from infra.secrets import redact
from infra.worker import source_root

Event = tuple[str, Any]
STOP = bytes(ForkingPickler.dumps(("stop",)))


class Child:
    """The driver's handle: `serve(pipe, options)` runs in a process of its own session, so that Ctrl-C reaches the driver alone."""

    def __init__(self, serve: Callable[[Connection, dict[str, Any]], None], options: dict[str, Any]) -> None:
        self.serve, self.options = serve, options
        self.events: queue.Queue[Event] = queue.Queue()
        self.process: Any = None

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        settings.for_children(source_root())
        self.process = context.Process(target=_main, args=(self.serve, other, self.options), name="stockpot-backend")
        self.process.start()
        other.close()
        threading.Thread(target=self._read, args=(self.pipe,), name="backend-events", daemon=True).start()
        self._messages: queue.Queue[bytes] = queue.Queue()
        self._writer = threading.Thread(target=self._write, args=(self.pipe, self._messages), name="backend-messages", daemon=True)
        self._writer.start()

    def _read(self, pipe: Connection) -> None:
        event: Event = ("ready", {})
        while event[0] != "lost":
            try:
                event = pipe.recv()
            except (EOFError, OSError):
                event = ("lost", "it was killed, or crashed")
            self.events.put(event)

    def _write(self, pipe: Connection, messages: queue.Queue[bytes]) -> None:
        """A thread of its own, for a large sweep fills the pipe until the child takes it."""
        message = b""
        with contextlib.suppress(OSError):  # it went away, which whoever reads is told
            while message != STOP:
                message = messages.get()
                pipe.send_bytes(message)

    def submit(self, job: Job) -> None:
        self._send("job", job)

    def submit_sweep(self, jobs: Sequence[Job], pack: int) -> None:
        self._send("sweep", list(jobs), pack)

    def _send(self, *message: Any) -> None:
        """Raises here, in the caller, what cannot be pickled."""
        self._messages.put(bytes(ForkingPickler.dumps(message)))

    def lost(self, reason: str) -> BackendLost:
        """The error that says why, where to look and how to go on."""
        log = f", its log is {self.options['log']}" if self.options["log"] else ""
        return BackendLost(f"the process that executes jobs went away: {reason}{log}; what was finished is kept: run the same command to go on")

    def stop(self, patience: float = 10.0) -> None:
        """End the child: ask, wait, then kill, with whatever it started and left behind."""
        if self.process is None:
            return
        self._messages.put(STOP)
        wait([self.process.sentinel], patience)
        with contextlib.suppress(ProcessLookupError):  # before the child is reaped, so that the group is still its own
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()  # it may not have had a group of its own yet
        self.process.join()
        self._writer.join(10.0)
        self.pipe.close()


def _main(serve: Callable[[Connection, dict[str, Any]], None], pipe: Connection, options: dict[str, Any]) -> None:
    os.setsid()
    if log := options.get("log"):
        os.makedirs(os.path.dirname(log), exist_ok=True)
        file = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)
        os.dup2(file, 1)
        os.dup2(file, 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings.configure(worker=True)
    try:
        serve(pipe, options)
    except Exception as error:  # the top of a process: its traceback is in the log, the driver hears one line
        print(redact(traceback.format_exc()), file=sys.stderr, flush=True)
        if isinstance(error, Unreached):
            event = "unreached", f"{error} (the log is {log})" if log else str(error)
        else:
            event = "lost", f"{type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0]}"
        with contextlib.suppress(OSError):
            pipe.send((event[0], redact(event[1])))
        sys.exit(1)
