"""Evaluation over two nodes of a real Ray: shares side by side, a killed process costs its own share, and nothing that is small pays for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.data.digits import CLASSES
from components.evaluate import SHARE, predict
from components.models.heads import zero_shot
from components.models.openclip import OpenClip, pretrained
from components.types import Local
from infra.backends.cluster import Cluster
from infra.dag import GPU, Plan, call
from infra.job import Site
from infra.runner import Finished, Runner
from infra.store import Store
from infra.tracking.journal import events
from tests.infra.shares import Noise

pytestmark = pytest.mark.cluster

N = 4 * SHARE + 300


@pytest.fixture
def address() -> Iterator[str]:
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


def test_a_killed_process_costs_its_share_and_the_bits_are_those_of_a_single_pass(address: str, tmp_path: Path) -> None:
    model = call(zero_shot, model=call(pretrained, model=OpenClip()), classes=CLASSES, prompts=("the digit {}",))
    seen = tmp_path / "seen"
    seen.mkdir()
    store = Store(str(tmp_path / "store"))
    store.prepare()
    site = Site(store.url, store.place.at("runs/1"), str(tmp_path / "cache"))
    nodes: dict[str, Any] = {
        "large": call(predict, on=GPU, checkpoint=model, data=Noise(N, str(seen), bad=2)),
        "small": call(predict, on=GPU, checkpoint=model, data=Noise(SHARE)),
    }
    finished: Finished = Runner(store, Cluster(address, log=str(tmp_path / "log")), site, {}, lambda *_, **__: None).run(Plan(nodes))
    assert finished.exit_code == 0 and finished.retries == 0, finished.failures  # it was the item that Ray tried again
    whole, found = predict(finished.value(model), Noise(N), run=Local(str(tmp_path / "here"))), finished.value(nodes["large"])
    assert found.ids.tolist() == whole.ids.tolist() and found.logits.tobytes() == whole.logits.tobytes()
    assert finished.record(nodes["large"]).summary["correct"] == int(whole.correct.sum())
    asked = sorted(int(path.name.split(".")[0]) for path in seen.iterdir() if path.name != "killed")
    assert asked == [0, 1, 2, 2, 3]
    begun = [event["fingerprint"] for event in events(site.folder) if event["kind"] == "running"]
    assert (begun.count(finished.fingerprints.of(nodes["large"])), begun.count(finished.fingerprints.of(nodes["small"]))) == (2, 1)
