"""A cluster that grows, for real: Ray's autoscaler with a head that has no CPUs, whose machines are processes of this one."""

from __future__ import annotations

import contextlib
import itertools
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
from tests.cluster.nodes import ROOT
from tests.infra.kubernetes import NAME, NAMESPACE, Kubernetes
from tests.infra.ports import free
from tests.infra.processes import await_end, descendants
from tests.infra.test_cluster import World
from tests.infra.toys import accelerators, number

pytestmark = pytest.mark.cluster

HEAD = 51 * "f" + 5 * "0"  # as Ray's provider of such machines calls it
L4 = r'"{\"accelerator_type:L4\": 1}"'  # as the manifest's comment has it
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

    ray = str(Path(sys.prefix) / "bin" / "ray")

    def __init__(self) -> None:
        self.folder, self.port = Path(tempfile.mkdtemp(prefix="gr-")), free()
        self.address, self.processes, self._numbers = f"127.0.0.1:{self.port}", list[subprocess.Popen[bytes]](), itertools.count()

    def start(self, *words: str, **environment: str) -> None:
        own = ["--node-ip-address=127.0.0.1", "--object-store-memory=80000000", "--disable-usage-stats", "--block"]
        with open(log := self.folder / f"{next(self._numbers)}.log", "wb") as file:
            command = [self.ray, "start", *words, *own]
            process = subprocess.Popen(command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        self.processes.append(process)
        until = time.monotonic() + WAIT
        while "runtime started" not in log.read_text():
            assert time.monotonic() < until and process.poll() is None, log.read_text()
            time.sleep(0.2)

    def head(self, *words: str, **environment: str) -> None:
        ports = [f"--port={self.port}", f"--ray-client-server-port={free()}", "--include-dashboard=false"]
        self.start("--head", "--num-cpus=0", f"--temp-dir={self.folder}/ray", *ports, *words, **environment)

    def autoscaler(self, **environment: str) -> None:
        """That of KubeRay, in a container of its own beside the head's."""
        words = ["kuberay-autoscaler", "--cluster-name", NAME, "--cluster-namespace", NAMESPACE, "--gcs-address", self.address]
        environment["PATH"] = f"{Path(self.ray).parent}{os.pathsep}{os.environ['PATH']}"  # it runs `ray health-check`
        with open(self.folder / "autoscaler.log", "wb") as file:
            streams: Any = {"stdin": subprocess.DEVNULL, "stdout": file, "stderr": file}
            self.processes.append(subprocess.Popen([self.ray, *words], env={**os.environ, **environment}, **streams))

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

    @property
    def waits(self) -> list[str]:
        return [value for event, value in self.told if event == "pending"]


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
        "large needs 2 GPU on one node, the cluster can grow to at most 1 GPU on one (2 GPU in all); ask for less (--on)",
        "many needs 3 CPU on one node, the cluster can grow to at most 1 CPU on one (2 CPU in all); ask for less (--on)",
    }
    facts = {"cpus": 0, "gpus": 0, "most_cpus": 2, "most_gpus": 2, "address": machines.address}
    assert world.told[0] == ("ready", facts) and len(world.waits) == len(set(world.waits))
    assert any(value.endswith("needs 1 GPU, the cluster has 0 GPU; it can grow to 2 CPU and 2 GPU") for value in world.waits)


@contextlib.contextmanager
def kuberay(machines: Machines, folder: Path, **withheld: str) -> Iterator[Kubernetes]:
    """A cluster as our manifest makes it, with a worker that has no GPU, and Ray's second autoscaler, which is no process of the head's."""
    from ray.autoscaler.v2.sdk import get_cluster_status

    def begin(pod: str, group: str, limits: dict[str, Any]) -> None:
        sizes = [f"--num-cpus={limits['cpu']}", *(["--num-gpus=1", '--resources={"accelerator_type:L4": 1}'] if group == "gpu" else ["--num-gpus=0"])]
        machines.start(f"--address={machines.address}", *sizes, **own, RAY_CLOUD_INSTANCE_ID=pod, RAY_NODE_TYPE_NAME=group)

    own = {"RAY_enable_autoscaler_v2": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    api = Kubernetes(ROOT / "infra" / "deploy" / "ray_job.yaml", folder, begin)
    assert f"{{resources: '{L4}'}}" in (ROOT / "infra" / "deploy" / "ray_job.yaml").read_text()
    api.cluster["spec"]["workerGroupSpecs"][0]["rayStartParams"] = {"resources": L4}
    try:
        machines.head("--no-monitor", **own, **{**api.environment, **withheld}, RAY_CLOUD_INSTANCE_ID="head", RAY_NODE_TYPE_NAME="headgroup")
        api.patch([{"path": "/spec/workerGroupSpecs/1/replicas", "value": 1}])
        machines.autoscaler(**own, **api.environment)
        until = time.monotonic() + WAIT
        while get_cluster_status(machines.address).stats.autoscaler_version == "0":  # it has not looked about yet
            assert time.monotonic() < until, (machines.folder / "autoscaler.log").read_text()[-3000:]
            time.sleep(0.2)
        yield api
    finally:
        api.end()


def test_a_cluster_of_kuberay_is_as_large_as_its_ray_cluster_says(machines: Machines, tmp_path: Path) -> None:
    with kuberay(machines, tmp_path) as api:
        world = Told(tmp_path, machines.address)
        wish = call(accelerators, on=Resources(gpus=1, accelerator="L4", exact=False), label="wish")
        wants = {"large": Resources(gpus=2), "other": Resources(gpus=1, accelerator="A100")}
        large, other = (call(number, on=on, value=on.gpus, label=name) for name, on in wants.items())
        finished = world.run(wish=wish, large=large, other=other)
    assert finished.value(wish) == "0" and api.replicas == [1, 1]
    assert {failure.error for failure in finished.failures.values()} == {
        "large needs 2 GPU on one node, the cluster can grow to at most 1 GPU on one (16 GPU in all); ask for less (--on)",
        "other needs accelerator A100, the cluster can grow to no accelerator A100; ask for less (--on)",
    }
    assert "wish needs 1 GPU, the cluster has 0 GPU; it can grow to 96 CPU and 16 GPU" in world.waits


def test_where_the_ray_cluster_may_not_be_read_what_is_asked_for_exactly_is_waited_for(machines: Machines, tmp_path: Path) -> None:
    with kuberay(machines, tmp_path, RAY_CLUSTER_NAMESPACE="another") as api:
        world = Told(tmp_path, machines.address)
        wish, exact = call(accelerators, on=GPU), call(accelerators, on=Resources(gpus=1), index=1, label="exact")
        finished = world.run(wish=wish, exact=exact)
    assert [finished.value(wish), finished.value(exact)] == ["", "0"] and api.replicas == [1, 1]
    assert world.waits[-1] == "exact needs 1 GPU, the cluster has 0 GPU; its autoscaler does not tell how far it grows"


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
    assert [failure.error for failure in finished.failures.values()] == ["large needs 1 GPU, the cluster has 0 GPU; ask for less (--on)"]
    assert world.told == [("ready", {"cpus": 0, "gpus": 0, "most_cpus": 0, "most_gpus": 0, "address": machines.address})]
