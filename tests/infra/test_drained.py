"""A machine that is about to be taken back: Ray is told to drain it, its workers keep their states and leave, and others go on at that very step."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from infra.backends.cluster import Cluster
from infra.dag import Resources, call, grid, sweep
from tests.infra.processes import descendants
from tests.infra.toys import count, shares
from tests.infra.world import World

pytestmark = pytest.mark.cluster

GRACE = 30.0  # seconds, as spot markets and Kubernetes have it
STEPS, PAUSE = 60, 0.2


@pytest.fixture
def nodes() -> Iterator[Any]:
    """A head without work, and two machines for one trial each."""
    from ray.cluster_utils import Cluster as Nodes

    with ExitStack() as stack:
        made = Nodes(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 100 << 20})
        stack.callback(made.shutdown)
        for _ in range(2):
            made.add_node(num_cpus=1, object_store_memory=100 << 20)
        made.wait_for_nodes()
        yield made


def drain(nodes: Any, node: Any) -> None:
    from ray._raylet import GcsClient
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason

    deadline = int(1000 * (time.time() + GRACE))
    accepted, reason = GcsClient(nodes.address).drain_node(node.node_id, DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION, "spot", deadline, timeout=10)
    assert accepted, reason


class Watched(World):
    """A world in which a machine is drained once both trials have made some steps."""

    struck = False
    nodes: Any = None

    def watch(self, event: str, node: Any, **facts: Any) -> None:
        super().watch(event, node, **facts)
        if event == "tick" and not self.struck and len({line["fingerprint"] for line in self.journal("metric") if line["step"] >= 3}) == 2:
            self.struck = True
            drain(self.nodes, next(iter(self.nodes.worker_nodes)))
            self.nodes.add_node(num_cpus=1, object_store_memory=100 << 20)


def test_workers_of_a_machine_that_is_drained_keep_their_states_and_go_on_elsewhere(nodes: Any, tmp_path: Path) -> None:
    """States are due once a minute: only the notice explains this one. No step is made twice, and the other trial hears nothing of it."""
    world = Watched(tmp_path)
    world.nodes = nodes
    trials = sweep(count, over=grid({"to": [STEPS, STEPS + 1]}), pause=PAUSE)
    finished = world.run(Cluster(nodes.address, log=str(tmp_path / "log")), a=trials[0], b=trials[1])
    assert finished.exit_code == 0 and world.struck
    assert [finished.value(trial) for trial in trials] == [[float(i) for i in range(to)] for to in (STEPS, STEPS + 1)]
    left, restored = world.journal("left"), world.journal("restored")
    assert [event["step"] for event in left] == [event["step"] for event in restored] and len(left) == 1
    steps = [(event["fingerprint"], event["step"]) for event in world.journal("metric")]
    assert len(steps) == len(set(steps)) == 2 * STEPS + 1


class Grouped(Watched):
    """A world in which the machine of the second of two workers is drained."""

    def watch(self, event: str, node: Any, **facts: Any) -> None:
        World.watch(self, event, node, **facts)
        if event == "tick" and not self.struck and any(line["step"] >= 3 for line in self.journal("metric")):
            self.struck = True
            first = self.journal("running")[0]["pid"]
            (second,) = [one for one in self.nodes.worker_nodes if first not in descendants(one.all_processes["raylet"][0].process.pid)]
            drain(self.nodes, second)
            self.nodes.add_node(num_cpus=1, object_store_memory=100 << 20)


def test_a_training_on_several_machines_leaves_when_any_of_them_is_drained(nodes: Any, tmp_path: Path) -> None:
    world = Grouped(tmp_path)
    world.nodes = nodes
    node = call(shares, on=Resources(cpus=1, workers=2), values=[1.0, 2.0], steps=STEPS, pause=PAUSE)
    finished = world.run(Cluster(nodes.address, log=str(tmp_path / "log")), x=node)
    assert finished.exit_code == 0 and world.struck and finished.value(node) == [3.0 * STEPS, 2]
    left, restored = world.journal("left"), world.journal("restored")
    assert [event["step"] for event in left] == [event["step"] for event in restored] and len(left) == 1
    assert sorted(event["step"] for event in world.journal("metric")) == list(range(1, STEPS + 1))


class Metadata(http.server.BaseHTTPRequestHandler):
    """The metadata service of a machine that is taken back: IMDSv2, so nothing is told without a token."""

    asked: list[str]

    def do_PUT(self) -> None:
        self._answer(200, "a-token" if "X-aws-ec2-metadata-token-ttl-seconds" in self.headers else "")

    def do_GET(self) -> None:
        self.asked.append(self.path)
        known = self.headers.get("X-aws-ec2-metadata-token") == "a-token" and self.path == "/latest/meta-data/spot/instance-action"
        self._answer(200 if known and len(self.asked) > 1 else 404, '{"action": "terminate", "time": "2030-01-01T00:00:00Z"}')

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *arguments: Any) -> None:
        """Silence."""


def test_a_spot_machine_that_is_taken_back_is_drained(nodes: Any) -> None:
    handler = type("Handler", (Metadata,), {"asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{server.server_port}/", "RAY_ADDRESS": nodes.address}
        words = [sys.executable, "-m", "infra.backends.cluster.spot"]
        done = subprocess.run(words, env={**os.environ, **settings}, capture_output=True, text=True, timeout=120)
        server.shutdown()
    assert done.returncode == 0 and "is drained" in done.stdout, done.stdout + done.stderr
    assert sum(node.node_id in done.stdout for node in [nodes.head_node, *nodes.worker_nodes]) == 1
    assert handler.asked == ["/latest/meta-data/spot/instance-action"] * 2
