"""The driver's side of Ray, light to import."""

from __future__ import annotations

import queue
from multiprocessing.connection import Connection
from typing import Any

from infra.backends.child import Child, Event


def serve(pipe: Connection, options: dict[str, Any]) -> None:
    from infra.backends.cluster.head import Head

    Head(pipe, options).serve()


class Cluster(Child):
    """Ray in a child process: a cluster of this machine (`address` "local") or the one at an address; what Ray prints goes to the file `log`."""

    def __init__(self, address: str = "local", cpus: int | None = None, log: str = "") -> None:
        super().__init__(serve, {"address": address, "cpus": cpus, "log": log})

    def next(self, timeout: float) -> Event | None:
        """The next event, or None after `timeout` seconds."""
        try:
            return self.events.get(timeout=timeout)
        except queue.Empty:
            return None
