"""Leases: who computes a node. `lease/{generation}` is created exclusively and names a driver; a driver has one heartbeat for all its leases.

No clocks are compared: a waiter that sees a heartbeat unchanged for `PATIENCE` seconds on its own clock creates the next generation. On one
host a dead process (boot id, pid, start time) is taken over at once. The first record wins, so a zombie can waste work and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path

from infra.errors import StoreError
from infra.store.place import Place

BEAT = 10.0  # seconds between heartbeats
PATIENCE = 60.0  # seconds without a new heartbeat after which a driver counts as dead


def process_identity(pid: int) -> str:
    """`boot id/pid/start time` of a process on this host: differs when the pid was given to another process; "" where it is gone."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        status = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return ""
    return "" if status[0] in "ZX" else f"{boot}/{pid}/{status[19]}"


class Driver:
    """This process as the holder of leases in one store."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.name = uuid.uuid4().hex[:16]
        self.seen: dict[str, tuple[bytes, float]] = {}  # other driver -> its last heartbeat and when it was first seen
        self._identity = process_identity(os.getpid())
        self._count = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._write(ended=False)
        self._thread.start()

    def stop(self) -> None:
        """End all leases at once, so that others need not wait."""
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(StoreError):  # on a full disk the run's own end is what counts; a dead process is seen without this
            self._write(ended=True)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            with contextlib.suppress(Exception):  # a store that is away for a moment costs a heartbeat, not the run
                self._write(ended=False)

    def _write(self, *, ended: bool) -> None:
        self._count += 1
        beat = {"host": socket.gethostname(), "pid": os.getpid(), "process": self._identity, "beat": self._count, "ended": ended}
        self.place.write(f"drivers/{self.name}.json", json.dumps(beat).encode())

    def acquire(self, key: str) -> str:
        """Take the lease of a node: "" when it is ours, else who holds it (`host, process`)."""
        while True:
            generations = [int(name) for name in self.place.names(f"{key}/lease") if name.isdigit()]
            newest = max(generations, default=-1)
            holder = json.loads(self.place.read(f"{key}/lease/{newest}") or b"{}").get("driver", "") if generations else ""
            if holder == self.name:
                return ""
            if holder and (who := self._alive(holder)):
                return who
            if self.place.create(f"{key}/lease/{newest + 1}", json.dumps({"driver": self.name}).encode()):
                return ""

    def _alive(self, driver: str) -> str:
        data = self.place.read(f"drivers/{driver}.json")
        if data is None:
            return ""
        try:
            beat = json.loads(data)
        except ValueError:  # cut short by a crash of the machine, which its driver did not survive
            return ""
        if beat["ended"]:
            return ""
        if beat["host"] == socket.gethostname() and beat["process"] and process_identity(beat["pid"]) != beat["process"]:
            return ""
        last, since = self.seen.get(driver, (b"", 0.0))
        if data != last:
            self.seen[driver] = (data, time.monotonic())
        elif time.monotonic() - since > PATIENCE:
            return ""
        return f"{beat['host']}, process {beat['pid']}"
