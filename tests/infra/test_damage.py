"""What the store lost or spoiled of finished nodes: noticed, withdrawn, computed again with the same digest."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.backends.local import Local
from infra.dag import Fingerprints, Node, Plan, call
from infra.finished import Finished
from infra.runner import Runner
from tests.infra.toys import number, rows, tensor, weigh
from tests.infra.world import Refuses, World

MODEL, CONFIG, ROWS = "open_clip_model.safetensors", "open_clip_config.json", "predictions.npz"
LARGE = 1 << 20  # numbers: four times what is checked before it is opened


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def payload(world: World, node: Node, finished: Finished, name: str) -> Path:
    return Path(world.store.payload(finished.record(node)), name)


def gone(path: Path) -> None:
    path.unlink()


def short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def changed(path: Path) -> None:
    path.write_bytes(b"y" + path.read_bytes()[1:])


CASES = [(rows, 1000, ROWS, short), (tensor, 1000, CONFIG, gone), (tensor, 1000, CONFIG, changed), (tensor, LARGE, MODEL, gone)]


@pytest.mark.parametrize(("fn", "n", "name", "spoil"), [*CASES, (tensor, LARGE, MODEL, changed)])
def test_a_damaged_input_is_computed_again_before_the_node_that_needs_it(
    world: World, fn: Callable[..., Any], n: int, name: str, spoil: Callable[[Path], None]
) -> None:
    first, second = call(fn, n=n), call(fn, n=n + 1)
    before = world.run(x=first, y=second)
    record = before.record(first)
    spoil(payload(world, first, before, name))
    finished = World(world.folder).run(sum=call(weigh, things=[first, second]))
    assert finished.exit_code == 0 and finished.value(finished.plan.targets["sum"]) == 2 * n + 1
    again = finished.record(first)
    assert again.digest == record.digest and again.result["attempt"] != record.result["attempt"]
    kept = json.loads(Path(world.store.place.at(f"{record.key}/retired/0.json")).read_text())
    assert kept["result"] == record.result
    assert finished.record(second).result == before.record(second).result


def test_a_finished_plan_notices_that_what_it_hands_over_is_gone(world: World) -> None:
    node = call(rows, n=10)
    top = call(weigh, things=[node])
    gone(payload(world, node, world.run(top=top), ROWS))
    assert Counter(World(world.folder).run(Refuses(), top=top).state.values()) == {"hit": 1}  # the number stands, and needs no rows
    runner = Runner(world.store, Local(), world.place, {}, world.watch)
    finished = runner.run(Plan({"top": top}, keeps=[node]))
    assert finished.state == {finished.fingerprints.key(top): "hit", finished.fingerprints.key(node): "done"}
    assert ("damaged", "rows") in world.told and payload(world, node, finished, ROWS).exists()


def test_what_the_damaged_node_needs_is_computed_too(world: World) -> None:
    """Its inputs were removed with their records: everything upwards comes again."""
    one = call(number, value=1000)
    blob = call(tensor, n=one)
    before = world.run(top=call(weigh, things=[blob]))
    gone(payload(world, blob, before, MODEL))
    world.store.place.remove(before.fingerprints.key(one))
    finished = World(world.folder).run(top=call(weigh, things=[blob, blob]))
    assert finished.exit_code == 0 and finished.value(finished.plan.targets["top"]) == 2000
    assert Counter(finished.state.values()) == {"done": 3}


def test_what_another_driver_computed_meanwhile_is_not_withdrawn(world: World) -> None:
    """Between the look at a damaged record and its withdrawal, the other one withdrew it, computed and published."""
    node = call(rows, n=10)
    record = world.run(x=node).record(node)
    slow = World(world.folder).store
    assert slow.record(record.key) == record
    again = replace(record, result={**record.result, "attempt": "again"})
    assert world.store.retire(record.key, record.result["attempt"]) and world.store.publish(again)
    assert not slow.retire(record.key, record.result["attempt"])
    assert slow.record(record.key) == again == World(world.folder).store.record(record.key)


def test_what_is_damaged_again_at_once_is_an_integrity_error(world: World) -> None:
    node, top = call(tensor, n=LARGE), call(weigh, things=[call(tensor, n=LARGE)])
    changed(payload(world, node, world.run(x=node), MODEL))
    bad = World(world.folder)

    def watch(event: str, node: Node | None, **facts: Any) -> None:
        if event == "done" and node is not None and node.function == "tensor":
            changed(payload(bad, node, Finished(Plan({}), bad.store, Fingerprints(), {}), MODEL))

    finished = Runner(bad.store, Local(), world.place, {}, watch).run(Plan({"top": top}))
    (failure,) = finished.failures.values()
    assert finished.exit_code == 5 and "after it was computed again in this run" in failure.error and MODEL in failure.error
