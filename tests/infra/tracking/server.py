"""A real MLflow server, which takes long to start: one for many tests."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.infra.ports import free

WAIT = 120  # seconds for a child process on a busy machine; nothing is measured


class Server:
    """`mlflow server` on a port of this machine, which can be killed and started again on the same data."""

    def __init__(self, folder: Path, artifacts: str = "") -> None:
        self.folder, self.artifacts = folder, artifacts or str(folder / "artifacts")
        self.port = free()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db", "--artifacts-destination", self.artifacts]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.folder / "server.log").open("ab") as log:
            streams: Any = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            self.process = subprocess.Popen(command, env=environment, start_new_session=True, **streams)
        for _ in range(WAIT * 10):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/health", timeout=5):
                return
            time.sleep(0.1)
        pytest.fail((self.folder / "server.log").read_text()[-2000:])

    def kill(self) -> None:
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)  # the session that `start` made: the server and its workers
            self.process.wait()
            self.process = None
