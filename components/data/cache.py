"""The node's cache of decoded data: folders named by content, built once by one process, then read by all.

A folder is built beside its final name and renamed; `done.json` inside it lists its files and sizes. A killed builder leaves a temporary
folder that the next one removes, and its lock dies with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from components.types import Run

T = TypeVar("T")
DONE = "done.json"
STATES = "states"  # training states that lie beside, which belong to others
IDLE = 3600.0


def cached(run: Run, key: str, build: Callable[[str], None], load: Callable[[str], T]) -> T:
    """`load(folder)` of the finished folder of `key`. Where there is none, `build(folder)` fills it first, in one process; others wait."""
    os.makedirs(run.cache, exist_ok=True)
    folder = os.path.join(run.cache, key)
    while True:
        if not _finished(folder):
            with _locked(f"{folder}.lock"):
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


def room(run: Run, wanted: int) -> int:
    """Bytes that may still be added to the cache; folders that nobody has opened for an hour are removed where `wanted` does not fit."""
    left = run.cache_limit - sum(map(_size, _folders(run)))
    if wanted > left:
        idle = [folder for folder in _folders(run) if time.time() - _opened(folder) > IDLE]
        for folder in sorted(idle, key=_opened):
            if wanted > left:
                left += _remove(folder)
    return left


def _folders(run: Run) -> list[str]:
    found = sorted(os.scandir(run.cache), key=lambda entry: entry.name) if os.path.isdir(run.cache) else []
    return [entry.path for entry in found if entry.is_dir() and not entry.name.endswith(".tmp") and entry.name != STATES]


def _size(folder: str) -> int:
    with contextlib.suppress(FileNotFoundError):  # removed meanwhile
        return sum(entry.stat().st_size for entry in os.scandir(folder))
    return 0


def _opened(folder: str) -> float:
    with contextlib.suppress(FileNotFoundError):
        return os.path.getmtime(os.path.join(folder, DONE))
    return 0.0


def _remove(folder: str) -> int:
    """Remove a folder that is not being built, and say how large it was. Who has it mapped keeps the bytes."""
    with open(f"{folder}.lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        size = _size(folder)
        with contextlib.suppress(FileNotFoundError):
            gone = tempfile.mkdtemp(prefix=f"{os.path.basename(folder)}.", suffix=".tmp", dir=os.path.dirname(folder))
            os.rename(folder, gone)
            shutil.rmtree(gone)
        return size


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
        sizes = {name: os.path.getsize(os.path.join(temporary, name)) for name in sorted(os.listdir(temporary))}
        with open(os.path.join(temporary, DONE), "w") as file:
            json.dump(sizes, file)
        os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _finished(folder: str) -> bool:
    """Whether every file of the folder is there in its size."""
    try:
        with open(os.path.join(folder, DONE)) as file:
            sizes = json.load(file)
        return all(os.path.getsize(os.path.join(folder, name)) == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released by the kernel when the process dies
        yield
