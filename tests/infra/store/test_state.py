"""Training states: the newest valid one wins, whatever was killed or damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.store.place import Place
from infra.store.state import KEEP, States


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
    states(place, "b").clear()
    assert states(place, "c").restore() is None and place.names("train-1/state") == []
