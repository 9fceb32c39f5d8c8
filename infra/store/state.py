"""Training states: what a half-trained node needs to go on, in `{key}/state/{step}-{attempt}/`, its pointer written last.

A state counts once `{step}-{attempt}.json` names its files and their digests. The newest valid one wins; older states of the same attempt are
removed once a newer one stands. Where the store is remote, a state is written to this node's disk, so that training goes on at once and a resume
on the same node needs no store, and a thread uploads it: one at a time, and of those that wait the newest only.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infra.errors import StoreError
from infra.store.place import Place, filesystem

KEEP = 2  # states that remain: the newest, and one before it in case that one is damaged
LAST = 15.0  # seconds that a worker which ends waits for its last upload: less than a driver that stops waits for its workers
OLD = 14 * 86400.0  # seconds after which a state on this node's disk is nobody's: its node went on elsewhere
STATE = re.compile(r"(\d+)-.+\.json")  # the name of a state's pointer: its step, its attempt
DAMAGED = (OSError, StoreError, ValueError, KeyError, TypeError, AttributeError)  # what a state that cannot be read raises


def sha256(path: str | Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def beside(cache: str, store: Place) -> Place | None:
    """Where a node keeps the states of a remote store: in its cache folder, by store. None for a store on this disk."""
    return None if store.local else Place(os.path.join(cache, "states", hashlib.sha256(store.url.encode()).hexdigest()[:16]))


class Uploads:
    """Sends one name at a time, in a thread; a newer one replaces the one that waits. What fails is told to `failed(name, reason)`."""

    def __init__(self, send: Callable[[str], None], failed: Callable[[str, str], None]) -> None:
        self.busy = ""  # the name that is being sent
        self._send, self._failed = send, failed
        self._waiting = self._running = ""
        self._problem = False
        self._changed = threading.Condition()

    def put(self, name: str) -> None:
        with self._changed:
            self._waiting = name
            if not self._running:
                self._running = name
                threading.Thread(target=self._serve, name="state-upload", daemon=True).start()

    def settle(self, seconds: float, *, drop: bool = False) -> bool:
        """Wait until nothing is under way, with `drop` only for what is; whether the last one arrived."""
        with self._changed:
            self._waiting = "" if drop else self._waiting
            return self._changed.wait_for(lambda: not self._running, seconds) and not self._problem

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._running = self.busy = self._waiting
                self._waiting = ""
                if not self.busy:
                    self._changed.notify_all()
                    return
            try:
                self._send(self.busy)
                self._problem = False
            except Exception as error:  # whatever it is: training goes on, and the next state tries again
                self._problem = True
                self._failed(self.busy, (str(error).strip() or type(error).__name__).splitlines()[0])


class States:
    """The training states of one node, as seen by one attempt. `near` is where this node keeps those of a remote store."""

    def __init__(self, place: Place, key: str, attempt: str, scratch: str, near: Place | None = None) -> None:
        self.place, self.near, self.folder, self.attempt, self.scratch = place, near or place, f"{key}/state", attempt, scratch
        self.passed: list[str] = []  # states that `restore` did not take, and why
        self.failed: Callable[[str, str], None] = lambda name, reason: None  # told of each upload that failed
        self._own: list[int] = []
        self._sent: list[int] = []
        self._over = self._used = False
        self._fs: Any = filesystem(place.url) if near else None
        self._uploads = Uploads(self._upload, lambda name, reason: self.failed(name, reason)) if near else None

    def save(self, step: int, write: Callable[[str], None]) -> None:
        """`write(folder)`, and the state stands on this disk; it is in a remote store once it was uploaded, which `settle` waits for."""
        self._used = True
        name = f"{step}-{self.attempt}"
        if step not in self._own:
            local = self.near.at(f"{self.folder}/{name}")
            os.makedirs(local)
            write(local)
            files = {path.name: sha256(path) for path in sorted(Path(local).iterdir())}
            self.near.write(f"{self.folder}/{name}.json", json.dumps({"step": step, "files": files, "time": time.time()}).encode())
            self._own.append(step)
        if self._uploads:
            self._uploads.put(name)
        busy = self._uploads.busy if self._uploads else ""
        for old in [old for old in self._own[:-KEEP] if f"{old}-{self.attempt}" != busy]:
            self._own.remove(old)
            self._forget(self.near, f"{old}-{self.attempt}")

    def settle(self, seconds: float = LAST) -> bool:
        """Whether the newest state is where other nodes find it, after `seconds` at most."""
        return self._uploads is None or self._uploads.settle(seconds)

    def _upload(self, name: str) -> None:
        """Copy a state into the store; its pointer is written once all of its files are there in full."""
        pointer = self.near.read(f"{self.folder}/{name}.json") or b"{}"
        for file in json.loads(pointer)["files"]:
            local, remote = self.near.at(f"{self.folder}/{name}/{file}"), self.place.at(f"{self.folder}/{name}/{file}")
            self._fs.put_file(local, remote)
            if (there := self._fs.size(remote)) != os.path.getsize(local):
                raise StoreError(f"{remote}: holds {there} of {os.path.getsize(local)} bytes after it was written")
        if self._over:  # the node was done before this was
            self.place.remove(f"{self.folder}/{name}")
            return
        self.place.write(f"{self.folder}/{name}.json", pointer)
        self._sent.append(int(name.split("-", 1)[0]))
        while len(self._sent) > KEEP:
            self._forget(self.place, f"{self._sent.pop(0)}-{self.attempt}")

    def restore(self) -> tuple[int, str] | None:
        """(step, local folder) of the newest state, here or in the store, whose files have the recorded digests, or None.

        Damaged ones are passed over. Raises StoreError where the store is away and nothing is here.
        """
        self._used = True
        here = self._names(self.near)
        away: Exception | None = None
        there: list[str] = []
        if self.near is not self.place:
            try:
                there = self._names(self.place)
            except (OSError, StoreError) as error:
                away = error
                self.passed.append(f"{self.place.at(self.folder)}: {error}")
            prune(Path(self.near.url).parent)
        found = [(int(name.split("-", 1)[0]), name, place) for place, names in ((self.near, here), (self.place, there)) for name in names]
        for step, name, place in sorted(found, key=lambda state: (*state[:2], state[2] is self.near), reverse=True):
            try:
                return step, self._fetched(place, name)
            except DAMAGED as error:
                self.passed.append(f"{place.at(f'{self.folder}/{name}')}: {error or type(error).__name__}")
        if away is not None:
            raise StoreError(f"{self.place.at(self.folder)}: cannot be read: {away}")
        return None

    def _names(self, place: Place) -> list[str]:
        return [name.removesuffix(".json") for name in place.names(self.folder) if STATE.fullmatch(name)]

    def _fetched(self, place: Place, name: str) -> str:
        """The local folder with the files of a state. Raises one of DAMAGED where they are not what its pointer says."""
        pointer = json.loads(place.read(f"{self.folder}/{name}.json") or b"")["files"]
        local = place.at(f"{self.folder}/{name}") if place.local else os.path.join(self.scratch, f"restored-{name}")
        os.makedirs(local, exist_ok=True)
        for file, digest in pointer.items():
            if os.path.basename(file) != file:
                raise ValueError(f"{file!r} is no name of a file")
            path = os.path.join(local, file)
            if not place.local:
                self._fs.get_file(place.at(f"{self.folder}/{name}/{file}"), path)
            if sha256(path) != digest:
                raise ValueError(f"{file} has other bytes than were written")
        return local

    def clear(self) -> None:
        """Remove every state: the node is done. What never asked for one has none."""
        self._over = True
        if not self._used:
            return
        if self._uploads:
            self._uploads.settle(LAST, drop=True)
            self.near.remove(os.path.dirname(self.folder))
        self.place.remove(self.folder)

    def _forget(self, place: Place, name: str) -> None:
        place.remove(f"{self.folder}/{name}.json")
        place.remove(f"{self.folder}/{name}")


def reached(place: Place, key: str) -> int:
    """The step of the newest state of a node that a store knows of; 0 where there is none."""
    return max((int(found[1]) for name in place.names(f"{key}/state") if (found := STATE.fullmatch(name))), default=0)


def prune(folder: Path) -> None:
    """Remove what nobody came back for from a node's states."""
    for left in folder.glob("*/*/state"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > OLD:
                shutil.rmtree(left.parent, ignore_errors=True)
