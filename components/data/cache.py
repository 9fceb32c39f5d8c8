"""The node's cache of decoded data: folders named by content, built once by one process, then read by all, and pieces of large sources.

A folder is built beside its final name and renamed; `done.json` inside it lists its files and sizes. Its builder holds a lock that dies
with it, so that what a killed one leaves behind is known for what it is. What a process has mapped is locked by it as well. The limit holds
for everything in the cache: room is reserved before it is written to, and made by removing what was used least recently and is not in use.
What else lies in that folder, which may be a whole disk of the node's, is nobody's business here.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from components.types import Run

T = TypeVar("T")
DONE, PIECES = "done.json", "pieces"
PIECE = re.compile(r"[0-9a-f]{64}(\.tmp)?")
FULL = (errno.ENOSPC, errno.EDQUOT)


def cached(run: Run, key: str, build: Callable[[str], None], load: Callable[[str], T]) -> T:
    """`load(folder)` of the finished folder of `key`. Where there is none, `build(folder)` fills it first, in one process; others wait."""
    os.makedirs(run.cache, exist_ok=True)
    folder = os.path.join(run.cache, key)
    while True:
        if not _finished(folder):
            with locked(f"{folder}.lock"), writing(run.cache):
                if not _finished(folder):
                    _build(folder, build)
        try:
            os.utime(os.path.join(folder, DONE))
            return load(folder)
        except FileNotFoundError:
            if _finished(folder):
                raise  # not because another process has just made room


def exists(run: Run, key: str) -> bool:
    """Whether the folder of `key` is finished."""
    return _finished(os.path.join(run.cache, key))


def mapped(path: str) -> Any:
    """A file's bytes, uint8, memory-mapped; as long as somebody holds them it counts as in use."""
    import numpy as np

    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # of the map's own copy of the descriptor as well: released when the map goes
        return np.memmap(file, np.uint8, "r") if os.fstat(file.fileno()).st_size else np.empty(0, np.uint8)


def room(run: Run, wanted: int, reserve: Callable[[], None] = lambda: None) -> int:
    """Bytes that may still be added to the cache; what was used least recently is removed where `wanted` does not fit.

    Where it fits, `reserve` is called before anybody else is told so.
    """
    os.makedirs(run.cache, exist_ok=True)
    with locked(os.path.join(run.cache, "room.lock")):
        entries = sorted(_entries(run.cache))
        left = run.cache_limit - sum(size for _, _, size in entries)
        for _, path, size in entries:
            if wanted <= left:
                break
            left += size * _removed(path)
        if wanted <= left:
            reserve()
        return left


def used(folder: str) -> None:
    """Somebody uses what belongs to this folder."""
    with contextlib.suppress(FileNotFoundError):
        os.utime(os.path.join(folder, DONE))


def named(cache: str, path: str, name: str) -> None:
    """Rename something in the cache, when nobody counts: who lists a folder may see neither the old name nor the new one."""
    with locked(os.path.join(cache, "room.lock")):
        os.rename(path, name)


