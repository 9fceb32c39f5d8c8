"""The start commands of the cluster file, for real on one machine: nobody without the token, no work on the head, the dashboard on loopback."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.infra.ports import free
from tests.infra.processes import await_end, descendants

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[3]
WAIT = 120  # seconds for a process on a busy machine; nothing is measured
TOKEN = "0123456789abcdef" * 4
JOB = """
import ray
ray.init(log_to_driver=False)
head = ray.get_runtime_context().get_node_id()
where = ray.get(ray.remote(num_cpus=1)(lambda: ray.get_runtime_context().get_node_id()).remote())
print("CPUs", ray.cluster_resources().get("CPU"), "elsewhere", where != head)
"""


class Machines:
    """A head and workers of `ray_cluster.yaml`, each with a home of its own, on ports of this test."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self.dashboard = folder, free(), free()
        self.cluster = yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())
        self.processes: list[subprocess.Popen[bytes]] = []
        self.known: dict[int, str] = {}

    def environment(self, name: str, token: str) -> dict[str, str]:
        home = self.folder / name
        shutil.rmtree(home, ignore_errors=True)
        (home / ".ray").mkdir(parents=True)
        (home / "env").symlink_to(sys.prefix)
        if token:
            (home / ".ray" / "auth_token").write_text(token)
        return {**os.environ, "HOME": str(home), "RAY_HEAD_IP": "127.0.0.1", "PYTHONPATH": ""}

    def start(self, node: str, name: str, token: str, *more: str) -> subprocess.Popen[bytes]:
        """The file's second command (the first, `ray stop`, would end every Ray of this machine), which stays in the foreground."""
        command = self.cluster[f"{node}_start_ray_commands"][1].replace(":6379", f":{self.port}").replace("--port=6379", f"--port={self.port}")
        command = command.replace("8265", str(self.dashboard)).replace("--object-manager-port=8076", "--object-manager-port=0")
        command = re.sub(r" --autoscaling-config=\S+", "", command)
        words = [command, "--block", "--node-ip-address=127.0.0.1", "--object-store-memory=100000000", "--dashboard-agent-listen-port=0", *more]
        with open(self.folder / f"{name}.log", "wb") as log:
            process = subprocess.Popen(
                ["bash", "-c", " ".join(words)], env=self.environment(name, token), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.processes.append(process)
        return process

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def status(self, token: str) -> int:
        """What the dashboard answers who asks for the jobs; 0 where it does not answer."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"http://127.0.0.1:{self.dashboard}/api/jobs/", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def submit(self, token: str) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment("me", token), "RAY_AUTH_MODE": "token", "RAY_ADDRESS": f"http://127.0.0.1:{self.dashboard}"}
        words = [str(Path(sys.prefix) / "bin" / "ray"), "job", "submit", "--", sys.executable, "-c", JOB]
        return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=WAIT)

    def end(self) -> None:
        for process in self.processes:
            self.known |= descendants(process.pid) if process.poll() is None else {}
        for process in reversed(self.processes):
            process.terminate()
            process.wait(WAIT)
        await_end(self.known, 60.0)


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    """A head and one worker that has the token; the folder's name is short, for Ray's sockets."""
    folder = Path(tempfile.mkdtemp(prefix="sp-"))
    made = Machines(folder)
    try:
        made.start("head", "head", TOKEN, f"--temp-dir={folder}/ray", f"--ray-client-server-port={free()}")
        until = time.monotonic() + WAIT
        while made.status(TOKEN) != 200:
            assert time.monotonic() < until and made.processes[0].poll() is None, made.log("head")
            time.sleep(0.5)
        made.start("worker", "worker", TOKEN, "--num-cpus=1")
        yield made
    finally:
        made.end()
        shutil.rmtree(folder, ignore_errors=True)


def listening(port: int) -> set[str]:
    """Addresses of this machine, in hexadecimal as the kernel has them, on which somebody listens."""
    lines = [line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
    return {line[1].rpartition(":")[0] for line in lines if line[3] == "0A" and int(line[1].rpartition(":")[2], 16) == port}


def test_the_dashboard_listens_on_loopback_only(machines: Machines) -> None:
    assert listening(machines.dashboard) == {"0100007F"}


@pytest.mark.parametrize("token", ["", "f" * 64], ids=["none", "another"])
def test_the_dashboard_refuses_who_has_no_token(machines: Machines, token: str) -> None:
    assert machines.status(token) in (401, 403)


@pytest.mark.parametrize("token", ["", "f" * 64], ids=["none", "another"])
def test_a_submitter_without_the_token_is_refused(machines: Machines, token: str) -> None:
    done = machines.submit(token)
    assert done.returncode and re.search("(?i)token|authenticat", done.stdout + done.stderr), done.stdout + done.stderr


@pytest.mark.parametrize("token", ["", "f" * 64], ids=["none", "another"])
def test_a_worker_without_the_token_is_refused(machines: Machines, token: str) -> None:
    process = machines.start("worker", "stranger", token, "--num-cpus=7")
    assert process.wait(WAIT)
    assert re.search("(?i)token|authenticat", machines.log("stranger"))


def test_a_head_without_a_token_does_not_start(machines: Machines) -> None:
    alone = Machines(machines.folder / "alone")
    alone.folder.mkdir()
    assert alone.start("head", "head", "", f"--temp-dir={machines.folder}/none").wait(WAIT)
    assert "ray get-auth-token --generate" in alone.log("head") or "RAY_AUTH_TOKEN" in alone.log("head")


def test_a_job_runs_on_the_head_and_its_work_on_the_worker(machines: Machines) -> None:
    done = machines.submit(TOKEN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "CPUs 1.0 elsewhere True" in done.stdout
    assert TOKEN not in done.stdout + done.stderr
