"""A folder that appears complete under its name, or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path


def refuse_taken(url: str, configs: tuple[str, ...] = ("open_clip_config.json", "config.json")) -> None:
    """ValueError where something is at `url` already, which is never replaced; an empty folder is nothing."""
    from components.weights.files import join, size

    if any(size(join(url, name)) is not None for name in configs):
        raise ValueError(f"{url} holds a model already; choose another --out")
    path = local(url)
    if path is not None and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"{url} {'is not empty' if path.is_dir() else 'is a file'}; choose another --out")


def local(url: str) -> Path | None:
    """The absolute path of a folder on this disk, or None where the URL is remote."""
    path = url.removeprefix("file://")
    return None if "://" in path or "::" in path else Path(path).resolve()


@contextlib.contextmanager
def whole(url: str) -> Iterator[str]:
    """The folder to write in: on a local disk a hidden sibling of `url`, renamed at the end and removed where that is not reached.

    What a dead process left of the same folder is removed first; that of a living one, which holds its lock, is left alone. A remote `url` is
    written as it is: its configuration comes last. ValueError where something came to `url` meanwhile.
    """
    target = local(url)
    if target is None:
        yield url
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{glob.escape(target.name)}.partial-*"):
        _sweep(left)
    folder, lock = _made(target)
    try:
        yield str(folder)
        try:
            os.rename(folder, target)  # replaces an empty folder and nothing else
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise ValueError(f"{url} was written by another command meanwhile, and is left as it is; choose another --out") from None
            raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _made(target: Path) -> tuple[Path, int]:
    """A new sibling of `target`, and the descriptor whose lock ends with this process."""
    while True:
        folder = target.with_name(f".{target.name}.partial-{uuid.uuid4().hex[:12]}")
        folder.mkdir()
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY)
            with contextlib.suppress(OSError):  # a file system without locks: nobody can take this for a leftover either
                fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():
                return folder, lock
            os.close(lock)  # another command took it for a leftover before it was locked


def _sweep(folder: Path) -> None:
    """Remove a folder whose process is dead: its lock can be had."""
    with contextlib.suppress(OSError):
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
        finally:
            os.close(lock)
