"""Several drivers on one bucket, and a store that loses and spoils objects: every node is computed once, or again with the same digest."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from infra import settings
from infra.dag import call
from infra.errors import StoreError
from infra.store import Store
from tests.infra.toys import add, count, number, summed, tensor, weigh
from tests.infra.world import Refuses, World
from tests.s3.models import CONFIG, MODEL, Bucket
from tests.s3.proxy import Fault, Plan, Proxy, clear, proxied
from tests.s3.seaweed import Server
from tests.s3.test_place import forget

pytestmark = pytest.mark.s3

ROOT = Path(__file__).parents[2]
COUNT = 6
Told = list[list[Any]]


class Command:
    """A driver in a process of its own."""

    def __init__(self, bucket: Bucket, folder: Path, name: str, target: str, seconds: float) -> None:
        (folder / name).mkdir()
        words = [sys.executable, "-m", "tests.s3.study", bucket.url("store"), str(folder / name), target, str(COUNT), str(seconds)]
        self.process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.told: Told = []

    def __iter__(self) -> Iterator[list[Any]]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.told.append(json.loads(line))
            yield self.told[-1]

    def until(self, wanted: Callable[[list[Any]], bool]) -> None:
        assert any(wanted(line) for line in self), self.told

    def end(self) -> Any:
        """The value that it told last."""
        for _ in self:
            pass
        assert self.process.wait(60) == 0, self.told
        return self.told[-1][-1]

    def titles(self, event: str) -> list[str]:
        return [title for kind, title, _ in self.told if kind == event]


@pytest.fixture
def commands(bucket: Bucket, tmp_path: Path) -> Iterator[Callable[..., Command]]:
    begun: list[Command] = []

    def begin(name: str, target: str = "sum", seconds: float = 1.0) -> Command:
        begun.append(Command(bucket, tmp_path, name, target, seconds))
        return begun[-1]

    yield begin
    for command in begun:
        if command.process.poll() is None:
            command.process.kill()
        command.process.communicate()


def attempts(bucket: Bucket) -> Counter[int]:
    """How often the nodes of a store were tried, by their records."""
    store = Store(bucket.url("store"))
    return Counter(store.finished(key).attempts for key in store.keys())  # noqa: SIM118


def test_drivers_that_share_nodes_compute_each_once(bucket: Bucket, commands: Callable[..., Command]) -> None:
    first, second = commands("one", "sum"), commands("two", "total")
    assert (first.end(), second.end()) == (15 + 3, 15 + 5)
    queued = Counter(first.titles("queued") + second.titles("queued"))
    assert queued == {**{f"slow {i}": 1 for i in range(COUNT)}, "slowly": 2, "sum": 1, "total": 1}
    assert attempts(bucket) == {1: COUNT + 4} and first.titles("attached") == second.titles("attached") == []


def test_the_same_study_twice_attaches_and_takes_over_when_the_first_is_killed(bucket: Bucket, commands: Callable[..., Command]) -> None:
    first = commands("one", seconds=2.0)
    first.until(lambda line: line[0] == "queued")  # the second one has time to start, on a busy machine too
    second = commands("two", seconds=2.0)
    second.until(lambda line: line[0] == "attached")
    assert f"process {first.process.pid}, run sum-one since " in second.told[-1][-1]
    second.until(lambda line: line[0] == "done")  # it picks up what the first one finished
    first.process.send_signal(signal.SIGKILL)
    assert second.end() == 18
    for _ in first:
        pass
    picked = set(second.titles("done")) - set(second.titles("queued"))
    assert picked and picked <= set(first.titles("queued"))
    assert not set(first.titles("done")) & set(second.titles("queued"))  # nothing that was finished is computed again
    assert commands("three", seconds=2.0).end() == 18


def test_the_same_study_twice_ends_with_the_same(bucket: Bucket, commands: Callable[..., Command]) -> None:
    first = commands("one")
    first.until(lambda line: line[0] == "queued")
    second = commands("two")
    assert first.end() == second.end() == 18
    assert second.titles("queued") == [] and len(second.titles("done")) == COUNT + 2
    assert attempts(bucket) == {1: COUNT + 2}


def gone(bucket: Bucket, key: str) -> None:
    bucket.client.delete_object(Bucket=bucket.name, Key=key)


def changed(bucket: Bucket, key: str) -> None:
    content = bucket.content(key)
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize(("spoil", "name"), [(gone, MODEL), (gone, CONFIG), (changed, MODEL), (changed, CONFIG)])
def test_what_the_store_lost_or_spoiled_is_computed_again(bucket: Bucket, tmp_path: Path, spoil: Callable[[Bucket, str], None], name: str) -> None:
    world, node = World(tmp_path, bucket.url("store")), call(tensor, n=1 << 20)
    record = world.run(x=node).record(node)
    spoil(bucket, f"store/{record.key}/attempts/{record.result['attempt']}/{name}")
    again = World(tmp_path, bucket.url("store"))
    again.runs = 1
    finished = again.run(sum=call(weigh, things=[node]))
    assert finished.exit_code == 0 and finished.value(finished.plan.targets["sum"]) == 1 << 20
    assert finished.record(node).digest == record.digest and finished.record(node).result["attempt"] != record.result["attempt"]
    assert ("damaged", "tensor") in again.told and f"store/{record.key}/retired/0.json" in bucket.names()


@pytest.mark.parametrize(("times", "code"), [(1, 0), (2, 5)])
def test_what_comes_back_unlike_what_was_sent_is_written_again_once(times: int, code: int, bucket: Bucket, server: Server, tmp_path: Path) -> None:
    """The store spoils an object before it is read for the first time."""
    spoiled: list[str] = []

    def plan(method: str, path: str, query: Any, headers: Any) -> Fault | None:
        key = path.lstrip("/").partition("/")[2]
        if method == "HEAD" and key.endswith(MODEL) and "/attempts/" in key and key not in spoiled and len(spoiled) < times and key in bucket.names():
            changed(bucket, key)
            spoiled.append(key)
        return None

    with through(server, plan):
        node = call(tensor, n=1 << 20)
        finished = World(tmp_path, bucket.url("store")).run(x=node)
    assert finished.exit_code == code and len(spoiled) == times
    if code:
        (failure,) = finished.failures.values()
        assert MODEL in failure.error and "other bytes than were recorded" in failure.error and not finished.record(node)
    else:
        assert finished.record(node).result["attempt"] not in spoiled[0]


def test_an_input_that_came_spoiled_by_the_way_is_read_again(bucket: Bucket, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of an object comes without a checksum: here the header of weights, once."""
    monkeypatch.setattr("infra.attempts.random.uniform", lambda low, high: 0.0)
    node, met = call(tensor, n=1 << 20), list[str]()
    record = World(tmp_path, bucket.url("store")).run(x=node).record(node)

    def plan(method: str, path: str, query: Any, headers: Any) -> Fault | None:
        if met or method != "GET" or "Range" not in headers or not path.endswith(MODEL):
            return None
        met.append(path)
        return Fault("down", part=0.0)

    with through(server, plan):
        again = World(tmp_path, bucket.url("store"))
        again.runs = 1
        finished = again.run(sum=call(weigh, things=[node]))
    assert finished.exit_code == 0 and met and finished.value(finished.plan.targets["sum"]) == 1 << 20
    assert finished.record(node) == record and "damaged" not in dict(again.told)


