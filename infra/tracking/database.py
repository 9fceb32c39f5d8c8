"""MLflow's database beside a store is whole, or not there.

MLflow makes its tables in dozens of steps, and a database whose maker was killed among them it never opens again. So it is made elsewhere first.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from infra.owned import scratch

SCHEME = "sqlite:///"


def make(tracking: str) -> None:
    """Make the database at this address, where it is a file that is not there; of several makers, the first one's stays."""
    path = Path(tracking.removeprefix(SCHEME))
    if tracking.startswith(SCHEME) and not path.exists():
        from mlflow import MlflowClient

        with scratch(path.parent, ".mlflow-") as folder:
            MlflowClient(tracking_uri=f"{SCHEME}{folder}/mlflow.db").search_experiments()
            with contextlib.suppress(FileExistsError):
                os.link(f"{folder}/mlflow.db", path)
