"""A cluster that grows, for real: Ray's autoscaler with a head that has no CPUs, whose machines are processes of this one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.backends.cluster import Cluster
from infra.dag import GPU, Node, Resources, call, grid, sweep
from tests.infra.deploy.test_token import free
from tests.infra.processes import await_end, descendants
from tests.infra.test_cluster import World
from tests.infra.toys import accelerators, number

pytestmark = pytest.mark.cluster

HEAD = 51 * "f" + 5 * "0"  # as Ray's provider of such machines calls it
WAIT = 120.0  # seconds for a process on a busy machine


def file(port: int) -> dict[str, Any]:
    """A cluster file: no machine at first, two with a GPU each at most."""
    worker = {"resources": {"CPU": 1, "GPU": 1, "object_store_memory": 80_000_000}, "node_config": {}, "min_workers": 0, "max_workers": 2}
    head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
    provider = {"type": "fake_multinode", "use_node_id_as_ip": True, "disable_node_updaters": True, "disable_launch_config_check": True}
    lists = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    return {
        "cluster_name": "growing", "max_workers": 2, "provider": {**provider, "gcs_address": f"127.0.0.1:{port}"},
        "available_node_types": {"ray.head.default": head, "gpu": worker}, "head_node_type": "ray.head.default",
        "upscaling_speed": 1.0, "idle_timeout_minutes": 5, "auth": {}, "docker": {}, "file_mounts": {}, "cluster_synced_files": [],
        "file_mounts_sync_continuously": False, "rsync_exclude": [], "rsync_filter": [], **{f"{name}_commands": [] for name in lists},
    }  # fmt: skip


class Machines:
    """A head without CPUs, and what is started beside it. The folder's name is short, for Ray's sockets."""

    def __init__(self) -> None:
        self.folder, self.port = Path(tempfile.mkdtemp(prefix="gr-")), free()
        self.address, self.processes = f"127.0.0.1:{self.port}", list[subprocess.Popen[bytes]]()

    def start(self, *words: str, **environment: str) -> None:
        own = ["--node-ip-address=127.0.0.1", "--object-store-memory=80000000", "--disable-usage-stats", "--block"]
        with open(log := self.folder / f"{len(self.processes)}.log", "wb") as file:
            command = [str(Path(sys.prefix) / "bin" / "ray"), "start", *words, *own]
            process = subprocess.Popen(command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        self.processes.append(process)
        until = time.monotonic() + WAIT
        while "runtime started" not in log.read_text():
            assert time.monotonic() < until and process.poll() is None, log.read_text()
            time.sleep(0.2)

    def head(self, *words: str, **environment: str) -> None:
        ports = [f"--port={self.port}", f"--ray-client-server-port={free()}", "--include-dashboard=false"]
        self.start("--head", "--num-cpus=0", f"--temp-dir={self.folder}/ray", *ports, *words, **environment)

    def end(self) -> None:
        family: dict[int, str] = {}
        for process in self.processes:
            family |= descendants(process.pid) if process.poll() is None else {}
        for pid in family:
            os.kill(pid, signal.SIGKILL)
        for process in self.processes:
            process.wait(WAIT)
        await_end({pid: name for pid, name in family.items() if name})
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machines]:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    made = Machines()
    try:
        yield made
    finally:
        made.end()


class Told(World):
    """Remembers what was told."""

    def __init__(self, folder: Path, address: str) -> None:
        super().__init__(folder, Cluster(address=address, log=str(folder / "backend.log")))
        self.told: list[tuple[str, Any]] = []

    def watch(self, event: str, node: Node | None, **facts: Any) -> None:
        if event in ("ready", "pending"):
            self.told.append((event, facts["value"]))


def test_a_cluster_that_begins_with_no_worker_grows_to_what_is_asked_for(machines: Machines, tmp_path: Path) -> None:
    (machines.folder / "cluster.json").write_text(json.dumps(file(machines.port)))  # JSON is YAML
    own = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD}
    machines.head(f"--autoscaling-config={machines.folder}/cluster.json", **own)
    world = Told(tmp_path, machines.address)
    trials = sweep(accelerators, on=GPU, over=grid({"index": [1, 2]}), label="trial")
    large = call(number, on=Resources(gpus=2), value=1, label="large")
    many = call(number, on=Resources(cpus=3), value=2, label="many")
    wish, plain = call(accelerators, on=GPU, label="wish"), call(number, value=3)
    finished = world.run(wish=wish, one=trials[0], two=trials[1], plain=plain, large=large, many=many)
    assert [finished.value(node) for node in (wish, *trials, plain)] == ["0", "0", "0", 3.0]
    assert finished.exit_code == 2 and {failure.error for failure in finished.failures.values()} == {
        "large needs 2 GPU on one node, the cluster can grow to at most 1 GPU on one (2 GPU in all); ask for less",
        "many needs 3 CPU on one node, the cluster can grow to at most 1 CPU on one (2 CPU in all); ask for less",
    }
    facts = {"cpus": 0, "gpus": 0, "most_cpus": 2, "most_gpus": 2, "address": machines.address}
    waits = [value for event, value in world.told if event == "pending"]
    assert world.told[0] == ("ready", facts) and len(waits) == len(set(waits))
    assert any(value.endswith("needs 1 GPU, the cluster has 0 GPU; it can grow to 2 CPU and 2 GPU") for value in waits)


def test_workers_that_join_a_fixed_cluster_later_are_waited_for_and_what_they_have_not_got_is_refused(machines: Machines, tmp_path: Path) -> None:
    class Late(Told):
        def watch(self, event: str, node: Node | None, **facts: Any) -> None:
            super().watch(event, node, **facts)
            if event == "ready":
                machines.start(f"--address={machines.address}", "--num-cpus=1")

    machines.head()
    world = Late(tmp_path, machines.address)
    wish, plain, large = call(accelerators, on=GPU), call(number, value=3), call(number, on=Resources(gpus=1), value=1, label="large")
    finished = world.run(wish=wish, plain=plain, large=large)
    assert finished.value(wish) == "" and finished.value(plain) == 3.0
    assert [failure.error for failure in finished.failures.values()] == ["large needs 1 GPU, the cluster has 0 GPU; ask for less"]
    assert world.told == [("ready", {"cpus": 0, "gpus": 0, "most_cpus": 0, "most_gpus": 0, "address": machines.address})]
