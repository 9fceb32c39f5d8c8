"""Training states: the newest valid one wins, whatever was killed or damaged."""

from __future__ import annotations

import json
import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from infra.store.place import Place
from infra.store.state import KEEP, OLD, States, beside


class Killed(BaseException):
    """Stands for the end of the process at this very place."""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(str(tmp_path / "store"))


def states(place: Place, attempt: str = "a") -> States:
    return States(place, "train-1", attempt, str(Path(place.url).parent / f"scratch-{attempt}"))


def save(states: States, step: int, value: str = "") -> None:
    states.save(step, lambda folder: Path(folder, "values").write_text(value or str(step)) and None)


def restored(states: States) -> tuple[int, str] | None:
    found = states.restore()
    return found and (found[0], Path(found[1], "values").read_text())


def test_there_is_nothing_at_first(place: Place) -> None:
    assert states(place).restore() is None


def test_the_newest_of_all_attempts_wins(place: Place) -> None:
    first, second = states(place, "a"), states(place, "b")
    save(first, 9, "nine")
    save(first, 10, "ten")
    save(second, 2)
    assert restored(states(place, "c")) == (10, "ten")  # by number, not by letter


def test_an_attempt_keeps_few_of_its_own_and_all_of_the_others(place: Place) -> None:
    first, second = states(place, "a"), states(place, "b")
    save(first, 1)
    for step in range(2, 9):
        save(second, step)
    kept = [name.removesuffix(".json") for name in place.names("train-1/state") if name.endswith(".json")]
    assert kept == ["1-a", *[f"{step}-b" for step in range(9 - KEEP, 9)]]
    assert sorted(kept) == sorted(name for name in place.names("train-1/state") if not name.endswith(".json"))


@pytest.mark.parametrize("damage", ["flipped", "shortened", "missing", "pointer torn", "pointer empty", "pointer no mapping", "pointer strange"])
def test_a_damaged_state_is_passed_over(damage: str, place: Place) -> None:
    writer = states(place)
    save(writer, 1, "one")
    save(writer, 2, "two")
    file, pointer = Path(place.at("train-1/state/2-a/values")), Path(place.at("train-1/state/2-a.json"))
    match damage:
        case "flipped":
            file.write_text("tvo")
        case "shortened":
            file.write_text("tw")
        case "missing":
            file.unlink()
        case "pointer torn":
            pointer.write_bytes(pointer.read_bytes()[:20])
        case "pointer empty":
            pointer.write_bytes(b"")
        case "pointer no mapping":
            pointer.write_text(json.dumps(["values"]))
        case "pointer strange":
            pointer.write_text(json.dumps({"files": {"../../../../etc/passwd": "x"}}))
    assert restored(states(place, "b")) == (1, "one")


def test_a_name_that_is_no_state_is_passed_over(place: Place) -> None:
    save(states(place), 1, "one")
    place.write("train-1/state/notes.json", b"{}")
    assert restored(states(place, "b")) == (1, "one")


