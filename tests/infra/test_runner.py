"""The runner, on the local backend: hits, retries, failures, resuming, interrupts and full disks."""

from __future__ import annotations

import _thread
import json
import resource
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from infra import attempts
from infra.backends.cluster import Cluster
from infra.backends.local import Local
from infra.dag import GPU, Node, Plan, call, grid, sweep
from infra.errors import BackendLost, StoreError
from infra.job import Site
from infra.runner import Runner
from infra.store.lease import Driver
from tests.infra.toys import add, big, count, dies_at, dies_once, flaky, named, number, paired, tensor, unlucky
from tests.infra.world import Refuses, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def total(*values: float) -> Node:
    return call(add, terms=[call(number, value=value) for value in values], label="total")


def test_a_run_computes_and_the_next_one_hits(world: World) -> None:
    finished = world.run(sum=total(1, 2, 3))
    assert finished.exit_code == 0 and finished.value(finished.plan.targets["sum"]) == 6
    assert Counter(event for event, _ in world.told) == {"queued": 4, "done": 4}
    record = finished.record(finished.plan.targets["sum"])
    assert record is not None and len(record.inputs) == 3 and record.arguments["terms"][0]["node"] in str(record.inputs)

    again = world.run(Refuses(), sum=total(1, 2, 3))
    assert list(again.state.values()) == ["hit"] and again.exit_code == 0  # its ingredients were not even looked at


def test_a_manifest_that_went_after_the_pin_ends_the_run_before_anything_is_computed(world: World) -> None:
    """From its heartbeat on no collection takes one; before, it may have."""
    world.run(x=call(number, value=1.0))
    pins, kept = {"s3://bucket/data": "0" * 20}, f"manifests/{'0' * 20}.json"
    world.store.place.write(kept, b"[]")
    assert Runner(world.store, Local(), world.place, pins, world.watch).run(Plan({"x": call(number, value=2.0)})).exit_code == 0
    world.store.place.remove(kept)
    with pytest.raises(StoreError, match=r"the manifest 0{20} was removed .* run the same command again"):
        Runner(world.store, Refuses(), world.place, pins, world.watch).run(Plan({"x": call(number, value=3.0)}))  # type: ignore[arg-type]


def test_what_is_missing_alone_runs(world: World) -> None:
    world.run(sum=total(1, 2))
    world.run(sum=total(1, 2, 3))
    assert Counter(world.told) == {("queued", "number"): 1, ("done", "number"): 1, ("queued", "total"): 1, ("done", "total"): 1}


def test_an_input_or_output_error_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts.random, "uniform", lambda low, high: 0.0)
    node = call(flaky, marker=str(world.folder / "a"), failures=attempts.RETRIES)
    finished = world.run(x=node)
    assert finished.value(node) == attempts.RETRIES + 1 and finished.retries == attempts.RETRIES and finished.exit_code == 0
    record = finished.record(node)
    assert record is not None and record.attempts == attempts.RETRIES + 1


def test_and_not_for_ever(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts.random, "uniform", lambda low, high: 0.0)
    node = call(flaky, marker=str(world.folder / "a"), failures=99)
    finished = world.run(x=node)
    assert finished.exit_code == 4 and (world.folder / "a").read_text() == "x" * (attempts.RETRIES + 1)


@pytest.mark.parametrize(("kind", "name", "code"), [("value", "ValueError", 2), ("diverged", "Diverged", 2)])
def test_a_mistake_is_not_tried_again_and_is_written_down(kind: str, name: str, code: int, world: World) -> None:
    node = call(unlucky, index=1, bad=1, kind=kind)
    finished = world.run(x=call(add, terms=[node]), y=call(number, value=5))
    key = finished.fingerprints.key(node)
    assert finished.state[key] == "failed" and finished.value(finished.plan.targets["y"]) == 5
    assert finished.state[finished.fingerprints.key(finished.plan.targets["x"])] == "blocked"
    assert finished.exit_code == code
    failure = world.store.failure(key)
    assert failure is not None and failure["kind"] == name and "unlucky" in failure["traceback"] and "\n" not in failure["error"]
    assert finished.retries == 0


