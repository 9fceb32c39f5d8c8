"""A manifest: the files of a source, sorted by name, in columns. Its JSON is what its digest is of, and what the store keeps.

    [["cat/1.png",3,"<sha256 of chunk sha256s>"],...]
"""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii
from typing import overload

from infra.errors import IntegrityError, StoreError
from infra.store.place import Place

WIDTH = 32  # bytes of a digest
ROW = re.compile(rb'\[("(?:[^"\\]|\\.)*"),(\d+),"([0-9a-f]{64})"\]')


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a pinned source: its name relative to the URL ("" is the URL itself), size, and digest as `types.File` has it."""

    name: str
    size: int
    digest: str


class Manifest(Sequence[Entry]):
    """Entries by index, made when they are asked for: a million of them are some 150 MB."""

    def __init__(self, names: list[str], sizes: array[int], digests: bytearray) -> None:
        self.names, self.sizes, self.digests = names, sizes, digests

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> list[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | list[Entry]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = range(len(self))[index]
        return Entry(self.names[i], self.sizes[i], self.digests[WIDTH * i : WIDTH * (i + 1)].hex())

    def __iter__(self) -> Iterator[Entry]:
        return map(self.__getitem__, range(len(self)))

    def to_bytes(self) -> bytes:
        """The canonical JSON."""
        out = bytearray(b"[")
        for entry in self:
            out += f'[{encode_basestring_ascii(entry.name)},{entry.size},"{entry.digest}"],'.encode()
        if len(self):
            del out[-1]
        return bytes(out + b"]")

    @classmethod
    def from_bytes(cls, content: bytes) -> Manifest:
        names, sizes, digests = list[str](), array("q"), bytearray()
        for row in ROW.finditer(content):
            name, size, digest = row.groups()
            names.append(json.loads(name) if b"\\" in name else name[1:-1].decode())
            sizes.append(int(size))
            digests += bytes.fromhex(digest.decode())
        return cls(names, sizes, digests)


def pin_of(content: bytes) -> str:
    """What identifies a manifest."""
    return hashlib.sha256(content).hexdigest()[:20]


def write(place: Place, content: bytes) -> str:
    """Keep a manifest, and return its pin."""
    pin = pin_of(content)
    if not place.exists(f"manifests/{pin}.json"):
        place.create(f"manifests/{pin}.json", content)
    return pin


def held(place: Place, pins: Collection[str]) -> None:
    """StoreError where one of these manifests is gone: `gc` spares what no record names yet only from when it sees the driver that will read it."""
    there = place.each(place.exists, [f"manifests/{pin}.json" for pin in pins])
    if lost := [pin for pin, known in zip(pins, there, strict=True) if not known]:
        raise StoreError(f"{place.url}: the manifest {lost[0]} was removed since the data was pinned; run the same command again")


def read(place: Place, pin: str) -> Manifest:
    """The files of a pinned source. ValueError where the store has no such manifest, IntegrityError where its bytes are others."""
    content = place.read(f"manifests/{pin}.json")
    if content is None:
        raise ValueError(f"{place.url}: has no manifest {pin}; run the study again to pin its data")
    if pin_of(content) != pin:
        raise IntegrityError(f"{place.at(f'manifests/{pin}.json')}: its bytes changed; remove it, and run again to pin the data anew")
    return Manifest.from_bytes(content)
