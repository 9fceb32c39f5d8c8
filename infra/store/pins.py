"""Pins: data has identity by content, not address. A manifest lists a source's files (relative name, size, sha256 of chunk sha256s).

The store remembers (url, name, size, times or etag) -> digest, so that pinning again is a listing:

    pins/{url}/{part}      rows of 48 bytes: blake2b of (name, size, version), digest; parts, named by their bytes, are added while it lasts,
                           and joined at its end
    manifests/{pin}.json   see `manifest.py`
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from infra.dag import Plan
from infra.errors import IntegrityError
from infra.identity import Resolved, addresses, is_knob, marks
from infra.node import Node
from infra.store import Store, manifest
from infra.store.found import resolve
from infra.store.listing import pages, parted
from infra.store.manifest import WIDTH, Manifest
from infra.store.place import Place, absolute

Digests = Callable[[Iterable[tuple[str, int]]], Iterator[str]]  # (url, size) of files -> digest of each, in order and as they come
Progress = Callable[[int, int], None]  # bytes read, bytes to read

KEY = 16  # bytes that stand for a name, size and version
EVERY = 30.0  # seconds of hashing that an interruption may cost


def sources(value: Any) -> Iterator[str]:
    """The address of every source in an argument, fields of dataclasses included; nodes are not entered."""
    if is_knob(value) and not isinstance(value, Node):
        found = addresses(value)
        yield from found.values()
        for field in dataclasses.fields(value):
            if field.name not in found:
                yield from sources(getattr(value, field.name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from sources(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from sources(item)


def pinned(value: Any, pins: Mapping[str, str]) -> Any:
    """The argument with every source's `content` field set to the digest of its manifest, so that its reader can check the bytes."""
    if isinstance(value, list | tuple):
        return type(value)(pinned(item, pins) for item in value)
    if isinstance(value, Mapping):
        return {key: pinned(item, pins) for key, item in value.items()}
    if not is_knob(value) or isinstance(value, Node) or not any(True for _ in sources(value)):
        return value
    own, found = marks(type(value)), addresses(value)
    kept = (field.name for field in dataclasses.fields(value) if field.name not in found and own.get(field.name) != "content")
    changes = {name: pinned(getattr(value, name), pins) for name in kept}
    url = next(iter(found.values()), "")
    changes.update({name: pins[url] for name, mark in own.items() if mark == "content" and url in pins})
    return dataclasses.replace(value, **changes)


def address(url: str, name: str) -> str:
    """The URL of a file of a source."""
    return f"{parted(absolute(url))[0]}/{name}" if name else absolute(url)


def listed(url: str) -> tuple[list[str], array[int], list[bytes]]:
    """Names, sizes and keys of the files below a URL, in any order."""
    names, sizes, keys = list[str](), array("q"), list[bytes]()
    for page in pages(url):
        for name, size, version in page:
            names.append(name)
            sizes.append(size)
            keys.append(key_of(name, size, version))
    return names, sizes, keys


def settled(url: str, names: list[str], keys: list[bytes], memory: Memory) -> None:
    """Raises IntegrityError where the files below a URL are not those of these keys any more; what is still as it was is kept."""
    now, files = set[bytes](), 0
    for page in pages(url):
        files += len(page)
        now.update(key_of(*entry) for entry in page)
    changed = [name for name, key in zip(names, keys, strict=True) if key not in now]
    if changed or files != len(names):
        memory.join([key for key in keys if key in now])
        what = f"{changed[0]} and {len(changed) - 1} other files changed" if changed else "files were added"
        raise IntegrityError(f"{absolute(url)}: {what} while it was pinned; run again once nobody writes there")


def key_of(name: str, size: int, version: str) -> bytes:
    """What a digest is remembered by; b"" where there is no version, and nothing is."""
    facts = f"{size} {version} {name}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(facts, digest_size=KEY).digest() if version else b""


