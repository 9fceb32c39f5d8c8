"""Leases: one holder at a time, dead processes are taken over at once, silent ones by patience."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.store import lease
from infra.store.lease import Driver
from infra.store.place import Place
from tests.infra.store.races import acquire, alone, race


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(str(tmp_path))


@pytest.fixture
def drivers(place: Place) -> Iterator[list[Driver]]:
    pair = [Driver(place), Driver(place)]
    for driver in pair:
        driver.start()
    yield pair
    for driver in pair:
        driver.stop()


def test_a_lease_has_one_holder_who_keeps_it(drivers: list[Driver]) -> None:
    first, second = drivers
    assert first.acquire(["add-1"])["add-1"] == ""
    assert socket.gethostname() in second.acquire(["add-1"])["add-1"]
    assert first.acquire(["add-1"])["add-1"] == ""
    assert second.acquire(["add-2"])["add-2"] == ""


def test_who_ends_lets_go_at_once(place: Place) -> None:
    first, second = Driver(place), Driver(place)
    first.start()
    second.start()
    assert first.acquire(["add-1"])["add-1"] == ""
    first.stop()
    assert second.acquire(["add-1"])["add-1"] == ""
    second.stop()


def test_a_dead_process_is_taken_over_at_once(place: Place, drivers: list[Driver]) -> None:
    assert alone(acquire, place.url) == 0  # a process that held the lease, and is no more
    assert place.names("add-1/lease") == ["0"]
    assert drivers[0].acquire(["add-1"])["add-1"] == ""
    assert drivers[1].acquire(["add-1"])["add-1"] != ""


def test_of_processes_that_race_one_holds_the_lease(place: Place) -> None:
    assert len(race(acquire, place.url, 8)) >= 1  # who ends makes room: each generation has one holder
    holders = [json.loads(place.read(f"add-1/lease/{name}") or b"")["driver"] for name in place.names("add-1/lease")]
    assert len(holders) == len(set(holders))


def silent(place: Place, name: str) -> None:
    """A driver of another host, whose process nobody here can see."""
    place.write(f"drivers/{name}.json", json.dumps({"host": "elsewhere", "pid": 1, "process": "x/1/1", "beat": 1, "ended": False}).encode())
    place.create("add-1/lease/0", json.dumps({"driver": name}).encode())


def test_a_silent_driver_is_taken_over_by_patience_alone(place: Place, drivers: list[Driver], monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr(lease.time, "monotonic", lambda: now)
    silent(place, "far")
    assert drivers[0].acquire(["add-1"])["add-1"] == "elsewhere, process 1"
    for passed in (lease.PATIENCE / 2 - 1, lease.PATIENCE / 2 - 1, 3.0):
        assert drivers[0].acquire(["add-1"])["add-1"] != ""
        now += passed
        drivers[0]._write(ended=False)
    assert drivers[0].acquire(["add-1"])["add-1"] == ""


def test_a_namesake_of_this_host_is_another_machine(place: Place, drivers: list[Driver]) -> None:
    """As a container is that shares the host's name: its processes have other numbers."""
    for number, identity in enumerate((lease.process_identity(os.getpid()).replace("/", "0/", 1), "other/4026531836/1/1", "", "1/1")):
        beat = {"host": socket.gethostname(), "pid": 1, "process": identity, "beat": 1, "ended": False}
        place.write(f"drivers/{number}.json", json.dumps(beat).encode())
        place.create(f"add-{number}/lease/0", json.dumps({"driver": str(number)}).encode())
        assert drivers[0].acquire([f"add-{number}"])[f"add-{number}"] != ""


def test_who_could_not_write_does_not_take_others_for_dead(place: Place, drivers: list[Driver], monkeypatch: pytest.MonkeyPatch) -> None:
    """The store was away for all: the others' heartbeats are as old as one's own."""
    now = time.monotonic()
    monkeypatch.setattr(lease.time, "monotonic", lambda: now)
    silent(place, "far")
    assert drivers[0].acquire(["add-1"])["add-1"] != ""
    now += lease.PATIENCE + 1
    assert drivers[0].acquire(["add-1"])["add-1"] != ""
    drivers[0]._write(ended=False)
    assert drivers[0].acquire(["add-1"])["add-1"] != ""
    for passed in (lease.PATIENCE / 2 - 1, lease.PATIENCE / 2 - 1, 3.0):
        assert drivers[0].acquire(["add-1"])["add-1"] != ""
        now += passed
        drivers[0]._write(ended=False)
    assert drivers[0].acquire(["add-1"])["add-1"] == ""


