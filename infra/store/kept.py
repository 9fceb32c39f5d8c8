"""Records that a process has read, which are immutable: each is read once, and of thousands of like calls little more than what differs is kept."""

from __future__ import annotations

import zlib


class Kept:
    """{key of a node: the bytes of its record}, compressed against the first record of the same function: a fifth of them is left."""

    def __init__(self) -> None:
        self._first: dict[str, bytes] = {}  # function -> a record like its others
        self._rest: dict[str, bytes] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._rest

    def get(self, key: str) -> bytes | None:
        if (found := self._rest.get(key)) is None:
            return None
        return zlib.decompressobj(zdict=self._first[function(key)]).decompress(found)

    def put(self, key: str, data: bytes) -> None:
        squeeze = zlib.compressobj(1, zdict=self._first.setdefault(function(key), data))
        self._rest[key] = squeeze.compress(data) + squeeze.flush()

    def pop(self, key: str) -> bytes | None:
        found = self.get(key)
        self._rest.pop(key, None)
        return found


def function(key: str) -> str:
    return key.rsplit("-", 1)[0]