@contextmanager
def through(server: Server, plan: Plan = clear, patience: str = "120") -> Iterator[Proxy]:
    """This process and its children reach the store by a proxy only."""
    with proxied(server.port, plan) as proxy, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", proxy.url)
        patch.setenv("STOCKPOT_PATIENCE", patience)
        settings.configure()
        forget()
        yield proxy
    settings.configure()
    forget()


def test_a_finished_plan_costs_few_requests(bucket: Bucket, server: Server, tmp_path: Path) -> None:
    nodes = {f"n{i}": call(tensor, n=10 + i) for i in range(3)}
    World(tmp_path, bucket.url("store")).run(**nodes)
    with through(server) as proxy:
        assert World(tmp_path, bucket.url("store")).run(Refuses(), **nodes).exit_code == 0
        assert proxy.requests == {"GET": 1 + 3, "HEAD": 3 * 3}  # store.json, the records, and the sizes of three files each


def test_when_the_store_stays_away_trainings_keep_their_state_and_the_same_command_goes_on(bucket: Bucket, server: Server, tmp_path: Path) -> None:
    node, later = call(count, to=300, pause=0.1), call(number, value=1)
    top = call(add, terms=[call(summed, values=node), later])
    with through(server, patience="2") as proxy:
        world = World(tmp_path, bucket.url("store"))
        world.every = 0.5

        def leave() -> None:
            while not any("/state/" in key for key in bucket.names()):
                time.sleep(0.1)
            proxy.refuse()

        thread = threading.Thread(target=leave)
        thread.start()
        with pytest.raises(StoreError, match="run the same command"):
            world.run(top=top)
        thread.join()
        assert not [event for event, _ in world.told if event == "failed"]
        proxy.listen()
        again = World(tmp_path, bucket.url("store"))
        again.runs, again.every = 1, 0.5
        assert again.run(top=top).exit_code == 0
    told = b"".join(bucket.content(key) for key in bucket.names() if key.startswith("store/runs/2/"))
    assert b'"restored"' in told
