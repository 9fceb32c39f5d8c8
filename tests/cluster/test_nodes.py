"""Nodes are lost and taken back while sweeps and searches run on them: what they had finished stands, and the rest goes on elsewhere."""

from __future__ import annotations

import itertools
import os
import random
import re
import signal
import time
from collections import Counter
from typing import Any

import pytest

from tests.cluster.nodes import Node
from tests.cluster.toys import expected
from tests.cluster.world import SOUP, World
from tests.infra.processes import await_end, descendants, parents

pytestmark = [pytest.mark.cluster, pytest.mark.s3, pytest.mark.chaos]


def states(world: World, store: str) -> dict[tuple[str, int], int]:
    """{(key of a half-trained node, process): the newest step of it that is in the bucket}."""
    found: dict[tuple[str, int], int] = {}
    for name in world.keys(store, ".json"):
        if state := re.fullmatch(rf"{store}/([^/]+)/state/(\d+)-.+\.(\d+)\.\w+\.json", name):
            which = state[1], int(state[3])
            found[which] = max(found.get(which, 0), int(state[2]))
    return found


def told(world: World, name: str) -> list[tuple[int, int]]:
    """(step, pid) of what a toy told, in order."""
    path = world.folder / "told" / name
    return [(int(line.split()[0]), int(line.split()[1])) for line in path.read_text().splitlines()] if path.exists() else []


def where(world: World, pid: int) -> Node:
    """The node of a process."""
    (node,) = [node for node in world.nodes.nodes if pid in descendants(node.pid)]
    return node


@pytest.fixture(autouse=True)
def silence(place: World) -> None:
    for path in (place.folder / "told").iterdir():
        path.unlink()


def test_a_lost_node_costs_an_interval_and_the_soup_is_that_of_an_undisturbed_run(place: World) -> None:
    words, chance = (*SOUP, "--trials", "3", "--task.steps", "150", "--checkpoint_every", "1.0"), random.Random(0)
    place.finish("quiet", words, ray="none")
    with place.command("lost", words) as process:
        place.until(process, "lost", lambda: any(key.startswith("train-") for key, _ in states(place, "lost")))
        begun = {which: step for which, step in states(place, "lost").items() if which[0].startswith("train-")}
        victim, pid = chance.choice(sorted(begun))
        place.nodes.kill(where(place, pid))
        family = descendants(process.pid)
        place.ended(process, "lost")
    await_end(family)
    print(f"all resources of the two nodes that are left were free {place.nodes.await_rest(60):.1f} s after the command's end")
    assert place.digests("lost") == place.digests("quiet")
    journal = place.journal("lost")
    restored = {event["fingerprint"]: event["step"] for event in journal if event["kind"] == "restored"}
    fingerprint = victim.removeprefix("train-")
    assert restored.keys() == {fingerprint} and restored[fingerprint] >= begun[victim, pid]
    tries = Counter(event["key"] for event in journal if event["kind"] == "running" and event["key"].startswith("train-"))
    assert len(tries) == 3 and tries == {key: 1 + (key == victim) for key in tries}
    own = place.folder / "lost" / "STOCKPOT_CACHE"  # the command's own, which no node has
    assert not list(own.glob("*")) and all(list((node.folder / "cache").glob("data-*")) for node in place.nodes.nodes)


def test_a_trial_may_lose_more_nodes_than_it_may_crash(place: World) -> None:
    """Each time it has come further, and its node is gone; it goes on from what the bucket has, which lacks at most the state that was on its way."""
    losses, seconds = 7, list[float]()

    def kept() -> int:
        """The process that works, once the bucket has a state of it."""
        return pid if (pid := running(place)) in {pid for _, pid in states(place, "often")} else 0

    with place.toys("often", 0.5, trials=2, to=250, pause=0.1) as process:
        for _ in range(losses):
            pid = place.until(process, "often", kept)
            place.nodes.kill(where(place, pid))
            gone = time.monotonic()
            place.nodes.add()
            place.until(process, "often", lambda pid=pid: running(place) not in (0, pid))  # type: ignore[misc]
            seconds.append(round(time.monotonic() - gone, 1))
        place.ended(process, "often")
    print("seconds from the end of a node to the trial's next step elsewhere", seconds)
    values = sorted((record.result["value"] for record in place.records("often").values()), key=lambda value: value[0])
    assert values == [expected(0, 250), expected(1, 250)]
    lost = resumed(told(place, "step-0"))
    assert len(lost) == losses
    states_at = [step for step, _ in told(place, "state-0")]
    print("steps lost with each node", [reached - again for reached, again in lost])
    for reached, again in lost:
        assert sum(again < step <= reached for step in states_at) <= 1, (reached, again, states_at)