def test_one_bad_trial_does_not_lose_the_others(world: World) -> None:
    trials = sweep(unlucky, over=grid({"index": [0, 1, 2, 3]}), bad=2)
    right = sweep(number, over=grid({"value": [10, 11, 12, 13]}))
    both, sums = call(paired, left=trials, right=right, at_least=2), call(add, terms=trials, at_least=3)
    mapping = call(named, models={f"m{i}": trial for i, trial in enumerate(trials)}, at_least=2)
    finished = world.run(both=both, sum=sums, mapping=mapping)
    assert finished.value(both) == [[0, 10], [1, 11], [3, 13]] and finished.value(sums) == 4
    assert finished.value(mapping) == {"m0": 0, "m1": 1, "m3": 3}
    record = finished.record(both)
    assert record is not None and record.members == (0, 1, 3)
    assert finished.complete and finished.exit_code == 3
    assert world.run(sum=call(add, terms=[*trials, right[0]])).exit_code == 2  # all or nothing


def test_a_killed_worker_is_replaced(world: World) -> None:
    node = call(dies_once, marker=str(world.folder / "marker"), value=7)
    finished = world.run(x=node, y=call(number, value=1))
    assert finished.value(node) == 7 and finished.exit_code == 0 and finished.retries == 1
    assert ("retry", "dies_once") in world.told


def test_a_worker_that_is_always_killed_is_given_up(world: World) -> None:
    node = call(unlucky, index=0, bad=0, kind="killed")
    finished = world.run(x=node, y=call(number, value=1))
    assert finished.exit_code == 4 and finished.value(finished.plan.targets["y"]) == 1
    assert [event for event, title in world.told if title == "unlucky"].count("retry") == attempts.CRASHES
    assert "ended with -9" in finished.failures[finished.fingerprints.key(node)].error


def test_a_killed_worker_goes_on_from_its_state(world: World) -> None:
    node = call(dies_at, step=5, to=9, marker=str(world.folder / "marker"))
    finished = world.run(x=node)
    assert finished.value(node) == [i * 0.1 for i in range(9)]
    assert [event["step"] for event in world.journal("restored")] == [6]
    assert [event["step"] for event in world.journal("metric")] == list(range(9))  # no step twice
    assert world.store.place.names(f"{finished.fingerprints.key(node)}/state") == []  # the record alone remains


@contextmanager
def interrupted(after: Path) -> Iterator[None]:
    """Ctrl-C, once a file below a folder is there."""

    def wait() -> None:
        while not any(after.glob("count-*/state/*.json")):
            time.sleep(0.01)
        _thread.interrupt_main(signal.SIGINT)

    thread = threading.Thread(target=wait)
    thread.start()
    yield
    thread.join()


def test_ctrl_c_keeps_the_state_and_the_same_command_goes_on(world: World) -> None:
    world.every = 0.0
    node = call(count, to=60, pause=0.05)
    with pytest.raises(KeyboardInterrupt), interrupted(world.folder / "store"):
        world.run(x=node, y=call(count, to=61, pause=0.05))
    stopped = max(event["step"] for event in world.journal("state"))
    assert 0 < stopped < 60
    assert not list((world.folder / "store").glob("count-*/record.json"))

    finished = world.run(x=node)
    assert finished.value(node) == [float(i) for i in range(60)]
    assert [event["step"] for event in world.journal("restored")] == [stopped]
    assert [event["step"] for event in world.journal("metric")] == list(range(stopped, 60))


