"""Leases: who computes a node. `lease/{generation}` is created exclusively and names a driver; a driver has one heartbeat for all its leases.

Generations are read by GET from 0 on, never listed: the last one that is there holds, and one that names nobody lets go of a node. No clocks
are compared: a waiter that sees a heartbeat unchanged for `PATIENCE` seconds on its own clock creates the next generation. On one host a process
that died since the host's start (boot id, pid namespace, pid, start time) is taken over at once. A driver that could not write its heartbeat for
nearly as long claims nothing more (`lapsed`), since others may have taken its leases; what it still computes is at worst computed twice: the
first record wins, and a zombie's attempt is garbage. Nor does it judge others: that they could not write either says nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from infra.errors import StoreError
from infra.store.place import Place

BEAT = 10.0  # seconds between heartbeats
PATIENCE = 60.0  # seconds without a new heartbeat after which a driver counts as dead
LAST = 20.0  # seconds that a driver which ends waits for its last heartbeat to be there


def process_identity(pid: int) -> str:
    """`boot id/pid namespace/pid/start time` of a process here: differs when the pid was given to another process; "" where it is gone."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        boot += f"/{os.readlink('/proc/self/ns/pid')[5:-1]}"
        status = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return ""
    return "" if status[0] in "ZX" else f"{boot}/{pid}/{status[19]}"


def dead(host: str, identity: str) -> bool:
    """Whether a process is known to be no more: nothing is known of one in another container, or on a machine that merely has this one's name."""
    here = process_identity(os.getpid()).split("/")
    *where, pid, _start = identity.split("/") if identity.count("/") > 1 else ["", "0", ""]
    return host == socket.gethostname() and where == here[:-2] and process_identity(int(pid)) != identity


def parsed(data: bytes | None) -> dict[str, Any]:
    """A JSON object; {} where there is none, or one that a crash of the machine cut short, which its driver did not survive."""
    with contextlib.suppress(ValueError):
        found = json.loads(data or b"{}")
        return found if isinstance(found, dict) else {}
    return {}


