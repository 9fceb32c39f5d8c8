"""A Ray cluster of several raylets on this machine, in a process of its own: no test has Ray in it, and a killed raylet is nobody's child here.

The process answers each line on its standard input with one on its standard output, and ends, with all nodes, when the input does.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.infra.processes import await_end, descendants

ROOT = Path(__file__).parents[2]
SIGHT = {  # a node that is gone is noticed within three seconds
    "RAY_health_check_initial_delay_ms": "1000", "RAY_health_check_period_ms": "1000", "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3", "RAY_USAGE_STATS_ENABLED": "0", "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
}  # fmt: skip
WAIT = 120.0  # seconds for a process on a busy machine; nothing is measured


@dataclass(frozen=True)
class Node:
    """A raylet, and the folder that it and its workers keep to themselves."""

    pid: int
    folder: Path

    @property
    def workers(self) -> list[int]:
        """The processes that execute tasks and trials, by pid."""
        names = descendants(self.pid).items()
        return sorted(pid for pid, name in names if name.startswith("ray::") and not name.startswith(("ray::IDLE", "ray::Dash", "ray::Runtime")))

    def kill(self) -> None:
        """SIGKILL for the raylet and everything below it, as when a machine is gone."""
        for pid in descendants(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class Nodes:
    """The cluster: a head without CPUs, and nodes that come and go, each with working folders of its own and what `environment` says besides."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sp-"))  # a short name: Ray's sockets are below it
        self.environment = dict(environment)
        self.nodes: list[Node] = []
        self._count = 0
        own = {**os.environ, **SIGHT, "RAY_TMPDIR": str(self.folder), "PYTHONPATH": str(ROOT)}
        with open(self.folder / "log", "wb") as log:
            streams: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log, "text": True, "start_new_session": True}
            self.process = subprocess.Popen([sys.executable, "-m", "tests.cluster.nodes"], cwd=ROOT, env=own, **streams)
        self.address = str(self._ask(cpus=0, env=self._own("head"))["address"])

    def _ask(self, **words: Any) -> dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, (self.folder / "log").read_text()[-3000:]
        return dict(json.loads(line))

    def _own(self, name: str) -> dict[str, str]:
        folders = {"HOME": "home", "TMPDIR": "tmp", "STOCKPOT_CACHE": "cache", "STOCKPOT_STATE": "state"}
        for each in folders.values():
            (self.folder / name / each).mkdir(parents=True)
        return {**self.environment, **{variable: str(self.folder / name / each) for variable, each in folders.items()}}

    def add(self, cpus: float = 1) -> Node:
        self._count += 1
        name = f"n{self._count}"
        self.nodes.append(Node(self._ask(cpus=cpus, env=self._own(name))["pid"], self.folder / name))
        return self.nodes[-1]

    def kill(self, node: Node) -> None:
        self.nodes.remove(node)
        node.kill()

    def drain(self, node: Node, seconds: float) -> None:
        """Tell the cluster that this machine is taken back so soon."""
        assert self._ask(drain=node.pid, seconds=seconds)["accepted"]

    def at_work(self) -> list[Node]:
        """The nodes on which something runs."""
        return [node for node in self.nodes if node.workers]

    def await_rest(self, seconds: float = 60.0) -> float:
        """The seconds until all resources of the nodes that are left are free; more is an AssertionError that says what is not."""
        began = time.monotonic()
        while True:
            told = self._ask(resources=True)
            if told["free"] == told["have"] and told["have"].get("CPU") == len(self.nodes):
                return time.monotonic() - began
            assert time.monotonic() < began + seconds, told
            time.sleep(0.5)

    def end(self) -> None:
        family = descendants(self.process.pid)
        assert self.process.stdin and self.process.stdout
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(WAIT)
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        await_end(family, 60)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def cluster(environment: Mapping[str, str], count: int) -> Iterator[Nodes]:
    """A head and so many nodes of a CPU each."""
    nodes = Nodes(environment)
    try:
        for _ in range(count):
            nodes.add()
        yield nodes
    finally:
        nodes.end()


def main() -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever Ray prints
    from ray.cluster_utils import Cluster

    made = Cluster()
    for line in sys.stdin:
        asked = json.loads(line)
        if "resources" in asked:
            have, free = made.global_state.cluster_resources(), made.global_state.available_resources()
            told: dict[str, Any] = {"have": {"CPU": have.get("CPU", 0)}, "free": {"CPU": free.get("CPU", 0)}}
        elif "drain" in asked:
            (node,) = [node for node in made.list_all_nodes() if node.all_processes["raylet"][0].process.pid == asked["drain"]]
            preempted, deadline = 2, int((time.time() + asked["seconds"]) * 1000)  # DRAIN_NODE_REASON_PREEMPTION
            told = {"accepted": node.get_gcs_client().drain_node(node.node_id, preempted, "taken back", deadline)[0]}
        else:
            node = made.add_node(num_cpus=asked["cpus"], object_store_memory=100 << 20, env_vars=asked["env"], include_dashboard=False)
            told = {"pid": node.all_processes["raylet"][0].process.pid, "address": made.address}
        print(json.dumps(told), file=out, flush=True)
    made.shutdown()


if __name__ == "__main__":
    main()