def running(world: World, name: str = "step-0") -> int:
    """The process that works on a toy, or 0 where none does: what is left in /proc of one that was killed does not work."""
    pid = told(world, name)[-1][1] if told(world, name) else 0
    return pid if pid in parents() else 0


def resumed(steps: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """(step that was reached, step that it went on from) for each time that another process went on."""
    return [(before, after - 1) for (before, left), (after, came) in itertools.pairwise(steps) if left != came]


def test_a_search_goes_on_when_a_node_is_lost(place: World) -> None:
    with place.toys("search", 0.5, searched=6, to=12, pause=0.3) as process:
        paths = place.folder / "told"
        place.until(process, "search", lambda: sum(len(told(place, path.name)) for path in paths.iterdir()) > 12)
        place.nodes.kill(where(place, next(pid for path in sorted(paths.iterdir()) if (pid := running(place, path.name)))))
        place.ended(process, "search")
    place.nodes.await_rest(60)
    (record,) = [record for record in place.records("search").values() if record.function.endswith("search")]
    trials = record.result["value"]
    assert len(trials) == 6 and {trial["state"] for trial in trials} <= {"done", "stopped"}
    records = place.records("search")
    for trial in trials:
        assert records[trial["key"]].result["value"] == [trial["point"]["slope"] * (step + 1) for step in range(trial["step"])]


def test_a_worker_that_is_told_to_leave_saves_its_step_and_another_goes_on_there(place: World) -> None:
    """States are due every minute, so that only the one on leaving can explain it."""
    with place.toys("leave", 60, trials=2, to=80, pause=0.1) as process:
        place.until(process, "leave", lambda: len(told(place, "step-0")) > 10)
        os.kill(running(place), signal.SIGTERM)
        place.ended(process, "leave")
    assert [reached - again for reached, again in resumed(told(place, "step-0"))] == [0]
    assert sorted(record.result["value"][-1] for record in place.records("leave").values()) == sorted(expected(i, 80)[-1] for i in (0, 1))
    assert resumed(told(place, "step-1")) == []


def test_a_node_that_is_taken_back_is_left_in_time(place: World) -> None:
    """Ray is told thirty seconds ahead, as a spot machine is; then the machine is gone."""
    with place.toys("drained", 60, trials=2, to=150, pause=0.1) as process:
        place.until(process, "drained", lambda: len(told(place, "step-0")) > 10)
        pid = running(place)
        node = where(place, pid)
        place.nodes.drain(node, 30)
        place.until(process, "drained", lambda: told(place, "step-0")[-1][1] != pid)
        place.nodes.kill(node)
        place.ended(process, "drained")
    assert [reached - again for reached, again in resumed(told(place, "step-0"))] == [0]
    assert sorted(record.result["value"][-1] for record in place.records("drained").values()) == sorted(expected(i, 150)[-1] for i in (0, 1))


def test_two_runs_on_one_cluster_know_nothing_of_each_other(place: World) -> None:
    """The same trials in two stores at once, one of whose drivers is killed."""
    with place.toys("here", 60, trials=2, to=150, pause=0.1) as here, place.toys("there", 60, trials=2, to=150, pause=0.1) as there:
        for run, store in ((here, "here"), (there, "there")):
            place.until(run, store, lambda store=store: bool(journal_of(place, store, "running")))  # type: ignore[misc]
        family = descendants(here.pid)
        here.kill()
        place.ended(there, "there")
    await_end(family)
    place.nodes.await_rest(60)
    assert [len(place.records(store)) for store in ("here", "there")] == [0, 2]
    assert Counter(event["key"] for event in journal_of(place, "there", "running")) == dict.fromkeys(place.records("there"), 1)


def journal_of(world: World, store: str, kind: str) -> list[Any]:
    return [event for event in world.journal(store) if event["kind"] == kind]
