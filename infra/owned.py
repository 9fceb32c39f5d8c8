"""Folders that belong to a living process: what a killed one left is known by its lock, and removed by the next."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

PREFIX = "stockpot-scratch-"
EVERY = 60.0  # seconds between two looks at what others left
SWEPT: dict[str, float] = {}  # when this process looked last


def owned(parent: Path, prefix: str, mode: int = 0o777) -> tuple[Path, int]:
    """A new folder `prefix...` in `parent`, and a descriptor that keeps it locked while it is open, at the longest until this process ends.

    Those of this prefix that nobody holds are removed first. Where a file system knows no locks, none is.
    """
    sweep(parent, prefix)
    while True:
        folder = parent / f"{prefix}{uuid.uuid4().hex[:12]}"
        folder.mkdir(mode)
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY)
            with contextlib.suppress(OSError):  # a file system without locks: nobody can take this for a leftover either
                fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():
                return folder, lock
            os.close(lock)  # another process took it for a leftover before it was locked


def sweep(parent: Path, prefix: str) -> None:
    """Remove the folders of this prefix that nobody holds, once a minute at most: a job of seconds looks at no others'."""
    if time.monotonic() - SWEPT.get(str(parent / prefix), -EVERY) >= EVERY:
        SWEPT[str(parent / prefix)] = time.monotonic()
        for left in parent.glob(f"{glob.escape(prefix)}*"):
            _sweep(left)


def _sweep(folder: Path) -> None:
    """Remove a folder whose process is dead: its lock can be had."""
    with contextlib.suppress(OSError):
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
        finally:
            os.close(lock)


@contextlib.contextmanager
def scratch(parent: Path | None = None, prefix: str = PREFIX) -> Iterator[str]:
    """A folder on a local disk, removed afterwards."""
    folder, lock = owned(parent or Path(tempfile.gettempdir()), prefix, 0o700)
    try:
        yield str(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
