"""The heartbeat of a job that makes steps: where none comes for too long, its process is ended, and another one goes on from its last state."""

from __future__ import annotations

import faulthandler
import os
import threading
import time
from collections.abc import Callable

HUNG = 75  # the exit code of a process that hung
TELL = 5.0  # seconds for telling of it: whatever hangs may hold the disk, too
BACKSTOP = 1.2  # times the limit: by then also a process ends whose threads cannot run, for one of them never gives Python up


class Watchdog:
    """Begins with the first `beat`; `limit` seconds without another one, and `hung(seconds)` is called and the process ends. 0: never."""

    def __init__(self, limit: float, hung: Callable[[float], None]) -> None:
        self.limit, self._hung = limit, hung
        self._last = self._armed = 0.0
        self._closed = threading.Event()

    def beat(self) -> None:
        if not self.limit:
            return
        self._last, first = time.monotonic(), not self._last
        if first:
            threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        if self._last - self._armed > self.limit / 20:
            self._armed = self._last
            faulthandler.dump_traceback_later(BACKSTOP * self.limit, exit=True)

    def alive(self) -> None:
        """As a beat, but nothing begins with it: before the first step nobody waits for the next."""
        if self._last:
            self.beat()

    def close(self) -> None:
        self._closed.set()
        if self._armed:
            faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        while not self._closed.wait(self.limit / 20):
            silent = time.monotonic() - self._last
            if silent > self.limit:
                faulthandler.dump_traceback()  # of every thread, into the log of this worker
                teller = threading.Thread(target=self._hung, args=(silent,), daemon=True)
                teller.start()
                teller.join(TELL)
                os._exit(HUNG)
