"""Pieces of a source that is larger than the cache: neighbours that are fetched and kept together, under a name made of their content.

All processes of a node share them. Whoever fetches one holds a lock on the file it fills, which dies with it; the others wait and find it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Sequence

from components.data import cache
from components.types import Run


class Pieces:
    """The pieces in a node's cache."""

    def __init__(self, run: Run) -> None:
        self.run, self.folder = run, os.path.join(run.cache, cache.PIECES)

    def bring(self, name: str, size: int, fetch: Callable[[], bytes]) -> bool:
        """Have the piece here, `size` bytes of `fetch()`; False where the cache has no room for it."""
        path = os.path.join(self.folder, name)
        os.makedirs(self.folder, exist_ok=True)
        with cache.writing(self.run.cache):
            while not os.path.exists(path):
                file = os.open(f"{path}.tmp", os.O_RDWR | os.O_CREAT, 0o644)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX)
                    if _named(file, f"{path}.tmp"):
                        return os.path.exists(path) or self._filled(file, path, size, fetch)
                finally:
                    os.close(file)
        return True

    def _filled(self, file: int, path: str, size: int, fetch: Callable[[], bytes]) -> bool:
        """Fill the file that is locked, and give it its name."""
        try:
            if cache.room(self.run, size, lambda: os.posix_fallocate(file, 0, max(1, size))) < size:
                return False
            content, done = memoryview(fetch()), 0
            while done < size:
                done += os.pwrite(file, content[done:], done)
            os.ftruncate(file, size)
            cache.named(self.run.cache, f"{path}.tmp", path)
            return True
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.remove(f"{path}.tmp")

    def read(self, name: str, size: int, spans: Sequence[tuple[int, int]]) -> list[bytes] | None:
        """The bytes [start, stop) of a piece that is here, or None."""
        path = os.path.join(self.folder, name)
        try:
            with open(path, "rb", buffering=0) as file:
                if os.fstat(file.fileno()).st_size != size:  # cut short by a machine that went down
                    self.remove(name)
                    return None
                os.utime(file.fileno())
                return [os.pread(file.fileno(), stop - start, start) for start, stop in spans]
        except FileNotFoundError:
            return None


    def remove(self, name: str) -> None:
        """No such piece."""
        with contextlib.suppress(FileNotFoundError):
            os.remove(os.path.join(self.folder, name))


def _named(file: int, path: str) -> bool:
    """Whether this is still the file of that name: its last holder may have moved or removed it."""
    with contextlib.suppress(FileNotFoundError):
        return os.stat(path).st_ino == os.fstat(file).st_ino
    return False
