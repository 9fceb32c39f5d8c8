"""A plan that recycles what its store holds, on Ray: its draws run there as anywhere, and the second run needs no cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.models.stored import nth
from infra.backends.cluster import Cluster
from infra.dag import Plan
from tests.infra.recycling import Kitchen, auxiliary, recycled
from tests.infra.world import Refuses

pytestmark = pytest.mark.cluster


def test_draws_on_ray_are_members_byte_for_byte_and_all_hits_again(tmp_path: Path) -> None:
    kitchen, plan = Kitchen(tmp_path), recycled(3)
    assert kitchen.cook(Plan(auxiliary(0.9, 0.8))).complete
    (members,) = kitchen.pinned(plan).found.values()
    first = kitchen.cook(plan, Cluster(cpus=2, log=str(tmp_path / "ray.log")))
    assert first.complete, first.failures
    draws = [node for node in plan.nodes() if node.fn is nth]
    assert {first.state[kitchen.key(node)] for node in draws} == {"done"}
    for node, member in zip(draws, [*members, members[0]], strict=True):
        assert first.record(node).digest == member.digest  # type: ignore[union-attr]
    again = kitchen.cook(plan, Refuses())
    assert again.complete and set(again.state.values()) == {"hit"}