def test_a_kill_between_payload_and_pointer_leaves_the_state_before(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = states(place)
    save(writer, 1, "one")
    with monkeypatch.context() as patch:
        patch.setattr(place, "write", lambda name, data: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            save(writer, 2, "two")
    assert Path(place.at("train-1/state/2-a/values")).exists()
    assert restored(states(place, "b")) == (1, "one")


def test_a_kill_while_the_state_is_written_leaves_the_state_before(place: Place) -> None:
    writer = states(place)
    save(writer, 1, "one")

    def half(folder: str) -> None:
        Path(folder, "values").write_text("tw")
        raise Killed

    with pytest.raises(Killed):
        writer.save(2, half)
    assert restored(states(place, "b")) == (1, "one")


def test_a_step_that_is_computed_again_replaces_its_state(place: Place) -> None:
    save(states(place, "a"), 3, "first")
    save(states(place, "b"), 3, "again")
    assert restored(states(place, "c")) == (3, "again")


def test_a_done_node_has_no_states(place: Place) -> None:
    save(states(place), 1)
    second = states(place, "b")
    assert restored(second) == (1, "1")
    second.clear()
    assert states(place, "c").restore() is None and place.names("train-1/state") == []


# A store that is not on this disk: what a node keeps of it, and what reaches it.


class Remote:
    """A store, and nodes whose disks nobody else sees."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.place = folder, Place(f"memory://{uuid.uuid4().hex}")
        self.told: list[tuple[str, str]] = []

    def states(self, node: str, attempt: str = "a") -> States:
        made = States(self.place, "train-1", attempt, str(self.folder / node / f"scratch-{attempt}"), beside(str(self.folder / node), self.place))
        made.failed = lambda name, reason: self.told.append((name, reason))
        return made

    @property
    def there(self) -> list[str]:
        return [name.removesuffix(".json") for name in self.place.names("train-1/state") if name.endswith(".json")]


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Remote]:
    yield Remote(tmp_path)
    fsspec.filesystem("memory").store.clear()


def away(*arguments: Any) -> Any:
    raise ConnectionError("no route to the store")


def test_another_node_goes_on_from_what_was_uploaded(remote: Remote) -> None:
    writer = remote.states("one")
    save(writer, 1, "first")
    save(writer, 2, "second")
    assert writer.settle(30)
    assert restored(remote.states("two", "b")) == (2, "second")


def test_training_does_not_wait_for_an_upload_and_of_those_that_wait_the_newest_goes(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, begun, go = remote.states("one"), threading.Event(), threading.Event()
    write = remote.place.write

    def slow(name: str, data: bytes) -> None:
        begun.set()
        assert go.wait(60)
        write(name, data)

    monkeypatch.setattr(remote.place, "write", slow)
    save(writer, 1)
    assert begun.wait(60)
    for step in range(2, 9):
        save(writer, step)  # returns, although nothing has arrived
    assert remote.there == [] and not writer.settle(0)
    assert restored(remote.states("one", "b")) == (8, "8")  # a kill now costs nothing on this node
    go.set()
    assert writer.settle(30) and remote.there == ["1-a", "8-a"]
    kept = [name for name in writer.near.names("train-1/state") if not name.endswith(".json")]
    assert kept == ["1-a", "7-a", "8-a"]  # the one under way is not taken from under it
    save(writer, 9)
    assert writer.settle(30) and remote.there == ["8-a", "9-a"]


def test_a_store_that_is_away_fails_no_training_and_a_resume_on_the_node_needs_none(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = remote.states("one")
    save(writer, 1)
    assert writer.settle(30)
    with monkeypatch.context() as patch:
        patch.setattr(remote.place, "write", away)
        patch.setattr(remote.place, "names", away)
        save(writer, 2)
        assert not writer.settle(30) and remote.told == [("2-a", "no route to the store")]
        again = remote.states("one", "b")
        assert restored(again) == (2, "2") and "no route" in again.passed[0]
        with pytest.raises(Exception, match="no route"):
            remote.states("two", "c").restore()  # from the start would be wrong: there may be a state
    assert restored(remote.states("two", "d")) == (1, "1")
    save(writer, 3)
    assert writer.settle(30) and restored(remote.states("two", "e")) == (3, "3")


def test_the_newest_valid_one_of_disk_and_store_wins_and_the_others_are_named(remote: Remote) -> None:
    writer = remote.states("one")
    save(writer, 1, "one")
    assert writer.settle(30)
    Path(writer.near.at("train-1/state/1-a/values")).write_text("oen")
    after = remote.states("one", "b")
    assert restored(after) == (1, "one") and len(after.passed) == 1 and "1-a: values has other bytes" in after.passed[0]
    other = remote.states("two", "c")
    save(other, 5, "five")
    assert other.settle(30)
    assert restored(remote.states("one", "d")) == (5, "five")


def test_a_state_that_the_store_cut_short_does_not_count(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = remote.states("one")
    save(writer, 1, "one")
    assert writer.settle(30)
    monkeypatch.setattr(writer._fs, "size", lambda path: 1)
    save(writer, 2, "two")
    assert not writer.settle(30) and "holds 1 of 3 bytes" in remote.told[0][1]
    assert restored(remote.states("two", "b")) == (1, "one")


def test_a_done_node_leaves_nothing_in_the_store_or_on_the_disk(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = remote.states("one")
    for step in range(1, 5):
        save(writer, step)
        assert writer.settle(30)
    assert remote.there == [f"{step}-a" for step in range(5 - KEEP, 5)]
    writer.clear()
    assert not [path for path in fsspec.filesystem("memory").store if path.startswith(remote.place.url.removeprefix("memory:/"))]
    assert writer.near.names() == []


def test_what_nobody_came_back_for_leaves_the_disk(remote: Remote) -> None:
    save(left := remote.states("one"), 1)
    assert left.settle(30)
    folder = left.near.at("train-1/state")
    os.utime(folder, (os.stat(folder).st_mtime - OLD - 1,) * 2)
    assert restored(remote.states("one", "b")) is not None
    States(remote.place, "train-2", "c", "", left.near).restore()
    assert left.near.names() == []