class Memory:
    """The digests of a source's files by their keys, as far as a store remembers them."""

    def __init__(self, place: Place, url: str) -> None:
        self.place, self.folder = place, "pins/" + hashlib.sha256(absolute(url).encode()).hexdigest()[:20]
        self.parts, self.known, self.fresh = place.names(self.folder), dict[bytes, bytes](), bytearray()
        for part in self.parts:
            rows = place.read(f"{self.folder}/{part}") or b""
            if part == named(rows):  # a digest that a disk has spoiled would name other data for ever
                for at in range(0, len(rows), KEY + WIDTH):
                    self.known[rows[at : at + KEY]] = rows[at + KEY : at + KEY + WIDTH]

    def add(self, key: bytes, digest: bytes) -> bytes:
        if key:
            self.known[key] = digest
            self.fresh += key + digest
        return digest

    def save(self) -> None:
        """Keep what was added since the last time."""
        if self.fresh:
            self._write(bytes(self.fresh))
            self.fresh.clear()

    def join(self, keys: Iterable[bytes]) -> None:
        """Keep these keys, as one part."""
        rows, kept = bytearray(), 0
        for key in filter(None, keys):
            rows += key + self.known[key]
            kept += 1
        if self.fresh or len(self.parts) > 1 or kept != len(self.known):
            old, self.parts = self.parts, []
            self._write(bytes(rows))
            for part in set(old) - set(self.parts):
                self.place.remove(f"{self.folder}/{part}")

    def _write(self, rows: bytes) -> None:
        self.parts.append(named(rows))
        self.place.write(f"{self.folder}/{self.parts[-1]}", rows)


def forget(place: Place, url: str) -> None:
    """No longer remember the files of a source that will not be there again."""
    memory = Memory(place, url)
    for part in memory.parts:
        place.remove(f"{memory.folder}/{part}")


def named(rows: bytes) -> str:
    """What a part is called: by its bytes."""
    return hashlib.sha256(rows).hexdigest()[:20]


@dataclasses.dataclass(frozen=True)
class Pinned:
    """A source as it was pinned: the digest of its manifest, its files and bytes, and how many of these had to be read."""

    pin: str
    files: int
    bytes: int
    read: int
    bytes_read: int


class Pins:
    """Manifests kept in a store."""

    def __init__(self, place: Place, digests: Digests) -> None:
        self.place, self.digests = place, digests

    def of(self, plan: Plan, progress: Progress | None = None) -> Resolved:
        """{address: digest of its manifest} for every source that a plan reads, and what its queries find in this store.

        Raises ValueError for a source that is not there, or a query that finds nothing.
        """
        found = dict.fromkeys(url for node in plan.nodes() for url in sources(list(node.arguments.values())))
        pins = Resolved({url: self.pin(url, progress).pin for url in found})
        resolve(Store(self.place.url), plan, pins)
        return pins

    def pin(self, url: str, progress: Progress | None = None) -> Pinned:
        """Pin all files below a URL as they are now; known ones are not read again.

        What was hashed is kept every EVERY seconds. Raises ValueError where there is nothing, IntegrityError where files change meanwhile.
        """
        memory = Memory(self.place, url)
        names, sizes, keys = listed(url)
        digests, fresh = bytearray(WIDTH * len(names)), array("q")
        for i in range(len(names)):
            if known := memory.known.get(keys[i]):
                digests[WIDTH * i : WIDTH * (i + 1)] = known
            else:
                fresh.append(i)
        read, total, saved = 0, sum(sizes[i] for i in fresh), time.monotonic()
        for i, digest in zip(fresh, self.digests((address(url, names[i]), sizes[i]) for i in fresh), strict=True):
            digests[WIDTH * i : WIDTH * (i + 1)] = memory.add(keys[i], bytes.fromhex(digest))
            read += sizes[i]
            if progress:
                progress(read, total)
            if time.monotonic() - saved > EVERY:
                memory.save()
                saved = time.monotonic()
        if fresh:
            settled(url, names, keys, memory)
        memory.join(keys)
        del memory
        order = sorted(range(len(names)), key=names.__getitem__)
        rows = bytearray().join(memoryview(digests)[WIDTH * i : WIDTH * (i + 1)] for i in order)
        content = Manifest([names[i] for i in order], array("q", (sizes[i] for i in order)), rows).to_bytes()
        return Pinned(manifest.write(self.place, content), len(names), sum(sizes), len(fresh), total)