class Driver:
    """This process as the holder of leases in one store. Not started, it only looks.

    run: what waiters are told that it runs; plan: the identity of what it runs, by which an equal one knows it.
    """

    def __init__(self, place: Place, run: str = "", plan: str = "", *, beat: float = BEAT, patience: float = PATIENCE) -> None:
        self.place, self.run, self.plan, self.beat, self.patience = place, run, plan, beat, patience
        self.name = uuid.uuid4().hex[:16]
        self.seen: dict[str, tuple[bytes, float]] = {}  # other driver -> its last heartbeat and when it was first seen
        self._plans: dict[str, str] = {}  # other driver -> its plan
        self._newest: dict[str, tuple[int, str]] = {}  # key -> its newest known generation and who holds it; generation -1: none
        self._identity, self._since = process_identity(os.getpid()), time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        self.problem: StoreError | None = None  # why the last heartbeat is not there
        self._count, self._written = 0, 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beats, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._write(ended=False)
        self._thread.start()

    def stop(self) -> None:
        """End all leases at once, so that others need not wait. A store that is away is not waited for: the end is seen by patience then."""
        self._ended.set()
        self._thread.join(0.0 if self.problem and not self.place.local else LAST)

    @property
    def lapsed(self) -> bool:
        """Whether others may by now take this driver for dead: its last heartbeat is old, by its own clock."""
        return time.monotonic() - self._written > self.patience - self.beat

    def _beats(self) -> None:
        while not self._ended.wait(self.beat):
            try:
                self._write(ended=False)
                self.problem = None
            except Exception as error:  # a store that is away for a moment costs a heartbeat; whether it costs the run, the runner decides
                self.problem = error if isinstance(error, StoreError) else StoreError(f"{self.place.url}: no heartbeat: {error!r}; run it again")
        with contextlib.suppress(Exception):  # on a full disk the run's own end is what counts; a dead process is seen without this
            self._write(ended=True)

    def _write(self, *, ended: bool) -> None:
        self._count += 1
        began = time.monotonic()
        who = {"host": socket.gethostname(), "pid": os.getpid(), "process": self._identity}
        what = {"run": self.run, "plan": self.plan, "since": self._since, "beat": self._count, "ended": ended}
        self.place.write(f"drivers/{self.name}.json", json.dumps(who | what).encode())
        if began - self._written > self.patience / 2:
            self.seen.clear()  # the store was away: others could not write either
        self._written = began

    def acquire(self, keys: Sequence[str]) -> dict[str, str]:
        """Take the leases of nodes: {key: "" where it is ours, else who holds it, for people to read}."""
        found: dict[str, str] = {}
        left = list(keys)
        while left:
            holders = self.holders(left)
            alive = self.alive(holder for holder in holders.values() if holder != self.name)
            found |= {key: "" if holder == self.name else alive[holder] for key, holder in holders.items() if holder == self.name or alive[holder]}
            free = [key for key in left if key not in found]
            won = self.place.each(self._claim, free)
            left = [key for key, mine in zip(free, won, strict=True) if not mine]  # who lost the race reads on
            found |= {key: "" for key, mine in zip(free, won, strict=True) if mine}
        return found

    def _claim(self, key: str) -> bool:
        # not durable: what a crash of the machine takes away is the lease of a driver that it took as well
        generation = self._newest[key][0] + 1
        if not self.place.create(f"{key}/lease/{generation}", json.dumps({"driver": self.name}).encode(), durable=False):
            return False
        self._newest[key] = (generation, self.name)
        return True

    def release(self, keys: Iterable[str]) -> None:
        """Let go of nodes that this driver will not finish, so that who waits for one does not wait for its other work."""

        def let_go(key: str) -> None:
            generation = self._newest[key][0] + 1
            if self.place.create(f"{key}/lease/{generation}", json.dumps({"driver": ""}).encode(), durable=False):
                self._newest[key] = (generation, "")

        self.place.each(let_go, [key for key in dict.fromkeys(keys) if self._newest.get(key, (-1, ""))[1] == self.name])

    def holders(self, keys: Sequence[str]) -> dict[str, str]:
        """{key: the driver that its newest lease names, "" where there is none}."""
        left = list(keys)
        while left:
            following = {key: f"{key}/lease/{self._newest.get(key, (-1, ''))[0] + 1}" for key in left}
            contents = self.place.read_many(list(following.values()))
            left = [key for key in left if contents[following[key]] is not None]
            for key in left:
                self._newest[key] = (int(following[key].rsplit("/", 1)[1]), str(parsed(contents[following[key]]).get("driver", "")))
        return {key: self._newest.setdefault(key, (-1, ""))[1] for key in keys}

    def same_plan(self, key: str) -> bool:
        """Whether who holds the lease of a node, as it was last read, runs the plan of this driver."""
        return bool(self.plan) and self._plans.get(self._newest.get(key, (-1, ""))[1]) == self.plan

    def alive(self, drivers: Iterable[str]) -> dict[str, str]:
        """{driver: its host, process, run and since when; "" where it ended or counts as dead}."""
        names = {driver: f"drivers/{driver}.json" for driver in dict.fromkeys(drivers) if driver}
        beats = self.place.read_many(list(names.values())) if names else {}
        return {"": "", **{driver: self._told(driver, beats[name]) for driver, name in names.items()}}

    def _told(self, driver: str, data: bytes | None) -> str:
        beat = parsed(data)
        if not data or not beat or beat["ended"]:
            return ""
        if dead(beat["host"], beat["process"]):
            return ""
        self._plans[driver] = str(beat.get("plan", ""))
        last, since = self.seen.get(driver, (b"", 0.0))
        if data != last:
            self.seen[driver] = (data, time.monotonic())
        elif time.monotonic() - since > self.patience and not (self._count and time.monotonic() - self._written > self.patience / 2):
            return ""
        run = f", run {beat['run']} since {beat['since']}" if beat.get("run") else ""
        return f"{beat['host']}, process {beat['pid']}{run}"