def test_what_is_let_go_of_is_anybodys(drivers: list[Driver]) -> None:
    first, second = drivers
    first.acquire(["add-1", "add-2"])
    first.release(["add-1", "add-1", "add-3"])
    found = second.acquire(["add-1", "add-2", "add-3"])
    assert [key for key, holder in found.items() if holder] == ["add-2"]
    assert first.acquire(["add-1"])["add-1"] != ""
    first.release(["add-1"])  # not its own any more
    assert first.acquire(["add-1"])["add-1"] != ""


def test_a_heartbeat_renews_the_patience(place: Place, drivers: list[Driver], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(lease.time, "monotonic", lambda: now)
    silent(place, "far")
    for beat in range(2, 6):
        assert drivers[0].acquire(["add-1"])["add-1"] != ""
        now += lease.PATIENCE - 1
        place.write("drivers/far.json", json.dumps({"host": "elsewhere", "pid": 1, "process": "x/1/1", "beat": beat, "ended": False}).encode())
    assert drivers[0].acquire(["add-1"])["add-1"] != ""


def test_a_holder_without_a_heartbeat_is_none(place: Place, drivers: list[Driver]) -> None:
    place.create("add-1/lease/0", json.dumps({"driver": "never started"}).encode())
    assert drivers[0].acquire(["add-1"])["add-1"] == ""


def test_drivers_beat(place: Place) -> None:
    driver = Driver(place, beat=0.01)
    driver.start()
    deadline = time.monotonic() + 30
    while json.loads(place.read(f"drivers/{driver.name}.json") or b"")["beat"] < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert json.loads(place.read(f"drivers/{driver.name}.json") or b"")["beat"] >= 3
    driver.stop()
    assert json.loads(place.read(f"drivers/{driver.name}.json") or b"")["ended"]


def test_no_listing_is_asked_and_many_keys_are_taken_at_once(tmp_path: Path) -> None:
    class Blind(Place):
        def names(self, folder: str = "") -> list[str]:
            raise AssertionError("a listing may be behind")

    first, second = Driver(Blind(str(tmp_path)), run="r1"), Driver(Blind(str(tmp_path)))
    first.start()
    second.start()
    keys = [f"add-{i}" for i in range(5)]
    assert first.acquire(keys[:3]) == dict.fromkeys(keys[:3], "")
    held = second.acquire(keys)
    assert [bool(held[key]) for key in keys] == [True] * 3 + [False] * 2
    assert f"process {os.getpid()}, run r1 since 20" in held["add-0"]
    first.stop()
    assert set(second.acquire(keys).values()) == {""}
    assert first.holders(keys) == dict.fromkeys(keys, second.name)  # who comes back learns that it was taken over
    second.stop()


def test_a_driver_whose_heartbeats_fail_knows_that_others_may_take_it_for_dead(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    driver = Driver(place)
    driver.start()
    monkeypatch.setattr(lease.time, "monotonic", lambda: now)
    driver._write(ended=False)
    now += lease.PATIENCE - lease.BEAT - 1
    assert not driver.lapsed
    now += 2
    assert driver.lapsed
    driver._write(ended=False)
    assert not driver.lapsed
    driver.stop()


def test_only_the_same_plan_is_attached_to(place: Place) -> None:
    one, same, other = Driver(place, plan="p"), Driver(place, plan="p"), Driver(place, plan="q")
    for driver in (one, same, other):
        driver.start()
    one.acquire(["add-1"])
    assert same.acquire(["add-1"])["add-1"] and same.same_plan("add-1")
    assert other.acquire(["add-1"])["add-1"] and not other.same_plan("add-1")
    for driver in (one, same, other):
        driver.stop()