class Growing:
    """A file of the cache that is written without knowing how long it gets; raises Full where the cache has no room left."""

    STEP = 1 << 26  # bytes that are reserved at a time, or 1/64 of the limit

    def __init__(self, run: Run, path: str) -> None:
        self.run, self.size, self._reserved = run, 0, 0
        self._file = open(path, "wb")  # noqa: SIM115  # closed by `close`

    def write(self, content: bytes) -> None:
        """Append bytes."""
        if self.size + len(content) > self._reserved:
            generous = max(len(content), min(self.STEP, self.run.cache_limit // 64, shutil.disk_usage(self.run.cache).free // 4))
            if not self._reserve(generous) and not self._reserve(len(content)):
                raise Full
        self._file.write(content)
        self.size += len(content)

    def _reserve(self, more: int) -> bool:
        stop = self.size + more
        if room(self.run, more, lambda: os.posix_fallocate(self._file.fileno(), 0, stop)) < more:
            return False
        self._reserved = stop
        return True

    def close(self) -> None:
        """What was reserved and not needed is given back."""
        if not self._file.closed:
            self._file.truncate(self.size)
            self._file.close()

    def abandon(self) -> None:
        """No such file."""
        self._file.close()
        os.remove(self._file.name)


class Full(Exception):
    """The cache has no room left that could be made."""


def _entries(cache: str) -> Iterator[tuple[float, str, int]]:
    """(last use, path, bytes) of each folder and piece that is the cache's own."""
    pieces = os.path.join(cache, PIECES)
    for entry in os.scandir(pieces) if os.path.isdir(pieces) else ():
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            if PIECE.fullmatch(entry.name):
                yield 0.0 if entry.name.endswith(".tmp") else entry.stat().st_mtime, entry.path, entry.stat().st_size
    for entry in os.scandir(cache):
        with contextlib.suppress(FileNotFoundError):
            finished = os.path.join(entry.path, DONE)
            if os.path.exists(f"{_key(entry.path)}.lock") and entry.is_dir() and (entry.name.endswith(".tmp") or os.path.exists(finished)):
                used = os.path.getmtime(finished) if os.path.exists(finished) else 0.0
                yield used, entry.path, sum(each.stat().st_size for each in os.scandir(entry.path))


def _key(path: str) -> str:
    """The folder that a path is, or is about to be or was: both lie beside it, under the same lock."""
    return path.removesuffix(".tmp").rpartition(".")[0] if path.endswith(".tmp") else path


def _removed(path: str) -> bool:
    """Remove a folder or a piece that is neither being made nor mapped; whether it was one."""
    with contextlib.ExitStack() as stack, contextlib.suppress(FileNotFoundError):
        inside = [os.path.join(path, name) for name in os.listdir(path)] if os.path.isdir(path) else [path]
        for held in [f"{_key(path)}.lock", *inside] if os.path.isdir(path) else inside:
            if not _held(stack, held):
                return False
        if os.path.isdir(path):
            gone = path if path.endswith(".tmp") else tempfile.mkdtemp(prefix=f"{os.path.basename(path)}.", suffix=".tmp", dir=os.path.dirname(path))
            os.rename(path, gone)
            shutil.rmtree(gone)
        else:
            os.remove(path)
    return True


def _held(stack: contextlib.ExitStack, path: str) -> bool:
    """Take a lock that nobody has, or say so."""
    file = stack.enter_context(open(path, "a" if path.endswith(".lock") else "rb"))  # noqa: SIM115
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _build(folder: str, build: Callable[[str], None]) -> None:
    parent, key = os.path.split(folder)
    for name in os.listdir(parent):  # of builders that were killed: the lock is ours
        if name.startswith(f"{key}.") and name.endswith(".tmp"):
            shutil.rmtree(os.path.join(parent, name))
    if os.path.isdir(folder):  # named but not finished as its marker says: damaged after the rename
        shutil.rmtree(folder)
    temporary = tempfile.mkdtemp(prefix=f"{key}.", suffix=".tmp", dir=parent)
    try:
        build(temporary)
        sizes = {name: _on_disk(os.path.join(temporary, name)) for name in sorted(os.listdir(temporary))}
        with open(os.path.join(temporary, DONE), "w") as file:
            json.dump(sizes, file)
        named(parent, temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _on_disk(path: str) -> int:
    """The bytes of a file, all of which a machine that goes down now would still have: reserved ones would be zeros."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_size


def _finished(folder: str) -> bool:
    """Whether every file of the folder is there in its size."""
    try:
        with open(os.path.join(folder, DONE)) as file:
            sizes = json.load(file)
        return all(os.path.getsize(os.path.join(folder, name)) == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """The only one here, until the block ends or the process dies."""
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released by the kernel when the process dies
        yield


@contextlib.contextmanager
def writing(cache: str) -> Iterator[None]:
    """A full disk is said in one line."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise OSError(
                error.errno, f"{cache}: the disk is full ({error.strerror}); free some, lower --cache_limit, or set STOCKPOT_CACHE elsewhere"
            ) from error
        raise
