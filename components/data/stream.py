"""A file as a stream: its bytes arrive ahead of whoever reads them, a few pieces at a time, and are checked as they pass."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from concurrent.futures import Executor, Future
from types import TracebackType
from typing import Any

from components.types import DataError
from components.weights.files import CHUNK, joined

AHEAD = 3  # chunks that are under way, or have come, while one is read
HELD = 6  # chunks in memory: those, and what a format keeps at its end


class Seekable(io.RawIOBase):
    """A file of known size with a place where the next read begins."""

    size: int
    _at = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = (0, self._at, self.size)[whence] + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


class Ranged(Seekable):
    """One file of which only some parts are wanted: each read is a request, and nothing is verified."""

    def __init__(self, size: int, fetch: Callable[[int, int], bytes]) -> None:
        self.size, self._fetch = size, fetch

    def readinto(self, buffer: Any) -> int:
        some = self._fetch(self._at, max(self._at, min(self.size, self._at + len(buffer))))
        buffer[: len(some)] = some
        self._at += len(some)
        return len(some)


class Stream(Seekable):
    """One file, read anywhere; `with` ends it, and then every byte was seen and the digest is the expected one, or `unlike()` is raised.

    What the store says stays what it is, an OSError, whatever a parser in between makes of it.
    """

    def __init__(self, size: int, digest: str, fetch: Callable[[int, int], bytes], unlike: Callable[[], DataError], pool: Executor) -> None:
        self.size, self.digest, self._fetch, self._unlike, self._pool = size, digest, fetch, unlike, pool
        self._count = -(-size // CHUNK)
        self._coming: dict[int, Future[bytes]] = {}
        self._seen: dict[int, bytes] = {}
        self._failed: Exception | None = None
        self._ask(0)

    def begun(self) -> int:
        """Bytes that are asked for before anybody reads."""
        return min(self.size, (AHEAD + 1) * CHUNK)

    def _ask(self, first: int) -> None:
        for number in range(min(first + AHEAD, self._count - 1), first - 1, -1):  # the nearest is the last to be dropped
            self._coming[number] = self._coming.pop(number) if number in self._coming else self._pool.submit(self._chunk, number)
        for number in list(self._coming)[:-HELD]:
            self._coming.pop(number).cancel()

    def _chunk(self, number: int) -> bytes:
        content = self._fetch(number * CHUNK, min(self.size, (number + 1) * CHUNK))
        digest = hashlib.sha256(content).digest()
        if self._seen.setdefault(number, digest) != digest:
            raise self._unlike()
        return content

    def _content(self, number: int) -> bytes:
        self._ask(number)
        try:
            return self._coming[number].result()
        except Exception as error:
            self._failed = error
            raise

    def readinto(self, buffer: Any) -> int:
        number, start = divmod(self._at, CHUNK)
        if self._at >= self.size:
            return 0
        some = memoryview(self._content(number))[start : start + len(buffer)]
        buffer[: len(some)] = some
        self._at += len(some)
        return len(some)

    def verify(self) -> None:
        """Let the rest pass, and compare the digest."""
        for number in range(self._count):
            if number not in self._seen:
                self._content(number)
        if joined(self._seen[number] for number in range(self._count)) != self.digest:
            raise self._unlike()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if self._failed:
                raise self._failed
            if kind is None or issubclass(kind, ValueError | DataError):  # what is not what was pinned cannot be read either, for many reasons
                self.verify()
        finally:
            for future in self._coming.values():
                future.cancel()
            self._coming.clear()
            self.close()
