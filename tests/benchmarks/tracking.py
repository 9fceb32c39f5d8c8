"""What MLflow takes to hear of a sweep's trials from a journal that is all there: `python -m tests.benchmarks.tracking [TRIALS] [sqlite | server]`.

Each trial has six knobs and five points of two curves, and makes a checkpoint.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from infra.tracking import mirror
from infra.tracking.journal import Journal

POINT = {
    "update.lr": 1e-4, "update.weight_decay": 0.1, "update.seed": 3, "objective.smoothing": 0.1, "objective.mixup": 0.2,
    "objective.views.magnitude": 4,
}  # fmt: skip


def written(folder: Path, trials: int) -> None:
    """The journal of a sweep: all of it is handed over, then one after the other is run."""
    with closing(Journal(folder, "driver")) as driver, closing(Journal(folder, "worker")) as worker:

        def node(i: int, state: str, **facts: Any) -> None:
            of = {"fingerprint": f"{i:020x}", "function": "train", "label": f"train {i}", "params": POINT}
            driver.write("node", **of, state=state, is_checkpoint=True, **facts)

        driver.write("run", run=folder.name, study="soup", preset="tiny", command="stockpot run soup", params={"trials": trials})
        for i in range(trials):
            node(i, "queued")
        for i in range(trials):
            worker.write("running", fingerprint=f"{i:020x}", key=f"train-{i:020x}", pid=1, host="host", attempt=1)
            for step in range(5):
                worker.write("metric", fingerprint=f"{i:020x}", step=step, values={"loss": 1.0, "lr": 0.1})
            node(i, "done", uri=f"s3://bucket/store/train-{i:020x}/attempts/a", digest="0" * 20, duration=1.0)
        driver.write("end", status="finished")


def main(trials: int, where: str) -> None:
    from infra.tracking.entities import configure
    from tests.infra.tracking.server import Server

    requests: Counter[str] = Counter()
    put = http.client.HTTPConnection.putrequest

    def counted(self: Any, method: str, *rest: Any, **more: Any) -> None:
        requests[method] += 1
        put(self, method, *rest, **more)

    http.client.HTTPConnection.putrequest = counted  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory(prefix="sp-", dir="/tmp") as folder:
        server = Server(Path(folder))
        if where == "server":
            server.start()
        try:
            uri, run = server.url if where == "server" else f"sqlite:///{folder}/mlflow.db", Path(folder, "runs", "run")
            configure()
            written(run.with_name("first"), 1)  # tables and the experiment are made
            mirror._Follower(run.with_name("first"), uri, "stockpot").follow(lambda seconds: True, patience=1e9)
            written(run, trials)
            size = sum(path.stat().st_size for path in (run / "journal").iterdir())
            requests.clear()
            wall, cpu = time.perf_counter(), time.process_time()
            with contextlib.redirect_stdout(io.StringIO()):  # MLflow prints an address for each run that ends
                mirror._Follower(run, uri, "stockpot").follow(lambda seconds: True, patience=1e9)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            assert not mirror.owed(run, uri)
        finally:
            server.kill()
    print(f"{trials} trials, {where}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores: {trials / wall:.1f} trials a second")
    print(f"a trial: {1e3 * wall / trials:.1f} ms, {1e3 * cpu / trials:.1f} ms of the mirror's CPU, {size / trials:.0f} B of journal", end="")
    print(f", {requests.total() / trials:.1f} requests" if where == "server" else "")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200, sys.argv[2] if len(sys.argv) > 2 else "sqlite")
