"""A merge in a bucket by two nodes of a Ray cluster: chunks of one object made side by side, and the bytes of one process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.merge import uniform
from components.weights import engine, mean
from infra.backends.cluster import Cluster
from infra.dag import Plan, call
from infra.job import Site
from infra.runner import Runner
from infra.store import Store
from tests.s3.models import MODEL, Bucket, model
from tests.s3.seaweed import Server

pytestmark = [pytest.mark.s3, pytest.mark.cluster]

MEGABYTES = 300  # 19 chunks: two items of the map


@pytest.fixture
def address(server: Server) -> Iterator[str]:
    """Two nodes with a CPU each."""
    from ray.cluster_utils import Cluster as Nodes

    sizes = {"num_cpus": 1, "object_store_memory": 200 << 20}
    nodes = Nodes(initialize_head=True, head_node_args=sizes)
    try:
        nodes.add_node(**sizes)
        nodes.wait_for_nodes()
        yield nodes.address
    finally:
        nodes.shutdown()


class Parts(threading.Thread):
    """Looks at the uploads of a bucket while they last: which parts of each have been seen together."""

    def __init__(self, bucket: Bucket) -> None:
        super().__init__(daemon=True)
        self.bucket, self.seen, self.ended = bucket, list[tuple[str, frozenset[int]]](), threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.05):
            for one in self.bucket.uploads():
                where = {"Bucket": self.bucket.name, "Key": one["Key"], "UploadId": one["UploadId"]}
                found = self.bucket.client.list_parts(**where).get("Parts", [])
                self.seen.append((one["Key"], frozenset(part["PartNumber"] for part in found)))


def test_the_chunks_of_a_merge_are_made_on_both_nodes(bucket: Bucket, address: str, tmp_path: Path) -> None:
    """A node has one CPU, and an item takes one: two items that are under way at once are on two nodes."""
    store = Store(bucket.url("store"))
    store.prepare()
    merged = call(uniform, models=[call(model, seed=seed, megabytes=MEGABYTES) for seed in (0, 1)])
    backend = Cluster(address, log=str(tmp_path / "log"))
    parts = Parts(bucket)
    place = Site(store.url, str(tmp_path / "run"), str(tmp_path / "cache"), checkpoint_every=60.0)
    parts.start()
    try:
        finished = Runner(store, backend, place, {}, lambda *_, **__: None).run(Plan({"soup": merged}))
    finally:
        parts.ended.set()
        parts.join()
    assert finished.exit_code == 0, finished.failures
    record = finished.record(merged)
    files = mean([model(seed, MEGABYTES) for seed in (0, 1)]).save(str(tmp_path / "soup"))
    expected = next(file for file in files if file.name == MODEL)
    assert {"name": MODEL, "size": expected.size, "digest": expected.digest} in record.result["files"]
    key = f"{store.payload(record)}/{MODEL}".removeprefix(f"s3://{bucket.name}/")
    first = set(range(1, engine.ITEM + 1))
    together = [seen for name, seen in parts.seen if name == key and seen & first and len(first - seen) > engine.UPLOADS]
    assert any(max(seen) > engine.ITEM for seen in together), parts.seen
