"""A folder that appears complete under its name, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from components.weights.files import join, local, size
from components.weights.folder import CONFIGS
from components.weights.statistics import FACTS
from infra.owned import owned


def refuse_taken(url: str) -> None:
    """ValueError where something is at `url` already, which is never replaced; an empty folder is nothing."""
    for what, names in (("a model", CONFIGS.values()), ("statistics", (FACTS,))):
        if any(size(join(url, name)) is not None for name in names):
            raise ValueError(f"{url} holds {what} already; choose another --out")
    path = _here(url)
    if path is not None and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"{url} {'is not empty' if path.is_dir() else 'is a file'}; choose another --out")
    if above := next((str(each) for each in path.parents if each.is_file()), "") if path else "":
        raise ValueError(f"{url} cannot be a folder: {above} is a file; choose another --out")


def _here(url: str) -> Path | None:
    """The absolute path of a folder on this disk, or None where the URL is remote."""
    path = local(url)
    return None if path is None else Path(path).resolve()


@contextlib.contextmanager
def whole(url: str) -> Iterator[str]:
    """The folder to write in: on a local disk a hidden sibling of `url`, renamed at the end and removed where that is not reached.

    What a dead process left of the same folder is removed first; that of a living one, which holds its lock, is left alone. A remote `url` is
    written as it is: its configuration comes last. ValueError where something came to `url` meanwhile.
    """
    target = _here(url)
    if target is None:
        yield url
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    folder, lock = owned(target.parent, f".{target.name}.partial-")
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
