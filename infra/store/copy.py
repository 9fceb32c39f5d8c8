"""Copying nodes from one store to another: payload first, read back there, then the record, byte by byte and exclusively.

What is there with its record is passed over, so that an interrupted copy goes on. Nothing of this run, host or clock crosses: no lease, no training
state, no journal. Chunks are copied at once across files, and nothing is ever overwritten.
"""

from __future__ import annotations

import contextlib
import hashlib
import mimetypes
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Any, Protocol

from infra.errors import INTEGRITY, IntegrityError, StoreError, exit_code_of
from infra.store.gc import PIN
from infra.store.inventory import batched, parsed_record, records
from infra.store.parallel import ordered
from infra.store.place import filesystem, is_local
from infra.store.record import Record
from infra.store.store import Store
from infra.store.verify import CHUNK, Expected, Hashed, Progress, digest_of, payload, starts, verify

THREADS = 16  # each holds a chunk
GROUP = 128, 1 << 28  # nodes, and bytes, that are copied, read back and recorded together

Read = Callable[[str, int, int], bytes]  # (url, first byte of a chunk, bytes of the file) -> the chunk


class Destination(Protocol):
    """A file about to be (`components.weights.destination`)."""

    def begin(self, size: int) -> None: ...
    def put(self, start: int, content: bytes) -> Any: ...
    def commit(self, receipts: list[Any] | None = None) -> None: ...
    def abandon(self) -> None: ...


@dataclass(frozen=True)
class Node:
    """A node of the source: its record, and those bytes. `told`: why it is not copied: "there", or what is wrong with it."""

    key: str
    content: bytes
    record: Record | None
    told: str = ""

    @property
    def files(self) -> list[Expected]:
        return list(payload(self.record)) if self.record else []

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def compare(source: Store, target: Store, keys: Sequence[str]) -> Iterator[Node]:
    """Every finished node of the source, against what the target has: the same result counts as there, whoever computed it."""
    for batch in batched(records(source, keys)):
        there = target.place.read_many([f"{key}/record.json" for key, _, _ in batch])
        for key, content, record in batch:
            other = there[f"{key}/record.json"]
            if isinstance(record, IntegrityError):
                yield Node(key, content, None, str(record))
            else:
                yield Node(key, content, record, _against(target, record, other) if other is not None else "")


def _against(target: Store, record: Record, other: bytes) -> str:
    found = parsed_record(target, record.key, other)
    if isinstance(found, IntegrityError):
        return str(found)
    where = target.place.at(record.key)
    return "there" if found.digest == record.digest else f"{where}: has another result, which stays; look with stockpot show, and remove it to copy"


class Moving:
    """A file on its way: its chunks come in any order, and whoever brings the last one makes the file visible."""

    def __init__(self, file: Expected, source: str, make: Callable[[], Destination]) -> None:
        self.file, self.source, self._make = file, source, make
        self.told = ""  # why it cannot be copied
        self.destination: Destination | None = None
        self._digests: dict[int, bytes] = {}
        self._receipts: dict[int, Any] = {}
        self._lock = threading.Lock()

    def move(self, start: int, read: Read) -> None:
        """Copy one chunk. Raises StoreError where the target does not take it."""
        content = self._content(start, read)  # first of all: a damaged record may tell any size
        if self.told:
            return
        with self._written():
            with self._lock:
                destination = self._begin()
            self._receipts[start] = destination.put(start, content)
        with self._lock:
            self._digests[start] = hashlib.sha256(content).digest()
            if self.told or len(self._digests) < len(starts(self.file)):
                return
        if digest_of(self._digests[at] for at in sorted(self._digests)) != self.file.digest:
            self.told = f"{self.source}: its bytes changed, the record has another digest; remove its folder and run the study again"
            return
        with self._written():
            destination.commit([self._receipts[at] for at in sorted(self._receipts)])
            self.destination = None

    def _begin(self) -> Destination:
        if self.destination is None:
            self.destination = self._make()
            self.destination.begin(self.file.size)
        return self.destination

    def _content(self, start: int, read: Read) -> bytes:
        try:
            return read(self.source, start, self.file.size)
        except FileNotFoundError:
            self.told = f"{self.source}: missing; remove its folder and run the study again"
        except Exception as error:
            unreadable = is_local(self.source) and isinstance(error, OSError)
            if exit_code_of(error) != INTEGRITY and not unreadable:
                raise
            self.told = f"{self.source}: cannot be read: {getattr(error, 'strerror', '')}; restore it" if unreadable else str(error)
        return b""

    @contextlib.contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:  # another copy of the same file was quicker
            self.told = str(error)
        except OSError as error:
            raise StoreError(f"{self.file.name}: cannot be written: {error.strerror or error}; make room, and the same command goes on") from error

    def abandon(self) -> None:
        """Leave nothing of it, unless it is there in full."""
        if self.destination:
            with contextlib.suppress(OSError):
                self.destination.abandon()


