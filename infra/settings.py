"""The only reader of the environment: where things lie unless a flag says otherwise, and how fsspec is configured in a process."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import TextIO


def default_store() -> str:
    """`STOCKPOT_STORE`, else the folder `store` below the current one."""
    return os.environ.get("STOCKPOT_STORE", "store")


def default_tracking() -> str:
    """`MLFLOW_TRACKING_URI`, else "" (a database beside a local store)."""
    return os.environ.get("MLFLOW_TRACKING_URI", "")


def cache_folder() -> str:
    """The node's cache of decoded data: `STOCKPOT_CACHE`, else below the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return os.environ.get("STOCKPOT_CACHE") or os.path.join(home, "stockpot", "data")


def state_folder(store: str) -> str:
    """Where this machine keeps what it knows of the runs in a remote store: below `STOCKPOT_STATE`, else the user's folder for such things."""
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return os.path.join(os.environ.get("STOCKPOT_STATE") or os.path.join(home, "stockpot"), hashlib.sha256(store.encode()).hexdigest()[:16])


def for_children(root: str, **more: str) -> None:
    """Settings that child processes inherit, where nothing else is set: the packages' folder on their path, threads that do not spin."""
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths if root in paths else [root, *paths])
    for name, value in {"OMP_WAIT_POLICY": "passive", **more}.items():  # spinning threads under contention cost ten times
        os.environ.setdefault(name, value)


def python_path() -> str:
    return os.environ.get("PYTHONPATH", "")


def on_terminal(stream: TextIO | None = None) -> bool:
    """Whether a person watches a stream (None: standard output): a terminal that can redraw, outside CI."""
    return (stream or sys.stdout).isatty() and os.environ.get("TERM", "dumb") != "dumb" and not os.environ.get("CI")
