"""MLflow's database beside a store is whole, or not there.

MLflow makes its tables in dozens of steps, and a database whose maker was killed among them it never opens again. So it is made elsewhere first.
"""

from __future__ import annotations

import os
from pathlib import Path

from infra.owned import scratch, sweep

SCHEME, PREFIX = "sqlite:///", ".mlflow-"


def make(tracking: str) -> None:
    """Make the database at this address, where it is a file that is not there; of several makers, the first one's stays.

    On a file system without hard links MLflow makes it in place, when it is first asked.
    """
    if (path := file(tracking)) is None:
        return
    if path.exists():
        sweep(path.parent, PREFIX)
        return
    from mlflow import MlflowClient

    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch(path.parent, PREFIX) as folder:
        MlflowClient(tracking_uri=f"{SCHEME}{folder}/mlflow.db").search_experiments()
        try:
            os.link(f"{folder}/mlflow.db", path)
        except OSError:  # another one was faster, or there are no links
            return


def file(tracking: str) -> Path | None:
    """The file that an address of MLflow means, or None where it means none."""
    if not tracking.startswith(SCHEME):
        return None
    from sqlalchemy.engine import make_url

    name = make_url(tracking).database or ":memory:"
    return None if name.startswith((":memory:", "file:")) else Path(name)
