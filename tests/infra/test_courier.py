"""Couriers: what a worker says reaches the driver's folder whole and in order, through a store that may be away or forget."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from infra import courier as module
from infra.courier import Courier, courier, here, tell_to_stop, told_to_stop
from infra.store.place import Place
from infra.tracking import segments
from infra.tracking.journal import Journal, events, read
from infra.tracking.segments import Arrivals, Segments


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The folder of a run in a store that is not on this disk."""
    monkeypatch.setenv("STOCKPOT_STATE", str(tmp_path / "state"))
    name = f"memory://{uuid.uuid4().hex}/runs/1"
    yield name
    fsspec.filesystem("memory").store.clear()


def line(number: int, size: int = 0) -> bytes:
    return json.dumps({"kind": "metric", "at": float(number), "step": number, "more": "x" * size}).encode() + b"\n"


def steps(folder: Path) -> list[int]:
    return [event["step"] for event in events(folder)]


def test_what_a_worker_writes_is_in_the_drivers_folder(url: str, tmp_path: Path) -> None:
    worker = Journal(url, "worker")
    for step in range(5):
        worker.write("metric", step=step)
    worker.close()
    Arrivals(Place(url), tmp_path).fetch()
    assert steps(tmp_path) == list(range(5))


def test_the_driver_has_its_own_lines_at_once_and_the_workers_at_the_latest_when_it_finishes(url: str, tmp_path: Path) -> None:
    courier(url).attend(str(tmp_path))
    own = Journal(url, "driver")
    own.write("run", step=0)
    assert steps(tmp_path) == [0]
    other = Segments(Place(url))
    other.add("worker-other", line(1 << 40))
    other.send()
    own.write("end", step=2)
    own.close()
    courier(url).finish()
    assert steps(tmp_path) == [0, 2, 1 << 40]
    elsewhere = tmp_path / "elsewhere"  # another machine has nothing but what is in the store
    Arrivals(Place(url), elsewhere).fetch()
    assert steps(elsewhere) == steps(tmp_path)


def test_segments_are_few_and_are_read_while_they_grow(url: str, tmp_path: Path) -> None:
    place, seen = Place(url), list[int]()
    sender, arrivals, since = Segments(place), Arrivals(place, tmp_path), dict[str, int]()
    for step in range(300):
        sender.add("w", line(step, 1000))
        sender.send()
        if step % 7 == 0 or step == 299:
            arrivals.fetch()
            for found in read(tmp_path, since):
                seen.append(found.event["step"])
                since[found.writer] = found.end
    assert seen == list(range(300))
    assert len(place.names("journal")) <= 300 * len(line(0, 1000)) // segments.FULL + 1


def test_a_store_that_was_away_gets_every_line_once_it_is_back(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(url)
    sender = Segments(place)
    with monkeypatch.context() as away:
        away.setattr(place, "write", lambda name, data: (_ for _ in ()).throw(OSError("away")))
        for step in range(3):
            sender.add("w", line(step))
            with pytest.raises(OSError, match="away"):
                sender.send()
    sender.add("w", line(3))
    assert sender.send() and not sender.send()
    Arrivals(place, tmp_path).fetch()
    assert steps(tmp_path) == [0, 1, 2, 3]


def test_a_store_that_stays_away_costs_lines_and_no_memory(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "MOST", 1000)
    sender = Segments(Place(url))
    for step in range(100):
        sender.add("w", line(step))
    assert 0 < sender.lost < 100 and sender.send()
    kept = json.loads(b"[" + b",".join(Place(url).read("journal/w.0.jsonl").splitlines()) + b"]")  # type: ignore[union-attr]
    assert [event["step"] for event in kept] == list(range(100 - sender.lost))


def test_a_missing_segment_costs_its_own_lines(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "FULL", 1)
    place = Place(url)
    sender = Segments(place)
    for step in range(4):
        sender.add("w", line(step))
        sender.send()
    names = sorted(place.names("journal"), key=lambda name: int(name.split(".")[1]))
    place.remove(f"journal/{names[1]}")  # of four
    place.write("journal/../../escape.0.jsonl", b"")
    place.write("journal/w.x.jsonl", b"")
    arrivals = Arrivals(place, tmp_path)
    arrivals.fetch()
    assert steps(tmp_path) == [0]  # a listing may be late: what follows a gap waits
    arrivals.fetch(last=True)
    assert steps(tmp_path) == [0, 2, 3] and [path.name for path in (tmp_path / "journal").iterdir()] == ["w.jsonl"]


def test_a_broken_courier_breaks_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLUSH", 0.2)
    journal = Journal(url, "worker")
    monkeypatch.setattr(Segments, "send", lambda self: (_ for _ in ()).throw(RuntimeError("a bug")))
    journal.write("metric", step=1)
    journal.close()
    assert courier(url).problem == "RuntimeError: a bug"
    monkeypatch.undo()
    while not Place(url).exists(f"journal/{journal.writer}.0.jsonl"):  # though it is closed; the suite's own limit of time is the end of this
        module.time.sleep(0.01)
    journal.write("metric", step=2)
    assert courier(url).flush(30)
    assert len((Place(url).read(f"journal/{journal.writer}.0.jsonl") or b"").splitlines()) == 2


def test_the_flag_is_seen_wherever_the_folder_is(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PERIOD", 0.01)
    journal = Journal(url, "worker")
    assert not told_to_stop(str(tmp_path)) and not told_to_stop(url)
    for folder in (str(tmp_path), url):
        tell_to_stop(folder)
    assert told_to_stop(str(tmp_path)) and told_to_stop(url)
    (Path(here(url)) / module.STOP).unlink()  # on another machine the store alone can tell
    heard = Courier(url)
    heard.join()
    for one in (heard, courier(url)):
        while not one.stopped:  # the suite's own limit of time is the end of this
            one.flush(0.01)
            module.time.sleep(0.01)
    assert told_to_stop(url)
    journal.close()


def test_workers_of_the_drivers_machine_hear_the_flag_though_the_store_is_away(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLUSH", 0.05)
    back, write = module.threading.Event(), Place.write

    def away(place: Place, name: str, data: bytes) -> None:
        assert place.local or back.wait(60)
        write(place, name, data)

    monkeypatch.setattr(Place, "write", away)
    tell_to_stop(url)
    assert told_to_stop(url) and not Place(url).exists(module.STOP)
    back.set()
