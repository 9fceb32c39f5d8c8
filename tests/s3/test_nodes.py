"""A merge in a bucket by two nodes of a Ray cluster: chunks of one object made side by side, and the bytes of one process."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from components.merge import uniform
from components.weights import mean
from infra.backends.cluster import Cluster
from infra.dag import Plan, call
from infra.job import Site
from infra.runner import Runner
from infra.store import Store
from tests.s3.models import MODEL, Bucket, model
from tests.s3.proxy import proxied
from tests.s3.seaweed import Server

pytestmark = [pytest.mark.s3, pytest.mark.cluster]

MEGABYTES = 300  # 19 chunks: two items of the map
PATIENCE = 60.0  # seconds that a node waits for the other one


class Gate:
    """The way of one node to the store: no chunk of the merge passes before each of `gates` has seen one."""

    def __init__(self, gates: list[Gate]) -> None:
        gates.append(self)
        self.gates, self.reached, self.chunks = gates, threading.Event(), set[int]()

    def __call__(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> None:
        if method == "PUT" and "partNumber" in query and "/uniform-" in path:
            self.chunks.add(int(query["partNumber"]))
            self.reached.set()
            for gate in self.gates:
                gate.reached.wait(PATIENCE)


@pytest.fixture
def gates() -> list[Gate]:
    found: list[Gate] = []
    return [Gate(found), Gate(found)]


@pytest.fixture
def address(server: Server, gates: list[Gate]) -> Iterator[str]:
    """Two nodes with a CPU each, and each with a way of its own to the store."""
    from ray.cluster_utils import Cluster as Nodes

    with ExitStack() as stack:
        ways = [stack.enter_context(proxied(server.port, gate)).url for gate in gates]
        first, second = ({"num_cpus": 1, "object_store_memory": 200 << 20, "env_vars": {"AWS_ENDPOINT_URL": way}} for way in ways)
        nodes = Nodes(initialize_head=True, head_node_args=first)
        stack.callback(nodes.shutdown)
        nodes.add_node(**second)
        nodes.wait_for_nodes()
        yield nodes.address


def test_the_chunks_of_a_merge_are_made_on_both_nodes(bucket: Bucket, address: str, gates: list[Gate], tmp_path: Path) -> None:
    """A node has one CPU, and an item takes one: while the first chunk of an item is held, the other item begins on the other node."""
    store = Store(bucket.url("store"))
    store.prepare()
    merged = call(uniform, models=[call(model, seed=seed, megabytes=MEGABYTES) for seed in (0, 1)])
    place = Site(store.url, str(tmp_path / "run"), str(tmp_path / "cache"), checkpoint_every=60.0)
    finished = Runner(store, Cluster(address, log=str(tmp_path / "log")), place, {}, lambda *_, **__: None).run(Plan({"soup": merged}))
    assert finished.exit_code == 0, finished.failures
    first, second = (gate.chunks for gate in gates)
    assert first and second and not first & second, (first, second)
    record = finished.record(merged)
    files = mean([model(seed, MEGABYTES) for seed in (0, 1)]).save(str(tmp_path / "soup"))
    expected = next(file for file in files if file.name == MODEL)
    assert {"name": MODEL, "size": expected.size, "digest": expected.digest} in record.result["files"]
