"""Recycling from a bucket: what lies there is found by a query, what comes in is found too, and the second run computes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.models.folder import address
from components.models.stored import nth
from components.weights import Checkpoint
from infra.dag import Plan
from pipelines.__main__ import main
from tests.infra.recycling import Data, Kitchen, auxiliary, query, recycled
from tests.infra.world import Refuses
from tests.s3.models import MODEL, Bucket

pytestmark = pytest.mark.s3


def found(kitchen: Kitchen) -> list[str]:
    """The keys of the members as the store is now, in their order."""
    (members,) = kitchen.pinned(recycled(1)).found.values()
    return [member.key for member in members]


@pytest.fixture
def kitchen(bucket: Bucket, tmp_path: Path) -> Kitchen:
    """A store in a bucket, with three auxiliary models, of which one has seen the target."""
    made = Kitchen(tmp_path, bucket.url("store"))
    assert made.cook(Plan({**auxiliary(0.9, 0.8), **auxiliary(0.7, data=Data("target", 0.0, 0.1))})).complete
    return made


def test_the_second_run_of_a_plan_that_recycles_finds_everything_done(kitchen: Kitchen, bucket: Bucket) -> None:
    plan, members = recycled(3), found(kitchen)
    assert len(members) == 2 and "2 found for 3 starts: they take turns" in kitchen.pinned(plan).told[0]
    first = kitchen.cook(plan)
    assert first.complete, first.failures
    draws = [node for node in plan.nodes() if node.fn is nth]
    for node, key in zip(draws, [*members, members[0]], strict=True):
        assert first.record(node).digest == kitchen.store.finished(key).digest  # type: ignore[union-attr]
    payloads = sorted(name for name in bucket.names() if "/attempts/" in name)
    again = kitchen.cook(plan, Refuses())
    assert again.complete and set(again.state.values()) == {"hit"}
    assert sorted(name for name in bucket.names() if "/attempts/" in name) == payloads


def test_what_is_imported_into_a_bucket_is_found_there(kitchen: Kitchen, tmp_path: Path) -> None:
    """Twice the same weights are one record; their bytes are those that came in."""
    files = (Checkpoint(address("stockpot-tiny")) * 0.6).save(str(tmp_path / "elsewhere"))
    before, url = found(kitchen), kitchen.store.url
    for _ in range(2):
        assert main(["import", f"{tmp_path}/elsewhere/{MODEL}", "--ancestor", "stockpot-tiny", "--store", url, "--tracking", "none"]) == 0
    (taken,) = kitchen.store.keys("adopt")
    assert sorted(found(kitchen)) == sorted([*before, taken])
    kept = {file["name"]: file["digest"] for file in kitchen.store.finished(taken).result["files"]}
    assert kept[MODEL] == next(file.digest for file in files if file.name == MODEL)
    plan = Plan({"trials": recycled(3, query(only=(taken,))).targets["report"]})
    assert kitchen.cook(plan).complete and kitchen.cook(plan, Refuses()).complete
