"""Journals in a remote store, where nothing can be appended to: each writer's lines lie in segments, the last of which grows until it is full.

    {run folder}/journal/{writer}.{first byte}.jsonl

A segment holds the bytes from `first byte` on of what would be the writer's file. What arrives late, torn or never costs events, no result.
"""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

from infra.store.place import Place

FULL = 1 << 16  # bytes after which a segment is left as it is: few objects, and little that is put again
MOST = 4 << 20  # bytes of a writer that wait while the store is away; what comes on top is lost
NAME = re.compile(r"([\w.-]+)\.(\d+)\.jsonl")


class Segments:
    """The lines of this process's writers on their way into the run's folder; `lost` counts those that found no room."""

    def __init__(self, place: Place) -> None:
        self.place, self.lost = place, 0
        self._open: dict[str, tuple[int, bytearray, int]] = {}  # writer -> first byte of its last segment, that segment, how much of it is there
        self._lock = threading.Lock()

    def add(self, writer: str, line: bytes) -> None:
        with self._lock:
            _, data, sent = self._open.setdefault(writer, (0, bytearray(), 0))
            if len(data) - sent > MOST:
                self.lost += 1
            else:
                data += line

    def send(self) -> bool:
        """Put what is not there yet; whether there was anything. Raises what the store raises, and keeps what it did not take."""
        with self._lock:
            waiting = [(writer, first, bytes(data)) for writer, (first, data, sent) in self._open.items() if len(data) > sent]
        for writer, first, data in waiting:
            self.place.write(f"journal/{writer}.{first}.jsonl", data)
            with self._lock:
                gathered = self._open[writer][1]
                if len(data) >= FULL:
                    del gathered[: len(data)]
                    self._open[writer] = (first + len(data), gathered, 0)
                else:
                    self._open[writer] = (first, gathered, len(data))
        return bool(waiting)


class Arrivals:
    """Brings the journals of a run's folder into a local one, where readers find each writer's lines in one file; `own` writers are there already."""

    def __init__(self, place: Place, folder: str | os.PathLike[str], own: str = "") -> None:
        self.place, self.folder, self.own = place, Path(folder) / "journal", own
        self._sizes: dict[str, int] = {}  # of the segments that were fetched

    def fetch(self, last: bool = False) -> None:
        """What is new; a segment whose forerunner is missing waits, unless this is the last look."""
        listed = {name.rsplit("/", 1)[-1]: size for name, size, _ in self.place.find("journal")}
        grown = [match for name, size in listed.items() if size > self._sizes.get(name, 0) and (match := NAME.fullmatch(name))]
        new = sorted((match[1], int(match[2]), match[0]) for match in grown if not (self.own and match[1].endswith(self.own)))
        if not new:
            return
        contents = self.place.read_many([f"journal/{name}" for _, _, name in new])
        self.folder.mkdir(parents=True, exist_ok=True)
        for writer, first, name in new:
            data = contents[f"journal/{name}"] or b""
            if put(self.folder / f"{writer}.jsonl", first, data, fill=last):
                self._sizes[name] = len(data)


def put(path: Path, first: int, data: bytes, fill: bool) -> bool:
    """Let the file hold `data` from byte `first` on; False where bytes before it are missing and are not to be filled with a blank line."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        there = os.fstat(file).st_size
        if first > there and not fill:
            return False
        if first > there:
            os.pwrite(file, b" " * (first - there - 1) + b"\n", there)
            there = first
        os.pwrite(file, data[there - first :], there)
        return True
    finally:
        os.close(file)