class Copier:
    """From one store to another. `read`, `hashed` and `destination` are of chunks and files at URLs, as a payload is written."""

    def __init__(self, source: Store, target: Store, read: Read, hashed: Hashed, destination: Callable[[str, str], Destination]) -> None:
        self.source, self.target = source, target
        self.read, self.hashed, self.destination = read, hashed, destination
        self.threads = THREADS if target.place.local or target.place.s3 else 1  # others take bytes in their order only

    def copy(self, nodes: Iterable[Node], progress: Progress = lambda count: None) -> Iterator[tuple[Node, str]]:
        """Copy the nodes and their files; (node, "" or why it is not there). `progress` hears of each byte twice: written, and read back.

        Raises StoreError where a disk is full or a store stays away; the same copy then goes on.
        """
        for group in _groups(nodes):
            wrong = self._files([file for node in group for file in node.files], progress)
            written = [file for node in group for file in node.files if file not in wrong]
            for file, damage in verify(self.target.place, written, self.hashed, progress):
                if damage:
                    wrong[file] = f"{self.target.place.at(file.name)}: {damage}, after it was written; copy again"
            told = [next((wrong[file] for file in node.files if file in wrong), "") for node in group]
            whole = [node for node, why in zip(group, told, strict=True) if not why]
            made = dict(zip((node.key for node in whole), self.target.place.each(self._publish, whole), strict=True))
            yield from ((node, why or made[node.key]) for node, why in zip(group, told, strict=True))

    def _publish(self, node: Node) -> str:
        name = f"{node.key}/record.json"
        if self.target.place.create(name, node.content) or node.record is None:
            return ""
        told = _against(self.target, node.record, self.target.place.read(name) or b"")  # another copy, or a run, was first
        return "" if told == "there" else told

    def _files(self, files: Sequence[Expected], progress: Progress) -> dict[Expected, str]:
        """Write them; {file: why it could not be} of those that could not."""
        moving: dict[Expected, Moving] = {}

        def begun() -> Iterator[tuple[Moving, int]]:
            for file in files:
                url, record = self.target.place.at(file.name), self.target.place.at(f"{file.name.partition('/')[0]}/record.json")
                one = moving[file] = Moving(file, self.source.place.at(file.name), partial(self.destination, url, record))
                yield from ((one, start) for start in takewhile(lambda _: not one.told, starts(file)))  # noqa: B023 (used at once)

        try:
            for (one, start), _ in ordered(lambda piece: piece[0].move(piece[1], self.read), begun(), self.threads):
                progress(min(CHUNK, one.file.size - start))
        finally:
            for one in moving.values():
                one.abandon()
        return {file: one.told for file, one in moving.items() if one.told}

    def beside(self, nodes: Iterable[Node], everything: bool) -> int:
        """Copy the manifests that the nodes name and, with `everything`, pins and reports; how many files. What is there stays."""
        pins = {pin.decode() for node in nodes for pin in PIN.findall(node.content)}
        wanted = [f"manifests/{name}" for name in self.source.place.names("manifests") if name.partition(".")[0] in pins]
        if everything:
            wanted += [f"{folder}/{one.name}" for folder in ("pins", "reports") for one in self.source.place.find(folder)]
        there = {f"{folder}/{one.name}" for folder in ("pins", "manifests", "reports") for one in self.target.place.find(folder)}
        missing = [name for name in wanted if name not in there]
        self.target.place.each(self._small, missing)
        return len(missing)

    def _small(self, name: str) -> None:
        """One file that is no payload, with the type that a browser asks for."""
        content = self.source.place.read(name)
        if content is None:
            return
        kind = mimetypes.guess_type(name)[0]
        if name.startswith("reports/") and kind and self.target.place.s3:
            filesystem(self.target.url).pipe_file(self.target.place.at(name), content, ContentType=kind)
        else:
            self.target.place.create(name, content)


def _groups(nodes: Iterable[Node]) -> Iterator[list[Node]]:
    """Nodes that are copied together: few enough that an interruption costs little, and enough to keep all threads busy."""
    group: list[Node] = []
    for node in nodes:
        if group and (len(group) == GROUP[0] or sum(one.size for one in group) + node.size > GROUP[1]):
            yield group
            group = []
        group.append(node)
    if group:
        yield group
