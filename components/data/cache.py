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
from collections.abc import Callable, Iterator
from typing import TypeVar

from components.types import Run

T = TypeVar("T")
DONE = "done.json"


def cached(run: Run, key: str, build: Callable[[str], None], load: Callable[[str], T]) -> T:
    """`load(folder)` of the finished folder of `key`. Where there is none, `build(folder)` fills it first, in one process; others wait."""
    os.makedirs(run.cache, exist_ok=True)
    folder = os.path.join(run.cache, key)
    if not _finished(folder):
        with _locked(f"{folder}.lock"):
            if not _finished(folder):
                _build(folder, build)
    return load(folder)


def held(run: Run) -> int:
    """Bytes that the cache holds."""
    return sum(os.path.getsize(os.path.join(path, name)) for path, _, names in os.walk(run.cache) for name in names if name != DONE)


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
