"""A run's journal: what happened, one JSON line an event, appended by each process to a file of its own and never read to decide anything.

    {run folder}/journal/{writer}.jsonl             in a remote store as `segments` has it; the driver has all of it in a local folder as well

Every event has `kind` and `at` (seconds since the epoch, set by `write`). `fingerprint` names a node. The kinds and their fields:

    run       run, study, preset, command, params         once, by the driver, first
    node      fingerprint, function, label, state, params, uri, digest, is_checkpoint, duration, reason
              state is queued, running, done, failed or hit; only what is known need be given and later events of a node add to earlier ones;
              is_checkpoint: the node makes a checkpoint (a trial, a merge), known from its annotation before it ran
    running   fingerprint, key, pid, host, attempt        a process begins with it: of a node that was queued, the state is running from now on
    metric    fingerprint, step, values                   values by name, while it trains
    left      fingerprint, step, host, kept               its worker was told to leave: its state is kept, and another one goes on
    hung      fingerprint, step, seconds, host            no step for so long: its process is ended, and another one goes on from its state
    score     fingerprint, split, metric, value, n        of the evaluated model; label instead where that is no checkpoint (an ensemble)
    champion  fingerprint, uri, digest, name              the winner, by the name it is registered under
    artifact  path                                        of a file or folder, relative to the run's folder or absolute
    end       status                                      finished, failed or killed; last, by the driver
"""

from __future__ import annotations

import contextlib
import heapq
import json
import math
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.courier import courier
from infra.secrets import redact
from infra.store.place import Place, is_local
from infra.tracking.segments import Arrivals

AT_ONCE = 16  # runs that are brought at the same time
BLOCK = 1 << 16  # bytes of a file that are read at once; no file stays open meanwhile, for there may be thousands


def _plain(value: Any) -> Any:
    """The value as JSON: redacted, and with what JSON has no number for (nan, inf) as a string."""
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, Mapping):
        return {redact(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return redact(str(value))


class Journal:
    """The journal of one process: `write` appends a line that a crash can tear but not mix, and never raises for a full or broken disk.

    `writer` is the name of this process among those of its run; `lost` counts the events that the disk did not take. Lines for a remote
    folder are left to this process's courier, and are also appended to a file where that is the driver's.
    """

    def __init__(self, folder: str | os.PathLike[str], writer: str) -> None:
        if not re.fullmatch(r"[\w.-]+", writer):
            raise ValueError(f"writer {writer!r}: only letters, digits, `.`, `_` and `-` name a writer")
        self._courier = None if is_local(os.fspath(folder)) else courier(os.fspath(folder))
        if self._courier:
            folder, writer = self._courier.keep, f"{writer}-{self._courier.token}"
            self._courier.join()
        self.writer, self.path = writer, Path(folder) / "journal" / f"{writer}.jsonl" if folder else None
        self.lost = 0
        self._file: int | None = None
        self._torn = False
        self._lock = threading.Lock()

    def write(self, kind: str, **fields: Any) -> None:
        """Append one event."""
        event = {"kind": kind, "at": time.time(), **_plain(fields)}
        line = json.dumps(event, allow_nan=False, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            if self._courier:
                self._courier.send(self.writer, line)
            if self.path is None:
                return
            try:
                if self._file is None:
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                    self._file = os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)
                    self._torn = os.fstat(self._file).st_size > 0  # perhaps: whoever wrote it may have died in the middle of a line
                line = b"\n" + line if self._torn else line
                self._torn = os.write(self._file, line) != len(line)
                self.lost += self._torn
            except OSError:
                self._torn = True
                self.lost += 1

    def close(self) -> None:
        """Let go of the file, and see the lines off; a later `write` opens it again."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None
        if self._courier:
            self._courier.leave()


@dataclass(frozen=True)
class Line:
    """An event, who wrote it and the byte after it in that writer's file. `event` is {} where the line is torn."""

    writer: str
    end: int
    event: Mapping[str, Any]

    @property
    def at(self) -> float:
        return float(self.event.get("at", 0))


def _lines(path: Path, start: int) -> Iterator[Line]:
    size = BLOCK
    while True:
        with open(path, "rb") as file:
            file.seek(start)
            data = file.read(size)
        whole = data.rfind(b"\n") + 1
        if not whole and len(data) < size:
            return  # nothing, or a line that is still being written, or was torn by a crash
        size = BLOCK if whole else 2 * size
        for raw in data[:whole].split(b"\n")[:-1]:
            start += len(raw) + 1
            try:
                event = json.loads(raw) if raw.strip() else {}
            except ValueError:
                event = {}
            yield Line(path.stem, start, event if isinstance(event, dict) and "kind" in event else {})


def grown(folder: str | os.PathLike[str], since: Mapping[str, int]) -> dict[str, int]:
    """{writer: bytes after those of `since`} of the writers who have written more than that, in the order of their names."""
    with contextlib.suppress(FileNotFoundError), os.scandir(os.path.join(folder, "journal")) as entries:
        sizes = {entry.name[: -len(".jsonl")]: entry.stat().st_size for entry in entries if entry.name.endswith(".jsonl")}
        return {writer: size - since.get(writer, 0) for writer, size in sorted(sizes.items()) if size > since.get(writer, 0)}
    return {}


def lines(folder: str | os.PathLike[str], since: Mapping[str, int] | None = None) -> Iterator[Line]:
    """The complete lines after the bytes `since` (by writer), merged by time and each writer's in its own order; read as they are asked for."""
    since = since or {}
    each = (_lines(Path(folder, "journal", f"{writer}.jsonl"), since.get(writer, 0)) for writer in grown(folder, since))
    return heapq.merge(*each, key=lambda line: line.at)


def read(folder: str | os.PathLike[str], since: Mapping[str, int] | None = None) -> list[Line]:
    """All of `lines` at once."""
    return list(lines(folder, since))


def events(folder: str | os.PathLike[str]) -> list[Mapping[str, Any]]:
    """All events of a run in order of time."""
    return [line.event for line in lines(folder) if line.event]


def bring(place: Place, folder: str | os.PathLike[str]) -> None:
    """Bring the journals of all runs of a store into a local folder, `runs/{name}` in both; those whose end is there already are complete."""
    def one(name: str) -> None:
        target = Path(folder, "runs", name)
        if not any(event["kind"] == "end" for event in events(target)):
            Arrivals(Place(place.at(f"runs/{name}")), target).fetch(last=True)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, place.names("runs")))