def test_a_full_disk_loses_nothing_that_was_finished(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts.random, "uniform", lambda low, high: 0.0)
    small, large = call(number, value=1), call(big, size=3_000_000)
    assert world.run(x=small).exit_code == 0
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        finished = world.run(x=small, y=large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert finished.exit_code == 4 and finished.value(small) == 1
    assert "File too large" in finished.failures[finished.fingerprints.key(large)].error
    assert not world.store.has(finished.fingerprints.key(large))
    assert world.run(x=small, y=large).exit_code == 0


def test_a_record_of_another_version_stops_the_run(world: World) -> None:
    node = call(number, value=1)
    key = world.run(x=node).fingerprints.key(node)
    path = Path(world.store.place.at(f"{key}/record.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    finished = world.run(x=call(add, terms=[node]))
    assert finished.exit_code == 5 and "has format 99" in finished.failures[next(iter(finished.failures))].error


def test_what_another_driver_computes_is_waited_for_and_picked_up(world: World) -> None:
    node = call(number, value=1)
    first, second = World(world.folder), World(world.folder)
    second.runs = 10
    slow = call(count, to=10, pause=0.3)  # on a busy machine too, the second driver arrives while it goes on
    thread = threading.Thread(target=first.run, kwargs={"x": slow, "y": node})
    thread.start()
    while not list((world.folder / "store").glob("count-*/lease/*")):
        time.sleep(0.01)
    finished = second.run(x=slow, y=node)
    thread.join()
    assert finished.exit_code == 0
    queued = Counter(title for event, title in first.told + second.told if event == "queued")
    assert queued == {"count": 1, "number": 1}
    assert [event for event, _ in second.told if event != "waiting"] == ["attached", "done", "done"]


def test_what_others_took_over_while_the_store_was_away_is_theirs(world: World) -> None:
    node, other = call(count, to=10, pause=0.2), Driver(world.store.place)
    other.start()
    lost: list[str] = []

    def watch(event: str, node: Node | None, **facts: Any) -> None:
        world.watch(event, node, **facts)
        if event == "tick" and runner.flying and not lost:
            lost.extend(runner.flying)
            assert world.store.place.create(f"{lost[0]}/lease/1", json.dumps({"driver": other.name}).encode())
            runner._reclaim()

    runner = Runner(world.store, Local(), Site(world.store.url, str(world.folder / "run"), str(world.folder / "cache")), {}, watch)
    finished = runner.run(Plan({"x": node}))
    other.stop()
    assert finished.exit_code == 0 and finished.value(node) == [float(i) for i in range(10)]  # the first record wins, whoever wrote it
    assert [event for event, _ in world.told if event != "waiting"] == ["queued", "done"] and ("waiting", "count") in world.told


def test_the_lease_of_a_driver_that_ended_is_free(world: World) -> None:
    node = call(unlucky, index=1, bad=1, kind="value")
    assert world.run(x=node).exit_code == 2
    assert world.run(x=node).exit_code == 2  # tried again by the next command, at once


def test_what_a_run_will_not_finish_is_let_go_of_at_once(world: World) -> None:
    """Else two runs would wait for each other for ever, each for what the other one failed at."""
    node, other, free = call(unlucky, index=1, bad=1, kind="value"), Driver(world.store.place), list[dict[str, str]]()
    other.start()

    def watch(event: str, node: Node | None, **facts: Any) -> None:
        if event in ("failed", "blocked"):
            free.append(other.acquire([runner.fingerprints.key(node)]))

    runner = Runner(world.store, Local(), Site(world.store.url, str(world.folder / "run"), str(world.folder / "cache")), {}, watch)
    runner.run(Plan({"x": call(add, terms=[node]), "y": call(number, value=5)}))
    other.stop()
    assert [list(found.values()) for found in free] == [[""], [""]]


def test_an_accelerator_is_a_wish_where_there_is_none(world: World) -> None:
    node = call(number, on=GPU, value=3)
    assert world.run(x=node).value(node) == 3


def test_a_backend_that_cannot_start_says_why_and_where_its_log_is(world: World) -> None:
    backend = Cluster(log=str(world.folder / "log"))
    backend.serve = broken
    with pytest.raises(BackendLost) as caught:
        world.run(backend, x=call(number, value=1))
    assert caught.value.exit_code == 4 and "\n" not in str(caught.value)
    assert "OSError: the port is taken" in str(caught.value) and str(world.folder / "log") in str(caught.value)
    assert "Traceback" in (world.folder / "log").read_text()


def broken(pipe: Any, options: dict[str, Any]) -> None:
    raise OSError("the port is taken")


def test_a_result_without_a_member_is_another_result_and_what_failed_in_passing_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts.random, "uniform", lambda low, high: 0.0)

    def plan() -> Node:
        members = [call(number, value=1), call(flaky, marker=str(world.folder / "a"), failures=attempts.RETRIES + 1), call(number, value=2)]
        return call(add, terms=[call(add, terms=members, at_least=2), call(number, value=10)], label="above")

    first, second = plan(), plan()
    finished = world.run(x=first)
    assert finished.exit_code == 3 and finished.value(first) == 13
    finished = world.run(x=second)
    assert finished.exit_code == 0 and finished.value(second) == 13 + attempts.RETRIES + 2  # the whole call, and what is downstream of it


def test_a_member_that_diverged_stays_out_and_nothing_is_computed_again(world: World) -> None:
    def plan() -> Node:
        return call(add, terms=[call(add, terms=[call(unlucky, index=i, bad=1) for i in range(3)], at_least=2)])

    first, second = plan(), plan()
    assert world.run(x=first).exit_code == 3
    again = world.run(Refuses(), x=second)  # no backend is started
    assert again.exit_code == 3 and again.value(second) == 2 and again.complete


def test_a_model_that_a_trial_starts_from_is_told_by_its_title(world: World) -> None:
    """Not by all of what it is made of."""
    (trial,) = sweep(tensor, over=[{"n": call(number, value=3, label="three"), "pause": 0.0}])
    assert world.run(trial=trial).exit_code == 0
    told = [event["params"] for event in world.journal("node")]
    assert told and all(params == {"n": "three", "pause": 0.0} for params in told)
